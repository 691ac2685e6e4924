//! The keys of service accounts: what a key file holds the private half of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::EmulatorError;
use super::keys::{SigningKey, generate_aside};

/// One key for each account that anybody asked a key file for.
#[derive(Debug, Default)]
pub(super) struct AccountKeys(Mutex<BTreeMap<String, Arc<SigningKey>>>);

impl AccountKeys {
    /// More key files than any test needs; each costs the time that an RSA key takes.
    const HELD: usize = 1_000;

    /// The account's key, made when first asked for.
    pub(super) async fn key(
        &self,
        email: &str,
        now: i64,
    ) -> Result<Arc<SigningKey>, EmulatorError> {
        if let Some(known) = self.find(email) {
            return Ok(known);
        }
        let new = generate_aside(now).await?;
        let mut keys = self.lock();
        if keys.len() >= Self::HELD && !keys.contains_key(email) {
            let expected = "at most 1000 accounts with keys: start another emulator";
            return Err(EmulatorError::invalid("account", email, expected));
        }
        // Somebody else may have been faster: then theirs counts, for it may be in a file already.
        Ok(Arc::clone(keys.entry(email.to_owned()).or_insert(new)))
    }

    pub(super) fn find(&self, email: &str) -> Option<Arc<SigningKey>> {
        self.lock().get(email).cloned()
    }

    /// The ids by account, as the admin API tells them.
    pub(super) fn state(&self) -> Value {
        let all: Map<_, _> =
            self.lock().iter().map(|(email, key)| (email.clone(), json!([key.kid()]))).collect();
        Value::from(all)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<SigningKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
