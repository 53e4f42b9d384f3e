//! The client's face: one method for what the API can be asked. Not pure; `export` and `cli` call it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use reqwest::dns::Resolve;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::answer;
use super::circuits::Refused;
use super::download::Link;
use super::guard::SystemNames;
use super::paging::{LIMIT, Listing, Pager, Step};
use super::request::{self, List, Request};
use super::sender::Sender;
use super::wire::{Call, Item, Record, Room, Space, Webhook};
use crate::config::{self, ReportFormat};
use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::{Error, ErrorKind, Result};

const MIB: usize = 1024 * 1024;

/// Times and bounds that no configuration sets; tests set them smaller.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// The first backoff's limit; it doubles from there.
    pub backoff: Duration,
    /// The longest backoff's limit.
    pub backoff_cap: Duration,
    /// How long all requests are held when the API's limiter refuses one and does not say for how long; it doubles
    /// from there.
    pub first_hold: Duration,
    /// What requests in flight get when the program is asked to stop.
    pub grace: Duration,
    /// The largest answer of a list, bytes.
    pub list_bytes: usize,
    /// The largest report, bytes.
    pub report_bytes: usize,
    /// The largest answer with a download link, bytes.
    pub link_bytes: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            backoff: Duration::from_millis(300),
            backoff_cap: Duration::from_secs(20),
            first_hold: Duration::from_secs(1),
            grace: Duration::from_secs(5),
            list_bytes: 32 * MIB,
            report_bytes: 256 * MIB,
            link_bytes: 16 * 1024,
        }
    }
}

/// What a client has sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests to the API, the repeated ones too. Downloads are none.
    pub requests: u64,
    /// Further attempts after failed ones, of requests and of downloads' openings.
    pub retries: u64,
}

/// What the API's limiter did to a client's requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limited {
    /// Requests that were refused as one too many; each was sent again.
    pub refused: u64,
    /// Requests that were not sent, as the API had refused all for minutes.
    pub unsent: u64,
    /// Requests a second that the API answered meanwhile.
    pub rate: Option<f64>,
}

/// The API's client. Clones share everything.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) sender: Arc<Sender>,
}

impl Client {
    /// A client. When `cancel` is cancelled, nothing new is sent and what is in flight gets a short grace.
    ///
    /// # Errors
    /// `Config`: no URL, a token that no header can carry, or no CA certificates on this machine; `SecretUnreadable`: the
    /// token's file can't be read.
    pub fn new(config: &config::Api, cancel: CancellationToken) -> Result<Self> {
        Self::tuned(config, cancel, Tuning::default())
    }

    /// [`Client::new`] with other times and bounds.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn tuned(config: &config::Api, cancel: CancellationToken, tuning: Tuning) -> Result<Self> {
        Self::resolving(config, cancel, tuning, Arc::new(SystemNames))
    }

    /// [`Client::tuned`] with another way to look up the names of downloads' hosts.
    pub(super) fn resolving(
        config: &config::Api,
        cancel: CancellationToken,
        tuning: Tuning,
        names: Arc<dyn Resolve>,
    ) -> Result<Self> {
        Ok(Self {
            sender: Arc::new(Sender::new(config, cancel, tuning, names)?),
        })
    }

    /// Takes the token of another configuration, for this client and those beside it; tells whether it is another one.
    ///
    /// # Errors
    /// `SecretUnreadable`, `Config`: then the token in force stays.
    pub fn renew_token(&self, config: &config::Api) -> Result<bool> {
        self.sender.credential().replace(config)
    }

    /// A client beside this one, with its own end and its own count of what it sends: both together keep the
    /// configured concurrency and pace.
    #[must_use]
    pub fn beside(&self, cancel: CancellationToken) -> Self {
        Self {
            sender: Arc::new(self.sender.beside(cancel)),
        }
    }

    /// How far the API's clock was ahead of this machine's at its last answer; none before one that told its time.
    pub fn clock_ahead(&self) -> Option<TimeDelta> {
        self.sender.clock_ahead()
    }

    /// The spaces that the token sees.
    ///
    /// # Errors
    /// As every request: `Unauthorized`, `Forbidden`, `NotFound`, `Rejected` at once; `RateLimited`, `Server`,
    /// `Connection` after the configured retries; `Skipped` when others of the space or room had kept failing;
    /// `InvalidAnswer`, `TooLarge`; `Interrupted` when the program stops.
    pub async fn spaces(&self) -> Result<Listing<Space>> {
        self.list(List::Spaces, request::spaces()?).await
    }

    /// A space's rooms.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn rooms(&self, space: &SpaceId) -> Result<Listing<Room>> {
        self.list(List::Rooms, request::rooms(space)?).await
    }

    /// A room's finished calls of a date. What the API takes for a call's date is not documented.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn calls(&self, space: &SpaceId, room: &RoomId, date: NaiveDate) -> Result<Listing<Call>> {
        self.list(List::Calls, request::calls(space, room, date)?).await
    }

    /// A room's records between two instants.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn records(
        &self,
        space: &SpaceId,
        room: &RoomId,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Listing<Record>> {
        self.list(List::Records, request::records(space, room, from, to)?)
            .await
    }

    /// A call's analytics report, as it came: it may be empty, or not be what `format` says.
    ///
    /// # Errors
    /// As [`Client::spaces`]; `NotFound` also when there is no report yet, `Forbidden` when the tariff has none.
    pub async fn report(
        &self,
        space: &SpaceId,
        room: &RoomId,
        call: &CallId,
        format: ReportFormat,
    ) -> Result<Bytes> {
        let request = request::report(space, room, call, format)?;
        let most = self.sender.tuning().report_bytes;
        self.sender
            .ask(&request, most, |request, answer| {
                Ok(answer.settled(request)?.body)
            })
            .await
    }

    /// A link to a record's video: good for 24 hours, without the token.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn download_link(&self, space: &SpaceId, room: &RoomId, record: &RecordId) -> Result<Link> {
        let request = request::download_link(space, room, record)?;
        let url = self
            .sender
            .ask(&request, self.sender.tuning().link_bytes, answer::link)
            .await?;
        Ok(Link::new(url, space, record))
    }

    /// Sends a meta payload to storeExternalUserMeta, which lies at `path`. The same twice is as good as once.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn store_meta(&self, path: &str, payload: &Value) -> Result<()> {
        let request = request::store_meta(path, payload)?;
        let most = self.sender.tuning().list_bytes;
        self.sender
            .ask(&request, most, |request, answer| {
                answer.settled(request).map(|_| ())
            })
            .await
    }

    /// Requests that were not sent, because others of the same space or room had kept failing.
    pub fn refused(&self) -> Vec<Refused> {
        self.sender.circuits().refused()
    }

    /// Whether a space's requests fail at once by now.
    pub fn is_shut_out(&self, space: &SpaceId) -> bool {
        self.sender.is_closed() || self.sender.circuits().is_open(space)
    }

    /// What the API's limiter did so far, if it did anything.
    pub fn limited(&self) -> Option<Limited> {
        self.sender.limited()
    }

    /// A space's webhook; `NotFound` where it has none.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn webhook(&self, space: &SpaceId) -> Result<Webhook> {
        self.ask_webhook(request::get_webhook(space)?).await
    }

    /// Makes a space's webhook. Where a reply is lost it is asked for again, and the secret is the last one.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn create_webhook(&self, space: &SpaceId, url: &str) -> Result<Webhook> {
        self.ask_webhook(request::create_webhook(space, url)?).await
    }

    /// Lets a space's webhook lead elsewhere.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn update_webhook(&self, space: &SpaceId, url: &str, active: bool) -> Result<Webhook> {
        self.ask_webhook(request::update_webhook(space, url, active)?)
            .await
    }

    /// Gives a space's webhook a new secret.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn refresh_webhook(&self, space: &SpaceId) -> Result<Webhook> {
        self.ask_webhook(request::refresh_webhook(space)?).await
    }

    /// Removes a space's webhook.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn delete_webhook(&self, space: &SpaceId) -> Result<()> {
        let request = request::delete_webhook(space)?;
        let most = self.sender.tuning().link_bytes;
        self.sender
            .ask(&request, most, |request, answer| {
                answer.settled(request).map(|_| ())
            })
            .await
    }

    async fn ask_webhook(&self, request: Request) -> Result<Webhook> {
        let most = self.sender.tuning().link_bytes;
        self.sender.ask(&request, most, answer::webhook).await
    }

    /// What was sent so far.
    pub fn stats(&self) -> Stats {
        self.sender.stats()
    }

    async fn list<T: Item>(&self, list: List, request: Request) -> Result<Listing<T>> {
        let mut pager = Pager::new(list.policy());
        loop {
            let page = request.page(pager.offset(), LIMIT);
            let page = self
                .sender
                .ask(&page, self.sender.tuning().list_bytes, answer::page)
                .await?;
            let longest = self.sender.learn(list, page.items.len());
            match pager.take(page, longest) {
                Step::Ask => {}
                Step::Done => return Ok(pager.finish()),
                Step::Endless => {
                    return Err(Error::new(ErrorKind::TooLarge, request.about(), pager.amount())
                        .hint("the API invents items, or does not page as it says"));
                }
            }
        }
    }
}
