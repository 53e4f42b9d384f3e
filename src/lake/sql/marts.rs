//! The marts, from a template in which the words of each dialect are filled in. Pure.

use super::SqlDialect;
use crate::lake::table::builtin::lesson_attendance as la;

/// SQL that all dialects share. A `{word rest}` is replaced as [`filled`] says. Columns are written with their table,
/// because an alias of the same SELECT wins over a bare name in ClickHouse.
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
    let mut text = TEMPLATE.to_owned();
    // A gap may hold another: the innermost one is filled first.
    while let Some(end) = text.find('}') {
        let Some(start) = text[..end].rfind('{') else {
            break;
        };
        let gap = &text[start + 1..end];
        let (word, content) = gap.split_once(' ').unwrap_or((gap, ""));
        let filling = filled(dialect, word, content);
        text.replace_range(start..=end, &filling);
    }
    text
}

fn filled(dialect: SqlDialect, word: &str, content: &str) -> String {
    let [duckdb, clickhouse, spark] = match word {
        "view" => [
            format!("CREATE OR REPLACE VIEW {content} AS"),
            format!("CREATE OR REPLACE VIEW {content} AS"),
            format!("CREATE OR REPLACE TEMPORARY VIEW {content} AS"),
        ],
        // Without these settings a missing row of a join gives 0 and empty text instead of null.
        "end" => [
            ";".into(),
            "SETTINGS join_use_nulls = 1, cast_keep_nullable = 1;".into(),
            ";".into(),
        ],
        "each" => [
            format!("unnest({content})"),
            format!("arrayJoin({content})"),
            format!("explode({content})"),
        ],
        "names" => [
            format!("list_sort(list_distinct(list({content})))"),
            format!("arraySort(groupUniqArray({content}))"),
            format!("array_sort(collect_set({content}))"),
        ],
        "bool" => [
            format!("({content})"),
            format!("CAST({content} AS Bool)"),
            format!("({content})"),
        ],
        "teacher" => {
            let ids = format!("{content}.teacher_ids, {content}.external_user_id");
            [
                format!("coalesce(list_contains({ids}), false)"),
                format!("has({ids})"),
                format!("coalesce(array_contains({ids}), false)"),
            ]
        }
        "teacher_name" => [
            "a.teacher_names[list_position(a.teacher_ids, a.external_user_id)]".into(),
            "a.teacher_names[indexOf(a.teacher_ids, a.external_user_id)]".into(),
            "try_element_at(a.teacher_names, CAST(array_position(a.teacher_ids, a.external_user_id) AS INT))"
                .into(),
        ],
        "student" => {
            let teacher = filled(dialect, "teacher", content);
            let role = format!("{content}.user_role");
            return format!(
                "({content}.meta_matched AND (lower(trim({role})) = 'student' OR ({role} IS NULL AND NOT {teacher})))"
            );
        }
        "attendance" => return attendance_columns(dialect),
        // A wrong word stays visible; a test finds it.
        _ => return format!("<{word}>"),
    };
    match dialect {
        SqlDialect::DuckDb => duckdb,
        SqlDialect::ClickHouse => clickhouse,
        SqlDialect::Spark => spark,
    }
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
            assert!(!text.contains(['{', '}', '<']), "{text}");
            assert_eq!(text.matches("CREATE OR REPLACE").count(), 5);
        }
    }
}
