//! Lays a mapping over another one: the upper one's rules for a table or a column come first. Pure.
//!
//! Names are added, not replaced, so that one mapping reads what the platform sent before and after it renamed a field.
//! `replace = true` discards the names below.

use super::mapping_file::{Fault, File, TableRules};
use crate::lake::table::builtin;

/// Lays `over` over `base`.
pub(crate) fn lay(mut base: File, over: File) -> Result<File, Fault> {
    base.zone = over.zone.or(base.zone);
    if !over.formats.is_empty() {
        base.formats = over.formats;
    }
    for (source, names) in over.ignore {
        let known = base.ignore.entry(source).or_default();
        *known = names.before(std::mem::take(known));
    }
    for (name, rules) in over.table {
        let laid = match base.table.remove(&name) {
            Some(below) => lay_table(&name, below, rules)?,
            None if builtin::get(&name).is_some() => {
                return Err(Fault::of_table(
                    &name,
                    "no mapping feeds it: the program makes it itself",
                ));
            }
            None => rules,
        };
        base.table.insert(name, laid);
    }
    Ok(base)
}

fn lay_table(name: &str, mut below: TableRules, over: TableRules) -> Result<TableRules, Fault> {
    if let Some(source) = over.source
        && source != below.source()
    {
        let reason = format!("its rows come from a {}", below.source().name());
        return Err(Fault::of_key(name, "source", reason));
    }
    if over.row.is_some() {
        return Err(Fault::of_key(
            name,
            "row",
            "the table is built in and has its description",
        ));
    }
    if !over.rows.is_empty() {
        below.rows = over.rows;
        // The values that enclose the rows are others now.
        for feed in below.columns.values_mut() {
            feed.from.0.retain(|path| !path.starts_with('^'));
            feed.lookup = None;
        }
        below.columns.retain(|_, feed| feed.is_fed());
    }
    below.zone = over.zone.or(below.zone);
    if !over.formats.is_empty() {
        below.formats = over.formats;
    }
    below.only.extend(over.only);
    below.skip.extend(over.skip);
    below.xlsx = match (over.xlsx, below.xlsx) {
        (Some(over), Some(below)) => Some(over.over(below)),
        (over, below) => over.or(below),
    };
    for (column, feed) in over.columns {
        let laid = match below.columns.remove(&column) {
            Some(feed_below) => feed.over(feed_below),
            None => feed,
        };
        below.columns.insert(column, laid);
    }
    Ok(below)
}
