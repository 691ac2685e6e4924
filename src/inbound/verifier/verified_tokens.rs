//! Tokens that were verified before, so that the next request with the same one costs a look-up.
//!
//! The key is the whole token, compared byte by byte, under a hash that is seeded per process: no token can be found
//! in place of another (GHSA-rp9m-7r4c-75qg). The store belongs to one verifier, so its settings are part of the key
//! by construction (GHSA-4mq7-pvjg-xp2r). Whether what is found still counts is the verifier's decision on each hit.

use std::fmt;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::inbound::principal::VerifiedToken;

/// Roughly what one token takes, for sizing the table.
const TYPICAL_BYTES: usize = 2 * 1024;

/// Bounded in bytes; what was used least goes first.
pub(super) struct VerifiedTokens(Option<Cache<Box<str>, VerifiedToken, Bytes>>);

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, VerifiedToken> for Bytes {
    fn weight(&self, token: &Box<str>, verified: &VerifiedToken) -> u64 {
        (token.len() + verified.weight()) as u64
    }
}

impl VerifiedTokens {
    /// A store of at most so many bytes; with 0 nothing is remembered.
    pub(super) fn of_bytes(bytes: usize) -> Self {
        let cache = || Cache::with_weighter((bytes / TYPICAL_BYTES).max(1), bytes as u64, Bytes);
        Self((bytes > 0).then(cache))
    }

    pub(super) fn find(&self, token: &str) -> Option<VerifiedToken> {
        self.0.as_ref()?.get(token)
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.0.as_ref().map_or(0, Cache::weight)
    }

    pub(super) fn remember(&self, token: &str, verified: &VerifiedToken) {
        if let Some(cache) = &self.0 {
            cache.insert(token.into(), verified.clone());
        }
    }
}

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.0.as_ref().map_or(0, Cache::len);
        write!(f, "{tokens} verified tokens")
    }
}
