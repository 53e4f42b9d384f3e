//! What a verification finds: kinds, the line that a person acts on, the object that a script reads. Pure.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use crate::config::ReportFormat;
use crate::pipeline::Piece;
use crate::ids::{CallId, RecordId, SpaceId};
use crate::sanitize::escaped;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A day's manifest can't be read, or says what can't be.
    ManifestDamaged,
    /// Objects of a day lie there, but no manifest tells of them.
    ManifestMissing,
    /// A day is marked open and has no manifest.
    MarkerWithoutManifest,
    /// A day has something pending and no marker: no nightly run would come back to it.
    DayNotMarked,
    /// What a day has landed was never built, or its tables are of an earlier state of it.
    DayNotBuilt,
    /// A landed report is not there.
    ReportMissing,
    /// A landed report is not what was landed.
    ReportDamaged,
    /// A recording is not there.
    RecordingMissing,
    /// A recording is not what was copied.
    RecordingDamaged,
    /// A table's file is not there.
    TableMissing,
    /// A table's file is not what was built.
    TableDamaged,
    /// A table's file has another number of rows.
    TableRowsDiffer,
    /// Recordings' `uri`s lead out of the lake.
    UriElsewhere,
    /// A table's file is not what a build of the same inputs gives.
    TableDiffers,
    /// The tables of a day could not be built to compare them.
    NotRebuildable,
    /// A call lies on two days.
    CallDoubled,
    /// A record lies on two days.
    RecordDoubled,
    /// A row lies in the lake twice, by its table's key.
    RowDoubled,
    /// Lesson data as it came is not what came.
    RawMetaDamaged,
    /// One of the program's own objects can't be read.
    StateDamaged,
    /// An object that nothing in the lake tells of.
    Stray,
    /// An upload that was begun and never ended.
    UploadUnfinished,
    /// An object that a check writes and removes at once, left behind.
    Leftover,
    /// An object that the store does not give.
    Unreadable,
}

/// What mends a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Building the day's tables again.
    Build,
    /// Fetching a report or a recording again.
    Land(Piece),
    /// Landing the whole day again.
    Day,
    /// Taking a call or a record off the day that is not its own.
    Evict(Doubled),
    /// Building the tables of a date's lesson data again.
    Meta(NaiveDate),
    /// Building the tables of rooms and spaces again.
    Catalog,
    /// Marking the day as open.
    Mark,
    /// Aborting the upload.
    Abort,
    /// Removing the object.
    Remove,
}

/// A call or a record on a day that is not its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doubled {
    pub id: String,
    pub wrong: NaiveDate,
    pub right: NaiveDate,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// The object's key; of a day, that of its manifest.
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
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
    /// Whether `--repair` can mend it.
    pub repairable: bool,
    #[serde(skip)]
    pub(crate) remedy: Option<Remedy>,
}

impl Finding {
    pub(crate) fn new(kind: Kind, key: impl Into<String>) -> Self {
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

    /// One line: what, where, what should be, what is, what to do.
    pub fn one_line(&self) -> String {
        let ids: Vec<_> = [("call", self.call_id.as_deref()), ("record", self.record_id.as_deref())]
            .into_iter()
            .filter_map(|(what, id)| id.map(|id| format!("{what} {id}")))
            .collect();
        let ids = match ids.is_empty() {
            true => String::new(),
            false => format!(" ({})", ids.join(", ")),
        };
        let line = format!(
            "{}  {}{}: expected {}, found {}; {}",
            name(self.kind),
            self.key,
            ids,
            self.expected,
            self.found,
            self.advice()
        );
        // Keys, ids and what was found are others' texts.
        escaped(&line).into_owned()
    }

    /// What a person does about it.
    fn advice(&self) -> String {
        let dates = match self.date {
            Some(date) => format!("--from {date} --to {date}"),
            None => "--from D --to D".into(),
        };
        match &self.remedy {
            Some(Remedy::Build) if self.kind == Kind::UriElsewhere => {
                format!("`rebuild {dates}` writes where the lake lies now; or set store.url to where it lay")
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
            Some(Remedy::Catalog) => "`verify --repair` or the next run builds it again".into(),
            Some(Remedy::Mark) => "`verify --repair` marks the day as open".into(),
            Some(Remedy::Abort) => {
                "`verify --repair`, or the next upload of that key, aborts it: not while a run may be at it"
                    .into()
            }
            Some(Remedy::Remove) => "`verify --repair` removes it".into(),
            None => self.by_hand(&dates),
        }
    }

    /// What a person does where the program can't.
    fn by_hand(&self, dates: &str) -> String {
        match self.kind {
            Kind::Stray => "look at it, and remove it by hand if it is nobody's".into(),
            Kind::ManifestDamaged => "restore it from a copy, or use the telelake that wrote it".into(),
            Kind::StateDamaged => {
                "restore it from a copy; or move it away, and the next run or import begins it anew".into()
            }
            Kind::RawMetaDamaged => "restore it from a copy, or import the file again".into(),
            Kind::NotRebuildable => {
                format!("mend the other findings of the day first, then `verify --rebuild {dates}`")
            }
            Kind::Unreadable => "look at the store: its rights, its disks".into(),
            Kind::CallDoubled | Kind::RecordDoubled => {
                format!("`backfill {dates} --force`, then `verify` again")
            }
            _ => "restore it from a copy".into(),
        }
    }
}

/// A kind as scripts know it.
fn name(kind: Kind) -> String {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{kind:?}"),
    }
}

/// What a verification looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Days with a manifest.
    pub days: u64,
    /// Days that have something pending, failed or not built: later runs come back to them.
    pub days_open: u64,
    /// Days built with another mapping, schema or lesson data: not held against a rebuild, built again by the next
    /// `rebuild` or run.
    pub days_stale: u64,
    /// Days held against a rebuild.
    pub days_rebuilt: u64,
    /// Landed reports.
    pub reports: u64,
    /// Recordings.
    pub recordings: u64,
    /// Files of tables.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Bytes read and hashed.
    pub bytes_read: u64,
    /// Objects that a killed run left or one at work has not written down yet: the next run of their day takes them in.
    pub objects_unsettled: u64,
    /// Uploads that never ended and that no record waited for: aborted.
    pub uploads_aborted: u64,
    /// Objects elsewhere below the store's URL: other programs', left alone.
    pub objects_unknown: u64,
    /// Findings.
    pub findings: u64,
    /// Those that `--repair` mended.
    pub mended: u64,
}

impl Counts {
    /// Adds what was looked at elsewhere; bytes are counted as they are read.
    pub(crate) fn add(&mut self, other: &Self) {
        self.days += other.days;
        self.days_open += other.days_open;
        self.days_stale += other.days_stale;
        self.days_rebuilt += other.days_rebuilt;
        self.reports += other.reports;
        self.recordings += other.recordings;
        self.tables += other.tables;
        self.rows += other.rows;
        self.objects_unsettled += other.objects_unsettled;
        self.objects_unknown += other.objects_unknown;
    }
}

/// What a verification came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verified {
    /// The store's URL.
    pub store: String,
    /// The first date looked at; none: from the lake's first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<NaiveDate>,
    /// The last date looked at; none: to the lake's last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<NaiveDate>,
    /// Whether bytes were read.
    pub deep: bool,
    /// Whether tables were held against a rebuild.
    pub rebuilt: bool,
    /// Whether it was stopped before it was through.
    pub interrupted: bool,
    /// The numbers.
    pub counts: Counts,
    /// What is not as it should be, after the repair where there was one.
    pub findings: Vec<Finding>,
    /// What the repair mended.
    pub mended: Vec<Finding>,
    /// Why a repair could not do all.
    pub notes: Vec<String>,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    /// What a person reads.
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
                false => "; sizes and rows alone: --deep reads the bytes".into(),
            }
        ));
        if self.rebuilt {
            text.push_str(&format!("{} days held against a rebuild\n", c.days_rebuilt));
        }
        let told = [
            (
                c.days_open,
                "days have something pending, failed or not built: runs come back to them",
            ),
            (
                c.days_stale,
                "days were built with another mapping or lesson data: `rebuild` builds them again",
            ),
            (
                c.objects_unsettled,
                "objects are not written down yet: the next run takes them in",
            ),
            (
                c.uploads_aborted,
                "uploads that never ended, and that no record waited for, were aborted",
            ),
            (
                c.objects_unknown,
                "objects elsewhere below the store's URL are unknown, and left alone",
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
            (true, _) => "stopped before it was through\n",
            (false, true) => "whole\n",
            (false, false) => "DAMAGED\n",
        });
        text
    }
}

fn by_kind(findings: &[Finding]) -> String {
    let mut kinds = BTreeMap::<Kind, usize>::new();
    for finding in findings {
        *kinds.entry(finding.kind).or_default() += 1;
    }
    let kinds: Vec<_> = kinds
        .into_iter()
        .map(|(kind, count)| format!("{count} {}", name(kind)))
        .collect();
    kinds.join(", ")
}
