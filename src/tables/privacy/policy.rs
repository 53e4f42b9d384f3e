//! The policy: the treatment of each column of each table, resolved from `[privacy]` once. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::treatment::{EntryTreatment, Treatment};
use super::words;
use crate::config::{ColumnTreatment, Privacy, Profile, UnknownData};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::table::{Column, PersonalData, Table, Type};
use crate::pseudonym::PseudonymKey;

/// The text whose pseudonym tells keys apart.
const KEY_CHECK: &str = "telelake: the key of the pseudonyms";
/// The configuration key that names the key's file.
const KEY_FILE: &str = "privacy.key_file";
/// Raise it if a treatment computes something else. Then what is already built is built again.
const VERSION: u32 = 1;

/// What happens to personal data before it is written into tables. A copy costs nothing. The default changes nothing.
#[derive(Debug, Clone, Default)]
pub struct PrivacyPolicy(Option<Arc<Rules>>);

#[derive(Debug, Clone)]
struct Rules {
    /// The treatments of the tables' columns, in their order.
    tables: BTreeMap<String, Vec<Treatment>>,
    /// The first column of which pseudonyms are written.
    hashed: Option<String>,
    /// True if cells without a known header can't be written, because they may belong to a treated column.
    drops_headless: bool,
    /// The treatment of cells whose header feeds no column.
    other_cells: EntryTreatment,
    key: Option<PseudonymKey>,
    /// The place of the key, for errors.
    key_place: String,
    key_check: Option<String>,
    digest: String,
}

/// A value by which a lake recognizes a key, and which does not give it away.
pub fn key_check(key: &PseudonymKey) -> String {
    key.of(KEY_CHECK)
}

impl PrivacyPolicy {
    /// The policy of a configuration for some tables. It has no key yet.
    ///
    /// # Errors
    /// `Config`: a key of `privacy.columns` names no table or column, or a column that can't be treated so.
    pub fn resolve<'t>(privacy: &Privacy, tables: impl IntoIterator<Item = &'t Table>) -> Result<Self> {
        let is_trivial = privacy.profile == Profile::None && privacy.unknown == UnknownData::Keep;
        if is_trivial && privacy.columns.is_empty() {
            return Ok(Self::default());
        }
        let tables: Vec<&Table> = tables.into_iter().collect();
        for (name, treatment) in &privacy.columns {
            ColumnName::parse(name)
                .and_then(|column| column.check(&tables, *treatment, privacy))
                .map_err(|reason| {
                    Error::new(ErrorKind::Config, format!("privacy.columns \"{name}\""), reason)
                })?;
        }
        let mut rules = Rules {
            tables: BTreeMap::new(),
            hashed: None,
            drops_headless: false,
            other_cells: match (privacy.unknown, privacy.profile) {
                (UnknownData::Drop, _) => EntryTreatment::Drop,
                (UnknownData::Keep, Profile::None) => EntryTreatment::Keep,
                (UnknownData::Keep, Profile::Pseudonymous | Profile::Minimal) => EntryTreatment::Clean,
            },
            key: None,
            key_place: KEY_FILE.to_owned(),
            key_check: None,
            digest: String::new(),
        };
        for table in &tables {
            let treatments = table
                .columns
                .iter()
                .map(|column| treatment(privacy, table, column));
            let treatments: Vec<Treatment> = treatments.collect();
            let hashed = treatments
                .iter()
                .position(|it| matches!(it, Treatment::Hash | Treatment::HashOfPeople | Treatment::Clean));
            if let (None, Some(at)) = (&rules.hashed, hashed) {
                rules.hashed = Some(format!("{}.{}", table.name, table.columns[at].name));
            }
            let is_treated = |it: &Treatment| !matches!(it, Treatment::Keep | Treatment::Entries);
            rules.drops_headless |= treatments.iter().any(is_treated);
            rules.tables.insert(table.name.to_string(), treatments);
        }
        rules.digest = rules.digest();
        Ok(Self(Some(Arc::new(rules))))
    }

    /// The same, with the key of the pseudonyms, which was found in `file`.
    ///
    /// # Errors
    /// `Config` if the policy needs a key and this one is empty.
    pub fn with_key(self, key: &str, file: &str) -> Result<Self> {
        let Some(rules) = self.0.clone().filter(|rules| rules.hashed.is_some()) else {
            return Ok(self);
        };
        let place = format!("{KEY_FILE} {file}").trim_end().to_owned();
        let refuse = |why: String| {
            Err(Error::new(ErrorKind::Config, &place, why).hint(
                "make a key by `openssl rand -hex 32`, in a file outside of the lake that only telelake may read, and \
                 name the file there",
            ))
        };
        if key.is_empty() {
            let hashed = rules.hashed.as_deref().unwrap_or_default();
            return refuse(format!(
                "is empty, and [privacy] makes pseudonyms, first in {hashed}"
            ));
        }
        let mut rules = Arc::unwrap_or_clone(rules);
        let key = PseudonymKey::new(key.as_bytes());
        rules.key_check = Some(key_check(&key));
        rules.key = Some(key);
        rules.key_place = place;
        rules.digest = rules.digest();
        Ok(Self(Some(Arc::new(rules))))
    }

    /// True if pseudonyms are written.
    pub fn makes_pseudonyms(&self) -> bool {
        self.0.as_ref().is_some_and(|rules| rules.hashed.is_some())
    }

    /// A value by which a lake recognizes the key, and which does not give it away; none if no pseudonyms are written.
    pub fn key_check(&self) -> Option<&str> {
        self.0.as_ref()?.key_check.as_deref()
    }

    /// The place of the key, for errors.
    pub fn key_place(&self) -> &str {
        self.0.as_ref().map_or(KEY_FILE, |rules| rules.key_place.as_str())
    }

    /// The digest of the policy and its key; none if the policy changes nothing.
    pub fn digest(&self) -> Option<&str> {
        self.0.as_ref().map(|rules| rules.digest.as_str())
    }

    /// The treatments of a table's columns; none if all are kept.
    pub(crate) fn treatments(&self, table: &str) -> Option<&[Treatment]> {
        let treatments = self.0.as_ref()?.tables.get(table)?;
        let is_kept = treatments.iter().all(|treatment| *treatment == Treatment::Keep);
        (!is_kept).then_some(treatments)
    }

    /// Checks that there is a key if pseudonyms are written.
    ///
    /// # Errors
    /// Only a fault of the program itself: the policy has no key.
    pub(crate) fn require_key(&self) -> Result<()> {
        match &self.0 {
            Some(rules) if rules.hashed.is_some() && rules.key.is_none() => Err(no_key()),
            _ => Ok(()),
        }
    }

    /// The pseudonym of a value.
    ///
    /// # Errors
    /// Only a fault of the program itself: the policy has no key.
    pub(crate) fn pseudonym(&self, value: &str) -> Result<String> {
        let key = self.0.as_ref().and_then(|rules| rules.key.as_ref());
        key.map(|key| key.of(value)).ok_or_else(no_key)
    }

    /// The treatment of a workbook's cell that feeds a column of a table, given by its index; of one that feeds none; or, in
    /// a sheet without a known header, of any cell.
    pub(crate) fn cell(&self, cell: SheetCell<'_>) -> EntryTreatment {
        let Some(rules) = &self.0 else {
            return EntryTreatment::Keep;
        };
        match cell {
            SheetCell::Headless if rules.drops_headless => EntryTreatment::Drop,
            SheetCell::Headless if rules.other_cells == EntryTreatment::Clean => EntryTreatment::Drop,
            SheetCell::Headless | SheetCell::Other => rules.other_cells,
            SheetCell::Time => EntryTreatment::Keep,
            SheetCell::Fed(table, column) => {
                let treatments = rules.tables.get(table);
                match treatments.and_then(|treatments| treatments.get(column)) {
                    Some(Treatment::Keep) | None => EntryTreatment::Keep,
                    Some(Treatment::Null) => EntryTreatment::Drop,
                    Some(Treatment::Hash) => EntryTreatment::Hash,
                    Some(_) => EntryTreatment::Clean,
                }
            }
        }
    }

    /// The table with descriptions that say what was done to its columns.
    pub fn describe<'t>(&self, table: &'t Table) -> Cow<'t, Table> {
        let Some(treatments) = self.treatments(&table.name) else {
            return Cow::Borrowed(table);
        };
        let mut described = table.clone();
        for (column, treatment) in described.columns.iter_mut().zip(treatments) {
            if let Some(remark) = treatment.remark() {
                column.doc = format!("{remark}. {}", column.doc).into();
            }
        }
        Cow::Owned(described)
    }
}

fn no_key() -> Error {
    Error::new(ErrorKind::Internal, "[privacy]", "there is no key of pseudonyms")
}

/// A cell of a workbook.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SheetCell<'t> {
    /// It feeds the column of this index in the table of this name.
    Fed(&'t str, usize),
    /// It is the start or the end of a stay.
    Time,
    /// Its header feeds no column.
    Other,
    /// The sheet has no header that the mapping knows.
    Headless,
}

impl Rules {
    fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let mut take = |text: &str| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        };
        take(&VERSION.to_string());
        for (table, treatments) in &self.tables {
            take(table);
            for treatment in treatments {
                take(treatment.name());
            }
        }
        take(&format!("{:?} {}", self.other_cells, self.drops_headless));
        take(self.key_check.as_deref().unwrap_or_default());
        for (_, words) in words::LISTS {
            take(&words.join(" "));
        }
        hex::encode(hasher.finalize())
    }
}

/// The treatment of a column: that of the most exact name in `columns`, else that of its class.
fn treatment(privacy: &Privacy, table: &Table, column: &Column) -> Treatment {
    match named(privacy, &table.name, &column.name) {
        Some((_, ColumnTreatment::Keep)) => Treatment::Keep,
        Some((_, ColumnTreatment::Null)) => Treatment::Null,
        Some((_, ColumnTreatment::Hash)) => Treatment::Hash,
        None => by_class(privacy, column.personal),
    }
}

/// The most exact name in `columns` that a column has: a column's name counts more than that of its table.
fn named<'p>(privacy: &'p Privacy, table: &str, column: &str) -> Option<(&'p str, ColumnTreatment)> {
    let names = [
        format!("{table}.{column}"),
        format!("*.{column}"),
        format!("{table}.*"),
        "*.*".to_owned(),
    ];
    let found = names.iter().find_map(|name| privacy.columns.get_key_value(name));
    found.map(|(name, treatment)| (name.as_str(), *treatment))
}

/// The treatment of a class of columns.
pub(crate) fn by_class(privacy: &Privacy, class: PersonalData) -> Treatment {
    let drops_unknown = privacy.unknown == UnknownData::Drop;
    match (class, privacy.profile) {
        (PersonalData::Unknown | PersonalData::AsReceived, _) if drops_unknown => Treatment::Null,
        (PersonalData::SheetCells, Profile::Minimal) => Treatment::Null,
        (PersonalData::SheetCells, _) => Treatment::Entries,
        (_, Profile::None) | (PersonalData::No, _) => Treatment::Keep,
        (PersonalData::PersonId, _) => Treatment::Hash,
        (PersonalData::PersonName | PersonalData::Contact | PersonalData::AsReceived, _) => Treatment::Null,
        (PersonalData::EntityId, _) => Treatment::HashOfPeople,
        (PersonalData::EntityName, _) => Treatment::NullOfPeople,
        (PersonalData::Words, Profile::Pseudonymous) => Treatment::Keep,
        (PersonalData::Unknown | PersonalData::Open, Profile::Pseudonymous) => Treatment::Clean,
        (PersonalData::Words | PersonalData::Unknown | PersonalData::Open, Profile::Minimal) => {
            Treatment::Null
        }
    }
}

/// A key of `columns`.
struct ColumnName<'n> {
    text: &'n str,
    table: &'n str,
    column: &'n str,
}

impl<'n> ColumnName<'n> {
    fn parse(text: &'n str) -> std::result::Result<Self, String> {
        match text.split_once('.') {
            Some((table, column)) if !table.is_empty() && !column.is_empty() => {
                Ok(Self { text, table, column })
            }
            _ => Err("is not table.column, such as \"participants.email\" or \"*.email\"".into()),
        }
    }

    /// Checks that it names columns, and that each of those for which it counts can be treated so.
    fn check(
        &self,
        tables: &[&Table],
        treatment: ColumnTreatment,
        privacy: &Privacy,
    ) -> std::result::Result<(), String> {
        let is_named = |table: &&&Table| self.table == "*" || self.table == table.name;
        if !tables.iter().any(|table| is_named(&table)) {
            let names = tables.iter().map(|table| table.name.as_ref());
            return Err(format!(
                "there is no table `{}`{}",
                self.table,
                nearest(self.table, names)
            ));
        }
        let mut is_known = self.column == "*";
        for table in tables.iter().filter(is_named) {
            for column in &table.columns {
                is_known |= self.column == column.name;
                if named(privacy, &table.name, &column.name).is_some_and(|(name, _)| name == self.text) {
                    can_be(column, treatment).map_err(|why| {
                        format!(
                            "{}.{} {why}; a more exact name, such as \"{}.{}\", can keep it",
                            table.name, column.name, table.name, column.name
                        )
                    })?;
                }
            }
        }
        if is_known {
            return Ok(());
        }
        let columns = tables.iter().filter(is_named).flat_map(|table| &table.columns);
        let nearest = nearest(self.column, columns.map(|column| column.name.as_ref()));
        let place = match self.table {
            "*" => "no table has".to_owned(),
            table => format!("the table {table} does not have"),
        };
        Err(format!("{place} a column `{}`{nearest}", self.column))
    }
}

/// The reason why a column can't be treated so.
fn can_be(column: &Column, treatment: ColumnTreatment) -> std::result::Result<(), &'static str> {
    match treatment {
        ColumnTreatment::Null if column.key => Err("is of the key and can't be null (\"hash\" can be)"),
        ColumnTreatment::Hash if !matches!(column.kind, Type::String | Type::Strings) => {
            Err("can't be hashed: only texts and lists of texts can")
        }
        _ => Ok(()),
    }
}

fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> String {
    let by_likeness = names.map(|name| (strsim::jaro_winkler(wrong, name), name));
    let best = by_likeness.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, name)| format!("; the nearest is `{name}`"))
        .unwrap_or_default()
}
