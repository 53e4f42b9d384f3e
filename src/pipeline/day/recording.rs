//! Decides which recordings must be copied, and turns the result of each copy into a landing. `transfer` does the copying.

use std::sync::Arc;

use super::transfer::{RecordAsk, transfer};
use crate::ids::RecordId;
use crate::lake::key;
use crate::lake::manifest::{Landed, Landing, RecordEntry, Status};
use crate::lenient;
use crate::pipeline::ExportContext;
use crate::pipeline::summary::{Problem, ProblemKind};
use crate::{Error, ErrorKind, task};

/// The result of one copy.
pub(crate) struct RecordResult {
    pub record: RecordId,
    pub landing: Landing,
    pub warning: Option<Problem>,
    /// Bytes copied.
    pub bytes: u64,
    /// True if it was not asked for because other requests of its space or room kept failing.
    pub skipped: bool,
    /// The key of the upload's receipt, which tells later processes of the upload until the manifest does.
    pub receipt: Option<String>,
}

/// The size of a record in bytes, as the API says.
pub(crate) fn file_size(entry: &RecordEntry) -> Option<u64> {
    entry
        .record
        .field("fileSize")
        .and_then(|size| lenient::integer(&size))
        .and_then(|size| u64::try_from(size).ok())
}

/// The state of a record, as far as its file depends on it.
pub(crate) fn record_state(entry: &RecordEntry) -> String {
    let end = entry.finished_at.map(|at| at.to_rfc3339()).unwrap_or_default();
    format!(
        "{end} {}",
        file_size(entry).map(|size| size.to_string()).unwrap_or_default()
    )
}

/// The reason why a record cannot be copied (yet), if there is one. A record that can be downloaded has an end and bytes.
/// The values of `state` are not documented, so they only explain why a record has no end or no bytes.
pub(crate) fn obstacle(entry: &RecordEntry) -> Option<(Status, String)> {
    let size = file_size(entry);
    let state = entry
        .record
        .field("state")
        .and_then(|state| lenient::text(&state))
        .unwrap_or_default();
    let lower = state.to_lowercase();
    let given_up = ["fail", "abort", "error", "cancel", "delet"]
        .iter()
        .any(|word| lower.contains(word));
    match (entry.finished_at, size) {
        (Some(_), Some(1..)) => None,
        (Some(_), None) if !given_up => None,
        _ if given_up => {
            let state: String = state.chars().filter(|c| !c.is_control()).take(40).collect();
            Some((
                Status::Unavailable,
                format!("there is no recording: the platform says `{state}`"),
            ))
        }
        (Some(_), _) => Some((Status::Pending, "the recording has no bytes yet".into())),
        (None, _) if entry.end_is_unreadable() => Some((
            Status::Pending,
            "the recording's `finishedAt` can't be read".into(),
        )),
        (None, _) => Some((Status::Pending, "the recording has not finished".into())),
    }
}

/// True if a recording must be copied. One that was deleted with people who were erased never is.
pub(crate) fn is_due(entry: &RecordEntry, force: bool) -> bool {
    let current = entry
        .file
        .usable()
        .is_some_and(|landed| landed.of.as_deref() == Some(&record_state(entry)));
    !entry.file.is_erased()
        && obstacle(entry).is_none()
        && (force || entry.file.status != Status::Done || !current)
}

/// Copies a recording. An error becomes the status and the reason of the landing.
pub(crate) async fn copy(context: &Arc<ExportContext>, ask: RecordAsk) -> RecordResult {
    let key = key::recording(ask.date, &ask.space, &ask.room, ask.call.as_ref(), &ask.record);
    let outcome = match context.transfers.acquire().await {
        Ok(_permit) => {
            // Uploads share a bounded number of buffers, so each needs a task of its own: none may wait for the poll of
            // another.
            let (context, ask, key) = (Arc::clone(context), ask.clone(), key.clone());
            let copying = async move { transfer(&context, &ask, &key).await };
            task::isolated("recording", copying).await
        }
        Err(_) => Err(Error::new(ErrorKind::Internal, "transfers", "are closed")),
    };
    let mut result = RecordResult {
        record: ask.record.clone(),
        landing: ask.before.clone(),
        warning: None,
        bytes: 0,
        skipped: false,
        receipt: None,
    };
    match outcome {
        Ok(whole) => {
            result.bytes = whole.bytes;
            result.receipt = whole.receipt;
            result.warning = differing_size(&ask, whole.bytes);
            let landed = Landed {
                key,
                bytes: whole.bytes,
                sha256: whole.sha256,
                landed_at: context.run.now,
                usable: true,
                participants: None,
                shortfall: None,
                of: Some(ask.of),
                put_aside: false,
                erased: Default::default(),
                deleted_at: None,
            };
            result.landing = Landing {
                status: Status::Done,
                reason: None,
                attempts: 0,
                landed: Some(landed),
            };
        }
        Err(error) => {
            context.note_fatal(&error);
            result.refuse(&error);
        }
    }
    context.run.progress.recordings.advance(1);
    result
}

impl RecordResult {
    /// Takes in an error: its kind decides the status of the recording.
    fn refuse(&mut self, error: &Error) {
        let status = match error.kind() {
            // The run stopped before there was an answer, so nothing is known.
            ErrorKind::Interrupted | ErrorKind::Unauthorized => return,
            ErrorKind::Skipped => {
                self.skipped = true;
                return;
            }
            ErrorKind::Forbidden => Status::Denied,
            _ => Status::Failed,
        };
        self.landing.attempts += u32::from(status == Status::Failed);
        self.landing.status = status;
        self.landing.reason = Some(error.message().to_owned());
    }
}

/// Warns if the API says another size than the whole recording has. The recording is kept as it came.
fn differing_size(ask: &RecordAsk, bytes: u64) -> Option<Problem> {
    let said = ask.file_size.filter(|said| *said != bytes)?;
    let message = format!("the API says {said} bytes, the whole recording has {bytes}");
    Some(
        Problem::new(ProblemKind::FileSizeDiffers, message)
            .on(ask.date, &ask.space)
            .room(&ask.room)
            .record(&ask.record),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(record: serde_json::Value) -> RecordEntry {
        RecordEntry {
            room_id: "r".into(),
            call_id: None,
            started_at: None,
            finished_at: record.get("finishedAt").and_then(lenient::instant),
            record: record.into(),
            file: Landing::pending("new"),
        }
    }

    #[test]
    fn a_record_with_an_end_and_bytes_can_be_copied_whatever_its_state() {
        let end = "2026-11-20T10:00:00Z";
        let of = |record| obstacle(&entry(record)).map(|(status, _)| status);
        assert_eq!(
            of(json!({"finishedAt": end, "fileSize": 5, "state": "failed"})),
            None
        );
        assert_eq!(of(json!({"finishedAt": end, "state": "anything"})), None);
        assert_eq!(
            of(json!({"finishedAt": end, "fileSize": 0, "state": "new"})),
            Some(Status::Pending)
        );
        assert_eq!(
            of(json!({"fileSize": 5, "state": "recording"})),
            Some(Status::Pending)
        );
        assert_eq!(
            of(json!({"finishedAt": end, "fileSize": 0, "state": "aborted"})),
            Some(Status::Unavailable)
        );
        assert_eq!(of(json!({"state": "FAILED"})), Some(Status::Unavailable));
        assert_eq!(
            of(json!({"finishedAt": end, "state": "failed"})),
            Some(Status::Unavailable)
        );
    }
}
