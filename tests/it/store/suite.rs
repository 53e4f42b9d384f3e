//! The promises of every store, as plain functions over `&dyn Store`. Each function works below a prefix of its own.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use sha2::{Digest, Sha256};
use telelake::ErrorKind;
use telelake::store::{Condition, Resumed, Source, Store, Upload, UploadOptions, Uploaded, Version};

/// The smallest part that S3 takes.
pub const PART: usize = 5 * 1024 * 1024;

/// Random bytes of a seed.
pub fn content(seed: u64, length: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes.into()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The options of the suite's uploads.
pub fn options() -> UploadOptions {
    UploadOptions {
        content_type: None,
        source: Source {
            of: "2026-11-23T10:00:00+00:00 1".into(),
            etag: Some("\"урок\"".into()),
            total: Some(1),
        },
    }
}

/// Writes in chunks of an odd size, as they come from a network.
pub async fn write(upload: &mut Box<dyn Upload>, bytes: &Bytes) -> telelake::Result<()> {
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        let chunk = rest.split_to(rest.len().min(70_001));
        upload.write(chunk).await?;
    }
    Ok(())
}

/// Uploads a whole object, and deletes its receipt.
pub async fn upload(store: &dyn Store, key: &str, bytes: &Bytes) -> telelake::Result<()> {
    let mut upload = store.upload(key, options()).await?;
    write(&mut upload, bytes).await?;
    let uploaded = upload.complete().await?;
    is_of(&uploaded, bytes);
    if let Some(receipt) = &uploaded.receipt {
        store.delete(receipt).await?;
    }
    Ok(())
}

fn is_of(uploaded: &Uploaded, bytes: &Bytes) {
    assert_eq!(uploaded.bytes, bytes.len() as u64);
    assert_eq!(uploaded.sha256, sha256(bytes));
    assert_eq!(uploaded.source, options().source);
}

/// The keys of unfinished uploads, and true for each that is driven.
pub async fn unfinished(store: &dyn Store, prefix: &str) -> Vec<(String, bool)> {
    let found = store.unfinished_uploads(prefix).await.unwrap();
    found
        .into_iter()
        .map(|upload| (upload.key, upload.driven))
        .collect()
}

/// Starts an upload of `bytes` and releases it.
pub async fn release(store: &dyn Store, key: &str, bytes: &Bytes) {
    let mut upload = store.upload(key, options()).await.unwrap();
    write(&mut upload, bytes).await.unwrap();
    upload.keep().await.unwrap();
}

/// Resumes the upload of a key.
pub async fn open(store: &dyn Store, key: &str) -> Box<dyn Upload> {
    match store.resume(key).await.unwrap() {
        Some(Resumed::Open(upload)) => upload,
        Some(Resumed::Whole(whole)) => panic!("{whole:?}"),
        None => panic!("nothing to go on with"),
    }
}

/// Writes the rest of `bytes` to a resumed upload and completes it.
pub async fn finish(mut upload: Box<dyn Upload>, bytes: &Bytes) -> Uploaded {
    assert_eq!(upload.source(), &options().source);
    let rest = bytes.slice(usize::try_from(upload.bytes()).unwrap()..);
    write(&mut upload, &rest).await.unwrap();
    let uploaded = upload.complete().await.unwrap();
    is_of(&uploaded, bytes);
    uploaded
}

/// Asserts that the store holds no unfinished uploads and no checkpoints.
pub async fn nothing_unfinished(store: &dyn Store) {
    assert_eq!(unfinished(store, "").await, []);
    assert_eq!(keys(store, "_telelake/uploads/").await, [""; 0]);
}

async fn put(store: &dyn Store, key: &str, text: &str) -> Version {
    let bytes = Bytes::from(text.to_owned());
    store.put(key, bytes, Condition::Any).await.unwrap()
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let entries = store.list(prefix).await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

async fn kind_of_put(store: &dyn Store, key: &str, condition: Condition) -> Option<ErrorKind> {
    let bytes = Bytes::from_static(b"refused");
    store
        .put(key, bytes, condition)
        .await
        .err()
        .map(|error| error.kind())
}

pub async fn an_object_above_the_size_limit_is_not_read(store: &dyn Store) {
    put(store, "bounded/a", "0123456789").await;
    let object = store.get_within("bounded/a", 10).await.unwrap();
    assert_eq!(object.bytes, "0123456789");
    let error = store.get_within("bounded/a", 9).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.about()),
        (ErrorKind::Store, "bounded/a"),
        "{error}"
    );
    let error = store.get_within("bounded/b", 9).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreNotFound);
}

pub async fn a_copy_keeps_its_bytes(store: &dyn Store) {
    let (from, to) = ("copied/date=2026-11-22/a%2Fб c+d.parquet", "copied/new/a.parquet");
    put(store, from, "first").await;
    store.copy(from, to).await.unwrap();
    put(store, from, "second").await;
    assert_eq!(store.read(to).await.unwrap(), "first");
    store.delete(from).await.unwrap();
    assert_eq!(store.read(to).await.unwrap(), "first");
    let error = store.copy(from, "copied/new/b.parquet").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreNotFound, "{error}");
    assert_eq!(keys(store, "copied/").await, [to]);
}

pub async fn preflight_leaves_nothing_visible(store: &dyn Store) {
    let before = keys(store, "").await;
    store.preflight().await.unwrap();
    store.preflight().await.unwrap();
    assert_eq!(keys(store, "").await, before);
    assert_eq!(unfinished(store, "").await, []);
}

pub async fn conditional_writes_are_honoured_and_probe_objects_are_removed(store: &dyn Store) {
    let before = keys(store, "").await;
    assert!(store.probe().await.unwrap().conditional_writes);
    assert_eq!(keys(store, "").await, before);
}

pub async fn an_object_reads_back_as_it_was_written(store: &dyn Store) {
    for (length, name) in [
        (0, "empty"),
        (1, "one"),
        (100_000, "large"),
        (7, "Лекция №1 «Введение».json"),
    ] {
        let key = format!("back/date=2026-11-23/{name}");
        let bytes = content(7, length);
        let version = store.put(&key, bytes.clone(), Condition::Any).await.unwrap();
        let found = store.get(&key).await.unwrap();
        assert_eq!(sha256(&found.bytes), sha256(&bytes), "{key}");
        assert_eq!(found.version, version, "{key}");
        assert_eq!(store.size(&key).await.unwrap(), Some(length as u64), "{key}");
    }
}

pub async fn pieces_of_an_object_make_the_whole(store: &dyn Store) {
    const KEY: &str = "pieces/урок.mp4";
    let bytes = content(9, 100_003);
    store.put(KEY, bytes.clone(), Condition::Any).await.unwrap();
    let mut whole = Vec::new();
    loop {
        let piece = store.get_range(KEY, whole.len() as u64, 30_000).await.unwrap();
        if piece.is_empty() {
            break;
        }
        assert_eq!(piece.len(), 30_000.min(bytes.len() - whole.len()));
        whole.extend_from_slice(&piece);
    }
    assert_eq!(sha256(&whole), sha256(&bytes));
    let last = store.get_range(KEY, 100_002, 1 << 30).await.unwrap();
    assert_eq!(last, bytes[100_002..]);
    for (offset, length) in [(0, 0), (100_003, 1), (1 << 40, 10)] {
        let none = store.get_range(KEY, offset, length).await.unwrap();
        assert!(none.is_empty(), "{offset}");
    }
    put(store, "pieces/empty", "").await;
    assert!(store.get_range("pieces/empty", 0, 10).await.unwrap().is_empty());
}

pub async fn a_missing_object_has_an_error_kind_of_its_own(store: &dyn Store) {
    put(store, "missing/there", "x").await;
    for key in ["missing/not-there", "missing", "nowhere/at/all.json"] {
        let error = store.get(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreNotFound, "{error}");
        assert_eq!(error.about(), key);
        let error = store.get_range(key, 0, 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreNotFound, "{error}");
        assert_eq!(store.size(key).await.unwrap(), None);
        store.delete(key).await.unwrap();
    }
    assert_eq!(keys(store, "nowhere/").await, [""; 0]);
    assert_eq!(keys(store, "missing/").await, ["missing/there"]);
    store.delete("missing/there").await.unwrap();
    assert_eq!(store.size("missing/there").await.unwrap(), None);
}

pub async fn a_write_replaces_the_whole(store: &dyn Store) {
    let long = put(store, "replaced/x", "a long first content").await;
    let short = put(store, "replaced/x", "short").await;
    assert_ne!(long, short);
    assert_eq!(store.get("replaced/x").await.unwrap().bytes, "short");
    upload(store, "replaced/x", &content(1, PART + 3)).await.unwrap();
    let uploaded = store.get("replaced/x").await.unwrap();
    assert_eq!(uploaded.bytes, content(1, PART + 3));
    assert_ne!(uploaded.version, short);
}

pub async fn readers_see_the_old_or_the_new_object(store: &dyn Store) {
    const KEY: &str = "atomic/x";
    let contents = [content(1, 300_000), content(2, 200_001)];
    store.put(KEY, contents[0].clone(), Condition::Any).await.unwrap();
    let writing = async {
        for turn in 1..20 {
            let bytes = contents[turn % 2].clone();
            store.put(KEY, bytes, Condition::Any).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..40 {
            let found = store.get(KEY).await.unwrap().bytes;
            assert!(contents.contains(&found), "{} bytes of neither", found.len());
        }
    };
    tokio::join!(writing, reading);
}

pub async fn a_relaxed_write_is_seen_whole_and_at_once(store: &dyn Store) {
    let bytes = content(3, 700_000);
    let writing = async {
        for turn in 0..10 {
            let key = format!("relaxed/{turn}");
            store.put_relaxed(&key, bytes.clone()).await.unwrap();
            assert_eq!(store.get(&key).await.unwrap().bytes, bytes);
        }
    };
    let reading = async {
        for turn in 0..10 {
            match store.get(&format!("relaxed/{turn}")).await {
                Ok(found) => assert!(found.bytes == bytes, "{} bytes", found.bytes.len()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::StoreNotFound),
            }
        }
    };
    tokio::join!(writing, reading);
    let second = Bytes::from_static(b"second");
    store.put_relaxed("relaxed/0", second.clone()).await.unwrap();
    assert_eq!(store.get("relaxed/0").await.unwrap().bytes, second);
    store.delete("relaxed/1").await.unwrap();
    store.sync().await.unwrap();
    assert_eq!(store.list("relaxed/").await.unwrap().len(), 9);
}

pub async fn a_write_whose_condition_does_not_hold_changes_nothing(store: &dyn Store) {
    const KEY: &str = "conditions/x";
    let absent = |text: &'static str| store.put(KEY, Bytes::from_static(text.as_bytes()), Condition::Absent);
    let first = absent("one").await.unwrap();
    let lost = Some(ErrorKind::Precondition);
    assert_eq!(kind_of_put(store, KEY, Condition::Absent).await, lost);
    // Within a tick of any clock, and of the same length.
    let condition = Condition::Unchanged(first.clone());
    let second = store
        .put(KEY, Bytes::from_static(b"two"), condition.clone())
        .await
        .unwrap();
    assert_ne!(first, second);
    assert_eq!(kind_of_put(store, KEY, condition).await, lost);
    assert_eq!(store.get(KEY).await.unwrap().bytes, "two");
    store.delete(KEY).await.unwrap();
    assert_eq!(kind_of_put(store, KEY, Condition::Unchanged(second)).await, lost);
    assert_eq!(store.size(KEY).await.unwrap(), None);
    absent("three").await.unwrap();
}

pub async fn one_of_racing_writers_wins(store: &dyn Store) {
    const KEY: &str = "race/x";
    let race = async |condition: Condition, round: &'static str| {
        let writers = (0..20).map(|writer| {
            let condition = condition.clone();
            async move {
                let text = format!("{round} {writer}");
                let done = store.put(KEY, text.clone().into(), condition).await;
                done.map(|_| text).map_err(|error| error.kind())
            }
        });
        let results = join_all(writers).await;
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 19), "{round}");
        assert!(
            lost.iter().all(|kind| *kind == Err(ErrorKind::Precondition)),
            "{lost:?}"
        );
        let found = store.get(KEY).await.unwrap();
        assert_eq!(found.bytes, won[0].clone().unwrap());
        found.version
    };
    let version = race(Condition::Absent, "create").await;
    race(Condition::Unchanged(version), "replace").await;
}

pub async fn uploads_of_every_size_arrive_whole(store: &dyn Store) {
    for length in [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 1] {
        let key = format!("uploads/date=2026-11-23/урок_{length}.mp4");
        let bytes = content(length as u64, length);
        upload(store, &key, &bytes).await.unwrap();
        let found = store.get(&key).await.unwrap();
        assert_eq!(sha256(&found.bytes), sha256(&bytes), "{length}");
        assert_eq!(store.size(&key).await.unwrap(), Some(length as u64));
    }
    nothing_unfinished(store).await;
    assert_eq!(store.list("uploads/").await.unwrap().len(), 7);
}

pub async fn an_upload_shows_nothing_before_it_is_complete(store: &dyn Store) {
    const KEY: &str = "unseen/x.mp4";
    put(store, KEY, "old").await;
    let bytes = content(3, 2 * PART + 1);
    let mut upload = store.upload(KEY, UploadOptions::default()).await.unwrap();
    upload.write(bytes.clone()).await.unwrap();
    assert_eq!(store.get(KEY).await.unwrap().bytes, "old");
    assert_eq!(keys(store, "unseen/").await, [KEY]);
    let receipt = upload.complete().await.unwrap().receipt.unwrap();
    store.delete(&receipt).await.unwrap();
    assert_eq!(store.get(KEY).await.unwrap().bytes, bytes);
}

pub async fn an_aborted_upload_leaves_nothing(store: &dyn Store) {
    let before = keys(store, "").await;
    for length in [0, 5, 2 * PART + 1] {
        let mut upload = store
            .upload("aborted/x.mp4", UploadOptions::default())
            .await
            .unwrap();
        upload.write(content(4, length)).await.unwrap();
        upload.abort().await.unwrap();
    }
    assert_eq!(keys(store, "").await, before);
    nothing_unfinished(store).await;
}

pub async fn a_dropped_upload_shows_nothing_and_can_be_resumed(store: &dyn Store) {
    const KEY: &str = "dropped/x.mp4";
    let bytes = content(5, 3 * PART + 1);
    let mut upload = store.upload(KEY, options()).await.unwrap();
    write(&mut upload, &bytes).await.unwrap();
    drop(upload);
    assert_eq!(keys(store, "dropped/").await, [""; 0]);
    // No store promises how many bytes the checkpoint names by then.
    let left = unfinished(store, "dropped/").await;
    let expected = (KEY.to_owned(), false);
    assert!(
        !left.is_empty() && left.iter().all(|left| *left == expected),
        "{left:?}"
    );
    match store.resume(KEY).await.unwrap() {
        Some(Resumed::Open(upload)) => {
            let uploaded = finish(upload, &bytes).await;
            assert_eq!(store.get(KEY).await.unwrap().bytes, bytes);
            store.delete(&uploaded.receipt.unwrap()).await.unwrap();
        }
        Some(Resumed::Whole(whole)) => panic!("{whole:?}"),
        None => {
            for left in store.unfinished_uploads("dropped/").await.unwrap() {
                store.abort_upload(&left).await.unwrap();
            }
        }
    }
    nothing_unfinished(store).await;
}

pub async fn a_released_upload_is_resumed_where_it_stopped(store: &dyn Store) {
    const KEY: &str = "kept/date=2026-11-23/урок.mp4";
    let bytes = content(6, 4 * PART + 7);
    release(store, KEY, &bytes.slice(..2 * PART + 3)).await;
    assert_eq!(keys(store, "kept/").await, [""; 0]);
    assert_eq!(
        unfinished(store, "kept/date=2026").await,
        [(KEY.to_owned(), false)]
    );
    assert_eq!(unfinished(store, "kept-").await, []);
    // The upload of another key is not resumed, even if the keys begin alike.
    assert!(store.resume(&KEY[..KEY.len() - 4]).await.unwrap().is_none());

    // It can be released and resumed several times, and loses less than a part each time.
    let mut stood = 0;
    for written in [2 * PART + 3, 3 * PART + 3] {
        let mut upload = open(store, KEY).await;
        assert!(upload.bytes() > stood && upload.bytes() + PART as u64 > written as u64);
        stood = upload.bytes();
        let more = bytes.slice(usize::try_from(stood).unwrap()..written + PART);
        write(&mut upload, &more).await.unwrap();
        upload.keep().await.unwrap();
    }
    let upload = open(store, KEY).await;
    assert!(upload.bytes() >= 4 * PART as u64);
    let uploaded = finish(upload, &bytes).await;
    assert_eq!(store.get(KEY).await.unwrap().bytes, bytes);
    store.delete(&uploaded.receipt.unwrap()).await.unwrap();
    nothing_unfinished(store).await;
}

pub async fn a_driven_upload_is_left_alone(store: &dyn Store) {
    const KEY: &str = "driven/x.mp4";
    let bytes = content(7, 2 * PART + 1);
    let mut upload = store.upload(KEY, options()).await.unwrap();
    write(&mut upload, &bytes).await.unwrap();
    let found = store.unfinished_uploads("driven/").await.unwrap();
    assert_eq!((found.len(), found[0].driven), (1, true), "{found:?}");
    store.abort_upload(&found[0]).await.unwrap();
    assert!(store.resume(KEY).await.unwrap().is_none());

    // A second upload of the same key does not disturb the first one, and the last one to be completed wins.
    let other = content(8, 2 * PART + 2);
    let mut second = store.upload(KEY, options()).await.unwrap();
    write(&mut second, &other).await.unwrap();
    for (upload, bytes) in [(upload, &bytes), (second, &other)] {
        let uploaded = upload.complete().await.unwrap();
        is_of(&uploaded, bytes);
        assert_eq!(store.get(KEY).await.unwrap().bytes, *bytes);
        store.delete(&uploaded.receipt.unwrap()).await.unwrap();
    }
    nothing_unfinished(store).await;
}

pub async fn the_furthest_of_several_left_uploads_is_resumed_and_the_others_are_aborted(store: &dyn Store) {
    const KEY: &str = "several/x.mp4";
    let bytes = content(9, 3 * PART + 1);
    for parts in [1, 2, 1] {
        release(store, KEY, &bytes.slice(..parts * PART + 1)).await;
    }
    assert_eq!(unfinished(store, "several/").await.len(), 3);
    let upload = open(store, KEY).await;
    assert!(upload.bytes() >= 2 * PART as u64);
    assert_eq!(unfinished(store, "several/").await, [(KEY.to_owned(), true)]);
    upload.abort().await.unwrap();
    nothing_unfinished(store).await;
}

pub async fn a_left_upload_can_be_found_and_aborted(store: &dyn Store) {
    let bytes = content(10, PART + 1);
    for key in ["left/a.mp4", "left/b.mp4"] {
        release(store, key, &bytes).await;
    }
    let found = store.unfinished_uploads("left/").await.unwrap();
    assert_eq!(found.len(), 2);
    // An upload that is resumed before it is aborted has a driver again.
    let upload = open(store, "left/b.mp4").await;
    for left in &found {
        store.abort_upload(left).await.unwrap();
        store.abort_upload(left).await.unwrap();
    }
    assert_eq!(
        unfinished(store, "left/").await,
        [("left/b.mp4".to_owned(), true)]
    );
    assert!(store.resume("left/a.mp4").await.unwrap().is_none());
    let uploaded = finish(upload, &bytes).await;
    store.delete(&uploaded.receipt.unwrap()).await.unwrap();
    nothing_unfinished(store).await;
}

pub async fn a_receipt_names_the_whole_object_until_it_is_deleted(store: &dyn Store) {
    const KEY: &str = "receipt/x.mp4";
    let bytes = content(11, 2 * PART + 1);
    let mut first = store.upload(KEY, options()).await.unwrap();
    write(&mut first, &bytes).await.unwrap();
    let uploaded = first.complete().await.unwrap();
    assert_eq!(unfinished(store, "receipt/").await, [(KEY.to_owned(), false)]);
    for _ in 0..2 {
        match store.resume(KEY).await.unwrap() {
            Some(Resumed::Whole(whole)) => assert_eq!(whole, uploaded),
            _ => panic!("the receipt was not found"),
        }
    }
    // Once another upload has replaced the object, the receipt does not count any more.
    upload(store, KEY, &content(12, 2 * PART + 1)).await.unwrap();
    assert!(store.resume(KEY).await.unwrap().is_none());
    nothing_unfinished(store).await;
}

pub async fn a_damaged_checkpoint_costs_the_upload_and_nothing_else(store: &dyn Store) {
    const KEY: &str = "damaged/x.mp4";
    for damage in ["", "{", "{\"version\":1}"] {
        release(store, KEY, &content(13, 2 * PART + 1)).await;
        let notes = keys(store, "_telelake/uploads/").await;
        assert_eq!(notes.len(), 1);
        put(store, &notes[0], damage).await;
        assert!(store.resume(KEY).await.unwrap().is_none());
        for left in store.unfinished_uploads("damaged/").await.unwrap() {
            assert!(!left.driven);
            store.abort_upload(&left).await.unwrap();
        }
        nothing_unfinished(store).await;
    }
}

/// Runs more uploads than there are part buffers.
pub async fn many_concurrent_uploads_do_not_deadlock(store: &dyn Store) {
    let uploads = (0..12).map(|number| async move {
        let key = format!("many/{number}.mp4");
        upload(store, &key, &content(number, PART + 5)).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap().bytes, content(number, PART + 5));
    });
    let all = stream::iter(uploads).buffer_unordered(12).collect::<Vec<()>>();
    tokio::time::timeout(Duration::from_secs(120), all)
        .await
        .expect("no deadlock");
}

pub async fn a_listing_is_whole_and_in_order(store: &dyn Store) {
    let odd = ["a-b", "a.b", "a/b", "a/b-c", "a/b/c", "Ж", "А/б", "%2Ex", "_x"];
    let odd = odd.iter().filter(|key| **key != "a/b");
    let many = (0..1003).map(|number| format!("page={}/{number}.json", number % 3));
    let mut written: Vec<_> = odd.map(|key| (*key).to_owned()).chain(many).collect();
    let writes = written.iter().map(|key| async move {
        put(store, &format!("list/{key}"), key).await;
    });
    stream::iter(writes)
        .buffer_unordered(32)
        .collect::<Vec<()>>()
        .await;
    put(store, "list-beside", "").await;

    written.sort_unstable();
    let listed = store.list("list/").await.unwrap();
    let found: Vec<_> = listed
        .iter()
        .map(|entry| entry.key.trim_start_matches("list/"))
        .collect();
    assert_eq!(found, written);
    for entry in &listed {
        assert_eq!(entry.bytes, entry.key.len() as u64 - 5, "{}", entry.key);
    }
    assert_eq!(
        keys(store, "list/a").await,
        ["list/a-b", "list/a.b", "list/a/b-c", "list/a/b/c"]
    );
    assert_eq!(keys(store, "list/page=1/10").await.len(), 6);
    assert_eq!(keys(store, "list-").await, ["list-beside"]);
    for (prefix, is_there) in [("list/page=", true), ("list-", true), ("list/b", false)] {
        assert_eq!(store.has_any(prefix).await.unwrap(), is_there, "{prefix}");
    }
}
