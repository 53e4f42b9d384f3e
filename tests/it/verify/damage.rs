//! Tables, reports, recordings and state that are damaged or gone.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use sha2::{Digest, Sha256};
use telelake::simulator::Report;

use super::{
    assert_found, assert_repaired, day, exported, flip, kinds, manifest_key, put_day, recording, repair,
    report, table_key, truncate, verify, with_lessons,
};
use crate::pipeline::small;
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

#[tokio::test(flavor = "multi_thread")]
async fn damaged_tables_are_found_and_rebuilt() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = exported(&lake, small(), 0).await;
        let of = day(&lake, 0).await;
        let key = table_key(&of, "participants");
        lake.remove(&key).await;
        assert_repaired(&sim, &lake, &[], &[("table_missing", &key)]).await;
        truncate(&lake, &key).await;
        assert_repaired(&sim, &lake, &[], &[("table_damaged", &key)]).await;
        flip(&lake, &key).await;
        verify(&lake, &[]).await.expect(0);
        assert_repaired(&sim, &lake, &["--deep"], &[("table_damaged", &key)]).await;
        assert_eq!(sim.leaked_tokens(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_does_not_match_its_reports_is_found_by_a_rebuild() {
    let lake = Lake::folder();
    let sim = exported(&lake, small(), 0).await;
    let (first, mut second) = (day(&lake, 0).await, day(&lake, 1).await);
    // Yesterday's participants replace today's, and the manifest agrees.
    let bytes = lake.get(&table_key(&first, "participants")).await;
    let key = table_key(&second, "participants");
    lake.put(&key, bytes).await;
    for field in ["rows", "bytes", "sha256"] {
        let of_first = first["built"]["tables"]["participants"][field].clone();
        second["built"]["tables"]["participants"][field] = of_first;
    }
    put_day(&lake, &second).await;
    verify(&lake, &[]).await.expect(0);
    assert_found(&lake, &["--deep"], &[("row_doubled", &key)]).await;
    assert_repaired(&sim, &lake, &["--rebuild"], &[("table_differs", &key)]).await;

    let mut day = day(&lake, 1).await;
    day["built"]["tables"]["calls"]["rows"] = 999.into();
    lake.put(&manifest_key(&day), day.to_string()).await;
    let key = table_key(&day, "calls");
    assert_repaired(&sim, &lake, &[], &[("table_rows_differ", &key)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_damaged_reports_and_recordings_are_downloaded_again() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = exported(&lake, small(), 0).await;
        let of = day(&lake, 1).await;
        let ((call, report), (record, file)) = (report(&of), recording(&of));
        lake.remove(&report).await;
        lake.remove(&file).await;
        sim.clear_log();
        assert_repaired(
            &sim,
            &lake,
            &[],
            &[("report_missing", &call), ("recording_missing", &record)],
        )
        .await;
        let fetched = |endpoint| sim.count(endpoint);
        assert_eq!(fetched(telelake::simulator::Endpoint::Report), 1);
        assert_eq!(fetched(telelake::simulator::Endpoint::Link), 1);
        truncate(&lake, &file).await;
        assert_repaired(&sim, &lake, &[], &[("recording_damaged", &file)]).await;
        flip(&lake, &report).await;
        flip(&lake, &file).await;
        verify(&lake, &[]).await.expect(0);
        assert_repaired(
            &sim,
            &lake,
            &["--deep", "--from", of["date"].as_str().unwrap()],
            &[("report_damaged", &report), ("recording_damaged", &file)],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_the_api_no_longer_has_are_named_and_their_rows_kept() {
    let lake = Lake::folder();
    let sim = exported(&lake, small(), 0).await;
    let (call, key) = report(&day(&lake, 0).await);
    lake.remove(&key).await;
    let rows = lake.rows("participants", &["call_id", "participant_id"]).await;
    // Without a token nothing can be downloaded, and the output says so.
    let args = ["verify", "--repair"];
    let told = Telelake::new(&args).lake(&lake).run().await.expect(5).stdout;
    assert!(told.contains("TELELAKE_API__TOKEN"), "{told}");
    sim.edit(|school| {
        let gone = school.calls.iter_mut().find(|it| it.id == call).unwrap();
        gone.set_report(Report::Missing);
    });
    let repaired = repair(&sim, &lake, &[]).await.expect(5).summary();
    assert_eq!(kinds(&repaired["findings"]), ["report_missing"]);
    let notes = repaired["notes"].to_string();
    assert!(notes.contains(&call) && notes.contains("kept"), "{notes}");
    // The tables of the day are gone too, and are not built without the report.
    lake.remove(&table_key(&day(&lake, 0).await, "messages")).await;
    let repaired = repair(&sim, &lake, &[]).await.expect(5).summary();
    assert_eq!(kinds(&repaired["findings"]), ["report_missing", "table_missing"]);
    assert_eq!(
        lake.rows("participants", &["call_id", "participant_id"]).await,
        rows
    );
    sim.edit(|school| {
        let back = school.calls.iter_mut().find(|it| it.id == call).unwrap();
        back.set_report(Report::Whole);
    });
    repair(&sim, &lake, &[]).await.expect(0);
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_was_cut_when_it_came_is_found_by_its_boxes() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = exported(&lake, small(), 0).await;
        let mut of = day(&lake, 0).await;
        let (record, key) = recording(&of);
        let cut = lake.get(&key).await;
        let cut = cut.slice(..cut.len() * 2 / 5);
        // As in a lake where this counted as done: everything agrees except the boxes of the file.
        let landed = &mut of["records"][&record]["file"]["landed"];
        landed["bytes"] = cut.len().into();
        landed["sha256"] = hex::encode(Sha256::digest(&cut)).into();
        lake.put(&key, cut).await;
        put_day(&lake, &of).await;
        verify(&lake, &[]).await.expect(0);
        let expected = [("recording_damaged", key.as_str())];
        let verified = assert_found(&lake, &["--deep"], &expected).await;
        let finding = &verified["findings"][0];
        assert_eq!(finding["record_id"], record.as_str());
        assert!(
            finding["found"].as_str().unwrap().contains("no whole MP4"),
            "{finding}"
        );
        assert_repaired(&sim, &lake, &["--deep"], &expected).await;
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_addresses_outside_of_the_lake_are_found() {
    let (lake, moved) = (Lake::folder(), Lake::folder());
    let sim = exported(&lake, small(), 0).await;
    for (key, bytes) in lake.contents().await {
        moved.put(&key, bytes).await;
    }
    let mut expected = Vec::new();
    for day in lake.manifests().await {
        let has_any = |record: &Value| record["file"]["landed"].is_object();
        if day["records"].as_object().unwrap().values().any(has_any) {
            expected.push(("uri_elsewhere", table_key(&day, "recordings")));
        }
    }
    expected.sort();
    let expected: Vec<_> = expected.iter().map(|(kind, key)| (*kind, key.as_str())).collect();
    assert!(expected.len() > 1);
    let verified = assert_found(&moved, &[], &expected).await;
    let finding = &verified["findings"][0];
    let all = format!("every `uri` below {}/", moved.url());
    assert_eq!(finding["expected"], all.as_str());
    assert!(
        finding["found"].as_str().unwrap().contains(&lake.url()),
        "{finding}"
    );
    assert_repaired(&sim, &moved, &[], &expected).await;
    for row in moved.rows("recordings", &["uri"]).await {
        assert!(
            row["uri"].is_empty() || row["uri"].starts_with(&moved.url()),
            "{row:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_data_rooms_and_state_are_verified_too() {
    let lake = Lake::folder();
    let sim = exported(&lake, small(), 0).await;
    with_lessons(&lake, &sim).await;
    let keys: Vec<_> = lake.keys().await.into_keys().collect();
    let first = |prefix: &str| keys.iter().find(|key| key.starts_with(prefix)).unwrap().clone();
    for (table, damage) in [
        ("user_meta/", "table_missing"),
        ("hierarchy/", "table_damaged"),
        ("rooms/", "table_missing"),
        ("spaces/", "table_damaged"),
    ] {
        let key = first(table);
        match damage {
            "table_missing" => lake.remove(&key).await,
            _ => truncate(&lake, &key).await,
        }
        assert_repaired(&sim, &lake, &[], &[(damage, &key)]).await;
        flip(&lake, &key).await;
        assert_repaired(&sim, &lake, &["--rebuild"], &[("table_differs", &key)]).await;
    }
    for (key, kind, args) in [
        (first("raw/meta/"), "raw_meta_damaged", &["--deep"][..]),
        (first("_telelake/meta/shelves/"), "state_damaged", &[]),
        (first("_telelake/meta/index/"), "state_damaged", &[]),
        (first("_telelake/catalog/rooms/"), "state_damaged", &[]),
        ("_telelake/store.json".to_owned(), "state_damaged", &[]),
    ] {
        let before = lake.get(&key).await;
        lake.put(&key, "{").await;
        let verified = assert_found(&lake, args, &[(kind, &key)]).await;
        assert_eq!(verified["findings"][0]["repairable"], false);
        lake.put(&key, before).await;
    }
    // A leftover of an old check of the store is removed; that of a current check stays.
    for (key, age) in [("_telelake/probe/old", 3), ("_telelake/probe/new", 0)] {
        lake.put(key, "telelake").await;
        let Lake::Folder(folder) = &lake else {
            unreachable!()
        };
        let file = std::fs::File::options()
            .write(true)
            .open(folder.path().join(key))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age * 24 * 3600))
            .unwrap();
    }
    assert_repaired(&sim, &lake, &["--deep"], &[("leftover", "_telelake/probe/old")]).await;
    assert!(lake.keys().await.contains_key("_telelake/probe/new"));
}
