//! A day's tables from its manifest and its reports. Pure; called by `export` and by a rebuild.
//!
//! Reports come one at a time, in the order of the tables: no more than one is held, and nothing is sorted but the
//! rows of one call.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::cell::Cell;
use super::file::Source;
use super::listed::Listed;
use super::mapping::{Mapping, TablePlan};
use super::meta::{Entry, Meta};
use super::notes::Notes;
use super::people::{People, digest};
use super::presence::Presence;
use super::rows::{self, Row};
use super::sink::{Sink, TableFile};
use super::{coverage, inspect, join};
use crate::config::ReportFormat;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::key;
use crate::lake::manifest::{CallEntry, Landing, Manifest, Quality};
use crate::lake::table::{Table, builtin};

/// What a day gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltDay {
    /// The tables that have rows.
    pub tables: Vec<TableFile>,
    /// What could not be placed, in counts.
    pub notes: Notes,
    /// Who was in which meeting: what `lesson_attendance` is built from.
    pub presence: Presence,
    /// How well meta and participants fit together.
    pub quality: Quality,
    /// The meta that reports hold; not known yet where it comes from a first build.
    pub embedded: Vec<Entry>,
}

/// Builds a day's tables, all but `lesson_attendance`, which other days may have a part in.
///
/// `store_url` is where the lake lies, for the recordings' `uri`. `checked_at` is for `coverage`. `reports` gives the
/// id and bytes of each call whose JSON report is landed and usable, in the order of
/// [`Manifest::calls_in_order`]; each is dropped before the next one is asked for.
///
/// # Errors
/// The first error of `reports`, or a report of another call than the one that is due. What the bytes hold never
/// fails a build.
pub fn build_day(
    manifest: &Manifest,
    mapping: &Mapping,
    store_url: &str,
    checked_at: DateTime<Utc>,
    meta: &Meta,
    reports: impl IntoIterator<Item = Result<(String, Bytes)>>,
) -> Result<BuiltDay> {
    let mut day = Day::new(manifest, mapping, meta);
    let listed = Listed::new(manifest, mapping);
    let mut reports = reports.into_iter();
    for id in manifest.calls_in_order() {
        let call = &manifest.calls[id];
        let due = call
            .reports
            .get(&ReportFormat::Json)
            .is_some_and(|landing| landing.usable().is_some());
        let meetings = if due {
            let bytes = next_report(&mut reports, id)?;
            day.add_report(id, call, &bytes)?
        } else {
            BTreeSet::new()
        };
        let mut row = listed.call(id, call, meetings, &mut day.notes);
        day.sink("calls")?.push(&mut row)?;
    }
    if reports.next().is_some() {
        return Err(out_of_step(&manifest.space_id));
    }
    for mut row in listed.records(store_url, &mut day.notes) {
        day.sink("recordings")?.push(&mut row)?;
    }
    for mut row in coverage::rows(manifest, checked_at)? {
        day.sink("coverage")?.push(&mut row)?;
    }
    day.finish()
}

fn next_report(reports: &mut impl Iterator<Item = Result<(String, Bytes)>>, call: &str) -> Result<Bytes> {
    match reports.next().transpose()? {
        Some((id, bytes)) if id == call => Ok(bytes),
        _ => Err(out_of_step(call)),
    }
}

fn out_of_step(about: &str) -> Error {
    Error::new(
        ErrorKind::Internal,
        about,
        "the reports do not come in the order of the calls",
    )
}

/// A day's tables on their way.
struct Day<'m> {
    manifest: &'m Manifest,
    mapping: &'m Mapping,
    meta: &'m Meta,
    /// The tables of reports, participants first: the others look them up.
    plans: Vec<(&'m TablePlan, Option<People>)>,
    sinks: BTreeMap<&'static str, Sink>,
    notes: Notes,
    presence: Presence,
    quality: Quality,
    embedded: Vec<Entry>,
}

impl<'m> Day<'m> {
    fn new(manifest: &'m Manifest, mapping: &'m Mapping, meta: &'m Meta) -> Self {
        let mut plans: Vec<_> = mapping
            .tables
            .iter()
            .filter(|plan| plan.source == Source::Report)
            .map(|plan| {
                let people = (plan.table.name == "participants").then(|| People::of(plan.table));
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
        }
    }

    fn sink(&mut self, table: &str) -> Result<&mut Sink> {
        let table = builtin::get(table)
            .ok_or_else(|| Error::new(ErrorKind::Internal, table, "there is no such table"))?;
        Ok(self.sinks.entry(&table.name).or_insert_with(|| Sink::new(table)))
    }

    /// Adds a call's report to the tables; gives the meetings that its participants came for.
    fn add_report(&mut self, id: &str, call: &CallEntry, bytes: &[u8]) -> Result<BTreeSet<String>> {
        let Ok(report) = inspect::parse(bytes) else {
            self.notes.unreadable.push(id.to_owned());
            return Ok(BTreeSet::new());
        };
        rows::count_rest(self.mapping, Source::Report, &report, &mut self.notes);
        let landed = call.reports.get(&ReportFormat::Json);
        let landed_at = landed
            .and_then(Landing::usable)
            .map_or(DateTime::UNIX_EPOCH, |landed| landed.landed_at);
        let mut known = HashMap::new();
        let mut meetings = BTreeSet::new();
        for at in 0..self.plans.len() {
            let (plan, people) = self.plans[at].clone();
            let template = template(self.manifest, plan.table, id, call);
            let mut rows = rows::rows(self.mapping, plan, &report, &template, &mut self.notes);
            match people {
                Some(people) => {
                    rows = people.settle(rows, id, call.finished_at, &mut self.notes);
                    self.embedded.extend(join::join(
                        plan.table,
                        &mut rows,
                        self.meta,
                        [call.started_at.unwrap_or(landed_at), landed_at],
                        &mut self.quality,
                    ));
                    self.presence.take(plan.table, &rows);
                    meetings = distinct(plan.table, "external_meeting_id", &rows);
                    known = people_by_id(plan.table, &rows);
                }
                None => introduce(plan.table, &known, &mut rows),
            }
            self.write(plan.table, rows)?;
        }
        Ok(meetings)
    }

    /// Writes a call's rows in the table's order.
    fn write(&mut self, table: &'static Table, mut rows: Vec<Row<'_>>) -> Result<()> {
        if let Some(id) = table.index("message_id") {
            self.notes.duplicate_messages += drop_twins(&mut rows, id);
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
        let sink = self.sink(&table.name)?;
        rows.iter_mut().try_for_each(|row| sink.push(row))
    }

    fn finish(self) -> Result<BuiltDay> {
        let (date, space) = (self.manifest.date, self.manifest.space_id.as_str());
        let mut tables = Vec::new();
        for (name, sink) in self.sinks {
            tables.extend(sink.finish(key::table(name, date, space))?);
        }
        Ok(BuiltDay {
            tables,
            notes: self.notes,
            presence: self.presence,
            quality: self.quality,
            embedded: self.embedded,
        })
    }
}

/// A row of a call with nothing of the report in it yet.
fn template<'m>(manifest: &'m Manifest, table: &Table, id: &'m str, call: &'m CallEntry) -> Vec<Cell<'m>> {
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
    // Until a meta is found for the row.
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

/// What other rows want to know of a participant.
type Introduction<'v> = [(&'static str, Cell<'v>); 2];

fn people_by_id<'v>(table: &Table, rows: &[Row<'v>]) -> HashMap<String, Introduction<'v>> {
    let at = |row: &Row<'v>, name| table.index(name).map_or(Cell::Null, |at| row.cells[at].clone());
    rows.iter()
        .filter_map(|row| {
            let id = at(row, "participant_id").as_text()?.to_owned();
            let introduction = [
                ("external_user_id", at(row, "external_user_id")),
                ("participant_name", at(row, "name")),
            ];
            Some((id, introduction))
        })
        .collect()
}

/// Fills in who a row's participant is, where the row does not say so itself.
fn introduce<'v>(table: &Table, known: &HashMap<String, Introduction<'v>>, rows: &mut [Row<'v>]) {
    let Some(id) = table.index("participant_id") else {
        return;
    };
    for row in rows {
        let Some(introduction) = row.cells[id].as_text().and_then(|id| known.get(id)) else {
            continue;
        };
        for (name, cell) in introduction {
            if let Some(index) = table.index(name)
                && !row.cells[index].is_some()
            {
                row.cells[index] = cell.clone();
            }
        }
    }
}

/// Drops rows that say the same under the same id; without an id, two that look the same may be two.
fn drop_twins(rows: &mut Vec<Row<'_>>, id: usize) -> u64 {
    let before = rows.len();
    let mut times: HashMap<String, usize> = HashMap::with_capacity(before);
    for id in rows.iter().filter_map(|row| row.cells[id].as_text()) {
        match times.get_mut(id) {
            Some(times) => *times += 1,
            None => {
                times.insert(id.to_owned(), 1);
            }
        }
    }
    if times.len() == before {
        return 0;
    }
    let mut seen = HashSet::new();
    rows.retain(|row| match row.cells[id].as_text() {
        Some(id) if times.get(id).is_some_and(|times| *times > 1) => seen.insert(digest(row)),
        _ => true,
    });
    (before - rows.len()) as u64
}

/// The rows of one object of the API's lists.
pub(super) fn listed_row<'v>(
    mapping: &Mapping,
    table: &'static Table,
    object: &'v Value,
    template: Vec<Cell<'v>>,
    notes: &mut Notes,
) -> Row<'v> {
    let row = mapping.plan(&table.name).and_then(|plan| {
        rows::rows(mapping, plan, object, &template, notes)
            .into_iter()
            .next()
    });
    row.unwrap_or_else(|| Row {
        cells: template,
        extra: serde_json::Map::new(),
    })
}
