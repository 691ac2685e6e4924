//! Plays one scenario on the stage and observes what came of it: at the front end's journals, the answer, the counters.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use countersign::emulator::{Decision, EmulatorError, Endpoint, Fault, FaultKind};
use countersign::identity::X_SERVERLESS_AUTHORIZATION;
use serde_json::{Value, json};

use super::scenario::{Circumstances, Credential, Function, Iam, Outcome, Place, Scenario, Token};
use super::stage::{CALLER_ACCOUNT, Stage};
use crate::cli::loopback::{Answer, Loopback, LoopbackError};

/// Plays scenarios.
#[derive(Debug)]
pub struct Trial<'s> {
    pub stage: &'s Stage,
    pub http: Loopback,
    /// What the called function was sent in the good call.
    pub genuine_token: String,
}

/// Why nothing could be observed.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error(transparent)]
    Emulator(#[from] EmulatorError),
    #[error(transparent)]
    Http(#[from] LoopbackError),
    #[error("a token has characters that no header may have")]
    Header,
    #[error("the front end has no record of the request")]
    NoDecision,
}

impl Trial<'_> {
    /// Brings the circumstances about, sends the request, and puts everything right again.
    pub async fn play(&self, scenario: &Scenario) -> Result<Outcome, TrialError> {
        let observed = self.attempt(scenario).await;
        self.stage.emulator.clear_faults();
        self.stage.emulator.set_clock_offset(0);
        observed
    }

    async fn attempt(&self, scenario: &Scenario) -> Result<Outcome, TrialError> {
        let emulator = &self.stage.emulator;
        self.before_minting(scenario).await?;
        let headers = self.headers(&scenario.credential)?;
        if let Circumstances::Later { seconds } = scenario.circumstances {
            emulator.set_clock_offset(seconds);
        }

        let front_end = self.stage.front_ends.at(scenario.to);
        let called = self.stage.front_ends.at(Place::Called);
        let before = (front_end.decisions().len(), front_end.received().len());
        let called_before = called.decisions().len();
        let fetches_before = emulator.requests(Endpoint::Certs);

        let answer = self.http.post(&front_end.url(), headers, &body(scenario.to)).await?;

        let decision = front_end.decisions().into_iter().nth(before.0);
        let reached = front_end.received().len() > before.1;
        let sent_on = called.decisions().into_iter().nth(called_before);
        Ok(Outcome {
            iam: iam(decision.ok_or(TrialError::NoDecision)?),
            function: if reached { answered(&answer) } else { Function::NotReached },
            key_fetches: Some(emulator.requests(Endpoint::Certs) - fetches_before),
            reached_called_as: sent_on
                .filter(|_| scenario.to.calls())
                .map(|decision| decision.principal.unwrap_or_else(|| "nobody".to_owned()).into()),
        })
    }

    async fn before_minting(&self, scenario: &Scenario) -> Result<(), TrialError> {
        let emulator = &self.stage.emulator;
        match scenario.circumstances {
            Circumstances::Usual | Circumstances::Later { .. } => {}
            Circumstances::KeysRotated => {
                emulator.rotate_keys().await?;
            }
            Circumstances::KeyServerDown => {
                emulator.inject(Fault::on(Endpoint::Certs, FaultKind::status(503)))?;
            }
            Circumstances::RoleGranted { takes_effect_after } => {
                let member = format!("serviceAccount:{CALLER_ACCOUNT}");
                let front_end = self.stage.front_ends.at(scenario.to);
                front_end.grant_after(&member, takes_effect_after)?;
            }
        }
        Ok(())
    }

    fn headers(&self, credential: &Credential) -> Result<HeaderMap, TrialError> {
        let (names, token): (&[HeaderName], &Token) = match credential {
            Credential::Nothing => return Ok(HeaderMap::new()),
            Credential::OneHeader(token) => (&[AUTHORIZATION], token),
            Credential::BothHeaders(token) => (&[AUTHORIZATION, X_SERVERLESS_AUTHORIZATION], token),
        };
        let value = bearer(&self.token(token))?;
        Ok(names.iter().map(|name| (name.clone(), value.clone())).collect())
    }

    fn token(&self, token: &Token) -> String {
        let emulator = &self.stage.emulator;
        match token {
            Token::Replayed => self.genuine_token.clone(),
            Token::Minted { spec, clock_offset } => {
                emulator.set_clock_offset(*clock_offset);
                let token = emulator.mint(spec);
                emulator.set_clock_offset(0);
                token
            }
        }
    }
}

/// The value of a header that carries this token.
pub fn bearer(token: &str) -> Result<HeaderValue, TrialError> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| TrialError::Header)?;
    value.set_sensitive(true);
    Ok(value)
}

fn body(to: Place) -> Value {
    if to.calls() { json!({"foo": "hello"}) } else { json!({"bar": "hello"}) }
}

fn iam(decision: Decision) -> Iam {
    let Decision { status, let_in, reason, .. } = decision;
    if let_in {
        Iam::LetsIn { why: reason.into() }
    } else {
        Iam::Refuses { status, why: reason.into() }
    }
}

fn answered(answer: &Answer) -> Function {
    let code = answer.json()["code"].as_str().map(|code| code.to_owned().into());
    Function::Answers { status: answer.status.as_u16(), code }
}
