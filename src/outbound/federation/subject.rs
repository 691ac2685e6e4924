//! Subject tokens: what another identity provider gave this workload, from a file, a URL or a program.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::IgnoredAny;
use url::Url;

use super::executable::Executable;
use crate::outbound::credential_file::{CredentialError, Fields, read_bounded};
use crate::outbound::endpoint::{SourceOptions, shown};
use crate::outbound::exchange::{Exchange, text_member};
use crate::outbound::service_account::endpoint_advice;
use crate::outbound::source::{SourceError, SourceFault};

/// Where the subject token is.
pub(super) enum Subject {
    /// Read anew each time: whoever wrote it keeps it fresh.
    File {
        path: PathBuf,
        format: Format,
    },
    Url {
        url: Url,
        headers: HeaderMap,
        format: Format,
        exchange: Box<Exchange>,
    },
    Executable(Executable),
}

/// How the subject token is written.
pub(super) enum Format {
    Text,
    /// A member of a JSON object.
    Json(String),
}

impl Subject {
    pub(super) fn from_fields(
        fields: &Fields,
        options: &SourceOptions,
    ) -> Result<Self, CredentialError> {
        const NAME: &str = "credential_source";
        let source = fields
            .object(NAME)?
            .ok_or_else(|| fields.wrong(NAME, "missing; expected an object"))?;
        if source.optional("environment_id")?.is_some() {
            return Err(source.wrong(
                "environment_id",
                "AWS credentials are not supported: use an OIDC provider for the workload, with its token in a file \
                 or at a URL",
            ));
        }
        let format = Format::from_fields(&source)?;
        if let Some(path) = source.optional("file")? {
            return Ok(Self::File { path: path.into(), format });
        }
        if let Some(url) = source.optional_url("url")? {
            let headers = headers(&source)?;
            let exchange = Box::new(options.exchange(&url)?);
            return Ok(Self::Url { url, headers, format, exchange });
        }
        match source.object("executable")? {
            Some(executable) => {
                Executable::from_fields(fields, &executable, options).map(Self::Executable)
            }
            None => {
                Err(fields
                    .wrong(NAME, "expected one of \"file\", \"url\" and \"executable\" in it"))
            }
        }
    }

    pub(super) async fn token(&self) -> Result<String, SourceError> {
        let local = |fault| SourceError::new(self.name(), 1, fault, "");
        match self {
            Self::File { path, format } => {
                let file = path.clone();
                let read = tokio::task::spawn_blocking(move || read_bounded(&file)).await;
                let bytes = read.map_err(|_| local(SourceFault::Interrupted))?;
                let bytes = bytes.map_err(|message| local(SourceFault::Local(message.into())))?;
                format.read(&bytes).map_err(local)
            }
            Self::Url { url, headers, format, exchange } => {
                let request =
                    |client: &reqwest::Client| client.get(url.clone()).headers(headers.clone());
                let accept = |body: &[u8]| format.read(body);
                exchange.run(self.name(), request, accept, endpoint_advice).await
            }
            Self::Executable(executable) => executable.run().await.map_err(local),
        }
    }

    /// What messages call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File { path, .. } => format!("the subject token in {}", path.display()),
            Self::Url { url, .. } => shown("the subject token", url),
            Self::Executable(executable) => executable.name(),
        }
    }

    pub(super) fn budget(&self) -> Duration {
        match self {
            Self::File { .. } => Duration::from_secs(1),
            Self::Url { exchange, .. } => exchange.budget.now(),
            Self::Executable(executable) => executable.timeout(),
        }
    }
}

impl Format {
    fn from_fields(source: &Fields) -> Result<Self, CredentialError> {
        let Some(format) = source.object("format")? else { return Ok(Self::Text) };
        match format.optional("type")? {
            None | Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json(format.text("subject_token_field_name")?.to_owned())),
            Some(_) => Err(format.wrong("type", "expected text or json")),
        }
    }

    /// Errors show nothing of the body: what is no token of the expected form may be one of another, or a file that
    /// holds something else altogether.
    fn read(&self, body: &[u8]) -> Result<String, SourceFault> {
        let unexpected = |expected, found: &str| {
            Err(SourceFault::Unexpected { expected, found: found.to_owned() })
        };
        match self {
            Self::Json(_) if serde_json::from_slice::<IgnoredAny>(body).is_err() => {
                unexpected("an object with the subject token", "something that is not JSON")
            }
            Self::Json(field) => text_member(body, field, "an object with the subject token"),
            Self::Text => match str::from_utf8(body).map(str::trim_ascii) {
                Ok("") => unexpected("a subject token", "nothing"),
                Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
                _ => unexpected("a subject token", "white space or other than visible ASCII in it"),
            },
        }
    }
}

fn headers(source: &Fields) -> Result<HeaderMap, CredentialError> {
    let mut headers = HeaderMap::new();
    let Some(object) = source.object("headers")? else { return Ok(headers) };
    for (name, value) in object.pairs()? {
        let wrong = || object.wrong(name, "cannot stand in a request as a header");
        let header = HeaderName::try_from(name).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
        // It may be a credential.
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_something_else_is_not_shown() {
        for format in [Format::Text, Format::Json("id_token".to_owned())] {
            for body in
                ["root:x:hunter2 and more", "{\"other\": \"hunter2\"", "\u{e9}hunter2", "", " \n"]
            {
                let error = format.read(body.as_bytes()).unwrap_err().to_string();
                assert!(error.contains("subject token") && !error.contains("hunter2"), "{error}");
            }
        }
        assert_eq!(Format::Text.read(b" opaque\n").unwrap(), "opaque");
    }
}
