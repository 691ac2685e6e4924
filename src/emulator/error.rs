//! What can go wrong with the emulator itself.

/// Why the emulator could not do what its owner asked for.
///
/// What clients of the emulated endpoints send never ends here: they get the answer that Google gives.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The port is taken, or loopback is not there.
    #[error(
        "cannot listen on 127.0.0.1:{port}: {source}; choose another port, or 0 for any free one"
    )]
    Listen {
        /// The port that was asked for; 0 stands for any.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// The random number generator or the memory failed.
    #[error("cannot generate a 2048-bit RSA key: the cryptographic library refused")]
    KeyGeneration,
    /// A certificate for a new key could not be made.
    #[error("cannot make the X.509 certificate of a new key: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A field of a specification holds what it may not hold.
    #[error("{field}: found `{found}`, expected {expected}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: &'static str,
    },
    /// No published key has this id.
    #[error("no published key has kid `{kid}`; published are: {published}")]
    UnknownKey {
        /// What was asked for.
        kid: String,
        /// The kids that could have been asked for, comma-separated.
        published: String,
    },
    /// No front end has this name.
    #[error("no front end has the service name `{service}`; there are: {known}")]
    UnknownService {
        /// What was asked for.
        service: String,
        /// The names that could have been asked for, comma-separated.
        known: String,
    },
    /// The emulator has been shut down.
    #[error("the emulator has been shut down; start another one")]
    Stopped,
}

impl EmulatorError {
    pub(super) fn invalid(
        field: &'static str,
        found: impl Into<String>,
        expected: &'static str,
    ) -> Self {
        Self::Invalid { field, found: found.into(), expected }
    }
}
