//! The lake for analysts: the marts of `telelake sql` in their engines, and the page of `telelake report`.

mod marts;
mod questions;
mod reading;
mod report;
mod truth;

use std::path::Path;
use std::process::Command;

use chrono::TimeDelta;
use serde_json::Value;
use telelake::simulator::{Options, Report, Simulator};

use crate::pipeline::{exported, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

/// A school with absent and late students, a hierarchy of its own, and two lessons that ran over two calls. The second
/// call of the latter of these lessons has no report yet.
pub(super) async fn school() -> Simulator {
    let sim = Simulator::start(Options {
        spaces: 2,
        participants: 8..=12,
        ..small()
    })
    .await
    .unwrap();
    sim.edit(|school| {
        school.plan_lessons_by_calls();
        // A call of another date that has no report is not known to belong to the lesson.
        let is_long = |call: &telelake::simulator::Call| {
            let (start, end) = (call.started_at, call.finished_at.unwrap());
            !call.is_breakout
                && end - start > TimeDelta::minutes(40)
                && start.date_naive() == end.date_naive()
        };
        let mut long = school.calls.iter().filter(|call| is_long(call));
        let whole = long.next().unwrap().id.clone();
        // Of a full room nobody would be unknown.
        let unsure = long.find(|call| call.participants.len() < 10).unwrap().id.clone();
        let pause = TimeDelta::minutes(3);
        school.split_call(&whole, pause).unwrap();
        let second = school.split_call(&unsure, pause).unwrap();
        school.call_mut(&second).unwrap().set_report(Report::Missing);
    });
    sim
}

/// Exports the school with its lesson data.
pub(super) async fn export(sim: &Simulator, lake: &Lake) {
    export_with(sim, lake, &sim.school().lesson_data()).await;
}

/// Exports the school with this lesson data.
pub(super) async fn export_with(sim: &Simulator, lake: &Lake, lessons: &[Value]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lessons.json");
    std::fs::write(&file, serde_json::to_vec(lessons).unwrap()).unwrap();
    let import = ["meta", "import", file.to_str().unwrap()];
    Telelake::new(&import).lake(lake).run().await.expect(0);
    exported(sim, lake, &[], 0).await;
}

/// The script of a lake.
pub(super) async fn script(lake: &Lake, dialect: &str) -> String {
    let sql = Telelake::new(&["sql", "--dialect", dialect]).lake(lake);
    sql.run().await.expect(0).stdout
}

/// Runs scripts in their engine and returns the views of each.
pub(super) async fn run(lake: &Lake, engine: &str, scripts: &[String], more: &[&str]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(root.join(".tools/venv/bin/python"));
    command.arg(root.join("tests/marts.py")).arg(engine).args(more);
    for (number, script) in scripts.iter().enumerate() {
        let file = folder.path().join(format!("{number}.sql"));
        std::fs::write(&file, script).unwrap();
        command.arg(file);
    }
    command.envs(lake.environment());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{engine}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}
