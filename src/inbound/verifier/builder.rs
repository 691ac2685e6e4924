//! How a verifier is set up.

use std::sync::Arc;
use std::time::Duration;

use super::verified_tokens::VerifiedTokens;
use super::{GOOGLE_ISSUERS, Inner, LONGEST_LEEWAY, SignatureCheck, Verifier};
use crate::clock::{Clock, SystemClock};
use crate::http_client::{HttpClientError, Roots};
use crate::identity::Audience;
use crate::inbound::jwks::cache::KeyCache;
use crate::inbound::jwks::fetch::Fetcher;
use crate::inbound::jwks::{
    CacheLimits, FetchLimits, GOOGLE_JWKS_URL, KeySet, KeyUrl, KeyUrlError,
};

/// What a verifier may take in memory for tokens that it has verified, in bytes.
const VERIFIED_TOKEN_BYTES: usize = 4 * 1024 * 1024;

/// Settings of a [`Verifier`]; each has Google's default but the audience, which has none.
#[derive(Debug)]
pub struct VerifierBuilder {
    audiences: Vec<Audience>,
    issuers: Vec<Box<str>>,
    keys: Keys,
    signature_check: SignatureCheck,
    leeway: Duration,
    clock: Arc<dyn Clock>,
    roots: Roots,
    fetch_limits: FetchLimits,
    cache_limits: CacheLimits,
    verified_token_bytes: usize,
}

#[derive(Debug)]
enum Keys {
    Google,
    Url(KeyUrl),
    Fixed(KeySet),
}

/// Why a verifier cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierError {
    /// A verifier without an audience would take tokens that were made for anybody.
    #[error("no audience is given; a token's audience must be checked, so name at least one")]
    NoAudience,
    /// A verifier without an issuer would refuse everything.
    #[error("no issuer is given; leave the setting out for Google's")]
    NoIssuer,
    /// Too generous to clocks.
    #[error("a clock skew of {found:?} is more than {LONGEST_LEEWAY:?}; mend the clock instead")]
    Leeway {
        /// What was asked for.
        found: Duration,
    },
    /// The HTTP client could not be set up.
    #[error(transparent)]
    HttpClient(#[from] HttpClientError),
    /// The key set's URL cannot be used.
    #[error(transparent)]
    KeyUrl(#[from] KeyUrlError),
}

impl Default for VerifierBuilder {
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            issuers: GOOGLE_ISSUERS.map(Into::into).into(),
            keys: Keys::Google,
            signature_check: SignatureCheck::default(),
            leeway: Duration::from_secs(60),
            clock: Arc::new(SystemClock),
            roots: Roots::bundled(),
            fetch_limits: FetchLimits::default(),
            cache_limits: CacheLimits::default(),
            verified_token_bytes: VERIFIED_TOKEN_BYTES,
        }
    }
}

impl VerifierBuilder {
    /// Accepts tokens made for this audience, too.
    #[must_use]
    pub fn audience(mut self, audience: Audience) -> Self {
        self.audiences.push(audience);
        self
    }

    /// Accepts tokens made for these audiences, too.
    #[must_use]
    pub fn audiences(mut self, audiences: impl IntoIterator<Item = Audience>) -> Self {
        self.audiences.extend(audiences);
        self
    }

    /// Accepts these issuers in place of Google's two spellings.
    #[must_use]
    pub fn issuers(mut self, issuers: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        self.issuers = issuers.into_iter().map(Into::into).collect();
        self
    }

    /// Fetches keys from here in place of Google's URL.
    #[must_use]
    pub fn key_url(mut self, url: KeyUrl) -> Self {
        self.keys = Keys::Url(url);
        self
    }

    /// Verifies with these keys and fetches none.
    #[must_use]
    pub fn fixed_keys(mut self, keys: KeySet) -> Self {
        self.keys = Keys::Fixed(keys);
        self
    }

    /// What to do about removed signatures.
    #[must_use]
    pub fn signature_check(mut self, check: SignatureCheck) -> Self {
        self.signature_check = check;
        self
    }

    /// How far clocks may be apart; 60 s by default, at most 300 s.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Tells the time by this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Trusts these certificate authorities when fetching keys.
    #[must_use]
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// What one fetch of keys may take.
    #[must_use]
    pub fn fetch_limits(mut self, limits: FetchLimits) -> Self {
        self.fetch_limits = limits;
        self
    }

    /// How long keys are used and how often they may be asked for.
    #[must_use]
    pub fn cache_limits(mut self, limits: CacheLimits) -> Self {
        self.cache_limits = limits;
        self
    }

    /// What verified tokens may take in memory, in bytes; 4 MiB by default, 0 remembers none.
    #[must_use]
    pub fn verified_token_bytes(mut self, bytes: usize) -> Self {
        self.verified_token_bytes = bytes;
        self
    }

    /// Builds the verifier. No key is fetched yet: the first token that could be good does that.
    ///
    /// # Errors
    /// When no audience or no issuer is given, or the leeway is longer than 300 s.
    pub fn build(self) -> Result<Verifier, VerifierError> {
        if self.audiences.is_empty() {
            return Err(VerifierError::NoAudience);
        }
        if self.issuers.is_empty() {
            return Err(VerifierError::NoIssuer);
        }
        if self.leeway > LONGEST_LEEWAY {
            return Err(VerifierError::Leeway { found: self.leeway });
        }
        let fetching = |url: KeyUrl| -> Result<KeyCache, VerifierError> {
            let fetcher = Fetcher::new(url, self.fetch_limits, &self.roots)?;
            Ok(KeyCache::fetching(fetcher, self.cache_limits, Arc::clone(&self.clock)))
        };
        let keys = match self.keys {
            Keys::Google => fetching(KeyUrl::parse(GOOGLE_JWKS_URL, false)?)?,
            Keys::Url(url) => fetching(url)?,
            Keys::Fixed(keys) => KeyCache::fixed(keys, Arc::clone(&self.clock)),
        };
        Ok(Verifier(Arc::new(Inner {
            audiences: self.audiences.into(),
            issuers: self.issuers.into(),
            signature_check: self.signature_check,
            // At most 300.
            leeway: i64::try_from(self.leeway.as_secs()).unwrap_or(0),
            clock: self.clock,
            keys,
            verified: VerifiedTokens::of_bytes(self.verified_token_bytes),
        })))
    }
}
