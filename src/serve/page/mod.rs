//! The operator's page: coverage as a calendar, a day's rooms and calls, runs, what is in work and what comes next; and
//! the forms that ask for a backfill or for a day again.
//!
//! HTML made here, with one style sheet and one small script from inside the program; nothing comes from elsewhere, and
//! everything but live progress works without the script. It shows ids, names of rooms and spaces, counts and reasons:
//! no person. What is rendered is pure (`overview`, `calendar`, `charts`, `day`, `runs`, `work` from `view`); only this
//! module reads the store. `http` merges [`routes`]; `http::guard` decides who gets here.

mod assets;
mod calendar;
mod charts;
mod day;
mod frame;
mod lang;
pub(super) mod login;
mod overview;
mod runs;
pub(super) mod session;
mod texts;
mod view;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::ACCEPT_LANGUAGE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{NaiveDate, Utc};
use futures_util::{StreamExt, stream};
use maud::Markup;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer};

use self::day::Around;
use self::frame::{Visit, answer, go_to, trouble};
use self::lang::Lang;
use self::overview::Overview;
use self::session::{Guesses, Sessions};
use self::view::View;
use self::work::Work;
use super::audit::Caller;
use super::daemon::Daemon;
use super::http::{body, reply};
use super::jobs::{self, Answer};
use super::queue::{Asked, Half};
use crate::export::{DayStatus, Summary, get_json, run_entries};
use crate::lake::manifest::Manifest;
use crate::lake::{self, key};
use crate::{Error, ErrorKind, Result};

/// A form at most.
const LARGEST: usize = 16 * 1024;
/// Runs on the first page, and on their own.
const RUNS: usize = 10;
const MANY_RUNS: usize = 100;
/// Summaries kept in memory.
const MOST_KNOWN: usize = 200;
/// Summaries read at once.
const READ_AT_ONCE: usize = 8;

/// What the page keeps between requests: all of it may be lost.
#[derive(Default)]
pub(super) struct Page {
    pub sessions: Sessions,
    pub guesses: Guesses,
    /// Held by who reads the lake's days.
    reading: tokio::sync::Mutex<()>,
    /// Runs that are over: they do not change any more.
    runs: tokio::sync::Mutex<HashMap<String, Arc<Summary>>>,
    /// The names of spaces, by id.
    names: Mutex<HashMap<String, String>>,
}

impl Page {
    /// A space's name, or its id where none is known yet.
    fn name(&self, space: &str) -> String {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(space).cloned().unwrap_or_else(|| space.to_owned())
    }

    fn remember(&self, view: &View<'_>) {
        let spaces = view.spaces().into_iter();
        let known = spaces
            .map(|(id, name)| (id.to_owned(), name.to_owned()))
            .collect();
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

/// The page's routes; `http::guard` knows them too.
pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/", get(first))
        .route("/now", get(now))
        .route("/day", get(one_day))
        .route("/runs", get(all_runs))
        .route("/run", get(one_run))
        .route("/backfill", post(backfill))
        .route("/retry", post(retry))
        .route("/login", get(login::get).post(login::post))
        .route("/logout", post(login::leave))
        .route("/assets/{name}", get(assets::get))
}

fn language(headers: &HeaderMap) -> Lang {
    let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Lang::wanted(accepted.unwrap_or_default())
}

fn visit(daemon: &Daemon, headers: &HeaderMap) -> Visit {
    let now = Utc::now();
    let zone = daemon.config.timezone;
    Visit {
        lang: language(headers),
        zone,
        now,
        today: lake::date_of(now, zone),
        signed_in: login::session_in(headers)
            .is_some_and(|session| daemon.page.sessions.is_open(session, now)),
    }
}

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

/// The page that was made, or the one that says why there is none.
fn shown(visit: &Visit, made: Result<Markup>) -> Response {
    match made {
        Ok(page) => answer(StatusCode::OK, page),
        Err(error) => trouble(visit, &error),
    }
}

#[derive(Deserialize)]
struct First {
    #[serde(default)]
    month: String,
    asked: Option<String>,
}

/// `GET /?month`
async fn first(
    State(daemon): State<Arc<Daemon>>,
    Query(query): Query<First>,
    headers: HeaderMap,
) -> Response {
    let visit = visit(&daemon, &headers);
    shown(&visit, overview(&daemon, &visit, &query).await)
}

async fn overview(daemon: &Daemon, visit: &Visit, query: &First) -> Result<Markup> {
    let days = all_days(daemon).await?;
    let runs = runs_of(daemon, RUNS).await?;
    let view = View::new(&days, visit.today);
    daemon.page.remember(&view);
    let overview = Overview {
        view,
        runs: &runs,
        work: Work::of(daemon, visit.now),
        month: view::parse_month(&query.month),
        asked: query.asked.is_some(),
        health: daemon.health.store_and_token(),
    };
    Ok(overview.render(visit, &daemon.page))
}

async fn all_days(daemon: &Daemon) -> Result<Vec<Arc<DayStatus>>> {
    // One at a time: who comes while a large lake is read for the first time finds it read.
    let _reading = daemon.page.reading.lock().await;
    let today = lake::date_of(Utc::now(), daemon.config.timezone);
    daemon.coverage.days(&*daemon.store, None, Some(today)).await
}

/// Reads what the first visitor would wait for.
pub(super) async fn warm(daemon: &Daemon) {
    tokio::select! {
        () = daemon.cancel.cancelled() => {}
        read = all_days(daemon) => {
            if let Err(error) = read {
                tracing::debug!(%error, "coverage could not be read ahead");
            }
        }
    }
}

/// `GET /now`: the section of work alone, for the script.
async fn now(State(daemon): State<Arc<Daemon>>, headers: HeaderMap) -> Response {
    let visit = visit(&daemon, &headers);
    let work = Work::of(&daemon, visit.now);
    answer(StatusCode::OK, work::section(&visit, &daemon.page, &work))
}

#[derive(Deserialize)]
struct OneDay {
    date: NaiveDate,
    #[serde(default)]
    space: String,
    asked: Option<String>,
}

type Parameters<T> = std::result::Result<Query<T>, axum::extract::rejection::QueryRejection>;

/// `GET /day?date&space`
async fn one_day(
    State(daemon): State<Arc<Daemon>>,
    query: Parameters<OneDay>,
    headers: HeaderMap,
) -> Response {
    let visit = visit(&daemon, &headers);
    let made = match query {
        Ok(Query(query)) => day_of(&daemon, &visit, query).await,
        Err(error) => Err(Error::new(ErrorKind::Usage, "date", error.body_text())),
    };
    shown(&visit, made)
}

async fn day_of(daemon: &Daemon, visit: &Visit, query: OneDay) -> Result<Markup> {
    let OneDay { date, space, asked } = query;
    let work = Work::of(daemon, visit.now);
    let around = Around {
        date,
        work: &work,
        asked: asked.is_some(),
    };
    if space.is_empty() {
        let days = daemon
            .coverage
            .days(&*daemon.store, Some(date), Some(date))
            .await?;
        let view = View::new(&days, visit.today);
        return Ok(day::of_all(visit, &daemon.page, &around, &view));
    }
    let found = get_json::<Manifest>(&*daemon.store, &key::manifest(date, &space)).await;
    let (manifest, damaged) = match found {
        Ok(found) => (found.map(|(manifest, _)| manifest), false),
        Err(error) if error.kind() == ErrorKind::Store => (None, true),
        Err(error) => return Err(error),
    };
    let manifest = manifest.as_ref();
    Ok(day::of_space(
        visit,
        &daemon.page,
        &around,
        &space,
        manifest,
        damaged,
    ))
}

/// The latest runs, newest first. A run's summary is written once: each is read once.
async fn runs_of(daemon: &Daemon, count: usize) -> Result<Vec<Arc<Summary>>> {
    let store = &*daemon.store;
    let mut entries = run_entries(store, Utc::now()).await?;
    entries.truncate(count);
    let mut known = daemon.page.runs.lock().await;
    let keys = entries.iter().map(|entry| entry.key.clone());
    let fresh: Vec<String> = keys.filter(|key| !known.contains_key(key)).collect();
    let read: Vec<_> = stream::iter(fresh)
        .map(|key| async move {
            let run = get_json::<Summary>(store, &key).await;
            (key, run)
        })
        .buffer_unordered(READ_AT_ONCE)
        .collect()
        .await;
    for (key, run) in read {
        match run {
            Ok(Some((run, _))) => drop(known.insert(key, Arc::new(run))),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Store => {
                tracing::warn!(%error, "a run's summary can't be read");
            }
            Err(error) => return Err(error),
        }
    }
    let runs = entries
        .iter()
        .filter_map(|entry| known.get(&entry.key).cloned())
        .collect();
    if known.len() > MOST_KNOWN {
        known.retain(|key, _| entries.iter().any(|entry| entry.key == *key));
    }
    Ok(runs)
}

/// `GET /runs`
async fn all_runs(State(daemon): State<Arc<Daemon>>, headers: HeaderMap) -> Response {
    let visit = visit(&daemon, &headers);
    let runs = runs_of(&daemon, MANY_RUNS).await;
    shown(&visit, runs.map(|runs| runs::all(&visit, &runs)))
}

#[derive(Deserialize)]
struct OneRun {
    #[serde(default)]
    id: String,
}

/// `GET /run?id`
async fn one_run(
    State(daemon): State<Arc<Daemon>>,
    Query(query): Query<OneRun>,
    headers: HeaderMap,
) -> Response {
    let visit = visit(&daemon, &headers);
    let found = get_json::<Summary>(&*daemon.store, &key::run(&query.id)).await;
    let run = found.and_then(|found| {
        let absent = || Error::new(ErrorKind::NotFound, "run", "the lake has no such run");
        found.map(|(run, _)| run).ok_or_else(absent)
    });
    shown(&visit, run.map(|run| runs::one(&visit, &run)))
}

/// Reads a form, within bounds.
async fn form<T: DeserializeOwned>(request: Body) -> std::result::Result<T, Box<Response>> {
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
async fn backfill(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked: Backfill = match form(body).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let job = Asked {
        spaces: Some(asked.space)
            .filter(|space| !space.is_empty())
            .into_iter()
            .collect(),
        only: asked.only,
        force: asked.force,
        ..Asked::dates(asked.from, asked.to)
    };
    ask(&daemon, &caller, &headers, job, "/?asked#work").await
}

#[derive(Deserialize)]
struct Retry {
    date: NaiveDate,
    #[serde(default)]
    space: String,
}

/// `POST /retry`
async fn retry(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Retry { date, space } = match form(body).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let space = Some(space).filter(|space| !space.is_empty());
    let place = format!("{}&asked#work", calendar::link(date, space.as_deref()));
    let job = Asked {
        spaces: space.into_iter().collect(),
        ..Asked::dates(date, date)
    };
    ask(&daemon, &caller, &headers, job, &place).await
}

async fn ask(daemon: &Daemon, caller: &Caller, headers: &HeaderMap, job: Asked, then: &str) -> Response {
    match jobs::ask(daemon, job, caller, false).await {
        Ok(Answer::Queued(_)) => go_to(then, None),
        Ok(Answer::MustConfirm(plan)) => {
            let error = Error::new(ErrorKind::Usage, "dates", plan.for_people());
            trouble(
                &visit(daemon, headers),
                &error.hint("that is very long; ask for less"),
            )
        }
        Err(error) => trouble(&visit(daemon, headers), &error),
    }
}
