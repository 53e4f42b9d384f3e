//! Copying one recording: from a link that expires into an upload, in bounded pieces, hashed on the way.
//!
//! Nothing is visible under the final key before the transfer is whole by HTTP and its head is that of an MP4. A
//! transfer that breaks off goes on where it stopped when the source can do that, and starts anew when it can't.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::NaiveDate;
use sha2::{Digest, Sha256};

use super::Context;
use super::summary::Problem;
use crate::api::{Download, Link, Resume};
use crate::lake::key;
use crate::lake::manifest::{Landed, Landing, RecordEntry, Status};
use crate::lenient;
use crate::store::{Upload, UploadOptions};
use crate::{Error, ErrorKind, Result};

/// The first pause after a transfer that broke off.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an upload may take to be given up; what it leaves is aborted by the next upload of its key.
const GIVING_UP: Duration = Duration::from_secs(3);
/// Links that may be refused one after another: the first may have expired, a second one is fresh.
const REFUSALS: u32 = 3;
/// Bytes that tell an MP4: a box's length and its type.
const HEAD: usize = 8;
const NO_MP4: &str = "the download is no MP4";
/// Types of boxes that an ISO media file may begin with.
const FIRST_BOXES: [&[u8; 4]; 8] = [
    b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot",
];

/// A recording to be copied.
#[derive(Clone)]
pub(super) struct RecordAsk {
    pub date: NaiveDate,
    pub space: String,
    pub room: String,
    pub call: Option<String>,
    pub record: String,
    /// The size that the API says.
    pub file_size: Option<u64>,
    /// The state of the record that the file is of.
    pub of: String,
    pub before: Landing,
}

/// What became of it.
pub(super) struct RecordResult {
    pub record: String,
    pub landing: Landing,
    pub warning: Option<Problem>,
    /// Bytes copied.
    pub bytes: u64,
    /// Whether it was not asked for, as others of its space or room had kept failing.
    pub skipped: bool,
}

/// The size that the API says a record has, in bytes.
pub(super) fn file_size(entry: &RecordEntry) -> Option<u64> {
    entry
        .record
        .get("fileSize")
        .and_then(lenient::integer)
        .and_then(|size| u64::try_from(size).ok())
}

/// The state of a record that its file depends on.
pub(super) fn record_state(entry: &RecordEntry) -> String {
    let end = entry.finished_at.map(|at| at.to_rfc3339()).unwrap_or_default();
    format!(
        "{end} {}",
        file_size(entry).map(|size| size.to_string()).unwrap_or_default()
    )
}

/// Why a record can't be copied (yet): `None` when it can. What can be downloaded has an end and bytes; the values of
/// `state` are the platform's own and only explain why it has not.
pub(super) fn obstacle(entry: &RecordEntry) -> Option<(Status, String)> {
    let size = file_size(entry);
    let state = entry
        .record
        .get("state")
        .and_then(lenient::text)
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
        (None, _) => Some((Status::Pending, "the recording has not finished".into())),
    }
}

/// Whether a recording is to be copied.
pub(super) fn is_due(entry: &RecordEntry, force: bool) -> bool {
    let current = entry
        .file
        .usable()
        .is_some_and(|landed| landed.of.as_deref() == Some(&record_state(entry)));
    obstacle(entry).is_none() && (force || entry.file.status != Status::Done || !current)
}

/// Copies a recording. Whatever goes wrong is in the landing.
pub(super) async fn copy(context: &Arc<Context>, ask: RecordAsk) -> RecordResult {
    let key = key::recording(ask.date, &ask.space, &ask.room, ask.call.as_deref(), &ask.record);
    let outcome = match context.transfers.acquire().await {
        Ok(_permit) => {
            // A task of its own: uploads share a bounded number of buffers, so none may wait for another's turn.
            let (context, ask, key) = (Arc::clone(context), ask.clone(), key.clone());
            let copying = tokio::spawn(async move { transfer(&context, &ask, &key).await });
            copying
                .await
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "recording", "the copy broke off")))
        }
        Err(_) => Err(Error::new(ErrorKind::Internal, "transfers", "are closed")),
    };
    let mut result = RecordResult {
        record: ask.record.clone(),
        landing: ask.before.clone(),
        warning: None,
        bytes: 0,
        skipped: false,
    };
    match outcome {
        Ok(whole) => {
            result.bytes = whole.bytes;
            result.warning = differing_size(&ask, whole.bytes);
            let landed = Landed {
                key,
                bytes: whole.bytes,
                sha256: whole.sha256,
                landed_at: context.now,
                usable: true,
                participants: None,
                of: Some(ask.of),
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
    context.progress.recordings.advance(1);
    result
}

impl RecordResult {
    /// No recording: each kind of error has its own meaning.
    fn refuse(&mut self, error: &Error) {
        let status = match error.kind() {
            // Not asked, or given up because the run stops: nothing was learnt.
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

/// A size that the API got wrong is said; what came whole wins.
fn differing_size(ask: &RecordAsk, bytes: u64) -> Option<Problem> {
    let said = ask.file_size.filter(|said| *said != bytes)?;
    let message = format!("the API says {said} bytes, the whole recording has {bytes}");
    Some(
        Problem::new("file_size_differs", message)
            .on(ask.date, &ask.space)
            .room(&ask.room)
            .record(&ask.record),
    )
}

struct Whole {
    bytes: u64,
    sha256: String,
}

/// What has come so far.
#[derive(Default)]
struct Partial {
    /// None until the head is known.
    upload: Option<Box<dyn Upload>>,
    hasher: Sha256,
    bytes: u64,
    etag: Option<String>,
    /// Bytes of the whole, where the source says so.
    total: Option<u64>,
    head: BytesMut,
}

async fn transfer(context: &Arc<Context>, ask: &RecordAsk, key: &str) -> Result<Whole> {
    let mut partial = Partial::default();
    match attempts(context, ask, key, &mut partial).await {
        Ok(()) => {
            let Some(upload) = partial.upload.take() else {
                return Err(content(ask, "the recording came without bytes"));
            };
            unless_stopped(context, key, upload.complete()).await?;
            Ok(Whole {
                bytes: partial.bytes,
                sha256: hex::encode(partial.hasher.finalize()),
            })
        }
        Err(error) => {
            partial.give_up().await;
            Err(error)
        }
    }
}

/// Transfers until the whole is there: a break goes on after a pause, a refused link is minted anew, and only attempts
/// that bring more than any before count as progress.
async fn attempts(context: &Arc<Context>, ask: &RecordAsk, key: &str, partial: &mut Partial) -> Result<()> {
    let (mut link, mut refusals, mut barren, mut best) = (None::<Link>, 0, 0, 0);
    loop {
        let current = match link.take() {
            Some(link) => link,
            None => {
                context
                    .client
                    .download_link(&ask.space, &ask.room, &ask.record)
                    .await?
            }
        };
        let error = match attempt(context, ask, key, &current, partial).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if partial.bytes > best {
            (refusals, barren, best) = (0, 0, partial.bytes);
        }
        match error.kind() {
            ErrorKind::Forbidden if refusals + 1 < REFUSALS => refusals += 1,
            // A fresh link that is refused is the blob host's fault, not the tariff's.
            ErrorKind::Forbidden => {
                return Err(Error::new(ErrorKind::Rejected, error.about(), error.message()));
            }
            _ if error.is_retryable() && barren < context.config.api.retries => {
                barren += 1;
                link = Some(current);
                pause(context, barren).await;
            }
            _ => return Err(error),
        }
    }
}

/// A growing pause, with jitter, before a broken transfer goes on; cut short when the run stops.
async fn pause(context: &Context, attempt: u32) {
    let most = PAUSE.saturating_mul(1 << attempt.min(6));
    let pause = most.mul_f64(0.5 + fastrand::f64() / 2.0);
    tokio::select! {
        () = context.cancel.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

/// One download, from where the last one stopped, to its end.
async fn attempt(
    context: &Context,
    ask: &RecordAsk,
    key: &str,
    link: &Link,
    partial: &mut Partial,
) -> Result<()> {
    let resume = (partial.bytes > 0).then(|| Resume {
        offset: partial.bytes,
        etag: partial.etag.clone(),
    });
    let mut download = context.client.download(link, resume).await?;
    let another =
        download.offset != partial.bytes || (partial.total.is_some() && partial.total != download.total);
    if partial.bytes > 0 && another {
        // The source has changed, or can't go on in the middle: anew, and from the start.
        std::mem::take(partial).give_up().await;
        if download.offset != 0 {
            return Err(broken("the source has changed meanwhile"));
        }
    }
    partial.etag = download.etag.clone();
    partial.total = download.total;
    while let Some(chunk) = unless_stopped(context, key, download.chunk()).await? {
        unless_stopped(context, key, partial.take(context, ask, key, chunk)).await?;
    }
    whole(ask, &download, partial)
}

/// Does a step of a transfer, unless the run stops: a slow server must not hold the end.
async fn unless_stopped<T>(context: &Context, key: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(Error::new(ErrorKind::Interrupted, key, "stopped")),
        done = step => done,
    }
}

/// Whether the end of the stream is the end of the recording.
fn whole(ask: &RecordAsk, download: &Download, partial: &Partial) -> Result<()> {
    // A server may answer a part of the range that was asked for: what it says of the whole counts.
    if partial.total.is_some_and(|total| partial.bytes < total) {
        return Err(broken("ended before its end"));
    }
    // HTTP says where a body ends, but for one that ends with its connection: that one is held against the API's size.
    if !download.framed && ask.file_size.is_some_and(|size| partial.bytes < size) {
        return Err(broken("ended early"));
    }
    if partial.bytes == 0 {
        return Err(content(ask, "the recording came without bytes"));
    }
    if partial.upload.is_none() {
        return Err(content(ask, NO_MP4));
    }
    Ok(())
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::Connection, "download", why)
}

fn content(ask: &RecordAsk, why: &str) -> Error {
    Error::new(ErrorKind::Content, format!("record {}", ask.record), why)
}

impl Partial {
    /// Takes a piece: into the hash, and into the upload once the head is known for an MP4's.
    async fn take(&mut self, context: &Context, ask: &RecordAsk, key: &str, chunk: Bytes) -> Result<()> {
        context.progress.recorded_bytes.advance(chunk.len() as u64);
        self.hasher.update(&chunk);
        self.bytes += chunk.len() as u64;
        if let Some(upload) = &mut self.upload {
            return upload.write(chunk).await;
        }
        self.head.extend_from_slice(&chunk);
        if self.head.len() < HEAD {
            return Ok(());
        }
        if !FIRST_BOXES.iter().any(|kind| self.head[4..HEAD] == kind[..]) {
            return Err(content(ask, NO_MP4));
        }
        let options = UploadOptions {
            content_type: Some("video/mp4".into()),
        };
        let mut upload = context.store.upload(key, options).await?;
        context.writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let written = upload.write(self.head.split().freeze()).await;
        self.upload = Some(upload);
        written
    }

    /// Frees what the upload holds in the store.
    async fn give_up(mut self) {
        let Some(upload) = self.upload.take() else { return };
        match tokio::time::timeout(GIVING_UP, upload.abort()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "an upload could not be aborted; the next one of its key does that")
            }
            Err(_) => tracing::warn!("an upload was not aborted in time; the next one of its key does that"),
        }
    }
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
            record,
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
