//! The lake in the hands of those who read it: DuckDB, Polars and pyarrow, from the folder and from S3.

use std::path::Path;
use std::process::Command;

use telelake::simulator::Simulator;

use crate::export::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

async fn read(lake: Lake) {
    let sim = Simulator::start(small()).await.unwrap();
    Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(0);
    let school = sim.school();
    let sum = |of: fn(&telelake::simulator::Call) -> usize| school.calls.iter().map(of).sum::<usize>();
    let expected = serde_json::json!({
        "calls": school.calls.len(),
        "participants": sum(|call| call.participants.len()),
        "messages": sum(|call| call.messages.len()),
        "reactions": sum(|call| call.reactions.len()),
        "poll_votes": sum(|call| call.polls.iter().map(|poll| poll.votes.len()).sum()),
        "report_rows": sum(|call| {
            let stays: usize = call.participants.iter().map(|person| person.sessions.len()).sum();
            stays + call.messages.len()
        }),
        "recordings": school.records.len(),
        "rooms": school.rooms.len(),
        "spaces": school.spaces.len(),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("expected.json");
    std::fs::write(&file, expected.to_string()).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".tools/venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: run `make tools`",
        python.display()
    );
    let mut command = Command::new(python);
    command
        .arg(root.join("tests/readers.py"))
        .args(["--lake", &lake.url(), "--timezone", "UTC", "--expect"])
        .arg(&file);
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
}

#[tokio::test(flavor = "multi_thread")]
async fn all_readers_read_the_folder_alike() {
    read(Lake::folder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_readers_read_s3_alike() {
    read(Lake::s3().await).await;
}
