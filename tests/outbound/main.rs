//! The caller's half over real sockets, against servers that play Google and the called service.

mod adc;
mod cache;
mod called;
mod client;
mod federation;
mod google;
mod layer;
mod metadata;
mod service_account;
mod sources;

use std::error::Error;
use std::time::Duration;

/// Waits until a condition holds, and fails when it never does.
async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition was never met");
}

/// Gives every other task of this runtime ample opportunity to run.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// Everything that an error shows, in `Display` and `Debug`, with its sources.
fn shown(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text} {error} {error:?}");
        source = error.source();
    }
    text
}
