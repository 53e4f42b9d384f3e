//! Reads the rows of one table from a JSON object, as the mapping says. Pure.
//!
//! Nothing here fails: a value that does not fit becomes null and is counted, and a row that is not an object is
//! counted.

use std::borrow::Cow;

use super::layout::{Layouts, Places};
use super::lookup::{Lookups, first};
use super::misfit;
use super::node::Node;
use super::path::{Path, Scope, Step};
use super::sessions::SessionReader;
use crate::lake::table::{Type, builtin};
use crate::tables::build_notes::{Kept, Notes, Observation};
use crate::tables::mapping::Mapping;
use crate::tables::mapping::mapping_file::TableSource;
use crate::tables::mapping::plan::{ColumnPlan, OptionPlan, TablePlan};
use crate::tables::parquet::cell::{Cell, Misfit, PollOption};
use crate::tables::parquet::row::TableRow;

/// Reads the rows of a table, one report after another.
#[derive(Debug)]
pub(crate) struct RowReader<'p> {
    mapping: &'p Mapping,
    pub plan: &'p TablePlan,
    layouts: Layouts<'p>,
}

/// What the rows of one report share while they are read.
#[derive(Debug, Default)]
struct ReportRows {
    sessions: SessionReader,
    lookups: Lookups,
}

impl<'p> RowReader<'p> {
    /// A reader of a table's rows.
    pub fn new(mapping: &'p Mapping, plan: &'p TablePlan) -> Self {
        Self {
            mapping,
            plan,
            layouts: Layouts::default(),
        }
    }

    /// The rows in an object. Each starts as `template`, which holds the values that do not come from the object.
    pub fn rows<'v>(
        &mut self,
        object: &Node<'v>,
        template: &[Cell<'v>],
        notes: &mut Notes,
    ) -> Vec<TableRow<'v>> {
        let plan = self.plan;
        let Some(path) = plan.rows.iter().find(|path| path.is_in(object)) else {
            return Vec::new();
        };
        self.layouts.enter(path);
        let shape = self.mapping.shape(plan.source);
        let shape = shape.and_then(|shape| shape.get(&path.steps));
        let mut place = place(plan.source.prefix(), path);
        let kept = match plan.table.index(builtin::rest::extra) {
            Some(_) => Kept::Extra,
            None => outside_of_rows(plan.source),
        };
        let scopes = [object.into()];
        let list = path.collection(&scopes).and_then(Node::as_list);
        let mut rows = Vec::with_capacity(list.map_or(0, <[_]>::len));
        let mut shared = ReportRows::default();
        path.walk(&scopes, &mut |scopes| {
            if !plan.filter.takes(scopes) {
                return;
            }
            let Some(scope) = scopes.last().filter(|scope| plan.can_read(scope.node)) else {
                notes.bad(&plan.table.name, "(row)");
                return;
            };
            let mut row = TableRow::new(template.to_vec());
            let layout = self.layouts.of(plan, shape, scope.node);
            match layout {
                Some(layout) => layout.columns.iter().for_each(|(at, places)| {
                    shared.fill(&mut row, (plan, &plan.columns[*at], places), scopes, notes);
                }),
                None => plan.columns.iter().for_each(|column| {
                    shared.fill(&mut row, (plan, column, &Places::Unknown), scopes, notes);
                }),
            }
            if let (Node::Object(object), Some(shape)) = (scope.node, shape)
                && layout.is_none_or(|layout| layout.has_rest)
            {
                row.extra = shape.rest(object, &mut place, kept, notes);
            }
            rows.push(row);
        });
        // The sessions of rows that do not count belong to nobody.
        if plan.filter.is_empty() {
            notes.observe(Observation::UnclaimedSessions, shared.sessions.unclaimed());
        }
        // A list of stays has them in all rows, even if one has no readable time.
        if rows.iter().any(|row| row.is_stay) {
            rows.iter_mut().for_each(|row| row.is_stay = true);
        }
        rows
    }
}

/// Looks at the place of a row and at some of its texts.
type PlaceVisitor<'f, 'n, 'v, const N: usize> = &'f mut dyn FnMut(&[Scope<'n, 'v>], [Option<String>; N]);

/// Calls `visit` with the place of each row of a table, also of those that do not count, and with the texts of some of its
/// columns.
pub(crate) fn each_place<'n, 'v, const N: usize>(
    plan: &TablePlan,
    object: &'n Node<'v>,
    columns: [&str; N],
    visit: PlaceVisitor<'_, 'n, 'v, N>,
) {
    let plans = columns.map(|name| {
        let index = plan.table.index(name);
        plan.columns.iter().find(|column| Some(column.index) == index)
    });
    let mut lookups = Lookups::default();
    for path in plan.rows.iter().filter(|path| path.is_in(object)) {
        path.walk(&[object.into()], &mut |scopes| {
            let texts = plans.map(|column| {
                let cell = column?.read(scopes, &Places::Unknown, &mut lookups).ok()?;
                cell.as_text().map(str::to_owned)
            });
            visit(scopes, texts);
        });
    }
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

/// The number of rows of a table in an object, also of those that do not count; none if the object lacks the place of
/// the rows.
pub(crate) fn count(plan: &TablePlan, object: &Node<'_>) -> Option<u64> {
    let path = plan.rows.iter().find(|path| path.is_in(object))?;
    Some(path.walk(&[object.into()], &mut |_| {}).values)
}

impl ReportRows {
    /// Fills the cell of a column, and the one that goes with it.
    fn fill<'v>(
        &mut self,
        row: &mut TableRow<'v>,
        (plan, column, places): (&TablePlan, &ColumnPlan, &Places<'_>),
        scopes: &[Scope<'_, 'v>],
        notes: &mut Notes,
    ) {
        let (table, name) = (&*plan.table.name, &*plan.table.columns[column.index].name);
        if let Some(session) = &column.session {
            let read = self.sessions.read(session, &column.from, scopes);
            row.is_stay |= read.is_stay;
            notes.bad_times(table, name, read.stays.bad);
            if read.stays.bad > 0 {
                misfit::explain(plan, column, scopes, notes);
            }
            let (cell, unreadable) = read.stays.cells();
            row.cells[column.index] = cell;
            if let Some(index) = session.unreadable {
                row.cells[index] = unreadable;
            }
            return;
        }
        if let Some(options) = &column.options {
            let (cell, bad) = options.read(&column.from, scopes);
            notes.bad_times(table, name, bad);
            if bad > 0 {
                misfit::explain(plan, column, scopes, notes);
            }
            row.cells[column.index] = cell;
            return;
        }
        match column.read(scopes, places, &mut self.lookups) {
            Ok(Cell::Null) => {}
            Ok(cell) => row.cells[column.index] = cell,
            Err(Misfit) => {
                notes.bad(table, name);
                misfit::explain(plan, column, scopes, notes);
            }
        }
    }
}

impl TablePlan {
    /// True if a value can be a row: an object, a plain value that some column reads, or a list that some column steps into.
    fn can_read(&self, row: &Node<'_>) -> bool {
        let reads = |column: &ColumnPlan| {
            let is_value = column.session.is_none() && column.from.iter().any(Path::is_here);
            is_value || (row.as_list().is_some() && column.from.iter().any(Path::is_list_here))
        };
        row.is_object() || self.columns.iter().any(reads)
    }
}

impl ColumnPlan {
    fn read<'v>(
        &self,
        scopes: &[Scope<'_, 'v>],
        places: &Places<'_>,
        lookups: &mut Lookups,
    ) -> Result<Cell<'v>, Misfit> {
        let mut cell = match places {
            Places::Known(places) => {
                let mut nodes = places.iter().filter_map(|place| place.node(scopes));
                let node = nodes.find(|node| !node.is_null());
                node.map_or(Ok(Cell::Null), |node| self.values.read(node))?
            }
            Places::Unknown => self.own(scopes)?,
        };
        if let Some(lookup) = self.lookup.as_ref().filter(|_| !cell.is_some()) {
            cell = lookups
                .value(self.index, lookup, scopes)
                .map_or(Ok(Cell::Null), |value| self.values.read(&value))?;
        }
        Ok(match cell {
            Cell::Null => self.values.default(),
            cell => cell,
        })
    }

    /// The value of the column's own paths.
    fn own<'v>(&self, scopes: &[Scope<'_, 'v>]) -> Result<Cell<'v>, Misfit> {
        if self.has_nodes {
            let mut nodes = self.from.iter().filter_map(|path| path.node(scopes));
            if let Some(node) = nodes.find(|node| !node.is_null()) {
                return self.values.read(node);
            }
        } else if let Some(value) = self.joined(scopes).or_else(|| first(&self.from, scopes)) {
            return self.values.read(&value);
        }
        match self.kind {
            Type::Strings => self.strings(scopes),
            _ => Ok(Cell::Null),
        }
    }

    /// The texts of `concat`, joined; none if there is no text.
    fn joined<'n, 'v>(&self, scopes: &[Scope<'n, 'v>]) -> Option<Cow<'n, Node<'v>>> {
        let mut joined = String::new();
        for path in &self.concat {
            let value = path.value(scopes);
            let text = value.as_ref().and_then(|value| value.to_text());
            push_part(&mut joined, text.as_deref().unwrap_or_default());
        }
        (!joined.is_empty()).then(|| Cow::Owned(Node::Text(joined.into())))
    }

    /// Reads a list from a path like `tags[].name`.
    fn strings<'v>(&self, scopes: &[Scope<'_, 'v>]) -> Result<Cell<'v>, Misfit> {
        let is_there = |path: &&Path| path.collection(scopes).is_some_and(|value| !value.is_null());
        let Some(path) = self.from.iter().find(is_there) else {
            return Ok(Cell::Null);
        };
        let mut texts = Vec::new();
        let mut fits = true;
        let walked = path.walk(scopes, &mut |scopes| {
            let value = scopes.last().map(|scope| scope.node);
            match value.map_or(Ok(Cell::Null), |value| Cell::read(value, Type::String)) {
                Ok(Cell::Text(text)) => texts.push(text),
                Ok(_) => {}
                Err(Misfit) => fits = false,
            }
        });
        // Elements without the field are no empty list.
        let is_missing = texts.is_empty() && walked.missing > 0;
        match fits && walked.misshapen == 0 && !is_missing {
            true => Ok(Cell::Texts(texts.into())),
            false => Err(Misfit),
        }
    }
}

/// Adds a part to a text of several parts.
pub(crate) fn push_part(joined: &mut String, part: &str) {
    let part = part.trim();
    if !joined.is_empty() && !part.is_empty() {
        joined.push(' ');
    }
    joined.push_str(part);
}

impl OptionPlan {
    /// Reads the options of a poll from the first path that has a list, and counts the values that can't be read. An
    /// option that is a plain value is a text without an id.
    fn read<'v>(&self, from: &[Path], scopes: &[Scope<'_, 'v>]) -> (Cell<'v>, u64) {
        let mut bad = 0;
        for path in from {
            if path.collection(scopes).is_none_or(Node::is_null) {
                continue;
            }
            let mut options = Vec::new();
            let walked = path.walk(scopes, &mut |scopes| {
                if scopes.last().is_some_and(|scope| !scope.node.is_null()) {
                    options.push(self.option(scopes, &mut bad));
                }
            });
            bad += walked.misshapen;
            if walked.misshapen == 0 || !options.is_empty() {
                return (Cell::Options(options.into()), bad);
            }
        }
        (Cell::Null, bad)
    }

    fn option<'v>(&self, scopes: &[Scope<'_, 'v>], bad: &mut u64) -> PollOption<'v> {
        let mut read = |paths: &[Path], kind| {
            let value = first(paths, scopes);
            value.map_or(Cell::Null, |value| {
                Cell::read(&value, kind).unwrap_or_else(|Misfit| {
                    *bad += 1;
                    Cell::Null
                })
            })
        };
        let text = |cell| match cell {
            Cell::Text(text) => Some(text),
            _ => None,
        };
        let is_plain = scopes.last().is_some_and(|scope| !scope.node.is_object());
        let here = [Path::default()];
        PollOption {
            id: text(read(&self.id, Type::String)),
            text: text(read(if is_plain { &here } else { &self.text }, Type::String)),
            is_right: match read(&self.is_right, Type::Bool) {
                Cell::Bool(truth) => Some(truth),
                _ => None,
            },
        }
    }
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
            Step::Values => place.push_str("{}"),
        }
    }
    place
}
