//! A first look at a workbook: can it be read, and does it say anything? Pure; called when it lands.

use super::refusal::Refusal;
use super::table_rows;
use super::workbook::{self, ReadStop};
use crate::lake::table::builtin::participants;
use crate::tables::build_notes::Notes;
use crate::tables::mapping::Mapping;
use crate::tables::parquet::cell::Cell;
use crate::tables::report::people::ParticipantMerger;
use crate::tables::report::turnout::Turnout;

/// The result of a first look at a workbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookInspection {
    /// True if no sheet has anything in it.
    pub empty: bool,
    /// The number of participants that it tells apart; none if the mapping does not find their sheet.
    pub participants: Option<u64>,
    /// Counts of the people that the mapping finds.
    pub turnout: Turnout,
}

/// Reads a workbook to its end.
///
/// # Errors
/// The reason why it can't be read.
pub fn inspect_workbook(bytes: &[u8], mapping: &Mapping) -> Result<BookInspection, Refusal> {
    let workbook = workbook::read(bytes, mapping, &mut |_| Ok(())).map_err(|stop| match stop {
        ReadStop::Refused(refusal) => refusal,
        // Nothing is written here that could fail.
        ReadStop::Failed(_) => Refusal::Unreadable,
    })?;
    let participants = mapping.plan(participants::NAME).and_then(|plan| {
        let sheets = workbook.tables.get(&*plan.table.name)?;
        let people = ParticipantMerger::of(plan)?;
        let template = vec![Cell::Null; plan.table.columns.len()];
        let mut notes = Notes::default();
        let rows = table_rows::rows(plan, sheets, &template, &mut notes);
        Some(people.merge(rows, "", None, &mut notes))
    });
    Ok(BookInspection {
        empty: workbook.rows == 0,
        participants: participants.as_ref().map(|settled| settled.rows.len() as u64),
        turnout: participants.map(|settled| settled.turnout).unwrap_or_default(),
    })
}
