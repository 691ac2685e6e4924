use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::response::IntoResponse;
use countersign::identity::Audience;
use countersign::outbound::{
    FetchFuture, IdTokenCache, IdTokenSource, MetadataServer, SourceFault,
};
use serde_json::json;

use crate::google::{FLAVOR, Google, START, audience};
use crate::{settle, shown, until};

const AUDIENCE: &str = "https://called.example";
const HOUR: Duration = Duration::from_secs(3_600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn cache(google: &Google) -> IdTokenCache {
    IdTokenCache::new(google.client().build().unwrap(), google.clock())
}

async fn token(cache: &IdTokenCache) -> String {
    cache.token(&audience(AUDIENCE)).await.unwrap().as_str().to_owned()
}

/// A cache with a token in it that has this long to live.
async fn cache_with(google: &Google, left: Duration) -> (IdTokenCache, String) {
    let cache = cache(google);
    let first = token(&cache).await;
    google.clock().advance(HOUR - left);
    (cache, first)
}

#[tokio::test]
async fn a_token_is_fetched_once_per_audience() {
    let google = Google::start().await;
    let cache = cache(&google);
    assert!(cache.at_hand(&audience(AUDIENCE)).is_none());
    let first = token(&cache).await;
    assert_eq!(token(&cache).await, first);
    assert_eq!(cache.at_hand(&audience(AUDIENCE)).unwrap().as_str(), first);
    assert_eq!(google.count(), 1);

    let other = cache.token(&audience("https://other.example")).await.unwrap();
    assert_eq!(other.audience().as_str(), "https://other.example");
    assert_eq!(token(&cache.clone()).await, first);
    assert_eq!(google.count(), 2);
}

/// threats.md row 25.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_hundred_callers_make_one_fetch() {
    let google = Google::start().await;
    let cache = cache(&google);
    google.hold();
    let callers: Vec<_> = (0..500)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { token(&cache).await })
        })
        .collect();
    until(|| google.count() == 1).await;
    settle().await;
    google.release();
    let mut tokens = Vec::new();
    for caller in callers {
        tokens.push(caller.await.unwrap());
    }
    tokens.dedup();
    assert_eq!((tokens.len(), google.count()), (1, 1));
}

#[tokio::test]
async fn five_hundred_callers_at_expiry_make_one_fetch() {
    let google = Google::start().await;
    let (cache, first) = cache_with(&google, seconds(29)).await;
    let callers: Vec<_> = (0..500)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { token(&cache).await })
        })
        .collect();
    for caller in callers {
        assert_ne!(caller.await.unwrap(), first);
    }
    assert_eq!(google.count(), 2);
}

#[tokio::test]
async fn a_token_is_refreshed_beside_the_request_below_225_seconds() {
    let google = Google::start().await;
    let (cache, first) = cache_with(&google, seconds(225)).await;
    assert_eq!(token(&cache).await, first);
    settle().await;
    assert_eq!(google.count(), 1, "not yet");

    google.hold();
    google.clock().advance(seconds(1));
    assert_eq!(token(&cache).await, first, "nobody waits for the refresh");
    until(|| google.count() == 2).await;
    assert_eq!(token(&cache).await, first);

    google.release();
    let at_hand = || cache.at_hand(&audience(AUDIENCE)).unwrap();
    until(|| at_hand().as_str() != first).await;
    assert_eq!(google.count(), 2);
}

#[tokio::test]
async fn refreshes_beside_requests_keep_thirty_seconds_apart() {
    let google = Google::start().await;
    let (cache, first) = cache_with(&google, seconds(224)).await;
    for _ in 0..3 {
        google.then_status(404);
    }
    assert_eq!(token(&cache).await, first);
    until(|| google.count() == 2).await;
    for _ in 0..10 {
        settle().await;
        assert_eq!(token(&cache).await, first);
    }
    google.clock().advance(seconds(29));
    assert_eq!(token(&cache).await, first);
    settle().await;
    assert_eq!(google.count(), 2);

    google.clock().advance(seconds(1));
    assert_eq!(token(&cache).await, first);
    until(|| google.count() == 3).await;
}

/// The metadata server has a cache of its own, and may hand out the same token again.
#[tokio::test]
async fn a_refresh_that_brings_nothing_newer_changes_nothing() {
    let google = Google::start().await;
    let (cache, first) = cache_with(&google, seconds(200)).await;
    google.then(|g, a| {
        let old = g.token_with(a, |claims| claims["exp"] = json!(START + 3_500));
        ([FLAVOR], old).into_response()
    });
    assert_eq!(token(&cache).await, first);
    until(|| google.count() == 2).await;
    settle().await;
    assert_eq!(token(&cache).await, first);
}

/// threats.md row 22: a cached token serves until 30 s before its end, then there is an error with a cause.
#[tokio::test]
async fn with_the_metadata_server_down_a_token_serves_until_thirty_seconds_before_its_end() {
    let google = Google::start().await;
    let (cache, first) = cache_with(&google, seconds(30)).await;
    for _ in 0..2 {
        google.then_status(404);
    }
    assert_eq!(token(&cache).await, first);
    until(|| google.count() == 2).await;
    settle().await;

    google.clock().advance(seconds(1));
    assert!(cache.at_hand(&audience(AUDIENCE)).is_none());
    let error = cache.token(&audience(AUDIENCE)).await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    assert_ne!(token(&cache).await, first, "and the next call tries again");
}

/// peers.md: credentials poisoned by one blip of the network.
#[tokio::test]
async fn a_failure_is_shared_by_those_who_waited_and_by_nobody_after() {
    let google = Google::start().await;
    let cache = cache(&google);
    google.then_status(404);
    google.hold();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.token(&audience(AUDIENCE)).await })
        })
        .collect();
    until(|| google.count() == 1).await;
    settle().await;
    google.release();
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
    }
    assert_eq!(google.count(), 1);
    token(&cache).await;
    assert_eq!(google.count(), 2);
}

/// threats.md row 16, for tokens.
#[tokio::test]
async fn the_fetch_outlives_the_request_that_started_it() {
    let google = Google::start().await;
    let cache = cache(&google);
    google.hold();
    let start = |cache: IdTokenCache| tokio::spawn(async move { token(&cache).await });
    let first = start(cache.clone());
    until(|| google.count() == 1).await;
    let second = start(cache.clone());
    settle().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    google.release();
    second.await.unwrap();
    assert_eq!(google.count(), 1);
}

#[tokio::test]
async fn a_fetch_that_nobody_waits_for_any_more_still_brings_its_token() {
    let google = Google::start().await;
    let cache = cache(&google);
    google.hold();
    let only = tokio::spawn({
        let cache = cache.clone();
        async move { token(&cache).await }
    });
    until(|| google.count() == 1).await;
    only.abort();
    google.release();
    until(|| cache.at_hand(&audience(AUDIENCE)).is_some()).await;
    assert_eq!(google.count(), 1);
}

/// Cloud Run stops the CPU between requests, and with it whatever is under way.
#[tokio::test]
async fn a_fetch_that_froze_with_the_cpu_is_left_behind() {
    let google = Google::start().await;
    let cache = cache(&google);
    google.hold();
    let frozen = tokio::spawn({
        let cache = cache.clone();
        async move { token(&cache).await }
    });
    until(|| google.count() == 1).await;

    google.clock().advance(seconds(19));
    let joined = tokio::spawn({
        let cache = cache.clone();
        async move { token(&cache).await }
    });
    settle().await;
    assert_eq!(google.count(), 1, "within the source's budget of 20 s it is waited for");

    google.clock().advance(seconds(1));
    let fresh = tokio::spawn({
        let cache = cache.clone();
        async move { token(&cache).await }
    });
    until(|| google.count() == 2).await;
    google.release();
    for waiter in [frozen, joined, fresh] {
        waiter.await.unwrap();
    }
    assert_eq!(google.count(), 2);
}

#[tokio::test]
async fn a_wall_clock_that_is_set_back_does_not_lengthen_a_life() {
    let google = Google::start().await;
    let (cache, first) = cache_with(&google, HOUR).await;
    google.clock().set_wall(START - 3_600);
    google.clock().advance(HOUR - seconds(29));
    assert_ne!(token(&cache).await, first);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_ahead_ends_a_life() {
    let google = Google::start().await;
    let (cache, first) = cache_with(&google, HOUR).await;
    google.clock().advance_wall(HOUR);
    assert_ne!(token(&cache).await, first);
}

/// threats.md row 25: audiences are bounded.
#[tokio::test]
async fn at_most_a_thousand_audiences_are_kept() {
    let google = Google::start().await;
    let cache = cache(&google);
    for number in 0..1_050 {
        cache.token(&audience(&format!("https://{number}.example"))).await.unwrap();
    }
    assert!(format!("{cache:?}").contains("audiences: 1000 "), "{cache:?}");
    assert_eq!(google.count(), 1_050);
}

/// A source of the user's, with faults that ours does not have.
#[derive(Debug)]
struct Faulty {
    calls: AtomicUsize,
    fault: fn() -> Fault,
    real: MetadataServer,
}

enum Fault {
    Panic,
    Never,
    Audience(&'static str),
}

impl IdTokenSource for Faulty {
    fn fetch<'a>(&'a self, audience: &'a Audience) -> FetchFuture<'a> {
        Box::pin(async move {
            if self.calls.fetch_add(1, Ordering::Relaxed) > 0 {
                return self.real.fetch(audience).await;
            }
            match (self.fault)() {
                Fault::Panic => panic!("a bug in somebody's source"),
                Fault::Never => std::future::pending().await,
                Fault::Audience(other) => self.real.fetch(&other.parse().unwrap()).await,
            }
        })
    }

    fn budget(&self) -> Duration {
        match (self.fault)() {
            Fault::Never if self.calls.load(Ordering::Relaxed) == 0 => Duration::from_millis(20),
            _ => self.real.budget(),
        }
    }

    fn name(&self) -> Arc<str> {
        "the faulty source".into()
    }
}

async fn first_fails_then_works(google: &Google, fault: fn() -> Fault) -> SourceFault {
    let real = google.client().build().unwrap();
    let source = Faulty { calls: AtomicUsize::new(0), fault, real };
    let cache = IdTokenCache::new(Arc::new(source), google.clock());
    let error = cache.token(&audience(AUDIENCE)).await.unwrap_err();
    assert!(error.to_string().starts_with("the faulty source"), "{error}");
    token(&cache).await;
    error.fault().clone()
}

#[tokio::test]
async fn a_source_that_panics_wedges_nothing() {
    let google = Google::start().await;
    let fault = first_fails_then_works(&google, || Fault::Panic).await;
    assert!(matches!(fault, SourceFault::Interrupted), "{fault}");
}

#[tokio::test]
async fn a_source_that_never_ends_is_given_up() {
    let google = Google::start().await;
    let fault = first_fails_then_works(&google, || Fault::Never).await;
    assert!(matches!(fault, SourceFault::TimedOut { .. }), "{fault}");
}

#[tokio::test]
async fn a_source_that_answers_for_another_audience_is_not_believed() {
    let google = Google::start().await;
    let fault = first_fails_then_works(&google, || Fault::Audience("https://other.example")).await;
    assert!(matches!(fault, SourceFault::WrongAudience { .. }), "{fault}");
    assert!(!shown(&fault).contains("eyJ"));
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let server = MetadataServer::builder().build().unwrap();
    let cache = IdTokenCache::new(server, Arc::new(countersign::clock::SystemClock));
    let audience = audience(AUDIENCE);
    let future = std::pin::pin!(cache.token(&audience));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(error)) => assert!(matches!(error.fault(), SourceFault::NoRuntime)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn debug_shows_no_token() {
    let google = Google::start().await;
    let cache = cache(&google);
    let token = token(&cache).await;
    let text = format!("{cache:?} {cache:#?}");
    assert!(token.split('.').all(|part| !text.contains(part)), "{text}");
}
