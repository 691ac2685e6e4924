//! Workload identity federation.

use std::sync::Arc;

use countersign::outbound::{ApplicationDefault, IdTokenSource, SourceOptions};
use serde_json::{Value, json};

use crate::google::{Google, audience};
use crate::sources::{Case, file};

const AUDIENCE: &str = "https://called.example/path";
const PROVIDER: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q";

fn content(google: &Google, source: Value) -> Value {
    let path = "/v1/projects/-/serviceAccounts/target@demo.example:generateAccessToken";
    json!({
        "type": "external_account", "audience": PROVIDER,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": google.url("/v1/token"), "credential_source": source,
        "service_account_impersonation_url": google.url(path),
    })
}

fn build(
    google: &Google,
    options: SourceOptions,
    content: &Value,
) -> Result<ApplicationDefault, String> {
    let (_directory, path) = file(content.to_string());
    let metadata = google.client().build().unwrap();
    let builder = ApplicationDefault::builder().metadata(metadata).options(options);
    builder.credential_file(path).build().map_err(|error| error.to_string())
}

fn by_url(google: &Google) -> Value {
    json!({
        "url": google.url("/subject/token"), "headers": {"x-secret": "s3cret"},
        "format": {"type": "json", "subject_token_field_name": "access_token"},
    })
}

fn make(google: &Google, options: SourceOptions) -> Arc<dyn IdTokenSource> {
    Arc::new(build(google, options, &content(google, by_url(google))).unwrap())
}

#[tokio::test]
async fn what_holds_for_every_source() {
    let case = Case {
        make,
        path: ":generateIdToken",
        member: "token",
        audience: AUDIENCE,
        requests: 3,
        has_own_budget: false,
    };
    case.holds().await;
}

#[tokio::test]
async fn the_exchange_is_what_google_wants() {
    let google = Google::start().await;
    let (_directory, path) = file("subject.token\n");
    let source =
        build(&google, google.options(), &content(&google, json!({"file": path}))).unwrap();
    source.fetch(&audience(AUDIENCE)).await.unwrap();
    let posted = google.posted();
    assert_eq!(posted[0]["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!(
        (&posted[0]["audience"], &posted[0]["subject_token"]),
        (&json!(PROVIDER), &json!("subject.token"))
    );
    assert_eq!(posted[1]["audience"], AUDIENCE);
    std::fs::remove_file(&path).unwrap();
    let other = build(&google, google.options(), &content(&google, json!({"file": path}))).unwrap();
    let error = other.fetch(&audience(AUDIENCE)).await.unwrap_err().to_string();
    assert!(error.contains("no such file"), "{error}");
    std::fs::write(&path, "subject.token").unwrap();
    google.then_says("/v1/token", 400, r#"{"error":"invalid_grant"}"#);
    let error = other.fetch(&audience(AUDIENCE)).await.unwrap_err().to_string();
    assert!(error.contains("invalid_grant") && error.contains(PROVIDER), "{error}");
    other.fetch(&audience(AUDIENCE)).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_is_run_where_that_is_allowed() {
    let google = Google::start().await;
    let says = |answer: &str| {
        let (directory, path) = file(answer);
        let command = format!("/bin/cat {}", path.display());
        (directory, content(&google, json!({"executable": {"command": command}})))
    };
    let (_a, good) = says(r#"{"version":1,"success":true,"id_token":"a.b.c"}"#);
    let refused = build(&google, google.options(), &good).unwrap_err();
    assert!(refused.contains("ALLOW_EXECUTABLES=1"), "{refused}");
    let options = || google.options().allow_executables(true);
    build(&google, options(), &good).unwrap().fetch(&audience(AUDIENCE)).await.unwrap();
    assert_eq!(google.posted()[0]["subject_token"], "a.b.c");
    for (answer, message) in [
        (r#"{"version":1,"success":false,"code":"401"}"#, "it failed (401)"),
        ("s3cret", "something else"),
        (&"x".repeat(70_000), "too large"),
    ] {
        let (_b, bad) = says(answer);
        let source = build(&google, options(), &bad).unwrap();
        let error = source.fetch(&audience(AUDIENCE)).await.unwrap_err().to_string();
        assert!(error.contains(message) && !error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_told_at_once() {
    let google = Google::start().await;
    let with =
        |source: Value| build(&google, google.options(), &content(&google, source)).unwrap_err();
    assert!(with(json!({"environment_id": "aws1"})).contains("AWS"));
    assert!(with(json!({})).contains("one of \"file\""));
    let text = with(json!({"url": "http://10.0.0.1/token"}));
    assert!(text.contains("\"credential_source.url\"") && text.contains("https://"), "{text}");
    let mut alone = content(&google, by_url(&google));
    alone["service_account_impersonation_url"] = Value::Null;
    let text = build(&google, google.options(), &alone).unwrap_err();
    assert!(text.contains("cannot mint ID tokens"), "{text}");
}
