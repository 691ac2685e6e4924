//! Errors as Google's JSON APIs write them (<https://google.aip.dev/193>).

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::emulator) struct Refusal {
    status: StatusCode,
    /// A name of `google.rpc.Code`.
    code: &'static str,
    message: String,
    /// `google.rpc.ErrorInfo`, where the reason has a name.
    info: Option<Value>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), info: None }
    }

    fn because(mut self, reason: &str, domain: &str, metadata: Value) -> Self {
        self.info = Some(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": domain,
            "metadata": metadata,
        }));
        self
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message)
    }

    pub(super) fn no_credentials() -> Self {
        let message = "Request is missing required authentication credential. Expected OAuth 2 access token, login \
                       cookie or other valid authentication credential. See \
                       https://developers.google.com/identity/sign-in/web/devconsole-project.";
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message).because(
            "CREDENTIALS_MISSING",
            "googleapis.com",
            json!({"service": "iamcredentials.googleapis.com"}),
        )
    }

    pub(super) fn bad_credentials() -> Self {
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
                       other valid authentication credential. See \
                       https://developers.google.com/identity/sign-in/web/devconsole-project.";
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message).because(
            "ACCESS_TOKEN_TYPE_UNSUPPORTED",
            "googleapis.com",
            json!({"service": "iamcredentials.googleapis.com"}),
        )
    }

    pub(super) fn scope() -> Self {
        let message = "Request had insufficient authentication scopes.";
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message).because(
            "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            "googleapis.com",
            json!({"service": "iamcredentials.googleapis.com"}),
        )
    }

    pub(super) fn permission(permission: &str) -> Self {
        let permission = format!("iam.serviceAccounts.{permission}");
        let message =
            format!("Permission '{permission}' denied on resource (or it may not exist).");
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message).because(
            "IAM_PERMISSION_DENIED",
            "iam.googleapis.com",
            json!({"permission": permission}),
        )
    }

    pub(super) fn no_account(email: &str) -> Self {
        let message = format!("Not found; Gaia id not found for email {email}");
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    pub(super) fn no_such_method(method: &Method, target: &str) -> Self {
        let message = format!(
            "{method} {target}: expected :generateIdToken, :generateAccessToken or :signJwt after the account"
        );
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    pub(super) fn unavailable(message: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({
            "code": self.status.as_u16(),
            "message": self.message,
            "status": self.code,
        });
        if let Some(info) = self.info {
            error["details"] = json!([info]);
        }
        let mut answer = (self.status, Json(json!({ "error": error }))).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = r#"Bearer realm="https://accounts.google.com/""#;
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        answer
    }
}
