//! The findings of a verification: their kinds, the line that a person acts on, the object that a script reads. Pure.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use crate::ids::{CallId, RecordId, SpaceId};
use crate::kinds::kinds;
use crate::pipeline::Piece;
use crate::sanitize::escaped;

kinds! {
    /// The kind of a finding: what is wrong with an object of the lake.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum FindingKind {
        ManifestDamaged = "manifest_damaged" in "day":
            "The manifest of a day can't be read, or contradicts itself.",
            "`verify --repair` lands the day again. A manifest of a newer telelake needs that telelake.";
        ManifestMissing = "manifest_missing" in "day":
            "The store has objects of a day, but no manifest names them.",
            "`verify --repair` lands the day again.";
        MarkerWithoutManifest = "marker_without_manifest" in "day":
            "A day is marked as open and has no manifest: a run was killed, or is working on it.",
            "`verify --repair` or the next run lands the day.";
        DayNotMarked = "day_not_marked" in "day":
            "A day has something pending but no marker, so that no nightly run would come back to it.",
            "`verify --repair` marks the day as open.";
        DayNotBuilt = "day_not_built" in "day":
            "The tables of a day are not those of its landed reports.",
            "`verify --repair`, `rebuild` or the next run builds them.";
        ReportMissing = "report_missing" in "report":
            "A landed report is not in the store.",
            "`verify --repair` fetches it again.";
        ReportDamaged = "report_damaged" in "report":
            "The bytes of a landed report have changed.",
            "`verify --repair` fetches it again.";
        RecordingMissing = "recording_missing" in "recording":
            "A copied recording is not in the store.",
            "`verify --repair` copies it again.";
        RecordingDamaged = "recording_damaged" in "recording":
            "The bytes of a recording have changed, or are no whole MP4.",
            "`verify --repair` copies it again.";
        TableMissing = "table_missing" in "table":
            "The file of a table is not in the store.",
            "`verify --repair` or `rebuild` builds it again.";
        TableDamaged = "table_damaged" in "table":
            "The bytes of a table's file have changed.",
            "`verify --repair` or `rebuild` builds it again.";
        TableRowsDiffer = "table_rows_differ" in "table":
            "The file of a table has another number of rows than its manifest says.",
            "`verify --repair` or `rebuild` builds it again.";
        UriElsewhere = "uri_elsewhere" in "table":
            "Values of `recordings.uri` lead out of the lake: it was copied or moved.",
            "`rebuild` writes the present address; or set `store.url` to the earlier one.";
        TableDiffers = "table_differs" in "table":
            "The file of a table is not what a build of the same inputs gives.",
            "`verify --repair` or `rebuild` builds it again.";
        NotRebuildable = "not_rebuildable" in "day":
            "The tables of a day could not be built for the comparison.",
            "Repair the other findings of the day first, then `verify --rebuild`.";
        CallDoubled = "call_doubled" in "day":
            "A call is in the manifests of two days.",
            "`verify --repair` takes it off the wrong day, if the right one can be told; else `backfill --force` over both.";
        RecordDoubled = "record_doubled" in "day":
            "A recording is in the manifests of two days.",
            "`verify --repair` takes it off the wrong day, if the right one can be told; else `backfill --force` over both.";
        RowDoubled = "row_doubled" in "table":
            "Two rows of a table have the same key.",
            "`verify --repair` or `rebuild` builds the file again.";
        RawMetaDamaged = "raw_meta_damaged" in "lesson data":
            "The bytes of a landed file of lesson data have changed.",
            "Restore it from a copy, or import the file again.";
        StateDamaged = "state_damaged" in "state":
            "An object below `_telelake/` can't be read.",
            "Restore it from a copy; or move it away, and the next run or import begins it anew.";
        Stray = "stray" in "object":
            "Nothing in the lake names the object.",
            "Look at it, and remove it by hand if nobody needs it.";
        NotDeleted = "not_deleted" in "object":
            "The object was deleted on purpose, because its retention is over, and is in the store.",
            "`verify --repair` or `retain` removes it.";
        UploadUnfinished = "upload_unfinished" in "object":
            "An upload never ended and could not be aborted.",
            "`verify --repair`, or the next upload of that key, aborts it.";
        Leftover = "leftover" in "object":
            "A check of the store left its object behind.",
            "`verify --repair` removes it.";
        Unreadable = "unreadable" in "object":
            "The store does not give the object.",
            "Check the store: its rights, its disks.";
    }
}

/// The step that repairs a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Build the day's tables again.
    Build,
    /// Fetch a report or a recording again.
    Land(Piece),
    /// Land the whole day again.
    Day,
    /// Remove a call or a record from the day that is not its own.
    Evict(Duplicate),
    /// Build the tables of a date's lesson data again.
    Meta(NaiveDate),
    /// Build the tables of rooms and spaces again.
    Catalog,
    /// Make the table of a space's days again.
    Days(SpaceId),
    /// Mark the day as open.
    Mark,
    /// Abort the upload.
    Abort,
    /// Remove the object.
    Remove,
}

/// A call or a record on a day that is not its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub id: String,
    pub wrong: NaiveDate,
    pub right: NaiveDate,
}

/// A fault that a verification found in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The kind of fault.
    pub kind: FindingKind,
    /// The object's key; for a day, the key of its manifest.
    pub key: String,
    /// The day's date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<NaiveDate>,
    /// The space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space_id: Option<SpaceId>,
    /// The call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<CallId>,
    /// The record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_id: Option<RecordId>,
    /// The expected state.
    pub expected: String,
    /// The state that was found.
    pub found: String,
    /// True if `--repair` can repair it.
    pub repairable: bool,
    #[serde(skip)]
    pub(crate) remedy: Option<Remedy>,
}

impl Finding {
    pub(crate) fn new(kind: FindingKind, key: impl Into<String>) -> Self {
        Self {
            kind,
            key: key.into(),
            date: None,
            space_id: None,
            call_id: None,
            record_id: None,
            expected: String::new(),
            found: String::new(),
            repairable: false,
            remedy: None,
        }
    }

    pub(crate) fn on(mut self, date: NaiveDate, space: &SpaceId) -> Self {
        self.date = Some(date);
        self.space_id = Some(space.into());
        self
    }

    pub(crate) fn date(mut self, date: Option<NaiveDate>) -> Self {
        self.date = date;
        self
    }

    pub(crate) fn call(mut self, id: &str) -> Self {
        self.call_id = Some(id.into());
        self
    }

    pub(crate) fn record(mut self, id: &str) -> Self {
        self.record_id = Some(id.into());
        self
    }

    pub(crate) fn differs(mut self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        self.expected = expected.into();
        self.found = found.into();
        self
    }

    pub(crate) fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self.repairable = true;
        self
    }

    /// Formats the finding as one line: the kind, the object, both states, and what to do.
    pub fn one_line(&self) -> String {
        let ids: Vec<_> = [
            ("call", self.call_id.as_deref()),
            ("record", self.record_id.as_deref()),
        ]
        .into_iter()
        .filter_map(|(what, id)| id.map(|id| format!("{what} {id}")))
        .collect();
        let ids = match ids.is_empty() {
            true => String::new(),
            false => format!(" ({})", ids.join(", ")),
        };
        let line = format!(
            "{}  {}{}: expected {}, found {}; {}",
            self.kind,
            self.key,
            ids,
            self.expected,
            self.found,
            self.advice()
        );
        // Keys, ids and what was found are others' texts.
        escaped(&line).into_owned()
    }

    /// The advice to a person.
    fn advice(&self) -> String {
        let dates = match self.date {
            Some(date) => format!("--from {date} --to {date}"),
            None => "--from D --to D".into(),
        };
        match &self.remedy {
            Some(Remedy::Build) if self.kind == FindingKind::UriElsewhere => {
                format!("`rebuild {dates}` writes the present address; or set store.url to the earlier one")
            }
            Some(Remedy::Build) => {
                format!("`verify --repair` or `rebuild {dates}` builds it again from raw/")
            }
            Some(Remedy::Land(..)) => "`verify --repair` fetches it again".into(),
            Some(Remedy::Day) => format!("`verify --repair` lands the day {dates} again"),
            Some(Remedy::Evict(doubled)) => {
                format!("`verify --repair` takes it off {}", doubled.wrong)
            }
            Some(Remedy::Meta(_)) => "`verify --repair` builds it again from the date's lesson data".into(),
            Some(Remedy::Days(_)) => "`verify --repair` makes it again from the manifests".into(),
            Some(Remedy::Catalog) => "`verify --repair` or the next run builds it again".into(),
            Some(Remedy::Mark) => "`verify --repair` marks the day as open".into(),
            Some(Remedy::Abort) => {
                "`verify --repair`, or the next upload of that key, aborts it; not while a run may be uploading it"
                    .into()
            }
            Some(Remedy::Remove) => "`verify --repair` removes it".into(),
            None => self.by_hand(&dates),
        }
    }

    /// The advice if the program can't repair it.
    fn by_hand(&self, dates: &str) -> String {
        match self.kind {
            FindingKind::Stray => "look at it, and remove it by hand if nobody needs it".into(),
            FindingKind::ManifestDamaged => {
                "restore it from a copy, or use the telelake that wrote it".into()
            }
            FindingKind::StateDamaged => {
                "restore it from a copy; or move it away, and the next run or import begins it anew".into()
            }
            FindingKind::RawMetaDamaged => "restore it from a copy, or import the file again".into(),
            FindingKind::NotRebuildable => {
                format!("repair the other findings of the day first, then `verify --rebuild {dates}`")
            }
            FindingKind::Unreadable => "check the store: its rights, its disks".into(),
            FindingKind::CallDoubled | FindingKind::RecordDoubled => {
                format!("`backfill {dates} --force`, then `verify` again")
            }
            _ => "restore it from a copy".into(),
        }
    }
}

/// The numbers of a verification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VerifyCounts {
    /// Days with a manifest.
    pub days: u64,
    /// Days that have something pending, failed or not built: later runs come back to them.
    pub days_open: u64,
    /// Days built with another mapping, schema or lesson data. They are not compared with a rebuild; the next `rebuild` or
    /// run builds them again.
    pub days_stale: u64,
    /// Days whose reports were deleted after their retention. They can't be compared with a rebuild.
    #[serde(skip_serializing_if = "is_zero")]
    pub days_frozen: u64,
    /// Days compared with a rebuild.
    pub days_rebuilt: u64,
    /// Landed reports.
    pub reports: u64,
    /// Recordings.
    pub recordings: u64,
    /// Table files.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Bytes read and hashed.
    pub bytes_read: u64,
    /// Objects that no manifest names yet, because a run was killed or is at work: the next run of their day takes them over.
    pub objects_unsettled: u64,
    /// Orphan uploads that were aborted.
    pub uploads_aborted: u64,
    /// Objects of other programs below the store's URL, left alone.
    pub objects_unknown: u64,
    /// Findings.
    pub findings: u64,
    /// Findings that `--repair` repaired.
    pub mended: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl VerifyCounts {
    /// Adds the numbers of another day; bytes are counted as they are read.
    pub(crate) fn add(&mut self, other: &Self) {
        self.days += other.days;
        self.days_open += other.days_open;
        self.days_stale += other.days_stale;
        self.days_frozen += other.days_frozen;
        self.days_rebuilt += other.days_rebuilt;
        self.reports += other.reports;
        self.recordings += other.recordings;
        self.tables += other.tables;
        self.rows += other.rows;
        self.objects_unsettled += other.objects_unsettled;
        self.objects_unknown += other.objects_unknown;
    }
}

/// The result of a verification.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verified {
    /// The store's URL.
    pub store: String,
    /// The first date; absent: the lake's first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<NaiveDate>,
    /// The last date; absent: the lake's last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<NaiveDate>,
    /// True if all bytes were read.
    pub deep: bool,
    /// True if tables were compared with a rebuild.
    pub rebuilt: bool,
    /// True if it was stopped before it had checked everything.
    pub interrupted: bool,
    /// The numbers.
    pub counts: VerifyCounts,
    /// The findings; after a repair, those that are left.
    pub findings: Vec<Finding>,
    /// The findings that the repair repaired.
    pub mended: Vec<Finding>,
    /// The reasons why a repair, or a check, was not complete.
    pub notes: Vec<String>,
}

impl Verified {
    /// True if there is no finding.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    /// The text for people.
    pub fn for_people(&self) -> String {
        let mut text = format!("{}\n", self.store);
        let c = &self.counts;
        text.push_str(&format!(
            "{} days, {} reports, {} recordings, {} table files with {} rows{}\n",
            c.days,
            c.reports,
            c.recordings,
            c.tables,
            c.rows,
            match self.deep {
                true => format!("; {} read", bytesize::ByteSize(c.bytes_read).display().iec()),
                false => "; only sizes and rows were checked: --deep reads the bytes".into(),
            }
        ));
        if self.rebuilt {
            text.push_str(&format!("{} days compared with a rebuild\n", c.days_rebuilt));
        }
        let told = [
            (
                c.days_open,
                "days have something pending, failed or not built: runs work on them again",
            ),
            (
                c.days_stale,
                "days were built with another mapping or lesson data: `rebuild` builds them again",
            ),
            (
                c.days_frozen,
                "days can't be compared with a rebuild, because their raw reports were deleted after their retention",
            ),
            (
                c.objects_unsettled,
                "objects are in no manifest yet: the next run takes them over",
            ),
            (
                c.uploads_aborted,
                "uploads that never ended, and that no record waited for, were aborted",
            ),
            (
                c.objects_unknown,
                "other objects below the store's URL are unknown, and left alone",
            ),
        ];
        for (count, what) in told.iter().filter(|(count, _)| *count > 0) {
            text.push_str(&format!("{count} {what}\n"));
        }
        for (title, list) in [("mended", &self.mended), ("FOUND", &self.findings)] {
            if !list.is_empty() {
                text.push_str(&format!("{title}: {}\n", by_kind(list)));
                for finding in list {
                    text.push_str(&format!("  {}\n", finding.one_line()));
                }
            }
        }
        for note in &self.notes {
            text.push_str(&format!("! {}\n", escaped(note)));
        }
        text.push_str(match (self.interrupted, self.is_whole()) {
            (true, _) => "stopped before everything was verified\n",
            (false, true) => "whole\n",
            (false, false) => "DAMAGED\n",
        });
        text
    }
}

fn by_kind(findings: &[Finding]) -> String {
    let mut kinds = BTreeMap::<FindingKind, usize>::new();
    for finding in findings {
        *kinds.entry(finding.kind).or_default() += 1;
    }
    let kinds: Vec<_> = kinds
        .into_iter()
        .map(|(kind, count)| format!("{count} {}", kind))
        .collect();
    kinds.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::ProblemKind;

    /// A row of a Markdown table for each kind.
    fn rows<'k>(kinds: impl Iterator<Item = (&'k str, [&'static str; 3])>) -> String {
        kinds
            .map(|(word, explained)| format!("| `{word}` | {} |\n", explained.join(" | ")))
            .collect()
    }

    /// The whole of `docs/problems.md`.
    fn document() -> String {
        format!(
            "# Problems and findings\n\nThis file is made from the code; a test compares the two. To change it, change \
             `src/pipeline/summary/problem_kind.rs` or\n`src/verify/finding.rs`, then `UPDATE_DOCS=1 cargo test --lib \
             problems_md`.\n\n\
             ## Problems of a run\n\n`run --json` and `_telelake/runs/` list them. `failed` makes the exit status 3, \
             and the next run tries again; `pending` is\nasked for again by later runs; a `warning` changes nothing.\n\n\
             | kind | list | meaning | what to do |\n|---|---|---|---|\n{}\n\
             ## Findings of `verify`\n\n`verify` lists them in `findings`, each with the object's key, `expected` and \
             `found`.\n\n\
             | kind | about | meaning | what to do |\n|---|---|---|---|\n{}",
            rows(
                ProblemKind::ALL
                    .iter()
                    .map(|kind| (kind.as_str(), kind.explain()))
            ),
            rows(
                FindingKind::ALL
                    .iter()
                    .map(|kind| (kind.as_str(), kind.explain()))
            ),
        )
    }

    #[test]
    fn docs_problems_md_is_what_the_program_says() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/problems.md");
        let document = document();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, &document).expect("docs/problems.md");
        }
        let stored = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            stored == document,
            "docs/problems.md is stale; run this test with UPDATE_DOCS=1"
        );
    }
}
