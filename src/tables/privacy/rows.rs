//! Treats rows as the policy says: the last step before they are encoded. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::clean::Cleaner;
use super::policy::PrivacyPolicy;
use super::treatment::Treatment;
use super::words::KnownMeanings;
use crate::error::Result;
use crate::lake::table::{PersonalData, Table, Type};
use crate::tables::erase::is_telling;
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::{RowPeople, TableRow};

/// The shortest id that is searched in other data of its row. Shorter ones are also numbers of other things.
const SHORTEST_ID: usize = 6;
/// The shortest name that is searched so.
const SHORTEST_NAME: usize = 3;

/// Treats the rows of a table.
#[derive(Debug)]
pub(crate) struct RowTreater<'p> {
    policy: &'p PrivacyPolicy,
    /// The columns that are not kept.
    columns: Vec<TreatedColumn>,
    /// Columns with the names, contacts and ids of the row's own person, each with the length from which on its value is
    /// searched in other data of the row.
    own: Vec<(usize, usize)>,
    /// Lists of names that are kept, which have an id in the place of a name that is unknown, and the treated lists of
    /// these ids.
    names_by_id: Vec<(usize, usize)>,
    /// Values that are pseudonyms already.
    pseudonyms: BTreeSet<String>,
    /// The meanings of names in unknown data.
    meanings: KnownMeanings,
}

#[derive(Debug, Clone, Copy)]
struct TreatedColumn {
    index: usize,
    treatment: Treatment,
    kind: Type,
}

impl<'p> RowTreater<'p> {
    /// A treater of a table's rows; none if they are kept as they are. Ids among `pseudonyms` are pseudonyms already.
    pub fn new(table: &Table, policy: &'p PrivacyPolicy, pseudonyms: BTreeSet<String>) -> Option<Self> {
        let treatments = policy.treatments(&table.name)?;
        let all = || table.columns.iter().zip(treatments).enumerate();
        let columns = all().filter(|(_, (_, treatment))| **treatment != Treatment::Keep);
        let columns = columns.map(|(index, (column, treatment))| TreatedColumn {
            index,
            treatment: *treatment,
            kind: column.kind,
        });
        let own = all().filter(|(_, (column, treatment))| {
            matches!(**treatment, Treatment::Null | Treatment::Hash) && column.kind == Type::String
        });
        let own = own.filter_map(|(index, (column, _))| match column.personal {
            PersonalData::PersonId => Some((index, SHORTEST_ID)),
            PersonalData::PersonName | PersonalData::Contact => Some((index, SHORTEST_NAME)),
            _ => None,
        });
        let lists = |personal, is_hashed: bool| {
            let lists = all().filter(move |(_, (column, treatment))| {
                column.kind == Type::Strings
                    && column.personal == personal
                    && is_hashed == (**treatment == Treatment::Hash)
                    && (is_hashed || **treatment == Treatment::Keep)
            });
            lists.map(|(index, _)| index)
        };
        let ids: Vec<usize> = lists(PersonalData::PersonId, true).collect();
        let names = lists(PersonalData::PersonName, false);
        let names_by_id = names.flat_map(|names| ids.iter().map(move |ids| (names, *ids)));
        Some(Self {
            policy,
            columns: columns.collect(),
            own: own.collect(),
            names_by_id: names_by_id.collect(),
            pseudonyms,
            meanings: KnownMeanings::default(),
        })
    }

    /// The number of the first columns of the table's order whose values are kept, if there are others.
    pub fn kept_order(&self, table: &Table) -> Option<usize> {
        let order = table.order.iter().map(|name| table.index(name));
        let mut order = order.enumerate();
        order.find_map(|(at, index)| {
            let is_treated = self.columns.iter().any(|column| Some(column.index) == index);
            is_treated.then_some(at)
        })
    }

    /// Treats a row.
    ///
    /// # Errors
    /// Only a fault of the program itself: there is no key of pseudonyms.
    pub fn treat(&self, row: &mut TableRow<'_>) -> Result<()> {
        self.policy.require_key()?;
        let people = row.people.take().unwrap_or_default();
        let own = self.own_values(row, &people);
        let cleaner = Cleaner {
            pseudonym: &|value| self.pseudonym(value),
            own: &own,
            meanings: &self.meanings,
        };
        for (names, ids) in &self.names_by_id {
            self.hash_ids_among_names(row, *names, *ids);
        }
        for column in &self.columns {
            let cell = std::mem::take(&mut row.cells[column.index]);
            row.cells[column.index] = self.treat_cell(*column, cell, &people, &cleaner);
        }
        Ok(())
    }

    /// The pseudonym of a value, which may be one already. The key is there.
    fn pseudonym(&self, value: &str) -> String {
        match self.pseudonyms.contains(value) {
            true => value.to_owned(),
            false => self.policy.pseudonym(value).unwrap_or_default(),
        }
    }

    fn own_values(&self, row: &TableRow<'_>, people: &RowPeople<'_>) -> Vec<String> {
        let of_columns = self.own.iter().filter_map(|(index, shortest)| {
            let text = row.cells[*index].as_text()?.trim();
            (text.chars().count() >= *shortest || is_telling(text)).then(|| text.to_owned())
        });
        let name = people.name.iter().map(|name| name.trim().to_owned());
        of_columns
            .chain(name.filter(|name| name.chars().count() >= SHORTEST_NAME))
            .collect()
    }

    fn hash_ids_among_names(&self, row: &mut TableRow<'_>, names: usize, ids: usize) {
        let mut list = std::mem::take(&mut row.cells[names]);
        if let (Cell::Texts(names), Cell::Texts(ids)) = (&mut list, &row.cells[ids]) {
            for name in names.iter_mut().filter(|name| ids.contains(*name)) {
                *name = Cow::Owned(self.pseudonym(name));
            }
        }
        row.cells[names] = list;
    }

    fn treat_cell<'v>(
        &self,
        column: TreatedColumn,
        cell: Cell<'v>,
        people: &RowPeople<'v>,
        cleaner: &Cleaner<'_>,
    ) -> Cell<'v> {
        let of_person = people.of_person.contains(&column.index);
        match (column.treatment, cell) {
            (Treatment::Keep, cell) => cell,
            (Treatment::Null, _) | (_, Cell::Null) => Cell::Null,
            (Treatment::Hash, cell) => self.hash(column.index, cell),
            (Treatment::HashOfPeople, Cell::Text(text)) if of_person || !cleaner.is_neutral(&text) => {
                self.hash(column.index, Cell::Text(text))
            }
            (Treatment::NullOfPeople, Cell::Text(text)) if of_person || !cleaner.is_neutral(&text) => {
                Cell::Null
            }
            (Treatment::HashOfPeople | Treatment::NullOfPeople, cell) => cell,
            (Treatment::Clean, _) if of_person => Cell::Null,
            (Treatment::Clean, cell) => clean(cell, column.kind, cleaner),
            (Treatment::Entries, Cell::Map(entries)) => {
                non_empty(cleaner.entries(entries.into(), &people.entries))
            }
            (Treatment::Entries, _) => Cell::Null,
        }
    }

    fn hash<'v>(&self, index: usize, cell: Cell<'v>) -> Cell<'v> {
        match cell {
            Cell::Text(text) => self.pseudonym(&text).into(),
            Cell::Texts(texts) => {
                let mut texts: Vec<Cow<'v, str>> =
                    texts.iter().map(|text| self.pseudonym(text).into()).collect();
                // The order of the ids would tell something of them, unless their names are there anyway.
                if !self.names_by_id.iter().any(|(_, ids)| *ids == index) {
                    texts.sort();
                }
                Cell::Texts(texts.into())
            }
            _ => Cell::Null,
        }
    }
}

/// Takes people out of a value of unknown data.
fn clean<'v>(cell: Cell<'v>, kind: Type, cleaner: &Cleaner<'_>) -> Cell<'v> {
    match cell {
        Cell::Text(text) if kind == Type::Json => cleaner.json(&text).into(),
        Cell::Text(text) => Some(text).filter(|text| cleaner.is_neutral(text)).into(),
        Cell::Texts(texts) => {
            let neutral = texts.into_iter().filter(|text| cleaner.is_neutral(text));
            Cell::Texts(neutral.collect())
        }
        Cell::Map(entries) => Cell::Map(cleaner.map(entries.into()).into()),
        _ => Cell::Null,
    }
}

fn non_empty<'v>(entries: Vec<(Cow<'v, str>, Cow<'v, str>)>) -> Cell<'v> {
    match entries.is_empty() {
        true => Cell::Null,
        false => Cell::Map(entries.into()),
    }
}
