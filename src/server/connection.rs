//! One connection: what it is doing, and for how long it may.

mod io;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use self::io::Metered;
use super::Config;
use super::drain::Phase;
use super::service::{Requests, Shared};

/// Serves a connection until it ends, by itself or by one of the limits.
pub(super) async fn drive(
    stream: TcpStream,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
) {
    let config = &shared.config;
    let meter = Arc::new(Meter::default());
    let io = Metered::new(stream, Arc::clone(&meter), config.stall, config.linger);
    let service = Requests::new(Arc::clone(&shared), Arc::clone(&meter));
    let mut connection = pin!(shared.http.serve_connection(io, service));
    let mut head = pin!(sleep(config.header_timeout));
    let mut idle = pin!(sleep(config.keep_alive));
    let mut watchdog = Watchdog::new(config, &meter, head.as_mut(), idle.as_mut());
    loop {
        let event = {
            let mut changed = pin!(phase.changed());
            poll_fn(|cx| {
                if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                    return Poll::Ready(Event::Ended(result.err()));
                }
                if let Poll::Ready(event) = watchdog.poll(cx) {
                    return Poll::Ready(event);
                }
                changed.as_mut().poll(cx).map(|result| match result {
                    Ok(()) => Event::PhaseChanged,
                    Err(_) => Event::Cut("the server is gone"),
                })
            })
            .await
        };
        let close = match event {
            Event::Ended(None) => return,
            Event::Ended(Some(error)) => {
                tracing::debug!(
                    error = &*error as &(dyn std::error::Error + 'static),
                    "connection ended"
                );
                return;
            }
            Event::Cut(reason) => {
                tracing::debug!(reason, "connection cut");
                return;
            }
            Event::Close => true,
            Event::PhaseChanged => watchdog.obey(*phase.borrow_and_update()),
        };
        if close {
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// What a connection waits for.
enum Event {
    Ended(Option<Box<dyn std::error::Error + Send + Sync>>),
    Cut(&'static str),
    Close,
    PhaseChanged,
}

/// The timers of a connection. The one for idleness is set anew only when it fires, and then compares how many
/// requests there have been: a request costs no timer and no look at a clock.
struct Watchdog<'a> {
    config: &'a Config,
    meter: &'a Meter,
    head: Pin<&'a mut Sleep>,
    head_runs: bool,
    idle: Pin<&'a mut Sleep>,
    requests_seen: usize,
    /// There was no request either when the timer fired last, or when the client was asked to go.
    was_idle: bool,
    leaving: Leaving,
    closing: bool,
}

/// Whether the connection is about to be closed because the whole server wants it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// After the next request, of which there have been so many, or when the time to settle is over. A client that is
    /// busy may have sent its next request already: closed at once, it would wait for an answer in vain.
    Settling(usize),
    /// As soon as the request that has begun to arrive has been taken in.
    AfterHead,
}

impl<'a> Watchdog<'a> {
    fn new(
        config: &'a Config,
        meter: &'a Meter,
        head: Pin<&'a mut Sleep>,
        idle: Pin<&'a mut Sleep>,
    ) -> Self {
        let leaving = Leaving::No;
        Self {
            config,
            meter,
            head,
            head_runs: true,
            idle,
            requests_seen: 0,
            was_idle: false,
            leaving,
            closing: false,
        }
    }

    /// Looks at what the connection did when it was polled last.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.leaving != Leaving::No && self.time_to_leave(cx) {
            self.leaving = Leaving::No;
            self.close();
            return Poll::Ready(Event::Close);
        }
        match (self.leaving, self.meter.head()) {
            // The timer for the head has another use meanwhile.
            (Leaving::Settling(_), _) => {}
            (_, Head::None) => self.head_runs = false,
            (_, Head::Awaited | Head::Partial) => {
                if !self.head_runs {
                    self.head_runs = true;
                    self.head.set(sleep(self.config.header_timeout));
                }
                if self.head.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Event::Cut("no complete request header in time"));
                }
            }
        }
        self.poll_idle(cx)
    }

    fn time_to_leave(&mut self, cx: &mut Context<'_>) -> bool {
        let head = self.meter.head();
        match self.leaving {
            Leaving::No => false,
            Leaving::AfterHead => head == Head::None,
            Leaving::Settling(_) if head == Head::Partial => {
                self.leaving = Leaving::AfterHead;
                self.head.set(sleep(self.config.header_timeout));
                false
            }
            Leaving::Settling(requests) => {
                self.meter.requests() != requests || self.head.as_mut().poll(cx).is_ready()
            }
        }
    }

    /// From now on the client is asked to go. One without a request has [`Config::stall`] to do so: GOAWAY is a plea
    /// that an HTTP/2 client can ignore, and nothing would make room for others.
    fn close(&mut self) {
        self.closing = true;
        self.requests_seen = self.meter.requests();
        self.was_idle = self.meter.active() == 0;
        self.idle.set(sleep(self.patience()));
    }

    /// How long until the next look at whether there is a request.
    fn patience(&self) -> Duration {
        let Config { keep_alive, stall, .. } = *self.config;
        if self.closing { stall.min(keep_alive) } else { keep_alive }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            ready!(self.idle.as_mut().poll(cx));
            let requests = self.meter.requests();
            let idle = self.meter.active() == 0 && requests == self.requests_seen;
            if idle && !self.closing {
                self.close();
                return Poll::Ready(Event::Close);
            }
            if idle && self.was_idle {
                return Poll::Ready(Event::Cut("the client did not let an idle connection go"));
            }
            self.requests_seen = requests;
            self.was_idle = idle;
            self.idle.set(sleep(self.patience()));
        }
    }

    /// Whether to close now, gracefully: after the requests in hand.
    fn obey(&mut self, phase: Phase) -> bool {
        let head = self.meter.head();
        let busy = self.meter.active() > 0;
        match phase {
            Phase::Open => {
                if let Leaving::Settling(_) = self.leaving {
                    self.leaving = Leaving::No;
                    self.head_runs = false;
                }
            }
            Phase::Crowded if busy || head != Head::None => {}
            Phase::Draining if busy && head == Head::None => {
                self.closing = true;
                return true;
            }
            Phase::Draining if head == Head::Partial => self.leaving = Leaving::AfterHead,
            Phase::Crowded | Phase::Draining => {
                self.leaving = Leaving::Settling(self.meter.requests());
                self.head.set(sleep(self.config.settle));
            }
        }
        false
    }
}

/// What a connection and its requests tell each other. Each number is right by itself; nothing is concluded from two
/// of them that a moment's difference could make wrong.
#[derive(Debug, Default)]
pub(super) struct Meter {
    head: AtomicU8,
    active: AtomicUsize,
    requests: AtomicUsize,
    unread: AtomicBool,
}

/// Whether a request's header is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// Nothing has come since the connection was made.
    Awaited = 0,
    /// Some of it has.
    Partial = 1,
    /// Between two requests, or in the middle of one.
    None = 2,
}

impl Meter {
    /// A request's header is complete. The request lasts as long as what is returned.
    pub(super) fn begin(self: &Arc<Self>) -> Active {
        self.set_head(Head::None);
        self.active.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }

    /// What the client still sends should be read before the connection is gone.
    pub(super) fn note_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    fn unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed) || self.head() == Head::Partial
    }

    fn head(&self) -> Head {
        match self.head.load(Ordering::Relaxed) {
            0 => Head::Awaited,
            1 => Head::Partial,
            _ => Head::None,
        }
    }

    fn set_head(&self, head: Head) {
        self.head.store(head as u8, Ordering::Relaxed);
    }

    fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// A request in hand: from its header to the end of its answer.
#[derive(Debug)]
pub(super) struct Active(Arc<Meter>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
