//! The mappings in `examples/` and the examples in `docs/mapping.md`.

use std::path::{Path, PathBuf};

use serde_json::Map;

use super::*;
use crate::lake::manifest::Landing;

/// The tables that reports feed, without `report_rows`.
const TABLES: [&str; 5] = ["participants", "messages", "reactions", "poll_votes", "polls"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("examples/mappings")).expect("a folder");
    let mut folders: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// A day whose only call, from 10:00 to 11:00, has this report.
fn built(mapping: &Mapping, format: ReportFormat, report: Vec<u8>) -> BuiltDay {
    let mut day = manifest();
    let entry = day.calls.get_mut("c2").expect("the call");
    let done = landing(Status::Done, Some("raw/report"), None);
    entry
        .reports
        .insert(ReportFormat::Json, Landing::pending("not there"));
    entry.reports.insert(format, done);
    let reports = [Ok(("c2".into(), format, Bytes::from(report)))];
    let lessons = LessonIndex::default();
    build_day(&day, mapping, "", at("23:00:00"), &lessons, reports).expect("a day")
}

/// The rows of the tables of reports, each with its values that are not null; those of the call are left out.
fn rows(day: &BuiltDay) -> Value {
    let mut tables = Map::new();
    for file in day.tables.iter().filter(|file| TABLES.contains(&&*file.table)) {
        let own = |name: &str| builtin::CALL_COLUMNS.contains(&name) || name == builtin::lesson::meta_matched;
        let table = builtin::get(&file.table).expect("a table");
        let names = table.columns.iter().map(|column| &*column.name);
        let columns: Vec<_> = names
            .filter(|name| !own(name))
            .map(|name| (name, column(file, name)))
            .collect();
        let row = |at: usize| -> Value {
            let known = columns.iter().filter(|(_, values)| values[at] != "null");
            known
                .map(|(name, values)| ((*name).to_owned(), values[at].clone().into()))
                .collect::<Map<_, _>>()
                .into()
        };
        let count = usize::try_from(file.rows).expect("a number");
        tables.insert(file.table.clone(), (0..count).map(row).collect());
    }
    tables.into()
}

#[test]
fn the_mappings_of_other_platforms_give_the_rows_beside_them() {
    let mut tried = 0;
    for folder in folders() {
        let read = |name: &str| std::fs::read(folder.join(name));
        let text = String::from_utf8(read("mapping.toml").expect("a mapping")).expect("text");
        let mapping = Mapping::over_builtin(&text, "mapping.toml")
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let (format, report) = match read("report.json") {
            Ok(report) => (ReportFormat::Json, report),
            Err(_) => (ReportFormat::Xlsx, read("report.xlsx").expect("a report")),
        };
        let day = built(&mapping, format, report);
        let about = folder.display();
        let of_report = |place: &&String| TABLES.iter().any(|table| place.starts_with(table));
        let bad: Vec<_> = day.notes.bad.keys().filter(of_report).collect();
        assert!(bad.is_empty(), "{about}: {bad:?}");
        assert!(
            day.notes.outside_calls.is_empty(),
            "{about}: {:?}",
            day.notes.outside_calls
        );
        let found = rows(&day);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let text = serde_json::to_string_pretty(&found).expect("JSON") + "\n";
            std::fs::write(folder.join("expected.json"), text).expect("written");
        }
        let expected: Value = serde_json::from_slice(&read("expected.json").expect("rows")).expect("JSON");
        assert_eq!(found, expected, "{about}");
        tried += 1;
    }
    assert_eq!(tried, 8);
}

#[test]
fn the_examples_of_the_language_are_right() {
    let text = std::fs::read_to_string(root().join("docs/mapping.md")).expect("the document");
    let mut tried = 0;
    for example in text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
    {
        let version = if example.contains("version = ") {
            ""
        } else {
            "version = 1\n"
        };
        Mapping::over_builtin(&format!("{version}{example}"), "an example")
            .unwrap_or_else(|error| panic!("{error}\n{example}"));
        tried += 1;
    }
    assert!(tried > 15, "{tried} examples");
}
