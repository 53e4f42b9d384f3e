//! The open days: their markers, and the missing items by age. Used by the daemon's page and metrics.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use futures_util::{StreamExt, stream};

use super::day_status::DayStatus;
use crate::Result;
use crate::ids::SpaceId;
use crate::lake::manifest::Manifest;
use crate::lake::{self, key};
use crate::store::Store;
use crate::store::json::get_json;

/// Manifests read at once.
const READ_AT_ONCE: usize = 16;

/// The open days, by the keys of their markers: the next nightly run works on them.
#[derive(Debug, Default)]
pub struct MarkedDays(HashSet<String>);

impl MarkedDays {
    /// Reads the markers.
    ///
    /// # Errors
    /// The store fails.
    pub async fn read(store: &dyn Store) -> Result<Self> {
        let markers = store.list(key::OPEN_DAYS).await?;
        Ok(Self(markers.into_iter().map(|marker| marker.key).collect()))
    }

    /// True if a day has a marker.
    pub fn has(&self, date: NaiveDate, space: &SpaceId) -> bool {
        self.0.contains(&key::open_day(date, space))
    }
}

/// Counts the missing items by what they are and by the age of their day. Reads only the open days, so that it costs
/// little.
///
/// # Errors
/// Any error of the store.
pub async fn pending_by_age(
    store: &dyn Store,
    zone: Tz,
    now: DateTime<Utc>,
) -> Result<BTreeMap<(&'static str, &'static str), u64>> {
    let today = lake::date_of(now, zone);
    let mut pending = BTreeMap::new();
    for what in ["call", "report", "recording", "listing", "build"] {
        for age in ["1d", "3d", "7d", "older"] {
            pending.insert((what, age), 0);
        }
    }
    let mut markers = store.list(key::OPEN_DAYS).await?;
    markers.retain(|marker| key::date_in(&marker.key).is_none_or(|date| date <= today));
    let manifests = stream::iter(markers)
        .map(|marker| async move {
            let key = marker.key.replacen(key::OPEN_DAYS, key::DAYS, 1) + ".json";
            get_json::<Manifest>(store, &key).await
        })
        .buffer_unordered(READ_AT_ONCE);
    let manifests: Vec<_> = manifests.collect().await;
    for manifest in manifests {
        // `status` and the next run report a manifest that can't be read.
        let Ok(Some((manifest, _))) = manifest else {
            continue;
        };
        let day = DayStatus::of(&manifest);
        let age = match (today - day.date).num_days() {
            ..=1 => "1d",
            2..=3 => "3d",
            4..=7 => "7d",
            _ => "older",
        };
        for (what, count) in [
            ("call", day.calls_pending),
            ("report", day.reports.pending + day.reports.failed),
            ("recording", day.records.pending + day.records.failed),
            ("listing", day.rooms_missed + u64::from(day.space_missed)),
            ("build", u64::from(!day.built)),
        ] {
            *pending.entry((what, age)).or_default() += count;
        }
    }
    Ok(pending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::day_status::tests::landed;
    use crate::store::{Condition, folder::FolderStore};

    #[tokio::test]
    async fn days_that_were_not_built_are_counted_by_age() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let manifest = landed();
        let keys = [
            (key::open_day(manifest.date, &"s1".into()), bytes::Bytes::new()),
            (
                key::manifest(manifest.date, &"s1".into()),
                serde_json::to_vec(&manifest).expect("JSON").into(),
            ),
        ];
        for (key, bytes) in keys {
            store.put(&key, bytes, Condition::Any).await.expect("put");
        }
        let now = "2026-11-22T10:00:00Z".parse().expect("instant");
        let pending = pending_by_age(&store, Tz::UTC, now).await.expect("counted");
        assert_eq!(pending[&("build", "3d")], 1);
        assert_eq!(pending[&("build", "1d")], 0);
        assert_eq!(pending[&("report", "3d")], 0);
        let marked = MarkedDays::read(&store).await.expect("read");
        assert!(marked.has(manifest.date, &"s1".into()) && !marked.has(manifest.date, &"s2".into()));
    }
}
