//! The messages of whole sessions.

use chrono::{NaiveDate, Utc};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use super::context::tests::encode;
use super::*;
use crate::ErrorKind;
use crate::lake::key;
use crate::pipeline::{Command, Job, Outcome};
use crate::store::json::to_json;
use crate::store::{Condition, folder::FolderStore};

const DATE: &str = "2026-11-22";
const RAW: &str = "raw/c1.json";

/// A file for the messages of a session over one asset and one partition.
struct Step {
    file: NamedTempFile,
    session: Session,
}

impl Step {
    fn new(context: &Value) -> Self {
        let file = NamedTempFile::new().expect("a file");
        let messages = encode(&json!({ "path": file.path().display().to_string() }));
        let context = encode(&json!({ "data": context }));
        let session = Session::of(Some(&context), Some(&messages)).expect("a session");
        Self { file, session }
    }

    fn of_day() -> Self {
        let key = format!("{DATE}|s1");
        Self::new(&json!({ "asset_keys": ["telelake/day"], "partition_key": key, "extras": {} }))
    }

    /// Closes the session and gives its messages as (method, params).
    fn close(self, outcome: &Result<u8, Error>) -> Vec<(String, Value)> {
        self.session.close(outcome);
        let text = std::fs::read_to_string(self.file.path()).expect("read");
        let messages = text.lines().map(|line| {
            let mut message: Value = serde_json::from_str(line).expect("JSON");
            let method = message["method"].as_str().expect("a method").to_owned();
            (method, message["params"].take())
        });
        messages.collect()
    }
}

fn params<'m>(messages: &'m [(String, Value)], method: &str) -> Vec<&'m Value> {
    let of_method = messages.iter().filter(|(name, _)| name == method);
    of_method.map(|(_, params)| params).collect()
}

/// A lake with one day in each of two spaces. Each has a call whose report has this status, and a table.
async fn lake(status: &str) -> (TempDir, FolderStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("a store");
    for space in ["s1", "s2"] {
        let landed = json!({ "key": RAW, "bytes": 9, "sha256": "", "landed_at": "2026-11-23T00:00:00Z", "usable": true });
        let report = match status {
            "done" => json!({ "status": status, "landed": landed }),
            _ => json!({ "status": status, "reason": "503" }),
        };
        let manifest = json!({
            "version": 1, "date": DATE, "space_id": space, "space_name": "School of Anna", "listed": true,
            "rooms": { "r1": { "name": "Room of Anna", "alias": null, "type": "lesson" } },
            "calls": { "c1": {
                "room_id": "r1", "started_at": "2026-11-22T09:00:00Z", "finished_at": "2026-11-22T10:00:00Z",
                "call": { "participantsCount": 4 }, "reports": { "json": report },
            } },
            "records": {},
            "built": {
                "fingerprint": "f", "built_at": "2026-11-23T00:00:00Z",
                "tables": { "calls": { "key": "calls/x.parquet", "rows": 1, "bytes": 24, "sha256": "" },
                            "participants": { "key": "participants/x.parquet", "rows": 4, "bytes": 24, "sha256": "" } },
                "unreported": if status == "done" { json!({}) } else {
                    json!({ "c1": { "room_id": "r1", "started_at": null, "finished_at": null } })
                },
            },
        });
        let key = key::manifest(DATE.parse().expect("a date"), &space.into());
        let bytes = to_json(&manifest).expect("JSON");
        store.put(&key, bytes, Condition::Any).await.expect("written");
    }
    (folder, store)
}

fn summary(outcome: Outcome, exit_status: u8) -> Summary {
    let date: NaiveDate = DATE.parse().expect("a date");
    let job = Job::over(Command::Backfill, date, date);
    let mut summary = Summary::new(&job, chrono_tz::Tz::UTC, Utc::now());
    (summary.outcome, summary.exit_status) = (outcome, exit_status);
    summary
}

#[tokio::test]
async fn a_run_reports_its_day_as_a_materialization_with_checks() {
    let (step, (_folder, store)) = (Step::of_day(), lake("done").await);
    let run = summary(Outcome::Done, 0);
    step.session.report_run(&store, (&run, 0), &["s1".into()]).await;
    let messages = step.close(&Ok(0));
    let methods: Vec<_> = messages.iter().map(|(method, _)| method.as_str()).collect();
    let expected = [
        "opened",
        "log",
        "report_asset_materialization",
        "report_asset_check",
        "report_asset_check",
        "closed",
    ];
    assert_eq!(methods, expected);
    assert_eq!(
        (&messages[0].1, &messages[5].1),
        (&json!({ "extras": {} }), &json!({}))
    );
    let day = &messages[2].1;
    assert_eq!(day["asset_key"], "telelake/day");
    assert_eq!(day["data_version"].as_str().map(str::len), Some(64));
    let metadata = &day["metadata"];
    for (name, kind, value) in [
        ("days", "int", json!(1)),
        ("calls", "int", json!(1)),
        ("reports", "int", json!(1)),
        ("recorded_bytes", "int", json!(0)),
        ("rows", "int", json!(5)),
        ("rows_by_table", "json", json!({ "calls": 1, "participants": 4 })),
        ("dagster/partition_row_count", "int", json!(5)),
        ("run_id", "text", json!(run.id)),
        (
            "summary",
            "path",
            json!(format!("{}/{}", store.url(), key::run(&run.id))),
        ),
    ] {
        assert_eq!(
            metadata[name],
            json!({ "type": kind, "raw_value": value }),
            "{name}"
        );
    }
    for check in params(&messages, "report_asset_check") {
        assert_eq!(check["passed"], true, "{check}");
    }
    let text = format!("{messages:?}");
    assert!(!text.contains("Anna"), "names are no business of Dagster: {text}");
}

#[tokio::test]
async fn a_failed_report_fails_the_checks_and_nothing_is_materialized() {
    let (step, (_folder, store)) = (Step::of_day(), lake("failed").await);
    let mut run = summary(Outcome::Partial, 3);
    run.cause = Some("1 × report_failed".into());
    step.session.report_run(&store, (&run, 3), &["s1".into()]).await;
    let messages = step.close(&Ok(3));
    assert!(params(&messages, "report_asset_materialization").is_empty());
    let checks = params(&messages, "report_asset_check");
    let told: Vec<_> = checks
        .iter()
        .map(|check| (&check["check_name"], &check["passed"], &check["severity"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("complete"), &json!(false), &json!("ERROR")),
            (&json!("attendance_known"), &json!(false), &json!("WARN")),
        ]
    );
    assert_eq!(checks[0]["metadata"]["reason"]["raw_value"], "503");
    assert_eq!(checks[1]["metadata"]["calls_without_report"]["raw_value"], 1);
    let closed = params(&messages, "closed")[0];
    assert_eq!(
        closed["exception"],
        json!({ "name": "Partial", "message": "1 × report_failed", "stack": [], "cause": null, "context": null })
    );
}

#[tokio::test]
async fn a_report_that_is_only_late_is_a_warning() {
    let (step, (_folder, store)) = (Step::of_day(), lake("pending").await);
    let run = summary(Outcome::Done, 0);
    step.session.report_run(&store, (&run, 0), &[]).await;
    let messages = step.close(&Ok(0));
    let complete = params(&messages, "report_asset_check")[0];
    assert_eq!(
        (&complete["passed"], &complete["severity"]),
        (&json!(false), &json!("WARN"))
    );
    let day = params(&messages, "report_asset_materialization")[0];
    assert_eq!(day["metadata"]["days"]["raw_value"], 2, "both spaces");
}

#[tokio::test]
async fn a_skipped_run_is_not_materialized_and_closes_without_an_exception() {
    let (step, (_folder, store)) = (Step::of_day(), lake("done").await);
    let run = summary(Outcome::Done, 0);
    step.session.report_run(&store, (&run, 3), &[]).await;
    let messages = step.close(&Ok(3));
    assert!(params(&messages, "report_asset_materialization").is_empty());
    assert_eq!(params(&messages, "closed"), [&json!({})]);
}

#[test]
fn an_error_is_the_exception_that_closes_the_session() {
    let error = Error::new(ErrorKind::StoreUnavailable, "s3://lake", "does not answer").hint("check it");
    let messages = Step::of_day().close(&Err(error));
    let exception = &params(&messages, "closed")[0]["exception"];
    assert_eq!(exception["name"], "Nothing");
    let message = exception["message"].as_str().expect("a message");
    assert!(
        message.contains("s3://lake") && message.contains("check it"),
        "{message}"
    );
}

#[test]
fn a_verification_is_the_check_whole_of_the_asset_that_extras_name() {
    let step = Step::new(&json!({ "asset_keys": [], "extras": { "asset_key": "telelake/day" } }));
    step.session
        .report_verification(&Verified::default(), ExitStatus::Done);
    let messages = step.close(&Ok(0));
    let check = params(&messages, "report_asset_check")[0];
    assert_eq!(
        (&check["asset_key"], &check["check_name"], &check["passed"]),
        (&json!("telelake/day"), &json!("whole"), &json!(true))
    );
}
