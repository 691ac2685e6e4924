//! `/health/live` and `/health/ready`: answered before the application's router, so that no layer of it asks a probe
//! for a token.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::problem;
use crate::problem::Problem;

/// Something that must be in order before requests should come.
///
/// Any closure that returns a future of `Result<(), String>` is one. The text says what is missing; everybody who can
/// reach the server can read it. A check may start the work that makes it pass: a probe is often the first request.
pub trait ReadinessCheck: Send + Sync + 'static {
    /// Whether it is in order, and otherwise what is missing.
    fn check(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

impl<F, C> ReadinessCheck for F
where
    F: Fn() -> C + Send + Sync + 'static,
    C: Future<Output = Result<(), String>> + Send + 'static,
{
    fn check(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(self())
    }
}

/// What is served: a router, and what must be in order before it can be.
///
/// ```
/// use countersign::server::App;
///
/// let router = axum::Router::new();
/// let app = App::new(router).ready_when("keys", || async { Err("not fetched yet".into()) });
/// ```
pub struct App {
    pub(super) router: Router,
    pub(super) checks: Vec<(String, Box<dyn ReadinessCheck>)>,
}

impl App {
    /// A router that is ready at once.
    #[must_use]
    pub fn new(router: Router) -> Self {
        Self { router, checks: Vec::new() }
    }

    /// Adds a check by the name that `/health/ready` tells where it fails.
    #[must_use]
    pub fn ready_when(mut self, name: impl Into<String>, check: impl ReadinessCheck) -> Self {
        self.checks.push((name.into(), Box::new(check)));
        self
    }

    async fn missing(&self, within: Duration) -> Vec<serde_json::Value> {
        let mut missing = Vec::new();
        let all = async {
            for (name, check) in &self.checks {
                // Named before it is asked, so that a check that takes too long is told by name.
                missing.push(json!({ "check": name, "reason": "no answer in time" }));
                let result = check.check().await;
                missing.pop();
                if let Err(reason) = result {
                    missing.push(json!({ "check": name, "reason": reason }));
                }
            }
        };
        // Either way `missing` says how far it went.
        let _ = tokio::time::timeout(within, all).await;
        missing
    }
}

impl From<Router> for App {
    fn from(router: Router) -> Self {
        Self::new(router)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.checks.iter().map(|(name, _)| name).collect();
        f.debug_struct("App").field("checks", &names).finish_non_exhaustive()
    }
}

/// One of the two questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Live,
    Ready,
}

impl Probe {
    /// By the exact path, and by nothing else that a request says (CVE-2026-34457: a health checker's `User-Agent`
    /// opened a door).
    pub(super) fn of(path: &str) -> Option<Self> {
        match path.strip_prefix("/health/")? {
            "live" => Some(Self::Live),
            "ready" => Some(Self::Ready),
            _ => None,
        }
    }

    pub(super) async fn answer(
        self,
        method: Method,
        app: Option<&App>,
        draining: bool,
        within: Duration,
    ) -> Response<Body> {
        let mut response = match method {
            Method::GET | Method::HEAD => self.status(app, draining, within).await,
            _ => {
                let detail = "health is asked with GET or HEAD";
                let status = StatusCode::METHOD_NOT_ALLOWED;
                let mut response =
                    Problem::new(status, "method_not_allowed", detail).into_response();
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
        };
        if method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        response
    }

    async fn status(self, app: Option<&App>, draining: bool, within: Duration) -> Response<Body> {
        let unready = |code, detail, missing: Vec<serde_json::Value>| {
            problem::not_yet(code, detail).with("missing", missing).into_response()
        };
        match (self, app) {
            (Self::Live, _) => fine("live"),
            (Self::Ready, _) if draining => {
                unready("draining", "the server is shutting down", vec![])
            }
            (Self::Ready, None) => unready("starting", "the server is still starting", vec![]),
            (Self::Ready, Some(app)) => match app.missing(within).await {
                missing if missing.is_empty() => fine("ready"),
                missing => unready("not_ready", "something that requests need is missing", missing),
            },
        }
    }
}

fn fine(status: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(json!({ "status": status }).to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn probes_are_known_by_their_exact_path() {
        assert_eq!(Probe::of("/health/live"), Some(Probe::Live));
        assert_eq!(Probe::of("/health/ready"), Some(Probe::Ready));
        for other in [
            "/health",
            "/health/",
            "/health/live/",
            "//health/live",
            "/Health/live",
            "/health/%6cive",
        ] {
            assert_eq!(Probe::of(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_other_path_is_a_probe(path in "/[a-z/%.]{0,20}") {
            prop_assume!(path != "/health/live" && path != "/health/ready");
            prop_assert_eq!(Probe::of(&path), None);
        }
    }
}
