//! The operator's page: coverage as a calendar, a day's rooms and calls, runs, what is in work and what comes next; and
//! the forms that ask for a backfill or for a day again.
//!
//! HTML made here, with one style sheet and one small script from inside the program; nothing comes from elsewhere, and
//! everything but live progress works without the script. It shows ids, names of rooms and spaces, counts and reasons:
//! no person; a report or recording is a link to its file. What is rendered is pure (`overview`, `cause`, `ahead`,
//! `calendar`, `charts`, `day`, `runs`, `work` from `view`); `known` reads the store and keeps what it read, for when the
//! store is out of reach. `room`, `search`, `system`, `missing` and `file` are pages and files of their own, `forms` takes
//! what is asked for. `http` merges [`routes`]; `http::guard` decides who gets here.

mod ahead;
mod assets;
mod calendar;
mod cause;
mod charts;
mod contact;
mod day;
mod file;
mod forms;
mod frame;
mod known;
mod lang;
pub(super) mod login;
mod missing;
mod overview;
mod room;
mod runs;
mod search;
mod system;
mod texts;
mod view;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::ACCEPT_LANGUAGE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{NaiveDate, Utc};
use maud::Markup;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use self::ahead::Ahead;
use self::day::{Around, Found};
use self::frame::{Visit, answer, trouble};
pub(super) use self::known::warm;
use self::known::{Known, Snapshot, look, look_at};
use self::lang::Lang;
use self::overview::Overview;
use self::view::View;
use self::work::Work;
use super::daemon::Daemon;
use crate::dates;
use crate::lake::manifest::Manifest;
use crate::lake::{self, key};
use crate::pipeline::{read_run, run_log};
use crate::serve::http::session::{Guesses, Sessions};
use crate::status::DayStatus;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};

/// Runs on a page of their own.
const MANY_RUNS: usize = 100;

/// What the page keeps between requests: all of it may be lost.
#[derive(Default)]
pub(super) struct Page {
    pub sessions: Sessions,
    pub guesses: Guesses,
    known: Known,
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
        .route("/room", get(room::get))
        .route("/search", get(search::get))
        .route("/system", get(system::get))
        .route("/file", get(file::get))
        .route("/missing.csv", get(missing::get))
        .route("/backfill", post(forms::backfill))
        .route("/retry", post(forms::retry))
        .route("/cancel", post(forms::cancel))
        .route("/pause", post(forms::pause))
        .route("/notify-test", post(forms::notify_test))
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
        as_of: now,
        is_old: false,
    }
}

/// A value in an address.
fn encoded(value: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(value, NON_ALPHANUMERIC)
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
    let mut visit = visit(&daemon, &headers);
    let made = overview(&daemon, &mut visit, &query).await;
    shown(&visit, made)
}

async fn overview(daemon: &Arc<Daemon>, visit: &mut Visit, query: &First) -> Result<Markup> {
    let (lake, is_old) = look(daemon).await?;
    (visit.as_of, visit.is_old) = (lake.at, is_old);
    let view = View::new(&lake.days, visit.today);
    daemon.page.remember(&view);
    let overview = Overview {
        view,
        runs: &lake.runs,
        work: Work::of(daemon, visit.now),
        month: view::parse_month(&query.month),
        asked: query.asked.is_some(),
        health: daemon.health.store_and_token(),
        marked: &lake.marked,
        ahead: Ahead::of(&daemon.config, visit.now, daemon.queue.paused().is_some()),
    };
    Ok(overview.render(visit, &daemon.page))
}

/// `GET /now`: the section of work alone, for the script.
async fn now(State(daemon): State<Arc<Daemon>>, headers: HeaderMap) -> Response {
    let visit = visit(&daemon, &headers);
    let work = Work::of(&daemon, visit.now);
    answer(StatusCode::OK, work::section(&visit, &daemon.page, &work))
}

#[derive(Deserialize)]
struct OneDay {
    #[serde(deserialize_with = "dates::deserialize")]
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
    let mut visit = visit(&daemon, &headers);
    let made = match query {
        Ok(Query(query)) => day_of(&daemon, &mut visit, query).await,
        Err(error) => Err(Error::new(ErrorKind::Usage, "date", error.body_text())),
    };
    shown(&visit, made)
}

async fn day_of(daemon: &Arc<Daemon>, visit: &mut Visit, query: OneDay) -> Result<Markup> {
    let OneDay { date, space, asked } = query;
    let (lake, is_old) = look_at(daemon, date).await?;
    (visit.as_of, visit.is_old) = (lake.at, is_old);
    let work = Work::of(daemon, visit.now);
    let around = Around {
        date,
        work: &work,
        asked: asked.is_some(),
        ahead: Ahead::of(&daemon.config, visit.now, daemon.queue.paused().is_some()),
        marked: &lake.marked,
        coverage: &daemon.coverage,
    };
    let of = &daemon.page;
    if space.is_empty() {
        let days: Vec<Arc<DayStatus>> = lake.days.iter().filter(|day| day.date == date).cloned().collect();
        let view = View::new(&days, visit.today);
        return Ok(day::of_all(visit, of, &around, &view));
    }
    if is_old {
        return Ok(day_as_known(visit, of, &around, &space, &lake));
    }
    let found = get_json::<Manifest>(&*daemon.store, &key::manifest(date, &space.as_str().into())).await;
    match found {
        Ok(Some((manifest, _))) => Ok(day::of_space(
            visit,
            of,
            &around,
            &space,
            &Found::Whole(&manifest),
        )),
        Ok(None) => Ok(day::of_space(visit, of, &around, &space, &Found::Nothing)),
        Err(error) if error.kind() == ErrorKind::Store => {
            Ok(day::of_space(visit, of, &around, &space, &Found::Damaged))
        }
        Err(error) if error.kind() == ErrorKind::StoreUnavailable => {
            visit.is_old = true;
            Ok(day_as_known(visit, of, &around, &space, &lake))
        }
        Err(error) => Err(error),
    }
}

/// A space's day while the store is out of reach.
fn day_as_known(visit: &Visit, of: &Page, around: &Around<'_>, space: &str, lake: &Snapshot) -> Markup {
    let mut days = lake.days.iter();
    let day = days.find(|day| day.date == around.date && view::space_of(day) == space);
    let found = day.map_or(Found::Nothing, |day| Found::Known(day));
    day::of_space(visit, of, around, space, &found)
}

/// `GET /runs`
async fn all_runs(State(daemon): State<Arc<Daemon>>, headers: HeaderMap) -> Response {
    let mut visit = visit(&daemon, &headers);
    let runs = match (known::runs_of(&daemon, MANY_RUNS).await, daemon.page.known.last()) {
        (Err(_), Some(last)) => {
            (visit.as_of, visit.is_old) = (last.at, true);
            Ok(last.runs.clone())
        }
        (runs, _) => runs,
    };
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
    let found = read_run(&*daemon.store, &query.id, visit.now).await;
    let run = found.and_then(|found| {
        let absent = || Error::new(ErrorKind::NotFound, "run", "the lake has no such run");
        found.ok_or_else(absent)
    });
    // A run without its log is shown all the same.
    let log = run_log(&*daemon.store, &query.id).await.ok().flatten();
    shown(&visit, run.map(|run| runs::one(&visit, &run, log.as_ref())))
}
