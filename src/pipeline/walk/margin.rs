//! Drops the days that only the margin dates showed: a run writes the days that it was asked for, and open days.
//!
//! There is one exception. If a call or record belongs to another day than the one that has it in the lake, the one day
//! gives it up and the other takes it, even if only one of the two was asked for.

use std::collections::{BTreeSet, HashSet};

use chrono::NaiveDate;
use futures_util::{StreamExt, stream};

use crate::Result;
use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::ExportContext;
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;
use crate::pipeline::walk::found::{DayWork, DaysToWrite, JobScope};
use crate::store::json::get_json;

/// Manifests read at once.
const READ_AT_ONCE: usize = 8;

/// Selects the days that a job writes from those that its listing showed. `window` is the range of dates of the listing, of
/// which each space of the scope may have a part only.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn drop_margin(
    context: &ExportContext,
    rules: &JobRules,
    scope: &JobScope,
    days: Vec<DayWork>,
    window: (NaiveDate, NaiveDate),
    open: &[OpenDay],
) -> Result<DaysToWrite> {
    let is_asked = |day: &DayWork| {
        let (from, to) = scope.dates_of(&day.space_id, window);
        (rules.first_day(from)..=to).contains(&day.date)
    };
    let is_open = |day: &DayWork| {
        let of_day = |open: &OpenDay| open.space_id == day.space_id && open.date == day.date;
        open.iter().any(of_day)
    };
    let (asked, mut margin): (Vec<_>, Vec<_>) =
        days.into_iter().partition(|day| is_asked(day) || is_open(day));
    let moved = moved_between(context, &asked, &mut margin).await?;
    let (mut receiving, mut giving) = (Vec::new(), Vec::new());
    for mut day in margin {
        let space = day.space_id.clone();
        let is_moved = |id: &str| moved.contains(&(space.clone(), id.to_owned()));
        day.calls.retain(|id, _| is_moved(id));
        day.records.retain(|id, _| is_moved(id));
        let used: BTreeSet<RoomId> = rooms_of(&day);
        day.rooms.retain(|id, _| used.contains(id));
        if !day.calls.is_empty() || !day.records.is_empty() {
            receiving.push(day);
        } else if !day.evict_calls.is_empty() || !day.evict_records.is_empty() {
            giving.push(day);
        }
    }
    Ok(DaysToWrite {
        receiving,
        asked,
        giving,
    })
}

/// The ids of calls and records, as texts.
fn ids<'i>(
    calls: impl IntoIterator<Item = &'i CallId>,
    records: impl IntoIterator<Item = &'i RecordId>,
) -> impl Iterator<Item = &'i str> {
    let calls = calls.into_iter().map(CallId::as_str);
    calls.chain(records.into_iter().map(RecordId::as_str))
}

fn rooms_of(day: &DayWork) -> BTreeSet<RoomId> {
    let calls = day.calls.values().map(|(room, _)| room);
    calls
        .chain(day.records.values().map(|(room, _)| room))
        .cloned()
        .collect()
}

/// Finds the calls and records, as space and id, that the lake has on another day than their own. It also removes from
/// the margin days the evictions of what they do not have.
async fn moved_between(
    context: &ExportContext,
    asked: &[DayWork],
    margin: &mut [DayWork],
) -> Result<HashSet<(SpaceId, String)>> {
    let elsewhere: HashSet<(&SpaceId, &str)> = margin
        .iter()
        .flat_map(|day| ids(day.calls.keys(), day.records.keys()).map(|id| (&day.space_id, id)))
        .collect();
    let concerned = asked.iter().filter(|day| {
        ids(&day.evict_calls, &day.evict_records).any(|id| elsewhere.contains(&(&day.space_id, id)))
    });
    let mut moved = HashSet::new();
    for (space, held) in held_of(context, concerned).await? {
        moved.extend(held.into_iter().map(|id| (space.clone(), id)));
    }
    let evicting = margin
        .iter()
        .filter(|day| !day.evict_calls.is_empty() || !day.evict_records.is_empty());
    let held = held_of(context, evicting).await?;
    let mut held = held.into_iter();
    for day in margin {
        if day.evict_calls.is_empty() && day.evict_records.is_empty() {
            continue;
        }
        let has = held.next().map(|(_, ids)| ids).unwrap_or_default();
        day.evict_calls.retain(|id| has.contains(id.as_str()));
        day.evict_records.retain(|id| has.contains(id.as_str()));
        moved.extend(has.into_iter().map(|id| (day.space_id.clone(), id)));
    }
    Ok(moved)
}

/// For each day, in order: its space, and the calls and records to be given up that it has in the lake.
async fn held_of<'d>(
    context: &ExportContext,
    days: impl Iterator<Item = &'d DayWork>,
) -> Result<Vec<(SpaceId, BTreeSet<String>)>> {
    let read = stream::iter(days.collect::<Vec<_>>()).map(|day| async move {
        let key = key::manifest(day.date, &day.space_id);
        let manifest = get_json::<Manifest>(&*context.run.store, &key).await?;
        let held = manifest.map_or_else(BTreeSet::new, |(manifest, _)| {
            let calls = day
                .evict_calls
                .iter()
                .filter(|id| manifest.calls.contains_key(*id));
            let records = day
                .evict_records
                .iter()
                .filter(|id| manifest.records.contains_key(*id));
            ids(calls, records).map(ToOwned::to_owned).collect()
        });
        Ok((day.space_id.clone(), held))
    });
    let read: Vec<Result<_>> = read.buffered(READ_AT_ONCE).collect().await;
    read.into_iter().collect()
}
