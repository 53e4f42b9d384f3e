//! A sound lake has no findings, and `verify` leaves it as it is.

use serde_json::json;
use telelake::simulator::{Oddities, Options, Simulator};

use super::{day, exported, recording, repair, report, table_key, truncate, verify, with_lessons};
use crate::pipeline::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::is_whole;

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_lake_has_no_findings_and_stays_unchanged() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = exported(&lake, Options { spaces: 2, ..small() }, 0).await;
        with_lessons(&lake, &sim).await;
        let (keys, contents) = (lake.keys().await, lake.contents().await);
        let written = matches!(lake, Lake::Folder(_)).then(|| lake.written());
        for args in [&[][..], &["--deep", "--rebuild"], &["--from", "2025-03-04"]] {
            let verified = verify(&lake, args).await.expect(0).summary();
            assert_eq!(
                (&verified["findings"], &verified["interrupted"]),
                (&json!([]), &json!(false))
            );
            let counts = &verified["counts"];
            if !args.contains(&"--from") {
                assert_eq!(counts["reports"], 2 * sim.school().calls.len());
                let whole = sim
                    .school()
                    .records
                    .iter()
                    .filter(|record| is_whole(record))
                    .count();
                assert_eq!(counts["recordings"], whole);
                let tables = keys.keys().filter(|key| key.ends_with(".parquet")).count();
                assert_eq!(counts["tables"], tables);
            }
            if args.contains(&"--rebuild") {
                assert_eq!(counts["days_rebuilt"], counts["days"]);
            }
            assert_eq!(counts["objects_unknown"], 0, "{counts}");
        }
        // A repair of a sound lake writes nothing either.
        repair(&sim, &lake, &[]).await.expect(0);
        assert_eq!(lake.keys().await, keys);
        assert!(lake.contents().await == contents);
        if let Some(written) = written {
            assert_eq!(lake.written(), written);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_failed_and_odd_objects_are_no_damage() {
    let lake = Lake::folder();
    let options = Options {
        odd: Oddities::all(),
        spaces: 2,
        rooms: 30,
        recording_size: 4096,
        ..Options::default()
    };
    exported(&lake, options, 3).await;
    lake.put("notes/readme.txt", "another program's").await;
    let verified = verify(&lake, &["--deep", "--rebuild"]).await.expect(0).summary();
    assert!(verified["counts"]["days_open"].as_u64().unwrap() > 0);
    assert_eq!(verified["counts"]["objects_unknown"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_names_each_finding_and_its_repair() {
    let lake = Lake::folder();
    exported(&lake, small(), 0).await;
    let whole = Telelake::new(&["verify", "--deep"])
        .lake(&lake)
        .run()
        .await
        .expect(0)
        .stdout;
    let of = day(&lake, 1).await;
    let ((_, report), (_, file)) = (report(&of), recording(&of));
    lake.remove(&report).await;
    truncate(&lake, &file).await;
    lake.remove(&table_key(&of, "calls")).await;
    lake.put("calls/odd.txt", "x").await;
    let damaged = Telelake::new(&["verify"])
        .lake(&lake)
        .run()
        .await
        .expect(5)
        .stdout;
    // Tables hold the times of their run, so that their sizes differ by a few bytes.
    let read = whole
        .lines()
        .find_map(|line| line.split_once("rows; ")?.1.strip_suffix(" read"));
    let whole = whole.replace(read.unwrap(), "… KiB");
    let shown = format!("{whole}\n{damaged}").replace(&lake.url(), "file:///lake");
    insta::assert_snapshot!(shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_lake_gives_status_4_and_a_wrong_range_status_2() {
    let lake = Lake::folder();
    let none = verify(&lake, &[]).await.expect(4);
    assert!(none.stderr.contains("there is no lake here"), "{}", none.stderr);
    assert!(lake.keys().await.is_empty());
    verify(&lake, &["--from", "2025-03-05", "--to", "2025-03-04"])
        .await
        .expect(2);
    let gone = Telelake::new(&["verify"])
        .env("TELELAKE_STORE__URL", "s3://no-such-bucket/x")
        .env("TELELAKE_STORE__S3__ENDPOINT_URL", "http://127.0.0.1:1")
        .env("TELELAKE_STORE__S3__REGION", "x")
        .env("AWS_ACCESS_KEY_ID", "x")
        .env("AWS_SECRET_ACCESS_KEY", "x");
    gone.run().await.expect(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_recording_is_read_in_bounded_memory() {
    let options = Options {
        recording_size: 300 << 20,
        recorded: 1.0,
        rooms: 3,
        dates: small().dates[..1].to_vec(),
        ..small()
    };
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = Simulator::start(options.clone()).await.unwrap();
        sim.edit(|school| school.records.retain(is_whole));
        sim.edit(|school| school.records.truncate(1));
        Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
            .run()
            .await
            .expect(0);
        let verified = verify(&lake, &["--deep"]).await.expect(0);
        assert!(verified.summary()["counts"]["bytes_read"].as_u64().unwrap() > 300 << 20);
        assert!(
            verified.peak_memory > 0 && verified.peak_memory < 150 << 20,
            "{} MiB",
            verified.peak_memory >> 20
        );
    }
}
