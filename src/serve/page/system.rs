//! The page of the system: the lake's size and free space, webhooks, and notifications.

use std::collections::BTreeMap;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{Days, NaiveDate};
use maud::{Markup, html};

use super::frame::{Here, Visit, page};
use super::known::look_lately;
use super::texts as t;
use super::view::{Sums, View, natural, space_of};
use super::{PageState, charts, contact, shown, visit};
use crate::Result;

/// The days over which growth is counted.
const MONTH: u64 = 30;
/// The most months in the chart.
const MONTHS: usize = 24;

/// `GET /system`
pub async fn get(State(state): State<PageState>, headers: HeaderMap) -> Response {
    let mut visit = visit(&state, &headers);
    let made = of_lake(&state, &mut visit).await;
    shown(&visit, made)
}

async fn of_lake(state: &PageState, visit: &mut Visit) -> Result<Markup> {
    let (lake, is_old) = look_lately(state).await?;
    (visit.as_of, visit.is_old) = (lake.at, is_old);
    let free = match state.store.free_bytes().await {
        Ok(free) => free,
        Err(error) => {
            tracing::debug!(%error, "the free space of the store is unknown");
            None
        }
    };
    let view = View::new(&lake.days, visit.today);
    state.memory.remember(&view);
    let lang = visit.lang;
    let title = lang.say(t::SYSTEM);
    let content = html! {
        h1 { (title) }
        (size(visit, &view, state.store.url(), free))
        (contact::webhooks(visit, &state.memory, &state.webhooks.report()))
        (contact::notifications(visit, &state.notifications.notifier.last(), state.notifications.notifier.is_idle()))
    };
    Ok(page(visit, Here::System, title, &content))
}

fn size(visit: &Visit, view: &View<'_>, url: &str, free: Option<u64>) -> Markup {
    let lang = visit.lang;
    let by_space = by_space(view, visit.today);
    let all: Sums = by_space.iter().fold(Sums::default(), |mut all, space| {
        all.join(&space.all);
        all
    });
    let grown: u64 = by_space.iter().map(|space| space.grown).sum();
    let left = free
        .filter(|_| grown > 0)
        .map(|free| free / (grown / MONTH).max(1));
    let mut by_month: Vec<(NaiveDate, Sums)> = view
        .months()
        .into_iter()
        .take(MONTHS)
        .map(|month| (month.first, month.sums))
        .collect();
    by_month.reverse();
    let heads = [t::SPACE, t::CALLS, t::RECORDINGS, t::SIZE, t::GROWN];
    html! {
        section #size data-live aria-labelledby="size-title" {
            h2 #size-title { (lang.say(t::LAKE)) }
            p.quiet { code { (url) } }
            dl.tiles {
                div { dt { (lang.say(t::SIZE)) span.quiet { (lang.say(t::SIZE_HINT)) } } dd { (lang.bytes(all.lake_bytes)) } }
                div { dt { (lang.say(t::BYTES)) } dd { (lang.bytes(all.bytes)) } }
                div { dt { (lang.say(t::GROWN)) } dd { (lang.bytes(grown)) } }
                @if let Some(free) = free {
                    div {
                        dt { (lang.say(t::FREE)) @if let Some(days) = left { span.quiet { (lang.count(t::LASTS, days)) } } }
                        dd class=[left.is_some_and(|days| days < MONTH).then_some("warn")] { (lang.bytes(free)) }
                    }
                }
            }
            @if by_month.len() > 1 { h2 { (lang.say(t::BY_MONTHS)) } (charts::sizes(visit, &by_month)) }
            h2 { (lang.say(t::SPACES)) }
            @if by_space.is_empty() { p { (lang.say(t::NO_DAYS)) } } @else {
                div.scroll tabindex="0" role="region" aria-label=(lang.say(t::SPACES)) {
                    table.numbers.stacked {
                        thead { tr { @for (at, text) in heads.into_iter().enumerate() {
                            th scope="col" class=[(at > 0).then_some("number")] { (lang.say(text)) }
                        } } }
                        tbody { @for space in &by_space { tr {
                            th scope="row" title=(space.id) { (space.name) }
                            td.number data-label=(lang.say(t::CALLS)) { (lang.number(space.all.calls)) }
                            td.number data-label=(lang.say(t::RECORDINGS)) { (lang.number(space.all.records)) }
                            td.number data-label=(lang.say(t::SIZE)) { (lang.bytes(space.all.lake_bytes)) }
                            td.number data-label=(lang.say(t::GROWN)) { (lang.bytes(space.grown)) }
                        } } }
                    }
                }
            }
        }
    }
}

struct SpaceSize<'a> {
    id: &'a str,
    name: &'a str,
    all: Sums,
    /// The bytes of the last 30 days.
    grown: u64,
}

/// The spaces, the largest first.
fn by_space<'a>(view: &'a View<'_>, today: NaiveDate) -> Vec<SpaceSize<'a>> {
    let since = today - Days::new(MONTH);
    let mut spaces: BTreeMap<&str, (Sums, u64)> = BTreeMap::new();
    for day in view.days() {
        let (all, grown) = spaces.entry(space_of(day)).or_default();
        all.add(day);
        if day.date >= since {
            *grown += day.lake_bytes;
        }
    }
    let mut spaces: Vec<SpaceSize<'a>> = spaces
        .into_iter()
        .map(|(id, (all, grown))| SpaceSize {
            id,
            name: view.name(id),
            all,
            grown,
        })
        .collect();
    spaces.sort_by_cached_key(|space| (std::cmp::Reverse(space.all.lake_bytes), natural(space.name)));
    spaces
}
