//! Every query of `docs/analysts.md` returns the truth of a simulated school, row by row and in order.

mod about_lessons;
mod about_people;
mod about_tables;
mod facts;
mod scene;

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use telelake::simulator::Report;

use self::facts::Facts;
use self::scene::Scene;
use super::{export_with, run, script};
use crate::support::lake::Lake;

/// Computes the rows of a query.
type Expectation = fn(&Facts<'_>) -> Vec<Value>;

/// The last words before each query, by which it is known, and its rows.
const EXPECTATIONS: [(&str, Expectation); 17] = [
    ("By week and group", about_people::by_week_and_group),
    ("By course over the whole time", about_people::by_course),
    ("By student", about_people::by_student),
    ("Who was absent", about_people::absent),
    ("Who was late", about_people::late),
    ("Who was there, but", about_people::short_stays),
    ("Retention", about_people::retention),
    ("Punctuality of teachers", about_lessons::teachers),
    ("Length against schedule", about_lessons::lengths),
    ("No-shows", about_lessons::no_shows),
    ("Lessons without a recording", about_lessons::without_recording),
    ("Recordings that are missing", about_tables::missing_recordings),
    ("Engagement", about_tables::engagement),
    ("Freshness", about_tables::freshness),
    (
        "Users who came without lesson data",
        about_tables::without_lesson_data,
    ),
    ("Duplicates", about_tables::duplicates),
    (CHANGED, about_tables::all_participants),
];
/// The first words of the query for what has changed.
const CHANGED: &str = "`days` has a row for each day";
/// The instant in the text of that query.
const SINCE: &str = "2024-01-01 00:00:00+00";

/// A query of the document.
struct Question {
    /// The paragraph before it.
    text: String,
    sql: String,
}

/// The queries of the document, each with the paragraph before it.
fn questions() -> Vec<Question> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/analysts.md");
    let document = std::fs::read_to_string(file).unwrap();
    let mut questions = Vec::new();
    let mut before = "";
    for (number, part) in document.split("```").enumerate() {
        match part.strip_prefix("sql\n") {
            Some(sql) if number % 2 == 1 => {
                let text = before.trim().rsplit("\n\n").next().unwrap().to_owned();
                questions.push(Question {
                    text,
                    sql: sql.to_owned(),
                });
            }
            _ => before = part,
        }
    }
    questions
}

/// The expectation of a query; a query without one fails the test.
fn expectation(question: &Question) -> (&'static str, Expectation) {
    let known = EXPECTATIONS
        .iter()
        .filter(|(words, _)| question.text.starts_with(words));
    match known.collect::<Vec<_>>().as_slice() {
        [(words, expectation)] => (*words, *expectation),
        others => panic!(
            "{} expectations for the query after: {}",
            others.len(),
            question.text
        ),
    }
}

/// A row in which all numbers are of one type, and instants of the export are so called.
fn comparable(row: &Value, export: (DateTime<Utc>, DateTime<Utc>)) -> Value {
    match row {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(|item| comparable(item, export)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            Value::Object(
                fields
                    .map(|(name, value)| (name.clone(), comparable(value, export)))
                    .collect(),
            )
        }
        Value::String(text) => match text.parse::<DateTime<Utc>>() {
            Ok(at) if (export.0..=export.1).contains(&at) => json!(facts::DURING_EXPORT),
            _ => row.clone(),
        },
        other => other.clone(),
    }
}

/// The first row of a query that is not as expected; `None` if all are.
fn difference(question: &str, found: &[Value], expected: &[Value]) -> Option<String> {
    let rows = found.len().max(expected.len());
    let differs = (0..rows).find(|row| found.get(*row) != expected.get(*row))?;
    let [found, expected] = [found, expected].map(|rows| rows.get(differs).unwrap_or(&Value::Null));
    Some(format!(
        "{question}: row {differs} of {rows}\n  found    {found}\n  expected {expected}"
    ))
}

/// The rows of queries on a lake.
async fn answers(lake: &Lake, queries: &[String]) -> Vec<Vec<Value>> {
    let mut script = script(lake, "duckdb").await;
    for (number, sql) in queries.iter().enumerate() {
        script.push_str(&format!(
            "\nCREATE OR REPLACE VIEW question_{number} AS\n{sql};\n"
        ));
    }
    let views = run(lake, "duckdb", &[script], &[]).await.remove(0);
    let rows = |number: usize| views[format!("question_{number}")].as_array().unwrap().clone();
    (0..queries.len()).map(rows).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_query_of_the_document_for_analysts_returns_the_truth() {
    let (scene, lake) = (Scene::new().await, Lake::folder());
    let before = Utc::now();
    export_with(&scene.sim, &lake, &scene.lessons).await;
    let export = (before, Utc::now());
    let school = scene.sim.school();
    let facts = Facts::of(&school, &scene.lessons);
    let questions = questions();
    let queries: Vec<String> = questions.iter().map(|question| question.sql.clone()).collect();
    let answers = answers(&lake, &queries).await;
    let (mut asked, mut faults) = (BTreeSet::new(), Vec::new());
    for (question, found) in questions.iter().zip(answers) {
        let (words, expectation) = expectation(question);
        let all = |rows: &[Value]| -> Vec<Value> { rows.iter().map(|row| comparable(row, export)).collect() };
        let expected = all(&expectation(&facts));
        assert!(!expected.is_empty(), "{words}: the school has nothing to tell");
        faults.extend(difference(words, &all(&found), &expected));
        assert!(asked.insert(words), "{words} stands before two queries");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(asked.len(), EXPECTATIONS.len(), "a query is missing: {asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_for_changes_returns_the_days_that_were_built_since() {
    let (scene, lake) = (Scene::new().await, Lake::folder());
    export_with(&scene.sim, &lake, &scene.lessons).await;
    let since = Utc::now();
    let is_missing = |call: &telelake::simulator::Call| call.json == Report::Missing;
    let days: BTreeSet<_> = scene.sim.edit(|school| {
        let late = school.calls.iter_mut().filter(|call| is_missing(call)).take(1);
        late.map(|call| {
            call.set_report(Report::Whole);
            (call.space_id.clone(), call.started_at.date_naive())
        })
        .collect()
    });
    super::exported(&scene.sim, &lake, &[], 0).await;
    let questions = questions();
    let question = questions
        .iter()
        .find(|question| question.text.starts_with(CHANGED))
        .unwrap();
    assert!(question.sql.contains(SINCE));
    let sql = question
        .sql
        .replace(SINCE, &since.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string());
    let found = answers(&lake, &[sql]).await.remove(0);
    let (school, nothing) = (scene.sim.school(), (since, since));
    let facts = Facts::of(&school, &scene.lessons);
    let expected = about_tables::participants(&facts, |call| {
        days.contains(&(call.space_id.clone(), call.started_at.date_naive()))
    });
    assert!(!expected.is_empty() && expected.len() < about_tables::all_participants(&facts).len());
    let all = |rows: &[Value]| -> Vec<Value> { rows.iter().map(|row| comparable(row, nothing)).collect() };
    assert_eq!(difference(CHANGED, &all(&found), &all(&expected)), None);
}
