//! What a person asks for with the page's forms: work, a retry, a cancellation.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::NaiveDate;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer};

use super::frame::{go_to, trouble};
use super::{calendar, visit};
use crate::serve::api;
use crate::serve::daemon::Daemon;
use crate::serve::http::{body, reply};
use crate::serve::queue::{Asked, Half};

/// A form at most.
const LARGEST: usize = 16 * 1024;

/// A field that is left empty is none.
fn none_if_empty<'de, D, T>(deserializer: D) -> std::result::Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    T::deserialize(text.into_deserializer()).map(Some)
}

fn list(value: String) -> Vec<String> {
    Some(value)
        .filter(|value| !value.is_empty())
        .into_iter()
        .collect()
}

/// Reads a form, within bounds.
pub async fn form<T: DeserializeOwned>(request: Body) -> std::result::Result<T, Box<Response>> {
    let bytes = body::read(request, LARGEST)
        .await
        .map_err(|refusal| Box::new(refusal.into()))?;
    serde_urlencoded::from_bytes(&bytes)
        .map_err(|error| Box::new(reply::error(StatusCode::BAD_REQUEST, &error.to_string())))
}

#[derive(Deserialize)]
struct Backfill {
    from: NaiveDate,
    to: NaiveDate,
    #[serde(default)]
    space: String,
    #[serde(default, deserialize_with = "none_if_empty")]
    only: Option<Half>,
    #[serde(default)]
    force: bool,
}

/// `POST /backfill`
pub async fn backfill(State(daemon): State<Arc<Daemon>>, headers: HeaderMap, body: Body) -> Response {
    let asked: Backfill = match form(body).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let job = Asked {
        from: asked.from,
        to: asked.to,
        spaces: list(asked.space),
        rooms: Vec::new(),
        only: asked.only,
        force: asked.force,
    };
    ask(&daemon, &headers, job, "/?asked#work").await
}

#[derive(Deserialize)]
struct Retry {
    date: NaiveDate,
    #[serde(default)]
    space: String,
    #[serde(default)]
    room: String,
    #[serde(default, deserialize_with = "none_if_empty")]
    only: Option<Half>,
}

/// `POST /retry`: a day, or a room's part of it.
pub async fn retry(State(daemon): State<Arc<Daemon>>, headers: HeaderMap, body: Body) -> Response {
    let asked: Retry = match form(body).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let space = Some(asked.space.as_str()).filter(|space| !space.is_empty());
    let place = format!("{}&asked#work", calendar::link(asked.date, space));
    let job = Asked {
        from: asked.date,
        to: asked.date,
        spaces: list(asked.space),
        rooms: list(asked.room),
        only: asked.only,
        force: false,
    };
    ask(&daemon, &headers, job, &place).await
}

async fn ask(daemon: &Daemon, headers: &HeaderMap, job: Asked, then: &str) -> Response {
    match api::ask(daemon, job).await {
        Ok(_) => go_to(then, None),
        Err(error) => trouble(&visit(daemon, headers), &error),
    }
}
