//! The search: spaces and rooms by a part of their name or id; calls, recordings and meetings by their whole id.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::NaiveDate;
use futures_util::{StreamExt, stream};
use maud::{Markup, html};
use serde::Deserialize;

use super::calendar::link as link_of_day;
use super::frame::{Here, Visit, page};
use super::known::{Snapshot, look_lately};
use super::lang::PageText;
use super::texts as t;
use super::view::View;
use super::{PageState, room, shown, visit};
use crate::Result;
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::status::KnownRoom;
use crate::store::json::get_json;

/// The most spaces, and the most rooms shown.
const MOST: usize = 50;
/// The most days whose manifests are read; the hashes of ids may select a few too many.
const DAYS: usize = 40;
/// The manifests that are read concurrently.
const READ_AT_ONCE: usize = 8;
/// The longest search text, in characters.
const LONGEST: usize = 200;

#[derive(Deserialize)]
pub struct SearchQuery {
    #[serde(default)]
    q: String,
}

/// A match of an id on a day.
struct IdMatch {
    what: PageText,
    date: NaiveDate,
    space: String,
    room: Option<String>,
}

/// `GET /search?q`
pub async fn get(
    State(state): State<PageState>,
    Query(wanted): Query<SearchQuery>,
    headers: HeaderMap,
) -> Response {
    let mut visit = visit(&state, &headers);
    let made = find(&state, &mut visit, &wanted.q).await;
    shown(&visit, made)
}

async fn find(state: &PageState, visit: &mut Visit, wanted: &str) -> Result<Markup> {
    let text: String = wanted.trim().chars().take(LONGEST).collect();
    let (lake, is_old) = look_lately(state).await?;
    (visit.as_of, visit.is_old) = (lake.at, is_old);
    let view = View::new(&lake.days, visit.today);
    if text.is_empty() {
        return Ok(render(visit, &text, &view, &[], &[], &[]));
    }
    let lower = text.to_lowercase();
    let spaces: Vec<_> = view
        .spaces()
        .into_iter()
        .filter(|(id, name)| id.to_lowercase().contains(&lower) || name.to_lowercase().contains(&lower))
        .take(MOST)
        .collect();
    let rooms = state.coverage.rooms_like(&text, MOST);
    let places = places_of(state, &lake, is_old, &text).await?;
    Ok(render(visit, &text, &view, &spaces, &rooms, &places))
}

/// The days that have a call, a recording or a meeting with this id, the latest first.
async fn places_of(state: &PageState, lake: &Snapshot, is_old: bool, id: &str) -> Result<Vec<IdMatch>> {
    let days = lake.days.iter().rev();
    let keys: Vec<String> = days.map(|day| key::manifest(day.date, &day.space_id)).collect();
    let store = (!is_old).then_some(&*state.store);
    let keys = state.coverage.days_with(store, &keys, id, DAYS).await;
    let mut read = stream::iter(keys)
        .map(|key| async move { get_json::<Manifest>(&*state.store, &key).await })
        .buffered(READ_AT_ONCE);
    let mut places = Vec::new();
    while let Some(manifest) = read.next().await {
        places.extend(manifest?.and_then(|(manifest, _)| place_in(&manifest, id)));
    }
    Ok(places)
}

fn place_in(manifest: &Manifest, id: &str) -> Option<IdMatch> {
    let (what, room) = if let Some(call) = manifest.calls.get(id) {
        (t::CALL, Some(call.room_id.clone()))
    } else if let Some(record) = manifest.records.get(id) {
        (t::RECORD, Some(record.room_id.clone()))
    } else if manifest.built.as_ref()?.meetings.contains_key(id) {
        (t::MEETING, None)
    } else {
        return None;
    };
    Some(IdMatch {
        what,
        date: manifest.date,
        space: manifest.space_id.to_string(),
        room: room.map(Into::into),
    })
}

fn render(
    visit: &Visit,
    text: &str,
    view: &View<'_>,
    spaces: &[(&str, &str)],
    rooms: &[KnownRoom],
    places: &[IdMatch],
) -> Markup {
    let lang = visit.lang;
    let yesterday = visit.today.pred_opt().unwrap_or(visit.today);
    let content = html! {
        h1 { (lang.fill(t::FOUND, &[&text])) }
        section #found data-live {
            @if spaces.is_empty() && rooms.is_empty() && places.is_empty() { p { (lang.say(t::FOUND_NOTHING)) } }
            @if !places.is_empty() {
                h2 { (lang.say(t::CALLS_AND_MEETINGS)) }
                ul.plain { @for place in places { li {
                    (lang.say(place.what)) ": "
                    a href=(link_of_day(place.date, Some(&place.space))) { (view.name(&place.space)) ", " (lang.date(place.date)) }
                    @if let Some(id) = &place.room { ", " a href=(room::link(&place.space, id)) { (lang.say(t::ROOM)) } }
                } } }
            }
            @if !spaces.is_empty() {
                h2 { (lang.say(t::SPACES)) }
                ul.plain { @for (id, name) in spaces { li {
                    a href=(link_of_day(yesterday, Some(id))) { (name) } " " code { (id) }
                } } }
            }
            @if !rooms.is_empty() {
                h2 { (lang.say(t::ROOMS_FOUND)) }
                ul.plain { @for found in rooms { li {
                    a href=(room::link(&found.space_id, &found.room_id)) { (found.name.as_deref().unwrap_or(&found.room_id)) }
                    " " code { (found.room_id) } " " span.quiet { (view.name(&found.space_id)) }
                } } }
            }
        }
    };
    page(visit, Here::Elsewhere, lang.say(t::SEARCH), &content)
}
