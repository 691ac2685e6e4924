//! Settings: from the environment and from flags, into the `Config` of each module.
//!
//! This is the only reader of the environment. Everything is read before anything starts, and every mistake is
//! reported at once, each with what was found, what was expected and what to do.
//!
//! ```
//! use countersign::config::{CalledConfig, Settings};
//!
//! let settings = Settings::from_pairs([("PORT", "x"), ("ALLOWED_PRINCIPALS", "group:team@example.com")]);
//! let error = CalledConfig::read(&settings).unwrap_err();
//! assert_eq!(error.mistakes().len(), 3); // AUDIENCE is missing as well
//! ```

mod called;
mod caller;
#[cfg(feature = "emulator")]
mod emulator;
mod inbound;
mod outbound;
mod process;
mod reader;
mod settings;
mod source;

use std::fmt;

use crate::http_client::Roots;
use reader::Reader;

pub use called::CalledConfig;
pub use caller::CallerConfig;
#[cfg(feature = "emulator")]
pub use emulator::EmulatorConfig;
pub use inbound::{AudienceSetting, InboundConfig, InboundConfigError};
pub use outbound::{OutboundConfig, OutboundConfigError};
pub use process::ProcessConfig;
pub use settings::{SETTINGS, Setting, Settings};
pub use source::SourceConfig;

/// All that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
}

/// One mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The setting's name.
    pub setting: &'static str,
    /// What was found, what was expected, and what to do.
    pub message: String,
}

impl ConfigError {
    /// Each mistake, in the order of reading.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        let noun = if count == 1 { "setting is" } else { "settings are" };
        write!(f, "{count} {noun} wrong:")?;
        for Mistake { setting, message } in &self.mistakes {
            write!(f, "\n  {setting}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Whom https connections trust: Mozilla's certificate authorities, and those of `SSL_CERT_FILE` where it is set.
///
/// # Errors
/// When that file cannot be read or has no certificate that can be used.
pub fn https_roots(settings: &Settings) -> Result<Roots, ConfigError> {
    let mut reader = Reader::new(settings);
    let roots = roots(&mut reader);
    reader.finish(Some(roots))
}

/// What every server reads first: its process's settings, whom https trusts, and whether an emulator is trusted.
fn process_wide(reader: &mut Reader<'_>) -> (ProcessConfig, Roots, bool) {
    let trust_emulator = match reader.text("TRUST_EMULATOR") {
        None | Some("0") => false,
        Some("1") => true,
        Some(other) => {
            reader.mistake("TRUST_EMULATOR", format!("found {other:?}, expected 1 or nothing"));
            false
        }
    };
    let process = ProcessConfig::read(reader, trust_emulator);
    (process, roots(reader), trust_emulator)
}

/// Mozilla's certificate authorities, and those of SSL_CERT_FILE where it is set.
fn roots(reader: &mut Reader<'_>) -> Roots {
    const NAME: &str = "SSL_CERT_FILE";
    let bundled = Roots::bundled();
    let Some(path) = reader.text(NAME) else { return bundled };
    let with_file = std::fs::read(path)
        .map_err(|error| format!("{path}: {error}"))
        .and_then(|pem| bundled.with_pem(&pem).map_err(|error| format!("{path}: {error}")));
    with_file.unwrap_or_else(|message| {
        reader.mistake(NAME, message);
        bundled
    })
}

#[cfg(test)]
mod tests;
