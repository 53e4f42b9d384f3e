//! The passing of imported lesson data on to the API.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};

use super::Relay;
use crate::lake::key;
use crate::metrics::METRICS;
use crate::serve::journal;
use crate::store::{Condition, OptionalExt, StoredObject};
use crate::tables::lessons::{Payload, parse};
use crate::{Error, ErrorKind, Result};

/// The payloads that are sent to the API concurrently.
const AT_ONCE: usize = 4;

/// The result of sending payloads.
struct Sent {
    /// The payloads that the API has neither accepted nor refused; empty without an error.
    unsent: Vec<Payload>,
    refused: Vec<(Payload, Error)>,
    error: Option<Error>,
}

impl Relay {
    /// Passes imported lesson data on to the API until the daemon stops.
    pub async fn run_passing(&self) {
        let mut failures = 0;
        // The payloads of the first object that are not passed on yet.
        let mut left: Option<Vec<Payload>> = None;
        loop {
            METRICS.turned("passing");
            let Some(key) = self.due.lock().front().cloned() else {
                match self.cancel.run_until_cancelled(self.imported.notified()).await {
                    Some(()) => continue,
                    None => return,
                }
            };
            let before = left.as_ref().map(Vec::len);
            match self.pass_on(&key, &mut left).await {
                Ok(()) => {
                    failures = 0;
                    left = None;
                    self.due.lock().pop_front();
                }
                Err(error) => {
                    if self.cancel.is_cancelled() {
                        return;
                    }
                    if left.as_ref().map(Vec::len) < before {
                        failures = 0;
                    }
                    tracing::warn!(%error, "lesson data could not be passed on to the API; it stays in the store and is tried again");
                    failures += 1;
                    if !self.wait(failures).await {
                        return;
                    }
                }
            }
        }
    }

    /// Tries once to pass on everything that waits. Returns true if all was passed on.
    pub async fn pass_all(&self) -> bool {
        loop {
            let Some(key) = self.due.lock().front().cloned() else {
                return true;
            };
            if let Err(error) = self.pass_on(&key, &mut None).await {
                tracing::warn!(%error, "lesson data could not be passed on to the API; it stays in the store");
                return false;
            }
            self.due.lock().pop_front();
        }
    }

    /// Passes an object's payloads on and removes it. `left` holds the payloads that are not passed on yet.
    async fn pass_on(&self, key: &str, left: &mut Option<Vec<Payload>>) -> Result<()> {
        let Some(StoredObject { bytes, .. }) = self.store.get(key).await.optional()? else {
            return Ok(());
        };
        let due = match left.take() {
            Some(due) => due,
            None => parse(&bytes)
                .map_err(|error| Error::new(ErrorKind::Store, key, format!("is damaged: {error}")))?,
        };
        let (due, earlier) = latest(due);
        METRICS.meta_waiting.dec_by(earlier);
        let Sent {
            unsent,
            refused,
            error,
        } = self.send(due).await;
        let kept = self.keep_refused(refused).await;
        *left = Some(unsent);
        kept?;
        match error {
            Some(error) => Err(error),
            None => {
                self.store.delete(key).await?;
                tracing::info!("lesson data was passed on to the API");
                Ok(())
            }
        }
    }

    /// Sends payloads until all are sent, or until some fail with an error that may pass.
    async fn send(&self, due: Vec<Payload>) -> Sent {
        let path = self.path.as_str();
        let mut answers = stream::iter(0..due.len())
            .map(|at| {
                let payload = &due[at];
                async move { (at, self.client.store_meta(path, &payload.body()).await) }
            })
            .buffer_unordered(AT_ONCE);
        // Requests in flight when the rest is given up count as not sent, because sending twice does no harm.
        let mut over = vec![false; due.len()];
        let (mut refusals, mut failures, mut error) = (Vec::new(), 0, None);
        while let Some((at, answer)) = answers.next().await {
            match answer {
                Ok(()) => {
                    METRICS.meta_passed.inc();
                    METRICS.meta_waiting.dec();
                    over[at] = true;
                }
                Err(refusal) if matches!(refusal.kind(), ErrorKind::Rejected | ErrorKind::TooLarge) => {
                    refusals.push((at, refusal));
                    over[at] = true;
                }
                Err(failure) => {
                    error.get_or_insert(failure);
                    failures += 1;
                    // The others would only get the same answer.
                    if failures >= AT_ONCE {
                        break;
                    }
                }
            }
        }
        drop(answers);
        let refused = refusals
            .into_iter()
            .map(|(at, refusal)| (due[at].clone(), refusal))
            .collect();
        let unsent = due.into_iter().zip(over).filter(|(_, over)| !over);
        Sent {
            unsent: unsent.map(|(payload, _)| payload).collect(),
            refused,
            error,
        }
    }

    /// Lays payloads aside that the API will never accept, so that they hold nothing up.
    async fn keep_refused(&self, refused: Vec<(Payload, Error)>) -> Result<()> {
        let Some((_, error)) = refused.first() else {
            return Ok(());
        };
        let key = format!("{}{}.jsonl", key::RELAY_REFUSED, journal::id());
        let lines: String = refused
            .iter()
            .map(|(payload, _)| format!("{}\n", payload.body()))
            .collect();
        self.store.put(&key, lines.into(), Condition::Any).await?;
        tracing::warn!(
            payloads = refused.len(),
            key,
            %error,
            "the API rejects lesson data for good; it is in the lake, and the payloads are laid aside for a look"
        );
        METRICS.meta_refused.inc_by(refused.len() as u64);
        METRICS
            .meta_waiting
            .dec_by(i64::try_from(refused.len()).unwrap_or(0));
        Ok(())
    }
}

/// The latest payload of each user and meeting, so that the order of sending does not matter; and the number left out.
fn latest(payloads: Vec<Payload>) -> (Vec<Payload>, i64) {
    let all = payloads.len();
    let mut seen = HashSet::new();
    let mut latest: Vec<Payload> = payloads
        .into_iter()
        .rev()
        .filter(|payload| seen.insert((payload.user.clone(), payload.meeting.clone())))
        .collect();
    latest.reverse();
    let left_out = i64::try_from(all - latest.len()).unwrap_or(0);
    (latest, left_out)
}
