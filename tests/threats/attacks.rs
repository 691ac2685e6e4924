//! The 24 ways to attack a bearer token, each by its number. Number 24 is in `reflection`.

mod claims;
mod keys;
mod requests;

use countersign::emulator::{BadToken, Emulator, TokenSpec};
use serde_json::Value;

use crate::support::signer::{Signer, claims};
use crate::support::{AUDIENCE, CALLER_MEMBER, Guarded, policy, verifier};

/// Trusts one key and has nothing to fetch.
async fn fixed() -> Guarded {
    let verifier = Signer::trusted().verifier().build().unwrap();
    Guarded::start(verifier, policy(&[CALLER_MEMBER])).await
}

/// Fetches its keys from an emulator.
async fn fetching() -> (Emulator, Guarded) {
    let emulator = Emulator::start().await.unwrap();
    let verifier = verifier(&emulator).build().unwrap();
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;
    (emulator, service)
}

fn bad(emulator: &Emulator, bad: BadToken) -> String {
    emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(bad))
}

/// The trusted key's signature under this header.
fn signed_under(header: &Value) -> String {
    Signer::trusted().sign_text(&header.to_string(), &claims().to_string())
}

fn header_with(name: &str, value: impl Into<Value>) -> Value {
    let mut header = Signer::trusted().header();
    header[name] = value.into();
    header
}
