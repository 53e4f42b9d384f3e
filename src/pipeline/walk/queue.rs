//! The queue of listing requests: the earliest dates first, and rooms in turn. Pure.
//!
//! Because dates are asked for in order, a day's listing is complete long before that of the whole window, and the day can
//! be landed and built while later dates are still listed. A slow room uses only its own turns.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use chrono::{Days, NaiveDate};

use super::ask::RoomAsks;
use super::found::{ListingAsk, ListingKind};
use crate::ids::RoomId;

/// The requests of a room.
struct RoomQueue {
    waiting: VecDeque<ListingAsk>,
    /// Ranges of records that are listed once a call is found.
    records: Vec<(NaiveDate, NaiveDate)>,
    in_flight: usize,
    is_gone: bool,
}

/// The listing requests that are waiting or in flight.
#[derive(Default)]
pub(crate) struct AskQueue {
    rooms: Vec<RoomQueue>,
    places: HashMap<(usize, RoomId), usize>,
    /// The rooms that have a request waiting and a turn free, by the rank and the date of the request.
    ready: BTreeSet<(i8, NaiveDate, usize)>,
    /// Dates of spaces whose calls are asked for before all others, or after them.
    ranks: HashMap<(usize, NaiveDate), i8>,
    /// The number of waiting requests that are not of the last rank.
    earlier: usize,
    /// The number of requests for calls, waiting or in flight, for each space and date.
    calls: BTreeMap<(usize, NaiveDate), usize>,
    /// The number of requests, waiting or in flight, for each space and date.
    unanswered: BTreeMap<(usize, NaiveDate), usize>,
}

impl AskQueue {
    /// A queue in which the calls of some dates have a rank other than 0.
    pub fn by_rank(ranks: HashMap<(usize, NaiveDate), i8>) -> Self {
        Self {
            ranks,
            ..Self::default()
        }
    }

    /// The place of a room in the order, by its first request.
    fn turn(&self, place: usize) -> Option<(i8, NaiveDate, usize)> {
        let ask = self.rooms[place].waiting.front()?;
        Some((self.rank(ask.space, ask.what), ask.what.dates().0, place))
    }

    fn rank(&self, space: usize, what: ListingKind) -> i8 {
        let rank = match what {
            ListingKind::Calls { date } => self.ranks.get(&(space, date)).copied(),
            ListingKind::Records { .. } => None,
        };
        rank.unwrap_or_default()
    }

    /// Adds the requests of a room. Returns their number.
    pub fn add(&mut self, asks: RoomAsks, width: usize) -> u64 {
        let RoomAsks { space, room, .. } = asks;
        let place = self.place(space, &room, asks.is_gone);
        let calls = asks.calls.into_iter().map(|date| ListingKind::Calls { date });
        let mut added: Vec<_> = calls.collect();
        match asks.awaits_record {
            true => added.extend(records(&asks.records)),
            false => self.rooms[place].records = asks.records,
        }
        self.push(place, (space, &room), added, width)
    }

    /// Adds more dates of which calls are listed. Returns their number.
    pub fn add_calls(
        &mut self,
        space: usize,
        room: &RoomId,
        dates: BTreeSet<NaiveDate>,
        width: usize,
    ) -> u64 {
        let Some(place) = self.places.get(&(space, room.clone())).copied() else {
            return 0;
        };
        let calls = dates.into_iter().map(|date| ListingKind::Calls { date });
        self.push(place, (space, room), calls.collect(), width)
    }

    /// Adds the listings of records of a room in which a call was found, unless they were added before. Returns their
    /// number.
    pub fn add_records(&mut self, space: usize, room: &RoomId, width: usize) -> u64 {
        let Some(place) = self.places.get(&(space, room.clone())).copied() else {
            return 0;
        };
        let ranges = std::mem::take(&mut self.rooms[place].records);
        self.push(place, (space, room), records(&ranges).collect(), width)
    }

    fn place(&mut self, space: usize, room: &RoomId, is_gone: bool) -> usize {
        let next = self.rooms.len();
        let place = *self.places.entry((space, room.clone())).or_insert(next);
        if place == next {
            self.rooms.push(RoomQueue {
                waiting: VecDeque::new(),
                records: Vec::new(),
                in_flight: 0,
                is_gone,
            });
        }
        place
    }

    fn push(
        &mut self,
        place: usize,
        (space, room): (usize, &RoomId),
        added: Vec<ListingKind>,
        width: usize,
    ) -> u64 {
        let count = added.len() as u64;
        self.leave(place);
        for what in added {
            for date in dates_of(what) {
                *self.unanswered.entry((space, date)).or_default() += 1;
            }
            if let ListingKind::Calls { date } = what {
                *self.calls.entry((space, date)).or_default() += 1;
            }
            self.earlier += usize::from(self.rank(space, what) <= 0);
            let room = room.clone();
            self.rooms[place]
                .waiting
                .push_back(ListingAsk { space, room, what });
        }
        let mut waiting = std::mem::take(&mut self.rooms[place].waiting);
        let order = |ask: &ListingAsk| (self.rank(space, ask.what), ask.what.dates().0);
        waiting.make_contiguous().sort_by_key(order);
        self.rooms[place].waiting = waiting;
        self.queue_up(place, width);
        count
    }

    fn leave(&mut self, place: usize) {
        if let Some(turn) = self.turn(place) {
            self.ready.remove(&turn);
        }
    }

    /// Lets a room take part if it has a request waiting and a turn free.
    fn queue_up(&mut self, place: usize, width: usize) {
        let room = &self.rooms[place];
        // A room that is gone gets one request after another, because the first refusal counts for all.
        let width = if room.is_gone { 1 } else { width };
        if room.in_flight < width
            && let Some(turn) = self.turn(place)
        {
            self.ready.insert(turn);
        }
    }

    /// Takes the next request to send. One of the last rank has to wait until all others were taken. `width` is the number of requests that a room may have in flight.
    pub fn next(&mut self, width: usize) -> Option<ListingAsk> {
        let (rank, ..) = *self.ready.first()?;
        if rank > 0 && self.earlier > 0 {
            return None;
        }
        let (_, _, place) = self.ready.pop_first()?;
        self.earlier -= usize::from(rank <= 0);
        let room = &mut self.rooms[place];
        let ask = room.waiting.pop_front()?;
        room.in_flight += 1;
        self.queue_up(place, width);
        Some(ask)
    }

    /// Notes that a request was answered, or failed for good.
    pub fn answered(&mut self, ask: &ListingAsk, width: usize) {
        for date in dates_of(ask.what) {
            forget(&mut self.unanswered, (ask.space, date));
        }
        if let ListingKind::Calls { date } = ask.what {
            forget(&mut self.calls, (ask.space, date));
        }
        if let Some(place) = self.places.get(&(ask.space, ask.room.clone())).copied() {
            self.rooms[place].in_flight -= 1;
            self.queue_up(place, width);
        }
    }

    /// Drops the waiting requests of a space. Those in flight are still answered.
    pub fn drop_space(&mut self, space: usize) {
        let places = self.places.iter().filter(|((of, _), _)| *of == space);
        for place in places.map(|(_, place)| *place).collect::<Vec<_>>() {
            self.leave(place);
            for ask in std::mem::take(&mut self.rooms[place].waiting) {
                self.earlier -= usize::from(self.rank(space, ask.what) <= 0);
                for date in dates_of(ask.what) {
                    forget(&mut self.unanswered, (space, date));
                }
                if let ListingKind::Calls { date } = ask.what {
                    forget(&mut self.calls, (space, date));
                }
            }
        }
    }

    /// True if a request for calls of a date is waiting or in flight.
    pub fn awaits_calls(&self, space: usize, date: NaiveDate) -> bool {
        self.calls.contains_key(&(space, date))
    }

    /// True if a request is waiting or in flight that may still show a call or record of a day.
    pub fn is_unanswered(&self, space: usize, date: NaiveDate) -> bool {
        let around = (space, date - Days::new(1))..=(space, date + Days::new(1));
        self.unanswered.range(around).next().is_some()
    }
}

/// Counts one request less for a space and date.
fn forget(unanswered: &mut BTreeMap<(usize, NaiveDate), usize>, place: (usize, NaiveDate)) {
    if let Some(count) = unanswered.get_mut(&place) {
        *count -= 1;
        if *count == 0 {
            unanswered.remove(&place);
        }
    }
}

fn records(ranges: &[(NaiveDate, NaiveDate)]) -> impl Iterator<Item = ListingKind> {
    ranges
        .iter()
        .map(|(from, to)| ListingKind::Records { from: *from, to: *to })
}

fn dates_of(what: ListingKind) -> impl Iterator<Item = NaiveDate> {
    let (from, to) = what.dates();
    from.iter_days().take_while(move |date| *date <= to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::samples::date;

    fn asks(room: &str, calls: &[&str], awaits_record: bool) -> RoomAsks {
        let calls: BTreeSet<_> = calls.iter().map(|text| date(text)).collect();
        RoomAsks {
            space: 0,
            room: room.into(),
            records: crate::dates::spans(calls.iter().copied()),
            calls,
            awaits_record,
            is_gone: false,
        }
    }

    fn text(ask: &ListingAsk) -> String {
        let (from, to) = ask.what.dates();
        match ask.what {
            ListingKind::Calls { .. } => format!("{} {from}", ask.room),
            ListingKind::Records { .. } => format!("{} {from} {to}", ask.room),
        }
    }

    fn drain(queue: &mut AskQueue, width: usize) -> Vec<String> {
        std::iter::from_fn(|| queue.next(width))
            .map(|ask| text(&ask))
            .collect()
    }

    #[test]
    fn the_earliest_date_of_all_rooms_comes_first() {
        let mut queue = AskQueue::default();
        assert_eq!(queue.add(asks("a", &["2026-11-20", "2026-11-21"], false), 9), 2);
        queue.add(asks("b", &["2026-11-20", "2026-11-21"], false), 9);
        let order = ["a 2026-11-20", "b 2026-11-20", "a 2026-11-21", "b 2026-11-21"];
        assert_eq!(drain(&mut queue, 9), order);
    }

    #[test]
    fn a_room_that_has_used_its_turns_waits_and_the_others_go_on() {
        let mut queue = AskQueue::default();
        queue.add(asks("a", &["2026-11-20", "2026-11-21"], false), 1);
        queue.add(asks("b", &["2026-11-22"], false), 1);
        let first = queue.next(1).expect("a request");
        assert_eq!(drain(&mut queue, 1), ["b 2026-11-22"]);
        queue.answered(&first, 1);
        assert_eq!(drain(&mut queue, 1), ["a 2026-11-21"]);
    }

    #[test]
    fn records_are_listed_once_a_call_was_found_or_if_one_is_awaited() {
        let mut queue = AskQueue::default();
        queue.add(asks("a", &["2026-11-20", "2026-11-21"], false), 9);
        queue.add(asks("b", &["2026-11-20"], true), 9);
        assert_eq!(
            drain(&mut queue, 9),
            [
                "a 2026-11-20",
                "b 2026-11-20",
                "b 2026-11-20 2026-11-20",
                "a 2026-11-21"
            ]
        );
        assert_eq!(queue.add_records(0, &"a".into(), 9), 1);
        assert_eq!(queue.add_records(0, &"a".into(), 9), 0, "only once");
        assert_eq!(
            queue.add_records(0, &"c".into(), 9),
            0,
            "a room that was not asked"
        );
        assert_eq!(drain(&mut queue, 9), ["a 2026-11-20 2026-11-21"]);
    }

    #[test]
    fn a_day_is_complete_when_its_dates_and_their_neighbours_are_answered() {
        let mut queue = AskQueue::default();
        queue.add(asks("a", &["2026-11-19", "2026-11-20", "2026-11-21"], false), 9);
        for is_unanswered in [true, true, true] {
            let day = date("2026-11-20");
            assert_eq!(queue.is_unanswered(0, day), is_unanswered);
            assert!(!queue.is_unanswered(1, day), "of another space");
            let ask = queue.next(9).expect("a request");
            queue.answered(&ask, 9);
        }
        assert!(!queue.is_unanswered(0, date("2026-11-20")));
        assert!(queue.next(9).is_none());
    }

    #[test]
    fn a_space_whose_list_failed_is_asked_no_more() {
        let mut queue = AskQueue::default();
        queue.add(asks("a", &["2026-11-20", "2026-11-21"], true), 9);
        let first = queue.next(9).expect("a request");
        queue.drop_space(1);
        assert!(queue.is_unanswered(0, date("2026-11-21")), "another space");
        queue.drop_space(0);
        assert!(queue.next(9).is_none());
        assert!(queue.is_unanswered(0, date("2026-11-20")), "one is in flight");
        queue.answered(&first, 9);
        assert!(!queue.is_unanswered(0, date("2026-11-20")));
    }

    #[test]
    fn the_first_rank_goes_before_all_and_the_last_rank_waits_for_all_others() {
        let ranks = [((0, date("2026-11-22")), -1), ((0, date("2026-11-20")), 1)];
        let mut queue = AskQueue::by_rank(ranks.into());
        queue.add(asks("a", &["2026-11-20"], false), 1);
        queue.add(asks("b", &["2026-11-21"], false), 1);
        queue.add(asks("c", &["2026-11-22", "2026-11-23"], false), 1);
        let first = queue.next(1).expect("a request");
        assert_eq!(text(&first), "c 2026-11-22");
        assert_eq!(drain(&mut queue, 1), ["b 2026-11-21"], "the last rank waits");
        assert!(queue.awaits_calls(0, date("2026-11-22")));
        queue.answered(&first, 1);
        assert!(!queue.awaits_calls(0, date("2026-11-22")));
        assert_eq!(drain(&mut queue, 1), ["c 2026-11-23", "a 2026-11-20"]);
    }

    #[test]
    fn dates_that_are_added_later_come_in_their_order() {
        let mut queue = AskQueue::default();
        queue.add(asks("a", &["2026-11-20", "2026-11-22"], false), 9);
        let more = ["2026-11-19", "2026-11-21"].map(date);
        assert_eq!(queue.add_calls(0, &"a".into(), more.into(), 9), 2);
        let order = ["a 2026-11-19", "a 2026-11-20", "a 2026-11-21", "a 2026-11-22"];
        assert_eq!(drain(&mut queue, 9), order);
    }
}
