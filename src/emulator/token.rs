//! ID tokens as Google signs them, and as Google never would.

mod bad;
mod corruption;
mod draft;
mod forgery;
mod jwe;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::bad::{BadToken, UnknownBadToken};
use self::draft::{Draft, Members};
use super::accounts::Account;
use super::google::Google;
use super::keys::SigningKey;
use super::{EmulatorError, Instance};

/// The OAuth client id of the gcloud command line: the audience of the tokens that people get from it.
pub const GCLOUD_CLIENT_ID: &str = "32555940559.apps.googleusercontent.com";
/// Google's issuer, in the form that its tokens carry today.
pub(super) const ISSUER: &str = "https://accounts.google.com";
/// How long Google's ID tokens live, in seconds.
pub(super) const LIFETIME_SECONDS: i64 = 3600;

/// What a token should say: a good one unless [`bad`](Self::bad) or the overrides make it something else.
///
/// ```
/// use countersign::emulator::{BadToken, TokenSpec};
///
/// let good = TokenSpec::for_audience("https://called.example");
/// let of_another = good.clone().account("stranger@demo.iam.gserviceaccount.com");
/// let expired = good.clone().bad(BadToken::Expired);
/// let old = good.issued_offset(-61 * 60);
/// # let _ = (of_another, expired, old);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSpec {
    audience: Option<String>,
    account: Option<String>,
    format: TokenFormat,
    issued_offset_seconds: i64,
    lifetime_seconds: Option<i64>,
    claims: Map<String, Value>,
    without_claims: Vec<String>,
    header: Map<String, Value>,
    without_header: Vec<String>,
    bad: Option<BadToken>,
}

/// How much the metadata server puts into a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenFormat {
    /// Without `email`: what the metadata server gives unless it is asked for `format=full`.
    Standard,
    /// With `email`, `email_verified` and, for service accounts, what the instance is.
    #[default]
    Full,
    /// As `Full`, with the licences of the instance's image (`licenses=TRUE`).
    FullWithLicenses,
}

impl TokenSpec {
    /// A token of the emulator's default account for this audience.
    #[must_use]
    pub fn for_audience(audience: impl Into<String>) -> Self {
        Self { audience: Some(audience.into()), ..Self::default() }
    }

    /// A person's token as gcloud prints it: unless another audience is set, it is gcloud's own client id.
    #[must_use]
    pub fn for_person(email: impl Into<String>) -> Self {
        Self { account: Some(email.into()), ..Self::default() }
    }

    /// Whose token it is: a service account if the address ends in `.gserviceaccount.com`, else a person.
    #[must_use]
    pub fn account(mut self, email: impl Into<String>) -> Self {
        self.account = Some(email.into());
        self
    }

    /// Whom it is for.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// With or without `email`.
    #[must_use]
    pub fn format(mut self, format: TokenFormat) -> Self {
        self.format = format;
        self
    }

    /// When it is issued, in seconds from the emulator's present: negative for the past. `exp` moves along.
    #[must_use]
    pub fn issued_offset(mut self, seconds: i64) -> Self {
        self.issued_offset_seconds = seconds;
        self
    }

    /// `exp` minus `iat`, in seconds; 3600 unless set.
    #[must_use]
    pub fn lifetime(mut self, seconds: i64) -> Self {
        self.lifetime_seconds = Some(seconds);
        self
    }

    /// One more claim, or another value for a claim.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without_claim(mut self, name: impl Into<String>) -> Self {
        self.without_claims.push(name.into());
        self
    }

    /// One more member of the JOSE header, or another value for one. What signs stays RS256 with the current key.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.header.insert(name.into(), value.into());
        self
    }

    /// Leaves a member of the JOSE header out.
    #[must_use]
    pub fn without_header(mut self, name: impl Into<String>) -> Self {
        self.without_header.push(name.into());
        self
    }

    /// Makes it bad in this way.
    #[must_use]
    pub fn bad(mut self, bad: BadToken) -> Self {
        self.bad = Some(bad);
        self
    }

    /// For specifications that come from outside: an account that is no address, or a service account's token without an
    /// audience, are more likely mistakes than meant.
    pub(super) fn check(&self) -> Result<(), EmulatorError> {
        let person = match &self.account {
            Some(email) => Account::of(email)?.person,
            None => false,
        };
        if self.audience.is_none() && !person {
            return Err(EmulatorError::invalid(
                "audience",
                "nothing",
                "the audience, such as https://called.example (only a person's token has one by default)",
            ));
        }
        Ok(())
    }
}

/// What the corruptions need to know beside the token itself.
struct Bench<'a> {
    google: &'a Google,
    now: i64,
}

/// Mints what the specification says.
pub(super) fn mint(google: &Google, spec: &TokenSpec) -> String {
    let account =
        google.accounts.account(spec.account.as_deref().unwrap_or(&google.default_account));
    let now = google.clock.unix_seconds();
    let mut draft = genuine(google, &account, spec, now.saturating_add(spec.issued_offset_seconds));
    draft.claims.merge(&spec.claims, &spec.without_claims);
    draft.header.merge(&spec.header, &spec.without_header);
    let bench = Bench { google, now };
    match spec.bad {
        None => draft.signed(&google.keys.current()),
        Some(bad) => corruption::apply(bad, draft, &bench),
    }
}

fn genuine(google: &Google, account: &Account, spec: &TokenSpec, issued: i64) -> Draft {
    let audience = spec.audience.as_deref().unwrap_or(GCLOUD_CLIENT_ID);
    let lifetime = spec.lifetime_seconds.unwrap_or(LIFETIME_SECONDS);
    let mut claims = if account.person {
        person_claims(account, audience)
    } else {
        let instance = Instance::of(google, account);
        service_account_claims(account, audience, spec.format, &instance)
    };
    claims.set("iat", json!(issued));
    claims.set("exp", json!(issued.saturating_add(lifetime)));
    claims.set("iss", json!(ISSUER));
    let mut header = Members::default();
    header.set("alg", json!("RS256"));
    header.set("kid", json!(google.keys.current().kid()));
    header.set("typ", json!("JWT"));
    Draft { header, claims }
}

fn service_account_claims(
    account: &Account,
    audience: &str,
    format: TokenFormat,
    instance: &Instance,
) -> Members {
    let mut claims = Members::default();
    claims.set("aud", json!(audience));
    claims.set("azp", json!(account.sub));
    claims.set("sub", json!(account.sub));
    if format != TokenFormat::Standard {
        claims.set("email", json!(account.email));
        claims.set("email_verified", json!(true));
        let mut engine = instance.claims();
        if format == TokenFormat::FullWithLicenses {
            engine["license_id"] = json!(["1000204"]);
        }
        claims.set("google", json!({ "compute_engine": engine }));
    }
    claims
}

fn person_claims(account: &Account, audience: &str) -> Members {
    let mut claims = Members::default();
    claims.set("aud", json!(audience));
    claims.set("azp", json!(GCLOUD_CLIENT_ID));
    claims.set("sub", json!(account.sub));
    claims.set("email", json!(account.email));
    claims.set("email_verified", json!(true));
    // The left half of the hash of an access token that came along (OpenID Connect Core 3.1.3.6).
    claims.set("at_hash", json!(draft::left_half_hash(&access_token())));
    if let Some(domain) = account.hosted_domain() {
        claims.set("hd", json!(domain));
    }
    claims
}

/// A JWT around this payload, which is JSON text and taken as it is.
pub(super) fn sign_payload(key: &SigningKey, payload: &str) -> String {
    let header = json!({"alg": "RS256", "kid": key.kid(), "typ": "JWT"}).to_string();
    let input = format!("{}.{}", draft::encode(header), draft::encode(payload));
    let signature = draft::encode(key.sign(input.as_bytes()));
    format!("{input}.{signature}")
}

/// `at_hash` of an access token (OpenID Connect Core 3.1.3.6).
pub(super) fn at_hash(access_token: &str) -> String {
    draft::left_half_hash(access_token)
}

/// A refresh token as gcloud's login gets it: opaque to everybody but Google.
pub(super) fn refresh_token() -> String {
    format!("1//0{}", random())
}

/// An access token as the metadata server gives it: opaque to everybody but Google.
pub(super) fn access_token() -> String {
    format!("ya29.c.{}", random())
}

fn random() -> String {
    let mut random = [0_u8; 96];
    // Without randomness nothing else here works either; the token is worth nothing outside this process.
    let _ = aws_lc_rs::rand::fill(&mut random);
    draft::encode(random)
}
