//! The promises that only a folder gives.

use bytes::Bytes;
use telelake::store::folder::FolderStore;
use telelake::store::{Condition, Store, open};
use telelake::{ErrorKind, config};

/// A store in a new folder, whose name needs encoding in a URL.
pub fn new() -> (tempfile::TempDir, FolderStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = FolderStore::at(&directory.path().join("озеро данных")).unwrap();
    (directory, store)
}

fn named(url: String) -> config::Store {
    config::Store {
        url,
        ..config::Store::default()
    }
}

/// A regular file is in the way, so that no user, not even root, can make a folder below it.
#[tokio::test]
async fn a_folder_that_can_not_be_written_is_reported_before_any_work() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let url = format!("file://{}/lake", file.display());
    let store = open(&named(url.clone())).await.unwrap();
    let error = store.preflight().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert_eq!(
        error.to_string(),
        format!(
            "{url}: can't be written: not a directory (name a folder in store.url that this user may create and write)"
        )
    );
    let write = store.put("a/b", Bytes::new(), Condition::Any).await.unwrap_err();
    assert_eq!((write.kind(), write.about()), (ErrorKind::Store, "a/b"));
}

#[tokio::test]
async fn a_url_opens_the_folder_that_it_encodes() {
    let (_directory, store) = new();
    store
        .put("a", Bytes::from_static(b"x"), Condition::Any)
        .await
        .unwrap();
    let again = open(&named(store.url().to_owned())).await.unwrap();
    assert_eq!(again.get("a").await.unwrap().bytes, "x");
}

#[tokio::test]
async fn a_key_that_leaves_the_root_is_refused() {
    let (_directory, store) = new();
    for key in ["../x", "/x", "a//b", "_telelake/lock"] {
        let error = store.put(key, Bytes::new(), Condition::Any).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{key}");
        let error = store.upload(key, Default::default()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Internal, "{key}");
    }
}
