//! The settings of the called function.

use super::reader::Reader;
use super::{ConfigError, InboundConfig, ProcessConfig, Settings};
use super::{outbound, process_wide};
use crate::outbound::MetadataServer;

/// All that the called function is told from outside.
#[derive(Debug, Clone)]
pub struct CalledConfig {
    /// Where it listens and what it logs.
    pub process: ProcessConfig,
    /// Whom it lets in.
    pub inbound: InboundConfig,
    /// Whom to ask for the service's own URL where AUDIENCE is not set.
    pub metadata: MetadataServer,
}

impl CalledConfig {
    /// Reads and judges the settings.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings);
        let (process, roots, trust_emulator) = process_wide(&mut reader);
        let inbound = InboundConfig::read(&mut reader, roots, trust_emulator);
        let metadata = outbound::metadata(&mut reader);
        let config = inbound.zip(metadata);
        reader.finish(config.map(|(inbound, metadata)| Self { process, inbound, metadata }))
    }
}
