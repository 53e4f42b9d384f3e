//! The page's view of the lake's coverage: a window of days by space, months, sums. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{Datelike, Days, Months, NaiveDate};

use crate::lake::manifest::Quality;
use crate::status::{DateRange, DayStatus};

/// The days of the page's default window: five weeks.
const WINDOW: u64 = 35;

/// The earlier weeks that a weekday's calls are compared with, and the fewest usual calls for a comparison.
const WEEKS: u64 = 4;
const FEWEST: u64 = 5;

/// The state of a day, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DayCompleteness {
    /// The day is before the lake's first one, or not over yet.
    Nothing,
    /// The day was exported, and there were no calls.
    Empty,
    /// Everything is in the lake.
    Whole,
    /// Only files that the API refuses are missing.
    Denied,
    /// Something did not come in time; only a backfill asks again.
    Lost,
    /// Something is not ready yet, or the day was not listed completely.
    Pending,
    /// Everything has landed, but the tables were not built from it.
    Unbuilt,
    /// The day was never exported.
    Unseen,
    /// Something failed.
    Failed,
}

impl DayCompleteness {
    /// The state of a day that the lake has.
    pub fn of(day: &DayStatus) -> Self {
        let failed = day.reports.failed + day.records.failed + day.rooms_missed;
        let pending = day.calls_pending + day.reports.pending + day.records.pending;
        if failed > 0 || day.space_missed || day.is_damaged() {
            Self::Failed
        } else if !day.built {
            Self::Unbuilt
        } else if pending > 0 || !day.listed {
            Self::Pending
        } else if day.reports.lost + day.records.lost > 0 {
            Self::Lost
        } else if day.reports.denied + day.records.denied > 0 {
            Self::Denied
        } else if day.calls + day.records.done + day.records.unavailable == 0 {
            Self::Empty
        } else {
            Self::Whole
        }
    }

    /// The class for the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Empty => "empty",
            Self::Whole => "whole",
            Self::Denied => "denied",
            Self::Lost => "lost",
            Self::Pending => "pending",
            Self::Unbuilt => "unbuilt",
            Self::Unseen => "unseen",
            Self::Failed => "failed",
        }
    }

    /// The sign, for readers who can't see the colour.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Empty => "–",
            Self::Whole => "✓",
            Self::Denied => "§",
            Self::Lost => "!",
            Self::Pending => "…",
            Self::Unbuilt => "◐",
            Self::Unseen => "?",
            Self::Failed => "×",
        }
    }

    /// True if the day needs attention.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Unbuilt | Self::Unseen | Self::Failed)
    }
}

/// The space of a day. A damaged day knows it only from its key.
pub fn space_of(day: &DayStatus) -> &str {
    if !day.is_damaged() {
        return &day.space_id;
    }
    let name = day.space_id.rsplit('/').next().unwrap_or_default();
    name.strip_suffix(".json").unwrap_or(name)
}

/// The number of things missing on a day.
pub fn missing(day: &DayStatus) -> u64 {
    day.calls_pending
        + day.reports.pending
        + day.reports.failed
        + day.records.pending
        + day.records.failed
        + day.rooms_missed
        + u64::from(day.space_missed)
}

/// The sort key of a name as people sort: `Room 2` before `Room 10`, ignoring case.
pub fn natural(name: &str) -> Vec<(u128, String)> {
    let mut parts: Vec<(u128, String)> = Vec::new();
    let mut digits = String::new();
    let mut words = String::new();
    for letter in name.chars().flat_map(char::to_lowercase) {
        if !letter.is_ascii_digit() {
            words.push(letter);
            continue;
        }
        if !words.is_empty() || digits.len() >= 30 {
            parts.push((digits.parse().unwrap_or(u128::MAX), std::mem::take(&mut words)));
            digits.clear();
        }
        digits.push(letter);
    }
    parts.push((digits.parse().unwrap_or(u128::MAX), words));
    parts
}

/// The sums of some days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    pub calls: u64,
    pub participants: u64,
    pub reports: u64,
    pub records: u64,
    pub recorded_s: u64,
    pub bytes: u64,
    /// The bytes of reports, recordings and tables.
    pub lake_bytes: u64,
    pub missing: u64,
    pub quality: Quality,
}

impl Sums {
    /// Adds other sums.
    pub fn join(&mut self, other: &Self) {
        self.calls += other.calls;
        self.participants += other.participants;
        self.reports += other.reports;
        self.records += other.records;
        self.recorded_s += other.recorded_s;
        self.bytes += other.bytes;
        self.lake_bytes += other.lake_bytes;
        self.missing += other.missing;
        self.quality.add(&other.quality);
    }

    pub fn add(&mut self, day: &DayStatus) {
        self.calls += day.calls;
        self.participants += day.participants;
        self.reports += day.reports.done;
        self.records += day.records.done;
        self.recorded_s += day.recorded_s;
        self.bytes += day.recorded_bytes;
        self.lake_bytes += day.lake_bytes;
        self.missing += missing(day);
        self.quality.add(&day.quality);
    }
}

/// All that is known of the lake's days, sorted for the page.
pub struct View<'a> {
    pub today: NaiveDate,
    by_date: BTreeMap<NaiveDate, Vec<&'a DayStatus>>,
    /// The first day of each space: before it, nobody was to look.
    first: HashMap<&'a str, NaiveDate>,
    names: HashMap<&'a str, &'a str>,
}

/// The days of a space in a window.
pub struct CalendarRow<'a> {
    pub space: &'a str,
    pub name: &'a str,
    pub cells: Vec<CalendarCell<'a>>,
}

impl CalendarRow<'_> {
    /// True if a day of the space needs attention.
    pub fn is_open(&self) -> bool {
        self.cells.iter().any(|cell| cell.state.is_open())
    }
}

/// A day of a space.
#[derive(Clone, Copy)]
pub struct CalendarCell<'a> {
    pub date: NaiveDate,
    pub state: DayCompleteness,
    pub day: Option<&'a DayStatus>,
}

/// A month: the number of days by state, counted per space, and their sums.
#[derive(Debug, Default)]
pub struct Month {
    pub first: NaiveDate,
    pub states: BTreeMap<DayCompleteness, u64>,
    pub sums: Sums,
}

impl<'a> View<'a> {
    /// Builds the view of `days`, which coverage sorts by date.
    pub fn new(days: &'a [Arc<DayStatus>], today: NaiveDate) -> Self {
        let mut view = Self {
            today,
            by_date: BTreeMap::new(),
            first: HashMap::new(),
            names: HashMap::new(),
        };
        for day in days {
            view.by_date.entry(day.date).or_default().push(day);
            view.first.entry(space_of(day)).or_insert(day.date);
            // The latest name wins.
            if let Some(name) = &day.space_name {
                view.names.insert(space_of(day), name);
            }
        }
        view
    }

    /// True if the lake has no day at all.
    pub fn is_empty(&self) -> bool {
        self.by_date.is_empty()
    }

    /// All days, by date.
    pub fn days(&self) -> impl Iterator<Item = &'a DayStatus> {
        self.by_date.values().flatten().copied()
    }

    /// A space's name, or its id.
    pub fn name<'b>(&self, space: &'b str) -> &'b str
    where
        'a: 'b,
    {
        self.names.get(space).copied().unwrap_or(space)
    }

    /// The spaces by name, with their ids.
    pub fn spaces(&self) -> Vec<(&'a str, &'a str)> {
        let mut spaces: Vec<_> = self.first.keys().map(|id| (*id, self.name(id))).collect();
        spaces.sort_by_cached_key(|(id, name)| (natural(name), *id));
        spaces
    }

    /// The dates of the default window; today is the last.
    pub fn latest(&self) -> Vec<NaiveDate> {
        first_of_window(self.today)
            .iter_days()
            .take(WINDOW as usize)
            .collect()
    }

    /// The dates of a month, up to today.
    pub fn month(&self, first: NaiveDate) -> Vec<NaiveDate> {
        let end = first + Months::new(1);
        first.iter_days().take_while(|date| *date < end).collect()
    }

    /// The state of a space's date that the lake does not have.
    fn absent(&self, space: &str, date: NaiveDate) -> DayCompleteness {
        let begun = self.first.get(space).is_some_and(|first| *first <= date);
        if begun && date < self.today {
            DayCompleteness::Unseen
        } else {
            DayCompleteness::Nothing
        }
    }

    /// The spaces with data in a window: those that need attention first, then by name.
    pub fn rows(&self, dates: &[NaiveDate]) -> Vec<CalendarRow<'a>> {
        let in_window = dates.iter().filter_map(|date| self.by_date.get(date)).flatten();
        let mut days: HashMap<(&str, NaiveDate), &'a DayStatus> = HashMap::new();
        let mut spaces = BTreeSet::new();
        for day in in_window {
            days.insert((space_of(day), day.date), day);
            spaces.insert(space_of(day));
        }
        let mut rows: Vec<CalendarRow<'a>> = spaces
            .into_iter()
            .map(|space| CalendarRow {
                space,
                name: self.name(space),
                cells: dates
                    .iter()
                    .map(|date| {
                        let day = days.get(&(space, *date)).copied();
                        let state = day.map_or_else(|| self.absent(space, *date), DayCompleteness::of);
                        CalendarCell {
                            date: *date,
                            state,
                            day,
                        }
                    })
                    .collect(),
            })
            .collect();
        rows.sort_by_cached_key(|row| (!row.is_open(), natural(row.name), row.space));
        rows
    }

    /// The worst state of a date over all spaces of `rows`; `at` is the date's index in their window.
    pub fn worst(&self, rows: &[CalendarRow<'a>], at: usize, date: NaiveDate) -> DayCompleteness {
        let states = rows.iter().filter_map(|row| Some(row.cells.get(at)?.state));
        let worst = states.max().unwrap_or(DayCompleteness::Nothing);
        let begun = self.by_date.keys().next().is_some_and(|first| *first <= date);
        if begun && date < self.today && !self.by_date.contains_key(&date) {
            worst.max(DayCompleteness::Unseen)
        } else {
            worst
        }
    }

    /// The days of a date: those that need attention first, the worst of them first, then by the space's name.
    pub fn on(&self, date: NaiveDate) -> Vec<&'a DayStatus> {
        let mut days = self.by_date.get(&date).cloned().unwrap_or_default();
        days.sort_by_cached_key(|day| {
            let (state, space) = (DayCompleteness::of(day), space_of(day));
            let open = std::cmp::Reverse(state.is_open().then_some(state));
            (open, natural(self.name(space)), space.to_owned())
        });
        days
    }

    /// The calls of a date and the average of the same weekday in the weeks before, if the date has less than half of it.
    pub fn drop_on(&self, date: NaiveDate) -> Option<(u64, u64)> {
        let before = (1..=WEEKS).filter_map(|week| self.by_date.get(&(date - Days::new(7 * week))));
        let calls = |days: &Vec<&DayStatus>| days.iter().map(|day| day.calls).sum::<u64>();
        let before: Vec<u64> = before.map(calls).collect();
        let usual = before.iter().sum::<u64>() / (before.len() as u64).max(1);
        let now = calls(self.by_date.get(&date)?);
        (before.len() >= 2 && usual >= FEWEST && now * 2 < usual).then_some((now, usual))
    }

    /// The sums of some dates.
    pub fn sums(&self, dates: &[NaiveDate]) -> Sums {
        let mut sums = Sums::default();
        let days = dates.iter().filter_map(|date| self.by_date.get(date)).flatten();
        days.for_each(|day| sums.add(day));
        sums
    }

    /// Every month from the lake's first day to today or its last day, the latest first.
    pub fn months(&self) -> Vec<Month> {
        let Some(first) = self.by_date.keys().next().and_then(|date| date.with_day(1)) else {
            return Vec::new();
        };
        let last = self.by_date.keys().next_back().copied();
        let last = last.map_or(self.today, |last| last.max(self.today));
        let starts = std::iter::successors(Some(first), |month| Some(*month + Months::new(1)));
        let mut months: Vec<Month> = starts
            .take_while(|month| *month <= last)
            .map(|month| self.sum_of_month(month))
            .collect();
        months.reverse();
        months
    }

    fn sum_of_month(&self, first: NaiveDate) -> Month {
        let dates = self.month(first);
        let mut month = Month {
            first,
            ..Month::default()
        };
        let rows = self.rows(&dates);
        for (at, date) in dates.iter().enumerate() {
            // If no space has data in the month, each unseen date counts once.
            if rows.is_empty() && self.worst(&rows, at, *date) == DayCompleteness::Unseen {
                *month.states.entry(DayCompleteness::Unseen).or_default() += 1;
            }
        }
        for cell in rows.iter().flat_map(|row| &row.cells) {
            *month.states.entry(cell.state).or_default() += 1;
        }
        month.sums = self.sums(&dates);
        month.states.remove(&DayCompleteness::Nothing);
        month
    }
}

/// The default window.
pub fn window(today: NaiveDate) -> DateRange {
    DateRange::between(first_of_window(today), today)
}

fn first_of_window(today: NaiveDate) -> NaiveDate {
    today - Days::new(WINDOW - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::key;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }

    fn day(on: &str, space: &str) -> DayStatus {
        DayStatus {
            date: date(on),
            space_id: space.into(),
            space_name: Some(format!("name of {space}")),
            listed: true,
            built: true,
            calls: 2,
            complete: true,
            ..DayStatus::default()
        }
    }

    fn states(view: &View<'_>, dates: &[NaiveDate]) -> Vec<(String, String)> {
        view.rows(dates)
            .iter()
            .map(|row| {
                let signs = row.cells.iter().map(|cell| match cell.state {
                    DayCompleteness::Nothing => " ",
                    state => state.sign(),
                });
                (row.space.to_owned(), signs.collect())
            })
            .collect()
    }

    #[test]
    fn the_state_of_a_day_is_that_of_its_worst_part() {
        let of = |change: fn(&mut DayStatus)| {
            let mut day = day("2026-11-01", "s");
            change(&mut day);
            DayCompleteness::of(&day)
        };
        assert_eq!(of(|_| ()), DayCompleteness::Whole);
        assert_eq!(of(|day| day.calls = 0), DayCompleteness::Empty);
        assert_eq!(of(|day| day.reports.denied = 1), DayCompleteness::Denied);
        assert_eq!(of(|day| day.records.lost = 1), DayCompleteness::Lost);
        assert_eq!(of(|day| day.listed = false), DayCompleteness::Pending);
        assert_eq!(of(|day| day.built = false), DayCompleteness::Unbuilt);
        assert!(DayCompleteness::Unbuilt.is_open());
        let pending: [fn(&mut DayStatus); 3] = [
            |day| day.calls_pending = 1,
            |day| day.reports.pending = 1,
            |day| day.records.pending = 1,
        ];
        for change in pending {
            assert_eq!(of(change), DayCompleteness::Pending);
        }
        let failed: [fn(&mut DayStatus); 5] = [
            |day| day.reports.failed = 1,
            |day| day.records.failed = 1,
            |day| day.rooms_missed = 1,
            |day| day.space_missed = true,
            |day| day.space_id = format!("{}date=2026-11-01/s.json", key::DAYS).into(),
        ];
        for change in failed {
            assert_eq!(of(change), DayCompleteness::Failed);
        }
        assert!(
            !of(|day| day.records.unavailable = 1).is_open(),
            "it will never exist"
        );
    }

    #[test]
    fn a_day_without_data_is_unseen_only_between_the_first_day_and_today() {
        let mut failed = day("2026-11-04", "a");
        failed.records.failed = 1;
        let days: Vec<_> = [
            day("2026-11-02", "a"),
            failed,
            // The space starts later than the other one.
            day("2026-11-04", "b"),
        ]
        .map(Arc::new)
        .to_vec();
        let view = View::new(&days, date("2026-11-06"));
        let window: Vec<_> = date("2026-11-01").iter_days().take(6).collect();
        let expected = [("a", " ✓?×? "), ("b", "   ✓? ")].map(|(a, b)| (a.into(), b.into()));
        assert_eq!(states(&view, &window), expected);
        let rows = view.rows(&window);
        let worst: Vec<DayCompleteness> = window
            .iter()
            .enumerate()
            .map(|(at, date)| view.worst(&rows, at, *date))
            .collect();
        use DayCompleteness::{Failed, Nothing, Unseen, Whole};
        assert_eq!(worst, [Nothing, Whole, Unseen, Failed, Unseen, Nothing]);
        assert_eq!(view.latest().len(), 35);
        assert_eq!(view.latest().last(), Some(&date("2026-11-06")));
    }

    #[test]
    fn names_are_sorted_as_people_sort_and_spaces_with_problems_come_first() {
        let mut names = ["Класс 10", "класс 2", "Класс 2б", "Ангел", "7", "Класс"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["7", "Ангел", "Класс", "класс 2", "Класс 2б", "Класс 10"]);
        let mut pending = day("2026-11-02", "z");
        pending.reports.pending = 1;
        let days: Vec<_> = [day("2026-11-02", "s10"), day("2026-11-02", "s2"), pending]
            .map(Arc::new)
            .to_vec();
        let view = View::new(&days, date("2026-11-03"));
        let order: Vec<_> = view
            .rows(&[date("2026-11-02")])
            .iter()
            .map(|row| row.space)
            .collect();
        assert_eq!(order, ["z", "s2", "s10"]);
        let order: Vec<_> = view
            .on(date("2026-11-02"))
            .iter()
            .map(|day| space_of(day))
            .collect();
        assert_eq!(order, ["z", "s2", "s10"]);
    }

    #[test]
    fn a_date_with_less_than_half_of_the_usual_calls_is_reported() {
        let with = |on: &str, calls: u64| {
            let mut day = day(on, "a");
            day.calls = calls;
            Arc::new(day)
        };
        let days = [
            with("2026-11-05", 20),
            with("2026-11-12", 21),
            with("2026-11-18", 0),
            with("2026-11-19", 9),
        ];
        let drop = |days: &[Arc<DayStatus>]| View::new(days, date("2026-11-20")).drop_on(date("2026-11-19"));
        assert_eq!(drop(&days), Some((9, 20)));
        assert_eq!(drop(&days[1..]), None, "one week is no habit");
        let mut enough = days.clone();
        enough[3] = with("2026-11-19", 10);
        assert_eq!(drop(&enough), None);
    }

    #[test]
    fn months_count_days_per_space_and_dates_without_data_once() {
        let days: Vec<_> = [
            day("2026-08-30", "a"),
            day("2026-08-31", "b"),
            day("2026-11-05", "a"),
        ]
        .map(Arc::new)
        .to_vec();
        let view = View::new(&days, date("2026-11-06"));
        let months = view.months();
        let told: Vec<String> = months
            .iter()
            .map(|month| format!("{} {:?} {}", month.first, month.states, month.sums.calls))
            .collect();
        assert_eq!(
            told,
            [
                "2026-11-01 {Whole: 1, Unseen: 4} 2",
                "2026-10-01 {Unseen: 31} 0",
                "2026-09-01 {Unseen: 30} 0",
                "2026-08-01 {Whole: 2, Unseen: 1} 4",
            ]
        );
        assert!(View::new(&[], date("2026-11-06")).months().is_empty());
    }

    #[test]
    fn a_damaged_day_belongs_to_the_space_of_its_key() {
        let mut damaged = day("2026-11-02", "a");
        damaged.space_id = key::manifest(damaged.date, &"a".into()).into();
        damaged.space_name = None;
        let days = [Arc::new(day("2026-11-01", "a")), Arc::new(damaged)];
        let view = View::new(&days, date("2026-11-03"));
        let window: Vec<_> = date("2026-11-01").iter_days().take(2).collect();
        assert_eq!(states(&view, &window), [("a".into(), "✓×".into())]);
        assert_eq!(view.name("a"), "name of a");
    }
}
