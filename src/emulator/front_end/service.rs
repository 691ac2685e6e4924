//! The service behind a front end's port, and the answer to each request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::header::SERVER;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::door::{self, Verdict};
use super::forward::{self, Container};
use super::iam::Invokers;
use super::journal::{Decision, Journal, Received};
use super::{AuthorizationHandling, Ingress};
use crate::emulator::google::Google;
use crate::emulator::keys::hex;
use crate::emulator::listener::{Answer, HangUp};
use crate::emulator::pages;

/// The service behind a front end's port.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) google: Arc<Google>,
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) invokers: Invokers,
    pub(super) settings: Mutex<Settings>,
    pub(super) request_timeout: Duration,
    pub(super) container: Container,
    pub(super) decisions: Journal<Decision>,
    pub(super) received: Journal<Received>,
}

/// What can be changed while it runs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) backend: Option<SocketAddr>,
    pub(super) open: bool,
    pub(super) authorization: AuthorizationHandling,
    pub(super) ingress: Ingress,
    pub(super) custom_audiences: Vec<String>,
}

impl Service {
    pub(super) fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn audiences(&self) -> Vec<String> {
        let project = &self.google.project;
        let mut audiences = vec![format!("http://{}", self.address)];
        let label = format!("{}-{}", self.name, project.number);
        // A longer label is no DNS label: such a service has the other URL only.
        if label.len() <= 63 {
            audiences.push(format!("https://{label}.{}.run.app", project.region));
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, project.id.as_bytes());
        let hash = hex(digest.as_ref().get(..5).unwrap_or_default());
        let region: String =
            project.region.split('-').filter_map(|word| word.chars().next()).collect();
        audiences.push(format!("https://{}-{hash}-{region}.a.run.app", self.name));
        audiences.extend(self.settings().custom_audiences);
        audiences
    }

    async fn pass(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        stripped: Option<(HeaderName, HeaderValue)>,
    ) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        forward::prepare(&mut head, peer.ip(), stripped);
        let Some(backend) = self.settings().backend else {
            return pages::unavailable();
        };
        let received = Received::of(&head);
        let Some(request) = forward::request(head, body, backend) else {
            return pages::google(
                StatusCode::BAD_REQUEST,
                "*",
                "Your client has issued a malformed request.",
            );
        };
        match tokio::time::timeout(self.request_timeout, self.container.request(request)).await {
            Ok(Ok(answer)) => {
                self.received.add(received);
                forward::response(answer)
            }
            Ok(Err(_)) => pages::unavailable(),
            Err(_) => {
                self.received.add(received);
                pages::timed_out()
            }
        }
    }
}

impl Answer for Service {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, HangUp> {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let (let_in, reason, caller, mut answer) =
            match door::decide(&self, &path, request.headers()) {
                Verdict::LetIn { reason, caller, stripped } => {
                    (true, reason, caller, self.pass(request, peer, stripped).await)
                }
                Verdict::NotFound { reason } => {
                    (false, reason, None, pages::google(StatusCode::NOT_FOUND, &path, ""))
                }
                Verdict::Unauthorized { reason } => {
                    (false, reason, None, pages::unauthorized(&path))
                }
                Verdict::Forbidden { reason, caller } => {
                    (false, reason, caller, pages::forbidden(&path))
                }
            };
        answer.headers_mut().insert(SERVER, HeaderValue::from_static("Google Frontend"));
        self.decisions.add(Decision {
            method,
            path,
            status: answer.status().as_u16(),
            let_in,
            reason: reason.to_owned(),
            principal: caller.map(|caller| caller.member()),
        });
        Ok(answer)
    }
}
