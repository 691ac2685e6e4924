//! Cloud Run's front end over real sockets: who is let in, what is answered, and what reaches the container.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use countersign::clock::ManualClock;
use countersign::emulator::{
    AuthorizationHandling, BadToken, Emulator, FrontEnd, FrontEndSpec, Ingress, TokenFormat,
    TokenSpec,
};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::client;

const AUDIENCE: &str = "https://called.demo";
const CALLER: &str = "serviceAccount:caller@demo.iam.gserviceaccount.com";

/// A container: `/echo` streams the body back, everything else says what it was asked.
async fn container() -> SocketAddr {
    let app = Router::new()
        .route(
            "/echo",
            axum::routing::post(async |request: Request| Body::new(request.into_body())),
        )
        .route("/hang", axum::routing::any(async || std::future::pending::<()>().await))
        .route(
            "/teapot",
            axum::routing::any(async || {
                (StatusCode::IM_A_TEAPOT, [("x-mine", "1"), ("server", "me")])
            }),
        )
        .fallback(async |request: Request| {
            let (head, _) = request.into_parts();
            axum::Json(json!({
                "method": head.method.as_str(),
                "target": head.uri.to_string(),
                "version": format!("{:?}", head.version),
                "headers": lines(&head.headers),
            }))
        });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

async fn spec() -> FrontEndSpec {
    FrontEndSpec::new("called").backend(container().await).custom_audience(AUDIENCE).invoker(CALLER)
}

async fn send(front_end: &FrontEnd, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = client().get(format!("{}{path}", front_end.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn status(front_end: &FrontEnd, token: &str) -> StatusCode {
    send(front_end, "/", &[("authorization", &format!("Bearer {token}"))]).await.status()
}

fn reason(front_end: &FrontEnd) -> String {
    front_end.decisions().last().unwrap().reason.clone()
}

fn stripped(token: &str) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap();
    format!("bearer {signed}.SIGNATURE_REMOVED_BY_GOOGLE")
}

#[tokio::test]
async fn refusals_are_cloud_runs_pages() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(spec().await).await.unwrap();

    let none = send(&front_end, "/", &[]).await;
    assert_eq!(none.status(), StatusCode::FORBIDDEN);
    assert!(none.headers().get("www-authenticate").is_none());
    assert_eq!(none.headers()["content-type"], "text/html; charset=UTF-8");
    assert_eq!(none.headers()["server"], "Google Frontend");
    let page = "<html><head>\n<meta http-equiv=\"content-type\" content=\"text/html;charset=utf-8\">\n<title>403 Forbidden</title>\n</head>\n<body text=#000000 bgcolor=#ffffff>\n<h1>Error: Forbidden</h1>\n<h2>Your client does not have permission to get URL <code>/</code> from this server.</h2>\n<h2></h2>\n</body></html>";
    let no_token = none.text().await.unwrap();
    assert_eq!(no_token.trim_end(), page);

    let bad = send(&front_end, "/x?secret=1", &[("authorization", "Bearer a.b.c")]).await;
    assert_eq!(bad.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        bad.headers()["www-authenticate"],
        r#"Bearer error="invalid_token" error_description="The access token could not be verified""#
    );
    let text = bad.text().await.unwrap();
    assert!(text.contains("<h1>Error: Unauthorized</h1>"), "{text}");
    assert!(
        text.contains("does not have permission to the requested URL <code>/x</code>."),
        "{text}"
    );

    let stranger =
        TokenSpec::for_audience(AUDIENCE).account("stranger@demo.iam.gserviceaccount.com");
    let authorization = format!("Bearer {}", emulator.mint(&stranger));
    let no_role = send(&front_end, "/", &[("authorization", &authorization)]).await;
    assert_eq!(no_role.status(), StatusCode::FORBIDDEN);
    assert_eq!(no_role.text().await.unwrap(), no_token, "the page does not say which");

    let decisions = front_end.decisions();
    let reasons: Vec<&str> = decisions.iter().map(|decision| decision.reason.as_str()).collect();
    assert_eq!(reasons, ["no token", "not a token", "no invoker role"]);
    assert_eq!(decisions[1].path, "/x");
    assert_eq!(
        decisions[2].principal.as_deref(),
        Some("serviceAccount:stranger@demo.iam.gserviceaccount.com")
    );
    assert!(decisions.iter().all(|decision| !decision.let_in));
    assert!(front_end.received().is_empty());
}

#[tokio::test]
async fn what_is_refused_and_why() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(spec().await).await.unwrap();
    let good = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    assert_eq!(status(&front_end, &good).await, StatusCode::OK);
    assert_eq!(reason(&front_end), "invoker");
    for (bad, why) in [
        (BadToken::AccessToken, "access token"),
        (BadToken::Expired, "expired"),
        (BadToken::NotYetValid, "not yet valid"),
        (BadToken::IssuedInTheFuture, "not yet valid"),
        (BadToken::WrongAudience, "wrong audience"),
        (BadToken::AudienceWithQuery, "wrong audience"),
        (BadToken::AudienceTrailingSlash, "wrong audience"),
        (BadToken::AudienceArrayOfTwo, "audience"),
        (BadToken::WrongIssuer, "issuer"),
        (BadToken::IssuerArray, "issuer"),
        (BadToken::ForgedSameKid, "signature"),
        (BadToken::SignatureRemovedByGoogle, "signature"),
        (BadToken::StrippedForged, "signature"),
        (BadToken::UnknownKid, "unknown key"),
        (BadToken::AlgNone, "algorithm"),
        (BadToken::AlgHs256WithPublicPem, "algorithm"),
        (BadToken::NoExpiry, "no expiry"),
        (BadToken::Oversized, "token too long"),
        (BadToken::FivePartsJwe, "not a token"),
    ] {
        let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(bad));
        assert_eq!(status(&front_end, &token).await, StatusCode::UNAUTHORIZED, "{bad}");
        assert_eq!(reason(&front_end), why, "{bad}");
    }
    for headers in [
        [("authorization", format!("Bearer {good}")), ("authorization", format!("Bearer {good}"))],
        [("authorization", format!("Bearer {good}, Bearer {good}")), ("x-other", "1".to_owned())],
        [("authorization", "Basic YTpi".to_owned()), ("x-other", "1".to_owned())],
    ] {
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(send(&front_end, "/", &headers).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(front_end.received().len(), 1);
}

#[tokio::test]
async fn nothing_that_google_did_not_sign_gets_through() {
    let emulator = Emulator::start().await.unwrap();
    // Everybody with a token of Google's: only the token itself can be what is refused.
    let open_to_all = spec().await.invoker("allAuthenticatedUsers");
    let front_end = emulator.front_end(open_to_all).await.unwrap();
    // Signed by Google's own key: odd, and not forged.
    let odd = [
        BadToken::NotBeforeAsString,
        BadToken::NoIssuedAt,
        BadToken::LifetimeOver24h,
        BadToken::EmailUnverified,
        BadToken::EmailVerifiedAsString,
        BadToken::NoEmail,
        BadToken::DuplicateClaim,
        BadToken::DuplicateEscapedClaim,
        BadToken::DuplicateNestedClaim,
        BadToken::DuplicateHeader,
        BadToken::Crit,
        BadToken::B64False,
        BadToken::Zip,
    ];
    for bad in BadToken::ALL.iter().filter(|bad| !odd.contains(bad)) {
        let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(*bad));
        let answer = status(&front_end, &token).await;
        assert_eq!(answer, StatusCode::UNAUTHORIZED, "{bad}: {}", reason(&front_end));
    }
    assert!(front_end.received().is_empty());
}

#[tokio::test]
async fn the_second_header_decides_alone_and_loses_its_signature() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(spec().await).await.unwrap();
    let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    let both = [
        ("x-serverless-authorization", format!("Bearer {token}")),
        ("authorization", format!("Bearer {token}")),
    ];
    let both = both.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(send(&front_end, "/", &both).await.status(), StatusCode::OK);
    let received = front_end.received().pop().unwrap();
    assert_eq!(received.header("x-serverless-authorization"), Some(stripped(&token).as_str()));
    assert_eq!(received.header("authorization"), Some(format!("Bearer {token}").as_str()));

    // Anything at all may be in the other one.
    let foreign = [both[0], ("authorization", "Basic Zm9vOmJhcg==")];
    assert_eq!(send(&front_end, "/", &foreign).await.status(), StatusCode::OK);
    assert_eq!(
        front_end.received().pop().unwrap().header("authorization"),
        Some("Basic Zm9vOmJhcg==")
    );

    // No fallback.
    let bad = [("x-serverless-authorization", "Bearer a.b.c"), both[1]];
    assert_eq!(send(&front_end, "/", &bad).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(front_end.received().len(), 2);
}

#[tokio::test]
async fn authorization_alone_is_intact_or_stripped_by_a_switch() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(spec().await).await.unwrap();
    let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    let authorization =
        || front_end.received().pop().unwrap().header("authorization").map(str::to_owned);
    status(&front_end, &token).await;
    assert_eq!(authorization(), Some(format!("Bearer {token}")));
    front_end.set_authorization(AuthorizationHandling::Stripped);
    status(&front_end, &token).await;
    assert_eq!(authorization(), Some(stripped(&token)));
}

#[tokio::test]
async fn a_persons_token_is_always_stripped() {
    let emulator = Emulator::start().await.unwrap();
    let front_end =
        emulator.front_end(spec().await.invoker("user:alice@example.com")).await.unwrap();
    let token = emulator.mint(&TokenSpec::for_person("alice@example.com"));
    assert_eq!(
        status(&front_end, &token).await,
        StatusCode::OK,
        "gcloud's client id is an audience"
    );
    let received = front_end.received().pop().unwrap();
    assert_eq!(received.header("authorization"), Some(stripped(&token).as_str()));
    assert_eq!(
        front_end.decisions().pop().unwrap().principal.as_deref(),
        Some("user:alice@example.com")
    );
    let bob = emulator.mint(&TokenSpec::for_person("bob@example.com"));
    assert_eq!(status(&front_end, &bob).await, StatusCode::FORBIDDEN);
    // The client id is an audience of people only.
    let robot = emulator.mint(&TokenSpec::for_audience(countersign::emulator::GCLOUD_CLIENT_ID));
    assert_eq!(status(&front_end, &robot).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_open_service_gets_everything_untouched() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(spec().await.open()).await.unwrap();
    assert_eq!(send(&front_end, "/", &[]).await.status(), StatusCode::OK);
    let forged = emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(BadToken::StrippedForged));
    let forged = format!("bearer {forged}");
    let headers = [("authorization", "Bearer a.b.c"), ("x-serverless-authorization", &forged)];
    assert_eq!(send(&front_end, "/", &headers).await.status(), StatusCode::OK);
    let received = front_end.received().pop().unwrap();
    assert_eq!(received.header("authorization"), Some("Bearer a.b.c"));
    assert_eq!(received.header("x-serverless-authorization"), Some(forged.as_str()));
    assert_eq!(reason(&front_end), "no invoker check");

    front_end.set_open(false);
    assert_eq!(send(&front_end, "/", &[]).await.status(), StatusCode::FORBIDDEN);
    front_end.grant("allUsers").unwrap();
    assert_eq!(send(&front_end, "/", &[]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn audiences_are_the_services_urls_and_the_custom_ones() {
    let emulator =
        Emulator::builder().project_number(42).region("europe-west1").start().await.unwrap();
    let front_end = emulator.front_end(spec().await).await.unwrap();
    let audiences = front_end.audiences();
    assert_eq!(audiences[0], front_end.url());
    assert_eq!(audiences[1], "https://called-42.europe-west1.run.app");
    assert!(
        audiences[2].starts_with("https://called-") && audiences[2].ends_with("-ew.a.run.app"),
        "{}",
        audiences[2]
    );
    assert_eq!(audiences[3], AUDIENCE);
    for audience in &audiences {
        let token = emulator.mint(&TokenSpec::for_audience(audience));
        assert_eq!(status(&front_end, &token).await, StatusCode::OK, "{audience}");
    }
    for audience in
        ["https://tag---called-42.europe-west1.run.app", "HTTPS://CALLED.DEMO", "called.demo", ""]
    {
        let token = emulator.mint(&TokenSpec::for_audience(audience));
        assert_eq!(status(&front_end, &token).await, StatusCode::UNAUTHORIZED, "{audience}");
    }
    let long = "a".repeat(49);
    let named = emulator.front_end(FrontEndSpec::new(&long)).await.unwrap();
    assert_eq!(named.audiences().len(), 3, "42 still fits behind 49 letters");
}

#[tokio::test]
async fn bindings_decide_and_basic_roles_override_them() {
    let emulator = Emulator::builder()
        .project_owner("user:owner@example.com")
        .project_editor("serviceAccount:editor@demo.iam.gserviceaccount.com")
        .start()
        .await
        .unwrap();
    let front_end = emulator
        .front_end(FrontEndSpec::new("called").backend(container().await).custom_audience(AUDIENCE))
        .await
        .unwrap();
    let token = |email: &str| emulator.mint(&TokenSpec::for_audience(AUDIENCE).account(email));
    let caller = token("caller@demo.iam.gserviceaccount.com");

    assert_eq!(status(&front_end, &caller).await, StatusCode::FORBIDDEN);
    front_end.grant(CALLER).unwrap();
    assert_eq!(status(&front_end, &caller).await, StatusCode::OK);
    assert_eq!(front_end.invokers(), [(CALLER.to_owned(), None)]);
    assert!(front_end.revoke(CALLER).unwrap());
    assert_eq!(status(&front_end, &caller).await, StatusCode::FORBIDDEN);

    assert_eq!(
        status(&front_end, &token("editor@demo.iam.gserviceaccount.com")).await,
        StatusCode::OK
    );
    assert_eq!(reason(&front_end), "project editor");
    assert_eq!(status(&front_end, &token("owner@example.com")).await, StatusCode::OK);
    assert_eq!(reason(&front_end), "project owner");

    let alice = token("alice@example.com");
    front_end.grant("domain:example.com").unwrap();
    assert_eq!(status(&front_end, &alice).await, StatusCode::OK);
    front_end.revoke("domain:example.com").unwrap();
    front_end.grant("user:caller@demo.iam.gserviceaccount.com").unwrap();
    assert_eq!(status(&front_end, &caller).await, StatusCode::FORBIDDEN, "another kind of member");
    front_end.grant("allAuthenticatedUsers").unwrap();
    assert_eq!(status(&front_end, &alice).await, StatusCode::OK);
    let nameless = TokenSpec::for_audience(AUDIENCE).format(TokenFormat::Standard);
    assert_eq!(status(&front_end, &emulator.mint(&nameless)).await, StatusCode::OK);

    let error = front_end.grant("group:team@example.com").unwrap_err().to_string();
    assert!(error.starts_with("member: found `group:team@example.com`"), "{error}");
}

#[tokio::test]
async fn a_grant_can_take_effect_late() {
    let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    let emulator = Emulator::builder().clock(clock.clone()).start().await.unwrap();
    let front_end = emulator
        .front_end(FrontEndSpec::new("called").backend(container().await).custom_audience(AUDIENCE))
        .await
        .unwrap();
    front_end.grant_after(CALLER, 120).unwrap();
    assert_eq!(front_end.invokers(), [(CALLER.to_owned(), Some(1_700_000_120))]);
    let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    clock.advance(Duration::from_secs(119));
    assert_eq!(status(&front_end, &token).await, StatusCode::FORBIDDEN);
    clock.advance(Duration::from_secs(1));
    assert_eq!(status(&front_end, &token).await, StatusCode::OK);
    emulator.set_clock_offset(3600);
    assert_eq!(status(&front_end, &token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(reason(&front_end), "expired");
}

#[tokio::test]
async fn withdrawn_keys_open_nothing() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(spec().await).await.unwrap();
    let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    emulator.rotate_keys().await.unwrap();
    assert_eq!(status(&front_end, &token).await, StatusCode::OK, "rotated with overlap");
    emulator.rotate_keys_abruptly().await.unwrap();
    assert_eq!(status(&front_end, &token).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn some_paths_and_inner_services_are_not_found() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(spec().await.open()).await.unwrap();
    for path in ["/healthz", "/statusz", "/eventlog", "/_ah/warmup"] {
        let answer = send(&front_end, path, &[]).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(answer.text().await.unwrap().contains("was not found on this server"));
    }
    assert_eq!(send(&front_end, "/health/live", &[]).await.status(), StatusCode::OK);
    front_end.set_ingress(Ingress::Internal);
    assert_eq!(send(&front_end, "/", &[]).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(reason(&front_end), "internal ingress");
}

#[tokio::test]
async fn what_cloud_run_adds_and_what_it_leaves() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(spec().await.open()).await.unwrap();
    let headers = [("host", "called.example"), ("x-forwarded-for", "203.0.113.7"), ("x-mine", "1")];
    let seen: Value = send(&front_end, "/a%2Fb/../c?d=e&f", &headers).await.json().await.unwrap();
    assert_eq!(seen["method"], "GET");
    let lines: Vec<&str> =
        seen["headers"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    for line in [
        "host: called.example",
        "x-forwarded-for: 203.0.113.7, 127.0.0.1",
        "x-forwarded-proto: https",
        "forwarded: for=\"127.0.0.1\";proto=https",
        "x-mine: 1",
    ] {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
    let value =
        |name: &str| lines.iter().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
    let traceparent: Vec<&str> = value("traceparent").split('-').collect();
    let (trace, rest) = value("x-cloud-trace-context").split_once('/').unwrap();
    assert_eq!(traceparent[1], trace);
    assert_eq!(
        u64::from_str_radix(traceparent[2], 16).unwrap(),
        rest.strip_suffix(";o=1").unwrap().parse::<u64>().unwrap()
    );

    let answer = send(&front_end, "/teapot", &[]).await;
    assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(answer.headers()["x-mine"], "1");
    assert_eq!(answer.headers()["server"], "Google Frontend");
    assert_eq!(front_end.decisions().pop().unwrap().status, 418);
}

/// Paths go through byte for byte: reqwest would tidy them up, so this speaks HTTP by hand.
async fn by_hand(host: &str, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn targets_go_through_byte_for_byte() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(spec().await.open()).await.unwrap();
    for target in ["/a%2fb/../c?d=e&f", "//double//slash", "/?", "/a;b=c/%00"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = by_hand(&front_end.host(), &request).await;
        assert!(answer.contains(&format!("\"target\":\"{target}\"")), "{answer}");
    }
    let request = "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = by_hand(&front_end.host(), request).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn bodies_are_streamed_both_ways_at_once() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(spec().await.open()).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(front_end.host()).await.unwrap();
    let head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = String::new();
    for word in ["first", "second", "third"] {
        let chunk = format!("{:x}\r\n{word}\r\n", word.len());
        stream.write_all(chunk.as_bytes()).await.unwrap();
        // The echo of each part comes before the next part is sent: nobody waits for the whole body.
        while !seen.contains(word) {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "closed after {seen}");
            seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    stream.read_to_string(&mut seen).await.unwrap();
    assert!(seen.ends_with("0\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn containers_that_are_not_there_are_503_and_slow_ones_504() {
    let emulator = Emulator::start().await.unwrap();
    let front_end = emulator.front_end(FrontEndSpec::new("called").open()).await.unwrap();
    let answer = send(&front_end, "/", &[]).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().await.unwrap().contains("Please try again in 30 seconds"));

    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    front_end.set_backend(gone).unwrap();
    assert_eq!(send(&front_end, "/", &[]).await.status(), StatusCode::SERVICE_UNAVAILABLE);

    let container = container().await;
    front_end.set_backend(container).unwrap();
    assert_eq!(send(&front_end, "/", &[]).await.status(), StatusCode::OK);

    let impatient = FrontEndSpec::new("impatient")
        .open()
        .backend(container)
        .request_timeout(Duration::from_millis(50));
    let front_end = emulator.front_end(impatient).await.unwrap();
    assert_eq!(send(&front_end, "/hang", &[]).await.status(), StatusCode::GATEWAY_TIMEOUT);
    let last = front_end.decisions().pop().unwrap();
    assert!(last.let_in && last.status == 504);
}

#[tokio::test]
async fn http2_goes_through_end_to_end() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let app = Router::new().fallback(async |request: Request| format!("{:?}", request.version()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(app.clone());
            tokio::spawn(async move {
                let builder =
                    hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).http2_only();
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let emulator = Emulator::start().await.unwrap();
    let spec = FrontEndSpec::new("called").backend(address).open().http2();
    let front_end = emulator.front_end(spec).await.unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let answer = client.get(front_end.url()).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), "HTTP/2.0");
    assert_eq!(front_end.received().pop().unwrap().header("host"), Some(front_end.host().as_str()));
}

#[tokio::test]
async fn specifications_that_cannot_be_met_are_refused_by_field() {
    let emulator = Emulator::start().await.unwrap();
    let refused =
        async |spec: FrontEndSpec| emulator.front_end(spec).await.unwrap_err().to_string();
    assert!(refused(FrontEndSpec::new("Called")).await.starts_with("service: found `Called`"));
    assert!(refused(FrontEndSpec::new("")).await.starts_with("service: "));
    let outside = FrontEndSpec::new("called").backend("192.0.2.1:80".parse().unwrap());
    assert!(refused(outside).await.starts_with("backend: found `192.0.2.1:80`"));
    assert!(
        refused(FrontEndSpec::new("called").invoker("group:a@b.c")).await.starts_with("member: ")
    );
    emulator.front_end(FrontEndSpec::new("called")).await.unwrap();
    assert!(refused(FrontEndSpec::new("called")).await.contains("no other front end"));
}
