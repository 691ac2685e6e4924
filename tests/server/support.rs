//! What the tests of the server share: a server on a free port, and a client that speaks in raw bytes.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use countersign::server::{App, Config, Server, ServerError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// Long enough for anything that should happen at all.
const DEADLINE: Duration = Duration::from_secs(30);

/// Fails the test where something that should happen does not.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: did not happen within {DEADLINE:?}"),
    }
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// On a free port of this machine, and with no limit that fires by itself during a test.
pub fn patient() -> Config {
    let long = Duration::from_secs(600);
    Config {
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        header_timeout: long,
        keep_alive: long,
        stall: long,
        linger: long,
        drain: long,
        settle: ms(1),
        ..Config::default()
    }
}

pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    pub async fn start(config: Config, app: impl Into<App>) -> Self {
        let app = app.into();
        Self::start_when(config, async { Ok::<_, ServerError>(app) }).await
    }

    pub async fn start_when<T, E>(
        config: Config,
        app: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Self
    where
        T: Into<App> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let server = Server::bind(config).await.unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(server.serve_when(app, shutdown));
        Self { address, stop: Some(stop), task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn connect(&self) -> Client {
        Client(within("connecting", TcpStream::connect(self.address)).await.unwrap())
    }

    /// Begins the shutdown.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// What `serve` returned.
    pub async fn ended(self) -> Result<(), ServerError> {
        within("the server's end", self.task).await.unwrap()
    }
}

/// A connection whose every byte the test decides.
pub struct Client(pub TcpStream);

impl Client {
    pub async fn send(&mut self, text: &str) {
        within("sending", self.0.write_all(text.as_bytes())).await.unwrap();
    }

    /// Reads one whole response that has a `Content-Length` or no body.
    pub async fn response(&mut self) -> Response {
        within("a response", async {
            let mut bytes = Vec::new();
            let head_end = loop {
                if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                    break end + 4;
                }
                // One by one, so that nothing of a next response is taken.
                bytes.push(self.0.read_u8().await.expect("the connection ended before a response"));
            };
            let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
            let mut response = Response { head, body: Vec::new() };
            let length =
                response.field("content-length").map_or(0, |length| length.parse().unwrap());
            response.body = vec![0; length];
            self.0.read_exact(&mut response.body).await.unwrap();
            response
        })
        .await
    }

    /// Reads to the connection's end, orderly or not; what came until then.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is an end too.
        let _ = within("the connection's end", self.0.read_to_end(&mut bytes)).await;
        bytes
    }
}

#[derive(Debug)]
pub struct Response {
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn field(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn code(&self) -> String {
        assert_eq!(self.field("content-type").as_deref(), Some("application/problem+json"));
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status());
        let code = problem["code"].as_str().unwrap();
        assert_eq!(problem["type"], format!("urn:countersign:problem:{code}"));
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

pub const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn provider() {
    // Whoever is first installs it; it is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

pub fn http1() -> reqwest::Client {
    provider();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).http1_only().build().unwrap()
}

pub fn http2() -> reqwest::Client {
    provider();
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    builder.http2_prior_knowledge().http2_max_header_list_size(1 << 20).build().unwrap()
}

/// Tells when it is dropped: with a handler's future, or with a body.
#[derive(Clone, Default)]
pub struct Dropped(Arc<Notify>);

impl Dropped {
    pub fn guard(&self) -> DropGuard {
        DropGuard(Arc::clone(&self.0))
    }

    pub async fn happened(&self) {
        within("the drop", self.0.notified()).await;
    }
}

pub struct DropGuard(Arc<Notify>);

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
