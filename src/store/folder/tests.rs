//! The promises that only a folder gives: its URL, the modes of its files, and the files of dead processes.

use super::*;

fn folder() -> (tempfile::TempDir, FolderStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = FolderStore::at(&directory.path().join("озеро 100%")).unwrap();
    (directory, store)
}

#[test]
fn a_url_is_decoded_and_made() {
    let cases = [
        ("file:///srv/lake", "/srv/lake"),
        ("file://localhost/srv/lake/", "/srv/lake/"),
        (
            "file:///srv/%D0%BE%D0%B7%D0%B5%D1%80%D0%BE%20100%25",
            "/srv/озеро 100%",
        ),
        ("file:///srv/озеро", "/srv/озеро"),
    ];
    for (url, path) in cases {
        assert_eq!(FolderStore::open(url).expect(url).root(), Path::new(path));
    }
    for url in ["file://lake", "file://./lake", "file://", "s3://lake"] {
        assert_eq!(
            FolderStore::open(url).expect_err(url).kind(),
            ErrorKind::Config,
            "{url}"
        );
    }
    let (_directory, store) = folder();
    assert_eq!(FolderStore::open(store.url()).unwrap().root(), store.root());
}

#[test]
fn no_key_leaves_the_root_or_names_the_stores_own_files() {
    let (_directory, store) = folder();
    for key in [
        "",
        "/etc/x",
        "a//b",
        "a/../b",
        "..",
        "a/.",
        "a\\b",
        "a/",
        LOCK,
        TEMP,
        "_telelake/tmp/a",
    ] {
        assert_eq!(
            store.path(key).expect_err(key).kind(),
            ErrorKind::Internal,
            "{key}"
        );
    }
    assert!(store.path("a/..b/.c").is_ok());
}

#[test]
fn temporary_files_of_dead_processes_are_removed_and_those_of_living_ones_stay() {
    let (_directory, store) = folder();
    let key = "media/урок.mp4";
    let dead = store.root.join(TEMP).join(key).join(".0123456789abcdef.part");
    make_folders(dead.parent().unwrap()).unwrap();
    fs::write(&dead, b"half").unwrap();
    let alive = Temp::create(&store, "media/other.mp4").unwrap();

    let found = resume::unfinished(&store, "").unwrap();
    let driven: Vec<_> = found.iter().map(|left| (&*left.key, left.driven)).collect();
    assert_eq!(driven, [("media/other.mp4", true), (key, false)]);
    assert_eq!(resume::unfinished(&store, "calls/").unwrap().len(), 0);
    for left in &found {
        resume::abort(&store, left).unwrap();
    }
    assert!(!dead.exists());
    alive
        .publish(&store, &store.root.join("media/other.mp4"), || Ok(()))
        .unwrap();
    assert!(store.root.join("media/other.mp4").exists());
    assert_eq!(
        fs::read_dir(store.root.join(TEMP)).unwrap().count(),
        0,
        "folders are pruned"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_write_makes_no_folders_for_temporary_files_and_leaves_none() {
    let (_directory, store) = folder();
    let put = async |bytes, condition| {
        let bytes = Bytes::from_static(bytes);
        store.put("a/b", bytes, condition).await
    };
    let first = put(b"x", Condition::Absent).await.unwrap();
    assert!(!store.root.join(TEMP).exists());
    put(b"y", Condition::Absent).await.unwrap_err();
    put(b"y", Condition::Unchanged(first.clone())).await.unwrap();
    put(b"z", Condition::Unchanged(first)).await.unwrap_err();
    assert_eq!(store.get("a/b").await.unwrap().bytes, "y");
    assert_eq!(fs::read_dir(store.root.join(TEMP)).unwrap().count(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn other_users_may_not_read_the_lake() {
    use std::os::unix::fs::PermissionsExt;

    let (_directory, store) = folder();
    // The second write takes the place of the first one, for which it needs a temporary name.
    for bytes in ["x", "y"] {
        let bytes = Bytes::from_static(bytes.as_bytes());
        store.put("a/b", bytes, Condition::Any).await.unwrap();
    }
    for (path, most) in [
        ("", 0o750),
        ("a", 0o750),
        ("a/b", 0o640),
        ("_telelake", 0o750),
        (TEMP, 0o700),
        (LOCK, 0o600),
    ] {
        let mode = fs::metadata(store.root.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !most, 0, "{path}: {mode:o}");
    }
}

#[tokio::test]
async fn a_write_that_waits_too_long_for_the_lock_names_its_holder() {
    let (_directory, mut store) = folder();
    let put = async |store: &FolderStore| store.put("a/b", Bytes::from_static(b"x"), Condition::Any).await;
    put(&store).await.unwrap();
    let reader = File::open(store.root.join(LOCK)).unwrap();
    reader.lock_shared().unwrap();
    store.patience = Duration::ZERO;
    for error in [
        put(&store).await.unwrap_err(),
        store.delete("a/b").await.unwrap_err(),
        store.preflight().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
        assert_eq!(error.exit_status(), crate::ExitStatus::Nothing);
        let pid = format!("process {}", std::process::id());
        assert!(error.message().contains(&pid), "{error}");
    }
    drop(reader);
    put(&store).await.unwrap();
}

#[test]
fn a_full_disk_names_the_object_and_the_way_out() {
    let error = failed("calls/x.parquet", &io::Error::from(io::ErrorKind::StorageFull));
    assert_eq!(error.kind(), ErrorKind::Store);
    assert_eq!(
        error.to_string(),
        "calls/x.parquet: no storage space (free space below store.url)"
    );
}

#[tokio::test]
async fn conditions_are_not_checked_once_the_file_system_is_known_to_have_no_locks() {
    let (_directory, store) = folder();
    let put = async |condition| store.put("a", Bytes::from_static(b"x"), condition).await;
    put(Condition::Absent).await.unwrap();
    assert_eq!(
        put(Condition::Absent).await.unwrap_err().kind(),
        ErrorKind::Precondition
    );
    store.speak(Dialect {
        conditional_writes: false,
        ..Dialect::default()
    });
    put(Condition::Absent).await.unwrap();
    put(Condition::Unchanged(Version("of another".into())))
        .await
        .unwrap();
}
