//! The mapping, resolved: paths are parsed, and columns are found. Pure; created once, used for every report.
//!
//! No field name of the platform appears in the program: all are in `config/mapping.toml`.

pub(crate) mod feed;
pub(crate) mod mapping_file;
pub(crate) mod names;
pub(crate) mod no_column;
pub(crate) mod overlay;
pub(crate) mod plan;
pub(crate) mod row_filter;
pub(crate) mod row_place;
pub(crate) mod session_plan;
pub(crate) mod shape;
pub(crate) mod user_table;
pub(crate) mod value_rules;

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::config::Privacy;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::table::{self, Table, builtin};
use crate::lenient::InstantRules;
use crate::tables::privacy::policy::PrivacyPolicy;
use crate::tables::report::path::Path;
use mapping_file::{Fault, File, TableSource, line_at};
use names::Names;
use plan::TablePlan;
use shape::Shape;

/// The version of the mapping file's format.
const VERSION: u32 = 1;
/// The built-in mapping.
const BUILTIN: &str = include_str!("../../../config/mapping.toml");
/// The places of the tables' rows, and the feeds of their columns.
#[derive(Debug, Clone)]
pub struct Mapping {
    pub(super) tables: Vec<TablePlan>,
    shapes: BTreeMap<TableSource, Shape>,
    digest: String,
    tables_digest: String,
    privacy: PrivacyPolicy,
    /// The tables with descriptions that say what the policy did; empty if it changes nothing.
    described: Vec<Table>,
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

    /// The same, with the treatment of personal data that a configuration demands. There is no key of pseudonyms yet.
    ///
    /// # Errors
    /// As [`PrivacyPolicy::resolve`].
    pub fn under(self, privacy: &Privacy) -> Result<Self> {
        let policy = PrivacyPolicy::resolve(privacy, self.defined_tables())?;
        Ok(self.under_policy(policy))
    }

    /// The same, with the key of the pseudonyms.
    ///
    /// # Errors
    /// As [`PrivacyPolicy::with_key`].
    pub fn with_key(mut self, key: &str, file: &str) -> Result<Self> {
        self.privacy = self.privacy.with_key(key, file)?;
        Ok(self)
    }

    fn under_policy(mut self, policy: PrivacyPolicy) -> Self {
        if policy.digest().is_some() {
            let described = self
                .defined_tables()
                .map(|table| policy.describe(table).into_owned());
            self.described = described.collect();
            self.tables_digest = table::digest(&self.described);
        }
        self.privacy = policy;
        self
    }

    /// The treatment of personal data.
    pub fn privacy(&self) -> &PrivacyPolicy {
        &self.privacy
    }

    /// All tables: the built-in ones, and those that the mapping defines. Their descriptions say what happens to personal
    /// data.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        let defined = self.defined_tables().filter(|_| self.described.is_empty());
        self.described.iter().chain(defined)
    }

    fn defined_tables(&self) -> impl Iterator<Item = &Table> {
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

    /// The digest of the definitions of [`Mapping::tables`], which every fingerprint of a day has.
    pub(super) fn tables_digest(&self) -> &str {
        &self.tables_digest
    }

    /// The fields of a source's objects that the mapping knows.
    pub(super) fn shape(&self, source: TableSource) -> Option<&Shape> {
        self.shapes.get(&source)
    }

    /// True if a workbook's sheet of that name feeds the table of messages.
    pub(super) fn is_chat(&self, sheet: &str) -> bool {
        let of = |plan: &&TablePlan| plan.sheet.as_ref().is_some_and(|rules| rules.is_of(sheet));
        let plan = self.tables.iter().find(of);
        plan.is_some_and(|plan| plan.table.name == builtin::messages::NAME)
    }

    /// The rules of a table.
    pub(super) fn plan(&self, table: &str) -> Option<&TablePlan> {
        self.tables.iter().find(|plan| plan.table.name == table)
    }

    fn resolve(file: &File) -> Result<Self, Fault> {
        let mut shapes: BTreeMap<TableSource, Shape> = BTreeMap::new();
        let mut tables = Vec::new();
        let instants = value_rules::instants(&InstantRules::default(), file.zone.as_deref(), &file.formats)
            .map_err(|fault| Fault::of_file(fault.key, fault.reason))?;
        for (name, rules) in &file.table {
            let plan = TablePlan::resolve(name, rules, &instants)?;
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
        let mut mapping = Self {
            tables,
            shapes,
            digest: hex::encode(Sha256::digest(canonical)),
            tables_digest: String::new(),
            privacy: PrivacyPolicy::default(),
            described: Vec::new(),
        };
        mapping.tables_digest = table::digest(mapping.tables());
        Ok(mapping)
    }
}

/// Parses a mapping file.
fn read(text: &str) -> Result<File, Fault> {
    let file: File = toml::from_str(text).map_err(|error| {
        let reason = &*error.message().replace("expected f64", "expected a number");
        let Some(start) = error.span().map(|span| span.start) else {
            return Fault::of_file("", reason);
        };
        let keys = mapping_file::keys_at(text, start);
        let place = match keys.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["table", table, "columns", column, ..] => format!("[table.{table}] column `{column}`: "),
            ["table", table, "xlsx", "columns", column, ..] => {
                format!("[table.{table}] column `{column}` of `xlsx`: ")
            }
            ["table", table, ..] => format!("[table.{table}] "),
            _ => String::new(),
        };
        Fault::of_file("", format!("line {}: {place}{reason}", line_at(text, start)))
    })?;
    match file.version {
        Some(VERSION) => {}
        Some(other) => {
            let reason = format!("version {other} is not known, {VERSION} is");
            return Err(Fault::of_file("version", reason));
        }
        None => {
            let reason = format!("the version is missing: `version = {VERSION}` stands at the top");
            return Err(Fault::of_file("version", reason));
        }
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

fn paths(names: &Names) -> Result<Vec<Path>, String> {
    names.0.iter().map(|name| Path::parse(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
