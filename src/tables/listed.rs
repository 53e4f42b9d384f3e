//! The rows of calls and records, from the objects that the API listed and the manifest keeps. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::build_notes::{About, Notes};
use super::mapping::Mapping;
use crate::config::ReportFormat;
use crate::json::RawJson;
use crate::lake::manifest::{CallEntry, Landing, Manifest, RecordEntry, Status};
use crate::lake::table::Table;
use crate::lake::table::builtin::{calls, lesson, recordings};
use crate::tables::lessons::LessonIndex;
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::{TableRow, cells};
use crate::tables::report::node::Node;
use crate::tables::report::rows::RowReader;
use crate::tables::report::stay::seconds;

/// The meetings that the participants of each call came for.
pub(super) type MeetingsByCall<'m> = BTreeMap<&'m str, BTreeSet<String>>;

/// Creates the rows of a day's calls and records.
pub(super) struct ListedRows<'m> {
    manifest: &'m Manifest,
    mapping: &'m Mapping,
    /// The number of records of each call.
    records: HashMap<&'m str, usize>,
}

impl<'m> ListedRows<'m> {
    pub fn new(manifest: &'m Manifest, mapping: &'m Mapping) -> Self {
        let mut records = HashMap::new();
        for call in manifest
            .records
            .values()
            .filter_map(|record| record.call_id.as_deref())
        {
            *records.entry(call).or_default() += 1;
        }
        Self {
            manifest,
            mapping,
            records,
        }
    }

    /// The row of a call, of which `object` is the parsed object, and whose participants came for `meetings`.
    pub fn call<'v>(
        &self,
        id: &'v str,
        (call, object): (&'v CallEntry, &Node<'v>),
        meetings: BTreeSet<String>,
        notes: &mut Notes,
    ) -> TableRow<'v>
    where
        'm: 'v,
    {
        let room = self.manifest.rooms.get(&call.room_id);
        let landed = |format| {
            let landed = call
                .reports
                .get(&format)
                .and_then(|landing| landing.landed.as_ref());
            landed.map(|landed| landed.key.as_str())
        };
        let meetings = meetings.into_iter().map(Into::into).collect();
        let table = calls::table();
        let template = cells(
            table,
            [
                (calls::space_id, self.manifest.space_id.as_str().into()),
                (calls::call_id, id.into()),
                (calls::space_name, self.manifest.space_name.as_deref().into()),
                (calls::room_id, call.room_id.as_str().into()),
                (
                    calls::room_name,
                    room.and_then(|room| room.name.as_deref()).into(),
                ),
                (
                    calls::room_alias,
                    room.and_then(|room| room.alias.as_deref()).into(),
                ),
                (
                    calls::room_type,
                    room.and_then(|room| room.room_type.as_deref()).into(),
                ),
                (calls::started_at, call.started_at.into()),
                (calls::finished_at, call.finished_at.into()),
                (calls::duration_s, duration(call, notes).into()),
                (calls::external_meeting_ids, Cell::Texts(meetings)),
                (calls::report_json, landed(ReportFormat::Json).into()),
                (calls::report_xlsx, landed(ReportFormat::Xlsx).into()),
                (
                    calls::recordings_count,
                    Cell::count(self.records.get(id).copied().unwrap_or(0)),
                ),
            ],
        );
        listed_row(self.mapping, table, object, template, notes)
    }

    /// The rows of the day's records, in order.
    pub fn records(
        &self,
        store_url: &str,
        meetings: &MeetingsByCall<'_>,
        meta: &LessonIndex,
        notes: &mut Notes,
    ) -> Vec<TableRow<'m>> {
        let mut records: Vec<_> = self.manifest.records.iter().collect();
        records.sort_by_key(|(id, record)| (&record.room_id, record.started_at, *id));
        records
            .into_iter()
            .map(|(id, record)| {
                let mut row = self.record(id, record, store_url, notes);
                let call = record.call_id.as_deref();
                add_lesson(&mut row, call.and_then(|call| meetings.get(call)), meta);
                row
            })
            .collect()
    }

    fn record(
        &self,
        id: &'m str,
        record: &'m RecordEntry,
        store_url: &str,
        notes: &mut Notes,
    ) -> TableRow<'m> {
        notes.about(About::Record(id.to_owned()));
        let room = self.manifest.rooms.get(&record.room_id);
        let file = &record.file;
        let landed = file.landed.as_ref().filter(|_| file.status == Status::Done);
        let copied = landed.filter(|landed| landed.bytes > 0 || !landed.is_deleted());
        let uri = landed.filter(|landed| !landed.is_deleted());
        let uri = uri.map(|landed| format!("{}/{}", store_url.trim_end_matches('/'), landed.key));
        let error = file.reason.as_deref();
        let error = error.filter(|_| file.status != Status::Done || file.is_deleted());
        let table = recordings::table();
        let template = cells(
            table,
            [
                (recordings::space_id, self.manifest.space_id.as_str().into()),
                (recordings::record_id, id.into()),
                (recordings::room_id, record.room_id.as_str().into()),
                (
                    recordings::room_name,
                    room.and_then(|room| room.name.as_deref()).into(),
                ),
                (recordings::call_id, record.call_id.as_deref().into()),
                (recordings::started_at, record.started_at.into()),
                (recordings::finished_at, record.finished_at.into()),
                (recordings::status, recording_status(file).into()),
                (recordings::uri, uri.into()),
                (
                    recordings::bytes,
                    copied.map_or(Cell::Null, |landed| Cell::count(landed.bytes)),
                ),
                (
                    recordings::sha256,
                    copied.map(|landed| landed.sha256.as_str()).into(),
                ),
                (recordings::error, error.into()),
            ],
        );
        listed_row(self.mapping, table, &node(&record.record), template, notes)
    }
}

/// Adds to a record's row the meetings of its call, and the lesson that the lesson data of these meetings names.
fn add_lesson(row: &mut TableRow<'_>, meetings: Option<&BTreeSet<String>>, meta: &LessonIndex) {
    let Some(meetings) = meetings else {
        return;
    };
    let table = recordings::table();
    let text = |column: &str| {
        let entries = meetings.iter().flat_map(|meeting| meta.expected(meeting));
        let mut lessons = entries.filter_map(|(_, entry)| entry.lesson());
        lessons.find_map(|lesson| lesson.text(column).map(str::to_owned))
    };
    let texts = [
        lesson::lesson_name,
        lesson::lesson_course_id,
        lesson::lesson_course_name,
    ];
    let lists = meetings.iter().map(|id| id.clone().into()).collect();
    let cells = texts.map(|column| (column, text(column).into()));
    let cells = cells
        .into_iter()
        .chain([(recordings::external_meeting_ids, Cell::Texts(lists))]);
    for (column, cell) in cells {
        if let Some(index) = table.index(column) {
            row.cells[index] = cell;
        }
    }
}

/// An object that the manifest keeps. What can't be parsed gives a row without its fields.
pub(super) fn node(object: &RawJson) -> Node<'_> {
    serde_json::from_str(object.as_str()).unwrap_or_default()
}

/// The row of one object of the API's lists.
pub(super) fn listed_row<'v>(
    mapping: &Mapping,
    table: &'static Table,
    object: &Node<'v>,
    template: Vec<Cell<'v>>,
    notes: &mut Notes,
) -> TableRow<'v> {
    let row = mapping.plan(&table.name).and_then(|plan| {
        let rows = RowReader::new(mapping, plan).rows(object, &template, notes);
        rows.into_iter().next()
    });
    row.unwrap_or_else(|| TableRow::new(template))
}

/// The status of a recording that was deleted, or not copied, because its retention was over.
pub(super) const DELETED: &str = "deleted";

/// A record's status as the table shows it: a refused record has failed.
fn recording_status(file: &Landing) -> &'static str {
    match file.status {
        _ if file.is_deleted() => DELETED,
        Status::Done => "done",
        Status::Pending => "pending",
        Status::Denied | Status::Failed => "failed",
        Status::Unavailable => "unavailable",
        Status::Lost => "lost",
    }
}

/// Seconds from start to end. An end before the start is counted as a bad value.
fn duration(call: &CallEntry, notes: &mut Notes) -> Option<f64> {
    let micros = (call.finished_at? - call.started_at?).num_microseconds()?;
    if micros < 0 {
        notes.bad(calls::NAME, calls::duration_s);
        return None;
    }
    Some(seconds(micros))
}
