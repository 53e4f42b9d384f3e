//! Decides which listings a window needs. Pure.
//!
//! The vendor does not say in which zone `date` is and by which instant it selects. Therefore each date is asked for
//! together with the one before and the one after, so that a call is found whatever `date` means. `api.call_date` spares
//! these two.

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate, TimeDelta};
use chrono_tz::Tz;

use crate::api::Room;
use crate::dates::spans;
use crate::ids::RoomId;
use crate::lake;
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;

/// The listing requests of one room in a window.
#[derive(Debug, Clone)]
pub(crate) struct RoomAsks {
    /// The index of the space in `JobScope::spaces`.
    pub space: usize,
    pub room: RoomId,
    /// The dates of which calls are listed.
    pub calls: BTreeSet<NaiveDate>,
    /// The ranges of dates of which records are listed.
    pub records: Vec<(NaiveDate, NaiveDate)>,
    /// True if the records are listed even if the room has no call on the dates.
    pub awaits_record: bool,
    /// True if the API no longer lists the room. After a refusal the room gets no further request of that kind.
    pub is_gone: bool,
}

/// The zone by whose dates the API lists calls, if it is known; see `api.call_date`.
pub(crate) type CallZone = Option<Tz>;

/// Decides on the requests of a listed room; `None` if the room can't have calls on the dates. `open` are the open days of
/// the room's space.
pub(crate) fn room_asks(
    rules: &JobRules,
    (space, room): (usize, &Room),
    (from, to): (NaiveDate, NaiveDate),
    open: &[&OpenDay],
    zone: CallZone,
) -> Option<RoomAsks> {
    let today = rules.today();
    // No call starts after `lastCallAt`, which is the start of the last call or a later instant, and none before the room
    // exists.
    let last = last_call_date(room, rules.zone);
    let first = first_date(room, rules.zone, today);
    let may_hold =
        |date: &NaiveDate| last.is_none_or(|last| *date <= last) && first.is_none_or(|first| first <= *date);
    let awaited = open
        .iter()
        .filter(|day| day.space || day.rooms.contains(&room.id));
    let awaited: BTreeSet<_> = awaited.map(|day| day.date).collect();
    // An open day may lie before the room's first date. Without such a date there is no limit.
    let first = first.map(|first| awaited.first().map_or(first, |open| first.min(*open)));
    let awaits_record = !awaited.is_empty();
    let days: BTreeSet<_> = dates(rules.first_day(from), to.min(today))
        .filter(may_hold)
        .chain(awaited)
        .collect();
    (!days.is_empty()).then(|| RoomAsks {
        awaits_record: awaits_record || rules.job.names_records(),
        ..asks_of_days(rules, (space, &room.id), &days, first, zone)
    })
}

/// The requests of a room that is no longer listed.
pub(crate) fn gone_asks(
    rules: &JobRules,
    (space, room): (usize, &RoomId),
    days: &BTreeSet<NaiveDate>,
    zone: CallZone,
) -> RoomAsks {
    RoomAsks {
        awaits_record: true,
        is_gone: true,
        ..asks_of_days(rules, (space, room), days, None, zone)
    }
}

/// The requests for some days of a room, but none before `first`. Calls are asked for by the dates of `zone` that overlap
/// the days; without a zone, and for records, by one more date on each side.
fn asks_of_days(
    rules: &JobRules,
    (space, room): (usize, &RoomId),
    days: &BTreeSet<NaiveDate>,
    first: Option<NaiveDate>,
    zone: CallZone,
) -> RoomAsks {
    let around = days
        .iter()
        .flat_map(|day| [*day - Days::new(1), *day, *day + Days::new(1)]);
    let around: BTreeSet<_> = around
        .filter(|date| first.is_none_or(|first| first <= *date))
        .collect();
    let records = match rules.wants_recordings() {
        true => spans(around.iter().copied()),
        false => Vec::new(),
    };
    let calls = match zone {
        Some(zone) => days
            .iter()
            .flat_map(|day| overlapping(*day, rules.zone, zone))
            .collect(),
        None => around,
    };
    RoomAsks {
        space,
        room: room.clone(),
        calls,
        records,
        awaits_record: false,
        is_gone: false,
    }
}

/// The dates of a zone that overlap a day of the configured zone.
fn overlapping(day: NaiveDate, configured: Tz, zone: Tz) -> impl Iterator<Item = NaiveDate> {
    let last = lake::end_of(day, configured) - TimeDelta::nanoseconds(1);
    dates(
        lake::date_of(lake::start_of(day, configured), zone),
        lake::date_of(last, zone),
    )
}

/// The latest date, in the configured zone, on which a room's last call may have begun. A bare date is one of the
/// server's zone, and may be one day less than ours.
pub(crate) fn last_call_date(room: &Room, zone: Tz) -> Option<NaiveDate> {
    let last = room.last_call_at?;
    Some(match room.last_call_is_date {
        true => last.date_naive() + Days::new(1),
        false => lake::date_of(last, zone),
    })
}

/// The first date on which a room may have had a call: the one before its `createdAt`, because zones differ. `None` if
/// `createdAt` cannot be read, or lies in the future or after the room's last call.
pub(crate) fn first_date(room: &Room, zone: Tz, today: NaiveDate) -> Option<NaiveDate> {
    let created = lake::date_of(room.created_at?, zone);
    let is_early_enough = last_call_date(room, zone).is_none_or(|last| created <= last);
    (created <= today && is_early_enough).then(|| created - Days::new(1))
}

/// The dates of a range, both ends included.
pub(crate) fn dates(from: NaiveDate, to: NaiveDate) -> impl Iterator<Item = NaiveDate> {
    from.iter_days().take_while(move |date| *date <= to)
}
