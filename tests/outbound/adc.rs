//! Application Default Credentials, and the sources that are only reached through them.

use std::sync::Arc;

use countersign::outbound::{
    ApplicationDefault, ApplicationDefaultBuilder, CredentialKind, IdTokenCache, IdTokenSource,
    SourceOptions,
};
use serde_json::{Value, json};

use crate::google::{CLIENT_ID, Google, audience};
use crate::service_account::key_file;
use crate::shown;
use crate::sources::{Case, file};

const AUDIENCE: &str = "https://called.example/path";
const TARGET: &str = "target@demo.iam.gserviceaccount.com";
const GENERATE: &str = ":generateIdToken";

fn adc(google: &Google, options: SourceOptions) -> ApplicationDefaultBuilder {
    let metadata = google.client().build().unwrap();
    ApplicationDefault::builder().metadata(metadata).options(options)
}

fn with_file(google: &Google, options: SourceOptions, content: &Value) -> ApplicationDefault {
    let (_directory, path) = file(content.to_string());
    adc(google, options).credential_file(path).build().unwrap()
}

fn login(google: &Google) -> Value {
    json!({
        "type": "authorized_user", "client_id": CLIENT_ID, "client_secret": "s3cret",
        "refresh_token": "1//refresh", "token_uri": google.url("/token"),
    })
}

fn impersonated(google: &Google, source: Value) -> Value {
    let path = format!("/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken");
    json!({
        "type": "impersonated_service_account", "source_credentials": source,
        "service_account_impersonation_url": google.url(&path), "delegates": ["1122", "a@b.c"],
    })
}

#[tokio::test]
async fn what_holds_for_a_login() {
    fn make(google: &Google, options: SourceOptions) -> Arc<dyn IdTokenSource> {
        Arc::new(with_file(google, options, &login(google)))
    }
    let case = Case {
        make,
        path: "/token",
        member: "id_token",
        audience: CLIENT_ID,
        requests: 1,
        has_own_budget: false,
    };
    case.holds().await;
}

#[tokio::test]
async fn what_holds_for_an_impersonated_account() {
    fn make(google: &Google, options: SourceOptions) -> Arc<dyn IdTokenSource> {
        Arc::new(with_file(google, options, &impersonated(google, login(google))))
    }
    let case = Case {
        make,
        path: GENERATE,
        member: "token",
        audience: AUDIENCE,
        requests: 2,
        has_own_budget: false,
    };
    case.holds().await;
}

#[tokio::test]
async fn what_holds_for_impersonation_by_the_metadata_servers_account() {
    fn make(google: &Google, options: SourceOptions) -> Arc<dyn IdTokenSource> {
        Arc::new(adc(google, options).impersonate(TARGET).build().unwrap())
    }
    let case = Case {
        make,
        path: GENERATE,
        member: "token",
        audience: AUDIENCE,
        requests: 2,
        has_own_budget: true,
    };
    case.holds().await;
}

#[tokio::test]
async fn a_chain_asks_at_each_link() {
    let google = Google::start().await;
    let content = impersonated(&google, key_file(&google));
    let (_directory, path) = file(content.to_string());
    let builder = adc(&google, google.options()).credential_file(path);
    let source = builder.impersonate("via@demo.example, last@demo.example").build().unwrap();
    let token = source.fetch(&audience(AUDIENCE)).await.unwrap();
    assert_eq!(token.audience().as_str(), AUDIENCE);
    let posted = google.posted();
    let paths: Vec<_> = posted.iter().map(|body| body["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "/token",
            &format!("/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"),
            "/v1/projects/-/serviceAccounts/last@demo.example:generateIdToken",
        ]
    );
    let delegates = json!(["projects/-/serviceAccounts/1122", "projects/-/serviceAccounts/a@b.c"]);
    assert_eq!(posted[1]["delegates"], delegates);
    assert_eq!(posted[2]["delegates"], json!(["projects/-/serviceAccounts/via@demo.example"]));
    assert_eq!(posted[2]["includeEmail"], json!(true));
    assert!(google.last().1["authorization"].to_str().unwrap().starts_with("Bearer ya29."));
    // The access tokens are kept: another audience costs one more request.
    source.fetch(&audience("https://other.example")).await.unwrap();
    assert_eq!(google.count(), 4);
    // 401: the next call brings another access token.
    google.then_says(GENERATE, 401, "no");
    source.fetch(&audience(AUDIENCE)).await.unwrap_err();
    source.fetch(&audience(AUDIENCE)).await.unwrap();
    assert_eq!(google.count(), 7);
}

#[tokio::test]
async fn an_account_may_be_given_by_its_full_name() {
    let google = Google::start().await;
    let name = format!("projects/-/serviceAccounts/{TARGET}");
    let source = adc(&google, google.options()).impersonate(name).build().unwrap();
    source.fetch(&audience(AUDIENCE)).await.unwrap();
    let path = format!("/v1/projects/-/serviceAccounts/{TARGET}:generateIdToken");
    assert_eq!(google.posted().last().unwrap()["path"], path.as_str());
}

#[tokio::test]
async fn a_missing_role_is_named() {
    let google = Google::start().await;
    let body =
        r#"{"error":{"code":403,"message":"Permission denied","status":"PERMISSION_DENIED"}}"#;
    google.then_says(GENERATE, 403, body);
    let source = with_file(&google, google.options(), &impersonated(&google, key_file(&google)));
    let text = source.fetch(&audience(AUDIENCE)).await.unwrap_err().to_string();
    for part in
        ["PERMISSION_DENIED: Permission denied", "serviceAccountTokenCreator", TARGET, "taken"]
    {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_login_gives_tokens_for_its_client_alone_and_says_so() {
    let google = Google::start().await;
    let source = with_file(&google, google.options(), &login(&google));
    assert_eq!(source.client_id().unwrap().as_str(), CLIENT_ID);
    let error = source.fetch(&audience(AUDIENCE)).await.unwrap_err();
    assert!(!error.is_retryable());
    for part in [CLIENT_ID, "--impersonate-service-account", "--audience-from-client-id"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(google.count(), 0);
    google.then_says("/token", 400, r#"{"error":"invalid_grant"}"#);
    let error = source.fetch(&audience(CLIENT_ID)).await.unwrap_err();
    assert!(error.to_string().contains("gcloud auth application-default login"), "{error}");
    let text = shown(&error);
    assert!(!text.contains("s3cret") && !text.contains("1//refresh"), "{text}");
}

#[tokio::test]
async fn the_order_is_googles() {
    let google = Google::start().await;
    let (_a, named) = file(key_file(&google).to_string());
    let (_b, gcloud) = file(login(&google).to_string());
    let build = |builder: ApplicationDefaultBuilder| builder.build().unwrap();
    let plain = || adc(&google, google.options());

    let found = build(plain().credential_file(&named).gcloud_file(&gcloud));
    assert_eq!((found.kind(), found.steps().len()), (CredentialKind::ServiceAccount, 1));
    let found = build(plain().gcloud_file(&gcloud));
    assert_eq!((found.kind(), found.steps().len()), (CredentialKind::AuthorizedUser, 2));
    let found = build(plain().gcloud_file("/no/such/file"));
    assert_eq!((found.kind(), found.steps().len()), (CredentialKind::Metadata, 2));
    // A service's user with /dev/null for a home has no login.
    let below_a_file = named.join(".config/gcloud/application_default_credentials.json");
    let found = build(plain().gcloud_file(below_a_file));
    assert_eq!((found.kind(), found.steps().len()), (CredentialKind::Metadata, 2));
    let only = CredentialKind::AuthorizedUser;
    let found = build(plain().credential_file(&named).gcloud_file(&gcloud).only(only));
    assert_eq!((found.kind(), found.steps().len()), (only, 2));
    let found =
        build(plain().credential_file(&named).gcloud_file(&gcloud).only(CredentialKind::Metadata));
    assert_eq!(found.kind(), CredentialKind::Metadata);
    let error = plain().gcloud_file("/no/such/file").only(only).build().unwrap_err().to_string();
    assert!(error.contains("of the kind authorized_user"), "{error}");
    assert!(
        error.contains("CREDENTIALS: not set; gcloud's login /no/such/file: no such"),
        "{error}"
    );
}

#[tokio::test]
async fn a_broken_file_is_never_passed_over() {
    let google = Google::start().await;
    let plain = || adc(&google, google.options());
    let error = plain().credential_file("/no/key.json").build().unwrap_err().to_string();
    assert_eq!(error, "/no/key.json: no such file");
    let wrong = |change: fn(&mut Value)| {
        let mut content = impersonated(&google, login(&google));
        change(&mut content);
        let (_directory, path) = file(content.to_string());
        plain().gcloud_file(path).build().unwrap_err().to_string()
    };
    let table: [(fn(&mut Value), &str, &str); 8] = [
        (|c| c["type"] = "x".into(), "\"type\"", "impersonated_service_account"),
        (|c| c["source_credentials"] = Value::Null, "\"source_credentials\"", "missing"),
        (|c| c["source_credentials"]["type"] = 5.into(), "\"source_credentials.type\"", "a number"),
        (
            |c| c["source_credentials"]["refresh_token"] = Value::Null,
            "\"source_credentials.refresh_token\"",
            "missing",
        ),
        (
            |c| c["source_credentials"]["token_uri"] = "http://x.example/".into(),
            "\"source_credentials.token_uri\"",
            "https://",
        ),
        (|c| c["delegates"] = json!([5]), "\"delegates\"", "list of texts"),
        (
            |c| c["service_account_impersonation_url"] = "https://x/y".into(),
            "\"service_account_impersonation_url\"",
            ":generateAccessToken",
        ),
        (
            |c| {
                let url =
                    "http://iamcredentials.googleapis.com/v1/serviceAccounts/a@b:generateIdToken";
                c["service_account_impersonation_url"] = url.into();
            },
            "\"service_account_impersonation_url\"",
            "https://",
        ),
    ];
    for (change, place, what) in table {
        let text = wrong(change);
        assert!(text.contains(place) && text.contains(what), "{place} {what}: {text}");
        assert!(!text.contains("s3cret") && !text.contains("1//"), "{text}");
    }
    let error = plain().impersonate("../x").build().unwrap_err();
    assert!(error.is_about_impersonation() && error.to_string().contains("no service account"));
    let options = google.options().iam_credentials_url("http://x.example".parse().unwrap());
    adc(&google, options).impersonate(TARGET).build().unwrap_err();
}

#[tokio::test]
async fn the_metadata_server_says_what_was_looked_at_before_it() {
    let google = Google::start().await;
    google.then_status(404);
    let source = adc(&google, google.options()).gcloud_file("/no/file").build().unwrap();
    let cache = IdTokenCache::new(source, google.clock());
    let error = cache.token(&audience(AUDIENCE)).await.unwrap_err();
    assert_eq!(error.before().len(), 2);
    let text = error.to_string();
    assert!(text.contains("404") && text.contains("(before it: GOOGLE_APPLICATION_"), "{text}");
    cache.token(&audience(AUDIENCE)).await.unwrap();
}
