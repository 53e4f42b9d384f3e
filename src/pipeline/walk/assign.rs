//! Assigns the calls and records that the walk found to days. Pure, apart from the problems that it adds to the summary.
//!
//! A call goes to the day of its own start, whichever request found it. A record goes to the day of its call, or of its
//! own start if its call was not found.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, Utc};

use crate::api::{Call, Record};
use crate::ids::{CallId, RecordId, RoomId};
use crate::lake;
use crate::lake::manifest::{Missed, RoomEntry};
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;
use crate::pipeline::summary::{Problem, ProblemKind, Summary};
use crate::pipeline::walk;
use crate::pipeline::walk::found::{
    DayWork, GoneDays, JobScope, ListingAnswer, ListingAsk, ListingKind, RoomsAsked, SpaceScope,
};
use crate::{Error, ErrorKind};

/// A call with its room and the date that it belongs to.
struct FoundCall {
    room: RoomId,
    call: Call,
    date: NaiveDate,
}

/// Collects the answers of the walk and turns them into days.
pub(crate) struct DayAssigner<'a> {
    rules: &'a JobRules,
    scope: &'a JobScope,
    /// The dates of the current window.
    window: (NaiveDate, NaiveDate),
    open: &'a [OpenDay],
    /// True if the job covers every room and both halves, so that it can list a day completely.
    whole: bool,
    calls: HashMap<(usize, CallId), FoundCall>,
    /// Calls that the scope excludes. Their records are excluded too.
    filtered: HashSet<(usize, CallId)>,
    records: HashMap<(usize, RecordId), (RoomId, Record)>,
    /// The rooms that gave no answer, by space and date.
    missed: HashMap<(usize, NaiveDate), BTreeSet<RoomId>>,
    /// The days for which gone rooms were asked, and the reasons for which the API refused some of these rooms.
    gone: &'a GoneDays,
    refused: HashMap<(usize, RoomId), String>,
    /// True if any request was answered.
    pub any_answer: bool,
}

impl<'a> DayAssigner<'a> {
    pub fn new(
        rules: &'a JobRules,
        scope: &'a JobScope,
        window: (NaiveDate, NaiveDate),
        open: &'a [OpenDay],
        gone: &'a GoneDays,
    ) -> Self {
        Self {
            rules,
            scope,
            window,
            open,
            whole: rules.job.rooms.is_empty() && rules.job.only.is_none(),
            calls: HashMap::new(),
            filtered: HashSet::new(),
            records: HashMap::new(),
            missed: HashMap::new(),
            gone,
            refused: HashMap::new(),
            any_answer: false,
        }
    }

    /// Adds an answer.
    pub fn add(&mut self, ask: &ListingAsk, answer: ListingAnswer, summary: &mut Summary) {
        self.any_answer = true;
        let (space, asked_room) = (ask.space, &ask.room);
        let id = &self.scope.spaces[space].id;
        match answer {
            ListingAnswer::Calls { date, listing } => {
                walk::note_listing(summary, &listing, "calls", |problem| {
                    problem.on(date, id).room(asked_room)
                });
                if !listing.is_whole() {
                    self.miss_dates(space, asked_room, date, date);
                }
                for call in listing.items {
                    self.add_call(space, asked_room, date, call);
                }
            }
            ListingAnswer::Records { from, to, listing } => {
                walk::note_listing(summary, &listing, "records", |problem| {
                    problem.space(id).room(asked_room)
                });
                if !listing.is_whole() {
                    self.miss_dates(space, asked_room, from, to);
                }
                for record in listing.items {
                    let room = record.room_id.clone().unwrap_or_else(|| asked_room.clone());
                    self.records
                        .entry((space, record.id.clone()))
                        .or_insert((room, record));
                }
            }
        }
    }

    fn add_call(&mut self, space: usize, asked_room: &RoomId, asked: NaiveDate, call: Call) {
        let room = call.room_id.clone().unwrap_or_else(|| asked_room.clone());
        let key = (space, call.id.clone());
        if !self.in_scope(space, &room, &call) {
            self.filtered.insert(key);
            return;
        }
        let zone = self.rules.zone;
        let date = call
            .started_at
            .or(call.finished_at)
            .map_or(asked, |at| lake::date_of(at, zone));
        let found = FoundCall { room, call, date };
        match self.calls.get_mut(&key) {
            // If a call was listed twice, the state with an end is the later one. A call without any instant goes to the
            // earlier of the two dates, so that the choice is always the same.
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
        let scope = &self.rules.scope;
        !self.scope.spaces[space].excluded.contains(room)
            && (scope.breakout_rooms || call.is_breakout_room != Some(true))
            // A call without a count of participants may have enough of them.
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

    /// Notes a request that was not answered.
    pub fn miss(&mut self, ask: &ListingAsk, error: &Error, summary: &mut Summary) {
        let (from, to) = ask.what.dates();
        self.miss_dates(ask.space, &ask.room, from, to);
        let place = (ask.space, ask.room.clone());
        if self.gone.contains_key(&place) && walk::is_refusal(error) {
            // The API answered with a refusal. `gone_rooms` reports the room for the day.
            self.any_answer = true;
            self.refused.insert(place, error.message().to_owned());
            return;
        }
        // `Summary::take_requests` reports all requests together that were not sent.
        if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Skipped) {
            let what = match ask.what {
                ListingKind::Calls { .. } => "calls",
                ListingKind::Records { .. } => "records",
            };
            let message = format!("{what} could not be listed: {}", error.full_message());
            let problem = Problem::new(ProblemKind::ListingFailed, message);
            summary.fail(problem.on(from, &self.scope.spaces[ask.space].id).room(&ask.room));
        }
    }

    /// Records whose call was not found, each as space, call and date of its own start. The lake may know their calls.
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

    /// Makes the days: all of the range, those of the calls and records that were found, and the open days. `known` are
    /// the dates, from the lake, of calls that were not found.
    pub fn into_days(
        mut self,
        known: &HashMap<(usize, CallId), NaiveDate>,
        summary: &mut Summary,
    ) -> Vec<DayWork> {
        let mut days = BTreeMap::new();
        let today = self.rules.today();
        for (index, space) in self.scope.spaces.iter().enumerate() {
            for date in self
                .window
                .0
                .iter_days()
                .take_while(|date| *date <= self.window.1.min(today))
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
            // It may lie on the date that it had before its start or its call was known, or on that of its call's end.
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
                .map(|at| lake::date_of(at, self.rules.zone));
            if let Some(end) = end.filter(|end| *end != found.date) {
                self.day(&mut days, space, end).evict_calls.insert(id.clone());
            }
            let day = self.day(&mut days, space, found.date);
            day.rooms.insert(
                found.room.clone(),
                room_entry(&self.scope.spaces[space], &found.room),
            );
            day.calls.insert(id, (found.room, found.call));
        }
        // A day of another window is processed in that window, with all that its own listing finds.
        let elsewhere =
            |date| self.rules.job.covers(date) && !(self.window.0..=self.window.1).contains(&date);
        days.into_values().filter(|day| !elsewhere(day.date)).collect()
    }

    /// The date of a record: that of its call, or else that of its own start. None if the record is not wanted, or must
    /// wait until the calls around it can be listed.
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
        let Some(own) = own_instant(record).map(|at| lake::date_of(at, self.rules.zone)) else {
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
        let found = self.calls.get(&(space, record.call_id.clone()?))?;
        let end = found.call.finished_at?;
        Some(lake::date_of(end, self.rules.zone))
    }

    /// The dates of all the instants that a record has.
    fn dates(&self, record: &Record) -> BTreeSet<NaiveDate> {
        let zone = self.rules.zone;
        let instants = [record.started_at, record.created_at, record.finished_at];
        instants
            .into_iter()
            .flatten()
            .map(|at| lake::date_of(at, zone))
            .collect()
    }

    /// True if any date of a record lies within the requested dates, because it is not known by which one the server
    /// selects. A server that ignores `dateFrom` returns all records there ever were.
    fn is_wanted(&self, space: usize, record: &Record) -> bool {
        let dates = self.dates(record);
        let asked = (self.window.0 - Days::new(1))..=(self.window.1 + Days::new(1));
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
                space_id: scope.id.clone(),
                space_name: scope.name.clone(),
                // A room without an answer is noted by itself, but a room list with a gap may miss any room.
                listed: self.whole
                    && matches!(asked, RoomsAsked::All)
                    && !missed.space
                    && !missed.partial
                    && self.rules.is_settled(date),
                asked,
                heard_gone: gone
                    .into_iter()
                    .filter(|room| !missed.rooms.contains(room))
                    .collect(),
                refused,
                missed,
                listed_rooms: Arc::clone(&scope.listed),
                has_marker: self
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

    /// The rooms that were asked for the day; none if only a call led to the day.
    fn asked(&self, space: &SpaceScope, date: NaiveDate) -> RoomsAsked {
        let in_range = (self.window.0..=self.window.1).contains(&date);
        let open = self
            .open
            .iter()
            .find(|open| open.space_id == space.id && open.date == date);
        match open {
            _ if in_range && self.rules.job.rooms.is_empty() => RoomsAsked::All,
            Some(open) if open.space => RoomsAsked::All,
            _ if in_range => RoomsAsked::These(self.rules.job.rooms.iter().cloned().collect()),
            Some(open) => RoomsAsked::These(open.rooms.clone()),
            None => RoomsAsked::These(BTreeSet::new()),
        }
    }

    fn missed(&self, space: usize, date: NaiveDate, asked: &RoomsAsked) -> Missed {
        let around = [date - Days::new(1), date, date + Days::new(1)];
        let rooms = around
            .iter()
            .filter_map(|date| self.missed.get(&(space, *date)))
            .flatten();
        let was_asked = |room: &&RoomId| match (asked, self.gone.get(&(space, (*room).clone()))) {
            (_, Some(days)) => days.contains(&date),
            (RoomsAsked::All, None) => true,
            (RoomsAsked::These(rooms), None) => rooms.contains(*room),
        };
        let scope = &self.scope.spaces[space];
        Missed {
            space: scope.failed,
            partial: scope.partial && matches!(asked, RoomsAsked::All),
            rooms: rooms.filter(was_asked).cloned().collect(),
            ..Missed::default()
        }
    }

    /// The gone rooms that were asked for a day.
    fn gone_on(&self, space: usize, date: NaiveDate) -> BTreeSet<RoomId> {
        let asked = self
            .gone
            .iter()
            .filter(|((of, _), days)| *of == space && days.contains(&date));
        asked.map(|((_, room), _)| room.clone()).collect()
    }

    /// The gone rooms of a day that the API refused, each with the reason.
    fn refused_of(&self, space: usize, gone: &BTreeSet<RoomId>, missed: &Missed) -> BTreeMap<RoomId, String> {
        let missed = gone.iter().filter(|room| missed.rooms.contains(*room));
        let refused = missed.filter_map(|room| {
            let why = self.refused.get(&(space, room.clone()))?;
            Some((room.clone(), why.clone()))
        });
        refused.collect()
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
