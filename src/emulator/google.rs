//! What the emulated Google knows: the state that every endpoint shares.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::EmulatorError;
use super::access_tokens::AccessTokens;
use super::account_keys::AccountKeys;
use super::accounts::{Account, Directory};
use super::faults::Traffic;
use super::front_end::{FrontEnd, ProjectPolicy};
use super::keys::{KeyRing, hex};
use super::metadata::MetadataServer;
use super::offset_clock::OffsetClock;
use super::principal::{Principal, TokenCreators};
use super::sts::Provider;
use super::token_endpoint::RefreshTokens;

/// The state behind every port of one emulator.
#[derive(Debug)]
pub(super) struct Google {
    pub(super) project: Project,
    pub(super) default_account: String,
    pub(super) clock: OffsetClock,
    pub(super) keys: KeyRing,
    pub(super) certs_caching: CertsCaching,
    pub(super) accounts: Directory,
    pub(super) account_keys: AccountKeys,
    pub(super) access_tokens: AccessTokens,
    pub(super) refresh_tokens: RefreshTokens,
    pub(super) token_creators: TokenCreators,
    pub(super) provider: Provider,
    pub(super) policy: ProjectPolicy,
    pub(super) traffic: Traffic,
    pub(super) metadata: Servers<MetadataServer>,
    pub(super) front_ends: Servers<FrontEnd>,
    /// `true` once everything has to stop. Every task holds a receiver, so that an end can be waited for.
    pub(super) stop: watch::Sender<bool>,
    pub(super) address: OnceLock<SocketAddr>,
}

impl Google {
    /// Where the main port is, such as `http://127.0.0.1:9090`.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.host())
    }

    /// The main port's host and port.
    pub(super) fn host(&self) -> String {
        self.address.get().map(SocketAddr::to_string).unwrap_or_default()
    }

    pub(super) fn grant_token_creator(
        &self,
        target: &str,
        member: &str,
    ) -> Result<(), EmulatorError> {
        let target = self.accounts.service_account(target)?;
        self.token_creators.grant(&target.email, Principal::parse(member)?)
    }

    pub(super) fn revoke_token_creator(
        &self,
        target: &str,
        member: &str,
    ) -> Result<bool, EmulatorError> {
        let target = self.accounts.service_account(target)?;
        Ok(self.token_creators.revoke(&target.email, &Principal::parse(member)?))
    }

    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
        // These refer back to this value: without this neither would ever be freed.
        self.metadata.clear();
        self.front_ends.clear();
    }

    pub(super) fn stopped(&self) -> bool {
        *self.stop.borrow()
    }
}

/// The emulated project.
#[derive(Clone, Debug)]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) number: u64,
    pub(super) region: String,
}

/// What the answers with the keys say about caching.
#[derive(Debug)]
pub(super) struct CertsCaching {
    pub(super) max_age_seconds: AtomicU64,
    pub(super) age_seconds: AtomicU64,
}

impl CertsCaching {
    /// What an answer of Google's showed.
    const MAX_AGE_SECONDS: u64 = 23_641;

    pub(super) fn max_age_seconds(&self) -> u64 {
        self.max_age_seconds.load(Ordering::Relaxed)
    }

    pub(super) fn age_seconds(&self) -> u64 {
        self.age_seconds.load(Ordering::Relaxed)
    }
}

impl Default for CertsCaching {
    fn default() -> Self {
        Self {
            max_age_seconds: AtomicU64::new(Self::MAX_AGE_SECONDS),
            age_seconds: AtomicU64::new(0),
        }
    }
}

/// The further ports that were opened, in order.
#[derive(Debug)]
pub(super) struct Servers<T>(Mutex<Vec<T>>);

impl<T> Default for Servers<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Servers<T> {
    pub(super) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, server: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(server);
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// What the metadata server of one account says about the instance that it serves.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// As the `instance_id` claim has it: digits.
    number: u64,
    /// As `instance/id` has it on Cloud Run: long and opaque.
    pub(super) id: String,
    name: String,
    project: Project,
}

impl Instance {
    pub(super) fn of(google: &Google, account: &Account) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, account.sub.as_bytes());
        let number = account.sub.get(2..).and_then(|digits| digits.parse().ok()).unwrap_or(1);
        Self {
            number,
            id: format!("00{}", hex(digest.as_ref())),
            name: account.name().to_owned(),
            project: google.project.clone(),
        }
    }

    /// Cloud Run has no zones; its metadata server makes one up.
    pub(super) fn zone(&self) -> String {
        format!("{}-1", self.project.region)
    }

    /// `google.compute_engine` of a token with `format=full`.
    pub(super) fn claims(&self) -> Value {
        json!({
            "instance_creation_timestamp": 1_700_000_000,
            "instance_id": self.number.to_string(),
            "instance_name": self.name,
            "project_id": self.project.id,
            "project_number": self.project.number,
            "zone": self.zone(),
        })
    }
}
