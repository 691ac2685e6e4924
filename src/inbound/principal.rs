//! Who is calling: the result of a verification, and of a policy that lets it in.

#[cfg(feature = "emulator")]
mod for_tests;

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::checks::Times;
use crate::identity::claims::Claims;
use crate::identity::member::EmailAddress;
use crate::identity::{Audience, Claim};

/// A token that passed every check of a [`Verifier`](super::Verifier). Cheap to clone.
///
/// It says who somebody is, not that they may come in: that is the [`Policy`](super::Policy)'s word, which makes a
/// [`Principal`] of it.
#[derive(Clone)]
pub struct VerifiedToken(Arc<Inner>);

pub(super) struct Inner {
    email: Email,
    subject: Box<str>,
    audience: Audience,
    times: Times,
    hosted_domain: Option<Box<str>>,
    authorized_party: Option<Box<str>>,
    payload: Box<[u8]>,
    /// The key set's generation that verified it; none where Google's front end vouches for it.
    generation: Option<u64>,
}

/// The `email` claim, together with what `email_verified` says of it.
enum Email {
    Verified(EmailAddress),
    Unverified,
    Absent,
}

impl VerifiedToken {
    /// `claims` and `payload` belong to one token, whose required claims and times were checked.
    pub(super) fn new(
        claims: Claims,
        times: Times,
        audience: Audience,
        payload: Vec<u8>,
        generation: Option<u64>,
    ) -> Self {
        let subject = present(claims.subject).unwrap_or_default();
        let email = match (present(claims.email), present(claims.email_verified)) {
            (None, _) => Email::Absent,
            (Some(email), Some(true)) => {
                EmailAddress::parse(&email).map_or(Email::Unverified, Email::Verified)
            }
            (Some(_), _) => Email::Unverified,
        };
        Self(Arc::new(Inner {
            email,
            subject,
            audience,
            times,
            hosted_domain: present(claims.hosted_domain),
            authorized_party: present(claims.authorized_party),
            payload: payload.into(),
            generation,
        }))
    }

    /// The account's e-mail address in ASCII lower case, if the token has one and Google has verified it.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.verified_email().map(EmailAddress::as_str)
    }

    /// `sub`: the account's unique id, which stays when its address is given to another account.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// For which of this service's audiences the token was made.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.0.audience
    }

    /// Until when the token is good, in seconds since the Unix epoch.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.0.times.expires_at
    }

    /// When the token was made, in seconds since the Unix epoch.
    #[must_use]
    pub fn issued_at(&self) -> i64 {
        self.0.times.issued_at
    }

    /// `hd`: the Workspace domain of a person's account; service accounts have none.
    #[must_use]
    pub fn hosted_domain(&self) -> Option<&str> {
        self.0.hosted_domain.as_deref()
    }

    /// `azp`: to whom the token was issued. Google fills it with a unique id, an address or a client id: decide
    /// nothing by it.
    #[must_use]
    pub fn authorized_party(&self) -> Option<&str> {
        self.0.authorized_party.as_deref()
    }

    /// What else the token says, read into a type of yours.
    ///
    /// ```
    /// # fn handler(principal: &countersign::inbound::Principal) -> Result<(), serde_json::Error> {
    /// #[derive(serde::Deserialize)]
    /// struct ComputeEngine { instance_id: String }
    /// #[derive(serde::Deserialize)]
    /// struct Google { compute_engine: ComputeEngine }
    /// #[derive(serde::Deserialize)]
    /// struct Claims { google: Google }
    ///
    /// let claims: Claims = principal.claims()?;
    /// println!("{}", claims.google.compute_engine.instance_id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the payload does not fit the type.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0.payload)
    }

    /// Who it is, for people: the address, or else the unique id.
    #[must_use]
    pub fn name(&self) -> &str {
        self.email().unwrap_or(&self.0.subject)
    }

    pub(super) fn verified_email(&self) -> Option<&EmailAddress> {
        match &self.0.email {
            Email::Verified(email) => Some(email),
            Email::Unverified | Email::Absent => None,
        }
    }

    pub(super) fn has_unverified_email(&self) -> bool {
        matches!(self.0.email, Email::Unverified)
    }

    pub(super) fn times(&self) -> Times {
        self.0.times
    }

    pub(super) fn generation(&self) -> Option<u64> {
        self.0.generation
    }

    /// What it takes in memory, roughly, in bytes.
    pub(super) fn weight(&self) -> usize {
        size_of::<Inner>() + self.0.payload.len() + self.0.subject.len() + 128
    }
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken")
            .field("email", &self.email())
            .field("subject", &self.subject())
            .field("audience", &self.audience())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

/// Somebody who is allowed in. Only a [`Policy`](super::Policy) makes one, of a verified token; handlers take it as an
/// argument.
///
/// ```
/// use countersign::inbound::Principal;
///
/// async fn whoami(principal: Principal) -> String {
///     principal.name().to_owned()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Principal(VerifiedToken);

impl Principal {
    pub(super) fn admitted(token: VerifiedToken) -> Self {
        Self(token)
    }
}

impl std::ops::Deref for Principal {
    type Target = VerifiedToken;

    fn deref(&self) -> &VerifiedToken {
        &self.0
    }
}

#[cfg(feature = "emulator")]
pub use for_tests::TestPrincipalError;

fn present<T>(claim: Claim<T>) -> Option<T> {
    match claim {
        Claim::Present(value) => Some(value),
        Claim::Absent | Claim::Malformed { .. } => None,
    }
}
