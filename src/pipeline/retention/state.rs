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

    /// The dates that are still to be done, from the first to the one after the last; none if there are none. The first one
    /// is none if all dates before the last one are.
    pub fn due_dates(&self, cutoffs: &CutOffs) -> Option<(Option<NaiveDate>, NaiveDate)> {
        let of_kind = |kind| {
            let first = cutoffs.first_kept(kind)?;
            let done = self.kept_from(kind);
            done.is_none_or(|done| done < first).then_some((done, first))
        };
        let due = DataKind::ALL.into_iter().filter_map(of_kind);
        due.reduce(|(from, to), (other_from, other_to)| (from.min(other_from), to.max(other_to)))
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
        assert_eq!(state.due_dates(&first), Some((None, date("2026-11-18"))));
        state.note(&first, None);
        assert_eq!(state.due_dates(&first), None);
        let next = cutoffs(toml, "2026-11-29");
        let due = Some((Some(date("2026-11-08")), date("2026-11-19")));
        assert_eq!(state.due_dates(&next), due);
        state.note(&next, Some(date("2026-11-10")));
        assert_eq!(state.kept_from(DataKind::Raw), Some(date("2026-11-10")));
        assert_eq!(state.kept_from(DataKind::Recordings), Some(date("2026-11-09")));
        assert_eq!(
            state.due_dates(&next),
            Some((Some(date("2026-11-10")), date("2026-11-19")))
        );
    }

    #[test]
    fn a_longer_duration_lets_the_dates_in_between_come_again() {
        let mut state = RetentionState::default();
        state.note(&cutoffs("[retention]\nraw = \"10d\"", "2026-11-28"), None);
        let longer = cutoffs("[retention]\nraw = \"20d\"", "2026-11-28");
        assert_eq!(state.due_dates(&longer), None);
        state.note(&longer, None);
        assert_eq!(state.kept_from(DataKind::Raw), Some(date("2026-11-08")));
        assert_eq!(state.due_dates(&cutoffs("", "2026-11-28")), None);
    }
}
