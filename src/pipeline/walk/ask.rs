//! Decides which listings a window needs. Pure.
//!
//! The vendor does not say in which zone `date` is and by which instant it selects. Therefore each date is asked for
//! together with the one before and the one after, so that a call is found whatever `date` means.

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use serde_json::Value;

use super::found::{GoneDays, JobScope, ListingAsk, ListingKind};
use crate::api::Room;
use crate::ids::RoomId;
use crate::lake;
use crate::lenient;
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;

/// The requests of one room.
pub(crate) struct RoomAsks {
    pub asks: Vec<ListingAsk>,
    /// True if the API no longer lists the room. After a refusal the room gets no further request of that kind.
    pub is_gone: bool,
}

/// The requests of a window, room by room, and the number of rooms that need none.
pub(crate) fn asks(
    rules: &JobRules,
    scope: &JobScope,
    (from, to): (NaiveDate, NaiveDate),
    open: &[OpenDay],
) -> (Vec<RoomAsks>, u64) {
    let today = rules.today();
    let (mut asks, mut skipped) = (Vec::new(), 0);
    for (index, space) in scope.spaces.iter().enumerate() {
        let open: Vec<_> = open.iter().filter(|day| day.space_id == space.id).collect();
        for room in &space.rooms {
            // No call starts after `lastCallAt`, which is the start of the last call or a later instant, and none before
            // the room exists.
            let last = last_call_date(room, rules.zone);
            let first = first_date(room, rules.zone, today);
            let may_hold = |date: &NaiveDate| {
                last.is_none_or(|last| *date <= last) && first.is_none_or(|first| first <= *date)
            };
            let open: BTreeSet<_> = open
                .iter()
                .filter(|day| day.space || day.rooms.contains(&room.id))
                .map(|day| day.date)
                .collect();
            // An open day may lie before the room's first date. Without such a date there is no limit.
            let first = first.map(|first| open.first().map_or(first, |open| first.min(*open)));
            let days: BTreeSet<_> = dates(from, to.min(today)).filter(may_hold).chain(open).collect();
            if days.is_empty() {
                skipped += 1;
                continue;
            }
            asks.push(RoomAsks {
                asks: room_asks(rules, (index, &room.id), &days, first),
                is_gone: false,
            });
        }
    }
    (asks, skipped)
}

/// The requests of the rooms that are no longer listed.
pub(crate) fn gone_asks(rules: &JobRules, gone: &GoneDays) -> Vec<RoomAsks> {
    let mut rooms: Vec<_> = gone.iter().collect();
    rooms.sort();
    let asks = rooms.into_iter().map(|((space, room), days)| RoomAsks {
        asks: room_asks(rules, (*space, room), days, None),
        is_gone: true,
    });
    asks.collect()
}

/// The requests for some days of a room, with one more date on each side, but none before `first`.
fn room_asks(
    rules: &JobRules,
    (space, room): (usize, &RoomId),
    days: &BTreeSet<NaiveDate>,
    first: Option<NaiveDate>,
) -> Vec<ListingAsk> {
    let asked: BTreeSet<_> = days
        .iter()
        .flat_map(|day| [*day - Days::new(1), *day, *day + Days::new(1)])
        .filter(|date| first.is_none_or(|first| first <= *date))
        .collect();
    let ask = |what| ListingAsk {
        space,
        room: room.clone(),
        what,
    };
    let calls = asked.iter().map(|date| ask(ListingKind::Calls { date: *date }));
    let mut asks: Vec<_> = calls.collect();
    if rules.wants_recordings() {
        asks.extend(spans(&asked).map(|(from, to)| ask(ListingKind::Records { from, to })));
    }
    asks
}

/// The latest date, in the configured zone, on which a room's last call may have begun. A bare date is one of the
/// server's zone, and may be one day less than ours.
pub(crate) fn last_call_date(room: &Room, zone: Tz) -> Option<NaiveDate> {
    let last = room.last_call_at?;
    let text = room.raw.get("lastCallAt").and_then(Value::as_str);
    let is_bare = text.is_some_and(|text| !text.contains(':') && text.contains(['-', '.']));
    Some(match is_bare {
        true => last.date_naive() + Days::new(1),
        false => lake::date_of(last, zone),
    })
}

/// The first date on which a room may have had a call: the one before its `createdAt`, because zones differ. `None` if
/// `createdAt` cannot be read, or lies in the future or after the room's last call.
pub(crate) fn first_date(room: &Room, zone: Tz, today: NaiveDate) -> Option<NaiveDate> {
    let created = room.raw.get("createdAt").and_then(lenient::instant);
    let created = lake::date_of(created?, zone);
    let is_early_enough = last_call_date(room, zone).is_none_or(|last| created <= last);
    (created <= today && is_early_enough).then(|| created - Days::new(1))
}

/// The dates of a range, both ends included.
pub(crate) fn dates(from: NaiveDate, to: NaiveDate) -> impl Iterator<Item = NaiveDate> {
    from.iter_days().take_while(move |date| *date <= to)
}

/// Groups dates into ranges without gaps.
pub(crate) fn spans(dates: &BTreeSet<NaiveDate>) -> impl Iterator<Item = (NaiveDate, NaiveDate)> {
    let mut spans: Vec<(NaiveDate, NaiveDate)> = Vec::new();
    for date in dates {
        match spans.last_mut() {
            Some((_, end)) if *end + Days::new(1) == *date => *end = *date,
            _ => spans.push((*date, *date)),
        }
    }
    spans.into_iter()
}
