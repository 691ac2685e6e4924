//! A record as a person reads it in a terminal. No colours, and no control character of a value reaches the terminal:
//! neither a line nor an escape sequence can be forged.

use std::fmt::Write as _;

use serde_json::Value;
use tracing::Metadata;

use super::TraceContext;
use super::record::{Record, Severity};

/// The line, its end included.
pub(super) fn line(
    time: &str,
    metadata: &Metadata<'_>,
    trace: Option<TraceContext>,
    record: &Record,
) -> Vec<u8> {
    let severity = record.severity.unwrap_or_else(|| Severity::from(*metadata.level()));
    let mut line = format!("{time} {:<7} {}:", severity.name(), metadata.target());
    line.push(' ');
    push_plain(&mut line, record.message.as_deref().unwrap_or_else(|| metadata.name()));
    for name in ["requestMethod", "requestUrl", "status", "latency"] {
        if let Some(value) = record.http.get(name) {
            line.push(' ');
            push_value(&mut line, value);
        }
    }
    for (name, value) in &record.fields {
        line.push(' ');
        push_plain(&mut line, name);
        line.push('=');
        push_value(&mut line, value);
    }
    if let Some(trace) = trace {
        // Writing to a text cannot fail.
        let _ = write!(line, " trace={}", trace.trace_id());
    }
    line.push('\n');
    line.into_bytes()
}

/// A text as it is, its control characters escaped.
fn push_plain(line: &mut String, text: &str) {
    for sign in text.chars() {
        if unprintable(sign) {
            line.extend(sign.escape_unicode());
        } else {
            line.push(sign);
        }
    }
}

/// A value, in quotes where it could be taken for more than one.
fn push_value(line: &mut String, value: &Value) {
    let Value::String(text) = value else {
        line.push_str(&value.to_string());
        return;
    };
    let simple = !text.is_empty() && !text.contains([' ', '"', '=', '\\']);
    if simple {
        return push_plain(line, text);
    }
    line.push('"');
    for part in text.split_inclusive(['"', '\\']) {
        match part.strip_suffix(['"', '\\']) {
            Some(before) => {
                push_plain(line, before);
                line.push('\\');
                line.push_str(&part[before.len()..]);
            }
            None => push_plain(line, part),
        }
    }
    line.push('"');
}

/// Control characters, the two line separators that are none, and what turns the direction of writing.
fn unprintable(sign: char) -> bool {
    sign.is_control()
        || matches!(sign, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(value: &str) -> String {
        let mut line = String::new();
        push_value(&mut line, &value.into());
        line
    }

    #[test]
    fn values_are_quoted_where_they_could_be_misread() {
        assert_eq!(shown("plain"), "plain");
        assert_eq!(shown("two words"), r#""two words""#);
        assert_eq!(shown(r#"a" code=ok"#), r#""a\" code=ok""#);
        assert_eq!(shown(r"back\"), r#""back\\""#);
        assert_eq!(shown(""), r#""""#);
        assert_eq!(shown("a\nb\u{1b}[31m"), r"a\u{a}b\u{1b}[31m");
    }

    proptest! {
        #[test]
        fn no_value_can_begin_a_line_or_move_the_cursor(value in any::<String>()) {
            prop_assert!(!shown(&value).contains(unprintable));
        }
    }
}
