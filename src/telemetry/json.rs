//! A record as Cloud Logging takes it from a container's standard output: one JSON object to a line.
//!
//! <https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields>

use serde_json::{Map, Value, json};
use tracing::Metadata;

use super::record::{Record, Severity};
use super::{ProjectId, TraceContext};

/// Makes Error Reporting take a line without a stack trace,
/// <https://cloud.google.com/error-reporting/docs/formatting-error-messages>.
const REPORTED_ERROR: &str =
    "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent";
const GOOGLE: &str = "logging.googleapis.com/";

/// What every line says of the process that wrote it.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    project_id: ProjectId,
    labels: Map<String, Value>,
    service_context: Option<Value>,
}

impl Origin {
    pub(super) fn new(config: &super::Config) -> Self {
        let own = [("service", &config.service), ("revision", &config.revision)];
        let mut labels: Map<String, Value> = config
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect();
        for (name, value) in own {
            if let Some(value) = value {
                labels.insert(name.to_owned(), value.as_str().into());
            }
        }
        let service_context = config.service.as_ref().map(|service| {
            let mut context = json!({ "service": service });
            if let Some(revision) = &config.revision {
                context["version"] = revision.as_str().into();
            }
            context
        });
        Self { project_id: config.project_id.clone(), labels, service_context }
    }
}

/// The line, its end included. A map holds each key once, and serde_json escapes every control character: no value
/// can forge a field or a line.
pub(super) fn line(
    origin: &Origin,
    time: &str,
    metadata: &Metadata<'_>,
    trace: Option<TraceContext>,
    record: Record,
) -> Vec<u8> {
    let severity = record.severity.unwrap_or_else(|| Severity::from(*metadata.level()));
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| {
        entry.insert(name.to_owned(), value);
    };
    put("severity", severity.name().into());
    put("time", time.into());
    put("message", record.message.unwrap_or_else(|| metadata.name().to_owned()).into());
    put("target", metadata.target().into());
    if severity >= Severity::Error {
        put("@type", REPORTED_ERROR.into());
        if let Some(context) = &origin.service_context {
            put("serviceContext", context.clone());
        }
    }
    if !record.http.is_empty() {
        put("httpRequest", record.http.into());
    }
    if !origin.labels.is_empty() {
        put(&format!("{GOOGLE}labels"), origin.labels.clone().into());
    }
    if let Some(file) = metadata.file() {
        let line = metadata.line().unwrap_or_default().to_string();
        let function = metadata.module_path().unwrap_or_default();
        put(
            &format!("{GOOGLE}sourceLocation"),
            json!({ "file": file, "line": line, "function": function }),
        );
    }
    if let Some(trace) = trace {
        put_trace(&mut put, origin, trace);
    }
    for (mut name, value) in record.fields {
        while entry.contains_key(&name) || reserved(&name) {
            name.push('_');
        }
        entry.insert(name, value);
    }
    let mut line = Value::Object(entry).to_string().into_bytes();
    line.push(b'\n');
    line
}

fn put_trace(put: &mut impl FnMut(&str, Value), origin: &Origin, trace: TraceContext) {
    match origin.project_id.as_str() {
        Some(project) => {
            put(
                &format!("{GOOGLE}trace"),
                format!("projects/{project}/traces/{}", trace.trace_id()).into(),
            );
        }
        // Cloud Logging links only the full name; the bare id is still worth searching for.
        None => put("trace_id", trace.trace_id().into()),
    }
    if let Some(span) = trace.span_id() {
        put(&format!("{GOOGLE}spanId"), span.into());
    }
    put(&format!("{GOOGLE}trace_sampled"), trace.sampled().into());
}

/// Names that mean something to Cloud Logging, whether or not this line has them: a field of ours must not be taken
/// for one.
fn reserved(name: &str) -> bool {
    const NAMES: [&str; 11] = [
        "@type",
        "context",
        "eventTime",
        "httpRequest",
        "message",
        "serviceContext",
        "severity",
        "stack_trace",
        "time",
        "timestamp",
        "timestampSeconds",
    ];
    NAMES.contains(&name) || name == "timestampNanos" || name.starts_with(GOOGLE)
}
