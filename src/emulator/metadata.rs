//! The metadata server: what a function asks for its own identity.
//!
//! One per service account, as on Cloud Run, where each service has its own whose `default` is the service's account.
//! What it answers, to the letter, follows <https://cloud.google.com/compute/docs/metadata/querying-metadata> and
//! <https://cloud.google.com/run/docs/container-contract#metadata-server>.

mod tokens;
mod tree;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::header::{ALLOW, CONTENT_TYPE, ETAG, LOCATION, SERVER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use serde_json::json;

use self::tokens::Tokens;
use self::tree::Node;
use super::accounts::Account;
use super::google::Google;
use super::keys::hex;
use super::pages;
use super::port::Port;
use super::token::TokenFormat;
use super::{EmulatorError, Listener};

const TEXT: &str = "application/text";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=UTF-8";

/// A metadata server on a port of its own, for one service account. It lives as long as the emulator does.
#[derive(Clone, Debug)]
pub struct MetadataServer {
    account: String,
    address: SocketAddr,
}

impl MetadataServer {
    /// Host and port, as `GCE_METADATA_HOST` takes it: `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The account that is its `default`.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// What points Google's client libraries, and this one, at this server: names and values for a child's
    /// environment.
    ///
    /// `NO_GCE_CHECK` is among them as `false`: inherited as `true` it would keep Python's library from asking at all.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        environment(&self.host())
    }

    pub(super) async fn open(google: &Arc<Google>, email: &str) -> Result<Self, EmulatorError> {
        if google.stopped() {
            return Err(EmulatorError::Stopped);
        }
        let account = google.accounts.service_account(email)?.email.clone();
        let servers = google.metadata.all();
        if let Some(open) = servers.into_iter().find(|server| server.account == account) {
            return Ok(open);
        }
        let listener = Listener::open(0).await?;
        let server = Self { account: account.clone(), address: listener.address() };
        google.metadata.add(server.clone());
        let metadata = Metadata::new(Arc::clone(google), account, listener.address());
        let port = Port::new(Arc::clone(google), metadata.router());
        listener.serve(Arc::new(port), google.stop.subscribe());
        Ok(server)
    }
}

pub(super) fn environment(host: &str) -> Vec<(String, String)> {
    [
        ("GCE_METADATA_HOST", host),
        ("GCE_METADATA_IP", host),
        ("GCE_METADATA_ROOT", host),
        ("NO_GCE_CHECK", "false"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// What answers for one account.
#[derive(Debug)]
pub(super) struct Metadata {
    google: Arc<Google>,
    account: String,
    address: SocketAddr,
    tokens: Tokens,
}

impl Metadata {
    pub(super) fn new(google: Arc<Google>, account: String, address: SocketAddr) -> Self {
        Self { google, account, address, tokens: Tokens::default() }
    }

    /// Answers every path: to be merged behind others as the fallback.
    pub(super) fn router(self) -> axum::Router {
        let metadata = Arc::new(self);
        axum::Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap| {
            let answer = metadata.answer(&method, &uri, &headers);
            std::future::ready(answer)
        })
    }

    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        let answer = self.route(method, uri, headers);
        let mut answer = answer.unwrap_or_else(|refusal| self.refuse(refusal, uri));
        let headers = answer.headers_mut();
        headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
        headers.insert(SERVER, HeaderValue::from_static("Metadata Server for VM"));
        headers.insert("x-xss-protection", HeaderValue::from_static("0"));
        headers.insert("x-frame-options", HeaderValue::from_static("SAMEORIGIN"));
        answer
    }

    fn route(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        if method != Method::GET && method != Method::HEAD {
            return Err(Refusal::MethodNotAllowed);
        }
        let path = uri.path();
        // The root answers anybody: it is how client libraries find out where they are.
        if path == "/" {
            return Ok(content("0.1/\ncomputeMetadata/\n".to_owned(), TEXT));
        }
        check_headers(headers)?;
        let query = Query::of(uri);
        let account = self.google.accounts.account(&self.account);
        let root = Node::root(&self.google, &account);
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (directory, segments) = match segments.split_last() {
            Some((&"", directories)) => (true, directories),
            _ => (false, segments.as_slice()),
        };
        match root.find(segments).ok_or(Refusal::NotFound)? {
            Node::Directory(_) if !directory => Err(Refusal::Moved),
            node @ Node::Directory(_) if query.recursive => {
                Ok(content(node.recursive().to_string(), JSON))
            }
            node @ Node::Directory(_) => Ok(content(node.listing(), TEXT)),
            _ if directory => Err(Refusal::NotFound),
            Node::Identity => self.identity(&account, &query),
            Node::Token => Ok(self.access_token(&account)),
            leaf if query.json => Ok(content(leaf.recursive().to_string(), JSON)),
            leaf => Ok(content(leaf.text(), TEXT)),
        }
    }

    fn refuse(&self, refusal: Refusal, uri: &Uri) -> Response<Body> {
        let path = uri.path();
        match refusal {
            Refusal::Forbidden(why) => pages::google(StatusCode::FORBIDDEN, path, why),
            Refusal::NotFound => pages::google(StatusCode::NOT_FOUND, path, ""),
            Refusal::NoAudience => {
                let why = "non-empty audience parameter required\n";
                let mut answer = content(why.to_owned(), HTML);
                *answer.status_mut() = StatusCode::BAD_REQUEST;
                answer
            }
            Refusal::MethodNotAllowed => {
                let mut answer = pages::google(StatusCode::METHOD_NOT_ALLOWED, path, "");
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                answer
            }
            Refusal::Moved => {
                let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
                let to = format!("http://{}{path}/{query}", self.address);
                let mut answer = pages::google(StatusCode::MOVED_PERMANENTLY, path, "");
                if let Ok(to) = HeaderValue::from_str(&to) {
                    answer.headers_mut().insert(LOCATION, to);
                }
                answer
            }
        }
    }

    fn identity(&self, account: &Account, query: &Query) -> Result<Response<Body>, Refusal> {
        let audience = query.audience.as_deref().filter(|audience| !audience.is_empty());
        let audience = audience.ok_or(Refusal::NoAudience)?;
        let token = self.tokens.identity(&self.google, account, audience, query.format);
        Ok(content(token, "text/html"))
    }

    fn access_token(&self, account: &Account) -> Response<Body> {
        let (token, expires_in) = self.tokens.access(&self.google, account);
        let body = json!({
            "access_token": token,
            "expires_in": expires_in,
            "token_type": "Bearer",
        });
        content(body.to_string(), JSON)
    }
}

/// Why there is no content to answer with.
#[derive(Debug)]
enum Refusal {
    Forbidden(&'static str),
    NotFound,
    NoAudience,
    MethodNotAllowed,
    /// A directory that was asked for without its slash.
    Moved,
}

fn check_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    // A proxy adds it: nobody may be made to fetch tokens for somebody else.
    if headers.contains_key("x-forwarded-for") {
        return Err(Refusal::Forbidden("X-Forwarded-For is not allowed."));
    }
    let is = |name: &str, wanted: &str| {
        let value = headers.get(name).map(HeaderValue::as_bytes);
        value.is_some_and(|value| value.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    if is("metadata-flavor", "Google") || is("x-google-metadata-request", "True") {
        return Ok(());
    }
    Err(Refusal::Forbidden("Missing Metadata-Flavor:Google header."))
}

/// The parameters that the metadata server knows. Of a parameter that comes twice the first counts.
struct Query {
    audience: Option<String>,
    format: TokenFormat,
    recursive: bool,
    json: bool,
}

impl Query {
    fn of(uri: &Uri) -> Self {
        // An audience that was not percent-encoded is taken as it stands (gcp-metadata for Node sends it so).
        let pairs: Vec<_> =
            url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).collect();
        let first = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_ref());
        let is = |name: &str, wanted: &str| {
            first(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
        };
        let format = match (is("format", "full"), is("licenses", "TRUE")) {
            (true, true) => TokenFormat::FullWithLicenses,
            (true, false) => TokenFormat::Full,
            (false, _) => TokenFormat::Standard,
        };
        Self {
            audience: first("audience").map(str::to_owned),
            format,
            recursive: is("recursive", "true"),
            json: is("alt", "json"),
        }
    }
}

fn content(body: String, content_type: &'static str) -> Response<Body> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
    let tag = hex(digest.as_ref().get(..8).unwrap_or_default());
    let mut answer = Response::new(Body::from(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/?{text}").parse().unwrap())
    }

    #[test]
    fn the_first_of_two_counts_and_flags_are_not_case_sensitive() {
        assert_eq!(query("audience=a&audience=b").audience.as_deref(), Some("a"));
        assert_eq!(query("format=FULL&licenses=true").format, TokenFormat::FullWithLicenses);
        assert_eq!(query("licenses=TRUE").format, TokenFormat::Standard);
        assert!(query("recursive=True").recursive && !query("recursive=1").recursive);
    }

    proptest::proptest! {
        #[test]
        fn an_encoded_audience_comes_out_as_it_went_in(audience: String) {
            let encoded: String =
                url::form_urlencoded::byte_serialize(audience.as_bytes()).collect();
            proptest::prop_assert_eq!(query(&format!("audience={encoded}")).audience, Some(audience));
        }
    }
}
