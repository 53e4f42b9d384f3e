//! Copying one recording: from a link that expires into an upload, in bounded pieces.
//!
//! Nothing is visible under the final key before the transfer is whole by HTTP and the file by its MP4 boxes. A
//! transfer goes on where it stopped when the source is still the same and can do that, and starts anew when not: after
//! a break within a run, and after a stop, a failure or a kill in the next one, of whichever process. Only a
//! record that can't be had leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::recording::RecordAsk;
use crate::api::{Download, Link, Resume};
use crate::mp4::{self, Flaw};
use crate::pipeline::ExportContext;
use crate::store::{Resumed, Source, Upload, UploadOptions, Uploaded};
use crate::{Error, ErrorKind, Result};

/// The first pause after a transfer that broke off.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an upload may take to be let go of or given up; what it leaves is found by a later run.
const ENDING: Duration = Duration::from_secs(4);
/// Links that may be refused one after another: the first may have expired, a second one is fresh.
const REFUSALS: u32 = 3;
/// Bytes a second below which a source is of no use: at that rate a GiB takes 18 of the 24 hours that a link lasts.
const SLOWEST: u64 = 16 * 1024;

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

/// Whether an error says something about the record itself. After all others what has come is worth keeping.
fn is_final(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Content
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::Rejected
            | ErrorKind::InvalidAnswer
            | ErrorKind::TooLarge
            // Of a server that takes nothing of its size: there is nothing to keep.
            | ErrorKind::Unsupported
    )
}

/// What earlier runs have left of a recording.
enum Left {
    Whole(Uploaded),
    /// Perhaps nothing.
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
            tracing::warn!(%error, key, "what an earlier run has uploaded can't be gone on with");
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

/// Only a strong tag promises the same bytes.
fn is_strong(etag: &str) -> bool {
    etag.starts_with('"')
}

/// What has come so far.
#[derive(Default)]
struct Partial {
    /// None until the head is known.
    upload: Option<Box<dyn Upload>>,
    etag: Option<String>,
    /// Bytes of the whole, where the source says so.
    total: Option<u64>,
    head: BytesMut,
    /// Whether the last attempt was cut because too little came.
    dripped: bool,
}

/// Transfers until the whole is there: a break goes on after a pause, a refused link is minted anew, and only attempts
/// that bring more than any before count as progress.
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
        partial.dripped = false;
        let error = match attempt(context, ask, key, &current, partial).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // What drips through before it is cut is no progress, or a recording would take weeks.
        let least = if partial.dripped {
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
            // A fresh link that is refused is the blob host's fault, not the tariff's.
            ErrorKind::Forbidden => {
                return Err(Error::new(ErrorKind::Rejected, error.about(), error.message()));
            }
            // The upload was taken for dead and over, or aborted by somebody: anew, with one of our own.
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

/// A growing pause, with jitter, before a broken transfer goes on; cut short when the run stops.
async fn pause(context: &ExportContext, attempt: u32) {
    let most = PAUSE.saturating_mul(1 << attempt.min(6));
    let pause = most.mul_f64(0.5 + fastrand::f64() / 2.0);
    tokio::select! {
        () = context.run.cancel.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

/// One download, from where the last one stopped, to its end.
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
        // Another range than was asked for, none, or one of another file.
        Err(error) if error.kind() == ErrorKind::Content && offset > 0 => {
            std::mem::take(partial).give_up().await;
            return Err(broken("the source has changed meanwhile"));
        }
        download => download?,
    };
    if offset > 0 && is_another(&download, partial) {
        // The source has changed, or can't go on in the middle: anew, and from the start.
        std::mem::take(partial).give_up().await;
        if download.offset != 0 {
            return Err(broken("the source has changed meanwhile"));
        }
    }
    // A part of the same file may come without its tag.
    partial.etag = download.etag.clone().or(partial.etag.take());
    partial.total = download.total;
    let mut flow = Flow::of(context);
    loop {
        let asked = Instant::now();
        let Some(chunk) = unless_stopped(context, key, download.chunk()).await? else {
            return whole(ask, &download, partial);
        };
        let flows = flow.take(asked.elapsed(), chunk.len() as u64);
        unless_stopped(context, key, partial.take(context, ask, key, chunk)).await?;
        if !flows {
            partial.dripped = true;
            return Err(broken("came too slowly to be of use"));
        }
    }
}

/// Whether an answer is not the rest of what has come so far.
fn is_another(download: &Download, partial: &Partial) -> bool {
    let tags = partial.etag.as_ref().zip(download.etag.as_ref());
    download.offset != partial.bytes()
        || (partial.total.is_some() && partial.total != download.total)
        || tags.is_some_and(|(known, now)| known != now)
}

/// Does a step of a transfer, unless the run stops: a slow server must not hold the end.
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

/// Whether the end of the stream is the end of the recording.
fn whole(ask: &RecordAsk, download: &Download, partial: &Partial) -> Result<()> {
    // A server may answer a part of the range that was asked for: what it says of the whole counts.
    if partial.total.is_some_and(|total| partial.bytes() < total) {
        return Err(broken("ended before its end"));
    }
    // HTTP says where a body ends, but for one that ends with its connection: that one is held against the API's size.
    if !download.framed && ask.file_size.is_some_and(|size| partial.bytes() < size) {
        return Err(broken("ended early"));
    }
    if partial.bytes() == 0 {
        return Err(content(ask, "the recording came without bytes"));
    }
    match partial.flaw() {
        None => Ok(()),
        // Nothing but the connection says that this is the end.
        Some(_) if !download.framed && ask.file_size.is_none() => Err(broken("ended early")),
        Some(flaw) => Err(flawed(ask, &flaw)),
    }
}

/// The error of a download that came whole, of a file that is not.
fn flawed(ask: &RecordAsk, flaw: &Flaw) -> Error {
    content(ask, &format!("the download is {flaw}"))
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::Connection, "download", why)
}

fn content(ask: &RecordAsk, why: &str) -> Error {
    Error::new(ErrorKind::Content, format!("record {}", ask.record), why)
}

/// How fast a source flows: of the time that was spent waiting for it, not of that in which the store was busy.
struct Flow {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Flow {
    /// Measured over windows of `api.timeout`, which also bounds the wait for a single piece.
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

    /// Bytes that a window must bring at least.
    fn least(&self) -> u64 {
        SLOWEST.saturating_mul(u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX)) / 1000
    }

    /// Takes note of a piece; false when a window is over and brought too little.
    fn take(&mut self, waited: Duration, bytes: u64) -> bool {
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
    /// Bytes that have come, those of earlier runs among them.
    fn bytes(&self) -> u64 {
        let uploaded = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        uploaded + self.head.len() as u64
    }

    /// Why what has come is no whole MP4.
    fn flaw(&self) -> Option<Flaw> {
        match &self.upload {
            Some(upload) => upload.boxes().flaw(),
            None => Some(Flaw::NoMp4),
        }
    }

    /// Takes a piece: into the upload, once the head is known for an MP4's.
    async fn take(
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

    /// Frees what the upload holds in the store.
    async fn give_up(mut self) {
        if let Some(upload) = self.upload.take() {
            end("aborted", upload.abort()).await;
        }
    }

    /// Leaves what has come to the next run.
    async fn keep(mut self) {
        if let Some(upload) = self.upload.take() {
            end("let go of", upload.keep()).await;
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
    fn a_source_is_cut_when_a_window_of_waiting_brings_too_little() {
        let second = Duration::from_secs(1);
        let mut flow = Flow::over(30 * second);
        assert_eq!(flow.least(), 30 * 16 * 1024);
        // One byte every 20 seconds never times out piece by piece.
        assert!(flow.take(20 * second, 1));
        assert!(!flow.take(20 * second, 1));
        // A window that brings enough opens the next one, with nothing carried over.
        let mut flow = Flow::over(30 * second);
        assert!(flow.take(29 * second, flow.least() - 1));
        assert!(flow.take(second, 1));
        assert!(!flow.take(31 * second, 0));
        // Time that the store takes is not waited for the source.
        let mut flow = Flow::over(30 * second);
        assert!((0..10_000).all(|_| flow.take(Duration::ZERO, 1)));
    }

    #[test]
    fn only_what_is_final_for_the_record_gives_up_what_has_come() {
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
