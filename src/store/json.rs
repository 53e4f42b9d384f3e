//! The program's own objects: JSON in the store, read and written with their versions.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Condition, OptionalExt, Store, Version};
use crate::backoff::Backoff;
use crate::lake::{self, key, manifest};
use crate::{Error, ErrorKind, Result};

/// The size limit of one of the program's own objects, in bytes: many times that of any that it writes.
const MOST_BYTES: u64 = 128 * 1024 * 1024;
/// Lost conditional writes after which an update gives up.
const TRIES: u32 = 60;
/// The pause after a lost conditional write, so that many processes that end at the same time do not lose again together.
const PAUSE: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(500));

/// Reads and parses one of the program's own objects, with its version. `None` if there is no such object.
///
/// # Errors
/// `Store` if the object is damaged or of a newer version; `Config` if the description of the store is of a newer
/// version, because then the whole lake is. Otherwise any error of the store.
pub async fn get_json<T: DeserializeOwned>(store: &dyn Store, key: &str) -> Result<Option<(T, Version)>> {
    let Some(object) = store.get_within(key, MOST_BYTES).await.optional()? else {
        return Ok(None);
    };
    Ok(Some((read(key, &object.bytes)?, object.version)))
}

fn read<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    let damaged = |error| newer_version(key, bytes).map_or(error, |version| newer(key, version));
    parse(key, bytes).map_err(damaged)
}

/// Writes one of the program's own objects and returns its new version.
///
/// # Errors
/// `Precondition` if the condition does not hold. Otherwise any error of the store.
pub async fn put_json(
    store: &dyn Store,
    key: &str,
    value: &impl Serialize,
    condition: Condition,
) -> Result<Version> {
    store.put(key, to_json(value)?, condition).await
}

/// The outcome of [`update_json`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated<T> {
    /// The value as it is in the store now.
    pub value: T,
    /// True if the change made a write necessary.
    pub is_written: bool,
}

/// Reads one of the program's own objects, changes it and writes it if it has changed. If another process writes the
/// object meanwhile, all of it is done again, so `change` may be called several times. A missing object is the default.
///
/// # Errors
/// `Precondition` if other processes keep changing the object. Otherwise as [`get_json`] and [`put_json`].
pub async fn update_json<T>(
    store: &dyn Store,
    key: &str,
    mut change: impl FnMut(&mut T),
) -> Result<Updated<T>>
where
    T: Default + Serialize + DeserializeOwned,
{
    for attempt in 1..=TRIES {
        // The bytes are compared, so that a large value is in memory only once.
        let (mut value, before, condition) = match store.get_within(key, MOST_BYTES).await.optional()? {
            Some(object) => (
                read(key, &object.bytes)?,
                object.bytes,
                Condition::Unchanged(object.version),
            ),
            None => (T::default(), to_json(&T::default())?, Condition::Absent),
        };
        change(&mut value);
        let changed = to_json(&value)?;
        let is_written = changed != before;
        if is_written {
            match store.put(key, changed, condition).await {
                Err(error) if error.kind() == ErrorKind::Precondition => {
                    tokio::time::sleep(PAUSE.pause(attempt)).await;
                    continue;
                }
                written => written?,
            };
        }
        return Ok(Updated { value, is_written });
    }
    let message = "other processes keep changing it";
    Err(Error::new(ErrorKind::Precondition, key, message).hint("try again later"))
}

fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        // The position only: serde's own words show the value, and a lesson day holds people's data.
        let message = format!("is damaged, from line {}, column {} on", e.line(), e.column());
        Error::new(ErrorKind::Store, key, message).hint("restore it, or remove it to start anew")
    })
}

/// The version that an object names, if it is newer than the one that this program knows. Only manifests and the
/// description of the store have versions.
pub fn newer_version(key: &str, bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let known = match key {
        key::STORE_INFO => lake::VERSION,
        _ if key.starts_with(key::DAYS) => manifest::VERSION,
        _ => return None,
    };
    let found: Versioned = serde_json::from_slice(bytes).ok()?;
    (found.version > u64::from(known)).then_some(found.version)
}

/// The error of an object of a newer version.
pub(crate) fn newer(key: &str, version: u64) -> Error {
    let (kind, what, known) = match key {
        key::STORE_INFO => (ErrorKind::Config, "the lake is", lake::VERSION),
        _ => (ErrorKind::Store, "is", manifest::VERSION),
    };
    let message = format!("{what} of version {version}, this telelake knows versions up to {known}");
    Error::new(kind, key, message)
        .hint("upgrade telelake: an older one would lose what the newer one wrote, so it writes nothing")
}

/// The bytes of one of the program's own objects: JSON that a person can read.
///
/// # Errors
/// `Internal` if the value has no JSON form.
pub fn to_json(value: &impl Serialize) -> Result<bytes::Bytes> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "serialization", e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::folder::FolderStore;

    fn store() -> (tempfile::TempDir, FolderStore) {
        let folder = tempfile::tempdir().expect("folder");
        let url = format!("file://{}", folder.path().display());
        let store = FolderStore::open(&url).expect("store");
        (folder, store)
    }

    #[tokio::test]
    async fn an_update_that_changes_nothing_writes_nothing() {
        let (_folder, store) = store();
        let kept = update_json::<Vec<u8>>(&store, "k", |_| {}).await.expect("read");
        assert!(!kept.is_written && kept.value.is_empty());
        assert_eq!(store.size("k").await.expect("size"), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_writers_at_the_same_time_all_get_their_turn() {
        let (_folder, store) = store();
        let updates =
            (0..60).map(|number| update_json(&store, "k", move |value: &mut Vec<u8>| value.push(number)));
        for updated in futures_util::future::join_all(updates).await {
            updated.expect("written");
        }
        let (value, _) = get_json::<Vec<u8>>(&store, "k")
            .await
            .expect("read")
            .expect("a value");
        assert_eq!(value.len(), 60);
    }

    #[tokio::test]
    async fn an_update_that_loses_to_another_writer_is_done_again() {
        let (folder, store) = store();
        let mut calls = 0;
        let change = |value: &mut Vec<u8>| {
            calls += 1;
            if calls == 1 {
                std::fs::write(folder.path().join("k"), "[7]").expect("another writer");
            }
            value.push(1);
        };
        let updated = update_json(&store, "k", change).await.expect("updated");
        assert_eq!((updated.value, updated.is_written, calls), (vec![7, 1], true, 2));
        let (stored, _) = get_json::<Vec<u8>>(&store, "k")
            .await
            .expect("read")
            .expect("an object");
        assert_eq!(stored, [7, 1]);
    }
}
