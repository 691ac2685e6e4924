//! The called function: validates a request, saves the entity, answers 201 with it.
//!
//! One of the two files to edit for a service of your own. Who may call was settled before a request gets here; a
//! handler that wants to know takes a [`Principal`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use countersign::Problem;
use countersign::inbound::Principal;
use countersign::server;
use serde::Serialize;
use serde_json::{Value, json};

/// What this function stores.
#[derive(Clone, Debug, Serialize)]
pub struct Entity {
    id: String,
    bar: Value,
}

/// Where entities are kept. Implement it for your database.
pub trait Entities: Send + Sync + 'static {
    fn create(&self, bar: Value) -> impl Future<Output = Result<Entity, Problem>> + Send;
    fn find(&self, id: &str) -> impl Future<Output = Result<Option<Entity>, Problem>> + Send;
}

pub fn router(entities: impl Entities) -> Router {
    Router::new()
        .route("/", post(create))
        .route("/entities/{id}", get(find))
        .route("/whoami", get(whoami))
        .fallback(server::not_found)
        .method_not_allowed_fallback(server::method_not_allowed)
        .with_state(Arc::new(entities))
}

async fn create<E: Entities>(
    State(entities): State<Arc<E>>,
    body: Bytes,
) -> Result<(StatusCode, Json<Entity>), Problem> {
    let mut request = server::json_object(&body)?;
    let bar = request.remove("bar").filter(|bar| !bar.is_null()).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "missing_field", "missing required field \"bar\"")
    })?;
    Ok((StatusCode::CREATED, Json(entities.create(bar).await?)))
}

async fn find<E: Entities>(
    State(entities): State<Arc<E>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Entity>, Problem> {
    // What is not even text is no entity's id.
    let found = match id {
        Ok(Path(id)) => entities.find(&id).await?,
        Err(_) => None,
    };
    found.map(Json).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "no_such_entity", "there is no entity of this id")
    })
}

/// Whom this service takes its caller for.
async fn whoami(principal: Principal) -> Json<Value> {
    Json(json!({
        "email": principal.email(),
        "sub": principal.subject(),
        "audience": principal.audience().as_str(),
        "expires_at": principal.expires_at(),
    }))
}

/// Keeps the newest entities in memory.
#[derive(Default)]
pub struct InMemory(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    last: u64,
    entities: BTreeMap<u64, Entity>,
}

impl InMemory {
    const MOST: usize = 1_000;
    const LONGEST: usize = 16 * 1024;
}

impl Entities for InMemory {
    async fn create(&self, bar: Value) -> Result<Entity, Problem> {
        if bar.to_string().len() > Self::LONGEST {
            let detail = "\"bar\" is longer than 16 KiB";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "field_too_long", detail));
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        let number = kept.last;
        let entity = Entity { id: number.to_string(), bar };
        kept.entities.insert(number, entity.clone());
        if kept.entities.len() > Self::MOST {
            kept.entities.pop_first();
        }
        Ok(entity)
    }

    async fn find(&self, id: &str) -> Result<Option<Entity>, Problem> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = id.parse().ok().and_then(|number: u64| kept.entities.get(&number));
        // `+1` and `01` are numbers, but not ids.
        Ok(found.filter(|entity| entity.id == id).cloned())
    }
}
