//! What the called function answers.

use serde_json::json;

use super::support::{AUDIENCE, CALLER, send};
use super::{called, good};

#[tokio::test]
async fn an_entity_is_created_and_found_again() {
    let (emulator, called) = called().await;
    let token = good(&emulator);
    let request = called.post("/").bearer_auth(&token).json(&json!({"bar": "hello", "x": 1}));
    let created = send(request).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("content-type"), Some("application/json"));
    let entity = created.json();
    assert_eq!(entity["bar"], "hello");
    let id = entity["id"].as_str().unwrap();
    let found = send(called.get(&format!("/entities/{id}")).bearer_auth(&token)).await;
    assert_eq!((found.status, found.json()), (200, entity));
    // The content type does not matter.
    let plain = called.post("/").bearer_auth(&token).body(r#"{"bar":[1,{"a":null}]}"#);
    let created = send(plain).await;
    assert_eq!((created.status, &created.json()["bar"]), (201, &json!([1, {"a": null}])));
}

#[tokio::test]
async fn what_is_no_request_is_answered_400_and_says_why() {
    let (emulator, called) = called().await;
    let token = good(&emulator);
    for (body, code, says) in [
        ("{}", "missing_field", "\"bar\""),
        (r#"{"foo":1}"#, "missing_field", "\"bar\""),
        (r#"{"bar":null}"#, "missing_field", "\"bar\""),
        (r#"{"Bar":1}"#, "missing_field", "\"bar\""),
        ("", "malformed_body", "JSON object"),
        ("null", "malformed_body", "JSON object"),
        ("[]", "malformed_body", "JSON object"),
        ("\"bar\"", "malformed_body", "JSON object"),
        ("{", "malformed_body", "JSON object"),
        (r#"{"bar":1}{"bar":2}"#, "malformed_body", "JSON object"),
        ("<bar/>", "malformed_body", "JSON object"),
        ("\u{feff}{\"bar\":1}", "malformed_body", "JSON object"),
        ("bar=1", "malformed_body", "JSON object"),
    ] {
        let answer = send(called.post("/").bearer_auth(&token).body(body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{body}: {answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{answer:?}");
    }
    let not_utf8 = called.post("/").bearer_auth(&token).body(b"{\"bar\":\"\xff\"}".to_vec());
    assert_eq!(send(not_utf8).await.code(), "malformed_body");
    let deep = called.post("/").bearer_auth(&token).body("[".repeat(100_000));
    assert_eq!(send(deep).await.code(), "malformed_body");
    let deep = format!("{{\"bar\":{}1{}}}", "[".repeat(1_000), "]".repeat(1_000));
    let answer = send(called.post("/").bearer_auth(&token).body(deep)).await;
    assert_eq!(answer.code(), "malformed_body");
}

#[tokio::test]
async fn what_is_too_large_is_answered_413_or_422() {
    let (emulator, called) = called().await;
    let token = good(&emulator);
    let whole = format!("{{\"bar\":\"{}\"}}", "x".repeat(2 << 20));
    let answer = send(called.post("/").bearer_auth(&token).body(whole.clone())).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    // Without a length that is told before.
    let body = reqwest::Body::wrap(Chunks(whole.into_bytes()));
    let answer = send(called.post("/").bearer_auth(&token).body(body)).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    let long = json!({"bar": "x".repeat(20_000)});
    let answer = send(called.post("/").bearer_auth(&token).json(&long)).await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "field_too_long"));
}

/// A body in pieces, whose length nobody knows.
struct Chunks(Vec<u8>);

impl http_body::Body for Chunks {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        if self.0.is_empty() {
            return std::task::Poll::Ready(None);
        }
        let at = self.0.len().saturating_sub(64 * 1024);
        let piece = self.0.split_off(at);
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(piece.into()))))
    }
}

#[tokio::test]
async fn what_is_not_there_is_answered_404_with_a_token_and_401_without() {
    let (emulator, called) = called().await;
    let token = good(&emulator);
    for (path, code) in [
        ("/entities/999", "no_such_entity"),
        ("/entities/x", "no_such_entity"),
        ("/entities/-1", "no_such_entity"),
        ("/entities/18446744073709551616", "no_such_entity"),
        ("/entities/%2e%2e%2fwhoami", "no_such_entity"),
        ("/entities/%FF", "no_such_entity"),
        ("/entities/1%00", "no_such_entity"),
        ("/entities", "not_found"),
        ("/entities/", "not_found"),
        ("/entities/1/2", "not_found"),
        ("/admin", "not_found"),
        ("/health", "not_found"),
        ("/health/", "not_found"),
        ("/healthz", "not_found"),
        ("//", "not_found"),
    ] {
        send(called.get(path)).await.assert_no_token();
        let answer = send(called.get(path).bearer_auth(&token)).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, code), "{path}: {answer:?}");
    }
    for (method, path, allow) in
        [("DELETE", "/", "POST"), ("GET", "/", "POST"), ("PUT", "/whoami", "GET,HEAD")]
    {
        let request = || called.client().request(method.parse().unwrap(), called.url(path));
        send(request()).await.assert_no_token();
        let answer = send(request().bearer_auth(&token)).await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "method_not_allowed"));
        assert_eq!(answer.header("allow"), Some(allow));
    }
}

#[tokio::test]
async fn whoami_says_whom_the_service_takes_its_caller_for() {
    let (emulator, called) = called().await;
    let token = good(&emulator);
    let answer = called.whoami(&token).await;
    assert_eq!(answer.status, 200);
    let now = emulator.unix_seconds();
    let expires = answer.json()["expires_at"].as_i64().unwrap();
    assert!((now..=now + 3_600).contains(&expires), "{answer:?}");
    let expected = json!({
        "email": CALLER, "sub": emulator.unique_id(CALLER), "audience": AUDIENCE, "expires_at": expires,
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn what_is_refused_has_its_line_and_no_line_has_a_token() {
    use countersign::emulator::{BadToken, TokenSpec};

    let (emulator, mut called) = called().await;
    let mut tokens = vec![good(&emulator)];
    for &bad in BadToken::ALL {
        tokens.push(emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(bad)));
    }
    for token in &tokens {
        let answer = called.whoami(token).await;
        assert!(answer.status < 500, "{answer:?}");
    }
    send(called.get("/whoami?access_token=secret-in-the-query")).await.assert_no_token();
    called.terminate();
    assert!(called.ended().await.success());

    let log = called.log();
    for token in &tokens {
        let secret = |part: &&str| part.len() > 24 && *part != "SIGNATURE_REMOVED_BY_GOOGLE";
        for part in token.split('.').filter(secret) {
            assert!(!log.contains(part), "a part of a token is in the log: {part}");
        }
    }
    assert!(!log.contains("secret-in-the-query"), "{log}");
    let entries = called.entries();
    let refusals: Vec<_> = entries
        .iter()
        .filter(|entry| entry["httpRequest"]["status"].as_u64().is_some_and(|status| status >= 400))
        .collect();
    // Each refused request has one line of its own, the accepted one has none.
    assert_eq!(refusals.len(), tokens.len(), "{log}");
    for refusal in refusals {
        assert!(refusal["code"].is_string() && refusal["severity"] == "WARNING", "{refusal}");
        assert_eq!(refusal["httpRequest"]["requestMethod"], "GET");
        assert_eq!(refusal["httpRequest"]["requestUrl"], "/whoami");
    }
    for entry in &entries {
        assert!(entry["message"].is_string() && entry["severity"].is_string(), "{entry}");
    }
}
