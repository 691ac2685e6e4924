//! Who may invoke: IAM members, a service's bindings, and the project's owners and editors.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::identity_token::Caller;
use crate::emulator::EmulatorError;

/// An IAM member (<https://cloud.google.com/iam/docs/principal-identifiers>) that a token alone can be matched with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Member {
    AllUsers,
    AllAuthenticatedUsers,
    ServiceAccount(String),
    User(String),
    Domain(String),
}

impl Member {
    pub(super) fn parse(text: &str) -> Result<Self, EmulatorError> {
        let refused = || {
            EmulatorError::invalid(
                "member",
                text,
                "allUsers, allAuthenticatedUsers, serviceAccount:EMAIL, user:EMAIL or domain:NAME",
            )
        };
        match text {
            "allUsers" => return Ok(Self::AllUsers),
            "allAuthenticatedUsers" => return Ok(Self::AllAuthenticatedUsers),
            _ => {}
        }
        let (kind, name) = text.split_once(':').ok_or_else(refused)?;
        let address = name.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        });
        match kind {
            "serviceAccount" if address => Ok(Self::ServiceAccount(name.to_ascii_lowercase())),
            "user" if address => Ok(Self::User(name.to_ascii_lowercase())),
            "domain" if !name.is_empty() && !name.contains('@') => {
                Ok(Self::Domain(name.to_ascii_lowercase()))
            }
            _ => Err(refused()),
        }
    }

    fn holds(&self, caller: &Caller) -> bool {
        let is = |email: &str| caller.email.as_deref() == Some(email);
        match self {
            Self::AllUsers | Self::AllAuthenticatedUsers => true,
            Self::ServiceAccount(email) => !caller.person && is(email),
            Self::User(email) => caller.person && is(email),
            Self::Domain(name) => caller.hosted_domain.as_deref() == Some(name),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllUsers => f.write_str("allUsers"),
            Self::AllAuthenticatedUsers => f.write_str("allAuthenticatedUsers"),
            Self::ServiceAccount(email) => write!(f, "serviceAccount:{email}"),
            Self::User(email) => write!(f, "user:{email}"),
            Self::Domain(name) => write!(f, "domain:{name}"),
        }
    }
}

/// The members that hold `roles/run.invoker` on one service, and since when.
#[derive(Debug, Default)]
pub(super) struct Invokers(Mutex<Vec<Grant>>);

#[derive(Clone, Debug)]
struct Grant {
    member: Member,
    /// `None`: always. Not "since now", or a clock that is set back would take the role away.
    effective_at: Option<i64>,
}

impl Invokers {
    /// Grants the role, from a time by the emulator's clock on where one is given. A grant that stands is replaced.
    pub(super) fn grant(&self, member: Member, effective_at: Option<i64>) {
        let mut grants = self.lock();
        grants.retain(|grant| grant.member != member);
        grants.push(Grant { member, effective_at });
    }

    /// Takes the role away; `false` if the member did not have it.
    pub(super) fn revoke(&self, member: &Member) -> bool {
        let mut grants = self.lock();
        let before = grants.len();
        grants.retain(|grant| grant.member != *member);
        grants.len() < before
    }

    pub(super) fn everybody(&self, now: i64) -> bool {
        self.lock().iter().any(|grant| grant.member == Member::AllUsers && grant.effective(now))
    }

    pub(super) fn include(&self, caller: &Caller, now: i64) -> bool {
        self.lock().iter().any(|grant| grant.effective(now) && grant.member.holds(caller))
    }

    pub(super) fn members(&self) -> Vec<(String, Option<i64>)> {
        self.lock().iter().map(|grant| (grant.member.to_string(), grant.effective_at)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Grant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grant {
    fn effective(&self, now: i64) -> bool {
        self.effective_at.is_none_or(|at| at <= now)
    }
}

/// The basic roles on the project, which bring `run.routes.invoke` with them on every service.
#[derive(Debug)]
pub(in crate::emulator) struct ProjectPolicy {
    owners: Vec<Member>,
    editors: Vec<Member>,
}

impl ProjectPolicy {
    pub(in crate::emulator) fn new(
        owners: &[String],
        editors: &[String],
    ) -> Result<Self, EmulatorError> {
        let parse = |members: &[String]| -> Result<Vec<Member>, EmulatorError> {
            members.iter().map(|member| Member::parse(member)).collect()
        };
        Ok(Self { owners: parse(owners)?, editors: parse(editors)? })
    }

    /// The basic role that lets this caller in anywhere.
    pub(super) fn role(&self, caller: &Caller) -> Option<&'static str> {
        let holds = |members: &[Member]| members.iter().any(|member| member.holds(caller));
        if holds(&self.owners) {
            Some("project owner")
        } else {
            holds(&self.editors).then_some("project editor")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn robot(email: &str) -> Caller {
        Caller { email: Some(email.to_owned()), hosted_domain: None, person: false }
    }

    #[test]
    fn members_parse_and_print() {
        for text in [
            "allUsers",
            "allAuthenticatedUsers",
            "serviceAccount:caller@demo.iam.gserviceaccount.com",
            "user:alice@example.com",
            "domain:example.com",
        ] {
            assert_eq!(Member::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "alice@example.com",
            "group:a@b.c",
            "user:alice",
            "user:a@b@c",
            "user:@b",
            "domain:",
            "domain:a@b",
        ] {
            let error = Member::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("member: found `{text}`")), "{error}");
        }
    }

    #[test]
    fn matching_is_by_kind_and_whole_address() {
        let invokers = Invokers::default();
        invokers.grant(Member::parse("serviceAccount:Caller@x.y").unwrap(), None);
        assert!(invokers.include(&robot("caller@x.y"), 0));
        assert!(!invokers.include(&robot("other-caller@x.y"), 0));
        assert!(!invokers.include(&Caller { person: true, ..robot("caller@x.y") }, 0));
        assert!(!invokers.include(&Caller { email: None, ..robot("") }, 0));
    }

    #[test]
    fn a_late_grant_takes_effect_at_its_time_and_a_present_one_always() {
        let invokers = Invokers::default();
        let member = Member::parse("serviceAccount:caller@x.y").unwrap();
        invokers.grant(member.clone(), Some(100));
        assert!(!invokers.include(&robot("caller@x.y"), 99));
        assert!(invokers.include(&robot("caller@x.y"), 100));
        invokers.grant(member.clone(), None);
        assert!(invokers.include(&robot("caller@x.y"), i64::MIN));
        assert!(invokers.revoke(&member));
        assert!(!invokers.revoke(&member));
        assert!(!invokers.include(&robot("caller@x.y"), 100));
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_back_and_nothing_panics(text in "(user|serviceAccount|domain|group|x)?:?[ -~]{0,20}") {
            if let Ok(member) = Member::parse(&text) {
                proptest::prop_assert_eq!(Member::parse(&member.to_string()).unwrap(), member);
            }
        }
    }
}
