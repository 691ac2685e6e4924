//! One event, collected field by field, before it is written as JSON or as text.

use std::error::Error;
use std::fmt::{self, Debug, Write as _};

use serde_json::{Map, Value};
use tracing::Level;
use tracing::field::{Field, Visit};

/// The longest text of one field, in bytes. Cloud Logging takes 256 KiB for an entry; what strangers send should not
/// come near it.
const TEXT_LIMIT: usize = 8 * 1024;

/// Cloud Logging's severities, <https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#logseverity>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Default,
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Severity {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Default, "DEFAULT"),
        (Self::Debug, "DEBUG"),
        (Self::Info, "INFO"),
        (Self::Notice, "NOTICE"),
        (Self::Warning, "WARNING"),
        (Self::Error, "ERROR"),
        (Self::Critical, "CRITICAL"),
        (Self::Alert, "ALERT"),
        (Self::Emergency, "EMERGENCY"),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(severity, _)| *severity == self).map_or("DEFAULT", |(_, name)| name)
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(severity, _)| *severity)
    }
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            Level::DEBUG | Level::TRACE => Self::Debug,
        }
    }
}

/// What an event or a span says, by the names that Cloud Logging gives to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) message: Option<String>,
    pub(super) severity: Option<Severity>,
    /// `httpRequest`, from fields named `http_request.*`.
    pub(super) http: Map<String, Value>,
    pub(super) fields: Map<String, Value>,
}

impl Record {
    /// Takes over what `outer` says, where `self` says nothing of the kind: a span's fields for an event inside it.
    pub(super) fn inherit(&mut self, outer: &Self) {
        for (name, value) in &outer.fields {
            self.fields.entry(name).or_insert_with(|| value.clone());
        }
    }

    fn put(&mut self, name: &str, value: Value) {
        if let Some(part) = name.strip_prefix("http_request.") {
            return self.put_http(part, value);
        }
        match (name, &value) {
            ("message", Value::String(text)) => self.message = Some(text.clone()),
            ("message", other) => self.message = Some(other.to_string()),
            ("severity", Value::String(text)) if Severity::parse(text).is_some() => {
                self.severity = Severity::parse(text);
            }
            _ => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }

    /// <https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#httprequest>: sizes are text there,
    /// because they are 64-bit, and the latency is a `Duration`, seconds with an `s`.
    fn put_http(&mut self, part: &str, value: Value) {
        let (name, value) = match part {
            "method" => ("requestMethod", value),
            "url" => ("requestUrl", without_query(value)),
            "status" => ("status", value),
            "latency" => match value.as_f64() {
                Some(seconds) => ("latency", format!("{seconds:.6}s").into()),
                None => ("latency", value),
            },
            "remote_ip" => ("remoteIp", value),
            "user_agent" => ("userAgent", value),
            "protocol" => ("protocol", value),
            "request_size" => ("requestSize", value.to_string().into()),
            "response_size" => ("responseSize", value.to_string().into()),
            other => {
                self.fields.insert(format!("http_request.{other}"), value);
                return;
            }
        };
        self.http.insert(name.to_owned(), value);
    }
}

impl Visit for Record {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field.name(), value.to_string().into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field.name(), value.to_string().into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), bounded(value).into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field.name(), with_causes(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), bounded_format(format_args!("{value:?}")).into());
    }
}

/// An error and its causes. Some errors tell theirs by themselves, for whoever sees the message alone: what has been
/// said is not said again.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = Bounded::default();
    let mut result = write!(text, "{error}");
    let mut source = error.source();
    while let (Ok(()), Some(cause)) = (result, source) {
        let told = bounded_format(format_args!("{cause}"));
        if !text.text.contains(&told) {
            result = write!(text, ": {told}");
        }
        source = cause.source();
    }
    text.finish()
}

/// At most [`TEXT_LIMIT`] bytes of a text, with a sign that there was more.
pub(super) fn bounded(text: &str) -> String {
    bounded_format(format_args!("{text}"))
}

fn bounded_format(arguments: fmt::Arguments<'_>) -> String {
    let mut text = Bounded::default();
    // The error says that the limit was reached, which `finish` marks.
    let _ = text.write_fmt(arguments);
    text.finish()
}

fn without_query(url: Value) -> Value {
    match url {
        Value::String(url) => url.split(['?', '#']).next().unwrap_or_default().into(),
        other => other,
    }
}

/// A text that stops growing, so that a value of any length is formatted no further than is kept.
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Bounded {
    fn finish(mut self) -> String {
        if self.full {
            self.text.push('…');
        }
        self.text
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = TEXT_LIMIT.saturating_sub(self.text.len());
        if more.len() <= room && !self.full {
            self.text.push_str(more);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| more.is_char_boundary(*end)).unwrap_or(0);
        self.text.push_str(&more[..end]);
        self.full = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_severity_is_found_by_its_name() {
        for (severity, name) in Severity::ALL {
            assert_eq!(severity.name(), name);
            assert_eq!(Severity::parse(name), Some(severity));
        }
        assert_eq!(Severity::parse("error"), None);
    }

    #[test]
    fn a_cause_that_the_error_tells_itself_is_not_told_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("no token from {place}: {source}; look there")]
        struct Outer {
            place: &'static str,
            source: Middle,
        }
        #[derive(Debug, thiserror::Error)]
        #[error("no answer")]
        struct Middle(#[source] std::io::Error);

        let refused = || Middle(std::io::Error::other("refused"));
        assert_eq!(with_causes(&refused()), "no answer: refused");
        let error = Outer { place: "here", source: refused() };
        assert_eq!(with_causes(&error), "no token from here: no answer; look there: refused");
    }

    #[test]
    fn long_text_is_cut_and_marked() {
        let text = bounded(&"é".repeat(TEXT_LIMIT));
        assert!(text.len() <= TEXT_LIMIT + '…'.len_utf8());
        assert!(text.ends_with("é…"));
        assert_eq!(bounded("short"), "short");
    }

    proptest! {
        #[test]
        fn bounded_never_panics_and_keeps_the_beginning(text in "\\PC{0,40}", times in 1_usize..600) {
            let long = text.repeat(times);
            let cut = bounded(&long);
            prop_assert!(cut.len() <= TEXT_LIMIT + '…'.len_utf8());
            prop_assert!(long.starts_with(cut.trim_end_matches('…')) || text.contains('…'));
        }
    }
}
