//! Group commit: the lines of many concurrent callers become a single object in the store, and each caller is answered once
//! the object is there. While an object is written the next one is gathered, so a slow store causes larger objects rather
//! than a queue.
//!
//! Used by `events` and `relay`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use tokio::sync::{mpsc, oneshot};

use crate::store::{Condition, Store};
use crate::{Error, ErrorKind, Result};

/// The capacity of the channel between callers and the writer.
const WAITING: usize = 4096;
/// The most items and bytes of an object.
const MOST_ITEMS: usize = 4096;
const MOST_BYTES: usize = 16 << 20;
/// The attempts to write an object; after the last one the callers get the error and must send again.
const TRIES: u32 = 3;

/// The time that the store gets to write the lines of a caller.
const PATIENCE: Duration = Duration::from_secs(20);

/// The lines of JSON of a caller, and the item to remember once they are in the store.
struct JournalEntry<T> {
    lines: String,
    item: T,
    kept: oneshot::Sender<std::result::Result<(), String>>,
}

/// See the module. Clones write the same objects.
pub struct Journal<T>(mpsc::Sender<JournalEntry<T>>);

impl<T> Clone for Journal<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static> Journal<T> {
    /// Starts a journal of objects below `prefix`. `kept` is called for each object before its callers are answered. The
    /// writer ends when all clones are dropped and everything is written.
    pub fn start(
        store: Arc<dyn Store>,
        prefix: &'static str,
        kept: impl Fn(String, Vec<T>) + Send + Sync + 'static,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let writer = tokio::spawn(async move {
            while let Some(entries) = gather(&mut receiver).await {
                write(&*store, prefix, entries, &kept).await;
            }
        });
        (Self(sender), writer)
    }

    /// Writes lines (each with its line end) and returns once they are in the store.
    ///
    /// # Errors
    /// `Interrupted`: the program is stopping. `StoreUnavailable`: the store fails or is too slow; the lines may or may not
    /// be written.
    pub async fn keep(&self, lines: String, item: T) -> Result<()> {
        let (sender, kept) = oneshot::channel();
        let entry = JournalEntry {
            lines,
            item,
            kept: sender,
        };
        let lost = || Error::new(ErrorKind::Interrupted, "journal", "the program is stopping");
        let failed = |why: String| Error::new(ErrorKind::StoreUnavailable, "journal", why);
        let written = async {
            self.0.send(entry).await.map_err(|_| lost())?;
            kept.await.map_err(|_| lost())?.map_err(failed)
        };
        tokio::time::timeout(PATIENCE, written)
            .await
            .unwrap_or_else(|_| Err(failed("the store takes too long".into())))
    }
}

/// Waits for an entry and takes all that wait, up to the limits. The last entry may exceed the limit of bytes.
async fn gather<T>(receiver: &mut mpsc::Receiver<JournalEntry<T>>) -> Option<Vec<JournalEntry<T>>> {
    let mut entries = vec![receiver.recv().await?];
    let mut bytes = entries[0].lines.len();
    while entries.len() < MOST_ITEMS
        && bytes < MOST_BYTES
        && let Ok(entry) = receiver.try_recv()
    {
        bytes += entry.lines.len();
        entries.push(entry);
    }
    Some(entries)
}

async fn write<T>(
    store: &dyn Store,
    prefix: &str,
    entries: Vec<JournalEntry<T>>,
    kept: &(impl Fn(String, Vec<T>) + Send + Sync),
) {
    let key = format!("{prefix}{}.jsonl", id());
    let bytes: Bytes = entries
        .iter()
        .map(|entry| entry.lines.as_str())
        .collect::<String>()
        .into();
    let done = put(store, &key, bytes).await;
    let (items, callers): (Vec<T>, Vec<_>) =
        entries.into_iter().map(|entry| (entry.item, entry.kept)).unzip();
    let answer = match done {
        Ok(()) => {
            kept(key, items);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    };
    for caller in callers {
        // The lines of a caller that went away are kept all the same.
        let _ = caller.send(answer.clone());
    }
}

async fn put(store: &dyn Store, key: &str, bytes: Bytes) -> Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match store.put(key, bytes.clone(), Condition::Any).await {
            Ok(_) => return Ok(()),
            Err(error) if tries >= TRIES => return Err(error),
            Err(error) => tracing::debug!(%error, tries, "the object could not be written; it is tried again"),
        }
    }
}

/// Ids that sort by time.
pub(super) fn id() -> String {
    format!(
        "{}-{:08x}",
        Utc::now().format("%Y%m%dT%H%M%S%6fZ"),
        fastrand::u32(..)
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::store::folder::FolderStore;

    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_callers_share_few_objects_and_are_answered_once_those_are_written() {
        let folder = tempfile::tempdir().expect("folder");
        let url = format!("file://{}", folder.path().display());
        let store: Arc<dyn Store> = Arc::new(FolderStore::open(&url).expect("store"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let by = Arc::clone(&heard);
        let (journal, writer) = Journal::start(Arc::clone(&store), "j/", move |key, items: Vec<usize>| {
            by.lock().expect("lock").push((key, items));
        });
        let callers = (0..500).map(|n| {
            let journal = journal.clone();
            async move { journal.keep(format!("{n}\n"), n).await.expect("kept") }
        });
        futures_util::future::join_all(callers).await;
        drop(journal);
        writer.await.expect("ended");
        let heard = std::mem::take(&mut *heard.lock().expect("lock"));
        let objects = store.list("j/").await.expect("list");
        assert_eq!(objects.len(), heard.len());
        assert!(objects.len() < 100, "{} objects for 500 callers", objects.len());
        let mut all: Vec<usize> = Vec::new();
        for (key, items) in heard.iter() {
            let text = store.get(key).await.expect("object").bytes;
            let lines: Vec<usize> = std::str::from_utf8(&text)
                .expect("text")
                .lines()
                .map(|line| line.parse().expect("number"))
                .collect();
            assert_eq!(&lines, items);
            all.extend(lines);
        }
        all.sort_unstable();
        assert_eq!(all, (0..500).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_caller_gets_the_error_of_a_store_out_of_reach() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let url = format!("file://{}/lake", file.path().display());
        let store: Arc<dyn Store> = Arc::new(FolderStore::open(&url).expect("store"));
        let (journal, _writer) = Journal::start(store, "j/", |_, _: Vec<()>| panic!("nothing was kept"));
        let error = journal.keep("1\n".into(), ()).await.expect_err("no store");
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    }
}
