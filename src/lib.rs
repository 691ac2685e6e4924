//! Function-to-function authentication on Google Cloud Run.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::unwrap_used)]

pub mod clock;
pub mod http_client;
pub mod identity;
pub mod inbound;
pub mod outbound;
pub mod problem;

#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "emulator")]
pub mod emulator;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod telemetry;

pub use problem::Problem;
#[cfg(feature = "server")]
pub use service::serve;
