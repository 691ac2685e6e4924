//! The axum extractors: [`Principal`] as an argument of a handler.
//!
//! `Principal` asks for somebody; `Option<Principal>` takes nobody, too, which only a service with `allUsers` lets in.
//! Without the [`Authenticate`](super::Authenticate) layer both answer 500 and log an error: a handler that thinks it
//! is guarded and is not must not run.

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use super::authenticator::Admission;
use super::cause::Cause;
use super::denial;
use super::principal::Principal;

/// Why there is no principal for a handler.
#[derive(Debug)]
pub struct PrincipalRejection(Response);

impl IntoResponse for PrincipalRejection {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = PrincipalRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let principal: Option<Self> =
            <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?;
        principal.ok_or_else(|| {
            let Parts { method, uri, headers, .. } = parts;
            let response = denial::answer_parts(&Cause::NoToken, method, uri, headers);
            PrincipalRejection(response.map(Body::from))
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = PrincipalRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        match parts.extensions.get::<Admission>() {
            Some(admission) => Ok(admission.principal().cloned()),
            None => Err(PrincipalRejection(denial::layer_missing("Principal").map(Body::from))),
        }
    }
}
