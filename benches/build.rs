//! How fast reports become tables: `cargo bench --bench build`. Prints MB of JSON a second, on one core.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use telelake::build::meta::Meta;
use telelake::build::{Mapping, build_day};
use telelake::config::ReportFormat;
use telelake::lake::manifest::{CallEntry, Landed, Landing, Manifest, RoomEntry, Status};

/// Calls of the day, and how often it is built.
const CALLS: usize = 1_000;
const TIMES: usize = 3;
/// What a report holds: about 100 KB.
const PARTICIPANTS: usize = 20;
const MESSAGES: usize = 450;
const REACTIONS: usize = 200;
const VOTES: usize = 60;

fn main() {
    // Cargo passes arguments of its own; there is nothing to choose.
    let (manifest, report) = day();
    let mapping = Mapping::builtin().expect("the built-in mapping");
    let bytes = report.len() * CALLS;
    for _ in 0..TIMES {
        let reports = manifest
            .calls_in_order()
            .into_iter()
            .map(|id| Ok((id.to_owned(), ReportFormat::Json, report.clone())));
        let began = Instant::now();
        let built = build_day(
            &manifest,
            &mapping,
            "file:///lake",
            start(),
            &Meta::default(),
            reports,
        )
        .expect("a day");
        let seconds = began.elapsed().as_secs_f64();
        let rows: u64 = built.tables.iter().map(|file| file.rows).sum();
        #[allow(clippy::cast_precision_loss)]
        let speed = bytes as f64 / 1e6 / seconds;
        println!(
            "build_day: {CALLS} reports of {} KB, {rows} rows, {seconds:.2} s, {speed:.0} MB/s",
            report.len() / 1000
        );
    }
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_341_600, 0).expect("an instant")
}

fn at(seconds: usize) -> String {
    let seconds = i64::try_from(seconds).unwrap_or_default();
    (start() + TimeDelta::seconds(seconds)).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn day() -> (Manifest, Bytes) {
    let mut day = Manifest::new(start().date_naive(), "60d55c0eb9ef88ab17b0aabb");
    day.rooms.insert("room".into(), RoomEntry::default());
    let report = Bytes::from(report().to_string());
    for number in 0..CALLS {
        let landing = Landing {
            status: Status::Done,
            reason: None,
            attempts: 0,
            landed: Some(Landed {
                key: format!("raw/{number}.json"),
                bytes: report.len() as u64,
                sha256: String::new(),
                landed_at: start(),
                usable: true,
                participants: None,
                of: None,
            }),
        };
        let call = CallEntry {
            room_id: "room".into(),
            started_at: Some(start()),
            finished_at: Some(start() + TimeDelta::hours(1)),
            participants: None,
            call: json!({}),
            pending: None,
            reports: BTreeMap::from([(ReportFormat::Json, landing)]),
        };
        day.calls.insert(format!("call{number:05}"), call);
    }
    (day, report)
}

fn report() -> Value {
    let id = |number: usize| format!("62b0e25e3dc082dc75{:06x}", number);
    let participants = (0..PARTICIPANTS).map(|n| {
        let sessions = (0..3).map(|s| json!({"joinedAt": at(n + s * 1000), "leftAt": at(n + s * 1000 + 900)}));
        json!({
            "id": id(n), "name": format!("Участник Номер {n}"), "role": "user", "email": format!("user{n}@example.org"),
            "phone": null, "externalUserId": format!("u-{n}"), "externalMeetingId": "m-1",
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
