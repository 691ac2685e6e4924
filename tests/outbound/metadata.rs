use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use countersign::outbound::{IdTokenSource, MetadataServer, SourceError, SourceFault};
use http::StatusCode;
use serde_json::{Value, json};

use crate::google::{FLAVOR, Google, START, audience};
use crate::shown;

const AUDIENCE: &str = "https://called.example/path";

async fn fetch(google: &Google) -> Result<String, SourceError> {
    let server = google.client().build().unwrap();
    server.fetch(&audience(AUDIENCE)).await.map(|token| token.as_str().to_owned())
}

fn flavored(body: impl Into<Body>) -> Response {
    ([FLAVOR], body.into()).into_response()
}

#[tokio::test]
async fn asks_as_google_wants_to_be_asked() {
    let google = Google::start().await;
    let server = google.client().build().unwrap();
    let odd = audience("https://called.example/a+b&c=d%20é");
    let token = server.fetch(&odd).await.unwrap();
    assert_eq!(token.audience(), &odd);
    assert_eq!(token.expires_at(), START as i64 + 3_600);

    let (uri, headers) = google.last();
    assert_eq!(
        uri.to_string(),
        "/computeMetadata/v1/instance/service-accounts/default/identity\
         ?audience=https%3A%2F%2Fcalled.example%2Fa%2Bb%26c%3Dd%2520%C3%A9&format=full"
    );
    assert_eq!(headers["metadata-flavor"], "Google");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("countersign/"));
    assert!(!headers.contains_key("authorization") && !headers.contains_key("x-forwarded-for"));
}

/// Fault of google-cloud-auth: ten seconds of failures after one 503. threats.md row 23.
#[tokio::test]
async fn a_503_at_start_is_survived_by_the_same_call() {
    let google = Google::start().await;
    google.then_status(503);
    fetch(&google).await.unwrap();
    assert_eq!(google.count(), 2);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_up_to_five_times() {
    for status in [408, 429, 500, 502, 503, 504] {
        let google = Google::start().await;
        for _ in 0..4 {
            google.then_status(status);
        }
        fetch(&google).await.unwrap();
        assert_eq!(google.count(), 5, "{status}");

        for _ in 0..5 {
            google.then_status(status);
        }
        let error = fetch(&google).await.unwrap_err();
        assert_eq!((google.count(), error.tries()), (10, 5), "{status}");
        assert!(error.is_retryable());
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
}

/// Fault of google-cloud-auth: one 404 and it never recovers.
#[tokio::test]
async fn a_refusal_is_explained_not_retried_and_not_remembered() {
    for (status, advice) in
        [(400, "audience"), (403, "X-Forwarded-For"), (404, "deploy it with --service-account")]
    {
        let google = Google::start().await;
        google.then_status(status);
        let server = google.client().build().unwrap();
        let error = server.fetch(&audience(AUDIENCE)).await.unwrap_err();
        assert_eq!((google.count(), error.is_retryable()), (1, false), "{status}");
        let text = error.to_string();
        let place = format!(
            "http://{}/computeMetadata/v1/instance/service-accounts/default/identity",
            google.address()
        );
        for part in [place.as_str(), advice, &status.to_string(), "\"no\""] {
            assert!(text.contains(part), "{text}");
        }
        server.fetch(&audience(AUDIENCE)).await.expect("the next call is a new one");
    }
}

/// threats.md row 24, and the faults of google-cloud-auth: an expired token served as good, one without `exp` panics.
#[tokio::test]
async fn what_is_no_good_token_is_refused_and_tried_again() {
    type Make = fn(&Google, &str) -> Response;
    fn claims(google: &Google, audience: &str, name: &str, value: Value) -> Response {
        flavored(google.token_with(audience, |claims| claims[name] = value))
    }
    let table: [(&str, Make, &str); 15] = [
        ("empty", |_, _| flavored(""), "1 parts"),
        ("garbage", |_, _| flavored("garbage"), "1 parts"),
        ("binary", |_, _| flavored(&b"\xff\xfe\x00"[..]), "1 parts"),
        ("an access token", |_, _| flavored("ya29.opaque"), "2 parts"),
        ("HTML", |_, _| flavored("<html>.<p>.x"), "base64url"),
        ("captive portal", |_, _| "<html>".into_response(), "another server"),
        ("another flavor", |_, _| ([(FLAVOR.0, "google")], "x").into_response(), "another server"),
        ("wrong audience", |g, _| flavored(g.token("https://other.example")), "other.example"),
        ("audience with a slash", |g, a| flavored(g.token(&format!("{a}/"))), "asked for"),
        ("two audiences", |g, a| claims(g, a, "aud", json!([a, "x"])), "\"aud\""),
        (
            "no exp",
            |g, a| flavored(g.token_with(a, |c| drop(c.as_object_mut().unwrap().remove("exp")))),
            "\"exp\" is missing",
        ),
        ("exp a string", |g, a| claims(g, a, "exp", json!("1700003600")), "a string"),
        ("expired", |g, a| claims(g, a, "exp", json!(START - 1)), "expires at 1699999999"),
        ("exp in 10 s", |g, a| claims(g, a, "exp", json!(START + 10)), "expires at 1700000010"),
        ("too large", |_, _| flavored(vec![b'x'; 64 * 1024 + 1]), "more than 65536 bytes"),
    ];
    for (name, make, message) in table {
        let google = Google::start().await;
        google.then(make);
        fetch(&google).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(google.count(), 2, "{name}");

        for _ in 0..5 {
            google.then(make);
        }
        let error = fetch(&google).await.unwrap_err();
        assert_eq!(google.count(), 7, "{name}");
        let text = shown(&error);
        assert!(text.contains(message), "{name}: {text}");
        assert!(!text.contains("eyJ") && !text.contains("ya29"), "{name}: {text}");
        fetch(&google).await.unwrap_or_else(|error| panic!("{name}, afterwards: {error}"));
    }
}

#[tokio::test]
async fn eleven_seconds_are_enough() {
    let google = Google::start().await;
    google.then(|g, a| flavored(g.token_with(a, |claims| claims["exp"] = json!(START + 11))));
    fetch(&google).await.unwrap();
    assert_eq!(google.count(), 1);
}

#[tokio::test]
async fn a_refusal_by_another_server_is_told_apart() {
    let google = Google::start().await;
    google.then(|_, _| (StatusCode::NOT_FOUND, "nginx").into_response());
    let error = fetch(&google).await.unwrap_err();
    assert!(matches!(error.fault(), SourceFault::AnotherServer { .. }), "{error}");
    assert!(error.to_string().contains("GCE_METADATA_HOST"), "{error}");
    assert_eq!(google.count(), 1);
}

#[tokio::test]
async fn an_endless_body_is_cut() {
    struct Endless;
    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            let chunk = Bytes::from_static(&[b'x'; 8192]);
            std::task::Poll::Ready(Some(Ok(http_body::Frame::data(chunk))))
        }
    }
    let google = Google::start().await;
    for _ in 0..5 {
        google.then(|_, _| flavored(Body::new(Endless)));
    }
    let error = fetch(&google).await.unwrap_err();
    assert!(matches!(error.fault(), SourceFault::TooLarge { limit: 65_536 }), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (google, other) = (Google::start().await, Google::start().await);
    for _ in 0..5 {
        let to = format!("http://{}/", other.address());
        google.then(move |_, _| ([FLAVOR], Redirect::temporary(&to)).into_response());
    }
    let error = fetch(&google).await.unwrap_err();
    assert!(error.to_string().contains("307"), "{error}");
    assert_eq!(other.count(), 0);
}

/// threats.md row 22; google-cloud-auth has no time-out at all.
#[tokio::test]
async fn a_server_that_does_not_answer_costs_the_budget_and_no_more() {
    let google = Google::start().await;
    google.hold();
    let server = google.client().budget(Duration::from_millis(50)).build().unwrap();
    let error = server.fetch(&audience(AUDIENCE)).await.unwrap_err();
    assert!(matches!(error.fault(), SourceFault::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("no answer within 50 ms"), "{error}");
    assert!(error.is_retryable());

    google.release();
    let server = google.client().build().unwrap();
    server.fetch(&audience(AUDIENCE)).await.unwrap();
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_explained() {
    // Bound and dropped: nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = MetadataServer::builder()
        .host(address.to_string())
        .first_pause(Duration::from_millis(1))
        .budget(Duration::from_secs(20))
        .build()
        .unwrap();
    let error = server.fetch(&audience(AUDIENCE)).await.unwrap_err();
    assert_eq!(error.tries(), 5);
    let text = error.to_string();
    assert!(text.contains("refused") && text.contains("emulator"), "{text}");
}

/// threats.md row 26.
#[tokio::test]
async fn a_name_that_does_not_resolve_is_an_error_like_any_other() {
    let server = MetadataServer::builder()
        .host("metadata.invalid")
        .first_pause(Duration::from_millis(1))
        .budget(Duration::from_secs(2))
        .build()
        .unwrap();
    let error = server.fetch(&audience(AUDIENCE)).await.unwrap_err();
    let unreachable = matches!(error.fault(), SourceFault::Unreachable(_));
    assert!(unreachable || matches!(error.fault(), SourceFault::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("metadata.invalid"), "{error}");
}

/// threats.md row 26: `localhost` has two families, the server listens on one.
#[tokio::test]
async fn both_address_families_are_tried() {
    let google = Google::start().await;
    let host = format!("localhost:{}", google.address().port());
    let server = google.client().host(host).build().unwrap();
    server.fetch(&audience(AUDIENCE)).await.unwrap();
}

#[tokio::test]
async fn retry_after_is_obeyed_within_the_budget() {
    fn busy(seconds: &'static str) -> Response {
        let headers = [FLAVOR, ("retry-after", seconds)];
        (StatusCode::TOO_MANY_REQUESTS, headers, "slow down").into_response()
    }
    let google = Google::start().await;
    google.then(|_, _| busy("0"));
    fetch(&google).await.unwrap();
    assert_eq!(google.count(), 2);

    // Longer than the budget: told at once, instead of slept through or ignored.
    google.then(|_, _| busy("7200"));
    let server = google.client().budget(Duration::from_secs(3_600)).build().unwrap();
    let asked = audience(AUDIENCE);
    let told = tokio::time::timeout(Duration::from_secs(20), server.fetch(&asked)).await;
    let error = told.expect("nobody sleeps for an hour").unwrap_err();
    assert_eq!((google.count(), error.tries()), (3, 1));
    assert!(error.to_string().contains("429"), "{error}");
}

#[tokio::test]
async fn facts_about_the_project_are_looked_up_and_checked() {
    let google = Google::start().await;
    let server = google.client().build().unwrap();

    google.then(|_, _| flavored("my-project"));
    assert_eq!(server.project_id().await.unwrap(), "my-project");
    assert_eq!(google.last().0, "/computeMetadata/v1/project/project-id");

    google.then(|_, _| flavored("123456789\n"));
    assert_eq!(server.numeric_project_id().await.unwrap(), "123456789");
    assert_eq!(google.last().0, "/computeMetadata/v1/project/numeric-project-id");

    google.then(|_, _| flavored("projects/123/regions/europe-west1"));
    assert_eq!(server.region().await.unwrap(), "europe-west1");
    assert_eq!(google.last().0, "/computeMetadata/v1/instance/region");

    google.then(|_, _| flavored("caller@demo.iam.gserviceaccount.com"));
    assert_eq!(server.email().await.unwrap(), "caller@demo.iam.gserviceaccount.com");
    assert_eq!(google.last().0, "/computeMetadata/v1/instance/service-accounts/default/email");
}

#[tokio::test]
async fn a_fact_that_is_none_is_refused() {
    let google = Google::start().await;
    let server = google.client().build().unwrap();
    let garbage = || {
        google.drop_script();
        for _ in 0..5 {
            google.then(|_, _| flavored("<html>\nlog in, please: 12a</html>"));
        }
    };
    garbage();
    let error = server.project_id().await.unwrap_err();
    assert!(error.to_string().contains("expected a project id, found \"<html> log in"), "{error}");
    garbage();
    server.numeric_project_id().await.unwrap_err();
    garbage();
    server.region().await.unwrap_err();
    garbage();
    server.email().await.unwrap_err();
}

#[tokio::test]
async fn debug_shows_the_host_and_no_token() {
    let google = Google::start().await;
    let server = google.client().build().unwrap();
    let token = server.fetch(&audience(AUDIENCE)).await.unwrap();
    let text = format!("{server:?} {token:?}");
    assert!(text.contains("127.0.0.1"), "{text}");
    assert!(token.as_str().split('.').all(|part| !text.contains(part)), "{text}");
}

/// Proxy settings are read from the environment when a client is built, so a process of its own has to show this.
#[test]
fn no_proxy_ever() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "metadata::behind_a_proxy_setting", "--ignored"]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    {
        child.env(name, &address);
    }
    child.env_remove("no_proxy").env_remove("NO_PROXY").env_remove("REQUEST_METHOD");
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    proxy.set_nonblocking(true).unwrap();
    assert_eq!(proxy.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
#[ignore = "run by no_proxy_ever, with proxy settings in its environment"]
async fn behind_a_proxy_setting() {
    let google = Google::start().await;
    fetch(&google).await.unwrap();
}

/// A pod can be there before its metadata server is.
#[tokio::test]
async fn there_is_more_patience_before_the_first_success() {
    let google = Google::start().await;
    let patient = google
        .client()
        .budget(Duration::from_millis(50))
        .first_budget(Duration::from_secs(20))
        .build()
        .unwrap();
    assert_eq!(IdTokenSource::budget(&patient), Duration::from_secs(20));
    for _ in 0..9 {
        google.then_status(503);
    }
    patient.fetch(&audience(AUDIENCE)).await.unwrap();
    assert_eq!(google.count(), 10);
    assert_eq!(IdTokenSource::budget(&patient), Duration::from_millis(50));
    google.hold();
    let error = patient.fetch(&audience(AUDIENCE)).await.unwrap_err();
    assert!(error.to_string().contains("within 50 ms"), "{error}");
}
