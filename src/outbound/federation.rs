//! Workload identity federation: another provider's token, exchanged at Google's Security Token Service (RFC 8693).
//!
//! What comes back is a federated access token. It cannot mint ID tokens by itself: the service account that the file
//! names is impersonated with it.
//!
//! Source: <https://google.aip.dev/auth/4117>, <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use url::Url;

use super::access_token::{AccessFuture, AccessToken, AccessTokenSource, SCOPE};
use super::credential_file::{CredentialError, Fields};
use super::endpoint::{SourceOptions, safe_url, shown};
use super::exchange::{Advice, Exchange};
use super::service_account::{endpoint_advice, form};
use super::source::{SourceError, SourceFault};

mod executable;
mod subject;

use subject::Subject;

/// An `external_account` file.
pub(super) struct Federation {
    audience: String,
    subject_token_type: String,
    subject: Subject,
    token_url: Url,
    exchange: Exchange,
}

impl Federation {
    pub(super) fn from_fields(
        fields: &Fields,
        options: &SourceOptions,
    ) -> Result<Self, CredentialError> {
        let token_url = match fields.optional_url("token_url")? {
            Some(url) => url,
            None => safe_url(&format!("https://sts.{}/v1/token", fields.universe()?))
                .map_err(|message| fields.wrong("universe_domain", message))?,
        };
        Ok(Self {
            audience: fields.text("audience")?.to_owned(),
            subject_token_type: fields.text("subject_token_type")?.to_owned(),
            subject: Subject::from_fields(fields, options)?,
            exchange: options.exchange(&token_url)?,
            token_url,
        })
    }

    async fn access_token(&self) -> Result<AccessToken, SourceError> {
        let subject = self.subject.token().await?;
        let form = form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", &self.audience),
            ("scope", SCOPE),
            ("subject_token_type", &self.subject_token_type),
            ("subject_token", &subject),
        ]);
        let request = |client: &reqwest::Client| {
            client
                .post(self.token_url.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.clone())
        };
        let accept = |body: &[u8]| AccessToken::from_oauth(body);
        self.exchange.run(self.place(), request, accept, |fault| self.advice(fault)).await
    }

    fn advice(&self, fault: &SourceFault) -> Advice {
        match fault {
            SourceFault::Status {
                status: StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN,
                ..
            } => format!(
                "check that the provider {} exists and accepts the issuer, the audience and the attributes of {}",
                self.audience,
                self.subject.name()
            )
            .into(),
            _ => endpoint_advice(fault),
        }
    }

    fn place(&self) -> String {
        shown("the Security Token Service", &self.token_url)
    }
}

impl AccessTokenSource for Federation {
    fn fetch(&self) -> AccessFuture<'_> {
        Box::pin(self.access_token())
    }

    fn budget(&self) -> Duration {
        self.exchange.budget.now().saturating_add(self.subject.budget())
    }

    fn name(&self) -> Arc<str> {
        format!("{} with {}", self.place(), self.subject.name()).into()
    }
}

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Federation")
            .field("audience", &self.audience)
            .field("subject", &self.subject.name())
            .field("token_url", &self.token_url.as_str())
            .finish_non_exhaustive()
    }
}
