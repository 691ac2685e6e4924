//! Puts ID tokens on requests to one origin, and on no others.

use std::sync::Arc;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri};
use url::Url;

use super::cache::IdTokenCache;
use super::called_headers::CalledHeaders;
use super::origin::{Origin, OriginError};
use super::source::SourceError;
use crate::http_client::without_user;
use crate::identity::Audience;

/// Signs requests to one origin with tokens for one audience. Cheap to clone.
///
/// This is the core of [`IdTokenClient`](super::IdTokenClient) and [`IdTokenLayer`](super::IdTokenLayer), for whoever
/// brings another HTTP client. Such a client **must not follow redirects**: it would carry the token along.
///
/// ```no_run
/// use countersign::outbound::{Authorizer, IdTokenCache};
///
/// # async fn run(tokens: IdTokenCache) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = Authorizer::builder("https://orders-123.europe-west1.run.app", tokens).build()?;
/// let mut request = http::Request::get("https://orders-123.europe-west1.run.app/42").body(())?;
/// let uri = request.uri().clone();
/// orders.authorize(&uri, request.headers_mut()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Authorizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Origin,
    audience: Audience,
    headers: CalledHeaders,
    tokens: IdTokenCache,
}

impl Authorizer {
    /// A builder for calls to the origin of `url`, with tokens from `tokens`.
    pub fn builder(url: impl Into<String>, tokens: IdTokenCache) -> AuthorizerBuilder {
        AuthorizerBuilder { url: url.into(), tokens, audience: None, headers: CalledHeaders::Auto }
    }

    /// Adds the token to a request's headers, if the request goes to this authorizer's origin.
    ///
    /// Nothing is taken away, and an `Authorization` that is there already is not touched: the token then goes in
    /// `X-Serverless-Authorization` alone. Values are marked sensitive, so that `Debug` does not print them. When
    /// this fails, the headers are as they were.
    ///
    /// Start from headers of your own. Copying those of an incoming request would hand its caller's credentials on.
    ///
    /// # Errors
    /// When the request goes anywhere else, by its URI or by a `Host` that it has already, when there is no token, or
    /// when the header is taken and there is no other.
    pub async fn authorize(
        &self,
        uri: &Uri,
        headers: &mut HeaderMap,
    ) -> Result<(), AuthorizeError> {
        self.admit(uri)?;
        self.admit_host(headers)?;
        let Inner { audience, headers: mode, tokens, .. } = &*self.0;
        let token = tokens
            .token(audience)
            .await
            .map_err(|source| AuthorizeError::NoToken { audience: audience.clone(), source })?;
        mode.put(&token, headers)
    }

    /// The only origin that tokens are sent to.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// The audience that tokens are made out to.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.0.audience
    }

    /// The headers that are set: never [`CalledHeaders::Auto`].
    #[must_use]
    pub fn called_headers(&self) -> CalledHeaders {
        self.0.headers
    }

    /// Refuses a URI of any other origin.
    pub(super) fn admit(&self, uri: &Uri) -> Result<(), AuthorizeError> {
        let own = self.origin();
        if own.covers(uri) {
            return Ok(());
        }
        Err(AuthorizeError::OtherOrigin { own: own.clone(), found: place(uri) })
    }

    /// Refuses a `Host` of another origin. Google's front ends choose the service by it, behind one certificate and one
    /// set of addresses for all of them: it sends a request elsewhere as surely as a URI does.
    fn admit_host(&self, headers: &HeaderMap) -> Result<(), AuthorizeError> {
        let own = self.origin();
        let other = headers.get_all(HOST).iter().find(|host| {
            let authority = Authority::try_from(host.as_bytes());
            !authority.is_ok_and(|authority| own.is_at(&authority))
        });
        match other {
            None => Ok(()),
            Some(_) => Err(AuthorizeError::OtherHost { own: own.clone() }),
        }
    }

    pub(super) fn tokens(&self) -> &IdTokenCache {
        &self.0.tokens
    }
}

/// Builds an [`Authorizer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct AuthorizerBuilder {
    url: String,
    tokens: IdTokenCache,
    audience: Option<Audience>,
    headers: CalledHeaders,
}

impl AuthorizerBuilder {
    /// The audience of the tokens. Left out, it is what [`Audience::for_url`] derives from the URL.
    pub fn audience(mut self, audience: Audience) -> Self {
        self.audience = Some(audience);
        self
    }

    /// In which headers the called service wants its token; [`CalledHeaders::Auto`] by default.
    pub fn called_headers(mut self, headers: CalledHeaders) -> Self {
        self.headers = headers;
        self
    }

    /// The authorizer. Nothing is sent yet.
    ///
    /// # Errors
    /// When the URL is not one that a token may be sent to, or no audience is given and none can be derived.
    pub fn build(self) -> Result<Authorizer, AuthorizerError> {
        Ok(self.build_with_url()?.0)
    }

    pub(super) fn build_with_url(self) -> Result<(Authorizer, Url), AuthorizerError> {
        let url = Url::parse(&self.url).map_err(|source| AuthorizerError::NotAUrl {
            found: without_user(&self.url),
            source,
        })?;
        let origin = Origin::of(&url)?;
        let audience = match self.audience.or_else(|| Audience::for_url(&url)) {
            Some(audience) => audience,
            None => return Err(AuthorizerError::NoAudience { origin }),
        };
        let headers = self.headers.for_url(&url);
        let tokens = self.tokens;
        Ok((Authorizer(Arc::new(Inner { origin, audience, headers, tokens })), url))
    }
}

/// Why an [`Authorizer`] cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizerError {
    /// Not a URL.
    #[error(
        "{found:?} is not a URL ({source}): expected one such as https://SERVICE-PROJECTNUMBER.REGION.run.app"
    )]
    NotAUrl {
        /// What was given, without what is before an `@`.
        found: String,
        /// What is wrong with it.
        source: url::ParseError,
    },
    /// Not a place to send a token to.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// No audience was given, and the URL does not tell.
    #[error(
        "the audience of {origin} is not known: only *.run.app, *.cloudfunctions.net and loopback URLs tell theirs; \
         set CALLED_AUDIENCE to one that the called service accepts"
    )]
    NoAudience {
        /// Where the calls would go.
        origin: Origin,
    },
}

/// Why a request was not given a token.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizeError {
    /// The request goes somewhere else.
    #[error("tokens for {own} are not sent to {found}: use a client that is built for that origin")]
    OtherOrigin {
        /// The origin that tokens may be sent to.
        own: Origin,
        /// Where the request goes.
        found: String,
    },
    /// The request has a `Host` of its own, by which the server would take it to be for another.
    #[error(
        "the request has a Host header that is not of {own}, and tokens for it are not sent elsewhere: remove the \
         header, and do not copy those of an incoming request"
    )]
    OtherHost {
        /// The origin that tokens may be sent to.
        own: Origin,
    },
    /// There is no token.
    #[error("no ID token for audience {audience}: {source}")]
    NoToken {
        /// The audience that was asked for.
        audience: Audience,
        /// Why.
        source: SourceError,
    },
    /// `Authorization` is taken, and it is the only header that may be used.
    #[error(
        "the request has an Authorization header of its own, and the called service is set to take its token there \
         only: remove the header, or set CALLED_HEADERS to both or serverless"
    )]
    AuthorizationTaken,
    /// `X-Serverless-Authorization` is there, and Cloud Run would look at it instead of our token.
    #[error(
        "the request has an X-Serverless-Authorization header of its own, which would count instead of our token: \
         remove it, and do not copy the headers of an incoming request"
    )]
    ServerlessPresent,
}

impl AuthorizeError {
    /// Whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NoToken { source, .. } if source.is_retryable())
    }
}

/// Where a URI points to, without user, path and query.
fn place(uri: &Uri) -> String {
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => {
            let host = authority.as_str().rsplit('@').next().unwrap_or_default();
            let user =
                if authority.as_str().contains('@') { " (with a user before it)" } else { "" };
            format!("{scheme}://{host}{user}")
        }
        _ => "a relative URI".to_owned(),
    }
}
