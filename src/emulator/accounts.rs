//! Who exists at the emulated Google: service accounts and people, each with a stable unique id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::EmulatorError;

/// What the addresses of service accounts end in.
pub(super) const SERVICE_ACCOUNT_SUFFIX: &str = ".gserviceaccount.com";

/// A service account or a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) email: String,
    /// The unique id: 21 digits, as Google's are.
    pub(super) sub: String,
    pub(super) person: bool,
}

impl Account {
    /// The account of this name, whatever it looks like. Its unique id is derived from the name, so that it is the same
    /// in each run.
    fn named(email: &str) -> Self {
        let email = email.to_ascii_lowercase();
        let person = !email.ends_with(SERVICE_ACCOUNT_SUFFIX);
        Self { sub: unique_id(&email), email, person }
    }

    /// The account of this address, if it is one.
    pub(super) fn of(email: &str) -> Result<Self, EmulatorError> {
        let valid = email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && domain.contains('.')
                && !domain.contains('@')
                && !email.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
        });
        if !valid {
            return Err(EmulatorError::invalid(
                "account",
                email,
                "an e-mail address, such as caller@demo.iam.gserviceaccount.com or alice@example.com",
            ));
        }
        Ok(Self::named(email))
    }

    /// The Workspace domain that the `hd` claim names; accounts of gmail.com have none.
    pub(super) fn hosted_domain(&self) -> Option<&str> {
        let (_, domain) = self.email.split_once('@')?;
        (self.person && domain != "gmail.com" && domain != "googlemail.com").then_some(domain)
    }

    /// What stands before the @.
    pub(super) fn name(&self) -> &str {
        self.email.split_once('@').map_or(self.email.as_str(), |(name, _)| name)
    }
}

/// Everybody who has been heard of.
#[derive(Debug, Default)]
pub(super) struct Directory {
    accounts: Mutex<BTreeMap<String, Arc<Account>>>,
}

impl Directory {
    /// More addresses than any test needs; beyond it accounts work, but are not listed.
    const LISTED: usize = 1_000;

    /// The account of this address: every one exists.
    pub(super) fn account(&self, email: &str) -> Arc<Account> {
        let account = Account::named(email);
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accounts.get(&account.email) {
            return Arc::clone(known);
        }
        let account = Arc::new(account);
        if accounts.len() < Self::LISTED {
            accounts.insert(account.email.clone(), Arc::clone(&account));
        }
        account
    }

    /// The account of this address, if it has been named before.
    pub(super) fn find(&self, email: &str) -> Option<Arc<Account>> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get(&email.to_ascii_lowercase()).cloned()
    }

    /// The account of this address, which has to be a service account's.
    pub(super) fn service_account(&self, email: &str) -> Result<Arc<Account>, EmulatorError> {
        let account = Account::of(email).map(|account| self.account(&account.email))?;
        if account.person {
            return Err(EmulatorError::invalid(
                "account",
                email,
                "a service account's address, which ends in .gserviceaccount.com",
            ));
        }
        Ok(account)
    }

    /// A service account that was deleted and made again: the same address, another unique id.
    pub(super) fn recreate(&self, email: &str) -> Arc<Account> {
        let known = self.account(email);
        let sub = unique_id(&format!("{} again", known.sub));
        let account = Arc::new(Account { sub, ..Account::clone(&known) });
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.insert(account.email.clone(), Arc::clone(&account));
        account
    }

    pub(super) fn all(&self) -> Vec<Arc<Account>> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.values().cloned().collect()
    }
}

/// 21 digits that begin with 1, as Google's unique ids do.
fn unique_id(of: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, of.as_bytes());
    let number =
        digest.as_ref().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("1{number:020}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_ids_are_stable_and_have_21_digits() {
        let caller = Account::of("caller@demo.iam.gserviceaccount.com").unwrap();
        let again = Account::of("Caller@demo.iam.gserviceaccount.com").unwrap();
        assert_eq!(caller, again, "addresses are not case-sensitive");
        assert_eq!(caller.sub.len(), 21);
        assert!(caller.sub.starts_with('1') && caller.sub.bytes().all(|b| b.is_ascii_digit()));
        let other = Account::of("other@demo.iam.gserviceaccount.com").unwrap();
        assert_ne!(caller.sub, other.sub);
    }

    #[test]
    fn people_and_service_accounts_are_told_apart_by_address() {
        let robot = Account::of("caller@demo.iam.gserviceaccount.com").unwrap();
        assert!(!robot.person);
        assert_eq!(robot.hosted_domain(), None);
        let alice = Account::of("alice@example.com").unwrap();
        assert!(alice.person);
        assert_eq!(alice.hosted_domain(), Some("example.com"));
        assert_eq!(Account::of("bob@gmail.com").unwrap().hosted_domain(), None);
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_name() {
        for wrong in ["", "caller", "@example.com", "a@b@example.com", "a@b", "a b@example.com"] {
            let error = Account::of(wrong).unwrap_err().to_string();
            assert!(error.starts_with("account: found"), "{error}");
        }
    }

    #[test]
    fn a_recreated_account_has_another_id_from_then_on() {
        let directory = Directory::default();
        let before = directory.account("caller@demo.iam.gserviceaccount.com");
        let after = directory.recreate("caller@demo.iam.gserviceaccount.com");
        assert_eq!(before.email, after.email);
        assert_ne!(before.sub, after.sub);
        assert_eq!(directory.account(&before.email), after);
    }
}
