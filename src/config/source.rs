//! Where tokens come from: Google's usual places, in their order.

use std::path::PathBuf;

use url::Url;

use super::outbound::metadata;
use super::reader::Reader;
use super::{ConfigError, Settings};
use crate::http_client::{Roots, without_user};
use crate::identity::Audience;
use crate::outbound::{ApplicationDefault, CredentialKind, MetadataServer, Origin, SourceOptions};

/// The settings of what only gets tokens, such as `token print`.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Where tokens come from.
    pub source: ApplicationDefault,
}

impl SourceConfig {
    /// Reads and judges the settings; credentials of another kind than the wanted one are passed over.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(settings: &Settings, kind: Option<CredentialKind>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings);
        let roots = super::roots(&mut reader);
        let metadata = metadata(&mut reader);
        let source =
            metadata.and_then(|metadata| application_default(&mut reader, &metadata, &roots, kind));
        reader.finish(source.map(|source| Self { source }))
    }
}

/// The first credential of Google's usual places.
pub(super) fn application_default(
    reader: &mut Reader<'_>,
    metadata: &MetadataServer,
    roots: &Roots,
    kind: Option<CredentialKind>,
) -> Option<ApplicationDefault> {
    const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    const IMPERSONATE: &str = "IMPERSONATE_SERVICE_ACCOUNT";
    let executables = reader.text("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES") == Some("1");
    let mut options = SourceOptions::default().roots(roots.clone()).allow_executables(executables);
    if let Some(url) = endpoint(reader, "TOKEN_URL")? {
        options = options.token_url(url);
    }
    if let Some(url) = endpoint(reader, "IAM_CREDENTIALS_URL")? {
        options = options.iam_credentials_url(url);
    }
    let mut builder = ApplicationDefault::builder().metadata(metadata.clone()).options(options);
    if let Some(path) = reader.path(FILE) {
        builder = builder.credential_file(path);
    }
    if let Some(path) = gcloud_file(reader) {
        builder = builder.gcloud_file(path);
    }
    if let Some(account) = reader.text(IMPERSONATE) {
        builder = builder.impersonate(account);
    } else if reader.has_mistake(IMPERSONATE) {
        return None;
    }
    if let Some(kind) = kind {
        builder = builder.only(kind);
    }
    let note = |error: crate::outbound::ApplicationDefaultError| {
        reader.mistake(if error.is_about_impersonation() { IMPERSONATE } else { FILE }, error);
    };
    builder.build().map_err(note).ok()
}

/// A person's login cannot give tokens for a service: better told at the start than at each call.
pub(super) fn check_audience(
    reader: &mut Reader<'_>,
    source: &ApplicationDefault,
    audience: &Audience,
) {
    if let Some(client_id) = source.client_id().filter(|client_id| *client_id != audience) {
        reader.mistake(
            "GOOGLE_APPLICATION_CREDENTIALS",
            format_args!(
                "found a person's login, whose tokens are for its own client id ({client_id}) only, and not for \
                 {audience}; set IMPERSONATE_SERVICE_ACCOUNT to a service account that this person may impersonate"
            ),
        );
    }
}

/// Where gcloud keeps its login.
fn gcloud_file(reader: &Reader<'_>) -> Option<PathBuf> {
    let directory = match (reader.path("CLOUDSDK_CONFIG"), reader.path("APPDATA")) {
        (Some(directory), _) => directory,
        (None, Some(data)) if cfg!(windows) => data.join("gcloud"),
        _ => reader.path("HOME")?.join(".config").join("gcloud"),
    };
    Some(directory.join("application_default_credentials.json"))
}

/// A URL that credentials may be sent to; the outer nothing where there is a mistake in it.
fn endpoint(reader: &mut Reader<'_>, name: &'static str) -> Option<Option<Url>> {
    let Some(text) = reader.text(name) else {
        return (!reader.has_mistake(name)).then_some(None);
    };
    let url = match Url::parse(text) {
        Ok(url) => Origin::of(&url).map(|_| url).map_err(|error| error.to_string()),
        Err(error) => Err(format!("found {:?}, which is not a URL ({error})", without_user(text))),
    };
    url.map(Some).map_err(|message| reader.mistake(name, message)).ok()
}
