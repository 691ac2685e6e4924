//! Logs as Cloud Logging reads them, and the trace that joins them to their request.
//!
//! [`install`] once, early in `main`; from then on every `tracing` event is a line on standard output:
//!
//! ```no_run
//! use countersign::telemetry::{self, Config, LogFormat, ProjectId};
//!
//! # fn main() -> Result<(), telemetry::TelemetryError> {
//! telemetry::install(&Config {
//!     format: LogFormat::Json,
//!     project_id: ProjectId::from("my-project"),
//!     ..Config::default()
//! })?;
//! tracing::info!(answer = 42, "ready");
//! # Ok(())
//! # }
//! ```
//!
//! # How an event's fields are written
//!
//! | field of the event | in the line |
//! |---|---|
//! | the message | `message` |
//! | `severity = "NOTICE"` (any of Cloud Logging's) | `severity`; otherwise it follows the level |
//! | `http_request.method`, `.url`, `.status`, `.latency` (seconds), `.remote_ip`, `.user_agent`, `.protocol`, `.request_size`, `.response_size` | `httpRequest`, the URL without its query |
//! | any other | itself, at the top level; one that has a name of Cloud Logging's gets a `_` behind it |
//!
//! Within a request that [`crate::server`] serves, a line carries its trace, and `httpRequest` is completed with method,
//! path, protocol and user agent wherever an event has a field of it or has the target [`DENIAL_TARGET`].
//!
//! Lines of severity ERROR and above are marked for Error Reporting. A text of more than 8 KiB is cut.
//!
//! # One line for each refused request
//!
//! Whoever refuses a request writes one event with the target [`DENIAL_TARGET`], its `code` and
//! `http_request.status`. That event is the line. [`RequestLog`] says what else is written.

mod json;
mod layer;
mod record;
pub(crate) mod request;
mod text;
mod trace_context;

use std::collections::BTreeMap;
use std::io::Write;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use tracing::Subscriber;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;

pub use self::layer::LogLayer;
pub use self::trace_context::TraceContext;
use crate::clock::{Clock, SystemClock};

/// The target of the one event that tells of a refused request.
pub use crate::inbound::denial::TARGET as DENIAL_TARGET;

/// How and what to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// JSON for Cloud Logging, or text for people.
    pub format: LogFormat,
    /// Which events are written, in the syntax of `RUST_LOG`: `info`, or `warn,countersign=debug`. Levels for targets;
    /// the filters of spans and fields that `env_logger`'s successors know are not part of it.
    pub filter: String,
    /// The project whose traces the lines belong to. Without it the lines carry the trace's id, but Cloud Logging
    /// does not link them.
    pub project_id: ProjectId,
    /// The service's name, for the label `service` and for Error Reporting: `K_SERVICE` on Cloud Run.
    pub service: Option<String>,
    /// The revision's name, for the label `revision` and for Error Reporting: `K_REVISION` on Cloud Run.
    pub revision: Option<String>,
    /// Labels for every line.
    pub labels: BTreeMap<String, String>,
    /// With [`RequestLog::None`] refusals are not written either.
    pub request_log: RequestLog,
}

impl Default for Config {
    /// JSON, level `info`, no project.
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            filter: "info".into(),
            project_id: ProjectId::default(),
            service: None,
            revision: None,
            labels: BTreeMap::new(),
            request_log: RequestLog::default(),
        }
    }
}

impl Config {
    /// Whether the filter can be read.
    ///
    /// # Errors
    /// [`TelemetryError::Filter`] where it cannot.
    pub fn check(&self) -> Result<(), TelemetryError> {
        self.targets().map(drop)
    }

    fn targets(&self) -> Result<Targets, TelemetryError> {
        self.filter.parse().map_err(|source| TelemetryError::Filter {
            found: record::bounded(&self.filter),
            source,
        })
    }

    /// The subscriber that [`install`] installs, over any clock and writer.
    ///
    /// # Errors
    /// [`TelemetryError::Filter`] where the filter cannot be read.
    pub fn subscriber<W: Write + Send + 'static>(
        &self,
        clock: Arc<dyn Clock>,
        writer: W,
    ) -> Result<impl Subscriber + Send + Sync + 'static, TelemetryError> {
        let filter = self.targets()?;
        let layer = LogLayer::new(self, clock, writer);
        Ok(tracing_subscriber::registry().with(filter).with(layer))
    }
}

/// Makes every `tracing` event of this process a line on standard output.
///
/// # Errors
/// [`TelemetryError::Filter`] where the filter cannot be read, [`TelemetryError::AlreadyInstalled`] where this process
/// has a global subscriber.
pub fn install(config: &Config) -> Result<(), TelemetryError> {
    let subscriber = config.subscriber(Arc::new(SystemClock), std::io::stdout())?;
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| TelemetryError::AlreadyInstalled)
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error(
        "the log filter (RUST_LOG) is {found:?}: expected a level (error, warn, info, debug, trace, off) or a list \
         such as `warn,countersign=debug`"
    )]
    Filter {
        /// What the setting says.
        found: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A process has one global subscriber, and this one has it.
    #[error(
        "logging is set up already: call `telemetry::install` once, before anything else that installs a subscriber"
    )]
    AlreadyInstalled,
}

/// The id of a Google Cloud project, which may become known only after logging has begun: Cloud Run tells it by the
/// metadata server alone. Clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectId(Arc<OnceLock<String>>);

impl ProjectId {
    /// Sets it, unless it is known already.
    pub fn set(&self, project_id: impl Into<String>) {
        // Known already: whoever was first was right.
        let _ = self.0.set(project_id.into());
    }

    /// The id, if it is known by now.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

impl From<&str> for ProjectId {
    fn from(project_id: &str) -> Self {
        let known = Self::default();
        known.set(project_id);
        known
    }
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object to a line, as Cloud Logging reads them.
    Json,
    /// For people: time, severity, target, message, fields.
    Text,
}

impl FromStr for LogFormat {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(UnknownWord::new(word, "json or text")),
        }
    }
}

/// Which requests get a line of their own.
///
/// There is one line for a refused request in any case but [`RequestLog::None`]: the refusal's own event, see
/// [`DENIAL_TARGET`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestLog {
    /// Every answer; a refusal that has had its event is not told again.
    All,
    /// Refusals only, by their own event: Cloud Run writes a line for every request anyway.
    #[default]
    Denied,
    /// Not even refusals.
    None,
}

impl FromStr for RequestLog {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "all" => Ok(Self::All),
            "denied" => Ok(Self::Denied),
            "none" => Ok(Self::None),
            _ => Err(UnknownWord::new(word, "all, denied or none")),
        }
    }
}

/// A word that a setting does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected {expected}")]
pub struct UnknownWord {
    found: String,
    expected: &'static str,
}

impl UnknownWord {
    fn new(found: &str, expected: &'static str) -> Self {
        Self { found: record::bounded(found), expected }
    }
}

#[cfg(test)]
mod tests;
