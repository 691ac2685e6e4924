//! Bodies of requests that are JSON objects.

use http::StatusCode;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// Reads a request's body as a JSON object. The content type does not matter, so that a plain `curl -d` works.
///
/// ```
/// use axum::body::Bytes;
/// use countersign::{Problem, server};
///
/// async fn create(body: Bytes) -> Result<String, Problem> {
///     let request = server::json_object(&body)?;
///     Ok(format!("{} members", request.len()))
/// }
/// ```
///
/// # Errors
/// 400 `malformed_body`, which does not repeat what was sent.
pub fn json_object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    let detail = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => return Ok(object),
        // serde's own error would repeat the value, however long it is.
        Ok(_) => "the body is not a JSON object, but JSON of another kind".to_owned(),
        Err(error) => format!("the body is not a JSON object: {error}"),
    };
    Err(Problem::new(StatusCode::BAD_REQUEST, "malformed_body", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_refused_and_not_repeated() {
        for body in ["\"<secret>\"", "[\"<secret>\"]", "<secret>", "{\"a\":<secret>}", ""] {
            let problem = format!("{:?}", json_object(body.as_bytes()).unwrap_err());
            assert!(
                problem.contains("malformed_body") && !problem.contains("<secret>"),
                "{problem}"
            );
        }
        assert_eq!(json_object(br#"{"bar":1}"#).unwrap()["bar"], 1);
    }
}
