//! A day: of all spaces, or of one with its rooms and calls, what is missing and why. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use maud::{Markup, html};

use super::Page;
use super::calendar::{badge, link};
use super::frame::{Here, Visit, page};
use super::lang::Text;
use super::overview::in_numbers;
use super::texts as t;
use super::view::{State, Sums, View, is_damaged, missing, space_of};
use super::work::{Work, again, asked, section};
use crate::config::ReportFormat;
use crate::export::{DayStatus, Lack};
use crate::lake::manifest::{CallEntry, Landing, Manifest, RecordEntry, Status};

/// What a day's page has besides the day.
pub struct Around<'a> {
    pub date: NaiveDate,
    pub work: &'a Work,
    pub asked: bool,
}

/// A date in all spaces.
pub fn of_all(visit: &Visit, of: &Page, around: &Around<'_>, view: &View<'_>) -> Markup {
    let (lang, date) = (visit.lang, around.date);
    let days = view.on(date);
    let title = lang.date(date);
    let mut sums = Sums::default();
    days.iter().for_each(|day| sums.add(day));
    let content = html! {
        (top(visit, around, None, &title))
        section #day data-live {
            @if days.is_empty() {
                p.verdict.unseen { (lang.say(t::NO_DAY)) }
            } @else {
                p { (in_numbers(visit, &sums)) }
                div.scroll tabindex="0" role="region" aria-label=(title) {
                    table.text {
                        thead { tr { @for text in [t::SPACE, t::STATE, t::CALLS, t::WHY] { th scope="col" { (lang.say(text)) } } } }
                        tbody { @for day in days { (line(visit, view, day)) } }
                    }
                }
            }
            (again(visit, date, None, t::RETRY_DATE, false))
        }
        div.brief { (section(visit, of, around.work)) }
    };
    page(visit, Here::Elsewhere, &title, &content)
}

fn line(visit: &Visit, view: &View<'_>, day: &DayStatus) -> Markup {
    let space = space_of(day);
    let mut sums = Sums::default();
    sums.add(day);
    html! {
        tr {
            th scope="row" { a href=(link(day.date, Some(space))) { (view.name(space)) } }
            td { (badge(visit, State::of(day))) }
            td { (in_numbers(visit, &sums)) }
            td {
                (whole_day(visit, day))
                @if let Some(first) = day.missing.iter().find(|lack| lack.status != Status::Unavailable) {
                    (reason(visit, first.reason.as_deref()))
                } @else if missing(day) == 0 { "–" }
            }
        }
    }
}

/// The day of one space; `manifest` is none where nobody looked, and a day where the manifest can't be read.
pub fn of_space(
    visit: &Visit,
    of: &Page,
    around: &Around<'_>,
    space: &str,
    manifest: Option<&Manifest>,
    damaged: bool,
) -> Markup {
    let (lang, date) = (visit.lang, around.date);
    let name = manifest
        .and_then(|manifest| manifest.space_name.clone())
        .unwrap_or_else(|| of.name(space));
    let title = format!("{name}, {}", lang.date(date));
    let content = html! {
        (top(visit, around, Some(space), &title))
        section #day data-live {
            p.quiet { (lang.say(t::SPACE)) " " code { (space) } }
            @match manifest {
                Some(manifest) => { (of_manifest(visit, manifest)) }
                None if damaged => { p.verdict.failed { (lang.say(t::DAMAGED)) } }
                None => { p.verdict.unseen { (lang.say(t::NO_DAY)) } }
            }
            @match manifest {
                Some(manifest) => { (again(visit, date, Some(space), t::RETRY, State::of(&DayStatus::of(manifest)).is_open())) }
                None => { (again(visit, date, Some(space), t::LOAD_DAY, true)) }
            }
        }
        div.brief { (section(visit, of, around.work)) }
        @if let Some(manifest) = manifest { (rooms(visit, manifest)) }
    };
    page(visit, Here::Elsewhere, &title, &content)
}

fn top(visit: &Visit, around: &Around<'_>, space: Option<&str>, title: &str) -> Markup {
    let (lang, date) = (visit.lang, around.date);
    let before = date.pred_opt();
    let after = date.succ_opt().filter(|after| *after <= visit.today);
    html! {
        div.bar {
            h1 { (title) }
            nav.turn aria-label=(lang.say(t::DAY)) {
                @if let Some(before) = before { a rel="prev" href=(link(before, space)) { "← " (lang.day_and_month(before)) } }
                @if let Some(after) = after { a rel="next" href=(link(after, space)) { (lang.day_and_month(after)) " →" } }
                @if space.is_some() { a href=(link(date, None)) { (lang.say(t::ALL_SPACES)) } }
                a href={ "/?month=" (date.format("%Y-%m").to_string()) "#calendar" } { (lang.say(t::MONTH)) }
            }
        }
        @if around.asked { (asked(visit)) }
    }
}

fn of_manifest(visit: &Visit, manifest: &Manifest) -> Markup {
    let lang = visit.lang;
    let day = DayStatus::of(manifest);
    let mut sums = Sums::default();
    sums.add(&day);
    html! {
        p { (badge(visit, State::of(&day))) " " (in_numbers(visit, &sums)) }
        (whole_day(visit, &day))
        @if !manifest.missed.rooms.is_empty() {
            p { (lang.say(t::ROOMS_MISSED)) }
            ul { @for room in &manifest.missed.rooms { li { (room_name(manifest, room)) " " code { (room) } } } }
        }
        h2 { (lang.say(t::MISSING)) }
        @if day.missing.is_empty() {
            p { (lang.say(t::NOT_MISSING)) }
        } @else {
            div.scroll tabindex="0" role="region" aria-label=(lang.say(t::MISSING)) {
                table.text {
                    thead { tr { @for text in [t::WHAT, t::STATE, t::WHY, t::ROOM, t::CALL_OR_RECORD, t::ATTEMPTS] {
                        th scope="col" { (lang.say(text)) }
                    } } }
                    tbody { @for lack in &day.missing { (of_lack(visit, manifest, lack)) } }
                }
            }
        }
    }
}

/// What is missing of the day as a whole.
fn whole_day(visit: &Visit, day: &DayStatus) -> Markup {
    let say = |text| visit.lang.say(text);
    html! {
        @if is_damaged(day) { p { (say(t::DAMAGED)) } }
        @else if day.space_missed { p { (say(t::SPACE_MISSED)) } }
        @else if !day.listed { p { (say(t::NOT_LISTED)) } }
    }
}

fn of_lack(visit: &Visit, manifest: &Manifest, lack: &Lack) -> Markup {
    let lang = visit.lang;
    let what = match lack.what {
        "json" => t::JSON,
        "xlsx" => t::XLSX,
        _ => t::RECORD,
    };
    let id = lack.record_id.as_ref().or(lack.call_id.as_ref());
    html! {
        tr {
            th scope="row" { (lang.say(what)) }
            td { (status(visit, lack.status)) }
            td { (reason(visit, lack.reason.as_deref())) }
            td { (room_name(manifest, &lack.room_id)) }
            td { @if let Some(id) = id { code { (id) } } }
            td { (lack.attempts) }
        }
    }
}

fn reason(visit: &Visit, reason: Option<&str>) -> Markup {
    html! {
        @match reason {
            Some(reason) => { span lang="en" { (reason) } }
            None => { (visit.lang.say(t::NO_REASON)) }
        }
    }
}

fn room_name<'a>(manifest: &'a Manifest, id: &'a str) -> &'a str {
    manifest
        .rooms
        .get(id)
        .and_then(|room| room.name.as_deref())
        .unwrap_or(id)
}

fn status(visit: &Visit, status: Status) -> Markup {
    let (state, text): (State, Text) = match status {
        Status::Done => (State::Whole, t::S_DONE),
        Status::Pending => (State::Pending, t::S_PENDING),
        Status::Denied => (State::Denied, t::S_DENIED),
        Status::Failed => (State::Failed, t::S_FAILED),
        Status::Lost => (State::Lost, t::S_LOST),
        Status::Unavailable => (State::Empty, t::S_UNAVAILABLE),
    };
    html! {
        span.badge.(state.class()) { span aria-hidden="true" { (state.sign()) } " " (visit.lang.say(text)) }
    }
}

/// A room's calls and records.
#[derive(Default)]
struct Room<'a> {
    calls: Vec<(&'a str, &'a CallEntry)>,
    records: Vec<(&'a str, &'a RecordEntry)>,
}

fn rooms(visit: &Visit, manifest: &Manifest) -> Markup {
    let lang = visit.lang;
    let mut rooms: BTreeMap<(&str, &str), Room<'_>> = BTreeMap::new();
    for id in manifest.calls_in_order() {
        if let Some(call) = manifest.calls.get(id) {
            let key = (room_name(manifest, &call.room_id), call.room_id.as_str());
            rooms.entry(key).or_default().calls.push((id, call));
        }
    }
    for (id, record) in &manifest.records {
        let key = (room_name(manifest, &record.room_id), record.room_id.as_str());
        rooms.entry(key).or_default().records.push((id, record));
    }
    html! {
        section #rooms data-live aria-labelledby="rooms-title" {
            h2 #rooms-title { (lang.say(t::ROOMS)) }
            @if rooms.is_empty() { p { (lang.say(t::NO_CALLS)) } }
            @for ((name, id), room) in &rooms {
                h3 { (name) " " code { (id) } }
                div.scroll tabindex="0" role="region" aria-label=(name) {
                    table.text {
                        thead { tr { @for text in [t::CALL, t::STARTED, t::FINISHED, t::PARTICIPANTS, t::JSON, t::XLSX, t::RECORDINGS] {
                            th scope="col" { (lang.say(text)) }
                        } } }
                        tbody {
                            @for (id, call) in &room.calls { (of_call(visit, id, call, &room.records)) }
                            @for (id, record) in room.records.iter().filter(|(_, record)| !has_call(room, record)) {
                                (without_call(visit, id, record))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn has_call(room: &Room<'_>, record: &RecordEntry) -> bool {
    let call = record.call_id.as_deref();
    room.calls.iter().any(|(id, _)| Some(*id) == call)
}

fn clock(visit: &Visit, at: Option<DateTime<Utc>>, absent: &str) -> String {
    at.map_or_else(
        || absent.into(),
        |at| at.with_timezone(&visit.zone).format("%H:%M").to_string(),
    )
}

fn of_call(visit: &Visit, id: &str, call: &CallEntry, records: &[(&str, &RecordEntry)]) -> Markup {
    let lang = visit.lang;
    html! {
        tr {
            th scope="row" {
                code { (id) }
                @if let Some(pending) = &call.pending { " " span.quiet lang="en" { (pending) } }
            }
            td { (clock(visit, call.started_at, "–")) }
            td { (clock(visit, call.finished_at, lang.say(t::STILL_RUNS))) }
            td { @match call.participants {
                Some(count) => { (lang.number(u64::try_from(count).unwrap_or_default())) }
                None => { "–" }
            } }
            td { (report(visit, call, ReportFormat::Json)) }
            td { (report(visit, call, ReportFormat::Xlsx)) }
            td {
                @for (record_id, record) in records.iter().filter(|(_, record)| record.call_id.as_deref() == Some(id)) {
                    (of_record(visit, record_id, record))
                }
            }
        }
    }
}

fn report(visit: &Visit, call: &CallEntry, format: ReportFormat) -> Markup {
    html! {
        @match call.reports.get(&format) {
            Some(landing) => { (of_landing(visit, landing)) }
            None => { "–" }
        }
    }
}

fn of_landing(visit: &Visit, landing: &Landing) -> Markup {
    html! {
        (status(visit, landing.status)) " "
        @if let Some(landed) = landing.usable() { span.quiet { (visit.lang.bytes(landed.bytes)) } }
        @if landing.status != Status::Done { " " (reason(visit, landing.reason.as_deref())) }
    }
}

fn of_record(visit: &Visit, id: &str, record: &RecordEntry) -> Markup {
    html! { div title=(id) { (of_landing(visit, &record.file)) } }
}

fn without_call(visit: &Visit, id: &str, record: &RecordEntry) -> Markup {
    html! {
        tr {
            th scope="row" { span.quiet { (visit.lang.say(t::WITHOUT_CALL)) } }
            td { (clock(visit, record.started_at, "–")) }
            td { (clock(visit, record.finished_at, "–")) }
            td { "–" } td { "–" } td { "–" }
            td { (of_record(visit, id, record)) " " code { (id) } }
        }
    }
}
