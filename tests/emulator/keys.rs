//! The published keys over real sockets: both documents, their headers, rotation, faults.

#![allow(clippy::unwrap_used, reason = "tests")]

use countersign::emulator::{Emulator, EmulatorError, Endpoint, Fault, FaultKind, TokenSpec};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::client::client;

async fn certs(emulator: &Emulator, version: &str) -> Value {
    let url = format!("{}/oauth2/{version}/certs", emulator.url());
    client().get(url).send().await.unwrap().json().await.unwrap()
}

fn verifies(token: &str, key: &DecodingKey) -> bool {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    jsonwebtoken::crypto::verify(signature, signed.as_bytes(), key, Algorithm::RS256).unwrap()
}

#[tokio::test]
async fn two_keys_are_published_and_the_newer_one_signs() {
    let emulator = Emulator::start().await.unwrap();
    let answer = client().get(emulator.jwks_url()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/json; charset=UTF-8");
    assert_eq!(header("cache-control"), "public, max-age=23641, must-revalidate, no-transform");
    assert_eq!(header("age"), "0");
    let keys: Value = answer.json().await.unwrap();
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        assert_eq!(
            (&key["kty"], &key["alg"], &key["use"]),
            (&json!("RSA"), &json!("RS256"), &json!("sig"))
        );
        assert_eq!(key["e"], "AQAB");
        assert_eq!(key["kid"].as_str().unwrap().len(), 40);
    }
    assert_ne!(keys[0]["n"], keys[1]["n"]);
    assert_eq!(
        emulator.published_kids(),
        [keys[0]["kid"].as_str().unwrap(), keys[1]["kid"].as_str().unwrap()]
    );
    assert_eq!(emulator.current_kid(), emulator.published_kids()[1]);
}

#[tokio::test]
async fn certificates_carry_the_same_keys() {
    let emulator = Emulator::start().await.unwrap();
    let token = emulator.mint(&TokenSpec::for_audience("https://called.example"));
    let certificates = certs(&emulator, "v1").await;
    assert_eq!(certificates.as_object().unwrap().len(), 2);
    for (kid, pem) in certificates.as_object().unwrap() {
        let key = DecodingKey::from_rsa_pem(pem.as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(verifies(&token, &key), *kid == emulator.current_kid());
    }
}

#[tokio::test]
async fn caching_headers_can_be_set() {
    let emulator = Emulator::start().await.unwrap();
    emulator.set_certs_max_age(300);
    emulator.set_certs_age(17);
    for version in ["v1", "v3"] {
        let url = format!("{}/oauth2/{version}/certs", emulator.url());
        let answer = client().get(url).send().await.unwrap();
        assert_eq!(
            answer.headers()["cache-control"],
            "public, max-age=300, must-revalidate, no-transform"
        );
        assert_eq!(answer.headers()["age"], "17");
    }
}

#[tokio::test]
async fn rotation_keeps_the_previous_key_unless_it_is_abrupt() {
    let emulator = Emulator::start().await.unwrap();
    let first = emulator.current_kid();
    let second = emulator.rotate_keys().await.unwrap();
    assert_eq!(emulator.published_kids(), [first.clone(), second.clone()]);
    assert_eq!(emulator.current_kid(), second);
    let third = emulator.rotate_keys_abruptly().await.unwrap();
    assert_eq!(emulator.published_kids(), std::slice::from_ref(&third));
    let served = certs(&emulator, "v3").await;
    assert_eq!(served["keys"].as_array().unwrap().len(), 1);
    assert_eq!(served["keys"][0]["kid"], third);
    assert!(![first, second].contains(&third));
}

#[tokio::test]
async fn withdrawing_the_signing_key_lets_the_other_one_sign() {
    let emulator = Emulator::start().await.unwrap();
    let [old, new] = emulator.published_kids().try_into().unwrap();
    emulator.withdraw_key(&new).unwrap();
    assert_eq!(emulator.current_kid(), old);
    let error = emulator.withdraw_key(&new).unwrap_err();
    assert!(matches!(error, EmulatorError::UnknownKey { .. }));
    assert!(error.to_string().contains(&old), "{error}");
    emulator.withdraw_key(&old).unwrap();
    assert_eq!(emulator.current_kid(), old, "it goes on, for nobody");
    assert_eq!(certs(&emulator, "v3").await, json!({"keys": []}));
}

#[tokio::test]
async fn faults_come_in_order_and_end() {
    let emulator = Emulator::start().await.unwrap();
    let unavailable = FaultKind::Status { status: 503, retry_after: Some("7".to_owned()) };
    emulator.inject(Fault::on(Endpoint::Certs, unavailable).times(2)).unwrap();
    emulator
        .inject(Fault::on(Endpoint::Certs, FaultKind::redirect("http://169.254.169.254/")).times(1))
        .unwrap();
    emulator.inject(Fault::on(Endpoint::CertsV1, FaultKind::status(403))).unwrap();
    let fetch = || async { client().get(emulator.jwks_url()).send().await.unwrap() };
    for _ in 0..2 {
        let answer = fetch().await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "7");
    }
    let answer = fetch().await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()["location"], "http://169.254.169.254/");
    assert_eq!(fetch().await.status(), StatusCode::OK);
    assert_eq!(emulator.requests(Endpoint::Certs), 4);

    let url = format!("{}/oauth2/v1/certs", emulator.url());
    for _ in 0..3 {
        assert_eq!(client().get(&url).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    }
    emulator.clear_faults();
    assert_eq!(client().get(&url).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn bodies_go_wrong_in_every_way() {
    let emulator = Emulator::start().await.unwrap();
    let fetch = |fault: FaultKind| {
        emulator.inject(Fault::on(Endpoint::Certs, fault).times(1)).unwrap();
        client().get(emulator.jwks_url()).send()
    };
    let right = client().get(emulator.jwks_url()).send().await.unwrap().text().await.unwrap();

    let garbage = fetch(FaultKind::GarbageBody).await.unwrap();
    assert_eq!(garbage.status(), StatusCode::OK);
    assert!(garbage.json::<Value>().await.is_err());
    let html = fetch(FaultKind::HtmlBody).await.unwrap();
    assert_eq!(html.headers()["content-type"], "text/html");
    assert_eq!(fetch(FaultKind::EmptyBody).await.unwrap().text().await.unwrap(), "");
    let body =
        FaultKind::Body { content_type: "application/json".into(), body: "{\"keys\":[]}".into() };
    assert_eq!(fetch(body).await.unwrap().json::<Value>().await.unwrap(), json!({"keys": []}));

    let truncated = fetch(FaultKind::TruncatedBody).await.unwrap();
    assert_eq!(truncated.content_length(), Some(right.len() as u64));
    assert!(truncated.bytes().await.is_err());
    let huge = fetch(FaultKind::HugeBody { bytes: 300_001 }).await.unwrap();
    assert_eq!(huge.bytes().await.unwrap().len(), 300_001);
    let mut endless = fetch(FaultKind::EndlessBody).await.unwrap();
    let mut seen = 0;
    while seen < 2_000_000 {
        seen += endless.chunk().await.unwrap().expect("it does not end").len();
    }
    drop(endless);

    let dripping = fetch(FaultKind::SlowDrip { milliseconds: 0 }).await.unwrap();
    assert_eq!(dripping.text().await.unwrap(), right);
    let late = fetch(FaultKind::latency(1)).await.unwrap();
    assert_eq!(late.text().await.unwrap(), right);
    assert!(fetch(FaultKind::CloseConnection).await.is_err());

    // Hanging: nothing comes until the client gives up.
    let hanging =
        tokio::time::timeout(std::time::Duration::from_millis(50), fetch(FaultKind::Hang));
    assert!(hanging.await.is_err());
}

#[tokio::test]
async fn faults_that_cannot_be_acted_out_are_refused_by_field() {
    let emulator = Emulator::start().await.unwrap();
    let refused = |fault: Fault| emulator.inject(fault).unwrap_err().to_string();
    assert_eq!(
        refused(Fault::on(Endpoint::Certs, FaultKind::status(99))),
        "status: found `99`, expected a status from 200 to 999"
    );
    assert!(
        refused(Fault::on(Endpoint::Certs, FaultKind::redirect("a\nb"))).starts_with("location:")
    );
    assert!(refused(Fault::on(Endpoint::Admin, FaultKind::Hang)).starts_with("endpoint:"));
}

#[tokio::test]
async fn it_stops_when_dropped_and_when_shut_down() {
    let emulator = Emulator::start().await.unwrap();
    let address = emulator.host();
    emulator.metadata_for("called@demo.iam.gserviceaccount.com").await.unwrap();
    emulator.shutdown().await;
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());

    let emulator = Emulator::start().await.unwrap();
    let address = emulator.host();
    drop(emulator);
    let gone = async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Emulator::builder().port(port).start().await.unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")),
        "{error}"
    );
}
