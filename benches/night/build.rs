//! Building of tables: the speed of one core, and the speed and memory of a rebuild of many days.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use telelake::config::ReportFormat;
use telelake::ids::CallId;
use telelake::lake::key;
use telelake::lake::manifest::{CallEntry, Landed, Landing, Manifest, RoomEntry, Status};
use telelake::tables::lessons::LessonIndex;
use telelake::tables::{Mapping, build_day};

use crate::child::Program;
use crate::report::{against_goal, figure, mebibytes, seconds, speed, title};
use crate::support::lake::Lake;

/// The contents of a report of about 100 KB.
const PARTICIPANTS: usize = 20;
const MESSAGES: usize = 360;
const REACTIONS: usize = 160;
const VOTES: usize = 60;
/// The placeholder of the meeting in the report that is the template of all.
const MEETING: &str = "the-meeting";
/// The lake of 5,000 calls that is built again.
const DAYS: u64 = 25;
const CALLS: usize = 200;
/// Of the pure build on one core, and of a rebuild with its lesson data, in bytes of JSON a second.
const GOAL_ALONE: f64 = 100e6;
const GOAL: f64 = 150e6;
const MOST_MEMORY: u64 = 300 << 20;

/// Measures the pure build on this thread.
pub fn measure() {
    let (manifest, reports) = day(start(), 1_000);
    let mapping = Mapping::builtin().unwrap();
    let bytes: usize = reports.values().map(Bytes::len).sum();
    let reports = reports
        .into_iter()
        .map(|(id, report)| Ok((id, ReportFormat::Json, report)));
    let began = Instant::now();
    let built = build_day(
        &manifest,
        &mapping,
        "file:///lake",
        start(),
        &LessonIndex::default(),
        reports,
    )
    .unwrap();
    let time = began.elapsed();
    let rows: u64 = built.tables.iter().map(|file| file.rows).sum();
    let reached = bytes as f64 / time.as_secs_f64();
    title(
        "building",
        "one day of 1,000 calls, on one core, nothing read or written",
    );
    figure("bytes of JSON", bytes.to_string());
    figure("rows", rows.to_string());
    figure("measured", seconds(time));
    against_goal("JSON", speed(reached), "≥ 100 MB/s", reached >= GOAL_ALONE);
}

/// Measures `rebuild` of a folder by a process of its own, with all cores and with lesson data of every participant.
pub async fn measure_rebuild() {
    let lake = Lake::folder();
    let Lake::Folder(folder) = &lake else {
        unreachable!("a folder")
    };
    let put = |key: &str, bytes: &[u8]| {
        let path = folder.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let info = json!({"version": 1, "timezone": "UTC", "conditional_writes": true, "probed_at": start()});
    put(key::STORE_INFO, info.to_string().as_bytes());
    let mut bytes = 0;
    for number in 0..DAYS {
        let (manifest, reports) = day(start() + Days::new(number), CALLS);
        for (call, report) in &reports {
            let landing = &manifest.calls[call].reports[&ReportFormat::Json];
            put(&landing.landed.as_ref().unwrap().key, report);
            bytes += report.len();
        }
        let key = key::manifest(manifest.date, &manifest.space_id);
        put(&key, &serde_json::to_vec(&manifest).unwrap());
    }
    let lessons = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(lessons.path(), lesson_data()).unwrap();
    let import = ["meta", "import", lessons.path().to_str().unwrap()];
    Program::telelake(&lake, &import).run().await;
    let (from, to) = (start().date_naive(), start().date_naive() + Days::new(DAYS));
    let (from, to) = (from.to_string(), to.to_string());
    let run = Program::telelake(&lake, &["rebuild", "--from", &from, "--to", &to]);
    let run = run.run().await;
    assert_eq!(
        (run.count("days_built"), run.count("calls")),
        (DAYS, DAYS * CALLS as u64)
    );
    title(
        "rebuild",
        "5,000 calls with 20 participants each, from and into a folder, with 100,000 entries of lesson data",
    );
    figure("bytes of JSON", bytes.to_string());
    figure("wall", seconds(run.wall));
    figure("CPU", seconds(run.cpu));
    figure("JSON, all cores", speed(bytes as f64 / run.wall.as_secs_f64()));
    let of_core = bytes as f64 / run.cpu.as_secs_f64();
    against_goal(
        "JSON, a core's second",
        speed(of_core),
        "≥ 150 MB/s",
        of_core >= GOAL,
    );
    against_goal(
        "peak memory",
        mebibytes(run.peak_memory),
        "< 300 MiB",
        run.peak_memory < MOST_MEMORY,
    );
}

/// Lesson data of every participant of every call, as JSON Lines.
fn lesson_data() -> String {
    let days = (0..DAYS).map(|number| start() + Days::new(number));
    let meetings = days.flat_map(|day| (0..CALLS).map(move |number| (day, number)));
    let entries = meetings.flat_map(|(day, number)| (0..PARTICIPANTS).map(move |n| lesson(day, number, n)));
    entries.map(|entry| format!("{entry}\n")).collect()
}

fn lesson(day: DateTime<Utc>, meeting: usize, participant: usize) -> Value {
    let at = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M").to_string();
    json!({
        "externalUserId": format!("u-{participant}"),
        "externalMeetingId": meeting_id(day.date_naive(), meeting),
        "meta": {
            "lesson_scheduled_start_dt": at(day),
            "lesson_scheduled_end_dt": at(day + TimeDelta::hours(1)),
            "lesson_name": format!("Урок {meeting}"),
            "user_fullname": format!("Участник Номер {participant}"),
            "user_role": if participant == 0 { "teacher" } else { "student" },
            "student_group": {"student_group_id": format!("{meeting:08x}"), "student_group_name": format!("Группа {meeting}")},
            "lesson_course": {"lesson_course_id": "7", "lesson_course_name": "Математика"},
        },
    })
}

fn meeting_id(date: NaiveDate, number: usize) -> String {
    format!("{date}-{number}")
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_763_805_600, 0).unwrap()
}

/// A day whose calls are landed and not built, and their reports, each with a meeting of its own.
fn day(start: DateTime<Utc>, calls: usize) -> (Manifest, BTreeMap<CallId, Bytes>) {
    let mut day = Manifest::new(start.date_naive(), "60d55c0eb9ef88ab17b0aabb");
    day.rooms.insert("room".into(), RoomEntry::default());
    let (template, mut reports) = (report(start).to_string(), BTreeMap::new());
    for number in 0..calls {
        let id = format!("call{number:05}");
        let report = Bytes::from(template.replace(MEETING, &meeting_id(day.date, number)));
        let landing = Landing {
            status: Status::Done,
            reason: None,
            attempts: 0,
            landed: Some(Landed {
                key: key::report(day.date, &day.space_id, &id.as_str().into(), ReportFormat::Json),
                bytes: report.len() as u64,
                sha256: hex::encode(Sha256::digest(&report)),
                landed_at: start,
                usable: true,
                participants: None,
                shortfall: None,
                of: None,
                put_aside: false,
                erased: Default::default(),
                deleted_at: None,
            }),
        };
        let call = CallEntry {
            room_id: "room".into(),
            started_at: Some(start),
            finished_at: Some(start + TimeDelta::hours(1)),
            participants: None,
            call: json!({}).into(),
            pending: None,
            reports: [(ReportFormat::Json, landing)].into(),
        };
        day.calls.insert(id.clone().into(), call);
        reports.insert(id.into(), report);
    }
    (day, reports)
}

/// The report of a call that began at `start`.
fn report(start: DateTime<Utc>) -> Value {
    let at = |seconds: usize| {
        let seconds = i64::try_from(seconds).unwrap_or_default();
        (start + TimeDelta::seconds(seconds)).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    };
    let id = |number: usize| format!("62b0e25e3dc082dc75{:06x}", number);
    let participants = (0..PARTICIPANTS).map(|n| {
        let sessions = (0..3).map(|s| json!({"joinedAt": at(n + s * 1000), "leftAt": at(n + s * 1000 + 900)}));
        json!({
            "id": id(n), "name": format!("Участник Номер {n}"), "role": "user", "email": format!("user{n}@example.org"),
            "phone": null, "externalUserId": format!("u-{n}"), "externalMeetingId": MEETING,
            "sessions": sessions.collect::<Value>(), "cameraSeconds": n * 10, "microphoneSeconds": n * 7,
            "screenSeconds": 0, "messagesCount": n, "reactionsCount": n, "handRaisesCount": 1, "device": "phone",
        })
    });
    let messages = (0..MESSAGES).map(|n| {
        json!({"id": id(1000 + n), "participantId": id(n % PARTICIPANTS), "sentAt": at(n * 7),
            "text": format!("Сообщение номер {n}: и ещё немного слов")})
    });
    let reactions = (0..REACTIONS)
        .map(|n| json!({"participantId": id(n % PARTICIPANTS), "type": "like", "sentAt": at(n * 11)}));
    let votes = (0..VOTES)
        .map(|n| json!({"participantId": id(n % PARTICIPANTS), "optionId": format!("o{}", n % 4), "votedAt": at(n)}));
    let options = (0..4).map(|n| json!({"id": format!("o{n}"), "text": format!("вариант {n}")}));
    json!({
        "callId": "call", "roomId": "room", "startedAt": at(0), "finishedAt": at(3600),
        "participants": participants.collect::<Value>(), "messages": messages.collect::<Value>(),
        "reactions": reactions.collect::<Value>(),
        "polls": [{"id": "q1", "question": "Понятно?", "options": options.collect::<Value>(), "votes": votes.collect::<Value>()}],
    })
}
