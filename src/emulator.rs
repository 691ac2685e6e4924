//! Google's identity endpoints and Cloud Run's front end on loopback, so that everything runs on a laptop and in tests
//! without an account.
//!
//! ```
//! use countersign::emulator::{BadToken, Emulator, TokenSpec};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let emulator = Emulator::start().await?;
//!
//! // What a called function is pointed at:
//! println!("JWKS_URL={}", emulator.jwks_url());
//! // What a caller asks for its identity:
//! println!("GCE_METADATA_HOST={}", emulator.host());
//!
//! // Tokens, good and bad:
//! let good = emulator.mint(&TokenSpec::for_audience("https://called.example"));
//! let forged =
//!     emulator.mint(&TokenSpec::for_audience("https://called.example").bad(BadToken::ForgedSameKid));
//! assert_ne!(good, forged);
//!
//! emulator.shutdown().await;
//! # Ok::<(), countersign::emulator::EmulatorError>(())
//! # }).unwrap();
//! ```
//!
//! One port serves the keys (`/oauth2/v3/certs`, `/oauth2/v1/certs`), the metadata server of the default account, the OAuth
//! token endpoint (`/token`), IAM Credentials (`/v1/projects/-/serviceAccounts/…`), the Security Token Service
//! (`/v1/token`) with an identity provider of its own (`/subject-token`), and the admin API under `/admin/`.
//! [`Emulator::credentials`] makes credential files that lead there. [`Emulator::metadata_for`] opens a metadata server for another account, as every
//! Cloud Run service has its own; [`Emulator::front_end`] puts Cloud Run's front end before a server.
//!
//! It listens on 127.0.0.1 only, and its keys are new at each start: what they sign is worth nothing anywhere else.
//!
//! Signing and publishing are this module's own code and share nothing with the code that verifies, so that both
//! cannot agree on one mistake.

mod access_tokens;
mod account_keys;
mod accounts;
mod admin;
mod builder;
mod certs;
mod credentials;
mod error;
mod faults;
mod front_end;
mod google;
mod iam_credentials;
mod jwt;
mod keys;
mod listener;
mod metadata;
mod oauth;
mod offset_clock;
mod pages;
mod port;
mod principal;
mod sts;
mod token;
mod token_endpoint;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use self::builder::EmulatorBuilder;
pub use self::credentials::{CredentialKind, CredentialSpec};
pub use self::error::EmulatorError;
pub use self::faults::{Endpoint, Fault, FaultKind};
pub use self::front_end::{
    AuthorizationHandling, Decision, FrontEnd, FrontEndSpec, Ingress, Received,
};
use self::google::{Google, Instance};
use self::listener::Listener;
pub use self::metadata::MetadataServer;
pub use self::token::{BadToken, GCLOUD_CLIENT_ID, TokenFormat, TokenSpec, UnknownBadToken};

/// A running emulator. Dropping it stops it and everything that it opened; share it in an [`Arc`].
#[derive(Debug)]
#[must_use = "dropping an emulator stops it"]
pub struct Emulator {
    google: Arc<Google>,
}

impl Emulator {
    /// Starts one on any free port, with every default of [`EmulatorBuilder`].
    ///
    /// # Errors
    /// Loopback cannot be listened on, or keys could not be generated.
    pub async fn start() -> Result<Self, EmulatorError> {
        Self::builder().start().await
    }

    /// Settings for one that is to start.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }

    /// Host and port of the main port, as `GCE_METADATA_HOST` takes it: `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.google.host()
    }

    /// The main port's origin, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        self.google.url()
    }

    /// Where the keys are published as a JWK set.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}/oauth2/v3/certs", self.url())
    }

    /// The account that is `default` on the main port.
    #[must_use]
    pub fn default_account(&self) -> &str {
        &self.google.default_account
    }

    /// The unique id (`sub`) of an account: the same in each run.
    #[must_use]
    pub fn unique_id(&self, email: &str) -> String {
        self.google.accounts.account(email).sub.clone()
    }

    /// Deletes an account and makes it again under the same address: its new unique id.
    pub fn recreate_account(&self, email: &str) -> String {
        self.google.accounts.recreate(email).sub.clone()
    }

    /// What a child process needs to be pointed at this emulator: names and values for its environment.
    ///
    /// gcloud finds the token endpoint and IAM Credentials by it, too. What would be found before the metadata server is
    /// the parent's to keep away: remove `GOOGLE_APPLICATION_CREDENTIALS`, and set `CLOUDSDK_CONFIG` to an empty directory,
    /// or a developer's own login is used (`countersign emulator -- COMMAND` does both).
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut all = metadata::environment(&self.host());
        all.extend(
            [
                ("JWKS_URL", self.jwks_url()),
                ("TRUST_EMULATOR", "1".to_owned()),
                ("CLOUDSDK_AUTH_TOKEN_HOST", format!("{}{}", self.url(), token_endpoint::PATH)),
                ("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", format!("{}/", self.url())),
                ("IAM_CREDENTIALS_URL", self.url()),
                ("GOOGLE_CLOUD_PROJECT", self.google.project.id.clone()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        all
    }

    /// The metadata server of a service account, on a port of its own. Asked again, it is the same one.
    ///
    /// # Errors
    /// The address is no service account's, or no port is free.
    pub async fn metadata_for(&self, email: &str) -> Result<MetadataServer, EmulatorError> {
        MetadataServer::open(&self.google, email).await
    }

    /// Opens a front end before a server, as Cloud Run has one before each service.
    ///
    /// # Errors
    /// The specification cannot be met (the error names the field), or no port is free.
    pub async fn front_end(&self, spec: FrontEndSpec) -> Result<FrontEnd, EmulatorError> {
        FrontEnd::open(&self.google, spec).await
    }

    /// Mints a token: good, or bad in a way that has a name.
    #[must_use]
    pub fn mint(&self, spec: &TokenSpec) -> String {
        token::mint(&self.google, spec)
    }

    /// The time by the emulator's clock, in seconds since the Unix epoch.
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        self.google.clock.unix_seconds()
    }

    /// Sets the emulator's clock so many seconds ahead of the real one, or behind it where negative.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.google.clock.set_offset_seconds(seconds);
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn current_kid(&self) -> String {
        self.google.keys.current().kid().to_owned()
    }

    /// The ids of the published keys, oldest first.
    #[must_use]
    pub fn published_kids(&self) -> Vec<String> {
        self.google.keys.published().iter().map(|key| key.kid().to_owned()).collect()
    }

    /// A new key signs from now on; the one that did so stays published, those before it do not. Its kid.
    ///
    /// # Errors
    /// The key could not be generated.
    pub async fn rotate_keys(&self) -> Result<String, EmulatorError> {
        self.google.keys.rotate(self.unix_seconds(), true).await
    }

    /// A new key signs from now on and is the only one that is published. Its kid.
    ///
    /// # Errors
    /// The key could not be generated.
    pub async fn rotate_keys_abruptly(&self) -> Result<String, EmulatorError> {
        self.google.keys.rotate(self.unix_seconds(), false).await
    }

    /// Takes a key out of the published set. If it was the one that signs, the newest that is left does; if none is
    /// left, it goes on signing what nobody can verify.
    ///
    /// # Errors
    /// No published key has this id.
    pub fn withdraw_key(&self, kid: &str) -> Result<(), EmulatorError> {
        self.google.keys.withdraw(kid)
    }

    /// `max-age` of the answers with the keys, in seconds; 23641 unless set.
    pub fn set_certs_max_age(&self, seconds: u64) {
        self.google.certs_caching.max_age_seconds.store(seconds, Ordering::Relaxed);
    }

    /// `Age` of the answers with the keys, in seconds; 0 unless set.
    pub fn set_certs_age(&self, seconds: u64) {
        self.google.certs_caching.age_seconds.store(seconds, Ordering::Relaxed);
    }

    /// Lets something go wrong from the next request on.
    ///
    /// # Errors
    /// The fault cannot be acted out: the error names the field.
    pub fn inject(&self, fault: Fault) -> Result<(), EmulatorError> {
        self.google.traffic.inject(fault)
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.google.traffic.clear();
    }

    /// How many requests an endpoint has had, those that met a fault included.
    #[must_use]
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.google.traffic.requests(endpoint)
    }

    /// Stops it, and waits until every port is closed and every connection gone.
    pub async fn shutdown(self) {
        self.google.stop();
        self.google.stop.closed().await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.google.stop();
    }
}
