//! The log of requests, for tests that count requests and bytes. Written by `routes`; read through
//! [`super::Simulator`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::locked;

/// The log keeps this many requests and forgets the oldest, because the simulator may run for days.
const MAX_REQUESTS: usize = 200_000;

/// The endpoint of a request.
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
    /// The bytes of a recording, behind the link.
    Blob,
    /// A space's webhook.
    Webhook,
    /// `storeExternalUserMeta`.
    Meta,
    /// No endpoint of the API.
    Unknown,
}

/// A request and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredRequest {
    /// `GET`, …
    pub method: String,
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// The path, `/v1` included.
    pub path: String,
    /// The query as it was sent.
    pub query: String,
    /// The record of a link or blob.
    pub record: Option<String>,
    /// The `Range` header.
    pub range: Option<String>,
    /// The status of the answer; 0 if the connection was reset.
    pub status: u16,
    /// True if an ordered fault applied.
    pub faulty: bool,
}

/// The requests answered and their counters.
#[derive(Debug, Default)]
pub(super) struct Log {
    inner: Mutex<LogEntries>,
    api: Gauge,
    blobs: Gauge,
}

#[derive(Debug, Default)]
struct LogEntries {
    answered: VecDeque<AnsweredRequest>,
    counts: HashMap<Endpoint, usize>,
    served: HashMap<String, u64>,
    leaked: usize,
}

#[derive(Debug, Default)]
struct Gauge {
    now: Arc<AtomicUsize>,
    most: AtomicUsize,
}

/// Counts a request as in flight until its answer begins, or until the last byte of a blob.
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

    pub(super) fn push(&self, request: AnsweredRequest) {
        let mut inner = locked(&self.inner);
        *inner.counts.entry(request.endpoint).or_default() += 1;
        if inner.answered.len() == MAX_REQUESTS {
            inner.answered.pop_front();
        }
        inner.answered.push_back(request);
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

    pub(super) fn requests(&self) -> Vec<AnsweredRequest> {
        locked(&self.inner).answered.iter().cloned().collect()
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
        *locked(&self.inner) = LogEntries::default();
        for gauge in [&self.api, &self.blobs] {
            gauge
                .most
                .store(gauge.now.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}
