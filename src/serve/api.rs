//! The JSON that the web page and scripts read, and the jobs that they may ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::http::{body, reply};
use super::queue::Asked;
use super::schedule;
use crate::export::{DayStatus, get_json, last_runs, never_looked_at};
use crate::lake::manifest::{Landing, Manifest};
use crate::lake::{self, key};
use crate::{Error, ErrorKind, Result};

/// A job's description at most.
const LARGEST: usize = 64 * 1024;
/// Dates shown where none are asked for.
const DATES: usize = 14;
/// Runs shown, and the most that are.
const RUNS: usize = 20;
const MOST_RUNS: usize = 200;
/// Due times shown.
const NEXT: usize = 5;

/// All of `/api`.
pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/api/status", get(status))
        .route("/api/day", get(day))
        .route("/api/runs", get(runs))
        .route("/api/next", get(next))
        .route("/api/progress", get(progress))
        .route("/api/backfill", post(backfill))
        .route("/api/retry", post(retry))
}

type Parameters<T> = std::result::Result<Query<T>, axum::extract::rejection::QueryRejection>;

/// A query, or the answer that says what is wrong with it. Boxed: an answer is large.
fn asked<T>(query: Parameters<T>) -> std::result::Result<T, Box<Response>> {
    query
        .map(|Query(query)| query)
        .map_err(|error| Box::new(reply::error(StatusCode::BAD_REQUEST, &error.body_text())))
}

#[derive(Deserialize)]
struct Range {
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
}

/// `GET /api/status?from&to`: coverage by day and space.
async fn status(State(daemon): State<Arc<Daemon>>, query: Parameters<Range>) -> Response {
    let range = match asked(query) {
        Ok(range) => range,
        Err(refusal) => return *refusal,
    };
    let count = range.from.map_or(DATES, |_| usize::MAX);
    let store = &*daemon.store;
    let today = lake::date_of(Utc::now(), daemon.config.timezone);
    let to = range.to.unwrap_or(today);
    let days = daemon.coverage.latest(store, range.from, Some(to), count).await;
    let days: Vec<Arc<DayStatus>> = match days {
        Ok(days) => days,
        Err(error) => return reply::failed(&error),
    };
    let never = never_looked_at(today, range.from, range.to, &days);
    // A year of days is some megabytes of JSON: not on the threads that serve.
    let store = store.url().to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let answer = json_of(&store, &days, &never);
        reply::json(StatusCode::OK, &answer)
    });
    made.await
        .unwrap_or_else(|_| reply::error(StatusCode::INTERNAL_SERVER_ERROR, "could not be told"))
}

/// The same names as `status --json`.
#[derive(Serialize)]
struct StatusAnswer<'a> {
    store: &'a str,
    days: &'a [Arc<DayStatus>],
    never_looked_at: &'a [(NaiveDate, NaiveDate)],
}

fn json_of<'a>(
    store: &'a str,
    days: &'a [Arc<DayStatus>],
    never_looked_at: &'a [(NaiveDate, NaiveDate)],
) -> StatusAnswer<'a> {
    StatusAnswer {
        store,
        days,
        never_looked_at,
    }
}

#[derive(Deserialize)]
struct OneDay {
    date: NaiveDate,
    space: String,
}

/// `GET /api/day?date&space`: its rooms and calls, with what is missing and why.
async fn day(State(daemon): State<Arc<Daemon>>, query: Parameters<OneDay>) -> Response {
    let OneDay { date, space } = match asked(query) {
        Ok(day) => day,
        Err(refusal) => return *refusal,
    };
    let found = get_json::<Manifest>(&*daemon.store, &key::manifest(date, &space)).await;
    match found {
        Ok(Some((manifest, _))) => reply::json(StatusCode::OK, &detail(&manifest)),
        Ok(None) => reply::error(StatusCode::NOT_FOUND, "the lake has no such day"),
        Err(error) => reply::failed(&error),
    }
}

fn landing(landing: &Landing) -> Value {
    json!({
        "status": landing.status,
        "reason": landing.reason,
        "attempts": landing.attempts,
        "key": landing.landed.as_ref().map(|landed| &landed.key),
        "bytes": landing.landed.as_ref().map(|landed| landed.bytes),
        "landed_at": landing.landed.as_ref().map(|landed| landed.landed_at),
    })
}

fn detail(manifest: &Manifest) -> Value {
    let mut rooms: BTreeMap<&String, (Vec<Value>, Vec<Value>)> =
        manifest.rooms.keys().map(|id| (id, Default::default())).collect();
    for id in manifest.calls_in_order() {
        let Some(call) = manifest.calls.get(id) else {
            continue;
        };
        let reports: BTreeMap<_, _> = call
            .reports
            .iter()
            .map(|(format, report)| (format.as_str(), landing(report)))
            .collect();
        rooms.entry(&call.room_id).or_default().0.push(json!({
            "call_id": id,
            "started_at": call.started_at,
            "finished_at": call.finished_at,
            "participants": call.participants,
            "pending": call.pending,
            "reports": reports,
        }));
    }
    for (id, record) in &manifest.records {
        rooms.entry(&record.room_id).or_default().1.push(json!({
            "record_id": id,
            "call_id": record.call_id,
            "started_at": record.started_at,
            "finished_at": record.finished_at,
            "file": landing(&record.file),
        }));
    }
    let rooms: Vec<Value> = rooms
        .into_iter()
        .map(|(id, (calls, records))| {
            let room = manifest.rooms.get(id);
            json!({
                "room_id": id,
                "room_name": room.and_then(|room| room.name.as_ref()),
                "missed": manifest.missed.rooms.contains(id),
                "calls": calls,
                "records": records,
            })
        })
        .collect();
    json!({"day": DayStatus::of(manifest), "missed_rooms": manifest.missed.rooms, "rooms": rooms})
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

/// `GET /api/runs?limit`: the latest runs, newest first.
async fn runs(State(daemon): State<Arc<Daemon>>, query: Parameters<Limit>) -> Response {
    let limit = match asked(query) {
        Ok(Limit { limit }) => limit.unwrap_or(RUNS).min(MOST_RUNS),
        Err(refusal) => return *refusal,
    };
    match last_runs(&*daemon.store, Utc::now(), limit).await {
        Ok(runs) => reply::json(StatusCode::OK, &json!({ "runs": runs })),
        Err(error) => reply::failed(&error),
    }
}

/// `GET /api/next`: when runs are due, and what waits for its turn.
async fn next(State(daemon): State<Arc<Daemon>>) -> Response {
    let config = &daemon.config;
    match schedule::next_runs(&config.schedule.cron, config.timezone, Utc::now(), NEXT) {
        Ok(due) => {
            let due: Vec<DateTime<chrono_tz::Tz>> = due
                .into_iter()
                .map(|due| due.with_timezone(&config.timezone))
                .collect();
            let due: Vec<String> = due.iter().map(DateTime::to_rfc3339).collect();
            reply::json(
                StatusCode::OK,
                &json!({
                    "timezone": config.timezone.name(),
                    "due": due,
                    "waiting": daemon.queue.waiting(),
                    "next_event": daemon.events.next_due(),
                }),
            )
        }
        Err(error) => reply::failed(&error),
    }
}

/// `GET /api/progress`: what is in work now, and how far it has come.
async fn progress(State(daemon): State<Arc<Daemon>>) -> Response {
    reply::json(StatusCode::OK, &json!({"running": daemon.running()}))
}

/// `POST /api/backfill {from, to, spaces?, rooms?, only?, force?}`
async fn backfill(State(daemon): State<Arc<Daemon>>, request: Body) -> Response {
    match read::<Asked>(request).await {
        Ok(job) => queue(&daemon, job).await,
        Err(refusal) => *refusal,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    date: NaiveDate,
    space: String,
}

/// `POST /api/retry {date, space}`: that day again.
async fn retry(State(daemon): State<Arc<Daemon>>, request: Body) -> Response {
    match read::<Retry>(request).await {
        Ok(Retry { date, space }) => {
            let job = Asked {
                from: date,
                to: date,
                spaces: vec![space],
                rooms: Vec::new(),
                only: None,
                force: false,
            };
            queue(&daemon, job).await
        }
        Err(refusal) => *refusal,
    }
}

async fn read<T: serde::de::DeserializeOwned>(request: Body) -> std::result::Result<T, Box<Response>> {
    let bytes = body::read(request, LARGEST)
        .await
        .map_err(|refusal| Box::new(refusal.into()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Box::new(reply::error(StatusCode::BAD_REQUEST, &error.to_string())))
}

async fn queue(daemon: &Daemon, job: Asked) -> Response {
    match ask(daemon, job).await {
        Ok(id) => reply::json(StatusCode::ACCEPTED, &json!({ "id": id })),
        Err(error) if error.kind() == ErrorKind::Usage => {
            reply::error(StatusCode::BAD_REQUEST, &error.to_string())
        }
        Err(error) if error.kind() == ErrorKind::RateLimited => {
            reply::error(StatusCode::TOO_MANY_REQUESTS, &error.to_string())
        }
        Err(error) => reply::failed(&error),
    }
}

/// Takes a job, for the page too; returns its id when it is safely kept.
///
/// # Errors
/// `Usage`: its dates hold no day; `RateLimited`: too many jobs wait; of the store.
pub(super) async fn ask(daemon: &Daemon, job: Asked) -> Result<String> {
    check(daemon, &job)?;
    let id = daemon.queue.push(&*daemon.store, job).await?;
    tracing::info!(id, "a job was asked for");
    Ok(id)
}

/// Refuses dates that hold no day, or have not come.
fn check(daemon: &Daemon, job: &Asked) -> Result<()> {
    let today = lake::date_of(Utc::now(), daemon.config.timezone);
    let wrong = |why: String| Err(Error::new(ErrorKind::Usage, "from/to", why));
    if job.from > job.to {
        return wrong(format!("{} to {} holds no date", job.from, job.to));
    }
    if job.from > today {
        return wrong(format!("{} has not come yet", job.from));
    }
    Ok(())
}
