//! What the simulator was asked: for tests that count requests and bytes. Used by `routes`; read through
//! [`super::Simulator`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::locked;

/// Requests beyond this many are forgotten, the oldest first: the simulator may run for days.
const KEPT: usize = 200_000;

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// List spaces.
    Spaces,
    /// List rooms.
    Rooms,
    /// List calls of a room and date.
    Calls,
    /// A call's report, JSON or XLSX.
    Report,
    /// List records of a room.
    Records,
    /// A record's download link.
    Link,
    /// A recording's bytes, behind the link.
    Blob,
    /// A space's webhook.
    Webhook,
    /// `storeExternalUserMeta`.
    Meta,
    /// Nothing that the API has.
    Unknown,
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, …
    pub method: String,
    /// What it was for.
    pub endpoint: Endpoint,
    /// The path, `/v1` included.
    pub path: String,
    /// The query as it came.
    pub query: String,
    /// The record, for links and blobs.
    pub record: Option<String>,
    /// The `Range` asked for.
    pub range: Option<String>,
    /// The status answered; 0 where the connection was reset.
    pub status: u16,
    /// Whether a fault ordered had its way.
    pub faulty: bool,
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct Log {
    inner: Mutex<Inner>,
    api: Gauge,
    blobs: Gauge,
}

#[derive(Debug, Default)]
struct Inner {
    seen: VecDeque<Seen>,
    counts: HashMap<Endpoint, usize>,
    served: HashMap<String, u64>,
    leaked: usize,
}

#[derive(Debug, Default)]
struct Gauge {
    now: Arc<AtomicUsize>,
    most: AtomicUsize,
}

/// A request in flight: until the answer's head, or its last byte for a blob.
#[derive(Debug)]
pub(super) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Log {
    pub(super) fn enter(&self, endpoint: Endpoint) -> InFlight {
        let gauge = self.gauge(endpoint);
        let now = gauge.now.fetch_add(1, Ordering::Relaxed) + 1;
        gauge.most.fetch_max(now, Ordering::Relaxed);
        InFlight(gauge.now.clone())
    }

    fn gauge(&self, endpoint: Endpoint) -> &Gauge {
        if endpoint == Endpoint::Blob {
            &self.blobs
        } else {
            &self.api
        }
    }

    pub(super) fn most_in_flight(&self, endpoint: Endpoint) -> usize {
        self.gauge(endpoint).most.load(Ordering::Relaxed)
    }

    pub(super) fn push(&self, seen: Seen) {
        let mut inner = locked(&self.inner);
        *inner.counts.entry(seen.endpoint).or_default() += 1;
        if inner.seen.len() == KEPT {
            inner.seen.pop_front();
        }
        inner.seen.push_back(seen);
    }

    pub(super) fn leak(&self) {
        locked(&self.inner).leaked += 1;
    }

    pub(super) fn serve(&self, record: &str, bytes: u64) {
        let mut inner = locked(&self.inner);
        if let Some(served) = inner.served.get_mut(record) {
            *served += bytes;
        } else {
            inner.served.insert(record.to_owned(), bytes);
        }
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        locked(&self.inner).seen.iter().cloned().collect()
    }

    pub(super) fn count(&self, endpoint: Endpoint) -> usize {
        locked(&self.inner)
            .counts
            .get(&endpoint)
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn total(&self) -> usize {
        locked(&self.inner).counts.values().sum()
    }

    pub(super) fn served(&self, record: &str) -> u64 {
        locked(&self.inner)
            .served
            .get(record)
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn leaked(&self) -> usize {
        locked(&self.inner).leaked
    }

    pub(super) fn clear(&self) {
        *locked(&self.inner) = Inner::default();
        for gauge in [&self.api, &self.blobs] {
            gauge
                .most
                .store(gauge.now.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}
