//! What a person asks for with the page's forms: work, a retry, a cancellation.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::NaiveDate;
use maud::html;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer};

use super::frame::{Here, Visit, answer, go_to, page, trouble};
use super::{calendar, texts as t, visit};
use crate::dates;
use crate::pipeline::{Only, Outline};
use crate::serve::audit::{self, Caller};
use crate::serve::daemon::Daemon;
use crate::serve::http::{body, reply};
use crate::serve::jobs::{self, Answer};
use crate::serve::queue::Asked;

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
    #[serde(deserialize_with = "dates::deserialize")]
    from: NaiveDate,
    #[serde(deserialize_with = "dates::deserialize")]
    to: NaiveDate,
    #[serde(default, deserialize_with = "none_if_empty")]
    space: Option<String>,
    #[serde(default, deserialize_with = "none_if_empty")]
    only: Option<Only>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    confirm: bool,
}

/// `POST /backfill`: a range of days. A long one is shown first, and has to be confirmed.
pub async fn backfill(
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
        spaces: asked.space.into_iter().collect(),
        only: asked.only,
        force: asked.force,
        ..Asked::dates(asked.from, asked.to)
    };
    let visit = visit(&daemon, &headers);
    match jobs::ask(&daemon, job.clone(), &caller, asked.confirm).await {
        Ok(Answer::Queued(_)) => go_to("/?asked#work", None),
        Ok(Answer::MustConfirm(plan)) => confirm(&visit, &job, &plan),
        Err(error) => trouble(&visit, &error),
    }
}

/// The page that shows a long job before it is asked for.
fn confirm(visit: &Visit, job: &Asked, plan: &Outline) -> Response {
    let lang = visit.lang;
    let title = lang.say(t::CONFIRM);
    let only = job.only.map_or("", Only::name);
    let numbers = [
        (t::DATES, lang.dates(plan.from, plan.to)),
        (t::DAYS, lang.number(plan.days)),
        (t::DAYS_IN_LAKE, lang.number(plan.days_in_lake)),
        (t::SPACES, lang.number(plan.spaces.len() as u64)),
        (t::ROOMS_FOUND, lang.number(plan.rooms)),
        (t::LISTINGS_AT_MOST, lang.number(plan.listings_at_most)),
    ];
    let content = html! {
        h1 { (title) }
        section #plan {
            p { (lang.fill(t::CONFIRM_HINT, &[&lang.number(dates::CONFIRM_ABOVE)])) }
            dl.tiles { @for (text, number) in numbers { div { dt { (lang.say(text)) } dd { (number) } } } }
            form method="post" action="/backfill" data-once {
                input type="hidden" name="from" value=(plan.from);
                input type="hidden" name="to" value=(plan.to);
                @for space in &job.spaces { input type="hidden" name="space" value=(space); }
                input type="hidden" name="only" value=(only);
                input type="hidden" name="force" value=(job.force);
                input type="hidden" name="confirm" value="true";
                button.strong #confirm { (lang.say(t::CONFIRM_YES)) }
            }
            p { a href="/#load" { (lang.say(t::BACK)) } }
        }
    };
    answer(
        StatusCode::CONFLICT,
        page(visit, Here::Elsewhere, title, &content),
    )
}

#[derive(Deserialize)]
struct Retry {
    #[serde(deserialize_with = "dates::deserialize")]
    date: NaiveDate,
    #[serde(default, deserialize_with = "none_if_empty")]
    space: Option<String>,
    #[serde(default, deserialize_with = "none_if_empty")]
    room: Option<String>,
    #[serde(default, deserialize_with = "none_if_empty")]
    call: Option<String>,
    #[serde(default, deserialize_with = "none_if_empty")]
    record: Option<String>,
}

/// `POST /retry`: a day again, or a room, a call or a recording of it.
pub async fn retry(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked: Retry = match form(body).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let place = format!(
        "{}&asked#work",
        calendar::link(asked.date, asked.space.as_deref())
    );
    let retry = jobs::Retry {
        date: asked.date,
        space: asked.space,
        room: asked.room,
        call: asked.call,
        record: asked.record,
    };
    match jobs::retry(&daemon, retry, &caller).await {
        Ok(_) => go_to(&place, None),
        Err(error) => trouble(&visit(&daemon, &headers), &error),
    }
}

#[derive(Deserialize)]
struct Cancel {
    id: String,
}

/// `POST /cancel`: ends a job that waits or runs.
pub async fn cancel(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Cancel { id } = match form(body).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    match jobs::cancel(&daemon, &id, &caller).await {
        // One that is over meanwhile is over.
        Ok(_) => go_to("/#work", None),
        Err(error) => trouble(&visit(&daemon, &headers), &error),
    }
}

#[derive(Deserialize)]
struct Pause {
    on: bool,
}

/// `POST /pause`: pauses the queue, or ends the pause.
pub async fn pause(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Pause { on } = match form(body).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let done = if on {
        jobs::pause(&daemon, &caller).await.map(|_| ())
    } else {
        jobs::resume(&daemon, &caller).await.map(|_| ())
    };
    match done {
        Ok(()) => go_to("/#work", None),
        Err(error) => trouble(&visit(&daemon, &headers), &error),
    }
}

/// `POST /notify-test`: sends a test message; the page then says how it went.
pub async fn notify_test(State(daemon): State<Arc<Daemon>>, caller: Caller) -> Response {
    audit::note(&caller, "notify_test", "notify.url, notify.heartbeat_url");
    daemon.notifier.test(&daemon.cancel, &*daemon.store).await;
    go_to("/system#notifications", None)
}
