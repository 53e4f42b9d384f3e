//! Feeds a call's workbook into the day's tables. Pure; called by `build_day`.
//!
//! Every row goes to `report_rows`. If no JSON report fed the call's tables, the workbook does; otherwise its
//! participants are compared with those of the JSON report.

use super::{CallReport, DayBuilder, FeedResult, template};
use crate::config::ReportFormat;
use crate::error::Result;
use crate::lake::manifest::{CallEntry, Shortfall};
use crate::lake::table::Table;
use crate::lake::table::builtin::{participants, report_rows};
use crate::tables::build_notes::{Notes, Observation};
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::{RowPeople, TableRow};
use crate::tables::privacy::policy::PrivacyPolicy;
use crate::tables::report::turnout::Turnout;
use crate::tables::xlsx::table_rows;
use crate::tables::xlsx::workbook::{self, RawRow, ReadStop};

impl DayBuilder<'_> {
    /// Adds a call's workbook to the tables. `json` is what the call's JSON report fed. Returns what the call's tables
    /// were fed with in the end.
    pub(in crate::tables) fn add_workbook(
        &mut self,
        id: &str,
        call: &CallEntry,
        bytes: &[u8],
        json: Option<FeedResult>,
    ) -> Result<Option<FeedResult>> {
        let start = template(self.manifest, report_rows::table(), id, call);
        let mapping = self.mapping;
        let has_messages = self.manifest.messages_deleted_at.is_none();
        let read = workbook::read(bytes, mapping, &mut |line| {
            if !has_messages && mapping.is_chat(line.sheet) {
                return Ok(());
            }
            self.sink(report_rows::table())
                .push(&mut report_row(&start, line, mapping.privacy()))
        });
        let workbook = match read {
            Ok(workbook) => workbook,
            Err(ReadStop::Failed(error)) => return Err(error),
            Err(ReadStop::Refused(refusal)) => {
                self.notes.refused_workbooks.push((id.to_owned(), refusal));
                self.judge(id, call, ReportFormat::Xlsx, Some(Shortfall::Unreadable), None);
                return Ok(json);
            }
        };
        self.notes
            .bad_times(report_rows::NAME, report_rows::cells, workbook.wrong);
        self.notes
            .observe(Observation::MendedCharacters, workbook.replaced);
        self.notes.observe(Observation::HeadlessSheets, workbook.headless);
        let sheets = |table: &Table| workbook.tables.get(&*table.name).map(Vec::as_slice);
        let Some(json) = json else {
            let report = CallReport {
                id,
                call,
                stays: true,
            };
            let fed = self.feed(report, &mut |reader, template, notes| {
                let plan = reader.plan;
                table_rows::rows(plan, sheets(&plan.table).unwrap_or_default(), template, notes)
            })?;
            let there = sheets_of_participants(&workbook);
            let shortfall = fed.turnout.shortfall(call.counted_in(ReportFormat::Xlsx));
            let participants = there.then_some(fed.participants);
            self.judge(id, call, ReportFormat::Xlsx, shortfall, participants);
            return Ok(Some(FeedResult {
                people: fed.people.filter(|_| there),
                ..fed
            }));
        };
        let (there, turnout) = self.people_of(&workbook, id).unzip();
        let shortfall = turnout
            .unwrap_or_default()
            .shortfall(call.counted_in(ReportFormat::Xlsx));
        self.judge(id, call, ReportFormat::Xlsx, shortfall, there);
        // A workbook with a defect is reported for that.
        let told = there.filter(|_| shortfall.is_none());
        if let (Some(json), Some(xlsx)) = (json.people, told)
            && json != xlsx
        {
            self.notes
                .differing_participants
                .push((id.to_owned(), json, xlsx));
        }
        Ok(Some(json))
    }

    /// The number of participants that a workbook tells apart, if it has their sheet.
    fn people_of(&self, workbook: &workbook::Workbook, id: &str) -> Option<(u64, Turnout)> {
        let (plan, people) = self
            .readers
            .iter()
            .find_map(|(reader, people)| Some((reader.plan, people.as_ref()?)))?;
        let sheets = workbook.tables.get(&*plan.table.name)?;
        let start = vec![Cell::Null; plan.table.columns.len()];
        // Values that do not fit are reported for tables that are fed.
        let mut notes = Notes::default();
        let rows = table_rows::rows(plan, sheets, &start, &mut notes);
        let settled = people.merge(rows, id, None, &mut notes);
        Some((settled.rows.len() as u64, settled.turnout))
    }
}

fn sheets_of_participants(workbook: &workbook::Workbook) -> bool {
    workbook.tables.contains_key(participants::NAME)
}

fn report_row<'r>(start: &[Cell<'r>], line: RawRow<'_>, policy: &PrivacyPolicy) -> TableRow<'r> {
    let mut cells = start.to_vec();
    let people = policy.treatments(report_rows::NAME).map(|_| RowPeople {
        entries: line
            .cells
            .iter()
            .map(|cell| policy.cell(line.place(cell)))
            .collect(),
        ..RowPeople::default()
    });
    let entries = line.cells.into_iter();
    let entries = entries.map(|cell| (cell.name.into(), cell.text.into())).collect();
    for (column, cell) in [
        (report_rows::sheet, line.sheet.to_owned().into()),
        (report_rows::row_number, line.number.into()),
        (report_rows::cells, Cell::Map(entries)),
    ] {
        if let Some(index) = report_rows::table().index(column) {
            cells[index] = cell;
        }
    }
    let mut row = TableRow::new(cells);
    row.people = people.map(Box::new);
    row
}
