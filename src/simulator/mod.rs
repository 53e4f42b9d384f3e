//! The vendor's API on loopback: a deterministic school behind the endpoints that the exporter reads. Options choose
//! among the behaviours that the vendor's guide leaves open, and faults can be ordered. Used by the commands `demo` and
//! `simulate`, by tests and by benches.
//!
//! ```no_run
//! # async fn example() -> telelake::Result<()> {
//! use telelake::simulator::{Endpoint, Failure, Matcher, Options, Report, Simulator};
//!
//! let sim = Simulator::start(Options { rooms: 4, ..Options::default() }).await?;
//! sim.faults().order(Matcher::endpoint(Endpoint::Report).first(2), Failure::Status(500));
//! let late = sim.school().calls[0].id.clone();
//! sim.edit(|school| school.calls[0].set_report(Report::Missing));
//! // … export from `sim.base_url()` with `sim.token()` …
//! sim.edit(|school| school.calls[0].set_report(Report::Whole));
//! assert_eq!(sim.leaked_tokens(), 0);
//! # let _ = late;
//! sim.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! The way of a request: `wire` (the connection) → `routes` (latency, faults, limit, token, log) → `answers` (from the
//! `school`) or `blob` (a recording).

mod answers;
mod args;
mod blob;
mod fault;
mod generate;
mod lesson;
mod lms;
mod log;
mod media;
mod objects;
mod odd;
mod options;
mod page;
mod recorded;
mod records;
mod replay;
mod reply;
mod report;
mod request;
mod routes;
mod school;
mod seeded;
mod select;
mod state;
#[cfg(test)]
mod tests;
mod webhooks;
mod wire;
mod words;
mod xlsx;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::args::{PagingArg, SimulateArgs};
pub use self::fault::{Failure, Faults, Matcher};
pub use self::log::{AnsweredRequest, Endpoint};
pub use self::options::{
    DateReading, LinkForm, ListTotal, Oddities, Options, Paging, RetryAfter, Window, days,
};
pub use self::recorded::{
    INDEX as RECORDING_INDEX, RecordedAnswer, RecordedAnswers, Recording, VERSION as RECORDING_VERSION,
};
pub use self::school::{
    Call, Lesson, Message, Participant, Poll, Reaction, Record, RecordState, Report, Room, RoomKind, School,
    Session, Space, Vote,
};
pub use self::webhooks::{Event, Webhook};

use self::state::Shared;
use self::wire::{ConnectionSwitch, CuttableListener};
use crate::{Error, ErrorKind, Result};

/// A running simulator; it stops when dropped.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    all: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Generates the school and starts to serve it.
    ///
    /// # Errors
    /// `Usage` if the address cannot be bound.
    pub async fn start(options: Options) -> Result<Self> {
        let about = |error: std::io::Error| {
            Error::new(
                ErrorKind::Usage,
                format!("address {}", options.listen),
                error.to_string(),
            )
        };
        let listener = TcpListener::bind(options.listen).await.map_err(about)?;
        let address = listener.local_addr().map_err(about)?;
        let shared = Arc::new(Shared::new(options, address.to_string()));
        let all = CancellationToken::new();
        let lines = CuttableListener {
            listener,
            all: all.clone(),
        };
        let router = Router::new()
            .fallback(routes::dispatch)
            .with_state(shared.clone());
        let stopped = all.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            let service = router.into_make_service_with_connect_info::<ConnectionSwitch>();
            let _ = axum::serve(lines, service).with_graceful_shutdown(stopped).await;
        });
        Ok(Self {
            shared,
            address,
            all,
            server: Some(server),
        })
    }

    /// Cuts all connections and waits until the address is free again.
    pub async fn stop(mut self) {
        self.all.cancel();
        if let Some(server) = self.server.take() {
            let _ = server.await;
        }
    }

    /// `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The address that it listens on, so that a test can start another simulator there.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts only this token from now on.
    pub fn rotate_token(&self, token: &str) {
        token.clone_into(&mut locked(&self.shared.token));
    }

    /// The token that was accepted at the start.
    pub fn token(&self) -> &str {
        &self.shared.options.token
    }

    /// The options that it was started with.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// The current school, which is the truth to compare an export with.
    pub fn school(&self) -> Arc<School> {
        self.shared.school()
    }

    /// Changes the school between or during requests.
    pub fn edit<T>(&self, change: impl FnOnce(&mut School) -> T) -> T {
        self.shared.edit(change)
    }

    /// The ordered faults, to which more can be added.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Refuses every download link that exists now.
    pub fn expire_links(&self) {
        self.shared.expire_all();
    }

    /// The SHA-256 of a record's bytes, in hex. It takes as long as reading all of them.
    pub fn record_sha256(&self, record: &str) -> Option<String> {
        let size = self.school().record(record)?.size;
        Some(media::sha256(media::key(record), size))
    }

    /// The requests answered since the last [`Simulator::clear_log`], oldest first.
    pub fn requests(&self) -> Vec<AnsweredRequest> {
        self.shared.log.requests()
    }

    /// The number of requests to an endpoint.
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.shared.log.count(endpoint)
    }

    /// The number of all requests.
    pub fn total_count(&self) -> usize {
        self.shared.log.total()
    }

    /// The bytes of a record that were sent: those that the client read, and a few in flight.
    pub fn bytes_served(&self, record: &str) -> u64 {
        self.shared.log.served(record)
    }

    /// The number of requests for recordings that carried a token.
    pub fn leaked_tokens(&self) -> usize {
        self.shared.log.leaked()
    }

    /// The highest number of API requests in flight at once.
    pub fn most_in_flight(&self) -> usize {
        self.shared.log.most_in_flight(Endpoint::Spaces)
    }

    /// The highest number of recordings in transfer at once.
    pub fn most_transfers(&self) -> usize {
        self.shared.log.most_in_flight(Endpoint::Blob)
    }

    /// Forgets all requests and counts.
    pub fn clear_log(&self) {
        self.shared.log.clear();
    }

    /// The webhook of a space.
    pub fn webhook(&self, space: &str) -> Option<Webhook> {
        locked(&self.shared.webhooks).get(space).cloned()
    }

    /// Sends an event once to the webhook of its space, signed with its secret, and returns the status of the answer.
    ///
    /// # Errors
    /// `NotFound` if the space has no active webhook; `Connection` if nobody answers.
    pub async fn send_webhook(&self, event: &Event) -> Result<u16> {
        let webhook = self.webhook(&event.space_id).filter(|webhook| webhook.is_active);
        let Some(webhook) = webhook else {
            let about = format!("webhook of space {}", event.space_id);
            return Err(Error::new(
                ErrorKind::NotFound,
                about,
                "there is none that is active",
            ));
        };
        webhooks::send(&webhook, event).await
    }

    /// The payloads of lesson data received, oldest first.
    pub fn metas(&self) -> Vec<Value> {
        locked(&self.shared.metas).clone()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.all.cancel();
    }
}

/// Locks a mutex, even after a panic of another holder.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
