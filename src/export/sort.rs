//! Sorts what the walk found into days. Pure but for what it says in the run's summary.
//!
//! A call goes to the day of its own start, whichever request found it; a record to the day of its call, or of its own
//! start where its call is not among those found.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Days, NaiveDate, Utc};

use super::opened::OpenDay;
use super::summary::{Problem, Summary};
use super::walk::{Answer, Ask, Asked, DayWork, Scope, SpaceScope};
use super::{Context, Job};
use crate::api::{Call, Record};
use crate::lake;
use crate::lake::manifest::{Missed, RoomEntry};
use crate::{Error, ErrorKind};

/// A call as found: its room, the object and the day it lies in.
struct FoundCall {
    room: String,
    call: Call,
    date: NaiveDate,
}

/// Collects answers and makes days of them.
pub(super) struct Sorter<'a> {
    context: &'a Context,
    scope: &'a Scope,
    range: (NaiveDate, NaiveDate),
    open: &'a [OpenDay],
    /// Whether a day that was asked for whole is known whole: not when the job is for some rooms or one half only.
    whole: bool,
    calls: HashMap<(usize, String), FoundCall>,
    /// Calls that the scope leaves out: their records are left out too.
    filtered: HashSet<(usize, String)>,
    records: HashMap<(usize, String), (String, Record)>,
    /// Dates of a space for which a room gave no answer.
    missed: HashMap<(usize, NaiveDate), BTreeSet<String>>,
    /// Rooms that the job is for; empty: all.
    rooms: BTreeSet<String>,
    /// Whether any request was answered.
    pub answered: bool,
}

impl<'a> Sorter<'a> {
    pub fn new(
        context: &'a Context,
        job: &Job,
        scope: &'a Scope,
        range: (NaiveDate, NaiveDate),
        open: &'a [OpenDay],
    ) -> Self {
        Self {
            context,
            scope,
            range,
            open,
            whole: job.rooms.is_empty() && job.only.is_none(),
            calls: HashMap::new(),
            filtered: HashSet::new(),
            records: HashMap::new(),
            missed: HashMap::new(),
            rooms: job.rooms.iter().cloned().collect(),
            answered: false,
        }
    }

    /// Takes an answer.
    pub fn take(&mut self, ask: Ask, answer: Answer, summary: &mut Summary) {
        self.answered = true;
        let (space, asked_room) = match &ask {
            Ask::Calls { space, room, .. } | Ask::Records { space, room, .. } => (*space, room.clone()),
        };
        let id = &self.scope.spaces[space].id;
        match (answer, ask) {
            (Answer::Calls(listing), Ask::Calls { date, .. }) => {
                super::walk::note_listing(summary, &listing, "calls", |problem| {
                    problem.on(date, id).room(&asked_room)
                });
                for call in listing.items {
                    self.take_call(space, &asked_room, date, call);
                }
            }
            (Answer::Records(listing), _) => {
                super::walk::note_listing(summary, &listing, "records", |problem| {
                    problem.space(id).room(&asked_room)
                });
                for record in listing.items {
                    let room = record.room_id.clone().unwrap_or_else(|| asked_room.clone());
                    self.records
                        .entry((space, record.id.clone()))
                        .or_insert((room, record));
                }
            }
            (Answer::Calls(_), Ask::Records { .. }) => unreachable!("an answer is of its request's kind"),
        }
    }

    fn take_call(&mut self, space: usize, asked_room: &str, asked: NaiveDate, call: Call) {
        let room = call.room_id.clone().unwrap_or_else(|| asked_room.to_owned());
        let key = (space, call.id.clone());
        if !self.in_scope(space, &room, &call) {
            self.filtered.insert(key);
            return;
        }
        let zone = self.context.config.timezone;
        let date = call
            .started_at
            .or(call.finished_at)
            .map_or(asked, |at| lake::date_of(at, zone));
        let found = FoundCall { room, call, date };
        match self.calls.get_mut(&key) {
            // Of two states of one call, that with an end is the later one; of two dates for a call without any
            // instant, the earlier is as good and always the same.
            Some(known) => {
                if known.call.finished_at.is_none() && found.call.finished_at.is_some() {
                    *known = found;
                } else if known.call.started_at.or(known.call.finished_at).is_none() {
                    known.date = known.date.min(found.date);
                }
            }
            None => drop(self.calls.insert(key, found)),
        }
    }

    fn in_scope(&self, space: usize, room: &str, call: &Call) -> bool {
        let scope = &self.context.config.scope;
        !self.scope.spaces[space].excluded.contains(room)
            && (scope.breakout_rooms || call.is_breakout_room != Some(true))
            // A call that does not count its participants may have enough of them.
            && call.participants.is_none_or(|count| count >= scope.min_participants)
    }

    /// Takes note of a request that was not answered.
    pub fn miss(&mut self, ask: &Ask, error: &Error, summary: &mut Summary) {
        let (space, room, from, to, what) = match ask {
            Ask::Calls { space, room, date } => (*space, room, *date, *date, "calls"),
            Ask::Records {
                space,
                room,
                from,
                to,
            } => (*space, room, *from, *to, "records"),
        };
        for date in from.iter_days().take_while(|date| *date <= to) {
            self.missed.entry((space, date)).or_default().insert(room.clone());
        }
        if error.kind() != ErrorKind::Interrupted {
            let problem = Problem::new(
                "listing_failed",
                format!("{what} could not be listed: {}", error.message()),
            );
            summary.fail(problem.on(from, &self.scope.spaces[space].id).room(room));
        }
    }

    /// The days: all of the range, those of the calls and records that were found, and the open ones.
    pub fn into_days(mut self) -> Vec<DayWork> {
        let mut days = BTreeMap::new();
        let zone = self.context.config.timezone;
        let today = lake::date_of(self.context.now, zone);
        for (index, space) in self.scope.spaces.iter().enumerate() {
            for date in self
                .range
                .0
                .iter_days()
                .take_while(|date| *date <= self.range.1.min(today))
            {
                self.day(&mut days, index, date);
            }
            for open in self.open.iter().filter(|open| open.space_id == space.id) {
                self.day(&mut days, index, open.date);
            }
        }
        let dated = self.date_records();
        let records = std::mem::take(&mut self.records);
        for ((space, id), found) in records {
            if let Some(date) = dated.get(&(space, id.clone())) {
                let day = self.day(&mut days, space, *date);
                day.rooms
                    .insert(found.0.clone(), room_entry(&self.scope.spaces[space], &found.0));
                day.records.insert(id, found);
            }
        }
        for ((space, id), found) in std::mem::take(&mut self.calls) {
            let day = self.day(&mut days, space, found.date);
            day.rooms.insert(
                found.room.clone(),
                room_entry(&self.scope.spaces[space], &found.room),
            );
            day.calls.insert(id, (found.room, found.call));
        }
        days.into_values().collect()
    }

    /// The days of the records that are wanted: that of the call where it was found; else the record's own, where that
    /// was asked for (a server that ignores `dateFrom` gives all there ever were).
    fn date_records(&self) -> HashMap<(usize, String), NaiveDate> {
        let zone = self.context.config.timezone;
        let mut dated = HashMap::new();
        for ((space, id), (room, record)) in &self.records {
            let scope = &self.scope.spaces[*space];
            let call = record.call_id.as_ref().map(|call| (*space, call.clone()));
            if scope.excluded.contains(room) || call.as_ref().is_some_and(|call| self.filtered.contains(call))
            {
                continue;
            }
            let date = match call.and_then(|call| self.calls.get(&call)) {
                Some(call) => Some(call.date),
                None => own_instant(record)
                    .map(|at| lake::date_of(at, zone))
                    .filter(|date| self.asked_for(scope, *date)),
            };
            if let Some(date) = date {
                dated.insert((*space, id.clone()), date);
            }
        }
        dated
    }

    fn asked_for(&self, space: &SpaceScope, date: NaiveDate) -> bool {
        (self.range.0..=self.range.1).contains(&date)
            || self
                .open
                .iter()
                .any(|open| open.space_id == space.id && open.date == date)
    }

    fn day<'d>(
        &self,
        days: &'d mut BTreeMap<(NaiveDate, usize), DayWork>,
        space: usize,
        date: NaiveDate,
    ) -> &'d mut DayWork {
        let scope = &self.scope.spaces[space];
        days.entry((date, space)).or_insert_with(|| {
            let asked = self.asked(scope, date);
            let missed = self.missed(space, date, &asked);
            DayWork {
                date,
                space_id: scope.id.clone(),
                space_name: scope.name.clone(),
                listed: self.whole && matches!(asked, Asked::All) && missed.is_none() && self.is_over(date),
                asked,
                missed,
                rooms: BTreeMap::new(),
                calls: BTreeMap::new(),
                records: BTreeMap::new(),
            }
        })
    }

    /// The rooms that the day was asked for, with a date more on each side; none for a day that only calls led to.
    fn asked(&self, space: &SpaceScope, date: NaiveDate) -> Asked {
        let in_range = (self.range.0..=self.range.1).contains(&date);
        let open = self
            .open
            .iter()
            .find(|open| open.space_id == space.id && open.date == date);
        match open {
            _ if in_range && self.rooms.is_empty() => Asked::All,
            Some(open) if open.space => Asked::All,
            _ if in_range => Asked::Rooms(self.rooms.clone()),
            Some(open) => Asked::Rooms(open.rooms.clone()),
            None => Asked::Rooms(BTreeSet::new()),
        }
    }

    fn missed(&self, space: usize, date: NaiveDate, asked: &Asked) -> Missed {
        let around = [date - Days::new(1), date, date + Days::new(1)];
        let rooms = around
            .iter()
            .filter_map(|date| self.missed.get(&(space, *date)))
            .flatten();
        let was_asked = |room: &&String| match asked {
            Asked::All => true,
            Asked::Rooms(rooms) => rooms.contains(*room),
        };
        Missed {
            space: self.scope.spaces[space].failed,
            rooms: rooms.filter(was_asked).cloned().collect(),
        }
    }

    /// Whether the date is over, and the last calls on it have settled.
    fn is_over(&self, date: NaiveDate) -> bool {
        lake::end_of(date, self.context.config.timezone) + self.context.settle() <= self.context.now
    }
}

fn own_instant(record: &Record) -> Option<DateTime<Utc>> {
    record.started_at.or(record.created_at).or(record.finished_at)
}

fn room_entry(space: &SpaceScope, id: &str) -> RoomEntry {
    space
        .rooms
        .iter()
        .find(|room| room.id == id)
        .map_or_else(RoomEntry::default, |room| RoomEntry {
            name: room.name.clone(),
            alias: room.alias.clone(),
            room_type: room.room_type.clone(),
        })
}
