//! The resolved rules of a table and of its columns. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::feed::{Feed, Lookup};
use super::mapping_file::{Fault, TableRules, TableSource};
use super::names::Names;
use super::no_column::no_column;
use super::row_filter::RowFilter;
use super::row_place::{RowPlace, scopes};
use super::session_plan::SessionPlan;
use super::shape::Shape;
use super::value_rules::{self, ValueRules};
use super::{paths, user_table};
use crate::lake::table::builtin::participants;
use crate::lake::table::{Table, Type, builtin};
use crate::lenient::InstantRules;
use crate::tables::report::path::{Path, Step};
use crate::tables::xlsx::SheetPlan;

/// The fields of an option of a poll.
const OPTION: [&str; 3] = ["option_id", "text", "is_right"];

/// The resolved rules of a table.
#[derive(Debug, Clone)]
pub(crate) struct TablePlan {
    pub table: Cow<'static, Table>,
    pub source: TableSource,
    /// The paths of its rows; the first that exists wins.
    pub rows: Vec<Path>,
    /// The rows that count.
    pub filter: RowFilter,
    pub columns: Vec<ColumnPlan>,
    /// The rules for its sheet in a workbook.
    pub sheet: Option<SheetPlan>,
}

/// The resolved feed of a column.
#[derive(Debug, Clone)]
pub(crate) struct ColumnPlan {
    pub index: usize,
    pub kind: Type,
    pub from: Vec<Path>,
    /// The parts of a text that is joined from several fields.
    pub concat: Vec<Path>,
    /// For a column of sessions.
    pub session: Option<Box<SessionPlan>>,
    /// For a column of options.
    pub options: Option<OptionPlan>,
    pub lookup: Option<LookupPlan>,
    pub values: ValueRules,
    /// True if `from` has no keys and `concat` nothing, as in most columns.
    pub has_nodes: bool,
}

/// The fields of an option of a poll.
#[derive(Debug, Clone)]
pub(crate) struct OptionPlan {
    pub id: Vec<Path>,
    pub text: Vec<Path>,
    pub is_right: Vec<Path>,
}

/// A resolved lookup.
#[derive(Debug, Clone)]
pub(crate) struct LookupPlan {
    pub find: Path,
    pub key: Vec<Path>,
    pub by: Vec<Path>,
    pub take: Vec<Path>,
}

impl TablePlan {
    pub(super) fn resolve(name: &str, rules: &TableRules, outer: &InstantRules) -> Result<Self, Fault> {
        let table = match builtin::get(name) {
            Some(table) => Cow::Borrowed(table),
            None => Cow::Owned(user_table::define(name, rules)?),
        };
        let rows = paths(&rules.rows).map_err(|reason| Fault::of_key(name, "rows", reason))?;
        if rows.is_empty() || rows.iter().any(|path| path.up > 0 || path.is_key) {
            return Err(Fault::of_key(
                name,
                "rows",
                "must be a path from the whole object",
            ));
        }
        let instants =
            value_rules::instants(outer, rules.zone.as_deref(), &rules.formats).map_err(|wrong| {
                let mut fault = Fault::of_table(name, wrong.reason);
                fault.at.push(wrong.key.to_owned());
                fault
            })?;
        let place = RowPlace {
            table: &table,
            source: rules.source(),
            rows: &rows,
            instants: &instants,
        };
        let filter = RowFilter::resolve(rules).map_err(|(key, path, reason)| {
            let mut fault = Fault::of_key(name, key, reason);
            fault.at.push(path.to_owned());
            fault
        })?;
        place
            .check(filter.paths())
            .map_err(|reason| Fault::of_table(name, format!("a condition: {reason}")))?;
        let mut columns = Vec::new();
        for (column, feed) in &rules.columns {
            let plan = ColumnPlan::resolve(place, column, feed)
                .map_err(|reason| Fault::of_column(name, column, reason))?;
            columns.push(plan);
        }
        let sheet = rules.xlsx.as_ref().map(|xlsx| match rules.source() {
            TableSource::Report => SheetPlan::resolve(&table, xlsx, &instants)
                .map_err(|fault| Fault::of_sheet(name, &fault.at, fault.reason)),
            _ => {
                let reason = "only reports come as workbooks: it has no place here";
                Err(Fault::of_key(name, "xlsx", reason))
            }
        });
        Ok(Self {
            sheet: sheet.transpose()?,
            source: rules.source(),
            rows,
            filter,
            columns,
            table,
        })
    }

    /// True if a column has a value in rows of which the report says nothing.
    pub fn has_default(&self, column: usize) -> bool {
        let of_sheet = self.sheet.as_ref().is_some_and(|sheet| sheet.has_default(column));
        let mut columns = self.columns.iter().filter(|plan| plan.index == column);
        of_sheet || columns.any(|plan| plan.values.has_default())
    }

    /// Marks in a shape the values that this table takes.
    pub(super) fn mark(&self, shape: &mut Shape) {
        for rows in &self.rows {
            shape.insert(&rows.steps).row = true;
            let scopes = scopes(rows);
            for path in self
                .filter
                .paths()
                .filter(|path| path.up == 0 && !path.is_key && !path.steps.is_empty())
            {
                shape.insert(&rows.then(path).steps).tested = true;
            }
            for column in &self.columns {
                for taken in column.taken() {
                    let Some(scope) = scopes.len().checked_sub(taken.up + 1) else {
                        continue;
                    };
                    let steps = [&rows.steps[..scopes[scope]], &taken.steps].concat();
                    // A key is no value.
                    if !steps.is_empty() && !taken.is_key {
                        shape.insert(&steps).taken = true;
                    }
                }
            }
        }
    }
}

impl ColumnPlan {
    fn resolve(place: RowPlace<'_>, name: &str, feed: &Feed) -> Result<Self, String> {
        let table = place.table;
        let index = table.index(name).ok_or_else(|| no_column(table, name))?;
        // Lesson data in a report is taken whole, and `join` makes the lesson columns of it.
        let kind = match (place.source, name) {
            (TableSource::Report, builtin::lesson::attributes) => Type::Json,
            _ => table.columns[index].kind,
        };
        let is_own =
            |name: &str| builtin::CALL_COLUMNS.contains(&name) || builtin::PERSON_COLUMNS.contains(&name);
        if name == builtin::rest::extra
            || (place.source == TableSource::Report && is_own(name))
            || matches!(kind, Type::Date | Type::Counts)
        {
            return Err("it is filled by the program".into());
        }
        if table.name == participants::NAME
            && [participants::duration_s, participants::sessions_count].contains(&name)
        {
            return Err(
                "it is computed from `sessions`: name a length as `duration_s` in the `fields` of `sessions`"
                    .into(),
            );
        }
        feed.check(table, kind)?;
        let plan = Self {
            index,
            kind,
            from: paths(&feed.from)?,
            concat: paths(&feed.concat)?,
            session: SessionPlan::resolve(place, kind, name, feed)?.map(Box::new),
            options: OptionPlan::resolve(kind, &feed.fields)?,
            lookup: feed.lookup.as_ref().map(LookupPlan::resolve).transpose()?,
            values: ValueRules::resolve(kind, name, &feed.options, place.instants)?,
            has_nodes: false,
        };
        let has_nodes = plan.concat.is_empty() && !plan.from.iter().any(|path| path.is_key);
        let plan = Self { has_nodes, ..plan };
        let is_list = matches!(kind, Type::Sessions | Type::Options | Type::Strings);
        if !is_list && plan.from.iter().any(|path| path.arrays() > 0) {
            return Err(format!(
                "a path steps into a list, and the column takes one {}",
                kind.name()
            ));
        }
        if plan.concat.iter().any(|path| path.arrays() > 0) {
            return Err("`concat` joins single values: a path of it steps into an array".into());
        }
        if plan.lookup.as_ref().is_some_and(LookupPlan::is_wrong) {
            return Err("`find` must step into one array, at its end, and the others into none".into());
        }
        let by = plan
            .lookup
            .iter()
            .flat_map(|lookup| lookup.by.iter().chain([&lookup.find]));
        place.check(plan.from.iter().chain(&plan.concat).chain(by))?;
        Ok(plan)
    }

    /// All paths that the column reads, from the row.
    pub fn taken(&self) -> Vec<Path> {
        let mut taken: Vec<Path> = self.concat.clone();
        let mut each = |from: &Path, fields: &mut dyn Iterator<Item = &Path>| {
            let own = fields.filter(|field| field.up == 0 && !field.is_key);
            taken.extend(own.map(|field| from.then(field)));
        };
        match (&self.session, &self.options) {
            (Some(session), _) => {
                for from in &self.from {
                    each(from, &mut session.fields());
                }
                if let Some(elsewhere) = &session.elsewhere {
                    each(&elsewhere.list, &mut elsewhere.fields(session));
                }
            }
            (_, Some(options)) => {
                for from in &self.from {
                    each(
                        from,
                        &mut options.id.iter().chain(&options.text).chain(&options.is_right),
                    );
                }
            }
            (None, None) => taken.extend(self.from.iter().cloned()),
        }
        if let Some(lookup) = &self.lookup {
            let fields = lookup.key.iter().chain(&lookup.take);
            taken.extend(fields.map(|field| lookup.find.then(field)));
            taken.extend(lookup.by.iter().cloned());
        }
        taken
    }
}

impl OptionPlan {
    fn resolve(kind: Type, fields: &BTreeMap<String, Names>) -> Result<Option<Self>, String> {
        if kind != Type::Options {
            return Ok(None);
        }
        if fields.keys().any(|name| !OPTION.contains(&name.as_str())) {
            return Err(format!("`fields` of options are {}", OPTION.join(", ")));
        }
        let of = |name| fields.get(name).map_or(Ok(Vec::new()), paths);
        let [id, text, is_right] = OPTION.map(of);
        let plan = Self {
            id: id?,
            text: text?,
            is_right: is_right?,
        };
        let paths = plan.id.iter().chain(&plan.text).chain(&plan.is_right);
        match paths.clone().any(|path| path.up > 0 || path.arrays() > 0) {
            true => Err("an option's fields are its own".into()),
            false => Ok(Some(plan)),
        }
    }
}

impl LookupPlan {
    fn resolve(lookup: &Lookup) -> Result<Self, String> {
        Ok(Self {
            find: Path::parse(&lookup.find)?,
            key: paths(&lookup.key)?,
            by: paths(&lookup.by)?,
            take: paths(&lookup.take)?,
        })
    }

    fn is_wrong(&self) -> bool {
        self.find.arrays() != 1
            || !self.find.steps.last().is_some_and(Step::is_many)
            || (self.key.iter().chain(&self.take)).any(|path| path.up > 0 || path.arrays() > 0)
            || self.by.iter().any(|path| path.arrays() > 0)
    }
}

impl Feed {
    /// Checks everything that does not depend on paths.
    fn check(&self, table: &Table, kind: Type) -> Result<(), String> {
        let builtin = builtin::get(&table.name).is_some();
        if builtin && (self.kind.is_some() || self.doc.is_some()) {
            return Err("`type` and `doc` are for tables of your own".into());
        }
        if !self.is_fed() {
            return Err("nothing feeds the column: `from` is missing".into());
        }
        if !matches!(kind, Type::Sessions | Type::Options) && !self.fields.is_empty() {
            return Err("only sessions and options have `fields`".into());
        }
        if kind != Type::Sessions && self.elsewhere.is_some() {
            return Err("only sessions come from a `list` or from `events`".into());
        }
        if kind != Type::String && !self.concat.is_empty() {
            return Err("only texts have `concat`".into());
        }
        Ok(())
    }
}
