//! The walk: spaces → rooms → calls and records of the dates, drained into a plan of days before slow work begins.
//!
//! What the vendor's guide leaves open is met here: a date is asked for with one more on each side, so that a call is
//! found whatever `date` selects; each call goes to the day of its own start, each record to the day of its call.

pub(crate) mod assign;
pub(crate) mod gone_rooms;
pub(crate) mod margin;
pub(crate) mod room_limits;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::summary::{Problem, ProblemKind, Summary};
use super::{ExportContext, Job, Phase};
use crate::api::{Call, Client, Listing, Record, Room, Space};
use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::lake::manifest::{Manifest, Missed, RoomEntry};
use crate::lake::{self, key};
use crate::lenient;
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};
use assign::DayAssigner;
use gone_rooms::{GoneDays, GoneRooms};
use margin::DaysToWrite;

/// The spaces and rooms that a job works on.
pub(crate) struct Scope {
    pub spaces: Vec<SpaceScope>,
    /// Whether all that the token sees was listed, so that the catalogue is whole.
    pub space_objects: Vec<(SpaceId, Value)>,
}

/// A space and its rooms in scope.
pub(crate) struct SpaceScope {
    pub id: SpaceId,
    pub name: Option<String>,
    /// The rooms in scope.
    pub rooms: Vec<Room>,
    /// Every room that was listed, in scope of the configuration, as the API gave it.
    pub objects: Vec<(RoomId, Value)>,
    /// Rooms that the configuration or the job leaves out: their calls are none of ours.
    pub excluded: HashSet<RoomId>,
    /// Whether the rooms could not be listed.
    pub failed: bool,
    /// Whether the list of rooms is longer than what came of it.
    pub partial: bool,
    /// Every room that was listed, in scope or not.
    pub listed: Arc<HashSet<RoomId>>,
    /// Rooms that the lake knows and the list no longer has.
    pub gone: GoneRooms,
}

impl Scope {
    /// Whether no space answers any more.
    pub fn is_lost(&self, client: &Client) -> bool {
        let mut asked = self.spaces.iter().filter(|space| !space.failed).peekable();
        asked.peek().is_some() && asked.all(|space| client.is_shut_out(&space.id.as_str().into()))
    }
}

/// What was found, by day.
pub(crate) struct Found {
    pub days: DaysToWrite,
    /// Whether any space answered.
    pub reached: bool,
}

/// The rooms that a day was asked for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// All in scope.
    All,
    /// These.
    Rooms(BTreeSet<RoomId>),
}

/// A day to be worked on, and what the walk found of it.
pub(crate) struct DayWork {
    pub date: NaiveDate,
    pub space_id: SpaceId,
    pub space_name: Option<String>,
    /// Whether the day was listed whole, after it had ended.
    pub listed: bool,
    /// What was asked for the whole day: rooms that are not in here were not looked at.
    pub asked: Asked,
    /// What of it gave no answer.
    pub missed: Missed,
    /// Rooms that the API refused, although they were asked for by id since the list no longer has them; and why.
    pub refused: BTreeMap<RoomId, String>,
    /// Rooms that the list no longer has and that gave all their answers.
    pub heard_gone: BTreeSet<RoomId>,
    /// Every room of the space's list.
    pub listed_rooms: Arc<HashSet<RoomId>>,
    /// Whether a marker says that the day is open.
    pub marked: bool,
    /// Calls and records that turned out to lie on another day: this one gives them up.
    pub evict_calls: BTreeSet<CallId>,
    pub evict_records: BTreeSet<RecordId>,
    pub rooms: BTreeMap<RoomId, RoomEntry>,
    pub calls: BTreeMap<CallId, (RoomId, Call)>,
    pub records: BTreeMap<RecordId, (RoomId, Record)>,
}

/// Lists spaces and rooms.
///
/// # Errors
/// `Usage` when a space or room that the user typed does not exist. Else when the spaces can't be listed, or the token
/// is refused.
pub(crate) async fn scope(context: &Arc<ExportContext>, job: &Job, summary: &mut Summary) -> Result<Scope> {
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
    let all_listed = listing.is_whole();
    let selected = select_spaces(context, job, listing.items, all_listed, summary)?;
    let rooms = stream::iter(selected)
        .map(|space| async move {
            let rooms = context.client.rooms(&space.id).await;
            let gone = match &rooms {
                Ok(listing) => GoneRooms::find(context, job, &space.id, listing).await,
                Err(_) => Ok(GoneRooms::default()),
            };
            (space, rooms, gone)
        })
        .buffered(context.run.config.api.concurrency);
    let spaces = rooms.collect::<Vec<_>>().await;
    let mut scope = Scope {
        spaces: Vec::new(),
        space_objects,
    };
    for (space, rooms, gone) in spaces {
        let mut space = space_scope(context, job, space, rooms, summary)?;
        match gone {
            Ok(gone) => space.gone = gone,
            Err(error) => {
                let message = format!("the rooms that the lake knows could not be read: {error}");
                summary.fail(Problem::new(ProblemKind::CatalogFailed, message).space(&space.id));
            }
        }
        scope.spaces.push(space);
    }
    summary.counts.spaces = scope.spaces.len() as u64;
    summary.counts.rooms = scope.spaces.iter().map(|space| space.rooms.len() as u64).sum();
    context
        .room_limits
        .share_among(scope.spaces.iter().map(|space| space.rooms.len()).sum());
    name_missing_rooms(context, job, &scope, all_listed, summary)?;
    Ok(scope)
}

/// The spaces that a job works on. `all_listed` says that `all` are all that the token sees.
fn select_spaces(
    context: &ExportContext,
    job: &Job,
    all: Vec<Space>,
    all_listed: bool,
    summary: &mut Summary,
) -> Result<Vec<Space>> {
    let configured = &context.run.config.scope.spaces;
    let wanted = |id: &SpaceId| {
        (configured.is_empty() || configured.contains(id))
            && (job.spaces.is_empty() || job.spaces.contains(id))
    };
    let asked = if job.spaces.is_empty() {
        configured
    } else {
        &job.spaces
    };
    for id in asked {
        let is_visible = all.iter().any(|space| space.id == *id);
        if job.is_typed() && !job.spaces.is_empty() && all_listed && !(is_visible && wanted(id)) {
            return Err(no_such_space(id, is_visible));
        }
        if !is_visible {
            summary.fail(
                Problem::new(
                    ProblemKind::SpaceNotVisible,
                    format!("space {id} is not among those that the token sees"),
                )
                .space(id),
            );
        } else if !wanted(id) {
            summary.fail(
                Problem::new(ProblemKind::SpaceNotInScope, format!("space {id} is not in scope.spaces")).space(id),
            );
        }
    }
    Ok(all.into_iter().filter(|space| wanted(&space.id)).collect())
}

/// A space that the user typed and that can't be worked on is a mistake of the command line.
fn no_such_space(id: &str, is_visible: bool) -> Error {
    let message = if is_visible {
        "is not in scope.spaces"
    } else {
        "does not exist, or the token does not see it"
    };
    Error::new(ErrorKind::Usage, format!("--space {id}"), message)
        .hint("`telelake check` lists the spaces that the token sees")
}

fn space_scope(
    context: &Arc<ExportContext>,
    job: &Job,
    space: Space,
    rooms: Result<Listing<Room>>,
    summary: &mut Summary,
) -> Result<SpaceScope> {
    let mut scope = SpaceScope {
        id: space.id.into(),
        name: space.name,
        rooms: Vec::new(),
        objects: Vec::new(),
        excluded: HashSet::new(),
        failed: false,
        partial: false,
        listed: Arc::default(),
        gone: GoneRooms::default(),
    };
    match rooms {
        Ok(listing) => {
            note_listing(summary, &listing, "rooms", |problem| problem.space(&scope.id));
            scope.partial = !listing.is_whole() || listing.other_ids > 0;
            scope.listed = Arc::new(listing.items.iter().map(|room| room.id.clone()).collect());
            for room in listing.items {
                let configured = is_configured(context, &room.id);
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
            summary.fail(Problem::new(ProblemKind::SpaceFailed, error.to_string()).space(&scope.id));
            scope.failed = true;
        }
    }
    Ok(scope)
}

/// Whether the configuration takes a room in.
pub(crate) fn is_configured(context: &ExportContext, room: &RoomId) -> bool {
    let config = &context.run.config.scope;
    (config.rooms.is_empty() || config.rooms.contains(room)) && !config.exclude_rooms.contains(room)
}

/// A room that the user named and that no space has is a mistake of the one who asks. If the user typed it, nothing is
/// done; unless it may be in a list that could not be read to its end.
fn name_missing_rooms(
    context: &ExportContext,
    job: &Job,
    scope: &Scope,
    all_listed: bool,
    summary: &mut Summary,
) -> Result<()> {
    let asked = if job.rooms.is_empty() {
        &context.run.config.scope.rooms
    } else {
        &job.rooms
    };
    let all_listed = all_listed && scope.spaces.iter().all(|space| !space.failed && !space.partial);
    for id in asked {
        let listed = |space: &SpaceScope| space.rooms.iter().any(|room| room.id == *id);
        let gone = |space: &SpaceScope| space.gone.rooms.iter().any(|gone| gone.room.id == *id);
        if scope.spaces.iter().any(|space| listed(space) || gone(space)) {
            continue;
        }
        if job.is_typed() && !job.rooms.is_empty() && all_listed {
            let message = "is in none of the spaces in scope";
            return Err(
                Error::new(ErrorKind::Usage, format!("--room {id}"), message).hint(
                    "check the id, --space, and scope.rooms and scope.exclude_rooms of the configuration",
                ),
            );
        }
        let message = format!("room {id} is in none of the spaces in scope");
        summary.fail(Problem::new(ProblemKind::RoomNotFound, message).room(id));
    }
    Ok(())
}

/// Names a listing that is longer than what came of it: what is missing is asked for again by later runs.
pub(crate) fn note_listing<T>(
    summary: &mut Summary,
    listing: &Listing<T>,
    what: &str,
    ids: impl Fn(Problem) -> Problem,
) {
    if let Some(gap) = &listing.gap {
        summary.fail(ids(Problem::new(ProblemKind::ListingIncomplete, gap.message(what))));
    }
    if listing.unidentified > 0 {
        let message = format!(
            "{} of the {what} have no id and were left out",
            listing.unidentified
        );
        summary.fail(ids(Problem::new(ProblemKind::ItemsWithoutId, message)));
    }
    if listing.other_ids > 0 {
        let message = format!(
            "{} of the {what} have `_id` in the place of `id`: they are exported by it, and may be others than it says",
            listing.other_ids
        );
        summary.fail(ids(Problem::new(ProblemKind::ItemsWithOtherId, message)));
    }
    if !listing.repairs.is_none() {
        let message = format!("the list of {what} has faults: {}", listing.repairs);
        summary.warn(ids(Problem::new(ProblemKind::BadValue, message)));
    }
}

/// The problem of an object of which some fields can't be read, if there are any.
pub(crate) fn unreadable(what: &str, fields: &[&str]) -> Option<Problem> {
    let names: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
    let problem = || {
        let message = format!(
            "{} of the {what} can't be read and count as unknown",
            names.join(", ")
        );
        Problem::new(ProblemKind::BadValue, message).count(fields.len() as u64)
    };
    (!fields.is_empty()).then(problem)
}

/// One listing request, but for its pages.
pub(crate) enum Ask {
    Calls {
        space: usize,
        room: RoomId,
        date: NaiveDate,
    },
    Records {
        space: usize,
        room: RoomId,
        from: NaiveDate,
        to: NaiveDate,
    },
}

/// The requests of one room.
struct RoomAsks {
    asks: Vec<Ask>,
    /// Whether the list no longer has the room: once it is refused, nothing more of the kind is asked.
    gone: bool,
}

pub(crate) enum Answer {
    Calls(Listing<Call>),
    Records(Listing<Record>),
}

/// Lists what the rooms held from `from` to `to`, and in the open days beside.
///
/// # Errors
/// When the token is refused.
pub(crate) async fn list(
    context: &Arc<ExportContext>,
    job: &Job,
    scope: &Scope,
    from: NaiveDate,
    to: NaiveDate,
    open: &[OpenDay],
    summary: &mut Summary,
) -> Result<Found> {
    let (mut asks, skipped) = asks(context, job, scope, from, to, open);
    let gone = gone_rooms::days_to_ask(context, job, &scope.spaces, (from, to), open).await?;
    asks.extend(gone_asks(context, job, &gone));
    summary.counts.rooms_skipped = summary.counts.rooms_skipped.max(skipped);
    let count: usize = asks.iter().map(|room| room.asks.len()).sum();
    context.run.progress.enter(Phase::Walk, count as u64);
    let mut sorter = DayAssigner::new(context, job, scope, (from, to), open, &gone);
    let nothing_to_ask = asks.is_empty();
    // Room by room: one that hardly answers holds its own turns, and the others go on.
    let rooms = asks.into_iter().map(|room| ask_room(context, scope, room));
    let mut answers = stream::iter(rooms).flatten_unordered(context.run.config.api.concurrency * 2);
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
    let has_room = |space: &SpaceScope| !space.rooms.is_empty() || !space.gone.rooms.is_empty();
    let any_room = job.rooms.is_empty() || scope.spaces.iter().any(has_room);
    let reached =
        sorter.answered || (nothing_to_ask && any_room && scope.spaces.iter().any(|space| !space.failed));
    let days = sorter.into_days(&known, summary);
    let days = margin::drop_margin(context, job, days, (from, to), open).await?;
    let all: Vec<_> = days.all().collect();
    gone_rooms::name(context, &scope.spaces, &gone, &all, summary);
    drop(all);
    Ok(Found { days, reached })
}

/// Sends the requests of a room, each with its answer.
fn ask_room<'a>(
    context: &'a Arc<ExportContext>,
    scope: &'a Scope,
    room: RoomAsks,
) -> impl futures_util::Stream<Item = (Ask, Result<Answer>)> + Unpin + 'a {
    let width = if room.gone { 1 } else { context.room_limits.width() };
    let refused = Arc::new([OnceLock::new(), OnceLock::new()]);
    let answers = stream::iter(room.asks).map(move |ask| {
        let refused = Arc::clone(&refused);
        async move {
            let kind = &refused[usize::from(matches!(ask, Ask::Records { .. }))];
            let answer = match kind.get().cloned() {
                Some(error) => Err(error),
                None => send(context, scope, &ask).await,
            };
            if let Err(error) = &answer
                && room.gone
                && is_refusal(error)
            {
                let _ = kind.set(error.clone());
            }
            context.run.progress.listings.advance(1);
            (ask, answer)
        }
    });
    Box::pin(answers.buffer_unordered(width))
}

/// Whether the API says that it does not give an object, and not that it failed.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::Forbidden | ErrorKind::Rejected
    )
}

/// Days before a record's own in which its call is looked for: as long as a room may stay open.
const CALL_DAYS: u64 = 7;

/// The days of calls that were not listed but that the lake knows, so that their records join them there.
async fn calls_in_lake(
    context: &ExportContext,
    scope: &Scope,
    strays: &[(usize, CallId, NaiveDate)],
) -> Result<HashMap<(usize, CallId), NaiveDate>> {
    let days: BTreeSet<(usize, NaiveDate)> = strays
        .iter()
        .flat_map(|(space, _, date)| (0..=CALL_DAYS).map(|back| (*space, *date - Days::new(back))))
        .collect();
    let mut known = HashMap::new();
    for (space, date) in days {
        let key = key::manifest(date, &scope.spaces[space].id.as_str().into());
        let Some((manifest, _)) = get_json::<Manifest>(&*context.run.store, &key).await? else {
            continue;
        };
        let calls = strays
            .iter()
            .filter(|(of, call, _)| *of == space && manifest.calls.contains_key(call));
        known.extend(calls.map(|(_, call, _)| ((space, call.clone()), date)));
    }
    Ok(known)
}

async fn send(context: &ExportContext, scope: &Scope, ask: &Ask) -> Result<Answer> {
    let zone = context.run.config.timezone;
    match ask {
        Ask::Calls { space, room, date } => context
            .client
            .calls(&scope.spaces[*space].id.as_str().into(), room, *date)
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
                .records(&scope.spaces[*space].id.as_str().into(), room, from, to)
                .await
                .map(Answer::Records)
        }
    }
}

/// The requests of a window, room by room, and how many rooms need none.
fn asks(
    context: &ExportContext,
    job: &Job,
    scope: &Scope,
    from: NaiveDate,
    to: NaiveDate,
    open: &[OpenDay],
) -> (Vec<RoomAsks>, u64) {
    let zone = context.run.config.timezone;
    let today = lake::date_of(context.run.now, zone);
    let (mut asks, mut skipped) = (Vec::new(), 0);
    for (index, space) in scope.spaces.iter().enumerate() {
        let open: Vec<_> = open.iter().filter(|day| day.space_id == space.id).collect();
        for room in &space.rooms {
            // A call starts when its room's last one does, or before: nothing starts later than `lastCallAt`. And
            // nothing starts before the room is there.
            let last = last_call_date(room, zone);
            let first = first_date(room, zone, today);
            let may_hold = |date: &NaiveDate| {
                last.is_none_or(|last| *date <= last) && first.is_none_or(|first| first <= *date)
            };
            let open: BTreeSet<_> = open
                .iter()
                .filter(|day| day.space || day.rooms.contains(&room.id))
                .map(|day| day.date)
                .collect();
            let first = first.into_iter().chain(open.first().copied()).min();
            let days: BTreeSet<_> = dates(from, to.min(today)).filter(may_hold).chain(open).collect();
            if days.is_empty() {
                skipped += 1;
                continue;
            }
            asks.push(RoomAsks {
                asks: room_asks(context, job, (index, &room.id), &days, first),
                gone: false,
            });
        }
    }
    (asks, skipped)
}

/// The requests of the rooms that are no longer listed.
fn gone_asks(context: &ExportContext, job: &Job, gone: &GoneDays) -> Vec<RoomAsks> {
    let mut rooms: Vec<_> = gone.iter().collect();
    rooms.sort();
    let asks = rooms.into_iter().map(|((space, room), days)| RoomAsks {
        asks: room_asks(context, job, (*space, room), days, None),
        gone: true,
    });
    asks.collect()
}

/// The requests for some days of a room: one date more on each side, but none before `first`.
fn room_asks(
    context: &ExportContext,
    job: &Job,
    (space, room): (usize, &RoomId),
    days: &BTreeSet<NaiveDate>,
    first: Option<NaiveDate>,
) -> Vec<Ask> {
    let asked: BTreeSet<_> = days
        .iter()
        .flat_map(|day| [*day - Days::new(1), *day, *day + Days::new(1)])
        .filter(|date| first.is_none_or(|first| first <= *date))
        .collect();
    let calls = asked.iter().map(|date| Ask::Calls {
        space,
        room: room.clone().into(),
        date: *date,
    });
    let mut asks: Vec<_> = calls.collect();
    if context.wants_recordings(job) {
        asks.extend(spans(&asked).map(|(from, to)| Ask::Records {
            space,
            room: room.clone().into(),
            from,
            to,
        }));
    }
    asks
}

/// The latest date, in the configured zone, on which a room's last call may have begun. A bare date is one of the
/// server's zone, and may be one less than ours.
pub(crate) fn last_call_date(room: &Room, zone: Tz) -> Option<NaiveDate> {
    let last = room.last_call_at?;
    let text = room.raw.get("lastCallAt").and_then(Value::as_str);
    let is_bare = text.is_some_and(|text| !text.contains(':') && text.contains(['-', '.']));
    Some(match is_bare {
        true => last.date_naive() + Days::new(1),
        false => lake::date_of(last, zone),
    })
}

/// The first date on which a room may have had a call: that of its `createdAt`, and one more for zones. `None` if that
/// can't be read, lies in the future or after the room's last call.
pub(crate) fn first_date(room: &Room, zone: Tz, today: NaiveDate) -> Option<NaiveDate> {
    let created = room.raw.get("createdAt").and_then(lenient::instant);
    let created = lake::date_of(created?, zone);
    let is_early_enough = last_call_date(room, zone).is_none_or(|last| created <= last);
    (created <= today && is_early_enough).then(|| created - Days::new(1))
}

pub(crate) fn dates(from: NaiveDate, to: NaiveDate) -> impl Iterator<Item = NaiveDate> {
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
