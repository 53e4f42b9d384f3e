//! The causes why a date is not whole, grouped by cause and space, the worst and largest first. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;
use maud::{Markup, html};

use super::frame::Visit;
use super::texts as t;
use super::view::{DayCompleteness, View, space_of};
use crate::lake::manifest::Status;
use crate::pipeline::Summary;
use crate::status::{DayStatus, Lack, LackKind};

/// The longest reason, in characters; the day's page shows all of it.
const LONGEST: usize = 90;

/// A cause why a date is not whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A refusal or failure with this HTTP status.
    Status(u16),
    /// A refusal or failure without a status, in the program's words.
    Words(String),
    /// The space's rooms could not all be listed; with the HTTP status if known.
    Space(Option<u16>),
    /// Rooms could not be listed.
    Rooms(Option<u16>),
    /// The day's manifest can't be read.
    Damaged,
    /// The day's tables were not built.
    Unbuilt,
    /// Reports are not ready yet.
    Reports,
    /// Recordings are not ready yet.
    Recordings,
    /// Calls still run or have not settled.
    Calls,
    /// Not every room was listed for the whole date.
    Unlisted,
    /// Files were given up.
    Lost,
}

/// The things that have the same cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    pub state: DayCompleteness,
    pub cause: Cause,
    /// The space's name; empty if all spaces are counted together.
    pub space: &'a str,
    pub count: u64,
}

/// Groups the causes of a date; `runs` tell why rooms could not be listed.
pub fn groups<'a>(view: &'a View<'_>, date: NaiveDate, runs: &[Arc<Summary>]) -> Vec<Group<'a>> {
    let mut counts: BTreeMap<(DayCompleteness, &str, Cause), u64> = BTreeMap::new();
    for day in view.on(date) {
        let space = view.name(space_of(day));
        for (state, cause, count) in of_day(day, runs) {
            let space = if state == DayCompleteness::Pending {
                ""
            } else {
                space
            };
            *counts.entry((state, space, cause)).or_default() += count;
        }
    }
    let mut groups: Vec<Group<'a>> = counts
        .into_iter()
        .map(|((state, space, cause), count)| Group {
            state,
            cause,
            space,
            count,
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse((group.state, group.count)));
    groups
}

fn of_day(day: &DayStatus, runs: &[Arc<Summary>]) -> Vec<(DayCompleteness, Cause, u64)> {
    if day.is_damaged() {
        return vec![(DayCompleteness::Failed, Cause::Damaged, 1)];
    }
    let mut found: Vec<(DayCompleteness, Cause, u64)> = day.missing.iter().filter_map(of_lack).collect();
    if day.space_missed {
        found.push((
            DayCompleteness::Failed,
            Cause::Space(listing_status(day, runs)),
            1,
        ));
    } else if day.rooms_missed > 0 {
        let cause = Cause::Rooms(listing_status(day, runs));
        found.push((DayCompleteness::Failed, cause, day.rooms_missed));
    } else if !day.listed {
        found.push((DayCompleteness::Pending, Cause::Unlisted, 1));
    }
    if day.calls_pending > 0 && !found.iter().any(|(_, cause, _)| *cause == Cause::Reports) {
        found.push((DayCompleteness::Pending, Cause::Calls, day.calls_pending));
    }
    if !day.built {
        found.push((DayCompleteness::Unbuilt, Cause::Unbuilt, 1));
    }
    found
}

fn of_lack(lack: &Lack) -> Option<(DayCompleteness, Cause, u64)> {
    let reason = lack.reason.as_deref().unwrap_or_default();
    let by_reason = || match status_in(reason) {
        Some(status) => Cause::Status(status),
        None => Cause::Words(cut(reason)),
    };
    let (state, cause) = match lack.status {
        Status::Done | Status::Unavailable => return None,
        Status::Pending if lack.what == LackKind::Recording => (DayCompleteness::Pending, Cause::Recordings),
        Status::Pending => (DayCompleteness::Pending, Cause::Reports),
        Status::Failed => (DayCompleteness::Failed, by_reason()),
        Status::Denied => (DayCompleteness::Denied, by_reason()),
        Status::Lost => (DayCompleteness::Lost, Cause::Lost),
    };
    Some((state, cause, 1))
}

/// The HTTP status with which the latest run's listing of the space failed.
fn listing_status(day: &DayStatus, runs: &[Arc<Summary>]) -> Option<u16> {
    let failed = runs.iter().flat_map(|run| &run.failed);
    failed
        .filter(|problem| problem.space_id.as_deref() == Some(day.space_id.as_str()))
        .filter(|problem| problem.date.is_none_or(|date| date == day.date))
        .find_map(|problem| status_in(&problem.message))
}

/// The HTTP status in an error's text, such as `403 …` or `GET /spaces: 403 …`.
fn status_in(text: &str) -> Option<u16> {
    let mut before = ":";
    for word in text.split_whitespace() {
        let number = word.trim_end_matches([',', ':', ';']);
        if before.ends_with(':')
            && number.len() == 3
            && let Ok(status @ 400..=599) = number.parse()
        {
            return Some(status);
        }
        before = word;
    }
    None
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A sentence about a group.
pub fn told(visit: &Visit, group: &Group<'_>) -> Markup {
    let lang = visit.lang;
    let (count, space) = (group.count, group.space);
    let by = |status: Option<u16>| status.map_or_else(String::new, |status| format!(" ({status})"));
    html! {
        @match &group.cause {
            Cause::Status(status) => { (lang.fill(t::C_TIMES, &[&lang.number(count), status, &space])) }
            Cause::Words(words) if words.is_empty() => {
                (lang.fill(t::C_TIMES, &[&lang.number(count), &lang.say(t::NO_REASON), &space]))
            }
            Cause::Words(words) => {
                span lang="en" { (lang.fill(t::C_TIMES, &[&lang.number(count), words, &space])) }
            }
            Cause::Space(status) => { (lang.fill(t::C_SPACE, &[&space])) (by(*status)) }
            Cause::Rooms(status) => { (lang.count(t::C_ROOMS, count)) ": " (space) (by(*status)) }
            Cause::Damaged => { (lang.fill(t::C_DAMAGED, &[&space])) }
            Cause::Unbuilt => { (lang.fill(t::C_UNBUILT, &[&space])) }
            Cause::Reports => { (lang.count(t::C_REPORTS, count)) }
            Cause::Recordings => { (lang.count(t::C_RECORDINGS, count)) }
            Cause::Calls => { (lang.count(t::C_CALLS, count)) }
            Cause::Unlisted => { (lang.count(t::C_UNLISTED, count)) }
            Cause::Lost => { (lang.count(t::C_LOST, count)) ": " (space) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_found_only_at_its_place_in_an_error() {
        for (text, status) in [
            ("403 the tariff does not include this", Some(403)),
            (
                "GET /spaces/a/rooms: 502 answered with HTML, 5 attempts",
                Some(502),
            ),
            ("nothing could be reached; first: GET /spaces: 401", Some(401)),
            ("json report: 404, not ready", Some(404)),
            ("the file has 404 bytes", None),
            ("room 500: timed out", None),
            ("200 is no failure", None),
            ("", None),
        ] {
            assert_eq!(status_in(text), status, "{text}");
        }
    }

    fn lack(what: LackKind, status: Status, reason: &str) -> Lack {
        Lack {
            room_id: "r".into(),
            call_id: Some("c".into()),
            record_id: None,
            what,
            status,
            reason: Some(reason.into()),
            attempts: 1,
        }
    }

    #[test]
    fn causes_are_grouped_by_space_the_worst_and_largest_first() {
        let date: NaiveDate = "2026-11-20".parse().expect("date");
        let day = |space: &str, missing: Vec<Lack>| {
            Arc::new(DayStatus {
                date,
                space_id: space.into(),
                space_name: Some(format!("Школа {space}")),
                listed: true,
                built: true,
                missing,
                ..DayStatus::default()
            })
        };
        let refused = vec![lack(LackKind::Json, Status::Failed, "403 refused"); 12];
        let mut other = vec![lack(LackKind::Xlsx, Status::Failed, "502 bad gateway")];
        other.push(lack(LackKind::Json, Status::Pending, "404 not ready"));
        other.push(lack(LackKind::Json, Status::Pending, "it is empty"));
        other.push(lack(LackKind::Recording, Status::Unavailable, ""));
        let mut unbuilt = DayStatus::clone(&day("3", vec![lack(LackKind::Json, Status::Pending, "")]));
        unbuilt.built = false;
        let days = [day("1", other), day("2", refused), Arc::new(unbuilt)];
        let view = View::new(&days, date.succ_opt().expect("date"));
        let told: Vec<_> = groups(&view, date, &[])
            .into_iter()
            .map(|group| (group.count, group.cause, group.space.to_owned()))
            .collect();
        assert_eq!(
            told,
            [
                (12, Cause::Status(403), "Школа 2".to_owned()),
                (1, Cause::Status(502), "Школа 1".to_owned()),
                (1, Cause::Unbuilt, "Школа 3".to_owned()),
                (3, Cause::Reports, String::new()),
            ]
        );
    }
}
