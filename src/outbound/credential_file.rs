//! Google's credential files: JSON objects whose `type` says what they are.
//!
//! Each mistake is one line that names the file and the field. Values are never repeated: they may be secrets.
//!
//! Source: <https://google.aip.dev/auth/4110>, <https://cloud.google.com/docs/authentication/application-default-credentials>.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use super::endpoint::safe_url;
use crate::http_client::HttpClientError;

/// What a credential file may weigh: Google's have two to three KiB.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why a credential file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The file cannot be read, or is no JSON object.
    #[error("{file}: {message}")]
    File {
        /// Its path.
        file: Arc<str>,
        /// What is wrong and what to do.
        message: String,
    },
    /// A field is missing or wrong.
    #[error("{file}, field {field:?}: {message}")]
    Field {
        /// The file's path.
        file: Arc<str>,
        /// The field's name, with those around it before it.
        field: String,
        /// What was found and expected.
        message: String,
    },
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    HttpClient(#[from] HttpClientError),
}

/// The fields of a credential file, or of an object within it. No `Debug`: it holds secrets.
#[derive(Clone)]
pub(super) struct Fields {
    file: Arc<str>,
    /// The fields around this one, each with a dot after it.
    around: String,
    members: Map<String, Value>,
}

impl Fields {
    /// The fields of the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, CredentialError> {
        let file: Arc<str> = path.display().to_string().into();
        let bytes = read_bounded(path)
            .map_err(|message| CredentialError::File { file: Arc::clone(&file), message })?;
        Self::parse(file, &bytes)
    }

    fn parse(file: Arc<str>, bytes: &[u8]) -> Result<Self, CredentialError> {
        let wrong = |message: &str| CredentialError::File {
            file: Arc::clone(&file),
            message: message.to_owned(),
        };
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(wrong("the file is UTF-16: save it as UTF-8"));
        }
        // Some editors put a byte order mark before UTF-8, too; it says nothing, and is skipped.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(members)) => Ok(Self { file, around: String::new(), members }),
            Ok(_) => Err(wrong("JSON, but not an object: expected a Google credential file")),
            Err(_) if bytes.trim_ascii().is_empty() => Err(wrong("the file is empty")),
            Err(_) if bytes.trim_ascii_start().starts_with(b"-----BEGIN") => {
                Err(wrong("a bare PEM file: expected the JSON file that the key came in"))
            }
            // serde's own words may repeat a value.
            Err(error) => Err(wrong(&format!(
                "not JSON (line {}, column {}): expected a Google credential file",
                error.line(),
                error.column()
            ))),
        }
    }

    pub(super) fn wrong(&self, field: &str, message: impl Into<String>) -> CredentialError {
        CredentialError::Field {
            file: Arc::clone(&self.file),
            field: format!("{}{field}", self.around),
            message: message.into(),
        }
    }

    /// A text that must be there.
    pub(super) fn text(&self, name: &str) -> Result<&str, CredentialError> {
        self.optional(name)?.ok_or_else(|| self.wrong(name, "missing; expected a text"))
    }

    /// A text that may be left out; an empty one counts as left out.
    pub(super) fn optional(&self, name: &str) -> Result<Option<&str>, CredentialError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, format!("found {}, expected a text", kind(other)))),
        }
    }

    /// A URL that credentials may be sent to, if it is there.
    pub(super) fn optional_url(&self, name: &str) -> Result<Option<Url>, CredentialError> {
        let Some(text) = self.optional(name)? else { return Ok(None) };
        safe_url(text).map(Some).map_err(|message| self.wrong(name, message))
    }

    /// A URL that must be there.
    pub(super) fn url(&self, name: &str) -> Result<Url, CredentialError> {
        self.text(name)?;
        self.optional_url(name)?.ok_or_else(|| self.wrong(name, "missing; expected a URL"))
    }

    /// An object within this one, if it is there.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, CredentialError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Self {
                file: Arc::clone(&self.file),
                around: format!("{}{name}.", self.around),
                members: members.clone(),
            })),
            Some(other) => {
                Err(self.wrong(name, format!("found {}, expected an object", kind(other))))
            }
        }
    }

    /// A list of texts; left out, it is empty.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, CredentialError> {
        let wrong = || self.wrong(name, "expected a list of texts");
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|entry| entry.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// A whole number, if it is there.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, CredentialError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| {
                self.wrong(name, format!("found {}, expected a whole number", kind(value)))
            }),
        }
    }

    /// The members, each of which must be a text.
    pub(super) fn pairs(&self) -> Result<Vec<(&str, &str)>, CredentialError> {
        self.members.keys().map(|name| Ok((name.as_str(), self.text(name)?))).collect()
    }

    /// The domain of the cloud that this credential belongs to: `googleapis.com`, unless it says another.
    pub(super) fn universe(&self) -> Result<&str, CredentialError> {
        const NAME: &str = "universe_domain";
        let Some(domain) = self.optional(NAME)? else { return Ok("googleapis.com") };
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if domain.bytes().all(good) && domain.contains('.') && !domain.starts_with('.') {
            return Ok(domain);
        }
        Err(self.wrong(NAME, "expected a domain such as googleapis.com"))
    }
}

pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => {
            "may not be read by this process's user: change its owner or mode".to_owned()
        }
        _ => format!("cannot be read ({error})"),
    };
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if about.is_dir() {
        return Err("a directory: expected a credential file".to_owned());
    }
    // Neither a pipe nor a device: reading one could take for ever.
    if !about.is_file() {
        return Err("not a regular file: expected a credential file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("more than {MAX_FILE_BYTES} bytes: not a credential file"));
    }
    Ok(bytes)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
