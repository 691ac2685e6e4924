//! Workload identity federation over real sockets: the subject token, STS, and what the files of both kinds lead to.

#![allow(clippy::unwrap_used, reason = "tests")]

use countersign::emulator::{
    CredentialKind, CredentialSpec, Emulator, Endpoint, Fault, FaultKind, TokenSpec,
};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::client::{claims, client};

const TARGET: &str = "target@demo.iam.gserviceaccount.com";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

async fn file(emulator: &Emulator, kind: CredentialKind) -> Value {
    let spec = CredentialSpec::of(kind).account(TARGET);
    serde_json::from_str(&emulator.credentials(spec).await.unwrap()).unwrap()
}

fn form(audience: &str, subject_token: &str) -> Vec<(&'static str, String)> {
    vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange".to_owned()),
        ("audience", audience.to_owned()),
        ("scope", "https://www.googleapis.com/auth/cloud-platform".to_owned()),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token".to_owned()),
        ("subject_token_type", JWT.to_owned()),
        ("subject_token", subject_token.to_owned()),
    ]
}

async fn exchange(emulator: &Emulator, form: &[(&'static str, String)]) -> (StatusCode, Value) {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = client().post(format!("{}/v1/token", emulator.url())).body(body);
    let answer =
        request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

/// generateIdToken, by the impersonation URL of a credential file.
async fn impersonate(file: &Value, access_token: &Value) -> (StatusCode, Value) {
    let url = file["service_account_impersonation_url"].as_str().unwrap();
    let url = url.replace(":generateAccessToken", ":generateIdToken");
    let body = json!({"audience": "https://x", "includeEmail": true}).to_string();
    let request = client().post(url).bearer_auth(access_token.as_str().unwrap()).body(body);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn get(url: &str) -> String {
    let answer = client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{url}");
    answer.text().await.unwrap()
}

#[tokio::test]
async fn an_external_account_file_leads_to_an_id_token() {
    let emulator = Emulator::start().await.unwrap();
    let file = file(&emulator, CredentialKind::ExternalAccount).await;
    assert_eq!(
        (&file["type"], &file["subject_token_type"]),
        (&json!("external_account"), &json!(JWT))
    );
    assert_eq!(file["token_url"], format!("{}/v1/token", emulator.url()));
    let source = get(file["credential_source"]["url"].as_str().unwrap()).await;
    let source: Value = serde_json::from_str(&source).unwrap();
    let field = file["credential_source"]["format"]["subject_token_field_name"].as_str().unwrap();
    let audience = file["audience"].as_str().unwrap();

    let form = form(audience, source[field].as_str().unwrap());
    let (status, answer) = exchange(&emulator, &form).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(3599)));
    let (status, minted) = impersonate(&file, &answer["access_token"]).await;
    assert_eq!(status, StatusCode::OK, "{minted}");
    assert_eq!(claims(minted["token"].as_str().unwrap())["email"], TARGET);

    // The binding that came with the file can be taken away, as any other.
    let member =
        audience.replace("//iam", "principal://iam").replace("providers/oidc", "subject/workload");
    assert!(emulator.revoke_token_creator(TARGET, &member).unwrap());
    assert_eq!(impersonate(&file, &answer["access_token"]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(
        (emulator.requests(Endpoint::Sts), emulator.requests(Endpoint::SubjectToken)),
        (1, 1)
    );
}

#[tokio::test]
async fn subject_tokens_come_as_text_as_json_and_from_a_file() {
    let emulator = Emulator::start().await.unwrap();
    let url = format!("{}/subject-token", emulator.url());
    let issuer = format!("{}/oidc", emulator.url());
    let said = claims(&get(&url).await);
    assert_eq!((&said["iss"], &said["sub"]), (&json!(issuer), &json!("workload")));
    let json: Value =
        serde_json::from_str(&get(&format!("{url}?format=json&field=t")).await).unwrap();
    assert_eq!(claims(json["t"].as_str().unwrap())["iss"], issuer);
    let other = claims(&get(&format!("{url}?audience=a&subject=b")).await);
    assert_eq!((&other["aud"], &other["sub"]), (&json!("a"), &json!("b")));
    let configuration = get(&format!("{issuer}/.well-known/openid-configuration")).await;
    let configuration: Value = serde_json::from_str(&configuration).unwrap();
    let keys: Value =
        serde_json::from_str(&get(configuration["jwks_uri"].as_str().unwrap()).await).unwrap();
    let kid = keys["keys"][0]["kid"].as_str().unwrap().to_owned();
    assert!(!emulator.published_kids().contains(&kid), "it is not Google");

    let spec = CredentialSpec::of(CredentialKind::ExternalAccount).subject_token_file("/run/t");
    let file: Value = serde_json::from_str(&emulator.credentials(spec).await.unwrap()).unwrap();
    assert_eq!(file["credential_source"]["file"], "/run/t");
    let token = emulator.subject_token().await.unwrap();
    assert_eq!(claims(&token)["aud"], file["audience"]);
    let (status, _) = exchange(&emulator, &form(file["audience"].as_str().unwrap(), &token)).await;
    assert_eq!(status, StatusCode::OK);
    let wrong = CredentialSpec::of(CredentialKind::ServiceAccount).subject_token_file("/run/t");
    let error = emulator.credentials(wrong).await.unwrap_err().to_string();
    assert!(error.starts_with("subject_token_file: found `/run/t`"), "{error}");
}

#[tokio::test]
async fn sts_checks_the_subject_token_and_every_parameter() {
    let emulator = Emulator::start().await.unwrap();
    let audience = file(&emulator, CredentialKind::ExternalAccount).await["audience"].clone();
    let audience = audience.as_str().unwrap();
    let good = emulator.subject_token().await.unwrap();
    let other = get(&format!("{}/subject-token?audience=other", emulator.url())).await;
    let nobody = get(&format!(
        "{}/subject-token?audience={audience}&subject={}",
        emulator.url(),
        "x".repeat(128)
    ))
    .await;
    let googles = emulator.mint(&TokenSpec::for_audience(audience));
    let issuer = format!("{}/oidc", emulator.url());
    let forged = emulator.mint(&TokenSpec::for_audience(audience).claim("iss", issuer));
    for (name, value, error, text) in [
        ("grant_type", "", "invalid_request", "grant_type"),
        ("grant_type", "refresh_token", "unsupported_grant_type", "refresh_token"),
        ("audience", "https://x", "invalid_request", "//iam.googleapis.com/projects/"),
        ("audience", &audience.replace("123456789012", "1"), "invalid_target", "audience"),
        ("scope", "", "invalid_request", "scope"),
        ("requested_token_type", JWT, "invalid_request", "requested_token_type"),
        ("subject_token_type", "urn:x", "invalid_request", "subject_token_type"),
        ("subject_token", "x", "invalid_request", "ID Token"),
        ("subject_token", &other, "invalid_grant", "[other]"),
        ("subject_token", &nobody, "invalid_grant", "google.subject"),
        ("subject_token", &googles, "invalid_grant", "issuer"),
        ("subject_token", &forged, "invalid_grant", "signature"),
    ] {
        let mut form = form(audience, &good);
        form.iter_mut()
            .filter(|(known, _)| *known == name)
            .for_each(|(_, v)| *v = value.to_owned());
        let (status, answer) = exchange(&emulator, &form).await;
        assert_eq!(
            (status, &answer["error"]),
            (StatusCode::BAD_REQUEST, &json!(error)),
            "{name} {value}"
        );
        assert!(answer["error_description"].as_str().unwrap().contains(text), "{answer}");
    }
    // The long form of the audience is good, too.
    let long = get(&format!("{}/subject-token?audience=https:{audience}", emulator.url())).await;
    assert_eq!(exchange(&emulator, &form(audience, &long)).await.0, StatusCode::OK);
    emulator.set_clock_offset(600);
    let (_, answer) = exchange(&emulator, &form(audience, &good)).await;
    assert!(answer["error_description"].as_str().unwrap().contains("expired"), "{answer}");

    emulator.inject(Fault::on(Endpoint::Sts, FaultKind::status(503)).times(1)).unwrap();
    emulator.inject(Fault::on(Endpoint::SubjectToken, FaultKind::HtmlBody).times(1)).unwrap();
    let refused = client().post(format!("{}/v1/token", emulator.url())).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(get(&format!("{}/subject-token", emulator.url())).await.starts_with("<html>"));
}

#[tokio::test]
async fn an_impersonated_file_leads_to_an_id_token() {
    let emulator = Emulator::start().await.unwrap();
    let file = file(&emulator, CredentialKind::Impersonated).await;
    assert_eq!(file["type"], "impersonated_service_account");
    let url = file["service_account_impersonation_url"].as_str().unwrap();
    assert!(url.ends_with(&format!("/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken")));
    let source = &file["source_credentials"];
    assert_eq!(source["type"], "service_account");
    let now = emulator.unix_seconds();
    let assertion = json!({
        "iss": source["client_email"],
        "aud": source["token_uri"],
        "iat": now,
        "exp": now + 60,
        "scope": "https://www.googleapis.com/auth/iam",
    });
    let key = source["private_key"].as_str().unwrap().as_bytes();
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(key).unwrap();
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    let assertion = jsonwebtoken::encode(&header, &assertion, &key).unwrap();
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
        .append_pair("assertion", &assertion)
        .finish();
    let request = client()
        .post(source["token_uri"].as_str().unwrap())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    let (status, minted) = impersonate(&file, &answer["access_token"]).await;
    assert_eq!(status, StatusCode::OK, "{minted}");
    assert_eq!(claims(minted["token"].as_str().unwrap())["email"], TARGET);
}
