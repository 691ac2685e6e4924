//! The program itself, as a child process: `countersign called` and `countersign caller`, with the emulator for Google.
#![allow(clippy::unwrap_used, reason = "tests")]

mod caller;
mod drain;
mod keys;
mod requests;
mod settings;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;

use countersign::emulator::{Emulator, TokenSpec};
use support::process::Process;
use support::{AUDIENCE, CALLER_MEMBER};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// The main port of an emulator.
fn address(emulator: &Emulator) -> SocketAddr {
    emulator.host().parse().unwrap()
}

fn good(emulator: &Emulator) -> String {
    emulator.mint(&TokenSpec::for_audience(AUDIENCE))
}

/// `countersign called` that gets its keys from there, with more settings.
async fn called_with(jwks_url: &str, more: &[(&str, &str)]) -> Process {
    let mut settings = vec![
        ("AUDIENCE", AUDIENCE),
        ("ALLOWED_PRINCIPALS", CALLER_MEMBER),
        ("TRUST_EMULATOR", "1"),
        ("JWKS_URL", jwks_url),
    ];
    settings.extend_from_slice(more);
    Process::start(BINARY, "called", &settings).await
}

/// An emulator, and a called function that trusts it.
async fn called() -> (Emulator, Process) {
    let emulator = Emulator::start().await.unwrap();
    let called = called_with(&emulator.jwks_url(), &[]).await;
    (emulator, called)
}
