//! In which header a token travels.

use std::fmt;
use std::str::FromStr;

use http::header::{AUTHORIZATION, HeaderMap};
use url::Url;

use super::authorizer::AuthorizeError;
use crate::identity::audience::is_loopback;
use crate::identity::{IdToken, X_SERVERLESS_AUTHORIZATION};

/// In which headers the called service wants its token (setting `CALLED_HEADERS`).
///
/// With both, Cloud Run's own check reads `X-Serverless-Authorization` alone and passes `Authorization` on untouched,
/// so that the called function can verify the signature again behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CalledHeaders {
    /// Both for `*.run.app`, `*.cloudfunctions.net` and loopback, else `Authorization` only.
    #[default]
    Auto,
    /// `Authorization` and `X-Serverless-Authorization`; the second alone where the first is taken.
    Both,
    /// `Authorization` only.
    Authorization,
    /// `X-Serverless-Authorization` only.
    Serverless,
}

/// A text is none of the four words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a way to send a token: expected auto, both, authorization or serverless")]
pub struct CalledHeadersError {
    found: String,
}

impl CalledHeaders {
    /// What `Auto` means for this URL; the others stay what they are.
    #[must_use]
    pub fn for_url(self, url: &Url) -> Self {
        let google =
            |host: &str| host.ends_with(".run.app") || host.ends_with(".cloudfunctions.net");
        match self {
            Self::Auto if is_loopback(url) || url.host_str().is_some_and(google) => Self::Both,
            Self::Auto => Self::Authorization,
            chosen => chosen,
        }
    }

    /// Puts a token in its place. `Auto` counts as `Authorization`, which every server understands.
    ///
    /// An `Authorization` that is there already is another's and stays, unless it is this very token (a request that is
    /// sent again). `X-Serverless-Authorization` is replaced where it is ours to send: the one that is there can only
    /// be an older one, or a copy from an incoming request, which must not be forwarded.
    pub(super) fn put(
        self,
        token: &IdToken,
        headers: &mut HeaderMap,
    ) -> Result<(), AuthorizeError> {
        let bearer = token.bearer();
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let taken = match (values.next(), values.next()) {
            (None, _) => false,
            (Some(value), None) => *value != bearer,
            (Some(_), Some(_)) => true,
        };
        match self {
            Self::Auto | Self::Authorization => {
                if taken {
                    return Err(AuthorizeError::AuthorizationTaken);
                }
                if headers.contains_key(X_SERVERLESS_AUTHORIZATION) {
                    return Err(AuthorizeError::ServerlessPresent);
                }
                headers.insert(AUTHORIZATION, bearer);
            }
            Self::Both => {
                if !taken {
                    headers.insert(AUTHORIZATION, bearer.clone());
                }
                headers.insert(X_SERVERLESS_AUTHORIZATION, bearer);
            }
            Self::Serverless => {
                headers.insert(X_SERVERLESS_AUTHORIZATION, bearer);
            }
        }
        Ok(())
    }
}

impl FromStr for CalledHeaders {
    type Err = CalledHeadersError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "both" => Ok(Self::Both),
            "authorization" => Ok(Self::Authorization),
            "serverless" => Ok(Self::Serverless),
            _ => Err(CalledHeadersError { found: text.to_owned() }),
        }
    }
}

impl fmt::Display for CalledHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Both => "both",
            Self::Authorization => "authorization",
            Self::Serverless => "serverless",
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn token(expires_at: i64) -> IdToken {
        let payload = format!(r#"{{"aud":"https://a.example","exp":{expires_at}}}"#);
        IdToken::parse(&format!("e30.{}.AQ", URL_SAFE_NO_PAD.encode(payload))).unwrap()
    }

    /// What `put` makes of headers that already have these.
    fn put(
        mode: CalledHeaders,
        before: &[(HeaderName, HeaderValue)],
    ) -> Result<[Option<HeaderValue>; 2], AuthorizeError> {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(name, value.clone());
        }
        mode.put(&token(5), &mut headers)?;
        Ok([AUTHORIZATION, X_SERVERLESS_AUTHORIZATION].map(|name| headers.get(name).cloned()))
    }

    #[test]
    fn words_go_there_and_back() {
        for word in ["auto", "both", "authorization", "serverless"] {
            assert_eq!(word.parse::<CalledHeaders>().unwrap().to_string(), word);
        }
        for word in ["", "Both", " auto", "none"] {
            let error = word.parse::<CalledHeaders>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{word:?}")) && error.contains("serverless"),
                "{error}"
            );
        }
    }

    #[test]
    fn auto_is_both_where_cloud_run_stands_in_front() {
        let table = [
            ("https://a-1.europe-west1.run.app/", CalledHeaders::Both),
            ("https://r-p.cloudfunctions.net/f", CalledHeaders::Both),
            ("http://127.0.0.1:8080/", CalledHeaders::Both),
            ("http://localhost/", CalledHeaders::Both),
            ("https://api.example.com/", CalledHeaders::Authorization),
            ("https://evilrun.app/", CalledHeaders::Authorization),
            ("https://run.app.evil.example/", CalledHeaders::Authorization),
        ];
        for (url, expected) in table {
            let url = url.parse().unwrap();
            assert_eq!(CalledHeaders::Auto.for_url(&url), expected, "{url}");
            assert_eq!(CalledHeaders::Serverless.for_url(&url), CalledHeaders::Serverless);
        }
    }

    #[test]
    fn each_mode_sets_its_headers_and_marks_them_sensitive() {
        let ours = Some(token(5).bearer());
        let table = [
            (CalledHeaders::Both, [ours.clone(), ours.clone()]),
            (CalledHeaders::Authorization, [ours.clone(), None]),
            (CalledHeaders::Serverless, [None, ours]),
        ];
        for (mode, expected) in table {
            let found = put(mode, &[]).unwrap();
            assert!(found.iter().flatten().all(HeaderValue::is_sensitive), "{mode}");
            assert_eq!(found, expected, "{mode}");
        }
    }

    #[test]
    fn an_authorization_of_the_handler_is_never_overwritten() {
        let ours = Some(token(5).bearer());
        let theirs = HeaderValue::from_static("Bearer firebase");
        let before = [(AUTHORIZATION, theirs.clone())];
        for mode in [CalledHeaders::Both, CalledHeaders::Serverless] {
            assert_eq!(put(mode, &before).unwrap(), [Some(theirs.clone()), ours.clone()], "{mode}");
        }
        let error = put(CalledHeaders::Authorization, &before).unwrap_err();
        assert!(matches!(error, AuthorizeError::AuthorizationTaken), "{error}");
        assert!(error.to_string().contains("CALLED_HEADERS"), "{error}");

        let twice = [(AUTHORIZATION, theirs.clone()), (AUTHORIZATION, token(5).bearer())];
        assert_eq!(put(CalledHeaders::Both, &twice).unwrap()[0], Some(theirs));
    }

    #[test]
    fn a_request_that_is_sent_again_gets_the_same_headers() {
        let ours = token(5).bearer();
        let both = [(AUTHORIZATION, ours.clone()), (X_SERVERLESS_AUTHORIZATION, ours.clone())];
        assert_eq!(put(CalledHeaders::Both, &both).unwrap(), [Some(ours.clone()), Some(ours)]);
        put(CalledHeaders::Authorization, &both[..1]).unwrap();
    }

    #[test]
    fn a_serverless_header_from_elsewhere_never_goes_out() {
        let before = [
            (X_SERVERLESS_AUTHORIZATION, HeaderValue::from_static("bearer incoming")),
            (X_SERVERLESS_AUTHORIZATION, HeaderValue::from_static("bearer second")),
        ];
        let ours = Some(token(5).bearer());
        assert_eq!(put(CalledHeaders::Both, &before).unwrap()[1], ours);
        assert_eq!(put(CalledHeaders::Serverless, &before).unwrap()[1], ours);
        let error = put(CalledHeaders::Authorization, &before).unwrap_err();
        assert!(matches!(error, AuthorizeError::ServerlessPresent), "{error}");
    }
}
