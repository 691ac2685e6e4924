//! IAM Credentials over real sockets: minting as another account, and being refused.

#![allow(clippy::unwrap_used, reason = "tests")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::emulator::{Emulator, Endpoint, Fault, FaultKind};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::client::{claims, client};

const CALLER: &str = "serviceAccount:caller@demo.iam.gserviceaccount.com";
const TARGET: &str = "target@demo.iam.gserviceaccount.com";
const MIDDLE: &str = "middle@demo.iam.gserviceaccount.com";
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The default account's access token, from the metadata server.
async fn access_token(emulator: &Emulator) -> String {
    let url =
        format!("{}/computeMetadata/v1/instance/service-accounts/default/token", emulator.url());
    let answer = client().get(url).header("Metadata-Flavor", "Google").send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn call(emulator: &Emulator, bearer: &str, method: &str, body: Value) -> (StatusCode, Value) {
    let url = format!("{}/v1/projects/-/serviceAccounts/{method}", emulator.url());
    let answer =
        client().post(url).bearer_auth(bearer).body(body.to_string()).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn started() -> (Emulator, String) {
    let emulator =
        Emulator::builder().service_account(TARGET).service_account(MIDDLE).start().await.unwrap();
    let bearer = access_token(&emulator).await;
    (emulator, bearer)
}

#[tokio::test]
async fn an_id_token_has_an_email_only_if_asked_for() {
    let (emulator, bearer) = started().await;
    emulator.grant_token_creator(TARGET, CALLER).unwrap();
    for (include, email) in [
        (json!(true), json!(TARGET)),
        (json!("true"), json!(TARGET)),
        (json!(false), Value::Null),
        (Value::Null, Value::Null),
    ] {
        let body = json!({"audience": "https://x", "includeEmail": include, "delegates": []});
        let (status, answer) =
            call(&emulator, &bearer, &format!("{TARGET}:generateIdToken"), body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let said = claims(answer["token"].as_str().unwrap());
        assert_eq!((&said["aud"], &said["email"]), (&json!("https://x"), &email));
        let id = json!(emulator.unique_id(TARGET));
        assert_eq!((&said["sub"], &said["azp"]), (&id, &id));
        assert!(said.get("google").is_none());
    }
    let body = json!({"audience": "https://x", "includeEmail": true, "useEmailAzp": true});
    // The address as some clients write it into a path.
    let method = format!("{}:generateIdToken", TARGET.replace('@', "%40"));
    let (_, answer) = call(&emulator, &bearer, &method, body).await;
    assert_eq!(claims(answer["token"].as_str().unwrap())["azp"], TARGET);
    assert_eq!(emulator.requests(Endpoint::GenerateIdToken), 5);
}

#[tokio::test]
async fn without_the_role_the_permission_is_named() {
    let (emulator, bearer) = started().await;
    let id_token = json!({"audience": "https://x"});
    let access = json!({"scope": [CLOUD_PLATFORM]});
    for (method, body, permission) in [
        ("generateIdToken", &id_token, "iam.serviceAccounts.getOpenIdToken"),
        ("generateAccessToken", &access, "iam.serviceAccounts.getAccessToken"),
        ("signJwt", &json!({"payload": "{}"}), "iam.serviceAccounts.signJwt"),
    ] {
        let (status, answer) =
            call(&emulator, &bearer, &format!("{TARGET}:{method}"), body.clone()).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let error = &answer["error"];
        assert_eq!((&error["code"], &error["status"]), (&json!(403), &json!("PERMISSION_DENIED")));
        assert!(error["message"].as_str().unwrap().contains(permission), "{answer}");
        assert_eq!(error["details"][0]["metadata"]["permission"], permission);
    }
    emulator.grant_token_creator(TARGET, CALLER).unwrap();
    let method = format!("{TARGET}:generateIdToken");
    assert_eq!(call(&emulator, &bearer, &method, id_token.clone()).await.0, StatusCode::OK);
    assert!(emulator.revoke_token_creator(TARGET, CALLER).unwrap());
    assert_eq!(call(&emulator, &bearer, &method, id_token).await.0, StatusCode::FORBIDDEN);
    assert!(!emulator.revoke_token_creator(TARGET, CALLER).unwrap());
    assert!(emulator.grant_token_creator(TARGET, "group:all@example.com").is_err());
    assert!(emulator.grant_token_creator("alice@example.com", CALLER).is_err());
}

#[tokio::test]
async fn access_tokens_are_told_from_what_is_none() {
    let (emulator, bearer) = started().await;
    emulator.grant_token_creator(TARGET, CALLER).unwrap();
    let method = format!("{TARGET}:generateIdToken");
    let body = json!({"audience": "https://x"});
    let id_token = emulator.mint(&countersign::emulator::TokenSpec::for_audience("https://x"));
    for bad in ["ya29.other", &id_token, ""] {
        let (status, answer) = call(&emulator, bad, &method, body.clone()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer["error"]["status"], "UNAUTHENTICATED");
    }
    let url = format!("{}/v1/projects/-/serviceAccounts/{method}", emulator.url());
    let none = client().post(url).body(body.to_string()).send().await.unwrap();
    assert_eq!(none.status(), StatusCode::UNAUTHORIZED);
    assert!(none.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer realm="));

    assert_eq!(call(&emulator, &bearer, &method, body.clone()).await.0, StatusCode::OK);
    emulator.set_clock_offset(3600);
    assert_eq!(call(&emulator, &bearer, &method, body).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_access_token_is_the_accounts_for_its_scopes_and_life() {
    let (emulator, bearer) = started().await;
    emulator.grant_token_creator(MIDDLE, CALLER).unwrap();
    emulator.grant_token_creator(TARGET, &format!("serviceAccount:{MIDDLE}")).unwrap();
    let minted = async |scope: &str| {
        let body = json!({"scope": [scope], "lifetime": "300s", "delegates": []});
        let method = format!("{MIDDLE}:generateAccessToken");
        let (status, answer) = call(&emulator, &bearer, &method, body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let time = answer["expireTime"].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
        answer["accessToken"].as_str().unwrap().to_owned()
    };
    let (method, body) = (format!("{TARGET}:generateIdToken"), json!({"audience": "a"}));
    let narrow = minted("https://www.googleapis.com/auth/devstorage.read_only").await;
    let (status, answer) = call(&emulator, &narrow, &method, body.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(answer["error"]["details"][0]["reason"], "ACCESS_TOKEN_SCOPE_INSUFFICIENT");
    let good = minted(CLOUD_PLATFORM).await;
    assert_eq!(call(&emulator, &good, &method, body.clone()).await.0, StatusCode::OK);
    emulator.set_clock_offset(300);
    assert_eq!(call(&emulator, &good, &method, body).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_chain_needs_every_link() {
    let (emulator, bearer) = started().await;
    let ask = async |delegate: &str| {
        let body = json!({"audience": "https://x", "delegates": [delegate]});
        call(&emulator, &bearer, &format!("{TARGET}:generateIdToken"), body).await
    };
    let whole = format!("projects/-/serviceAccounts/{MIDDLE}");
    emulator.grant_token_creator(TARGET, &format!("serviceAccount:{MIDDLE}")).unwrap();
    let (status, answer) = ask(&whole).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(answer.to_string().contains("iam.serviceAccounts.implicitDelegation"), "{answer}");
    emulator.grant_token_creator(MIDDLE, CALLER).unwrap();
    assert_eq!(ask(&whole).await.0, StatusCode::OK);
    assert_eq!(ask(MIDDLE).await.0, StatusCode::OK);
    emulator.revoke_token_creator(TARGET, &format!("serviceAccount:{MIDDLE}")).unwrap();
    assert!(ask(&whole).await.1.to_string().contains("iam.serviceAccounts.getOpenIdToken"));
}

#[tokio::test]
async fn jwts_are_signed_with_the_accounts_key() {
    let (emulator, bearer) = started().await;
    emulator.grant_token_creator(TARGET, CALLER).unwrap();
    let payload = r#"{"iss": "x",  "aud": "y"}"#;
    let body = json!({ "payload": payload });
    let (status, answer) = call(&emulator, &bearer, &format!("{TARGET}:signJwt"), body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let jwt = answer["signedJwt"].as_str().unwrap();
    let header = jsonwebtoken::decode_header(jwt).unwrap();
    assert_eq!(header.kid.as_deref(), answer["keyId"].as_str());
    let middle = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(middle, payload.as_bytes(), "as it was given");
}

#[tokio::test]
async fn mistakes_are_told_in_googles_shape_and_faults_strike() {
    let (emulator, bearer) = started().await;
    emulator.grant_token_creator(TARGET, CALLER).unwrap();
    let nobody = "nobody@demo.iam.gserviceaccount.com:generateIdToken".to_owned();
    for (method, body, code, text) in [
        (nobody, json!({"audience": "a"}), 404, "nobody@demo"),
        ("alice@example.com:generateIdToken".to_owned(), json!({"audience": "a"}), 404, "alice"),
        (format!("{TARGET}:generateIdToken"), json!({}), 400, "audience"),
        (format!("{TARGET}:generateIdToken"), json!({"audiance": "a"}), 400, "audiance"),
        (format!("{TARGET}:generateIdToken"), json!([1]), 400, "Invalid JSON payload"),
        (format!("{TARGET}:generateAccessToken"), json!({"scope": []}), 400, "scope"),
        (
            format!("{TARGET}:generateAccessToken"),
            json!({"scope": ["a"], "lifetime": "7200s"}),
            400,
            "7200s",
        ),
        (format!("{TARGET}:signJwt"), json!({"payload": "[]"}), 400, "payload"),
        (format!("{TARGET}:signBlob"), json!({}), 404, "generateIdToken"),
        (TARGET.to_owned(), json!({}), 404, "generateIdToken"),
    ] {
        let (status, answer) = call(&emulator, &bearer, &method, body).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (code, &json!(code)), "{method}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(text), "{answer}");
    }
    for (endpoint, method) in [
        (Endpoint::GenerateIdToken, "generateIdToken"),
        (Endpoint::GenerateAccessToken, "generateAccessToken"),
        (Endpoint::SignJwt, "signJwt"),
    ] {
        emulator.inject(Fault::on(endpoint, FaultKind::status(429)).times(1)).unwrap();
        let url = format!("{}/v1/projects/-/serviceAccounts/{TARGET}:{method}", emulator.url());
        let answer = client().post(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "{method}");
    }
}

#[tokio::test]
async fn the_admin_api_sets_bindings_and_hands_out_files() {
    let (emulator, _) = started().await;
    let admin = async |method: reqwest::Method, path: &str, body: Value| {
        let url = format!("{}/admin{path}", emulator.url());
        let answer = client().request(method, url).body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (post, delete) = (reqwest::Method::POST, reqwest::Method::DELETE);
    let binding = json!({"account": TARGET, "member": CALLER});
    let (status, all) = admin(post.clone(), "/token-creators", binding.clone()).await;
    assert_eq!((status, all), (200, json!({ TARGET: [CALLER] })));
    let (_, file) = admin(post.clone(), "/credentials", json!({"kind": "service-account"})).await;
    assert_eq!(file["type"], "service_account");
    let (_, state) = admin(reqwest::Method::GET, "/state", json!({})).await;
    assert_eq!(state["token_creators"], json!({ TARGET: [CALLER] }));
    assert_eq!(
        state["account_keys"],
        json!({"caller@demo.iam.gserviceaccount.com": [file["private_key_id"]]})
    );
    assert_eq!((&state["access_tokens"], &state["requests"]["sts"]), (&json!(1), &json!(0)));
    assert_eq!(admin(delete.clone(), "/token-creators", binding.clone()).await, (200, json!({})));
    assert_eq!(admin(delete, "/token-creators", binding).await.0, 404);
    assert_eq!(admin(post, "/credentials", json!({"kind": "password"})).await.0, 400);
}
