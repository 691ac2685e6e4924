//! Who holds an access token, and who may mint as a service account: the Token Creator role's bindings.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::EmulatorError;
use super::accounts::Account;

/// What the names of federated identities begin with.
const FEDERATED: &str = "principal://iam.googleapis.com/";

/// Somebody that Google has authenticated, written as an IAM member
/// (<https://cloud.google.com/iam/docs/principal-identifiers>).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Principal {
    ServiceAccount(String),
    User(String),
    /// What stands behind `principal://iam.googleapis.com/`: pool and subject.
    Federated(String),
}

impl Principal {
    pub(super) fn of(account: &Account) -> Self {
        if account.person {
            Self::User(account.email.clone())
        } else {
            Self::ServiceAccount(account.email.clone())
        }
    }

    /// Reads an IAM member that is one principal: no set, no group.
    pub(super) fn parse(member: &str) -> Result<Self, EmulatorError> {
        let refused = || {
            EmulatorError::invalid(
                "member",
                member,
                "serviceAccount:EMAIL, user:EMAIL, or principal://iam.googleapis.com/projects/N/locations/global/\
                 workloadIdentityPools/POOL/subject/SUBJECT",
            )
        };
        if let Some(rest) = member.strip_prefix(FEDERATED) {
            let subject = rest.split_once("/subject/").map(|(_, subject)| subject);
            return subject
                .filter(|subject| !subject.is_empty())
                .map(|_| Self::Federated(rest.to_owned()))
                .ok_or_else(refused);
        }
        let (kind, email) = member.split_once(':').ok_or_else(refused)?;
        let email = Account::of(email).map_err(|_| refused())?.email;
        match kind {
            "serviceAccount" => Ok(Self::ServiceAccount(email)),
            "user" => Ok(Self::User(email)),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount(email) => write!(f, "serviceAccount:{email}"),
            Self::User(email) => write!(f, "user:{email}"),
            Self::Federated(rest) => write!(f, "{FEDERATED}{rest}"),
        }
    }
}

/// Who holds `roles/iam.serviceAccountTokenCreator` on which service account.
#[derive(Debug, Default)]
pub(super) struct TokenCreators(Mutex<BTreeMap<String, Vec<Principal>>>);

impl TokenCreators {
    /// More bindings on one account than IAM itself takes (1500 members).
    const MEMBERS: usize = 1_500;

    pub(super) fn grant(&self, target: &str, member: Principal) -> Result<(), EmulatorError> {
        let mut bindings = self.lock();
        let members = bindings.entry(target.to_owned()).or_default();
        if members.contains(&member) {
            return Ok(());
        }
        if members.len() >= Self::MEMBERS {
            let expected = "at most 1500 members of one account's policy: revoke some first";
            return Err(EmulatorError::invalid("member", member.to_string(), expected));
        }
        members.push(member);
        Ok(())
    }

    /// Takes the role away; `false` if the member did not have it.
    pub(super) fn revoke(&self, target: &str, member: &Principal) -> bool {
        let mut bindings = self.lock();
        let Some(members) = bindings.get_mut(target) else { return false };
        let before = members.len();
        members.retain(|known| known != member);
        let revoked = members.len() < before;
        if members.is_empty() {
            bindings.remove(target);
        }
        revoked
    }

    pub(super) fn include(&self, target: &str, principal: &Principal) -> bool {
        self.lock().get(target).is_some_and(|members| members.contains(principal))
    }

    /// By account, as the admin API tells it.
    pub(super) fn state(&self) -> Value {
        let members = |members: &Vec<Principal>| {
            json!(members.iter().map(Principal::to_string).collect::<Vec<_>>())
        };
        let all: serde_json::Map<_, _> =
            self.lock().iter().map(|(target, all)| (target.clone(), members(all))).collect();
        Value::from(all)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<Principal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROBOT: &str = "serviceAccount:caller@demo.iam.gserviceaccount.com";

    #[test]
    fn members_parse_and_print() {
        let federated = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/subject/s";
        for member in [ROBOT, "user:alice@example.com", federated] {
            assert_eq!(Principal::parse(member).unwrap().to_string(), member);
        }
        for wrong in ["", "alice@example.com", "group:a@b.example", "user:alice", "allUsers"] {
            let error = Principal::parse(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("member: found `{wrong}`")), "{error}");
        }
        assert!(Principal::parse("principal://iam.googleapis.com/projects/1/subject/").is_err());
    }

    #[test]
    fn a_binding_is_for_one_account_and_one_member() {
        let creators = TokenCreators::default();
        let robot = Principal::parse(ROBOT).unwrap();
        creators.grant("a", robot.clone()).unwrap();
        creators.grant("a", robot.clone()).unwrap();
        assert!(creators.include("a", &robot) && !creators.include("b", &robot));
        assert!(!creators.include("a", &Principal::User("caller@demo.iam".to_owned())));
        assert_eq!(creators.state(), json!({"a": [ROBOT]}));
        assert!(creators.revoke("a", &robot) && !creators.revoke("a", &robot));
        assert!(!creators.include("a", &robot));
    }

    #[test]
    fn members_are_bounded() {
        let creators = TokenCreators::default();
        let member = |n: usize| Principal::User(format!("u{n}@example.com"));
        for n in 0..TokenCreators::MEMBERS {
            creators.grant("a", member(n)).unwrap();
        }
        assert!(creators.grant("a", member(0)).is_ok());
        assert!(creators.grant("a", member(TokenCreators::MEMBERS)).is_err());
    }
}
