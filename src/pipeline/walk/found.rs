//! The data of the walk: what a job lists, what the API answers, and the days that come of it. Plain types.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::NaiveDate;
use serde_json::Value;

use crate::api::{Call, Client, Listing, Record, Room};
use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::lake::manifest::{Missed, RoomEntry};

/// The spaces and rooms that a job works on.
pub(crate) struct JobScope {
    pub spaces: Vec<SpaceScope>,
    /// Every space that the token sees, as the API gave it.
    pub space_objects: Vec<(SpaceId, Value)>,
}

/// A space and its rooms in scope.
#[derive(Default)]
pub(crate) struct SpaceScope {
    pub id: SpaceId,
    pub name: Option<String>,
    /// The rooms in scope.
    pub rooms: Vec<Room>,
    /// Every listed room that the configuration exports, as the API gave it.
    pub objects: Vec<(RoomId, Value)>,
    /// Rooms that the configuration or the job excludes. Their calls are ignored.
    pub excluded: HashSet<RoomId>,
    /// True if the rooms could not be listed.
    pub failed: bool,
    /// True if the room list is longer than what was received.
    pub partial: bool,
    /// Every listed room, in scope or not.
    pub listed: Arc<HashSet<RoomId>>,
    /// The rooms that the lake knows and the API no longer lists.
    pub gone: GoneRooms,
}

impl JobScope {
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

/// The days that the listing of a window found.
pub(crate) struct WindowDays {
    pub days: DaysToWrite,
    /// True if any space answered.
    pub reached: bool,
}

/// The days that a job writes.
pub(crate) struct DaysToWrite {
    /// Days that were not asked for and that take a call or record which another day gives up.
    pub receiving: Vec<DayWork>,
    /// The days that were asked for, and open ones.
    pub asked: Vec<DayWork>,
    /// Days that were not asked for and that only give up a call or record of another day.
    pub giving: Vec<DayWork>,
}

impl DaysToWrite {
    /// The days in stages: all days of a stage are processed before the next stage. If a run is killed between two
    /// stages, a call is on two days, which the next run repairs; it is never on none.
    pub fn stages(self) -> [Vec<DayWork>; 3] {
        [self.receiving, self.asked, self.giving]
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
    /// True if a marker says that the day is open.
    pub has_marker: bool,
    /// Calls that turned out to belong to another day: this day gives them up.
    pub evict_calls: BTreeSet<CallId>,
    /// Records that turned out to belong to another day: this day gives them up.
    pub evict_records: BTreeSet<RecordId>,
    pub rooms: BTreeMap<RoomId, RoomEntry>,
    pub calls: BTreeMap<CallId, (RoomId, Call)>,
    pub records: BTreeMap<RecordId, (RoomId, Record)>,
}
