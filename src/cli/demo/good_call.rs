//! The call that should succeed, step by step; each step is told from what was observed.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::{Clock as _, SystemClock};
use countersign::emulator::{Decision, Endpoint, FrontEnd, Received, TokenSpec};
use serde_json::{Value, json};

use super::scenario::{Place, short};
use super::stage::{CALLED, CALLER, CALLER_ACCOUNT, Stage, WEBSITE_ACCOUNT};
use super::trial::{TrialError, bearer};
use crate::cli::loopback::{Answer, Loopback};

const IAM: &str = "Cloud Run's IAM";

/// What is seen of one step.
#[derive(Debug)]
pub struct Step {
    pub who: &'static str,
    pub what: String,
    pub as_expected: bool,
}

/// The whole call.
#[derive(Debug)]
pub struct GoodCall {
    pub steps: Vec<Step>,
    /// The token that the called function got in `Authorization`; empty where none arrived.
    pub token: String,
}

/// What was seen of the call.
struct Evidence<'s> {
    stage: &'s Stage,
    /// The request as the called function got it.
    received: Option<Received>,
    /// What it got in `Authorization`, if that had its signature.
    token: String,
    metadata_requests: u64,
    key_fetches: u64,
    answer: Answer,
    milliseconds: u128,
}

/// Makes the call: you, as the website, ask the caller, which asks the called function.
pub async fn make(stage: &Stage, http: &Loopback) -> Result<GoodCall, TrialError> {
    let emulator = &stage.emulator;
    let yours = emulator.mint(&TokenSpec::for_audience(CALLER).account(WEBSITE_ACCOUNT));
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer(&yours)?)]);
    let tokens_before = emulator.requests(Endpoint::MetadataIdentity);
    let fetches_before = emulator.requests(Endpoint::Certs);
    let url = stage.front_ends.caller.url();

    let started = SystemClock.now();
    let answer = http.post(&url, headers, &json!({"foo": "hello"})).await?;
    let milliseconds = SystemClock.now().age_since(started).as_millis();

    let received = stage.front_ends.at(Place::Called).received().pop();
    let token = received.as_ref().and_then(intact_token).unwrap_or_default().to_owned();
    let evidence = Evidence {
        stage,
        received,
        token,
        metadata_requests: emulator.requests(Endpoint::MetadataIdentity) - tokens_before,
        key_fetches: emulator.requests(Endpoint::Certs) - fetches_before,
        answer,
        milliseconds,
    };
    Ok(GoodCall { steps: evidence.steps(), token: evidence.token })
}

impl Evidence<'_> {
    fn steps(&self) -> Vec<Step> {
        let received = self.received.as_ref();
        let called = self.stage.front_ends.at(Place::Called);
        let (website, fetches) = (short(WEBSITE_ACCOUNT), self.key_fetches);
        let checked = |who, passed, account| {
            let account = short(account);
            step(
                who,
                passed,
                format!("signature, audience and time are good, and {account} is on its list"),
            )
        };
        let yours = format!("POST {{\"foo\":\"hello\"}} with a token of {website} for {CALLER}");
        let asked = format!("asks its metadata server for a token for {CALLED}");
        let fetched = format!("fetched Google's public keys for it, once each: {fetches} requests");
        vec![
            step("you", true, yours),
            let_in(&self.stage.front_ends.caller, WEBSITE_ACCOUNT),
            checked("caller", received.is_some(), WEBSITE_ACCOUNT),
            step("caller", self.metadata_requests == 1, asked),
            signed(&self.token),
            sent(received),
            let_in(called, CALLER_ACCOUNT),
            passed_on(received),
            checked("called", self.answer.status == 201, CALLER_ACCOUNT),
            step("both", fetches == 2, fetched),
            answered(&self.answer, self.milliseconds),
        ]
    }
}

fn step(who: &'static str, as_expected: bool, what: String) -> Step {
    Step { who, what, as_expected }
}

fn let_in(front_end: &FrontEnd, account: &str) -> Step {
    let Some(Decision { let_in, reason, principal, status, .. }) = front_end.decisions().pop()
    else {
        return step(IAM, false, "was not asked".to_owned());
    };
    let principal = principal.unwrap_or_else(|| "nobody".to_owned());
    let as_expected =
        let_in && reason == "invoker" && principal == format!("serviceAccount:{account}");
    let name = short(&principal);
    let what = match (let_in, reason.as_str()) {
        (true, "invoker") => format!("lets {name} in: it has roles/run.invoker"),
        (true, reason) => format!("lets {name} in: {reason}"),
        (false, reason) => format!("refuses {name}: {status} {reason}"),
    };
    step(IAM, as_expected, what)
}

/// The token of a request that reached the container with its signature.
fn intact_token(received: &Received) -> Option<&str> {
    let (_, token) = received.header("authorization")?.split_once(' ')?;
    (!is_stripped(token)).then_some(token)
}

fn is_stripped(value: &str) -> bool {
    value.ends_with(".SIGNATURE_REMOVED_BY_GOOGLE")
}

fn signed(token: &str) -> Step {
    let mut parts = token.split('.').map(part);
    let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let text = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
    let (email, audience) = (text(&claims["email"]), text(&claims["aud"]));
    let minutes =
        claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| (exp - iat) / 60);
    let kid: String = text(&header["kid"]).chars().take(8).collect();
    let what = format!(
        "signs: {} for {audience}, {} min, key {kid}…",
        short(&email),
        minutes.unwrap_or_default()
    );
    step("Google", email == CALLER_ACCOUNT && audience == CALLED && minutes == Some(60), what)
}

/// A part of a token as JSON; null where it is none.
fn part(text: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn sent(received: Option<&Received>) -> Step {
    let names: Vec<&str> = ["Authorization", "X-Serverless-Authorization"]
        .into_iter()
        .filter(|name| received.is_some_and(|received| received.header(name).is_some()))
        .collect();
    let what = format!("POST {{\"bar\":\"hello\"}}, token in {}", names.join(" and "));
    step("caller", names.len() == 2, what)
}

fn passed_on(received: Option<&Received>) -> Step {
    let state = |name| match received.and_then(|received| received.header(name)) {
        None => "absent",
        Some(value) if is_stripped(value) => "stripped of its signature",
        Some(_) => "intact",
    };
    let (plain, serverless) = (state("authorization"), state("x-serverless-authorization"));
    let what = format!("hands on: Authorization {plain}, the other {serverless}");
    step(IAM, plain == "intact" && serverless == "stripped of its signature", what)
}

fn answered(answer: &Answer, milliseconds: u128) -> Step {
    let body: String = String::from_utf8_lossy(&answer.body).chars().take(50).collect();
    let status = answer.status.as_u16();
    let as_expected = status == 201 && answer.json()["bar"] == "hello";
    step(
        "answer",
        as_expected,
        format!(
            "{status} {} in {milliseconds} ms",
            body.escape_debug().to_string().replace("\\\"", "\"")
        ),
    )
}
