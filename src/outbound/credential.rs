//! A credential of any kind, as a source of ID tokens or of access tokens.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::access_token::AccessTokenSource;
use super::authorized_user::AuthorizedUser;
use super::credential_file::{CredentialError, Fields};
use super::endpoint::SourceOptions;
use super::federation::Federation;
use super::impersonation::Impersonation;
use super::metadata::MetadataServer;
use super::service_account::ServiceAccountKey;
use super::source::IdTokenSource;

/// The kinds of credentials; files name theirs in `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialKind {
    /// A service account's key file.
    ServiceAccount,
    /// A service account that is impersonated with other credentials.
    ImpersonatedServiceAccount,
    /// gcloud's own login.
    AuthorizedUser,
    /// Workload identity federation.
    ExternalAccount,
    /// The metadata server, which needs no file.
    Metadata,
}

impl CredentialKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::ServiceAccount,
        Self::ImpersonatedServiceAccount,
        Self::AuthorizedUser,
        Self::ExternalAccount,
        Self::Metadata,
    ];

    /// The `type` in credential files, or `metadata`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "service_account",
            Self::ImpersonatedServiceAccount => "impersonated_service_account",
            Self::AuthorizedUser => "authorized_user",
            Self::ExternalAccount => "external_account",
            Self::Metadata => "metadata",
        }
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a kind of credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {0:?}, expected service-account, impersonated, authorized-user, external-account or metadata"
)]
pub struct UnknownCredentialKind(String);

impl FromStr for CredentialKind {
    type Err = UnknownCredentialKind;

    /// With dashes or underscores; `impersonated` is short for `impersonated-service-account`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = match text {
            "impersonated" => "impersonated_service_account".to_owned(),
            text => text.replace('-', "_"),
        };
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownCredentialKind(text.to_owned()))
    }
}

/// A credential.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    ServiceAccount(ServiceAccountKey),
    Impersonation(Impersonation),
    AuthorizedUser(AuthorizedUser),
    Metadata(MetadataServer),
}

impl Credential {
    /// The kind that a file says it is.
    pub(super) fn kind(fields: &Fields) -> Result<CredentialKind, CredentialError> {
        const EXPECTED: &str = "expected service_account, impersonated_service_account, authorized_user or \
                                external_account";
        let name = fields.text("type")?;
        CredentialKind::ALL
            .into_iter()
            .find(|kind| kind.name() == name && *kind != CredentialKind::Metadata)
            .ok_or_else(|| {
                let found: String = name.chars().take(40).collect();
                fields.wrong("type", format!("found {found:?}, {EXPECTED}"))
            })
    }

    /// The credential in a file, or in an object within it.
    pub(super) fn from_fields(
        fields: &Fields,
        options: &SourceOptions,
    ) -> Result<Self, CredentialError> {
        match Self::kind(fields)? {
            CredentialKind::ServiceAccount => {
                ServiceAccountKey::from_fields(fields, options).map(Self::ServiceAccount)
            }
            CredentialKind::AuthorizedUser => {
                AuthorizedUser::from_fields(fields, options).map(Self::AuthorizedUser)
            }
            CredentialKind::ImpersonatedServiceAccount => {
                const NAME: &str = "source_credentials";
                let source = fields
                    .object(NAME)?
                    .ok_or_else(|| fields.wrong(NAME, "missing; expected an object"))?;
                let source = Self::from_fields(&source, options)?.access_tokens();
                let delegates = fields.texts("delegates")?;
                Impersonation::from_url(fields, source, delegates, options).map(Self::Impersonation)
            }
            CredentialKind::ExternalAccount => {
                let federated = Arc::new(Federation::from_fields(fields, options)?);
                if fields.optional("service_account_impersonation_url")?.is_none() {
                    return Err(fields.wrong(
                        "service_account_impersonation_url",
                        "missing; a federated token cannot mint ID tokens by itself: create the file with \
                         --service-account=EMAIL (gcloud iam workload-identity-pools create-cred-config)",
                    ));
                }
                Impersonation::from_url(fields, federated, Vec::new(), options)
                    .map(Self::Impersonation)
            }
            // `kind` names no other.
            CredentialKind::Metadata => Err(fields.wrong("type", "expected a kind of file")),
        }
    }

    pub(super) fn id_tokens(&self) -> Arc<dyn IdTokenSource> {
        match self {
            Self::ServiceAccount(key) => Arc::new(key.clone()),
            Self::Impersonation(account) => Arc::new(account.clone()),
            Self::AuthorizedUser(user) => Arc::new(user.clone()),
            Self::Metadata(server) => Arc::new(server.clone()),
        }
    }

    pub(super) fn access_tokens(&self) -> Arc<dyn AccessTokenSource> {
        match self {
            Self::ServiceAccount(key) => Arc::new(key.clone()),
            Self::Impersonation(account) => Arc::new(account.clone()),
            Self::AuthorizedUser(user) => Arc::new(user.clone()),
            Self::Metadata(server) => Arc::new(server.clone()),
        }
    }
}
