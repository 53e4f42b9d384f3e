//! delta-rs, DuckDB, Polars and ClickHouse read the same rows from the Delta tables as from the plain tables.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use chrono::TimeDelta;
use serde_json::Value;
use telelake::lake::table::builtin;
use telelake::simulator::{Options, Simulator};

use crate::pipeline::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

/// A mapping that fills a column from another field and has a table of its own.
const MAPPING: &str = "version = 1\n[table.participants]\ncolumns.name = { from = 'email', replace = true }\n\
    [table.visits]\nrows = 'participants[].sessions[]'\n\
    columns.who = { from = '^.id', type = 'string' }\n\
    columns.joined_at = { from = 'joinedAt', type = 'timestamp' }\n";

fn school() -> Options {
    Options {
        spaces: 2,
        rooms: 3,
        empty_rooms: 0.0,
        ..small()
    }
}

/// A lake and its school, and the age from which the files of a date are joined.
struct DeltaLake {
    sim: Simulator,
    lake: Lake,
    compact_after: &'static str,
    mapping: tempfile::NamedTempFile,
}

impl DeltaLake {
    async fn new(lake: Lake) -> Self {
        let mapping = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(mapping.path(), "version = 1\n").unwrap();
        Self {
            sim: Simulator::start(school()).await.unwrap(),
            lake,
            compact_after: "100years",
            mapping,
        }
    }

    async fn command(&self, args: &[&str]) -> Finished {
        Telelake::against(&self.sim, &self.lake, args)
            .env("TELELAKE_DELTA__ENABLED", "true")
            .env("TELELAKE_DELTA__COMPACT_AFTER", self.compact_after)
            .env("TELELAKE_EXPORT__MAPPING", self.mapping.path().to_str().unwrap())
            .run()
            .await
            .expect(0)
    }

    async fn export(&self) {
        let range = range(&self.sim);
        self.command(&backfill(&range, &[])).await;
    }

    async fn import(&self, lesson_name: &str) {
        let mut metas = self.sim.school().metas();
        metas
            .iter_mut()
            .for_each(|meta| meta["meta"]["lesson_name"] = lesson_name.into());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), serde_json::to_vec(&metas).unwrap()).unwrap();
        self.command(&["meta", "import", file.path().to_str().unwrap()])
            .await;
    }

    async fn rebuild(&self) {
        let range = range(&self.sim);
        let mut args = vec!["rebuild"];
        args.extend(range.iter().map(String::as_str));
        self.command(&args).await;
    }

    /// Asserts that all readers agree, and returns the version, files and rows of each table.
    async fn read(&self, more: &[&str]) -> Value {
        let tables = builtin::all().iter().map(|table| table.name.as_ref());
        let tables: Vec<&str> = tables.chain(more.iter().copied()).collect();
        self.read_tables(&tables).await
    }

    /// Reads some tables as [`DeltaLake::read`] does.
    async fn read_tables(&self, tables: &[&str]) -> Value {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(root.join(".tools/venv/bin/python"));
        command.arg(root.join("tests/delta.py")).args([
            "--lake",
            &self.lake.url(),
            "--tables",
            &tables.join(","),
        ]);
        for (name, value) in self.lake.environment() {
            command.env(name, &value);
            if name == "TELELAKE_STORE__S3__ENDPOINT_URL" {
                command.args(["--s3-endpoint", &value]);
            }
        }
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        let shown = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{shown}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn count(told: &Value, table: &str, what: &str) -> u64 {
    told[table][what].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_readers_agree_after_every_kind_of_change() {
    let delta = DeltaLake::new(Lake::folder()).await;
    let truth = delta.sim.edit(|school| {
        let call = &mut school.calls[0];
        let truth = (call.started_at, call.finished_at);
        call.started_at += TimeDelta::days(1);
        call.finished_at = call.finished_at.map(|at| at + TimeDelta::days(1));
        truth
    });
    delta.export().await;
    let first = delta.read(&[]).await;
    let school = delta.sim.school();
    assert_eq!(count(&first, "calls", "rows"), school.calls.len() as u64);
    assert_eq!(
        (count(&first, "calls", "version"), count(&first, "calls", "files")),
        (2, 6)
    );
    assert_eq!(first["calls"]["partitions"], serde_json::json!(["date"]));
    assert_eq!(first["user_meta"]["rows"], 0, "an empty table can be read");
    assert_links(&delta.lake);

    delta.import("Late").await;
    delta.export().await;
    let late = delta.read(&[]).await;
    assert!(count(&late, "user_meta", "rows") > 0);
    let attendance = |told: &Value| count(told, "lesson_attendance", "version");
    assert!(attendance(&late) > attendance(&first));

    delta.sim.edit(|school| {
        let call = &mut school.calls[0];
        (call.started_at, call.finished_at) = truth;
    });
    delta.export().await;
    let moved = delta.read(&[]).await;
    assert!(count(&moved, "calls", "version") > count(&late, "calls", "version"));
    assert_eq!(count(&moved, "calls", "rows"), school.calls.len() as u64);

    std::fs::write(delta.mapping.path(), MAPPING).unwrap();
    delta.rebuild().await;
    let mapped = delta.read(&["visits"]).await;
    assert!(count(&mapped, "visits", "rows") > 0);
    assert!(count(&mapped, "participants", "version") > count(&moved, "participants", "version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delta_table_of_a_table_that_the_mapping_drops_loses_its_rows_with_the_plain_table() {
    let delta = DeltaLake::new(Lake::folder()).await;
    std::fs::write(delta.mapping.path(), MAPPING).unwrap();
    delta.export().await;
    let before = delta.read_tables(&["visits"]).await;
    assert!(count(&before, "visits", "rows") > 0);

    // As long as no day is built again, both tables stay as they are.
    std::fs::write(delta.mapping.path(), "version = 1\n").unwrap();
    let shown = delta.command(&["delta"]).await.stdout;
    assert!(shown.contains("\nvisits "), "a table with rows is shown: {shown}");
    assert_eq!(delta.read_tables(&["visits"]).await, before);

    let dates = &delta.sim.options().dates;
    let (first, last) = (dates[0].to_string(), dates[dates.len() - 1].to_string());
    delta
        .command(&["rebuild", "--from", &first, "--to", &first])
        .await;
    let one_day = delta.read_tables(&["visits"]).await;
    let rows = |told: &Value| count(told, "visits", "rows");
    assert!(rows(&one_day) < rows(&before) && rows(&one_day) > 0, "{one_day}");

    delta.command(&["rebuild", "--from", &first, "--to", &last]).await;
    let gone = delta.read_tables(&["visits"]).await;
    let version = |told: &Value| count(told, "visits", "version");
    assert_eq!((rows(&gone), version(&gone)), (0, version(&before) + 2));
    let plain = delta.lake.keys().await;
    assert!(!plain.keys().any(|key| key.starts_with("visits/")));
    let shown = delta.command(&["delta"]).await.stdout;
    assert!(!shown.contains("visits"), "{shown}");
    assert_eq!(
        delta.read_tables(&["visits"]).await,
        gone,
        "the same state makes no commit"
    );
    delta.command(&["verify"]).await;

    std::fs::write(delta.mapping.path(), MAPPING).unwrap();
    delta.rebuild().await;
    assert_eq!(
        rows(&delta.read_tables(&["visits"]).await),
        rows(&before),
        "the table is back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_readers_agree_after_compaction_and_vacuum_and_when_all_is_made_anew() {
    let mut delta = DeltaLake::new(Lake::folder()).await;
    delta.export().await;
    let first = delta.read(&[]).await;
    assert_eq!(count(&first, "calls", "files"), 6);
    delta.compact_after = "7days";
    delta.command(&["delta"]).await;
    let compacted = delta.read(&[]).await;
    assert_eq!(
        count(&compacted, "calls", "files"),
        3,
        "the files of both spaces are one"
    );
    delta.import("Later").await;
    delta.export().await;
    let later = delta.read(&[]).await;
    assert_eq!(count(&later, "participants", "files"), 3);

    delta.command(&["delta", "--vacuum"]).await;
    assert_eq!(delta.read(&[]).await, later);
    delta.command(&["verify", "--deep"]).await;

    let Lake::Folder(folder) = &delta.lake else {
        unreachable!()
    };
    std::fs::remove_dir_all(folder.path().join("delta")).unwrap();
    delta.command(&["delta"]).await;
    let anew = delta.read(&[]).await;
    assert_eq!(
        count(&anew, "participants", "rows"),
        count(&later, "participants", "rows")
    );
}

/// Asserts that data files of a folder take no space of their own.
fn assert_links(lake: &Lake) {
    let Lake::Folder(folder) = lake else {
        unreachable!()
    };
    let mut files = 0;
    for date in std::fs::read_dir(folder.path().join("delta/calls")).unwrap() {
        let date = date.unwrap();
        if !date.file_name().to_string_lossy().starts_with("date=") {
            continue;
        }
        for file in std::fs::read_dir(date.path()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().nlink(), 2, "{:?}", file.path());
            files += 1;
        }
    }
    assert_eq!(files, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_readers_agree_on_s3_also_from_a_checkpoint() {
    let mut delta = DeltaLake::new(Lake::s3().await).await;
    delta.export().await;
    delta.read(&[]).await;
    delta.compact_after = "7days";
    // Enough changes for a checkpoint.
    for name in ["Late", "Later", "Last"] {
        delta.import(name).await;
        delta.export().await;
    }
    let told = delta.read(&[]).await;
    assert!(count(&told, "participants", "version") >= 10, "{told}");
    let keys = delta.lake.keys().await;
    assert!(keys.contains_key("delta/participants/_delta_log/_last_checkpoint"));
    // Readers need no commit before the checkpoint.
    delta
        .lake
        .remove("delta/participants/_delta_log/00000000000000000000.json")
        .await;
    assert_eq!(delta.read(&[]).await, told);
}
