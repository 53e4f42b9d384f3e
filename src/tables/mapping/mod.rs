//! The mapping, resolved: paths are parsed, and columns are found. Pure; created once, used for every report.
//!
//! No field name of the platform appears in the program: all are in `config/mapping.toml`.

pub(crate) mod mapping_file;
pub(crate) mod names;
pub(crate) mod overlay;
pub(crate) mod shape;
pub(crate) mod user_table;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::xlsx::SheetPlan;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::table::{Table, Type, builtin};
use crate::tables::report::path::{Path, Step};
use mapping_file::{Fault, Feed, File, TableRules, TableSource, line_at};
use names::Names;
use shape::Shape;

/// The version of the mapping file's format.
const VERSION: u32 = 1;
/// The built-in mapping.
const BUILTIN: &str = include_str!("../../../config/mapping.toml");
/// The fields of a session.
const JOINED: &str = "joined_at";
const LEFT: &str = "left_at";
/// The fields of an option of a poll.
const OPTION: [&str; 3] = ["option_id", "text", "is_right"];

/// The places of the tables' rows, and the feeds of their columns.
#[derive(Debug, Clone)]
pub struct Mapping {
    pub(super) tables: Vec<TablePlan>,
    shapes: BTreeMap<TableSource, Shape>,
    digest: String,
}

/// The resolved rules of a table.
#[derive(Debug, Clone)]
pub(crate) struct TablePlan {
    pub table: Cow<'static, Table>,
    pub source: TableSource,
    /// The paths of its rows; the first that exists wins.
    pub rows: Vec<Path>,
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
    /// For a column of sessions.
    pub session: Option<SessionPlan>,
    /// For a column of options.
    pub options: Option<OptionPlan>,
    pub lookup: Option<LookupPlan>,
    /// The factor for numbers.
    pub scale: Option<f64>,
}

/// The fields of a session.
#[derive(Debug, Clone)]
pub(crate) struct SessionPlan {
    pub joined: Vec<Path>,
    pub left: Vec<Path>,
    /// The column that counts the stays that can't be read.
    pub unreadable: Option<usize>,
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

impl Mapping {
    /// The built-in mapping.
    ///
    /// # Errors
    /// Never in a released program, because a test reads the file.
    pub fn builtin() -> Result<Self> {
        Self::parse(BUILTIN, "built-in mapping")
    }

    /// Parses a mapping that stands alone. `about` names it in errors.
    ///
    /// # Errors
    /// If it is not TOML, has an unknown key, or names a table, column, type or path that is impossible. The error
    /// names the line, the table and the column.
    pub fn parse(text: &str, about: &str) -> Result<Self> {
        read(text)
            .and_then(|file| Self::resolve(&file))
            .map_err(|fault| refusal(&fault, text, about))
    }

    /// Parses a mapping that is laid over the built-in one. `about` names it in errors.
    ///
    /// # Errors
    /// As [`Mapping::parse`].
    pub fn over_builtin(text: &str, about: &str) -> Result<Self> {
        let base = read(BUILTIN).map_err(|fault| refusal(&fault, BUILTIN, "built-in mapping"))?;
        read(text)
            .and_then(|over| overlay::lay(base, over))
            .and_then(|file| Self::resolve(&file))
            .map_err(|fault| refusal(&fault, text, about))
    }

    /// All tables: the built-in ones, and those that the mapping defines.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        let own = self.tables.iter().filter_map(|plan| match &plan.table {
            Cow::Owned(table) => Some(table),
            Cow::Borrowed(_) => None,
        });
        builtin::all().iter().chain(own)
    }

    /// The SHA-256 of the mapping's content: comments, layout and order do not count.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The fields of a source's objects that the mapping knows.
    pub(super) fn shape(&self, source: TableSource) -> Option<&Shape> {
        self.shapes.get(&source)
    }

    /// The rules of a table.
    pub(super) fn plan(&self, table: &str) -> Option<&TablePlan> {
        self.tables.iter().find(|plan| plan.table.name == table)
    }

    fn resolve(file: &File) -> Result<Self, Fault> {
        let mut shapes: BTreeMap<TableSource, Shape> = BTreeMap::new();
        let mut tables = Vec::new();
        for (name, rules) in &file.table {
            let plan = TablePlan::resolve(name, rules)?;
            plan.mark(shapes.entry(rules.source()).or_default());
            tables.push(plan);
        }
        for (source, names) in &file.ignore {
            let paths = paths(names).map_err(|reason| Fault {
                at: vec!["ignore".into(), source.name().into()],
                reason: format!("[ignore] {reason}"),
            })?;
            for path in paths {
                shapes.entry(*source).or_default().insert(&path.steps).taken = true;
            }
        }
        let canonical = serde_json::to_vec(file).map_err(|error| Fault::of_file("", error.to_string()))?;
        Ok(Self {
            tables,
            shapes,
            digest: hex::encode(Sha256::digest(canonical)),
        })
    }
}

impl TablePlan {
    fn resolve(name: &str, rules: &TableRules) -> Result<Self, Fault> {
        let table = match builtin::get(name) {
            Some(table) => Cow::Borrowed(table),
            None => Cow::Owned(user_table::define(name, rules)?),
        };
        let rows = paths(&rules.rows).map_err(|reason| Fault::of_key(name, "rows", reason))?;
        if rows.is_empty() || rows.iter().any(|path| path.up > 0) {
            return Err(Fault::of_key(
                name,
                "rows",
                "must be a path from the whole object",
            ));
        }
        let deepest = rows.iter().map(|path| scopes(path).len()).max().unwrap_or(1);
        let mut columns = Vec::new();
        for (column, feed) in &rules.columns {
            let plan = ColumnPlan::resolve(&table, rules.source(), column, feed, deepest)
                .map_err(|reason| Fault::of_column(name, column, reason))?;
            columns.push(plan);
        }
        let sheet = rules.xlsx.as_ref().map(|xlsx| match rules.source() {
            TableSource::Report => SheetPlan::resolve(&table, xlsx),
            _ => Err("only reports come as workbooks: it has no place here".into()),
        });
        let sheet = sheet
            .transpose()
            .map_err(|reason| Fault::of_key(name, "xlsx", reason))?;
        Ok(Self {
            table,
            source: rules.source(),
            rows,
            columns,
            sheet,
        })
    }

    /// Marks in a shape the values that this table takes.
    fn mark(&self, shape: &mut Shape) {
        for rows in &self.rows {
            shape.insert(&rows.steps).row = true;
            let scopes = scopes(rows);
            for column in &self.columns {
                for taken in column.taken() {
                    let Some(scope) = scopes.len().checked_sub(taken.up + 1) else {
                        continue;
                    };
                    let steps = [&rows.steps[..scopes[scope]], &taken.steps].concat();
                    if !steps.is_empty() {
                        shape.insert(&steps).taken = true;
                    }
                }
            }
        }
    }
}

impl ColumnPlan {
    fn resolve(
        table: &Table,
        source: TableSource,
        name: &str,
        feed: &Feed,
        deepest: usize,
    ) -> Result<Self, String> {
        let index = table.index(name).ok_or("the table has no such column")?;
        // Lesson data in a report is taken whole, and `join` makes the lesson columns of it.
        let kind = match (source, name) {
            (TableSource::Report, builtin::lesson::attributes) => Type::Json,
            _ => table.columns[index].kind,
        };
        let is_own =
            |name: &str| builtin::CALL_COLUMNS.contains(&name) || builtin::PERSON_COLUMNS.contains(&name);
        if name == builtin::rest::extra
            || (source == TableSource::Report && is_own(name))
            || matches!(kind, Type::Date | Type::Counts)
        {
            return Err("it is filled by the program".into());
        }
        feed.check(table, kind)?;
        let from = paths(&feed.from)?;
        if !matches!(kind, Type::Sessions | Type::Options) && !feed.fields.is_empty() {
            return Err("only sessions and options have `fields`".into());
        }
        let session = SessionPlan::resolve(table, kind, &feed.fields)?;
        let options = OptionPlan::resolve(kind, &feed.fields)?;
        let lookup = feed.lookup.as_ref().map(LookupPlan::resolve).transpose()?;
        let plan = Self {
            index,
            kind,
            from,
            session,
            options,
            lookup,
            scale: feed.scale,
        };
        let arrays = usize::from(matches!(kind, Type::Sessions | Type::Options | Type::Strings));
        if plan.from.iter().any(|path| path.arrays() > arrays) {
            return Err(format!("a path of a {} steps into too many arrays", kind.name()));
        }
        if plan.lookup.as_ref().is_some_and(LookupPlan::is_wrong) {
            return Err("`find` must step into one array, at its end, and the others into none".into());
        }
        match plan.taken().iter().find(|path| path.up >= deepest) {
            Some(_) => Err("a path has more `^` than its rows lie deep".into()),
            None => Ok(plan),
        }
    }

    /// All paths that the column reads, from the row.
    pub fn taken(&self) -> Vec<Path> {
        let mut taken = Vec::new();
        let fields: Vec<&Path> = match (&self.session, &self.options) {
            (Some(session), _) => session.joined.iter().chain(&session.left).collect(),
            (_, Some(options)) => {
                let texts = options.id.iter().chain(&options.text);
                texts.chain(&options.is_right).collect()
            }
            (None, None) => Vec::new(),
        };
        match fields.is_empty() {
            true => taken.extend(self.from.iter().cloned()),
            false => {
                let of = |from: &Path| fields.iter().map(|field| from.then(field)).collect::<Vec<_>>();
                taken.extend(self.from.iter().flat_map(of));
            }
        }
        if let Some(lookup) = &self.lookup {
            let fields = lookup.key.iter().chain(&lookup.take);
            taken.extend(fields.map(|field| lookup.find.then(field)));
            taken.extend(lookup.by.iter().cloned());
        }
        taken
    }
}

impl SessionPlan {
    fn resolve(table: &Table, kind: Type, fields: &BTreeMap<String, Names>) -> Result<Option<Self>, String> {
        let known = BTreeSet::from([JOINED, LEFT]);
        if kind != Type::Sessions {
            return Ok(None);
        }
        if fields.keys().map(String::as_str).collect::<BTreeSet<_>>() != known {
            return Err(format!("`fields` must name `{JOINED}` and `{LEFT}`"));
        }
        let of = |name| fields.get(name).map_or(Ok(Vec::new()), paths);
        let (joined, left) = (of(JOINED)?, of(LEFT)?);
        if joined
            .iter()
            .chain(&left)
            .any(|path| path.up > 0 || path.arrays() > 0)
        {
            return Err("a session's fields are its own".into());
        }
        let unreadable = table.index(builtin::participants::sessions_unreadable);
        Ok(Some(Self {
            joined,
            left,
            unreadable,
        }))
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
    fn resolve(lookup: &crate::tables::mapping::mapping_file::Lookup) -> Result<Self, String> {
        Ok(Self {
            find: Path::parse(&lookup.find)?,
            key: paths(&lookup.key)?,
            by: paths(&lookup.by)?,
            take: paths(&lookup.take)?,
        })
    }

    fn is_wrong(&self) -> bool {
        self.find.arrays() != 1
            || self.find.steps.last() != Some(&Step::Each)
            || (self.key.iter().chain(&self.take)).any(|path| path.up > 0 || path.arrays() > 0)
            || self.by.iter().any(|path| path.arrays() > 0)
    }
}

/// Parses a mapping file.
fn read(text: &str) -> Result<File, Fault> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_at(text, span.start));
        Fault::of_file(
            "",
            match line {
                Some(line) => format!("line {line}: {}", error.message()),
                None => error.message().to_owned(),
            },
        )
    })?;
    if file.version != VERSION {
        let reason = format!("version {} is not known, {VERSION} is", file.version);
        return Err(Fault::of_file("version", reason));
    }
    Ok(file)
}

fn refusal(fault: &Fault, text: &str, about: &str) -> Error {
    let reason = match fault.line(text) {
        Some(line) => format!("line {line}: {}", fault.reason),
        None => fault.reason.clone(),
    };
    Error::new(ErrorKind::Config, about, reason)
}

impl Feed {
    /// Checks everything that does not depend on paths.
    fn check(&self, table: &Table, kind: Type) -> Result<(), String> {
        let builtin = builtin::get(&table.name).is_some();
        if builtin && (self.kind.is_some() || self.doc.is_some()) {
            return Err("`type` and `doc` are for tables of your own".into());
        }
        if self.from.0.is_empty() && self.lookup.is_none() {
            return Err("nothing feeds the column: `from` is missing".into());
        }
        let Some(scale) = self.scale else {
            return Ok(());
        };
        if !matches!(kind, Type::Int64 | Type::Double | Type::Timestamp) {
            return Err("only numbers and instants have a `scale`".into());
        }
        if !scale.is_finite() || scale <= 0.0 {
            return Err("`scale` must be more than 0".into());
        }
        Ok(())
    }
}

fn paths(names: &Names) -> Result<Vec<Path>, String> {
    names.0.iter().map(|name| Path::parse(name)).collect()
}

/// The number of steps of a rows' path that lead to each value that a row can see: the whole object first, the row
/// last.
pub(super) fn scopes(rows: &Path) -> Vec<usize> {
    let arrays = rows.steps.iter().enumerate();
    let mut scopes: Vec<usize> = std::iter::once(0)
        .chain(
            arrays
                .filter(|(_, step)| **step == Step::Each)
                .map(|(at, _)| at + 1),
        )
        .collect();
    if scopes.last() != Some(&rows.steps.len()) {
        scopes.push(rows.steps.len());
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Mapping::parse(text, "mapping.toml").expect_err(text).to_string()
    }

    #[test]
    fn the_built_in_mapping_feeds_every_table_but_computed_ones() {
        let mapping = Mapping::builtin().expect("built-in mapping");
        let fed: BTreeSet<_> = mapping
            .tables
            .iter()
            .map(|plan| plan.table.name.as_ref())
            .collect();
        let all: BTreeSet<_> = builtin::all().iter().map(|table| table.name.as_ref()).collect();
        let own = [
            "coverage",
            "days",
            "hierarchy",
            "lesson_attendance",
            "report_rows",
            "user_meta",
        ];
        assert!(all.difference(&fed).eq(&own), "{fed:?}");
    }

    #[test]
    fn the_digest_ignores_comments_and_layout() {
        let digest = |text: &str| Mapping::parse(text, "m").expect(text).digest;
        let one = digest("version = 1\n[table.messages]\nrows = 'chat[]'\ncolumns = {text = 'body'}");
        let same = digest(
            "# Chat.\nversion = 1\n[table.messages]\nrows = ['chat[]']\n[table.messages.columns]\ntext = { from = ['body'] }",
        );
        let other = digest("version = 1\n[table.messages]\nrows = 'chat[]'\ncolumns = {text = 'text'}");
        assert_eq!(one, same);
        assert_ne!(one, other);
    }

    #[test]
    fn a_wrong_mapping_is_refused_with_the_place_and_the_reason() {
        let table = |rest: &str| refusal(&format!("version = 1\n{rest}"));
        insta::assert_snapshot!(
            [
                refusal("version = 2"),
                refusal("version = "),
                table("shape = 1"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {}\nsheet = 'x'"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {text = 5}"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {text = {from = 'a', as = 'b'}}"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {text = {find = 'a[]'}}"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {text = {}}"),
                table("[table.lessons]\nrows = 'm[]'\ncolumns = {}"),
                table("[table.messages]\nrows = '^.m[]'\ncolumns = {}"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {body = 'text'}"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {call_id = 'id'}"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {text = 'a..b'}"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {text = 'a[].b'}"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {text = '^^.b'}"),
                table("[table.messages]\nrows = 'm[]'\ncolumns = {text = {from = 'a', fields = {b = 'c'}}}"),
                table("[table.participants]\nrows = 'm[]'\ncolumns = {sessions = 's[]'}"),
            ]
            .join("\n")
        );
    }
}
