//! The reports and recordings of a day that are not in the lake. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::ReportFormat;
use crate::ids::{CallId, RecordId, RoomId};
use crate::lake::manifest::{Manifest, Status};

/// The kind of a missing object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LackKind {
    /// A JSON report.
    Json,
    /// A workbook.
    Xlsx,
    /// A recording.
    Recording,
}

impl LackKind {
    /// The kind, in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Xlsx => "xlsx",
            Self::Recording => "recording",
        }
    }
}

impl fmt::Display for LackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ReportFormat> for LackKind {
    fn from(format: ReportFormat) -> Self {
        match format {
            ReportFormat::Json => Self::Json,
            ReportFormat::Xlsx => Self::Xlsx,
        }
    }
}

/// A report or a recording that is not in the lake, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lack {
    /// The room.
    pub room_id: RoomId,
    /// The call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<CallId>,
    /// The record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_id: Option<RecordId>,
    /// The kind of the object.
    pub what: LackKind,
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
            what: LackKind::from(*format),
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
        what: LackKind::Recording,
        status: record.file.status,
        reason: record.file.reason.clone(),
        attempts: record.file.attempts,
    })
}
