//! One request: health, limits, the application, and what becomes of its panics.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use axum::routing::future::RouteFuture;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::server::conn::auto;
use tokio::task::futures::TaskLocalFuture;
use tower_service::Service;

use super::body::{RequestBody, Upload, too_large};
use super::connection::{Active, Meter};
use super::health::{App, Probe};
use super::stream::{self, Streams};
use super::{Config, credentials, problem};
use crate::clock::{Clock, Moment};
use crate::problem::Problem;
use crate::telemetry::RequestLog;
use crate::telemetry::request::{CURRENT, RequestContext, with_current};

/// What all connections share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) http: auto::Builder<Streams>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) app: OnceLock<App>,
    pub(super) draining: AtomicBool,
    /// There are as many connections as may be: each should end with the answer that it waits for.
    pub(super) crowded: AtomicBool,
}

impl Shared {
    fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The service of one connection.
pub(super) struct Requests {
    shared: Arc<Shared>,
    meter: Arc<Meter>,
}

impl Requests {
    pub(super) const fn new(shared: Arc<Shared>, meter: Arc<Meter>) -> Self {
        Self { shared, meter }
    }

    /// What is to be done with a request.
    fn first_step(&self, request: Request<Incoming>) -> (Step, Option<Arc<Upload>>) {
        let config = &self.shared.config;
        if let Some(probe) = Probe::of(request.uri().path()) {
            let shared = Arc::clone(&self.shared);
            let method = request.method().clone();
            let future = Box::pin(async move {
                let within = shared.config.readiness_timeout;
                probe.answer(method, shared.app.get(), shared.draining(), within).await
            });
            return (Step::Probe { future }, None);
        }
        // hyper counts the fields of HTTP/1 itself, those of HTTP/2 it only weighs.
        if request.headers().len() > config.header_count {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return (Step::Refused { response: Some(response) }, None);
        }
        let Some(app) = self.shared.app.get() else {
            let starting = problem::not_yet("starting", "the server is still starting");
            let response = starting.into_response();
            return (self.refuse(&request, response), None);
        };
        if request.body().is_end_stream() {
            let request = Some(request.map(|_| Body::empty()));
            return (Step::Start { router: app.router.clone(), request }, None);
        }
        if request.body().size_hint().lower() > config.body_bytes as u64 {
            return (self.refuse(&request, too_large(config.body_bytes)), None);
        }
        let (parts, body) = request.into_parts();
        let (body, upload) =
            RequestBody::new(body, parts.version, config.body_bytes, config.stall, &self.meter);
        let request = Some(Request::from_parts(parts, Body::new(body)));
        (Step::Start { router: app.router.clone(), request }, Some(upload))
    }

    /// An answer for a request whose body nobody will read.
    fn refuse(&self, request: &Request<Incoming>, response: Response<Body>) -> Step {
        if !request.body().is_end_stream() {
            self.meter.note_unread();
        }
        Step::Refused { response: Some(response) }
    }
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        let active = self.meter.begin();
        credentials::mark(request.headers_mut());
        let version = request.version();
        let context =
            RequestContext::new(request.method(), request.uri(), version, request.headers());
        let (step, upload) = self.first_step(request);
        let log = self.shared.config.request_log == RequestLog::All
            && !matches!(step, Step::Probe { .. });
        let begun = log.then(|| self.shared.clock.now());
        let handled = Handled { step, upload, begun, shared: Arc::clone(&self.shared) };
        Answer { handled: CURRENT.scope(context, handled), version, active: Some(active) }
    }
}

pin_project_lite::pin_project! {
    /// The answer on its way, with everything logged meanwhile put down to its request.
    pub(super) struct Answer {
        #[pin]
        handled: TaskLocalFuture<RequestContext, Handled>,
        version: Version,
        active: Option<Active>,
    }
}

impl Future for Answer {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (mut response, last) = ready!(this.handled.poll(cx));
        if last && *this.version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let active = this.active.take();
        Poll::Ready(Ok(response.map(|inner| AnswerBody { inner, _active: active })))
    }
}

pin_project_lite::pin_project! {
    /// The application, or the answer instead of it, with panics caught and the line written.
    struct Handled {
        #[pin]
        step: Step,
        upload: Option<Arc<Upload>>,
        // Only where every answer is logged.
        begun: Option<Moment>,
        shared: Arc<Shared>,
    }
}

impl Future for Handled {
    /// The answer, and whether it should be the connection's last.
    type Output = (Response<Body>, bool);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let step = this.step;
        // The future is not polled again after a panic, so that nothing sees its broken state.
        let mut response = match catch_unwind(AssertUnwindSafe(|| step.poll(cx))) {
            Ok(poll) => ready!(poll),
            Err(panic) => answer_panic(&*panic),
        };
        let mut last = this.shared.draining() || this.shared.crowded.load(Ordering::Relaxed);
        if let Some(upload) = this.upload
            && !response.status().is_success()
            && let Some(refusal) = upload.refusal(this.shared.config.body_bytes)
        {
            response = refusal;
            last = true;
        }
        if let Some(begun) = this.begun {
            log_answer(&response, *begun, &*this.shared.clock);
        }
        Poll::Ready((response, last))
    }
}

pin_project_lite::pin_project! {
    #[project = StepProjection]
    enum Step {
        /// The router is not called before the first poll: what its layers log then already has its request.
        Start { router: Router, request: Option<Request<Body>> },
        Running { #[pin] future: RouteFuture<Infallible> },
        Probe { future: Pin<Box<dyn Future<Output = Response<Body>> + Send>> },
        Refused { response: Option<Response<Body>> },
    }
}

impl Step {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        loop {
            let next = match self.as_mut().project() {
                StepProjection::Start { router, request } => match request.take() {
                    Some(request) => Step::Running { future: router.call(request) },
                    None => return Poll::Pending,
                },
                StepProjection::Running { future } => {
                    return future.poll(cx).map(|Ok(response)| response);
                }
                StepProjection::Probe { future } => return future.as_mut().poll(cx),
                StepProjection::Refused { response } => {
                    return response.take().map_or(Poll::Pending, Poll::Ready);
                }
            };
            self.set(next);
        }
    }
}

/// A panic is a fault of the program, never the client's: 500, and the log says what is known.
fn answer_panic(panic: &(dyn Any + Send)) -> Response<Body> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("of another type than text"), "a handler panicked");
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Problem::new(status, "internal_error", "the server failed; its log says why").into_response()
}

/// The line for an answer. A refusal that told of itself is not told again.
fn log_answer(response: &Response<Body>, begun: Moment, clock: &dyn Clock) {
    if with_current(RequestContext::denial_logged).unwrap_or(false) {
        return;
    }
    let latency = clock.now().age_since(begun).as_secs_f64();
    let status = response.status().as_u16();
    match status {
        500.. => tracing::error!(
            http_request.status = status,
            http_request.latency = latency,
            "answered"
        ),
        400.. => {
            tracing::warn!(
                http_request.status = status,
                http_request.latency = latency,
                "answered"
            );
        }
        _ => {
            tracing::info!(
                http_request.status = status,
                http_request.latency = latency,
                "answered"
            );
        }
    }
}

pin_project_lite::pin_project! {
    /// An answer's body, until whose end its request counts as in hand.
    pub(super) struct AnswerBody {
        #[pin]
        inner: Body,
        _active: Option<Active>,
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = self.project().inner.poll_frame(cx);
        stream::note(&frame);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
