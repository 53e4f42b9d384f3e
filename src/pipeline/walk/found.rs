//! The data of the walk: what a job lists, what the API answers, and the days that come of it. Plain types.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::NaiveDate;

use crate::api::{Call, Client, Listing, Record, Room};
use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::json::RawJson;
use crate::lake::manifest::{Missed, RoomEntry};
use crate::pipeline::assignment::Assignment;

/// The spaces and rooms that a job works on.
#[derive(Default)]
pub(crate) struct JobScope {
    pub spaces: Vec<SpaceScope>,
    /// The spaces of the whole job, in scope; those of `spaces` are a part of them if this process does a shard of the job.
    pub selected: Vec<SpaceId>,
    /// The days of all shards, if the job has any.
    pub assignment: Option<Assignment>,
    /// Every space that the token sees, as the API gave it.
    pub space_objects: Vec<(SpaceId, RawJson)>,
    /// True if `space_objects` has all spaces that the token sees.
    pub all_listed: bool,
}

/// A space and its rooms in scope.
#[derive(Default)]
pub(crate) struct SpaceScope {
    pub id: SpaceId,
    pub name: Option<String>,
    /// The dates of the space, if this process does not do all dates of the job.
    pub dates: Option<(NaiveDate, NaiveDate)>,
    /// The rooms in scope.
    pub rooms: Vec<Room>,
    /// The rooms that the configuration exports and the job leaves out.
    pub left_out: Vec<Room>,
    /// The place of each room in `rooms`.
    pub places: HashMap<RoomId, usize>,
    /// Rooms that the configuration or the job excludes. Their calls are ignored.
    pub excluded: HashSet<RoomId>,
    /// True if the rooms could not be listed.
    pub failed: bool,
    /// True if the room list is longer than what was received.
    pub partial: bool,
    /// Every listed room, in scope or not; complete once `is_known`.
    pub listed: Arc<HashSet<RoomId>>,
    /// True if the room list was read to its end, or could not be read.
    pub is_known: bool,
    /// The rooms that the lake knows and the API no longer lists.
    pub gone: GoneRooms,
}

/// A range without a date.
const NO_DATES: (NaiveDate, NaiveDate) = (NaiveDate::MAX, NaiveDate::MIN);

impl SpaceScope {
    /// The part of a window that the job has of this space.
    pub fn within(&self, window: (NaiveDate, NaiveDate)) -> (NaiveDate, NaiveDate) {
        let Some((from, to)) = self.dates else {
            return window;
        };
        let part = (from.max(window.0), to.min(window.1));
        if part.0 <= part.1 { part } else { NO_DATES }
    }

    /// True if the job has any date of the space.
    pub fn has_dates(&self) -> bool {
        self.dates != Some(NO_DATES)
    }

    /// Limits the job to some dates of the space, or to none.
    pub fn limit_to(&mut self, dates: Option<(NaiveDate, NaiveDate)>) {
        self.dates = Some(dates.unwrap_or(NO_DATES));
    }

    /// Name, alias and type of a room, as far as they are known.
    pub fn room_entry(&self, id: &RoomId) -> RoomEntry {
        let gone = || {
            self.gone
                .rooms
                .iter()
                .map(|gone| &gone.room)
                .find(|room| room.id == *id)
        };
        let room = self.places.get(id).map(|place| &self.rooms[*place]).or_else(gone);
        room.map_or_else(RoomEntry::default, |room| RoomEntry {
            name: room.name.clone(),
            alias: room.alias.clone(),
            room_type: room.room_type.clone(),
        })
    }

    /// Indexes the rooms once all of them are known.
    pub fn index(&mut self) {
        self.is_known = true;
        let places = self.rooms.iter().enumerate();
        self.places = places.map(|(place, room)| (room.id.clone(), place)).collect();
        let rooms = self.rooms.iter().map(|room| &room.id);
        self.listed = Arc::new(rooms.chain(&self.excluded).cloned().collect());
    }
}

impl JobScope {
    /// True if this process works on some of the job's spaces only.
    pub fn is_part(&self) -> bool {
        self.spaces.len() < self.selected.len()
    }

    /// The dates of a job that have to be walked: from the first to the last of any space. If a shard has nothing but open
    /// days, it is the job's first date, of which it has no space.
    pub fn dates(&self, (from, to): (NaiveDate, NaiveDate)) -> (NaiveDate, NaiveDate) {
        if self.assignment.is_none() {
            return (from, to);
        }
        let parts = self.spaces.iter().map(|space| space.within((from, to)));
        let span = |one: (NaiveDate, NaiveDate), other: (NaiveDate, NaiveDate)| {
            (one.0.min(other.0), one.1.max(other.1))
        };
        parts
            .reduce(span)
            .filter(|part| *part != NO_DATES)
            .unwrap_or((from, from))
    }

    /// The part of a window that a space has.
    pub fn dates_of(&self, space: &SpaceId, window: (NaiveDate, NaiveDate)) -> (NaiveDate, NaiveDate) {
        let of_space = self.spaces.iter().find(|other| other.id == *space);
        of_space.map_or(window, |space| space.within(window))
    }

    /// True if no space answers any more.
    pub fn is_lost(&self, client: &Client) -> bool {
        let mut asked = self.spaces.iter().filter(|space| !space.failed).peekable();
        asked.peek().is_some() && asked.all(|space| client.is_shut_out(&space.id))
    }
}

/// The date since which each room is gone: that of the first run that missed it. `None` if the room was gone before the
/// lake kept these dates.
pub(crate) type GoneSince = BTreeMap<RoomId, Option<NaiveDate>>;

/// A room that is no longer listed.
pub(crate) struct GoneRoom {
    /// The room as last listed; only its id if it never was.
    pub room: Room,
    pub since: Option<NaiveDate>,
    /// True if the job names the room.
    pub is_named: bool,
}

/// The gone rooms of a space: those that may be asked for, and the dates of all.
#[derive(Default)]
pub(crate) struct GoneRooms {
    pub rooms: Vec<GoneRoom>,
    pub since: GoneSince,
    /// The dates as the store has them.
    pub stored: Option<GoneSince>,
}

/// The dates for which gone rooms are asked, by space and room.
pub(crate) type GoneDays = HashMap<(usize, RoomId), BTreeSet<NaiveDate>>;

/// A listing request, without its pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListingAsk {
    /// The index of the space in [`JobScope::spaces`].
    pub space: usize,
    pub room: RoomId,
    pub what: ListingKind,
}

/// The subject of a listing request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListingKind {
    /// The calls of a date.
    Calls { date: NaiveDate },
    /// The records of a range of dates.
    Records { from: NaiveDate, to: NaiveDate },
}

impl ListingKind {
    /// True for a listing of records.
    pub fn is_of_records(self) -> bool {
        matches!(self, Self::Records { .. })
    }

    /// The first and the last date.
    pub fn dates(self) -> (NaiveDate, NaiveDate) {
        match self {
            Self::Calls { date } => (date, date),
            Self::Records { from, to } => (from, to),
        }
    }
}

/// The answer to a listing request.
pub(crate) enum ListingAnswer {
    Calls {
        date: NaiveDate,
        listing: Listing<Call>,
    },
    Records {
        from: NaiveDate,
        to: NaiveDate,
        listing: Listing<Record>,
    },
}

/// The next thing to do of a window, in the order of the listing.
pub(crate) enum ToDo {
    /// A day to process.
    Day(Box<DayWork>),
    /// All days before this must be processed before those after it.
    Wait,
}

/// The days that a job writes at the end of a window.
pub(crate) struct DaysToWrite {
    /// Days that were not asked for and that take a call or record which another day gives up.
    pub receiving: Vec<DayWork>,
    /// The days that were asked for, and open ones.
    pub asked: Vec<DayWork>,
    /// Days that were not asked for and that only give up a call or record of another day.
    pub giving: Vec<DayWork>,
}

impl DaysToWrite {
    /// The days in stages: all days of a stage are processed before the next stage, and after the days that the window had
    /// before. If a run is killed between two stages, a call is on two days, which the next run repairs; it is never on
    /// none.
    pub fn stages(self) -> impl Iterator<Item = ToDo> {
        let stages = [self.receiving, self.asked, self.giving];
        stages
            .into_iter()
            .filter(|days| !days.is_empty())
            .flat_map(|days| {
                let days = days.into_iter().map(|day| ToDo::Day(Box::new(day)));
                std::iter::once(ToDo::Wait).chain(days)
            })
    }

    /// All days.
    pub fn all(&self) -> impl Iterator<Item = &DayWork> {
        [&self.receiving, &self.asked, &self.giving].into_iter().flatten()
    }
}

/// The rooms that were asked for a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RoomsAsked {
    /// All rooms in scope.
    All,
    These(BTreeSet<RoomId>),
}

/// A day to be processed, and the findings of the walk about it.
#[derive(Debug, Clone)]
pub(crate) struct DayWork {
    pub date: NaiveDate,
    pub space_id: SpaceId,
    pub space_name: Option<String>,
    /// True if the day was listed completely after it had ended.
    pub listed: bool,
    /// The rooms that were asked for the whole day. Nothing is known of other rooms.
    pub asked: RoomsAsked,
    /// The rooms and lists that gave no answer.
    pub missed: Missed,
    /// Gone rooms that the API refused when they were asked for by id, with the reason.
    pub refused: BTreeMap<RoomId, String>,
    /// Gone rooms that gave all their answers.
    pub heard_gone: BTreeSet<RoomId>,
    /// Every room of the space's list.
    pub listed_rooms: Arc<HashSet<RoomId>>,
    /// True if the day was processed before in this run: only what is new of it is landed.
    pub is_more: bool,
    /// True if a marker says that the day is open.
    pub has_marker: bool,
    /// The dates before and after that the window does not list.
    pub unlisted_beside: Vec<NaiveDate>,
    /// Calls that turned out to belong to another day: this day gives them up.
    pub evict_calls: BTreeSet<CallId>,
    /// Records that turned out to belong to another day: this day gives them up.
    pub evict_records: BTreeSet<RecordId>,
    pub rooms: BTreeMap<RoomId, RoomEntry>,
    pub calls: BTreeMap<CallId, (RoomId, Call)>,
    pub records: BTreeMap<RecordId, (RoomId, Record)>,
}

impl DayWork {
    /// Work on a day of which nothing was asked: the calls and records that were found for it all the same.
    pub fn more(date: NaiveDate, space: &SpaceScope) -> Self {
        Self {
            date,
            space_id: space.id.clone(),
            space_name: space.name.clone(),
            listed: false,
            asked: RoomsAsked::These(BTreeSet::new()),
            missed: Missed::default(),
            refused: BTreeMap::new(),
            heard_gone: BTreeSet::new(),
            listed_rooms: Arc::clone(&space.listed),
            is_more: true,
            // The work before may have left a marker.
            has_marker: true,
            unlisted_beside: Vec::new(),
            evict_calls: BTreeSet::new(),
            evict_records: BTreeSet::new(),
            rooms: BTreeMap::new(),
            calls: BTreeMap::new(),
            records: BTreeMap::new(),
        }
    }

    /// Work on another date of the same space, of which nothing was asked.
    pub fn of_date(&self, date: NaiveDate) -> Self {
        let space = SpaceScope {
            id: self.space_id.clone(),
            name: self.space_name.clone(),
            listed: Arc::clone(&self.listed_rooms),
            ..SpaceScope::default()
        };
        Self::more(date, &space)
    }

    /// True if there is no call or record to take or to give up.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.records.is_empty()
            && self.evict_calls.is_empty()
            && self.evict_records.is_empty()
    }
}
