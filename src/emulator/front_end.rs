//! Cloud Run's front end: the reverse proxy that stands before every service and decides, with IAM, who gets through.
//!
//! What it lets in, what it answers otherwise and what it does to tokens on their way follows
//! <https://cloud.google.com/run/docs/authenticating/service-to-service> and
//! <https://cloud.google.com/run/docs/troubleshooting>. Not emulated: WebSocket upgrades and the limits on sizes.

mod door;
mod forward;
mod iam;
mod identity_token;
mod journal;
mod spec;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::header::SERVER;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use self::door::Verdict;
use self::forward::Container;
pub(super) use self::iam::ProjectPolicy;
use self::iam::{Invokers, Member};
use self::journal::Journal;
pub use self::journal::{Decision, Received};
pub use self::spec::{AuthorizationHandling, FrontEndSpec, Ingress};
use super::google::Google;
use super::keys::hex;
use super::listener::{Answer, HangUp, Listener};
use super::{EmulatorError, pages};

/// A front end that is open, on a port of its own. It lives as long as the emulator does.
#[derive(Clone, Debug)]
pub struct FrontEnd(Arc<Service>);

/// The service behind a front end's port.
#[derive(Debug)]
struct Service {
    google: Arc<Google>,
    name: String,
    address: SocketAddr,
    invokers: Invokers,
    settings: Mutex<Settings>,
    request_timeout: Duration,
    container: Container,
    decisions: Journal<Decision>,
    received: Journal<Received>,
}

/// What can be changed while it runs.
#[derive(Clone, Debug)]
struct Settings {
    backend: Option<SocketAddr>,
    open: bool,
    authorization: AuthorizationHandling,
    ingress: Ingress,
    custom_audiences: Vec<String>,
}

impl FrontEnd {
    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.name
    }

    /// Host and port: `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.0.address.to_string()
    }

    /// Where clients send their requests: an origin without a slash at its end. It is one of the audiences.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// Every audience that the door accepts: [`url`](Self::url), the two URLs that the service would have on Cloud Run,
    /// and the custom ones.
    #[must_use]
    pub fn audiences(&self) -> Vec<String> {
        self.0.audiences()
    }

    /// Points it at another container, or at the first one.
    ///
    /// # Errors
    /// The address is not on loopback.
    pub fn set_backend(&self, address: SocketAddr) -> Result<(), EmulatorError> {
        check_backend(address)?;
        self.0.change(|settings| settings.backend = Some(address));
        Ok(())
    }

    /// Turns the invoker check off (`true`) or on.
    pub fn set_open(&self, open: bool) {
        self.0.change(|settings| settings.open = open);
    }

    /// What becomes of a service account's token in `Authorization`.
    pub fn set_authorization(&self, handling: AuthorizationHandling) {
        self.0.change(|settings| settings.authorization = handling);
    }

    /// From where the service may be called.
    pub fn set_ingress(&self, ingress: Ingress) {
        self.0.change(|settings| settings.ingress = ingress);
    }

    /// Grants an IAM member `roles/run.invoker` on this service, at once.
    ///
    /// # Errors
    /// This is no member that could be matched with a token.
    pub fn grant(&self, member: &str) -> Result<(), EmulatorError> {
        self.0.invokers.grant(Member::parse(member)?, None);
        Ok(())
    }

    /// The same, with an effect only after so many seconds of the emulator's clock: grants on Google take minutes.
    ///
    /// # Errors
    /// As [`grant`](Self::grant).
    pub fn grant_after(&self, member: &str, seconds: i64) -> Result<(), EmulatorError> {
        let at = self.0.google.clock.unix_seconds().saturating_add(seconds);
        self.0.invokers.grant(Member::parse(member)?, Some(at));
        Ok(())
    }

    /// Takes the role away; `false` if the member did not have it.
    ///
    /// # Errors
    /// As [`grant`](Self::grant).
    pub fn revoke(&self, member: &str) -> Result<bool, EmulatorError> {
        Ok(self.0.invokers.revoke(&Member::parse(member)?))
    }

    /// The members that hold the role, each with the time from which on (by the emulator's clock) if it was granted late.
    #[must_use]
    pub fn invokers(&self) -> Vec<(String, Option<i64>)> {
        self.0.invokers.members()
    }

    /// What the door did with the last 256 requests, oldest first.
    #[must_use]
    pub fn decisions(&self) -> Vec<Decision> {
        self.0.decisions.all()
    }

    /// The last 256 requests that reached the container, as they did, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.0.received.all()
    }

    pub(super) fn state(&self) -> serde_json::Value {
        let settings = self.0.settings();
        serde_json::json!({
            "service": self.service(),
            "url": self.url(),
            "backend": settings.backend,
            "open": settings.open,
            "authorization": settings.authorization,
            "ingress": settings.ingress,
            "audiences": self.audiences(),
            "invokers": self.invokers().into_iter()
                .map(|(member, from)| serde_json::json!({"member": member, "effective_at": from}))
                .collect::<Vec<_>>(),
            "decisions": self.decisions(),
        })
    }

    pub(super) async fn open(
        google: &Arc<Google>,
        spec: FrontEndSpec,
    ) -> Result<Self, EmulatorError> {
        if google.stopped() {
            return Err(EmulatorError::Stopped);
        }
        check_name(&spec.service)?;
        if google.front_ends.all().iter().any(|known| known.service() == spec.service) {
            let expected = "a name that no other front end of this emulator has";
            return Err(EmulatorError::invalid("service", spec.service, expected));
        }
        spec.backend.map_or(Ok(()), check_backend)?;
        let invokers = Invokers::default();
        for member in &spec.invokers {
            invokers.grant(Member::parse(member)?, None);
        }
        let listener = Listener::open(spec.port).await?;
        let service = Arc::new(Service {
            google: Arc::clone(google),
            name: spec.service,
            address: listener.address(),
            invokers,
            settings: Mutex::new(Settings {
                backend: spec.backend,
                open: spec.open,
                authorization: spec.authorization,
                ingress: spec.ingress,
                custom_audiences: spec.custom_audiences,
            }),
            request_timeout: Duration::from_millis(spec.request_timeout_milliseconds),
            container: forward::container(spec.http2),
            decisions: Journal::default(),
            received: Journal::default(),
        });
        google.front_ends.add(Self(Arc::clone(&service)));
        listener.serve(Arc::clone(&service), google.stop.subscribe());
        Ok(Self(service))
    }
}

impl Service {
    fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn audiences(&self) -> Vec<String> {
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
        stripped: Option<(http::HeaderName, HeaderValue)>,
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

fn check_name(name: &str) -> Result<(), EmulatorError> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let valid = name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.len() <= 49
        && name.bytes().all(letters);
    if valid {
        return Ok(());
    }
    let expected =
        "at most 49 lower-case letters, digits and dashes, a letter first and no dash last";
    Err(EmulatorError::invalid("service", name, expected))
}

/// Requests carry tokens, and nothing of the emulator leaves this machine.
fn check_backend(address: SocketAddr) -> Result<(), EmulatorError> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let expected = "an address on loopback, such as 127.0.0.1:8080";
    Err(EmulatorError::invalid("backend", address.to_string(), expected))
}
