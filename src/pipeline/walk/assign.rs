//! Sorts what the walk found into days. Pure but for what it says in the run's summary.
//!
//! A call goes to the day of its own start, whichever request found it; a record to the day of its call, or of its own
//! start where its call is not among those found.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, Utc};

use crate::api::{Call, Record};
use crate::ids::{CallId, RecordId, RoomId};
use crate::lake;
use crate::lake::manifest::{Missed, RoomEntry};
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::summary::{Problem, ProblemKind, Summary};
use crate::pipeline::walk;
use crate::pipeline::walk::gone_rooms::GoneDays;
use crate::pipeline::walk::{Answer, Ask, Asked, DayWork, Scope, SpaceScope};
use crate::pipeline::{ExportContext, Job};
use crate::{Error, ErrorKind};

/// A call as found: its room, the object and the day it lies in.
struct FoundCall {
    room: RoomId,
    call: Call,
    date: NaiveDate,
}

/// Collects answers and makes days of them.
pub(crate) struct DayAssigner<'a> {
    context: &'a ExportContext,
    scope: &'a Scope,
    /// The dates of the window in work, and of the whole job.
    range: (NaiveDate, NaiveDate),
    job: (NaiveDate, NaiveDate),
    open: &'a [OpenDay],
    /// Whether a day that was asked for whole is known whole: not when the job is for some rooms or one half only.
    whole: bool,
    calls: HashMap<(usize, CallId), FoundCall>,
    /// Calls that the scope leaves out: their records are left out too.
    filtered: HashSet<(usize, CallId)>,
    records: HashMap<(usize, RecordId), (RoomId, Record)>,
    /// Dates of a space for which a room gave no answer.
    missed: HashMap<(usize, NaiveDate), BTreeSet<RoomId>>,
    /// The days for which rooms were asked that are no longer listed, and why the API refused some of these.
    gone: &'a GoneDays,
    refused: HashMap<(usize, RoomId), String>,
    /// Rooms that the job is for; empty: all.
    rooms: BTreeSet<RoomId>,
    /// Whether any request was answered.
    pub answered: bool,
}

impl<'a> DayAssigner<'a> {
    pub fn new(
        context: &'a ExportContext,
        job: &Job,
        scope: &'a Scope,
        range: (NaiveDate, NaiveDate),
        open: &'a [OpenDay],
        gone: &'a GoneDays,
    ) -> Self {
        Self {
            context,
            scope,
            range,
            job: (job.from, job.to),
            open,
            whole: job.rooms.is_empty() && job.only.is_none(),
            calls: HashMap::new(),
            filtered: HashSet::new(),
            records: HashMap::new(),
            missed: HashMap::new(),
            gone,
            refused: HashMap::new(),
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
                crate::pipeline::walk::note_listing(summary, &listing, "calls", |problem| {
                    problem.on(date, &id.as_str().into()).room(&asked_room)
                });
                if !listing.is_whole() {
                    self.missed
                        .entry((space, date))
                        .or_default()
                        .insert(asked_room.clone());
                }
                for call in listing.items {
                    self.take_call(space, &asked_room, date, call);
                }
            }
            (Answer::Records(listing), Ask::Records { from, to, .. }) => {
                crate::pipeline::walk::note_listing(summary, &listing, "records", |problem| {
                    problem.space(id).room(&asked_room)
                });
                if !listing.is_whole() {
                    self.miss_dates(space, &asked_room, from, to);
                }
                for record in listing.items {
                    let room = record.room_id.clone().unwrap_or_else(|| asked_room.clone());
                    self.records
                        .entry((space, record.id.clone()))
                        .or_insert((room, record));
                }
            }
            (Answer::Calls(_), Ask::Records { .. }) | (Answer::Records(_), Ask::Calls { .. }) => {
                unreachable!("an answer is of its request's kind")
            }
        }
    }

    fn take_call(&mut self, space: usize, asked_room: &str, asked: NaiveDate, call: Call) {
        let room = call.room_id.clone().unwrap_or_else(|| asked_room.to_owned().into());
        let key = (space, call.id.clone());
        if !self.in_scope(space, &room, &call) {
            self.filtered.insert(key);
            return;
        }
        let zone = self.context.run.config.timezone;
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

    fn in_scope(&self, space: usize, room: &RoomId, call: &Call) -> bool {
        let scope = &self.context.run.config.scope;
        !self.scope.spaces[space].excluded.contains(room)
            && (scope.breakout_rooms || call.is_breakout_room != Some(true))
            // A call that does not count its participants may have enough of them.
            && call.participants.is_none_or(|count| count >= scope.min_participants)
    }

    fn miss_dates(&mut self, space: usize, room: &RoomId, from: NaiveDate, to: NaiveDate) {
        for date in from.iter_days().take_while(|date| *date <= to) {
            self.missed
                .entry((space, date))
                .or_default()
                .insert(room.to_owned());
        }
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
        self.miss_dates(space, room, from, to);
        let place = (space, room.clone());
        if self.gone.contains_key(&place) && walk::is_refusal(error) {
            // The API answered. The day's work names the room: see `gone`.
            self.answered = true;
            self.refused.insert(place, error.message().to_owned());
            return;
        }
        // Those that were not sent are told together: see `Summary::tell_requests`.
        if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Skipped) {
            let problem = Problem::new(
                ProblemKind::ListingFailed,
                format!("{what} could not be listed: {}", error.told()),
            );
            summary.fail(problem.on(from, &self.scope.spaces[space].id.as_str().into()).room(room));
        }
    }

    /// Records of calls that were not found: each with its space, call and the date of its own start. Their calls may
    /// lie on days that the lake has.
    pub fn strays(&self) -> Vec<(usize, CallId, NaiveDate)> {
        let stray = |((space, _), (_, record)): (&(usize, RecordId), &(RoomId, Record))| {
            let call = (*space, record.call_id.clone()?);
            let known = self.calls.contains_key(&call) || self.filtered.contains(&call);
            let date = self
                .dates(record)
                .into_iter()
                .min()
                .filter(|_| !known && self.is_wanted(*space, record))?;
            Some((*space, call.1, date))
        };
        self.records.iter().filter_map(stray).collect()
    }

    /// The days: all of the range, those of the calls and records that were found, and the open ones. `known` are the
    /// days, in the lake, of calls that were not found.
    pub fn into_days(
        mut self,
        known: &HashMap<(usize, CallId), NaiveDate>,
        summary: &mut Summary,
    ) -> Vec<DayWork> {
        let mut days = BTreeMap::new();
        let today = lake::date_of(self.context.run.now, self.context.run.config.timezone);
        for (index, space) in self.scope.spaces.iter().enumerate() {
            for date in self
                .range
                .0
                .iter_days()
                .take_while(|date| *date <= self.range.1.min(today))
                .filter(|date| lake::is_date(*date))
            {
                self.day(&mut days, index, date);
            }
            for open in self.open.iter().filter(|open| open.space_id == space.id) {
                self.day(&mut days, index, open.date);
            }
        }
        let records = std::mem::take(&mut self.records);
        for ((space, id), (room, record)) in records {
            let Some(date) = self.date_record(space, &room, &record, known, summary) else {
                continue;
            };
            // Where it was dated before its call, or its start, was known; or where its call was.
            let dates = self
                .dates(&record)
                .into_iter()
                .chain(self.end_of_call(space, &record));
            for other in dates.filter(|other| *other != date).collect::<BTreeSet<_>>() {
                self.day(&mut days, space, other).evict_records.insert(id.clone());
            }
            let day = self.day(&mut days, space, date);
            day.rooms
                .insert(room.clone(), room_entry(&self.scope.spaces[space], &room));
            day.records.insert(id, (room, record));
        }
        for ((space, id), found) in std::mem::take(&mut self.calls) {
            let end = found
                .call
                .finished_at
                .map(|at| lake::date_of(at, self.context.run.config.timezone));
            if let Some(end) = end.filter(|end| *end != found.date) {
                self.day(&mut days, space, end).evict_calls.insert(id.clone().into());
            }
            let day = self.day(&mut days, space, found.date);
            day.rooms.insert(
                found.room.clone(),
                room_entry(&self.scope.spaces[space], &found.room),
            );
            day.calls.insert(id.into(), (found.room, found.call));
        }
        // A day of another window is worked on there, with all that its own listing finds.
        let elsewhere = |date| {
            (self.job.0..=self.job.1).contains(&date) && !(self.range.0..=self.range.1).contains(&date)
        };
        days.into_values().filter(|day| !elsewhere(day.date)).collect()
    }

    /// The day of a record: that of its call; else that of its own start. None for one that is not wanted, or that has
    /// to wait until the calls around it can be listed.
    fn date_record(
        &self,
        space: usize,
        room: &RoomId,
        record: &Record,
        known: &HashMap<(usize, CallId), NaiveDate>,
        summary: &mut Summary,
    ) -> Option<NaiveDate> {
        let scope = &self.scope.spaces[space];
        let call = record.call_id.as_ref().map(|call| (space, call.clone()));
        let left_out = call.as_ref().is_some_and(|call| self.filtered.contains(call));
        if scope.excluded.contains(room) || left_out {
            return None;
        }
        let of_call = call.as_ref().and_then(|call| {
            self.calls
                .get(call)
                .map(|found| found.date)
                .or(known.get(call).copied())
        });
        if of_call.is_some() {
            return of_call;
        }
        if !self.is_wanted(space, record) {
            return None;
        }
        let Some(own) = own_instant(record).map(|at| lake::date_of(at, self.context.run.config.timezone))
        else {
            let problem = Problem::new(
                ProblemKind::RecordUndated,
                "the record has neither a known call nor any date: it is on no day",
            );
            summary.warn(problem.space(&scope.id).room(room).record(&record.id));
            return None;
        };
        let around = [own - Days::new(1), own, own + Days::new(1)];
        let unlisted = around.iter().any(|date| {
            self.missed
                .get(&(space, *date))
                .is_some_and(|rooms| rooms.contains(room))
        });
        (call.is_none() || !unlisted).then_some(own)
    }

    /// The date on which a record's call ended, if that was listed.
    fn end_of_call(&self, space: usize, record: &Record) -> Option<NaiveDate> {
        let found = self.calls.get(&(space, record.call_id.clone()?.into()))?;
        let end = found.call.finished_at?;
        Some(lake::date_of(end, self.context.run.config.timezone))
    }

    /// The dates of all that a record says of its time.
    fn dates(&self, record: &Record) -> BTreeSet<NaiveDate> {
        let zone = self.context.run.config.timezone;
        let instants = [record.started_at, record.created_at, record.finished_at];
        instants
            .into_iter()
            .flatten()
            .map(|at| lake::date_of(at, zone))
            .collect()
    }

    /// Whether a record lies, by whatever date the server selects, within what was asked for. A server that ignores
    /// `dateFrom` gives all there ever were.
    fn is_wanted(&self, space: usize, record: &Record) -> bool {
        let dates = self.dates(record);
        let asked = (self.range.0 - Days::new(1))..=(self.range.1 + Days::new(1));
        let id = &self.scope.spaces[space].id;
        let open = |date: &NaiveDate| {
            self.open
                .iter()
                .any(|open| open.space_id == *id && open.date == *date)
        };
        dates.is_empty() || dates.iter().any(|date| asked.contains(date) || open(date))
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
            let gone = self.gone_on(space, date);
            let refused = self.refused_of(space, &gone, &missed);
            DayWork {
                date,
                space_id: scope.id.clone().into(),
                space_name: scope.name.clone(),
                // A room without an answer is not complete itself; a list with a gap says nothing of its rooms' number.
                listed: self.whole
                    && matches!(asked, Asked::All)
                    && !missed.space
                    && !missed.partial
                    && self.is_over(date),
                asked,
                heard_gone: gone
                    .into_iter()
                    .filter(|room| !missed.rooms.contains(room))
                    .collect(),
                refused,
                missed,
                listed_rooms: Arc::clone(&scope.listed),
                marked: self
                    .open
                    .iter()
                    .any(|open| open.space_id == scope.id && open.date == date),
                evict_calls: BTreeSet::new(),
                evict_records: BTreeSet::new(),
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
        let was_asked = |room: &&RoomId| match (asked, self.gone.get(&(space, (*room).clone()))) {
            (_, Some(days)) => days.contains(&date),
            (Asked::All, None) => true,
            (Asked::Rooms(rooms), None) => rooms.contains(*room),
        };
        let scope = &self.scope.spaces[space];
        Missed {
            space: scope.failed,
            partial: scope.partial && matches!(asked, Asked::All),
            rooms: rooms.filter(was_asked).cloned().collect(),
            ..Missed::default()
        }
    }

    /// The rooms that are no longer listed and that were asked for a day.
    fn gone_on(&self, space: usize, date: NaiveDate) -> BTreeSet<RoomId> {
        let asked = self
            .gone
            .iter()
            .filter(|((of, _), days)| *of == space && days.contains(&date));
        asked.map(|((_, room), _)| room.clone()).collect()
    }

    /// Those of a day's gone rooms that the API refused, and why.
    fn refused_of(&self, space: usize, gone: &BTreeSet<RoomId>, missed: &Missed) -> BTreeMap<RoomId, String> {
        let missed = gone.iter().filter(|room| missed.rooms.contains(*room));
        let refused = missed.filter_map(|room| {
            let why = self.refused.get(&(space, room.to_string().into()))?;
            Some((room.clone(), why.clone()))
        });
        refused.collect()
    }

    /// Whether the date is over, and the last calls on it have settled.
    fn is_over(&self, date: NaiveDate) -> bool {
        lake::end_of(date, self.context.run.config.timezone) + self.context.settle() <= self.context.run.now
    }
}

fn own_instant(record: &Record) -> Option<DateTime<Utc>> {
    record.started_at.or(record.created_at).or(record.finished_at)
}

fn room_entry(space: &SpaceScope, id: &str) -> RoomEntry {
    let gone = space.gone.rooms.iter().map(|gone| &gone.room);
    space
        .rooms
        .iter()
        .chain(gone)
        .find(|room| room.id == id)
        .map_or_else(RoomEntry::default, |room| RoomEntry {
            name: room.name.clone(),
            alias: room.alias.clone(),
            room_type: room.room_type.clone(),
        })
}
