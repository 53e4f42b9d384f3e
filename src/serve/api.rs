//! The JSON API for scripts: coverage, runs, progress and jobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get, post};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::audit::Caller;
use super::http::guard::{RouteGroup, RouteGuard};
use super::http::{body, reply};
use super::jobs::{self, JobAnswer, Jobs};
use crate::config::Config;
use crate::dates;
use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::lake::manifest::{Landing, Manifest};
use crate::lake::{self, key};
use crate::pipeline::{last_runs, run_log};
use crate::schedule;
use crate::status::{Coverage, DayStatus, never_looked_at};
use crate::store::Store;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};

/// The most bytes of a request's body.
const LARGEST: usize = 64 * 1024;
/// The dates shown if the query names none.
const DATES: usize = 14;
/// The runs shown by default, and at most.
const RUNS: usize = 20;
const MOST_RUNS: usize = 200;
/// The due times shown.
const NEXT: usize = 5;

/// The parts that the API reads. Clones share everything.
#[derive(Clone)]
pub(super) struct ApiState {
    pub config: Arc<Config>,
    pub store: Arc<dyn Store>,
    pub coverage: Arc<Coverage>,
    pub jobs: Jobs,
}

impl FromRef<ApiState> for Jobs {
    fn from_ref(state: &ApiState) -> Self {
        state.jobs.clone()
    }
}

impl FromRef<ApiState> for Arc<dyn Store> {
    fn from_ref(state: &ApiState) -> Self {
        Arc::clone(&state.store)
    }
}

/// The routes of the API.
pub(super) fn routes(state: ApiState, guard: &RouteGuard) -> Router {
    let routes = Router::new()
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
        .with_state(state);
    guard.protect(RouteGroup::Api, routes)
}

type Parameters<T> = std::result::Result<Query<T>, axum::extract::rejection::QueryRejection>;

/// The query, or the response that says what is wrong with it (boxed because a response is large).
fn asked<T>(query: Parameters<T>) -> std::result::Result<T, Box<Response>> {
    query
        .map(|Query(query)| query)
        .map_err(|error| Box::new(reply::error(StatusCode::BAD_REQUEST, &error.body_text())))
}

#[derive(Deserialize)]
struct DateRangeQuery {
    #[serde(default, deserialize_with = "dates::deserialize_option")]
    from: Option<NaiveDate>,
    #[serde(default, deserialize_with = "dates::deserialize_option")]
    to: Option<NaiveDate>,
}

/// `GET /api/status?from&to`: coverage by day and space.
async fn status(State(api): State<ApiState>, query: Parameters<DateRangeQuery>) -> Response {
    let range = match asked(query) {
        Ok(range) => range,
        Err(refusal) => return *refusal,
    };
    if let Err(error) = dates::check_reading(range.from, range.to) {
        return refused(&error);
    }
    let store = &*api.store;
    let today = lake::date_of(Utc::now(), api.config.timezone);
    let to = range.to.unwrap_or(today);
    let days = match range.from {
        Some(from) => api.coverage.days(store, Some(from), Some(to)).await,
        None => api.coverage.latest(store, to, DATES).await,
    };
    let days: Vec<Arc<DayStatus>> = match days {
        Ok(days) => days,
        Err(error) => return reply::failed(&error),
    };
    let never = never_looked_at(today, range.from, range.to, &days);
    // A year of days is some megabytes of JSON, too much for the threads that serve requests.
    let store = store.url().to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let answer = json_of(&store, &days, &never);
        reply::json(StatusCode::OK, &answer)
    });
    made.await
        .unwrap_or_else(|_| reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made"))
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
struct DayQuery {
    #[serde(deserialize_with = "dates::deserialize")]
    date: NaiveDate,
    space: SpaceId,
}

/// `GET /api/day?date&space`: the day's rooms and calls, with the state of each file.
async fn day(State(store): State<Arc<dyn Store>>, query: Parameters<DayQuery>) -> Response {
    let DayQuery { date, space } = match asked(query) {
        Ok(day) => day,
        Err(refusal) => return *refusal,
    };
    let found = get_json::<Manifest>(&*store, &key::manifest(date, &space)).await;
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
        "key": landing.stored().map(|landed| &landed.key),
        "bytes": landing.stored().map(|landed| landed.bytes),
        "landed_at": landing.stored().map(|landed| landed.landed_at),
    })
}

fn detail(manifest: &Manifest) -> Value {
    let mut rooms: BTreeMap<&str, (Vec<Value>, Vec<Value>)> = manifest
        .rooms
        .keys()
        .map(|id| (id.as_str(), Default::default()))
        .collect();
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
struct RunsQuery {
    limit: Option<usize>,
}

/// `GET /api/runs?limit`: the latest runs, newest first.
async fn runs(State(store): State<Arc<dyn Store>>, query: Parameters<RunsQuery>) -> Response {
    let limit = match asked(query) {
        Ok(RunsQuery { limit }) => limit.unwrap_or(RUNS).min(MOST_RUNS),
        Err(refusal) => return *refusal,
    };
    match last_runs(&*store, Utc::now(), limit).await {
        Ok(runs) => reply::json(StatusCode::OK, &json!({ "runs": runs })),
        Err(error) => reply::failed(&error),
    }
}

/// `GET /api/runs/<id>/log`: the latest lines of a run's log, also while it runs.
async fn log(State(store): State<Arc<dyn Store>>, Path(id): Path<String>) -> Response {
    match run_log(&*store, &id).await {
        Ok(Some(log)) => reply::json(StatusCode::OK, &log),
        Ok(None) => reply::error(StatusCode::NOT_FOUND, "the lake has no log of such a run"),
        Err(error) => reply::failed(&error),
    }
}

/// `GET /api/next`: the next due times, and the waiting jobs.
async fn next(State(api): State<ApiState>) -> Response {
    let config = &api.config;
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
                    "waiting": api.jobs.queue.waiting(),
                    "next_event": api.jobs.events.next_due(),
                }),
            )
        }
        Err(error) => reply::failed(&error),
    }
}

/// `GET /api/progress`: the running jobs and their progress.
async fn progress(State(jobs): State<Jobs>) -> Response {
    reply::json(StatusCode::OK, &json!({"running": jobs.running.all()}))
}

/// `POST /api/backfill {from, to, spaces?, rooms?, calls?, records?, only?, force?, confirm?}`
async fn backfill(State(jobs): State<Jobs>, caller: Caller, request: Body) -> Response {
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
        Ok(job) => queued(jobs::ask(&jobs, job, &caller, confirmed).await),
        Err(error) => reply::error(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryBody {
    #[serde(deserialize_with = "dates::deserialize")]
    date: NaiveDate,
    space: SpaceId,
    room: Option<RoomId>,
    call: Option<CallId>,
    record: Option<RecordId>,
}

/// `POST /api/retry {date, space, room?, call?, record?}`: exports a day again, or a single room, call or record of it.
async fn retry(State(jobs): State<Jobs>, caller: Caller, request: Body) -> Response {
    let retry = match read::<RetryBody>(request).await {
        Ok(retry) => jobs::Retry {
            date: retry.date,
            space: Some(retry.space),
            room: retry.room,
            call: retry.call,
            record: retry.record,
        },
        Err(refusal) => return *refusal,
    };
    queued(jobs::retry(&jobs, retry, &caller).await.map(JobAnswer::Queued))
}

async fn read<T: serde::de::DeserializeOwned>(request: Body) -> std::result::Result<T, Box<Response>> {
    let bytes = body::read(request, LARGEST)
        .await
        .map_err(|refusal| Box::new(refusal.into()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Box::new(reply::error(StatusCode::BAD_REQUEST, &error.to_string())))
}

/// The response to a request for a job.
fn queued(answer: Result<JobAnswer>) -> Response {
    match answer {
        Ok(JobAnswer::Queued(id)) => reply::json(StatusCode::ACCEPTED, &json!({ "id": id })),
        Ok(JobAnswer::MustConfirm(plan)) => {
            let error = format!(
                "{} days are more than {}; to confirm the job, send it again with \"confirm\": true",
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

/// `GET /api/jobs`: the running and waiting jobs.
async fn all_jobs(State(jobs): State<Jobs>) -> Response {
    reply::json(StatusCode::OK, &jobs::list(&jobs))
}

/// `DELETE /api/jobs/<id>`: cancels a waiting or running job.
async fn cancel(State(jobs): State<Jobs>, caller: Caller, Path(id): Path<String>) -> Response {
    match jobs::cancel(&jobs, &id, &caller).await {
        Ok(Some(job)) => reply::json(StatusCode::ACCEPTED, &job),
        Ok(None) => reply::error(StatusCode::NOT_FOUND, "there is no such job, or it is over"),
        Err(error) => refused(&error),
    }
}

/// `POST /api/pause`: pauses the queue, so that no new job starts.
async fn pause(State(jobs): State<Jobs>, caller: Caller) -> Response {
    match jobs::pause(&jobs, &caller).await {
        Ok(paused) => reply::json(StatusCode::OK, &json!({ "paused": paused })),
        Err(error) => refused(&error),
    }
}

/// `POST /api/resume`: ends the pause.
async fn resume(State(jobs): State<Jobs>, caller: Caller) -> Response {
    match jobs::resume(&jobs, &caller).await {
        Ok(was) => reply::json(StatusCode::OK, &json!({"paused": null, "was": was})),
        Err(error) => refused(&error),
    }
}
