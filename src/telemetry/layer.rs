//! The `tracing` layer that writes the lines.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::json::Origin;
use super::record::Record;
use super::{Config, DENIAL_TARGET, LogFormat, RequestLog, json, request, text};
use crate::clock::Clock;

/// Writes every event as one line, with one call of `write_all`, to any writer.
///
/// ```
/// use std::sync::Arc;
/// use countersign::clock::SystemClock;
/// use countersign::telemetry::{Config, LogLayer};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let layer = LogLayer::new(&Config::default(), Arc::new(SystemClock), std::io::sink());
/// let subscriber = tracing_subscriber::registry().with(layer);
/// tracing::subscriber::with_default(subscriber, || tracing::info!("hello"));
/// ```
///
/// A writer that fails is left alone: there is no other place to complain to. Spans are not written; their fields are
/// added to the events inside them.
pub struct LogLayer<W> {
    format: LogFormat,
    denials: bool,
    origin: Origin,
    clock: Arc<dyn Clock>,
    writer: Mutex<W>,
}

impl<W: Write + Send + 'static> LogLayer<W> {
    /// A layer that writes to `writer` in the format of `config`. The filter of `config` is not applied here:
    /// [`Config::subscriber`] puts the two together.
    pub fn new(config: &Config, clock: Arc<dyn Clock>, writer: W) -> Self {
        Self {
            format: config.format,
            denials: config.request_log != RequestLog::None,
            origin: Origin::new(config),
            clock,
            writer: Mutex::new(writer),
        }
    }

    fn time(&self) -> String {
        let since_epoch = self.clock.now().since_epoch();
        // Both fail only after the year 9999.
        time::Duration::try_from(since_epoch)
            .ok()
            .and_then(|since| OffsetDateTime::UNIX_EPOCH.checked_add(since))
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_else(|| format!("@{}", since_epoch.as_secs()))
    }
}

impl<W> fmt::Debug for LogLayer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLayer").field("format", &self.format).finish_non_exhaustive()
    }
}

impl<S, W> tracing_subscriber::Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: Write + Send + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut record = Record::default();
        attributes.record(&mut record);
        span.extensions_mut().replace(record);
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(record) = extensions.get_mut::<Record>() {
            values.record(record);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let denial = metadata.target() == DENIAL_TARGET;
        if denial && !self.denials {
            return;
        }
        let mut record = Record::default();
        event.record(&mut record);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Record>() {
                record.inherit(outer);
            }
        }
        let trace = request::with_current(|request| {
            if denial {
                request.note_denial();
            }
            if denial || !record.http.is_empty() {
                request.describe(&mut record.http);
            }
            request.trace
        });
        let trace = trace.flatten();
        let time = self.time();
        let line = match self.format {
            LogFormat::Json => json::line(&self.origin, &time, metadata, trace, record),
            LogFormat::Text => text::line(&time, metadata, trace, &record),
        };
        // A panic in a writer leaves it in a state of its own making: still the best place for the next line.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writer.write_all(&line);
    }
}
