//! The handlers of the page's forms: backfill, retry, cancellation, pause, test notification.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::NaiveDate;
use maud::html;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer};

use super::frame::{Here, Visit, answer, go_to, page, trouble};
use super::{PageState, calendar, texts as t, visit};
use crate::dates;
use crate::pipeline::{Only, Outline};
use crate::serve::audit::{self, Caller};
use crate::serve::http::{body, reply};
use crate::serve::jobs::{self, Answer};
use crate::serve::notifications::Notifications;
use crate::serve::queue::Asked;

/// The most bytes of a form.
const LARGEST: usize = 16 * 1024;

/// Deserializes an empty field as none.
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

/// Reads a form within the bounds of size and time.
pub async fn form<T: DeserializeOwned>(request: Body) -> std::result::Result<T, Box<Response>> {
    let bytes = body::read(request, LARGEST)
        .await
        .map_err(|refusal| Box::new(refusal.into()))?;
    serde_urlencoded::from_bytes(&bytes)
        .map_err(|error| Box::new(reply::error(StatusCode::BAD_REQUEST, &error.to_string())))
}

#[derive(Deserialize)]
struct BackfillForm {
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

/// `POST /backfill`: loads a range of days. A long range must be confirmed on a page of its own.
pub async fn backfill(
    State(state): State<PageState>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked: BackfillForm = match form(body).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let job = Asked {
        spaces: asked.space.into_iter().collect(),
        only: asked.only,
        force: asked.force,
        ..Asked::dates(asked.from, asked.to)
    };
    let visit = visit(&state, &headers);
    match jobs::ask(&state.jobs, job.clone(), &caller, asked.confirm).await {
        Ok(Answer::Queued(_)) => go_to("/?asked#work", None),
        Ok(Answer::MustConfirm(plan)) => confirm(&visit, &job, &plan),
        Err(error) => trouble(&visit, &error),
    }
}

/// The page that asks for confirmation of a long job.
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
struct RetryForm {
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

/// `POST /retry`: exports a day again, or a room, a call or a recording of it.
pub async fn retry(
    State(state): State<PageState>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked: RetryForm = match form(body).await {
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
    match jobs::retry(&state.jobs, retry, &caller).await {
        Ok(_) => go_to(&place, None),
        Err(error) => trouble(&visit(&state, &headers), &error),
    }
}

#[derive(Deserialize)]
struct CancelForm {
    id: String,
}

/// `POST /cancel`: cancels a waiting or running job.
pub async fn cancel(
    State(state): State<PageState>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let CancelForm { id } = match form(body).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    match jobs::cancel(&state.jobs, &id, &caller).await {
        // A job that has ended meanwhile needs no cancellation.
        Ok(_) => go_to("/#work", None),
        Err(error) => trouble(&visit(&state, &headers), &error),
    }
}

#[derive(Deserialize)]
struct PauseForm {
    on: bool,
}

/// `POST /pause`: pauses the queue, or ends the pause.
pub async fn pause(
    State(state): State<PageState>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let PauseForm { on } = match form(body).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let done = if on {
        jobs::pause(&state.jobs, &caller).await.map(|_| ())
    } else {
        jobs::resume(&state.jobs, &caller).await.map(|_| ())
    };
    match done {
        Ok(()) => go_to("/#work", None),
        Err(error) => trouble(&visit(&state, &headers), &error),
    }
}

/// `POST /notify-test`: sends a test message; the page then shows the deliveries.
pub async fn notify_test(State(notifications): State<Notifications>, caller: Caller) -> Response {
    audit::note(&caller, "notify_test", "notify.url, notify.heartbeat_url");
    notifications.send_test().await;
    go_to("/system#notifications", None)
}
