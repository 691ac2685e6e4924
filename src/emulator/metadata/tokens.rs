//! The metadata server's own cache of tokens: it hands the same one out until about four minutes before its end.

use std::sync::Mutex;

use quick_cache::sync::Cache;

use crate::emulator::access_tokens::{self, CLOUD_PLATFORM};
use crate::emulator::accounts::Account;
use crate::emulator::google::Google;
use crate::emulator::principal::Principal;
use crate::emulator::token::{self, LIFETIME_SECONDS, TokenFormat, TokenSpec};

/// A token with less than this to live is replaced.
const MARGIN_SECONDS: i64 = 240;
/// Audiences are the client's to choose, so there have to be bounds.
const AUDIENCES: usize = 1_000;

#[derive(Debug)]
pub(super) struct Tokens {
    identity: Cache<(String, String, TokenFormat), Minted>,
    access: Mutex<Option<Minted>>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { identity: Cache::new(AUDIENCES), access: Mutex::default() }
    }
}

#[derive(Clone)]
struct Minted {
    token: String,
    issued: i64,
    expires: i64,
}

// Tokens stay out of logs, worthless as these are elsewhere.
impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Minted {
    /// A clock that was set back makes it stale too: it would come from the future.
    fn fresh(&self, now: i64) -> bool {
        self.issued <= now && now < self.expires - MARGIN_SECONDS
    }
}

impl Tokens {
    pub(super) fn identity(
        &self,
        google: &Google,
        account: &Account,
        audience: &str,
        format: TokenFormat,
    ) -> String {
        let now = google.clock.unix_seconds();
        // By the unique id: an account that was made again does not get its predecessor's tokens.
        let key = (account.sub.clone(), audience.to_owned(), format);
        if let Some(cached) = self.identity.get(&key).filter(|cached| cached.fresh(now)) {
            return cached.token;
        }
        let spec = TokenSpec::for_audience(audience).account(&account.email).format(format);
        let token = token::mint(google, &spec);
        let minted = Minted {
            token: token.clone(),
            issued: now,
            expires: now.saturating_add(LIFETIME_SECONDS),
        };
        self.identity.insert(key, minted);
        token
    }

    /// The access token, and the seconds that it still lives.
    pub(super) fn access(&self, google: &Google, account: &Account) -> (String, i64) {
        let now = google.clock.unix_seconds();
        let mut access = self.access.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let minted = match access.take().filter(|cached| cached.fresh(now)) {
            Some(cached) => cached,
            None => {
                let expires = now.saturating_add(access_tokens::LIFETIME_SECONDS);
                let scopes = vec![CLOUD_PLATFORM.to_owned()];
                let token = google.access_tokens.issue(Principal::of(account), scopes, expires);
                Minted { token, issued: now, expires }
            }
        };
        let answer = (minted.token.clone(), minted.expires - now);
        *access = Some(minted);
        answer
    }
}
