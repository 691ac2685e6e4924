use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use countersign::outbound::{
    AuthorizeError, Authorizer, CalledHeaders, IdTokenCache, IdTokenLayer,
};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{Layer as _, Service, ServiceExt as _};

use crate::called::Called;
use crate::google::{Google, audience};

fn layer(google: &Google, url: &str) -> IdTokenLayer {
    let tokens = IdTokenCache::new(google.client().build().unwrap(), google.clock());
    IdTokenLayer::new(Authorizer::builder(url, tokens).build().unwrap())
}

fn request(uri: impl AsRef<str>) -> Request<Full<Bytes>> {
    Request::post(uri.as_ref()).body(Full::from("hello")).unwrap()
}

#[tokio::test]
async fn a_hyper_client_signs_its_requests() {
    let (google, called) = (Google::start().await, Called::start().await);
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut client = layer(&google, &called.url()).layer(hyper);
    for path in ["/one", "/two"] {
        let request = request(format!("{}{path}", called.url()));
        let response = client.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), 201);
        let seen = called.last();
        assert_eq!((seen.uri.path(), &seen.body[..]), (path, &b"hello"[..]));
        assert!(seen.token("authorization").is_some());
        assert_eq!(seen.token("authorization"), seen.token("x-serverless-authorization"));
    }
    assert_eq!(google.count(), 1);
}

/// As generated tonic clients send them: their channel knows the host.
#[tokio::test]
async fn a_uri_without_a_host_gets_the_configured_origin() {
    let (google, called) = (Google::start().await, Called::start().await);
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let client = layer(&google, &called.url()).layer(hyper);
    client.oneshot(request("/pkg.Orders/Create?x")).await.unwrap();
    assert_eq!(called.last().uri.to_string(), "/pkg.Orders/Create?x");
    assert!(called.last().token("authorization").is_some());
}

#[tokio::test]
async fn a_request_that_cannot_be_signed_is_not_sent() {
    let (google, called, evil) =
        (Google::start().await, Called::start().await, Called::start().await);
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let client = layer(&google, &called.url()).layer(hyper);

    let error = client.clone().oneshot(request(evil.url())).await.unwrap_err();
    let error = error.downcast::<AuthorizeError>().unwrap();
    assert!(matches!(*error, AuthorizeError::OtherOrigin { .. }), "{error}");

    google.then_status(404);
    let error = client.oneshot(request(called.url())).await.unwrap_err();
    let error = error.downcast::<AuthorizeError>().unwrap();
    assert!(matches!(*error, AuthorizeError::NoToken { .. }), "{error}");
    assert_eq!((called.count(), evil.count()), (0, 0));
}

#[tokio::test]
async fn an_error_of_the_client_below_comes_through() {
    let google = Google::start().await;
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}");
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let client = layer(&google, &url).layer(hyper);
    let error = client.oneshot(request(&url)).await.unwrap_err();
    assert!(error.downcast::<hyper_util::client::legacy::Error>().unwrap().is_connect());
}

/// Notes whether the instance that is called is the one that was ready, as tower asks for.
struct ReadyFirst {
    ready: bool,
    called_unready: Arc<AtomicBool>,
}

impl Clone for ReadyFirst {
    fn clone(&self) -> Self {
        Self { ready: false, called_unready: Arc::clone(&self.called_unready) }
    }
}

impl Service<Request<()>> for ReadyFirst {
    type Response = Response<Uri>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Response<Uri>, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        if !self.ready {
            self.called_unready.store(true, Ordering::Relaxed);
        }
        std::future::ready(Ok(Response::new(request.uri().clone())))
    }
}

#[tokio::test]
async fn the_instance_that_was_ready_is_the_one_that_is_called() {
    let google = Google::start().await;
    let called_unready = Arc::new(AtomicBool::new(false));
    let inner = ReadyFirst { ready: false, called_unready: Arc::clone(&called_unready) };
    let mut client = layer(&google, "https://a-1.europe-west1.run.app").layer(inner);
    for _ in 0..3 {
        let request = Request::get("/x").body(()).unwrap();
        let response = client.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.body(), "https://a-1.europe-west1.run.app/x");
    }
    assert!(!called_unready.load(Ordering::Relaxed));
}

#[tokio::test]
async fn authorizers_for_custom_domains_need_an_audience() {
    let google = Google::start().await;
    let tokens = || IdTokenCache::new(google.client().build().unwrap(), google.clock());
    let error = Authorizer::builder("https://api.example.com", tokens()).build().unwrap_err();
    assert!(error.to_string().contains("CALLED_AUDIENCE"), "{error}");

    let authorizer = Authorizer::builder("https://api.example.com", tokens())
        .audience(audience("https://api.example.com"))
        .build()
        .unwrap();
    assert_eq!(authorizer.called_headers(), CalledHeaders::Authorization);
}
