//! The verifier: is this an ID token, signed by Google, for this service, and now?
//!
//! ```no_run
//! use countersign::inbound::Verifier;
//!
//! # async fn example(token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::builder()
//!     .audience("https://orders-123456789.europe-west1.run.app".parse()?)
//!     .build()?;
//! let token = verifier.verify(token).await?;
//! println!("{}", token.name());
//! # Ok(())
//! # }
//! ```
//!
//! The order of the checks is the flow of the design: shape and size, header, claims (used only to refuse), key (a
//! fetch at most here), signature. Each is a function in `checks`; all of them say *why* by a [`Cause`].

use std::sync::Arc;
use std::time::Duration;

use super::cause::{Cause, quoted};
use super::checks::{self, Header, SIGNATURE_REMOVED, Times};
use super::jwks::KeySet;
use super::jwks::cache::{Current, Flight, KeyCache, LookUp};
use super::principal::VerifiedToken;
use crate::clock::{Clock, Moment};
use crate::identity::{Audience, Claims, CompactJws};

mod builder;
mod verified_tokens;

pub use builder::{VerifierBuilder, VerifierError};
use verified_tokens::VerifiedTokens;

/// Both spellings that Google uses, see OpenID Connect's discovery document and `google-auth`.
pub const GOOGLE_ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

/// What is done about tokens whose signature Cloud Run's front end has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignatureCheck {
    /// Every token is verified here: the default, right with and without IAM in front.
    #[default]
    Required,
    /// Cloud Run's IAM check is in front of this service, and a token with the exact mark of a removed signature was
    /// verified there. Only for services that nothing else can reach; a token with a signature is still verified.
    CloudRun,
}

/// Verifies Google-signed ID tokens. Cheap to clone; clones share keys and cache.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    audiences: Box<[Audience]>,
    issuers: Box<[Box<str>]>,
    signature_check: SignatureCheck,
    leeway: i64,
    clock: Arc<dyn Clock>,
    keys: KeyCache,
    verified: VerifiedTokens,
}

/// What can be said of a token at once.
pub(super) enum Verdict {
    Decided(Result<VerifiedToken, Cause>),
    /// Keys have to be fetched first.
    Waiting(Waiting),
}

/// A token whose verdict waits for keys.
pub(super) struct Waiting {
    verifier: Verifier,
    token: Box<str>,
    flight: Flight,
}

impl Waiting {
    pub(super) async fn verdict(self) -> Result<VerifiedToken, Cause> {
        self.flight.ended().await;
        self.verifier.after_fetch(&self.token)
    }
}

/// A token that passed everything but its signature.
struct Plausible<'t> {
    jws: CompactJws<'t>,
    /// Empty where Cloud Run has removed it.
    signature: Vec<u8>,
    claims: Claims,
    times: Times,
    audience: Audience,
    key_id: Box<str>,
}

impl Verifier {
    /// A verifier for Google's ID tokens; the audience is what it needs to be told.
    #[must_use]
    pub fn builder() -> VerifierBuilder {
        VerifierBuilder::default()
    }

    /// Verifies a token; waits for keys if there are none for it.
    ///
    /// # Errors
    /// The first check that the token fails.
    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, Cause> {
        match self.verdict(token) {
            Verdict::Decided(result) => result,
            Verdict::Waiting(waiting) => waiting.verdict().await,
        }
    }

    /// Whether there are keys to verify with. If there are none they are asked for, at most once per back-off.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn ready(&self) -> Result<(), String> {
        self.0.keys.ready().await
    }

    /// The audiences that are accepted.
    #[must_use]
    pub fn audiences(&self) -> &[Audience] {
        &self.0.audiences
    }

    /// What is done about removed signatures.
    #[must_use]
    pub fn signature_check(&self) -> SignatureCheck {
        self.0.signature_check
    }

    /// Says at once what can be said without a fetch.
    pub(super) fn verdict(&self, token: &str) -> Verdict {
        let now = self.0.clock.now();
        if let Some(verified) = self.remembered(token, now) {
            return Verdict::Decided(Ok(verified));
        }
        let plausible = match self.plausible(token, now) {
            Ok(plausible) => plausible,
            Err(cause) => return Verdict::Decided(Err(cause)),
        };
        if plausible.jws.signature_text() == SIGNATURE_REMOVED {
            return Verdict::Decided(Ok(plausible.vouched_for_by_cloud_run()));
        }
        match self.0.keys.look_up(&plausible.key_id, now) {
            LookUp::Wait(flight) => {
                Verdict::Waiting(Waiting { verifier: self.clone(), token: token.into(), flight })
            }
            found => Verdict::Decided(self.finish(token, plausible, found)),
        }
    }

    fn after_fetch(&self, token: &str) -> Result<VerifiedToken, Cause> {
        let now = self.0.clock.now();
        let plausible = self.plausible(token, now)?;
        let found = self.0.keys.look_up_again(&plausible.key_id, now);
        self.finish(token, plausible, found)
    }

    /// A token that was verified before counts again while its keys are the same and its times hold.
    fn remembered(&self, token: &str, now: Moment) -> Option<VerifiedToken> {
        let verified = self.0.verified.find(token)?;
        let in_time = verified.times().check(now.unix_seconds(), self.0.leeway).is_ok();
        let same_keys =
            verified.generation().is_some_and(|generation| self.0.keys.is_still(generation, now));
        (in_time && same_keys).then_some(verified)
    }

    fn plausible<'t>(&self, token: &'t str, now: Moment) -> Result<Plausible<'t>, Cause> {
        let inner = &*self.0;
        checks::access_token(token)?;
        let jws = CompactJws::parse(token)?;
        let removed = jws.signature_text() == SIGNATURE_REMOVED;
        if removed && inner.signature_check == SignatureCheck::Required {
            return Err(Cause::SignatureRemoved);
        }
        // Before any key is asked for: what cannot be a signature of any key costs no fetch.
        let signature = if removed { Vec::new() } else { jws.signature()? };
        let header = Header::parse(jws.header())?;
        checks::algorithm(&header)?;
        checks::header_members(&header)?;
        checks::token_type(&header)?;
        let key_id = checks::key_id(&header)?.into();

        let claims = Claims::parse(jws.payload()).map_err(Cause::Payload)?;
        checks::issuer(&claims, &inner.issuers)?;
        let audience = checks::audience(&claims, &inner.audiences)?.clone();
        checks::subject(&claims)?;
        checks::lifetime(&claims)?;
        let times = Times::of(&claims)?;
        times.check(now.unix_seconds(), inner.leeway)?;
        checks::optional_claims(&claims)?;
        if !removed {
            checks::signature_length(&signature)?;
        }
        Ok(Plausible { jws, signature, claims, times, audience, key_id })
    }

    fn finish(
        &self,
        token: &str,
        plausible: Plausible<'_>,
        found: LookUp,
    ) -> Result<VerifiedToken, Cause> {
        let current: Arc<Current> = match found {
            LookUp::Known(current) => current,
            LookUp::NoKeys(reason) => return Err(Cause::NoKeys { reason }),
            LookUp::Unknown | LookUp::Wait(_) => {
                return Err(Cause::UnknownKey { kid: quoted(&plausible.key_id) });
            }
        };
        plausible.check_signature(current.keys())?;
        let verified = plausible.verified(Some(current.generation()));
        self.0.verified.remember(token, &verified);
        Ok(verified)
    }
}

impl Plausible<'_> {
    fn check_signature(&self, keys: &KeySet) -> Result<(), Cause> {
        let key = keys
            .key(&self.key_id)
            .ok_or_else(|| Cause::UnknownKey { kid: quoted(&self.key_id) })?;
        if key.verifies(self.jws.signing_input(), &self.signature) {
            Ok(())
        } else {
            Err(Cause::Signature)
        }
    }

    /// Never remembered: what vouches for it is the front end, at each request anew.
    fn vouched_for_by_cloud_run(self) -> VerifiedToken {
        self.verified(None)
    }

    fn verified(self, generation: Option<u64>) -> VerifiedToken {
        let payload = self.jws.into_payload();
        VerifiedToken::new(self.claims, self.times, self.audience, payload, generation)
    }
}

/// Most seconds that clocks may be apart.
pub const LONGEST_LEEWAY: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
