//! Copies one recording from a link that expires into an upload, in bounded pieces.
//!
//! The final key shows nothing before the download is complete by HTTP and the file is complete by its MP4 boxes. If a
//! transfer breaks off, it resumes where it stopped, in the same run or in a later one of any process. It restarts only if
//! the source has changed or does not support ranges. A partial upload is deleted only if the record cannot be had.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::NaiveDate;
use tokio::time::Instant;

use crate::api::{Download, Link, Resume, is_strong};
use crate::backoff::Backoff;
use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::lake::manifest::Landing;
use crate::mp4::{self, Flaw};
use crate::pipeline::ExportContext;
use crate::store::{Resumed, Source, Upload, UploadOptions, Uploaded};
use crate::{Error, ErrorKind, Result};

/// The backoff after a transfer broke off.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(400), Duration::from_millis(12_800));
/// The time limit for keeping or aborting a partial upload. A later run finds what is left after it.
const ENDING: Duration = Duration::from_secs(4);
/// Refused links in a row after which the recording is refused. The first link may have expired; the second is fresh.
const REFUSALS: u32 = 3;
/// The minimum speed of a download in bytes a second. At this speed a GiB takes 18 of the 24 hours that a link lasts.
const SLOWEST: u64 = 16 * 1024;

/// A recording to be copied.
#[derive(Clone)]
pub(crate) struct RecordAsk {
    pub date: NaiveDate,
    pub space: SpaceId,
    pub room: RoomId,
    pub call: Option<CallId>,
    pub record: RecordId,
    /// The size in bytes, as the API says.
    pub file_size: Option<u64>,
    /// The state of the record that the file belongs to.
    pub of: String,
    pub before: Landing,
}

/// Copies a recording into the object of `key`.
pub(crate) async fn transfer(context: &Arc<ExportContext>, ask: &RecordAsk, key: &str) -> Result<Uploaded> {
    let mut partial = match unless_stopped(context, key, left_of(context, ask, key)).await? {
        Left::Whole(uploaded) => return Ok(uploaded),
        Left::Some(partial) => partial,
    };
    match attempts(context, ask, key, &mut partial).await {
        Ok(()) => match partial.upload.take() {
            Some(upload) => unless_stopped(context, key, upload.complete()).await,
            None => Err(content(ask, "the recording came without bytes")),
        },
        Err(error) if is_final(error.kind()) => {
            partial.give_up().await;
            Err(error)
        }
        Err(error) => {
            partial.keep().await;
            Err(error)
        }
    }
}

/// True if an error is about the record itself. After any other error the partial upload is kept.
fn is_final(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Content
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::Rejected
            | ErrorKind::InvalidAnswer
            | ErrorKind::TooLarge
            // The store refuses an object of this size, so there is nothing to keep.
            | ErrorKind::Unsupported
    )
}

/// The part of a recording that earlier runs have uploaded.
enum Left {
    Whole(Uploaded),
    /// A part, perhaps an empty one.
    Some(Partial),
}

async fn left_of(context: &ExportContext, ask: &RecordAsk, key: &str) -> Result<Left> {
    let upload = match context.run.store.resume(key).await {
        Ok(Some(Resumed::Whole(uploaded))) if uploaded.source.of == ask.of => {
            return Ok(Left::Whole(uploaded));
        }
        Ok(Some(Resumed::Whole(outdated))) => {
            if let Some(receipt) = outdated.receipt {
                context.run.delete(&receipt).await?;
            }
            None
        }
        Ok(Some(Resumed::Open(upload))) => Some(upload),
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(%error, key, "the partial upload of an earlier run can't be resumed; the recording is copied from its start");
            None
        }
    };
    let mut partial = Partial::default();
    if let Some(upload) = upload {
        let source = upload.source().clone();
        let known = source.of == ask.of && source.etag.as_deref().is_some_and(is_strong);
        partial.upload = Some(upload);
        if known {
            context.run.progress.recorded_bytes.advance(partial.bytes());
            (partial.etag, partial.total) = (source.etag, source.total);
        } else {
            std::mem::take(&mut partial).give_up().await;
        }
    }
    Ok(Left::Some(partial))
}

/// The part of the recording that was received so far.
#[derive(Default)]
struct Partial {
    /// The upload; none until the first bytes are known to be those of an MP4.
    upload: Option<Box<dyn Upload>>,
    etag: Option<String>,
    /// The size of the whole in bytes, if the source says it.
    total: Option<u64>,
    head: BytesMut,
    /// True if the last attempt was aborted because the source was too slow.
    was_too_slow: bool,
}

/// Downloads until the recording is whole. It resumes after a backoff if the connection breaks, and asks for a fresh link
/// if one is refused. Only an attempt that gets further than all before it resets the retry counter.
async fn attempts(
    context: &Arc<ExportContext>,
    ask: &RecordAsk,
    key: &str,
    partial: &mut Partial,
) -> Result<()> {
    let (mut link, mut refusals, mut barren) = (None::<Link>, 0, 0);
    let mut best = partial.bytes();
    loop {
        let current = match link.take() {
            Some(link) => link,
            None => {
                let minted = context.client.download_link(&ask.space, &ask.room, &ask.record);
                unless_stopped(context, key, minted).await?
            }
        };
        partial.was_too_slow = false;
        let error = match attempt(context, ask, key, &current, partial).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // The few bytes of a source that is too slow are no progress, or a recording would take weeks.
        let least = if partial.was_too_slow {
            Flow::of(context).least()
        } else {
            0
        };
        if partial.bytes() > best + least {
            (refusals, barren) = (0, 0);
        }
        best = best.max(partial.bytes());
        match error.kind() {
            ErrorKind::Forbidden if refusals + 1 < REFUSALS => refusals += 1,
            // The host of the files refuses a fresh link. That is a fault of the host and says nothing about the tariff.
            ErrorKind::Forbidden => {
                return Err(Error::new(ErrorKind::Rejected, error.about(), error.message()));
            }
            // Another process took this upload over because it seemed dead, or aborted it. Start a new upload.
            ErrorKind::Precondition if barren < context.run.config.api.retries => {
                barren += 1;
                std::mem::take(partial).give_up().await;
                link = Some(current);
            }
            _ if error.is_retryable() && barren < context.run.config.api.retries => {
                barren += 1;
                link = Some(current);
                pause(context, barren).await;
            }
            _ => return Err(error),
        }
    }
}

/// Waits before a broken transfer is resumed. Ends early if the run stops.
async fn pause(context: &ExportContext, attempt: u32) {
    let pause = tokio::time::sleep(BACKOFF.pause(attempt));
    let _ = context.run.cancel.run_until_cancelled(pause).await;
}

/// Downloads from the point where the last attempt stopped to the end of the file.
async fn attempt(
    context: &ExportContext,
    ask: &RecordAsk,
    key: &str,
    link: &Link,
    partial: &mut Partial,
) -> Result<()> {
    let offset = partial.bytes();
    let resume = (offset > 0).then(|| Resume {
        offset,
        etag: partial.etag.clone(),
    });
    let opened = unless_stopped(context, key, context.client.download(link, resume));
    let mut download = match opened.await {
        // The answer has another range than the requested one, or none, or is of another file.
        Err(error) if error.kind() == ErrorKind::Content && offset > 0 => {
            std::mem::take(partial).give_up().await;
            return Err(broken("the source has changed meanwhile"));
        }
        download => download?,
    };
    if offset > 0 && is_another(&download, partial) {
        // The source has changed or does not support ranges. Start again with this answer if it is of the whole file.
        std::mem::take(partial).give_up().await;
        if download.offset != 0 {
            return Err(broken("the source has changed meanwhile"));
        }
    }
    // A part of the same file may come without an ETag.
    partial.etag = download.etag.clone().or(partial.etag.take());
    partial.total = download.total;
    let mut flow = Flow::of(context);
    loop {
        let asked = Instant::now();
        let Some(chunk) = unless_stopped(context, key, download.chunk()).await? else {
            return whole(ask, &download, partial);
        };
        let is_fast_enough = flow.measure(asked.elapsed(), chunk.len() as u64);
        unless_stopped(context, key, partial.write(context, ask, key, chunk)).await?;
        if !is_fast_enough {
            partial.was_too_slow = true;
            return Err(broken("came too slowly to be of use"));
        }
    }
}

/// True if an answer is not the rest of the file that was received so far.
fn is_another(download: &Download, partial: &Partial) -> bool {
    let tags = partial.etag.as_ref().zip(download.etag.as_ref());
    download.offset != partial.bytes()
        || (partial.total.is_some() && partial.total != download.total)
        || tags.is_some_and(|(known, now)| known != now)
}

/// Does a step of a transfer unless the run stops, so that a slow server does not delay the end of the run.
async fn unless_stopped<T>(
    context: &ExportContext,
    key: &str,
    step: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        () = context.run.cancel.cancelled() => Err(Error::new(ErrorKind::Interrupted, key, "stopped")),
        done = step => done,
    }
}

/// Checks that the end of the stream is the end of the recording.
fn whole(ask: &RecordAsk, download: &Download, partial: &Partial) -> Result<()> {
    // A server may answer a part of the requested range, so the size of the whole counts.
    if partial.total.is_some_and(|total| partial.bytes() < total) {
        return Err(broken("ended before its end"));
    }
    // A body without a length ends with its connection, so it is compared with the size that the API says.
    if !download.framed && ask.file_size.is_some_and(|size| partial.bytes() < size) {
        return Err(broken("ended early"));
    }
    if partial.bytes() == 0 {
        return Err(content(ask, "the recording came without bytes"));
    }
    match partial.flaw() {
        None => Ok(()),
        // Nothing but the end of the connection says that the file ends here.
        Some(_) if !download.framed && ask.file_size.is_none() => Err(broken("ended early")),
        Some(flaw) => Err(flawed(ask, &flaw)),
    }
}

/// The error of a complete download whose file is not a complete MP4.
fn flawed(ask: &RecordAsk, flaw: &Flaw) -> Error {
    content(ask, &format!("the download is {flaw}"))
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::Connection, "download", why)
}

fn content(ask: &RecordAsk, why: &str) -> Error {
    Error::new(ErrorKind::Content, format!("record {}", ask.record), why)
}

/// The speed of a source. It counts the time that was spent waiting for the source, without the time of the store.
struct Flow {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Flow {
    /// Measures over windows of `api.timeout`, which also bounds the wait for a single piece.
    fn of(context: &ExportContext) -> Self {
        Self::over(*context.run.config.api.timeout)
    }

    fn over(window: Duration) -> Self {
        Self {
            window,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// The minimum of bytes that a window must bring.
    fn least(&self) -> u64 {
        SLOWEST.saturating_mul(u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX)) / 1000
    }

    /// Counts a piece. Returns false if a window is over and brought too little.
    fn measure(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.window {
            return true;
        }
        let enough = self.bytes >= self.least();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

impl Partial {
    /// Bytes received so far, including those of earlier runs.
    fn bytes(&self) -> u64 {
        let uploaded = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        uploaded + self.head.len() as u64
    }

    /// The reason why the received bytes are no complete MP4, if there is one.
    fn flaw(&self) -> Option<Flaw> {
        match &self.upload {
            Some(upload) => upload.boxes().flaw(),
            None => Some(Flaw::NoMp4),
        }
    }

    /// Writes a piece. The upload begins when the first bytes are known to be those of an MP4.
    async fn write(
        &mut self,
        context: &ExportContext,
        ask: &RecordAsk,
        key: &str,
        chunk: Bytes,
    ) -> Result<()> {
        context.run.progress.recorded_bytes.advance(chunk.len() as u64);
        if let Some(upload) = &mut self.upload {
            return upload.write(chunk).await;
        }
        self.head.extend_from_slice(&chunk);
        if self.head.len() < mp4::HEAD {
            return Ok(());
        }
        if !mp4::is_mp4(&self.head) {
            return Err(flawed(ask, &Flaw::NoMp4));
        }
        let options = UploadOptions {
            content_type: Some("video/mp4".into()),
            source: Source {
                of: ask.of.clone(),
                etag: self.etag.clone(),
                total: self.total,
            },
        };
        let mut upload = context.run.store.upload(key, options).await?;
        context.run.writes.fetch_add(1, Ordering::Relaxed);
        let written = upload.write(self.head.split().freeze()).await;
        self.upload = Some(upload);
        written
    }

    /// Aborts the upload, so that the store frees its parts.
    async fn give_up(mut self) {
        if let Some(upload) = self.upload.take() {
            end("aborted", upload.abort()).await;
        }
    }

    /// Keeps the partial upload for a later run.
    async fn keep(mut self) {
        if let Some(upload) = self.upload.take() {
            end("kept", upload.keep()).await;
        }
    }
}

async fn end(how: &str, ending: impl Future<Output = Result<()>>) {
    match tokio::time::timeout(ENDING, ending).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "an upload could not be {how}; a later run finds it"),
        Err(_) => tracing::warn!("an upload was not {how} in time; a later run finds it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_aborted_if_a_window_of_waiting_brings_too_little() {
        let second = Duration::from_secs(1);
        let mut flow = Flow::over(30 * second);
        assert_eq!(flow.least(), 30 * 16 * 1024);
        // A single byte every 20 seconds never times out piece by piece.
        assert!(flow.measure(20 * second, 1));
        assert!(!flow.measure(20 * second, 1));
        // A window that brings enough opens the next one, with nothing carried over.
        let mut flow = Flow::over(30 * second);
        assert!(flow.measure(29 * second, flow.least() - 1));
        assert!(flow.measure(second, 1));
        assert!(!flow.measure(31 * second, 0));
        // The time of the store does not count.
        let mut flow = Flow::over(30 * second);
        assert!((0..10_000).all(|_| flow.measure(Duration::ZERO, 1)));
    }

    #[test]
    fn a_partial_upload_is_kept_unless_the_error_is_about_the_record() {
        for kind in [ErrorKind::Content, ErrorKind::Forbidden, ErrorKind::Rejected] {
            assert!(is_final(kind), "{kind:?}");
        }
        for kind in [
            ErrorKind::Interrupted,
            ErrorKind::Unauthorized,
            ErrorKind::Connection,
            ErrorKind::Server,
            ErrorKind::RateLimited,
            ErrorKind::Store,
            ErrorKind::StoreUnavailable,
        ] {
            assert!(!is_final(kind), "{kind:?}");
        }
    }
}
