//! The settings of the caller.

use super::process_wide;
use super::reader::Reader;
use super::{ConfigError, InboundConfig, OutboundConfig, ProcessConfig, Settings};

/// All that the caller is told from outside.
#[derive(Debug, Clone)]
pub struct CallerConfig {
    /// Where it listens and what it logs.
    pub process: ProcessConfig,
    /// Whom it lets in.
    pub inbound: InboundConfig,
    /// Whom it calls.
    pub outbound: OutboundConfig,
}

impl CallerConfig {
    /// Reads and judges the settings.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings);
        let (process, roots, trust_emulator) = process_wide(&mut reader);
        let inbound = InboundConfig::read(&mut reader, roots.clone(), trust_emulator);
        let outbound = OutboundConfig::read(&mut reader, roots);
        let config = inbound.zip(outbound);
        reader.finish(config.map(|(inbound, outbound)| Self { process, inbound, outbound }))
    }
}
