//! The open days: those that have something to do, by their markers below `_telelake/open/`.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use futures_util::{StreamExt, stream};

use crate::Result;
use crate::ids::{RoomId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::{Manifest, RecordEntry, Status};
use crate::store::json::get_json;
use crate::store::{ListedObject, Store};

/// A day that has something pending, failed or not built.
#[derive(Debug, Clone)]
pub(crate) struct OpenDay {
    pub date: NaiveDate,
    pub space_id: SpaceId,
    /// True if all of the space's rooms must be listed, because not all of them could be.
    pub space: bool,
    /// The rooms that must be listed again, because their calls or records may have changed.
    pub rooms: BTreeSet<RoomId>,
}

/// The open days up to today.
pub(crate) async fn open_days(store: &dyn Store, today: NaiveDate) -> Result<Vec<OpenDay>> {
    let mut markers = store.list(key::OPEN_DAYS).await?;
    // A clock was wrong when the marker of a later day was made. Its calls are listed once its date has come.
    let is_later = |marker: &ListedObject| key::date_in(&marker.key).is_some_and(|date| date > today);
    markers.retain(|marker| {
        if is_later(marker) {
            tracing::warn!(
                marker = marker.key,
                "a marker of a day later than today is ignored"
            );
        }
        !is_later(marker)
    });
    let days = stream::iter(markers)
        .map(|marker| open_day(store, marker.key))
        .buffered(8);
    Ok(days.filter_map(std::future::ready).collect().await)
}

/// The day of a marker; `None` for an object that is no marker.
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
        // A run was killed between marker and manifest: nothing is known of the day, so that all of it is listed. A
        // manifest that can't be read is reported when the day is worked on.
        Ok(None) | Err(_) => {
            let space_id = marker.rsplit('/').next().and_then(key::unsegment)?;
            Some(OpenDay {
                date,
                space_id: space_id.into(),
                space: true,
                rooms: BTreeSet::new(),
            })
        }
    }
}

fn rooms_to_list(manifest: &Manifest) -> BTreeSet<RoomId> {
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
