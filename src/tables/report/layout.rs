//! Where the columns of a table lie in the objects that are its rows. Pure.
//!
//! The rows of a list mostly have the same fields in the same order. What a search for the columns found in one row holds
//! for all rows with these fields, so that a row costs one comparison of its names instead of a search for each column.

use super::node::{JsonObject, Node};
use super::path::{Path, Scope, Step};
use crate::lake::table::Type;
use crate::tables::mapping::plan::{ColumnPlan, TablePlan};
use crate::tables::mapping::shape::Shape;

/// The layouts of a table that are kept: rows of which some lack a field have a few of them.
const MOST: usize = 8;
/// The fields of an object that has a layout. A larger one is searched, so that a hostile report takes no memory.
const MOST_FIELDS: usize = 64;

/// The layouts of a table's rows.
#[derive(Debug, Default)]
pub(crate) struct Layouts<'p> {
    /// The path of the rows that have them.
    rows: Option<&'p Path>,
    known: Vec<Layout<'p>>,
    latest: usize,
}

/// The places of a table's columns in objects with the same fields.
#[derive(Debug)]
pub(crate) struct Layout<'p> {
    names: Vec<Box<str>>,
    /// The columns that may have a value, by their index in the plan, with their places.
    pub columns: Vec<(usize, Places<'p>)>,
    /// True if an object may have fields that no column takes.
    pub has_rest: bool,
}

/// The places of a column's value; the first that has one counts.
#[derive(Debug, Clone)]
pub(crate) enum Places<'p> {
    /// The column must be searched for in each row.
    Unknown,
    /// The value stands in one of these.
    Known(Vec<Place<'p>>),
}

/// A place of a column's value.
#[derive(Debug, Clone)]
pub(crate) enum Place<'p> {
    /// A field of the row, or a value below it.
    Field(usize, &'p [Step]),
    /// The row itself, or a value of what encloses it.
    Other(&'p Path),
}

impl<'p> Layouts<'p> {
    /// Forgets the layouts if the rows of the next objects come from another path, because their fields mean something else.
    pub fn enter(&mut self, rows: &'p Path) {
        if !self.rows.is_some_and(|known| std::ptr::eq(known, rows)) {
            *self = Self {
                rows: Some(rows),
                ..Self::default()
            };
        }
    }

    /// The layout of a row; none if it must be searched. `shape` is that of the rows.
    pub fn of(&mut self, plan: &'p TablePlan, shape: Option<&Shape>, row: &Node<'_>) -> Option<&Layout<'p>> {
        let Node::Object(object) = row else {
            return None;
        };
        let fits = |layout: &Layout<'p>| object.has_names(&layout.names);
        if !self.known.get(self.latest).is_some_and(fits) {
            self.latest = match self.known.iter().position(fits) {
                Some(at) => at,
                None => {
                    let layout = Layout::new(plan, shape, object)?;
                    if self.known.len() == MOST {
                        self.known.remove(0);
                    }
                    self.known.push(layout);
                    self.known.len() - 1
                }
            };
        }
        self.known.get(self.latest)
    }
}

impl<'p> Layout<'p> {
    fn new(plan: &'p TablePlan, shape: Option<&Shape>, object: &JsonObject<'_>) -> Option<Self> {
        let fields = object.fields();
        if fields.len() > MOST_FIELDS {
            return None;
        }
        let columns = plan.columns.iter().enumerate();
        let columns = columns.map(|(at, column)| (at, Places::of(column, object)));
        Some(Self {
            names: fields.iter().map(|(name, _)| (&**name).into()).collect(),
            columns: columns
                .filter(|(at, places)| places.may_have(&plan.columns[*at]))
                .collect(),
            has_rest: shape.is_some_and(|shape| fields.iter().any(|(name, _)| shape.leaves(name))),
        })
    }
}

impl<'p> Places<'p> {
    fn of(column: &'p ColumnPlan, object: &JsonObject<'_>) -> Self {
        let is_value = column.session.is_none() && column.options.is_none() && column.has_nodes;
        if !is_value || column.kind == Type::Strings {
            return Self::Unknown;
        }
        let places = column.from.iter().filter_map(|path| match path.in_field() {
            Some((name, below)) => Some(Place::Field(object.position(name)?, below)),
            None => Some(Place::Other(path)),
        });
        Self::Known(places.collect())
    }

    /// True if a column with these places may have a value.
    fn may_have(&self, column: &ColumnPlan) -> bool {
        match self {
            Self::Unknown => true,
            Self::Known(places) => {
                !places.is_empty() || column.lookup.is_some() || column.values.has_default()
            }
        }
    }
}

impl Place<'_> {
    /// The value at the place, for the row that the scopes lead to.
    pub fn node<'n, 'v>(&self, scopes: &[Scope<'n, 'v>]) -> Option<&'n Node<'v>> {
        match self {
            Self::Field(at, below) => match scopes.last()?.node {
                Node::Object(object) => Path::below(&object.fields().get(*at)?.1, below),
                _ => None,
            },
            Self::Other(path) => path.node(scopes),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tables::build_notes::Notes;
    use crate::tables::mapping::Mapping;
    use crate::tables::parquet::cell::Cell;
    use crate::tables::report::rows::RowReader;

    const MAPPING: &str = "
        version = 1
        [table.visits]
        rows = ['visits[]', 'guests[]']
        [table.visits.columns]
        name = { from = ['name', 'title', 'user.name'], type = 'string' }
        count = { from = ['n', '^.n'], type = 'int64', default = 7 }
        label = { from = 'l', type = 'string', find = '^.labels[]', key = 'id', by = 'label', take = 'text' }
        tags = { from = 'tags[].t', type = 'list' }
    ";

    /// The rows of a report as texts.
    fn rows(reader: &mut RowReader<'_>, report: &Value) -> Vec<String> {
        let report = Node::from(report);
        let template = vec![Cell::Null; reader.plan.table.columns.len()];
        let rows = reader.rows(&report, &template, &mut Notes::default());
        rows.iter().map(|row| format!("{row:?}")).collect()
    }

    /// The same report with so many more fields in each row that it is searched. A null is no value.
    fn searched(report: &Value) -> Value {
        let mut report = report.clone();
        for rows in ["visits", "guests"] {
            let rows = report.get_mut(rows).and_then(Value::as_array_mut);
            for row in rows.into_iter().flatten().filter_map(Value::as_object_mut) {
                row.extend((0..MOST_FIELDS).map(|number| (format!("pad{number}"), Value::Null)));
            }
        }
        report
    }

    #[test]
    fn rows_of_any_fields_are_read_as_without_layouts() {
        let mapping = Mapping::over_builtin(MAPPING, "a mapping").expect("a mapping");
        let plan = mapping.plan("visits").expect("a table");
        let mut reader = RowReader::new(&mapping, plan);
        let mut visits = vec![
            json!({"name": "a", "n": 1}),
            json!({"name": "b", "n": null}),
            json!({"name": null, "n": 2, "title": "c"}),
            json!({"n": 3, "name": "d"}),
            json!({"user": {"name": "e"}, "label": 5, "tags": [{"t": "x"}]}),
            json!({"user": 5, "label": "6", "more": {"deep": true}}),
            json!("no object"),
            json!({}),
        ];
        // More layouts than are kept, and then the first ones again.
        visits.extend((0..20).map(|number| json!({"name": number, format!("x{number}"): number})));
        visits.extend_from_within(..8);
        let labels = json!([{"id": 5, "text": "five"}, {"id": 6, "text": "six"}]);
        let report = json!({"n": 9, "labels": labels, "visits": visits});
        let elsewhere =
            json!({"guests": [{"n": 4, "user": {"name": "z"}}, {"n": "5", "name": "y", "rest": 1}]});
        // The second report has its rows elsewhere, with other fields at the places of those of the first.
        for (report, count) in [(&report, 8 + 20 + 8 - 2), (&elsewhere, 2), (&report, 34)] {
            let found = rows(&mut reader, report);
            assert_eq!(
                found,
                rows(&mut RowReader::new(&mapping, plan), &searched(report))
            );
            assert_eq!(found.len(), count);
        }
    }

    #[test]
    fn of_two_equal_names_the_last_counts() {
        let mapping = Mapping::over_builtin(MAPPING, "a mapping").expect("a mapping");
        let plan = mapping.plan("visits").expect("a table");
        let text = r#"{"visits": [{"name": "a", "n": 1, "name": "b"}, {"name": "c", "n": 2, "name": "d"}]}"#;
        let report: Node<'_> = serde_json::from_str(text).expect("JSON");
        let mut reader = RowReader::new(&mapping, plan);
        let template = vec![Cell::Null; plan.table.columns.len()];
        let rows = reader.rows(&report, &template, &mut Notes::default());
        let at = plan.table.index("name").expect("a column");
        let names: Vec<_> = rows.iter().map(|row| row.cells[at].as_text()).collect();
        assert_eq!(names, [Some("b"), Some("d")]);
    }
}
