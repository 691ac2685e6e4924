//! An HTTP client for one called service: every request is signed, none leaves for anywhere else.
//!
//! The client underneath is built here and not taken from outside, because the promise depends on how it is built:
//! redirects are off (a redirect would carry the token to wherever it points), loopback never goes through a proxy,
//! and TLS trusts the given [`Roots`] only. What users change is a setting: time-outs, roots, headers. Whoever needs a
//! client of their own puts [`Authorizer`] or the [layer](super::IdTokenLayer) in front of it.

use std::time::Duration;

use http::{Method, Uri};
use url::Url;

use super::authorizer::{AuthorizeError, Authorizer, AuthorizerBuilder, AuthorizerError};
use super::cache::IdTokenCache;
use super::called_headers::CalledHeaders;
use super::request::{SendError, SignedRequest, uri};
use crate::http_client::{self, HttpClientError, Roots, without_user};
use crate::identity::Audience;

/// A client for one called service. Cheap to clone; clones share connections and tokens.
///
/// ```no_run
/// use countersign::outbound::{IdTokenCache, IdTokenClient};
///
/// # async fn run(tokens: IdTokenCache) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = IdTokenClient::builder("https://orders-123.europe-west1.run.app", tokens).build()?;
/// let response = orders.post("/").json(&serde_json::json!({ "bar": "hello" })).send().await?;
/// println!("{}", response.status());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct IdTokenClient {
    http: reqwest::Client,
    authorizer: Authorizer,
    url: Url,
    deadline: Duration,
}

impl IdTokenClient {
    /// A builder for calls to `url`, with tokens from `tokens`. Clients of several services share one cache.
    pub fn builder(url: impl Into<String>, tokens: IdTokenCache) -> IdTokenClientBuilder {
        IdTokenClientBuilder {
            authorizer: Authorizer::builder(url, tokens),
            roots: Roots::bundled(),
            connect_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
        }
    }

    /// A `GET` of `reference`; see [`request`](Self::request).
    pub fn get(&self, reference: &str) -> SignedRequest {
        self.request(Method::GET, reference)
    }

    /// A `POST` to `reference`; see [`request`](Self::request).
    pub fn post(&self, reference: &str) -> SignedRequest {
        self.request(Method::POST, reference)
    }

    /// A request to `reference`, which is resolved against the client's URL as links are (RFC 3986 section 5): `""` is
    /// that URL itself, `"/x"` a path on its host, `"https://…"` stands for itself. Whatever it resolves to is refused
    /// when it is sent if it is at another origin.
    pub fn request(&self, method: Method, reference: &str) -> SignedRequest {
        let request = self.resolve(reference).map(|url| self.http.request(method, url));
        SignedRequest {
            request,
            http: self.http.clone(),
            authorizer: self.authorizer.clone(),
            deadline: self.deadline,
        }
    }

    fn resolve(&self, reference: &str) -> Result<Url, SendError> {
        let url = self.url.join(reference).map_err(|source| SendError::Reference {
            found: without_user(reference.split(['?', '#']).next().unwrap_or_default()),
            source,
        })?;
        // Judged here already: reqwest turns a user in the URL into an `Authorization`, and drops it from the URL.
        self.authorizer.admit(&uri(&url)?)?;
        Ok(url)
    }

    /// Adds the token to the headers of a request that another client will send; see [`Authorizer::authorize`].
    ///
    /// # Errors
    /// As [`Authorizer::authorize`].
    pub async fn authorize(
        &self,
        uri: &Uri,
        headers: &mut http::HeaderMap,
    ) -> Result<(), AuthorizeError> {
        self.authorizer.authorize(uri, headers).await
    }

    /// What signs this client's requests.
    #[must_use]
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }
}

/// Builds an [`IdTokenClient`].
#[derive(Clone, Debug)]
#[must_use]
pub struct IdTokenClientBuilder {
    authorizer: AuthorizerBuilder,
    roots: Roots,
    connect_timeout: Duration,
    deadline: Duration,
}

impl IdTokenClientBuilder {
    /// The audience of the tokens. Left out, it is what [`Audience::for_url`] derives from the URL.
    pub fn audience(mut self, audience: Audience) -> Self {
        self.authorizer = self.authorizer.audience(audience);
        self
    }

    /// In which headers the called service wants its token; [`CalledHeaders::Auto`] by default.
    pub fn called_headers(mut self, headers: CalledHeaders) -> Self {
        self.authorizer = self.authorizer.called_headers(headers);
        self
    }

    /// The certificate authorities to trust; [`Roots::bundled`] by default.
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// How long the opening of a connection may take; 5 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take in all, from the token to the last byte of the answer's body; 30 s by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    /// When the URL is not one that a token may be sent to, no audience is given and none can be derived, or the HTTP
    /// client cannot be set up.
    pub fn build(self) -> Result<IdTokenClient, IdTokenClientError> {
        let (authorizer, url) = self.authorizer.build_with_url()?;
        let http = http_client::for_url(&url, self.connect_timeout, &self.roots)?;
        Ok(IdTokenClient { http, authorizer, url, deadline: self.deadline })
    }
}

/// Why an [`IdTokenClient`] cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdTokenClientError {
    /// The URL or the audience cannot be used.
    #[error(transparent)]
    Authorizer(#[from] AuthorizerError),
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    HttpClient(#[from] HttpClientError),
}
