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
mod service;
mod spec;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

pub(super) use self::iam::ProjectPolicy;
use self::iam::{Invokers, Member};
use self::journal::Journal;
pub use self::journal::{Decision, Received};
use self::service::{Service, Settings};
pub use self::spec::{AuthorizationHandling, FrontEndSpec, Ingress};
use super::EmulatorError;
use super::google::Google;
use super::listener::Listener;

/// A front end that is open, on a port of its own. It lives as long as the emulator does.
#[derive(Clone, Debug)]
pub struct FrontEnd(Arc<Service>);

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

    pub(super) fn state(&self) -> Value {
        let settings = self.0.settings();
        json!({
            "service": self.service(),
            "url": self.url(),
            "backend": settings.backend,
            "open": settings.open,
            "authorization": settings.authorization,
            "ingress": settings.ingress,
            "audiences": self.audiences(),
            "invokers": self.invokers().into_iter()
                .map(|(member, from)| json!({"member": member, "effective_at": from}))
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
