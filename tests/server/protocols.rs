//! HTTP/1.1 and HTTP/2 on one port, and handlers that panic.

use std::sync::Arc;

use crate::support::{Dropped, GET, Running, http1, http2, patient, within};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use countersign::server::{self, Config, Server, ServerError};
use countersign::telemetry::TraceContext;
use tokio::sync::Notify;

fn router() -> Router {
    let trace =
        || async { TraceContext::current().map(|trace| trace.trace_id()).unwrap_or_default() };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/echo", post(|body: String| async { body }))
        .route("/panic", get(|| async { panic!("on purpose") as StatusCode }))
        .route("/trace", get(trace))
        .fallback(server::not_found)
        .method_not_allowed_fallback(server::method_not_allowed)
}

#[tokio::test]
async fn both_protocols_are_spoken_on_one_port() {
    let server = Running::start(patient(), router()).await;
    for (client, version) in
        [(http1(), reqwest::Version::HTTP_11), (http2(), reqwest::Version::HTTP_2)]
    {
        let answer = client.get(server.url("/")).send().await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
        assert_eq!(answer.text().await.unwrap(), "hello");
        let large = "x".repeat(300_000);
        let answer = client.post(server.url("/echo")).body(large.clone()).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), large);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Running::start(patient(), router()).await;
    let mut client = server.connect().await;
    let post = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    client.send(&format!("{GET}{post}{GET}")).await;
    let mut texts = Vec::new();
    for _ in 0..3 {
        texts.push(client.response().await.text());
    }
    assert_eq!(texts, ["hello", "abc", "hello"]);
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_the_server_goes_on() {
    let server = Running::start(patient(), router()).await;
    for nonsense in [
        "\u{16}\u{3}\u{1}\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(nonsense).await;
        let answer = String::from_utf8(client.rest().await).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {answer}");
    }
    assert_eq!(http1().get(server.url("/")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let server = Running::start(patient(), router()).await;
    let mut client = server.connect().await;
    client.send("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.code().as_str()), (404, "not_found"));
    client.send("DELETE / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(answer.field("allow").as_deref(), Some("GET,HEAD"));
}

#[tokio::test]
async fn a_panic_is_one_requests_500() {
    let release = Arc::new(Notify::new());
    let begun = Arc::new(Notify::new());
    let (held, tell) = (Arc::clone(&release), Arc::clone(&begun));
    let wait = move || {
        let (held, tell) = (Arc::clone(&held), Arc::clone(&tell));
        async move {
            tell.notify_one();
            held.notified().await;
            "finished"
        }
    };
    let server = Running::start(patient(), router().route("/wait", get(wait))).await;
    for client in [http1(), http2()] {
        let waiting = tokio::spawn(client.get(server.url("/wait")).send());
        within("the other request", begun.notified()).await;
        let answer = client.get(server.url("/panic")).send().await.unwrap();
        assert_eq!(answer.status(), 500);
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "internal_error");
        assert!(!problem.to_string().contains("on purpose"), "{problem}");
        release.notify_one();
        let other = within("the other answer", waiting).await.unwrap().unwrap();
        assert_eq!(other.text().await.unwrap(), "finished", "beside a panic");
    }
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_along() {
    let dropped = Dropped::default();
    let begun = Arc::new(Notify::new());
    let (watched, tell) = (dropped.clone(), Arc::clone(&begun));
    let forever = move || {
        let (guard, tell) = (watched.guard(), Arc::clone(&tell));
        async move {
            let _guard = guard;
            tell.notify_one();
            std::future::pending::<StatusCode>().await
        }
    };
    let server = Running::start(patient(), Router::new().route("/", get(forever))).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    within("the handler", begun.notified()).await;
    drop(client);
    dropped.happened().await;
}

#[tokio::test]
async fn a_handler_sees_its_requests_trace() {
    let server = Running::start(patient(), router()).await;
    for client in [http1(), http2()] {
        let mut headers = HeaderMap::new();
        let trace = TraceContext::start().continue_in(&mut headers);
        let answer = client.get(server.url("/trace")).headers(headers).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), trace.trace_id());
        let answer = client.get(server.url("/trace")).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "", "none of the request before");
    }
    assert_eq!(TraceContext::current(), None);
}

/// Whoever logs a request's headers, by a layer or by hand, logs them by `Debug`.
#[tokio::test]
async fn credentials_are_not_in_the_debug_of_a_handlers_headers() {
    let router =
        Router::new().route("/", get(|headers: HeaderMap| async move { format!("{headers:?}") }));
    let server = Running::start(patient(), router).await;
    for client in [http1(), http2()] {
        let request = client
            .get(server.url("/"))
            .header("authorization", "Bearer one.secret")
            .header("x-serverless-authorization", "bearer two.secret")
            .header("x-serverless-authorization", "bearer three.secret")
            .header("cookie", "session=four.secret")
            .header("x-other", "shown");
        let text = request.send().await.unwrap().text().await.unwrap();
        assert!(text.contains("shown") && text.contains("authorization"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let server = Running::start(patient(), router()).await;
    let config = Config { port: server.address.port(), ..patient() };
    let error = Server::bind(config).await.unwrap_err();
    assert!(matches!(error, ServerError::Bind { .. }));
    assert!(error.to_string().contains(&server.address.to_string()), "{error}");
}
