//! The walk: spaces → rooms → calls and records of the dates, drained into a plan of days before slow work begins.
//!
//! What the vendor's guide leaves open is met here: a date is asked for with one more on each side, so that a call is
//! found whatever `date` selects; each call goes to the day of its own start, each record to the day of its call.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::opened::{OpenDay, get_json};
use super::sort::Sorter;
use super::summary::{Problem, Summary};
use super::{Context, Job, Phase};
use crate::api::{Call, Client, Listing, Record, Room, Space};
use crate::lake::manifest::{Manifest, Missed, RoomEntry};
use crate::lake::{self, key};
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
    /// Whether the rooms could not be listed.
    pub failed: bool,
    /// Whether the API counts more rooms than it lists.
    pub incomplete: bool,
}

impl Scope {
    /// Whether no space answers any more.
    pub fn is_lost(&self, client: &Client) -> bool {
        let mut asked = self.spaces.iter().filter(|space| !space.failed).peekable();
        asked.peek().is_some() && asked.all(|space| client.is_shut_out(&space.id))
    }
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
    /// Whether a marker says that the day is open.
    pub marked: bool,
    /// Calls and records that turned out to lie on another day: this one gives them up.
    pub evict_calls: BTreeSet<String>,
    pub evict_records: BTreeSet<String>,
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
    for space in &listing.items {
        if let Some(problem) = unreadable("space", &space.unreadable) {
            summary.warn(problem.space(&space.id));
        }
    }
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
    context
        .lanes
        .share_among(scope.spaces.iter().map(|space| space.rooms.len()).sum());
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
        incomplete: false,
    };
    match rooms {
        Ok(listing) => {
            note_listing(summary, &listing, "rooms", |problem| problem.space(&scope.id));
            scope.incomplete = listing.incomplete.is_some();
            for room in listing.items {
                let config = &context.config.scope;
                let configured = (config.rooms.is_empty() || config.rooms.contains(&room.id))
                    && !config.exclude_rooms.contains(&room.id);
                if configured {
                    scope.objects.push((room.id.clone(), room.raw.clone()));
                }
                let wanted = configured && (job.rooms.is_empty() || job.rooms.contains(&room.id));
                if wanted && let Some(problem) = unreadable("room", &room.unreadable) {
                    summary.warn(problem.space(&scope.id).room(&room.id));
                }
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
            let message = format!("room {id} is in none of the spaces in scope");
            summary.fail(Problem::new("room_not_found", message).room(id));
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
    if !listing.repairs.is_none() {
        let message = format!("the list of {what} has faults: {}", listing.repairs);
        summary.warn(ids(Problem::new("bad_value", message)));
    }
}

/// The problem of an object of which some fields can't be read, if there are any.
pub(super) fn unreadable(what: &str, fields: &[&str]) -> Option<Problem> {
    let names: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
    let problem = || {
        let message = format!(
            "{} of the {what} can't be read and count as unknown",
            names.join(", ")
        );
        Problem::new("bad_value", message).count(fields.len() as u64)
    };
    (!fields.is_empty()).then(problem)
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
    let count: usize = asks.iter().map(Vec::len).sum();
    context.progress.enter(Phase::Walk, count as u64);
    let mut sorter = Sorter::new(context, job, scope, (from, to), open);
    let nothing_to_ask = asks.is_empty();
    // Room by room: one that hardly answers holds its own turns, and the others go on.
    let width = context.lanes.width();
    let rooms = asks.into_iter().map(|of_room| {
        stream::iter(of_room)
            .map(|ask| async move {
                let answer = send(context, scope, &ask).await;
                context.progress.listings.advance(1);
                (ask, answer)
            })
            .buffer_unordered(width)
    });
    let mut answers = stream::iter(rooms).flatten_unordered(context.config.api.concurrency * 2);
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
    let known = calls_in_lake(context, scope, &sorter.strays()).await?;
    // Rooms that were named and are nowhere are nothing reached; rooms that need no request are.
    let any_room = job.rooms.is_empty() || scope.spaces.iter().any(|space| !space.rooms.is_empty());
    let reached =
        sorter.answered || (nothing_to_ask && any_room && scope.spaces.iter().any(|space| !space.failed));
    Ok(Found {
        days: sorter.into_days(&known, summary),
        reached,
    })
}

/// Days before a record's own in which its call is looked for: as long as a room may stay open.
const CALL_DAYS: u64 = 7;

/// The days of calls that were not listed but that the lake knows, so that their records join them there.
async fn calls_in_lake(
    context: &Context,
    scope: &Scope,
    strays: &[(usize, String, NaiveDate)],
) -> Result<HashMap<(usize, String), NaiveDate>> {
    let days: BTreeSet<(usize, NaiveDate)> = strays
        .iter()
        .flat_map(|(space, _, date)| (0..=CALL_DAYS).map(|back| (*space, *date - Days::new(back))))
        .collect();
    let mut known = HashMap::new();
    for (space, date) in days {
        let key = key::manifest(date, &scope.spaces[space].id);
        let Some((manifest, _)) = get_json::<Manifest>(&*context.store, &key).await? else {
            continue;
        };
        let calls = strays
            .iter()
            .filter(|(of, call, _)| *of == space && manifest.calls.contains_key(call));
        known.extend(calls.map(|(_, call, _)| ((space, call.clone()), date)));
    }
    Ok(known)
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

/// The requests of a window, room by room, and how many rooms need none.
fn asks(
    context: &Context,
    job: &Job,
    scope: &Scope,
    from: NaiveDate,
    to: NaiveDate,
    open: &[OpenDay],
) -> (Vec<Vec<Ask>>, u64) {
    let zone = context.config.timezone;
    let records = context.wants_recordings(job);
    let today = lake::date_of(context.now, zone);
    let (mut asks, mut skipped) = (Vec::new(), 0);
    for (index, space) in scope.spaces.iter().enumerate() {
        let open: Vec<_> = open.iter().filter(|day| day.space_id == space.id).collect();
        for room in &space.rooms {
            // A call starts when its room's last one does, or before: nothing starts later than `lastCallAt`.
            let last = last_call_date(room, zone);
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
            let calls = asked.iter().map(|date| Ask::Calls {
                space: index,
                room: room.id.clone(),
                date: *date,
            });
            let mut of_room: Vec<_> = calls.collect();
            if records {
                of_room.extend(spans(&asked).map(|(from, to)| Ask::Records {
                    space: index,
                    room: room.id.clone(),
                    from,
                    to,
                }));
            }
            asks.push(of_room);
        }
    }
    (asks, skipped)
}

/// The latest date, in the configured zone, on which a room's last call may have begun. A bare date is one of the
/// server's zone, and may be one less than ours.
fn last_call_date(room: &Room, zone: Tz) -> Option<NaiveDate> {
    let last = room.last_call_at?;
    let text = room.raw.get("lastCallAt").and_then(Value::as_str);
    let is_bare = text.is_some_and(|text| !text.contains(':') && text.contains(['-', '.']));
    Some(match is_bare {
        true => last.date_naive() + Days::new(1),
        false => lake::date_of(last, zone),
    })
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
