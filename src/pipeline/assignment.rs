//! Assigns the days of a job to its shards, so that each day has one owner and no shard needs to ask another. Pure.
//!
//! The days are put in one row: space after space, by id, and date after date. The row is cut into one run of days for each
//! shard. So a shard has neighbouring dates of few spaces, and only at a cut inside a space do two shards list the same
//! margin dates and the same rooms.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use sha2::{Digest, Sha256};

use crate::ids::{DayId, SpaceId};
use crate::shard::Shard;

/// The bytes of recordings of days, as far as they are known.
pub type RecordedBytes = BTreeMap<DayId, u64>;

/// The shares of all shards of a job.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    shards: u32,
    from: NaiveDate,
    to: NaiveDate,
    /// In order, each once.
    spaces: Vec<SpaceId>,
    /// The place in the row of the first day of each shard, and the end of the row.
    starts: Vec<usize>,
}

impl Assignment {
    /// The assignment of the dates from `from` to `to` of some spaces. All shards are about as long; if recorded bytes are
    /// known, half of the weight is the days and half is the bytes.
    pub fn new(
        shards: u32,
        spaces: impl IntoIterator<Item = SpaceId>,
        (from, to): (NaiveDate, NaiveDate),
        recorded: &RecordedBytes,
    ) -> Self {
        let mut spaces: Vec<_> = spaces.into_iter().collect();
        spaces.sort();
        spaces.dedup();
        let mut assignment = Self {
            shards,
            from,
            to,
            spaces,
            starts: Vec::new(),
        };
        assignment.starts = assignment.cut(recorded);
        assignment
    }

    /// The dates of each space.
    fn dates(&self) -> usize {
        usize::try_from((self.to - self.from).num_days() + 1).unwrap_or(0)
    }

    fn cut(&self, recorded: &RecordedBytes) -> Vec<usize> {
        let length = self.spaces.len() * self.dates();
        let mut bytes = vec![0_u128; if recorded.is_empty() { 0 } else { length }];
        for (day, known) in recorded {
            if let Some(place) = self.place(&day.space, day.date)
                && (self.from..=self.to).contains(&day.date)
            {
                bytes[place] = u128::from(*known);
            }
        }
        let all: u128 = bytes.iter().sum();
        let weight = |place: usize| match all {
            0 => 1,
            _ => all + bytes[place] * length as u128,
        };
        let total: u128 = (0..length).map(weight).sum();
        let (mut starts, mut before) = (vec![0], 0);
        for place in 0..length {
            let weight = weight(place);
            // A day belongs to the shard in whose part its middle lies.
            let owner = (2 * before + weight) * u128::from(self.shards) / (2 * total);
            while (starts.len() as u128) <= owner {
                starts.push(place);
            }
            before += weight;
        }
        starts.resize(self.shards as usize + 1, length);
        starts
    }

    /// The place of a day in the row; a date outside of the job's counts as the nearest one.
    fn place(&self, space: &SpaceId, date: NaiveDate) -> Option<usize> {
        let space = self.spaces.binary_search(space).ok()?;
        let day = (date.clamp(self.from, self.to.max(self.from)) - self.from).num_days();
        Some(space * self.dates() + usize::try_from(day).ok()?)
    }

    /// The shard of a day. A day of a space that the job did not find has one too, by the digest of the space's id.
    pub fn owner(&self, day: &DayId) -> u32 {
        let Some(place) = self.place(&day.space, day.date) else {
            let digest = Sha256::digest(day.space.as_str());
            let number = digest
                .iter()
                .take(4)
                .fold(0, |number, byte| number << 8 | u32::from(*byte));
            return number % self.shards;
        };
        let after = self.starts.partition_point(|start| *start <= place);
        u32::try_from(after)
            .unwrap_or(self.shards)
            .min(self.shards)
            .saturating_sub(1)
    }

    /// True if a day belongs to a shard.
    pub fn is_of(&self, shard: Shard, day: &DayId) -> bool {
        self.owner(day) == shard.index
    }

    /// The dates of a space that a shard has: the first and the last.
    pub fn dates_of(&self, shard: Shard, space: &SpaceId) -> Option<(NaiveDate, NaiveDate)> {
        let of_space = self.place(space, self.from)?;
        let shard = shard.index as usize;
        let first = (*self.starts.get(shard)?).max(of_space);
        let end = (*self.starts.get(shard + 1)?).min(of_space + self.dates());
        let date = |place: usize| self.from + Days::new((place - of_space) as u64);
        (first < end).then(|| (date(first), date(end - 1)))
    }

    /// True if a shard has the first date of a space: it keeps the catalogue of the space's rooms.
    pub fn keeps_catalog(&self, shard: Shard, space: &SpaceId) -> bool {
        self.is_of(shard, &DayId::new(self.from, space.clone()))
    }

    /// A digest of what the cuts depend on. Shards with different digests may have left out days.
    pub fn digest(&self) -> String {
        let text = format!(
            "{} {} {} {:?} {:?}",
            self.shards, self.from, self.to, self.spaces, self.starts
        );
        hex::encode(&Sha256::digest(text)[..8])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 1).expect("a date")
    }

    fn space(number: usize) -> SpaceId {
        format!("space{number:03}").into()
    }

    fn assignment(shards: u32, spaces: usize, dates: u64, recorded: &RecordedBytes) -> Assignment {
        let dates = (first(), first() + Days::new(dates - 1));
        Assignment::new(shards, (0..spaces).map(space), dates, recorded)
    }

    fn shards(count: u32) -> impl Iterator<Item = Shard> {
        (0..count).map(move |index| Shard { index, count })
    }

    /// The days of a shard by its dates.
    fn days(assignment: &Assignment, shard: Shard, spaces: usize) -> Vec<DayId> {
        let of_space = |number| {
            let dates = assignment.dates_of(shard, &space(number));
            let dates = dates.map(|(from, to)| from.iter_days().take_while(move |date| *date <= to));
            dates
                .into_iter()
                .flatten()
                .map(move |date| DayId::new(date, space(number)))
        };
        (0..spaces).flat_map(of_space).collect()
    }

    fn recorded() -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
        proptest::collection::vec((0_usize..8, 0_u64..60, 0_u64..10_000_000_000), 0..40)
    }

    fn by_day(recorded: &[(usize, u64, u64)]) -> RecordedBytes {
        let day = |(number, date, bytes): &(usize, u64, u64)| {
            (DayId::new(first() + Days::new(*date), space(*number)), *bytes)
        };
        recorded.iter().map(day).collect()
    }

    proptest! {
        #[test]
        fn every_day_is_in_exactly_one_shard(
            count in 1_u32..40, spaces in 0_usize..8, dates in 1_u64..60, recorded in recorded()
        ) {
            let assignment = assignment(count, spaces, dates, &by_day(&recorded));
            let mut seen = BTreeMap::new();
            for shard in shards(count) {
                for day in days(&assignment, shard, spaces) {
                    prop_assert_eq!(assignment.owner(&day), shard.index);
                    prop_assert_eq!(seen.insert(day, shard.index), None);
                }
            }
            prop_assert_eq!(seen.len(), spaces * dates as usize);
        }

        #[test]
        fn without_bytes_shards_differ_by_one_day_at_most(
            count in 1_u32..40, spaces in 1_usize..8, dates in 1_u64..60
        ) {
            let assignment = assignment(count, spaces, dates, &RecordedBytes::new());
            let lengths: Vec<_> =
                shards(count).map(|shard| days(&assignment, shard, spaces).len()).collect();
            let (least, most) = (lengths.iter().min().copied(), lengths.iter().max().copied());
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
        }

        #[test]
        fn with_bytes_no_shard_has_more_than_its_part_and_one_day(
            count in 1_u32..12, spaces in 1_usize..8, dates in 1_u64..60, recorded in recorded()
        ) {
            let recorded = by_day(&recorded);
            let assignment = assignment(count, spaces, dates, &recorded);
            let all: Vec<_> = shards(count).flat_map(|shard| days(&assignment, shard, spaces)).collect();
            let bytes = |day: &DayId| recorded.get(day).copied().unwrap_or_default() as f64;
            let (sum, length) = (all.iter().map(bytes).sum::<f64>().max(1.0), all.len() as f64);
            let weight = |day: &DayId| 1.0 / length + bytes(day) / sum;
            let heaviest = all.iter().map(weight).fold(0.0, f64::max);
            for shard in shards(count) {
                let weighs: f64 = days(&assignment, shard, spaces).iter().map(weight).sum();
                prop_assert!(weighs <= 2.0 / f64::from(count) + heaviest + 1e-9);
            }
        }

        #[test]
        fn days_outside_of_the_job_have_one_owner_too(count in 1_u32..9, spaces in 0_usize..4, away in 1_u64..400) {
            let assignment = assignment(count, spaces, 7, &RecordedBytes::new());
            for number in 0..6 {
                let day = DayId::new(first() - Days::new(away), space(number));
                let owners = shards(count).filter(|shard| assignment.is_of(*shard, &day)).count();
                prop_assert_eq!(owners, 1);
            }
        }
    }

    #[test]
    fn a_shard_has_neighbouring_dates_of_few_spaces() {
        let assignment = assignment(3, 2, 6, &RecordedBytes::new());
        let dates = |index, number| {
            let shard = Shard { index, count: 3 };
            let dates = assignment.dates_of(shard, &space(number))?;
            Some((dates.0.to_string(), dates.1.to_string()))
        };
        let span = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
        assert_eq!(
            [dates(0, 0), dates(0, 1)],
            [span("2026-11-01", "2026-11-04"), None]
        );
        assert_eq!(
            [dates(1, 0), dates(1, 1)],
            [span("2026-11-05", "2026-11-06"), span("2026-11-01", "2026-11-02")]
        );
        assert_eq!(
            [dates(2, 0), dates(2, 1)],
            [None, span("2026-11-03", "2026-11-06")]
        );
        let keeps = |index, number| assignment.keeps_catalog(Shard { index, count: 3 }, &space(number));
        assert!(keeps(0, 0) && keeps(1, 1) && !keeps(1, 0) && !keeps(2, 1));
    }

    #[test]
    fn a_day_with_many_bytes_is_alone_and_the_cuts_are_in_the_digest() {
        let heavy = [(DayId::new(first() + Days::new(2), space(0)), 1_000_000)].into();
        let even = assignment(2, 1, 10, &RecordedBytes::new());
        let weighed = assignment(2, 1, 10, &heavy);
        let shard = Shard { index: 0, count: 2 };
        assert_eq!(days(&even, shard, 1).len(), 5);
        assert_eq!(days(&weighed, shard, 1).len(), 3);
        assert_ne!(even.digest(), weighed.digest());
    }
}
