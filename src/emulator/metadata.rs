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
use super::google::{Google, Instance};
use super::keys::hex;
use super::port::Port;
use super::token::TokenFormat;
use super::{EmulatorError, Listener};

/// The scopes that Cloud Run's accounts have.
const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/cloud-platform"];
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
        let mut answer = self.route(method, uri, headers).unwrap_or_else(|refusal| refusal);
        let headers = answer.headers_mut();
        headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
        headers.insert(SERVER, HeaderValue::from_static("Metadata Server for VM"));
        headers.insert("x-xss-protection", HeaderValue::from_static("0"));
        headers.insert("x-frame-options", HeaderValue::from_static("SAMEORIGIN"));
        answer
    }

    /// `Err` is an answer as well: the one that ends the questions.
    fn route(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Response<Body>> {
        let path = uri.path();
        if method != Method::GET && method != Method::HEAD {
            let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, path, "");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Err(refusal);
        }
        // The root answers anybody: it is how client libraries find out where they are.
        if path == "/" {
            return Ok(content("0.1/\ncomputeMetadata/\n".to_owned(), TEXT));
        }
        check_headers(path, headers)?;
        let query = Query::of(uri);
        let account = self.google.accounts.account(&self.account);
        let root = self.tree(&account);
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (directory, segments) = match segments.split_last() {
            Some((&"", directories)) => (true, directories),
            _ => (false, segments.as_slice()),
        };
        let node = root.find(segments).ok_or_else(|| page(StatusCode::NOT_FOUND, path, ""))?;
        match node {
            Node::Directory(_) if !directory => Err(self.moved(uri)),
            Node::Directory(_) if query.recursive => {
                Ok(content(node.recursive().to_string(), JSON))
            }
            Node::Directory(_) => Ok(content(node.listing(), TEXT)),
            _ if directory => Err(page(StatusCode::NOT_FOUND, path, "")),
            Node::Identity => self.identity(&account, &query),
            Node::Token => Ok(self.access_token()),
            leaf if query.json => Ok(content(leaf.recursive().to_string(), JSON)),
            leaf => Ok(content(leaf.text(), TEXT)),
        }
    }

    fn tree(&self, account: &Account) -> Node {
        let project = &self.google.project;
        let instance = Instance::of(&self.google, account);
        let region = format!("projects/{}/regions/{}", project.number, project.region);
        let zone = format!("projects/{}/zones/{}", project.number, instance.zone());
        let of_account = || {
            Node::directory([
                ("aliases", Node::List(vec!["default".to_owned()])),
                ("email", Node::Text(account.email.clone())),
                ("identity", Node::Identity),
                ("scopes", Node::List(SCOPES.map(str::to_owned).to_vec())),
                ("token", Node::Token),
            ])
        };
        let version = Node::directory([
            (
                "instance",
                Node::directory([
                    ("id", Node::Text(instance.id.clone())),
                    ("region", Node::Text(region)),
                    (
                        "service-accounts",
                        Node::directory([
                            (account.email.as_str(), of_account()),
                            ("default", of_account()),
                        ]),
                    ),
                    ("zone", Node::Text(zone)),
                ]),
            ),
            (
                "project",
                Node::directory([
                    ("numeric-project-id", Node::Number(project.number)),
                    ("project-id", Node::Text(project.id.clone())),
                ]),
            ),
            (
                "universe",
                Node::directory([("universe-domain", Node::Text("googleapis.com".to_owned()))]),
            ),
        ]);
        Node::directory([("computeMetadata", Node::directory([("v1", version)]))])
    }

    /// A directory that was asked for without its slash.
    fn moved(&self, uri: &Uri) -> Response<Body> {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let to = format!("http://{}{}/{query}", self.address, uri.path());
        let mut answer = page(StatusCode::MOVED_PERMANENTLY, uri.path(), "");
        if let Ok(to) = HeaderValue::from_str(&to) {
            answer.headers_mut().insert(LOCATION, to);
        }
        answer
    }

    fn identity(&self, account: &Account, query: &Query) -> Result<Response<Body>, Response<Body>> {
        let Some(audience) = query.audience.as_deref().filter(|audience| !audience.is_empty())
        else {
            let mut refusal = content("non-empty audience parameter required\n".to_owned(), HTML);
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            return Err(refusal);
        };
        let token = self.tokens.identity(&self.google, account, audience, query.format);
        Ok(content(token, "text/html"))
    }

    fn access_token(&self) -> Response<Body> {
        let (token, expires_in) = self.tokens.access(&self.google);
        let body = json!({
            "access_token": token,
            "expires_in": expires_in,
            "token_type": "Bearer",
        });
        content(body.to_string(), JSON)
    }
}

fn check_headers(path: &str, headers: &HeaderMap) -> Result<(), Response<Body>> {
    // A proxy adds it: nobody may be made to fetch tokens for somebody else.
    if headers.contains_key("x-forwarded-for") {
        let why = "X-Forwarded-For is not allowed.";
        return Err(page(StatusCode::FORBIDDEN, path, why));
    }
    let is = |name: &str, wanted: &str| {
        headers
            .get(name)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    if is("metadata-flavor", "Google") || is("x-google-metadata-request", "True") {
        return Ok(());
    }
    Err(page(StatusCode::FORBIDDEN, path, "Missing Metadata-Flavor:Google header."))
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

/// The frame of Google's error pages.
fn page(status: StatusCode, path: &str, why: &str) -> Response<Body> {
    let (number, reason) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
    let what = match status {
        StatusCode::NOT_FOUND => format!(
            "The requested URL <code>{}</code> was not found on this server.",
            escaped(path)
        ),
        StatusCode::FORBIDDEN => format!(
            "Your client does not have permission to get URL <code>{}</code> from this server. {why}",
            escaped(path)
        ),
        _ => why.to_owned(),
    };
    let body = format!(
        "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error {number} ({reason})!!1</title>\n  \
         <p><b>{number}.</b> <ins>That’s an error.</ins>\n  <p>{what} <ins>That’s all we know.</ins>\n"
    );
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(HTML));
    answer
}

/// Text for an HTML page: what a client sent must not become markup.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
