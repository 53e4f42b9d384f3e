//! `forget`: nothing of the people is left, everything else is as before, and nothing brings them back.

mod beside;
mod killed;
mod people;

use std::collections::{BTreeMap, BTreeSet};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use telelake::simulator::{Options, School, Simulator};

use crate::pipeline::lessons::{import, write};
use crate::pipeline::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

/// Columns that say when something was built, or count the rows of others.
const OWN: [(&str, &str); 6] = [
    ("days", "participants"),
    ("polls", "votes_count"),
    ("coverage", "built_at"),
    ("days", "built_at"),
    ("days", "rows"),
    ("days", "fingerprint"),
];

/// The rows of each table file as texts, without the columns of [`OWN`].
pub type Rows = BTreeMap<String, Vec<Vec<String>>>;

/// The rows of a Parquet file, and the names of its columns.
fn rows_of(file: &Bytes) -> (Vec<String>, Vec<Vec<String>>) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    let names = reader
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let mut rows = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()).unwrap())
            .collect();
        rows.extend((0..batch.num_rows()).map(|row| {
            let cells = columns.iter().map(|column| column.value(row).to_string());
            cells.collect::<Vec<_>>()
        }));
    }
    (names, rows)
}

/// The rows of the plain tables among some objects.
pub fn tables(contents: &BTreeMap<String, Bytes>) -> Rows {
    let is_table = |key: &&String| key.ends_with(".parquet") && !key.starts_with("delta/");
    let keys = contents.keys().filter(is_table);
    keys.map(|key| {
        let table = key.split('/').next().unwrap();
        let (names, mut rows) = rows_of(&contents[key]);
        let own: Vec<_> = names.iter().map(|name| OWN.contains(&(table, name))).collect();
        for row in &mut rows {
            let mut own = own.iter();
            row.retain(|_| !own.next().unwrap());
        }
        (key.clone(), rows)
    })
    .collect()
}

/// The rows that mention none of some strings. A file without rows is none.
pub fn without(rows: &Rows, strings: &BTreeSet<String>) -> Rows {
    let mut kept = rows.clone();
    kept.retain(|_, rows| {
        rows.retain(|row| {
            !row.iter()
                .any(|cell| strings.iter().any(|string| cell.contains(string)))
        });
        !rows.is_empty()
    });
    kept
}

/// Every text in an object: its bytes, and what they are packed or encoded from.
fn texts(key: &str, bytes: &Bytes) -> Vec<String> {
    let mut texts = vec![String::from_utf8_lossy(bytes).into_owned()];
    if bytes.starts_with(b"PAR1") {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
        texts.push(format!("{:?}", reader.metadata()));
        texts.extend(rows_of(bytes).1.into_iter().flatten());
    }
    if key.ends_with(".zst") {
        texts.push(String::from_utf8_lossy(&zstd::decode_all(&**bytes).unwrap()).into_owned());
    }
    if key.ends_with(".xlsx") {
        use calamine::Reader;
        let mut book: calamine::Xlsx<_> =
            calamine::Reader::new(std::io::Cursor::new(bytes.to_vec())).unwrap();
        for sheet in book.sheet_names() {
            let range = book.worksheet_range(&sheet).unwrap();
            texts.extend(range.cells().map(|(_, _, cell)| cell.to_string()));
        }
    }
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Ok(value) = serde_json::from_str::<Value>(line) {
            texts.push(value.to_string());
        }
    }
    texts
}

/// The strings that some objects have, each with its key.
pub fn leaks(contents: &BTreeMap<String, Bytes>, strings: &BTreeSet<String>) -> Vec<String> {
    let mut leaks = Vec::new();
    for (key, bytes) in contents {
        let texts = texts(key, bytes);
        let found = strings
            .iter()
            .filter(|string| key.contains(*string) || texts.iter().any(|text| text.contains(*string)));
        leaks.extend(found.map(|string| format!("{string} in {key}")));
    }
    leaks
}

/// Some students of the school who were in several calls, by their ids in the LMS.
pub fn students(school: &School, count: usize) -> Vec<String> {
    let mut calls: BTreeMap<&String, usize> = BTreeMap::new();
    let people = school.calls.iter().flat_map(|call| &call.participants);
    for person in people.filter(|person| !person.moderator) {
        if let Some(user) = &person.external_user_id {
            *calls.entry(user).or_default() += 1;
        }
    }
    // An id that is a part of another one could not be searched for.
    let all: Vec<_> = calls.keys().copied().collect();
    let is_clear = |user: &String| all.iter().filter(|other| other.contains(user.as_str())).count() == 1;
    let mut users: Vec<_> = calls.into_iter().filter(|(user, _)| is_clear(user)).collect();
    users.sort_by_key(|(user, calls)| (std::cmp::Reverse(*calls), (*user).clone()));
    users
        .into_iter()
        .take(count)
        .map(|(user, _)| user.clone())
        .collect()
}

/// The strings by which the school's world names some users, and nobody else.
pub fn strings_of(school: &School, users: &[String]) -> BTreeSet<String> {
    let mut own = BTreeSet::new();
    let mut others = BTreeSet::new();
    for person in school.calls.iter().flat_map(|call| &call.participants) {
        let known = [&person.id, &person.email, &person.phone, &person.external_user_id];
        let strings = known.into_iter().flatten().cloned().chain([person.name.clone()]);
        let is_one = person
            .external_user_id
            .as_ref()
            .is_some_and(|user| users.contains(user));
        if is_one { &mut own } else { &mut others }.extend(strings);
    }
    let is_telling = |string: &&String| !others.iter().any(|other| other.contains(string.as_str()));
    own.iter().filter(is_telling).cloned().collect()
}

/// A small school with lesson data.
pub struct Scene {
    pub sim: Simulator,
    pub folder: tempfile::TempDir,
    pub lessons: String,
    pub users: Vec<String>,
    pub strings: BTreeSet<String>,
}

impl Scene {
    pub async fn new() -> Self {
        let sim = Simulator::start(Options { rooms: 4, ..small() }).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let lessons = write(folder.path(), "lessons.jsonl", &sim.school().lesson_data());
        let users = students(&sim.school(), 2);
        let strings = strings_of(&sim.school(), &users);
        assert!(strings.len() > 4, "{strings:?}");
        Self {
            sim,
            folder,
            lessons,
            users,
            strings,
        }
    }

    pub fn command(&self, lake: &Lake, args: &[&str]) -> Telelake {
        Telelake::against(&self.sim, lake, args)
            .env("TELELAKE_EXPORT__REPORTS", "json,xlsx")
            .env("TELELAKE_DELTA__ENABLED", "true")
    }

    pub fn forget<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let users = self.users.iter().map(String::as_str);
        ["forget", "--user"]
            .into_iter()
            .chain(users)
            .chain(more.iter().copied())
            .collect()
    }

    pub async fn fill(&self, lake: &Lake) {
        import(lake, &self.lessons).await;
        self.command(lake, &backfill(&range(&self.sim), &[]))
            .run()
            .await
            .expect(0);
    }
}
