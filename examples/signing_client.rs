//! Calls a private service: `cargo run --example signing_client -- URL [AUDIENCE]`.
//!
//! On a laptop: `countersign emulator -- cargo run --example signing_client -- http://127.0.0.1:8080 https://called.demo`.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use countersign::clock::SystemClock;
use countersign::config::{Settings, SourceConfig};
use countersign::outbound::{IdTokenCache, IdTokenClient};

#[tokio::main]
async fn main() -> ExitCode {
    match call().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn call() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("expected the URL of a service")?;

    // Where tokens come from is the environment's business. Keep the cache and the client for as long as the program
    // lives: tokens are fetched once and renewed in time, whoever asks.
    let source = SourceConfig::read(&Settings::from_environment(), None)?.source;
    let tokens = IdTokenCache::new(source, Arc::new(SystemClock));
    let mut service = IdTokenClient::builder(url, tokens);
    if let Some(audience) = arguments.next() {
        service = service.audience(audience.parse()?);
    }
    let service = service.build()?;

    // Both headers are sent where both are wanted, and nothing is sent anywhere but to this service.
    let greeting = serde_json::json!({ "bar": "hello from Rust" });
    let answer = service.post("").json(&greeting).send().await?;
    let status = answer.status();
    println!("{status} {}", answer.text().await?);
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
