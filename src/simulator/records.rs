//! The records of the simulated calls. Pure; used by `generate`.

use chrono::{DateTime, TimeDelta, Utc};

use super::options::Options;
use super::school::{Call, Record, RecordState, School};
use super::seeded::{hex_id, is_in_share};

/// Adds a record to the share of calls that the options ask for.
pub(super) fn add(school: &mut School, options: &Options) {
    let recorded = school
        .calls
        .iter()
        .filter(|call| is_in_share(&format!("{}/recorded", call.id), options.recorded));
    school.records = recorded
        .map(|call| whole(call, "0", options.whole_recording_size()))
        .collect();
}

/// A finished record of most of a call.
pub(super) fn whole(call: &Call, name: &str, size: u64) -> Record {
    let end = call.finished_at.unwrap_or(call.started_at + TimeDelta::hours(1));
    let started_at = call.started_at + (end - call.started_at) / 20;
    let started_at = DateTime::<Utc>::from_timestamp(started_at.timestamp(), 0).unwrap_or(started_at);
    Record {
        id: hex_id(&format!("{}/record/{name}", call.id)),
        name: format!("Запись от {}", call.started_at.format("%d.%m.%Y %H:%M")),
        space_id: call.space_id.clone(),
        room_id: call.room_id.clone(),
        call_id: Some(call.id.clone()),
        state: RecordState::Finished,
        created_at: started_at,
        started_at: Some(started_at),
        finished_at: Some(end),
        file_size: Some(size),
        size,
    }
}
