//! The promises that only S3 gives: the AWS chain, TLS, the properties of objects, and the errors of refused requests.

use std::time::Duration;

use aws_sdk_s3::operation::upload_part::UploadPartOutput;
use bytes::Bytes;
use telelake::store::s3::S3Store;
use telelake::store::{Condition, Resumed, Store, UploadLease, UploadOptions, open};
use telelake::{ErrorKind, config};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::suite::{self, PART, content, nothing_unfinished, options, unfinished, upload};
use super::whole_suite;
use crate::support::again::with_environment;
use crate::support::eventually::{eventually, eventually_some};
use crate::support::weed::{self, weed};

/// The variable with the bucket's URL, for a test in a process of its own.
const URL: &str = "TELELAKE_TEST_S3_URL";

/// Settings with the smallest parts, of which few are in flight.
pub fn settings() -> config::S3 {
    config::S3 {
        path_style: true,
        part_size: config::Bytes::mebibytes(5),
        parts_in_flight: 2,
        ..config::S3::default()
    }
}

/// A store below a prefix of a new bucket, by plain HTTP.
pub async fn new() -> (String, S3Store) {
    with(settings()).await
}

async fn with(settings: config::S3) -> (String, S3Store) {
    let weed = weed().await;
    let bucket = weed.bucket().await;
    let url = format!("s3://{bucket}/озеро/данных");
    let store = S3Store::with_sdk_config(&url, &settings, &weed.sdk_config()).unwrap();
    (bucket, store)
}

/// The environment of a process that finds a new bucket by the AWS chain alone.
fn chain(https: bool) -> Vec<(&'static str, String)> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let weed = weed().await;
        let mut environment = weed.environment(if https { &weed.https } else { &weed.http });
        environment.push((URL, format!("s3://{}/lake", weed.bucket().await)));
        environment.push(("AWS_CA_BUNDLE", weed.ca_file.display().to_string()));
        environment
    })
}

async fn open_by_chain() -> std::sync::Arc<dyn Store> {
    open(&config::Store {
        url: std::env::var(URL).unwrap(),
        s3: settings(),
    })
    .await
    .unwrap()
}

#[test]
fn over_https_with_a_private_ca() {
    with_environment(
        "store::s3::over_https_with_a_private_ca",
        || chain(true),
        async || {
            assert!(
                std::env::var("AWS_ENDPOINT_URL_S3")
                    .unwrap()
                    .starts_with("https://")
            );
            whole_suite(&*open_by_chain().await).await;
        },
    );
}

#[test]
fn by_the_aws_chain() {
    with_environment(
        "store::s3::by_the_aws_chain",
        || chain(false),
        async || {
            let store = open_by_chain().await;
            store.preflight().await.unwrap();
        },
    );
}

#[test]
fn a_ca_that_is_not_named_is_not_trusted() {
    let environment = || {
        let mut environment = chain(true);
        environment.retain(|(name, _)| *name != "AWS_CA_BUNDLE");
        environment
    };
    with_environment(
        "store::s3::a_ca_that_is_not_named_is_not_trusted",
        environment,
        async || {
            let error = open_by_chain().await.preflight().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
            assert!(error.to_string().contains("AWS_CA_BUNDLE"), "{error}");
        },
    );
}

#[test]
fn a_ca_bundle_without_certificates_is_refused_by_name() {
    let environment = || {
        let mut environment = chain(true);
        environment.retain(|(name, _)| *name != "AWS_CA_BUNDLE");
        environment.push(("AWS_CA_BUNDLE", env!("CARGO_MANIFEST_PATH").into()));
        environment
    };
    let name = "store::s3::a_ca_bundle_without_certificates_is_refused_by_name";
    with_environment(name, environment, async || {
        let settings = config::Store {
            url: "s3://lake".into(),
            s3: settings(),
        };
        let error = open(&settings).await.err().unwrap();
        assert_eq!(
            (error.kind(), error.about()),
            (ErrorKind::Config, "AWS_CA_BUNDLE")
        );
    });
}

#[test]
fn without_credentials_preflight_tells_how_to_give_them() {
    let environment = || {
        let mut environment = chain(false);
        environment.retain(|(name, _)| !matches!(*name, "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY"));
        environment
    };
    let name = "store::s3::without_credentials_preflight_tells_how_to_give_them";
    with_environment(name, environment, async || {
        let store = open_by_chain().await;
        let checked = tokio::time::timeout(Duration::from_secs(60), store.preflight()).await;
        let error = checked.expect("an answer").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
        assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
    });
}

/// Asserts that each error is a line with the bucket, the endpoint and the way out, and without credentials.
async fn is_unavailable(store: &S3Store, bucket: &str, endpoint: &str) {
    let get = store.get("x").await.unwrap_err();
    let put = store.put("x", Bytes::new(), Condition::Absent).await.unwrap_err();
    let upload = upload(store, "x", &content(1, 9)).await.unwrap_err();
    for error in [store.preflight().await.unwrap_err(), get, put, upload] {
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("bucket {bucket} at {endpoint}: ")),
            "{text}"
        );
        assert!(text.ends_with(')') && !text.contains('\n'), "{text}");
        assert!(!text.contains("s3cr3t") && !text.contains("AKIAWRONG"), "{text}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_unavailable() {
    let weed = weed().await;
    let store = S3Store::with_sdk_config("s3://not-there/lake", &settings(), &weed.sdk_config()).unwrap();
    is_unavailable(&store, "not-there", &weed.http).await;
}

#[tokio::test]
async fn refused_credentials_are_unavailable() {
    let weed = weed().await;
    let bucket = weed.bucket().await;
    for (access, secret) in [("AKIAWRONG", "s3cr3t"), (&*weed.access_key, "s3cr3t")] {
        let sdk = weed::sdk_config(&weed.http, access, secret);
        let store = S3Store::with_sdk_config(&format!("s3://{bucket}"), &settings(), &sdk).unwrap();
        is_unavailable(&store, &bucket, &weed.http).await;
    }
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let sdk = weed::sdk_config(&endpoint, "AKIAWRONG", "s3cr3t");
    let store = S3Store::with_sdk_config("s3://lake", &settings(), &sdk).unwrap();
    let error = store.preflight().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert_eq!(
        error.to_string(),
        format!(
            "bucket lake at {endpoint}: can't be reached: Connection refused (os error 111) (check \
             store.s3.endpoint_url, the region and the network)"
        )
    );
}

#[tokio::test]
async fn objects_have_the_configured_properties_and_no_trace_of_the_transfer() {
    let (bucket, store) = with(config::S3 {
        recordings_storage_class: "STANDARD_IA".into(),
        sse: "AES256".into(),
        ..settings()
    })
    .await;
    let client = weed().await.client();
    store.put("put", content(1, 9), Condition::Any).await.unwrap();
    for (key, length) in [("whole", 9), ("parts", 2 * PART + 1)] {
        let options = UploadOptions {
            content_type: Some("video/mp4".into()),
            ..UploadOptions::default()
        };
        let mut upload = store.upload(key, options).await.unwrap();
        upload.write(content(1, length)).await.unwrap();
        upload.complete().await.unwrap();
    }
    for (key, class, media) in [
        ("put", None, None),
        ("whole", Some("STANDARD_IA"), Some("video/mp4")),
        ("parts", Some("STANDARD_IA"), Some("video/mp4")),
    ] {
        let request = client
            .head_object()
            .bucket(&bucket)
            .key(format!("озеро/данных/{key}"));
        let found = request.send().await.unwrap();
        assert_eq!(found.content_encoding(), None, "{key}");
        let stored = found.storage_class().map(|class| class.as_str());
        assert_eq!(stored.filter(|class| *class != "STANDARD"), class, "{key}");
        let sse = found.server_side_encryption().map(|sse| sse.as_str());
        assert_eq!(sse, Some("AES256"), "{key}");
        if media.is_some() {
            assert_eq!(found.content_type(), media, "{key}");
        }
    }
    assert_eq!(store.get("parts").await.unwrap().bytes, content(1, 2 * PART + 1));
}

#[tokio::test]
async fn a_write_after_a_failed_write_fails_too_and_nothing_is_left() {
    let (bucket, store) = new().await;
    let mut upload = store.upload("x.mp4", UploadOptions::default()).await.unwrap();
    upload.write(content(1, PART + 1)).await.unwrap();
    // Another process takes the upload away.
    let client = weed().await.client();
    let uploads = client
        .list_multipart_uploads()
        .bucket(&bucket)
        .send()
        .await
        .unwrap();
    for other in uploads.uploads() {
        let request = client.abort_multipart_upload().bucket(&bucket);
        let request = request
            .key(other.key().unwrap())
            .upload_id(other.upload_id().unwrap());
        request.send().await.unwrap();
    }
    let mut failures = 0;
    for _ in 0..4 {
        failures += i32::from(upload.write(content(2, PART)).await.is_err());
    }
    assert!(failures > 0);
    upload.abort().await.unwrap();
    assert_eq!(store.list("").await.unwrap(), []);
    nothing_unfinished(&store).await;
}

/// Removes the lock files of the drivers' claims, because another machine has none.
async fn remove_lock_files(store: &S3Store) {
    for note in store.list("_telelake/uploads/").await.unwrap() {
        let note = store.get(&note.key).await.unwrap();
        let note: serde_json::Value = serde_json::from_slice(&note.bytes).unwrap();
        let lock = format!("telelake-{}.lock", note["driver"].as_str().unwrap());
        std::fs::remove_file(std::env::temp_dir().join(lock)).unwrap();
    }
}

#[tokio::test]
async fn an_upload_of_another_machine_is_taken_over_if_it_shows_no_sign_of_life() {
    let (_bucket, store) = new().await;
    let lease = UploadLease {
        beat: Duration::from_millis(300),
        watch: Duration::from_secs(3),
        ..UploadLease::default()
    };
    let store = store.with_lease(lease);
    let bytes = content(1, 3 * PART + 1);
    let mut upload = store.upload("x.mp4", options()).await.unwrap();
    suite::write(&mut upload, &bytes.slice(..2 * PART + 1))
        .await
        .unwrap();
    remove_lock_files(&store).await;
    // Its source stands still, but its driver lives.
    assert!(store.resume("x.mp4").await.unwrap().is_none());
    assert_eq!(unfinished(&store, "").await, [("x.mp4".to_owned(), true)]);
    // Once it is dropped, its checkpoint does not change any more. Before it was watched, its driver may still live.
    drop(upload);
    assert_eq!(unfinished(&store, "").await, [("x.mp4".to_owned(), true)]);
    let upload = suite::open(&store, "x.mp4").await;
    let uploaded = suite::finish(upload, &bytes).await;
    assert_eq!(store.get("x.mp4").await.unwrap().bytes, bytes);
    store.delete(&uploaded.receipt.unwrap()).await.unwrap();
    nothing_unfinished(&store).await;
}

#[tokio::test]
async fn an_upload_that_was_taken_over_is_not_disturbed_by_its_former_driver() {
    let (_bucket, store) = new().await;
    // Its driver writes too seldom, as a process on a suspended machine does.
    let sleeper = store.clone().with_lease(UploadLease {
        beat: Duration::from_secs(600),
        ..UploadLease::default()
    });
    let store = store.with_lease(UploadLease {
        watch: Duration::from_millis(500),
        ..UploadLease::default()
    });
    let bytes = content(1, 4 * PART + 1);
    let mut former = sleeper.upload("x.mp4", options()).await.unwrap();
    suite::write(&mut former, &bytes.slice(..2 * PART + 1))
        .await
        .unwrap();
    eventually("the checkpoint names two parts", async || {
        checkpoint_names(&store, PART as u64 * 2).await
    })
    .await;
    remove_lock_files(&store).await;
    let upload = suite::open(&store, "x.mp4").await;
    assert_eq!(upload.bytes(), 2 * PART as u64);
    // The former driver wakes up, writes again, and fails.
    let failing = async || former.write(content(2, PART)).await.err();
    let error = eventually_some("the former driver fails", failing).await;
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    former.abort().await.unwrap();
    let uploaded = suite::finish(upload, &bytes).await;
    assert_eq!(store.get("x.mp4").await.unwrap().bytes, bytes);
    store.delete(&uploaded.receipt.unwrap()).await.unwrap();
    nothing_unfinished(&store).await;
}

/// True if the only checkpoint names so many stored bytes.
async fn checkpoint_names(store: &S3Store, bytes: u64) -> bool {
    let notes = store.list("_telelake/uploads/").await.unwrap();
    let note = store.get(&notes[0].key).await.unwrap();
    let note: serde_json::Value = serde_json::from_slice(&note.bytes).unwrap();
    note["bytes"].as_u64().unwrap() >= bytes
}

#[tokio::test]
async fn an_upload_with_another_part_size_is_aborted() {
    let (_bucket, store) = new().await;
    suite::release(&store, "x.mp4", &content(1, 2 * PART + 1)).await;
    let settings = config::S3 {
        part_size: config::Bytes::mebibytes(6),
        ..settings()
    };
    let other = S3Store::with_sdk_config(store.url(), &settings, &weed().await.sdk_config()).unwrap();
    assert!(other.resume("x.mp4").await.unwrap().is_none());
    nothing_unfinished(&store).await;
}

#[tokio::test]
async fn a_checkpoint_whose_parts_differ_from_the_servers_is_not_trusted() {
    let (_bucket, store) = new().await;
    suite::release(&store, "x.mp4", &content(1, 2 * PART + 1)).await;
    let notes = store.list("_telelake/uploads/").await.unwrap();
    let note = store.get(&notes[0].key).await.unwrap().bytes;
    let mut note: serde_json::Value = serde_json::from_slice(&note).unwrap();
    // As if somebody else had replaced the second part.
    note["parts"][1]["etag"] = "\"00000000000000000000000000000000\"".into();
    let note = note.to_string().into();
    store.put(&notes[0].key, note, Condition::Any).await.unwrap();
    assert!(store.resume("x.mp4").await.unwrap().is_none());
    nothing_unfinished(&store).await;
}

/// Sends the third part of the bucket's only upload, past the store.
async fn send_third_part(bucket: &str, bytes: Bytes) -> UploadPartOutput {
    let client = weed().await.client();
    let uploads = client.list_multipart_uploads().bucket(bucket);
    let uploads = uploads.send().await.unwrap();
    let upload = &uploads.uploads()[0];
    let part = client.upload_part().bucket(bucket).key(upload.key().unwrap());
    let part = part.upload_id(upload.upload_id().unwrap()).part_number(3);
    part.body(bytes.into()).send().await.unwrap()
}

#[tokio::test]
async fn an_upload_is_resumed_though_a_part_was_stored_that_its_checkpoint_does_not_name() {
    let (bucket, store) = new().await;
    let bytes = content(1, 5 * PART + 1);
    suite::release(&store, "x.mp4", &bytes.slice(..2 * PART + 1)).await;
    // As a process leaves it that was killed after it had sent a part. The next one sends the part again, and SeaweedFS lists both.
    send_third_part(&bucket, bytes.slice(2 * PART..3 * PART)).await;
    let mut resumed = suite::open(&store, "x.mp4").await;
    assert_eq!(resumed.bytes(), 2 * PART as u64);
    suite::write(&mut resumed, &bytes.slice(2 * PART..4 * PART + 1))
        .await
        .unwrap();
    resumed.keep().await.unwrap();
    let resumed = suite::open(&store, "x.mp4").await;
    assert_eq!(resumed.bytes(), 4 * PART as u64);
    let uploaded = suite::finish(resumed, &bytes).await;
    assert_eq!(store.get("x.mp4").await.unwrap().bytes, bytes);
    store.delete(&uploaded.receipt.unwrap()).await.unwrap();
    nothing_unfinished(&store).await;
}

#[tokio::test]
async fn an_upload_without_a_checkpoint_is_an_orphan() {
    let (bucket, store) = new().await;
    let client = weed().await.client();
    let request = client.create_multipart_upload().bucket(&bucket);
    request.key("озеро/данных/media/x.mp4").send().await.unwrap();
    let found = store.unfinished_uploads("media/").await.unwrap();
    assert_eq!((found.len(), found[0].driven), (1, false));
    store.abort_upload(&found[0]).await.unwrap();
    nothing_unfinished(&store).await;
}

#[tokio::test]
async fn an_upload_with_its_last_checkpoint_is_completed_without_its_source() {
    let (bucket, store) = new().await;
    let bytes = content(1, 2 * PART + 1);
    suite::release(&store, "x.mp4", &bytes).await;
    // As a process leaves it that dies before completing: its last part is sent, and its last checkpoint written.
    let sent = send_third_part(&bucket, bytes.slice(2 * PART..)).await;
    let key = store.list("_telelake/uploads/").await.unwrap().remove(0).key;
    let note = store.get(&key).await.unwrap().bytes;
    let mut note: serde_json::Value = serde_json::from_slice(&note).unwrap();
    note["bytes"] = bytes.len().into();
    let last = serde_json::json!({"number": 3, "etag": sent.e_tag(), "bytes": 1});
    note["parts"].as_array_mut().unwrap().push(last);
    let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
    note["finished"] = sha256.clone().into();
    store
        .put(&key, note.to_string().into(), Condition::Any)
        .await
        .unwrap();

    let Some(Resumed::Whole(whole)) = store.resume("x.mp4").await.unwrap() else {
        panic!("it was not completed");
    };
    assert_eq!((whole.bytes, &whole.sha256), (bytes.len() as u64, &sha256));
    assert_eq!(store.get("x.mp4").await.unwrap().bytes, bytes);
    store.delete(&whole.receipt.unwrap()).await.unwrap();
    nothing_unfinished(&store).await;
}

/// Passes connections on to the server, but drops the first answer, so that its write is done without an answer.
async fn loses_the_first_answer(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(server.trim_start_matches("http://"))
                .await
                .unwrap();
            tokio::spawn(async move {
                if connection > 0 {
                    return tokio::io::copy_bidirectional(&mut near, &mut far).await.map(drop);
                }
                let (mut requests, mut answers) = (near.split(), far.split());
                let mut answer = [0; 4096];
                tokio::select! {
                    passed = tokio::io::copy(&mut requests.0, &mut answers.1) => passed.map(drop),
                    lost = answers.0.read(&mut answer) => lost.map(drop),
                }
            });
        }
    });
    endpoint
}

#[tokio::test]
async fn a_conditional_write_whose_answer_was_lost_has_won() {
    let weed = weed().await;
    let bucket = weed.bucket().await;
    let endpoint = loses_the_first_answer(weed.http.clone()).await;
    let sdk = weed::sdk_config(&endpoint, &weed.access_key, &weed.secret_key);
    let store = S3Store::with_sdk_config(&format!("s3://{bucket}"), &settings(), &sdk).unwrap();
    let version = store
        .put("x", Bytes::from_static(b"mine"), Condition::Absent)
        .await
        .unwrap();
    assert_eq!(store.get("x").await.unwrap().version, version);
    // A later writer still loses.
    let error = store
        .put("x", Bytes::from_static(b"other"), Condition::Absent)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition);
}

#[tokio::test]
async fn each_checksum_is_sent_with_objects_and_parts_and_a_resumed_upload_keeps_its_own() {
    let kinds = [
        config::Checksum::Md5,
        config::Checksum::Crc32,
        config::Checksum::Crc64Nvme,
        config::Checksum::Sha256,
    ];
    for checksum in kinds {
        let (bucket, store) = with(config::S3 {
            checksum,
            ..settings()
        })
        .await;
        store.put("put", content(1, 9), Condition::Any).await.unwrap();
        let bytes = content(2, 3 * PART + 1);
        suite::release(&store, "x.mp4", &bytes.slice(..2 * PART + 1)).await;
        // Another process, whose configuration names no checksum any more.
        let other = S3Store::with_sdk_config(store.url(), &settings(), &weed().await.sdk_config()).unwrap();
        let upload = suite::open(&other, "x.mp4").await;
        assert_eq!(upload.bytes(), 2 * PART as u64, "{checksum:?}");
        let uploaded = suite::finish(upload, &bytes).await;
        other.delete(&uploaded.receipt.unwrap()).await.unwrap();
        assert_eq!(other.get("x.mp4").await.unwrap().bytes, bytes);
        suite::upload(&store, "small.mp4", &content(3, 9)).await.unwrap();
        for key in ["put", "x.mp4", "small.mp4"] {
            let head = weed().await.client().head_object().bucket(&bucket);
            let head = head.key(format!("озеро/данных/{key}"));
            let head = head.checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled);
            let found = head.send().await.unwrap();
            let kept = match checksum {
                config::Checksum::Crc32 => found.checksum_crc32(),
                config::Checksum::Crc64Nvme => found.checksum_crc64_nvme(),
                config::Checksum::Sha256 => found.checksum_sha256(),
                _ => continue,
            };
            assert!(kept.is_some(), "{checksum:?} {key}");
            assert_eq!(found.content_encoding(), None, "{checksum:?} {key}");
        }
    }
}
