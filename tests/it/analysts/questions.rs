//! Every query of `docs/analysts.md` runs and finds what the school has.

use std::path::Path;

use serde_json::Value;

use super::{export_with, run, school, script};
use crate::support::lake::Lake;

/// The queries of the document, each with the text before it.
fn questions() -> Vec<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/analysts.md");
    let text = std::fs::read_to_string(file).unwrap();
    let mut questions = Vec::new();
    let mut before = "";
    for (number, part) in text.split("```").enumerate() {
        match part.strip_prefix("sql\n") {
            Some(query) if number % 2 == 1 => questions.push((before.trim().to_owned(), query.to_owned())),
            _ => before = part,
        }
    }
    questions
}

#[tokio::test(flavor = "multi_thread")]
async fn each_query_of_the_document_for_analysts_finds_rows() {
    let (sim, lake) = (school().await, Lake::folder());
    // A user who is there without lesson data, under a name that is there twice, and a student who leaves at once.
    let guest = sim.edit(|school| {
        let call = &mut school.calls[0];
        let mut guest = call.participants[1].clone();
        (guest.id, guest.external_user_id) = (Some("guest".into()), Some("nobody-knows".into()));
        call.participants.push(guest);
        let left = call.participants[2].sessions[0].joined_at + chrono::TimeDelta::seconds(30);
        call.participants[2].sessions.truncate(1);
        call.participants[2].sessions[0].left_at = Some(left);
        "nobody-knows"
    });
    let mut lessons = sim.school().lesson_data();
    lessons.retain(|payload| payload["externalUserId"] != guest);
    export_with(&sim, &lake, &lessons).await;
    let questions = questions();
    assert!(questions.len() >= 17, "{}", questions.len());
    let mut script = script(&lake, "duckdb").await;
    for (number, (_, query)) in questions.iter().enumerate() {
        script.push_str(&format!(
            "\nCREATE OR REPLACE VIEW question_{number} AS\n{query};\n"
        ));
    }
    let views: Value = run(&lake, "duckdb", &[script], &[]).await.remove(0);
    for (number, (text, query)) in questions.iter().enumerate() {
        let rows = views[format!("question_{number}")].as_u64().unwrap();
        // The school holds no lesson without students.
        let is_empty = text.ends_with("No-shows: lessons to which no student came.");
        assert_eq!(rows == 0, is_empty, "{rows} rows: {text}\n{query}");
    }
}
