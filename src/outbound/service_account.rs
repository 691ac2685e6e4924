//! A service account's key file: an assertion that is signed with the key is exchanged for a token (RFC 7523).
//!
//! The assertion is sent to the file's `token_uri` and is good for an hour at most. The private key is in no error, log
//! line or `Debug`.
//!
//! Source: <https://developers.google.com/identity/protocols/oauth2/service-account>,
//! <https://google.aip.dev/auth/4112>.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use url::Url;

use super::access_token::{AccessFuture, AccessToken, AccessTokenSource, SCOPE};
use super::credential_file::{CredentialError, Fields};
use super::endpoint::{SourceOptions, safe_url, shown};
use super::exchange::{Advice, Exchange, text_member};
use super::source::{FetchFuture, IdTokenSource, SourceError, SourceFault, check};
use crate::identity::{Audience, IdToken};

/// How long an assertion is good. Google takes up to an hour; this one is used at once, and clocks differ.
const ASSERTION_SECONDS: i64 = 600;
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A service account's key file, as a source of ID tokens. Cheap to clone.
///
/// ```no_run
/// use countersign::outbound::{IdTokenSource, ServiceAccountKey, SourceOptions};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let key = ServiceAccountKey::from_file("key.json", &SourceOptions::default())?;
/// let token = key.fetch(&"https://orders-123.europe-west1.run.app".parse()?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServiceAccountKey(Arc<Inner>);

struct Inner {
    email: String,
    key: KeyPair,
    key_id: Option<String>,
    token_url: Url,
    exchange: Exchange,
}

impl ServiceAccountKey {
    /// The key in a file of type `service_account`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the file cannot be read, or a field is missing or wrong: each with the file's and the field's name.
    pub fn from_file(
        path: impl AsRef<Path>,
        options: &SourceOptions,
    ) -> Result<Self, CredentialError> {
        let fields = Fields::read(path.as_ref())?;
        let kind = fields.text("type")?;
        if kind != "service_account" {
            return Err(
                fields.wrong("type", format!("found {kind:?}, expected \"service_account\""))
            );
        }
        Self::from_fields(&fields, options)
    }

    pub(super) fn from_fields(
        fields: &Fields,
        options: &SourceOptions,
    ) -> Result<Self, CredentialError> {
        let email = fields.text("client_email")?;
        if !email.contains('@') || !email.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fields.wrong("client_email", "expected a service account's e-mail address"));
        }
        let key = private_key(fields.text("private_key")?)
            .map_err(|message| fields.wrong("private_key", message))?;
        let universe = fields.universe()?;
        let token_url = match (&options.token_url, fields.optional_url("token_uri")?) {
            (Some(url), _) => safe_url(url.as_str())
                .map_err(|message| fields.wrong("token_uri (as set elsewhere)", message))?,
            (None, Some(url)) => url,
            (None, None) => safe_url(&format!("https://oauth2.{universe}/token"))
                .map_err(|message| fields.wrong("universe_domain", message))?,
        };
        Ok(Self(Arc::new(Inner {
            email: email.to_owned(),
            key,
            key_id: fields.optional("private_key_id")?.map(str::to_owned),
            exchange: options.exchange(&token_url)?,
            token_url,
        })))
    }

    /// The service account's e-mail address.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.0.email
    }

    async fn ask<T>(
        &self,
        purpose: (&str, &str),
        accept: impl Fn(&[u8]) -> Result<T, SourceFault>,
    ) -> Result<T, SourceError> {
        let inner = &*self.0;
        // The same assertion serves every try: it outlives the budget by far.
        let assertion = inner
            .assertion(purpose)
            .map_err(|fault| SourceError::new(self.place(), 1, fault, ""))?;
        let form = form(&[("grant_type", GRANT), ("assertion", &assertion)]);
        let request = |client: &reqwest::Client| {
            client
                .post(inner.token_url.clone())
                .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.clone())
        };
        inner.exchange.run(self.place(), request, accept, |fault| inner.advice(fault)).await
    }

    fn place(&self) -> String {
        let kind = format!("the key of {}, used", self.email());
        shown(kind, &self.0.token_url)
    }
}

impl Inner {
    fn assertion(&self, (name, value): (&str, &str)) -> Result<String, SourceFault> {
        let now = self.exchange.clock.now().unix_seconds();
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.key_id {
            header["kid"] = id.as_str().into();
        }
        let mut claims = json!({
            "iss": self.email, "sub": self.email, "aud": self.token_url.as_str(),
            "iat": now, "exp": now.saturating_add(ASSERTION_SECONDS),
        });
        claims[name] = value.into();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)
            .map_err(|_| SourceFault::Local("the assertion could not be signed".into()))?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn advice(&self, fault: &SourceFault) -> Advice {
        let SourceFault::Status { status, excerpt } = fault else { return endpoint_advice(fault) };
        match *status {
            StatusCode::BAD_REQUEST if excerpt.contains("account not found") => {
                "the service account was deleted, or the key file is of another Google: get a new key".into()
            }
            StatusCode::BAD_REQUEST if excerpt.contains("short-lived") => {
                "check this machine's clock".into()
            }
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => {
                let id = self.key_id.as_deref().unwrap_or("without id");
                format!(
                    "the key {id:.16} may be revoked or of another account (gcloud iam service-accounts keys list \
                     --iam-account={}), or the audience is none that Google takes",
                    self.email
                )
                .into()
            }
            _ => endpoint_advice(fault),
        }
    }
}

/// What to do about faults that every endpoint can have.
pub(super) fn endpoint_advice(fault: &SourceFault) -> Advice {
    match fault {
        SourceFault::Unreachable(_) | SourceFault::TimedOut { .. } => {
            "check the network and the proxy settings (HTTPS_PROXY), or the URL if another than Google's is set".into()
        }
        SourceFault::Status { status, .. } => match *status {
            StatusCode::FORBIDDEN => "something in between may forbid it: a proxy or a service perimeter".into(),
            StatusCode::NOT_FOUND => "check the URL: Google's endpoint is not there".into(),
            status if status.is_redirection() => {
                "credentials do not follow redirects: set the URL that it points to".into()
            }
            _ => "".into(),
        },
        SourceFault::Expired { .. } => "check this machine's clock".into(),
        _ => "".into(),
    }
}

impl IdTokenSource for ServiceAccountKey {
    fn fetch<'a>(&'a self, audience: &'a Audience) -> FetchFuture<'a> {
        Box::pin(self.ask(("target_audience", audience.as_str()), |body| {
            let token = text_member(body, "id_token", "an object with \"id_token\"")?;
            check(IdToken::parse(&token)?, audience, self.0.exchange.clock.now())
        }))
    }

    fn budget(&self) -> Duration {
        self.0.exchange.budget.now()
    }

    fn name(&self) -> Arc<str> {
        self.place().into()
    }
}

impl AccessTokenSource for ServiceAccountKey {
    fn fetch(&self) -> AccessFuture<'_> {
        Box::pin(self.ask(("scope", SCOPE), AccessToken::from_oauth))
    }

    fn budget(&self) -> Duration {
        self.0.exchange.budget.now()
    }

    fn name(&self) -> Arc<str> {
        self.place().into()
    }
}

// The private half stays out of every log.
impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountKey")
            .field("email", &self.0.email)
            .field("token_url", &self.0.token_url.as_str())
            .finish_non_exhaustive()
    }
}

/// `name=value&…` (application/x-www-form-urlencoded).
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// An RSA key in PEM, PKCS #8 or PKCS #1 (RFC 7468, RFC 8017 appendix A.1.2), with any line ends.
fn private_key(pem: &str) -> Result<KeyPair, &'static str> {
    if !pem.contains("-----BEGIN") {
        return Err("not PEM: expected `-----BEGIN PRIVATE KEY-----` and what follows it");
    }
    if pem.contains("\\n") {
        return Err(
            "its line ends are written as two characters, \\ and n: get the key file again, unedited",
        );
    }
    let broken = "broken PEM: get the key file again, and do not edit it";
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| broken)?;
    let pair = match &key {
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err("not an RSA key: expected the one that Google made"),
    };
    pair.map_err(|_| "not an RSA key of at least 2048 bits: get the key file again")
}
