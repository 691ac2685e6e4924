//! Connections to the service: hyper-util's own client, because it passes on paths, headers and bodies as they are.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use countersign::Problem;
use countersign::http_client::{HttpClientError, Roots};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;
use url::Url;

use super::route::{ProxyNotSpoken, Route};

/// How long the proxy waits for the service. Bodies have no limit: a stream may last as long as both sides like.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// From the request to the head of the answer.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // Cloud Run's longest request time-out is an hour.
        Self { connect: Duration::from_secs(10), answer: Duration::from_secs(3600) }
    }
}

/// The service, as far as connections are concerned.
#[derive(Clone)]
pub struct Upstream {
    /// HTTP/2 where the service offers it.
    any: Client<Timed, Incoming>,
    /// HTTP/1.1, which is what can be upgraded.
    upgradable: Client<Timed, Incoming>,
    limits: Limits,
}

impl Upstream {
    /// Connections to the origin of `url`: https by these roots, or plain on loopback.
    pub fn new(url: &Url, roots: &Roots, limits: Limits) -> Result<Self, UpstreamError> {
        let client = |http2| -> Result<_, UpstreamError> {
            let connector = connector(url, roots, http2)?;
            let connector = Timed { connector, limit: limits.connect };
            Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
        };
        Ok(Self { any: client(true)?, upgradable: client(false)?, limits })
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn send(
        &self,
        request: Request<Incoming>,
        upgrade: bool,
    ) -> Result<Response<Incoming>, Problem> {
        let client = if upgrade { &self.upgradable } else { &self.any };
        let limit = self.limits.answer;
        match tokio::time::timeout(limit, client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                format!("the service did not answer within {} ms", limit.as_millis()),
            )),
        }
    }
}

fn connector(
    url: &Url,
    roots: &Roots,
    http2: bool,
) -> Result<HttpsConnector<Route>, UpstreamError> {
    let route = Route::to(url)?;
    let builder = HttpsConnectorBuilder::new().with_tls_config(roots.tls_config()?);
    let builder =
        if url.scheme() == "https" { builder.https_only() } else { builder.https_or_http() };
    Ok(if http2 {
        builder.enable_all_versions().wrap_connector(route)
    } else {
        builder.enable_http1().wrap_connector(route)
    })
}

/// The service cannot be connected to at all.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error(transparent)]
    Tls(#[from] HttpClientError),
    #[error(transparent)]
    Proxy(#[from] ProxyNotSpoken),
}

/// The connector with a limit of time that holds for TLS, too.
#[derive(Clone)]
struct Timed {
    connector: HttpsConnector<Route>,
    limit: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("no connection within {} ms", .0.as_millis())]
struct ConnectTimedOut(Duration);

/// What connectors fail with.
pub type BoxError = Box<dyn Error + Send + Sync>;
type Stream = <HttpsConnector<Route> as Service<Uri>>::Response;

impl Service<Uri> for Timed {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connection, limit) = (self.connector.call(uri), self.limit);
        Box::pin(async move {
            tokio::time::timeout(limit, connection).await.unwrap_or_else(|_| {
                let error: BoxError = Box::new(ConnectTimedOut(limit));
                Err(error)
            })
        })
    }
}

fn failure(error: &hyper_util::client::legacy::Error) -> Problem {
    let mut causes = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    let mut timed_out = false;
    while let Some(cause) = next {
        timed_out |= cause.is::<ConnectTimedOut>();
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    let causes = if causes.is_empty() { error.to_string() } else { causes.join(": ") };
    let (status, code, what) = if timed_out {
        (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "cannot connect to the service")
    } else if error.is_connect() {
        (StatusCode::BAD_GATEWAY, "upstream_unreachable", "cannot connect to the service")
    } else {
        (StatusCode::BAD_GATEWAY, "upstream_broken", "the service gave no valid answer")
    };
    Problem::new(status, code, format!("{what}: {causes}"))
}
