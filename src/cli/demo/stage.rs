//! Everything that the demo needs, running: the emulator, the functions, and a Cloud Run front end before each.

use countersign::config::Settings;
use countersign::emulator::{
    AuthorizationHandling, Emulator, EmulatorError, FrontEnd, FrontEndSpec,
};

use super::function::{FunctionError, Running};
use super::scenario::Place;

/// The called function's audience.
pub const CALLED: &str = "https://called.demo";
/// The audience of another function that the caller may call.
pub const BILLING: &str = "https://billing.demo";
/// The caller's audience.
pub const CALLER: &str = "https://caller.demo";

/// Who the caller's function runs as.
pub const CALLER_ACCOUNT: &str = "caller@demo.iam.gserviceaccount.com";
/// Who may call the caller: you, in the demo.
pub const WEBSITE_ACCOUNT: &str = "website@demo.iam.gserviceaccount.com";
/// A service account of somebody else's project.
pub const STRANGER_ACCOUNT: &str = "stranger@elsewhere.iam.gserviceaccount.com";
/// What runs as the project's default compute account is an editor of the project, unless somebody took care.
pub const EDITOR_ACCOUNT: &str = "123456789012-compute@developer.gserviceaccount.com";
/// A person who owns the project.
pub const DEVELOPER: &str = "alice@example.com";

const CALLED_ACCOUNT: &str = "called@demo.iam.gserviceaccount.com";
const BILLING_ACCOUNT: &str = "billing@demo.iam.gserviceaccount.com";

/// The stage, set.
#[derive(Debug)]
pub struct Stage {
    pub emulator: Emulator,
    pub front_ends: FrontEnds,
    functions: Vec<Running>,
}

/// A front end for each [`Place`], and the caller's own.
#[derive(Debug)]
pub struct FrontEnds {
    /// Where the good call begins.
    pub caller: FrontEnd,
    called: FrontEnd,
    called_without_iam: FrontEnd,
    called_stripped: FrontEnd,
    trusting: FrontEnd,
    trusting_without_iam: FrontEnd,
    billing: FrontEnd,
    billing_without_iam: FrontEnd,
    caller_without_iam: FrontEnd,
    open_caller: FrontEnd,
}

/// Why the stage cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("the emulator: {0}")]
    Emulator(#[from] EmulatorError),
    #[error("the function {name}: {source}")]
    Function { name: &'static str, source: FunctionError },
}

impl Stage {
    /// Starts everything, on free ports of 127.0.0.1 and with fresh keys.
    pub async fn set() -> Result<Self, StageError> {
        let emulator = Emulator::builder()
            .project_owner(format!("user:{DEVELOPER}"))
            .project_editor(format!("serviceAccount:{EDITOR_ACCOUNT}"))
            .start()
            .await?;
        let mut builder = Builder { emulator: &emulator, functions: Vec::new() };
        let front_ends = builder.front_ends().await?;
        let functions = builder.functions;
        Ok(Self { emulator, front_ends, functions })
    }

    /// Stops everything and waits for its end.
    pub async fn strike(self) {
        // All at once: each takes a moment.
        let ends: Vec<_> = self.functions.into_iter().map(Running::stop).collect();
        for end in ends {
            end.await;
        }
        self.emulator.shutdown().await;
    }
}

impl FrontEnds {
    pub const fn at(&self, place: Place) -> &FrontEnd {
        match place {
            Place::Called => &self.called,
            Place::CalledWithoutIam => &self.called_without_iam,
            Place::CalledStripped => &self.called_stripped,
            Place::Trusting => &self.trusting,
            Place::TrustingWithoutIam => &self.trusting_without_iam,
            Place::Billing => &self.billing,
            Place::BillingWithoutIam => &self.billing_without_iam,
            Place::CallerWithoutIam => &self.caller_without_iam,
            Place::OpenCaller => &self.open_caller,
        }
    }
}

struct Builder<'e> {
    emulator: &'e Emulator,
    functions: Vec<Running>,
}

impl Builder<'_> {
    async fn front_ends(&mut self) -> Result<FrontEnds, StageError> {
        let settings = self.settings(CALLED_ACCOUNT, CALLED, &member(CALLER_ACCOUNT)).await?;
        let called = self.called("called", &settings).await?;
        // Posture (b): where IAM is in front, and callers can send one header only.
        let settings = settings.with("SIGNATURE_CHECK", "cloud-run").with("K_SERVICE", "called");
        let trusting = self.called("called, trusting", &settings).await?;
        let trusting_without_iam = self.called("called, trusting", &settings).await?;
        let settings = self.settings(BILLING_ACCOUNT, BILLING, &member(CALLER_ACCOUNT)).await?;
        let billing = self.called("billing", &settings).await?;

        let iam = |name: &str, audience| FrontEndSpec::new(name).custom_audience(audience);
        let to_caller = member(CALLER_ACCOUNT);
        let called_front_end =
            self.open(iam("called", CALLED).backend(called).invoker(&to_caller)).await?;
        let url = called_front_end.url();
        let caller = self.caller("caller", &member(WEBSITE_ACCOUNT), &url).await?;
        let open_caller = self.caller("open caller", "allUsers", &url).await?;

        let stripped = |spec: FrontEndSpec| {
            spec.authorization(AuthorizationHandling::Stripped).invoker(&to_caller)
        };
        let iam_off = |name, backend| FrontEndSpec::new(name).backend(backend).open();
        Ok(FrontEnds {
            caller: self
                .open(iam("caller", CALLER).backend(caller).invoker(member(WEBSITE_ACCOUNT)))
                .await?,
            called: called_front_end,
            called_without_iam: self.open(iam_off("called-iam-off", called)).await?,
            called_stripped: self
                .open(stripped(iam("called-stripped", CALLED).backend(called)))
                .await?,
            trusting: self.open(stripped(iam("trusting", CALLED).backend(trusting))).await?,
            trusting_without_iam: self
                .open(iam_off("trusting-iam-off", trusting_without_iam))
                .await?,
            // Nobody has the role yet: a grant is one of the things to see.
            billing: self.open(iam("billing", BILLING).backend(billing)).await?,
            billing_without_iam: self.open(iam_off("billing-iam-off", billing)).await?,
            caller_without_iam: self.open(iam_off("caller-iam-off", caller)).await?,
            open_caller: self.open(iam_off("open-caller", open_caller)).await?,
        })
    }

    async fn open(&self, spec: FrontEndSpec) -> Result<FrontEnd, EmulatorError> {
        self.emulator.front_end(spec).await
    }

    /// What is set for a function, as on Cloud Run; its metadata server is its own account's.
    async fn settings(
        &self,
        account: &str,
        audience: &str,
        allowed: &str,
    ) -> Result<Settings, EmulatorError> {
        let metadata = self.emulator.metadata_for(account).await?;
        Ok(Settings::from_pairs([
            ("PORT", "0"),
            ("AUDIENCE", audience),
            ("ALLOWED_PRINCIPALS", allowed),
            ("JWKS_URL", &self.emulator.jwks_url()),
            ("GCE_METADATA_HOST", &metadata.host()),
            ("TRUST_EMULATOR", "1"),
        ]))
    }

    async fn called(
        &mut self,
        name: &'static str,
        settings: &Settings,
    ) -> Result<std::net::SocketAddr, StageError> {
        self.keep(name, Running::called(settings).await)
    }

    async fn caller(
        &mut self,
        name: &'static str,
        allowed: &str,
        called_url: &str,
    ) -> Result<std::net::SocketAddr, StageError> {
        let settings = self
            .settings(CALLER_ACCOUNT, CALLER, allowed)
            .await?
            .with("CALLED_URL", called_url)
            .with("CALLED_AUDIENCE", CALLED);
        self.keep(name, Running::caller(&settings).await)
    }

    fn keep(
        &mut self,
        name: &'static str,
        function: Result<Running, FunctionError>,
    ) -> Result<std::net::SocketAddr, StageError> {
        let function = function.map_err(|source| StageError::Function { name, source })?;
        let address = function.address();
        self.functions.push(function);
        Ok(address)
    }
}

fn member(account: &str) -> String {
    format!("serviceAccount:{account}")
}
