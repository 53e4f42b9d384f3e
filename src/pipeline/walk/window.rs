//! The walk over one window of dates: what is asked, what is in flight, and which days are complete.
//!
//! Rooms are asked while later pages of their list are still coming. The earliest dates are asked first, and a day goes to
//! its processing as soon as nothing is left that could show more of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::UnboundedSender;

use super::ask::{self, CallZone, RoomAsks};
use super::assign::DayAssigner;
use super::found::{DayWork, GoneDays, GoneRooms, JobScope, ListingAnswer, ListingAsk, ListingKind, ToDo};
use super::gone_rooms::{self, GoneAnswers, GoneCandidates};
use super::queue::AskQueue;
use super::shared_lists::{self, Next, RoomCalls, SharedLists};
use super::{is_refusal, send};
use crate::api::{ListingPages, Room};
use crate::ids::{CallId, RoomId};
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;
use crate::pipeline::summary::Summary;
use crate::pipeline::{ExportContext, Phase};
use crate::{Error, ErrorKind, Result, lake, task};

/// Something that the walk has waited for.
pub(super) enum Event {
    /// A page of the room list of a space; `None` at its end.
    Rooms {
        space: usize,
        list: Box<ListingPages<Room>>,
        page: Result<Option<Vec<Room>>>,
    },
    /// The rooms of a space that the lake knows and the API no longer lists.
    Gone {
        space: usize,
        found: Result<GoneRooms>,
    },
    /// The days for which such rooms must be asked.
    GoneDays {
        space: usize,
        days: Result<BTreeMap<RoomId, BTreeSet<NaiveDate>>>,
    },
    Answer(ListingAsk, Result<ListingAnswer>),
    /// The calls of a date as another shard listed them.
    SharedList {
        space: usize,
        date: NaiveDate,
        found: Option<RoomCalls>,
    },
    /// The calls of a date are in the lake, for another shard.
    SharedListKept,
}

/// Rooms of a space that are asked before the end of its list: enough to keep the API busy until then. The list may still
/// fail, or be one that a faulty server invents without end.
const MOST_BEFORE_END: usize = 2000;

/// The walk over a window.
pub(super) struct WindowWalk<'a> {
    context: &'a Arc<ExportContext>,
    rules: &'a Arc<JobRules>,
    window: (NaiveDate, NaiveDate),
    open: &'a [OpenDay],
    todo: &'a UnboundedSender<ToDo>,
    pub events: FuturesUnordered<BoxFuture<'static, Event>>,
    queue: AskQueue,
    /// The dates that other shards list too.
    shared: SharedLists,
    pub assigner: DayAssigner<'a>,
    /// For each space, the place of the first room that waits for the end of the list.
    held: BTreeMap<usize, usize>,
    /// The room lists that are being read.
    lists: usize,
    /// The requests in flight, without the pages of room lists.
    in_flight: usize,
    /// The requests so far.
    pub asked: u64,
    /// The rooms that need no request.
    pub skipped: u64,
    /// The asked days that have not gone to their processing.
    waiting: BTreeSet<(usize, NaiveDate)>,
    /// The spaces whose rooms, gone ones included, are all in the queue.
    complete: HashSet<usize>,
    /// The first refusal of calls, and of records, of each gone room: it answers the other requests too.
    refusals: HashMap<(usize, RoomId, bool), Error>,
    pub gone_answers: Vec<GoneAnswers>,
}

impl<'a> WindowWalk<'a> {
    pub fn new(
        context: &'a Arc<ExportContext>,
        rules: &'a Arc<JobRules>,
        scope: &JobScope,
        window: (NaiveDate, NaiveDate),
        open: &'a [OpenDay],
        todo: &'a UnboundedSender<ToDo>,
    ) -> Self {
        let cuts = shared_lists::cuts(rules, scope);
        context.run.progress.enter(Phase::Walk, 0);
        Self {
            context,
            rules,
            window,
            open,
            todo,
            events: FuturesUnordered::new(),
            queue: AskQueue::by_rank(shared_lists::ranks(&cuts)),
            shared: SharedLists::new(rules, &cuts),
            assigner: DayAssigner::new(rules, window, open),
            held: BTreeMap::new(),
            lists: 0,
            in_flight: 0,
            asked: 0,
            skipped: 0,
            waiting: BTreeSet::new(),
            complete: HashSet::new(),
            refusals: HashMap::new(),
            gone_answers: Vec::new(),
        }
    }

    /// Begins a space: all of its asked days wait for their listing.
    pub fn begin(&mut self, scope: &JobScope, space: usize) {
        let days = self.assigner.asked_days(&scope.spaces[space]);
        self.waiting.extend(days.into_iter().map(|date| (space, date)));
    }

    fn width(&self) -> usize {
        self.context.room_limits.width()
    }

    fn open_of(&self, scope: &JobScope, space: usize) -> Vec<&'a OpenDay> {
        let id = &scope.spaces[space].id;
        self.open.iter().filter(|day| day.space_id == *id).collect()
    }

    /// True if nothing may be done before all room lists were read: the user typed rooms, and one of them may not exist.
    fn waits_for_rooms(&self, scope: &JobScope) -> bool {
        let is_typed = self.rules.job.is_typed() && !self.rules.job.rooms.is_empty();
        is_typed && scope.spaces.iter().any(|space| !space.is_known)
    }

    /// Queues the requests of a page of rooms, which begins at the place `first`, or holds them.
    pub fn ask_page(&mut self, scope: &JobScope, space: usize, first: usize, zone: CallZone) {
        if first < MOST_BEFORE_END && !self.waits_for_rooms(scope) {
            self.ask_rooms(scope, space, first, zone);
        } else {
            self.held.entry(space).or_insert(first);
        }
    }

    /// Queues the requests of the rooms that were held of lists which were read to their end.
    pub fn ask_held(&mut self, scope: &JobScope, zone: CallZone) {
        if self.waits_for_rooms(scope) {
            return;
        }
        let is_known = |space: &usize, _: &mut usize| scope.spaces[*space].is_known;
        for (space, first) in self.held.extract_if(.., is_known).collect::<Vec<_>>() {
            self.ask_rooms(scope, space, first, zone);
        }
    }

    /// Queues the requests of a space's rooms from the place `first` on.
    pub fn ask_rooms(&mut self, scope: &JobScope, space: usize, first: usize, zone: CallZone) {
        let open = self.open_of(scope, space);
        let window = scope.spaces[space].within(self.window);
        for room in &scope.spaces[space].rooms[first..] {
            match ask::room_asks(self.rules, (space, room), window, &open, zone) {
                Some(asks) => self.add(asks),
                None => self.skipped += 1,
            }
        }
    }

    fn add(&mut self, asks: RoomAsks) {
        let width = self.width();
        let added = self.queue.add(asks, width);
        self.note_asked(added);
    }

    fn note_asked(&mut self, added: u64) {
        self.asked += added;
        self.context.run.progress.listings.add_goal(added);
    }

    /// Waits for the next page of a room list.
    pub fn await_page(&mut self, space: usize, mut list: Box<ListingPages<Room>>) {
        self.lists += 1;
        let next = async move {
            let page = list.next().await;
            Event::Rooms { space, list, page }
        };
        self.events.push(next.boxed());
    }

    /// Notes that a page of a room list came.
    pub fn note_page(&mut self) {
        self.lists -= 1;
    }

    /// Finds the gone rooms of a space whose list was read.
    pub fn find_gone(&mut self, scope: &JobScope, space: usize) {
        let (context, rules) = (Arc::clone(self.context), Arc::clone(self.rules));
        let of_space = &scope.spaces[space];
        let (id, listed) = (of_space.id.clone(), Arc::clone(&of_space.listed));
        let finding = async move {
            let found = GoneRooms::find(&context, &rules, &id, &listed).await;
            Event::Gone { space, found }
        };
        self.events.push(finding.boxed());
    }

    /// Finds the days for which the gone rooms of a space must be asked.
    pub fn find_gone_days(&mut self, scope: &JobScope, space: usize) {
        let open = self.open_of(scope, space);
        let of_space = &scope.spaces[space];
        let candidates = GoneCandidates::find(self.rules, of_space, of_space.within(self.window), &open);
        let (context, id) = (Arc::clone(self.context), of_space.id.clone());
        let finding = async move {
            let days = candidates.days_to_ask(&context, &id).await;
            Event::GoneDays { space, days }
        };
        self.events.push(finding.boxed());
    }

    /// Gives up a space whose rooms could not be listed.
    pub fn drop_space(&mut self, space: usize) {
        self.held.remove(&space);
        self.queue.drop_space(space);
        self.assigner.forget_space(space);
        self.complete.insert(space);
    }

    /// Queues the requests of gone rooms. All requests of the space are known from here on.
    pub fn ask_gone(
        &mut self,
        scope: &JobScope,
        space: usize,
        days: BTreeMap<RoomId, BTreeSet<NaiveDate>>,
        zone: CallZone,
    ) {
        for (room, days) in days {
            self.add(ask::gone_asks(self.rules, (space, &room), &days, zone));
            self.assigner.gone.insert((space, room), days);
        }
        self.complete.insert(space);
        self.assigner.leave_out_excluded(scope, space);
    }

    /// Sends requests until enough are in flight: twice the concurrency, so that the API always has work. While room lists
    /// are read there are fewer, so that pages do not wait for their turn: the days depend on them.
    pub fn launch(&mut self, scope: &JobScope) {
        self.keep_shared(scope);
        let concurrency = self.context.run.config.api.concurrency;
        let most = match self.lists {
            0 => concurrency * 2,
            lists => concurrency.saturating_sub(lists).max(concurrency.div_ceil(2)),
        };
        while self.in_flight < most
            && let Some(ask) = self.queue.next(self.width())
        {
            self.in_flight += 1;
            let kind = (ask.space, ask.room.clone(), ask.what.is_of_records());
            if let Some(error) = self.refusals.get(&kind).cloned() {
                self.events
                    .push(async move { Event::Answer(ask, Err(error)) }.boxed());
                continue;
            }
            self.send(scope, ask);
        }
    }

    /// Sends a request, unless another shard has its answer.
    fn send(&mut self, scope: &JobScope, ask: ListingAsk) {
        let (context, zone) = (Arc::clone(self.context), self.rules.zone);
        let (space, dates) = (ask.space, ask.what.dates());
        match self.shared.next(ask) {
            Next::Wait => {}
            Next::Read => {
                let (key, date) = (self.shared.key(&scope.spaces[space].id, dates.0), dates.0);
                let reading = shared_lists::read(context, Arc::clone(self.rules), key, date);
                let found = reading.map(move |found| Event::SharedList { space, date, found });
                self.events.push(found.boxed());
            }
            Next::Answered(ask, answer) => {
                self.events
                    .push(async move { Event::Answer(ask, Ok(answer)) }.boxed());
            }
            Next::Send(ask) => {
                let space = scope.spaces[ask.space].id.clone();
                let sent = ask.clone();
                // A task of its own, so that answers are parsed on all cores.
                let sending = async move {
                    task::isolated(
                        "listing",
                        async move { send(&context, zone, &space, &sent).await },
                    )
                    .await
                };
                self.events
                    .push(sending.map(|answer| Event::Answer(ask, answer)).boxed());
            }
        }
    }

    /// Takes what another shard has listed of a date, and goes on with the requests that have waited for it.
    pub fn take_shared(&mut self, scope: &JobScope, space: usize, date: NaiveDate, found: Option<RoomCalls>) {
        for ask in self.shared.take_read(space, date, found) {
            self.send(scope, ask);
        }
    }

    /// Keeps the answers that another shard needs, once all of a date have come.
    fn keep_shared(&mut self, scope: &JobScope) {
        let (queue, complete) = (&self.queue, &self.complete);
        let is_answered =
            |space: usize, date: NaiveDate| complete.contains(&space) && !queue.awaits_calls(space, date);
        for (space, date, rooms) in self.shared.take_answered(is_answered) {
            let key = self.shared.key(&scope.spaces[space].id, date);
            let keeping = shared_lists::keep(Arc::clone(self.context), key, rooms);
            self.events.push(keeping.map(|()| Event::SharedListKept).boxed());
        }
    }

    /// Notes that a request was answered.
    pub fn note_answered(&mut self, ask: &ListingAsk) {
        self.in_flight -= 1;
        self.queue.answered(ask, self.context.room_limits.width());
        self.context.run.progress.listings.advance(1);
    }

    /// Takes an answer.
    ///
    /// # Errors
    /// `Unauthorized`: then the whole run ends.
    pub fn take_answer(
        &mut self,
        scope: &JobScope,
        ask: &ListingAsk,
        answer: Result<ListingAnswer>,
        summary: &mut Summary,
    ) -> Result<()> {
        let width = self.width();
        match answer {
            Ok(answer) => {
                self.shared.note(ask, &answer);
                if self.assigner.add(scope, ask, answer, summary) {
                    let added = self.queue.add_records(ask.space, &ask.room, width);
                    self.note_asked(added);
                }
            }
            Err(error) if error.kind() == ErrorKind::Unauthorized => {
                self.context.note_fatal(&error);
                return Err(error);
            }
            Err(error) => {
                self.assigner.miss(scope, ask, &error, summary);
                let is_gone = self.assigner.gone.contains_key(&(ask.space, ask.room.clone()));
                if is_gone && is_refusal(&error) {
                    let kind = (ask.space, ask.room.clone(), ask.what.is_of_records());
                    self.refusals.entry(kind).or_insert(error);
                }
            }
        }
        self.note_answered(ask);
        Ok(())
    }

    /// Asks for the dates around those that `zone` alone needs, because the API does not list calls by it.
    pub fn widen(&mut self, scope: &JobScope, zone: CallZone) {
        let width = self.width();
        for space in 0..scope.spaces.len() {
            let open = self.open_of(scope, space);
            let window = scope.spaces[space].within(self.window);
            let of_zone = |zone, room: &Room| {
                let asks = ask::room_asks(self.rules, (space, room), window, &open, zone);
                asks.map(|asks| asks.calls).unwrap_or_default()
            };
            let mut more: Vec<_> = scope.spaces[space]
                .rooms
                .iter()
                .map(|room| (room.id.clone(), &of_zone(None, room) - &of_zone(zone, room)))
                .collect();
            for ((of, room), days) in &self.assigner.gone {
                let calls = |zone| ask::gone_asks(self.rules, (space, room), days, zone).calls;
                if *of == space {
                    more.push((room.clone(), &calls(None) - &calls(zone)));
                }
            }
            for (room, dates) in more {
                let added = self.queue.add_calls(space, &room, dates, width);
                self.note_asked(added);
            }
        }
    }

    /// Hands on the days around some dates of a space that are complete now.
    pub fn hand_on(&mut self, scope: &JobScope, space: usize, (from, to): (NaiveDate, NaiveDate)) {
        let is_held = self.held.contains_key(&space) || self.waits_for_rooms(scope);
        if is_held || !self.complete.contains(&space) || self.context.run.cancel.is_cancelled() {
            return;
        }
        let around = (space, from - Days::new(1))..=(space, to + Days::new(1));
        for (_, date) in self.waiting.range(around).copied().collect::<Vec<_>>() {
            if self.queue.is_unanswered(space, date) {
                continue;
            }
            self.waiting.remove(&(space, date));
            // A day that can't be taken yet is taken at the end of the window.
            if let Some(day) = self.assigner.take_day(scope, space, date) {
                self.gone_answers.extend(GoneAnswers::of(&day));
                self.hand_over(ToDo::Day(Box::new(day)));
            }
        }
    }

    /// Hands on all days of all spaces that are complete.
    pub fn hand_on_all(&mut self, scope: &JobScope) {
        for space in 0..scope.spaces.len() {
            let mut days = self
                .waiting
                .range((space, NaiveDate::MIN)..=(space, NaiveDate::MAX));
            if let Some((_, first)) = days.next().copied() {
                let last = days.next_back().map_or(first, |(_, last)| *last);
                self.hand_on(scope, space, (first, last));
            }
        }
    }

    pub fn hand_over(&self, todo: ToDo) {
        if matches!(todo, ToDo::Day(_)) {
            self.context.run.progress.days.add_goal(1);
        }
        // The receiver is gone only if the run ends.
        let _ = self.todo.send(todo);
    }

    /// Takes all days that were not handed on.
    pub fn take_rest(
        &mut self,
        scope: &JobScope,
        known: &HashMap<(usize, CallId), NaiveDate>,
        summary: &mut Summary,
    ) -> Vec<DayWork> {
        let empty = DayAssigner::new(self.rules, self.window, self.open);
        std::mem::replace(&mut self.assigner, empty).take_rest(scope, known, summary)
    }

    /// Reports the gone rooms of the window.
    pub fn name_gone(&self, scope: &JobScope, gone: &GoneDays, summary: &mut Summary) {
        gone_rooms::name(self.rules, &scope.spaces, gone, &self.gone_answers, summary);
    }
}

/// The first call of an answer that starts on another date than the one it was asked for by. Such a call proves that the
/// API does not list calls by the dates of `zone`.
pub(super) fn contradiction(
    zone: CallZone,
    ask: &ListingAsk,
    answer: &Result<ListingAnswer>,
) -> Option<(CallId, NaiveDate, NaiveDate)> {
    let (ListingKind::Calls { date }, Ok(ListingAnswer::Calls { listing, .. })) = (ask.what, answer) else {
        return None;
    };
    let zone = zone?;
    listing.items.iter().find_map(|call| {
        let start = lake::date_of(call.started_at?, zone);
        (start != date).then(|| (call.id.clone(), date, start))
    })
}
