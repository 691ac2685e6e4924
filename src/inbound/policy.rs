//! Who may come in: a list of IAM members, held against a verified token.
//!
//! IAM alone never means "only the caller": project owners and editors, and whoever holds `run.invoker` higher up, get
//! through Cloud Run's door. The service's own list is what says who.

use std::collections::{HashMap, HashSet};

use super::cause::Cause;
use super::principal::{Principal, VerifiedToken};
use crate::identity::Member;
use crate::identity::member::EmailAddress;

/// A list of members, ready to be asked. Its cost does not grow with its length.
///
/// ```
/// use countersign::inbound::Policy;
///
/// let policy = Policy::new(["serviceAccount:caller@demo.iam.gserviceaccount.com".parse()?])?;
/// assert!(!policy.admits_anyone());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    members: Vec<Member>,
    all_users: bool,
    all_authenticated: bool,
    accounts: HashMap<EmailAddress, UniqueIds>,
    domains: HashSet<Box<str>>,
}

/// Which accounts may stand behind an address.
#[derive(Clone, Debug)]
enum UniqueIds {
    Any,
    Only(HashSet<Box<str>>),
}

/// Why a list of members is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Nobody may come in.
    #[error(
        "no allowed principal is given; write at least one IAM member, for example \
         serviceAccount:NAME@PROJECT.iam.gserviceaccount.com"
    )]
    Empty,
    /// `allUsers` beside others, which it would make pointless.
    #[error("allUsers lets everybody in, so it must stand alone; remove it or the others")]
    AllUsersBesideOthers,
}

impl Policy {
    /// A policy of these members.
    ///
    /// # Errors
    /// When there is none, or `allUsers` stands beside others.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Result<Self, PolicyError> {
        let members: Vec<Member> = members.into_iter().collect();
        if members.is_empty() {
            return Err(PolicyError::Empty);
        }
        if members.len() > 1 && members.contains(&Member::AllUsers) {
            return Err(PolicyError::AllUsersBesideOthers);
        }
        let mut policy = Self {
            members: Vec::new(),
            all_users: false,
            all_authenticated: false,
            accounts: HashMap::new(),
            domains: HashSet::new(),
        };
        for member in &members {
            policy.add(member);
        }
        policy.members = members;
        Ok(policy)
    }

    /// The members, as they were given.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether requests without a token come in (`allUsers`).
    #[must_use]
    pub fn admits_anyone(&self) -> bool {
        self.all_users
    }

    /// Whether any Google account on earth comes in (`allAuthenticatedUsers` or `allUsers`).
    #[must_use]
    pub fn admits_any_account(&self) -> bool {
        self.all_users || self.all_authenticated
    }

    /// Lets the token's principal in, or says why not.
    ///
    /// An e-mail address counts only if the token says that Google verified it.
    ///
    /// # Errors
    /// [`Cause::NotAllowed`].
    pub fn admit(&self, token: VerifiedToken) -> Result<Principal, Cause> {
        match self.refusal(&token) {
            None => Ok(Principal::admitted(token)),
            Some(hint) => Err(Cause::NotAllowed { principal: token.name().to_owned(), hint }),
        }
    }

    fn add(&mut self, member: &Member) {
        match member {
            Member::AllUsers => self.all_users = true,
            Member::AllAuthenticatedUsers => self.all_authenticated = true,
            Member::Domain(name) => {
                self.domains.insert(name.clone());
            }
            Member::ServiceAccount { email, uid: None } | Member::User { email, uid: None } => {
                self.accounts.insert(email.clone(), UniqueIds::Any);
            }
            Member::ServiceAccount { email, uid: Some(uid) }
            | Member::User { email, uid: Some(uid) } => {
                let ids = self.accounts.entry(email.clone());
                if let UniqueIds::Only(ids) = ids.or_insert_with(|| UniqueIds::Only(HashSet::new()))
                {
                    ids.insert(uid.clone());
                }
            }
        }
    }

    /// `None` is yes; else a hint why not.
    fn refusal(&self, token: &VerifiedToken) -> Option<&'static str> {
        if self.admits_any_account() {
            return None;
        }
        let Some(email) = token.verified_email() else {
            return Some(if token.has_unverified_email() {
                ": the token's e-mail address is not verified, so it does not count"
            } else {
                ": the token has no e-mail address; ask the metadata server with format=full, \
                 or generateIdToken with includeEmail"
            });
        };
        let wrong_account = match self.accounts.get(email) {
            Some(UniqueIds::Any) => return None,
            Some(UniqueIds::Only(ids)) if ids.contains(token.subject()) => return None,
            Some(UniqueIds::Only(_)) => true,
            None => false,
        };
        if token.hosted_domain().is_some_and(|domain| self.domains.contains(domain)) {
            return None;
        }
        Some(if wrong_account {
            ": the address is on the list with another unique id; was the account made anew?"
        } else {
            ""
        })
    }
}

#[cfg(test)]
mod tests;
