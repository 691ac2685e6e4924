//! The tower layers: [`Authenticate`] once around a service, [`Allow`] around single routes.
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use countersign::inbound::{Allow, Authenticate, Policy, Principal, Verifier};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::builder().audience("https://orders.example".parse()?).build()?;
//! let callers = Policy::new([
//!     "serviceAccount:caller@demo.iam.gserviceaccount.com".parse()?,
//!     "serviceAccount:admin@demo.iam.gserviceaccount.com".parse()?,
//! ])?;
//! let admins = Policy::new(["serviceAccount:admin@demo.iam.gserviceaccount.com".parse()?])?;
//!
//! let router: Router = Router::new()
//!     .route("/admin", post(|| async { "done" }))
//!     .route_layer(Allow::new(admins))
//!     .route("/", post(|principal: Principal| async move { principal.name().to_owned() }))
//!     .layer(Authenticate::new(verifier, callers)?);
//! # Ok(())
//! # }
//! ```
//!
//! `Authenticate` by `.layer` guards unknown paths, too: they answer 401, not 404. `Allow` can only narrow what
//! `Authenticate` let in; without it outside, everything is refused with 500 and an error in the log.

mod future;

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::authenticator::{Admission, Authenticator, AuthenticatorError, Decision};
use super::cause::Cause;
use super::denial;
use super::policy::Policy;
use super::rejection::ResponseBody;
use super::verifier::Verifier;

pub use future::ResponseFuture;

/// Lets in only requests with a good token of an allowed principal; puts the
/// [`Principal`](super::Principal) into the request's extensions.
#[derive(Clone, Debug)]
pub struct Authenticate {
    authenticator: Authenticator,
}

impl Authenticate {
    /// A layer of this verifier and this policy.
    ///
    /// # Errors
    /// When they do not go together, see [`Authenticator::new`].
    pub fn new(verifier: Verifier, policy: Policy) -> Result<Self, AuthenticatorError> {
        Authenticator::new(verifier, policy).map(Self::from)
    }
}

impl From<Authenticator> for Authenticate {
    fn from(authenticator: Authenticator) -> Self {
        Self { authenticator }
    }
}

impl<S> Layer<S> for Authenticate {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticated { inner, authenticator: self.authenticator.clone() }
    }
}

/// A service behind [`Authenticate`].
#[derive(Clone, Debug)]
pub struct Authenticated<S> {
    inner: S,
    authenticator: Authenticator,
}

impl<S, B, R> Service<Request<B>> for Authenticated<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.authenticator.decide(request.headers()) {
            Decision::Decided(Ok(admission)) => {
                request.extensions_mut().insert(admission);
                ResponseFuture::inner(self.inner.call(request))
            }
            Decision::Decided(Err(cause)) => {
                ResponseFuture::refused(denial::answer(&cause, &request))
            }
            Decision::Pending(pending) => {
                // The clone takes our place; what is ready goes with the request.
                let next = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, next);
                ResponseFuture::pending(Box::pin(pending.decision()), request, ready)
            }
        }
    }
}

/// Narrows a route to some of those whom [`Authenticate`] let in.
#[derive(Clone, Debug)]
pub struct Allow {
    policy: Arc<Policy>,
}

impl Allow {
    /// A layer of this policy, for `.route_layer(…)` inside [`Authenticate`].
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy: Arc::new(policy) }
    }

    fn verdict<B>(&self, request: &Request<B>) -> Option<Result<(), Cause>> {
        let admission = request.extensions().get::<Admission>()?;
        Some(match admission.principal() {
            Some(principal) => self.policy.admit((**principal).clone()).map(drop),
            None if self.policy.admits_anyone() => Ok(()),
            None => Err(Cause::NoToken),
        })
    }
}

impl<S> Layer<S> for Allow {
    type Service = Allowed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Allowed { inner, allow: self.clone() }
    }
}

/// A service behind [`Allow`].
#[derive(Clone, Debug)]
pub struct Allowed<S> {
    inner: S,
    allow: Allow,
}

impl<S, B, R> Service<Request<B>> for Allowed<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.allow.verdict(&request) {
            Some(Ok(())) => ResponseFuture::inner(self.inner.call(request)),
            Some(Err(cause)) => ResponseFuture::refused(denial::answer(&cause, &request)),
            None => ResponseFuture::refused(denial::layer_missing("Allow")),
        }
    }
}

#[cfg(test)]
mod tests;
