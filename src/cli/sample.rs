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
use crate::tables::CallTimes;

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
    /// The times of its call.
    pub times: CallTimes,
    /// Its format.
    pub format: ReportFormat,
    /// True if the report is from the lake, false if it is from the API.
    pub landed: bool,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A finished call with a report.
#[derive(Debug, Clone)]
pub struct SampleCall {
    /// Its space.
    pub space: SpaceId,
    /// Its room.
    pub room: Room,
    /// The date for which the API listed it.
    pub date: NaiveDate,
    /// The call.
    pub call: Call,
    /// Its report, in the first of the wanted formats that it has.
    pub report: Bytes,
}

/// Reads the newest landed report of a format.
///
/// # Errors
/// Any error of the store.
pub async fn landed_sample(store: &dyn Store, format: ReportFormat) -> Result<Option<Sample>> {
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
                let landed = call
                    .reports
                    .get(&format)?
                    .stored()
                    .filter(|landed| landed.usable)?;
                Some((call.started_at, id, landed, call))
            })
            .max_by_key(|(started, id, ..)| (*started, *id));
        if let Some((_, id, landed, call)) = newest {
            let Some(object) = store.get(&landed.key).await.optional()? else {
                continue;
            };
            return Ok(Some(Sample {
                call: id.to_string(),
                times: CallTimes {
                    started_at: call.started_at,
                    finished_at: call.finished_at,
                },
                format,
                landed: true,
                bytes: object.bytes,
            }));
        }
    }
    Ok(None)
}

/// Finds a finished call that has a report of a format, in the rooms with the latest calls.
///
/// # Errors
/// Any error of the API about a list.
pub async fn call_with_report(
    client: &Client,
    config: &Config,
    format: ReportFormat,
    now: DateTime<Utc>,
) -> Result<Option<SampleCall>> {
    for (space, room) in wanted_rooms(client, config).await?.into_iter().take(ROOMS) {
        for date in dates(config, &room, now) {
            for call in client.calls(&space, &room.id, date).await?.items {
                if let Some(report) = report(client, &space, &room.id, &call, format).await {
                    return Ok(Some(SampleCall {
                        space,
                        room,
                        date,
                        call,
                        report,
                    }));
                }
            }
        }
    }
    Ok(None)
}

/// Requests a report of each format from the API, if possible of the same call.
///
/// # Errors
/// Any error of the API about a list.
pub async fn fetched_samples(
    client: &Client,
    config: &Config,
    formats: &[ReportFormat],
    now: DateTime<Utc>,
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut known: Option<SampleCall> = None;
    for format in formats.iter().copied() {
        let same = match &known {
            Some(found) => report(client, &found.space, &found.room.id, &found.call, format).await,
            None => None,
        };
        let found = match (same, &known) {
            (Some(report), Some(found)) => Some(SampleCall {
                report,
                ..found.clone()
            }),
            _ => call_with_report(client, config, format, now).await?,
        };
        samples.extend(found.clone().map(|found| Sample {
            call: found.call.id.into(),
            times: CallTimes {
                started_at: found.call.started_at,
                finished_at: found.call.finished_at,
            },
            format,
            landed: false,
            bytes: found.report,
        }));
        known = known.or(found);
    }
    Ok(samples)
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
async fn report(
    client: &Client,
    space: &SpaceId,
    room: &RoomId,
    call: &Call,
    format: ReportFormat,
) -> Option<Bytes> {
    call.finished_at?;
    let bytes = client.report(space, room, &call.id, format).await.ok()?;
    (bytes.trim_ascii().len() > b"{}".len()).then_some(bytes)
}
