//! The description of the store, `_telelake/store.json`: the lake's layout and time zone, and how the server takes writes.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lake::{self, key};
use crate::pipeline::summary::{Problem, ProblemKind, Summary};
use crate::store::json::{get_json, newer, to_json};
use crate::store::{Condition, Dialect, EtagForm, Shortcoming, Store, StoreAddress, Version};
use crate::tables::PrivacyPolicy;
use crate::{Error, ErrorKind, Result};

/// The way out for a store without a lake.
const NO_LAKE: &str = "check store.url; the first run or backfill makes the lake";

/// Lost conditional writes after which a process gives up.
const TRIES: usize = 10;

/// The description of a store, written before anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// The version of the lake's layout.
    pub version: u32,
    /// The time zone whose midnights part the days. Another zone would put calls on two days.
    pub timezone: String,
    /// True if the store honours `If-Match` and `If-None-Match`, as a probe found.
    pub conditional_writes: bool,
    /// The form in which the server takes an ETag.
    #[serde(default)]
    pub etag_form: EtagForm,
    /// The URL of the store that was probed; empty in lakes of older versions.
    #[serde(default)]
    pub url: String,
    /// The endpoint of the S3 server that was probed; empty for AWS's own, and for a folder.
    #[serde(default)]
    pub endpoint: String,
    /// The operations that the server lacks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lacks: BTreeSet<Shortcoming>,
    /// The time of the probe.
    pub probed_at: DateTime<Utc>,
    /// The number of erasures that were begun. A process that knows fewer of them reads their tombstones again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub erasures: u64,
    /// A value by which the key of the lake's pseudonyms is recognized; none until pseudonyms are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy_key_check: Option<String>,
    /// The digest of the privacy policy that the tables of no single day were built under: lesson data, rooms, spaces. None
    /// if nothing was treated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy_policy: Option<String>,
    /// The fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl StoreInfo {
    /// Records what a probe of a store found.
    fn record_probe(&mut self, store: &dyn Store, found: Dialect, now: DateTime<Utc>) {
        let StoreAddress { url, endpoint } = store.address();
        (self.url, self.endpoint) = (url, endpoint);
        (self.conditional_writes, self.etag_form) = (found.conditional_writes, found.etag_form);
        self.lacks = found.lacks;
        self.probed_at = now;
    }

    /// The dialect that the probe found; `None` if another address was probed, because the lake was moved or copied since.
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

    /// Refuses a time zone other than the lake's.
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
            "days of two zones in one lake would have the same call twice: keep the zone, or use another store.url",
        ))
    }

    /// Refuses a key of pseudonyms other than the lake's.
    ///
    /// # Errors
    /// `Config`.
    pub fn check_key(&self, privacy: &PrivacyPolicy) -> Result<()> {
        match (&self.privacy_key_check, privacy.key_check()) {
            (Some(known), Some(key)) if known != key => {
                let message = "holds another key than the one that made the pseudonyms of this lake";
                Err(Error::new(ErrorKind::Config, privacy.key_place(), message).hint(
                    "put the former key into the file, because with another one the same person would have two pseudonyms; \
                     docs/privacy.md says how to change the key",
                ))
            }
            _ => Ok(()),
        }
    }

    /// True if the key of these pseudonyms is not noted yet.
    fn lacks_key(&self, privacy: &PrivacyPolicy) -> bool {
        self.privacy_key_check.is_none() && privacy.key_check().is_some()
    }
}

impl StoreInfo {
    /// Reads the description for a writer; `None` before the store's first write. If another address was probed, the
    /// store is probed again and the result is written: then the flag is true. The key of pseudonyms is noted when it is first
    /// used.
    ///
    /// # Errors
    /// `Config`: the lake has another time zone or pseudonyms by another key, or a newer version wrote it. Else any error of
    /// the store.
    pub(crate) async fn open(
        store: &dyn Store,
        zone: Tz,
        privacy: &PrivacyPolicy,
        now: DateTime<Utc>,
    ) -> Result<Option<(Self, bool)>> {
        for _ in 0..TRIES {
            let Some((mut info, version)) = read_with_version(store).await? else {
                return Ok(None);
            };
            info.check_zone(zone)?;
            info.check_key(privacy)?;
            let (has_moved, lacks_key) = (info.dialect(store).is_none(), info.lacks_key(privacy));
            if !has_moved && !lacks_key {
                return Ok(Some((info, false)));
            }
            if has_moved {
                info.record_probe(store, store.probe().await?, now);
                tracing::info!(
                    url = info.url,
                    conditional_writes = info.conditional_writes,
                    "the lake has another address than before: the store was probed again"
                );
            }
            if lacks_key {
                info.privacy_key_check = privacy.key_check().map(str::to_owned);
            }
            let written = info.write(store, Condition::Unchanged(version)).await?;
            // Another process's probe is as good as ours, but its key must be checked.
            if written || !lacks_key {
                return Ok(Some((info, written)));
            }
        }
        Err(busy())
    }

    /// Notes the privacy policy that all tables were built under; true if it was not noted before.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) async fn note_policy(store: &dyn Store, privacy: &PrivacyPolicy) -> Result<bool> {
        for _ in 0..TRIES {
            let Some((mut info, version)) = read_with_version(store).await? else {
                return Ok(false);
            };
            if info.is_under(privacy) {
                return Ok(false);
            }
            info.privacy_policy = privacy.digest().map(str::to_owned);
            if info.write(store, Condition::Unchanged(version)).await? {
                return Ok(true);
            }
        }
        Err(busy())
    }

    /// True if the tables of no single day were built under this policy.
    pub fn is_under(&self, privacy: &PrivacyPolicy) -> bool {
        self.privacy_policy.as_deref() == privacy.digest()
    }

    /// Reads the description as [`StoreInfo::open`] does; before the store's first write, probes the store and writes it.
    ///
    /// # Errors
    /// As [`StoreInfo::open`].
    pub(crate) async fn open_or_create(
        store: &dyn Store,
        zone: Tz,
        privacy: &PrivacyPolicy,
        now: DateTime<Utc>,
    ) -> Result<(Self, bool)> {
        if let Some(opened) = Self::open(store, zone, privacy, now).await? {
            return Ok(opened);
        }
        let mut info = Self {
            version: lake::VERSION,
            timezone: zone.name().into(),
            conditional_writes: false,
            etag_form: EtagForm::default(),
            lacks: BTreeSet::new(),
            url: String::new(),
            endpoint: String::new(),
            probed_at: now,
            // A description that was lost is made anew, and the erasures are still there.
            erasures: store.list(key::ERASURES).await?.len() as u64,
            privacy_key_check: privacy.key_check().map(str::to_owned),
            privacy_policy: privacy.digest().map(str::to_owned),
            unknown: BTreeMap::new(),
        };
        info.record_probe(store, store.probe().await?, now);
        let written = info.write(store, Condition::Absent).await?;
        if !written && privacy.key_check().is_some() {
            // Another process was first, perhaps with another key.
            if let Some((theirs, _)) = Self::open(store, zone, privacy, now).await? {
                info = theirs;
            }
        }
        Ok((info, written))
    }

    /// Warns of a store that ignores conditional writes.
    pub(crate) fn warn(&self, summary: &mut Summary) {
        if !self.conditional_writes {
            summary.warn(Problem::new(
                ProblemKind::StoreIgnoresConditionalWrites,
                "the store ignores conditional writes, so that runs and imports take turns by a lease; a process that \
                 stood still for a minute while it held the lease may still overwrite another's work",
            ));
        }
    }

    /// Writes the description; false if another process was first, whose probe is as good.
    async fn write(&self, store: &dyn Store, condition: Condition) -> Result<bool> {
        match store.put(key::STORE_INFO, to_json(self)?, condition).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Precondition => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The description of the store; `None` before its first write. From then on the store writes as it says, unless
/// another address was probed.
///
/// # Errors
/// `Config`: a newer version wrote the lake. Else any error of the store.
pub async fn read(store: &dyn Store) -> Result<Option<StoreInfo>> {
    read_with_version(store)
        .await
        .map(|found| found.map(|(info, _)| info))
}

/// Refuses a lake that a newer version wrote. Other faults are left to whoever needs the description.
///
/// # Errors
/// `Config`.
pub async fn refuse_newer(store: &dyn Store) -> Result<()> {
    match read(store).await {
        Err(error) if error.kind() == ErrorKind::Config => Err(error),
        _ => Ok(()),
    }
}

/// Prepares to show a lake: refuses one that a newer version wrote, and warns if there is no lake, because an address with
/// a typing error looks like a lake without anything.
///
/// # Errors
/// `Config`, or any error of the store while it is asked for a lake.
pub async fn warn_without_lake(store: &dyn Store) -> Result<()> {
    let is_described = match read(store).await {
        Err(error) if error.kind() == ErrorKind::Config => return Err(error),
        Err(_) => store.size(key::STORE_INFO).await?.is_some(),
        Ok(found) => found.is_some(),
    };
    // Without its description, a lake is known by its manifests.
    if !is_described && !store.has_any(key::DAYS).await? {
        tracing::warn!("{}: there is no lake here; {NO_LAKE}", store.url());
    }
    Ok(())
}

fn busy() -> Error {
    let message = "other processes keep changing it; run the command again";
    Error::new(ErrorKind::Precondition, key::STORE_INFO, message)
}

/// The error of a store without a lake.
pub(crate) fn no_lake(store: &dyn Store) -> Error {
    Error::new(ErrorKind::StoreNotFound, store.url(), "there is no lake here").hint(NO_LAKE)
}

/// Notes that another erasure was begun, so that processes that run read its tombstones.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn count_erasure(store: &dyn Store) -> Result<()> {
    for _ in 0..TRIES {
        let Some((mut info, version)) = read_with_version(store).await? else {
            return Err(no_lake(store));
        };
        info.erasures += 1;
        if info.write(store, Condition::Unchanged(version)).await? {
            return Ok(());
        }
    }
    Err(Error::new(
        ErrorKind::Precondition,
        key::STORE_INFO,
        "other processes keep changing it",
    ))
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
