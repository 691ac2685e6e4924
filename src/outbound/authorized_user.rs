//! gcloud's own login (`gcloud auth application-default login`): a person's refresh token.
//!
//! Its ID tokens are made out to the OAuth client's id, whatever audience was asked for: a function that checks its own
//! audience refuses them. So this source gives a token for that audience alone, and says so for every other.
//!
//! Source: <https://google.aip.dev/auth/4113>, RFC 6749 section 6.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use url::Url;

use super::access_token::{AccessFuture, AccessToken, AccessTokenSource};
use super::credential_file::{CredentialError, Fields};
use super::endpoint::{SourceOptions, safe_url, shown};
use super::exchange::{Advice, Exchange, text_member};
use super::service_account::{endpoint_advice, form};
use super::source::{FetchFuture, IdTokenSource, SourceError, SourceFault, check};
use crate::identity::{Audience, IdToken};

/// A person's login. Cheap to clone.
#[derive(Clone)]
pub struct AuthorizedUser(Arc<Inner>);

struct Inner {
    client_id: Audience,
    form: String,
    token_url: Url,
    exchange: Exchange,
}

impl AuthorizedUser {
    pub(super) fn from_fields(
        fields: &Fields,
        options: &SourceOptions,
    ) -> Result<Self, CredentialError> {
        let client_id = fields.text("client_id")?;
        let audience = client_id
            .parse()
            .map_err(|_| fields.wrong("client_id", "expected an OAuth client's id"))?;
        let form = form(&[
            ("grant_type", "refresh_token"),
            ("client_id", client_id),
            ("client_secret", fields.text("client_secret")?),
            ("refresh_token", fields.text("refresh_token")?),
        ]);
        let token_url = match (&options.token_url, fields.optional_url("token_uri")?) {
            (Some(url), _) => safe_url(url.as_str())
                .map_err(|message| fields.wrong("token_uri (as set elsewhere)", message))?,
            (None, Some(url)) => url,
            (None, None) => safe_url(&format!("https://oauth2.{}/token", fields.universe()?))
                .map_err(|message| fields.wrong("universe_domain", message))?,
        };
        let exchange = options.exchange(&token_url)?;
        Ok(Self(Arc::new(Inner { client_id: audience, form, token_url, exchange })))
    }

    /// The only audience that its tokens can have.
    #[must_use]
    pub fn client_id(&self) -> &Audience {
        &self.0.client_id
    }

    async fn ask<T>(
        &self,
        accept: impl Fn(&[u8]) -> Result<T, SourceFault>,
    ) -> Result<T, SourceError> {
        let inner = &*self.0;
        let request = |client: &reqwest::Client| {
            client
                .post(inner.token_url.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(inner.form.clone())
        };
        inner.exchange.run(self.place(), request, accept, advice).await
    }

    async fn id_token(&self, audience: &Audience) -> Result<IdToken, SourceError> {
        let own = self.client_id();
        if audience != own {
            let why = format!(
                "a person's login gives tokens for its own client id ({own}) only, whatever audience is asked for, and \
                 {audience} would refuse them"
            );
            let advice = "impersonate a service account (--impersonate-service-account=EMAIL), or, where the called \
                          service takes that audience, ask for it with --audience-from-client-id";
            return Err(SourceError::new(self.place(), 1, SourceFault::Unable(why.into()), advice));
        }
        self.ask(|body| {
            let token = text_member(body, "id_token", "an object with \"id_token\"")?;
            check(IdToken::parse(&token)?, own, self.0.exchange.clock.now())
        })
        .await
    }

    fn place(&self) -> String {
        shown("gcloud's login, used", &self.0.token_url)
    }
}

fn advice(fault: &SourceFault) -> Advice {
    match fault {
        SourceFault::Status {
            status: StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, ..
        } => "log in again: gcloud auth application-default login".into(),
        _ => endpoint_advice(fault),
    }
}

impl IdTokenSource for AuthorizedUser {
    fn fetch<'a>(&'a self, audience: &'a Audience) -> FetchFuture<'a> {
        Box::pin(self.id_token(audience))
    }

    fn budget(&self) -> Duration {
        self.0.exchange.budget.now()
    }

    fn name(&self) -> Arc<str> {
        self.place().into()
    }
}

impl AccessTokenSource for AuthorizedUser {
    fn fetch(&self) -> AccessFuture<'_> {
        Box::pin(self.ask(AccessToken::from_oauth))
    }

    fn budget(&self) -> Duration {
        self.0.exchange.budget.now()
    }

    fn name(&self) -> Arc<str> {
        self.place().into()
    }
}

impl fmt::Debug for AuthorizedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizedUser")
            .field("client_id", &self.0.client_id)
            .field("token_url", &self.0.token_url.as_str())
            .finish_non_exhaustive()
    }
}
