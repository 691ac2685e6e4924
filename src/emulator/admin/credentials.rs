//! Credential files, and who may mint as whom.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;

use super::document::{Document, Problem};
use super::{Answer, Emulated};
use crate::emulator::credentials::{self, CredentialSpec};

pub(super) async fn issue(
    State(google): Emulated,
    Document(spec): Document<CredentialSpec>,
) -> Answer {
    Ok(Json(credentials::file(&google, &spec).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Binding {
    account: String,
    member: String,
}

pub(super) async fn grant(State(google): Emulated, Document(binding): Document<Binding>) -> Answer {
    google.grant_token_creator(&binding.account, &binding.member)?;
    Ok(Json(google.token_creators.state()))
}

pub(super) async fn revoke(
    State(google): Emulated,
    Document(binding): Document<Binding>,
) -> Answer {
    if !google.revoke_token_creator(&binding.account, &binding.member)? {
        let message = format!("member: {} has no binding on {}", binding.member, binding.account);
        return Err(Problem::new(StatusCode::NOT_FOUND, message));
    }
    Ok(Json(google.token_creators.state()))
}
