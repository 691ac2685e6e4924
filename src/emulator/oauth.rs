//! What the token endpoint and STS have in common: forms in, `{"error", "error_description"}` out (RFC 6749 section 5.2).

use axum::Json;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

/// Far more than any grant needs.
const LARGEST: usize = 128 * 1024;
const FORM: &str = "application/x-www-form-urlencoded";

/// The parameters of a request to a token endpoint.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// A parameter; one without a value counts as left out (RFC 6749 section 3.2).
    pub(super) fn optional(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.optional(name)
            .ok_or_else(|| Refusal::request(format!("Missing required parameter: {name}")))
    }

    /// The scopes of `scope`, which are separated by spaces.
    pub(super) fn scopes(&self) -> Vec<String> {
        let scope = self.optional("scope").unwrap_or_default();
        scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
    }

    fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refusal> {
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.and_then(|value| value.split(';').next()).map(str::trim);
        if !media_type.is_some_and(|found| found.eq_ignore_ascii_case(FORM)) {
            let found = media_type.unwrap_or("nothing");
            return Err(Refusal::request(format!("Content-Type: found {found}, expected {FORM}")));
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            if value.is_empty() {
                continue;
            }
            if parameters.iter().any(|(known, _)| *known == name) {
                let message = format!("OAuth 2 parameters can only have a single value: {name}");
                return Err(Refusal::request(message));
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }
}

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, LARGEST).collect().await.map_err(|_| {
            Refusal::request(format!("the body broke off, or is over {LARGEST} bytes"))
        })?;
        Self::parse(&head.headers, &body.to_bytes())
    }
}

/// Why there is no token.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: String,
}

impl Refusal {
    pub(super) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description: description.into() }
    }

    pub(super) fn request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    pub(super) fn grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    /// A client that is not known: 401 (RFC 6749 section 5.2).
    pub(super) fn client(description: &str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, ..Self::new("invalid_client", description) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": self.description});
        (self.status, uncached(body)).into_response()
    }
}

/// Answers with tokens may not be stored (RFC 6749 section 5.1).
pub(super) fn uncached(body: Value) -> Response {
    let mut answer = Json(body).into_response();
    let policy = HeaderValue::from_static("no-cache, no-store, max-age=0, must-revalidate");
    answer.headers_mut().insert(CACHE_CONTROL, policy);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content_type: &'static str, body: &str) -> Result<Form, Refusal> {
        let headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Form::parse(&headers, body.as_bytes())
    }

    #[test]
    fn forms_are_read_and_others_refused() {
        let form = parse("Application/X-WWW-form-urlencoded; charset=utf-8", "a=1&b=&scope=x++y");
        let form = form.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert_eq!((form.optional("a"), form.optional("b")), (Some("1"), None));
        assert_eq!(form.scopes(), ["x", "y"]);
        assert_eq!(form.required("b").unwrap_err().description, "Missing required parameter: b");
        for (content_type, body) in [("application/json", "{}"), ("", "a=1"), (FORM, "a=1&a=2")] {
            let refusal = parse(content_type, body).err().map(|refusal| refusal.error);
            assert_eq!(refusal, Some("invalid_request"), "{content_type} {body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_value_comes_out_as_it_went_in(value in ".+") {
            let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let form = parse(FORM, &format!("v={encoded}")).map_err(|_| "refused").unwrap();
            proptest::prop_assert_eq!(form.optional("v"), Some(value.as_str()));
        }
    }
}
