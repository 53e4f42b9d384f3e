//! The coverage in memory: the days that were read, from manifests or from the index, by the keys of the manifests. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{Datelike, Days, NaiveDate};

use super::day_ids::DayIds;
use super::day_status::DayStatus;
use super::index::{IdIndex, IndexedDay, IndexedIds, ManifestStamp, YearIndex};
use super::listing::DateRange;
use crate::lake::key;
use crate::store::ListedObject;

/// A lake of at most so many days, which are a few pages of a listing, is always listed whole.
const SMALL: usize = 2000;

/// A day in memory.
pub(super) struct CachedDay {
    /// `None` if no listing can prove that the day is current: it was damaged, or read too soon after its last write.
    pub stamp: Option<ManifestStamp>,
    pub day: Arc<DayStatus>,
    /// `None` until a search needs them, if the day came from the index.
    pub ids: Option<Arc<DayIds>>,
    /// True if the index has the day.
    pub is_indexed: bool,
    /// True if the index has the ids.
    pub has_indexed_ids: bool,
}

impl CachedDay {
    /// True if the index lacks the day or its ids, and may have them.
    fn has_changed(&self) -> bool {
        let lacks_ids = !self.has_indexed_ids && self.ids.is_some();
        self.stamp.is_some() && (!self.is_indexed || lacks_ids)
    }
}

/// The state of a year in the index, compared with the lake.
#[derive(Debug, Default)]
struct IndexedYear {
    /// True if the index says that it lacks no day of the year.
    is_whole: bool,
    /// True if the whole year was listed.
    was_listed: bool,
    /// True if a listing since then showed a day that can't be in the index yet.
    has_others: bool,
}

impl IndexedYear {
    /// True if the index, once it is written, lacks no day of the year.
    fn will_be_whole(&self) -> bool {
        (self.is_whole || self.was_listed) && !self.has_others
    }

    /// True if the index has to say something else than it does.
    fn has_changed(&self) -> bool {
        self.is_whole != self.will_be_whole()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct DayCache {
    days: BTreeMap<String, CachedDay>,
    years: BTreeMap<i32, IndexedYear>,
    /// The days that the index may have and the store has not.
    gone: BTreeSet<String>,
    /// True if all days were listed once.
    was_listed: bool,
}

/// The changes that a year of the index lacks.
pub(super) struct YearChanges {
    pub year: i32,
    /// `Some` if the year was listed whole; then it is certain if the index lacks a day.
    is_whole: Option<bool>,
    has_others: bool,
    days: Vec<(String, IndexedDay)>,
    /// The ids by month.
    pub ids: BTreeMap<NaiveDate, Vec<(String, IndexedIds)>>,
    gone: Vec<String>,
}

impl YearChanges {
    fn new(year: i32) -> Self {
        Self {
            year,
            is_whole: None,
            has_others: false,
            days: Vec::new(),
            ids: BTreeMap::new(),
            gone: Vec::new(),
        }
    }

    /// Makes the changes.
    pub fn apply(&self, index: &mut YearIndex) {
        index.days.extend(self.days.iter().cloned());
        for key in &self.gone {
            index.days.remove(key);
        }
        index.is_whole = self.is_whole.unwrap_or(index.is_whole) && !self.has_others;
    }

    /// Makes the changes of a month.
    pub fn apply_ids(&self, month: NaiveDate, index: &mut IdIndex) {
        index
            .0
            .extend(self.ids.get(&month).into_iter().flatten().cloned());
        for key in &self.gone {
            index.0.remove(key);
        }
    }
}

impl DayCache {
    /// A day, if it is what the listing shows.
    fn current(&self, entry: &ListedObject) -> Option<&CachedDay> {
        let found = self.days.get(&entry.key)?;
        let stamp = found.stamp.as_ref()?;
        stamp.is_of(entry).then_some(found)
    }

    /// The listed days that must be read.
    pub fn lacking(&self, listed: &[ListedObject]) -> Vec<ListedObject> {
        let lacking = listed.iter().filter(|entry| self.current(entry).is_none());
        lacking.cloned().collect()
    }

    /// The days with these keys.
    pub fn of(&self, listed: &[ListedObject]) -> Vec<Arc<DayStatus>> {
        let found = listed.iter().filter_map(|entry| self.days.get(&entry.key));
        found.map(|found| Arc::clone(&found.day)).collect()
    }

    /// All days up to a date, by date and key.
    pub fn up_to(&self, last: NaiveDate) -> Vec<Arc<DayStatus>> {
        let days = self.days.values().map(|found| &found.day);
        days.filter(|day| day.date <= last).cloned().collect()
    }

    /// The date of each day, in order.
    pub fn dates(&self) -> Vec<String> {
        self.days
            .values()
            .map(|found| found.day.date.to_string())
            .collect()
    }

    /// True if there is no day.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Adds or replaces a day.
    pub fn insert(&mut self, key: String, day: CachedDay) {
        self.gone.remove(&key);
        self.days.insert(key, day);
    }

    /// Removes a day that the store has not.
    pub fn remove(&mut self, key: String) {
        self.days.remove(&key);
        self.gone.insert(key);
    }

    /// True if the index lacks something.
    pub fn has_changes(&self) -> bool {
        !self.gone.is_empty()
            || self.years.values().any(IndexedYear::has_changed)
            || self.days.values().any(CachedDay::has_changed)
    }

    /// Adds the days of a year of the index, unless they are known.
    pub fn add_index(&mut self, year: i32, index: YearIndex) {
        self.years.entry(year).or_default().is_whole = index.is_whole;
        for (key, indexed) in index.days {
            if self.gone.contains(&key) {
                continue;
            }
            self.days.entry(key).or_insert_with(|| CachedDay {
                stamp: Some(indexed.stamp),
                day: indexed.day,
                ids: None,
                is_indexed: true,
                has_indexed_ids: true,
            });
        }
    }

    /// Adds the ids of a month of the index to the days that they belong to.
    pub fn add_ids(&mut self, index: IdIndex) {
        for (key, indexed) in index.0 {
            if let Some(day) = self.days.get_mut(&key)
                && day.stamp.as_ref() == Some(&indexed.stamp)
            {
                day.ids.get_or_insert(indexed.ids);
            }
        }
    }

    /// The ids of a day, if they are known.
    pub fn ids(&self, key: &str) -> Option<&DayIds> {
        self.days.get(key)?.ids.as_deref()
    }

    /// Those of some days whose ids are not in memory, as a listing showed them.
    pub fn lacking_ids(&self, keys: &[String]) -> Vec<ListedObject> {
        let lacking = |key: &String| {
            let day = self.days.get(key).filter(|day| day.ids.is_none())?;
            Some(day.stamp.as_ref()?.entry(key))
        };
        keys.iter().filter_map(lacking).collect()
    }

    /// Takes over a listing of a range whose days were read: forgets the days that are gone. `today` is the last date that a
    /// lake can have.
    pub fn note_listing(&mut self, range: DateRange, today: NaiveDate, listed: &[ListedObject]) {
        let keys: BTreeSet<&str> = listed.iter().map(|entry| entry.key.as_str()).collect();
        let mut years = BTreeSet::new();
        let mut gone = Vec::new();
        for (key, found) in self.days.iter().filter(|(_, found)| range.has(found.day.date)) {
            years.insert(found.day.date.year());
            if !keys.contains(key.as_str()) {
                gone.push(key.clone());
            }
        }
        for key in gone {
            self.remove(key);
        }
        for year in years {
            let is_whole = is_whole_year(range, year, today);
            let of_year = listed.iter().filter(|entry| year_of(&entry.key) == Some(year));
            let has_others = of_year.into_iter().any(|entry| self.current(entry).is_none());
            let state = self.years.entry(year).or_default();
            state.was_listed |= is_whole;
            state.has_others = has_others || (state.has_others && !is_whole);
        }
        self.was_listed |= range.from.is_none() && range.to.is_none_or(|to| to >= today);
    }

    /// The ranges that must be listed so that `shown` is exact and no day is missing; `None` if that is the whole lake.
    pub fn ranges_to_list(&self, shown: &[DateRange], last: NaiveDate) -> Option<Vec<DateRange>> {
        if self.days.len() <= SMALL {
            return None;
        }
        if self.was_listed {
            return Some(shown.to_vec());
        }
        let whole: Vec<i32> = self
            .years
            .iter()
            .filter(|(_, year)| year.is_whole)
            .map(|(year, _)| *year)
            .collect();
        // The dates between the whole years may have days that the index lacks.
        let mut ranges = Vec::new();
        let mut from: Option<NaiveDate> = None;
        for year in &whole {
            let (first, end) = (first_of(*year)?, first_of(year + 1)?);
            let to = first.checked_sub_days(Days::new(1));
            if from.is_none_or(|from| from < first) {
                ranges.push(DateRange { from, to });
            }
            from = Some(end);
        }
        if from? <= last {
            let to = Some(last);
            ranges.push(DateRange { from, to });
        }
        let others = shown
            .iter()
            .filter(|shown| !ranges.iter().any(|range| range.covers(**shown)));
        let others: Vec<DateRange> = others.copied().collect();
        ranges.extend(others);
        Some(ranges)
    }

    /// The number of days that the index could have and has not.
    pub fn unindexed(&self) -> usize {
        let days = self.days.values();
        days.filter(|day| day.stamp.is_some() && !day.is_indexed).count()
    }

    /// The changes that the index lacks, by year.
    pub fn changes(&self) -> Vec<YearChanges> {
        let mut changes: BTreeMap<i32, YearChanges> = BTreeMap::new();
        for (key, found) in &self.days {
            let Some(stamp) = &found.stamp else { continue };
            let (date, stamp) = (found.day.date, || stamp.clone());
            if !found.has_changed() {
                continue;
            }
            let year = date.year();
            let change = changes.entry(year).or_insert_with(|| YearChanges::new(year));
            if !found.is_indexed {
                let day = Arc::clone(&found.day);
                change
                    .days
                    .push((key.clone(), IndexedDay { stamp: stamp(), day }));
            }
            if let (false, Some(ids), Some(month)) = (found.has_indexed_ids, &found.ids, date.with_day(1)) {
                let ids = Arc::clone(ids);
                let indexed = (key.clone(), IndexedIds { stamp: stamp(), ids });
                change.ids.entry(month).or_default().push(indexed);
            }
        }
        for key in &self.gone {
            if let Some(year) = year_of(key) {
                let change = changes.entry(year).or_insert_with(|| YearChanges::new(year));
                change.gone.push(key.clone());
            }
        }
        for (year, state) in &self.years {
            if state.has_changed() {
                changes.entry(*year).or_insert_with(|| YearChanges::new(*year));
            }
            if let Some(change) = changes.get_mut(year) {
                change.is_whole = state.was_listed.then(|| state.will_be_whole());
                change.has_others = state.has_others;
            }
        }
        changes.into_values().collect()
    }

    /// Notes that the index has these changes now.
    pub fn note_indexed(&mut self, changes: &YearChanges) {
        for (key, indexed) in &changes.days {
            if let Some(day) = self.days.get_mut(key)
                && day.stamp.as_ref() == Some(&indexed.stamp)
            {
                day.is_indexed = true;
            }
        }
        for (key, indexed) in changes.ids.values().flatten() {
            if let Some(day) = self.days.get_mut(key)
                && day.stamp.as_ref() == Some(&indexed.stamp)
            {
                day.has_indexed_ids = true;
            }
        }
        for key in &changes.gone {
            self.gone.remove(key);
        }
        if let Some(state) = self.years.get_mut(&changes.year) {
            state.is_whole = changes.is_whole.unwrap_or(state.is_whole) && !changes.has_others;
        }
    }
}

fn first_of(year: i32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(year, 1, 1)
}

fn last_of(year: i32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(year, 12, 31)
}

fn year_of(key: &str) -> Option<i32> {
    key::date_in(key).map(|date| date.year())
}

/// True if a range covers all dates of a year that a lake can have.
fn is_whole_year(range: DateRange, year: i32, today: NaiveDate) -> bool {
    let begins = range
        .from
        .is_none_or(|from| first_of(year).is_some_and(|first| from <= first));
    let ends = range
        .to
        .is_none_or(|to| to >= today || last_of(year).is_some_and(|last| to >= last));
    begins && ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }

    /// A cache of many days of these years, which the index has.
    fn cache(years: &[(i32, bool)]) -> DayCache {
        let mut cache = DayCache::default();
        for (year, is_whole) in years {
            let dates = first_of(*year).expect("date").iter_days().take(300);
            let days = dates.flat_map(|date| {
                let of_space = move |space: u32| {
                    let space = space.to_string();
                    let day = DayStatus {
                        date,
                        space_id: space.as_str().into(),
                        ..DayStatus::default()
                    };
                    let key = key::manifest(date, &space.as_str().into());
                    let stamp: ManifestStamp =
                        serde_json::from_value(serde_json::json!({"bytes": 1, "etag": "a"}))
                            .expect("a stamp");
                    (
                        key,
                        IndexedDay {
                            stamp,
                            day: Arc::new(day),
                        },
                    )
                };
                (0..7).map(of_space)
            });
            let index = YearIndex {
                is_whole: *is_whole,
                days: days.collect(),
                rooms: Vec::new(),
            };
            cache.add_index(*year, index);
        }
        cache
    }

    fn entry(key: &str) -> ListedObject {
        ListedObject {
            key: key.into(),
            bytes: 1,
            modified: None,
            etag: Some("a".into()),
        }
    }

    fn to_list(cache: &DayCache, from: &str, last: &str) -> Option<String> {
        let shown = DateRange::between(date(from), date(last));
        let ranges = cache.ranges_to_list(&[shown], date(last))?;
        let end = |end: Option<NaiveDate>| end.map(|end| end.to_string()).unwrap_or_default();
        let ranges = ranges
            .iter()
            .map(|range| format!("{}..{}", end(range.from), end(range.to)));
        Some(ranges.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_the_index_may_lack_and_what_is_shown_is_listed() {
        let list = |years: &[(i32, bool)]| to_list(&cache(years), "2026-02-01", "2026-03-01");
        assert_eq!(list(&[]), None, "a lake without an index is listed whole");
        assert_eq!(list(&[(2025, false), (2026, false)]), None);
        assert_eq!(
            list(&[(2024, true), (2025, true), (2026, true)]).as_deref(),
            Some("..2023-12-31 2026-02-01..2026-03-01")
        );
        assert_eq!(
            list(&[(2023, true), (2024, false), (2025, true), (2026, false)]).as_deref(),
            Some("..2022-12-31 2024-01-01..2024-12-31 2026-01-01..2026-03-01")
        );
    }

    #[test]
    fn a_listing_tells_if_the_index_will_lack_a_day_of_the_year() {
        let year = DateRange::between(date("2025-01-01"), date("2025-12-31"));
        let month = DateRange::between(date("2025-03-01"), date("2025-03-31"));
        let today = date("2026-03-01");
        let listed = |cache: &DayCache, range: DateRange| -> Vec<ListedObject> {
            let keys = cache.days.iter().filter(|(_, found)| range.has(found.day.date));
            keys.map(|(key, _)| entry(key)).collect()
        };
        let is_whole = |cache: &DayCache| cache.years[&2025].will_be_whole();
        let mut cache = cache(&[(2025, false)]);
        let of_month = listed(&cache, month);
        cache.note_listing(month, today, &of_month);
        assert!(!is_whole(&cache) && !cache.has_changes(), "a month does not tell");
        let all = listed(&cache, year);
        cache.note_listing(year, today, &all);
        assert!(is_whole(&cache) && cache.has_changes());
        // A day whose manifest the index does not have, in a part of the year.
        let mut others = of_month.clone();
        others[0].etag = Some("b".into());
        cache.note_listing(month, today, &others);
        assert!(!is_whole(&cache));
        cache.note_listing(month, today, &of_month);
        assert!(!is_whole(&cache), "the same may be true of another month");
        cache.note_listing(year, today, &all);
        assert!(is_whole(&cache));
        // A day that is gone is taken out of the index.
        cache.note_listing(month, today, &of_month[1..]);
        let changes = cache.changes();
        let mut index = YearIndex {
            days: [(of_month[0].key.clone(), indexed())].into(),
            ..YearIndex::default()
        };
        changes[0].apply(&mut index);
        assert!(index.days.is_empty() && index.is_whole);
        cache.note_indexed(&changes[0]);
        assert!(!cache.has_changes());
    }

    fn indexed() -> IndexedDay {
        let stamp = serde_json::from_value(serde_json::json!({"bytes": 1})).expect("a stamp");
        IndexedDay {
            stamp,
            day: Arc::default(),
        }
    }
}
