//! How an emulator is set up before it starts.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::access_tokens::AccessTokens;
use super::account_keys::AccountKeys;
use super::accounts::Directory;
use super::faults::Traffic;
use super::front_end::ProjectPolicy;
use super::google::{CertsCaching, Google, Project, Servers};
use super::keys::KeyRing;
use super::metadata::Metadata;
use super::offset_clock::OffsetClock;
use super::port::Port;
use super::principal::TokenCreators;
use super::sts::{self, Provider};
use super::token_endpoint::{self, RefreshTokens};
use super::{Emulator, EmulatorError, Listener, admin, certs, iam_credentials};
use crate::clock::{Clock, SystemClock};

/// Settings of an [`Emulator`] that is about to start. Each has a default.
#[derive(Clone, Debug)]
#[must_use]
pub struct EmulatorBuilder {
    port: u16,
    project: String,
    project_number: u64,
    region: String,
    default_account: Option<String>,
    accounts: Vec<String>,
    owners: Vec<String>,
    editors: Vec<String>,
    clock: Arc<dyn Clock>,
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        Self {
            port: 0,
            project: "demo".to_owned(),
            project_number: 123_456_789_012,
            region: "us-central1".to_owned(),
            default_account: None,
            accounts: Vec::new(),
            owners: Vec::new(),
            editors: Vec::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl EmulatorBuilder {
    /// The main port on 127.0.0.1; 0, the default, is any free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The project's id; `demo` unless set.
    pub fn project(mut self, id: impl Into<String>) -> Self {
        self.project = id.into();
        self
    }

    /// The project's number; 123456789012 unless set.
    pub fn project_number(mut self, number: u64) -> Self {
        self.project_number = number;
        self
    }

    /// The region; `us-central1` unless set.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// The account that is `default` on the main port, and whose tokens are minted where no account is named;
    /// `caller@PROJECT.iam.gserviceaccount.com` unless set.
    pub fn default_account(mut self, email: impl Into<String>) -> Self {
        self.default_account = Some(email.into());
        self
    }

    /// One more service account to list. Others exist as soon as they are named anywhere.
    pub fn service_account(mut self, email: impl Into<String>) -> Self {
        self.accounts.push(email.into());
        self
    }

    /// An owner of the project, as an IAM member (`user:…`, `serviceAccount:…`): Cloud Run's door lets owners in
    /// whatever a service's own bindings say.
    pub fn project_owner(mut self, member: impl Into<String>) -> Self {
        self.owners.push(member.into());
        self
    }

    /// An editor of the project; the door lets editors in as well.
    pub fn project_editor(mut self, member: impl Into<String>) -> Self {
        self.editors.push(member.into());
        self
    }

    /// Where the time comes from; the system's clock unless set.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Generates keys, opens the main port and serves it.
    ///
    /// # Errors
    /// The port is taken, an account or a member is not well formed, or keys could not be generated.
    pub async fn start(self) -> Result<Emulator, EmulatorError> {
        let default_account = self
            .default_account
            .unwrap_or_else(|| format!("caller@{}.iam.gserviceaccount.com", self.project));
        let accounts = Directory::default();
        let default_account = accounts.service_account(&default_account)?.email.clone();
        for account in &self.accounts {
            accounts.service_account(account)?;
        }
        let listener = Listener::open(self.port).await?;
        let clock = OffsetClock::new(self.clock);
        let google = Arc::new(Google {
            project: Project { id: self.project, number: self.project_number, region: self.region },
            default_account: default_account.clone(),
            keys: KeyRing::generate(clock.unix_seconds()).await?,
            clock,
            certs_caching: CertsCaching::default(),
            accounts,
            account_keys: AccountKeys::default(),
            access_tokens: AccessTokens::default(),
            refresh_tokens: RefreshTokens::default(),
            token_creators: TokenCreators::default(),
            provider: Provider::default(),
            policy: ProjectPolicy::new(&self.owners, &self.editors)?,
            traffic: Traffic::default(),
            metadata: Servers::default(),
            front_ends: Servers::default(),
            stop: watch::Sender::new(false),
            address: OnceLock::from(listener.address()),
        });
        let metadata = Metadata::new(Arc::clone(&google), default_account, listener.address());
        let router = certs::router()
            .merge(token_endpoint::router())
            .merge(iam_credentials::router())
            .merge(sts::router())
            .merge(admin::router(&google))
            .with_state(Arc::clone(&google))
            .merge(metadata.router());
        let port = Port::new(Arc::clone(&google), router);
        listener.serve(Arc::new(port), google.stop.subscribe());
        Ok(Emulator { google })
    }
}
