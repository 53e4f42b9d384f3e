//! The data dictionary: what the tables hold, for people, for programs and for DuckDB. Pure.
//!
//! All of it comes from the one definition of each table. `docs/tables.md` is [`markdown`] of the built-in ones; a test
//! holds it there.

use serde_json::{Value, json};

use super::{SCHEMA_VERSION, Table};

/// Where a table's files lie below the lake's URL.
fn files(table: &Table) -> String {
    match table.name.as_ref() {
        "rooms" => "rooms/<space_id>.parquet".into(),
        "spaces" => "spaces/spaces.parquet".into(),
        // Lesson data is of no space.
        name @ ("user_meta" | "hierarchy") => format!("{name}/date=YYYY-MM-DD/{name}.parquet"),
        name => format!("{name}/date=YYYY-MM-DD/<space_id>.parquet"),
    }
}

fn is_dated(table: &Table) -> bool {
    files(table).contains("date=")
}

/// The dictionary as Markdown.
pub fn markdown<'t>(tables: impl IntoIterator<Item = &'t Table>) -> String {
    let mut text = format!(
        "# Tables\n\n\
         Written by `telelake schema`; not by hand. Schema version {SCHEMA_VERSION}.\n\n\
         Every column may be null but those of the key, in **bold**. Instants are in UTC. Columns are only ever added.\n\
         Files below `date=` have that `date` as a further column in readers that know Hive partitions, in the configured\n\
         `timezone`: the date of the call's start; in `recordings` that of its call, else of its own start; in\n\
         `lesson_attendance` that of the meeting's first call; in `user_meta` and `hierarchy` that of the scheduled start,\n\
         else of the arrival. A table without rows for a day has no file.\n"
    );
    for table in tables {
        text.push_str(&format!(
            "\n## {}\n\nA row for {}. Files: `{}`. Sorted by {}.\n\n| column | type | meaning |\n|---|---|---|\n",
            cell(&table.name),
            cell(&table.row),
            files(table),
            table.order.join(", ")
        ));
        for column in &table.columns {
            let bold = if column.key { "**" } else { "" };
            text.push_str(&format!(
                "| {bold}{}{bold} | {} | {} |\n",
                cell(&column.name),
                cell(column.kind.name()),
                cell(&column.doc)
            ));
        }
    }
    text
}

/// Text as a table's cell shows it, whatever it holds.
fn cell(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' | '\r' => shown.push(' '),
            '|' | '<' | '\\' | '*' => shown.extend(['\\', char]),
            char => shown.push(char),
        }
    }
    shown
}

/// The dictionary for programs.
pub fn json<'t>(tables: impl IntoIterator<Item = &'t Table>) -> Value {
    let tables = tables.into_iter().map(|table| {
        let columns = table.columns.iter().map(|column| {
            json!({
                "name": column.name, "type": column.kind.name(), "nullable": !column.key, "key": column.key,
                "description": column.doc,
            })
        });
        json!({
            "name": table.name, "row": table.row, "files": files(table), "order": table.order,
            "partitioned_by": if is_dated(table) { vec!["date"] } else { vec![] },
            "columns": columns.collect::<Vec<_>>(),
        })
    });
    json!({"schema_version": SCHEMA_VERSION, "tables": tables.collect::<Vec<_>>()})
}

/// A DuckDB view of each table. `root` is the lake's address as DuckDB takes it.
pub fn sql<'t>(tables: impl IntoIterator<Item = &'t Table>, root: &str) -> String {
    let mut text = String::from(
        "-- Views for DuckDB. A table that has no file yet gives no view: make them again when it has.\n",
    );
    let root = root.trim_end_matches('/');
    for table in tables {
        // Later files may have columns that earlier ones have not.
        text.push_str(&format!(
            "\n-- a row for {}\nCREATE OR REPLACE VIEW {} AS\n  SELECT * FROM read_parquet({}, hive_partitioning = true, union_by_name = true);\n",
            table.row.replace(['\n', '\r'], " "),
            identifier(&table.name),
            literal(&format!("{}/{}/**/*.parquet", escaped(root), table.name))
        ));
    }
    text
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// An address whose characters mean themselves in a pattern.
fn escaped(address: &str) -> String {
    address.chars().fold(String::new(), |mut pattern, char| {
        match char {
            '*' | '?' | '[' => pattern.extend(['[', char, ']']),
            char => pattern.push(char),
        }
        pattern
    })
}

#[cfg(test)]
mod tests {
    use super::super::builtin;
    use super::*;
    use crate::lake::key;

    #[test]
    fn docs_tables_md_is_what_the_program_says() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tables.md");
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            written == markdown(builtin::all()),
            "docs/tables.md is stale; make it anew: cargo run -- schema > docs/tables.md"
        );
    }

    #[test]
    fn files_lie_where_the_dictionary_says() {
        let date = "2026-11-22".parse().expect("date");
        for table in builtin::all() {
            let key = match table.name.as_ref() {
                "rooms" => key::rooms(&"64ab".into()),
                "spaces" => key::spaces(),
                name @ ("user_meta" | "hierarchy") => key::table(name, date, &name.into()),
                name => key::table(name, date, &"64ab".into()),
            };
            let said = files(table)
                .replace("YYYY-MM-DD", "2026-11-22")
                .replace("<space_id>", "64ab");
            assert_eq!(said, key);
        }
    }

    #[test]
    fn views_hold_whatever_the_address_is() {
        let spaces = builtin::get("spaces").expect("table");
        insta::assert_snapshot!(sql([spaces], "/srv/it's [1]*/"), @r#"
        -- Views for DuckDB. A table that has no file yet gives no view: make them again when it has.

        -- a row for a space, as the API last listed it; one that is gone keeps its row
        CREATE OR REPLACE VIEW "spaces" AS
          SELECT * FROM read_parquet('/srv/it''s [[]1][*]/spaces/**/*.parquet', hive_partitioning = true, union_by_name = true);
        "#);
    }

    #[test]
    fn programs_get_every_column() {
        let dictionary = json(builtin::all());
        let tables = dictionary["tables"].as_array().expect("tables");
        assert_eq!(tables.len(), builtin::all().len());
        let calls = &tables[0];
        assert_eq!(calls["columns"][1]["name"], "call_id");
        assert_eq!(calls["columns"][1]["nullable"], false);
        assert_eq!(calls["partitioned_by"], json!(["date"]));
    }

    #[test]
    fn a_cell_stays_a_cell() {
        assert_eq!(cell("a|b\n<c>"), "a\\|b \\<c>");
    }
}
