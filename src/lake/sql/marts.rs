//! The marts, from a template in which the words of each dialect are filled in. Pure.

use super::SqlDialect;
use crate::lake::table::builtin::lesson_attendance as la;

/// SQL that all dialects share. A `{word rest}` is replaced as [`filled`] says.
const TEMPLATE: &str = include_str!("marts.sql");

/// Columns that a meeting's lesson fills for a user without lesson data.
const OF_THE_LESSON: [&str; 5] = [
    la::lesson_name,
    la::lesson_scheduled_start_at,
    la::lesson_scheduled_end_at,
    la::lesson_course_id,
    la::lesson_course_name,
];

/// All marts.
pub(super) fn marts(dialect: SqlDialect) -> String {
    let mut parts = TEMPLATE.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (gap, rest) = part.split_once('}').unwrap_or((part, ""));
        let (word, content) = gap.split_once(' ').unwrap_or((gap, ""));
        text.push_str(&filled(dialect, word, content));
        text.push_str(rest);
    }
    text
}

fn filled(dialect: SqlDialect, word: &str, content: &str) -> String {
    let is_clickhouse = dialect == SqlDialect::ClickHouse;
    match (word, dialect) {
        ("view", SqlDialect::Spark) => format!("CREATE OR REPLACE TEMPORARY VIEW {content} AS"),
        ("view", _) => format!("CREATE OR REPLACE VIEW {content} AS"),
        // Without these settings a missing row of a join gives 0 and empty text instead of null.
        ("end", SqlDialect::ClickHouse) => "SETTINGS join_use_nulls = 1, cast_keep_nullable = 1;".into(),
        ("end", _) => ";".into(),
        ("each", SqlDialect::DuckDb) => format!("unnest({content})"),
        ("each", SqlDialect::ClickHouse) => format!("arrayJoin({content})"),
        ("each", SqlDialect::Spark) => format!("explode({content})"),
        ("names", SqlDialect::DuckDb) => format!("list_sort(list_distinct(list({content})))"),
        ("names", SqlDialect::ClickHouse) => format!("arraySort(groupUniqArray({content}))"),
        ("names", SqlDialect::Spark) => format!("array_sort(collect_set({content}))"),
        ("bool", _) if is_clickhouse => format!("CAST({content} AS Bool)"),
        ("bool", _) => format!("({content})"),
        ("student", _) => {
            let of = if content.is_empty() {
                String::new()
            } else {
                format!("{content}.")
            };
            format!("({of}meta_matched AND ({of}user_role = 'student' OR {of}user_role IS NULL))")
        }
        ("attendance", _) => attendance_columns(dialect),
        _ => unreachable_gap(word),
    }
}

/// A wrong word in the template stays visible; a test finds it.
fn unreachable_gap(word: &str) -> String {
    format!("{{{word}}}")
}

/// The columns of `lesson_attendance`, a line for each.
fn attendance_columns(dialect: SqlDialect) -> String {
    let own = la::table().columns.iter().map(|column| {
        let name = dialect.identifier(&column.name);
        let value = match OF_THE_LESSON.contains(&column.name.as_ref()) {
            true => format!("coalesce(a.{name}, l.{name})"),
            false => format!("a.{name}"),
        };
        format!("  {value} AS {name},  -- {}\n", super::one_line(&column.doc))
    });
    let mut text: String = own.collect();
    text.push_str("  a.date AS date,  -- date of the meeting's first call");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_no_word_that_is_not_filled_in() {
        for dialect in [SqlDialect::DuckDb, SqlDialect::ClickHouse, SqlDialect::Spark] {
            let text = marts(dialect);
            assert!(!text.contains('{') && !text.contains('}'), "{text}");
            assert_eq!(text.matches("CREATE OR REPLACE").count(), 5);
        }
    }
}
