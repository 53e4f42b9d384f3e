//! Lists the manifests of some dates by prefixes that are listed concurrently, each about a page of a listing long.

use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::Result;
use crate::lake::key;
use crate::store::{ListedObject, Store};

/// Listings at once.
const LISTINGS_AT_ONCE: usize = 16;
/// The keys on a page of a listing.
const PAGE: usize = 1000;
/// No date of a lake comes before this one.
const FIRST: &str = "1970-01-01";
/// The length of a month with its final dash, and of a date.
const MONTH: usize = 8;
const DATE: usize = 10;

/// A range of dates; each end may be open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DateRange {
    /// The first date.
    pub from: Option<NaiveDate>,
    /// The last date, included.
    pub to: Option<NaiveDate>,
}

impl DateRange {
    /// From one date to another, both included.
    pub fn between(from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            from: Some(from),
            to: Some(to),
        }
    }

    /// True if the range has more than this number of days, or an open end.
    pub fn is_longer_than(&self, days: u64) -> bool {
        let (Some(from), Some(to)) = (self.from, self.to) else {
            return true;
        };
        (to - from).num_days() > i64::try_from(days).unwrap_or(i64::MAX)
    }

    /// True if another range is a part of this one.
    pub fn covers(&self, other: Self) -> bool {
        let begins = self
            .from
            .is_none_or(|from| other.from.is_some_and(|other| from <= other));
        let ends = self.to.is_none_or(|to| other.to.is_some_and(|other| other <= to));
        begins && ends
    }

    /// True if a date is in the range.
    pub fn has(&self, date: NaiveDate) -> bool {
        self.from.is_none_or(|from| date >= from) && self.to.is_none_or(|to| date <= to)
    }
}

/// The manifests of a range of dates, by date and key. `known` holds the dates of the manifests that are likely there,
/// sorted, one for each; they only decide how the listing is split.
///
/// # Errors
/// Any error of the store.
pub(super) async fn list(store: &dyn Store, known: &[String], range: DateRange) -> Result<Vec<ListedObject>> {
    let prefixes = prefixes(known, range).into_iter();
    let listings: Vec<Vec<ListedObject>> = stream::iter(prefixes)
        .map(|prefix| async move { store.list(&format!("{}date={prefix}", key::DAYS)).await })
        .buffered(LISTINGS_AT_ONCE)
        .try_collect()
        .await?;
    let mut found: Vec<ListedObject> = listings.into_iter().flatten().collect();
    found.retain(|entry| key::date_in(&entry.key).is_some_and(|date| range.has(date)));
    found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// The beginnings of dates that cover a range and don't overlap.
fn prefixes(known: &[String], range: DateRange) -> Vec<String> {
    let (from, to) = (
        range.from.map(|date| date.to_string()),
        range.to.map(|date| date.to_string()),
    );
    if let (Some(from), Some(to)) = (&from, &to)
        && from == to
    {
        return vec![from.clone()];
    }
    let mut all = Vec::new();
    let bounds = PrefixBounds {
        known,
        from: from.as_deref(),
        to: to.as_deref(),
    };
    add("", &bounds, &mut all);
    all
}

struct PrefixBounds<'a> {
    known: &'a [String],
    from: Option<&'a str>,
    to: Option<&'a str>,
}

/// Adds a prefix, or the longer ones that it consists of if it has too many days or reaches beyond the range.
fn add(prefix: &str, bounds: &PrefixBounds<'_>, all: &mut Vec<String>) {
    let padded = |with: &str| format!("{prefix}{}", &with[prefix.len()..]);
    let (first, last) = (padded("0000-00-00"), padded("9999-99-99"));
    let (first, last) = (first.as_str(), last.as_str());
    let is_before = last < bounds.from.unwrap_or(FIRST) || last < FIRST;
    if is_before || bounds.to.is_some_and(|to| first > to) || !may_begin_a_date(prefix) {
        return;
    }
    let below = |bound: &str| bounds.known.partition_point(|date| date.as_str() < bound);
    let days = below(last) - below(first);
    let is_within = bounds.from.is_none_or(|from| from <= first) && bounds.to.is_none_or(|to| last <= to);
    let is_too_wide = bounds.from.is_some() && !is_within && prefix.len() < MONTH;
    if prefix.len() == DATE || !(days > PAGE || is_too_wide) {
        return all.push(prefix.to_owned());
    }
    match prefix.len() {
        4 | 7 => add(&format!("{prefix}-"), bounds, all),
        _ => (0..=9).for_each(|digit| add(&format!("{prefix}{digit}"), bounds, all)),
    }
}

/// False for the beginning of a month or a day that no calendar has.
fn may_begin_a_date(prefix: &str) -> bool {
    let is_in = |at: usize, most: u32| {
        let Some(digits) = prefix.get(at..).filter(|digits| !digits.is_empty()) else {
            return true;
        };
        let digits = &digits[..digits.len().min(2)];
        let number = digits.parse::<u32>().unwrap_or(0);
        if digits.len() == 2 {
            (1..=most).contains(&number)
        } else {
            number <= most / 10
        }
    };
    is_in(5, 12) && is_in(8, 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(known: &[String], from: &str, to: &str) -> String {
        let date = |text: &str| (!text.is_empty()).then(|| text.parse().expect("date"));
        let range = DateRange {
            from: date(from),
            to: date(to),
        };
        prefixes(known, range).join(" ")
    }

    #[test]
    fn a_range_is_listed_by_months_and_whole_years_and_a_day_alone() {
        assert_eq!(of(&[], "2026-11-20", "2026-11-20"), "2026-11-20");
        assert_eq!(of(&[], "2026-01-31", "2026-02-01"), "2026-01- 2026-02-");
        assert_eq!(of(&[], "2025-12-31", "2026-02-01"), "2025-12- 2026-01 2026-02-");
        assert_eq!(
            of(&[], "2023-12-01", "2026-02-01"),
            "2023-12- 2024 2025 2026-01 2026-02-"
        );
        assert_eq!(of(&[], "2026-02-01", "2025-02-01"), "");
        assert_eq!(
            of(&[], "", "2026-02-01"),
            "",
            "all of a lake that is not known is a single listing"
        );
        assert_eq!(prefixes(&[], DateRange::default()), [""]);
    }

    #[test]
    fn many_days_are_split_into_listings_of_about_a_page() {
        let days = |first: &str, spaces: usize, count: usize| {
            let first: NaiveDate = first.parse().expect("date");
            let dates = first.iter_days().take(count);
            dates
                .flat_map(|date| vec![date.to_string(); spaces])
                .collect::<Vec<_>>()
        };
        let few = days("2024-01-01", 1, 700);
        assert_eq!(of(&few, "", "2026-11-20"), "");
        let years = days("2024-11-27", 2, 730);
        assert_eq!(
            of(&years, "", "2026-11-30"),
            "1 200 201 2020 2021 2022 2023 2024 2025 2026"
        );
        let months = days("2026-01-01", 20, 100);
        let listed = of(&months, "", "2026-11-30");
        assert!(
            listed.ends_with(
                "2025 2026-01 2026-02 2026-03 2026-04 2026-05 2026-06 2026-07 2026-08 2026-09 2026-1"
            ),
            "{listed}"
        );
        let crowded = days("2026-02-01", 300, 28);
        let listed = of(&crowded, "", "2026-11-30");
        assert!(listed.contains(" 2026-01 2026-02-01 2026-02-02 "), "{listed}");
        assert!(listed.contains(" 2026-02-29 2026-02-3 2026-03 "), "{listed}");
    }

    proptest::proptest! {
        #[test]
        fn every_date_of_a_range_has_exactly_one_prefix(
            known in proptest::collection::vec(0_u64..20_000, 0..40),
            spaces in 1_usize..400,
            ends in (proptest::option::of(0_u64..20_000), proptest::option::of(0_u64..20_000)),
            date in 0_u64..20_000,
        ) {
            let start: NaiveDate = FIRST.parse().expect("date");
            let at = |days: u64| start + chrono::Days::new(days);
            let mut known: Vec<String> = known.into_iter().flat_map(|days| vec![at(days).to_string(); spaces]).collect();
            known.sort();
            let range = DateRange { from: ends.0.map(at), to: ends.1.map(at) };
            let date = at(date);
            let text = date.to_string();
            let of_date = prefixes(&known, range).into_iter().filter(|prefix| text.starts_with(prefix.as_str())).count();
            proptest::prop_assert!(of_date <= 1);
            if range.has(date) {
                proptest::prop_assert_eq!(of_date, 1);
            }
        }
    }
}
