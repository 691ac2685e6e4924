//! Credential files, as Google's tools write them, that lead to this emulator.
//!
//! Shapes: <https://google.aip.dev/auth/4112> (key files), <https://google.aip.dev/auth/4113> (gcloud's login),
//! <https://google.aip.dev/auth/4117> (workload identity federation).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::accounts::{Account, SERVICE_ACCOUNT_SUFFIX};
use super::google::Google;
use super::iam_credentials;
use super::principal::Principal;
use super::sts::{self, PoolProvider};
use super::token::GCLOUD_CLIENT_ID;
use super::token_endpoint::{self, CLIENT_SECRET};
use super::{Emulator, EmulatorError};

const UNIVERSE: &str = "googleapis.com";

/// What a credential file proves its holder's identity with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CredentialKind {
    /// A service account's private key (`service_account`).
    ServiceAccount,
    /// A service account's key, to mint as another service account (`impersonated_service_account`).
    Impersonated,
    /// The token of a provider elsewhere, federated, to mint as a service account (`external_account`).
    ExternalAccount,
    /// A person's login by gcloud (`authorized_user`).
    AuthorizedUser,
}

impl CredentialKind {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::ServiceAccount, Self::Impersonated, Self::ExternalAccount, Self::AuthorizedUser];

    /// The name that the command line and the admin API use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "service-account",
            Self::Impersonated => "impersonated",
            Self::ExternalAccount => "external-account",
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
            EmulatorError::invalid(
                "kind",
                name,
                "service-account, impersonated, external-account or authorized-user",
            )
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject_token_file: Option<String>,
}

impl CredentialSpec {
    /// A file of this kind for the emulator's default account (for people: `developer@example.com`).
    #[must_use]
    pub fn of(kind: CredentialKind) -> Self {
        Self { kind, account: None, subject_token_file: None }
    }

    /// Whose identity the file leads to: a service account, and for
    /// [`AuthorizedUser`](CredentialKind::AuthorizedUser) a person.
    #[must_use]
    pub fn account(mut self, email: impl Into<String>) -> Self {
        self.account = Some(email.into());
        self
    }

    /// For [`ExternalAccount`](CredentialKind::ExternalAccount): the subject token is read from this file, which the
    /// emulator does not write, and not from the emulator's `/subject-token`.
    #[must_use]
    pub fn subject_token_file(mut self, path: impl Into<String>) -> Self {
        self.subject_token_file = Some(path.into());
        self
    }
}

impl From<CredentialKind> for CredentialSpec {
    fn from(kind: CredentialKind) -> Self {
        Self::of(kind)
    }
}

impl Emulator {
    /// A credential file, in JSON, that works against this emulator: what `GOOGLE_APPLICATION_CREDENTIALS` names.
    ///
    /// What the file needs exists from then on: the account, its key, a login. Of an account the same key or login is
    /// handed out each time.
    ///
    /// # Errors
    /// The account is not one of the right kind, or a key could not be generated.
    pub async fn credentials(
        &self,
        spec: impl Into<CredentialSpec>,
    ) -> Result<String, EmulatorError> {
        let file = file(&self.google, &spec.into()).await?;
        Ok(format!("{file:#}\n"))
    }

    /// Lets a member mint as a service account, by IAM Credentials (`roles/iam.serviceAccountTokenCreator`). The member
    /// is `serviceAccount:EMAIL`, `user:EMAIL` or one `principal://…` of a workload identity pool.
    ///
    /// # Errors
    /// The account or the member is not well formed.
    pub fn grant_token_creator(&self, target: &str, member: &str) -> Result<(), EmulatorError> {
        self.google.grant_token_creator(target, member)
    }

    /// Takes that role away; `false` if the member did not have it.
    ///
    /// # Errors
    /// The account or the member is not well formed.
    pub fn revoke_token_creator(&self, target: &str, member: &str) -> Result<bool, EmulatorError> {
        self.google.revoke_token_creator(target, member)
    }

    /// A token of the emulated workload's own identity provider, for the pool that `external-account` files name: what to
    /// write into the file of [`CredentialSpec::subject_token_file`]. Good for ten minutes.
    ///
    /// # Errors
    /// The provider's key could not be generated.
    pub async fn subject_token(&self) -> Result<String, EmulatorError> {
        sts::subject_token(&self.google).await
    }
}

/// Makes the file; what it needs to work (a key, a login, a binding) exists from then on.
pub(super) async fn file(google: &Google, spec: &CredentialSpec) -> Result<Value, EmulatorError> {
    if let (Some(path), true) =
        (&spec.subject_token_file, spec.kind != CredentialKind::ExternalAccount)
    {
        let expected = "nothing: only files of the kind external-account name one";
        return Err(EmulatorError::invalid("subject_token_file", path, expected));
    }
    match spec.kind {
        CredentialKind::Impersonated => impersonated(google, &*target(google, spec)?).await,
        CredentialKind::ExternalAccount => external_account(google, &*target(google, spec)?, spec),
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

/// The source is a key file: of the kinds that Google's libraries take as a source, the one whose `token_uri` all honour.
async fn impersonated(google: &Google, target: &Account) -> Result<Value, EmulatorError> {
    let source = format!("impersonator@{}.iam{SERVICE_ACCOUNT_SUFFIX}", google.project.id);
    let source = google.accounts.service_account(&source)?;
    google.token_creators.grant(&target.email, Principal::of(&source))?;
    Ok(json!({
        "type": "impersonated_service_account",
        "service_account_impersonation_url":
            iam_credentials::method_url(google, &target.email, "generateAccessToken"),
        "delegates": [],
        "source_credentials": service_account(google, &source).await?,
        "universe_domain": UNIVERSE,
    }))
}

fn external_account(
    google: &Google,
    target: &Account,
    spec: &CredentialSpec,
) -> Result<Value, EmulatorError> {
    let provider = PoolProvider::of(google);
    google.token_creators.grant(&target.email, provider.principal(sts::SUBJECT))?;
    let url = google.url();
    let source = match &spec.subject_token_file {
        Some(path) => json!({"file": path, "format": {"type": "text"}}),
        None => json!({
            "url": format!("{url}{}?format=json", sts::SUBJECT_TOKEN_PATH),
            "headers": {"Accept": "application/json"},
            "format": {"type": "json", "subject_token_field_name": "id_token"},
        }),
    };
    Ok(json!({
        "type": "external_account",
        "audience": provider.to_string(),
        "subject_token_type": sts::JWT,
        "token_url": format!("{url}{}", sts::PATH),
        "service_account_impersonation_url":
            iam_credentials::method_url(google, &target.email, "generateAccessToken"),
        "credential_source": source,
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
