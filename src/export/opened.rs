//! The program's own objects in the store that belong to no day: what the store is, which days are open, which runs
//! there were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::summary::{Problem, Summary};
use super::workshop::Workshop;
use crate::lake::manifest::{self, Manifest, RecordEntry, Status};
use crate::lake::{self, key};
use crate::store::{Condition, Dialect, Entry, EtagForm, Shortcoming, Store, StoreAddress, Version};
use crate::{Error, ErrorKind, Result};

/// The size of one of the program's own objects, in bytes: many times that of any that it writes.
const MOST_BYTES: u64 = 128 * 1024 * 1024;

/// What is known of a store since its first write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// The version of the lake's layout.
    pub version: u32,
    /// The zone whose midnights part the days: another one would put calls on two days.
    pub timezone: String,
    /// Whether the store honours `If-Match` and `If-None-Match`, as a probe found.
    pub conditional_writes: bool,
    /// The form in which it takes an ETag.
    #[serde(default)]
    pub etag_form: EtagForm,
    /// The URL at which this was found out; empty in lakes of older versions.
    #[serde(default)]
    pub url: String,
    /// The endpoint of an S3 server at which it was; empty for AWS's own, and for a folder.
    #[serde(default)]
    pub endpoint: String,
    /// The operations that the server does not know.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lacks: BTreeSet<Shortcoming>,
    /// When it was probed.
    pub probed_at: DateTime<Utc>,
    /// The fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

impl StoreInfo {
    /// Takes what a probe of a store found.
    fn note(&mut self, store: &dyn Store, found: Dialect, now: DateTime<Utc>) {
        let StoreAddress { url, endpoint } = store.address();
        (self.url, self.endpoint) = (url, endpoint);
        (self.conditional_writes, self.etag_form) = (found.conditional_writes, found.etag_form);
        self.lacks = found.lacks;
        self.probed_at = now;
    }

    /// How the store takes conditional writes; none where this was found out at another address: the lake was moved
    /// or copied since.
    pub fn dialect(&self, store: &dyn Store) -> Option<Dialect> {
        let address = StoreAddress {
            url: self.url.clone(),
            endpoint: self.endpoint.clone(),
        };
        (store.address() == address).then_some(Dialect {
            conditional_writes: self.conditional_writes,
            etag_form: self.etag_form,
            lacks: self.lacks.clone(),
        })
    }

    /// Refuses a zone other than the lake's.
    ///
    /// # Errors
    /// `Config`.
    pub fn check_zone(&self, zone: Tz) -> Result<()> {
        if self.timezone == zone.name() {
            return Ok(());
        }
        let message = format!(
            "the lake was written with timezone {}, the configuration says {zone}",
            self.timezone
        );
        Err(Error::new(ErrorKind::Config, "timezone", message).hint(
            "days of two zones in one lake would double calls: keep the zone, or take another store.url",
        ))
    }
}

/// A store that is known to be ours.
pub struct OpenedStore {
    /// What is known of it.
    pub info: StoreInfo,
}

impl OpenedStore {
    /// What is known of the store, for one who writes; none before its first write. Where it was found out at another
    /// address, the store is probed and what is found is written down.
    pub(super) async fn open(context: &Workshop) -> Result<Option<Self>> {
        let opened = Self::reopen(&*context.store, context.config.timezone, context.now).await?;
        Ok(opened.map(|(opened, rewritten)| {
            context.writes.fetch_add(u64::from(rewritten), Ordering::Relaxed);
            opened
        }))
    }

    /// Says to the run whether the store honours conditional writes.
    pub(super) fn tell(&self, context: &Workshop, summary: &mut Summary) {
        context
            .conditional
            .store(self.info.conditional_writes, Ordering::Relaxed);
        if !self.info.conditional_writes {
            summary.warn(Problem::new(
                "store_ignores_conditional_writes",
                "the store ignores conditional writes: runs and imports take turns by a lease; one that stood still \
                 for a minute while it held it may still overwrite another's work",
            ));
        }
    }

    /// Reads what is known of the store; at the first write of all, probes it and writes that down.
    pub(super) async fn open_or_create(context: &Workshop) -> Result<Self> {
        let (opened, created) = Self::open_in(&*context.store, context.config.timezone, context.now).await?;
        context.writes.fetch_add(u64::from(created), Ordering::Relaxed);
        Ok(opened)
    }

    /// The same without a run; also says whether it was written down just now.
    pub(super) async fn open_in(store: &dyn Store, zone: Tz, now: DateTime<Utc>) -> Result<(Self, bool)> {
        if let Some(opened) = Self::reopen(store, zone, now).await? {
            return Ok(opened);
        }
        let mut info = StoreInfo {
            version: lake::VERSION,
            timezone: zone.name().into(),
            conditional_writes: false,
            etag_form: EtagForm::default(),
            lacks: BTreeSet::new(),
            url: String::new(),
            endpoint: String::new(),
            probed_at: now,
            unknown: BTreeMap::new(),
        };
        info.note(store, store.probe().await?, now);
        Self::write(store, info, Condition::Absent).await
    }

    /// [`OpenedStore::open`] without a run; also says whether it was written down anew.
    async fn reopen(store: &dyn Store, zone: Tz, now: DateTime<Utc>) -> Result<Option<(Self, bool)>> {
        let Some((mut info, version)) = read_with_version(store).await? else {
            return Ok(None);
        };
        info.check_zone(zone)?;
        if info.dialect(store).is_some() {
            return Ok(Some((Self { info }, false)));
        }
        info.note(store, store.probe().await?, now);
        tracing::info!(
            url = info.url,
            conditional_writes = info.conditional_writes,
            "the lake lies at another address than before: the store was probed anew"
        );
        Self::write(store, info, Condition::Unchanged(version))
            .await
            .map(Some)
    }

    async fn write(store: &dyn Store, info: StoreInfo, condition: Condition) -> Result<(Self, bool)> {
        let condition = if info.conditional_writes {
            condition
        } else {
            Condition::Any
        };
        // Another process may have been first; what it found is as good.
        match store.put(key::STORE_INFO, to_json(&info)?, condition).await {
            Ok(_) => Ok((Self { info }, true)),
            Err(error) if error.kind() == ErrorKind::Precondition => Ok((Self { info }, false)),
            Err(error) => Err(error),
        }
    }
}

/// What is known of the store; `None` before its first write. The store speaks so from then on, unless this was found
/// out at another address.
///
/// # Errors
/// `Config`: the lake is of a newer version. Else of the store.
pub async fn read(store: &dyn Store) -> Result<Option<StoreInfo>> {
    read_with_version(store)
        .await
        .map(|found| found.map(|(info, _)| info))
}

/// Refuses a lake of a newer version. Other faults are left to whoever needs what is known of the store.
///
/// # Errors
/// `Config`.
pub async fn refuse_newer(store: &dyn Store) -> Result<()> {
    match read(store).await {
        Err(error) if error.kind() == ErrorKind::Config => Err(error),
        _ => Ok(()),
    }
}

async fn read_with_version(store: &dyn Store) -> Result<Option<(StoreInfo, Version)>> {
    let found = get_json::<StoreInfo>(store, key::STORE_INFO).await?;
    if let Some((info, _)) = found.as_ref().filter(|(info, _)| info.version > lake::VERSION) {
        return Err(newer(key::STORE_INFO, info.version.into()));
    }
    if let Some(dialect) = found.as_ref().and_then(|(info, _)| info.dialect(store)) {
        store.speak(dialect);
    }
    Ok(found)
}

/// Reads and parses one of the program's own objects, with its version.
///
/// # Errors
/// `Store`: it is damaged, or of a newer version, which makes the whole lake one of a newer version (`Config`) where it
/// is the description of the store. Else of the store.
pub async fn get_json<T: serde::de::DeserializeOwned>(
    store: &dyn Store,
    key: &str,
) -> Result<Option<(T, Version)>> {
    match store.get_within(key, MOST_BYTES).await {
        Ok(object) => match parse(key, &object.bytes) {
            Ok(value) => Ok(Some((value, object.version))),
            Err(error) => Err(newer_version(key, &object.bytes).map_or(error, |version| newer(key, version))),
        },
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse<T: serde::de::DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        // Where, and not what: serde's own words show the value, and a shelf holds people's.
        let message = format!("is damaged, from line {}, column {} on", e.line(), e.column());
        Error::new(ErrorKind::Store, key, message).hint("restore it, or remove it to start anew")
    })
}

/// The version of an object that says that it is of a newer one than this program knows. Only manifests and the
/// description of the store have one.
pub(super) fn newer_version(key: &str, bytes: &[u8]) -> Option<u64> {
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
fn newer(key: &str, version: u64) -> Error {
    let (kind, what, known) = match key {
        key::STORE_INFO => (ErrorKind::Config, "the lake is", lake::VERSION),
        _ => (ErrorKind::Store, "is", manifest::VERSION),
    };
    let message = format!("{what} of version {version}, this telelake knows versions up to {known}");
    Error::new(kind, key, message)
        .hint("upgrade telelake: an older one would lose what the newer one wrote, so it writes nothing")
}

/// The bytes of one of the program's own objects: JSON that a person can read.
pub(super) fn to_json(value: &impl Serialize) -> Result<bytes::Bytes> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "serialization", e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

/// A day that is not complete.
#[derive(Debug, Clone)]
pub(super) struct OpenDay {
    pub date: NaiveDate,
    pub space_id: String,
    /// Whether all of the space's rooms must be listed: none could be, or not all.
    pub space: bool,
    /// The rooms that must be listed again: their calls or records may have changed since.
    pub rooms: BTreeSet<String>,
}

/// The days up to today that have something pending, failed or not built, as their markers say.
pub(super) async fn open_days(store: &dyn Store, today: NaiveDate) -> Result<Vec<OpenDay>> {
    let mut markers = store.list(key::OPEN_DAYS).await?;
    // A clock was wrong when a later one was made: its calls are asked for when its date has come.
    let is_later = |marker: &Entry| key::date_in(&marker.key).is_some_and(|date| date > today);
    markers.retain(|marker| {
        if is_later(marker) {
            tracing::warn!(marker = marker.key, "a day later than today is left alone");
        }
        !is_later(marker)
    });
    let days = stream::iter(markers)
        .map(|marker| open_day(store, marker.key))
        .buffered(8);
    Ok(days.filter_map(std::future::ready).collect().await)
}

/// The day of a marker; none for an object that is no marker.
async fn open_day(store: &dyn Store, marker: String) -> Option<OpenDay> {
    let date = key::date_in(&marker)?;
    let manifest_key = marker.replacen(key::OPEN_DAYS, key::DAYS, 1) + ".json";
    match get_json::<Manifest>(store, &manifest_key).await {
        Ok(Some((manifest, _))) => Some(OpenDay {
            date,
            space: manifest.missed.space || manifest.missed.partial,
            rooms: rooms_to_list(&manifest),
            space_id: manifest.space_id,
        }),
        // A run was killed between marker and manifest: nothing is known of the day, so all of it is asked for. One
        // that can't be read is met, and told, when the day is worked on.
        Ok(None) | Err(_) => {
            let space_id = marker.rsplit('/').next().and_then(key::unsegment)?;
            Some(OpenDay {
                date,
                space_id,
                space: true,
                rooms: BTreeSet::new(),
            })
        }
    }
}

fn rooms_to_list(manifest: &Manifest) -> BTreeSet<String> {
    let calls = manifest
        .calls
        .values()
        .filter(|call| call.pending.is_some())
        .map(|call| &call.room_id);
    let open = |record: &&RecordEntry| matches!(record.file.status, Status::Pending | Status::Failed);
    let records = manifest
        .records
        .values()
        .filter(open)
        .map(|record| &record.room_id);
    calls
        .chain(records)
        .chain(&manifest.missed.rooms)
        .cloned()
        .collect()
}
