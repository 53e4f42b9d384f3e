//! The reason for a wrong name of a column. Pure.

use crate::lake::table::Table;

/// The reason why a column does not exist, with the nearest one.
pub(crate) fn no_column(table: &Table, name: &str) -> String {
    let known = table.columns.iter().map(|column| &*column.name);
    let nearest = known.max_by(|a, b| {
        let likeness = |known: &str| strsim::jaro_winkler(known, name);
        likeness(a).total_cmp(&likeness(b))
    });
    match nearest.filter(|known| strsim::jaro_winkler(known, name) > 0.75) {
        Some(nearest) => format!("the table has no such column; the nearest is `{nearest}`"),
        None => "the table has no such column: `telelake schema` lists those that it has".to_owned(),
    }
}
