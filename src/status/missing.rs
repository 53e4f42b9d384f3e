//! The reports and recordings of a day that are not in the lake. Pure.

use serde::Serialize;

use crate::ids::{CallId, RecordId, RoomId};
use crate::lake::manifest::{Manifest, Status};

/// A report or a recording that is not in the lake, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Lack {
    /// The room.
    pub room_id: RoomId,
    /// The call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<CallId>,
    /// The record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_id: Option<RecordId>,
    /// `json`, `xlsx` or `recording`.
    pub what: &'static str,
    /// The state of its transfer.
    pub status: Status,
    /// The reason.
    pub reason: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
}

impl Lack {
    /// The state, in a word.
    pub fn state(&self) -> &'static str {
        match self.status {
            Status::Done => "done",
            Status::Pending => "pending",
            Status::Denied => "denied",
            Status::Failed => "failed",
            Status::Unavailable => "unavailable",
            Status::Lost => "lost",
        }
    }
}

/// The reports that are not in the lake.
pub(super) fn missing_reports(manifest: &Manifest) -> impl Iterator<Item = Lack> {
    manifest.calls.iter().flat_map(|(id, call)| {
        let missing = call
            .reports
            .iter()
            .filter(|(_, report)| report.status != Status::Done);
        missing.map(|(format, report)| Lack {
            room_id: call.room_id.clone(),
            call_id: Some(id.clone()),
            record_id: None,
            what: format.as_str(),
            status: report.status,
            reason: call.pending.clone().or_else(|| report.reason.clone()),
            attempts: report.attempts,
        })
    })
}

/// The recordings that are not in the lake.
pub(super) fn missing_recordings(manifest: &Manifest) -> impl Iterator<Item = Lack> {
    let missing = manifest
        .records
        .iter()
        .filter(|(_, record)| record.file.status != Status::Done);
    missing.map(|(id, record)| Lack {
        room_id: record.room_id.clone(),
        call_id: record.call_id.clone(),
        record_id: Some(id.clone()),
        what: "recording",
        status: record.file.status,
        reason: record.file.reason.clone(),
        attempts: record.file.attempts,
    })
}
