//! The index of the days: a cache of the manifests in a few objects, so that the page and `status` need not read them all.
//!
//! An entry holds what a manifest says for people, and the stamp by which a listing recognizes that manifest. It counts
//! only while the listing shows the stamp, and any part of the index may be lost: it is made anew from the manifests. The
//! coverage is an object for each year, so that a night writes one small object and old years stay as they are. The hashes
//! of the ids, which only a search needs, are an object for each month.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::day_ids::DayIds;
use super::day_status::DayStatus;
use super::missing::Lack;
use super::rooms::DatedRoomName;
use crate::ids::{RoomId, SpaceId};
use crate::lake::manifest::Quality;
use crate::lake::tally::Tally;
use crate::store::{Condition, ListedObject, OptionalExt, Store, Version};
use crate::task::isolated_blocking;
use crate::{Error, ErrorKind, Result};

/// The version of the index. It is raised if its form changes, or the coverage that a manifest gives; an index of another
/// version is made anew.
const VERSION: u32 = 1;
/// The size limit of an index object, stored and as JSON: many times that of any that the program writes.
const MOST_BYTES: u64 = 128 * 1024 * 1024;
const MOST_TEXT: u64 = 1024 * 1024 * 1024;
/// The zstd level.
const LEVEL: i32 = 3;
/// Lost conditional writes after which an update gives up.
const TRIES: usize = 3;
/// A manifest that was written less than this before it was read may have been written again with the same size and time.
/// The clocks of store and machine may differ by as much.
const UNCERTAIN: TimeDelta = TimeDelta::seconds(90);

/// The marks by which a listing recognizes a manifest that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestStamp {
    bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

impl ManifestStamp {
    /// The stamp of a manifest that was read with `version` after the listing had shown `entry`; `None` if the listing
    /// could not tell it from a later one.
    pub fn of(entry: &ListedObject, version: &Version, read_at: DateTime<Utc>) -> Option<Self> {
        let version = version.0.trim_matches('"');
        let etag = entry.etag.clone().filter(|etag| etag == version);
        let stamp = Self {
            bytes: entry.bytes,
            modified: entry.modified,
            etag,
        };
        (stamp.etag.is_some() || will_be_certain(entry, read_at)).then_some(stamp)
    }

    /// The entry of the listing, for a manifest that is read again.
    pub fn entry(&self, key: &str) -> ListedObject {
        ListedObject {
            key: key.to_owned(),
            bytes: self.bytes,
            modified: self.modified,
            etag: self.etag.clone(),
        }
    }

    /// True if the listing shows the manifest that was read.
    pub fn is_of(&self, entry: &ListedObject) -> bool {
        let is_same = match &self.etag {
            Some(etag) => entry.etag.as_ref() == Some(etag),
            None => self.modified.is_some() && self.modified == entry.modified,
        };
        is_same && self.bytes == entry.bytes
    }
}

/// True if a manifest that is read now can be recognized by its size and time.
fn will_be_certain(entry: &ListedObject, now: DateTime<Utc>) -> bool {
    entry.modified.is_some_and(|at| at + UNCERTAIN < now)
}

/// True if a manifest that is read now can be recognized in a later listing.
pub(super) fn can_be_indexed(entry: &ListedObject, now: DateTime<Utc>) -> bool {
    entry.etag.is_some() || will_be_certain(entry, now)
}

/// The coverage of a year's days.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct YearIndex {
    /// True if no day of the year was missing here when its writer listed it.
    pub is_whole: bool,
    /// The days by the keys of their manifests.
    pub days: BTreeMap<String, IndexedDay>,
    /// The latest names of the rooms.
    pub rooms: Vec<DatedRoomName>,
}

/// The coverage of a day.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct IndexedDay {
    pub stamp: ManifestStamp,
    #[serde(with = "shared_day")]
    pub day: Arc<DayStatus>,
}

impl PartialEq for IndexedDay {
    /// A stamp stands for one manifest, and so for one coverage.
    fn eq(&self, other: &Self) -> bool {
        self.stamp == other.stamp
    }
}

/// The hashes of the ids of a month's days, by the keys of the manifests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct IdIndex(pub BTreeMap<String, IndexedIds>);

/// The hashes of the ids of a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct IndexedIds {
    pub stamp: ManifestStamp,
    pub ids: Arc<DayIds>,
}

/// The parts of the index that are in memory.
#[derive(Debug, Default)]
pub(super) struct LoadedIndex {
    pub years: BTreeSet<i32>,
    /// True if the index was listed and every year that it has was loaded.
    pub are_all: bool,
    /// The months whose ids were loaded.
    pub months: BTreeSet<NaiveDate>,
}

/// The content of an index object.
#[derive(Serialize, Deserialize)]
struct IndexFile<T> {
    version: u32,
    content: T,
}

/// Reads an index object. `None` if there is none that this program can use.
///
/// # Errors
/// The store is out of reach.
pub(super) async fn read<T>(store: &dyn Store, key: &str) -> Result<Option<T>>
where
    T: DeserializeOwned + Send + 'static,
{
    read_with_condition(store, key).await.map(|(found, _)| found)
}

/// Reads an index object, and gives the condition under which it may be replaced.
async fn read_with_condition<T>(store: &dyn Store, key: &str) -> Result<(Option<T>, Condition)>
where
    T: DeserializeOwned + Send + 'static,
{
    match store.get_within(key, MOST_BYTES).await.optional() {
        Ok(Some(object)) => {
            let found = isolated_blocking(key, move || Ok(decode(&object.bytes))).await?;
            if found.is_none() {
                tracing::debug!(key, "a part of the index can't be used and is made anew");
            }
            Ok((found, Condition::Unchanged(object.version)))
        }
        Ok(None) => Ok((None, Condition::Absent)),
        // It is damaged: too large, or cut again and again.
        Err(error) if error.kind() == ErrorKind::Store => Ok((None, Condition::Any)),
        Err(error) => Err(error),
    }
}

/// Changes an index object and writes it if it has changed. If other processes keep writing it, it stays as they leave it.
///
/// # Errors
/// Any error of the store.
pub(super) async fn update<T>(store: &dyn Store, key: &str, change: impl Fn(&mut T)) -> Result<()>
where
    T: Default + Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    for _ in 0..TRIES {
        let (found, condition) = read_with_condition::<T>(store, key).await?;
        let mut content = found.clone().unwrap_or_default();
        change(&mut content);
        if found.as_ref() == Some(&content) {
            return Ok(());
        }
        let bytes = isolated_blocking(key, move || encode(content)).await?;
        match store.put(key, bytes, condition).await {
            Err(error) if error.kind() == ErrorKind::Precondition => {}
            written => return written.map(|_| ()),
        }
    }
    tracing::debug!(key, "other processes keep writing this part of the index");
    Ok(())
}

fn encode(content: impl Serialize) -> Result<Bytes> {
    let file = IndexFile {
        version: VERSION,
        content,
    };
    let failed =
        |error: &dyn std::fmt::Display| Error::new(ErrorKind::Internal, "the index", error.to_string());
    let text = serde_json::to_vec(&file).map_err(|error| failed(&error))?;
    let bytes = zstd::encode_all(text.as_slice(), LEVEL).map_err(|error| failed(&error))?;
    Ok(bytes.into())
}

/// The content of an index object; `None` if it is damaged or of another version.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut text = Vec::new();
    let reader = zstd::Decoder::with_buffer(bytes).ok()?;
    reader.take(MOST_TEXT).read_to_end(&mut text).ok()?;
    let file: IndexFile<T> = serde_json::from_slice(&text).ok()?;
    (file.version == VERSION).then_some(file.content)
}

/// The form of a day in the index: every field by its own name, and none that has its default.
#[derive(Default, Serialize, Deserialize)]
#[serde(remote = "DayStatus", default)]
struct DayForm {
    date: NaiveDate,
    space_id: SpaceId,
    #[serde(skip_serializing_if = "is_default")]
    space_name: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    listed: bool,
    #[serde(skip_serializing_if = "is_default")]
    built: bool,
    #[serde(skip_serializing_if = "is_default")]
    calls: u64,
    #[serde(skip_serializing_if = "is_default")]
    participants: u64,
    #[serde(skip_serializing_if = "is_default")]
    calls_pending: u64,
    #[serde(with = "TallyForm", skip_serializing_if = "is_default")]
    reports: Tally,
    #[serde(with = "TallyForm", skip_serializing_if = "is_default")]
    records: Tally,
    #[serde(skip_serializing_if = "is_default")]
    rooms_missed: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rooms_to_ask: Vec<RoomId>,
    #[serde(skip_serializing_if = "is_default")]
    rooms_gone: u64,
    #[serde(skip_serializing_if = "is_default")]
    space_missed: bool,
    #[serde(skip_serializing_if = "is_default")]
    recorded_bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    recorded_s: u64,
    #[serde(skip_serializing_if = "is_default")]
    quality: Quality,
    #[serde(skip_serializing_if = "is_default")]
    lake_bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    complete: bool,
    #[serde(skip_serializing_if = "is_default")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<Lack>,
}

/// The form of a tally in the index.
#[derive(Default, Serialize, Deserialize)]
#[serde(remote = "Tally", default)]
struct TallyForm {
    #[serde(skip_serializing_if = "is_default")]
    done: u64,
    #[serde(skip_serializing_if = "is_default")]
    pending: u64,
    #[serde(skip_serializing_if = "is_default")]
    failed: u64,
    #[serde(skip_serializing_if = "is_default")]
    denied: u64,
    #[serde(skip_serializing_if = "is_default")]
    unavailable: u64,
    #[serde(skip_serializing_if = "is_default")]
    lost: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads and writes a shared day by [`DayForm`].
mod shared_day {
    use super::{Arc, DayForm, DayStatus};

    pub fn serialize<S: serde::Serializer>(day: &Arc<DayStatus>, serializer: S) -> Result<S::Ok, S::Error> {
        DayForm::serialize(day, serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<DayStatus>, D::Error> {
        DayForm::deserialize(deserializer).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::manifest::Manifest;
    use crate::status::day_status::tests::{built, landed};
    use crate::store::folder::FolderStore;

    fn listed(bytes: u64, modified: &str, etag: Option<&str>) -> ListedObject {
        ListedObject {
            key: "k".into(),
            bytes,
            modified: Some(modified.parse().expect("instant")),
            etag: etag.map(Into::into),
        }
    }

    #[test]
    fn a_stamp_recognizes_the_manifest_that_was_read_and_no_other() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("instant");
        let version = Version("\"a\"".into());
        let of = |entry: &ListedObject, read: &str| ManifestStamp::of(entry, &version, at(read));
        // A time tells manifests apart only if the one that was read is old enough.
        let plain = listed(5, "2026-11-22T10:00:00Z", None);
        assert_eq!(of(&plain, "2026-11-22T10:01:29Z"), None);
        let stamp = of(&plain, "2026-11-22T10:01:31Z").expect("certain");
        assert!(stamp.is_of(&plain));
        assert!(!stamp.is_of(&listed(6, "2026-11-22T10:00:00Z", None)));
        assert!(!stamp.is_of(&listed(5, "2026-11-22T10:00:01Z", None)));
        // An ETag tells them apart at once.
        let tagged = listed(5, "2026-11-22T10:00:00Z", Some("a"));
        let stamp = of(&tagged, "2026-11-22T10:00:00Z").expect("certain");
        assert!(stamp.is_of(&listed(5, "2026-11-22T10:00:07Z", Some("a"))));
        assert!(!stamp.is_of(&listed(5, "2026-11-22T10:00:00Z", Some("b"))));
        assert!(!stamp.is_of(&plain));
        // Another process wrote the manifest between the listing and the read.
        let overtaken = listed(5, "2026-11-22T10:00:00Z", Some("b"));
        assert_eq!(of(&overtaken, "2026-11-22T10:00:10Z"), None);
        let undated = ListedObject {
            modified: None,
            ..plain
        };
        assert_eq!(of(&undated, "2026-11-22T12:00:00Z"), None);
    }

    #[test]
    fn a_day_survives_the_index_in_every_field() {
        let mut manifest = landed();
        let call = serde_json::json!({
            "room_id": "r2", "started_at": null, "finished_at": null, "call": {}, "pending": "still going on",
            "reports": {"json": {"status": "pending"}, "xlsx": {"status": "failed", "reason": "503", "attempts": 2}},
        });
        manifest
            .calls
            .insert("c2".into(), serde_json::from_value(call).expect("a call"));
        let record = serde_json::json!({
            "room_id": "r1", "call_id": "c1", "started_at": "2026-11-20T09:00:00Z",
            "finished_at": "2026-11-20T09:01:00Z", "record": {}, "file": {"status": "unavailable"},
        });
        manifest
            .records
            .insert("x".into(), serde_json::from_value(record).expect("a record"));
        manifest.missed.rooms.insert("r9".into());
        manifest.missed.gone.insert("r8".into());
        let mut of = built();
        of.quality.unknown_roles = 3;
        manifest.built = Some(of);
        for manifest in [
            manifest,
            landed(),
            Manifest::new("2026-11-20".parse().expect("date"), "s"),
        ] {
            let indexed = IndexedDay {
                stamp: ManifestStamp {
                    bytes: 1,
                    modified: None,
                    etag: None,
                },
                day: Arc::new(DayStatus::of(&manifest)),
            };
            let bytes = encode(&indexed).expect("encoded");
            let read: IndexedDay = decode(&bytes).expect("decoded");
            assert_eq!(format!("{:?}", read.day), format!("{:?}", indexed.day));
        }
    }

    #[tokio::test]
    async fn a_damaged_index_or_one_of_another_version_is_made_anew() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let newer = IndexFile {
            version: VERSION + 1,
            content: YearIndex::default(),
        };
        let newer =
            zstd::encode_all(serde_json::to_vec(&newer).expect("JSON").as_slice(), LEVEL).expect("zstd");
        let whole = encode(YearIndex::default()).expect("encoded").to_vec();
        let damages = [
            b"no index".to_vec(),
            whole[..whole.len() - 3].to_vec(),
            Vec::new(),
            newer,
        ];
        for damage in damages {
            store.put("k", damage.into(), Condition::Any).await.expect("put");
            assert_eq!(read::<YearIndex>(&store, "k").await.expect("read"), None);
            update::<YearIndex>(&store, "k", |index| index.is_whole = true)
                .await
                .expect("updated");
            let now = read::<YearIndex>(&store, "k")
                .await
                .expect("read")
                .expect("an index");
            assert!(now.is_whole);
        }
    }

    #[tokio::test]
    async fn an_update_that_loses_to_another_writer_keeps_what_that_one_wrote() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let entry = |name: &str| {
            let stamp = ManifestStamp {
                bytes: 1,
                modified: None,
                etag: Some(name.into()),
            };
            (
                name.to_owned(),
                IndexedIds {
                    stamp,
                    ids: Arc::default(),
                },
            )
        };
        let theirs = encode(IdIndex([entry("theirs")].into())).expect("encoded");
        let times = std::cell::Cell::new(0);
        let change = |index: &mut IdIndex| {
            if times.replace(times.get() + 1) == 0 {
                std::fs::write(folder.path().join("k"), &theirs).expect("another writer");
            }
            index.0.extend([entry("ours")]);
        };
        update(&store, "k", change).await.expect("updated");
        let now: IdIndex = read(&store, "k").await.expect("read").expect("an index");
        assert_eq!(now.0.keys().collect::<Vec<_>>(), ["ours", "theirs"]);
        assert_eq!(times.get(), 2);
    }
}
