//! IAM members: how the people and machines that may call are written.
//!
//! The forms are IAM's own (<https://cloud.google.com/iam/docs/principal-identifiers>), as far as a token alone can
//! decide them, and one extension: `?uid=SUB` after an e-mail address pins the account's unique id, because an account
//! that is deleted and made again under the same address is another account.

use std::fmt;
use std::str::FromStr;

/// An e-mail address, kept in ASCII lower case: Google compares addresses without regard to ASCII case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailAddress(Box<str>);

impl EmailAddress {
    /// The address in ASCII lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.split_once('@')?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || "@?,:\"".contains(c);
        let fine =
            !local.is_empty() && !domain.is_empty() && !text.replacen('@', "", 1).contains(odd);
        fine.then(|| Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One entry of an allow-list, in IAM's notation.
///
/// ```
/// use countersign::identity::Member;
///
/// let member: Member = "serviceAccount:caller@demo.iam.gserviceaccount.com".parse()?;
/// assert_eq!(member.to_string(), "serviceAccount:caller@demo.iam.gserviceaccount.com");
/// # Ok::<(), countersign::identity::MemberError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Member {
    /// `serviceAccount:EMAIL[?uid=SUB]`
    ServiceAccount {
        /// The account's address.
        email: EmailAddress,
        /// The account's unique id, where it is pinned.
        uid: Option<Box<str>>,
    },
    /// `user:EMAIL[?uid=SUB]`
    User {
        /// The person's address.
        email: EmailAddress,
        /// The account's unique id, where it is pinned.
        uid: Option<Box<str>>,
    },
    /// `domain:NAME`: people whose token says `hd` = NAME. Service accounts have no `hd`.
    Domain(Box<str>),
    /// `allAuthenticatedUsers`: any Google account on earth.
    AllAuthenticatedUsers,
    /// `allUsers`: anybody, token or not.
    AllUsers,
}

/// Why a text is not a member that a token can decide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// Nothing was given.
    #[error(
        "a member is empty; write for example serviceAccount:NAME@PROJECT.iam.gserviceaccount.com"
    )]
    Empty,
    /// `group:…`
    #[error(
        "{0:?}: a token does not say which groups its account is in, so a function cannot decide this; \
         grant roles/run.invoker to the group at Cloud Run's IAM and roles/iam.serviceAccountTokenCreator on one \
         service account, then list that service account here"
    )]
    Group(String),
    /// `principal:…` or `principalSet:…`
    #[error(
        "{0:?}: a federated identity arrives as the service account that it impersonates; list that \
         service account (serviceAccount:EMAIL)"
    )]
    Federated(String),
    /// `deleted:…`
    #[error(
        "{0:?}: this account was deleted; remove the entry, or list the account that replaced it"
    )]
    Deleted(String),
    /// A prefix that differs from a known one in case, or no known prefix at all.
    #[error(
        "{found:?} is not an IAM member; expected serviceAccount:EMAIL, user:EMAIL, domain:NAME, \
         allAuthenticatedUsers or allUsers{hint}"
    )]
    Unknown {
        /// What was written.
        found: String,
        /// ` (did you mean …?)`, or nothing.
        hint: String,
    },
    /// The address is not one.
    #[error("{0:?}: expected an e-mail address with one @ after the colon")]
    Email(String),
    /// A service account that is not one, or a person who is.
    #[error("{found:?}: {problem}")]
    WrongKind {
        /// What was written.
        found: String,
        /// What is wrong with it and what to write.
        problem: &'static str,
    },
    /// Something else than `?uid=DIGITS` after the address.
    #[error(
        "{0:?}: expected ?uid= and the account's numeric unique id after the address, or nothing"
    )]
    Uid(String),
    /// Not a domain name.
    #[error("{0:?}: expected a domain name after the colon, for example domain:example.com")]
    Domain(String),
}

const SERVICE_ACCOUNT_SUFFIX: &str = ".gserviceaccount.com";

impl Member {
    /// Whether the member stands for people, whose tokens carry an OAuth client id as their audience.
    #[must_use]
    pub fn is_people(&self) -> bool {
        matches!(self, Self::User { .. } | Self::Domain(_))
    }

    fn account(whole: &str, rest: &str) -> Result<(EmailAddress, Option<Box<str>>), MemberError> {
        let (address, uid) = match rest.split_once('?') {
            None => (rest, None),
            Some((address, query)) => {
                let uid = query.strip_prefix("uid=").filter(|uid| is_unique_id(uid));
                let uid = uid.ok_or_else(|| MemberError::Uid(whole.to_owned()))?;
                (address, Some(uid.into()))
            }
        };
        let email =
            EmailAddress::parse(address).ok_or_else(|| MemberError::Email(whole.to_owned()))?;
        Ok((email, uid))
    }
}

impl FromStr for Member {
    type Err = MemberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole = || text.to_owned();
        if text.is_empty() {
            return Err(MemberError::Empty);
        }
        match text.split_once(':') {
            None if text == "allUsers" => Ok(Self::AllUsers),
            None if text == "allAuthenticatedUsers" => Ok(Self::AllAuthenticatedUsers),
            Some(("serviceAccount", rest)) => {
                let (email, uid) = Self::account(text, rest)?;
                if !email.as_str().ends_with(SERVICE_ACCOUNT_SUFFIX) {
                    let problem = "a service account's address ends in .gserviceaccount.com; \
                                   for a person write user:EMAIL";
                    return Err(MemberError::WrongKind { found: whole(), problem });
                }
                Ok(Self::ServiceAccount { email, uid })
            }
            Some(("user", rest)) => {
                let (email, uid) = Self::account(text, rest)?;
                if email.as_str().ends_with(SERVICE_ACCOUNT_SUFFIX) {
                    let problem = "this is a service account; write serviceAccount:EMAIL";
                    return Err(MemberError::WrongKind { found: whole(), problem });
                }
                Ok(Self::User { email, uid })
            }
            Some(("domain", name)) if is_domain_name(name) => Ok(Self::Domain(name.into())),
            Some(("domain", _)) => Err(MemberError::Domain(whole())),
            Some(("group", _)) => Err(MemberError::Group(whole())),
            Some(("principal" | "principalSet", _)) => Err(MemberError::Federated(whole())),
            Some(("deleted", _)) => Err(MemberError::Deleted(whole())),
            _ => Err(MemberError::Unknown { found: whole(), hint: hint(text) }),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, email, uid) = match self {
            Self::ServiceAccount { email, uid } => ("serviceAccount", email, uid),
            Self::User { email, uid } => ("user", email, uid),
            Self::Domain(name) => return write!(f, "domain:{name}"),
            Self::AllAuthenticatedUsers => return f.write_str("allAuthenticatedUsers"),
            Self::AllUsers => return f.write_str("allUsers"),
        };
        write!(f, "{kind}:{email}")?;
        uid.as_ref().map_or(Ok(()), |uid| write!(f, "?uid={uid}"))
    }
}

/// Google's unique ids are decimal numbers of at most 255 digits (OpenID Connect Core section 2, `sub`).
fn is_unique_id(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `hd` is compared byte by byte and Google writes it in lower case, so an upper-case name could never match.
fn is_domain_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label)
}

fn hint(text: &str) -> String {
    let folded = text.to_ascii_lowercase();
    for prefix in ["serviceAccount:", "user:", "domain:", "allUsers", "allAuthenticatedUsers"] {
        if folded.starts_with(&prefix.to_ascii_lowercase()) {
            return format!("; did you mean {prefix:?}? The case matters");
        }
    }
    if EmailAddress::parse(text).is_some() {
        let kind = if folded.ends_with(SERVICE_ACCOUNT_SUFFIX) { "serviceAccount" } else { "user" };
        return format!("; did you mean \"{kind}:{text}\"?");
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_token_can_decide_and_writes_it_back() {
        for text in [
            "serviceAccount:caller@demo.iam.gserviceaccount.com",
            "serviceAccount:1-compute@developer.gserviceaccount.com?uid=112233",
            "user:jo@example.com",
            "user:jo@example.com?uid=1",
            "domain:example.com",
            "allAuthenticatedUsers",
            "allUsers",
        ] {
            assert_eq!(text.parse::<Member>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn addresses_are_kept_in_lower_case() {
        let member: Member = "user:Jo@Example.COM".parse().unwrap();
        assert_eq!(member.to_string(), "user:jo@example.com");
    }

    #[test]
    fn says_what_to_do_about_the_rest() {
        let table = [
            ("", "is empty"),
            ("group:team@example.com", "serviceAccountTokenCreator"),
            ("principal://iam.googleapis.com/x", "impersonates"),
            ("principalSet://iam.googleapis.com/x", "impersonates"),
            ("deleted:serviceAccount:a@b.iam.gserviceaccount.com?uid=1", "was deleted"),
            ("serviceaccount:a@b.iam.gserviceaccount.com", "did you mean \"serviceAccount:\""),
            ("ALLUSERS", "did you mean \"allUsers\""),
            ("a@b.iam.gserviceaccount.com", "did you mean \"serviceAccount:a@b"),
            ("jo@example.com", "did you mean \"user:jo@example.com\""),
            ("anything", "is not an IAM member"),
            ("user:", "one @"),
            ("user:jo", "one @"),
            ("user:jo@evil@example.com", "one @"),
            ("user:jo@", "one @"),
            ("user: jo@example.com", "one @"),
            ("user:jo@example.com?uid=", "?uid="),
            ("user:jo@example.com?uid=12x", "?uid="),
            ("user:jo@example.com?sub=12", "?uid="),
            ("user:a@b.iam.gserviceaccount.com", "write serviceAccount:EMAIL"),
            ("serviceAccount:jo@example.com", "write user:EMAIL"),
            ("domain:", "domain name"),
            ("domain:Example.com", "domain name"),
            ("domain:localhost", "domain name"),
            ("domain:*.example.com", "domain name"),
        ];
        for (text, expected) in table {
            let error = text.parse::<Member>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_what_parses_is_stable(text in ".{0,60}") {
            if let Ok(member) = text.parse::<Member>() {
                proptest::prop_assert_eq!(member.to_string().parse::<Member>().unwrap(), member);
            }
        }

        #[test]
        fn an_address_has_exactly_one_at(local in "[a-z@]{1,8}", domain in "[a-z@.]{1,12}") {
            let text = format!("user:{local}@{domain}");
            let parsed = text.parse::<Member>().is_ok();
            proptest::prop_assert_eq!(parsed, text.matches('@').count() == 1);
        }
    }
}
