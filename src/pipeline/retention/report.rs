//! The report of `retain`: what was deleted, or would be. Pure data.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde::Serialize;

use crate::pipeline::cutoffs::{CutOffs, DataKind};

/// The objects and rows of one kind of data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct KindCounts {
    /// Days, or dates of lesson data.
    pub days: u64,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows of tables.
    pub rows: u64,
}

impl KindCounts {
    /// Adds other counts.
    pub fn add(&mut self, other: Self) {
        self.days += other.days;
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.rows += other.rows;
    }
}

/// The result of applying the retention.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RetainReport {
    /// True if nothing was deleted, because only the plan was asked for.
    pub dry_run: bool,
    /// The first date of each kind of data that is kept; kinds that are kept for ever are missing.
    pub kept_from: BTreeMap<&'static str, NaiveDate>,
    /// True if raw reports are deleted as soon as their day is built and nothing of it is pending.
    pub raw_at_once: bool,
    /// The counts by kind of data.
    pub deleted: BTreeMap<&'static str, KindCounts>,
    /// Days whose data stays for now, because their tables are not built or something of them is pending.
    pub waiting: u64,
    /// Objects that were deleted before by a process that did not end.
    pub leftovers: u64,
    /// The failures.
    pub failed: Vec<String>,
    /// True if it was stopped before all was done.
    pub interrupted: bool,
    /// The dates of the days that were changed.
    #[serde(skip)]
    pub(crate) dates: BTreeSet<NaiveDate>,
    /// The first date that could not be done.
    #[serde(skip)]
    pub(crate) undone: Option<NaiveDate>,
}

impl RetainReport {
    pub(crate) fn new(cutoffs: &CutOffs, dry_run: bool) -> Self {
        let kinds = DataKind::ALL.into_iter();
        Self {
            dry_run,
            kept_from: kinds
                .filter_map(|kind| Some((kind.name(), cutoffs.first_kept(kind)?)))
                .collect(),
            raw_at_once: cutoffs.raw_goes_at_once,
            ..Self::default()
        }
    }

    /// True if nothing is deleted by the configuration.
    pub fn keeps_all(&self) -> bool {
        self.kept_from.is_empty() && !self.raw_at_once
    }

    /// True if something was deleted, or would be.
    pub fn has_deleted(&self) -> bool {
        !self.deleted.is_empty() || self.leftovers > 0
    }

    pub(crate) fn count(&mut self, kind: DataKind, counts: KindCounts) {
        self.deleted.entry(kind.name()).or_default().add(counts);
    }

    /// Notes that a date is not done.
    pub(crate) fn leave(&mut self, date: NaiveDate) {
        self.undone = Some(self.undone.map_or(date, |undone| undone.min(date)));
    }
}
