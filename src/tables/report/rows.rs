//! Reads the rows of one table from a JSON object, as the mapping says. Pure.
//!
//! Nothing here fails: a value that does not fit becomes null and is counted, and a row that is not an object is
//! counted.

use chrono::{DateTime, Utc};
use serde_json::Map;

use super::misfit;
use super::node::Node;
use super::path::{Path, Step};
use super::stay::{ReportedStay, ReportedStays, read_stay};
use crate::lake::table::{Type, builtin};
use crate::lenient::{self, Reading};
use crate::tables::build_notes::{Kept, Notes};
use crate::tables::mapping::mapping_file::TableSource;
use crate::tables::mapping::{ColumnPlan, LookupPlan, Mapping, OptionPlan, SessionPlan, TablePlan};
use crate::tables::parquet::cell::{Cell, Misfit, PollOption};
use crate::tables::parquet::row::TableRow;

/// The rows of a table in an object. Each starts as `template`, which holds the values that do not come from the
/// object.
pub(crate) fn rows<'v>(
    mapping: &Mapping,
    plan: &TablePlan,
    object: &Node<'v>,
    template: &[Cell<'v>],
    notes: &mut Notes,
) -> Vec<TableRow<'v>> {
    let Some(path) = plan.rows.iter().find(|path| is_there(path, object)) else {
        return Vec::new();
    };
    let shape = mapping
        .shape(plan.source)
        .and_then(|shape| shape.get(&path.steps));
    let mut place = place(plan.source.prefix(), path);
    let kept = match plan.table.index(builtin::rest::extra) {
        Some(_) => Kept::Extra,
        None => outside_of_rows(plan.source),
    };
    let mut rows = Vec::new();
    walk(object, &path.steps, &mut vec![object], &mut |scopes| {
        let Some(row) = read(plan, scopes, template, notes) else {
            return;
        };
        let extra = match (scopes.last(), shape) {
            (Some(Node::Object(object)), Some(shape)) => shape.rest(object, &mut place, kept, notes),
            _ => Map::new(),
        };
        rows.push(TableRow { cells: row, extra });
    });
    rows
}

/// Counts the fields of an object that lie outside all rows and that no column takes.
pub(crate) fn count_rest(mapping: &Mapping, plan_source: TableSource, object: &Node<'_>, notes: &mut Notes) {
    if let (Some(shape), Node::Object(object)) = (mapping.shape(plan_source), object)
        && !shape.row
    {
        let kept = outside_of_rows(plan_source);
        shape.rest(object, &mut plan_source.prefix().to_owned(), kept, notes);
    }
}

/// The place where the lake keeps the fields of a source's object that are in no row.
fn outside_of_rows(source: TableSource) -> Kept {
    match source {
        TableSource::Report => Kept::Raw,
        TableSource::Call | TableSource::Record | TableSource::Room | TableSource::Space => Kept::Manifest,
    }
}

/// The number of rows of a table in an object; none if the object lacks the place of the rows.
pub(crate) fn count(plan: &TablePlan, object: &Node<'_>) -> Option<u64> {
    let path = plan.rows.iter().find(|path| is_there(path, object))?;
    let mut count = 0;
    walk(object, &path.steps, &mut vec![object], &mut |_| count += 1);
    Some(count)
}

/// True if an object has the place of a path's rows, with or without rows.
pub(crate) fn is_there(path: &Path, object: &Node<'_>) -> bool {
    let mut value = object;
    for step in &path.steps {
        match step {
            Step::Field(name) => match value.get(name.as_str()) {
                Some(inner) => value = inner,
                None => return false,
            },
            Step::Each => return value.as_list().is_some(),
        }
    }
    !value.is_null()
}

/// Calls `row` with the scopes of each row: the object first, the row last.
fn walk<'n, 'v>(
    value: &'n Node<'v>,
    steps: &[Step],
    scopes: &mut Vec<&'n Node<'v>>,
    row: &mut dyn FnMut(&[&'n Node<'v>]),
) {
    match steps.split_first() {
        None => row(scopes),
        Some((Step::Field(name), rest)) => {
            let Some(inner) = value.get(name.as_str()) else {
                return;
            };
            if rest.is_empty() {
                scopes.push(inner);
                row(scopes);
                scopes.pop();
            } else {
                walk(inner, rest, scopes, row);
            }
        }
        Some((Step::Each, rest)) => {
            for element in value.as_list().into_iter().flatten() {
                scopes.push(element);
                walk(element, rest, scopes, row);
                scopes.pop();
            }
        }
    }
}

fn read<'v>(
    plan: &TablePlan,
    scopes: &[&Node<'v>],
    template: &[Cell<'v>],
    notes: &mut Notes,
) -> Option<Vec<Cell<'v>>> {
    let plain = |column: &ColumnPlan| column.session.is_none() && column.from.iter().any(Path::is_here);
    if !scopes.last()?.is_object() && !plan.columns.iter().any(plain) {
        notes.bad(&plan.table.name, "(row)");
        return None;
    }
    let mut cells = template.to_vec();
    for column in &plan.columns {
        let (table, name) = (&*plan.table.name, &*plan.table.columns[column.index].name);
        if let Some(session) = &column.session {
            let stays = session.read(&column.from, scopes);
            notes.bad_times(table, name, stays.bad);
            if stays.bad > 0 {
                misfit::explain(plan, column, scopes, notes);
            }
            let (sessions, unreadable) = stays.cells();
            cells[column.index] = sessions;
            if let Some(index) = session.unreadable {
                cells[index] = unreadable;
            }
            continue;
        }
        if let Some(options) = &column.options {
            let (cell, bad) = options.read(&column.from, scopes);
            notes.bad_times(table, name, bad);
            if bad > 0 {
                misfit::explain(plan, column, scopes, notes);
            }
            cells[column.index] = cell;
            continue;
        }
        match column.read(scopes) {
            Ok(Cell::Null) => {}
            Ok(cell) => cells[column.index] = cell,
            Err(Misfit) => {
                notes.bad(table, name);
                misfit::explain(plan, column, scopes, notes);
            }
        }
    }
    Some(cells)
}

impl ColumnPlan {
    fn read<'v>(&self, scopes: &[&Node<'v>]) -> Result<Cell<'v>, Misfit> {
        let cell = match first(&self.from, scopes) {
            Some(value) => match self.scale {
                Some(scale) => Cell::scaled(value, self.kind, scale)?,
                None => Cell::read(value, self.kind)?,
            },
            None if self.kind == Type::Strings => self.strings(scopes)?,
            None => Cell::Null,
        };
        match &self.lookup {
            Some(lookup) if !cell.is_some() => Ok(lookup
                .value(scopes)
                .map_or(Ok(Cell::Null), |value| Cell::read(value, self.kind))?),
            _ => Ok(cell),
        }
    }

    /// Reads a list from a path like `tags[].name`.
    fn strings<'v>(&self, scopes: &[&Node<'v>]) -> Result<Cell<'v>, Misfit> {
        let Some((path, elements)) = self
            .from
            .iter()
            .find_map(|path| Some((path, path.elements(scopes)?)))
        else {
            return Ok(Cell::Null);
        };
        let inner = Path {
            up: 0,
            steps: path.after_each().to_vec(),
        };
        let mut texts = Vec::new();
        for element in elements {
            let cell = inner
                .value(&[element])
                .map_or(Ok(Cell::Null), |value| Cell::read(value, Type::String))?;
            if let Cell::Text(text) = cell {
                texts.push(text);
            }
        }
        Ok(Cell::Texts(texts))
    }
}

impl SessionPlan {
    /// Reads the stays of a row from the first path that exists. Anything else in the place of a list of stays is
    /// unreadable, because it does not say that there were none.
    fn read(&self, from: &[Path], scopes: &[&Node<'_>]) -> ReportedStays {
        let mut stays = ReportedStays::default();
        for path in from {
            if path.arrays() == 0 {
                // A row is itself a stay if it has any time.
                if let Some(element) = path.value(scopes).filter(|element| self.is_stay(element)) {
                    stays.add(self.stay(element));
                    return stays;
                }
                continue;
            }
            match path.list(scopes) {
                Some(Node::List(elements)) => {
                    stays.sessions = Some(Vec::with_capacity(elements.len()));
                    elements.iter().for_each(|element| stays.add(self.stay(element)));
                    return stays;
                }
                None | Some(Node::Null) => {}
                Some(_) => stays.add_unreadable(),
            }
        }
        stays
    }

    fn is_stay(&self, element: &Node<'_>) -> bool {
        [&self.joined, &self.left]
            .into_iter()
            .any(|paths| instant(paths, element) != Reading::Absent)
    }

    fn stay(&self, element: &Node<'_>) -> ReportedStay {
        read_stay(instant(&self.joined, element), instant(&self.left, element))
    }
}

impl OptionPlan {
    /// Reads the options of a poll from the first path that has a list, and counts the values that can't be read. An
    /// option that is a plain value is a text without an id.
    fn read<'v>(&self, from: &[Path], scopes: &[&Node<'v>]) -> (Cell<'v>, u64) {
        let mut bad = 0;
        let mut list = None;
        for path in from {
            match path.list(scopes) {
                None | Some(Node::Null) => {}
                Some(Node::List(elements)) => {
                    list = Some(elements);
                    break;
                }
                Some(_) => bad += 1,
            }
        }
        let Some(elements) = list else {
            return (Cell::Null, bad);
        };
        let mut read = |paths: &[Path], element: &Node<'v>, kind| {
            let value = first(paths, &[element]);
            value.map_or(Cell::Null, |value| {
                Cell::read(value, kind).unwrap_or_else(|Misfit| {
                    bad += 1;
                    Cell::Null
                })
            })
        };
        let mut options = Vec::with_capacity(elements.len());
        for element in elements.iter().filter(|element| !element.is_null()) {
            let text = |cell| match cell {
                Cell::Text(text) => Some(text),
                _ => None,
            };
            let is_plain = !element.is_object();
            let here = [Path {
                up: 0,
                steps: Vec::new(),
            }];
            options.push(PollOption {
                id: text(read(&self.id, element, Type::String)),
                text: text(read(
                    if is_plain { &here } else { &self.text },
                    element,
                    Type::String,
                )),
                is_right: match read(&self.is_right, element, Type::Bool) {
                    Cell::Bool(truth) => Some(truth),
                    _ => None,
                },
            });
        }
        (Cell::Options(options), bad)
    }
}

/// The first reading of some fields that is not absent.
fn instant(paths: &[Path], element: &Node<'_>) -> Reading<DateTime<Utc>> {
    paths
        .iter()
        .filter_map(|path| path.value(&[element]))
        .map(lenient::read_instant)
        .find(|reading| *reading != Reading::Absent)
        .unwrap_or(Reading::Absent)
}

impl LookupPlan {
    fn value<'n, 'v>(&self, scopes: &[&'n Node<'v>]) -> Option<&'n Node<'v>> {
        let by = first(&self.by, scopes)?;
        let found = self.find.elements(scopes)?.iter().find(|element| {
            let mut keys = self.key.iter().filter_map(|path| path.value(&[element]));
            keys.any(|key| same(key, by))
        })?;
        first(&self.take, &[found])
    }
}

/// True if two ids are equal, as text or as numbers.
fn same(a: &Node<'_>, b: &Node<'_>) -> bool {
    match (a, b) {
        (Node::Text(a), Node::Text(b)) => a == b,
        _ => lenient::text(a).is_some_and(|a| lenient::text(b) == Some(a)),
    }
}

/// The first value that exists and is not null.
fn first<'n, 'v>(paths: &[Path], scopes: &[&'n Node<'v>]) -> Option<&'n Node<'v>> {
    paths
        .iter()
        .filter_map(|path| path.value(scopes))
        .find(|value| !value.is_null())
}

/// A rows' path as the notes show it.
fn place(prefix: &str, path: &Path) -> String {
    let mut place = prefix.to_owned();
    for step in &path.steps {
        match step {
            Step::Field(name) if place.is_empty() => place.push_str(name),
            Step::Field(name) => {
                place.push('.');
                place.push_str(name);
            }
            Step::Each => place.push_str("[]"),
        }
    }
    place
}
