//! JSON in, and errors as JSON out.

use axum::Json;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::emulator::EmulatorError;

/// Far more than any request needs.
const LARGEST: usize = 256 * 1024;

/// A body that is read as JSON, whatever its content type says; an empty one is `{}`.
pub(super) struct Document<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Document<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = Limited::new(request.into_body(), LARGEST).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                let message = format!("the body is larger than {LARGEST} bytes");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
            } else {
                Problem::new(StatusCode::BAD_REQUEST, "the body broke off")
            }
        })?;
        let bytes = body.to_bytes();
        let text = if bytes.is_empty() { b"{}" } else { bytes.as_ref() };
        // Its message names the field, and what is expected instead.
        serde_json::from_slice(text)
            .map(Self)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
    }
}

/// `{"error": "…"}` with a status.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<EmulatorError> for Problem {
    fn from(error: EmulatorError) -> Self {
        let status = match error {
            EmulatorError::UnknownKey { .. } | EmulatorError::UnknownService { .. } => {
                StatusCode::NOT_FOUND
            }
            EmulatorError::Invalid { .. } => StatusCode::BAD_REQUEST,
            EmulatorError::Listen { .. } => StatusCode::CONFLICT,
            EmulatorError::KeyGeneration
            | EmulatorError::Certificate(_)
            | EmulatorError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.message}))).into_response()
    }
}
