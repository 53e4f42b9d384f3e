//! A lease on the whole lake, for stores that silently ignore conditional writes: writers take turns.
//!
//! Each process that wants to write puts a ticket of its own below `_telelake/leases/`, then lists all tickets. It goes
//! on only if its ticket is the only one, and keeps the ticket until it is done: of two processes that start at once, the
//! one that put its ticket later sees the other's. No write is ever conditional, so the store only has to list what was
//! written. If several wait, the first keeps its ticket and the others take theirs back.
//!
//! A heartbeat writes the ticket again every few seconds. A ticket that does not change for [`DEAD`], by the watcher's own
//! clock, belongs to a process that died, and is removed. A holder that could not write its ticket for [`ALIVE`] stops
//! writing. The gap: a process that stands still between that check and its request, for longer than the rest of
//! [`DEAD`], may write at the same time as the next holder.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::future::{Either, join_all, select};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lake::key;
use crate::store::json::to_json;
use crate::store::{Condition, OptionalExt, Store, StoredObject, Version};
use crate::{Error, ErrorKind, Result};

/// Looks at the tickets that may take too long before the store is given up as too slow for a lease.
const MOST_SLOW_LOOKS: u32 = 3;
/// The time between two heartbeats of a ticket, and between two looks of those who wait.
const BEAT: Duration = Duration::from_secs(5);
/// The greatest age of the last heartbeat with which a holder still writes.
const ALIVE: Duration = Duration::from_secs(30);
/// A ticket that has not changed for this long belongs to a process that died.
const DEAD: Duration = Duration::from_secs(60);

/// The content of a ticket. Each heartbeat changes it.
#[derive(Serialize)]
struct Ticket<'a> {
    command: &'a str,
    since: DateTime<Utc>,
    process: u32,
    beat: u64,
}

/// The time at which a lease was last known to be ours.
#[derive(Debug)]
pub(crate) struct Pulse(Mutex<Instant>);

impl Pulse {
    /// True if the holder may write.
    pub fn is_alive(&self) -> bool {
        self.age() < ALIVE
    }

    /// The time since the lease was last known to be ours.
    fn age(&self) -> Duration {
        self.0.lock().elapsed()
    }

    /// Records that the lease was ours at an instant.
    fn at(&self, instant: Instant) {
        *self.0.lock() = instant;
    }
}

/// The error for a lease that was lost.
pub(crate) fn lost() -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        "lease",
        "the lake's lease was lost: another process may write now",
    )
}

/// The error for a store that answers so slowly that a lease would be lost at once.
fn too_slow() -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        "lease",
        "the store answers too slowly to take the lake's lease: run the command again when it is faster",
    )
}

/// A ticket in the store, held or waited for.
pub(crate) struct Lease<'s> {
    store: &'s dyn Store,
    command: &'static str,
    since: DateTime<Utc>,
    id: String,
    beat: u64,
    pulse: std::sync::Arc<Pulse>,
}

impl<'s> Lease<'s> {
    /// Waits for the lake to be free and takes it.
    ///
    /// # Errors
    /// `Interrupted` if `cancel` came first; else any error of the store.
    pub async fn take(
        store: &'s dyn Store,
        command: &'static str,
        now: DateTime<Utc>,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        let mut lease = Self {
            store,
            command,
            since: now,
            // Sorts by time, so that the first to come waits at the head.
            id: format!("{}-{:08x}", now.format("%Y%m%dT%H%M%S%6fZ"), fastrand::u32(..)),
            beat: 0,
            pulse: std::sync::Arc::new(Pulse(Mutex::new(Instant::now()))),
        };
        let mut others = Others::default();
        let (mut shown, mut slow_looks) = (false, 0);
        loop {
            if cancel.is_cancelled() {
                lease.give_back().await;
                return Err(Error::new(
                    ErrorKind::Interrupted,
                    "lease",
                    "stopped while another process held the lake's lease",
                ));
            }
            lease.write().await?;
            let ahead = others.look(store, &lease.id).await?;
            if ahead.is_empty() {
                // After a slow look the ticket would be too old before its first heartbeat.
                if lease.pulse.age() < ALIVE / 2 {
                    return Ok(lease);
                }
                slow_looks += 1;
                if slow_looks == MOST_SLOW_LOOKS {
                    lease.give_back().await;
                    return Err(too_slow());
                }
                continue;
            }
            if ahead.iter().any(|id| *id < lease.id) {
                lease.give_back().await;
                lease.await_head(&mut others, cancel).await?;
            } else {
                pause(cancel).await;
            }
            if !std::mem::replace(&mut shown, true) {
                tracing::warn!(
                    "another process holds the lake's lease, or died within the last minute: waiting"
                );
            }
        }
    }

    /// Waits, without a ticket, until no other ticket is ahead.
    async fn await_head(&self, others: &mut Others, cancel: &CancellationToken) -> Result<()> {
        while !cancel.is_cancelled() {
            pause(cancel).await;
            let ahead = others.look(self.store, &self.id).await?;
            if ahead.iter().all(|id| *id > self.id) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The shared record of the last time at which the lease was ours.
    pub fn pulse(&self) -> std::sync::Arc<Pulse> {
        std::sync::Arc::clone(&self.pulse)
    }

    /// Does `work` with heartbeats meanwhile, then gives the lease back. If the lease is lost, `on_loss` is called: it must
    /// bring the work to its end.
    pub async fn during<T>(mut self, work: impl Future<Output = T>, on_loss: impl FnOnce()) -> T {
        let done = {
            let beating = std::pin::pin!(self.beat_on());
            match select(beating, std::pin::pin!(work)).await {
                Either::Left(((), work)) => {
                    on_loss();
                    work.await
                }
                Either::Right((done, _)) => done,
            }
        };
        self.give_back().await;
        done
    }

    /// Writes heartbeats until the lease is lost.
    async fn beat_on(&mut self) {
        loop {
            sleep(BEAT).await;
            if !self.pulse.is_alive() {
                return;
            }
            // A machine that stood still may not know for how long; others have removed the ticket by then.
            let beaten = match self.store.size(&key::lease(&self.id)).await {
                Ok(None) => return,
                Ok(Some(_)) => self.write().await,
                Err(error) => Err(error),
            };
            if let Err(error) = beaten {
                tracing::warn!(%error, "the lake's lease could not be renewed yet");
            }
        }
    }

    async fn write(&mut self) -> Result<()> {
        // The time of the request, because a slow answer says nothing about now.
        let sent = Instant::now();
        self.beat += 1;
        let ticket = Ticket {
            command: self.command,
            since: self.since,
            process: std::process::id(),
            beat: self.beat,
        };
        self.store
            .put(&key::lease(&self.id), to_json(&ticket)?, Condition::Any)
            .await?;
        self.pulse.at(sent);
        Ok(())
    }

    async fn give_back(&self) {
        if let Err(error) = self.store.delete(&key::lease(&self.id)).await {
            tracing::warn!(%error, "the lake's lease could not be given back; it ends within a minute");
        }
    }
}

async fn pause(cancel: &CancellationToken) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = sleep(BEAT) => {}
    }
}

/// The others' tickets, each with the time since when it has not changed.
#[derive(Default)]
struct Others(HashMap<String, (Version, Instant)>);

impl Others {
    /// The ids of those who hold the lake or wait for it. Removes the tickets of dead processes.
    async fn look(&mut self, store: &dyn Store, own: &str) -> Result<Vec<String>> {
        let own = key::lease(own);
        let (mut seen, mut ids) = (HashMap::new(), Vec::new());
        let mut tickets = store.list(key::LEASES).await?;
        tickets.retain(|entry| entry.key != own);
        // At once, because many may wait.
        let read = tickets.iter().map(|entry| store.get(&entry.key));
        for (entry, ticket) in tickets.iter().zip(join_all(read).await) {
            let (Some(id), Some(StoredObject { version, .. })) =
                (entry.key.strip_prefix(key::LEASES), ticket.optional()?)
            else {
                continue;
            };
            let since = match self.0.get(&entry.key) {
                Some((known, since)) if *known == version => *since,
                _ => Instant::now(),
            };
            if since.elapsed() >= DEAD {
                tracing::warn!(
                    ticket = id,
                    "a process died with the lake's lease: its ticket was removed"
                );
                store.delete(&entry.key).await?;
                continue;
            }
            ids.push(id.to_owned());
            seen.insert(entry.key.clone(), (version, since));
        }
        self.0 = seen;
        Ok(ids)
    }
}
