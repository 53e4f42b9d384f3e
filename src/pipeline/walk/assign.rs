//! Assigns the calls and records that the walk found to days. Pure, apart from the problems that it adds to the summary.
//!
//! A call goes to the day of its own start, whichever request found it. A record goes to the day of its call, or of its
//! own start if its call was not found. A day is taken as soon as its listing is complete; what is found for it later is
//! taken at the end of the window, as a second piece of work for the same day.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Days, NaiveDate, Utc};

use crate::api::{Call, Record};
use crate::ids::{CallId, RecordId, RoomId};
use crate::lake;
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;
use crate::pipeline::summary::{Problem, ProblemKind, Summary};
use crate::pipeline::walk;
use crate::pipeline::walk::found::{
    DayWork, GoneDays, JobScope, ListingAnswer, ListingAsk, ListingKind, SpaceScope,
};
use crate::{Error, ErrorKind};

/// A day: the index of its space, and its date.
pub(super) type Place = (usize, NaiveDate);

/// True if a range of dates has a date.
pub(super) fn contains((from, to): (NaiveDate, NaiveDate), date: NaiveDate) -> bool {
    (from..=to).contains(&date)
}

/// The calls and records that a day must give up, because they belong to another one.
#[derive(Default)]
struct Evictions {
    calls: BTreeSet<CallId>,
    records: BTreeSet<RecordId>,
}

/// True if one date follows the other. What lies on one of them may have lain on the other, before its times were mended.
fn are_beside(one: NaiveDate, other: NaiveDate) -> bool {
    (one - other).num_days().abs() == 1
}

/// The day that a call belongs to, and the date of its end.
#[derive(Clone, Copy)]
struct CallDates {
    day: NaiveDate,
    end: Option<NaiveDate>,
}

/// Collects the answers of the walk and turns them into days.
pub(crate) struct DayAssigner<'a> {
    pub(super) rules: &'a JobRules,
    /// The dates of the current window.
    pub(super) window: (NaiveDate, NaiveDate),
    pub(super) open: &'a [OpenDay],
    /// True if the job covers every room and both halves, so that it can list a day completely.
    pub(super) whole: bool,
    /// The calls of days that were not taken yet.
    calls: BTreeMap<Place, BTreeMap<CallId, (RoomId, Call)>>,
    /// The dates of the start and the end of every call that was found.
    call_dates: HashMap<(usize, CallId), CallDates>,
    /// The calls that were taken without an end.
    endless: HashSet<(usize, CallId)>,
    /// Calls that the scope excludes. Their records are excluded too.
    filtered: HashSet<(usize, CallId)>,
    records: HashMap<(usize, RecordId), (RoomId, Record)>,
    taken_records: HashSet<(usize, RecordId)>,
    evictions: BTreeMap<Place, Evictions>,
    /// The evictions that the taken days were told of.
    told: BTreeMap<Place, Evictions>,
    /// The days that were taken.
    taken: BTreeSet<Place>,
    /// The rooms that gave no answer, by space and date.
    pub(super) missed: HashMap<Place, BTreeSet<RoomId>>,
    /// The days for which gone rooms were asked, and the reasons for which the API refused some of these rooms.
    pub gone: GoneDays,
    pub(super) refused: HashMap<(usize, RoomId), String>,
    /// True if any request was answered.
    pub any_answer: bool,
}

impl<'a> DayAssigner<'a> {
    pub fn new(rules: &'a JobRules, window: (NaiveDate, NaiveDate), open: &'a [OpenDay]) -> Self {
        Self {
            rules,
            window,
            open,
            whole: rules.job.rooms.is_empty() && rules.job.only.is_none(),
            calls: BTreeMap::new(),
            call_dates: HashMap::new(),
            endless: HashSet::new(),
            filtered: HashSet::new(),
            records: HashMap::new(),
            taken_records: HashSet::new(),
            evictions: BTreeMap::new(),
            told: BTreeMap::new(),
            taken: BTreeSet::new(),
            missed: HashMap::new(),
            gone: GoneDays::new(),
            refused: HashMap::new(),
            any_answer: false,
        }
    }

    /// Adds an answer. Returns true if it has a call of the room that was asked.
    pub fn add(
        &mut self,
        scope: &JobScope,
        ask: &ListingAsk,
        answer: ListingAnswer,
        summary: &mut Summary,
    ) -> bool {
        self.any_answer = true;
        let (space, asked_room) = (ask.space, &ask.room);
        let id = &scope.spaces[space].id;
        let mut has_call = false;
        match answer {
            ListingAnswer::Calls { date, listing } => {
                walk::note_listing(summary, &listing, "calls", |problem| {
                    problem.on(date, id).room(asked_room)
                });
                if !listing.is_whole() {
                    self.miss_dates(space, asked_room, date, date);
                }
                for call in listing.items {
                    has_call |= self.add_call(scope, space, (asked_room, date), call);
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
                    let key = (space, record.id.clone());
                    if !self.taken_records.contains(&key) {
                        let room = record.room_id.clone().unwrap_or_else(|| asked_room.clone());
                        self.records.entry(key).or_insert((room, record));
                    }
                }
            }
        }
        has_call
    }

    /// Adds a call. Returns true if it is in scope.
    fn add_call(
        &mut self,
        scope: &JobScope,
        space: usize,
        (asked_room, asked): (&RoomId, NaiveDate),
        call: Call,
    ) -> bool {
        let room = call.room_id.clone().unwrap_or_else(|| asked_room.clone());
        let key = (space, call.id.clone());
        if !self.in_scope(&scope.spaces[space], &room, &call) {
            self.filtered.insert(key);
            return false;
        }
        let day = self.day_of(&call).unwrap_or(asked);
        if let Some(known) = self.call_dates.get(&key).copied() {
            let stored = self
                .calls
                .get(&(space, known.day))
                .and_then(|calls| calls.get(&key.1));
            let (had_no_end, had_no_instant) = match stored {
                Some((_, stored)) => (stored.finished_at.is_none(), self.day_of(stored).is_none()),
                None => (self.endless.contains(&key), false),
            };
            // If a call was listed twice, the state with an end is the later one. A call without any instant goes to the
            // earlier of the two dates, so that the choice is always the same.
            let is_later = had_no_end && call.finished_at.is_some();
            let is_earlier = had_no_instant && day < known.day;
            if !is_later && !is_earlier {
                return true;
            }
            self.forget_call(space, known.day, day, &key.1);
        }
        let end = call.finished_at.map(|at| lake::date_of(at, self.rules.zone));
        self.call_dates.insert(key.clone(), CallDates { day, end });
        let calls = self.calls.entry((space, day)).or_default();
        calls.insert(key.1, (room, call));
        true
    }

    /// Forgets a state of a call, which belongs to the day `now` from here on.
    fn forget_call(&mut self, space: usize, before: NaiveDate, now: NaiveDate, id: &CallId) {
        let place = (space, before);
        self.endless.remove(&(space, id.clone()));
        if let Some(calls) = self.calls.get_mut(&place) {
            calls.remove(id);
        }
        if self.taken.contains(&place) && before != now {
            self.evictions.entry(place).or_default().calls.insert(id.clone());
        }
    }

    /// The date of a call's start, or else of its end.
    fn day_of(&self, call: &Call) -> Option<NaiveDate> {
        let at = call.started_at.or(call.finished_at)?;
        Some(lake::date_of(at, self.rules.zone))
    }

    fn in_scope(&self, space: &SpaceScope, room: &RoomId, call: &Call) -> bool {
        let scope = &self.rules.scope;
        !space.excluded.contains(room)
            && (scope.breakout_rooms || call.is_breakout_room != Some(true))
            // A call without a count of participants may have enough of them.
            && call.participants.is_none_or(|count| count >= scope.min_participants)
    }

    /// Leaves out the calls of excluded rooms that were found before the rooms of their space were all known.
    pub fn leave_out_excluded(&mut self, scope: &JobScope, space: usize) {
        let excluded = &scope.spaces[space].excluded;
        let of_space = (space, NaiveDate::MIN)..=(space, NaiveDate::MAX);
        for (_, calls) in self.calls.range_mut(of_space) {
            let left_out = calls.extract_if(.., |_, (room, _)| excluded.contains(room));
            for (id, _) in left_out {
                self.call_dates.remove(&(space, id.clone()));
                self.filtered.insert((space, id));
            }
        }
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
    pub fn miss(&mut self, scope: &JobScope, ask: &ListingAsk, error: &Error, summary: &mut Summary) {
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
            summary.fail(problem.on(from, &scope.spaces[ask.space].id).room(&ask.room));
        }
    }

    /// The days that are asked for of a space: all dates of the window up to today, and its open days.
    pub fn asked_days(&self, scope: &SpaceScope) -> BTreeSet<NaiveDate> {
        let (first, last) = scope.within(self.window);
        let last = last.min(self.rules.today());
        let dates = first.iter_days().take_while(|date| *date <= last);
        let open = self.open.iter().filter(|open| open.space_id == scope.id);
        dates
            .filter(|date| lake::is_date(*date))
            .chain(open.map(|open| open.date))
            .collect()
    }

    /// Forgets all that was found of a space whose rooms could not be listed: its days are left as they are.
    pub fn forget_space(&mut self, space: usize) {
        self.calls.retain(|(of, _), _| *of != space);
        self.call_dates.retain(|(of, _), _| *of != space);
        self.records.retain(|(of, _), _| *of != space);
    }

    /// Takes a day whose listing is complete. `None` if it must wait for the end of the window, because a call or record
    /// may have to move between it and a day that was not asked for.
    pub fn take_day(&mut self, scope: &JobScope, space: usize, date: NaiveDate) -> Option<DayWork> {
        let asked = self.asked_days(&scope.spaces[space]);
        let in_margin = |other: NaiveDate| !asked.contains(&other);
        let of_space = || (space, NaiveDate::MIN)..=(space, NaiveDate::MAX);
        let comes_over = |call: &CallId| {
            let dates = self.call_dates.get(&(space, call.clone()));
            dates.is_some_and(|dates| dates.end == Some(date))
        };
        let mut margin = self
            .calls
            .range(of_space())
            .filter(|((_, other), _)| in_margin(*other));
        if margin.any(|(_, calls)| calls.keys().any(comes_over)) {
            return None;
        }
        let mut here = Vec::new();
        let mut evicted = Evictions::default();
        for ((_, id), (room, record)) in self.records.iter().filter(|((of, _), _)| *of == space) {
            let own = self.date_of_record(scope, space, room, record, &HashMap::new());
            let may_lie_here = self.other_dates(space, record, own).contains(&date);
            if self.is_stray(space, record) || own.is_some_and(in_margin) {
                if may_lie_here {
                    return None;
                }
            } else if own == Some(date) {
                here.push(id.clone());
            } else if own.is_some_and(|own| may_lie_here || are_beside(own, date)) {
                evicted.records.insert(id.clone());
            }
        }
        let others = self
            .calls
            .range(of_space())
            .filter(|((_, other), _)| *other != date);
        for ((_, other), calls) in others {
            let is_beside = are_beside(*other, date) && asked.contains(other);
            let here_before = calls.keys().filter(|id| is_beside || comes_over(id));
            evicted.calls.extend(here_before.cloned());
        }
        let place = (space, date);
        let told = self.evict_from(place);
        told.calls.append(&mut evicted.calls);
        told.records.append(&mut evicted.records);
        let day = self.take(scope, place, here);
        let told = Evictions {
            calls: day.evict_calls.clone(),
            records: day.evict_records.clone(),
        };
        self.told.insert(place, told);
        Some(day)
    }

    /// The dates other than its own on which a record may lie: it had them before its start or its call was known, or its
    /// call ended then.
    fn other_dates(&self, space: usize, record: &Record, own: Option<NaiveDate>) -> BTreeSet<NaiveDate> {
        let mut dates = self.dates(record);
        dates.extend(self.end_of_call(space, record));
        dates.retain(|date| Some(*date) != own);
        dates
    }

    /// True if a record names a call that was not found. The lake may know the call.
    fn is_stray(&self, space: usize, record: &Record) -> bool {
        let call = record.call_id.as_ref().map(|call| (space, call.clone()));
        call.is_some_and(|call| !self.call_dates.contains_key(&call) && !self.filtered.contains(&call))
    }

    /// Takes what was found of a day, with the records that belong to it.
    fn take(&mut self, scope: &JobScope, place: Place, records: Vec<RecordId>) -> DayWork {
        let (space, date) = place;
        let asked = self.asked_days(&scope.spaces[space]);
        let is_asked = asked.contains(&date);
        let beside = [date.pred_opt(), date.succ_opt()].into_iter().flatten();
        let unlisted_beside = beside.filter(|other| !asked.contains(other)).collect();
        let is_beside = |other: &NaiveDate| is_asked && are_beside(*other, date);
        let beside: Vec<_> = asked.into_iter().filter(is_beside).collect();
        let mut day = match self.taken.insert(place) {
            true => self.day(scope, space, date),
            false => DayWork::more(date, &scope.spaces[space]),
        };
        day.unlisted_beside = unlisted_beside;
        for (id, (room, call)) in self.calls.remove(&place).unwrap_or_default() {
            let key = (space, id.clone());
            if call.finished_at.is_none() {
                self.endless.insert(key.clone());
            }
            let end = self.call_dates.get(&key).and_then(|dates| dates.end);
            for other in beside.iter().copied().chain(end.filter(|end| *end != date)) {
                self.evict_from((space, other)).calls.insert(id.clone());
            }
            day.rooms
                .insert(room.clone(), scope.spaces[space].room_entry(&room));
            day.calls.insert(id, (room, call));
        }
        for id in records {
            let Some((room, record)) = self.records.remove(&(space, id.clone())) else {
                continue;
            };
            let mut others = self.other_dates(space, &record, Some(date));
            others.extend(&beside);
            for other in others {
                self.evict_from((space, other)).records.insert(id.clone());
            }
            self.taken_records.insert((space, id.clone()));
            day.rooms
                .insert(room.clone(), scope.spaces[space].room_entry(&room));
            day.records.insert(id, (room, record));
        }
        self.add_evictions(&mut day, place);
        day
    }

    fn evict_from(&mut self, place: Place) -> &mut Evictions {
        self.evictions.entry(place).or_default()
    }

    /// Tells a day what it must give up.
    fn add_evictions(&mut self, day: &mut DayWork, place: Place) {
        let evictions = self.evictions.remove(&place).unwrap_or_default();
        let calls = evictions.calls.into_iter();
        day.evict_calls
            .extend(calls.filter(|id| !day.calls.contains_key(id)));
        let records = evictions.records.into_iter();
        day.evict_records
            .extend(records.filter(|id| !day.records.contains_key(id)));
    }

    /// Records whose call was not found, each as space, call and date of its own start. The lake may know their calls.
    pub fn strays(&self, scope: &JobScope) -> Vec<(usize, CallId, NaiveDate)> {
        let stray = |((space, _), (_, record)): (&(usize, RecordId), &(RoomId, Record))| {
            let first = self.dates(record).into_iter().min();
            let is_stray = self.is_stray(*space, record) && self.is_wanted(scope, *space, record);
            Some((*space, record.call_id.clone()?, first.filter(|_| is_stray)?))
        };
        self.records.iter().filter_map(stray).collect()
    }

    /// Takes all that was not taken yet: asked days, days that were not asked for, and what was found late for days that
    /// were taken. `known` are the dates, from the lake, of calls that were not found.
    pub fn take_rest(
        mut self,
        scope: &JobScope,
        known: &HashMap<(usize, CallId), NaiveDate>,
        summary: &mut Summary,
    ) -> Vec<DayWork> {
        let taken = self.taken.clone();
        let mut found: BTreeMap<Place, Vec<RecordId>> = BTreeMap::new();
        for (index, space) in scope.spaces.iter().enumerate() {
            let asked = self.asked_days(space).into_iter().map(|date| (index, date));
            found.extend(
                asked
                    .filter(|place| !taken.contains(place))
                    .map(|place| (place, Vec::new())),
            );
        }
        let calls = self.calls.iter().filter(|(_, calls)| !calls.is_empty());
        found.extend(calls.map(|(place, _)| (*place, Vec::new())));
        for ((space, id), (room, record)) in &self.records {
            let date = self.date_of_record(scope, *space, room, record, known);
            if let Some(date) = date {
                found.entry((*space, date)).or_default().push(id.clone());
            } else if self.dates(record).is_empty() && self.is_exported(scope, *space, room, record) {
                let problem = Problem::new(
                    ProblemKind::RecordUndated,
                    "the record has neither a known call nor any date: it is on no day",
                );
                let id_of_space = &scope.spaces[*space].id;
                summary.warn(problem.space(id_of_space).room(room).record(id));
            }
        }
        let mut days = BTreeMap::new();
        for (place, records) in found {
            let day = self.take(scope, place, records);
            days.insert((place.1, place.0), day);
        }
        for place in self.evictions.keys().copied().collect::<Vec<_>>() {
            let (space, date) = place;
            let day = days
                .entry((date, space))
                .or_insert_with(|| match taken.contains(&place) {
                    true => DayWork::more(date, &scope.spaces[space]),
                    false => self.day(scope, space, date),
                });
            self.add_evictions(day, place);
            if let Some(told) = self.told.get(&place) {
                day.evict_calls.retain(|id| !told.calls.contains(id));
                day.evict_records.retain(|id| !told.records.contains(id));
            }
        }
        // A day of another window is processed in that window, with all that its own listing finds.
        let whole = (self.rules.job.from, self.rules.job.to);
        let elsewhere = |(date, space): (NaiveDate, usize)| {
            let of_space = &scope.spaces[space];
            contains(of_space.within(whole), date) && !contains(of_space.within(self.window), date)
        };
        let is_done = |(date, space): (NaiveDate, usize), day: &DayWork| {
            taken.contains(&(space, date)) && day.is_empty()
        };
        days.into_iter()
            .filter(|(place, day)| !elsewhere(*place) && !is_done(*place, day))
            .map(|(_, day)| day)
            .collect()
    }

    /// True if the scope includes a record.
    fn is_exported(&self, scope: &JobScope, space: usize, room: &RoomId, record: &Record) -> bool {
        let call = record.call_id.as_ref().map(|call| (space, call.clone()));
        let is_left_out = call.is_some_and(|call| self.filtered.contains(&call));
        !scope.spaces[space].excluded.contains(room) && !is_left_out
    }

    /// The date of a record: that of its call, or else that of its own start. None if the record is not wanted, has no
    /// date, or must wait until the calls around it can be listed.
    fn date_of_record(
        &self,
        scope: &JobScope,
        space: usize,
        room: &RoomId,
        record: &Record,
        known: &HashMap<(usize, CallId), NaiveDate>,
    ) -> Option<NaiveDate> {
        if !self.is_exported(scope, space, room, record) {
            return None;
        }
        let call = record.call_id.as_ref().map(|call| (space, call.clone()));
        let of_call = call.as_ref().and_then(|call| {
            let found = self.call_dates.get(call).map(|dates| dates.day);
            found.or(known.get(call).copied())
        });
        if of_call.is_some() {
            return of_call;
        }
        if !self.is_wanted(scope, space, record) {
            return None;
        }
        let own = lake::date_of(own_instant(record)?, self.rules.zone);
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
        self.call_dates.get(&(space, record.call_id.clone()?))?.end
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
    fn is_wanted(&self, scope: &JobScope, space: usize, record: &Record) -> bool {
        let dates = self.dates(record);
        let (first, last) = scope.spaces[space].within(self.window);
        let asked = (first - Days::new(1))..=(last + Days::new(1));
        let id = &scope.spaces[space].id;
        let open = |date: &NaiveDate| {
            self.open
                .iter()
                .any(|open| open.space_id == *id && open.date == *date)
        };
        dates.is_empty() || dates.iter().any(|date| asked.contains(date) || open(date))
    }
}

fn own_instant(record: &Record) -> Option<DateTime<Utc>> {
    record.started_at.or(record.created_at).or(record.finished_at)
}
