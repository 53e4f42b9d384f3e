//! Lesson data of the LMS in the lake: files, feeds, the join with calls, and changes.

mod feeds;
mod files;
mod join;
mod late;
mod midnight;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use telelake::simulator::Simulator;

use crate::support::lake::{Lake, Row};
use crate::support::program::Telelake;

/// The columns that the join fills.
pub(super) const PARTICIPANT: [&str; 10] = [
    "call_id",
    "participant_id",
    "external_user_id",
    "meta_matched",
    "user_role",
    "lesson_scheduled_start_at",
    "student_group_id",
    "lesson_course_name",
    "attributes",
    "late_s",
];

pub(super) const ATTENDANCE: [&str; 12] = [
    "space_id",
    "external_meeting_id",
    "external_user_id",
    "meta_matched",
    "attended",
    "call_ids",
    "first_joined_at",
    "last_left_at",
    "duration_s",
    "attended_share",
    "late_s",
    "left_early_s",
];

pub(super) const LEVELS: [&str; 7] = [
    "external_user_id",
    "external_meeting_id",
    "level",
    "parent_level",
    "depth",
    "entity_id",
    "entity_name",
];

pub(super) const METAS: [&str; 4] = ["external_user_id", "external_meeting_id", "user_fullname", "meta"];

pub(crate) fn write(folder: &Path, name: &str, metas: &[Value]) -> String {
    let path = folder.join(name);
    let lines: String = metas.iter().map(|meta| format!("{meta}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    path.display().to_string()
}

/// The lesson data of the school with a third level, and with an absent user for each meeting.
pub(super) fn metas(sim: &Simulator) -> Vec<Value> {
    let mut metas = sim.school().metas();
    let mut absent: BTreeMap<String, Value> = BTreeMap::new();
    for meta in &mut metas {
        meta["meta"]["lesson_course"]["program"] =
            json!({"program_id": "p1", "program_name": "Программа", "city": "Казань"});
        let meeting = meta["externalMeetingId"].as_str().unwrap().to_owned();
        let mut other = meta.clone();
        other["externalUserId"] = "absent".into();
        other["meta"]["user_role"] = "curator".into();
        absent.insert(meeting, other);
    }
    metas.extend(absent.into_values());
    metas
}

pub(crate) async fn import(lake: &Lake, file: &str) -> Value {
    Telelake::new(&["--log-format", "json", "meta", "import", file])
        .lake(lake)
        .run()
        .await
        .expect(0)
        .summary()
}

pub(super) async fn tables(lake: &Lake) -> Vec<Vec<Row>> {
    let mut tables = Vec::new();
    for (table, columns) in [
        ("participants", PARTICIPANT.as_slice()),
        ("lesson_attendance", &ATTENDANCE),
        ("hierarchy", &LEVELS),
        ("user_meta", &METAS),
    ] {
        let mut rows = lake.rows(table, columns).await;
        rows.sort();
        tables.push(rows);
    }
    tables
}
