//! A plain HTTP client for ports of this machine: no TLS, no proxy, no redirects, one deadline.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 4 << 20;

/// A client; clones share its connections.
#[derive(Clone, Debug)]
pub struct Loopback {
    http: Client<HttpConnector, Full<Bytes>>,
    deadline: Duration,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    #[error("nothing answers at {url}")]
    Unreachable { url: String, source: hyper_util::client::legacy::Error },
    #[error("{url} did not answer within {deadline:?}")]
    TimedOut { url: String, deadline: Duration },
    #[error("the answer of {url} is longer than {LONGEST_ANSWER} bytes")]
    TooLong { url: String },
    #[error("the answer of {url} broke off")]
    BrokenOff { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{url} is no URL to send a request to")]
    Url { url: String, source: axum::http::Error },
}

impl Loopback {
    /// A client whose every exchange takes at most `deadline`.
    pub fn new(deadline: Duration) -> Self {
        let http = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self { http, deadline }
    }

    /// Posts a JSON document, with these headers besides.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        document: &Value,
    ) -> Result<Answer, LoopbackError> {
        let body = Full::new(Bytes::from(document.to_string()));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|source| LoopbackError::Url { url: url.to_owned(), source })?;
        request.headers_mut().extend(headers);
        let exchange = tokio::time::timeout(self.deadline, self.exchange(url, request));
        exchange.await.unwrap_or_else(|_| {
            Err(LoopbackError::TimedOut { url: url.to_owned(), deadline: self.deadline })
        })
    }

    async fn exchange(
        &self,
        url: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, LoopbackError> {
        let url = || url.to_owned();
        let answer = self.http.request(request).await;
        let answer = answer.map_err(|source| LoopbackError::Unreachable { url: url(), source })?;
        let (head, body) = answer.into_parts();
        match Limited::new(body, LONGEST_ANSWER).collect().await {
            Ok(body) => Ok(Answer { status: head.status, body: body.to_bytes() }),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(LoopbackError::TooLong { url: url() })
            }
            Err(source) => Err(LoopbackError::BrokenOff { url: url(), source }),
        }
    }
}
