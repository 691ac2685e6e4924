//! The admin API over real sockets: what the library does, in JSON, and for nobody but programs of this machine.

#![allow(clippy::unwrap_used, reason = "tests")]

use countersign::emulator::{BadToken, Emulator};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::client;

async fn send(emulator: &Emulator, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
    let url = format!("{}/admin{path}", emulator.url());
    let answer = client().request(method, url).body(body.to_owned()).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json", "{path}");
    (answer.status(), answer.json().await.unwrap())
}

async fn post(emulator: &Emulator, path: &str, body: Value) -> Value {
    let (status, answer) = send(emulator, Method::POST, path, &body.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
    answer
}

async fn refused(emulator: &Emulator, path: &str, body: &str) -> (u16, String) {
    let (status, answer) = send(emulator, Method::POST, path, body).await;
    (status.as_u16(), answer["error"].as_str().unwrap().to_owned())
}

async fn state(emulator: &Emulator) -> Value {
    let (status, answer) = send(emulator, Method::GET, "/state", "").await;
    assert_eq!(status, StatusCode::OK);
    answer
}

#[tokio::test]
async fn keys_clock_and_certs_are_moved() {
    let emulator = Emulator::start().await.unwrap();
    let [old, new] = emulator.published_kids().try_into().unwrap();
    let keys = post(&emulator, "/keys/rotate", json!({})).await;
    assert_eq!(keys["published"], json!([new, emulator.current_kid()]));
    let keys = post(&emulator, "/keys/withdraw", json!({"kid": new})).await;
    assert_eq!(keys["published"], json!([emulator.current_kid()]));
    let (status, message) =
        refused(&emulator, "/keys/withdraw", &json!({"kid": old}).to_string()).await;
    assert_eq!(status, 404);
    assert!(message.contains(&old) && message.contains(&emulator.current_kid()), "{message}");
    post(&emulator, "/keys/rotate", json!({"overlap": false})).await;
    assert_eq!(emulator.published_kids().len(), 1);

    let before = emulator.unix_seconds();
    let clock = post(&emulator, "/clock", json!({"offset_seconds": -3660})).await;
    assert_eq!(clock["offset_seconds"], -3660);
    assert!(emulator.unix_seconds() < before - 3000);

    post(&emulator, "/certs", json!({"max_age_seconds": 300, "age_seconds": 7})).await;
    let certs = client().get(emulator.jwks_url()).send().await.unwrap();
    assert!(certs.headers()["cache-control"].to_str().unwrap().contains("max-age=300,"));
    assert_eq!(certs.headers()["age"], "7");
}

#[tokio::test]
async fn tokens_are_minted() {
    let emulator = Emulator::start().await.unwrap();
    for bad in BadToken::ALL {
        let spec = json!({"audience": "https://called.example", "bad": bad.name()});
        assert!(post(&emulator, "/tokens", spec).await["token"].is_string());
    }
    let spec = json!({
        "audience": "a",
        "account": "stranger@demo.iam.gserviceaccount.com",
        "issued_offset_seconds": -10,
        "lifetime_seconds": 5,
        "format": "standard",
        "claims": {"extra": [1]},
        "without_claims": ["azp"],
        "header": {"typ": "other"},
        "without_header": ["kid"],
    });
    assert!(post(&emulator, "/tokens", spec).await["token"].is_string());
    assert!(
        post(&emulator, "/tokens", json!({"account": "alice@example.com"})).await["token"]
            .is_string()
    );

    let (_, list) = send(&emulator, Method::GET, "/tokens/bad", "").await;
    assert_eq!(list["bad_tokens"].as_array().unwrap().len(), BadToken::ALL.len());
}

#[tokio::test]
async fn mistakes_are_named() {
    let emulator = Emulator::start().await.unwrap();
    for (path, body, expected) in [
        ("/tokens", r#"{"audiance": "a"}"#, "unknown field `audiance`"),
        ("/tokens", r#"{}"#, "audience: found `nothing`"),
        ("/tokens", r#"{"audience": "a", "account": "nobody"}"#, "account: found `nobody`"),
        ("/tokens", r#"{"audience": "a", "bad": "expird"}"#, "unknown variant `expird`"),
        ("/tokens", "not json", "expected"),
        ("/clock", r#"{"offset_seconds": "1"}"#, "invalid type: string"),
        ("/clock", "", "missing field `offset_seconds`"),
        ("/faults", r#"{"endpoint": "cert", "fault": {"kind": "hang"}}"#, "unknown variant `cert`"),
        (
            "/faults",
            r#"{"endpoint": "certs", "fault": {"kind": "hung"}}"#,
            "unknown variant `hung`",
        ),
        (
            "/faults",
            r#"{"endpoint": "certs", "fault": {"kind": "status", "status": 7}}"#,
            "status: found `7`",
        ),
        (
            "/faults",
            r#"{"endpoint": "certs", "fault": {"kind": "latency", "seconds": 7}}"#,
            "unknown field `seconds`",
        ),
        ("/metadata", r#"{"account": "alice@example.com"}"#, "account: found `alice@example.com`"),
        ("/front-ends", r#"{"service": "called", "backend": "here"}"#, "invalid socket address"),
    ] {
        let (status, message) = refused(&emulator, path, body).await;
        assert_eq!(status, 400, "{path} {body}: {message}");
        assert!(message.contains(expected), "{path} {body}: {message}");
    }
    let (status, message) = refused(&emulator, "/nothing", "").await;
    assert_eq!(
        (status, message.as_str()),
        (404, "there is no /admin/nothing; begin with /admin/state")
    );
    let (status, message) = refused(&emulator, "/state", "").await;
    assert_eq!((status, message.as_str()), (405, "/admin/state does not take POST"));
    let (status, message) = refused(&emulator, "/tokens", &"x".repeat(300_000)).await;
    assert_eq!(status, 413, "{message}");
}

#[tokio::test]
async fn faults_are_injected_listed_and_cleared() {
    let emulator = Emulator::start().await.unwrap();
    let fault = json!({"endpoint": "certs", "fault": {"kind": "status", "status": 429, "retry_after": "5"}, "times": 2});
    post(&emulator, "/faults", fault).await;
    let answer = client().get(emulator.jwks_url()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "5");
    let state = state(&emulator).await;
    assert_eq!(state["faults"][0]["times"], 1);
    assert_eq!(state["requests"]["certs"], 1);
    send(&emulator, Method::DELETE, "/faults", "").await;
    assert_eq!(client().get(emulator.jwks_url()).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn servers_are_opened_and_changed() {
    let emulator = Emulator::start().await.unwrap();
    let account = "called@demo.iam.gserviceaccount.com";
    let server = post(&emulator, "/metadata", json!({"account": account})).await;
    assert_eq!(server["environment"]["GCE_METADATA_HOST"], server["host"]);

    let front_end = post(&emulator, "/front-ends", json!({"service": "called"})).await;
    assert_eq!(front_end["open"], false);
    let (status, _) = refused(&emulator, "/front-ends", r#"{"service": "called"}"#).await;
    assert_eq!(status, 400);
    let get =
        async || client().get(front_end["url"].as_str().unwrap()).send().await.unwrap().status();
    assert_eq!(get().await, StatusCode::FORBIDDEN);
    let change = json!({"open": true, "authorization": "stripped", "backend": "127.0.0.1:1"});
    let changed = post(&emulator, "/front-ends/called", change).await;
    assert_eq!((&changed["open"], &changed["authorization"]), (&json!(true), &json!("stripped")));
    assert_eq!(get().await, StatusCode::SERVICE_UNAVAILABLE);
    let (status, message) = refused(&emulator, "/front-ends/other", "{}").await;
    assert_eq!(status, 404);
    assert!(message.contains("`other`") && message.contains("called"), "{message}");

    let binding = json!({"service": "called", "member": format!("serviceAccount:{account}"), "after_seconds": 60});
    let granted = post(&emulator, "/bindings", binding.clone()).await;
    assert!(granted["invokers"][0]["effective_at"].is_i64());
    let (status, _) = send(&emulator, Method::DELETE, "/bindings", &binding.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = send(&emulator, Method::DELETE, "/bindings", &binding.to_string()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let recreated = post(&emulator, "/accounts/recreate", json!({"account": account})).await;
    assert_eq!(recreated["sub"], emulator.unique_id(account));
    let state = state(&emulator).await;
    assert_eq!(state["front_ends"][0]["decisions"].as_array().unwrap().len(), 2);
    assert_eq!(state["metadata_servers"][0]["account"], account);
    assert!(state["accounts"].as_array().unwrap().iter().any(|known| known["email"] == account));
    assert_eq!(state["project"]["id"], "demo");
    assert_eq!(state["keys"]["current"], emulator.current_kid());
}

#[tokio::test]
async fn web_pages_and_rebound_names_are_kept_out() {
    let emulator = Emulator::start().await.unwrap();
    let url = format!("{}/admin/state", emulator.url());
    let port = emulator.host().rsplit_once(':').unwrap().1.to_owned();
    for (name, value) in [
        ("origin", "https://evil.example".to_owned()),
        ("origin", "null".to_owned()),
        ("sec-fetch-site", "cross-site".to_owned()),
        ("host", "evil.example".to_owned()),
        ("host", format!("evil.example:{port}")),
        ("host", "127.0.0.1".to_owned()),
        ("host", format!("127.0.0.1.evil.example:{port}")),
    ] {
        let answer = client().get(&url).header(name, &value).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name}: {value}");
        assert!(answer.json::<Value>().await.unwrap()["error"].is_string());
    }
    for host in ["localhost", "[::1]", "127.0.0.1"] {
        let answer =
            client().get(&url).header("host", format!("{host}:{port}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{host}");
    }
    let server = emulator.metadata_for("called@demo.iam.gserviceaccount.com").await.unwrap();
    let elsewhere =
        client().get(format!("http://{}/admin/state", server.host())).send().await.unwrap();
    assert_ne!(elsewhere.status(), StatusCode::OK, "on the main port only");
}
