//! Google's metadata server: the identity of the service that this process runs as.
//!
//! Every Cloud Run instance has one at `metadata.google.internal`, over plain http and without credentials: the network
//! path is what proves who asks. It is asked for ID tokens with `format=full`, because without it they carry no `email`
//! and no list of principals can match them.
//!
//! One call takes at most the *budget* over all its tries, pauses included: 3 s by default, as a request is waiting for
//! it, and 30 s before the first success, as a pod on GKE may be there before its metadata server is. Connection errors, 408, 429, 5xx and
//! answers that are no answer are tried again, up to five times (and as often as time allows before the first success),
//! with growing, jittered pauses; a `Retry-After` in
//! seconds is obeyed where the budget allows, and ends the call where it does not. 4xx is final and says what to do.
//! Nothing is remembered between calls.
//!
//! ```no_run
//! use countersign::outbound::{IdTokenSource, MetadataServer};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MetadataServer::builder().build()?;
//! let token = server.fetch(&"https://orders-123.europe-west1.run.app".parse()?).await?;
//! println!("good until {}", token.expires_at());
//! # Ok(())
//! # }
//! ```
//!
//! Source: <https://cloud.google.com/run/docs/securing/service-identity>,
//! <https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys>.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use url::Url;

use super::excerpt::excerpt;
use super::exchange::{Budget, Exchange, Mark};
use super::source::{FetchFuture, IdTokenSource, SourceError, SourceFault, check};
use crate::clock::{Clock, SystemClock};
use crate::http_client::{self, HttpClientError};
use crate::identity::{Audience, IdToken};

/// Where the metadata server is, unless something else is said.
pub const DEFAULT_HOST: &str = "metadata.google.internal";

/// The metadata server, as a source of ID tokens and of facts about the project. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MetadataServer {
    root: Url,
    exchange: Arc<Exchange>,
}

mod access;
mod advice;

use advice::advice;

const FLAVOR: &str = "metadata-flavor";
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");

impl MetadataServer {
    /// A builder with the defaults: [`DEFAULT_HOST`], 1 s to connect, 30 s in all before the first
    /// success and 3 s after it, the system's clock.
    pub fn builder() -> MetadataServerBuilder {
        MetadataServerBuilder {
            host: DEFAULT_HOST.to_owned(),
            connect_timeout: Duration::from_secs(1),
            first_budget: Duration::from_secs(30),
            budget: Duration::from_secs(3),
            first_pause: Duration::from_millis(100),
            clock: Arc::new(SystemClock),
        }
    }

    /// The project's id, such as `my-project`.
    ///
    /// # Errors
    /// When the server does not answer within the budget, refuses, or answers with something else.
    pub async fn project_id(&self) -> Result<String, SourceError> {
        self.word("project/project-id", "a project id", is_name).await
    }

    /// The project's number, such as `123456789`.
    ///
    /// # Errors
    /// When the server does not answer within the budget, refuses, or answers with something else.
    pub async fn numeric_project_id(&self) -> Result<String, SourceError> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        self.word("project/numeric-project-id", "a project number", digits).await
    }

    /// The region of this service, such as `europe-west1`. The server says `projects/NUMBER/regions/REGION`.
    ///
    /// # Errors
    /// When the server does not answer within the budget, refuses, or answers with something else.
    pub async fn region(&self) -> Result<String, SourceError> {
        let path =
            |text: &str| text.rsplit_once("/regions/").is_some_and(|(_, name)| is_name(name));
        let text = self.word("instance/region", "projects/NUMBER/regions/REGION", path).await?;
        Ok(text.rsplit_once('/').map_or_else(|| text.clone(), |(_, region)| region.to_owned()))
    }

    /// The e-mail address of the service account that this service runs as.
    ///
    /// # Errors
    /// When the server does not answer within the budget, refuses, or answers with something else.
    pub async fn email(&self) -> Result<String, SourceError> {
        let address = |text: &str| is_email(text);
        self.word("instance/service-accounts/default/email", "an e-mail address", address).await
    }

    async fn id_token(&self, audience: &Audience) -> Result<IdToken, SourceError> {
        let mut url = self.url("instance/service-accounts/default/identity");
        url.query_pairs_mut()
            .append_pair("audience", audience.as_str())
            .append_pair("format", "full");
        self.ask(url, |body| {
            let text = str::from_utf8(body).unwrap_or_default().trim_ascii();
            check(IdToken::parse(text)?, audience, self.exchange.clock.now())
        })
        .await
    }

    /// A value that is one line of text, as `good` has it.
    async fn word(
        &self,
        path: &str,
        expected: &'static str,
        good: impl Fn(&str) -> bool,
    ) -> Result<String, SourceError> {
        self.ask(self.url(path), |body| match str::from_utf8(body).map(str::trim_ascii) {
            Ok(text) if !text.is_empty() && good(text) => Ok(text.to_owned()),
            _ => Err(SourceFault::Unexpected { expected, found: excerpt(body) }),
        })
        .await
    }

    async fn ask<T>(
        &self,
        url: Url,
        accept: impl Fn(&[u8]) -> Result<T, SourceFault>,
    ) -> Result<T, SourceError> {
        let place = format!("the metadata server at http://{}{}", url.authority(), url.path());
        let request = |client: &reqwest::Client| client.get(url.clone()).header(FLAVOR, GOOGLE);
        self.exchange.run(place, request, accept, |fault| advice(fault).into()).await
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("/computeMetadata/v1/{path}"));
        url
    }
}

impl IdTokenSource for MetadataServer {
    fn fetch<'a>(&'a self, audience: &'a Audience) -> FetchFuture<'a> {
        Box::pin(self.id_token(audience))
    }

    fn budget(&self) -> Duration {
        self.exchange.budget.now()
    }

    fn name(&self) -> Arc<str> {
        format!("the metadata server at {}", self.root.authority()).into()
    }
}

/// Letters, digits and what Google's names have besides (`example.com:project` is an old form of a project id).
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':'))
}

/// Shape enough to tell an address from an error page; it is shown, not compared.
fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && is_name(domain))
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Builds a [`MetadataServer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct MetadataServerBuilder {
    host: String,
    connect_timeout: Duration,
    first_budget: Duration,
    budget: Duration,
    first_pause: Duration,
    clock: Arc<dyn Clock>,
}

impl MetadataServerBuilder {
    /// Where the server is: `HOST` or `HOST:PORT`, as in `GCE_METADATA_HOST`. An `http://` in front of it is tolerated,
    /// as Google's Node.js library does.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// How long the opening of a connection may take.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take in all, with every try and every pause, from the first on.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self.first_budget = budget;
        self
    }

    /// How long a call may take as long as none has succeeded; to be set after [`budget`](Self::budget), which sets
    /// both.
    pub fn first_budget(mut self, budget: Duration) -> Self {
        self.first_budget = budget;
        self
    }

    /// The pause before the second try; each later one is twice as long, and each is shortened by up to a half at
    /// random, so that a thousand instances do not come back together.
    pub fn first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause;
        self
    }

    /// The clock by which a token has expired or not.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The metadata server's client. Nothing is sent yet.
    ///
    /// # Errors
    /// When the host is not one, or the HTTP client cannot be set up.
    pub fn build(self) -> Result<MetadataServer, MetadataServerError> {
        let exchange = Exchange {
            client: http_client::plain(self.connect_timeout)?,
            budget: Budget::new(self.first_budget, self.budget),
            first_pause: self.first_pause,
            clock: self.clock,
            mark: Some(Mark { name: FLAVOR, value: GOOGLE, text: "Metadata-Flavor: Google" }),
        };
        Ok(MetadataServer { root: root(&self.host)?, exchange: Arc::new(exchange) })
    }
}

/// Why a [`MetadataServer`] cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataServerError {
    /// The host is not `HOST` or `HOST:PORT`.
    #[error(
        "the metadata server's host {found:?} is not one: expected HOST or HOST:PORT without path or user, \
         for example {DEFAULT_HOST} or 127.0.0.1:9090"
    )]
    Host {
        /// What was given, without what is before an `@`.
        found: String,
    },
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    HttpClient(#[from] HttpClientError),
}

fn root(host: &str) -> Result<Url, MetadataServerError> {
    let wrong = || MetadataServerError::Host { found: http_client::without_user(host) };
    let bare = host.strip_prefix("http://").unwrap_or(host);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let authority: Authority = bare.parse().map_err(|_| wrong())?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(wrong());
    }
    Url::parse(&format!("http://{authority}/")).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        let table = [
            ("metadata.google.internal", "http://metadata.google.internal/"),
            ("127.0.0.1:9090", "http://127.0.0.1:9090/"),
            ("[::1]:9090", "http://[::1]:9090/"),
            ("http://localhost:9090", "http://localhost:9090/"),
            ("http://169.254.169.254/", "http://169.254.169.254/"),
        ];
        for (host, expected) in table {
            assert_eq!(root(host).unwrap().as_str(), expected, "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_by_name() {
        for host in ["", "https://h", "h/p", "h:port", "h:99999", "a b", "h?x", "http://"] {
            let error = root(host).unwrap_err();
            assert!(error.to_string().contains(&format!("{host:?}")), "{error}");
        }
    }

    #[test]
    fn a_user_is_refused_and_not_repeated() {
        let error = root("bob:secret@h").unwrap_err().to_string();
        assert!(error.contains("…@h") && !error.contains("secret"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn a_root_is_a_host_and_nothing_else(host in "[a-zA-Z0-9.:@/?#\\[\\] %\\\\-]{0,20}") {
            if let Ok(root) = root(&host) {
                proptest::prop_assert_eq!((root.scheme(), root.path()), ("http", "/"));
                proptest::prop_assert!(root.has_host() && root.username().is_empty());
                proptest::prop_assert!(root.query().is_none() && root.fragment().is_none());
            }
        }
    }
}
