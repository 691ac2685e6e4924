//! A called service that writes down what reaches it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tokio::sync::watch;

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    /// The token in a header, if the header is there once.
    pub(crate) fn token(&self, header: &str) -> Option<String> {
        let mut values = self.headers.get_all(header).iter();
        let value = values.next()?.to_str().unwrap();
        assert!(values.next().is_none(), "{header} twice");
        Some(value.strip_prefix("Bearer ")?.to_owned())
    }
}

#[derive(Clone)]
pub(crate) struct Called {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    held: Arc<watch::Sender<bool>>,
}

impl Called {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let called = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            held: Arc::new(watch::channel(false).0),
        };
        let app = Router::new().fallback(answer).with_state(called.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        called
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Keeps every answer back from now on.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

/// 201 with the path as its body; `/to?URL` is a redirect.
async fn answer(State(called): State<Called>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let answer = match (head.uri.path(), head.uri.query()) {
        ("/to", Some(url)) => Redirect::temporary(url).into_response(),
        (path, _) => (StatusCode::CREATED, path.to_owned()).into_response(),
    };
    let seen = Seen { method: head.method, uri: head.uri, headers: head.headers, body };
    called.seen.lock().unwrap().push(seen);
    let _ = called.held.subscribe().wait_for(|held| !held).await;
    answer
}
