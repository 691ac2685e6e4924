//! The trace that a request belongs to, as two header fields carry it.

use std::num::NonZeroU64;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::request;

/// W3C Trace Context, <https://www.w3.org/TR/trace-context/#traceparent-header>.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Google's older field, <https://cloud.google.com/trace/docs/trace-context#legacy-http-header>.
const CLOUD_TRACE: HeaderName = HeaderName::from_static("x-cloud-trace-context");

/// Which trace a request belongs to, which span asked for it, and whether the trace is recorded.
///
/// Cloud Run gives every request both `traceparent` and `X-Cloud-Trace-Context`. Log lines that carry the trace are
/// shown beneath their request, and a call that carries it on joins the callee's log lines to the same trace.
///
/// ```
/// use countersign::telemetry::TraceContext;
/// use http::HeaderMap;
///
/// let mut received = HeaderMap::new();
/// received.insert(
///     "traceparent",
///     "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap(),
/// );
/// let trace = TraceContext::from_headers(&received).unwrap_or_else(TraceContext::start);
///
/// let mut sent = HeaderMap::new();
/// let child = trace.continue_in(&mut sent);
/// assert_eq!(child.trace_id(), "0af7651916cd43dd8448eb211c80319c");
/// assert_ne!(child.span_id(), trace.span_id());
/// assert!(sent["traceparent"].to_str().unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
/// ```
///
/// `tracestate` is not carried on: W3C lets a participant drop it, and nothing here reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: Option<NonZeroU64>,
    sampled: bool,
}

impl TraceContext {
    /// What a request's header fields say: `traceparent` where there is one good value, else
    /// `X-Cloud-Trace-Context`, else nothing. What cannot be read counts as absent, as W3C asks (section 3.3): a
    /// broken trace is no reason to refuse a request.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        single(headers, &TRACEPARENT)
            .and_then(parse_traceparent)
            .or_else(|| single(headers, &CLOUD_TRACE).and_then(parse_cloud_trace))
    }

    /// The trace of the request that the running task answers, where [`crate::server`] serves it. `None` outside a
    /// request, in a task that was spawned, and where the request named no trace.
    #[must_use]
    pub fn current() -> Option<Self> {
        request::with_current(|request| request.trace).flatten()
    }

    /// A new trace that nobody has asked to record.
    #[must_use]
    pub fn start() -> Self {
        Self { trace: fastrand::u128(1..), span: None, sampled: false }
    }

    /// Writes both fields for a request that is made in the course of this one, under a new span, in place of any
    /// that are there. Returns what was written.
    pub fn continue_in(self, headers: &mut HeaderMap) -> Self {
        let span = fastrand::u64(1..);
        let child = Self { span: NonZeroU64::new(span), ..self };
        let sampled = u8::from(self.sampled);
        let traceparent = format!("00-{:032x}-{span:016x}-{sampled:02x}", self.trace);
        let cloud_trace = format!("{:032x}/{span};o={sampled}", self.trace);
        for (name, value) in [(TRACEPARENT, traceparent), (CLOUD_TRACE, cloud_trace)] {
            // Hexadecimal digits and four signs: always a header value. Should that change, no field is sent.
            if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)) {
                headers.insert(name, value);
            }
        }
        child
    }

    /// The trace's id: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The id of the span that made the request: 16 lower-case hexadecimal digits, if the request said.
    #[must_use]
    pub fn span_id(&self) -> Option<String> {
        self.span.map(|span| format!("{span:016x}"))
    }

    /// Whether whoever began the trace records it.
    #[must_use]
    pub const fn sampled(&self) -> bool {
        self.sampled
    }
}

/// The only value of a field: with two, nobody knows which one is meant.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// `VERSION-TRACE-SPAN-FLAGS`. A version above 00 may say more after another dash (section 3.2.4).
fn parse_traceparent(value: &[u8]) -> Option<TraceContext> {
    let (known, rest) = value.split_at_checked(55)?;
    let [version @ .., _] = known.get(..3)? else { return None };
    let version = lower_hex(version)?;
    let dashes = [known[2], known[35], known[52]];
    let tail_fits = if version == 0 { rest.is_empty() } else { matches!(rest, [] | [b'-', ..]) };
    if version == 0xff || dashes != *b"---" || !tail_fits {
        return None;
    }
    let trace = lower_hex(&known[3..35])?;
    let span = NonZeroU64::new(u64::try_from(lower_hex(&known[36..52])?).ok()?)?;
    let flags = lower_hex(&known[53..55])?;
    (trace != 0).then_some(TraceContext { trace, span: Some(span), sampled: flags & 1 == 1 })
}

/// `TRACE[/SPAN][;o=OPTIONS]`: the trace in hexadecimal, the span in decimal.
fn parse_cloud_trace(value: &[u8]) -> Option<TraceContext> {
    let value = std::str::from_utf8(value).ok()?;
    let (ids, options) = match value.split_once(';') {
        Some((ids, options)) => (ids, Some(options.strip_prefix("o=")?)),
        None => (value, None),
    };
    let (trace, span) = match ids.split_once('/') {
        Some((trace, span)) => (trace, decimal(span)?),
        None => (ids, 0),
    };
    if trace.len() != 32 {
        return None;
    }
    let trace = lower_hex(trace.to_ascii_lowercase().as_bytes())?;
    let sampled = options.map_or(Some(0), decimal)? & 1 == 1;
    let span = NonZeroU64::new(span);
    (trace != 0).then_some(TraceContext { trace, span, sampled })
}

/// Digits only: `str::parse` would take a sign too.
fn decimal(digits: &str) -> Option<u64> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// At most 32 digits of lower-case hexadecimal, and nothing else: `from_str_radix` would take signs and capitals.
fn lower_hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        number.checked_mul(16)?.checked_add(u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
    const SPAN: u64 = 0xb7ad_6b71_6920_3331;

    fn parse(fields: &[(&'static str, &str)]) -> Option<TraceContext> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        TraceContext::from_headers(&headers)
    }

    fn context(sampled: bool) -> Option<TraceContext> {
        Some(TraceContext { trace: TRACE, span: NonZeroU64::new(SPAN), sampled })
    }

    #[test]
    fn traceparent_is_read_as_w3c_says() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let span = "b7ad6b7169203331";
        let read = |value: &str| parse(&[("traceparent", value)]);
        assert_eq!(read(&format!("00-{trace}-{span}-01")), context(true));
        assert_eq!(read(&format!("00-{trace}-{span}-00")), context(false));
        assert_eq!(
            read(&format!("00-{trace}-{span}-03")),
            context(true),
            "other flags do not matter"
        );
        assert_eq!(read(&format!("cc-{trace}-{span}-01")), context(true), "a later version");
        assert_eq!(read(&format!("cc-{trace}-{span}-01-more")), context(true), "which says more");

        for bad in [
            format!("00-{trace}-{span}-01-more"),
            format!("cc-{trace}-{span}-01more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{trace}-{span}-0"),
            format!("00-{trace}-{span}"),
            format!("00_{trace}_{span}_01"),
            format!("00-+{}-{span}-01", &trace[1..]),
            String::from("00"),
            String::new(),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn cloud_trace_has_its_span_in_decimal() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let read = |value: &str| parse(&[("x-cloud-trace-context", value)]);
        assert_eq!(read(&format!("{trace}/{SPAN};o=1")), context(true));
        assert_eq!(read(&format!("{}/{SPAN};o=1", trace.to_uppercase())), context(true));
        assert_eq!(read(&format!("{trace}/{SPAN}")), context(false));
        let spanless = TraceContext { trace: TRACE, span: None, sampled: true };
        assert_eq!(read(&format!("{trace};o=1")), Some(spanless));
        assert_eq!(read(&format!("{trace}/0;o=1")), Some(spanless));
        for bad in ["", "/", ";o=1", "abc/1;o=1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        for bad in ["/x", "/+1", "/18446744073709551616", ";p=1", ";o=x", "/1;o=", "0", "/"] {
            assert_eq!(read(&format!("{trace}{bad}")), None, "{bad}");
        }
    }

    #[test]
    fn traceparent_wins_unless_it_is_broken_or_said_twice() {
        let w3c = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let google = ("x-cloud-trace-context", "11111111111111111111111111111111/7;o=1");
        assert_eq!(parse(&[google, ("traceparent", w3c)]), context(true));
        let other = parse(&[google]);
        assert!(other.is_some());
        assert_eq!(parse(&[google, ("traceparent", "nonsense")]), other);
        assert_eq!(parse(&[google, ("traceparent", w3c), ("traceparent", w3c)]), other);
        assert_eq!(parse(&[google, google]), None);
    }

    #[test]
    fn a_started_trace_is_continued() {
        let mut headers = HeaderMap::new();
        let root = TraceContext::start();
        assert_eq!(root.span_id(), None);
        let child = root.continue_in(&mut headers);
        assert_eq!(TraceContext::from_headers(&headers), Some(child));
        assert_eq!(child.trace_id(), root.trace_id());
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parsers(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse_traceparent(&value);
            let _ = parse_cloud_trace(&value);
        }

        #[test]
        fn near_misses_do_not_break_the_parsers(value in "[0-9a-fA-F]{0,3}-[0-9a-f]{30,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}") {
            let _ = parse_traceparent(value.as_bytes());
        }

        #[test]
        fn both_fields_carry_the_same(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let context = TraceContext { trace, span: NonZeroU64::new(span), sampled };
            let mut headers = HeaderMap::new();
            let child = context.continue_in(&mut headers);
            let mut w3c = headers.clone();
            w3c.remove(CLOUD_TRACE);
            headers.remove(TRACEPARENT);
            prop_assert_eq!(TraceContext::from_headers(&w3c), Some(child));
            prop_assert_eq!(TraceContext::from_headers(&headers), Some(child));
            prop_assert_eq!((child.trace, child.sampled), (trace, sampled));
        }
    }
}
