//! The memory of retention in the lake: up to which dates each kind of data was deleted, and which raw files of lesson data.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::lake::key;
use crate::pipeline::cutoffs::{CutOffs, DataKind};
use crate::store::Store;
use crate::store::json::get_json;

/// The content of [`key::RETENTION`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RetentionState {
    /// By kind, the first date that was kept when all earlier dates were last done. Only these dates are looked at again.
    pub kept_from: BTreeMap<String, NaiveDate>,
    /// The digests of the raw files of lesson data that were deleted, as their names had them, so that the same file is known
    /// if it comes again.
    pub meta_files: BTreeSet<String>,
}

impl RetentionState {
    /// Reads the state; a lake without one has deleted nothing.
    ///
    /// # Errors
    /// Any error of the store; also if the object is damaged.
    pub async fn read(store: &dyn Store) -> Result<Self> {
        let read = get_json::<Self>(store, key::RETENTION).await?;
        Ok(read.map(|(state, _)| state).unwrap_or_default())
    }

    /// The first date that was kept of a kind; none if nothing of it was deleted.
    pub fn kept_from(&self, kind: DataKind) -> Option<NaiveDate> {
        self.kept_from.get(kind.name()).copied()
    }

    /// The dates that are still to be done.
    pub fn due_dates(&self, cutoffs: &CutOffs) -> DueDates {
        let of_kind = |kind| {
            let first = cutoffs.first_kept(kind)?;
            let done = self.kept_from(kind);
            done.is_none_or(|done| done < first).then_some((done, first))
        };
        DueDates(DataKind::ALL.into_iter().filter_map(of_kind).collect())
    }

    /// Notes that all dates are done, but for those from `undone` on.
    pub fn note(&mut self, cutoffs: &CutOffs, undone: Option<NaiveDate>) {
        for kind in DataKind::ALL {
            if let Some(first) = cutoffs.first_kept(kind) {
                let done = undone.map_or(first, |undone| undone.min(first));
                self.kept_from.insert(kind.name().to_owned(), done);
            }
        }
    }
}

/// Dates that are to be done: for each kind of data the first of them, or none for all before, and the one after the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DueDates(Vec<(Option<NaiveDate>, NaiveDate)>);

impl DueDates {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if a date is one of them.
    pub fn contain(&self, date: NaiveDate) -> bool {
        let mut spans = self.0.iter();
        spans.any(|(from, end)| date < *end && from.is_none_or(|from| from <= date))
    }

    /// All of them, if they are `most` at most.
    pub fn few(&self, most: usize) -> Option<BTreeSet<NaiveDate>> {
        let mut dates = BTreeSet::new();
        for (from, end) in &self.0 {
            let span = (*from)?.iter_days().take_while(|date| date < end);
            dates.extend(span.take(most + 1));
            if dates.len() > most {
                return None;
            }
        }
        Some(dates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    fn cutoffs(toml: &str, today: &str) -> CutOffs {
        CutOffs::new(
            &toml::from_str::<Config>(toml).expect("a configuration"),
            date(today),
        )
    }

    #[test]
    fn only_dates_that_are_not_done_yet_are_due() {
        let toml = "[retention]\nraw = \"10d\"\nrecordings = \"20d\"";
        let mut state = RetentionState::default();
        let first = cutoffs(toml, "2026-11-28");
        let due = state.due_dates(&first);
        assert_eq!(due.few(31), None, "all dates before the first that is kept");
        assert!(due.contain(date("2020-01-01")) && due.contain(date("2026-11-17")));
        assert!(!due.contain(date("2026-11-18")));
        state.note(&first, None);
        assert!(state.due_dates(&first).is_empty());
        let next = cutoffs(toml, "2026-11-29");
        // The dates in between are done for both kinds.
        let dates = [date("2026-11-08"), date("2026-11-18")];
        assert_eq!(state.due_dates(&next).few(31), Some(dates.into()));
        state.note(&next, Some(date("2026-11-10")));
        assert_eq!(state.kept_from(DataKind::Raw), Some(date("2026-11-10")));
        assert_eq!(state.kept_from(DataKind::Recordings), Some(date("2026-11-09")));
        let due = state.due_dates(&next);
        assert!(due.contain(date("2026-11-10")) && !due.contain(date("2026-11-09")));
    }

    #[test]
    fn a_longer_duration_lets_the_dates_in_between_come_again() {
        let mut state = RetentionState::default();
        state.note(&cutoffs("[retention]\nraw = \"10d\"", "2026-11-28"), None);
        let longer = cutoffs("[retention]\nraw = \"20d\"", "2026-11-28");
        assert!(state.due_dates(&longer).is_empty());
        state.note(&longer, None);
        assert_eq!(state.kept_from(DataKind::Raw), Some(date("2026-11-08")));
        assert!(state.due_dates(&cutoffs("", "2026-11-28")).is_empty());
    }
}
