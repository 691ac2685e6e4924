//! `/health/live`, `/health/ready`, and the time before there is an application.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{GET, Running, http1, ms, patient, within};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use countersign::server::{App, Config, ServerError};
use serde_json::{Value, json};
use tokio::sync::oneshot;

async fn problem(url: &str) -> (StatusCode, Value) {
    let response = http1().get(url).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    (response.status(), response.json().await.unwrap())
}

#[tokio::test]
async fn ready_follows_its_checks_and_names_what_is_missing() {
    let in_order = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&in_order);
    let app = App::new(Router::new()).ready_when("always", || async { Ok(()) }).ready_when(
        "keys",
        move || {
            let in_order = seen.load(Ordering::SeqCst);
            async move { if in_order { Ok(()) } else { Err("not fetched yet".into()) } }
        },
    );
    let server = Running::start(patient(), app).await;

    let (status, body) = problem(&server.url("/health/ready")).await;
    assert_eq!(status, 503);
    assert_eq!(body["code"], "not_ready");
    assert_eq!(body["missing"], json!([{ "check": "keys", "reason": "not fetched yet" }]));
    let live = http1().get(server.url("/health/live")).send().await.unwrap();
    assert_eq!(live.status(), 200, "alive all the same");

    in_order.store(true, Ordering::SeqCst);
    let ready = http1().get(server.url("/health/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    assert_eq!(ready.json::<Value>().await.unwrap(), json!({ "status": "ready" }));
}

#[tokio::test]
async fn a_check_that_does_not_answer_is_named() {
    let app = App::new(Router::new()).ready_when("stuck", std::future::pending);
    let server = Running::start(Config { readiness_timeout: ms(20), ..patient() }, app).await;
    let (status, body) = problem(&server.url("/health/ready")).await;
    assert_eq!(status, 503);
    assert_eq!(body["missing"], json!([{ "check": "stuck", "reason": "no answer in time" }]));
}

#[tokio::test]
async fn a_check_that_panics_is_an_error_of_its_own_request_only() {
    async fn panics() -> Result<(), String> {
        panic!("a check's own fault")
    }
    let app = App::new(Router::new()).ready_when("broken", panics);
    let server = Running::start(patient(), app).await;
    let (status, body) = problem(&server.url("/health/ready")).await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::INTERNAL_SERVER_ERROR, &json!("internal_error"))
    );
    assert_eq!(http1().get(server.url("/health/live")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn health_has_no_layer_of_the_application_before_it() {
    let refuse_all = axum::middleware::from_fn(|_: axum::extract::Request, _| async {
        StatusCode::UNAUTHORIZED
    });
    let router = Router::new().route("/", get(|| async {})).layer(refuse_all);
    let server = Running::start(patient(), router).await;
    let status = async |path| http1().get(server.url(path)).send().await.unwrap().status();
    assert_eq!(status("/").await, 401);
    assert_eq!(status("/unknown").await, 401);
    assert_eq!(status("/health/live").await, 200);
    assert_eq!(status("/health/ready").await, 200);
    assert_eq!(status("/health/ready?verbose").await, 200);
    assert_eq!(status("/health/live/").await, 401, "by the exact path only");
}

#[tokio::test]
async fn head_is_answered_without_a_body_and_other_methods_with_405() {
    let server = Running::start(patient(), Router::new()).await;
    for path in ["/health/live", "/health/ready"] {
        let mut client = server.connect().await;
        client.send(&format!("HEAD {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await;
        let answer = String::from_utf8(client.rest().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");

        let answer = http1().post(server.url(path)).body("{}").send().await.unwrap();
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.headers()["allow"], "GET, HEAD");
    }
}

#[tokio::test]
async fn until_there_is_an_application_the_answer_is_503() {
    let (yield_router, router) = oneshot::channel::<Router>();
    let server = Running::start_when(patient(), router).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.code().as_str()), (503, "starting"));
    assert!(answer.field("retry-after").is_some());
    let (status, body) = problem(&server.url("/health/ready")).await;
    assert_eq!((status.as_u16(), &body["code"]), (503, &json!("starting")));
    let live = http1().get(server.url("/health/live")).send().await.unwrap();
    assert_eq!(live.status(), 200);

    yield_router.send(Router::new().route("/", get(|| async { "here" }))).unwrap();
    // On the connection that was refused before, and without a restart.
    within("the application", async {
        loop {
            client.send(GET).await;
            let answer = client.response().await;
            if answer.status() == 200 {
                assert_eq!(answer.text(), "here");
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_application_that_fails_ends_the_server_with_its_error() {
    let failed = async { Err::<Router, _>("no audience could be derived") };
    let error = Running::start_when(patient(), failed).await.ended().await.unwrap_err();
    assert!(matches!(error, ServerError::App(_)));
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "no audience could be derived");
}

#[tokio::test]
async fn a_shutdown_before_there_is_an_application_is_a_good_end() {
    let never = std::future::pending::<Result<Router, ServerError>>();
    let mut server = Running::start_when(patient(), never).await;
    server.stop();
    server.ended().await.unwrap();
}
