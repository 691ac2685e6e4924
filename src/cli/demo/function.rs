//! A function of the demo: the router of `functions/`, its settings, and the server, as `countersign called` and
//! `countersign caller` run them, but in this process and with nothing read from its environment.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use countersign::config::{
    AudienceSetting, CalledConfig, CallerConfig, ConfigError, InboundConfig, InboundConfigError,
    OutboundConfigError, ProcessConfig, Settings,
};
use countersign::inbound::Authenticate;
use countersign::server::{self, App, Server, ServerError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::functions::{called, caller};

/// Nobody is kept waiting for a demo to end.
const DRAIN: Duration = Duration::from_secs(1);

/// A function that runs.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServerError>>,
}

/// Why a function does not run.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error(transparent)]
    Inbound(#[from] InboundConfigError),
    #[error(transparent)]
    Outbound(#[from] OutboundConfigError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("AUDIENCE is not set")]
    NoAudience,
}

impl Running {
    /// Runs the called function.
    pub async fn called(settings: &Settings) -> Result<Self, FunctionError> {
        let config = CalledConfig::read(settings)?;
        let router = called::router(called::InMemory::default());
        Self::start(config.process, &config.inbound, router).await
    }

    /// Runs the caller.
    pub async fn caller(settings: &Settings) -> Result<Self, FunctionError> {
        let config = CallerConfig::read(settings)?;
        let router = caller::router(config.outbound.client()?);
        Self::start(config.process, &config.inbound, router).await
    }

    /// Where the container listens, behind its front end.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets it finish what it has in hand; what is returned ends with it.
    pub fn stop(self) -> impl Future<Output = ()> {
        // A receiver that is gone, or a task that panicked, is an end as well.
        let _ = self.stop.send(());
        async {
            let _ = self.task.await;
        }
    }

    async fn start(
        process: ProcessConfig,
        inbound: &InboundConfig,
        router: Router,
    ) -> Result<Self, FunctionError> {
        let AudienceSetting::Given(audiences) = &inbound.audience else {
            return Err(FunctionError::NoAudience);
        };
        let authenticator = inbound.authenticator(audiences.clone())?;
        let verifier = authenticator.verifier().clone();
        let router = router
            .fallback(server::not_found)
            .method_not_allowed_fallback(server::method_not_allowed)
            .layer(Authenticate::from(authenticator));
        let app = App::new(router).ready_when("keys", move || {
            let verifier = verifier.clone();
            async move { verifier.ready().await }
        });

        let server = Server::bind(server::Config { drain: DRAIN, ..process.server }).await?;
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(server.serve(app, shutdown));
        Ok(Self { address, stop, task })
    }
}
