//! Feeds a call's workbook into the day's tables. Pure; called by `build_day`.
//!
//! Every row goes to `report_rows`. If no JSON report fed the call's tables, the workbook does; otherwise its
//! participants are compared with those of the JSON report.

use std::collections::HashMap;

use super::rows;
use super::workbook::{self, Line, Stop};
use crate::config::ReportFormat;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::manifest::{CallEntry, Shortfall};
use crate::lake::table::{Table, builtin};
use crate::tables::day::{Day, Fed, template};
use crate::tables::notes::{Notes, Observation};
use crate::tables::parquet::cell::Cell;
use crate::tables::report::rows::Row;
use crate::tables::report::turnout::Turnout;

/// The table of all rows.
const LINES: &str = "report_rows";

impl Day<'_> {
    /// Adds a call's workbook to the tables. `json` is what the call's JSON report fed. Returns what the call's tables
    /// were fed with in the end.
    pub(in crate::tables) fn add_workbook(
        &mut self,
        id: &str,
        call: &CallEntry,
        bytes: &[u8],
        json: Option<Fed>,
    ) -> Result<Option<Fed>> {
        let lines = Lines::new()?;
        let start = template(self.manifest, lines.table, id, call);
        let mapping = self.mapping;
        let read = workbook::read(bytes, mapping, &mut |line| {
            self.sink(LINES)?.push(&mut lines.row(&start, line))
        });
        let workbook = match read {
            Ok(workbook) => workbook,
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Refused(refusal)) => {
                self.notes.refused_workbooks.push((id.to_owned(), refusal));
                self.judge(id, call, ReportFormat::Xlsx, Some(Shortfall::Unreadable), None);
                return Ok(json);
            }
        };
        self.notes.bad_times(LINES, "cells", workbook.wrong);
        self.notes
            .observe(Observation::MendedCharacters, workbook.replaced);
        self.notes.observe(Observation::HeadlessSheets, workbook.headless);
        let sheets = |table: &Table| workbook.tables.get(&*table.name).map(Vec::as_slice);
        let Some(json) = json else {
            let fed = self.feed(id, call, true, &mut |_, plan, template, notes| {
                rows::rows(plan, sheets(&plan.table).unwrap_or_default(), template, notes)
            })?;
            let there = sheets_of_participants(&workbook);
            let shortfall = fed.turnout.shortfall(call.participants);
            let participants = there.then_some(fed.participants);
            self.judge(id, call, ReportFormat::Xlsx, shortfall, participants);
            return Ok(Some(Fed {
                people: fed.people.filter(|_| there),
                ..fed
            }));
        };
        let (there, turnout) = self.people_of(&workbook, id).unzip();
        let shortfall = turnout.unwrap_or_default().shortfall(call.participants);
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
            .plans
            .iter()
            .find_map(|(plan, people)| Some((plan, people.as_ref()?)))?;
        let sheets = workbook.tables.get(&*plan.table.name)?;
        let start = vec![Cell::Null; plan.table.columns.len()];
        // Values that do not fit are reported for tables that are fed.
        let mut notes = Notes::default();
        let rows = rows::rows(plan, sheets, &start, &mut notes);
        let settled = people.settle_stays(rows, id, None, &mut notes);
        Some((settled.rows.len() as u64, settled.turnout))
    }
}

fn sheets_of_participants(workbook: &workbook::Workbook) -> bool {
    workbook.tables.contains_key("participants")
}

/// Fills the participant in rows of a table without ids: the participant of that name, if only one has it.
pub(in crate::tables) fn recognize<'v>(
    participants: &Table,
    people: &[Row<'v>],
    table: &Table,
    rows: &mut [Row<'v>],
) {
    let columns = (|| {
        let of = (participants.index("name")?, participants.index("participant_id")?);
        Some((
            of,
            (table.index("participant_name")?, table.index("participant_id")?),
        ))
    })();
    let Some(((name, id), (row_name, row_id))) = columns else {
        return;
    };
    let mut known: HashMap<&str, Option<Cell<'v>>> = HashMap::new();
    for person in people {
        if let Some(name) = person.cells[name].as_text() {
            known
                .entry(name)
                .and_modify(|of| *of = None)
                .or_insert_with(|| Some(person.cells[id].clone()));
        }
    }
    for row in rows {
        if row.cells[row_id].is_some() {
            continue;
        }
        let of = row.cells[row_name].as_text().and_then(|name| known.get(name));
        if let Some(Some(of)) = of {
            row.cells[row_id] = of.clone();
        }
    }
}

/// The columns of `report_rows` that a workbook fills.
struct Lines {
    table: &'static Table,
    sheet: usize,
    number: usize,
    cells: usize,
}

impl Lines {
    fn new() -> Result<Self> {
        let missing = || Error::new(ErrorKind::Internal, LINES, "there is no such table");
        let table = builtin::get(LINES).ok_or_else(missing)?;
        let index = |name| table.index(name).ok_or_else(missing);
        Ok(Self {
            table,
            sheet: index("sheet")?,
            number: index("row_number")?,
            cells: index("cells")?,
        })
    }

    fn row<'r>(&self, start: &[Cell<'r>], line: Line<'_>) -> Row<'r> {
        let mut cells = start.to_vec();
        cells[self.sheet] = line.sheet.to_owned().into();
        cells[self.number] = line.number.into();
        let entries = line
            .cells
            .into_iter()
            .map(|(name, text)| (name.into(), text.into()));
        cells[self.cells] = Cell::Map(entries.collect());
        Row {
            cells,
            extra: serde_json::Map::new(),
        }
    }
}
