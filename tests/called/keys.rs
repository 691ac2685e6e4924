//! The called function and its key server: down, up, slow, and under a flood.

use countersign::emulator::{BadToken, Emulator, Endpoint, Fault, FaultKind, TokenSpec};
use tokio::task::JoinSet;

use super::support::door::Closed;
use super::support::{AUDIENCE, send, until};
use super::{address, called, called_with, good};

#[tokio::test]
async fn with_the_key_server_down_it_starts_refuses_and_heals_without_a_restart() {
    let emulator = Emulator::start().await.unwrap();
    let down = Closed::new();
    let url = format!("http://{}/oauth2/v3/certs", down.address());
    let called = called_with(&url, &[]).await;

    assert_eq!(called.health("live").await.status, 200);
    let ready = called.health("ready").await;
    assert_eq!((ready.status, ready.code().as_str()), (503, "not_ready"));
    assert_eq!(ready.json()["missing"][0]["check"], "keys");
    let plausible = called.whoami(&good(&emulator)).await;
    assert_eq!((plausible.status, plausible.code().as_str()), (503, "no_keys"));
    let seconds: u64 = plausible.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds));
    for (bad, code) in [
        (BadToken::Garbage, "malformed_header"),
        (BadToken::Expired, "expired"),
        (BadToken::WrongAudience, "wrong_audience"),
        (BadToken::AlgNone, "wrong_algorithm"),
        (BadToken::SignatureEmpty, "wrong_signature"),
    ] {
        let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(bad));
        called.whoami(&token).await.assert_bad_token(code);
    }
    send(called.get("/whoami")).await.assert_no_token();

    let _open = down.open(address(&emulator));
    // It tries again at most 4 s after the last failure, and each request makes it look whether that is due.
    until("the service heals", async || called.whoami(&good(&emulator)).await.status == 200).await;
    assert_eq!(called.health("ready").await.status, 200);
    assert_eq!(emulator.requests(Endpoint::Certs), 1);
}

#[tokio::test]
async fn readiness_alone_heals_it() {
    let emulator = Emulator::start().await.unwrap();
    let down = Closed::new();
    let url = format!("http://{}/oauth2/v3/certs", down.address());
    let called = called_with(&url, &[]).await;
    assert_eq!(called.health("ready").await.status, 503);
    let _open = down.open(address(&emulator));
    until("readiness", async || called.health("ready").await.status == 200).await;
    assert_eq!(called.whoami(&good(&emulator)).await.status, 200);
    assert_eq!(emulator.requests(Endpoint::Certs), 1);
}

#[tokio::test]
async fn five_hundred_requests_at_a_cold_start_share_one_fetch_and_are_all_served() {
    let (emulator, called) = called().await;
    // So that all of them come while the keys are on their way.
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::latency(700)).times(1)).unwrap();
    let mut requests = JoinSet::new();
    for number in 0..500 {
        let spec = TokenSpec::for_audience(AUDIENCE).claim("jti", number);
        let request = called.get("/whoami").bearer_auth(emulator.mint(&spec));
        requests.spawn(async move { send(request).await.status });
    }
    let statuses = requests.join_all().await;
    assert_eq!(statuses.len(), 500);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(emulator.requests(Endpoint::Certs), 1);
}

#[tokio::test]
async fn a_flood_of_random_kids_costs_at_most_two_fetches_and_good_traffic_nothing() {
    let (emulator, called) = called().await;
    assert_eq!(called.whoami(&good(&emulator)).await.status, 200);
    let mut requests = JoinSet::new();
    for number in 0..600 {
        let mut spec = TokenSpec::for_audience(AUDIENCE).claim("jti", number);
        let flood = number % 3 != 0;
        if flood {
            spec = spec.header("kid", format!("random-{number}"));
        }
        let request = called.get("/whoami").bearer_auth(emulator.mint(&spec));
        requests.spawn(async move { (flood, send(request).await.status) });
    }
    for (flood, status) in requests.join_all().await {
        assert_eq!(status, if flood { 401 } else { 200 });
    }
    assert_eq!(emulator.requests(Endpoint::Certs), 2, "the first, and one for the whole flood");
}

#[tokio::test]
async fn good_traffic_does_not_wait_while_a_flood_makes_a_slow_key_server_busy() {
    let (emulator, called) = called().await;
    assert_eq!(called.whoami(&good(&emulator)).await.status, 200);
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::Hang)).unwrap();
    let spec = TokenSpec::for_audience(AUDIENCE).header("kid", "random");
    let waiting = called.get("/whoami").bearer_auth(emulator.mint(&spec));
    let waiting = tokio::spawn(async move { send(waiting).await.status });
    until("the fetch", async || emulator.requests(Endpoint::Certs) == 2).await;
    for number in 0..50 {
        let spec = TokenSpec::for_audience(AUDIENCE).claim("jti", number);
        assert_eq!(called.whoami(&emulator.mint(&spec)).await.status, 200);
    }
    assert!(!waiting.is_finished(), "good traffic overtook the fetch that hangs");
    emulator.clear_faults();
    waiting.abort();
}

#[tokio::test]
async fn keys_that_rotate_are_found_by_the_request_that_needs_them() {
    let (emulator, called) = called().await;
    let old = good(&emulator);
    assert_eq!(called.whoami(&old).await.status, 200);
    emulator.rotate_keys().await.unwrap();
    assert_eq!(called.whoami(&good(&emulator)).await.status, 200);
    assert_eq!(called.whoami(&old).await.status, 200, "the old key is still published");
    assert_eq!(emulator.requests(Endpoint::Certs), 2);
}
