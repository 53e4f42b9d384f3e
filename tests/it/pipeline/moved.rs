//! The steps of "Move, back up, restore, upgrade, roll back" in `docs/operations.md`, each as it is written there.

use telelake::simulator::Simulator;

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::{assert_whole, is_whole};

async fn exported(lake: &Lake) -> Simulator {
    let sim = Simulator::start(small()).await.unwrap();
    run(&sim, lake).await;
    sim
}

async fn run(sim: &Simulator, lake: &Lake) {
    Telelake::against(sim, lake, &backfill(&range(sim), &[]))
        .run()
        .await
        .expect(0);
}

async fn copy(from: &Lake, to: &Lake, wanted: impl Fn(&str) -> bool) {
    for key in from.keys().await.into_keys().filter(|key| wanted(key)) {
        to.put(&key, from.get(&key).await).await;
    }
}

async fn rebuild(sim: &Simulator, lake: &Lake) {
    let dates = range(sim);
    // Without a token, so that the API gets no request.
    Telelake::new(&["rebuild", &dates[0], &dates[1], &dates[2], &dates[3]])
        .lake(lake)
        .run()
        .await
        .expect(0);
}

/// Every `uri` leads to an object of this lake.
async fn assert_uris_lead_into(lake: &Lake) {
    let rows = lake.rows("recordings", &["uri"]).await;
    let uris: Vec<_> = rows
        .iter()
        .map(|row| &row["uri"])
        .filter(|uri| !uri.is_empty())
        .collect();
    assert!(!uris.is_empty());
    let keys = lake.keys().await;
    for uri in uris {
        let key = uri.strip_prefix(&format!("{}/", lake.url()));
        assert!(key.is_some_and(|key| keys.contains_key(key)), "{uri}");
    }
}

/// Asserts that the lake works: runs, imports, rebuilds and verification.
async fn assert_lives(sim: &Simulator, lake: &Lake) {
    assert_uris_lead_into(lake).await;
    Telelake::new(&["verify", "--deep", "--rebuild"])
        .lake(lake)
        .run()
        .await
        .expect(0);
    sim.edit(|school| {
        let call = school
            .calls
            .iter_mut()
            .find(|call| call.finished_at.is_some())
            .unwrap();
        call.messages.truncate(1);
    });
    Telelake::against(sim, lake, &backfill(&range(sim), &["--force"]))
        .run()
        .await
        .expect(0);
    assert_whole(lake, sim, chrono_tz::Tz::UTC).await;
    Telelake::new(&["verify", "--deep", "--rebuild"])
        .lake(lake)
        .run()
        .await
        .expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_moves_from_a_folder_to_a_bucket_and_from_there_to_another_one() {
    let (folder, bucket, other) = (Lake::folder(), Lake::s3().await, Lake::s3().await);
    let sim = exported(&folder).await;
    copy(&folder, &bucket, |key| !key.starts_with("_telelake/tmp/")).await;
    rebuild(&sim, &bucket).await;
    assert_lives(&sim, &bucket).await;
    copy(&bucket, &other, |_| true).await;
    rebuild(&sim, &other).await;
    assert_lives(&sim, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_only_a_folder_has_are_harmless_in_a_bucket() {
    let (folder, bucket) = (Lake::folder(), Lake::s3().await);
    let sim = exported(&folder).await;
    copy(&folder, &bucket, |_| true).await;
    bucket.put("_telelake/lock", "").await;
    bucket
        .put("_telelake/tmp/calls/x.parquet/.0123456789abcdef.part", "half")
        .await;
    rebuild(&sim, &bucket).await;
    assert_uris_lead_into(&bucket).await;
    for _ in 0..2 {
        Telelake::new(&["verify", "--deep", "--rebuild"])
            .lake(&bucket)
            .run()
            .await
            .expect(0);
        run(&sim, &bucket).await;
    }
}

/// Two states of a lake: the earlier one lacks a recording and two reports that came later.
async fn earlier_and_later(earlier: &Lake, later: &Lake) -> Simulator {
    let sim = Simulator::start(small()).await.unwrap();
    let all = sim.edit(|school| {
        let all = school.clone();
        let last = school.calls.iter().map(|call| call.started_at).max().unwrap();
        school
            .calls
            .retain(|call| call.started_at.date_naive() != last.date_naive());
        let calls: Vec<_> = school.calls.iter().map(|call| call.id.clone()).collect();
        let known = |id: &Option<String>| id.as_ref().is_some_and(|id| calls.contains(id));
        school
            .records
            .retain(|record| known(&record.call_id) && is_whole(record));
        school.calls[0].set_report(telelake::simulator::Report::Missing);
        all
    });
    run(&sim, later).await;
    copy(later, earlier, |_| true).await;
    sim.edit(|school| *school = all);
    run(&sim, later).await;
    sim
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_restored_from_a_snapshot_is_completed() {
    let (earlier, later) = (Lake::folder(), Lake::folder());
    let sim = earlier_and_later(&earlier, &later).await;
    rebuild(&sim, &earlier).await;
    run(&sim, &earlier).await;
    assert_lives(&sim, &earlier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_older_than_the_data_are_repaired() {
    let (earlier, later) = (Lake::folder(), Lake::folder());
    let sim = earlier_and_later(&earlier, &later).await;
    for key in later.keys().await.into_keys() {
        if key.starts_with("_telelake/days/") {
            later.remove(&key).await;
        }
    }
    copy(&earlier, &later, |key| key.starts_with("_telelake/days/")).await;
    restored(&sim, &later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_newer_than_the_data_are_repaired() {
    let (earlier, later) = (Lake::folder(), Lake::folder());
    let sim = earlier_and_later(&earlier, &later).await;
    for key in later.keys().await.into_keys() {
        if !key.starts_with("_telelake/") {
            later.remove(&key).await;
        }
    }
    copy(&earlier, &later, |key| !key.starts_with("_telelake/")).await;
    restored(&sim, &later).await;
}

/// The documented step after a part of the lake was restored.
async fn restored(sim: &Simulator, lake: &Lake) {
    Telelake::new(&["verify"]).lake(lake).run().await.expect(5);
    let repaired = Telelake::against(sim, lake, &["verify", "--repair"]).run().await;
    assert!([0, 5].contains(&repaired.status), "{repaired:?}");
    run(sim, lake).await;
    rebuild(sim, lake).await;
    Telelake::against(sim, lake, &["verify", "--repair", "--deep"])
        .run()
        .await
        .expect(0);
    assert_whole(lake, sim, chrono_tz::Tz::UTC).await;
}
