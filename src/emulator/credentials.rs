//! Credential files, as Google's tools write them, that lead to this emulator.
//!
//! Shapes: <https://google.aip.dev/auth/4112> (key files), <https://google.aip.dev/auth/4113> (gcloud's login),
//! <https://google.aip.dev/auth/4117> (workload identity federation).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::EmulatorError;
use super::accounts::Account;
use super::google::Google;
use super::token::GCLOUD_CLIENT_ID;
use super::token_endpoint::{self, CLIENT_SECRET};

const UNIVERSE: &str = "googleapis.com";

/// What a credential file proves its holder's identity with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CredentialKind {
    /// A service account's private key (`service_account`).
    ServiceAccount,
    /// A person's login by gcloud (`authorized_user`).
    AuthorizedUser,
}

impl CredentialKind {
    /// All of them.
    pub const ALL: &[Self] = &[Self::ServiceAccount, Self::AuthorizedUser];

    /// The name that the command line and the admin API use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "service-account",
            Self::AuthorizedUser => "authorized-user",
        }
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CredentialKind {
    type Err = EmulatorError;

    fn from_str(name: &str) -> Result<Self, EmulatorError> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| {
            EmulatorError::invalid("kind", name, "service-account or authorized-user")
        })
    }
}

/// Which credential file, and whose.
///
/// ```
/// use countersign::emulator::{CredentialKind, CredentialSpec};
///
/// let of_the_default_account = CredentialSpec::of(CredentialKind::ServiceAccount);
/// let of_another = of_the_default_account.account("other@demo.iam.gserviceaccount.com");
/// # let _ = of_another;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSpec {
    kind: CredentialKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

impl CredentialSpec {
    /// A file of this kind for the emulator's default account (for people: `developer@example.com`).
    #[must_use]
    pub fn of(kind: CredentialKind) -> Self {
        Self { kind, account: None }
    }

    /// Whose identity the file leads to: a service account, and for
    /// [`AuthorizedUser`](CredentialKind::AuthorizedUser) a person.
    #[must_use]
    pub fn account(mut self, email: impl Into<String>) -> Self {
        self.account = Some(email.into());
        self
    }
}

impl From<CredentialKind> for CredentialSpec {
    fn from(kind: CredentialKind) -> Self {
        Self::of(kind)
    }
}

/// Makes the file; what it needs to work (a key, a login, a binding) exists from then on.
pub(super) async fn file(google: &Google, spec: &CredentialSpec) -> Result<Value, EmulatorError> {
    match spec.kind {
        CredentialKind::ServiceAccount => service_account(google, &*target(google, spec)?).await,
        CredentialKind::AuthorizedUser => Ok(authorized_user(google, &person(google, spec)?)),
    }
}

fn target(google: &Google, spec: &CredentialSpec) -> Result<Arc<Account>, EmulatorError> {
    google.accounts.service_account(spec.account.as_deref().unwrap_or(&google.default_account))
}

fn person(google: &Google, spec: &CredentialSpec) -> Result<Arc<Account>, EmulatorError> {
    let email = spec.account.as_deref().unwrap_or("developer@example.com");
    if !Account::of(email)?.person {
        let expected = "a person's address: it is people who log in by gcloud";
        return Err(EmulatorError::invalid("account", email, expected));
    }
    Ok(google.accounts.account(email))
}

async fn service_account(google: &Google, account: &Account) -> Result<Value, EmulatorError> {
    let key = google.account_keys.key(&account.email, google.clock.unix_seconds()).await?;
    let url = google.url();
    Ok(json!({
        "type": "service_account",
        "project_id": google.project.id,
        "private_key_id": key.kid(),
        "private_key": key.private_pem()?,
        "client_email": account.email,
        "client_id": account.sub,
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": format!("{url}{}", token_endpoint::PATH),
        "auth_provider_x509_cert_url": format!("{url}/oauth2/v1/certs"),
        "universe_domain": UNIVERSE,
    }))
}

fn authorized_user(google: &Google, person: &Arc<Account>) -> Value {
    json!({
        "type": "authorized_user",
        "account": person.email,
        "client_id": GCLOUD_CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "refresh_token": google.refresh_tokens.of(person),
        // gcloud does not write it, and some of Google's libraries do not read it; those that do find the emulator.
        "token_uri": format!("{}{}", google.url(), token_endpoint::PATH),
        "universe_domain": UNIVERSE,
    })
}
