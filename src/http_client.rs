//! The HTTP clients that fetch keys and tokens and send signed requests.
//!
//! There are two, because there are two kinds of places to talk to:
//!
//! - **plain**: Google's metadata server and loopback addresses. It has no certificate authority at all, so that it
//!   cannot be talked into TLS, and it never uses a proxy: a proxy that swallows metadata calls is a classic fault.
//! - **https**: everything else. It speaks https only, honours the system's proxy settings, and trusts the [`Roots`]
//!   that it is given: Mozilla's, which are compiled in (a container image without CA files works), plus a PEM bundle
//!   where a company has its own authority.
//!
//! Neither follows redirects: a token or a key fetch must not wander off to a host that nobody configured. The crypto
//! provider (aws-lc-rs) is passed explicitly; nothing process-wide is installed, so that this crate cannot get into a
//! fight with another one over it.

mod answer;

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::identity::audience::is_loopback;

pub(crate) use answer::{bounded_body, innermost, retry_after};

/// What a certificate file may weigh: a full system bundle has about 250 KiB.
const MAX_PEM_BYTES: usize = 4 << 20;

const USER_AGENT: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));

/// The certificate authorities that outgoing https connections trust.
///
/// ```
/// use countersign::http_client::Roots;
///
/// let roots = Roots::bundled();
/// assert!(roots.with_pem(b"not a certificate").is_err());
/// ```
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Mozilla's certificate authorities, compiled in.
    #[must_use]
    pub fn bundled() -> Self {
        let anchors = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        Self(Arc::new(RootCertStore { roots: anchors.collect() }))
    }

    /// These authorities and the certificates of a PEM bundle (RFC 7468), as `SSL_CERT_FILE` names one.
    ///
    /// Single certificates that cannot serve as an authority are left out with a warning, as system bundles carry
    /// some.
    ///
    /// # Errors
    /// Where the bundle is over 4 MiB, is not PEM, or has no certificate that can be used.
    pub fn with_pem(&self, bundle: &[u8]) -> Result<Self, RootsError> {
        if bundle.len() > MAX_PEM_BYTES {
            return Err(RootsError::TooLarge { found: bundle.len(), limit: MAX_PEM_BYTES });
        }
        let certificates = CertificateDer::pem_slice_iter(bundle).collect::<Result<Vec<_>, _>>()?;
        let found = certificates.len();
        let mut store = RootCertStore::clone(&self.0);
        let (added, left_out) = store.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(RootsError::NoneUsable { found });
        }
        if left_out > 0 {
            tracing::warn!(added, left_out, "certificates of the extra CA bundle left out");
        }
        Ok(Self(Arc::new(store)))
    }

    /// A TLS configuration that trusts these authorities and presents no certificate, for whoever brings another HTTP
    /// client. It names no protocol (ALPN): that is the client's to say.
    ///
    /// # Errors
    /// Where the crypto library supports no version of TLS.
    pub fn tls_config(&self) -> Result<ClientConfig, HttpClientError> {
        tls(RootCertStore::clone(&self.0))
            .map_err(|error| HttpClientError { kind: "https", source: error.into() })
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self::bundled()
    }
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roots").field("authorities", &self.0.len()).finish()
    }
}

/// Why a PEM bundle of certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The bundle is larger than any bundle of certificates.
    #[error(
        "the CA bundle has {found} bytes, over the limit of {limit}: is it a certificate file?"
    )]
    TooLarge {
        /// Its size in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The bundle is not well-formed PEM.
    #[error(
        "the CA bundle is not PEM: expected blocks of `-----BEGIN CERTIFICATE-----`; \
         convert a DER file with `openssl x509 -inform der`"
    )]
    NotPem(#[from] pem::Error),
    /// The bundle has no certificate, or none that can be an authority.
    #[error(
        "none of the {found} certificates in the CA bundle can be used as an authority: \
         expected at least one X.509 v3 certificate in a `-----BEGIN CERTIFICATE-----` block"
    )]
    NoneUsable {
        /// How many certificates the bundle has.
        found: usize,
    },
}

/// An HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the {kind} HTTP client could not be set up: {source}")]
pub struct HttpClientError {
    kind: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The client for the metadata server and for loopback: no TLS, no proxy, no redirects.
///
/// `connect_timeout` bounds the opening of a connection; a deadline for the whole exchange is the caller's business.
pub(crate) fn plain(connect_timeout: Duration) -> Result<reqwest::Client, HttpClientError> {
    let no_authority = RootCertStore::empty();
    build("plain", no_authority, |client| client.no_proxy(), connect_timeout)
}

/// The client for this URL: [`plain`] for http, which its owner has admitted on loopback only; for the rest https only,
/// by the given roots, through the system's proxy if there is one and the URL is not on loopback, no redirects.
///
/// `connect_timeout` bounds the opening of a connection; a deadline for the whole exchange is the caller's business.
pub(crate) fn for_url(
    url: &Url,
    connect_timeout: Duration,
    roots: &Roots,
) -> Result<reqwest::Client, HttpClientError> {
    if url.scheme() == "http" {
        return plain(connect_timeout);
    }
    let roots = RootCertStore::clone(&roots.0);
    let adapt = |client: reqwest::ClientBuilder| {
        let client = client.https_only(true);
        if is_loopback(url) { client.no_proxy() } else { client }
    };
    build("https", roots, adapt, connect_timeout)
}

fn build(
    kind: &'static str,
    roots: RootCertStore,
    adapt: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    connect_timeout: Duration,
) -> Result<reqwest::Client, HttpClientError> {
    let mut tls = tls(roots).map_err(|error| HttpClientError { kind, source: error.into() })?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = reqwest::Client::builder()
        // A configuration of our own: reqwest's would ask for the process-wide provider and panic without one.
        .tls_backend_preconfigured(tls)
        .connect_timeout(connect_timeout)
        .redirect(Policy::none())
        .referer(false)
        .user_agent(USER_AGENT);
    adapt(client).build().map_err(|error| HttpClientError { kind, source: error.into() })
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A text that should be a URL and is none, for an error message: without what may be a password.
pub(crate) fn without_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
