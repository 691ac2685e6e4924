//! A request on its way to being signed and sent.

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use serde::Serialize;
use url::Url;

use super::authorizer::{AuthorizeError, Authorizer};

/// A request that is signed when it is sent.
///
/// It starts without headers, and there is no way to hand it a whole map of them: an incoming request's credentials are
/// its caller's, and must not travel on.
#[must_use = "nothing is sent before `send`"]
pub struct SignedRequest {
    pub(super) request: Result<reqwest::RequestBuilder, SendError>,
    pub(super) http: reqwest::Client,
    pub(super) authorizer: Authorizer,
    pub(super) deadline: Duration,
}

impl SignedRequest {
    /// Adds a header. An `Authorization` that is set here is left alone: the ID token then goes in
    /// `X-Serverless-Authorization` alone.
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.change(|request| request.header(name, value))
    }

    /// A body of JSON, with its content type.
    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Self {
        self.change(|request| request.json(body))
    }

    /// A body of any kind.
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        self.change(|request| request.body(body))
    }

    /// Another deadline than the client's.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Signs and sends. The answer is handed over as it comes, whatever its status is; a redirect is an answer.
    ///
    /// # Errors
    /// When the request cannot be built or signed, or no answer's head arrives before the deadline. The deadline holds
    /// for reading the body too.
    pub async fn send(self) -> Result<reqwest::Response, SendError> {
        let deadline = self.deadline;
        let clock = self.authorizer.tokens().clock();
        let started = clock.now();
        let mut request = self.request?.build().map_err(SendError::request)?;
        let url = request.url();
        let uri = uri(url)?;
        let place =
            format!("{} {}{}", request.method(), url.origin().ascii_serialization(), url.path());

        let authorized = self.authorizer.authorize(&uri, request.headers_mut());
        match tokio::time::timeout(deadline, authorized).await {
            Ok(authorized) => authorized?,
            Err(_) => return Err(SendError::TimedOut { place, deadline }),
        }
        let left = deadline.saturating_sub(clock.now().age_since(started));
        *request.timeout_mut() = Some(left);
        self.http.execute(request).await.map_err(|error| {
            if error.is_connect() {
                SendError::Unreachable { place, source: error.without_url() }
            } else if error.is_timeout() {
                SendError::TimedOut { place, deadline }
            } else {
                SendError::Broken { place, source: error.without_url() }
            }
        })
    }

    fn change(
        mut self,
        change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Self {
        self.request = self.request.map(change);
        self
    }
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and body are left out: they are where credentials are.
        f.debug_struct("SignedRequest")
            .field("origin", self.authorizer.origin())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Why a request brought no answer. No message has a token, a query or a header in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The path or URL cannot be resolved.
    #[error("{found:?} is not a path or a URL: {source}")]
    Reference {
        /// What was given, without its query and without what may be a password.
        found: String,
        /// What is wrong with it.
        source: url::ParseError,
    },
    /// The URL is not one that HTTP can carry.
    #[error("the URL cannot be requested: {source}")]
    Uri {
        /// What is wrong with it.
        source: http::uri::InvalidUri,
    },
    /// A body cannot be written as JSON.
    #[error("the request cannot be built: {source}")]
    Request {
        /// What is wrong with it.
        source: reqwest::Error,
    },
    /// It got no token.
    #[error(transparent)]
    Authorize(#[from] AuthorizeError),
    /// No connection.
    #[error("{place}: cannot connect")]
    Unreachable {
        /// Method, origin and path.
        place: String,
        /// Why.
        source: reqwest::Error,
    },
    /// No answer before the deadline.
    #[error("{place}: no answer within {} ms", .deadline.as_millis())]
    TimedOut {
        /// Method, origin and path.
        place: String,
        /// The deadline.
        deadline: Duration,
    },
    /// The connection broke before there was an answer.
    #[error("{place}: no valid answer")]
    Broken {
        /// Method, origin and path.
        place: String,
        /// Why.
        source: reqwest::Error,
    },
}

impl SendError {
    fn request(source: reqwest::Error) -> Self {
        Self::Request { source: source.without_url() }
    }
}

/// The same address in the other crate's type.
pub(super) fn uri(url: &Url) -> Result<Uri, SendError> {
    url.as_str().parse().map_err(|source| SendError::Uri { source })
}
