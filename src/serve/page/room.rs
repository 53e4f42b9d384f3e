//! The page of a room: the days on which the lake has data of it, the latest first.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use maud::{Markup, html};
use serde::Deserialize;

use super::calendar::link as link_of_day;
use super::day::{again_in_room, status};
use super::frame::{Here, Visit, page};
use super::known::{Snapshot, look_lately};
use super::texts as t;
use super::{PageState, Parameters, encoded, shown, visit};
use crate::lake::key;
use crate::lake::manifest::{CallEntry, Manifest, RecordEntry, Status};
use crate::status::DayStatus;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};

/// The most days shown.
const DAYS: usize = 60;
/// The manifests that are read concurrently.
const READ_AT_ONCE: usize = 8;

/// The URL of a room's page.
pub fn link(space: &str, room: &str) -> String {
    format!("/room?space={}&room={}", encoded(space), encoded(room))
}

#[derive(Deserialize)]
pub struct RoomQuery {
    space: String,
    room: String,
}

/// `GET /room?space&room`
pub async fn get(
    State(state): State<PageState>,
    query: Parameters<RoomQuery>,
    headers: HeaderMap,
) -> Response {
    let mut visit = visit(&state, &headers);
    let made = match query {
        Ok(Query(wanted)) => history(&state, &mut visit, &wanted).await,
        Err(error) => Err(Error::new(ErrorKind::Usage, "room", error.body_text())),
    };
    shown(&visit, made)
}

async fn history(state: &PageState, visit: &mut Visit, wanted: &RoomQuery) -> Result<Markup> {
    let (lake, is_old) = look_lately(state).await?;
    (visit.as_of, visit.is_old) = (lake.at, is_old);
    let days = days_with(state, &lake, is_old, wanted).await?;
    let name = state.coverage.room_name(&wanted.space, &wanted.room);
    let space = state.memory.name(&wanted.space);
    Ok(render(visit, wanted, name.as_deref(), &space, &days))
}

/// The manifests of the latest days that have data of a room.
async fn days_with(
    state: &PageState,
    lake: &Snapshot,
    is_old: bool,
    wanted: &RoomQuery,
) -> Result<Vec<Manifest>> {
    let days = lake.days.iter().rev();
    let of_space = days.filter(|day| day.space_id == wanted.space.as_str());
    let days: Vec<String> = of_space
        .map(|day| key::manifest(day.date, &day.space_id))
        .collect();
    let store = (!is_old).then_some(&*state.store);
    let days = state.coverage.days_with(store, &days, &wanted.room, DAYS).await;
    let mut read = stream::iter(days)
        .map(|key| async move { get_json::<Manifest>(&*state.store, &key).await })
        .buffered(READ_AT_ONCE);
    let mut found = Vec::new();
    while let Some(manifest) = read.next().await {
        found.extend(manifest?.map(|(manifest, _)| manifest));
    }
    Ok(found)
}

fn render(visit: &Visit, wanted: &RoomQuery, name: Option<&str>, space: &str, days: &[Manifest]) -> Markup {
    let lang = visit.lang;
    let title = name.unwrap_or(&wanted.room);
    let heads = [t::DAY, t::CALLS, t::PARTICIPANTS, t::REPORTS, t::RECORDINGS];
    let content = html! {
        h1 { (title) }
        section #room data-live {
            p.quiet { (lang.say(t::ROOM)) " " code { (wanted.room) } ", " (lang.say(t::SPACE)) " " (space) " " code { (wanted.space) } }
            @if days.is_empty() { p { (lang.say(t::NO_ROOM)) } } @else {
                div.scroll tabindex="0" role="region" aria-label=(title) {
                    table.text.stacked {
                        thead { tr { @for text in heads { th scope="col" { (lang.say(text)) } } td {} } }
                        tbody { @for manifest in days { (row(visit, manifest, &wanted.room)) } }
                    }
                }
                @if days.len() == DAYS { p.quiet { (lang.fill(t::LATEST_DAYS, &[&DAYS])) } }
            }
        }
    };
    page(visit, Here::Elsewhere, title, &content)
}

fn row(visit: &Visit, manifest: &Manifest, room: &str) -> Markup {
    let lang = visit.lang;
    let calls: Vec<&CallEntry> = manifest
        .calls
        .values()
        .filter(|call| call.room_id == room)
        .collect();
    let mut records = manifest.records.values();
    let records: Vec<&RecordEntry> = records.by_ref().filter(|record| record.room_id == room).collect();
    let people: i64 = calls.iter().filter_map(|call| call.participants).sum();
    let reports = calls
        .iter()
        .flat_map(|call| call.reports.values())
        .map(|landing| landing.status);
    let files = records.iter().map(|record| record.file.status);
    let day = DayStatus::of(manifest);
    let date = lang.date(manifest.date);
    html! {
        tr {
            th scope="row" { a href=(link_of_day(manifest.date, Some(&manifest.space_id))) { (date) } }
            td data-label=(lang.say(t::CALLS)) { (lang.number(calls.len() as u64)) }
            td data-label=(lang.say(t::PARTICIPANTS)) { (lang.number(u64::try_from(people).unwrap_or_default())) }
            td data-label=(lang.say(t::REPORTS)) { (states(visit, reports)) }
            td data-label=(lang.say(t::RECORDINGS)) { (states(visit, files)) }
            td { (again_in_room(visit, &day, room, None, &date)) }
        }
    }
}

/// The counts of things by state.
fn states(visit: &Visit, all: impl Iterator<Item = Status>) -> Markup {
    let mut counts: Vec<(Status, u64)> = Vec::new();
    for one in all {
        match counts.iter_mut().find(|(status, _)| *status == one) {
            Some((_, count)) => *count += 1,
            None => counts.push((one, 1)),
        }
    }
    html! {
        @if counts.is_empty() { "–" }
        @for (one, count) in counts { (visit.lang.number(count)) " " (status(visit, one)) " " }
    }
}
