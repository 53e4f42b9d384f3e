//! The operator's page: coverage as a calendar, a day's rooms and calls, the runs, the running and the next work, and the
//! forms that request a backfill or a retry.
//!
//! The HTML is made here, with a style sheet and a small script from inside the program. Nothing is loaded from elsewhere,
//! and everything but live progress works without the script. The page shows ids, names of rooms and spaces, counts and
//! reasons, but no person; a report or recording is a link to its file. Rendering is pure (`overview`, `cause`, `ahead`,
//! `calendar`, `charts`, `day`, `runs`, `work`, from the data in `view`). `known` reads the store and keeps the data for
//! the time when the store is out of reach. `daemon` merges [`routes`].

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
mod login;
mod missing;
mod month;
mod overview;
mod room;
mod runs;
mod search;
mod system;
mod texts;
mod view;
mod work;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Query, State};
use axum::http::header::ACCEPT_LANGUAGE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{NaiveDate, Utc};
use maud::Markup;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use self::ahead::NextRun;
use self::day::{DayContext, DayData};
use self::frame::{Visit, answer, trouble};
pub(super) use self::known::warm;
use self::known::{LakeSnapshots, Snapshot, look, look_at};
use self::overview::Overview;
use self::view::View;
use self::work::WorkSection;
use super::health::Health;
use super::http::guard::{RouteGroup, RouteGuard};
use super::http::session::Access;
use super::jobs::Jobs;
use super::notifications::Notifications;
use super::webhook::stats::WebhookStats;
use crate::config::Config;
use crate::dates;
use crate::lake::manifest::Manifest;
use crate::lake::{self, key};
use crate::lang::{self, Lang};
use crate::pipeline::{read_run, run_log};
use crate::status::{Coverage, DayStatus};
use crate::store::Store;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};

/// The runs shown on the page of all runs.
const MANY_RUNS: usize = 100;

/// The parts that the page shows. Clones share everything.
#[derive(Clone)]
pub(super) struct PageState {
    pub config: Arc<Config>,
    pub store: Arc<dyn Store>,
    pub coverage: Arc<Coverage>,
    pub memory: Arc<PageMemory>,
    pub access: Arc<Access>,
    pub jobs: Jobs,
    pub health: Arc<Health>,
    pub notifications: Notifications,
    pub webhooks: Arc<WebhookStats>,
}

impl FromRef<PageState> for Notifications {
    fn from_ref(state: &PageState) -> Self {
        state.notifications.clone()
    }
}

/// The page's memory between requests; all of it may be lost.
#[derive(Default)]
pub(super) struct PageMemory {
    known: LakeSnapshots,
    /// The names of spaces, by id.
    names: Mutex<HashMap<String, String>>,
}

impl PageMemory {
    /// A space's name, or its id if the name is not known yet.
    fn name(&self, space: &str) -> String {
        let names = self.names.lock();
        names.get(space).cloned().unwrap_or_else(|| space.to_owned())
    }

    fn remember(&self, view: &View<'_>) {
        let spaces = view.spaces().into_iter();
        let known = spaces
            .map(|(id, name)| (id.to_owned(), name.to_owned()))
            .collect();
        *self.names.lock() = known;
    }
}

/// The page's routes, each group behind the guard.
pub(super) fn routes(state: PageState, guard: &RouteGuard) -> Router {
    let pages = Router::new()
        .route("/", get(first))
        .route("/day", get(one_day))
        .route("/runs", get(all_runs))
        .route("/run", get(one_run))
        .route("/room", get(room::get))
        .route("/search", get(search::get))
        .route("/system", get(system::get))
        .route("/file", get(file::get))
        .route("/missing.csv", get(missing::get))
        .with_state(state.clone());
    let parts = Router::new().route("/now", get(now)).with_state(state.clone());
    let forms = Router::new()
        .route("/backfill", post(forms::backfill))
        .route("/retry", post(forms::retry))
        .route("/cancel", post(forms::cancel))
        .route("/pause", post(forms::pause))
        .route("/notify-test", post(forms::notify_test))
        .with_state(state.clone());
    let sign_in = Router::new()
        .route("/login", get(login::get).post(login::post))
        .with_state(Arc::clone(&state.access));
    let sign_out = Router::new()
        .route("/logout", post(login::leave))
        .with_state(state.access);
    let assets = Router::new().route("/assets/{*name}", get(assets::get));
    guard
        .protect(RouteGroup::Private, pages)
        .layer(axum::middleware::from_fn(login::ask_to_sign_in))
        .merge(guard.protect(RouteGroup::Private, parts))
        .merge(guard.protect(RouteGroup::Form, forms))
        .merge(guard.protect(RouteGroup::SignIn, sign_in))
        .merge(guard.protect(RouteGroup::SignOut, sign_out))
        .merge(guard.protect(RouteGroup::Open, assets))
}

fn language(headers: &HeaderMap) -> Lang {
    let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Lang::wanted(accepted.unwrap_or_default())
}

fn visit(state: &PageState, headers: &HeaderMap) -> Visit {
    let now = Utc::now();
    let zone = state.config.timezone;
    Visit {
        lang: language(headers),
        zone,
        now,
        today: lake::date_of(now, zone),
        signed_in: state.access.has_session(headers, now),
        as_of: now,
        is_old: false,
    }
}

/// A value, percent-encoded for a URL.
fn encoded(value: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(value, NON_ALPHANUMERIC)
}

/// The response with a page, or with the error that prevented it.
fn shown(visit: &Visit, made: Result<Markup>) -> Response {
    match made {
        Ok(page) => answer(StatusCode::OK, page),
        Err(error) => trouble(visit, &error),
    }
}

#[derive(Deserialize)]
struct FirstPageQuery {
    #[serde(default)]
    month: String,
    asked: Option<String>,
}

/// `GET /?month`
async fn first(
    State(state): State<PageState>,
    Query(query): Query<FirstPageQuery>,
    headers: HeaderMap,
) -> Response {
    let mut visit = visit(&state, &headers);
    let made = overview(&state, &mut visit, &query).await;
    shown(&visit, made)
}

async fn overview(state: &PageState, visit: &mut Visit, query: &FirstPageQuery) -> Result<Markup> {
    let chosen = month::parse_month(&query.month);
    let (lake, is_old) = look(state, chosen.map(month::range_of_month)).await?;
    (visit.as_of, visit.is_old) = (lake.at, is_old);
    let view = View::new(&lake.days, visit.today);
    state.memory.remember(&view);
    let overview = Overview {
        view,
        runs: &lake.runs,
        work: WorkSection::of(state, visit.now),
        month: chosen,
        asked: query.asked.is_some(),
        health: state.health.store_and_token(),
        marked: &lake.marked,
        ahead: NextRun::of(&state.config, visit.now, state.jobs.queue.paused().is_some()),
    };
    Ok(overview.render(visit, &state.memory))
}

/// `GET /now`: the section of work, for the script.
async fn now(State(state): State<PageState>, headers: HeaderMap) -> Response {
    let visit = visit(&state, &headers);
    let work = WorkSection::of(&state, visit.now);
    answer(StatusCode::OK, work::section(&visit, &state.memory, &work))
}

#[derive(Deserialize)]
struct DayPageQuery {
    #[serde(deserialize_with = "dates::deserialize")]
    date: NaiveDate,
    #[serde(default)]
    space: String,
    asked: Option<String>,
}

type Parameters<T> = std::result::Result<Query<T>, axum::extract::rejection::QueryRejection>;

/// `GET /day?date&space`
async fn one_day(
    State(state): State<PageState>,
    query: Parameters<DayPageQuery>,
    headers: HeaderMap,
) -> Response {
    let mut visit = visit(&state, &headers);
    let made = match query {
        Ok(Query(query)) => day_of(&state, &mut visit, query).await,
        Err(error) => Err(Error::new(ErrorKind::Usage, "date", error.body_text())),
    };
    shown(&visit, made)
}

async fn day_of(state: &PageState, visit: &mut Visit, query: DayPageQuery) -> Result<Markup> {
    let DayPageQuery { date, space, asked } = query;
    let (lake, is_old) = look_at(state, date).await?;
    (visit.as_of, visit.is_old) = (lake.at, is_old);
    let work = WorkSection::of(state, visit.now);
    let around = DayContext {
        date,
        work: &work,
        asked: asked.is_some(),
        ahead: NextRun::of(&state.config, visit.now, state.jobs.queue.paused().is_some()),
        marked: &lake.marked,
        coverage: &state.coverage,
    };
    let of = &state.memory;
    if space.is_empty() {
        let days: Vec<Arc<DayStatus>> = lake.days.iter().filter(|day| day.date == date).cloned().collect();
        let view = View::new(&days, visit.today);
        return Ok(day::of_all(visit, of, &around, &view));
    }
    if is_old {
        return Ok(day_as_known(visit, of, &around, &space, &lake));
    }
    let found = get_json::<Manifest>(&*state.store, &key::manifest(date, &space.as_str().into())).await;
    match found {
        Ok(Some((manifest, _))) => Ok(day::of_space(
            visit,
            of,
            &around,
            &space,
            &DayData::Whole(&manifest),
        )),
        Ok(None) => Ok(day::of_space(visit, of, &around, &space, &DayData::Nothing)),
        Err(error) if error.kind() == ErrorKind::Store => {
            Ok(day::of_space(visit, of, &around, &space, &DayData::Damaged))
        }
        Err(error) if error.kind() == ErrorKind::StoreUnavailable => {
            visit.is_old = true;
            Ok(day_as_known(visit, of, &around, &space, &lake))
        }
        Err(error) => Err(error),
    }
}

/// A space's day from memory, while the store is out of reach.
fn day_as_known(
    visit: &Visit,
    of: &PageMemory,
    around: &DayContext<'_>,
    space: &str,
    lake: &Snapshot,
) -> Markup {
    let mut days = lake.days.iter();
    let day = days.find(|day| day.date == around.date && view::space_of(day) == space);
    let found = day.map_or(DayData::Nothing, |day| DayData::Known(day));
    day::of_space(visit, of, around, space, &found)
}

/// `GET /runs`
async fn all_runs(State(state): State<PageState>, headers: HeaderMap) -> Response {
    let mut visit = visit(&state, &headers);
    let runs = match (known::runs_of(&state, MANY_RUNS).await, state.memory.known.last()) {
        (Err(_), Some(last)) => {
            (visit.as_of, visit.is_old) = (last.at, true);
            Ok(last.runs.clone())
        }
        (runs, _) => runs,
    };
    shown(&visit, runs.map(|runs| runs::all(&visit, &runs)))
}

#[derive(Deserialize)]
struct RunPageQuery {
    #[serde(default)]
    id: String,
}

/// `GET /run?id`
async fn one_run(
    State(state): State<PageState>,
    Query(query): Query<RunPageQuery>,
    headers: HeaderMap,
) -> Response {
    let visit = visit(&state, &headers);
    let found = read_run(&*state.store, &query.id, visit.now).await;
    let run = found.and_then(|found| {
        let absent = || Error::new(ErrorKind::NotFound, "run", "the lake has no such run");
        found.ok_or_else(absent)
    });
    // A run without its log is shown all the same.
    let log = run_log(&*state.store, &query.id).await.ok().flatten();
    shown(&visit, run.map(|run| runs::one(&visit, &run, log.as_ref())))
}
