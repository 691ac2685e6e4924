//! Google's public keys: how a published set is read, fetched and kept.
//!
//! - [`document`]: a JWK set (RFC 7517) becomes a [`KeySet`], each key vetted by itself;
//! - [`fetch`]: one bounded request for a set;
//! - [`cache`]: the set that is in use, and when the next one is asked for.

pub mod cache;
pub mod document;
pub mod fetch;

pub use cache::CacheLimits;
pub use document::{DocumentError, KeyFault, KeySet, SkippedKey, VerifyingKey};
pub use fetch::{FetchError, FetchLimits, KeyUrl, KeyUrlError};

/// Where Google publishes the keys of its ID tokens.
pub const GOOGLE_JWKS_URL: &str = "https://www.googleapis.com/oauth2/v3/certs";
