//! Compares the mapping with a report: what it finds there, and what it does not. Pure; called by `check`.

use super::mapping_file::TableSource;
use crate::json::Text;
use crate::tables::build_notes::Notes;
use crate::tables::mapping::Mapping;
use crate::tables::mapping::plan::TablePlan;
use crate::tables::parquet::cell::Cell;
use crate::tables::report::inspect;
use crate::tables::report::inspect::NotJson;
use crate::tables::report::rows;

/// The result of comparing a report with the mapping: names and counts, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// The tables that are read from reports.
    pub tables: Vec<TableFit>,
    /// Fields that no column takes and values that do not fit.
    pub notes: Notes,
}

/// The result of looking for a table in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFit {
    /// The table's name.
    pub table: String,
    /// The number of its rows; none if the report lacks the place of the rows.
    pub rows: Option<u64>,
    /// The mapped columns that have a value in some row.
    pub bound: Vec<String>,
    /// The mapped columns that have no value in any row.
    pub unbound: Vec<String>,
}

/// Compares a mapping with a report.
///
/// # Errors
/// If the report is not JSON.
pub fn fit(json: &[u8], mapping: &Mapping) -> Result<Fit, NotJson> {
    let text = Text::new(json);
    let (report, repairs) = inspect::parse(&text)?;
    let mut notes = Notes::default();
    notes.mended(repairs);
    rows::count_rest(mapping, TableSource::Report, &report, &mut notes);
    let of_reports = mapping
        .tables
        .iter()
        .filter(|plan| plan.source == TableSource::Report);
    let tables = of_reports
        .map(|plan| {
            let template = vec![Cell::Null; plan.table.columns.len()];
            let rows = rows::rows(mapping, plan, &report, &template, &mut notes);
            let (bound, unbound) = mapped(plan)
                .into_iter()
                .partition(|index| rows.iter().any(|row| row.cells[*index].is_some()));
            TableFit {
                table: plan.table.name.to_string(),
                rows: rows::count(plan, &report),
                bound: names(plan, bound),
                unbound: names(plan, unbound),
            }
        })
        .collect();
    Ok(Fit { tables, notes })
}

/// The columns that the mapping feeds, in the table's order.
fn mapped(plan: &TablePlan) -> Vec<usize> {
    let mut columns: Vec<_> = plan.columns.iter().map(|column| column.index).collect();
    columns.sort_unstable();
    columns
}

fn names(plan: &TablePlan, columns: Vec<usize>) -> Vec<String> {
    columns
        .into_iter()
        .map(|index| plan.table.columns[index].name.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fit_separates_found_columns_from_missing_ones() {
        let mapping = Mapping::builtin().expect("mapping");
        let report =
            r#"{"participants": [{"id": "p", "name": "x", "cameraSeconds": "?"}], "messages": [], "new": 1}"#;
        let fit = fit(report.as_bytes(), &mapping).expect("JSON");
        let of = |name: &str| {
            fit.tables
                .iter()
                .find(|table| table.table == name)
                .expect("table")
        };
        assert_eq!(of("participants").bound, ["participant_id", "name"]);
        assert!(of("participants").unbound.contains(&"camera_s".to_owned()));
        assert_eq!(of("messages").rows, Some(0));
        assert_eq!(of("reactions").rows, None);
        assert!(fit.notes.unmapped.contains_key("new"));
        assert!(fit.notes.bad.contains_key("participants.camera_s"));
    }
}
