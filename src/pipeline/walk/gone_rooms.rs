//! Rooms that the API no longer lists but that may have had calls on the requested dates.
//!
//! The vendor advises deleting the rooms of past events, so a room can be gone before the nightly run asks for it. The
//! lake knows such rooms from its catalogue and from webhooks, and asks for them by id. What the API still returns is
//! landed; a refusal is named as `room_gone`. For each space the lake stores the date since which each room is gone.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{Days, NaiveDate};
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::api::{Item, Room};
use crate::ids::{RoomId, SpaceId};
use crate::json::RawJson;
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::ExportContext;
use crate::pipeline::job::Job;
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;
use crate::pipeline::summary::{Problem, ProblemKind, Summary};
use crate::pipeline::walk::ask;
use crate::pipeline::walk::found::{DayWork, GoneDays, GoneRoom, GoneRooms, GoneSince, SpaceScope};
use crate::store::json::get_json;
use crate::{ErrorKind, Result};

/// Manifests read at once.
const READ_AT_ONCE: usize = 8;

impl GoneRooms {
    /// Compares the rooms that the lake knows with those that are listed. It sends no request to the API.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn find(
        context: &ExportContext,
        rules: &JobRules,
        space: &SpaceId,
        listed: &HashSet<RoomId>,
    ) -> Result<Self> {
        let catalog =
            get_json::<BTreeMap<RoomId, RawJson>>(&*context.run.store, &key::room_catalog(space)).await?;
        let catalog = catalog.map(|(catalog, _)| catalog).unwrap_or_default();
        let stored = get_json::<GoneSince>(&*context.run.store, &key::gone_rooms(space)).await?;
        let stored = stored.map(|(since, _)| since);
        let today = rules.today();
        // The catalogue of an earlier version may have rooms that have been gone for years.
        let first_missed = (stored.is_some() || catalog.is_empty()).then_some(today);
        let mut since = GoneSince::new();
        for id in catalog.keys().filter(|id| !listed.contains(*id)) {
            since.insert(id.clone(), first_missed);
        }
        for (id, date) in stored.iter().flatten().filter(|(id, _)| !listed.contains(*id)) {
            since.insert(id.clone(), *date);
        }
        for id in named_by_webhook(&rules.job, space).filter(|id| !listed.contains(*id)) {
            since.entry(id.clone()).or_insert(Some(today));
        }
        let wanted = since.iter().filter(|(id, _)| is_wanted(rules, id));
        let rooms = wanted.filter_map(|(id, since)| {
            Some(GoneRoom {
                room: room(id, catalog.get(id))?,
                since: *since,
                is_named: rules.job.rooms.contains(id),
            })
        });
        Ok(Self {
            rooms: rooms.collect(),
            since,
            stored,
        })
    }

    /// Stores the dates since which the rooms are gone. The listing must have been complete.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn keep(&self, context: &ExportContext, space: &SpaceScope) -> Result<()> {
        if self.stored.as_ref() == Some(&self.since) {
            return Ok(());
        }
        let merge = |since: &mut Option<GoneSince>| {
            let since = since.get_or_insert_default();
            since.retain(|id, _| !space.listed.contains(id));
            for (id, date) in &self.since {
                since.entry(id.clone()).or_insert(*date);
            }
        };
        // An object is written even if no room is gone: it tells that the lake keeps these dates.
        context
            .run
            .update(&key::gone_rooms(&space.id), merge)
            .await
            .map(|_| ())
    }
}

/// The rooms that a webhook's job names: their events prove that the rooms exist, even if the list does not have them.
fn named_by_webhook<'j>(job: &'j Job, space: &SpaceId) -> impl Iterator<Item = &'j RoomId> {
    let of_space = job.is_of_webhook() && job.spaces.len() == 1 && job.spaces[0] == *space;
    job.rooms.iter().filter(move |_| of_space)
}

fn is_wanted(rules: &JobRules, room: &RoomId) -> bool {
    rules.exports_room(room) && rules.job.takes_room(room)
}

fn room(id: &str, last_seen: Option<&RawJson>) -> Option<Room> {
    let known = last_seen.and_then(|raw| Room::from_raw(raw.parse().ok()?));
    known
        .filter(|room| room.id == id)
        .or_else(|| Room::from_raw(json!({"id": id})))
}

impl GoneRoom {
    /// True if the room may have had calls on a date, as far as the lake knows.
    pub(super) fn may_hold(&self, rules: &JobRules, date: NaiveDate) -> bool {
        let (zone, today, lookback) = (rules.zone, rules.today(), rules.lookback_days);
        let recently = |since: NaiveDate| (today - since).num_days() <= i64::from(lookback);
        if !self.is_named && !self.since.is_some_and(recently) {
            return false;
        }
        // The last nights before the room was missed still listed it. `lastCallAt` says nothing about later dates.
        let listed_until = self
            .since
            .and_then(|since| since.checked_sub_days(Days::new(u64::from(lookback) + 1)));
        let had_calls = ask::last_call_date(&self.room, zone)
            .is_none_or(|last| date <= last || listed_until.is_none_or(|listed| listed <= date));
        date <= self.since.unwrap_or(today)
            && ask::first_date(&self.room, zone, today).is_none_or(|first| first <= date)
            && had_calls
    }
}

/// The days of a window for which gone rooms of a space may be asked.
#[derive(Default)]
pub(crate) struct GoneCandidates {
    /// Days that need no request if they were listed completely, because the rooms were asked when they still existed.
    unless_listed: Vec<(RoomId, BTreeSet<NaiveDate>)>,
    /// Open days that wait for a room.
    open: Vec<(RoomId, NaiveDate)>,
}

impl GoneCandidates {
    /// Finds the days. `open` are the open days of the space.
    pub fn find(
        rules: &JobRules,
        space: &SpaceScope,
        window: (NaiveDate, NaiveDate),
        open: &[&OpenDay],
    ) -> Self {
        let mut found = Self::default();
        if space.failed {
            return found;
        }
        let mut dates: BTreeSet<_> = ask::dates(window.0, window.1.min(rules.today())).collect();
        dates.extend(open.iter().filter(|day| day.space).map(|day| day.date));
        for gone in &space.gone.rooms {
            let may_hold = |date: &NaiveDate| gone.may_hold(rules, *date);
            let held: BTreeSet<_> = dates.iter().copied().filter(may_hold).collect();
            let candidate = (!held.is_empty()).then(|| (gone.room.id.clone(), held));
            found.unless_listed.extend(candidate);
        }
        for day in open {
            let gone = day.rooms.iter().filter(|room| !space.listed.contains(*room));
            let wanted = gone.filter(|room| is_wanted(rules, room));
            found.open.extend(wanted.map(|room| (room.clone(), day.date)));
        }
        found
    }

    /// Leaves out the days that were listed completely. Returns the days of each room.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn days_to_ask(
        self,
        context: &ExportContext,
        space: &SpaceId,
    ) -> Result<BTreeMap<RoomId, BTreeSet<NaiveDate>>> {
        let dates = self.unless_listed.iter().flat_map(|(_, dates)| dates).copied();
        let whole = listed_whole(context, space, dates.collect()).await?;
        let mut days: BTreeMap<RoomId, BTreeSet<NaiveDate>> = BTreeMap::new();
        for (room, dates) in self.unless_listed {
            let left: BTreeSet<_> = dates.difference(&whole).copied().collect();
            if !left.is_empty() {
                days.insert(room, left);
            }
        }
        for (room, date) in self.open {
            days.entry(room).or_default().insert(date);
        }
        Ok(days)
    }
}

/// Selects the dates of a space that were listed completely.
async fn listed_whole(
    context: &ExportContext,
    space: &SpaceId,
    dates: BTreeSet<NaiveDate>,
) -> Result<BTreeSet<NaiveDate>> {
    let read = stream::iter(dates).map(|date| async move {
        let manifest = get_json::<Manifest>(&*context.run.store, &key::manifest(date, space)).await;
        match manifest {
            Ok(found) => Ok(found
                .filter(|(manifest, _)| manifest.is_listed_whole())
                .map(|_| date)),
            // A manifest that cannot be read is reported when its day is processed.
            Err(error) if error.kind() == ErrorKind::Store => Ok(None),
            Err(error) => Err(error),
        }
    });
    let read: Vec<Result<Option<NaiveDate>>> = read.buffered(READ_AT_ONCE).collect().await;
    read.into_iter().filter_map(Result::transpose).collect()
}

/// The answers of gone rooms for a day.
pub(crate) struct GoneAnswers {
    pub date: NaiveDate,
    pub space: SpaceId,
    /// The rooms that the API refused, with the reason.
    pub refused: BTreeMap<RoomId, String>,
    /// The rooms that gave all their answers.
    pub heard: BTreeSet<RoomId>,
}

impl GoneAnswers {
    /// The answers for a day; `None` if no gone room was asked for it.
    pub fn of(day: &DayWork) -> Option<Self> {
        (!day.refused.is_empty() || !day.heard_gone.is_empty()).then(|| Self {
            date: day.date,
            space: day.space_id.clone(),
            refused: day.refused.clone(),
            heard: day.heard_gone.clone(),
        })
    }
}

/// Reports the gone rooms in the summary: those that the API refused, for each day that waits for them, and those that
/// it still answers for.
pub(crate) fn name(
    rules: &JobRules,
    spaces: &[SpaceScope],
    asked: &GoneDays,
    days: &[GoneAnswers],
    summary: &mut Summary,
) {
    let mut refused = HashSet::new();
    for day in days {
        for (room, why) in &day.refused {
            refused.insert((&day.space, room));
            let given_up = rules.has_given_up_gone_rooms(day.date);
            let then = if given_up {
                "it is given up"
            } else {
                "the day stays open"
            };
            let message =
                format!("the room is no longer listed, and the API refuses it by its id ({why}): {then}");
            let problem = Problem::new(ProblemKind::RoomGone, message)
                .on(day.date, &day.space)
                .room(room);
            if given_up {
                summary.warn(problem);
            } else {
                summary.fail(problem);
            }
        }
    }
    for ((space, room), dates) in asked {
        let id = &spaces[*space].id;
        let is_heard = |day: &GoneAnswers| day.space == *id && day.heard.contains(room);
        if let Some(date) = dates.first()
            && !refused.contains(&(id, room))
            && days.iter().any(is_heard)
        {
            let message = "the room is no longer listed; the API still answers for it by its id";
            let problem = Problem::new(ProblemKind::RoomGone, message);
            summary.warn(problem.on(*date, id).room(room));
        }
    }
}
