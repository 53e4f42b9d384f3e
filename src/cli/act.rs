//! The act of destruction that `forget --act` writes: what was destroyed, when, by which run and operator, and what is left to
//! a human. It has no personal data. Pure.
//!
//! It has what article 21 of the Russian law 152-FZ and order 179 of Roskomnadzor ask for, and article 17 of the GDPR.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::pipeline::{Erasure, Forgotten, LeftToHuman};
use crate::{Error, ErrorKind, Result};

/// The way in which the data was destroyed, in English and Russian.
const METHOD: [&str; 2] = [
    "The objects were written anew without the data or deleted, their earlier versions were removed, and the tables were built \
     again from what is left. A keyed hash of each identifier keeps the data from being taken in again.",
    "Объекты перезаписаны без этих данных или удалены, их прежние версии удалены, таблицы построены заново из оставшегося. \
     Хеш каждого идентификатора с ключом не даёт принять эти данные снова.",
];

/// The act.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Act {
    /// The id of the erasure; its record is `_telelake/erasures/<id>.json`.
    id: String,
    begun_at: DateTime<Utc>,
    /// None if something is left to be done.
    ended_at: Option<DateTime<Utc>>,
    operator: Option<String>,
    program: String,
    runs: Vec<String>,
    /// The address of the lake.
    lake: String,
    /// The number of people.
    people: usize,
    /// The keyed hashes of their ids, by which the record of the erasure is recognized.
    hashes: Vec<String>,
    /// Raw reports that were written anew.
    pub reports: u64,
    /// Recordings that were deleted.
    pub recordings: u64,
    /// Other objects, by kind.
    objects: BTreeMap<String, u64>,
    /// Rows that were destroyed, by table and date.
    rows: BTreeMap<String, BTreeMap<String, u64>>,
    method: &'static str,
    left_to_human: Vec<LeftToHuman>,
    failed: Vec<String>,
    /// Days that a dry run would build or edit.
    #[serde(skip)]
    planned: usize,
}

impl Act {
    /// The act of an erasure.
    pub fn of(forgotten: &Forgotten, lake: &str) -> Self {
        let Erasure {
            id,
            begun_at,
            ended_at,
            operator,
            program,
            runs,
            people,
            days,
            objects,
            dates,
            left,
            ..
        } = &forgotten.erasure;
        let mut rows: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (date, day) in days.iter().chain(dates) {
            let date = date.split('|').next().unwrap_or_default();
            for (table, count) in day.rows() {
                if day.is_done {
                    let of_table = rows.entry(table.to_owned()).or_default();
                    *of_table.entry(date.to_owned()).or_default() += count;
                }
            }
        }
        Self {
            id: id.clone(),
            begun_at: *begun_at,
            ended_at: *ended_at,
            operator: operator.clone(),
            program: format!("telelake {program}"),
            runs: runs.iter().cloned().collect(),
            lake: lake.to_owned(),
            people: people.len(),
            hashes: people.iter().map(|person| person.hash.clone()).collect(),
            reports: days.values().map(|day| day.reports).sum(),
            recordings: days.values().map(|day| day.recordings).sum(),
            objects: objects.clone(),
            rows,
            method: METHOD[0],
            left_to_human: left.iter().cloned().collect(),
            failed: forgotten.failed.clone(),
            planned: if forgotten.dry_run {
                days.len() + dates.len()
            } else {
                0
            },
        }
    }

    /// True if the lake had nothing of the people.
    pub fn is_nothing(&self) -> bool {
        self.reports + self.recordings == 0
            && self.objects.is_empty()
            && self.rows.is_empty()
            && self.planned == 0
    }

    /// The rows that were destroyed, by table.
    pub fn rows_by_table(&self) -> impl Iterator<Item = (&str, u64)> {
        let tables = self.rows.iter();
        tables.map(|(table, dates)| (table.as_str(), dates.values().sum()))
    }

    /// The act as JSON.
    ///
    /// # Errors
    /// Only a fault of the program itself.
    pub fn json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::new(ErrorKind::Internal, "act", error.to_string()))?;
        Ok(text + "\n")
    }

    /// The act as Markdown, first in Russian, then in English.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        self.push(&mut text, &RUSSIAN);
        text.push('\n');
        self.push(&mut text, &ENGLISH);
        text
    }

    fn push(&self, text: &mut String, words: &Words) {
        let at = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        let ended = self.ended_at.map_or_else(|| words.not_ended.to_owned(), at);
        let operator = self.operator.as_deref().unwrap_or(words.nobody);
        let _ = write!(
            text,
            "# {}\n\n| | |\n|---|---|\n| {} | {} |\n| {} | {} |\n| {} | {} |\n| {} | {} |\n| {} | {} |\n| {} | {} |\n| {} | {} |\n",
            words.title,
            words.id,
            cell(&self.id),
            words.begun,
            at(self.begun_at),
            words.ended,
            ended,
            words.operator,
            cell(operator),
            words.program,
            cell(&self.program),
            words.runs,
            cell(&self.runs.join(", ")),
            words.people,
            self.people
        );
        let _ = writeln!(text, "| {} | telelake, {} |", words.system, cell(&self.lake));
        let _ = writeln!(text, "| {} | {} |", words.hashes, cell(&self.hashes.join(", ")));
        let _ = writeln!(text, "| {} | {} |", words.categories, words.all_categories);
        for blank in words.blanks {
            let _ = writeln!(text, "| {blank} | ____________________ |");
        }
        let _ = write!(text, "\n{}: {}\n", words.method, METHOD[words.language]);
        let _ = write!(
            text,
            "\n## {}\n\n| {} | {} |\n|---|---|\n",
            words.objects, words.object, words.count
        );
        let _ = writeln!(text, "| {} | {} |", words.reports, self.reports);
        let _ = writeln!(text, "| {} | {} |", words.recordings, self.recordings);
        for (kind, count) in &self.objects {
            let _ = writeln!(text, "| {} | {count} |", cell(words.kind(kind)));
        }
        let _ = write!(
            text,
            "\n## {}\n\n| {} | {} | {} |\n|---|---|---|\n",
            words.rows, words.table, words.date, words.count
        );
        for (table, dates) in &self.rows {
            for (date, count) in dates {
                let _ = writeln!(text, "| {} | {date} | {count} |", cell(table));
            }
        }
        let _ = write!(text, "\n## {}\n\n", words.left);
        if self.left_to_human.is_empty() && self.failed.is_empty() {
            let _ = writeln!(text, "{}", words.nothing);
        }
        for left in &self.left_to_human {
            let _ = writeln!(text, "- {}: `{}`", words.left_kind(&left.kind), cell(&left.place));
        }
        for why in &self.failed {
            let _ = writeln!(text, "- {}: {}", words.failed, cell(why));
        }
        let _ = write!(text, "\n{}\n", words.signature);
    }
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// The words of an act in a language.
struct Words {
    /// The place in lists of texts by language.
    language: usize,
    title: &'static str,
    id: &'static str,
    begun: &'static str,
    ended: &'static str,
    not_ended: &'static str,
    operator: &'static str,
    nobody: &'static str,
    program: &'static str,
    runs: &'static str,
    people: &'static str,
    method: &'static str,
    objects: &'static str,
    object: &'static str,
    count: &'static str,
    reports: &'static str,
    recordings: &'static str,
    rows: &'static str,
    table: &'static str,
    date: &'static str,
    system: &'static str,
    hashes: &'static str,
    categories: &'static str,
    all_categories: &'static str,
    /// What the program does not know, for a human to fill in.
    blanks: [&'static str; 4],
    left: &'static str,
    nothing: &'static str,
    failed: &'static str,
    signature: &'static str,
}

impl Words {
    fn kind<'k>(&self, kind: &'k str) -> &'k str {
        match (self.language, kind) {
            (1, "lesson days") => "дни данных об уроках",
            (1, "raw lesson data") => "исходные данные об уроках",
            (1, "waiting lesson data") => "ожидающие данные об уроках",
            (1, "refused lesson data") => "отклонённые данные об уроках",
            (1, "state") => "служебные объекты",
            (1, "objects moved aside") => "отложенные объекты",
            (1, "reports that no day names") => "отчёты, которые не числятся ни за одним днём",
            (1, "old versions") => "прежние версии объектов",
            _ => kind,
        }
    }

    fn left_kind<'k>(&self, kind: &'k str) -> &'k str {
        match (self.language, kind) {
            (0, "mention") => "texts of others that mention the person",
            (0, "recording") => "a recording",
            (0, "unreadable") => "could not be read",
            (0, "missing") => "a report that is missing",
            (0, "damaged") => "a report that is damaged",
            (1, "missing") => "отчёт отсутствует",
            (1, "damaged") => "отчёт повреждён",
            (0, "versions") => "old versions could not be removed",
            (1, "mention") => "тексты других людей упоминают человека",
            (1, "recording") => "запись",
            (1, "unreadable") => "не удалось прочитать",
            (1, "versions") => "прежние версии не удалось удалить",
            _ => kind,
        }
    }
}

const ENGLISH: Words = Words {
    language: 0,
    title: "Act of destruction of personal data",
    id: "Erasure",
    begun: "Begun",
    ended: "Ended",
    not_ended: "not ended: see below",
    operator: "Command given by",
    nobody: "not named",
    program: "Program",
    runs: "Runs",
    people: "People",
    method: "Method",
    objects: "Objects",
    object: "Object",
    count: "Count",
    reports: "raw reports written anew",
    recordings: "recordings deleted",
    rows: "Rows of tables",
    table: "Table",
    date: "Date",
    left: "Left to a human",
    nothing: "Nothing.",
    failed: "not done",
    system: "Information system",
    hashes: "Keyed hashes of the people's ids",
    categories: "Categories of data",
    all_categories: "ids, names, contacts, times of presence, messages, reactions, votes, lesson data",
    blanks: [
        "Organization that processes the data, its address",
        "Data subject, or a reference to the demand",
        "Reason of the destruction",
        "Person who destroyed the data: name, position",
    ],
    signature: "Signature: ____________________  Date: ____________________",
};

const RUSSIAN: Words = Words {
    language: 1,
    title: "Акт об уничтожении персональных данных",
    id: "Номер уничтожения",
    begun: "Начато",
    ended: "Закончено",
    not_ended: "не закончено: см. ниже",
    operator: "Команду выполнил",
    nobody: "не назван",
    program: "Программа",
    runs: "Запуски",
    people: "Субъектов данных",
    method: "Способ",
    objects: "Объекты",
    object: "Объект",
    count: "Количество",
    reports: "исходные отчёты, перезаписанные без данных",
    recordings: "удалённые записи",
    rows: "Строки таблиц",
    table: "Таблица",
    date: "Дата",
    left: "Требует решения человека",
    nothing: "Ничего.",
    failed: "не сделано",
    system: "Информационная система",
    hashes: "Хеши идентификаторов субъектов",
    categories: "Категории данных",
    all_categories: "идентификаторы, имена, контакты, время присутствия, сообщения, реакции, голоса, данные об уроках",
    blanks: [
        "Оператор персональных данных, его адрес",
        "Субъект данных или реквизиты обращения",
        "Причина уничтожения",
        "Лицо, уничтожившее данные: фамилия, должность",
    ],
    signature: "Подпись: ____________________  Дата: ____________________",
};
