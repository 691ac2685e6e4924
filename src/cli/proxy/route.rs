//! The way to the service's port: straight, or through the system's HTTP proxy where there is one.
//!
//! As everywhere in this crate, loopback is never reached through a proxy, and what goes through one is TLS from end to
//! end: the proxy sees a name and a port.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use tower_service::Service;
use url::Url;

use super::upstream::BoxError;

type TcpStream = <HttpConnector as Service<Uri>>::Response;

/// How TCP connections are made.
#[derive(Clone)]
pub enum Route {
    Straight(HttpConnector),
    Through(Tunnel<HttpConnector>),
}

/// The system's proxy is of a kind that is not spoken here.
#[derive(Debug, thiserror::Error)]
#[error(
    "the system's proxy for https (HTTPS_PROXY, ALL_PROXY) is a {scheme} proxy: expected http://HOST:PORT; set \
     NO_PROXY to the service's host to reach it without"
)]
pub struct ProxyNotSpoken {
    scheme: String,
}

impl Route {
    /// The way to the origin of `url`, by the system's settings.
    pub fn to(url: &Url) -> Result<Self, ProxyNotSpoken> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => true,
        };
        let proxy = url.as_str().parse().ok().filter(|_| !loopback && url.scheme() == "https");
        let proxy = proxy.and_then(|uri: Uri| Matcher::from_system().intercept(&uri));
        let Some(proxy) = proxy else { return Ok(Self::Straight(tcp)) };
        if proxy.uri().scheme_str() != Some("http") {
            let scheme = proxy.uri().scheme_str().unwrap_or_default().to_owned();
            return Err(ProxyNotSpoken { scheme });
        }
        let tunnel = Tunnel::new(proxy.uri().clone(), tcp);
        Ok(Self::Through(match proxy.basic_auth() {
            Some(credentials) => tunnel.with_auth(credentials.clone()),
            None => tunnel,
        }))
    }
}

impl Service<Uri> for Route {
    type Response = TcpStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TcpStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Straight(tcp) => tcp.poll_ready(cx).map_err(Into::into),
            Self::Through(tunnel) => tunnel.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Straight(tcp) => {
                let connection = tcp.call(uri);
                Box::pin(async { Ok(connection.await?) })
            }
            Self::Through(tunnel) => {
                let connection = tunnel.call(uri);
                Box::pin(async { Ok(connection.await?) })
            }
        }
    }
}
