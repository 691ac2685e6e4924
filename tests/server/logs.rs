//! What the server writes, and what it leaves to others.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::support::{Running, http1, patient};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use countersign::clock::ManualClock;
use countersign::server::{Config, Server};
use countersign::telemetry::{self, DENIAL_TARGET, RequestLog};
use serde_json::Value;
use tracing::subscriber::DefaultGuard;

/// Collects lines. The runtime of these tests has one thread, so the subscriber of that thread hears everything.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn collect() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let config =
            telemetry::Config { project_id: telemetry::ProjectId::from("p"), ..Default::default() };
        let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
        let subscriber = config.subscriber(clock, lines.clone()).unwrap();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn take(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn router() -> Router {
    let denied = || async {
        tracing::warn!(
            target: DENIAL_TARGET,
            code = "token_expired",
            http_request.status = 401_u16,
            "refused"
        );
        StatusCode::UNAUTHORIZED
    };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/denied", get(denied))
        .route("/panic", get(|| async { panic!("on purpose") as StatusCode }))
}

async fn ask(server: &Running, path: &str) {
    let trace = "0af7651916cd43dd8448eb211c80319c/1;o=1";
    let request = http1().get(server.url(path)).header("x-cloud-trace-context", trace);
    request.send().await.unwrap();
}

#[tokio::test]
async fn the_first_line_says_where_it_listens() {
    let (lines, _guard) = Lines::collect();
    let server = Server::bind(patient()).await.unwrap();
    let lines = lines.take();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["message"], "listening");
    assert_eq!(lines[0]["address"], server.local_addr().to_string());
}

#[tokio::test]
async fn by_default_a_refusals_own_line_is_the_only_one() {
    let (lines, _guard) = Lines::collect();
    let server = Running::start(patient(), router()).await;
    lines.take();
    for path in ["/", "/unknown", "/health/ready", "/denied"] {
        ask(&server, path).await;
    }
    let lines = lines.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["code"], "token_expired");
    assert_eq!(lines[0]["httpRequest"]["requestUrl"], "/denied");
    assert_eq!(lines[0]["httpRequest"]["status"], 401);
    let trace = "projects/p/traces/0af7651916cd43dd8448eb211c80319c";
    assert_eq!(lines[0]["logging.googleapis.com/trace"], trace);
}

#[tokio::test]
async fn with_all_there_is_one_line_for_each_answer() {
    let (lines, _guard) = Lines::collect();
    let config = Config { request_log: RequestLog::All, ..patient() };
    let server = Running::start(config, router()).await;
    lines.take();
    for path in ["/?key=secret", "/unknown", "/health/ready", "/denied"] {
        ask(&server, path).await;
    }
    let lines = lines.take();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (&line["message"], &line["httpRequest"]["requestUrl"], &line["httpRequest"]["status"])
        })
        .map(|(message, url, status)| format!("{message} {url} {status}"))
        .collect();
    assert_eq!(
        told,
        [r#""answered" "/" 200"#, r#""answered" "/unknown" 404"#, r#""refused" "/denied" 401"#]
    );
    assert_eq!(lines[0]["httpRequest"]["requestMethod"], "GET");
    assert!(lines[0]["httpRequest"]["latency"].as_str().unwrap().ends_with('s'));
    assert_eq!(lines[1]["severity"], "WARNING");
    assert!(!format!("{lines:?}").contains("secret"));
}

#[tokio::test]
async fn a_panic_is_an_error_line_of_its_request() {
    let (lines, _guard) = Lines::collect();
    let server = Running::start(patient(), router()).await;
    lines.take();
    ask(&server, "/panic").await;
    let lines = lines.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["severity"], "ERROR");
    assert_eq!(lines[0]["panic"], "on purpose");
    assert!(
        lines[0]["logging.googleapis.com/trace"]
            .as_str()
            .unwrap()
            .starts_with("projects/p/traces/0af7")
    );
}
