//! What the methods take.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::refusal::Refusal;

/// Far more than any request needs.
const LARGEST: usize = 128 * 1024;
/// The longest life of an access token without an organisation's leave, in seconds.
const LONGEST_SECONDS: i64 = 3600;
/// The longest chain that makes sense in a test.
const LONGEST_CHAIN: usize = 20;

/// A body that has been read, and not yet understood.
pub(super) struct Document(Bytes);

impl<S: Sync> FromRequest<S> for Document {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let body = Limited::new(request.into_body(), LARGEST).collect().await.map_err(|_| {
            Refusal::invalid(format!("the body broke off, or is over {LARGEST} bytes"))
        })?;
        Ok(Self(body.to_bytes()))
    }
}

impl Document {
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let text = if self.0.is_empty() { b"{}" } else { self.0.as_ref() };
        serde_json::from_slice(text)
            .map_err(|error| Refusal::invalid(format!("Invalid JSON payload received. {error}")))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IdTokenRequest {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) audience: String,
    #[serde(default, deserialize_with = "flag")]
    pub(super) include_email: bool,
    #[serde(default, deserialize_with = "flag")]
    pub(super) use_email_azp: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) delegates: Vec<String>,
}

impl IdTokenRequest {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.audience.is_empty() {
            return Err(required("audience"));
        }
        chain(&self.delegates)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessTokenRequest {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) scope: Vec<String>,
    #[serde(default)]
    lifetime: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) delegates: Vec<String>,
}

impl AccessTokenRequest {
    /// How long the token is to live, in seconds.
    pub(super) fn check(&self) -> Result<i64, Refusal> {
        if !self.scope.iter().any(|scope| !scope.is_empty()) {
            return Err(required("scope"));
        }
        chain(&self.delegates)?;
        let Some(text) = self.lifetime.as_deref() else { return Ok(LONGEST_SECONDS) };
        let seconds = text.strip_suffix('s').and_then(|digits| digits.parse::<i64>().ok());
        seconds.filter(|seconds| (1..=LONGEST_SECONDS).contains(seconds)).ok_or_else(|| {
            Refusal::invalid(format!(
                "lifetime: found {text:?}, expected 1s to {LONGEST_SECONDS}s (an organisation can allow more)"
            ))
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtRequest {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) payload: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) delegates: Vec<String>,
}

impl JwtRequest {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        chain(&self.delegates)?;
        match serde_json::from_str::<Value>(&self.payload) {
            Ok(Value::Object(_)) => Ok(()),
            _ => Err(Refusal::invalid("payload: expected a JSON object, as a string")),
        }
    }
}

fn required(field: &str) -> Refusal {
    Refusal::invalid(format!("The request is missing a required field: {field}"))
}

fn chain(delegates: &[String]) -> Result<(), Refusal> {
    if delegates.len() <= LONGEST_CHAIN {
        return Ok(());
    }
    Err(Refusal::invalid(format!("delegates: found {}, expected at most 20", delegates.len())))
}

/// `null` is as good as left out, as protocol buffers have it in JSON; google-auth sends `"delegates": null`.
fn or_default<'de, D, T>(value: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// A boolean, or its name: protocol buffers take both in JSON, and one of Google's clients sends the name.
fn flag<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    match Value::deserialize(value)? {
        Value::Bool(flag) => Ok(flag),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        Value::Null => Ok(false),
        other => Err(D::Error::custom(format!("found {other}, expected true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
        Document(Bytes::copy_from_slice(text.as_bytes())).read()
    }

    #[test]
    fn flags_are_booleans_or_their_names() {
        let read = |flag: &str| {
            read::<IdTokenRequest>(&format!(r#"{{"audience":"a","includeEmail":{flag}}}"#))
                .map(|request| request.include_email)
        };
        assert!(read("true").unwrap() && read("\"true\"").unwrap());
        assert!(!read("false").unwrap() && !read("\"false\"").unwrap() && !read("null").unwrap());
        assert!(read("1").is_err() && read("\"yes\"").is_err());
    }

    #[test]
    fn null_is_as_good_as_left_out() {
        let request: AccessTokenRequest =
            read(r#"{"scope":["s"],"delegates":null,"lifetime":null}"#).unwrap();
        assert_eq!(request.check().unwrap(), 3600);
        let request: IdTokenRequest = read(r#"{"audience":null,"delegates":null}"#).unwrap();
        assert!(request.check().is_err());
    }

    #[test]
    fn lifetimes_are_seconds_up_to_an_hour() {
        let check = |lifetime: &str| {
            read::<AccessTokenRequest>(&format!(r#"{{"scope":["s"],"lifetime":"{lifetime}"}}"#))
                .unwrap()
                .check()
        };
        assert_eq!((check("1s").unwrap(), check("3600s").unwrap()), (1, 3600));
        for wrong in ["", "0s", "-1s", "3601s", "300", "1h", "1.5s"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            read::<AccessTokenRequest>(r#"{"scope":["s"]}"#).unwrap().check().unwrap(),
            3600
        );
        assert!(read::<AccessTokenRequest>("{}").unwrap().check().is_err());
    }
}
