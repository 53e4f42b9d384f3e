//! Hostile input: ids and names that try to escape, endless lists, broken state, and servers with false certificates.

use telelake::simulator::{Endpoint, Failure, Matcher, Options, School, Simulator};

use super::{backfill, exported, range, small, small_school};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};
use crate::support::truth::assert_whole;

/// Ids with odd characters that can still be requested.
fn hostile_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "../../../../etc/passwd",
        "..\\..\\windows",
        "/absolute",
        "a/../../b",
        "nul\0byte",
        "\u{1b}[31mred\u{7}",
        "rtl\u{202e}4pm.exe",
        "%2e%2e%2f%2e%2e",
        ".hidden",
        "date=2020-01-01",
        "имя с пробелом",
        "a?b#c&d=e",
        "CON",
    ]
    .map(str::to_owned)
    .to_vec();
    ids.push("x".repeat(4096));
    ids.push(format!("{}/..", "x".repeat(4096)));
    ids
}

/// Gives these ids and names in turn to the objects of the school, each with a number so that they differ.
fn poison(school: &mut School) {
    let ids = hostile_ids();
    let named = |number: usize, kind: &str| format!("{}{kind}{number}", ids[number % ids.len()]);
    let renamed = |old: &str, new: &str, school: &mut School| {
        let calls = school.calls.iter_mut().map(|call| &mut call.room_id);
        let records = school.records.iter_mut().map(|record| &mut record.room_id);
        for room in calls.chain(records).filter(|room| *room == old) {
            new.clone_into(room);
        }
    };
    for number in 0..school.rooms.len() {
        let (old, new) = (school.rooms[number].id.clone(), named(number, "r"));
        renamed(&old, &new, school);
        for room in &mut school.rooms {
            if room.parent_room_id.as_ref() == Some(&old) {
                room.parent_room_id = Some(new.clone());
            }
        }
        school.rooms[number].id = new;
        school.rooms[number].name = format!("\u{202e}\u{1b}[2J{}\n\0", ids[number % ids.len()]);
    }
    for number in 0..school.calls.len() {
        let (old, new) = (school.calls[number].id.clone(), named(number, "c"));
        for record in &mut school.records {
            if record.call_id.as_ref() == Some(&old) {
                record.call_id = Some(new.clone());
            }
        }
        school.calls[number].id = new;
    }
    for (number, record) in school.records.iter_mut().enumerate() {
        record.id = named(number, "x");
        record.name = "../\u{202e}\n\u{1b}[31m".into();
    }
    let space = "../out/side\u{202e}\u{1b}[31m".to_owned();
    school.spaces[0].id.clone_from(&space);
    school.spaces[0].name = "\u{202e}\u{1b}[2J\nspace\0".into();
    school
        .rooms
        .iter_mut()
        .for_each(|room| room.space_id.clone_from(&space));
    school
        .calls
        .iter_mut()
        .for_each(|call| call.space_id.clone_from(&space));
    school
        .records
        .iter_mut()
        .for_each(|record| record.space_id.clone_from(&space));
}

fn is_safe(c: char) -> bool {
    c == '\n' || !(c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

#[track_caller]
fn assert_printable(finished: &Finished) {
    for text in [&finished.stdout, &finished.stderr] {
        let steers = text.chars().find(|c| !is_safe(*c));
        assert_eq!(steers, None, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_id_or_name_escapes_its_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = Lake::Folder(tempfile::tempdir_in(outer.path()).unwrap());
    for lake in [folder, Lake::s3().await] {
        let sim = Simulator::start(Options {
            rooms: 16,
            empty_rooms: 0.0,
            recording_size: 4096,
            ..small()
        })
        .await
        .unwrap();
        sim.edit(poison);
        let range = range(&sim);
        let text = ["backfill", &range[0], &range[1], &range[2], &range[3]];
        let run = Telelake::against(&sim, &lake, &text).run().await.expect(0);
        assert_printable(&run);
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        for key in lake.keys().await.keys() {
            let leaves = key.split('/').any(|part| matches!(part, "" | "." | ".."));
            assert!(key.is_ascii() && !leaves && key.len() < 700, "{key}");
        }
        // Again with a failure for each kind of object, so that all of them are named.
        sim.edit(|school| {
            school
                .calls
                .iter_mut()
                .for_each(|call| call.set_report(telelake::simulator::Report::Status(422)));
        });
        sim.faults()
            .order(Matcher::endpoint(Endpoint::Blob), Failure::Html);
        sim.faults().order(
            Matcher::endpoint(Endpoint::Records).every(5),
            Failure::Status(422),
        );
        let forced = Telelake::against(&sim, &lake, &[&text[..], &["--force", "-vv"]].concat())
            .run()
            .await
            .expect(3);
        assert_printable(&forced);
        for more in [&["check"][..], &["status"], &[&text[..], &["--dry-run"]].concat()] {
            assert_printable(&Telelake::against(&sim, &lake, more).run().await);
        }
    }
    let beside: Vec<_> = std::fs::read_dir(outer.path()).unwrap().collect();
    assert!(beside.len() <= 1, "{beside:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_cannot_be_requested_is_named_and_blocks_nothing_else() {
    let (sim, lake) = small_school().await;
    let rooms = sim.edit(|school| {
        let mut rooms: Vec<_> = school.calls.iter().map(|call| call.room_id.clone()).collect();
        rooms.dedup();
        let now = school.calls.iter().map(|call| call.started_at).max();
        for (room, id) in rooms.iter().zip(["..", "a\nb"]) {
            let renamed = school.room_mut(room).unwrap();
            renamed.id = id.into();
            renamed.earlier_call_at = now;
            // Records are listed where there are calls, by a path that has the room's id.
            for call in school.calls.iter_mut().filter(|call| call.room_id == *room) {
                call.room_id = id.into();
            }
            school.records.retain(|record| record.room_id != *room);
        }
        rooms
    });
    assert!(rooms.len() > 2);
    let run = exported(&sim, &lake, &[], 3).await;
    let failed = run.summary()["failed"].clone();
    assert!(
        failed
            .as_array()
            .unwrap()
            .iter()
            .all(|problem| problem["message"].as_str().unwrap().contains("can't be an id")),
        "{failed}"
    );
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_end_is_left_with_a_clear_error() {
    let (sim, lake) = (
        Simulator::start(Options { spaces: 2, ..small() }).await.unwrap(),
        Lake::folder(),
    );
    let space = sim.school().spaces[0].id.clone();
    sim.faults().order(
        Matcher::endpoint(Endpoint::Rooms).containing(&space),
        Failure::Invented,
    );
    let run = exported(&sim, &lake, &[], 3).await;
    let summary = run.summary();
    let failed = summary["failed"].as_array().unwrap();
    assert_eq!(
        (failed.len(), &failed[0]["kind"]),
        (1, &"space_failed".into()),
        "{failed:?}"
    );
    assert!(
        failed[0]["message"]
            .as_str()
            .unwrap()
            .contains("the list has no end"),
        "{failed:?}"
    );
    assert!(run.peak_memory < 400 << 20, "{} MiB", run.peak_memory >> 20);
    let other = sim
        .school()
        .calls
        .iter()
        .filter(|call| call.space_id != space)
        .count();
    assert_eq!(lake.rows("calls", &["call_id"]).await.len(), other);
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_json_fails_only_its_room() {
    let deep = format!(
        "{{\"items\":[{{\"id\":\"a\",\"x\":{}{}}}]}}",
        "[".repeat(60),
        "]".repeat(60)
    );
    let deeper = "[".repeat(1 << 20);
    let wide = format!(
        "{{\"items\":[{{\"id\":\"a\",\"x\":[{}0]}}]}}",
        "0,".repeat(3_000_000)
    );
    for (hostile, why) in [
        (deep, "nested deeper"),
        (deeper, "no JSON"),
        (wide, "more values"),
    ] {
        let (sim, lake) = small_school().await;
        let room = sim.school().calls[0].room_id.clone();
        sim.faults().order(
            Matcher::endpoint(Endpoint::Calls).containing(&room),
            Failure::Bytes(hostile.into_bytes()),
        );
        let run = exported(&sim, &lake, &["--only", "analytics"], 3).await;
        for problem in run.summary()["failed"].as_array().unwrap() {
            assert_eq!(problem["room_id"], room.as_str(), "{problem}");
            assert!(problem["message"].as_str().unwrap().contains(why), "{problem}");
        }
        let others = sim
            .school()
            .calls
            .iter()
            .filter(|call| call.room_id != room)
            .count();
        assert_eq!(lake.rows("calls", &["call_id"]).await.len(), others);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_manifest_is_named_and_stops_only_its_day() {
    let (sim, lake) = small_school().await;
    let range = range(&sim);
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let keys = lake.keys().await;
    let manifest = keys
        .keys()
        .find(|key| key.starts_with("_telelake/days/"))
        .unwrap();
    let Lake::Folder(folder) = &lake else {
        unreachable!()
    };
    let file = std::fs::File::options()
        .write(true)
        .open(folder.path().join(manifest))
        .unwrap();
    // The file is sparse and takes no space on the disk.
    file.set_len(4 << 30).unwrap();
    let run = Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(3);
    let summary = run.summary();
    let failed = summary["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 1, "{failed:?}");
    let message = failed[0]["message"].as_str().unwrap();
    assert!(
        message.contains(manifest.as_str()) && message.contains("is damaged"),
        "{message}"
    );
    assert!(run.peak_memory < 400 << 20, "{} MiB", run.peak_memory >> 20);
    let status = Telelake::new(&["status"]).lake(&lake).run().await.expect(0);
    assert!(status.stderr.contains(manifest.as_str()), "{}", status.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_an_untrusted_certificate_gets_no_request() {
    // Only the store knows the CA of the S3 server's certificate.
    let weed = crate::support::weed::weed().await;
    let (sim, lake) = small_school().await;
    let run = Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .env("TELELAKE_API__BASE_URL", &format!("{}/v1", weed.https))
        .env("AWS_CA_BUNDLE", &weed.ca_file.display().to_string())
        .run()
        .await
        .expect(4);
    assert!(run.stderr.contains("certificate"), "{}", run.stderr);
    assert!(run.stderr.contains("SSL_CERT_FILE"), "{}", run.stderr);
    assert!(!run.stderr.contains("attempts"), "{}", run.stderr);
    // With the CA there is an answer, although not one of this API.
    let run = Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .env("TELELAKE_API__BASE_URL", &format!("{}/v1", weed.https))
        .env("SSL_CERT_FILE", &weed.ca_file.display().to_string())
        .run()
        .await
        .expect(4);
    assert!(!run.stderr.contains("certificate"), "{}", run.stderr);

    let link = format!("{}/recording.mp4?X-Amz-Signature=s1gned", weed.https);
    sim.faults().order(
        Matcher::endpoint(Endpoint::Link),
        Failure::Bytes(link.into_bytes()),
    );
    let run = exported(&sim, &lake, &[], 3).await;
    let summary = run.summary();
    let failed = summary["failed"].as_array().unwrap();
    assert!(!failed.is_empty());
    for problem in failed {
        assert_eq!(problem["kind"], "record_failed", "{problem}");
        let message = problem["message"].as_str().unwrap();
        assert!(message.contains("certificate"), "{problem}");
        assert!(!message.contains("attempts"), "{problem}");
    }
}
