//! The JSON that the web page and scripts read, and the jobs that they may ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get, post};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::audit::Caller;
use super::daemon::Daemon;
use super::http::{body, reply};
use super::jobs::{self, Answer};
use crate::dates;
use crate::lake::manifest::{Landing, Manifest};
use crate::lake::{self, key};
use crate::pipeline::{last_runs, run_log};
use crate::schedule;
use crate::status::{DayStatus, never_looked_at};
use crate::store::json::get_json;
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
        .route("/api/runs/{id}/log", get(log))
        .route("/api/next", get(next))
        .route("/api/progress", get(progress))
        .route("/api/backfill", post(backfill))
        .route("/api/retry", post(retry))
        .route("/api/jobs", get(all_jobs))
        .route("/api/jobs/{id}", delete(cancel))
        .route("/api/pause", post(pause))
        .route("/api/resume", post(resume))
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
    #[serde(default, deserialize_with = "dates::deserialize_option")]
    from: Option<NaiveDate>,
    #[serde(default, deserialize_with = "dates::deserialize_option")]
    to: Option<NaiveDate>,
}

/// `GET /api/status?from&to`: coverage by day and space.
async fn status(State(daemon): State<Arc<Daemon>>, query: Parameters<Range>) -> Response {
    let range = match asked(query) {
        Ok(range) => range,
        Err(refusal) => return *refusal,
    };
    if let Err(error) = dates::check_reading(range.from, range.to) {
        return refused(&error);
    }
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
    #[serde(deserialize_with = "dates::deserialize")]
    date: NaiveDate,
    space: String,
}

/// `GET /api/day?date&space`: its rooms and calls, with what is missing and why.
async fn day(State(daemon): State<Arc<Daemon>>, query: Parameters<OneDay>) -> Response {
    let OneDay { date, space } = match asked(query) {
        Ok(day) => day,
        Err(refusal) => return *refusal,
    };
    let found = get_json::<Manifest>(&*daemon.store, &key::manifest(date, &space.as_str().into())).await;
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
    let mut rooms: BTreeMap<&str, (Vec<Value>, Vec<Value>)> =
        manifest.rooms.keys().map(|id| (id.as_str(), Default::default())).collect();
    for id in manifest.calls_in_order() {
        let Some(call) = manifest.calls.get(id) else {
            continue;
        };
        let reports: BTreeMap<_, _> = call
            .reports
            .iter()
            .map(|(format, report)| (format.as_str(), landing(report)))
            .collect();
        rooms.entry(call.room_id.as_str()).or_default().0.push(json!({
            "call_id": id,
            "started_at": call.started_at,
            "finished_at": call.finished_at,
            "participants": call.participants,
            "pending": call.pending,
            "reports": reports,
        }));
    }
    for (id, record) in &manifest.records {
        rooms.entry(record.room_id.as_str()).or_default().1.push(json!({
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

/// `GET /api/runs/<id>/log`: the latest lines of a run's log, also while it is at work.
async fn log(State(daemon): State<Arc<Daemon>>, Path(id): Path<String>) -> Response {
    match run_log(&*daemon.store, &id).await {
        Ok(Some(log)) => reply::json(StatusCode::OK, &log),
        Ok(None) => reply::error(StatusCode::NOT_FOUND, "no lines are kept of such a run"),
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

/// `POST /api/backfill {from, to, spaces?, rooms?, calls?, records?, only?, force?, confirm?}`
async fn backfill(State(daemon): State<Arc<Daemon>>, caller: Caller, request: Body) -> Response {
    let mut body: serde_json::Map<String, Value> = match read(request).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let confirmed = match body.remove("confirm") {
        None => false,
        Some(Value::Bool(confirmed)) => confirmed,
        Some(_) => return reply::error(StatusCode::BAD_REQUEST, "confirm must be true or false"),
    };
    match serde_json::from_value(Value::Object(body)) {
        Ok(job) => queued(jobs::ask(&daemon, job, &caller, confirmed).await),
        Err(error) => reply::error(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    #[serde(deserialize_with = "dates::deserialize")]
    date: NaiveDate,
    space: String,
    room: Option<String>,
    call: Option<String>,
    record: Option<String>,
}

/// `POST /api/retry {date, space, room?, call?, record?}`: that day again, or one room, call or record of it.
async fn retry(State(daemon): State<Arc<Daemon>>, caller: Caller, request: Body) -> Response {
    let retry = match read::<Retry>(request).await {
        Ok(retry) => jobs::Retry {
            date: retry.date,
            space: Some(retry.space),
            room: retry.room,
            call: retry.call,
            record: retry.record,
        },
        Err(refusal) => return *refusal,
    };
    queued(jobs::retry(&daemon, retry, &caller).await.map(Answer::Queued))
}

async fn read<T: serde::de::DeserializeOwned>(request: Body) -> std::result::Result<T, Box<Response>> {
    let bytes = body::read(request, LARGEST)
        .await
        .map_err(|refusal| Box::new(refusal.into()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Box::new(reply::error(StatusCode::BAD_REQUEST, &error.to_string())))
}

/// The outcome of a request for a job.
fn queued(answer: Result<Answer>) -> Response {
    match answer {
        Ok(Answer::Queued(id)) => reply::json(StatusCode::ACCEPTED, &json!({ "id": id })),
        Ok(Answer::MustConfirm(plan)) => {
            let error = format!(
                "{} days are more than {}: send it again with \"confirm\": true if that is meant",
                plan.days,
                dates::CONFIRM_ABOVE
            );
            reply::json(StatusCode::CONFLICT, &json!({"error": error, "plan": plan}))
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::Usage => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        _ => return reply::failed(error),
    };
    reply::error(status, &error.to_string())
}

/// `GET /api/jobs`: what runs and waits.
async fn all_jobs(State(daemon): State<Arc<Daemon>>) -> Response {
    reply::json(StatusCode::OK, &jobs::list(&daemon))
}

/// `DELETE /api/jobs/<id>`: cancels what waits or runs.
async fn cancel(State(daemon): State<Arc<Daemon>>, caller: Caller, Path(id): Path<String>) -> Response {
    match jobs::cancel(&daemon, &id, &caller).await {
        Ok(Some(job)) => reply::json(StatusCode::ACCEPTED, &job),
        Ok(None) => reply::error(
            StatusCode::NOT_FOUND,
            "there is no such job: it is over, or never was",
        ),
        Err(error) => refused(&error),
    }
}

/// `POST /api/pause`: nothing new begins.
async fn pause(State(daemon): State<Arc<Daemon>>, caller: Caller) -> Response {
    match jobs::pause(&daemon, &caller).await {
        Ok(paused) => reply::json(StatusCode::OK, &json!({ "paused": paused })),
        Err(error) => refused(&error),
    }
}

/// `POST /api/resume`: what waits begins again.
async fn resume(State(daemon): State<Arc<Daemon>>, caller: Caller) -> Response {
    match jobs::resume(&daemon, &caller).await {
        Ok(was) => reply::json(StatusCode::OK, &json!({"paused": null, "was": was})),
        Err(error) => refused(&error),
    }
}
