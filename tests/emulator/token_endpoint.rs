//! The token endpoint over real sockets: assertions of key files, logins of people, and the live service's errors.

#![allow(clippy::unwrap_used, reason = "tests")]

use countersign::emulator::{
    CredentialKind, CredentialSpec, Emulator, Endpoint, Fault, FaultKind, GCLOUD_CLIENT_ID,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::client::{claims, client};

const ACCOUNT: &str = "caller@demo.iam.gserviceaccount.com";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

async fn key_file(emulator: &Emulator) -> Value {
    let file = emulator.credentials(CredentialKind::ServiceAccount).await.unwrap();
    serde_json::from_str(&file).unwrap()
}

fn good_claims(emulator: &Emulator) -> Value {
    let now = emulator.unix_seconds();
    json!({
        "iss": ACCOUNT,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": now,
        "exp": now + 3600,
        "target_audience": "https://called.example",
    })
}

fn signed(file: &Value, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(file["private_key_id"].as_str().unwrap().to_owned());
    let key = EncodingKey::from_rsa_pem(file["private_key"].as_str().unwrap().as_bytes()).unwrap();
    encode(&header, claims, &key).unwrap()
}

async fn post(emulator: &Emulator, form: &[(&str, &str)]) -> (StatusCode, Value) {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = client().post(format!("{}/token", emulator.url())).body(body);
    let answer =
        request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    assert!(answer.headers()["cache-control"].to_str().unwrap().contains("no-store"));
    (answer.status(), answer.json().await.unwrap())
}

async fn exchange(emulator: &Emulator, assertion: &str) -> (StatusCode, Value) {
    post(emulator, &[("grant_type", JWT_BEARER), ("assertion", assertion)]).await
}

#[tokio::test]
async fn a_key_file_has_googles_shape_and_one_key_per_account() {
    let emulator = Emulator::start().await.unwrap();
    let file = key_file(&emulator).await;
    for (field, expected) in [
        ("type", "service_account"),
        ("project_id", "demo"),
        ("client_email", ACCOUNT),
        ("client_id", &emulator.unique_id(ACCOUNT)),
        ("token_uri", &format!("{}/token", emulator.url())),
        ("universe_domain", "googleapis.com"),
    ] {
        assert_eq!(file[field], expected, "{field}");
    }
    let pem = file["private_key"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "PKCS #8, as Google's are");
    assert!(pem.ends_with("\n-----END PRIVATE KEY-----\n"));
    assert_eq!(key_file(&emulator).await, file);
    assert!(!format!("{emulator:?}").contains(&pem[40..80]));

    let other = CredentialSpec::of(CredentialKind::ServiceAccount)
        .account("other@demo.iam.gserviceaccount.com");
    let other: Value = serde_json::from_str(&emulator.credentials(other).await.unwrap()).unwrap();
    assert_ne!(other["private_key_id"], file["private_key_id"]);
    let person = CredentialSpec::of(CredentialKind::ServiceAccount).account("alice@example.com");
    assert!(emulator.credentials(person).await.unwrap_err().to_string().starts_with("account:"));
}

#[tokio::test]
async fn an_assertion_buys_an_id_token_or_an_access_token() {
    let emulator = Emulator::start().await.unwrap();
    let file = key_file(&emulator).await;
    for audience in ["https://oauth2.googleapis.com/token", file["token_uri"].as_str().unwrap()] {
        let mut wanted = good_claims(&emulator);
        wanted["aud"] = audience.into();
        let (status, answer) = exchange(&emulator, &signed(&file, &wanted)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let said = claims(answer["id_token"].as_str().unwrap());
        assert_eq!(said["aud"], "https://called.example");
        assert_eq!((&said["email"], &said["azp"]), (&json!(ACCOUNT), &json!(ACCOUNT)));
        assert_eq!(said["sub"], emulator.unique_id(ACCOUNT));
        assert!(said.get("google").is_none(), "no instance stands behind a key file");
    }
    let mut wanted = good_claims(&emulator);
    wanted.as_object_mut().unwrap().remove("target_audience");
    wanted["scope"] = "https://www.googleapis.com/auth/cloud-platform".into();
    let (status, answer) = exchange(&emulator, &signed(&file, &wanted)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["access_token"].as_str().unwrap().starts_with("ya29."));
    assert_eq!((&answer["expires_in"], &answer["token_type"]), (&json!(3599), &json!("Bearer")));
    assert_eq!(emulator.requests(Endpoint::Token), 3);
}

#[tokio::test]
async fn errors_come_in_the_live_services_order_and_words() {
    let emulator = Emulator::start().await.unwrap();
    let file = key_file(&emulator).await;
    let (now, hour) = (emulator.unix_seconds(), 3600);
    // Each has the faults of all that follow, so that the order is shown too.
    let mut wrong = json!({"iss": "nobody@demo.iam.gserviceaccount.com"});
    let mut found = Vec::new();
    for change in [
        json!({}),
        json!({"iss": ACCOUNT}),
        json!({"iat": now, "exp": now + hour + 1}),
        json!({"iat": now - 2 * hour, "exp": now - hour}),
        json!({"iat": now + hour, "exp": now + hour + hour}),
        json!({"iat": now, "exp": now + hour}),
        json!({"target_audience": ""}),
        json!({"target_audience": "https://called.example"}),
        json!({"aud": "https://other.example/token"}),
    ] {
        wrong.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, answer) = exchange(&emulator, &signed(&file, &wrong)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        found.push((answer["error"].clone(), answer["error_description"].clone()));
    }
    let time = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your \
                iat and exp values in the JWT claim.";
    let scope = ("invalid_scope", "Invalid OAuth scope or ID token audience provided.");
    let audience = ("invalid_grant", "Invalid JWT: Failed audience check.");
    let expected = [
        ("invalid_grant", "Invalid grant: account not found"),
        ("invalid_grant", "Invalid JWT: iat (issued at) is not set."),
        ("invalid_grant", time),
        ("invalid_grant", time),
        ("invalid_grant", time),
        scope,
        scope,
        audience,
        audience,
    ];
    assert_eq!(found, expected.map(|(error, text)| (json!(error), json!(text))));
}

#[tokio::test]
async fn what_is_not_signed_by_the_accounts_key_is_refused_first() {
    let emulator = Emulator::start().await.unwrap();
    let file = key_file(&emulator).await;
    let other = CredentialSpec::of(CredentialKind::ServiceAccount)
        .account("other@demo.iam.gserviceaccount.com");
    let other: Value = serde_json::from_str(&emulator.credentials(other).await.unwrap()).unwrap();
    let good = signed(&file, &good_claims(&emulator));
    let hmac = encode(
        &Header::new(Algorithm::HS256),
        &good_claims(&emulator),
        &EncodingKey::from_secret(b"x"),
    );
    let (input, _) = good.rsplit_once('.').unwrap();
    for bad in [
        signed(&other, &json!({"iss": ACCOUNT})),
        hmac.unwrap(),
        format!("{input}.AAAA"),
        // What Google signs is no service account's assertion.
        emulator.mint(&countersign::emulator::TokenSpec::for_audience("x").claim("iss", ACCOUNT)),
    ] {
        let (status, answer) = exchange(&emulator, &bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let expected =
            json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."});
        assert_eq!(answer, expected);
    }
    for undecodable in ["x", "a.b", "a.b.c", "e30.W10.AA", "....", "e30.e30.!"] {
        let (status, answer) = exchange(&emulator, undecodable).await;
        assert_eq!(
            (status, &answer["error"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_request"))
        );
    }
}

#[tokio::test]
async fn a_login_is_refreshed_and_its_audience_is_the_client() {
    let emulator = Emulator::start().await.unwrap();
    let spec = CredentialSpec::of(CredentialKind::AuthorizedUser).account("alice@example.com");
    let file: Value = serde_json::from_str(&emulator.credentials(spec).await.unwrap()).unwrap();
    assert_eq!(
        (&file["type"], &file["client_id"]),
        (&json!("authorized_user"), &json!(GCLOUD_CLIENT_ID))
    );
    let text = |field: &str| file[field].as_str().unwrap().to_owned();
    let (id, secret, refresh) = (text("client_id"), text("client_secret"), text("refresh_token"));
    let ask = async |id: &str, secret: &str, refresh: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", id),
            ("client_secret", secret),
            ("refresh_token", refresh),
        ];
        post(&emulator, &form).await
    };
    let (status, answer) = ask(&id, &secret, &refresh).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["scope"].as_str().unwrap().contains("auth/cloud-platform"));
    let said = claims(answer["id_token"].as_str().unwrap());
    assert_eq!((&said["aud"], &said["azp"]), (&json!(GCLOUD_CLIENT_ID), &json!(GCLOUD_CLIENT_ID)));
    assert_eq!(said["email"], "alice@example.com");

    for (id, secret, refresh, status, error) in [
        ("other", &*secret, &*refresh, 401, "invalid_client"),
        (&*id, "other", &*refresh, 401, "invalid_client"),
        (&*id, &*secret, "other", 400, "invalid_grant"),
    ] {
        let (found, answer) = ask(id, secret, refresh).await;
        assert_eq!((found.as_u16(), &answer["error"]), (status, &json!(error)), "{answer}");
    }
    let robot = CredentialSpec::of(CredentialKind::AuthorizedUser).account(ACCOUNT);
    assert!(emulator.credentials(robot).await.is_err());
}

#[tokio::test]
async fn malformed_requests_are_told_and_faults_strike() {
    let emulator = Emulator::start().await.unwrap();
    for (form, error, text) in [
        (&[][..], "invalid_request", "grant_type"),
        (&[("grant_type", "password")], "unsupported_grant_type", "password"),
        (&[("grant_type", JWT_BEARER)], "invalid_request", "assertion"),
        (&[("grant_type", "refresh_token")], "invalid_request", "refresh_token"),
        (&[("grant_type", "a"), ("grant_type", "b")], "invalid_request", "grant_type"),
    ] {
        let (status, answer) = post(&emulator, form).await;
        assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!(error)));
        assert!(answer["error_description"].as_str().unwrap().contains(text), "{answer}");
    }
    let url = format!("{}/token", emulator.url());
    let json = client().post(&url).header("content-type", "application/json").body("{}");
    assert_eq!(json.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let huge = client().post(&url).header("content-type", "application/x-www-form-urlencoded");
    let huge = huge.body("a=".to_owned() + &"x".repeat(1 << 20)).send().await.unwrap();
    assert_eq!(huge.status(), StatusCode::BAD_REQUEST);

    emulator.inject(Fault::on(Endpoint::Token, FaultKind::status(503)).times(1)).unwrap();
    let refused = client().post(&url).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
}
