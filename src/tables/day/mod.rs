//! Builds the tables of a day from its manifest and its reports. Pure; called by `pipeline`, also for a rebuild.
//!
//! Reports come one at a time, in the order of the tables, so that no more than one is in memory and only the rows of
//! one call are sorted.

mod polls;
mod references;
mod workbook;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use polls::VotesByPoll;
use references::Introduction;

use super::build_notes::{About, Notes, Observation};
use super::coverage;
use super::listed::{ListedRows, MeetingsByCall, node};
use super::mapping::Mapping;
use crate::config::ReportFormat;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::CallId;
use crate::json::Text;
use crate::lake::key;
use crate::lake::manifest::{CallEntry, Landed, Landing, Manifest, Quality, Shortfall};
use crate::lake::table::Table;
use crate::lake::table::builtin::{self, messages, participants, poll_votes, polls as poll_table};
use crate::tables::lessons::join;
use crate::tables::lessons::presence::{FirstCalls, Presence};
use crate::tables::lessons::{LessonEntry, LessonIndex};
use crate::tables::mapping::mapping_file::TableSource;
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::TableRow;
use crate::tables::parquet::sink::{Sink, TableFile};
use crate::tables::report::people::{MergedParticipants, ParticipantMerger};
use crate::tables::report::rows::{self, RowReader};
use crate::tables::report::turnout::Turnout;
use crate::tables::report::{inspect, outside, turnout};

/// The result of building a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltDay {
    /// The tables that have rows.
    pub tables: Vec<TableFile>,
    /// Counts of what could not be read or placed.
    pub notes: Notes,
    /// The presence in the day's meetings, from which `lesson_attendance` is built.
    pub presence: Presence,
    /// Counts of mismatches between lesson data and participants.
    pub quality: Quality,
    /// Lesson data that the reports contain. A first build does not know it yet.
    pub embedded: Vec<LessonEntry>,
    /// Reports whose state in the manifest differs from what this build found. The tables follow the corrections.
    pub corrections: Vec<Correction>,
}

/// The state of a report as a build found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// The call's id.
    pub call: CallId,
    /// The report's format.
    pub format: ReportFormat,
    /// The corrected landing.
    pub landing: Landing,
}

impl Correction {
    /// Writes the corrected landing into the manifest.
    pub fn apply(&self, manifest: &mut Manifest) {
        if let Some(entry) = manifest.calls.get_mut(&self.call) {
            entry.reports.insert(self.format, self.landing.clone());
        }
    }
}

/// Builds all tables of a day but `lesson_attendance`, which may depend on neighbour days.
///
/// `store_url` is the address of the lake, for the recordings' `uri`. `built_at` is for `coverage`. `reports` gives
/// the call, format and bytes of each report in [`due_reports`], in that order; each is dropped before the next one is
/// requested.
///
/// # Errors
/// The first error of `reports`, or a report that is not the one that is due. The content of a report never fails a
/// build.
pub fn build_day(
    manifest: &Manifest,
    mapping: &Mapping,
    store_url: &str,
    built_at: DateTime<Utc>,
    meta: &LessonIndex,
    reports: impl IntoIterator<Item = Result<(CallId, ReportFormat, Bytes)>>,
) -> Result<BuiltDay> {
    let firsts = FirstCalls::default();
    build_day_knowing(&firsts, manifest, mapping, store_url, built_at, meta, reports)
}

/// Builds the tables of a day as [`build_day`] does, with the knowledge in which call each user first joined a meeting.
/// [`build_day`] takes the first call in the order of the tables, which is by room.
///
/// # Errors
/// As [`build_day`].
pub fn build_day_knowing(
    firsts: &FirstCalls,
    manifest: &Manifest,
    mapping: &Mapping,
    store_url: &str,
    built_at: DateTime<Utc>,
    meta: &LessonIndex,
    reports: impl IntoIterator<Item = Result<(CallId, ReportFormat, Bytes)>>,
) -> Result<BuiltDay> {
    let mut day = DayBuilder::new(manifest, mapping, meta, firsts);
    let listed = ListedRows::new(manifest, mapping);
    let mut reports = reports.into_iter();
    let mut meetings_of = MeetingsByCall::new();
    for id in manifest.calls_in_order() {
        let call = &manifest.calls[id];
        let mut fed = None;
        day.notes.about(About::Call(id.to_owned()));
        for (format, _) in usable(call) {
            let bytes = next_report(&mut reports, id, format)?;
            fed = match format {
                ReportFormat::Json => day.add_report(id, call, &bytes)?,
                ReportFormat::Xlsx => day.add_workbook(id, call, &bytes, fed)?,
            };
        }
        let meetings = fed.map(|fed| fed.meetings).unwrap_or_default();
        meetings_of.insert(id, meetings.clone());
        let object = node(&call.call);
        let mut row = listed.call(id, (call, &object), meetings, &mut day.notes);
        day.sink(builtin::calls::table()).push(&mut row)?;
    }
    if reports.next().is_some() {
        return Err(out_of_step(&manifest.space_id));
    }
    for mut row in listed.records(store_url, &meetings_of, meta, &mut day.notes) {
        day.sink(builtin::recordings::table()).push(&mut row)?;
    }
    let corrected = day.corrected_manifest();
    for mut row in coverage::rows(&corrected, built_at) {
        day.sink(builtin::coverage::table()).push(&mut row)?;
    }
    day.finish()
}

/// The reports that a day's tables are built from, in the order in which [`build_day`] takes them: by
/// [`Manifest::calls_in_order`], and the JSON report of a call before its workbook.
pub fn due_reports(manifest: &Manifest) -> Vec<(&str, ReportFormat, &Landed)> {
    let calls = manifest.calls_in_order().into_iter();
    calls
        .flat_map(|id| usable(&manifest.calls[id]).map(move |(format, landed)| (id, format, landed)))
        .collect()
}

/// A call's usable reports. The JSON report comes first, because the workbook feeds the tables only without it.
fn usable(call: &CallEntry) -> impl Iterator<Item = (ReportFormat, &Landed)> {
    let formats = [ReportFormat::Json, ReportFormat::Xlsx].into_iter();
    formats.filter_map(|format| Some((format, call.reports.get(&format)?.usable()?)))
}

fn next_report(
    reports: &mut impl Iterator<Item = Result<(CallId, ReportFormat, Bytes)>>,
    call: &str,
    due: ReportFormat,
) -> Result<Bytes> {
    match reports.next().transpose()? {
        Some((id, format, bytes)) if id == call && format == due => Ok(bytes),
        _ => Err(out_of_step(call)),
    }
}

fn out_of_step(about: &str) -> Error {
    Error::new(
        ErrorKind::Internal,
        about,
        "the reports are not in the order of the calls",
    )
}

/// The tables of a day while they are built.
pub(super) struct DayBuilder<'m> {
    pub(super) manifest: &'m Manifest,
    pub(super) mapping: &'m Mapping,
    meta: &'m LessonIndex,
    /// The readers of the tables that reports feed. Participants come first, because the other tables look them up; polls
    /// come last, because their votes are counted.
    pub(super) readers: Vec<(RowReader<'m>, Option<ParticipantMerger>)>,
    sinks: BTreeMap<&'m str, Sink<'m>>,
    pub(super) notes: Notes,
    presence: Presence,
    quality: Quality,
    embedded: Vec<LessonEntry>,
    firsts: &'m FirstCalls,
    corrections: Vec<Correction>,
}

/// The result of feeding a call's tables.
#[derive(Default)]
pub(super) struct FeedResult {
    /// The meetings that the participants came for.
    pub meetings: BTreeSet<String>,
    /// The number of participants that a workbook of the call could tell apart.
    pub people: Option<u64>,
    /// Counts of the people in the report.
    pub turnout: Turnout,
    /// The number of rows of participants.
    pub participants: u64,
}

/// A call, and which of its reports feeds the tables.
#[derive(Clone, Copy)]
pub(super) struct CallReport<'v> {
    /// The call's id.
    pub id: &'v str,
    /// The call.
    pub call: &'v CallEntry,
    /// True for a workbook, in which each row of participants is one stay.
    pub stays: bool,
}

impl<'v> CallReport<'v> {
    fn format(self) -> ReportFormat {
        match self.stays {
            true => ReportFormat::Xlsx,
            false => ReportFormat::Json,
        }
    }

    /// The time when the first of the call's usable reports landed.
    fn landed_at(self) -> DateTime<Utc> {
        let reports = self.call.reports.values().filter_map(Landing::usable);
        let landed_at = reports.map(|landed| landed.landed_at).min();
        landed_at.unwrap_or(DateTime::UNIX_EPOCH)
    }
}

/// The participants of a call, which rows of other tables refer to.
#[derive(Default)]
struct CallPeople<'v> {
    result: FeedResult,
    by_id: HashMap<String, Introduction<'v>>,
    rows: Vec<TableRow<'v>>,
    /// The table and the rows of all participants, if other rows may name them without an id.
    everyone: Option<(&'v Table, Vec<TableRow<'v>>)>,
}

/// Creates a table's rows from a call's report; each row starts as the template.
pub(super) type RowsOf<'r, 'v> =
    &'r mut dyn FnMut(&mut RowReader<'_>, &[Cell<'v>], &mut Notes) -> Vec<TableRow<'v>>;

impl<'m> DayBuilder<'m> {
    fn new(
        manifest: &'m Manifest,
        mapping: &'m Mapping,
        meta: &'m LessonIndex,
        firsts: &'m FirstCalls,
    ) -> Self {
        let mut readers: Vec<_> = mapping
            .tables
            .iter()
            .filter(|plan| plan.source == TableSource::Report)
            .map(|plan| {
                let people = (plan.table.name == participants::NAME).then(|| ParticipantMerger::of(plan));
                (RowReader::new(mapping, plan), people.flatten())
            })
            .collect();
        readers
            .sort_by_key(|(reader, people)| (people.is_none(), reader.plan.table.name == poll_table::NAME));
        Self {
            manifest,
            mapping,
            meta,
            readers,
            sinks: BTreeMap::new(),
            notes: Notes::default(),
            presence: Presence::default(),
            quality: Quality::default(),
            embedded: Vec::new(),
            firsts,
            corrections: Vec::new(),
        }
    }

    /// The manifest with the corrections of this build.
    fn corrected_manifest(&self) -> Cow<'m, Manifest> {
        let mut manifest = Cow::Borrowed(self.manifest);
        for correction in &self.corrections {
            correction.apply(manifest.to_mut());
        }
        manifest
    }

    /// Records a correction if the manifest says something else about a report.
    pub(super) fn judge(
        &mut self,
        id: &str,
        call: &CallEntry,
        format: ReportFormat,
        shortfall: Option<Shortfall>,
        participants: Option<u64>,
    ) {
        let landing = call.reports.get(&format);
        let corrected = landing.and_then(|landing| turnout::corrected(landing, shortfall, participants));
        self.corrections.extend(corrected.map(|landing| Correction {
            call: id.to_owned().into(),
            format,
            landing,
        }));
    }

    fn sink(&mut self, table: &'m Table) -> &mut Sink<'m> {
        let policy = self.mapping.privacy();
        self.sinks
            .entry(&table.name)
            .or_insert_with(|| Sink::new(table, policy))
    }

    /// Adds a call's JSON report to the tables; none if it is not JSON.
    fn add_report(&mut self, id: &str, call: &CallEntry, bytes: &[u8]) -> Result<Option<FeedResult>> {
        let text = Text::new(bytes);
        let parsed = inspect::parse(&text).ok();
        let parsed = parsed.filter(|(report, _)| !inspect::is_crowded(self.mapping, report));
        let Some((report, repairs)) = parsed else {
            self.notes.unreadable.push(id.to_owned());
            self.judge(id, call, ReportFormat::Json, Some(Shortfall::Unreadable), None);
            return Ok(None);
        };
        self.notes.mended(repairs);
        rows::count_rest(self.mapping, TableSource::Report, &report, &mut self.notes);
        let call_report = CallReport {
            id,
            call,
            stays: false,
        };
        let fed = self.feed(call_report, &mut |reader, template, notes| {
            reader.rows(&report, template, notes)
        })?;
        let shortfall = fed.turnout.shortfall(call.counted_in(ReportFormat::Json));
        self.judge(id, call, ReportFormat::Json, shortfall, Some(fed.participants));
        Ok(Some(fed))
    }

    /// Feeds the tables with the rows of a call's report.
    pub(super) fn feed<'v>(&mut self, report: CallReport<'v>, rows_of: RowsOf<'_, 'v>) -> Result<FeedResult>
    where
        'm: 'v,
    {
        let mut people = CallPeople::default();
        let mut votes = VotesByPoll::new();
        for at in 0..self.readers.len() {
            let (reader, merger) = &mut self.readers[at];
            let (table, merger): (&'m Table, _) = (&reader.plan.table, merger.clone());
            let template = template(self.manifest, table, report.id, report.call);
            let unknown_people = self.notes.unknown_people();
            let mut rows = rows_of(reader, &template, &mut self.notes);
            let has_unknown_people = self.notes.unknown_people() > unknown_people;
            match merger {
                Some(merger) => {
                    let merged = merger.merge(rows, report.id, report.call.finished_at, &mut self.notes);
                    people = self.take_people(report, table, &merger, merged, has_unknown_people);
                    rows = std::mem::take(&mut people.rows);
                    people.everyone = report.stays.then(|| (table, rows.clone()));
                }
                None => {
                    if let Some((participants, everyone)) = &people.everyone {
                        references::recognize(participants, everyone, table, &mut rows);
                    }
                    references::introduce(table, &people.by_id, &mut rows);
                }
            }
            match &*table.name {
                poll_votes::NAME => votes = polls::count_votes(table, &rows),
                poll_table::NAME => polls::complete(table, report.id, &votes, &mut rows),
                _ => {}
            }
            self.write(table, rows)?;
        }
        Ok(people.result)
    }

    /// Joins a call's participants with their lesson data and records their presence.
    fn take_people<'v>(
        &mut self,
        report: CallReport<'v>,
        table: &Table,
        merger: &ParticipantMerger,
        merged: MergedParticipants<'v>,
        has_unknown_people: bool,
    ) -> CallPeople<'v>
    where
        'm: 'v,
    {
        let CallReport { id, call, .. } = report;
        let mut rows = merged.rows;
        references::stamp(table, report.format(), &mut rows);
        let [start, end] = [call.started_at, call.finished_at].map(|at| at.map(|at| at.timestamp_micros()));
        if let Some(outside) = outside::outside(&references::sessions(table, &rows), start, end) {
            self.notes.outside_calls.push((id.to_owned(), outside));
        }
        let landed_at = report.landed_at();
        let before = self.quality.duplicate_external_ids;
        let (presence, firsts) = (&self.presence, self.firsts);
        self.embedded.extend(join::join(
            table,
            &mut rows,
            self.meta,
            [call.started_at.unwrap_or(landed_at), landed_at],
            &|meeting, user| firsts.is_first(presence, meeting, user, id),
            &mut self.quality,
        ));
        let duplicates = self.quality.duplicate_external_ids - before;
        self.notes.observe(Observation::DuplicateExternalIds, duplicates);
        self.presence.take(table, &rows, has_unknown_people);
        let result = FeedResult {
            meetings: references::distinct(table, participants::external_meeting_id, &rows),
            people: Some(merger.told_apart(&rows)),
            turnout: merged.turnout,
            participants: rows.len() as u64,
        };
        let mut by_id = references::people_by_id(table, &rows);
        by_id.retain(|id, _| !merged.shared_ids.contains(id));
        CallPeople {
            result,
            by_id,
            rows,
            everyone: None,
        }
    }

    /// Writes a call's rows in the table's order.
    fn write(&mut self, table: &'m Table, mut rows: Vec<TableRow<'_>>) -> Result<()> {
        if table.name == messages::NAME && self.manifest.messages_deleted_at.is_some() {
            return Ok(());
        }
        if let Some(id) = table
            .index(messages::message_id)
            .filter(|_| table.name == messages::NAME)
        {
            self.notes.duplicate_messages += references::drop_duplicates(&mut rows, id);
        }
        if rows.is_empty() {
            return Ok(());
        }
        // All rows of a call have the same values in the call's own columns.
        let own = table
            .order
            .iter()
            .filter(|name| !builtin::CALL_COLUMNS.contains(&name.as_ref()));
        let order: Vec<usize> = own.filter_map(|name| table.index(name)).collect();
        rows.sort_by(|a, b| {
            order
                .iter()
                .map(|index| a.cells[*index].order(&b.cells[*index]))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        self.sink(table).push_all(&mut rows)
    }

    fn finish(mut self) -> Result<BuiltDay> {
        self.notes.about(About::Day);
        let (date, space) = (self.manifest.date, self.manifest.space_id.as_str());
        let mut tables = Vec::new();
        for (name, sink) in self.sinks {
            tables.extend(sink.finish(key::table(name, date, &space.into()))?);
        }
        Ok(BuiltDay {
            tables,
            notes: self.notes,
            presence: self.presence,
            quality: self.quality,
            embedded: self.embedded,
            corrections: self.corrections,
        })
    }
}

/// A row of a call before anything of the report is added.
pub(super) fn template<'m>(
    manifest: &'m Manifest,
    table: &Table,
    id: &'m str,
    call: &'m CallEntry,
) -> Vec<Cell<'m>> {
    let room = manifest.rooms.get(&call.room_id);
    let values: [Cell<'m>; 7] = [
        manifest.space_id.as_str().into(),
        manifest.space_name.as_deref().into(),
        call.room_id.as_str().into(),
        room.and_then(|room| room.name.as_deref()).into(),
        id.into(),
        call.started_at.into(),
        call.finished_at.into(),
    ];
    let mut cells = vec![Cell::Null; table.columns.len()];
    for (name, value) in builtin::CALL_COLUMNS.iter().zip(values) {
        if let Some(index) = table.index(name) {
            cells[index] = value;
        }
    }
    // It stays false unless lesson data is found for the row.
    if let Some(index) = table.index(builtin::lesson::meta_matched) {
        cells[index] = false.into();
    }
    cells
}
