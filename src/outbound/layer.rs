//! A tower layer that signs what goes through it: for hyper, tonic, and every other client that is a
//! [`Service`] of [`http::Request`].
//!
//! ```no_run
//! use countersign::outbound::{Authorizer, IdTokenCache, IdTokenLayer};
//! use tower::{ServiceBuilder, service_fn};
//!
//! # fn run(tokens: IdTokenCache) -> Result<(), Box<dyn std::error::Error>> {
//! let orders = Authorizer::builder("https://orders-123.europe-west1.run.app", tokens).build()?;
//! # let client = service_fn(|_: http::Request<()>| async { Ok::<_, std::io::Error>(http::Response::new(())) });
//! let client = ServiceBuilder::new().layer(IdTokenLayer::new(orders)).service(client);
//! # Ok(())
//! # }
//! ```
//!
//! The origin is compared before each request. Clients that are bound to one server, as tonic's channels are, send
//! URIs without scheme and host; those get the authorizer's own, and it is up to whoever builds the channel to build
//! it for that origin. A client below this layer must not follow redirects.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Uri};
use tower_layer::Layer;
use tower_service::Service;

use super::authorizer::Authorizer;

/// The error of [`IdTokenService`]: an [`AuthorizeError`](super::AuthorizeError), or the inner service's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Wraps clients in [`IdTokenService`].
#[derive(Clone, Debug)]
pub struct IdTokenLayer {
    authorizer: Authorizer,
}

impl IdTokenLayer {
    /// A layer that signs with this authorizer.
    #[must_use]
    pub fn new(authorizer: Authorizer) -> Self {
        Self { authorizer }
    }
}

impl<S> Layer<S> for IdTokenLayer {
    type Service = IdTokenService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        IdTokenService { inner, authorizer: self.authorizer.clone() }
    }
}

/// A client whose requests carry ID tokens. One that cannot be signed is not sent.
#[derive(Clone, Debug)]
pub struct IdTokenService<S> {
    inner: S,
    authorizer: Authorizer,
}

impl<S, B> Service<Request<B>> for IdTokenService<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The service that was polled ready has to be the one that is called; its clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let authorizer = self.authorizer.clone();
        Box::pin(async move {
            let uri = absolute(request.uri(), &authorizer)?;
            authorizer.authorize(&uri, request.headers_mut()).await?;
            *request.uri_mut() = uri;
            inner.call(request).await.map_err(Into::into)
        })
    }
}

/// A URI of path and query alone gets the authorizer's origin; any other stays what it is.
fn absolute(uri: &Uri, authorizer: &Authorizer) -> Result<Uri, http::Error> {
    if uri.scheme().is_some() || uri.authority().is_some() || !uri.path().starts_with('/') {
        return Ok(uri.clone());
    }
    let origin = authorizer.origin();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Uri::builder()
        .scheme(origin.scheme().clone())
        .authority(origin.authority())
        .path_and_query(target)
        .build()
}
