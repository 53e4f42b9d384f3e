//! DuckDB, Polars, pyarrow, pandas, ClickHouse and Spark read each table from its root path alike, from a folder and from S3
//! (Spark from a folder). In their eyes the statements of the data dictionary hold.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use telelake::lake::table::builtin;
use telelake::simulator::{Call, Report, School, Simulator};

use crate::pipeline::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

/// Removes the roles from the report of the first call, and returns its id, because a report may lack roles.
async fn forget_roles(sim: &Simulator, lake: &Lake) -> String {
    let call = sim.school().calls[0].id.clone();
    let keys = lake.keys().await;
    let key = keys.keys().find(|key| key.ends_with(&format!("{call}.json")));
    let mut report: Value = serde_json::from_slice(&lake.get(key.unwrap()).await).unwrap();
    for person in report["participants"].as_array_mut().unwrap() {
        person.as_object_mut().unwrap().remove("role");
    }
    sim.edit(|school| school.calls[0].json = Report::bytes(report.to_string()));
    call
}

/// The number of people in a call who are no moderators by its report.
fn attendees(call: &Call, without_roles: &str) -> usize {
    let people = call.participants.iter();
    let attendees = people.filter(|person| call.id == without_roles || !person.moderator);
    let ids = attendees.map(|person| person.external_user_id.as_ref().or(person.id.as_ref()));
    ids.collect::<BTreeSet<_>>().len()
}

/// The number of rows of the tables that follow directly from the school.
fn expected_rows(school: &School, dates: usize) -> Value {
    let sum = |of: fn(&Call) -> usize| school.calls.iter().map(of).sum::<usize>();
    serde_json::json!({
        "calls": school.calls.len(),
        "participants": sum(|call| call.participants.len()),
        "messages": sum(|call| call.messages.len()),
        "reactions": sum(|call| call.reactions.len()),
        "poll_votes": sum(|call| call.polls.iter().map(|poll| poll.votes.len()).sum()),
        "report_rows": sum(|call| {
            let stays: usize = call.participants.iter().map(|person| person.sessions.len()).sum();
            stays + call.messages.len()
        }),
        "polls": sum(|call| call.polls.len()),
        "recordings": school.records.len(),
        "days": school.spaces.len() * dates,
        "user_meta": school.metas().len(),
        "rooms": school.rooms.len(),
        "spaces": school.spaces.len(),
    })
}

/// Runs `tests/readers.py` on a lake and returns its output.
async fn run_readers(lake: &Lake, expected: &Value) -> Value {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), expected.to_string()).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".tools/venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing; run `make tools`",
        python.display()
    );
    let mut command = Command::new(python);
    command
        .arg(root.join("tests/readers.py"))
        .args(["--lake", &lake.url(), "--timezone", "UTC", "--expect"])
        .arg(file.path())
        .arg("--queries")
        .arg(root.join("README.md"));
    for (name, value) in lake.environment() {
        command.env(name, &value);
        if name == "TELELAKE_STORE__S3__ENDPOINT_URL" {
            command.args(["--s3-endpoint", &value]);
        }
    }
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let shown = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{shown}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn read(lake: Lake) {
    let sim = Simulator::start(small()).await.unwrap();
    let range = range(&sim);
    let export = async |more: &[&str]| {
        let args = backfill(&range, more);
        Telelake::against(&sim, &lake, &args).run().await.expect(0);
    };
    export(&[]).await;
    let without_roles = forget_roles(&sim, &lake).await;
    let folder = tempfile::tempdir().unwrap();
    let metas = folder.path().join("metas.json");
    std::fs::write(&metas, serde_json::to_vec(&sim.school().metas()).unwrap()).unwrap();
    let import = ["meta", "import", metas.to_str().unwrap()];
    Telelake::new(&import).lake(&lake).run().await.expect(0);
    export(&["--force"]).await;
    let school = sim.school();
    let told = run_readers(&lake, &expected_rows(&school, sim.options().dates.len())).await;
    let tables = told["tables"].as_object().unwrap();
    let read: BTreeSet<&str> = tables.keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = builtin::all().iter().map(|table| table.name.as_ref()).collect();
    assert_eq!(read, known, "tests/readers.py does not read all tables");
    let readers = ["clickhouse", "duckdb", "pandas", "polars", "pyarrow", "spark"];
    // Spark has no file system for S3 of its own.
    let readers = &readers[..readers.len() - usize::from(matches!(lake, Lake::S3 { .. }))];
    for (table, views) in tables {
        assert_ne!(views["duckdb"]["rows"], 0, "{table} has no rows");
        let read_by = views.as_object().unwrap().keys().map(String::as_str);
        assert!(read_by.eq(readers.iter().copied()), "{table}: {views}");
        let has_date = !["rooms", "spaces"].contains(&table.as_str());
        assert_eq!(views["duckdb"]["columns"]["date"] == "date", has_date, "{table}");
    }
    let queries = told["queries"].as_array().unwrap();
    assert_eq!(queries.len(), 3);
    let people = queries[0].as_array().unwrap().iter();
    let people: Vec<_> = people
        .map(|call| call["people"].as_str().unwrap().parse::<u64>().unwrap())
        .collect();
    let expected: Vec<_> = school
        .calls
        .iter()
        .map(|call| attendees(call, &without_roles))
        .collect();
    assert_eq!(
        people.len(),
        expected.iter().filter(|people| **people > 0).count()
    );
    assert_eq!(people.iter().sum::<u64>(), expected.iter().sum::<usize>() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_readers_read_the_folder_alike() {
    read(Lake::folder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_readers_read_s3_alike() {
    read(Lake::s3().await).await;
}
