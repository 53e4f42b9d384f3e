//! Builds the tables of a day from its manifest and its reports. Pure; called by `pipeline`, also for a rebuild.
//!
//! Reports come one at a time, in the order of the tables, so that no more than one is in memory and only the rows of
//! one call are sorted.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::coverage;
use super::listed::Listed;
use super::mapping::{Mapping, TablePlan};
use super::notes::{About, Notes, Observation};
use super::xlsx::recognize;
use crate::config::ReportFormat;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::CallId;
use crate::json::Text;
use crate::lake::key;
use crate::lake::manifest::{CallEntry, Landed, Landing, Manifest, Quality, Shortfall};
use crate::lake::table::{Table, Type, builtin};
use crate::tables::lessons::join;
use crate::tables::lessons::presence::{FirstCalls, Presence};
use crate::tables::lessons::{Entry, Meta};
use crate::tables::mapping::file::Source;
use crate::tables::parquet::cell::{Cell, Session};
use crate::tables::parquet::sink::{Sink, TableFile};
use crate::tables::report::people::{People, digest};
use crate::tables::report::rows;
use crate::tables::report::rows::Row;
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
    pub embedded: Vec<Entry>,
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
/// `store_url` is the address of the lake, for the recordings' `uri`. `checked_at` is for `coverage`. `reports` gives
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
    checked_at: DateTime<Utc>,
    meta: &Meta,
    reports: impl IntoIterator<Item = Result<(CallId, ReportFormat, Bytes)>>,
) -> Result<BuiltDay> {
    let firsts = FirstCalls::default();
    build_day_knowing(&firsts, manifest, mapping, store_url, checked_at, meta, reports)
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
    checked_at: DateTime<Utc>,
    meta: &Meta,
    reports: impl IntoIterator<Item = Result<(CallId, ReportFormat, Bytes)>>,
) -> Result<BuiltDay> {
    let mut day = Day::new(manifest, mapping, meta, firsts);
    let listed = Listed::new(manifest, mapping);
    let mut reports = reports.into_iter();
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
        let mut row = listed.call(id, call, meetings, &mut day.notes);
        day.sink("calls")?.push(&mut row)?;
    }
    if reports.next().is_some() {
        return Err(out_of_step(&manifest.space_id));
    }
    for mut row in listed.records(store_url, &mut day.notes) {
        day.sink("recordings")?.push(&mut row)?;
    }
    let corrected = day.corrected_manifest();
    for mut row in coverage::rows(&corrected, checked_at)? {
        day.sink("coverage")?.push(&mut row)?;
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
pub(super) struct Day<'m> {
    pub(super) manifest: &'m Manifest,
    pub(super) mapping: &'m Mapping,
    meta: &'m Meta,
    /// The plans of the tables that reports feed. Participants come first, because the other tables look them up.
    pub(super) plans: Vec<(&'m TablePlan, Option<People>)>,
    sinks: BTreeMap<&'m str, Sink<'m>>,
    pub(super) notes: Notes,
    presence: Presence,
    quality: Quality,
    embedded: Vec<Entry>,
    firsts: &'m FirstCalls,
    corrections: Vec<Correction>,
}

/// The result of feeding a call's tables.
#[derive(Default)]
pub(super) struct Fed {
    /// The meetings that the participants came for.
    pub meetings: BTreeSet<String>,
    /// The number of participants that a workbook of the call could tell apart.
    pub people: Option<u64>,
    /// Counts of the people in the report.
    pub turnout: Turnout,
    /// The number of rows of participants.
    pub participants: u64,
}

/// Creates a table's rows from a call's report; each row starts as the template.
pub(super) type RowsOf<'r, 'v> =
    &'r mut dyn FnMut(&Mapping, &TablePlan, &[Cell<'v>], &mut Notes) -> Vec<Row<'v>>;

impl<'m> Day<'m> {
    fn new(manifest: &'m Manifest, mapping: &'m Mapping, meta: &'m Meta, firsts: &'m FirstCalls) -> Self {
        let mut plans: Vec<_> = mapping
            .tables
            .iter()
            .filter(|plan| plan.source == Source::Report)
            .map(|plan| {
                let people = (plan.table.name == "participants").then(|| People::of(&plan.table));
                (plan, people.flatten())
            })
            .collect();
        plans.sort_by_key(|(_, people)| people.is_none());
        Self {
            manifest,
            mapping,
            meta,
            plans,
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

    pub(super) fn sink(&mut self, table: &str) -> Result<&mut Sink<'m>> {
        let table = builtin::get(table)
            .ok_or_else(|| Error::new(ErrorKind::Internal, table, "there is no such table"))?;
        Ok(self.sink_of(table))
    }

    fn sink_of(&mut self, table: &'m Table) -> &mut Sink<'m> {
        self.sinks.entry(&table.name).or_insert_with(|| Sink::new(table))
    }

    /// Adds a call's JSON report to the tables; none if it is not JSON.
    fn add_report(&mut self, id: &str, call: &CallEntry, bytes: &[u8]) -> Result<Option<Fed>> {
        let text = Text::new(bytes);
        let parsed = inspect::parse(&text).ok();
        let parsed = parsed.filter(|(report, _)| !inspect::is_crowded(self.mapping, report));
        let Some((report, repairs)) = parsed else {
            self.notes.unreadable.push(id.to_owned());
            self.judge(id, call, ReportFormat::Json, Some(Shortfall::Unreadable), None);
            return Ok(None);
        };
        self.notes.mended(repairs);
        rows::count_rest(self.mapping, Source::Report, &report, &mut self.notes);
        let fed = self.feed(id, call, false, &mut |mapping, plan, template, notes| {
            rows::rows(mapping, plan, &report, template, notes)
        })?;
        let shortfall = fed.turnout.shortfall(call.participants);
        self.judge(id, call, ReportFormat::Json, shortfall, Some(fed.participants));
        Ok(Some(fed))
    }

    /// Feeds the tables with the rows of a call. If `stays` is set, each row of participants is one stay, and the stays
    /// of a participant are merged.
    pub(super) fn feed<'v>(
        &mut self,
        id: &'v str,
        call: &'v CallEntry,
        stays: bool,
        rows_of: RowsOf<'_, 'v>,
    ) -> Result<Fed>
    where
        'm: 'v,
    {
        let landed_at = call
            .reports
            .values()
            .filter_map(Landing::usable)
            .map(|landed| landed.landed_at)
            .min()
            .unwrap_or(DateTime::UNIX_EPOCH);
        let mut known = HashMap::new();
        let mut fed = Fed::default();
        let mut everyone = None;
        for at in 0..self.plans.len() {
            let (plan, people) = self.plans[at].clone();
            let table: &'m Table = &plan.table;
            let template = template(self.manifest, table, id, call);
            let unknown_people = self.notes.unknown_people();
            let mut rows = rows_of(self.mapping, plan, &template, &mut self.notes);
            let has_unknown_people = self.notes.unknown_people() > unknown_people;
            match people {
                Some(people) => {
                    let settled = match stays {
                        true => people.settle_stays(rows, id, call.finished_at, &mut self.notes),
                        false => people.settle(rows, id, call.finished_at, &mut self.notes),
                    };
                    rows = settled.rows;
                    fed.turnout = settled.turnout;
                    fed.participants = rows.len() as u64;
                    let source = if stays {
                        ReportFormat::Xlsx
                    } else {
                        ReportFormat::Json
                    };
                    stamp(table, source, &mut rows);
                    self.take_people(id, call, landed_at, table, &mut rows, has_unknown_people);
                    fed.people = Some(people.told_apart(&rows));
                    fed.meetings = distinct(table, "external_meeting_id", &rows);
                    known = people_by_id(table, &rows);
                    known.retain(|id, _| !settled.shared_ids.contains(id));
                    everyone = stays.then(|| (table, rows.clone()));
                }
                None => {
                    if let Some((participants, people)) = &everyone {
                        recognize(participants, people, table, &mut rows);
                    }
                    introduce(table, &known, &mut rows);
                }
            }
            self.write(table, rows)?;
        }
        Ok(fed)
    }

    /// Joins a call's participants with their lesson data and records their presence.
    fn take_people(
        &mut self,
        id: &str,
        call: &CallEntry,
        landed_at: DateTime<Utc>,
        table: &Table,
        rows: &mut [Row<'_>],
        has_unknown_people: bool,
    ) {
        let [start, end] = [call.started_at, call.finished_at].map(|at| at.map(|at| at.timestamp_micros()));
        if let Some(outside) = outside::outside(&sessions(table, rows), start, end) {
            self.notes.outside_calls.push((id.to_owned(), outside));
        }
        let before = self.quality.duplicate_external_ids;
        let (presence, firsts) = (&self.presence, self.firsts);
        self.embedded.extend(join::join(
            table,
            rows,
            self.meta,
            [call.started_at.unwrap_or(landed_at), landed_at],
            &|meeting, user| firsts.is_first(presence, meeting, user, id),
            &mut self.quality,
        ));
        let duplicates = self.quality.duplicate_external_ids - before;
        self.notes.observe(Observation::DuplicateExternalIds, duplicates);
        self.presence.take(table, rows, has_unknown_people);
    }

    /// Writes a call's rows in the table's order.
    fn write(&mut self, table: &'m Table, mut rows: Vec<Row<'_>>) -> Result<()> {
        if let Some(id) = table.index("message_id").filter(|_| table.name == "messages") {
            self.notes.duplicate_messages += drop_duplicates(&mut rows, id);
        }
        if rows.is_empty() {
            return Ok(());
        }
        let order: Vec<usize> = table.order.iter().filter_map(|name| table.index(name)).collect();
        rows.sort_by(|a, b| {
            order
                .iter()
                .map(|index| a.cells[*index].order(&b.cells[*index]))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let sink = self.sink_of(table);
        rows.iter_mut().try_for_each(|row| sink.push(row))
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

/// Fills the `source` column in rows of participants.
fn stamp(table: &Table, source: ReportFormat, rows: &mut [Row<'_>]) {
    if let Some(index) = table.index("source") {
        for row in rows {
            row.cells[index] = source.as_str().into();
        }
    }
}

/// All sessions of a call's participants.
fn sessions(table: &Table, rows: &[Row<'_>]) -> Vec<Session> {
    let Some(index) = table.index("sessions") else {
        return Vec::new();
    };
    let of_row = |row: &Row<'_>| match &row.cells[index] {
        Cell::Sessions(sessions) => sessions.clone(),
        _ => Vec::new(),
    };
    rows.iter().flat_map(of_row).collect()
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
    if let Some(index) = table.index("meta_matched") {
        cells[index] = false.into();
    }
    cells
}

fn distinct(table: &Table, column: &str, rows: &[Row<'_>]) -> BTreeSet<String> {
    let Some(index) = table.index(column) else {
        return BTreeSet::new();
    };
    rows.iter()
        .filter_map(|row| row.cells[index].as_text().map(str::to_owned))
        .collect()
}

/// Columns of other tables that are filled from the participant.
const INTRODUCED: [&str; 2] = ["external_user_id", "participant_name"];
/// The values of a participant for the columns of [`INTRODUCED`].
type Introduction<'v> = [Cell<'v>; 2];

fn people_by_id<'v>(table: &Table, rows: &[Row<'v>]) -> HashMap<String, Introduction<'v>> {
    let [id, user, name] = ["participant_id", "external_user_id", "name"].map(|name| table.index(name));
    let at = |row: &Row<'v>, index: Option<usize>| index.map_or(Cell::Null, |at| row.cells[at].clone());
    rows.iter()
        .filter_map(|row| {
            Some((
                row.cells[id?].as_text()?.to_owned(),
                [at(row, user), at(row, name)],
            ))
        })
        .collect()
}

/// Fills in the participant's values in rows that name a participant and lack them.
fn introduce<'v>(table: &Table, known: &HashMap<String, Introduction<'v>>, rows: &mut [Row<'v>]) {
    let Some(id) = table.index("participant_id") else {
        return;
    };
    // A column of a user-defined table may have the same name and another type.
    let text = |name| {
        let index = table.index(name)?;
        (table.columns[index].kind == Type::String).then_some(index)
    };
    // Look the columns up once, not for every row.
    let places = INTRODUCED.map(text);
    if places == [None; 2] {
        return;
    }
    for row in rows {
        let Some(introduction) = row.cells[id].as_text().and_then(|id| known.get(id)) else {
            continue;
        };
        for (place, cell) in places.iter().zip(introduction) {
            if let Some(index) = *place
                && matches!(row.cells[index], Cell::Null)
            {
                row.cells[index] = cell.clone();
            }
        }
    }
}

/// Drops rows that repeat an earlier row of the same id. Rows without an id stay, because two equal ones may be two
/// messages.
fn drop_duplicates(rows: &mut Vec<Row<'_>>, id: usize) -> u64 {
    let before = rows.len();
    let mut ids = HashSet::with_capacity(before);
    // Usually there are none, and then nothing is copied.
    let twice: HashSet<String> = rows
        .iter()
        .filter_map(|row| row.cells[id].as_text())
        .filter(|id| !ids.insert(*id))
        .map(str::to_owned)
        .collect();
    if twice.is_empty() {
        return 0;
    }
    let mut seen = HashSet::new();
    rows.retain(|row| match row.cells[id].as_text() {
        Some(id) if twice.contains(id) => seen.insert(digest(row)),
        _ => true,
    });
    (before - rows.len()) as u64
}

/// The row of one object of the API's lists.
pub(super) fn listed_row<'v>(
    mapping: &Mapping,
    table: &'static Table,
    object: &'v Value,
    template: Vec<Cell<'v>>,
    notes: &mut Notes,
) -> Row<'v> {
    let row = mapping.plan(&table.name).and_then(|plan| {
        rows::rows(mapping, plan, &object.into(), &template, notes)
            .into_iter()
            .next()
    });
    row.unwrap_or_else(|| Row {
        cells: template,
        extra: serde_json::Map::new(),
    })
}
