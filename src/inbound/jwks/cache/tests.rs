use std::net::TcpListener;

use super::*;
use crate::clock::ManualClock;
use crate::http_client::Roots;
use crate::inbound::jwks::FetchLimits;
use crate::inbound::testing::{Answer, KeyServer, NOW, Signer, eventually, key_set, short_fetch};

struct Bench {
    server: KeyServer,
    clock: Arc<ManualClock>,
    cache: KeyCache,
}

impl Bench {
    async fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::with_fetch(answers, FetchLimits::default()).await
    }

    async fn with_fetch(answers: impl IntoIterator<Item = Answer>, limits: FetchLimits) -> Self {
        let server = KeyServer::start(answers).await;
        let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
        let cache = cache(server.url(), limits, &clock);
        Self { server, clock, cache }
    }

    /// Looks a key up as the verifier does: `known`, `unknown` or `no keys`.
    async fn find(&self, kid: &str) -> &'static str {
        find(&self.cache, self.clock.now(), kid).await
    }

    fn at_once(&self, kid: &str) -> &'static str {
        name(&self.cache.look_up(kid, self.clock.now()))
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn generation(&self) -> u64 {
        self.cache.0.current.load().as_ref().unwrap().generation()
    }

    fn has_failed(&self) -> bool {
        self.cache.0.lock().failure.is_some()
    }
}

fn cache(
    url: crate::inbound::jwks::KeyUrl,
    limits: FetchLimits,
    clock: &Arc<ManualClock>,
) -> KeyCache {
    let fetcher = Fetcher::new(url, limits, &Roots::bundled()).unwrap();
    KeyCache::fetching(fetcher, CacheLimits::default(), Arc::clone(clock) as Arc<dyn Clock>)
}

async fn find(cache: &KeyCache, now: Moment, kid: &str) -> &'static str {
    match cache.look_up(kid, now) {
        LookUp::Wait(flight) => {
            flight.ended().await;
            name(&cache.look_up_again(kid, now))
        }
        decided => name(&decided),
    }
}

fn name(found: &LookUp) -> &'static str {
    match found {
        LookUp::Known(_) => "known",
        LookUp::Unknown => "unknown",
        LookUp::NoKeys(_) => "no keys",
        LookUp::Wait(_) => "wait",
    }
}

#[tokio::test]
async fn the_first_look_fetches_and_the_rest_do_not() {
    let key = Signer::new("a");
    let bench = Bench::new([Answer::keys(&[&key])]).await;
    assert_eq!(bench.server.requests(), 0, "nothing is fetched before it is needed");
    assert_eq!(bench.find("a").await, "known");
    assert_eq!(bench.at_once("a"), "known");
    assert_eq!(bench.server.requests(), 1);
}

#[tokio::test]
async fn past_80_percent_of_its_life_a_set_serves_and_is_refreshed_once() {
    let key = Signer::new("a");
    let bench = Bench::new([Answer::keys(&[&key])]).await;
    bench.find("a").await;
    bench.advance(799);
    assert_eq!((bench.at_once("a"), bench.server.requests()), ("known", 1));

    bench.advance(52);
    bench.server.hold();
    for _ in 0..10 {
        assert_eq!(bench.at_once("a"), "known", "nobody waits");
    }
    bench.server.has_seen(2).await;
    bench.server.release();
    eventually(|| bench.cache.0.lock().in_flight.is_none()).await;
    assert_eq!((bench.at_once("a"), bench.server.requests()), ("known", 2));
    assert_eq!(bench.generation(), 1, "the same keys are the same generation");
}

#[tokio::test]
async fn lives_are_held_between_bounds_and_age_is_subtracted() {
    let key = Signer::new("a");
    let table = [
        (Answer::body(key_set(&[&key]).to_string()), 3_600),
        (Answer::body(key_set(&[&key]).to_string()).header("cache-control", "max-age=1"), 300),
        (Answer::body(key_set(&[&key]).to_string()).header("cache-control", "no-store"), 300),
        (
            Answer::body(key_set(&[&key]).to_string()).header("cache-control", "max-age=999999"),
            86_400,
        ),
        (Answer::keys(&[&key]).header("age", "400"), 600),
    ];
    for (answer, life) in table {
        let bench = Bench::new([answer]).await;
        bench.find("a").await;
        let found = bench.cache.0.current.load().as_ref().unwrap().life;
        assert_eq!(found, Duration::from_secs(life));
    }
}

#[tokio::test]
async fn past_its_life_a_set_is_renewed_before_it_serves() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let bench = Bench::new([Answer::keys(&[&old]), Answer::keys(&[&new])]).await;
    bench.find("old").await;
    bench.advance(1_001);
    assert_eq!(bench.find("old").await, "unknown", "a key that was taken out is refused");
    assert_eq!(bench.at_once("new"), "known");
    assert_eq!((bench.server.requests(), bench.generation()), (2, 2));
}

#[tokio::test]
async fn when_fetches_fail_the_last_good_set_serves_for_a_day_and_nobody_waits_again() {
    let key = Signer::new("a");
    let bench = Bench::new([Answer::keys(&[&key]), Answer::status(500)]).await;
    bench.find("a").await;
    bench.advance(1_001);
    assert_eq!(bench.find("a").await, "known", "the first try is waited for");
    assert!(bench.has_failed());
    bench.server.hold();
    bench.advance(37);
    assert_eq!(bench.at_once("a"), "known", "the next try runs beside");
    bench.server.has_seen(3).await;
    bench.server.release();
    eventually(|| bench.cache.0.lock().in_flight.is_none()).await;

    bench.advance(86_400 - 1_001 - 37 - 1);
    assert_eq!(bench.at_once("a"), "known");
    eventually(|| bench.cache.0.lock().in_flight.is_none()).await;
    bench.advance(1);
    assert_eq!(bench.at_once("a"), "no keys", "after a day it does not");
}

#[tokio::test]
async fn an_unusable_answer_is_a_failed_fetch_and_keeps_the_old_set() {
    let key = Signer::new("a");
    let bad = [
        Answer::status(404),
        Answer::status(204),
        Answer::body(""),
        Answer::body("<html>sign in</html>"),
        Answer::body(r#"{"keys":[]}"#),
        Answer::body(r#"{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}"#),
        Answer::body(&key_set(&[&key]).to_string()[..100]),
        Answer::body(format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300_000))),
    ];
    for answer in bad {
        let bench = Bench::with_fetch([Answer::keys(&[&key]), answer.clone()], short_fetch()).await;
        bench.find("a").await;
        bench.advance(1_001);
        assert_eq!(bench.find("a").await, "known", "{} {:.40}", answer.status, answer.body);
        assert!(
            bench.has_failed() || answer.headers.iter().any(|(name, _)| *name == "content-length")
        );
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let key = Signer::new("a");
    let target = KeyServer::start([Answer::keys(&[&key])]).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("http://{}/certs", target.address);
        let bench = Bench::new([Answer::status(status).header("location", to)]).await;
        assert_eq!(bench.find("a").await, "no keys");
    }
    assert_eq!(target.requests(), 0);
}

#[tokio::test]
async fn a_slow_server_is_cut_off() {
    let key = Signer::new("a");
    let limits = FetchLimits { whole: Duration::from_millis(50), ..short_fetch() };
    let bench = Bench::with_fetch([Answer::keys(&[&key])], limits).await;
    bench.server.hold();
    assert_eq!(bench.find("a").await, "no keys");
    assert!(bench.cache.0.lock().reason().contains("no complete answer within 50ms"));
}

#[tokio::test]
async fn unknown_key_ids_cause_one_fetch_per_cooldown() {
    let key = Signer::new("a");
    let bench = Bench::new([Answer::keys(&[&key])]).await;
    bench.find("a").await;
    for minute in 0..4 {
        for number in 0..50 {
            assert_eq!(bench.find(&format!("junk {minute} {number}")).await, "unknown");
            assert_eq!(bench.at_once("a"), "known", "good traffic is untouched");
        }
        bench.advance(15);
    }
    assert_eq!(bench.server.requests(), 1 + 2, "one a cooldown of 30 s");
}

#[tokio::test]
async fn the_cooldown_counts_after_a_failed_fetch_as_well() {
    let key = Signer::new("a");
    let bench = Bench::new([Answer::keys(&[&key]), Answer::status(503)]).await;
    bench.find("a").await;
    for _ in 0..20 {
        assert_eq!(bench.find("junk").await, "unknown");
    }
    assert_eq!(bench.server.requests(), 2);
}

#[tokio::test]
async fn a_rotated_key_is_found_by_the_request_that_needs_it() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let bench = Bench::new([Answer::keys(&[&old]), Answer::keys(&[&old, &new])]).await;
    bench.find("old").await;
    assert_eq!(bench.find("new").await, "known");
    assert_eq!((bench.server.requests(), bench.generation()), (2, 2));
}

#[tokio::test]
async fn many_at_once_share_one_fetch() {
    let key = Signer::new("a");
    let bench = Bench::new([Answer::keys(&[&key])]).await;
    bench.server.hold();
    let (cache, now) = (bench.cache.clone(), bench.clock.now());
    let all: Vec<_> = (0..500)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { find(&cache, now, "a").await })
        })
        .collect();
    bench.server.has_seen(1).await;
    bench.server.release();
    for one in all {
        assert_eq!(one.await.unwrap(), "known");
    }
    assert_eq!(bench.server.requests(), 1);
}

#[tokio::test]
async fn a_fetch_outlives_the_request_that_began_it() {
    let key = Signer::new("a");
    let bench = Bench::new([Answer::keys(&[&key])]).await;
    bench.server.hold();
    let (cache, now) = (bench.cache.clone(), bench.clock.now());
    let first = tokio::spawn(async move { find(&cache, now, "a").await });
    bench.server.has_seen(1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    bench.server.release();
    assert_eq!(bench.find("a").await, "known");
    assert_eq!(bench.server.requests(), 1);
}

#[tokio::test]
async fn a_fetch_that_froze_with_the_cpu_counts_as_failed() {
    let key = Signer::new("a");
    let bench = Bench::new([Answer::keys(&[&key])]).await;
    bench.server.hold();
    assert_eq!(bench.at_once("a"), "wait");
    bench.server.has_seen(1).await;
    bench.clock.advance_wall(Duration::from_secs(3_600));
    assert_eq!(bench.at_once("a"), "wait");
    bench.server.has_seen(2).await;
    bench.server.release();
    assert_eq!(bench.find("a").await, "known");
}

#[tokio::test]
async fn without_keys_tries_are_spaced_and_heal_within_five_seconds() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = crate::inbound::jwks::KeyUrl::parse(&format!("http://{port}/"), true).unwrap();
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let cache = cache(url, short_fetch(), &clock);
    let mut failed = 0;
    for _ in 0..60 {
        clock.advance(Duration::from_millis(500));
        if name(&cache.look_up("a", clock.now())) == "wait" {
            failed += 1;
            eventually(|| cache.0.lock().in_flight.is_none()).await;
            let wait = cache.0.lock().failure.as_ref().unwrap().wait;
            assert!((Duration::from_secs(1)..=Duration::from_secs(4)).contains(&wait), "{wait:?}");
        }
    }
    assert!((7..=30).contains(&failed), "{failed} tries in 30 s");
    assert!(cache.ready().await.unwrap_err().contains("no connection to the key server"));
}

#[tokio::test]
async fn retry_after_is_obeyed_within_reason() {
    let key = Signer::new("a");
    let busy = Answer::status(429).header("retry-after", "120");
    let bench = Bench::new([Answer::keys(&[&key]), busy]).await;
    bench.find("a").await;
    bench.advance(1_001);
    bench.find("a").await;
    assert_eq!(bench.cache.0.lock().failure.as_ref().unwrap().wait, Duration::from_secs(120));

    let never = Answer::status(503).header("retry-after", "99999999999");
    let bench = Bench::new([never]).await;
    assert_eq!(bench.find("a").await, "no keys");
    assert_eq!(bench.cache.0.lock().failure.as_ref().unwrap().wait, Duration::from_secs(30));
}

#[tokio::test]
async fn ready_asks_for_keys_and_says_why_there_are_none() {
    let key = Signer::new("a");
    let bench = Bench::new([Answer::status(500), Answer::keys(&[&key])]).await;
    assert!(bench.cache.ready().await.unwrap_err().contains("500"));
    assert!(bench.cache.ready().await.is_err(), "too early to ask again");
    assert_eq!(bench.server.requests(), 1);
    bench.advance(5);
    assert_eq!(bench.cache.ready().await, Ok(()));
}

#[tokio::test]
async fn ages_count_by_the_clock_that_says_more() {
    let key = Signer::new("a");
    let bench = Bench::new([Answer::keys(&[&key]), Answer::status(500)]).await;
    bench.find("a").await;
    bench.clock.set_wall(NOW - 100_000);
    bench.advance(1_001);
    assert_eq!(bench.at_once("a"), "wait", "a clock that was set back does not make keys younger");
}

#[tokio::test]
async fn a_verdict_holds_while_the_keys_do() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let bench =
        Bench::new([Answer::keys(&[&old]), Answer::status(500), Answer::keys(&[&new])]).await;
    bench.find("old").await;
    let still = || bench.cache.is_still(1, bench.clock.now());
    assert!(still() && !bench.cache.is_still(2, bench.clock.now()));

    bench.advance(1_001);
    assert!(!still(), "the first fetch past the life is waited for");
    bench.find("old").await;
    assert!(still(), "it failed: the old keys serve on");
    bench.advance(37);
    assert!(still(), "and the next try runs beside");
    eventually(|| bench.generation() == 2).await;
    assert!(!still(), "other keys");
}

#[test]
fn without_a_runtime_a_fetch_counts_as_failed() {
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let url = crate::inbound::jwks::KeyUrl::parse("http://127.0.0.1:9/", true).unwrap();
    let cache = cache(url, short_fetch(), &clock);
    let found = cache.look_up("a", clock.now());
    assert_eq!(name(&found), "wait");
    assert_eq!(name(&cache.look_up_again("a", clock.now())), "no keys");
}
