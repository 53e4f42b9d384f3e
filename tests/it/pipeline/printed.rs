//! Foreign texts in output: nothing controls a terminal or shows as another text, no error text of the API is
//! stored, and no date is outside of the years of the lake.

use serde_json::json;
use telelake::simulator::{Endpoint, Failure, Matcher, Options, Simulator};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

/// A name with a line break, colours, reversed text and hidden text.
const NAME: &str = "Урок\n2\u{1b}[31m\u{202e}gpj.\u{200b}\u{85}\u{2066}x\u{7f}";

fn assert_printable(command: &str, text: &str) {
    let steers = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if let Some(at) = text.find(steers) {
        let from = text.floor_char_boundary(at.saturating_sub(80));
        panic!(
            "{command} prints {:?}",
            &text[from..text.ceil_char_boundary(at + 20)]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_prints_control_sequences() {
    let lake = Lake::folder();
    let sim = Simulator::start(Options {
        recording_size: 4096,
        ..small()
    })
    .await
    .unwrap();
    sim.edit(|school| {
        school.spaces[0].name = NAME.into();
        for room in &mut school.rooms {
            room.name = format!("{} {NAME}", room.name);
        }
        for call in &mut school.calls {
            call.plan_alias = NAME.into();
        }
    });
    sim.faults().order(
        Matcher::endpoint(Endpoint::Report).every(5),
        Failure::Message(403, NAME.into()),
    );
    let dates = range(&sim);
    let over = |command: &'static str| vec![command, &dates[0], &dates[1], &dates[2], &dates[3]];
    let mut said = Vec::new();
    let stray = format!("calls/date=2025-03-10/{}.parquet", NAME.replace('\n', ""));
    for (command, more) in [
        (over("backfill"), &[][..]),
        (over("backfill"), &["--dry-run", "--force"]),
        (over("rebuild"), &[]),
        (vec!["status"], &[]),
        (vec!["status", "--json"], &[]),
        (vec!["verify"], &[]),
        (vec!["verify", "--json"], &[]),
        (vec!["verify", "--repair"], &[]),
        (vec!["check"], &[]),
    ] {
        if command[0] == "verify" {
            lake.put(&stray, "x").await;
        }
        for format in ["text", "json"] {
            let args = [&["--log-format", format, "-vv"], &command[..], more].concat();
            let done = Telelake::against(&sim, &lake, &args).run().await;
            said.push((args.join(" "), done));
        }
    }
    let named = |done: &Finished| done.stdout.contains("\\u{202e}") || done.stdout.contains("\\u202e");
    for (command, done) in &said {
        assert_printable(command, &done.stdout);
        assert_printable(command, &done.stderr);
        // The name is printed.
        if command.contains("status") || command.contains("verify") {
            assert!(named(done), "{command}: {}", done.stdout);
        }
    }
}

/// An error message with data of a person and with a secret.
const SAID: &str = "Анна Секретова (secret@school.example) has no access: \
    eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzM2NyZXQifQ.c2lnbmF0dXJl Basic c2VjcmV0OnNlY3JldA== password=s3cret-word \
    https://h.example/r.mp4?X-Amz-Signature=s1gned /r.mp4?sig=s1gned cookie: sid=c00kie; other=c00kie";
const OF_IT: [&str; 8] = [
    "Секретова",
    "secret@",
    "eyJ",
    "c2VjcmV0",
    "s3cret-word",
    "s1gned",
    "c00kie",
    "has no access",
];

#[tokio::test(flavor = "multi_thread")]
async fn error_texts_of_the_api_are_in_no_table_or_manifest() {
    let lake = Lake::folder();
    let sim = Simulator::start(small()).await.unwrap();
    for (endpoint, status) in [
        (Endpoint::Report, 403),
        (Endpoint::Link, 403),
        (Endpoint::Link, 422),
    ] {
        sim.faults().order(
            Matcher::endpoint(endpoint).every(3),
            Failure::Message(status, SAID.into()),
        );
    }
    sim.faults().order(
        Matcher::endpoint(Endpoint::Records).first(2),
        Failure::Message(422, SAID.into()),
    );
    let mut args = backfill(&range(&sim), &[]).join(" ");
    args.insert_str(0, "-vv ");
    let args: Vec<_> = args.split(' ').collect();
    let done = Telelake::against(&sim, &lake, &args)
        .env("TELELAKE_API__RETRIES", "1")
        .run()
        .await
        .expect(3);
    let status = Telelake::new(&["status", "--json"])
        .lake(&lake)
        .run()
        .await
        .expect(0);
    let mut reasons = Vec::new();
    for (table, column) in [("coverage", "reason"), ("recordings", "error")] {
        let rows = lake.rows(table, &[column]).await;
        reasons.extend(
            rows.into_iter()
                .map(|row| row[column].clone())
                .filter(|text| !text.is_empty()),
        );
    }
    assert!(
        reasons.iter().any(|reason| reason.contains("403 Forbidden")),
        "{reasons:?}"
    );
    let days = status.summary()["days"].to_string();
    let kept = lake.manifests().await.into_iter().map(|day| day.to_string());
    for text in reasons.into_iter().chain(kept).chain([days]) {
        for part in OF_IT {
            assert!(!text.contains(part), "{part} is kept: {text}");
        }
    }
    // A summary may repeat the message, but neither secrets nor addresses of persons.
    let runs = lake.keys().await.into_keys().filter(|key| key.contains("/runs/"));
    let mut told = vec![done.stdout, done.stderr];
    for run in runs {
        told.push(lake.json(&run).await.to_string());
    }
    for text in told {
        for part in &OF_IT[1..7] {
            assert!(!text.contains(part), "{part} is told: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_date_outside_of_1970_to_2200_becomes_a_partition() {
    let lake = Lake::folder();
    let sim = Simulator::start(small()).await.unwrap();
    let room = sim.school().rooms[0].id.clone();
    let call = |id: &str, start: &str, end: &str| json!({"id": id, "roomId": room, "startedAt": start, "finishedAt": end, "participantsCount": 1});
    let items = json!({"items": [
        call("late", "9999-12-31T23:00:00Z", "9999-12-31T23:30:00Z"),
        call("early", "0001-01-01T00:00:00Z", "0001-01-01T01:00:00Z"),
        call("edge", "2200-12-31T23:00:00Z", "2200-12-31T23:30:00Z"),
    ]});
    sim.faults().order(
        Matcher::endpoint(Endpoint::Calls)
            .containing(sim.options().dates[1].to_string())
            .first(1),
        Failure::Bytes(items.to_string().into_bytes()),
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = ["9999-12-31 23:00", "0001-01-01 00:00", "2200-12-31 23:30"]
        .iter()
        .enumerate()
        .map(|(n, start)| {
            let meta = json!({"lesson_name": "n", "lesson_scheduled_start_dt": start});
            format!(
                "{}\n",
                json!({"externalUserId": format!("u{n}"), "externalMeetingId": "m", "meta": meta})
            )
        })
        .collect();
    std::fs::write(file.path(), lines).unwrap();
    let zone = |program: Telelake| program.env("TELELAKE_TIMEZONE", "Asia/Tokyo");
    let import = ["meta", "import", &file.path().display().to_string()];
    zone(Telelake::new(&import).lake(&lake)).run().await;
    let dates = range(&sim);
    let done = zone(Telelake::against(&sim, &lake, &backfill(&dates, &[])))
        .run()
        .await;
    let warnings = done.summary()["warnings"].to_string();
    for id in ["late", "early"] {
        assert!(
            warnings.contains(&format!("\"call_id\":\"{id}\"")),
            "{id} is not named: {warnings}"
        );
    }
    let known = |date: &str| {
        let year: i32 = date[..4].parse().unwrap_or(0);
        date.len() == 10 && (1970..=2200).contains(&year)
    };
    let keys = lake.keys().await;
    for key in keys.keys() {
        let date = key.split('/').find_map(|part| part.strip_prefix("date="));
        let date = date.map(|date| date.split('.').next().unwrap());
        assert!(date.is_none_or(known), "{key}");
    }
    let metas = lake.rows("user_meta", &["external_user_id"]).await;
    assert_eq!(
        metas.len(),
        3,
        "the lesson data is there, on the dates of its arrival"
    );
}
