//! What a calling server has: whom it calls, and where its tokens come from.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::reader::Reader;
use super::source;
use crate::clock::SystemClock;
use crate::http_client::{Roots, without_user};
use crate::identity::Audience;
use crate::outbound::{
    ApplicationDefault, CalledHeaders, IdTokenCache, IdTokenClient, IdTokenClientError,
    MetadataServer, MetadataServerError,
};

/// How long a call may take, answer included. Below Cloud Run's own default of 300 s, and what a person waits.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long to wait for a metadata server that is not worth more: as long as after its first answer.
const WITHOUT_PATIENCE: Duration = Duration::from_secs(3);

/// The settings of a server's outbound side.
#[derive(Debug, Clone)]
pub struct OutboundConfig {
    /// Whom to call.
    pub called_url: Url,
    /// For whom tokens are asked.
    pub called_audience: Audience,
    /// Which headers carry the token.
    pub called_headers: CalledHeaders,
    /// Whom https connections trust.
    pub roots: Roots,
    /// Where tokens come from.
    pub source: ApplicationDefault,
    /// Whom to ask about the project, whoever gives the tokens.
    pub metadata: MetadataServer,
}

/// Why a client cannot be made of the settings.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct OutboundConfigError(#[from] IdTokenClientError);

impl OutboundConfig {
    pub(super) fn read(reader: &mut Reader<'_>, roots: Roots) -> Option<Self> {
        let called_url = called_url(reader);
        let called_audience = called_audience(reader, called_url.as_ref());
        let called_headers = reader.parsed("CALLED_HEADERS");
        let metadata = metadata(reader);
        let source = metadata
            .as_ref()
            .and_then(|metadata| source::application_default(reader, metadata, &roots, None));
        if let (Some(source), Some(audience)) = (&source, &called_audience) {
            source::check_audience(reader, source, audience);
        }
        Some(Self {
            called_url: called_url?,
            called_audience: called_audience?,
            called_headers: called_headers.unwrap_or_default(),
            roots,
            metadata: metadata?,
            source: source?,
        })
    }

    /// The client for the called function.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up; what settings can do wrong was told when they were read.
    pub fn client(&self) -> Result<IdTokenClient, OutboundConfigError> {
        let tokens = IdTokenCache::new(self.source.clone(), Arc::new(SystemClock));
        let client = IdTokenClient::builder(self.called_url.as_str(), tokens)
            .audience(self.called_audience.clone())
            .called_headers(self.called_headers)
            .roots(self.roots.clone())
            .deadline(DEADLINE);
        Ok(client.build()?)
    }
}

/// The metadata server that the settings name.
pub(super) fn metadata(reader: &mut Reader<'_>) -> Option<MetadataServer> {
    let mut builder = MetadataServer::builder();
    // One that is named is there or not, and a laptop has none: only where Google runs this is it worth waiting for.
    if reader.is_set("GCE_METADATA_HOST") || !is_googles_machine(reader) {
        builder = builder.budget(WITHOUT_PATIENCE);
    }
    if let Some(host) = reader.text("GCE_METADATA_HOST") {
        builder = builder.host(host);
    } else if reader.has_mistake("GCE_METADATA_HOST") {
        return None;
    }
    let note = |error: MetadataServerError| reader.mistake("GCE_METADATA_HOST", error);
    builder.build().map_err(note).ok()
}

/// Whether this is Cloud Run, a pod, or a machine whose firmware says Google's name.
fn is_googles_machine(reader: &Reader<'_>) -> bool {
    reader.is_set("K_SERVICE")
        || reader.is_set("KUBERNETES_SERVICE_HOST")
        || std::fs::read_to_string("/sys/class/dmi/id/product_name")
            .is_ok_and(|name| name.trim().starts_with("Google"))
}

fn called_url(reader: &mut Reader<'_>) -> Option<Url> {
    const NAME: &str = "CALLED_URL";
    let Some(text) = reader.text(NAME) else {
        if !reader.has_mistake(NAME) {
            reader.mistake(
                NAME,
                "not set; expected the called function's URL, for example \
                 https://SERVICE-PROJECTNUMBER.REGION.run.app",
            );
        }
        return None;
    };
    match Url::parse(text) {
        Ok(url) => match crate::outbound::Origin::of(&url) {
            Ok(_) => Some(url),
            Err(error) => {
                reader.mistake(NAME, error);
                None
            }
        },
        Err(error) => {
            let found = without_user(text);
            reader.mistake(NAME, format!("found {found:?}, which is not a URL ({error})"));
            None
        }
    }
}

fn called_audience(reader: &mut Reader<'_>, called_url: Option<&Url>) -> Option<Audience> {
    const NAME: &str = "CALLED_AUDIENCE";
    if reader.is_set(NAME) {
        return reader.parsed(NAME);
    }
    let derived = Audience::for_url(called_url?);
    if derived.is_none() {
        reader.mistake(
            NAME,
            "not set, and CALLED_URL does not tell it (it does for *.run.app, *.cloudfunctions.net and loopback); \
             expected the called service's own URL or custom audience",
        );
    }
    derived
}
