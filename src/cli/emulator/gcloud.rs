//! An empty configuration of gcloud's, so that a developer's own login is neither used nor changed.
//!
//! Application Default Credentials look at the file that `gcloud auth application-default login` left in gcloud's
//! configuration directory before they ask the metadata server: left in place, it would lead past the emulator to Google.

use tempfile::TempDir;

/// A directory of its own, gone with this value.
#[derive(Debug)]
pub struct Configuration(TempDir);

/// There is no place for the directory.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot make an empty directory for CLOUDSDK_CONFIG, without which a command would use your own gcloud login: \
     {0}; expected a temporary directory that can be written to (TMPDIR says which)"
)]
pub struct ConfigurationError(#[from] std::io::Error);

impl Configuration {
    pub fn empty() -> Result<Self, ConfigurationError> {
        // Only its owner may look into it: a command may log in there.
        Ok(Self(tempfile::Builder::new().prefix("countersign-gcloud-").tempdir()?))
    }

    /// These settings, and the one that names the directory.
    pub fn added_to(&self, mut environment: Vec<(String, String)>) -> Vec<(String, String)> {
        // A temporary directory whose name is no text would have to be set up by hand.
        let path = self.0.path().to_string_lossy().into_owned();
        environment.push(("CLOUDSDK_CONFIG".to_owned(), path));
        environment
    }
}
