//! The caller's half: gets ID tokens and puts them on requests.
//!
//! ```text
//! handler -> IdTokenClient -> Authorizer -> IdTokenCache -> IdTokenSource (ApplicationDefault, …)
//!               (reqwest)      one origin,   per audience,    retries, checks
//!                              one audience  one fetch
//! ```
//!
//! - A token leaves only for the origin that was configured beside its audience, over https (or http on loopback), and
//!   never follows a redirect.
//! - A request that cannot be signed is not sent.
//! - One that has an `Authorization` of its own keeps it.
//! - Tokens are in no error, log line or `Debug`.
//!
//! ```no_run
//! use std::sync::Arc;
//! use countersign::clock::SystemClock;
//! use countersign::outbound::{IdTokenCache, IdTokenClient, MetadataServer};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let tokens = IdTokenCache::new(MetadataServer::builder().build()?, Arc::new(SystemClock));
//! let orders = IdTokenClient::builder("https://orders-123.europe-west1.run.app", tokens).build()?;
//! let response = orders.get("/42").send().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Other HTTP clients use [`Authorizer`] or, where they are tower services, [`IdTokenLayer`].

mod access_token;
pub mod adc;
pub mod authorized_user;
pub mod authorizer;
pub mod cache;
pub mod called_headers;
pub mod client;
pub mod credential;
pub mod credential_file;
pub mod endpoint;
mod excerpt;
mod exchange;
mod federation;
pub mod impersonation;
pub mod layer;
pub mod metadata;
pub mod origin;
pub mod request;
pub mod service_account;
pub mod source;

pub use adc::{ApplicationDefault, ApplicationDefaultBuilder, ApplicationDefaultError};
pub use authorized_user::AuthorizedUser;
pub use authorizer::{AuthorizeError, Authorizer, AuthorizerBuilder, AuthorizerError};
pub use cache::IdTokenCache;
pub use called_headers::{CalledHeaders, CalledHeadersError};
pub use client::{IdTokenClient, IdTokenClientBuilder, IdTokenClientError};
pub use credential::{CredentialKind, UnknownCredentialKind};
pub use credential_file::CredentialError;
pub use endpoint::SourceOptions;
pub use impersonation::Impersonation;
pub use layer::{IdTokenLayer, IdTokenService};
pub use metadata::{MetadataServer, MetadataServerBuilder, MetadataServerError};
pub use origin::{Origin, OriginError};
pub use request::{SendError, SignedRequest};
pub use service_account::ServiceAccountKey;
pub use source::{FetchFuture, IdTokenSource, SourceError, SourceFault};
