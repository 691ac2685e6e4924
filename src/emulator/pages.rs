//! The error pages of Google's servers.

use axum::body::Body;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

const HTML: &str = "text/html; charset=UTF-8";

/// What Cloud Run's front end sends along when it could not verify a token. An ID token is no access token, but that is
/// what it says.
const COULD_NOT_BE_VERIFIED: &str =
    r#"Bearer error="invalid_token" error_description="The access token could not be verified""#;

/// The page of Google's web servers in general.
pub(super) fn google(status: StatusCode, path: &str, why: &str) -> Response<Body> {
    let (number, reason) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
    let path = escaped(path);
    let what = match status {
        StatusCode::NOT_FOUND => {
            format!("The requested URL <code>{path}</code> was not found on this server.")
        }
        StatusCode::FORBIDDEN => format!(
            "Your client does not have permission to get URL <code>{path}</code> from this server. {why}"
        ),
        _ => why.to_owned(),
    };
    html(
        status,
        format!(
            "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error {number} ({reason})!!1</title>\n  \
             <p><b>{number}.</b> <ins>That’s an error.</ins>\n  <p>{what} <ins>That’s all we know.</ins>\n"
        ),
    )
}

/// Cloud Run's 403: no token, or nobody with the role. It does not say which.
pub(super) fn forbidden(path: &str) -> Response<Body> {
    let what = format!(
        "Your client does not have permission to get URL <code>{}</code> from this server.",
        escaped(path)
    );
    cloud_run(StatusCode::FORBIDDEN, "Forbidden", &what)
}

/// Cloud Run's 401: a token that could not be verified.
pub(super) fn unauthorized(path: &str) -> Response<Body> {
    let what = format!(
        "Your client does not have permission to the requested URL <code>{}</code>.",
        escaped(path)
    );
    let mut answer = cloud_run(StatusCode::UNAUTHORIZED, "Unauthorized", &what);
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(COULD_NOT_BE_VERIFIED));
    answer
}

/// Cloud Run's 503: no instance answers.
pub(super) fn unavailable() -> Response<Body> {
    let what = "The service you requested is not available yet.<p>Please try again in 30 seconds.";
    cloud_run(StatusCode::SERVICE_UNAVAILABLE, "Server Error", what)
}

/// Cloud Run's 504: the instance took longer than the service's request timeout.
pub(super) fn timed_out() -> Response<Body> {
    let mut answer = Response::new(Body::from("upstream request timeout"));
    *answer.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

fn cloud_run(status: StatusCode, title: &str, what: &str) -> Response<Body> {
    let number = status.as_u16();
    html(
        status,
        format!(
            "<html><head>\n<meta http-equiv=\"content-type\" content=\"text/html;charset=utf-8\">\n\
             <title>{number} {title}</title>\n</head>\n<body text=#000000 bgcolor=#ffffff>\n\
             <h1>Error: {title}</h1>\n<h2>{what}</h2>\n<h2></h2>\n</body></html>\n"
        ),
    )
}

fn html(status: StatusCode, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(HTML));
    answer
}

/// Text for an HTML page: what a client sent must not become markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_do_not_become_markup() {
        assert_eq!(escaped("/<b>&\""), "/&lt;b&gt;&amp;&quot;");
    }
}
