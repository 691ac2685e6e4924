//! What a front end is to be.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A Cloud Run service, as far as its front end cares. The invoker check is on unless [`open`](Self::open) is said.
///
/// ```
/// use countersign::emulator::FrontEndSpec;
///
/// let backend = "127.0.0.1:8080".parse().unwrap();
/// let spec = FrontEndSpec::new("called")
///     .backend(backend)
///     .custom_audience("https://called.demo")
///     .invoker("serviceAccount:caller@demo.iam.gserviceaccount.com");
/// # let _ = spec;
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontEndSpec {
    pub(super) service: String,
    #[serde(default)]
    pub(super) port: u16,
    #[serde(default)]
    pub(super) backend: Option<SocketAddr>,
    #[serde(default)]
    pub(super) open: bool,
    #[serde(default)]
    pub(super) invokers: Vec<String>,
    #[serde(default)]
    pub(super) custom_audiences: Vec<String>,
    #[serde(default)]
    pub(super) authorization: AuthorizationHandling,
    #[serde(default)]
    pub(super) ingress: Ingress,
    #[serde(default)]
    pub(super) http2: bool,
    #[serde(default = "five_minutes")]
    pub(super) request_timeout_milliseconds: u64,
}

/// Cloud Run's default.
fn five_minutes() -> u64 {
    300_000
}

/// What becomes of a service account's token that came in `Authorization` and opened the door. Reports about the live
/// service differ, so that both have to work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorizationHandling {
    /// It reaches the container as it was sent.
    #[default]
    Intact,
    /// Its signature is replaced by `SIGNATURE_REMOVED_BY_GOOGLE`.
    Stripped,
}

/// From where a service may be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ingress {
    /// From everywhere.
    #[default]
    All,
    /// From inside the project's networks, where nothing on a laptop is: every request is answered 404.
    Internal,
}

impl FrontEndSpec {
    /// A service of this name, which nobody may invoke yet, with nothing behind it.
    #[must_use]
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            port: 0,
            backend: None,
            open: false,
            invokers: Vec::new(),
            custom_audiences: Vec::new(),
            authorization: AuthorizationHandling::default(),
            ingress: Ingress::default(),
            http2: false,
            request_timeout_milliseconds: five_minutes(),
        }
    }

    /// The container: an address on loopback. Until there is one, whoever is let in is answered 503.
    #[must_use]
    pub fn backend(mut self, address: SocketAddr) -> Self {
        self.backend = Some(address);
        self
    }

    /// The front end's own port on 127.0.0.1; 0, the default, is any free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// No invoker check (`--no-invoker-iam-check`, or `--allow-unauthenticated`): everything passes, untouched.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// An IAM member with `roles/run.invoker`: `serviceAccount:EMAIL`, `user:EMAIL`, `domain:NAME`,
    /// `allAuthenticatedUsers` or `allUsers`.
    #[must_use]
    pub fn invoker(mut self, member: impl Into<String>) -> Self {
        self.invokers.push(member.into());
        self
    }

    /// An audience that is accepted beside the service's own URLs.
    #[must_use]
    pub fn custom_audience(mut self, audience: impl Into<String>) -> Self {
        self.custom_audiences.push(audience.into());
        self
    }

    /// What becomes of a token in `Authorization`.
    #[must_use]
    pub fn authorization(mut self, handling: AuthorizationHandling) -> Self {
        self.authorization = handling;
        self
    }

    /// From where it may be called.
    #[must_use]
    pub fn ingress(mut self, ingress: Ingress) -> Self {
        self.ingress = ingress;
        self
    }

    /// Speaks HTTP/2 to the container (`--use-http2`), which gRPC needs.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// How long the container may take until it begins to answer; five minutes unless set. Beyond it the answer is 504.
    #[must_use]
    pub fn request_timeout(mut self, timeout: std::time::Duration) -> Self {
        self.request_timeout_milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self
    }
}
