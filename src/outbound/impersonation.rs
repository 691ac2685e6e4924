//! Impersonation: a service account's ID tokens from the IAM Credentials API, for whoever may act as it.
//!
//! `generateIdToken` is asked with `includeEmail`, because without it the token has no e-mail address and no list of
//! principals can match it. Whoever asks shows an access token of its own, which is kept here while it is good.
//!
//! Source: <https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateIdToken>.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::access_token::{AccessFuture, AccessToken, AccessTokenCache, AccessTokenSource, SCOPE};
use super::credential_file::{CredentialError, Fields};
use super::endpoint::{SourceOptions, safe_url, shown};
use super::exchange::{Advice, Exchange, text_member};
use super::service_account::endpoint_advice;
use super::source::{FetchFuture, IdTokenSource, SourceError, SourceFault, check};
use crate::identity::{Audience, IdToken};

mod time;

use time::unix_seconds;

/// How long a generated access token is asked to be good.
const ACCESS_SECONDS: u64 = 3_600;
/// What stands before an account in its full name, which may be given, too.
const ACCOUNTS: &str = "projects/-/serviceAccounts/";

/// A service account that is impersonated. Cheap to clone.
#[derive(Clone)]
pub struct Impersonation(Arc<Inner>);

struct Inner {
    target: String,
    delegates: Vec<String>,
    /// `…/serviceAccounts/EMAIL`, to which a verb is added.
    account_url: Url,
    access: AccessTokenCache,
    exchange: Exchange,
}

impl Impersonation {
    /// The account `target`, at the API of `universe`, on behalf of whoever `access` is.
    pub(super) fn new(
        access: Arc<dyn AccessTokenSource>,
        target: &str,
        delegates: Vec<String>,
        universe: &str,
        options: &SourceOptions,
    ) -> Result<Self, String> {
        let root = match &options.iam_credentials_url {
            Some(url) => safe_url(url.as_str())?,
            None => safe_url(&format!("https://iamcredentials.{universe}/"))?,
        };
        Self::at(&root, access, target, delegates, options)
    }

    /// The account that a file's `service_account_impersonation_url` names, at the place that it names unless the
    /// options say another.
    pub(super) fn from_url(
        fields: &Fields,
        access: Arc<dyn AccessTokenSource>,
        delegates: Vec<String>,
        options: &SourceOptions,
    ) -> Result<Self, CredentialError> {
        const NAME: &str = "service_account_impersonation_url";
        let url = fields.url(NAME)?;
        let target = target_of(&url).ok_or_else(|| {
            fields.wrong(NAME, "expected …/serviceAccounts/EMAIL:generateAccessToken")
        })?;
        let root = options.iam_credentials_url.as_ref().unwrap_or(&url);
        safe_url(root.as_str())
            .and_then(|root| Self::at(&root, access, &target, delegates, options))
            .map_err(|message| fields.wrong(NAME, message))
    }

    fn at(
        root: &Url,
        access: Arc<dyn AccessTokenSource>,
        target: &str,
        delegates: Vec<String>,
        options: &SourceOptions,
    ) -> Result<Self, String> {
        let target = target.strip_prefix(ACCOUNTS).unwrap_or(target);
        for account in std::iter::once(target).chain(delegates.iter().map(String::as_str)) {
            // `-` and `/` around it are the API's own; anything else that is not in an address could change the path.
            if !is_account(account.strip_prefix(ACCOUNTS).unwrap_or(account)) {
                return Err(format!(
                    "{account:?} is no service account: expected NAME@PROJECT.iam.gserviceaccount.com"
                ));
            }
        }
        let mut account_url = root.clone();
        account_url.set_path(&format!("/v1/{ACCOUNTS}{target}"));
        account_url.set_query(None);
        account_url.set_fragment(None);
        let exchange = options.exchange(&account_url).map_err(|error| error.to_string())?;
        let full = |account: String| match account.starts_with("projects/") {
            true => account,
            false => format!("{ACCOUNTS}{account}"),
        };
        Ok(Self(Arc::new(Inner {
            target: target.to_owned(),
            delegates: delegates.into_iter().map(full).collect(),
            account_url,
            access: AccessTokenCache::new(access, Arc::clone(&options.clock)),
            exchange,
        })))
    }

    /// The account's e-mail address.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.0.target
    }

    async fn ask<T>(
        &self,
        verb: &str,
        body: Value,
        accept: impl Fn(&[u8]) -> Result<T, SourceFault>,
    ) -> Result<T, SourceError> {
        let inner = &*self.0;
        let access = inner.access.token().await?;
        let bearer =
            HeaderValue::try_from(format!("Bearer {}", access.as_str())).map(|mut value| {
                value.set_sensitive(true);
                value
            });
        let Ok(bearer) = bearer else {
            let fault = SourceFault::Local("the access token cannot stand in a header".into());
            return Err(SourceError::new(inner.access.name(), 1, fault, ""));
        };
        let mut url = inner.account_url.clone();
        url.set_path(&format!("{}:{verb}", inner.account_url.path()));
        let request = |client: &reqwest::Client| {
            client.post(url.clone()).header(AUTHORIZATION, bearer.clone()).json(&body)
        };
        let place = shown("the IAM Credentials API", &url);
        let asked = inner.exchange.run(place, request, accept, |fault| self.advice(fault)).await;
        if let Err(error) = &asked
            && matches!(error.fault(), SourceFault::Status { status, .. } if *status == StatusCode::UNAUTHORIZED)
        {
            // It may have been revoked: the next call brings another.
            inner.access.forget(&access);
        }
        asked
    }

    fn advice(&self, fault: &SourceFault) -> Advice {
        let SourceFault::Status { status, .. } = fault else { return endpoint_advice(fault) };
        let Inner { target, access, .. } = &*self.0;
        match *status {
            StatusCode::BAD_REQUEST => "check the audience and the delegates".into(),
            StatusCode::UNAUTHORIZED => format!(
                "the access token of {} was refused: if it goes on, check those credentials",
                access.name()
            )
            .into(),
            StatusCode::FORBIDDEN => format!(
                "grant whoever asks ({}) the role roles/iam.serviceAccountTokenCreator on {target}, and see that the \
                 IAM Service Account Credentials API is enabled",
                access.name()
            )
            .into(),
            StatusCode::NOT_FOUND => {
                format!("there is no service account {target}, or it may not be seen: check its name").into()
            }
            _ => endpoint_advice(fault),
        }
    }

    async fn id_token(&self, audience: &Audience) -> Result<IdToken, SourceError> {
        let body = json!({
            "audience": audience.as_str(), "includeEmail": true, "delegates": self.0.delegates,
        });
        self.ask("generateIdToken", body, |body| {
            let token = text_member(body, "token", "an object with \"token\"")?;
            check(IdToken::parse(&token)?, audience, self.0.exchange.clock.now())
        })
        .await
    }

    async fn access_token(&self) -> Result<AccessToken, SourceError> {
        let body = json!({
            "scope": [SCOPE], "delegates": self.0.delegates, "lifetime": format!("{ACCESS_SECONDS}s"),
        });
        self.ask("generateAccessToken", body, |body| {
            const EXPECTED: &str = "an object with \"accessToken\" and \"expireTime\"";
            let token = text_member(body, "accessToken", EXPECTED)?;
            let until = text_member(body, "expireTime", EXPECTED)?;
            let now = self.0.exchange.clock.now().unix_seconds();
            let left = unix_seconds(&until).map(|until| until.saturating_sub(now));
            match left.map(u64::try_from) {
                Some(Ok(left)) if left > 0 => {
                    AccessToken::new(&token, Duration::from_secs(left.min(ACCESS_SECONDS)))
                }
                Some(_) => Err(SourceFault::Unexpected {
                    expected: EXPECTED,
                    found: "an access token that has expired".into(),
                }),
                None => Err(SourceFault::Unexpected {
                    expected: EXPECTED,
                    found: "an \"expireTime\" that is no time".into(),
                }),
            }
        })
        .await
    }

    fn whole_budget(&self) -> Duration {
        self.0.exchange.budget.now().saturating_add(self.0.access.budget())
    }

    fn described(&self) -> Arc<str> {
        format!("{} impersonated by {}", self.target(), self.0.access.name()).into()
    }
}

impl IdTokenSource for Impersonation {
    fn fetch<'a>(&'a self, audience: &'a Audience) -> FetchFuture<'a> {
        Box::pin(self.id_token(audience))
    }

    fn budget(&self) -> Duration {
        self.whole_budget()
    }

    fn name(&self) -> Arc<str> {
        self.described()
    }
}

impl AccessTokenSource for Impersonation {
    fn fetch(&self) -> AccessFuture<'_> {
        Box::pin(self.access_token())
    }

    fn budget(&self) -> Duration {
        self.whole_budget()
    }

    fn name(&self) -> Arc<str> {
        self.described()
    }
}

impl fmt::Debug for Impersonation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Impersonation")
            .field("account_url", &self.0.account_url.as_str())
            .field("delegates", &self.0.delegates)
            .field("access", &self.0.access)
            .finish_non_exhaustive()
    }
}

/// The account in `…/serviceAccounts/EMAIL:generateAccessToken`.
fn target_of(url: &Url) -> Option<String> {
    let (_, rest) = url.path().rsplit_once("/serviceAccounts/")?;
    let (account, verb) = rest.rsplit_once(':')?;
    (verb == "generateAccessToken" || verb == "generateIdToken")
        .then(|| account.replace("%40", "@"))
}

/// An e-mail address, or an account's number: nothing that could change a URL's path.
fn is_account(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'@' | b'_');
    !text.is_empty()
        && text.bytes().all(good)
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_cannot_change_the_path() {
        assert!(is_account("a-b@demo.iam.gserviceaccount.com") && is_account("1122"));
        for odd in ["", "a/b", "../x", "..", "a?b", "a#b", "a:b", "a b", "a%2fb"] {
            assert!(!is_account(odd), "{odd}");
        }
        let url = |text: &str| Url::parse(text).unwrap();
        let found =
            target_of(&url("https://x/v1/projects/-/serviceAccounts/a%40b.c:generateAccessToken"));
        assert_eq!(found.as_deref(), Some("a@b.c"));
        assert_eq!(target_of(&url("https://x/v1/a:generateAccessToken")), None);
        assert_eq!(target_of(&url("https://x/serviceAccounts/a@b.c:signBlob")), None);
    }
}
