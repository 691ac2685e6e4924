//! Function-to-function authentication on Google Cloud Run: verify Google-signed ID tokens, sign downstream calls, and
//! run all of it on a laptop against an emulator of Google's identity endpoints.
//!
//! # Quick start
//!
//! A secured service ([`serve`]; settings come from the environment, see [`config`]):
//!
#![cfg_attr(feature = "server", doc = "```no_run")]
#![cfg_attr(not(feature = "server"), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use countersign::inbound::Principal;
//!
//! #[tokio::main]
//! async fn main() -> std::process::ExitCode {
//!     let hello = |caller: Principal| async move { format!("hello {}", caller.name()) };
//!     countersign::serve(Router::new().route("/", get(hello))).await
//! }
//! ```
//!
//! ```sh
//! AUDIENCE=https://orders.example \
//! ALLOWED_PRINCIPALS=serviceAccount:caller@my-project.iam.gserviceaccount.com \
//! cargo run
//! ```
//!
//! A signed call from a service on Cloud Run:
//!
//! ```no_run
//! use std::sync::Arc;
//! use countersign::clock::SystemClock;
//! use countersign::outbound::{IdTokenCache, IdTokenClient, MetadataServer};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let tokens = IdTokenCache::new(MetadataServer::builder().build()?, Arc::new(SystemClock));
//! let orders = IdTokenClient::builder("https://orders-123.europe-west1.run.app", tokens).build()?;
//! let answer = orders.post("/").json(&serde_json::json!({ "bar": "hello" })).send().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The flows
//!
//! ```text
//! called   request -> Authenticate -> bearer -> Verifier -> Policy -> Principal -> handler
//!                                                  |
//! keys                                      key cache -> Google's JWK set, when one is due
//!
//! caller   handler -> IdTokenClient -> Authorizer -> IdTokenCache -> MetadataServer, when one is due
//!                          |
//!                          +-> request with the token, to one origin and no other
//! ```
//!
//! # The map
//!
//! | module | what it is | feature |
//! |---|---|---|
//! | [`inbound`] | the called side: verifier, key cache, policy, tower layers, axum extractor | |
//! | [`outbound`] | the caller's side: sources of tokens, their cache, clients that sign | |
//! | [`identity`] | the words of both: audience, IAM member, claims, ID token | |
//! | [`problem`] | error answers (RFC 9457) | |
//! | [`clock`] | the one door to the time | |
//! | [`http_client`] | how keys and tokens are fetched: TLS roots, no redirects | |
//! | `service` | a whole service in one line: [`serve`] | `server` |
//! | `config` | settings, from the environment and flags | `server` |
//! | `server` | limits, health, drain | `server` |
//! | `telemetry` | Cloud Logging, trace context | `server` |
//! | `emulator` | Google's identity endpoints and Cloud Run's front end on loopback, for tests | `emulator` |
//!
//! Features add API and never change behaviour. The default is all of them, for the `countersign` command; a library
//! user writes `default-features = false, features = ["server"]`, and `emulator` under `[dev-dependencies]`.
//!
//! # What it promises
//!
//! - **It fails closed**: no audience, no list of principals, no keys: no entry.
//! - **It compares exactly**: audiences and issuers byte by byte, one algorithm, no key from a token.
//! - **It bounds what strangers can grow**: bytes, fetches, connections, time.
//! - **Tokens are secrets**: in no `Debug`, log line, error or URL.
//! - **No timers**: Cloud Run stops the CPU between requests, so all refreshing is done in the course of one.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "server"),
    allow(rustdoc::broken_intra_doc_links, reason = "the front page links to what features add")
)]
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

/// The README's code, as tests.
#[cfg(all(doctest, feature = "server", feature = "emulator"))]
#[doc = include_str!("../README.md")]
struct Readme;
