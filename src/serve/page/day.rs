//! The page of a day: of all spaces, or of a single space with its rooms and calls, and what is missing and why. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use maud::{Markup, html};

use super::PageMemory;
use super::ahead::{NextRun, asks, builds, looks};
use super::calendar::{badge, link};
use super::file;
use super::frame::{Here, Visit, page};
use super::lang::PageText;
use super::overview::in_numbers;
use super::texts as t;
use super::view::{DayCompleteness, Sums, View, missing, natural, space_of};
use super::work::{WorkSection, again, asked, section};
use crate::config::ReportFormat;
use crate::lake::manifest::{CallEntry, Landing, Manifest, RecordEntry, Status};
use crate::status::{Coverage, DayStatus, Lack, LackKind, MarkedDays};

/// The context of a day's page.
pub struct DayContext<'a> {
    pub date: NaiveDate,
    pub work: &'a WorkSection,
    pub asked: bool,
    pub ahead: NextRun,
    pub marked: &'a MarkedDays,
    /// Holds the names of rooms.
    pub coverage: &'a Coverage,
}

/// The available data of a space's day.
pub enum DayData<'a> {
    /// The day's manifest.
    Whole(&'a Manifest),
    /// The day from memory, because the store can't be read.
    Known(&'a DayStatus),
    /// The manifest can't be read.
    Damaged,
    /// Nothing, because the day was never exported.
    Nothing,
}

/// The page of a date in all spaces.
pub fn of_all(visit: &Visit, of: &PageMemory, around: &DayContext<'_>, view: &View<'_>) -> Markup {
    let (lang, date) = (visit.lang, around.date);
    let days = view.on(date);
    let title = lang.date(date);
    let mut sums = Sums::default();
    days.iter().for_each(|day| sums.add(day));
    let content = html! {
        (top(visit, around, None, &title))
        section #day data-live {
            @if days.is_empty() {
                p.verdict.unseen { (lang.say(t::NO_DAY)) " " (looks(visit, around.ahead.lists(date))) }
            } @else {
                p { (in_numbers(visit, &sums)) }
                div.scroll tabindex="0" role="region" aria-label=(title) {
                    table.text.stacked {
                        thead { tr { @for text in [t::SPACE, t::STATE, t::CALLS, t::WHY] { th scope="col" { (lang.say(text)) } } } }
                        tbody { @for day in days { (line(visit, around, view, day)) } }
                    }
                }
            }
            (again(visit, date, None, t::RETRY_DATE, false))
        }
        div.brief { (section(visit, of, around.work)) }
    };
    page(visit, Here::Elsewhere, &title, &content)
}

fn line(visit: &Visit, around: &DayContext<'_>, view: &View<'_>, day: &DayStatus) -> Markup {
    let space = space_of(day);
    let mut sums = Sums::default();
    sums.add(day);
    html! {
        tr {
            th scope="row" { a href=(link(day.date, Some(space))) { (view.name(space)) } }
            td { (badge(visit, DayCompleteness::of(day))) }
            td { (in_numbers(visit, &sums)) }
            td {
                (whole_day(visit, around, day))
                @if let Some(first) = day.missing.iter().find(|lack| lack.status != Status::Unavailable) {
                    (reason(visit, first.reason.as_deref()))
                } @else if day.complete || (missing(day) == 0 && day.listed && day.built) { "–" }
            }
        }
    }
}

/// The page of the day of a single space.
pub fn of_space(
    visit: &Visit,
    of: &PageMemory,
    around: &DayContext<'_>,
    space: &str,
    found: &DayData<'_>,
) -> Markup {
    let (lang, date) = (visit.lang, around.date);
    let day = match found {
        DayData::Whole(manifest) => Some(DayStatus::of(manifest)),
        DayData::Known(day) => Some(DayStatus::clone(day)),
        DayData::Damaged | DayData::Nothing => None,
    };
    let name = day.as_ref().and_then(|day| day.space_name.clone());
    let name = name.unwrap_or_else(|| of.name(space));
    let title = format!("{name}, {}", lang.date(date));
    let content = html! {
        (top(visit, around, Some(space), &title))
        section #day data-live {
            p.quiet { (lang.say(t::SPACE)) " " code { (space) } }
            @if let DayData::Known(_) = found { p.verdict.failed { (lang.fill(t::OLD_DAY, &[&visit.time(visit.as_of)])) } }
            @match (found, &day) {
                (_, Some(day)) => { (of_day(visit, around, day)) }
                (DayData::Damaged, None) => { p.verdict.failed { (lang.say(t::DAMAGED)) } }
                _ => { p.verdict.unseen { (lang.say(t::NO_DAY)) " " (looks(visit, around.ahead.lists(date))) } }
            }
            @match &day {
                Some(day) => { (again(visit, date, Some(space), t::RETRY, DayCompleteness::of(day).is_open())) }
                None => { (again(visit, date, Some(space), t::LOAD_DAY, true)) }
            }
        }
        div.brief { (section(visit, of, around.work)) }
        @if let DayData::Whole(manifest) = found { (rooms(visit, manifest)) }
    };
    page(visit, Here::Elsewhere, &title, &content)
}

fn top(visit: &Visit, around: &DayContext<'_>, space: Option<&str>, title: &str) -> Markup {
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

fn of_day(visit: &Visit, around: &DayContext<'_>, day: &DayStatus) -> Markup {
    let lang = visit.lang;
    let mut sums = Sums::default();
    sums.add(day);
    let mut missing: Vec<&Lack> = day.missing.iter().collect();
    // Failed items first, items that will never exist last.
    missing.sort_by_key(|lack| std::cmp::Reverse(state_of(lack.status).0));
    html! {
        p { (badge(visit, DayCompleteness::of(day))) " " (in_numbers(visit, &sums)) }
        (whole_day(visit, around, day))
        h2 { (lang.say(t::MISSING)) }
        @if missing.is_empty() {
            p { (lang.say(t::NOT_MISSING)) }
        } @else {
            @if super::view::missing(day) > 0 { p { (asks(visit, around.ahead.comes(day, around.marked))) } }
            div.scroll tabindex="0" role="region" aria-label=(lang.say(t::MISSING)) {
                table.text.stacked {
                    thead { tr {
                        @for text in [t::WHAT, t::STATE, t::WHY, t::ROOM, t::CALL_OR_RECORD, t::ATTEMPTS] {
                            th scope="col" { (lang.say(text)) }
                        }
                        td {}
                    } }
                    tbody { @for lack in missing { (of_lack(visit, around, day, lack)) } }
                }
            }
        }
    }
}

/// Sentences about what the day as a whole lacks, and which run will ask again.
fn whole_day(visit: &Visit, around: &DayContext<'_>, day: &DayStatus) -> Markup {
    let say = |text| visit.lang.say(text);
    let comes = around.ahead.comes(day, around.marked);
    html! {
        @if day.is_damaged() { p { (say(t::DAMAGED)) } }
        @else if day.space_missed { p { (say(t::SPACE_MISSED)) " " (asks(visit, comes)) } }
        @else if day.date >= visit.today && !day.listed { p { (say(t::NOT_OVER)) } }
        @else if !day.listed && day.rooms_missed == 0 { p { (say(t::NOT_LISTED)) " " (looks(visit, around.ahead.lists(day.date))) } }
        @if !day.rooms_to_ask.is_empty() {
            p { (say(t::ROOMS_MISSED)) }
            ul { @for room in &day.rooms_to_ask { li { (room_link(around, day, room)) } } }
        }
        @if !day.built && !day.is_damaged() { p { (say(t::NOT_BUILT)) " " (builds(visit, comes)) } }
    }
}

fn room_link(around: &DayContext<'_>, day: &DayStatus, room: &str) -> Markup {
    let space = space_of(day);
    let name = around.coverage.room_name(space, room);
    html! {
        a href=(super::room::link(space, room)) { (name.as_deref().unwrap_or(room)) }
    }
}

fn of_lack(visit: &Visit, around: &DayContext<'_>, day: &DayStatus, lack: &Lack) -> Markup {
    let lang = visit.lang;
    let what = lang.say(match lack.what {
        LackKind::Json => t::JSON,
        LackKind::Xlsx => t::XLSX,
        LackKind::Recording => t::RECORD,
    });
    let one = match (&lack.record_id, &lack.call_id) {
        (Some(record), _) => Some(("record", record.as_str())),
        (None, Some(call)) => Some(("call", call.as_str())),
        (None, None) => None,
    };
    html! {
        tr {
            th scope="row" { (what) }
            td data-label=(lang.say(t::STATE)) { (status(visit, lack.status)) }
            td data-label=(lang.say(t::WHY)) { (reason(visit, lack.reason.as_deref())) }
            td data-label=(lang.say(t::ROOM)) { (room_link(around, day, &lack.room_id)) }
            td data-label=(lang.say(t::CALL_OR_RECORD)) { @if let Some((_, id)) = one { code { (id) } } }
            td data-label=(lang.say(t::ATTEMPTS)) { (lack.attempts) }
            td { (again_in_room(visit, day, &lack.room_id, one, what)) }
        }
    }
}

/// The button that retries a room's day, or a single thing of it, given by the form field and the id.
pub fn again_in_room(
    visit: &Visit,
    day: &DayStatus,
    room: &str,
    one: Option<(&str, &str)>,
    what: &str,
) -> Markup {
    let lang = visit.lang;
    html! {
        form method="post" action="/retry" data-once {
            input type="hidden" name="date" value=(day.date);
            input type="hidden" name="space" value=(space_of(day));
            input type="hidden" name="room" value=(room);
            @if let Some((field, id)) = one { input type="hidden" name=(field) value=(id); }
            button.small aria-label=(lang.fill(t::AGAIN_OF, &[&what, &one.map_or(room, |(_, id)| id)])) { (lang.say(t::AGAIN)) }
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

fn state_of(status: Status) -> (DayCompleteness, PageText) {
    match status {
        Status::Done => (DayCompleteness::Whole, t::S_DONE),
        Status::Pending => (DayCompleteness::Pending, t::S_PENDING),
        Status::Denied => (DayCompleteness::Denied, t::S_DENIED),
        Status::Failed => (DayCompleteness::Failed, t::S_FAILED),
        Status::Lost => (DayCompleteness::Lost, t::S_LOST),
        Status::Unavailable => (DayCompleteness::Empty, t::S_UNAVAILABLE),
    }
}

pub fn status(visit: &Visit, status: Status) -> Markup {
    let (state, text) = state_of(status);
    html! {
        span.badge.(state.class()) { span aria-hidden="true" { (state.sign()) } " " (visit.lang.say(text)) }
    }
}

/// A room's calls and records.
#[derive(Default)]
struct RoomDay<'a> {
    calls: Vec<(&'a str, &'a CallEntry)>,
    records: Vec<(&'a str, &'a RecordEntry)>,
}

fn rooms(visit: &Visit, manifest: &Manifest) -> Markup {
    let lang = visit.lang;
    let mut rooms: BTreeMap<&str, RoomDay<'_>> = BTreeMap::new();
    for id in manifest.calls_in_order() {
        if let Some(call) = manifest.calls.get(id) {
            rooms.entry(&call.room_id).or_default().calls.push((id, call));
        }
    }
    for (id, record) in &manifest.records {
        rooms
            .entry(&record.room_id)
            .or_default()
            .records
            .push((id, record));
    }
    let mut rooms: Vec<(&str, RoomDay<'_>)> = rooms.into_iter().collect();
    rooms.sort_by_cached_key(|(id, room)| (!room.is_open(), natural(room_name(manifest, id)), *id));
    let day = DayStatus::of(manifest);
    html! {
        section #rooms data-live aria-labelledby="rooms-title" {
            h2 #rooms-title { (lang.say(t::ROOMS)) }
            @if rooms.is_empty() { p { (lang.say(t::NO_CALLS)) } }
            @for (id, room) in &rooms {
                @let name = room_name(manifest, id);
                div.bar {
                    h3 { a href=(super::room::link(&manifest.space_id, id)) { (name) } " " code { (id) } }
                    (again_in_room(visit, &day, id, None, name))
                }
                div.scroll tabindex="0" role="region" aria-label=(name) {
                    table.text.stacked {
                        thead { tr { @for text in [t::CALL, t::STARTED, t::FINISHED, t::PARTICIPANTS, t::JSON, t::XLSX, t::RECORDINGS] {
                            th scope="col" { (lang.say(text)) }
                        } } }
                        tbody {
                            @for (id, call) in &room.calls { (of_call(visit, manifest, id, call, &room.records)) }
                            @for (id, record) in room.records.iter().filter(|(_, record)| !has_call(room, record)) {
                                (without_call(visit, manifest, id, record))
                            }
                        }
                    }
                }
            }
        }
    }
}

impl RoomDay<'_> {
    /// True if something in the room needs attention, so that the room is shown first.
    fn is_open(&self) -> bool {
        let is_open = |landing: &Landing| state_of(landing.status).0.is_open();
        let mut calls = self.calls.iter();
        calls.any(|(_, call)| call.pending.is_some() || call.reports.values().any(is_open))
            || self.records.iter().any(|(_, record)| is_open(&record.file))
    }
}

fn has_call(room: &RoomDay<'_>, record: &RecordEntry) -> bool {
    let call = record.call_id.as_deref();
    room.calls.iter().any(|(id, _)| Some(*id) == call)
}

fn clock(visit: &Visit, at: Option<DateTime<Utc>>, absent: &str) -> String {
    at.map_or_else(
        || absent.into(),
        |at| at.with_timezone(&visit.zone).format("%H:%M").to_string(),
    )
}

fn of_call(
    visit: &Visit,
    manifest: &Manifest,
    id: &str,
    call: &CallEntry,
    records: &[(&str, &RecordEntry)],
) -> Markup {
    let lang = visit.lang;
    html! {
        tr id={ "c-" (id) } {
            th scope="row" {
                code { (id) }
                @if let Some(pending) = &call.pending { " " span.quiet lang="en" { (pending) } }
            }
            td data-label=(lang.say(t::STARTED)) { (clock(visit, call.started_at, "–")) }
            td data-label=(lang.say(t::FINISHED)) { (clock(visit, call.finished_at, lang.say(t::STILL_RUNS))) }
            td data-label=(lang.say(t::PARTICIPANTS)) { @match call.participants {
                Some(count) => { (lang.number(u64::try_from(count).unwrap_or_default())) }
                None => { "–" }
            } }
            td data-label=(lang.say(t::JSON)) { (report(visit, manifest, id, call, ReportFormat::Json)) }
            td data-label=(lang.say(t::XLSX)) { (report(visit, manifest, id, call, ReportFormat::Xlsx)) }
            td data-label=(lang.say(t::RECORDINGS)) {
                @for (record_id, record) in records.iter().filter(|(_, record)| record.call_id.as_deref() == Some(id)) {
                    (of_record(visit, manifest, record_id, record))
                }
            }
        }
    }
}

fn report(visit: &Visit, manifest: &Manifest, id: &str, call: &CallEntry, format: ReportFormat) -> Markup {
    html! {
        @match call.reports.get(&format) {
            Some(landing) => { (of_landing(visit, landing, &file::report(manifest, id, format))) }
            None => { "–" }
        }
    }
}

/// The state of a file; a landed file is a link to its bytes.
fn of_landing(visit: &Visit, landing: &Landing, address: &str) -> Markup {
    html! {
        (status(visit, landing.status)) " "
        @if let Some(landed) = landing.stored().filter(|landed| landed.usable) { a href=(address) { (visit.lang.bytes(landed.bytes)) } }
        @if landing.status != Status::Done || landing.is_deleted() { " " (reason(visit, landing.reason.as_deref())) }
    }
}

fn of_record(visit: &Visit, manifest: &Manifest, id: &str, record: &RecordEntry) -> Markup {
    html! { div title=(id) { (of_landing(visit, &record.file, &file::recording(manifest, id))) } }
}

fn without_call(visit: &Visit, manifest: &Manifest, id: &str, record: &RecordEntry) -> Markup {
    let lang = visit.lang;
    html! {
        tr {
            th scope="row" { span.quiet { (lang.say(t::WITHOUT_CALL)) } }
            td data-label=(lang.say(t::STARTED)) { (clock(visit, record.started_at, "–")) }
            td data-label=(lang.say(t::FINISHED)) { (clock(visit, record.finished_at, "–")) }
            td.absent { "–" } td.absent { "–" } td.absent { "–" }
            td data-label=(lang.say(t::RECORDINGS)) { (of_record(visit, manifest, id, record)) " " code { (id) } }
        }
    }
}
