//! The walk: spaces → rooms → calls and records of the dates, drained into a plan of days before slow work begins.
//!
//! What the vendor's guide leaves open is met here: a date is asked for with one more on each side, so that a call is
//! found whatever `date` selects; each call goes to the day of its own start, each record to the day of its call.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::opened::OpenDay;
use super::sort::Sorter;
use super::summary::{Problem, Summary};
use super::{Context, Job, Phase};
use crate::api::{Call, Listing, Record, Room, Space};
use crate::lake;
use crate::lake::manifest::{Missed, RoomEntry};
use crate::{ErrorKind, Result};

/// The spaces and rooms that a job works on.
pub(super) struct Scope {
    pub spaces: Vec<SpaceScope>,
    /// Whether all that the token sees was listed, so that the catalogue is whole.
    pub space_objects: Vec<(String, Value)>,
}

/// A space and its rooms in scope.
pub(super) struct SpaceScope {
    pub id: String,
    pub name: Option<String>,
    /// The rooms in scope.
    pub rooms: Vec<Room>,
    /// Every room that was listed, in scope of the configuration, as the API gave it.
    pub objects: Vec<(String, Value)>,
    /// Rooms that the configuration or the job leaves out: their calls are none of ours.
    pub excluded: HashSet<String>,
    /// Why the rooms could not be listed.
    pub failed: bool,
}

/// What was found, by day.
pub(super) struct Found {
    pub days: Vec<DayWork>,
    /// Whether any space answered.
    pub reached: bool,
}

/// The rooms that a day was asked for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// All in scope.
    All,
    /// These.
    Rooms(BTreeSet<String>),
}

/// A day to be worked on, and what the walk found of it.
pub(super) struct DayWork {
    pub date: NaiveDate,
    pub space_id: String,
    pub space_name: Option<String>,
    /// Whether the day was listed whole, after it had ended.
    pub listed: bool,
    /// What was asked for the whole day: rooms that are not in here were not looked at.
    pub asked: Asked,
    /// What of it gave no answer.
    pub missed: Missed,
    pub rooms: BTreeMap<String, RoomEntry>,
    pub calls: BTreeMap<String, (String, Call)>,
    pub records: BTreeMap<String, (String, Record)>,
}

/// Lists spaces and rooms.
///
/// # Errors
/// When the spaces can't be listed, or the token is refused.
pub(super) async fn scope(context: &Arc<Context>, job: &Job, summary: &mut Summary) -> Result<Scope> {
    let listing = context.client.spaces().await?;
    note_listing(summary, &listing, "spaces", |problem| problem);
    let space_objects = listing
        .items
        .iter()
        .map(|space| (space.id.clone(), space.raw.clone()))
        .collect();
    let selected = select_spaces(context, job, listing.items, summary);
    let rooms = stream::iter(selected)
        .map(|space| async move {
            let rooms = context.client.rooms(&space.id).await;
            (space, rooms)
        })
        .buffered(context.config.api.concurrency);
    let spaces = rooms.collect::<Vec<_>>().await;
    let mut scope = Scope {
        spaces: Vec::new(),
        space_objects,
    };
    for (space, rooms) in spaces {
        scope
            .spaces
            .push(space_scope(context, job, space, rooms, summary)?);
    }
    summary.counts.spaces = scope.spaces.len() as u64;
    summary.counts.rooms = scope.spaces.iter().map(|space| space.rooms.len() as u64).sum();
    name_missing_rooms(context, job, &scope, summary);
    Ok(scope)
}

fn select_spaces(context: &Context, job: &Job, all: Vec<Space>, summary: &mut Summary) -> Vec<Space> {
    let configured = &context.config.scope.spaces;
    let wanted = |id: &String| {
        (configured.is_empty() || configured.contains(id))
            && (job.spaces.is_empty() || job.spaces.contains(id))
    };
    let asked = if job.spaces.is_empty() {
        configured
    } else {
        &job.spaces
    };
    for id in asked {
        if !all.iter().any(|space| space.id == *id) {
            summary.fail(
                Problem::new(
                    "space_not_visible",
                    format!("space {id} is not among those that the token sees"),
                )
                .space(id),
            );
        } else if !wanted(id) {
            summary.fail(
                Problem::new("space_not_in_scope", format!("space {id} is not in scope.spaces")).space(id),
            );
        }
    }
    all.into_iter().filter(|space| wanted(&space.id)).collect()
}

fn space_scope(
    context: &Arc<Context>,
    job: &Job,
    space: Space,
    rooms: Result<Listing<Room>>,
    summary: &mut Summary,
) -> Result<SpaceScope> {
    let mut scope = SpaceScope {
        id: space.id,
        name: space.name,
        rooms: Vec::new(),
        objects: Vec::new(),
        excluded: HashSet::new(),
        failed: false,
    };
    match rooms {
        Ok(listing) => {
            note_listing(summary, &listing, "rooms", |problem| problem.space(&scope.id));
            for room in listing.items {
                let config = &context.config.scope;
                let configured = (config.rooms.is_empty() || config.rooms.contains(&room.id))
                    && !config.exclude_rooms.contains(&room.id);
                if configured {
                    scope.objects.push((room.id.clone(), room.raw.clone()));
                }
                let wanted = configured && (job.rooms.is_empty() || job.rooms.contains(&room.id));
                if wanted {
                    scope.rooms.push(room);
                } else {
                    scope.excluded.insert(room.id);
                }
            }
        }
        Err(error) => {
            context.note_fatal(&error);
            if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Interrupted) {
                return Err(error);
            }
            summary.fail(Problem::new("space_failed", error.to_string()).space(&scope.id));
            scope.failed = true;
        }
    }
    Ok(scope)
}

/// A room that the job names and no space has is a mistake of the one who asks.
fn name_missing_rooms(context: &Context, job: &Job, scope: &Scope, summary: &mut Summary) {
    let asked = if job.rooms.is_empty() {
        &context.config.scope.rooms
    } else {
        &job.rooms
    };
    for id in asked {
        if !scope
            .spaces
            .iter()
            .any(|space| space.rooms.iter().any(|room| room.id == *id))
        {
            summary.warn(
                Problem::new(
                    "room_not_found",
                    format!("room {id} is in none of the spaces in scope"),
                )
                .room(id),
            );
        }
    }
}

/// A listing that the API itself calls longer than what it gave, or with items that can't be told apart, is said.
pub(super) fn note_listing<T>(
    summary: &mut Summary,
    listing: &Listing<T>,
    what: &str,
    ids: impl Fn(Problem) -> Problem,
) {
    if let Some((seen, total)) = listing.incomplete {
        let message = format!("the API lists {seen} {what} but counts {total}");
        summary.warn(ids(Problem::new("listing_incomplete", message)));
    }
    if listing.unidentified > 0 {
        let message = format!(
            "{} of the {what} have no id and were left out",
            listing.unidentified
        );
        summary.warn(ids(Problem::new("items_without_id", message)));
    }
}

/// One listing request, but for its pages.
pub(super) enum Ask {
    Calls {
        space: usize,
        room: String,
        date: NaiveDate,
    },
    Records {
        space: usize,
        room: String,
        from: NaiveDate,
        to: NaiveDate,
    },
}

pub(super) enum Answer {
    Calls(Listing<Call>),
    Records(Listing<Record>),
}

/// Lists what the rooms held from `from` to `to`, and in the open days beside.
///
/// # Errors
/// When the token is refused.
pub(super) async fn list(
    context: &Arc<Context>,
    job: &Job,
    scope: &Scope,
    from: NaiveDate,
    to: NaiveDate,
    open: &[OpenDay],
    summary: &mut Summary,
) -> Result<Found> {
    let (asks, skipped) = asks(context, job, scope, from, to, open);
    summary.counts.rooms_skipped = summary.counts.rooms_skipped.max(skipped);
    context.progress.enter(Phase::Walk, asks.len() as u64);
    let mut sorter = Sorter::new(context, job, scope, (from, to), open);
    let nothing_to_ask = asks.is_empty();
    let mut answers = stream::iter(asks)
        .map(|ask| async move {
            let answer = send(context, scope, &ask).await;
            context.progress.listings.advance(1);
            (ask, answer)
        })
        .buffer_unordered(context.config.api.concurrency * 2);
    while let Some((ask, answer)) = answers.next().await {
        match answer {
            Ok(answer) => sorter.take(ask, answer, summary),
            Err(error) if error.kind() == ErrorKind::Unauthorized => {
                context.note_fatal(&error);
                return Err(error);
            }
            Err(error) => sorter.miss(&ask, &error, summary),
        }
    }
    let reached = sorter.answered || (nothing_to_ask && scope.spaces.iter().any(|space| !space.failed));
    Ok(Found {
        days: sorter.into_days(),
        reached,
    })
}

async fn send(context: &Context, scope: &Scope, ask: &Ask) -> Result<Answer> {
    let zone = context.config.timezone;
    match ask {
        Ask::Calls { space, room, date } => context
            .client
            .calls(&scope.spaces[*space].id, room, *date)
            .await
            .map(Answer::Calls),
        Ask::Records {
            space,
            room,
            from,
            to,
        } => {
            let (from, to) = (lake::start_of(*from, zone), lake::end_of(*to, zone));
            context
                .client
                .records(&scope.spaces[*space].id, room, from, to)
                .await
                .map(Answer::Records)
        }
    }
}

/// The requests of a window, and how many rooms need none.
fn asks(
    context: &Context,
    job: &Job,
    scope: &Scope,
    from: NaiveDate,
    to: NaiveDate,
    open: &[OpenDay],
) -> (Vec<Ask>, u64) {
    let zone = context.config.timezone;
    let records = context.wants_recordings(job);
    let today = lake::date_of(context.now, zone);
    let (mut asks, mut skipped) = (Vec::new(), 0);
    for (index, space) in scope.spaces.iter().enumerate() {
        let open: Vec<_> = open.iter().filter(|day| day.space_id == space.id).collect();
        for room in &space.rooms {
            // A call starts when its room's last one does, or before: nothing starts later than `lastCallAt`.
            let last = room.last_call_at.map(|at| lake::date_of(at, zone));
            let may_hold = |date: &NaiveDate| last.is_none_or(|last| *date <= last);
            let open = open
                .iter()
                .filter(|day| day.space || day.rooms.contains(&room.id))
                .map(|day| day.date);
            let days: BTreeSet<_> = dates(from, to.min(today)).filter(may_hold).chain(open).collect();
            if days.is_empty() {
                skipped += 1;
                continue;
            }
            let asked: BTreeSet<_> = days
                .iter()
                .flat_map(|day| [*day - Days::new(1), *day, *day + Days::new(1)])
                .collect();
            asks.extend(asked.iter().map(|date| Ask::Calls {
                space: index,
                room: room.id.clone(),
                date: *date,
            }));
            if records {
                asks.extend(spans(&asked).map(|(from, to)| Ask::Records {
                    space: index,
                    room: room.id.clone(),
                    from,
                    to,
                }));
            }
        }
    }
    (asks, skipped)
}

fn dates(from: NaiveDate, to: NaiveDate) -> impl Iterator<Item = NaiveDate> {
    from.iter_days().take_while(move |date| *date <= to)
}

/// Runs of dates that follow one another.
fn spans(dates: &BTreeSet<NaiveDate>) -> impl Iterator<Item = (NaiveDate, NaiveDate)> {
    let mut spans: Vec<(NaiveDate, NaiveDate)> = Vec::new();
    for date in dates {
        match spans.last_mut() {
            Some((_, end)) if *end + Days::new(1) == *date => *end = *date,
            _ => spans.push((*date, *date)),
        }
    }
    spans.into_iter()
}
