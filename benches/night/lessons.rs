//! Feeds of lesson data, and the import of a large file.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use telelake::simulator::Simulator;

use crate::child::Program;
use crate::report::{against_goal, figure, mebibytes, seconds, title};
use crate::support::lake::Lake;

const ENTRIES: usize = 100_000;
const MOST_CPU: Duration = Duration::from_secs(2);
const MEETINGS_OF_A_DAY: usize = 250;
const USERS_OF_A_MEETING: usize = 20;

/// A folder with a file of lesson data, as an LMS leaves it: everybody who was in a meeting, and so many who were expected
/// and did not come that each meeting has at least `users`. Also returns the number of entries.
pub fn feed(sim: &Simulator, users: usize) -> (tempfile::TempDir, usize) {
    let mut meetings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for entry in sim.school().metas() {
        let meeting = entry["externalMeetingId"].as_str().unwrap().to_owned();
        meetings.entry(meeting).or_default().push(entry);
    }
    for entries in meetings.values_mut() {
        let model = entries[0].clone();
        for n in entries.len()..users {
            let mut absent = model.clone();
            absent["externalUserId"] = format!("lms-absent-{n}").into();
            absent["meta"]["user_fullname"] = format!("Ученик {n}").into();
            absent["meta"]["user_role"] = "student".into();
            entries.push(absent);
        }
    }
    let entries: Vec<_> = meetings.into_values().flatten().collect();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &entries);
    (folder, entries.len())
}

fn write(folder: &std::path::Path, entries: &[Value]) {
    let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
    std::fs::write(folder.join("lessons.jsonl"), lines).unwrap();
}

pub async fn measure() {
    let (folder, lake) = (tempfile::tempdir().unwrap(), Lake::folder());
    let entries: Vec<_> = (0..ENTRIES).map(entry).collect();
    write(folder.path(), &entries);
    let file = folder.path().join("lessons.jsonl");
    title(
        "lessons",
        "`meta import` of 100,000 entries of 20 dates into an empty folder",
    );
    let run = Program::telelake(&lake, &["meta", "import", file.to_str().unwrap()]);
    let run = run.run().await;
    figure("bytes of JSON", file.metadata().unwrap().len().to_string());
    figure("wall", seconds(run.wall));
    against_goal("CPU", seconds(run.cpu), "≤ 2 s", run.cpu <= MOST_CPU);
    figure("peak memory", mebibytes(run.peak_memory));
}

/// An entry as the vendor's guide shows it.
fn entry(number: usize) -> Value {
    let (meeting, user) = (number / USERS_OF_A_MEETING, number % USERS_OF_A_MEETING);
    let (day, group) = (1 + meeting / MEETINGS_OF_A_DAY, meeting % MEETINGS_OF_A_DAY);
    let role = if user == 0 { "teacher" } else { "student" };
    json!({
        "externalUserId": format!("lms-{}", group * USERS_OF_A_MEETING + user),
        "externalMeetingId": format!("lesson-{group}-2025-03-{day:02}"),
        "meta": {
            "lesson_scheduled_start_dt": format!("2025-03-{day:02} {:02}:00", 8 + group % 10),
            "lesson_scheduled_end_dt": format!("2025-03-{day:02} {:02}:45", 8 + group % 10),
            "lesson_name": format!("Урок {group}: квадратные уравнения"),
            "user_fullname": format!("Ученик Номер {user}"),
            "user_role": role,
            "student_group": {"student_group_id": format!("{group:08x}"), "student_group_name": format!("Группа {group}")},
            "lesson_course": {"lesson_course_id": format!("{:08x}", group % 7), "lesson_course_name": "Математика"},
        },
    })
}
