//! What is known of the request that a task is answering, for the log lines written meanwhile.

use std::cell::Cell;

use http::header::USER_AGENT;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use serde_json::{Map, Value};

use super::TraceContext;
use super::record::bounded;

tokio::task_local! {
    /// Set around a request's service by `server`. A task-local and not a span: a span would cost every request an
    /// allocation, this costs a swap, and the header fields are turned into text only when a line is written.
    pub(crate) static CURRENT: RequestContext;
}

/// One request, as its log lines tell of it. Kept cheap: everything in it is a number or a shared slice.
#[derive(Debug)]
pub(crate) struct RequestContext {
    pub(super) trace: Option<TraceContext>,
    method: Method,
    target: Option<PathAndQuery>,
    version: Version,
    user_agent: Option<HeaderValue>,
    denial_logged: Cell<bool>,
}

impl RequestContext {
    pub(crate) fn new(
        method: &Method,
        uri: &http::Uri,
        version: Version,
        headers: &http::HeaderMap,
    ) -> Self {
        Self {
            trace: TraceContext::from_headers(headers),
            method: method.clone(),
            target: uri.path_and_query().cloned(),
            version,
            user_agent: headers.get(USER_AGENT).cloned(),
            denial_logged: Cell::new(false),
        }
    }

    /// Fills in what the event itself did not say. Never the query: it is where clients put secrets.
    pub(super) fn describe(&self, http: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Value| {
            http.entry(name).or_insert(value);
        };
        put("requestMethod", bounded(self.method.as_str()).into());
        if let Some(target) = &self.target {
            put("requestUrl", bounded(target.path()).into());
        }
        put("protocol", format!("{:?}", self.version).into());
        if let Some(agent) = &self.user_agent {
            put("userAgent", bounded(&String::from_utf8_lossy(agent.as_bytes())).into());
        }
    }

    pub(super) fn note_denial(&self) {
        self.denial_logged.set(true);
    }

    /// Whether a line about the refusal of this request has been written already.
    pub(crate) fn denial_logged(&self) -> bool {
        self.denial_logged.get()
    }
}

/// Calls `read` with the request that this task answers, if it answers one.
pub(crate) fn with_current<T>(read: impl FnOnce(&RequestContext) -> T) -> Option<T> {
    CURRENT.try_with(read).ok()
}
