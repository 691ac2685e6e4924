//! A whole service in one line: settings, logs, authentication, server.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use axum::{Router, routing::get};
//! use countersign::inbound::Principal;
//!
//! #[tokio::main]
//! async fn main() -> ExitCode {
//!     let hello = |principal: Principal| async move { format!("hello {}", principal.name()) };
//!     countersign::serve(Router::new().route("/", get(hello))).await
//! }
//! ```
//!
//! Every path of the router is behind [`Authenticate`]; `/health/live` and `/health/ready` are not. Settings come from
//! the environment ([`crate::config`]); what is wrong with them is told at once, before anything listens.

use std::process::ExitCode;

use axum::Router;

use crate::config::{
    AudienceSetting, CalledConfig, CallerConfig, ConfigError, InboundConfig, OutboundConfigError,
    ProcessConfig, Settings,
};
use crate::identity::{Audience, AudienceError, Member};
use crate::inbound::{Authenticate, Authenticator, SignatureCheck};
use crate::outbound::{IdTokenClient, MetadataServer, SourceError};
use crate::server::{self, App, Server, ServerError};
use crate::telemetry::{self, TelemetryError};

/// Serves a router behind authentication, until SIGTERM; settings come from the environment.
///
/// The exit code is 0 after a drain, 2 for wrong settings, 1 for what fails later.
pub async fn serve(router: Router) -> ExitCode {
    serve_called(&Settings::from_environment(), router).await
}

/// The same with settings of one's own: the environment's and flags over it.
pub async fn serve_called(settings: &Settings, router: Router) -> ExitCode {
    match CalledConfig::read(settings) {
        Ok(config) => run(Service::from(config), router).await,
        Err(error) => refuse(settings, &error),
    }
}

/// The same for a service that calls another one: the router is made of the client for it.
pub async fn serve_caller(
    settings: &Settings,
    router: impl FnOnce(IdTokenClient) -> Router,
) -> ExitCode {
    let config = match CallerConfig::read(settings) {
        Ok(config) => config,
        Err(error) => return refuse(settings, &error),
    };
    match config.outbound.client() {
        Ok(client) => run(Service::from(config), router(client)).await,
        Err(error) => fail(&error.into()),
    }
}

/// A service with its settings, not yet running.
#[derive(Debug)]
pub struct Service {
    process: ProcessConfig,
    inbound: InboundConfig,
    metadata: MetadataServer,
    /// Whether the service has an identity of its own to lend.
    calls: bool,
}

/// Why a service ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Logs could not be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The server could not listen, or its application could not be made.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The client for the called function could not be made.
    #[error(transparent)]
    Outbound(#[from] OutboundConfigError),
}

impl From<CalledConfig> for Service {
    fn from(config: CalledConfig) -> Self {
        let CalledConfig { process, inbound, metadata } = config;
        Self { process, inbound, metadata, calls: false }
    }
}

impl From<CallerConfig> for Service {
    fn from(config: CallerConfig) -> Self {
        let CallerConfig { process, inbound, outbound } = config;
        Self { process, inbound, metadata: outbound.metadata, calls: true }
    }
}

impl Service {
    /// Sets up the logs and serves the router behind authentication until `shutdown` ends.
    ///
    /// # Errors
    /// When the logs cannot be set up, the port is taken, or the audience cannot be derived.
    pub async fn serve(
        self,
        router: Router,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServiceError> {
        match telemetry::install(&self.process.telemetry) {
            // A process may have a subscriber of its own; it hears our events as well.
            Ok(()) | Err(TelemetryError::AlreadyInstalled) => {}
            Err(error) => return Err(error.into()),
        }
        self.learn_project();
        let server = Server::bind(self.process.server.clone()).await?;
        warn_of_open_doors(&self.inbound, self.calls);
        match &self.inbound.audience {
            AudienceSetting::Given(audiences) => {
                let app = app(&self.inbound, audiences.clone(), router);
                server.serve_when(std::future::ready(app), shutdown).await?;
            }
            AudienceSetting::OfCloudRunService(service) => {
                let app = async {
                    let audience = own_url(&self.metadata, service).await?;
                    tracing::info!(
                        %audience,
                        "AUDIENCE is not set: derived from the service's name, project and region; tokens made for the \
                         service's other URL are refused, so set a custom audience for more than a first try"
                    );
                    app(&self.inbound, vec![audience], router)
                };
                server.serve_when(app, shutdown).await?;
            }
        }
        Ok(())
    }

    /// On Cloud Run only the metadata server knows the project that log lines are linked to. It is asked beside the
    /// start, not before it; until it answers, and if it never does, lines carry the trace's id alone.
    fn learn_project(&self) {
        let telemetry = &self.process.telemetry;
        if telemetry.service.is_none() || telemetry.project_id.as_str().is_some() {
            return;
        }
        let (metadata, project_id) = (self.metadata.clone(), telemetry.project_id.clone());
        tokio::spawn(async move {
            match metadata.project_id().await {
                Ok(project) => project_id.set(project),
                Err(error) => {
                    tracing::debug!(%error, "the project's id is not known: traces are not linked")
                }
            }
        });
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why the service's own audience could not be derived.
#[derive(Debug, thiserror::Error)]
enum OwnUrlError {
    #[error(
        "AUDIENCE is not set and the metadata server did not tell the service's own URL; set AUDIENCE: {0}"
    )]
    Metadata(#[from] SourceError),
    #[error("AUDIENCE is not set and the derived one is unusable; set AUDIENCE: {0}")]
    Audience(#[from] AudienceError),
}

/// The deterministic URL of a Cloud Run service, <https://cloud.google.com/run/docs/triggering/https-request>.
async fn own_url(metadata: &MetadataServer, service: &str) -> Result<Audience, OwnUrlError> {
    let project = metadata.numeric_project_id().await?;
    let region = metadata.region().await?;
    Ok(format!("https://{service}-{project}.{region}.run.app").parse()?)
}

fn app(inbound: &InboundConfig, audiences: Vec<Audience>, router: Router) -> Result<App, BoxError> {
    let authenticator = inbound.authenticator(audiences)?;
    say_what_is_trusted(inbound, &authenticator);
    let verifier = authenticator.verifier().clone();
    let router = router.layer(Authenticate::from(authenticator));
    let has_keys = move || {
        let verifier = verifier.clone();
        async move { verifier.ready().await }
    };
    Ok(App::new(router).ready_when("keys", has_keys))
}

fn say_what_is_trusted(inbound: &InboundConfig, authenticator: &Authenticator) {
    let list = |items: Vec<String>| items.join(", ");
    let audiences = authenticator.verifier().audiences().iter().map(ToString::to_string).collect();
    let principals = authenticator.policy().members().iter().map(ToString::to_string).collect();
    let keys =
        inbound.key_url.as_ref().map_or(crate::inbound::jwks::GOOGLE_JWKS_URL, |url| url.as_str());
    let signatures = match authenticator.verifier().signature_check() {
        SignatureCheck::Required => "verified here",
        SignatureCheck::CloudRun => {
            "verified here where they are present; where Cloud Run removed them, Cloud Run's IAM check is trusted"
        }
    };
    tracing::info!(
        audiences = list(audiences),
        principals = list(principals),
        keys,
        signatures,
        "trusted: tokens for these audiences, of these principals, signed with these keys"
    );
}

fn warn_of_open_doors(inbound: &InboundConfig, calls: bool) {
    if inbound.trust_emulator {
        tracing::warn!(
            "TRUST_EMULATOR=1: keys over http from loopback are trusted, and this listens on 127.0.0.1 unless HOST says \
             otherwise; never set it in production"
        );
    }
    for member in inbound.policy.members() {
        match member {
            Member::AllUsers if calls => tracing::warn!(
                "ALLOWED_PRINCIPALS=allUsers: anybody may call this service, and it signs its own calls: it lends its \
                 identity to anybody"
            ),
            Member::AllUsers => {
                tracing::warn!(
                    "ALLOWED_PRINCIPALS=allUsers: anybody may call this service, without a token"
                );
            }
            Member::AllAuthenticatedUsers => tracing::warn!(
                "ALLOWED_PRINCIPALS has allAuthenticatedUsers: any Google account on earth may call this service"
            ),
            _ => {}
        }
    }
}

async fn run(service: Service, router: Router) -> ExitCode {
    match service.serve(router, server::termination_signal()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// What fails after the settings were read: one line in the log, or on stderr where there is no log yet.
fn fail(error: &ServiceError) -> ExitCode {
    // Where nothing is logged, it is said all the same.
    if !tracing::enabled!(tracing::Level::ERROR) {
        eprintln!("countersign: {error}");
    }
    tracing::error!(error = error as &dyn std::error::Error, "the service cannot go on: {error}");
    ExitCode::FAILURE
}

/// Wrong settings: logs are not set up yet, so this goes to stderr, for Cloud Logging as one entry.
fn refuse(settings: &Settings, error: &ConfigError) -> ExitCode {
    eprintln!("{}", settings.start_up_failure(error));
    ExitCode::from(2)
}
