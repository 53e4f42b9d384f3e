//! The vendor's API on loopback: a deterministic school behind the endpoints that the exporter reads, with every
//! freedom that the vendor's guide leaves, and faults to order. Not pure; used by the commands `demo` and `simulate`,
//! by tests and by benches.
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
//! One request's way: `wire` (the connection) → `routes` (pause, limit, faults, token, log) → `answers` (out of the
//! `school`) or `blob` (a recording).

mod answers;
mod args;
mod blob;
mod fault;
mod generate;
mod lesson;
mod log;
mod media;
mod objects;
mod odd;
mod options;
mod page;
mod records;
mod reply;
mod report;
mod routes;
mod school;
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
pub use self::log::{Endpoint, Seen};
pub use self::options::{DateReading, LinkForm, Oddities, Options, Paging, RetryAfter, Total, Window, days};
pub use self::school::{
    Call, Lesson, Message, Participant, Poll, Reaction, Record, Report, Room, School, Session, Space, Vote,
};
pub use self::webhooks::{Event, Webhook};

use self::state::Shared;
use self::wire::{Lines, Switch};
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
    /// Makes the school and starts to serve it.
    ///
    /// # Errors
    /// Where the address can't be listened on.
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
        let lines = Lines {
            listener,
            all: all.clone(),
        };
        let router = Router::new()
            .fallback(routes::dispatch)
            .with_state(shared.clone());
        let stopped = all.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            let service = router.into_make_service_with_connect_info::<Switch>();
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

    /// Where it listens: to start another one at the same place.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts another token from now on, and no more the one before.
    pub fn rotate_token(&self, token: &str) {
        token.clone_into(&mut locked(&self.shared.token));
    }

    /// The token that was accepted at the start.
    pub fn token(&self) -> &str {
        &self.shared.options.token
    }

    /// What it was told to be.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// The school as it is now: the truth to hold an export against.
    pub fn school(&self) -> Arc<School> {
        self.shared.school()
    }

    /// Changes the school between or during requests.
    pub fn edit<T>(&self, change: impl FnOnce(&mut School) -> T) -> T {
        self.shared.edit(change)
    }

    /// The faults ordered, to order more.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Refuses every download link handed out so far.
    pub fn expire_links(&self) {
        self.shared.expire_all();
    }

    /// The SHA-256 of a record's bytes, in hex; of a large one it takes as long as reading it.
    pub fn record_sha256(&self, record: &str) -> Option<String> {
        let size = self.school().record(record)?.size;
        Some(media::sha256(media::key(record), size))
    }

    /// The requests answered since the last [`Simulator::clear_log`], oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.log.requests()
    }

    /// How many requests of a kind there were.
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.shared.log.count(endpoint)
    }

    /// How many requests there were.
    pub fn total_count(&self) -> usize {
        self.shared.log.total()
    }

    /// How many bytes of a record were made for the other side: what it read, and a little that was under way.
    pub fn bytes_served(&self, record: &str) -> u64 {
        self.shared.log.served(record)
    }

    /// How many requests for recordings carried a token.
    pub fn leaked_tokens(&self) -> usize {
        self.shared.log.leaked()
    }

    /// The most API requests that were in flight at once.
    pub fn most_in_flight(&self) -> usize {
        self.shared.log.most_in_flight(Endpoint::Spaces)
    }

    /// The most recordings that were in transfer at once.
    pub fn most_transfers(&self) -> usize {
        self.shared.log.most_in_flight(Endpoint::Blob)
    }

    /// Forgets all requests and counts.
    pub fn clear_log(&self) {
        self.shared.log.clear();
    }

    /// A space's webhook.
    pub fn webhook(&self, space: &str) -> Option<Webhook> {
        locked(&self.shared.webhooks).get(space).cloned()
    }

    /// Sends an event to the webhook of its space, once, signed with its secret: the status of the answer.
    ///
    /// # Errors
    /// `NotFound` where the space has no webhook, or it is switched off; `Connection` where nobody answers.
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

    /// The meta received, oldest first.
    pub fn metas(&self) -> Vec<Value> {
        locked(&self.shared.metas).clone()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.all.cancel();
    }
}

/// A lock that outlives the panic of a test that held it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
