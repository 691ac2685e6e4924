//! Application Default Credentials: the first of Google's usual places that has a credential.
//!
//! 1. the file that `GOOGLE_APPLICATION_CREDENTIALS` names,
//! 2. gcloud's own: `application_default_credentials.json` in `$CLOUDSDK_CONFIG`, or else in `~/.config/gcloud`,
//! 3. the metadata server.
//!
//! A file that is there and broken is an error: another identity than the one that was meant is worse than none.
//! Nothing here reads the environment: whoever builds this says where the files are.
//!
//! Source: <https://cloud.google.com/docs/authentication/application-default-credentials>.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::credential::{Credential, CredentialKind};
use super::credential_file::{CredentialError, Fields};
use super::endpoint::SourceOptions;
use super::impersonation::Impersonation;
use super::metadata::{MetadataServer, MetadataServerError};
use super::source::{FetchFuture, IdTokenSource};
use crate::identity::Audience;

/// The credential that was found, as a source of ID tokens. Cheap to clone.
///
/// ```no_run
/// use countersign::outbound::{ApplicationDefault, IdTokenSource};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let source = ApplicationDefault::builder().credential_file("key.json").build()?;
/// let token = source.fetch(&"https://orders-123.europe-west1.run.app".parse()?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ApplicationDefault {
    source: Arc<dyn IdTokenSource>,
    kind: CredentialKind,
    steps: Arc<[String]>,
    client_id: Option<Audience>,
}

impl ApplicationDefault {
    /// A builder that knows of no file.
    pub fn builder() -> ApplicationDefaultBuilder {
        ApplicationDefaultBuilder {
            credential_file: None,
            gcloud_file: None,
            metadata: None,
            options: SourceOptions::default(),
            impersonate: None,
            kind: None,
        }
    }

    /// The kind of the credential that was found.
    #[must_use]
    pub fn kind(&self) -> CredentialKind {
        self.kind
    }

    /// What was looked at, in this order, before this source was taken.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.steps
    }

    /// Where this is a person's login without impersonation: the only audience that its tokens can have.
    #[must_use]
    pub fn client_id(&self) -> Option<&Audience> {
        self.client_id.as_ref()
    }
}

impl IdTokenSource for ApplicationDefault {
    fn fetch<'a>(&'a self, audience: &'a Audience) -> FetchFuture<'a> {
        Box::pin(async move {
            let fetched = self.source.fetch(audience).await;
            fetched.map_err(|error| error.after(Arc::clone(&self.steps)))
        })
    }

    fn budget(&self) -> Duration {
        self.source.budget()
    }

    fn name(&self) -> Arc<str> {
        self.source.name()
    }
}

/// Builds an [`ApplicationDefault`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ApplicationDefaultBuilder {
    credential_file: Option<PathBuf>,
    gcloud_file: Option<PathBuf>,
    metadata: Option<MetadataServer>,
    options: SourceOptions,
    impersonate: Option<String>,
    kind: Option<CredentialKind>,
}

impl ApplicationDefaultBuilder {
    /// The file that `GOOGLE_APPLICATION_CREDENTIALS` names. It must be there.
    pub fn credential_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credential_file = Some(path.into());
        self
    }

    /// Where gcloud would put its file. It need not be there.
    pub fn gcloud_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.gcloud_file = Some(path.into());
        self
    }

    /// The metadata server; the one at its default place if not given.
    pub fn metadata(mut self, server: MetadataServer) -> Self {
        self.metadata = Some(server);
        self
    }

    /// What sources are told that talk to Google's public endpoints.
    pub fn options(mut self, options: SourceOptions) -> Self {
        self.options = options;
        self
    }

    /// The service account whose tokens are asked for with the credential that is found; with accounts before it,
    /// separated by commas, through which it is reached (as gcloud has it).
    pub fn impersonate(mut self, account: impl Into<String>) -> Self {
        self.impersonate = Some(account.into());
        self
    }

    /// Passes over credentials of every other kind.
    pub fn only(mut self, kind: CredentialKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The first credential there is. Files are read; nothing is sent yet.
    ///
    /// # Errors
    /// When a file is broken, none is of the wanted kind, or the account to impersonate is none. The message says
    /// what was looked at before.
    pub fn build(self) -> Result<ApplicationDefault, ApplicationDefaultError> {
        let mut steps = Vec::new();
        let found = self.find(&mut steps);
        let found = found.and_then(|(kind, credential, universe)| {
            let source = self.source(&credential, &universe)?;
            Ok((kind, credential, source))
        });
        let (kind, credential, source) =
            found.map_err(|fault| ApplicationDefaultError { steps: steps.clone(), fault })?;
        let client_id = match (&credential, &self.impersonate) {
            (Credential::AuthorizedUser(user), None) => Some(user.client_id().clone()),
            _ => None,
        };
        Ok(ApplicationDefault { source, kind, steps: steps.into(), client_id })
    }

    fn find(&self, steps: &mut Vec<String>) -> Result<(CredentialKind, Credential, String), Fault> {
        match &self.credential_file {
            Some(path) => {
                if let Some(found) = self.read(path, steps)? {
                    return Ok(found);
                }
            }
            None => steps.push("GOOGLE_APPLICATION_CREDENTIALS: not set".to_owned()),
        }
        match &self.gcloud_file {
            Some(path) if may_be_there(path) => {
                if let Some(found) = self.read(path, steps)? {
                    return Ok(found);
                }
            }
            Some(path) => steps.push(format!("gcloud's login {}: no such file", path.display())),
            None => steps.push("gcloud's login: no home directory".to_owned()),
        }
        if let Some(kind) = self.kind.filter(|kind| *kind != CredentialKind::Metadata) {
            return Err(Fault::NoneOfThisKind(kind));
        }
        let server = match &self.metadata {
            Some(server) => server.clone(),
            None => MetadataServer::builder().build()?,
        };
        let universe = "googleapis.com".to_owned();
        Ok((CredentialKind::Metadata, Credential::Metadata(server), universe))
    }

    /// The credential in a file; nothing where another kind is wanted.
    fn read(
        &self,
        path: &Path,
        steps: &mut Vec<String>,
    ) -> Result<Option<(CredentialKind, Credential, String)>, Fault> {
        if self.kind == Some(CredentialKind::Metadata) {
            steps
                .push(format!("{}: passed over, as the metadata server is wanted", path.display()));
            return Ok(None);
        }
        let fields = Fields::read(path)?;
        let kind = Credential::kind(&fields)?;
        if let Some(wanted) = self.kind.filter(|wanted| *wanted != kind) {
            steps.push(format!("{}: of type {kind}, passed over for {wanted}", path.display()));
            return Ok(None);
        }
        let credential = Credential::from_fields(&fields, &self.options)?;
        let universe = fields.universe()?.to_owned();
        steps.push(format!("{}: of type {kind}, taken", path.display()));
        Ok(Some((kind, credential, universe)))
    }

    fn source(
        &self,
        credential: &Credential,
        universe: &str,
    ) -> Result<Arc<dyn IdTokenSource>, Fault> {
        let Some(chain) = &self.impersonate else { return Ok(credential.id_tokens()) };
        let mut accounts: Vec<String> =
            chain.split(',').map(|account| account.trim().to_owned()).collect();
        let target = accounts.pop().unwrap_or_default();
        let access = credential.access_tokens();
        Impersonation::new(access, &target, accounts, universe, &self.options)
            .map(|account| Arc::new(account) as Arc<dyn IdTokenSource>)
            .map_err(Fault::Impersonation)
    }
}

/// Why there is no source of ID tokens.
#[derive(Debug, thiserror::Error)]
#[error("{fault}{}", looked_at(.steps))]
pub struct ApplicationDefaultError {
    steps: Vec<String>,
    #[source]
    fault: Fault,
}

impl ApplicationDefaultError {
    /// Whether the account to impersonate is at fault, and no credential.
    #[must_use]
    pub fn is_about_impersonation(&self) -> bool {
        matches!(self.fault, Fault::Impersonation(_))
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Metadata(#[from] MetadataServerError),
    #[error("there is no credential of the kind {0}")]
    NoneOfThisKind(CredentialKind),
    #[error("{0}")]
    Impersonation(String),
}

/// One that may not be looked at is told by reading it. Below something that is no directory there is none: users of
/// services often have `/dev/null` for a home.
fn may_be_there(path: &Path) -> bool {
    path.try_exists().unwrap_or_else(|error| error.kind() != std::io::ErrorKind::NotADirectory)
}

fn looked_at(steps: &[String]) -> String {
    if steps.is_empty() { String::new() } else { format!(" (before it: {})", steps.join("; ")) }
}
