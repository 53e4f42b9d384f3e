//! The import of received lesson data into the lake.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::{Relay, count_lines};
use crate::lake::key;
use crate::metrics::METRICS;
use crate::pipeline::{MetaFile, import_meta};
use crate::serve::journal;
use crate::store::{Condition, OptionalExt};
use crate::tables::lessons::parse;
use crate::{Error, ErrorKind, Result};

/// The time that the import waits for more after the first request, so that a thousand requests become few files.
const GATHER: Duration = Duration::from_secs(1);
/// The most objects that an import takes.
const MOST_OBJECTS: usize = 1000;
/// The bytes after which an import takes no further object.
const MOST_BYTES: usize = 32 << 20;

impl Relay {
    /// Imports received lesson data until the daemon stops.
    pub async fn run_imports(&self) {
        let mut failures = 0;
        loop {
            METRICS.turned("imports");
            let gathered = async {
                self.arrived.notified().await;
                tokio::time::sleep(GATHER).await;
            };
            if self.cancel.run_until_cancelled(gathered).await.is_none() {
                break;
            }
            match self.import_all().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    tracing::warn!(%error, "received lesson data could not be imported; it stays in the store and is tried again");
                    self.arrived.notify_one();
                    failures += 1;
                    if !self.wait(failures).await {
                        break;
                    }
                }
            }
        }
    }

    /// Imports all received lesson data.
    ///
    /// # Errors
    /// Any error of the store; the rest waits for the next call.
    pub async fn import_all(&self) -> Result<()> {
        loop {
            let keys: Vec<String> = self.new.lock().iter().take(MOST_OBJECTS).cloned().collect();
            if keys.is_empty() {
                return Ok(());
            }
            let taken = self.import(keys).await?;
            self.new.lock().drain(..taken);
        }
    }

    /// Imports the first of these objects, as many as an import may hold, and returns their number.
    async fn import(&self, keys: Vec<String>) -> Result<usize> {
        let mut bytes = Vec::new();
        let (mut taken, mut received_at) = (0, DateTime::UNIX_EPOCH);
        for key in &keys {
            // If it is missing, another process has imported it.
            if let Some(object) = self.store.get(key).await.optional()? {
                bytes.extend_from_slice(&object.bytes);
            }
            received_at = received_at.max(received(key).unwrap_or_else(Utc::now));
            taken += 1;
            if bytes.len() >= MOST_BYTES {
                break;
            }
        }
        if !bytes.is_empty() {
            // The request was parsed before it was written, so an error means damage.
            parse(&bytes)
                .map_err(|error| Error::new(ErrorKind::Store, &keys[0], format!("is damaged: {error}")))?;
            let file = MetaFile {
                name: "relay".into(),
                bytes: bytes.clone().into(),
            };
            let zone = self.timezone;
            // Import as of the time of receipt, so that a repetition after a crash undoes nothing newer.
            let done = import_meta(&*self.store, zone, received_at, &self.privacy, vec![file]).await?;
            tracing::info!(
                payloads = done.payloads,
                changed = done.changed,
                "lesson data was imported"
            );
            // People who were erased are not passed on either.
            let passed_on = done.cleaned.into_iter().next().unwrap_or(bytes.into());
            let count = count_lines(&passed_on);
            if count > 0 {
                let due = format!("{}{}.jsonl", key::RELAY_DUE, journal::id());
                self.store.put(&due, passed_on, Condition::Any).await?;
                METRICS.meta_waiting.inc_by(count);
                self.due.lock().push_back(due);
                self.imported.notify_one();
            }
        }
        for key in &keys[..taken] {
            self.store.delete(key).await?;
        }
        Ok(taken)
    }
}

/// The time when an object was written, read from its id.
fn received(key: &str) -> Option<DateTime<Utc>> {
    let id = key.rsplit('/').next()?;
    let (stamp, _) = id.split_once('-')?;
    NaiveDateTime::parse_from_str(stamp, "%Y%m%dT%H%M%S%6fZ")
        .ok()
        .map(|at| at.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_id_holds_the_time_of_receipt() {
        let key = format!("{}{}.jsonl", key::RELAY_NEW, journal::id());
        let ago = Utc::now() - received(&key).expect("a time");
        assert!(ago.num_seconds().abs() < 60, "{ago}");
        assert_eq!(received("x"), None);
    }
}
