//! The metadata server over real sockets, path by path as Google's client libraries use it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::ManualClock;
use countersign::emulator::{Emulator, Endpoint, Fault, FaultKind};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::client::client;

const ACCOUNT: &str = "caller@demo.iam.gserviceaccount.com";

fn request(host: &str, path: &str) -> RequestBuilder {
    client().get(format!("http://{host}{path}"))
}

async fn ask(host: &str, path: &str) -> Response {
    let path = format!("/computeMetadata/v1/{path}");
    request(host, &path).header("Metadata-Flavor", "Google").send().await.unwrap()
}

async fn text(host: &str, path: &str) -> String {
    let answer = ask(host, path).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.text().await.unwrap()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn entries_have_googles_values_and_headers() {
    let emulator = Emulator::builder().project("acme").project_number(42).start().await.unwrap();
    let host = &emulator.host();
    let email = "caller@acme.iam.gserviceaccount.com";
    for (path, value) in [
        ("project/project-id", "acme"),
        ("project/numeric-project-id", "42"),
        ("instance/region", "projects/42/regions/us-central1"),
        ("instance/zone", "projects/42/zones/us-central1-1"),
        ("universe/universe-domain", "googleapis.com"),
        ("instance/service-accounts/default/email", email),
        ("instance/service-accounts/default/aliases", "default\n"),
        (
            "instance/service-accounts/default/scopes",
            "https://www.googleapis.com/auth/cloud-platform\n",
        ),
        ("instance/service-accounts/caller%40acme.iam.gserviceaccount.com/email", email),
        ("instance/service-accounts/caller@acme.iam.gserviceaccount.com/email", email),
    ] {
        assert_eq!(text(host, path).await, value, "{path}");
    }
    let answer = ask(host, "instance/id").await;
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("metadata-flavor"), "Google");
    assert_eq!(header("server"), "Metadata Server for VM");
    assert_eq!(header("content-type"), "application/text");
    assert_eq!(header("x-xss-protection"), "0");
    assert_eq!(header("x-frame-options"), "SAMEORIGIN");
    assert_eq!(header("etag").len(), 16);
    assert!(answer.text().await.unwrap().len() > 100, "instance ids on Cloud Run are long");
}

#[tokio::test]
async fn directories_list_redirect_and_recurse() {
    let emulator = Emulator::start().await.unwrap();
    let host = &emulator.host();
    assert_eq!(text(host, "instance/").await, "id\nregion\nservice-accounts/\nzone\n");
    assert_eq!(text(host, "instance/service-accounts/").await, format!("{ACCOUNT}/\ndefault/\n"));
    assert_eq!(
        text(host, "instance/service-accounts/default/").await,
        "aliases\nemail\nidentity\nscopes\ntoken\n"
    );
    // gcp-metadata for Node asks for this one, and looks at the header alone.
    let moved = ask(host, "instance?a=b").await;
    assert_eq!(moved.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(
        moved.headers()["location"],
        format!("http://{host}/computeMetadata/v1/instance/?a=b")
    );
    assert_eq!(moved.headers()["metadata-flavor"], "Google");

    let scopes = ["https://www.googleapis.com/auth/cloud-platform"];
    let account = json!({"aliases": ["default"], "email": ACCOUNT, "scopes": scopes});
    let answer = ask(host, "instance/service-accounts/default/?recursive=true").await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.json::<Value>().await.unwrap(), account);
    let all: Value = serde_json::from_str(&text(host, "?recursive=true").await).unwrap();
    assert_eq!(all["instance"]["serviceAccounts"]["default"], account);
    assert_eq!(all["instance"]["serviceAccounts"][ACCOUNT], account);
    assert_eq!(all["project"]["numericProjectId"], 123_456_789_012_u64);
    assert_eq!(all["universe"]["universeDomain"], "googleapis.com");
}

#[tokio::test]
async fn the_root_answers_everybody_and_the_rest_wants_the_header() {
    let emulator = Emulator::start().await.unwrap();
    let host = &emulator.host();
    let root = request(host, "/").send().await.unwrap();
    assert_eq!(root.status(), StatusCode::OK);
    assert_eq!(root.headers()["metadata-flavor"], "Google");

    let path = "/computeMetadata/v1/project/project-id";
    let missing = request(host, path).send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::FORBIDDEN);
    assert_eq!(missing.headers()["metadata-flavor"], "Google");
    assert!(missing.text().await.unwrap().contains("Missing Metadata-Flavor:Google header."));
    let wrong = request(host, path).header("Metadata-Flavor", "Amazon").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::FORBIDDEN);
    let old = request(host, path).header("X-Google-Metadata-Request", "True").send().await.unwrap();
    assert_eq!(old.status(), StatusCode::OK);
    let forwarded = request(host, path)
        .header("Metadata-Flavor", "Google")
        .header("X-Forwarded-For", "10.0.0.1")
        .send()
        .await
        .unwrap();
    assert_eq!(forwarded.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let emulator = Emulator::start().await.unwrap();
    let host = &emulator.host();
    for path in [
        "instance/service-accounts/stranger@demo.iam.gserviceaccount.com/email",
        "instance/service-accounts/stranger@demo.iam.gserviceaccount.com/identity?audience=a",
        "instance/service-accounts/default/nothing",
        "instance/id/",
        "instance/id/more",
        "instance//id",
        "<script>",
    ] {
        let answer = ask(host, path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.text().await.unwrap().contains("<script"), "{path}");
    }
    assert_eq!(
        request(host, "/nothing")
            .header("Metadata-Flavor", "Google")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::NOT_FOUND
    );
    let post = client()
        .post(format!("http://{host}/computeMetadata/v1/instance/id"))
        .header("Metadata-Flavor", "Google")
        .send()
        .await
        .unwrap();
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn identity_tokens_follow_the_query() {
    let emulator = Emulator::start().await.unwrap();
    let host = &emulator.host();
    let identity = "instance/service-accounts/default/identity";
    for missing in ["", "?audience=", "?format=full"] {
        let answer = ask(host, &format!("{identity}{missing}")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(answer.text().await.unwrap().trim(), "non-empty audience parameter required");
    }

    let answer =
        ask(host, &format!("{identity}?audience=https%3A%2F%2Fcalled.example%2Fa%3Fb")).await;
    assert_eq!(answer.headers()["content-type"], "text/html");
    let standard = claims(&answer.text().await.unwrap());
    assert_eq!(standard["aud"], "https://called.example/a?b");
    assert!(standard["email"].is_null(), "only format=full tells the address");

    let bare = claims(
        &text(host, &format!("{identity}?audience=https://called.example/a&format=full")).await,
    );
    assert_eq!(bare["aud"], "https://called.example/a", "not percent-encoded, as Node sends it");
    assert_eq!(bare["email"], ACCOUNT);
    assert!(bare["google"]["compute_engine"]["license_id"].is_null());
    let licensed = format!("{identity}?audience=a&format=full&licenses=TRUE");
    let licensed = claims(&text(host, &licensed).await);
    assert!(licensed["google"]["compute_engine"]["license_id"].is_array());

    let by_address = format!("instance/service-accounts/{ACCOUNT}/identity?audience=a");
    assert_eq!(claims(&text(host, &by_address).await)["azp"], emulator.unique_id(ACCOUNT));
    assert_eq!(emulator.requests(Endpoint::MetadataIdentity), 7);
}

#[tokio::test]
async fn access_tokens_count_down() {
    let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    let emulator = Emulator::builder().clock(clock.clone()).start().await.unwrap();
    let host = emulator.host();
    let fetch = || async {
        let token = text(&host, "instance/service-accounts/default/token").await;
        serde_json::from_str::<Value>(&token).unwrap()
    };
    let first = fetch().await;
    assert_eq!(first["token_type"], "Bearer");
    assert_eq!(first["expires_in"], 3599);
    assert!(first["access_token"].as_str().unwrap().starts_with("ya29.c."));
    clock.advance(Duration::from_secs(3000));
    let second = fetch().await;
    assert_eq!(second["access_token"], first["access_token"]);
    assert_eq!(second["expires_in"], 599);
    clock.advance(Duration::from_secs(400));
    assert_ne!(fetch().await["access_token"], first["access_token"]);
}

#[tokio::test]
async fn identity_tokens_are_cached_until_four_minutes_before_their_end() {
    let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    let emulator = Emulator::builder().clock(clock.clone()).start().await.unwrap();
    let host = emulator.host();
    let fetch = |audience: &'static str, format: &'static str| {
        let path =
            format!("instance/service-accounts/default/identity?audience={audience}{format}");
        let host = host.clone();
        async move { text(&host, &path).await }
    };
    let first = fetch("a", "").await;
    clock.advance(Duration::from_secs(3600 - 241));
    assert_eq!(fetch("a", "").await, first);
    assert_ne!(fetch("b", "").await, first);
    assert_ne!(fetch("a", "&format=full").await, first);
    clock.advance(Duration::from_secs(1));
    let second = fetch("a", "").await;
    assert_eq!(claims(&second)["iat"], 1_700_000_000 + 3360);
    assert_eq!(claims(&second)["exp"], 1_700_000_000 + 3360 + 3600);

    emulator.set_clock_offset(-4000);
    assert_ne!(fetch("a", "").await, second, "a token from the future is not handed out");
}

#[tokio::test]
async fn each_service_has_its_own_server() {
    let emulator = Emulator::start().await.unwrap();
    let other = "called@demo.iam.gserviceaccount.com";
    let server = emulator.metadata_for(other).await.unwrap();
    assert!(server.host().starts_with("127.0.0.1:"));
    assert_ne!(server.host(), emulator.host());
    let email = "instance/service-accounts/default/email";
    assert_eq!(text(&server.host(), email).await, other);
    assert_eq!(text(&emulator.host(), email).await, ACCOUNT);
    let again = emulator.metadata_for(other).await.unwrap();
    assert_eq!(again.host(), server.host());
    let keys = request(&server.host(), "/oauth2/v3/certs").send().await.unwrap();
    assert_ne!(keys.status(), StatusCode::OK, "keys are on the main port only");

    let error = emulator.metadata_for("alice@example.com").await.unwrap_err().to_string();
    assert!(error.starts_with("account: found `alice@example.com`"), "{error}");
}

#[tokio::test]
async fn faults_reach_every_metadata_server() {
    let emulator = Emulator::start().await.unwrap();
    let server = emulator.metadata_for("called@demo.iam.gserviceaccount.com").await.unwrap();
    emulator.inject(Fault::on(Endpoint::MetadataIdentity, FaultKind::status(503))).unwrap();
    for host in [server.host(), emulator.host()] {
        let answer = ask(&host, "instance/service-accounts/default/identity?audience=a").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            ask(&host, "instance/service-accounts/default/email").await.status(),
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn the_environment_points_a_child_here() {
    let emulator = Emulator::start().await.unwrap();
    let all = emulator.environment();
    let value = |name: &str| &all.iter().find(|(n, _)| n == name).unwrap().1;
    for name in ["GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"] {
        assert_eq!(*value(name), emulator.host());
    }
    assert_eq!(value("NO_GCE_CHECK"), "false");
    assert_eq!(*value("JWKS_URL"), emulator.jwks_url());
    assert_eq!(value("TRUST_EMULATOR"), "1");
    assert_eq!(value("GOOGLE_CLOUD_PROJECT"), "demo");
    assert_eq!(*value("CLOUDSDK_AUTH_TOKEN_HOST"), format!("{}/token", emulator.url()));
    assert_eq!(
        *value("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"),
        format!("{}/", emulator.url())
    );
}
