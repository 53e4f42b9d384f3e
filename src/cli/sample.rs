//! A real report to test the mapping with: the newest one in the lake, or else one from the API.

use bytes::Bytes;
use chrono::{DateTime, Days, NaiveDate, Utc};

use crate::Result;
use crate::api::{Call, Client, Room};
use crate::config::{Config, ReportFormat, Scope};
use crate::ids::{RoomId, SpaceId};
use crate::lake::manifest::Manifest;
use crate::lake::{self, key};
use crate::store::json::get_json;
use crate::store::{OptionalExt, Store};

/// The number of days of the lake to search, newest first.
const DAYS: usize = 14;
/// The number of rooms whose calls are requested.
const ROOMS: usize = 10;
/// The number of days before today to request if a room has no `lastCallAt`.
const DAYS_BACK: u64 = 3;

/// A report to test the mapping with.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The id of its call.
    pub call: String,
    /// True if the report is from the lake, false if it is from the API.
    pub landed: bool,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Reads the newest landed JSON report.
///
/// # Errors
/// Any error of the store.
pub async fn landed_sample(store: &dyn Store) -> Result<Option<Sample>> {
    let mut days: Vec<_> = store
        .list(key::DAYS)
        .await?
        .into_iter()
        .filter_map(|entry| Some((key::date_in(&entry.key)?, entry.key)))
        .collect();
    days.sort();
    for (_, key) in days.into_iter().rev().take(DAYS) {
        let Some((manifest, _)) = get_json::<Manifest>(store, &key).await? else {
            continue;
        };
        let newest = manifest
            .calls
            .iter()
            .filter_map(|(id, call)| {
                let landed = call.reports.get(&ReportFormat::Json)?.usable()?;
                Some((call.started_at, id, landed))
            })
            .max_by_key(|(started, id, _)| (*started, *id));
        if let Some((_, call, landed)) = newest {
            let Some(object) = store.get(&landed.key).await.optional()? else {
                continue;
            };
            return Ok(Some(Sample {
                call: call.to_string(),
                landed: true,
                bytes: object.bytes,
            }));
        }
    }
    Ok(None)
}

/// Requests the report of a finished call, from the rooms with the latest calls.
///
/// # Errors
/// Any error of the API about a list.
pub async fn fetched_sample(client: &Client, config: &Config, now: DateTime<Utc>) -> Result<Option<Sample>> {
    for (space, room) in wanted_rooms(client, config).await?.iter().take(ROOMS) {
        for date in dates(config, room, now) {
            for call in client.calls(space, &room.id, date).await?.items {
                if let Some(bytes) = report(client, space, &room.id, &call).await {
                    return Ok(Some(Sample {
                        call: call.id.into(),
                        landed: false,
                        bytes,
                    }));
                }
            }
        }
    }
    Ok(None)
}

/// The rooms in scope, each with its space. Those with the latest calls come first.
///
/// # Errors
/// Any error of the API about a list.
pub async fn wanted_rooms(client: &Client, config: &Config) -> Result<Vec<(SpaceId, Room)>> {
    let scope = &config.scope;
    let mut rooms = Vec::new();
    for space in client.spaces().await?.items {
        if scope.spaces.is_empty() || scope.spaces.contains(&space.id) {
            let listed = client.rooms(&space.id).await?.items;
            rooms.extend(listed.into_iter().map(|room| (space.id.clone(), room)));
        }
    }
    rooms.retain(|(_, room)| is_wanted(scope, room));
    rooms.sort_by_key(|(_, room)| std::cmp::Reverse(room.last_call_at));
    Ok(rooms)
}

fn is_wanted(scope: &Scope, room: &Room) -> bool {
    (scope.rooms.is_empty() || scope.rooms.contains(&room.id)) && !scope.exclude_rooms.contains(&room.id)
}

fn dates(config: &Config, room: &Room, now: DateTime<Utc>) -> Vec<NaiveDate> {
    match room.last_call_at {
        Some(last) => vec![lake::date_of(last, config.timezone)],
        None => (0..=DAYS_BACK)
            .map(|back| lake::date_of(now, config.timezone) - Days::new(back))
            .collect(),
    }
}

/// The report of a finished call; `None` if it is missing or empty.
async fn report(client: &Client, space: &SpaceId, room: &RoomId, call: &Call) -> Option<Bytes> {
    call.finished_at?;
    let bytes = client
        .report(space, room, &call.id, ReportFormat::Json)
        .await
        .ok()?;
    (bytes.trim_ascii().len() > b"{}".len()).then_some(bytes)
}
