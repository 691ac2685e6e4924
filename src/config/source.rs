//! The settings of what only gets tokens, such as `token print`.

use super::outbound::metadata;
use super::reader::Reader;
use super::{ConfigError, Settings};
use crate::outbound::MetadataServer;

/// Where tokens come from.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// The metadata server.
    pub metadata: MetadataServer,
}

impl SourceConfig {
    /// Reads and judges the settings.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings);
        let metadata = metadata(&mut reader);
        super::outbound::refuse_credential_file(&mut reader);
        reader.finish(metadata.map(|metadata| Self { metadata }))
    }
}
