//! What somebody tries, and what comes of it at both doors.

use std::borrow::Cow;
use std::fmt;

use countersign::emulator::TokenSpec;

/// One row: somebody sends one request, in some circumstances.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub circumstances: Circumstances,
    pub to: Place,
    pub credential: Credential,
    pub expected: Outcome,
    /// A word beside the row, for the ones that matter most.
    pub remark: Option<&'static str>,
}

/// Rows that belong together.
#[derive(Debug)]
pub struct Group {
    pub title: &'static str,
    pub scenarios: Vec<Scenario>,
}

/// A service's front end: where the request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The called function: IAM is on, and it has a list.
    Called,
    /// The same function behind a front end whose IAM check is off.
    CalledWithoutIam,
    /// The same function behind a front end that takes signatures off `Authorization`, too.
    CalledStripped,
    /// The called function with SIGNATURE_CHECK=cloud-run, behind such a front end.
    Trusting,
    /// The same settings where the IAM check is off: what must never be.
    TrustingWithoutIam,
    /// Another function, which the caller may call as well.
    Billing,
    /// That one behind a front end whose IAM check is off.
    BillingWithoutIam,
    /// The caller's function, with a list, behind a front end whose IAM check is off.
    CallerWithoutIam,
    /// A caller that is open to everybody at both doors.
    OpenCaller,
}

impl Place {
    /// Whether what is sent here is sent on to the called function.
    pub const fn calls(self) -> bool {
        matches!(self, Self::CallerWithoutIam | Self::OpenCaller)
    }
}

/// What the request carries.
#[derive(Debug)]
pub enum Credential {
    Nothing,
    /// A token in `Authorization`.
    OneHeader(Token),
    /// The same token in `Authorization` and in `X-Serverless-Authorization`.
    BothHeaders(Token),
}

/// Where the token comes from.
#[derive(Debug)]
pub enum Token {
    /// Minted by the emulator, its clock so many seconds ahead of the real one (behind it where negative). The
    /// functions' clocks are right.
    Minted { spec: Box<TokenSpec>, clock_offset: i64 },
    /// The genuine one that the called function was sent in the good call.
    Replayed,
}

/// What is different while the request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circumstances {
    Usual,
    /// Google has a new key since the last request.
    KeysRotated,
    /// Whoever asks for keys is answered 503.
    KeyServerDown,
    /// The caller is granted the role at the place so many seconds before it takes effect.
    RoleGranted {
        takes_effect_after: i64,
    },
    /// So many seconds have gone by for Google since the token was minted.
    Later {
        seconds: i64,
    },
}

/// What both doors did, or should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub iam: Iam,
    pub function: Function,
    /// Requests for keys that it took; `None` is any number.
    pub key_fetches: Option<u64>,
    /// Whom the called function took its caller for, where somebody else called it on behalf of the request.
    pub reached_called_as: Option<Cow<'static, str>>,
}

/// Cloud Run's door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Iam {
    Refuses { status: u16, why: Cow<'static, str> },
    LetsIn { why: Cow<'static, str> },
}

/// The function's door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    NotReached,
    /// An answer, with the `code` of its problem document if it is one.
    Answers {
        status: u16,
        code: Option<Cow<'static, str>>,
    },
}

impl Outcome {
    /// Whether what was observed is as expected here.
    pub fn covers(&self, observed: &Self) -> bool {
        self.iam == observed.iam
            && self.function == observed.function
            && self.reached_called_as == observed.reached_called_as
            && (self.key_fetches.is_none() || self.key_fetches == observed.key_fetches)
    }

    /// What the function's column says: the fetches only where they are part of the story.
    pub fn function_column(&self, story: &Self) -> String {
        let mut text = self.function.to_string();
        if let Some(who) = &self.reached_called_as {
            text.push_str(&format!(" as {}", short(who)));
        }
        if let (Some(_), Some(fetches)) = (story.key_fetches, self.key_fetches) {
            text.push_str(&match fetches {
                0 => ", no key fetch".to_owned(),
                1 => ", 1 key fetch".to_owned(),
                more => format!(", {more} key fetches"),
            });
        }
        text
    }
}

impl fmt::Display for Iam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuses { status, why } => write!(f, "{status} {why}"),
            Self::LetsIn { why } if why == "no invoker check" => f.write_str("off: lets in"),
            Self::LetsIn { why } => {
                write!(f, "lets in: {}", why.strip_prefix("project ").unwrap_or(why))
            }
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReached => f.write_str("not reached"),
            Self::Answers { status, code: None } => write!(f, "{status}"),
            Self::Answers { status, code: Some(code) } => write!(f, "{status} {code}"),
        }
    }
}

/// `caller@demo` for `serviceAccount:caller@demo.iam.gserviceaccount.com`, so that a line can hold it.
pub fn short(member: &str) -> &str {
    let email = member.split_once(':').map_or(member, |(_, email)| email);
    email.strip_suffix(".iam.gserviceaccount.com").unwrap_or(email)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, key_fetches: Option<u64>) -> Outcome {
        Outcome {
            iam: Iam::LetsIn { why: "invoker".into() },
            function: Function::Answers { status, code: None },
            key_fetches,
            reached_called_as: None,
        }
    }

    #[test]
    fn fetches_count_only_where_they_are_expected() {
        assert!(outcome(201, None).covers(&outcome(201, Some(7))));
        assert!(outcome(201, Some(1)).covers(&outcome(201, Some(1))));
        assert!(!outcome(201, Some(1)).covers(&outcome(201, Some(2))));
        assert!(!outcome(201, None).covers(&outcome(401, None)));
    }

    #[test]
    fn columns_say_what_was_observed() {
        let story = outcome(201, Some(1));
        assert_eq!(outcome(201, Some(2)).function_column(&story), "201, 2 key fetches");
        assert_eq!(outcome(201, Some(2)).function_column(&outcome(201, None)), "201");
        let lent = Outcome {
            reached_called_as: Some("serviceAccount:caller@demo.iam.gserviceaccount.com".into()),
            ..outcome(201, None)
        };
        assert_eq!(lent.function_column(&story), "201 as caller@demo");
        assert!(
            !outcome(201, None).covers(&lent),
            "an identity that was lent is never passed over"
        );
        assert_eq!(Iam::LetsIn { why: "project editor".into() }.to_string(), "lets in: editor");
    }
}
