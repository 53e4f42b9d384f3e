//! Rooms that the API no longer lists but that may have had calls on the requested dates.
//!
//! The vendor advises deleting the rooms of past events, so a room can be gone before the nightly run asks for it. The
//! lake knows such rooms from its catalogue and from webhooks, and asks for them by id. What the API still returns is
//! landed; a refusal is named as `room_gone`. For each space the lake stores the date since which each room is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::api::{Item, Listing, Room};
use crate::ids::{RoomId, SpaceId};
use crate::lake::manifest::Manifest;
use crate::lake::{self, key};
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::summary::{Problem, ProblemKind, Summary};
use crate::pipeline::walk;
use crate::pipeline::walk::{DayWork, SpaceScope};
use crate::pipeline::{ExportContext, Job};
use crate::store::Condition;
use crate::store::json::{get_json, to_json};
use crate::{ErrorKind, Result};

/// Lost writes after which the list of gone rooms is left to the next run.
const ATTEMPTS: usize = 10;
/// Manifests read at once.
const READ_AT_ONCE: usize = 8;

/// The date since which each room is gone: that of the first run that missed it. `None` if the room was gone before the
/// lake kept these dates.
type GoneSince = BTreeMap<RoomId, Option<NaiveDate>>;

/// A room that is no longer listed.
pub(crate) struct GoneRoom {
    /// The room as last listed; only its id if it never was.
    pub room: Room,
    since: Option<NaiveDate>,
    /// True if the job names the room.
    named: bool,
}

/// The gone rooms of a space: those that may be asked for, and the dates of all.
#[derive(Default)]
pub(crate) struct GoneRooms {
    pub rooms: Vec<GoneRoom>,
    since: GoneSince,
    /// The dates as the store has them.
    stored: Option<GoneSince>,
}

impl GoneRooms {
    /// Compares the rooms that the lake knows with those that are listed. It sends no request to the API.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn find(
        context: &ExportContext,
        job: &Job,
        space: &SpaceId,
        listing: &Listing<Room>,
    ) -> Result<Self> {
        let catalog =
            get_json::<BTreeMap<RoomId, Value>>(&*context.run.store, &key::room_catalog(space)).await?;
        let catalog = catalog.map(|(catalog, _)| catalog).unwrap_or_default();
        let stored = get_json::<GoneSince>(&*context.run.store, &key::gone_rooms(space)).await?;
        let stored = stored.map(|(since, _)| since);
        let today = lake::date_of(context.run.now, context.run.config.timezone);
        // The catalogue of an earlier version may have rooms that have been gone for years.
        let first_missed = (stored.is_some() || catalog.is_empty()).then_some(today);
        let listed: HashSet<&str> = listing.items.iter().map(|room| room.id.as_str()).collect();
        let mut since = GoneSince::new();
        for id in catalog.keys().filter(|id| !listed.contains(id.as_str())) {
            since.insert(id.clone(), first_missed);
        }
        for (id, date) in stored
            .iter()
            .flatten()
            .filter(|(id, _)| !listed.contains(id.as_str()))
        {
            since.insert(id.clone(), *date);
        }
        for id in named_by_webhook(job, space).filter(|id| !listed.contains(id.as_str())) {
            since.entry(id.clone().into()).or_insert(Some(today));
        }
        let wanted = since.iter().filter(|(id, _)| is_wanted(context, job, id));
        let rooms = wanted.filter_map(|(id, since)| {
            Some(GoneRoom {
                room: room(id, catalog.get(id))?,
                since: *since,
                named: job.rooms.contains(id),
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
        let key = key::gone_rooms(&space.id.as_str().into());
        for _ in 0..ATTEMPTS {
            let stored = get_json::<GoneSince>(&*context.run.store, &key).await?;
            let mut since = stored
                .as_ref()
                .map(|(since, _)| since.clone())
                .unwrap_or_default();
            since.retain(|id, _| !space.listed.contains(id));
            for (id, date) in &self.since {
                since.entry(id.clone()).or_insert(*date);
            }
            if stored.as_ref().is_some_and(|(known, _)| *known == since) {
                return Ok(());
            }
            let condition = stored.map_or(Condition::Absent, |(_, version)| Condition::Unchanged(version));
            match context.run.put(&key, to_json(&since)?, condition).await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Precondition => {}
                Err(error) => return Err(error),
            }
        }
        Err(crate::Error::new(
            ErrorKind::Precondition,
            key,
            "other processes keep changing it; a later run goes on",
        ))
    }
}

/// The rooms that a webhook's job names: their events prove that the rooms exist, even if the list does not have them.
fn named_by_webhook<'j>(job: &'j Job, space: &SpaceId) -> impl Iterator<Item = &'j RoomId> {
    let of_space = job.is_of_webhook() && job.spaces.len() == 1 && job.spaces[0] == *space;
    job.rooms.iter().filter(move |_| of_space)
}

fn is_wanted(context: &ExportContext, job: &Job, room: &RoomId) -> bool {
    walk::is_configured(context, room) && (job.rooms.is_empty() || job.rooms.contains(room))
}

fn room(id: &str, last_seen: Option<&Value>) -> Option<Room> {
    let known = last_seen.cloned().and_then(Room::from_raw);
    known
        .filter(|room| room.id == id)
        .or_else(|| Room::from_raw(json!({"id": id})))
}

impl GoneRoom {
    /// True if the room may have had calls on a date, as far as the lake knows.
    fn may_hold(&self, context: &ExportContext, date: NaiveDate) -> bool {
        let zone = context.run.config.timezone;
        let today = lake::date_of(context.run.now, zone);
        let lookback = context.run.config.export.lookback_days;
        let recently = |since: NaiveDate| (today - since).num_days() <= i64::from(lookback);
        if !self.named && !self.since.is_some_and(recently) {
            return false;
        }
        // The last nights before the room was missed still listed it. `lastCallAt` says nothing about later dates.
        let listed_until = self
            .since
            .and_then(|since| since.checked_sub_days(Days::new(u64::from(lookback) + 1)));
        let had_calls = walk::last_call_date(&self.room, zone)
            .is_none_or(|last| date <= last || listed_until.is_none_or(|listed| listed <= date));
        date <= self.since.unwrap_or(today)
            && walk::first_date(&self.room, zone, today).is_none_or(|first| first <= date)
            && had_calls
    }
}

/// The dates for which gone rooms are asked, by space and room.
pub(crate) type GoneDays = HashMap<(usize, RoomId), BTreeSet<NaiveDate>>;

/// Finds the days of a window for which gone rooms must be asked. A day that was listed completely needs none, because
/// its rooms were asked when they still existed.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn days_to_ask(
    context: &Arc<ExportContext>,
    job: &Job,
    spaces: &[SpaceScope],
    window: (NaiveDate, NaiveDate),
    open: &[OpenDay],
) -> Result<GoneDays> {
    let today = lake::date_of(context.run.now, context.run.config.timezone);
    let mut days = GoneDays::new();
    for (index, space) in spaces.iter().enumerate().filter(|(_, space)| !space.failed) {
        let open: Vec<_> = open.iter().filter(|day| day.space_id == space.id).collect();
        let mut dates: BTreeSet<_> = walk::dates(window.0, window.1.min(today)).collect();
        dates.extend(open.iter().filter(|day| day.space).map(|day| day.date));
        let mut of_rooms: Vec<(&GoneRoom, BTreeSet<NaiveDate>)> = Vec::new();
        for gone in &space.gone.rooms {
            let held: BTreeSet<_> = dates
                .iter()
                .copied()
                .filter(|date| gone.may_hold(context, *date))
                .collect();
            of_rooms.extend((!held.is_empty()).then_some((gone, held)));
        }
        let asked: BTreeSet<_> = of_rooms.iter().flat_map(|(_, dates)| dates).copied().collect();
        let whole = listed_whole(context, &space.id.as_str().into(), asked).await?;
        for (gone, held) in of_rooms {
            let left: BTreeSet<_> = held.difference(&whole).copied().collect();
            if !left.is_empty() {
                days.insert((index, gone.room.id.to_string().into()), left);
            }
        }
        for day in open {
            let gone = day.rooms.iter().filter(|room| !space.listed.contains(*room));
            for room in gone.filter(|room| is_wanted(context, job, room)) {
                days.entry((index, room.to_string().into())).or_default().insert(day.date);
            }
        }
    }
    Ok(days)
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

/// Reports the gone rooms in the summary: those that the API refused, for each day that waits for them, and those that
/// it still answers for.
pub(crate) fn name(
    context: &ExportContext,
    spaces: &[SpaceScope],
    asked: &GoneDays,
    days: &[&DayWork],
    summary: &mut Summary,
) {
    let mut refused = HashSet::new();
    for day in days {
        for (room, why) in &day.refused {
            refused.insert((day.space_id.as_str(), room.as_str()));
            let given_up = is_given_up(context, day.date);
            let then = if given_up {
                "it is given up"
            } else {
                "the day stays open"
            };
            let message =
                format!("the room is no longer listed, and the API refuses it by its id ({why}): {then}");
            let problem = Problem::new(ProblemKind::RoomGone, message)
                .on(day.date, &day.space_id)
                .room(room);
            if given_up {
                summary.warn(problem);
            } else {
                summary.fail(problem);
            }
        }
    }
    for ((space, room), dates) in asked {
        let id = spaces[*space].id.as_str();
        if let Some(date) = dates.first()
            && !refused.contains(&(id, room.as_str()))
            && days
                .iter()
                .any(|day| day.space_id == id && day.heard_gone.contains(room))
        {
            let message = "the room is no longer listed; the API still answers for it by its id";
            summary.warn(Problem::new(ProblemKind::RoomGone, message).on(*date, &id.into()).room(room));
        }
    }
}

/// True if a day no longer waits for its gone rooms.
pub(crate) fn is_given_up(context: &ExportContext, date: NaiveDate) -> bool {
    context
        .patience()
        .is_over(lake::end_of(date, context.run.config.timezone))
}
