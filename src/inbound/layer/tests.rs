//! Over real sockets: an axum router behind the layers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::Value;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::inbound::testing::{AUDIENCE, Answer, CALLER, KeyServer, NOW, Signer, claims, with};
use crate::inbound::{Principal, SignatureCheck, VerifierBuilder};

struct Bench {
    signer: Signer,
    keys: KeyServer,
    clock: Arc<ManualClock>,
    address: SocketAddr,
    client: reqwest::Client,
}

fn policy(members: &[&str]) -> Policy {
    Policy::new(members.iter().map(|member| member.parse().unwrap())).unwrap()
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn router() -> Router {
    let admin = policy(&["serviceAccount:admin@demo.iam.gserviceaccount.com"]);
    Router::new()
        .route("/admin", get(|| async { "admin" }))
        .route_layer(Allow::new(admin))
        .route("/whoami", get(|principal: Principal| async move { principal.name().to_owned() }))
        .route(
            "/maybe",
            get(|principal: Option<Principal>| async move {
                principal.map_or_else(|| "nobody".to_owned(), |who| who.name().to_owned())
            }),
        )
        .route("/echo", post(|body: String| async move { body }))
}

impl Bench {
    async fn new(members: &[&str]) -> Self {
        Self::with(members, |builder| builder).await
    }

    async fn with(
        members: &[&str],
        adapt: impl FnOnce(VerifierBuilder) -> VerifierBuilder,
    ) -> Self {
        let signer = Signer::new("a");
        let keys = KeyServer::start([Answer::keys(&[&signer])]).await;
        let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
        let verifier = Verifier::builder()
            .audience(AUDIENCE.parse().unwrap())
            .key_url(keys.url())
            .clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let verifier = adapt(verifier).build().unwrap();
        let layer = Authenticate::new(verifier, policy(members)).unwrap();
        let address = serve(router().layer(layer)).await;
        let client = crate::http_client::plain(Duration::from_secs(2)).unwrap();
        Self { signer, keys, clock, address, client }
    }

    async fn get(&self, path: &str, headers: &[(&str, String)]) -> (u16, http::HeaderMap, String) {
        let mut request = self.client.get(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.text().await.unwrap())
    }

    async fn get_with(&self, path: &str, claims: &Value) -> (u16, String) {
        let (status, _, body) = self.get(path, &[self.bearer(claims)]).await;
        (status, body)
    }

    fn bearer(&self, claims: &Value) -> (&'static str, String) {
        ("authorization", format!("Bearer {}", self.signer.sign(claims)))
    }
}

fn caller() -> String {
    format!("serviceAccount:{CALLER}")
}

fn code(body: &str) -> String {
    serde_json::from_str::<Value>(body).unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_allowed_principal_comes_in_and_the_handler_knows_who() {
    let bench = Bench::new(&[&caller()]).await;
    assert_eq!(bench.get_with("/whoami", &claims()).await, (200, CALLER.to_owned()));
    assert_eq!(bench.get_with("/maybe", &claims()).await, (200, CALLER.to_owned()));
    let body = bench.client.post(format!("http://{}/echo", bench.address));
    let (name, value) = bench.bearer(&claims());
    let echo = body.header(name, value).body("x".repeat(100_000)).send().await.unwrap();
    assert_eq!(echo.text().await.unwrap().len(), 100_000);
    assert_eq!(bench.keys.requests(), 1);
}

#[tokio::test]
async fn everybody_else_is_refused_even_on_unknown_paths() {
    let bench = Bench::new(&[&caller()]).await;
    for path in ["/whoami", "/nowhere", "/admin"] {
        let (status, headers, body) = bench.get(path, &[]).await;
        assert_eq!((status, code(&body).as_str()), (401, "no_token"));
        assert_eq!(headers[WWW_AUTHENTICATE], "Bearer");
    }
    let stranger = with(claims(), "email", "other@demo.iam.gserviceaccount.com");
    let (status, body) = bench.get_with("/whoami", &stranger).await;
    assert_eq!((status, code(&body).as_str()), (403, "principal_not_allowed"));
    assert!(!body.contains("other@"), "nothing is reflected: {body}");

    let (name, good) = bench.bearer(&claims());
    let (status, _, body) = bench.get("/whoami", &[(name, good.clone()), (name, good)]).await;
    assert_eq!((status, code(&body).as_str()), (400, "several_tokens"));
    assert_eq!(bench.get_with("/nowhere", &claims()).await.0, 404);
}

#[tokio::test]
async fn tokens_elsewhere_do_not_count() {
    let bench = Bench::new(&[&caller()]).await;
    let token = bench.signer.sign(&claims());
    let bearer = format!("Bearer {token}");
    for (path, name, value) in [
        (format!("/whoami?access_token={token}"), "x-nothing", String::new()),
        ("/whoami".to_owned(), "cookie", format!("token={token}")),
        ("/whoami".to_owned(), "x-serverless-authorization", bearer.clone()),
        ("/whoami".to_owned(), "x-forwarded-authorization", bearer.clone()),
        ("/whoami".to_owned(), "proxy-authorization", bearer.clone()),
        ("/whoami".to_owned(), "x-goog-authenticated-user-email", CALLER.to_owned()),
        ("/whoami".to_owned(), "user-agent", "GoogleHC/1.0".to_owned()),
        ("/whoami".to_owned(), "x-http-method-override", "OPTIONS".to_owned()),
    ] {
        assert_eq!(bench.get(&path, &[(name, value)]).await.0, 401, "{name}");
    }
    assert_eq!(bench.keys.requests(), 0);
}

#[tokio::test]
async fn a_route_can_only_be_narrowed() {
    let admin = "serviceAccount:admin@demo.iam.gserviceaccount.com";
    let bench = Bench::new(&[&caller(), admin]).await;
    let admin_claims = with(claims(), "email", "admin@demo.iam.gserviceaccount.com");
    assert_eq!(bench.get_with("/admin", &admin_claims).await, (200, "admin".to_owned()));
    assert_eq!(bench.get_with("/admin", &claims()).await.0, 403);

    let narrow = Bench::new(&[&caller()]).await;
    assert_eq!(
        narrow.get_with("/admin", &admin_claims).await.0,
        403,
        "Allow lets nobody in by itself"
    );
}

#[tokio::test]
async fn without_the_layer_nothing_is_let_in() {
    let address = serve(router()).await;
    let client = crate::http_client::plain(Duration::from_secs(2)).unwrap();
    for path in ["/whoami", "/maybe", "/admin"] {
        let answer = client.get(format!("http://{address}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), 500, "{path}");
        assert_eq!(code(&answer.text().await.unwrap()), "authentication_layer_missing");
    }
}

#[tokio::test]
async fn all_users_come_in_without_a_token_but_not_with_a_bad_one() {
    let bench = Bench::new(&["allUsers"]).await;
    assert_eq!(bench.get("/maybe", &[]).await.2, "nobody");
    assert_eq!(bench.get("/whoami", &[]).await.0, 401, "the handler asks for somebody");
    assert_eq!(bench.get_with("/whoami", &claims()).await, (200, CALLER.to_owned()));
    let expired = with(claims(), "exp", NOW - 100);
    assert_eq!(bench.get_with("/maybe", &expired).await.0, 401);
    assert_eq!(bench.get("/maybe", &[("authorization", "Basic eA==".to_owned())]).await.0, 401);
}

#[tokio::test]
async fn no_keys_is_503_for_a_plausible_token_and_401_for_a_hopeless_one() {
    let bench = Bench::new(&[&caller()]).await;
    bench.keys.now_answers([Answer::status(500)]);
    let (status, headers, body) = bench.get("/whoami", &[bench.bearer(&claims())]).await;
    assert_eq!((status, code(&body).as_str()), (503, "no_keys"));
    assert_eq!(headers[RETRY_AFTER], "5");
    assert!(!body.contains("500"), "the reason is for the log: {body}");
    let hopeless = with(claims(), "aud", "https://other.example");
    assert_eq!(bench.get_with("/whoami", &hopeless).await.0, 401);
    assert_eq!(bench.get("/whoami", &[]).await.0, 401);

    bench.keys.now_answers([Answer::keys(&[&bench.signer])]);
    bench.clock.advance(Duration::from_secs(4));
    assert_eq!(bench.get_with("/whoami", &claims()).await.0, 200);
}

#[tokio::test]
async fn five_hundred_at_once_at_a_cold_start_share_one_fetch() {
    let bench = Arc::new(Bench::new(&[&caller()]).await);
    bench.keys.hold();
    let all: Vec<_> = (0..500)
        .map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.get_with("/whoami", &claims()).await.0 })
        })
        .collect();
    bench.keys.has_seen(1).await;
    bench.keys.release();
    for one in all {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(bench.keys.requests(), 1);
}

#[tokio::test]
async fn behind_cloud_run_a_request_without_a_token_closes_the_service() {
    let cloud_run = |builder: VerifierBuilder| builder.signature_check(SignatureCheck::CloudRun);
    let bench = Bench::with(&[&caller()], cloud_run).await;
    let (_, good) = bench.bearer(&claims());
    let stripped = format!("{}.SIGNATURE_REMOVED_BY_GOOGLE", good.rsplit_once('.').unwrap().0);
    let serverless = [("x-serverless-authorization", stripped.clone())];
    assert_eq!(bench.get("/whoami", &serverless).await.0, 200);
    let both = [("authorization", good), ("x-serverless-authorization", "Bearer x".to_owned())];
    assert_eq!(bench.get("/whoami", &both).await.0, 401, "no fallback");

    let (status, _, body) = bench.get("/nowhere", &[]).await;
    assert_eq!((status, code(&body).as_str()), (503, "iam_check_missing"));
    assert_eq!(bench.get("/whoami", &serverless).await.0, 503, "for good");
    let real = bench.bearer(&claims());
    assert_eq!(bench.get("/whoami", &[real]).await.0, 503, "signatures or not");
}

#[tokio::test]
async fn behind_cloud_run_another_scheme_closes_the_service_as_well() {
    let cloud_run = |builder: VerifierBuilder| builder.signature_check(SignatureCheck::CloudRun);
    let bench = Bench::with(&[&caller()], cloud_run).await;
    let basic = [("authorization", "Basic eDp5".to_owned())];
    let (status, headers, body) = bench.get("/whoami", &basic).await;
    assert_eq!((status, code(&body).as_str()), (503, "iam_check_missing"));
    assert!(headers.contains_key(RETRY_AFTER), "as every 503");
    let real = bench.bearer(&claims());
    assert_eq!(bench.get("/whoami", &[real]).await.0, 503);
}

#[test]
fn behind_cloud_run_an_open_policy_is_an_error() {
    for member in ["allUsers", "allAuthenticatedUsers"] {
        let verifier = Verifier::builder()
            .audience(AUDIENCE.parse().unwrap())
            .signature_check(SignatureCheck::CloudRun)
            .build()
            .unwrap();
        let error = Authenticate::new(verifier, policy(&[member])).unwrap_err();
        assert_eq!(error, AuthenticatorError::OpenBehindCloudRun { member });
    }
}

#[tokio::test]
async fn a_grpc_request_is_refused_in_its_own_words() {
    let bench = Bench::new(&[&caller()]).await;
    let grpc = ("content-type", "application/grpc".to_owned());
    let (status, headers, body) = bench.get("/x.Y/Z", &[grpc]).await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(headers["grpc-status"], "16");
    assert!(!headers.contains_key(AUTHORIZATION));
}
