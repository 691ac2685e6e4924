//! One request: through the gate, signed, to the service, and the answer back. Both bodies are streamed, nothing is
//! held, and redirects are the client's to follow.

use axum::body::Body;
use countersign::Problem;
use countersign::identity::Audience;
use countersign::outbound::{
    AuthorizeError, Authorizer, AuthorizerError, CalledHeaders, IdTokenCache, Origin,
};
use http::header::AUTHORIZATION;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use url::{Position, Url};

use super::gate::{Admitted, Gate};
use super::place::Place;
use super::upstream::Upstream;
use super::{headers, tunnel};

/// The one service that the proxy leads to.
#[derive(Clone, Debug)]
pub struct Target {
    url: Url,
    scheme: Scheme,
    authority: Authority,
    /// For requests that have no `Authorization` of their own.
    auto: Authorizer,
    /// For those that have one, which is meant for the service.
    beside: Authorizer,
}

impl Target {
    /// The service at `url`, whose audience is derived from it where none is given.
    pub fn new(
        url: &str,
        audience: Option<Audience>,
        tokens: IdTokenCache,
    ) -> Result<Self, AuthorizerError> {
        let builder = Authorizer::builder(url, tokens);
        let builder = match audience {
            Some(audience) => builder.audience(audience),
            None => builder,
        };
        let not_a_url = |source| AuthorizerError::NotAUrl { found: String::new(), source };
        let auto = builder.clone().build()?;
        let beside = builder.called_headers(CalledHeaders::Serverless).build()?;
        // Both have been read and judged above.
        let url = Url::parse(url).map_err(not_a_url)?;
        let authority = url[Position::BeforeHost..Position::AfterPort].parse();
        let authority =
            authority.map_err(|_| not_a_url(url::ParseError::InvalidDomainCharacter))?;
        let scheme = if auto.origin().is_https() { Scheme::HTTPS } else { Scheme::HTTP };
        Ok(Self { url, scheme, authority, auto, beside })
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    pub fn origin(&self) -> &Origin {
        self.auto.origin()
    }

    pub fn audience(&self) -> &Audience {
        self.auto.audience()
    }

    /// Whether it is at this port of this machine.
    pub fn is_port_of_this_machine(&self, port: u16) -> bool {
        !self.origin().is_https() && self.url.port_or_known_default() == Some(port)
    }

    fn uri(&self, path: PathAndQuery) -> Result<Uri, Problem> {
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path);
        uri.build().map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "bad_target", format!("the path: {error}"))
        })
    }

    async fn sign(&self, uri: &Uri, headers: &mut HeaderMap) -> Result<(), Problem> {
        let taken = headers.contains_key(AUTHORIZATION);
        let authorizer = if taken { &self.beside } else { &self.auto };
        authorizer.authorize(uri, headers).await.map_err(|error| {
            let code = match &error {
                AuthorizeError::NoToken { .. } => "no_id_token",
                _ => "not_signed",
            };
            Problem::new(StatusCode::BAD_GATEWAY, code, error.to_string())
        })
    }
}

/// What answers on the proxy's port.
pub struct Relay {
    gate: Gate,
    target: Target,
    upstream: Upstream,
}

impl Relay {
    /// A relay on this port.
    pub fn new(port: u16, target: Target, upstream: Upstream) -> Self {
        Self { gate: Gate::new(port), target, upstream }
    }

    /// Answers a request; with a problem of its own where the service's answer cannot be had.
    pub async fn answer(&self, request: Request<Incoming>, place: Place) -> Response<Body> {
        let answer = self.exchange(request, place).await;
        answer.unwrap_or_else(|problem| problem.into_http().map(Body::from))
    }

    async fn exchange(
        &self,
        mut request: Request<Incoming>,
        place: Place,
    ) -> Result<Response<Body>, Problem> {
        let client_end =
            tunnel::is_wanted(request.headers()).then(|| tunnel::client_end(&mut request));
        let (mut head, body) = request.into_parts();
        let Admitted { path, own_origin } = self.gate.admit(&head)?;
        let service = self.target.origin();

        headers::to_service(&mut head.headers, &own_origin, service);
        if client_end.is_some() {
            tunnel::mark(&mut head.headers);
        }
        head.uri = self.target.uri(path)?;
        head.version = Version::HTTP_11;
        head.extensions.clear();
        self.target.sign(&head.uri, &mut head.headers).await?;

        let request = Request::from_parts(head, body);
        let mut answer = self.upstream.send(request, client_end.is_some()).await?;
        let switching = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switching {
            tunnel::join(client_end.ok_or_else(tunnel::not_wanted)?, &mut answer, place)?;
        }
        let (mut head, body) = answer.into_parts();
        headers::to_client(&mut head.headers, &own_origin, service);
        head.version = Version::HTTP_11;
        head.extensions.clear();
        if switching {
            return Ok(tunnel::switching(head));
        }
        Ok(Response::from_parts(head, Body::new(body)))
    }
}
