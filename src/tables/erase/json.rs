//! Erases people from a JSON report. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::traces::{RowPerson, Traces, folded, is_author, is_id_field, is_own_id, plain_field, prefix_of};
use crate::json::Text;
use crate::lake::erased::{Erased, KnownBy};
use crate::lake::table::builtin::{messages, participants};
use crate::tables::mapping::Mapping;
use crate::tables::mapping::mapping_file::TableSource;
use crate::tables::mapping::plan::{ColumnPlan, TablePlan};
use crate::tables::privacy::words::{KnownMeanings, NameMeaning};
use crate::tables::report::inspect::{self, NotJson};
use crate::tables::report::lookup::first;
use crate::tables::report::node::{JsonObject, Node};
use crate::tables::report::path::{Path, Scope};
use crate::tables::report::rows;

/// The columns by which a row names a person.
const PERSON: [&str; 6] = [
    participants::external_user_id,
    participants::participant_id,
    participants::email,
    participants::phone,
    participants::name,
    messages::participant_name,
];

/// The longest text that is looked up as an id, in bytes.
const LONGEST_ID: usize = 128;
/// The fields of texts that are named as the place of a mention.
const TEXT_FIELDS: [&str; 9] = [
    "answer", "comment", "message", "name", "note", "question", "text", "title", "topic",
];

fn person(mut texts: [Option<String>; 6]) -> RowPerson {
    RowPerson::of(|name| {
        let at = PERSON.iter().position(|column| *column == name)?;
        texts[at].take()
    })
}

/// A report without the people who were erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedReport {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The rows that are gone, by table.
    pub rows: BTreeMap<String, u64>,
    /// The objects and values that are gone besides.
    pub others: u64,
    /// Texts of other people that mention one of the erased, by place. They are still there.
    pub mentions: BTreeMap<String, u64>,
}

impl ErasedReport {
    /// True if nothing went, and the report only mentions somebody.
    pub fn is_unchanged(&self) -> bool {
        self.rows.is_empty() && self.others == 0
    }
}

/// Erases people from a report. Adds what it learns of them to `known`, from which the call's other report profits.
/// None if the report has nothing of them; then the bytes stay as they came.
///
/// # Errors
/// The report is not JSON.
pub fn erase_report(
    bytes: &[u8],
    mapping: &Mapping,
    erased: &Erased,
    known: &mut Traces,
) -> Result<Option<ErasedReport>, NotJson> {
    let text = Text::new(bytes);
    let (report, _) = inspect::parse(&text)?;
    let mut marking = Marking {
        goes_by_name: true,
        ..Marking::default()
    };
    marking.people(mapping, &report, erased, known);
    learn_nested(&report, None, &marking.meanings, erased, known);
    for plan in plans(mapping) {
        rows::each_place(plan, &report, PERSON, &mut |_, texts| {
            known.recognize(person(texts).name.as_deref(), erased);
        });
    }
    if known.is_empty() {
        return Ok(None);
    }
    for plan in plans(mapping).filter(|plan| plan.table.name != participants::NAME) {
        marking.rows_of(plan, &report, erased, known);
    }
    marking.rest(&report, Place::whole(), known);
    let Marking {
        marks,
        counts: rows,
        others,
        mentions,
        ..
    } = marking;
    if marks.is_empty() && mentions.is_empty() {
        return Ok(None);
    }
    let bytes = match marks.is_empty() {
        true => bytes.to_vec(),
        // A tree of JSON can always be written.
        false => serde_json::to_vec(&Kept {
            node: &report,
            marks: &marks,
        })
        .unwrap_or_default(),
    };
    Ok(Some(ErasedReport {
        bytes,
        rows,
        others,
        mentions,
    }))
}

/// Erases people from a value that is about somebody else: objects that bear an erased id go, and so do ids that stand in
/// the value itself or in `part` of it. Returns the value as JSON if something went, and the number of texts that mention
/// an erased person.
pub(super) fn erase_value(
    value: &Node<'_>,
    part: Option<&Node<'_>>,
    erased: &Erased,
    known: &mut Traces,
) -> (Option<Vec<u8>>, u64) {
    let mut marking = Marking::default();
    learn_nested(value, None, &marking.meanings, erased, known);
    if known.is_empty() {
        return (None, 0);
    }
    marking.rows.extend(part.map(address));
    marking.rest(value, Place::whole(), known);
    let mentions = marking.mentions.values().sum();
    let kept = Kept {
        node: value,
        marks: &marking.marks,
    };
    let changed = (!marking.marks.is_empty()).then(|| serde_json::to_vec(&kept).ok());
    (changed.flatten(), mentions)
}

/// Erases people from JSON that is about something else, such as a call as the API lists it. None if it has nothing of them,
/// or is no JSON.
pub fn erase_json(bytes: &[u8], erased: &Erased, known: &mut Traces) -> Option<Vec<u8>> {
    let text = Text::new(bytes);
    let (value, _) = inspect::parse(&text).ok()?;
    erase_value(&value, None, erased, known).0
}

/// Learns of people whose id stands anywhere in a field of ids or people, or is a key of an object of people.
fn learn_nested(
    value: &Node<'_>,
    field: Option<&str>,
    meanings: &KnownMeanings,
    erased: &Erased,
    known: &mut Traces,
) {
    let is_person = field.is_some_and(|field| meanings.of(field) != NameMeaning::Neutral);
    match value {
        Node::List(elements) => elements
            .iter()
            .for_each(|element| learn_nested(element, field, meanings, erased, known)),
        Node::Object(object) => {
            for (name, value) in object.iter() {
                if is_person && erased.has_user(name) {
                    known.users.insert(name.trim().to_owned());
                }
                learn_nested(value, Some(name), meanings, erased, known);
            }
        }
        _ => {
            let is_id = is_person || field.is_some_and(|field| is_id_field(field) || is_own_id(field, None));
            let text = value.to_text().filter(|text| is_id && text.len() <= LONGEST_ID);
            known.users.extend(
                text.filter(|id| erased.has_user(id))
                    .map(|id| id.trim().to_owned()),
            );
        }
    }
}

/// The tables that reports feed.
fn plans(mapping: &Mapping) -> impl Iterator<Item = &TablePlan> {
    mapping
        .tables
        .iter()
        .filter(|plan| plan.source == TableSource::Report)
}

/// The fate of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes, with its key or its place in the list.
    Gone,
    /// It becomes null.
    Null,
}

/// The values that do not stay, by the address of their node.
type Marks = HashMap<usize, Fate>;

fn address(node: &Node<'_>) -> usize {
    std::ptr::from_ref(node) as usize
}

/// The search for what is to be erased from a report.
#[derive(Default)]
struct Marking {
    marks: Marks,
    /// The rows of all tables, also of those that stay.
    rows: HashSet<usize>,
    /// Names that people have who stay.
    other_names: BTreeSet<String>,
    counts: BTreeMap<String, u64>,
    others: u64,
    mentions: BTreeMap<String, u64>,
    meanings: KnownMeanings,
    /// True in a report, where a full name that only one person of the call has is that person's.
    goes_by_name: bool,
}

/// The place of a value.
#[derive(Clone, Copy, Default)]
struct Place<'f> {
    /// The name under which it stands.
    field: Option<&'f str>,
    /// The name under which the object stands that has the field.
    above: Option<&'f str>,
    /// True for the report itself, which can't go.
    must_stay: bool,
    in_list: bool,
    /// True within a row of somebody else.
    in_row: bool,
}

impl Place<'_> {
    /// The place of a whole report.
    fn whole() -> Self {
        Self {
            must_stay: true,
            ..Self::default()
        }
    }
}

/// A row of participants.
struct PersonRow<'n, 'v> {
    scopes: Vec<Scope<'n, 'v>>,
    person: RowPerson,
    is_erased: bool,
}

/// Marks rows as those of people who are known, as long as they tell more of the people.
fn take_known(
    rows: &mut [PersonRow<'_, '_>],
    known: &mut Traces,
    is_one: impl Fn(&RowPerson, &Traces) -> bool,
) {
    loop {
        let before = known.clone();
        for row in rows.iter_mut().filter(|row| !row.is_erased) {
            if is_one(&row.person, known) {
                row.is_erased = true;
                known.learn(&row.person);
            }
        }
        if *known == before {
            return;
        }
    }
}

impl Marking {
    /// Finds the rows of participants, and learns of whom they are. Rows of the same person are found by what the others
    /// say.
    fn people(&mut self, mapping: &Mapping, report: &Node<'_>, erased: &Erased, known: &mut Traces) {
        let Some(plan) = mapping.plan(participants::NAME) else {
            return;
        };
        let mut rows = Vec::new();
        rows::each_place(plan, report, PERSON, &mut |scopes, texts| {
            rows.push(PersonRow {
                scopes: scopes.to_vec(),
                person: person(texts),
                is_erased: false,
            });
        });
        for row in &rows {
            known.recognize(row.person.name.as_deref(), erased);
        }
        take_known(&mut rows, known, |row, known| {
            is_erased(row, erased) || known.has(row)
        });
        let others = rows
            .iter()
            .filter(|row| !row.is_erased && !row.person.is_anonymous());
        self.other_names = others
            .filter_map(|row| row.person.name.as_deref().map(folded))
            .collect();
        let other_names = &self.other_names;
        take_known(&mut rows, known, |row, known| {
            known.has(row) || known.has_anonymous(row, other_names)
        });
        for row in rows {
            let Some(node) = row.scopes.last().map(|scope| scope.node) else {
                continue;
            };
            self.rows.insert(address(node));
            if row.is_erased {
                self.goes(node, &plan.table.name);
                for column in &plan.columns {
                    let name = &*plan.table.columns[column.index].name;
                    self.elsewhere(column, PERSON.contains(&name), &row.scopes, known);
                }
            }
        }
    }

    /// Marks the elements of other lists that a row of an erased person takes values from: by an id of that person, or a
    /// name or address. `is_of_person` says that the column is one of the latter.
    fn elsewhere(
        &mut self,
        column: &ColumnPlan,
        is_of_person: bool,
        scopes: &[Scope<'_, '_>],
        known: &Traces,
    ) {
        let sessions = column
            .session
            .as_ref()
            .and_then(|session| session.elsewhere.as_ref());
        let sessions = sessions.map(|list| (&list.list, &list.key, &list.equals));
        let lookup = column
            .lookup
            .as_ref()
            .map(|lookup| (&lookup.find, &lookup.key, &lookup.by));
        for (list, keys, equals) in sessions.into_iter().chain(lookup) {
            let Some(own) = first(equals, scopes).and_then(|value| value.to_text()) else {
                continue;
            };
            if !(is_of_person || known.is_id(&own)) {
                continue;
            }
            list.walk(scopes, &mut |element| self.take_element(element, keys, &own));
        }
    }

    fn take_element(&mut self, element: &[Scope<'_, '_>], keys: &[Path], own: &str) {
        let mut values = keys.iter().filter_map(|path| path.value(element));
        let is_own = values.any(|value| value.to_text().is_some_and(|value| value.trim() == own.trim()));
        if let Some(scope) = element.last().filter(|_| is_own) {
            self.others += u64::from(self.marks.insert(address(scope.node), Fate::Gone).is_none());
        }
    }

    /// Marks the rows of another table that refer to an erased person.
    fn rows_of(&mut self, plan: &TablePlan, report: &Node<'_>, erased: &Erased, known: &Traces) {
        let table = plan.table.name.to_string();
        rows::each_place(plan, report, PERSON, &mut |scopes, texts| {
            let Some(node) = scopes.last().map(|scope| scope.node) else {
                return;
            };
            let person = person(texts);
            let has_id = person.participant.is_some() || person.user.is_some();
            let by_name = !has_id && self.is_named(node, person.name.as_deref(), known);
            if is_erased(&person, erased) || known.has(&person) || by_name {
                self.goes(node, &table);
            } else {
                self.rows.insert(address(node));
            }
        });
    }

    /// True if a row without ids bears the name of an erased person, which nobody else in the call has.
    fn is_named(&self, row: &Node<'_>, name: Option<&str>, known: &Traces) -> bool {
        let is_own = |name: &str| known.is_own_name(name, &self.other_names);
        let Node::Object(object) = row else {
            return name.is_some_and(is_own);
        };
        name.is_some_and(is_own)
            || object.iter().any(|(field, value)| {
                matches!(value, Node::Text(text) if is_author(field) && (is_own(text) || known.is_id(text)))
            })
    }

    fn goes(&mut self, node: &Node<'_>, table: &str) {
        if self.marks.insert(address(node), Fate::Gone).is_none() {
            *self.counts.entry(table.to_owned()).or_default() += 1;
        }
    }

    /// Marks what stands outside of the rows, or in rows of others. Returns true if a row lies within.
    fn rest(&mut self, node: &Node<'_>, place: Place<'_>, known: &Traces) -> bool {
        if self.marks.contains_key(&address(node)) {
            return true;
        }
        let is_row = self.rows.contains(&address(node));
        match node {
            Node::List(elements) => {
                let mut has_row = is_row;
                for element in elements {
                    let place = Place {
                        must_stay: false,
                        in_list: true,
                        ..place
                    };
                    has_row |= self.rest(element, place, known);
                }
                has_row
            }
            Node::Object(object) => self.object(node, object, is_row, place, known) || is_row,
            Node::Null | Node::Bool(_) => is_row,
            Node::Number(_) | Node::Text(_) => {
                self.scalar(node, place, known);
                is_row
            }
        }
    }

    fn object(
        &mut self,
        node: &Node<'_>,
        object: &JsonObject<'_>,
        is_row: bool,
        place: Place<'_>,
        known: &Traces,
    ) -> bool {
        let mut has_row = false;
        let (mut is_about, mut prefixes) = (false, Vec::new());
        let of_people = place.field.is_some_and(|field| self.is_person(field));
        for (name, value) in object.iter() {
            if known.is_telling_id(name) || (of_people && known.is_id(name)) {
                self.mark(value, Fate::Gone);
                continue;
            }
            let inner = Place {
                field: Some(name),
                above: place.field,
                must_stay: false,
                in_list: false,
                in_row: place.in_row || is_row,
            };
            has_row |= self.rest(value, inner, known);
            let is_scalar = !value.is_object() && value.as_list().is_none();
            if is_scalar
                && self.marks.contains_key(&address(value))
                && value.to_text().is_some_and(|text| known.is_id(&text))
            {
                is_about |= is_own_id(name, place.field);
                prefixes.extend(prefix_of(name));
            }
        }
        if is_about && !is_row && !has_row && !place.must_stay {
            self.mark(node, Fate::Gone);
            return true;
        }
        // What stands beside `teacher_id` and is called `teacher_name` is about the same person.
        for (name, value) in object.iter() {
            let plain = plain_field(name);
            let is_beside = prefixes.iter().any(|prefix| plain.starts_with(prefix.as_str()));
            if is_beside
                && self.meanings.of(name) != NameMeaning::Neutral
                && !value.is_object()
                && !value.is_null()
            {
                self.mark(value, Fate::Null);
            }
        }
        has_row
    }

    fn scalar(&mut self, node: &Node<'_>, place: Place<'_>, known: &Traces) {
        let text = node.to_text().unwrap_or_default();
        let field = place.field.unwrap_or_default();
        let is_person = self.is_person(field) || place.above.is_some_and(|above| self.is_person(above));
        // The addresses in a row of somebody else are that person's: families share them.
        let goes = known.is_id_of(field, is_person, &text)
            || (!place.in_row && known.is_address(field, &text))
            || (self.goes_by_name
                && is_author(field)
                && text.contains(' ')
                && known.is_own_name(&text, &self.other_names));
        if goes {
            let fate = if place.in_list { Fate::Gone } else { Fate::Null };
            self.mark(node, fate);
        } else if known.is_mentioned_in(&text, &self.other_names) {
            // The name of a field may itself be data.
            let place = if TEXT_FIELDS.contains(&field) {
                field
            } else {
                "another field"
            };
            *self.mentions.entry(place.to_owned()).or_default() += 1;
        }
    }

    /// True if a field is named after people.
    fn is_person(&self, field: &str) -> bool {
        self.meanings.of(field) != NameMeaning::Neutral
    }

    fn mark(&mut self, node: &Node<'_>, fate: Fate) {
        self.others += u64::from(self.marks.insert(address(node), fate).is_none());
    }
}

/// True if a row bears an id or address that was erased.
pub(in crate::tables) fn is_erased(person: &RowPerson, erased: &Erased) -> bool {
    let has =
        |known_by, value: &Option<String>| value.as_deref().is_some_and(|value| erased.has(known_by, value));
    has(KnownBy::User, &person.user)
        || has(KnownBy::Participant, &person.participant)
        || has(KnownBy::Email, &person.email)
}

/// A value without what is marked.
struct Kept<'n, 'v> {
    node: &'n Node<'v>,
    marks: &'n Marks,
}

impl Serialize for Kept<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { node, marks } = self;
        if marks.contains_key(&address(node)) {
            return serializer.serialize_unit();
        }
        let stays = |value: &Node<'_>| marks.get(&address(value)) != Some(&Fate::Gone);
        match node {
            Node::List(elements) => {
                let mut list = serializer.serialize_seq(None)?;
                for node in elements.iter().filter(|element| stays(element)) {
                    list.serialize_element(&Self { node, marks })?;
                }
                list.end()
            }
            // In the order of the report, because the rows of an object by key are in that order.
            Node::Object(object) => {
                let mut map = serializer.serialize_map(None)?;
                for (name, node) in object.iter().filter(|(_, value)| stays(value)) {
                    map.serialize_entry(name, &Self { node, marks })?;
                }
                map.end()
            }
            node => node.serialize(serializer),
        }
    }
}
