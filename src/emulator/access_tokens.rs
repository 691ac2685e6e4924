//! Access tokens: opaque to everybody, known to the emulator that gave them out.

use std::fmt;

use quick_cache::sync::Cache;

use super::principal::Principal;
use super::token;

/// What lets a client use any Google API.
pub(super) const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long one lives unless less is asked for: Google's answers say a second less than an hour.
pub(super) const LIFETIME_SECONDS: i64 = 3599;
/// More than any test holds at a time; beyond it the least used are forgotten.
const HELD: usize = 10_000;

/// What a token stands for.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) principal: Principal,
    pub(super) scopes: Vec<String>,
    expires: i64,
}

impl Grant {
    /// May it be used where one of these scopes is needed?
    pub(super) fn covers(&self, scopes: &[&str]) -> bool {
        self.scopes.iter().any(|scope| scopes.contains(&scope.as_str()))
    }
}

/// The tokens that were given out.
pub(super) struct AccessTokens(Cache<String, Grant>);

impl Default for AccessTokens {
    fn default() -> Self {
        Self(Cache::new(HELD))
    }
}

// The keys of the cache are secrets.
impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens").field("held", &self.0.len()).finish()
    }
}

impl AccessTokens {
    /// A new token that is good until `expires`, in seconds since the Unix epoch.
    pub(super) fn issue(&self, principal: Principal, scopes: Vec<String>, expires: i64) -> String {
        let token = token::access_token();
        self.0.insert(token.clone(), Grant { principal, scopes, expires });
        token
    }

    /// What this token stands for, while it is good.
    pub(super) fn grant(&self, token: &str, now: i64) -> Option<Grant> {
        self.0.get(token).filter(|grant| now < grant.expires)
    }

    pub(super) fn held(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_good_until_their_end_and_secret() {
        let tokens = AccessTokens::default();
        let alice = Principal::User("alice@example.com".to_owned());
        let token = tokens.issue(alice.clone(), vec![CLOUD_PLATFORM.to_owned()], 100);
        assert!(token.starts_with("ya29."));
        let grant = tokens.grant(&token, 99).unwrap();
        assert_eq!(grant.principal, alice);
        assert!(grant.covers(&["other", CLOUD_PLATFORM]) && !grant.covers(&["other"]));
        assert!(tokens.grant(&token, 100).is_none());
        assert!(tokens.grant("ya29.other", 0).is_none());
        assert!(!format!("{tokens:?}").contains("ya29"));
    }
}
