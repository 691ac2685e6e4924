use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use countersign::http_client::Roots;
use countersign::outbound::{
    AuthorizeError, CalledHeaders, IdTokenCache, IdTokenClient, IdTokenClientBuilder, SendError,
};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde_json::json;

use crate::called::Called;
use crate::google::{Google, audience};
use crate::shown;

const SERVERLESS: &str = "x-serverless-authorization";

fn builder(google: &Google, url: impl Into<String>) -> IdTokenClientBuilder {
    let tokens = IdTokenCache::new(google.client().build().unwrap(), google.clock());
    IdTokenClient::builder(url, tokens)
}

fn client(google: &Google, called: &Called) -> IdTokenClient {
    builder(google, called.url()).build().unwrap()
}

#[tokio::test]
async fn a_call_carries_a_token_for_its_origin_in_both_headers() {
    let (google, called) = (Google::start().await, Called::start().await);
    let client = client(&google, &called);
    let body = json!({ "bar": "hello" });
    let response = client
        .post("/entities?x=1")
        .header(HeaderName::from_static("traceparent"), HeaderValue::from_static("00-a-b-01"))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.text().await.unwrap(), "/entities");

    let seen = called.last();
    assert_eq!((seen.method.clone(), seen.uri.to_string()), (Method::POST, "/entities?x=1".into()));
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["traceparent"], "00-a-b-01");
    assert_eq!(seen.body, body.to_string());
    let token = seen.token("authorization").unwrap();
    assert_eq!(seen.token(SERVERLESS).unwrap(), token);
    let asked = google.last().0.to_string();
    assert!(asked.contains(&format!("127.0.0.1%3A{}&", called.url().rsplit_once(':').unwrap().1)));

    client.get("").send().await.unwrap();
    assert_eq!((called.last().uri.to_string(), google.count()), ("/".into(), 1));
    assert_eq!(called.last().token("authorization").unwrap(), token);
}

#[tokio::test]
async fn references_are_resolved_as_links_are() {
    let (google, called) = (Google::start().await, Called::start().await);
    let client = builder(&google, format!("{}/base/f?v=1", called.url())).build().unwrap();
    let absolute = format!("{}/z", called.url());
    for (reference, uri) in
        [("", "/base/f?v=1"), ("g", "/base/g"), ("/h?y", "/h?y"), (absolute.as_str(), "/z")]
    {
        client.get(reference).send().await.unwrap();
        assert_eq!(called.last().uri.to_string(), uri, "{reference:?}");
    }
}

#[tokio::test]
async fn an_audience_and_a_header_can_be_chosen() {
    let (google, called) = (Google::start().await, Called::start().await);
    for (headers, set) in [
        (CalledHeaders::Both, [true, true]),
        (CalledHeaders::Authorization, [true, false]),
        (CalledHeaders::Serverless, [false, true]),
    ] {
        let client = builder(&google, called.url())
            .audience(audience("https://custom.example"))
            .called_headers(headers)
            .build()
            .unwrap();
        assert_eq!(client.authorizer().called_headers(), headers);
        client.get("/").send().await.unwrap();
        let seen = called.last();
        let found = ["authorization", SERVERLESS].map(|name| seen.token(name).is_some());
        assert_eq!(found, set, "{headers}");
        assert!(google.last().0.query().unwrap().contains("custom.example"));
    }
}

#[tokio::test]
async fn an_authorization_of_the_handler_travels_untouched() {
    let (google, called) = (Google::start().await, Called::start().await);
    let theirs = HeaderValue::from_static("Bearer of-an-end-user");
    let request = client(&google, &called).get("/").header(AUTHORIZATION, theirs.clone());
    let text = format!("{request:?}");
    assert!(text.contains("127.0.0.1") && !text.contains("of-an-end-user"), "{text}");
    request.send().await.unwrap();
    let seen = called.last();
    assert_eq!(seen.token("authorization").unwrap(), "of-an-end-user");
    assert!(seen.token(SERVERLESS).unwrap().starts_with("eyJ"));

    let client = builder(&google, called.url())
        .called_headers(CalledHeaders::Authorization)
        .build()
        .unwrap();
    let error = client.get("/").header(AUTHORIZATION, theirs).send().await.unwrap_err();
    assert!(matches!(error, SendError::Authorize(AuthorizeError::AuthorizationTaken)), "{error}");
    assert_eq!(called.count(), 1);
}

#[tokio::test]
async fn no_other_origin_gets_a_request_or_causes_a_fetch() {
    let (google, called, evil) =
        (Google::start().await, Called::start().await, Called::start().await);
    let client = client(&google, &called);
    let (own, other) = (called.url(), evil.url());
    let authority = |url: &str| url.trim_start_matches("http://").to_owned();
    for reference in [
        other.clone(),
        format!("//{}/x", authority(&other)),
        format!("\\\\{}/x", authority(&other)),
        format!("http://{}@{}/", authority(&own).replace(':', "%3A"), authority(&other)),
        own.replace("http://", "http://user@"),
        own.replace("http://", "https://"),
        own.replace("127.0.0.1", "localhost"),
        "https://a.run.app/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let error = client.get(&reference).send().await.unwrap_err();
        assert!(
            matches!(
                error,
                SendError::Authorize(AuthorizeError::OtherOrigin { .. }) | SendError::Uri { .. }
            ),
            "{reference}: {error:?}"
        );
        assert!(!error.to_string().contains("user@"), "{error}");
    }
    assert_eq!((evil.count(), called.count(), google.count()), (0, 0, 0));
}

#[tokio::test]
async fn authorize_signs_for_other_clients() {
    let (google, called) = (Google::start().await, Called::start().await);
    let client = client(&google, &called);
    let mut headers = HeaderMap::new();
    let uri: Uri = format!("{}/x", called.url()).parse().unwrap();
    client.authorize(&uri, &mut headers).await.unwrap();
    assert_eq!(headers.len(), 2);
    let text = format!("{headers:?}");
    assert!(headers.values().all(HeaderValue::is_sensitive) && !text.contains("eyJ"), "{text}");

    let mut headers = HeaderMap::new();
    let relative = Uri::from_static("/x");
    let error = client.authorize(&relative, &mut headers).await.unwrap_err();
    assert!(error.to_string().contains("a relative URI"), "{error}");
    assert!(headers.is_empty());
}

#[tokio::test]
async fn a_redirect_is_handed_over_and_not_followed() {
    let (google, called, evil) =
        (Google::start().await, Called::start().await, Called::start().await);
    let client = client(&google, &called);
    let response = client.get(&format!("/to?{}/", evil.url())).send().await.unwrap();
    assert_eq!(response.status(), 307);
    assert_eq!(evil.count(), 0);
}

/// Google's front ends choose the service by `Host`, behind one certificate for all of `*.run.app`: a `Host` copied from an
/// incoming request would carry the token to whatever service it names.
#[tokio::test]
async fn a_host_header_does_not_turn_a_request_aside() {
    let (google, called) = (Google::start().await, Called::start().await);
    let client = client(&google, &called);
    let own = called.url().strip_prefix("http://").unwrap().to_owned();
    let evil = HeaderValue::from_static("evil-1.europe-west1.run.app");
    let send = |hosts: Vec<HeaderValue>| {
        hosts.into_iter().fold(client.get("/"), |request, host| request.header(HOST, host)).send()
    };
    for hosts in [
        vec![evil.clone()],
        vec![own.parse().unwrap(), evil.clone()],
        vec![HeaderValue::from_static("")],
        vec![HeaderValue::from_static("127.0.0.1:1")],
        vec![format!("u@{own}").parse().unwrap()],
        vec![HeaderValue::from_bytes(b"\xff").unwrap()],
    ] {
        let error = send(hosts.clone()).await.unwrap_err();
        let other = matches!(error, SendError::Authorize(AuthorizeError::OtherHost { .. }));
        assert!(other, "{hosts:?}: {error:?}");
        assert!(error.to_string().contains("Host"), "{error}");
    }
    assert_eq!((google.count(), called.count()), (0, 0));
    send(vec![own.parse().unwrap()]).await.expect("its own name is no other");
}

/// threats.md row 22: never an unauthenticated call.
#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let (google, called) = (Google::start().await, Called::start().await);
    google.then_status(404);
    let client = client(&google, &called);
    let error = client.get("/?secret=1").send().await.unwrap_err();
    let SendError::Authorize(authorize) = &error else { panic!("{error:?}") };
    assert!(!authorize.is_retryable());
    let text = error.to_string();
    assert!(text.contains("audience") && text.contains("--service-account"), "{text}");
    assert!(!shown(&error).contains("secret"));
    assert_eq!(called.count(), 0);

    client.get("/").send().await.expect("the next call tries again");
}

#[tokio::test]
async fn the_deadline_holds_for_the_token_and_for_the_answer() {
    let (google, called) = (Google::start().await, Called::start().await);
    let client = client(&google, &called);
    google.hold();
    let short = Duration::from_millis(50);
    let error = client.get("/slow?secret=1").deadline(short).send().await.unwrap_err();
    assert!(matches!(error, SendError::TimedOut { .. }), "{error:?}");
    assert_eq!(called.count(), 0);

    google.release();
    client.get("/").send().await.unwrap();
    called.hold();
    let error = client.get("/slow?secret=1").deadline(short).send().await.unwrap_err();
    assert!(matches!(error, SendError::TimedOut { .. }), "{error:?}");
    let expected = format!("GET {}/slow: no answer within 50 ms", called.url());
    assert_eq!(error.to_string(), expected);
    assert!(!shown(&error).contains("secret") && !shown(&error).contains("eyJ"));
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named() {
    let google = Google::start().await;
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = builder(&google, format!("http://{address}")).build().unwrap();
    let error = client.get("/x?secret=1").send().await.unwrap_err();
    assert!(matches!(error, SendError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("{address}/x")), "{error}");
    let text = shown(&error);
    assert!(
        text.contains("refused") && !text.contains("secret") && !text.contains("eyJ"),
        "{text}"
    );
}

#[tokio::test]
async fn what_cannot_be_sent_is_an_error_and_no_panic() {
    let (google, called) = (Google::start().await, Called::start().await);
    let client = client(&google, &called);
    let error = client.get("http://u:secret@[::1/?secret=1").send().await.unwrap_err();
    assert!(matches!(error, SendError::Reference { .. }), "{error:?}");
    assert!(!error.to_string().contains("secret"), "{error}");

    let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = client.post("/").json(&odd).send().await.unwrap_err();
    assert!(matches!(error, SendError::Request { .. }), "{error:?}");
    assert_eq!(called.count(), 0);
}

#[tokio::test]
async fn a_client_is_not_built_for_what_cannot_be_called_safely() {
    let google = Google::start().await;
    for (url, expected) in [
        ("", "is not a URL"),
        ("called.example", "is not a URL"),
        ("http://called.example/", "expected https://"),
        ("https://u:secret@a.run.app/", "remove what is before the `@`"),
        ("https://api.example.com/", "set CALLED_AUDIENCE"),
    ] {
        let error = builder(&google, url).build().unwrap_err();
        let text = shown(&error);
        assert!(text.contains(expected) && !text.contains("secret"), "{url}: {text}");
    }
    let client = builder(&google, "https://canary---a-1.europe-west1.run.app/x").build().unwrap();
    assert_eq!(client.authorizer().audience().as_str(), "https://a-1.europe-west1.run.app");
    assert_eq!(client.authorizer().called_headers(), CalledHeaders::Both);
    let origin = client.authorizer().origin().to_string();
    assert_eq!(origin, "https://canary---a-1.europe-west1.run.app");
}

#[tokio::test]
async fn debug_shows_no_token() {
    let (google, called) = (Google::start().await, Called::start().await);
    let client = client(&google, &called);
    client.get("/").send().await.unwrap();
    let token = called.last().token("authorization").unwrap();
    let text = format!("{client:?} {:?}", client.get("/"));
    assert!(token.split('.').all(|part| !text.contains(part)), "{text}");
}

/// A server with a certificate of its own making; returns its port, its certificate, and what it gets to read.
fn tls_server() -> (u16, String, std::sync::mpsc::Receiver<String>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(tls, tcp);
            let mut head = [0; 8192];
            if let Ok(length @ 1..) = stream.read(&mut head) {
                sender.send(String::from_utf8_lossy(&head[..length]).into_owned()).unwrap();
                let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).and_then(|()| stream.flush()).unwrap();
            }
        }
    });
    (port, made.cert.pem(), receiver)
}

/// Wish of the peers' users: a company's own certificate authority.
#[tokio::test]
async fn over_https_a_token_goes_only_to_a_server_that_the_roots_vouch_for() {
    let google = Google::start().await;
    let (port, pem, requests) = tls_server();
    let url = format!("https://localhost:{port}");

    let error = builder(&google, &url).build().unwrap().get("/").send().await.unwrap_err();
    assert!(matches!(error, SendError::Unreachable { .. }), "{error:?}");
    assert!(requests.try_recv().is_err(), "no token without a trusted certificate");

    let roots = Roots::bundled().with_pem(pem.as_bytes()).unwrap();
    let client = builder(&google, &url).roots(roots).build().unwrap();
    assert_eq!(client.get("/").send().await.unwrap().status(), 204);
    assert!(requests.recv().unwrap().contains("authorization: Bearer eyJ"));
}
