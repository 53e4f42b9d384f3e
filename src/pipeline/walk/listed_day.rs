//! A day as the walk has listed it, without its calls and records: which rooms were asked for it, and which gave no answer.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, NaiveDate};

use super::assign::{DayAssigner, Place, contains};
use super::found::{DayWork, JobScope, RoomsAsked, SpaceScope};
use crate::ids::RoomId;
use crate::lake::manifest::Missed;

impl DayAssigner<'_> {
    /// A day as it was listed, still without calls and records.
    pub(super) fn day(&self, scope: &JobScope, space: usize, date: NaiveDate) -> DayWork {
        let of_space = &scope.spaces[space];
        let asked = self.asked(of_space, date);
        let missed = self.missed(of_space, (space, date), &asked);
        let gone = self.gone_on(space, date);
        let refused = self.refused_of(space, &gone, &missed);
        DayWork {
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
            is_more: false,
            has_marker: self
                .open
                .iter()
                .any(|open| open.space_id == of_space.id && open.date == date),
            ..DayWork::more(date, of_space)
        }
    }

    /// The rooms that were asked for the day; none if only a call led to the day.
    fn asked(&self, space: &SpaceScope, date: NaiveDate) -> RoomsAsked {
        let in_range = contains(space.within(self.window), date);
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

    fn missed(&self, scope: &SpaceScope, (space, date): Place, asked: &RoomsAsked) -> Missed {
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
