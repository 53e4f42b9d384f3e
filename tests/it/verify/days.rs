//! Days whose manifest, marker or place is wrong.

use serde_json::{Value, json};
use telelake::config::ReportFormat;
use telelake::lake::key;
use telelake::simulator::{Report, Simulator};

use super::{
    assert_found, assert_repaired, day, exported, manifest_key, recording, repair, report, table_key,
};
use crate::pipeline::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_was_landed_and_never_built_is_damage() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = exported(&lake, small(), 0).await;
        // As killed runs leave it: before the first build, before a later one, and while tables are replaced.
        for state in ["never", "of another state", "under way"] {
            let mut of = day(&lake, 0).await;
            let key = manifest_key(&of);
            match state {
                "never" => {
                    for table in of["built"]["tables"].as_object().unwrap().values() {
                        lake.remove(table["key"].as_str().unwrap()).await;
                    }
                    of["built"] = Value::Null;
                }
                "of another state" => of["built"]["fingerprint"] = "".into(),
                _ => of["building"] = "0123456789abcdef0123456789abcdef".into(),
            }
            lake.put(&key, of.to_string()).await;
            let date = of["date"].as_str().unwrap().parse().unwrap();
            lake.put(&key::open_day(date, &of["space_id"].as_str().unwrap().into()), "")
                .await;
            let verified = assert_found(&lake, &[], &[("day_not_built", &key)]).await;
            assert_eq!(verified["counts"]["days_open"], 1, "{state}");
            assert_found(&lake, &["--rebuild"], &[("day_not_built", &key)]).await;
            assert_repaired(&sim, &lake, &[], &[("day_not_built", &key)]).await;
            assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_its_manifest_is_landed_again() {
    let lake = Lake::folder();
    let sim = exported(&lake, small(), 0).await;
    let of = day(&lake, 0).await;
    let key = manifest_key(&of);
    lake.remove(&key).await;
    assert_repaired(&sim, &lake, &[], &[("manifest_missing", &key)]).await;
    lake.put(&key, "{\"version\": 1, ").await;
    assert_repaired(&sim, &lake, &[], &[("manifest_damaged", &key)]).await;
    // The damaged manifest is kept aside, and so are its tables.
    let aside: Vec<_> = lake
        .keys()
        .await
        .into_keys()
        .filter(|it| it.contains("/aside/"))
        .collect();
    assert!(aside.iter().any(|it| it.ends_with(&key)), "{aside:?}");
    assert!(
        aside.iter().any(|it| it.ends_with(&table_key(&of, "calls"))),
        "{aside:?}"
    );
    // A manifest that names objects of another day is damaged too.
    let mut lying = of.clone();
    let call = report(&of).0;
    lying["calls"][&call]["reports"]["json"]["landed"]["key"] = "raw/reports/date=2020-01-01/s/c.json".into();
    lake.put(&key, lying.to_string()).await;
    assert_repaired(&sim, &lake, &[], &[("manifest_damaged", &call)]).await;
    let newer = json!({"version": 99, "date": of["date"], "space_id": of["space_id"], "space_name": null,
        "listed": true, "rooms": {}, "calls": {}, "records": {}, "built": null});
    let mended = lake.get(&key).await;
    lake.put(&key, newer.to_string()).await;
    let verified = assert_found(&lake, &[], &[("manifest_damaged", "newer telelake")]).await;
    assert_eq!(verified["findings"][0]["repairable"], false);
    lake.put(&key, mended).await;
    // As a run leaves it that is killed between marker and manifest.
    let marker = key::open_day(
        "2025-03-10".parse().unwrap(),
        &of["space_id"].as_str().unwrap().into(),
    );
    lake.put(&marker, "").await;
    assert_repaired(&sim, &lake, &[], &[("marker_without_manifest", &marker)]).await;
    assert!(!lake.keys().await.contains_key(&marker));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_or_record_on_two_days_is_found() {
    let lake = Lake::folder();
    let sim = exported(&lake, small(), 0).await;
    let (right, mut wrong) = (day(&lake, 0).await, day(&lake, 1).await);
    let date = wrong["date"].as_str().unwrap().parse().unwrap();
    let space = wrong["space_id"].as_str().unwrap().to_owned();
    let (call, _) = report(&right);
    let mut entry = right["calls"][&call].clone();
    for (format, name) in [(ReportFormat::Json, "json"), (ReportFormat::Xlsx, "xlsx")] {
        let from = entry["reports"][name]["landed"]["key"]
            .as_str()
            .unwrap()
            .to_owned();
        let to = key::report(date, &space.as_str().into(), &call.as_str().into(), format);
        lake.put(&to, lake.get(&from).await).await;
        entry["reports"][name]["landed"]["key"] = to.into();
    }
    wrong["calls"][&call] = entry;
    let (record, file) = recording(&right);
    let mut entry = right["records"][&record].clone();
    let to = key::recording(
        date,
        &space.as_str().into(),
        &entry["room_id"].as_str().unwrap().into(),
        entry["call_id"].as_str().map(Into::into).as_ref(),
        &record.as_str().into(),
    );
    lake.put(&to, lake.get(&file).await).await;
    entry["file"]["landed"]["key"] = to.clone().into();
    wrong["records"][&record] = entry;
    lake.put(&manifest_key(&wrong), wrong.to_string()).await;
    let expected = [
        ("call_doubled", call.as_str()),
        ("record_doubled", record.as_str()),
    ];
    // Also if only one of the two days is verified.
    let dates = [
        "--from",
        wrong["date"].as_str().unwrap(),
        "--to",
        wrong["date"].as_str().unwrap(),
    ];
    assert_found(&lake, &dates, &expected).await;
    assert_repaired(&sim, &lake, &[], &expected).await;
    assert!(!lake.keys().await.contains_key(&to));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_day_without_a_marker_is_marked_again() {
    let lake = Lake::folder();
    let sim = Simulator::start(small()).await.unwrap();
    sim.edit(|school| school.calls[0].set_report(Report::Missing));
    Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(0);
    let marker = lake
        .keys()
        .await
        .into_keys()
        .find(|key| key.starts_with("_telelake/open/"))
        .unwrap();
    lake.remove(&marker).await;
    assert_found(&lake, &[], &[("day_not_marked", &marker)]).await;
    repair(&sim, &lake, &[]).await.expect(0);
    assert!(lake.keys().await.contains_key(&marker));
    sim.edit(|school| school.calls[0].set_report(Report::Whole));
    Telelake::against(&sim, &lake, &["run"]).run().await.expect(0);
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}
