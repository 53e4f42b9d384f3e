//! Servers that do not answer as S3 does: the probe's result, and the store's behaviour with them.

use std::time::Duration;

use bytes::Bytes;
use telelake::pipeline::{MetaFile, import_meta, read_store_info};
use telelake::store::folder::FolderStore;
use telelake::store::s3::{Patience, S3Store};
use telelake::store::{Condition, Dialect, EtagForm, Shortcoming, Store};
use telelake::{ErrorKind, config};
use tokio_util::sync::CancellationToken;

use super::suite::{self, PART, content, nothing_unfinished};
use crate::support::eventually::eventually;
use crate::support::fakes3::{FakeS3, Quirks};

const LAKE: &str = "s3://lake/school";

fn store(fake: &FakeS3) -> S3Store {
    with(fake, super::s3::settings())
}

fn with(fake: &FakeS3, settings: config::S3) -> S3Store {
    S3Store::with_sdk_config(LAKE, &settings, &fake.sdk_config()).unwrap()
}

async fn put(
    store: &dyn Store,
    text: &'static str,
    condition: Condition,
) -> telelake::Result<telelake::store::Version> {
    store
        .put("x", Bytes::from_static(text.as_bytes()), condition)
        .await
}

/// The conditional requests that the server has received.
fn conditional(fake: &FakeS3) -> Vec<(&'static str, String)> {
    let asked = fake.asked().into_iter().filter(|asked| asked.conditional);
    asked.map(|asked| (asked.operation, asked.key)).collect()
}

#[tokio::test]
async fn a_correct_server_lacks_nothing() {
    let fake = FakeS3::start(Quirks::default()).await;
    let store = store(&fake);
    assert_eq!(store.probe().await.unwrap(), Dialect::default());
    assert_eq!(store.list("").await.unwrap(), []);
    assert_eq!(fake.uploads(), 0);
    super::suite_of_objects(&store).await;
}

#[tokio::test]
async fn a_server_that_takes_only_bare_etags_gets_bare_ones() {
    let fake = FakeS3::start(Quirks {
        bare_etags: true,
        ..Quirks::default()
    })
    .await;
    let first = store(&fake);
    let found = first.probe().await.unwrap();
    assert_eq!(
        found,
        Dialect {
            etag_form: EtagForm::Bare,
            ..Dialect::default()
        }
    );
    super::suite_of_objects(&first).await;
    // Another process learns it from the lake and does not probe.
    let second = store(&fake);
    second.speak(found);
    let version = put(&second, "one", Condition::Any).await.unwrap();
    put(&second, "two", Condition::Unchanged(version.clone()))
        .await
        .unwrap();
    let stale = put(&second, "three", Condition::Unchanged(version))
        .await
        .unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Precondition);
    suite::a_released_upload_is_resumed_where_it_stopped(&second).await;
}

#[tokio::test]
async fn a_server_that_ignores_or_refuses_conditions_is_sent_none() {
    let ignores = Quirks {
        ignores_conditions: true,
        ..Quirks::default()
    };
    let refuses = Quirks {
        refuses_conditions: true,
        ..Quirks::default()
    };
    for quirks in [ignores, refuses] {
        let fake = FakeS3::start(quirks).await;
        let store = store(&fake);
        assert!(!store.probe().await.unwrap().conditional_writes);
        assert_eq!(store.list("").await.unwrap(), []);
        fake.forget();
        let version = put(&store, "one", Condition::Absent).await.unwrap();
        put(&store, "two", Condition::Unchanged(version)).await.unwrap();
        suite::a_released_upload_is_resumed_where_it_stopped(&store).await;
        suite::a_left_upload_can_be_found_and_aborted(&store).await;
        suite::the_furthest_of_several_left_uploads_is_resumed_and_the_others_are_aborted(&store).await;
        assert_eq!(conditional(&fake), []);
    }
}

#[tokio::test]
async fn a_server_that_lists_neither_uploads_nor_parts_costs_bytes_and_leaves_nothing() {
    let fake = FakeS3::start(Quirks {
        lists_uploads: false,
        lists_parts: false,
        ..Quirks::default()
    })
    .await;
    let store = store(&fake);
    let lacks = [Shortcoming::UploadList, Shortcoming::PartList];
    assert_eq!(store.probe().await.unwrap().lacks, lacks.into());
    assert_eq!(store.shortcomings(), lacks);
    // A cut upload begins anew, and is aborted because its checkpoint names it.
    let bytes = content(1, 2 * PART + 1);
    suite::release(&store, "x.mp4", &bytes).await;
    assert_eq!(suite::unfinished(&store, "").await, [("x.mp4".to_owned(), false)]);
    assert!(store.resume("x.mp4").await.unwrap().is_none());
    assert_eq!(fake.uploads(), 0);
    suite::upload(&store, "x.mp4", &bytes).await.unwrap();
    assert_eq!(store.get("x.mp4").await.unwrap().bytes, bytes);
    suite::release(&store, "y.mp4", &bytes).await;
    for left in store.unfinished_uploads("").await.unwrap() {
        store.abort_upload(&left).await.unwrap();
    }
    nothing_unfinished(&store).await;
    assert_eq!(fake.uploads(), 0);
}

#[tokio::test]
async fn a_server_without_multipart_takes_small_objects_and_refuses_large_ones_by_name() {
    let fake = FakeS3::start(Quirks {
        multipart: false,
        ..Quirks::default()
    })
    .await;
    let store = store(&fake);
    let found = store.probe().await.unwrap();
    assert!(found.conditional_writes);
    assert_eq!(found.lacks, [Shortcoming::Multipart].into());
    suite::upload(&store, "small.mp4", &content(1, PART))
        .await
        .unwrap();
    let error = suite::upload(&store, "large.mp4", &content(1, PART + 1))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.about()),
        (ErrorKind::Unsupported, "large.mp4")
    );
    let text = error.to_string();
    assert!(
        text.contains("can't be stored in parts") && text.contains("answered CreateMultipartUpload with 501"),
        "{text}"
    );
    assert!(text.contains(&fake.endpoint), "{text}");
    assert_eq!(store.list("_telelake/").await.unwrap(), []);
}

#[tokio::test]
async fn the_error_of_an_answer_that_is_not_s3s_names_server_operation_and_status() {
    let cases = [
        (
            200,
            "<!doctype html><title>Console</title>",
            "with status 200 and a web page (HTML)",
        ),
        (501, "", "PutObject with status 501 and an empty answer"),
        (
            500,
            "oh no",
            "PutObject with status 500 and an answer that is not S3's",
        ),
        (200, "", "status 200 and an empty answer"),
    ];
    for (status, body, expected) in cases {
        let fake = FakeS3::start(Quirks {
            nonsense: Some((status, body)),
            ..Quirks::default()
        })
        .await;
        let error = store(&fake).preflight().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("bucket lake at {}: ", fake.endpoint)),
            "{text}"
        );
        let is_named =
            text.contains(expected) || text.contains("GetObject gives other bytes than PutObject stored");
        assert!(is_named && text.ends_with(')'), "{status} {body}: {text}");
    }
}

fn quick() -> Patience {
    Patience {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(2),
        total: Duration::from_secs(600),
    }
}

#[tokio::test]
async fn a_run_waits_for_a_server_that_asks_to_slow_down() {
    let fake = FakeS3::start(Quirks::default()).await;
    let patient = store(&fake)
        .with_patience(quick())
        .patient(CancellationToken::new())
        .unwrap();
    fake.throttle(40);
    patient.preflight().await.unwrap();
    fake.throttle(40);
    let version = put(&*patient, "one", Condition::Absent).await.unwrap();
    fake.throttle(40);
    put(&*patient, "two", Condition::Unchanged(version))
        .await
        .unwrap();
    fake.throttle(200);
    let bytes = content(1, 3 * PART + 1);
    suite::upload(&*patient, "x.mp4", &bytes).await.unwrap();
    fake.throttle(40);
    assert_eq!(patient.get("x.mp4").await.unwrap().bytes, bytes);
    fake.throttle(40);
    assert_eq!(patient.list("x").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_run_that_is_stopped_does_not_wait_for_the_store() {
    let fake = FakeS3::start(Quirks::default()).await;
    let stop = CancellationToken::new();
    let patience = Patience {
        first: Duration::from_secs(3600),
        longest: Duration::from_secs(3600),
        total: Duration::from_secs(36_000),
    };
    let patient = store(&fake)
        .with_patience(patience)
        .patient(stop.clone())
        .unwrap();
    fake.throttle(usize::MAX);
    let stopping = async {
        eventually("both writes were sent", async || fake.asked().len() >= 2).await;
        stop.cancel();
    };
    let writes = async {
        tokio::join!(
            put(&*patient, "one", Condition::Any),
            put(&*patient, "one", Condition::Absent)
        )
    };
    let (written, ()) = tokio::join!(writes, stopping);
    for error in [written.0.unwrap_err(), written.1.unwrap_err()] {
        assert!(error.to_string().contains("asks to slow down"), "{error}");
    }
}

#[tokio::test]
async fn a_bucket_that_demands_checksums_gets_them_or_its_error_names_the_option() {
    let fake = FakeS3::start(Quirks {
        wants_checksums: true,
        ..Quirks::default()
    })
    .await;
    let error = store(&fake).preflight().await.unwrap_err().to_string();
    assert!(error.contains("InvalidRequest"), "{error}");
    let store = with(
        &fake,
        config::S3 {
            checksum: config::Checksum::Md5,
            ..super::s3::settings()
        },
    );
    store.preflight().await.unwrap();
    assert_eq!(store.probe().await.unwrap(), Dialect::default());
    suite::uploads_of_every_size_arrive_whole(&store).await;
}

async fn import(store: &dyn Store) -> u64 {
    let line = r#"{"externalUserId":"u1","externalMeetingId":"m1","date":"2026-11-20"}"#;
    let file = MetaFile {
        name: "meta.jsonl".into(),
        bytes: Bytes::from(format!("{line}\n")),
    };
    let now = "2026-11-27T10:00:00Z".parse().unwrap();
    import_meta(
        store,
        chrono_tz::UTC,
        now,
        &telelake::tables::PrivacyPolicy::default(),
        vec![file],
    )
    .await
    .unwrap()
    .writes
}

#[tokio::test]
async fn a_lake_that_was_copied_to_another_store_is_probed_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let before = FolderStore::at(folder.path()).unwrap();
    import(&before).await;
    let info = read_store_info(&before).await.unwrap().unwrap();
    assert!(info.conditional_writes && info.dialect(&before).is_some());

    let fake = FakeS3::start(Quirks {
        ignores_conditions: true,
        lists_parts: false,
        ..Quirks::default()
    })
    .await;
    let copied = store(&fake);
    for entry in before.list("").await.unwrap() {
        let bytes = before.get(&entry.key).await.unwrap().bytes;
        copied.put(&entry.key, bytes, Condition::Any).await.unwrap();
    }
    // A reader ignores the result of a probe at another address, and writes nothing.
    fake.forget();
    let info = read_store_info(&copied).await.unwrap().unwrap();
    assert_eq!(info.dialect(&copied), None);
    assert!(fake.asked().iter().all(|asked| asked.operation == "GetObject"));

    import(&copied).await;
    let info = read_store_info(&copied).await.unwrap().unwrap();
    assert!(!info.conditional_writes);
    assert_eq!((&*info.url, &*info.endpoint), (LAKE, &*fake.endpoint));
    assert_eq!(info.lacks, [Shortcoming::PartList].into());
    let later = store(&fake);
    fake.forget();
    import(&later).await;
    assert_eq!(conditional(&fake), []);
    let rewritten = |asked: &crate::support::fakes3::Asked| {
        asked.operation == "PutObject" && (asked.key.contains("store.json") || asked.key.contains("probe"))
    };
    assert!(!fake.asked().iter().any(rewritten));
    assert_eq!(later.shortcomings(), [Shortcoming::PartList]);
}

#[tokio::test]
async fn a_description_of_an_older_version_is_completed_by_the_next_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::at(folder.path()).unwrap();
    let old =
        r#"{"version":1,"timezone":"UTC","conditional_writes":true,"probed_at":"2026-11-01T00:00:00Z"}"#;
    store
        .put(
            "_telelake/store.json",
            Bytes::from_static(old.as_bytes()),
            Condition::Any,
        )
        .await
        .unwrap();
    let info = read_store_info(&store).await.unwrap().unwrap();
    assert_eq!(info.dialect(&store), None);
    import(&store).await;
    let info = read_store_info(&store).await.unwrap().unwrap();
    assert_eq!(info.dialect(&store), Some(Dialect::default()));
    // Another spelling of the same URL is the same address.
    let spelled = FolderStore::open(&format!("file://localhost{}/", folder.path().display())).unwrap();
    assert_eq!(info.dialect(&spelled), Some(Dialect::default()));
}

/// A lake of years has tens of thousands of objects below a prefix, of which a page has a thousand.
#[tokio::test]
async fn a_single_page_tells_if_there_is_anything() {
    let fake = FakeS3::start(Quirks::default()).await;
    let store = store(&fake);
    let client = crate::support::weed::client(&fake.sdk_config());
    for number in 0..40 {
        // Some programs leave empty objects as markers of folders. They are no objects of the lake.
        let key = format!("days/{number:02}{}", if number < 15 { "/" } else { ".json" });
        let put = client.put_object().bucket("lake").key(format!("school/{key}"));
        put.send().await.unwrap();
    }
    for (prefix, is_there, pages) in [("days/2", true, 1), ("days/", true, 2), ("nights/", false, 1)] {
        fake.forget();
        assert_eq!(store.has_any(prefix).await.unwrap(), is_there, "{prefix}");
        assert_eq!(fake.asked().len(), pages, "{prefix}");
    }
    fake.forget();
    assert_eq!(store.list("days/").await.unwrap().len(), 25);
}

#[tokio::test]
async fn a_part_that_hangs_holds_the_others_so_that_a_kill_costs_few() {
    let fake = FakeS3::start(Quirks {
        first_part_hangs: true,
        ..Quirks::default()
    })
    .await;
    let bytes = content(1, 12 * PART);
    let in_flight = super::s3::settings().parts_in_flight;
    let store = store(&fake);
    suite::upload(&store, "x.mp4", &bytes).await.unwrap();
    assert_eq!(store.get("x.mp4").await.unwrap().bytes, bytes);
    let asked = fake.asked().into_iter().map(|asked| asked.operation);
    let before = asked.take_while(|operation| *operation != "the first part is stored");
    let parts = before.filter(|operation| *operation == "UploadPart").count();
    assert!(
        (2..=2 * in_flight).contains(&parts),
        "{parts} parts before the first one"
    );
}
