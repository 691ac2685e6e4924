//! Front ends and who may invoke what is behind them.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Deserialize;

use super::document::{Document, Problem};
use super::{Answer, Emulated};
use crate::emulator::EmulatorError;
use crate::emulator::front_end::{AuthorizationHandling, FrontEnd, FrontEndSpec, Ingress};
use crate::emulator::google::Google;

pub(super) async fn open(
    State(google): Emulated,
    Document(spec): Document<FrontEndSpec>,
) -> Answer {
    Ok(Json(FrontEnd::open(&google, spec).await?.state()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    open: Option<bool>,
    authorization: Option<AuthorizationHandling>,
    ingress: Option<Ingress>,
    backend: Option<SocketAddr>,
}

pub(super) async fn change(
    State(google): Emulated,
    Path(service): Path<String>,
    Document(change): Document<Change>,
) -> Answer {
    let front_end = named(&google, &service)?;
    if let Some(backend) = change.backend {
        front_end.set_backend(backend)?;
    }
    if let Some(open) = change.open {
        front_end.set_open(open);
    }
    if let Some(handling) = change.authorization {
        front_end.set_authorization(handling);
    }
    if let Some(ingress) = change.ingress {
        front_end.set_ingress(ingress);
    }
    Ok(Json(front_end.state()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Binding {
    service: String,
    member: String,
    after_seconds: Option<i64>,
}

pub(super) async fn grant(State(google): Emulated, Document(binding): Document<Binding>) -> Answer {
    let front_end = named(&google, &binding.service)?;
    match binding.after_seconds {
        None => front_end.grant(&binding.member)?,
        Some(seconds) => front_end.grant_after(&binding.member, seconds)?,
    }
    Ok(Json(front_end.state()))
}

pub(super) async fn revoke(
    State(google): Emulated,
    Document(binding): Document<Binding>,
) -> Answer {
    let front_end = named(&google, &binding.service)?;
    if !front_end.revoke(&binding.member)? {
        let message = format!("member: {} has no binding on {}", binding.member, binding.service);
        return Err(Problem::new(StatusCode::NOT_FOUND, message));
    }
    Ok(Json(front_end.state()))
}

fn named(google: &Google, service: &str) -> Result<FrontEnd, EmulatorError> {
    let all = google.front_ends.all();
    let names: Vec<&str> = all.iter().map(FrontEnd::service).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    all.iter()
        .find(|front_end| front_end.service() == service)
        .cloned()
        .ok_or_else(|| EmulatorError::UnknownService { service: service.to_owned(), known })
}
