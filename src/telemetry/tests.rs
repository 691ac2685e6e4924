use std::io;
use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::request::{CURRENT, RequestContext};
use super::*;
use crate::clock::ManualClock;

/// Keeps each call of `write` apart, so that a test sees how many there were.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Vec<u8>>>>);

impl Write for Calls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines(config: &Config, events: impl FnOnce()) -> Vec<String> {
    let calls = Calls::default();
    let clock = ManualClock::at_unix_seconds(1_700_000_000);
    clock.advance(Duration::from_micros(123_456));
    let subscriber = config.subscriber(Arc::new(clock), calls.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, events);
    let calls = calls.0.lock().unwrap();
    calls.iter().map(|line| String::from_utf8(line.clone()).unwrap()).collect()
}

/// Each write is one whole line, and that is one JSON object.
fn entries(config: &Config, events: impl FnOnce()) -> Vec<Value> {
    lines(config, events)
        .iter()
        .map(|line| {
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
            serde_json::from_str(line).unwrap()
        })
        .collect()
}

fn entry(config: &Config, event: impl FnOnce()) -> Value {
    let mut entries = entries(config, event);
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

fn on_cloud_run() -> Config {
    Config {
        project_id: ProjectId::from("my-project"),
        service: Some("called".into()),
        revision: Some("called-00001".into()),
        labels: BTreeMap::from([("team".into(), "blue".into())]),
        ..Config::default()
    }
}

fn request() -> RequestContext {
    let (parts, ()) = http::Request::post("/things/7?token=secret")
        .header("user-agent", "curl/8")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(())
        .unwrap()
        .into_parts();
    RequestContext::new(&parts.method, &parts.uri, parts.version, &parts.headers)
}

#[test]
fn an_event_is_one_line_of_cloud_loggings_json() {
    let entry = entry(&on_cloud_run(), || {
        tracing::info!(address = "127.0.0.1:80", count = 3_u64, ok = true, "listening");
    });
    assert_eq!(entry["severity"], "INFO");
    assert_eq!(entry["message"], "listening");
    assert_eq!(entry["time"], "2023-11-14T22:13:20.123456Z");
    assert_eq!(entry["address"], "127.0.0.1:80");
    assert_eq!(entry["count"], 3);
    assert_eq!(entry["ok"], true);
    let labels = json!({ "team": "blue", "service": "called", "revision": "called-00001" });
    assert_eq!(entry["logging.googleapis.com/labels"], labels);
    let source = &entry["logging.googleapis.com/sourceLocation"];
    assert!(source["file"].as_str().unwrap().ends_with("tests.rs"), "{source}");
    assert!(source["line"].is_string(), "{source}");
    for absent in ["@type", "httpRequest", "logging.googleapis.com/trace", "serviceContext"] {
        assert_eq!(entry.get(absent), None, "{absent}");
    }
}

#[test]
fn levels_are_severities_and_a_severity_field_wins() {
    let config = Config { filter: "trace".into(), ..Config::default() };
    let entries = entries(&config, || {
        tracing::trace!("1");
        tracing::debug!("2");
        tracing::warn!("3");
        tracing::error!("4");
        tracing::info!(severity = "NOTICE", "5");
        tracing::warn!(severity = "CRITICAL", "6");
        tracing::info!(severity = "invented", "7");
    });
    let severities: Vec<_> = entries.iter().map(|entry| entry["severity"].clone()).collect();
    assert_eq!(severities, ["DEBUG", "DEBUG", "WARNING", "ERROR", "NOTICE", "CRITICAL", "INFO"]);
    assert_eq!(entries[6]["severity_"], "invented");
}

#[test]
fn errors_are_marked_for_error_reporting() {
    let failed: io::Error = io::Error::other("disk on fire");
    let entry = entry(&on_cloud_run(), || {
        tracing::error!(error = &failed as &(dyn std::error::Error + 'static), "cannot");
    });
    assert!(entry["@type"].as_str().unwrap().ends_with("v1beta1.ReportedErrorEvent"));
    assert_eq!(entry["serviceContext"], json!({ "service": "called", "version": "called-00001" }));
    assert_eq!(entry["error"], "disk on fire");
}

#[test]
fn http_request_fields_are_gathered_and_the_query_is_dropped() {
    let entry = entry(&Config::default(), || {
        tracing::info!(
            http_request.method = "GET",
            http_request.url = "/a?key=secret#x",
            http_request.status = 200_u16,
            http_request.latency = 0.25,
            http_request.remote_ip = "192.0.2.1",
            http_request.user_agent = "curl/8",
            http_request.response_size = 12_u64,
            "answered"
        );
    });
    assert_eq!(
        entry["httpRequest"],
        json!({
            "requestMethod": "GET", "requestUrl": "/a", "status": 200, "latency": "0.250000s",
            "remoteIp": "192.0.2.1", "userAgent": "curl/8", "responseSize": "12",
        })
    );
}

#[test]
fn lines_of_a_request_carry_its_trace() {
    let entry = entry(&on_cloud_run(), || {
        CURRENT.sync_scope(request(), || tracing::info!("within"));
    });
    let trace = "projects/my-project/traces/0af7651916cd43dd8448eb211c80319c";
    assert_eq!(entry["logging.googleapis.com/trace"], trace);
    assert_eq!(entry["logging.googleapis.com/spanId"], "b7ad6b7169203331");
    assert_eq!(entry["logging.googleapis.com/trace_sampled"], true);
    assert_eq!(entry.get("httpRequest"), None, "not every line tells of the request");
}

#[test]
fn a_project_that_becomes_known_later_counts_from_then_on() {
    let config = Config::default();
    let project_id = config.project_id.clone();
    let entries = entries(&config, || {
        CURRENT.sync_scope(request(), || {
            tracing::info!("before");
            project_id.set("late");
            project_id.set("later");
            tracing::info!("after");
        });
    });
    assert_eq!(entries[0].get("logging.googleapis.com/trace"), None);
    let trace = "projects/late/traces/0af7651916cd43dd8448eb211c80319c";
    assert_eq!(entries[1]["logging.googleapis.com/trace"], trace);
}

#[test]
fn without_a_project_the_bare_trace_is_written() {
    let entry = entry(&Config::default(), || {
        CURRENT.sync_scope(request(), || tracing::info!("within"));
    });
    assert_eq!(entry["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(entry.get("logging.googleapis.com/trace"), None);
}

#[test]
fn a_refusal_gets_its_request_without_the_query_and_is_noted() {
    let entries = entries(&Config::default(), || {
        CURRENT.sync_scope(request(), || {
            let logged = || request::with_current(RequestContext::denial_logged);
            assert_eq!(logged(), Some(false));
            let status = 401_u16;
            tracing::warn!(target: DENIAL_TARGET, code = "token_expired", http_request.status = status, "refused");
            assert_eq!(logged(), Some(true));
        });
    });
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["code"], "token_expired");
    assert_eq!(
        entries[0]["httpRequest"],
        json!({
            "requestMethod": "POST", "requestUrl": "/things/7", "protocol": "HTTP/1.1",
            "userAgent": "curl/8", "status": 401,
        })
    );
    assert!(!entries[0].to_string().contains("secret"));
}

#[test]
fn refusals_can_be_silenced() {
    let config = Config { request_log: RequestLog::None, ..Config::default() };
    let entries = entries(&config, || {
        tracing::warn!(target: DENIAL_TARGET, "refused");
        tracing::info!("other");
    });
    assert_eq!(entries.len(), 1);
}

#[test]
fn fields_of_spans_are_added_and_the_innermost_wins() {
    let entry = entry(&Config::default(), || {
        let outer = tracing::info_span!("outer", a = 1, b = 1, late = tracing::field::Empty);
        let _outer = outer.enter();
        let _inner = tracing::info_span!("inner", b = 2, c = 2).entered();
        outer.record("late", "yes");
        tracing::info!(c = 3, "event");
    });
    assert_eq!((&entry["a"], &entry["b"], &entry["c"]), (&json!(1), &json!(2), &json!(3)));
    assert_eq!(entry["late"], "yes");
}

#[test]
fn a_field_is_not_taken_for_one_of_googles() {
    let entry = entry(&Config::default(), || {
        tracing::info!(time = "never", timestamp = 1, target = "elsewhere", time_ = "mine", "m");
    });
    assert_eq!(entry["time"], "2023-11-14T22:13:20.123456Z");
    assert_eq!(entry["timestamp_"], 1);
    assert_eq!(entry["target_"], "elsewhere");
    let ours: Vec<_> = ["time_", "time__"].iter().map(|name| entry[*name].clone()).collect();
    assert!(ours.contains(&json!("never")) && ours.contains(&json!("mine")), "{entry}");
}

#[test]
fn the_filter_has_the_syntax_of_rust_log() {
    let config = Config { filter: "warn,countersign::telemetry=debug".into(), ..Config::default() };
    let entries = entries(&config, || {
        tracing::debug!("here");
        tracing::info!(target: "elsewhere", "not");
        tracing::warn!(target: "elsewhere", "but this");
    });
    assert_eq!(entries.len(), 2);

    let config = Config { filter: "countersign=loud".into(), ..Config::default() };
    let Err(error) = config.subscriber(Arc::new(SystemClock), io::sink()) else {
        panic!("took a level that does not exist");
    };
    assert!(error.to_string().contains(r#"(RUST_LOG) is "countersign=loud""#), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn text_is_one_line_for_people() {
    let config = Config { format: LogFormat::Text, ..Config::default() };
    let lines = lines(&config, || {
        CURRENT.sync_scope(request(), || {
            tracing::warn!(target: DENIAL_TARGET, code = "not\nallowed", http_request.status = 403_u16, "refused\n2026");
        });
    });
    assert_eq!(
        lines,
        [concat!(
            "2023-11-14T22:13:20.123456Z WARNING countersign::denial: refused\\u{a}2026 POST /things/7 403 ",
            "code=not\\u{a}allowed trace=0af7651916cd43dd8448eb211c80319c\n"
        )]
    );
}

#[test]
fn a_second_install_is_an_error() {
    let config = Config { filter: "off".into(), ..Config::default() };
    install(&config).unwrap();
    assert!(matches!(install(&config), Err(TelemetryError::AlreadyInstalled)));
}

#[test]
fn settings_name_what_was_found_and_expected() {
    assert_eq!("json".parse(), Ok(LogFormat::Json));
    assert_eq!("text".parse(), Ok(LogFormat::Text));
    let error = "JSON".parse::<LogFormat>().unwrap_err();
    assert_eq!(error.to_string(), r#"found "JSON", expected json or text"#);
    assert_eq!("all".parse(), Ok(RequestLog::All));
    assert_eq!("denied".parse(), Ok(RequestLog::Denied));
    assert_eq!("none".parse(), Ok(RequestLog::None));
    let error = "some".parse::<RequestLog>().unwrap_err();
    assert_eq!(error.to_string(), r#"found "some", expected all, denied or none"#);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_text_forges_a_field_or_a_line(text in any::<String>(), message in any::<String>()) {
        let entry = entry(&Config::default(), || tracing::info!(kid = %text, "{message}"));
        prop_assert_eq!(entry["kid"].as_str().unwrap(), text.as_str());
        prop_assert_eq!(entry["message"].as_str().unwrap(), message.as_str());
        prop_assert_eq!(entry["severity"].as_str().unwrap(), "INFO");
    }
}
