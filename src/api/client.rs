//! The client: a method for each endpoint. Not pure; `pipeline` and `cli` call it.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use reqwest::dns::Resolve;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::answer;
use super::listing::ListingPages;
use super::paging::Listing;
use super::request::{self, List, Request};
use super::send::guard::SystemNames;
use super::send::{Download, Limited, Link, Refused, RequestBudget, Resume, Sender, Stats, Tuning};
use super::wire::{Call, Item, Record, Room, Space, Webhook};
use crate::Result;
use crate::config::{self, ReportFormat};
use crate::ids::{CallId, RecordId, RoomId, SpaceId};

/// The client of the vendor's API. Clones share everything.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) sender: Arc<Sender>,
}

impl Client {
    /// Creates a client. After `cancel`, no request is sent, and requests in flight get a short grace period.
    ///
    /// # Errors
    /// `Config` for an invalid URL, for a token with characters that no header can carry, or without CA certificates on
    /// this machine; `SecretUnreadable` if the token's file can't be read.
    pub fn new(config: &config::Api, cancel: CancellationToken) -> Result<Self> {
        Self::tuned(config, cancel, Tuning::default())
    }

    /// [`Client::new`] with other times and limits.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn tuned(config: &config::Api, cancel: CancellationToken, tuning: Tuning) -> Result<Self> {
        Self::resolving(config, cancel, tuning, Arc::new(SystemNames))
    }

    /// [`Client::tuned`] with another resolver for the hosts of downloads.
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

    /// Takes the token of another configuration, for this client and all that share its token. Returns true if the token
    /// changed.
    ///
    /// # Errors
    /// `SecretUnreadable` or `Config`; then the current token stays.
    pub fn renew_token(&self, config: &config::Api) -> Result<bool> {
        self.sender.renew_token(config)
    }

    /// A client with its own cancellation, circuits, budget and counts. Both clients together keep the configured concurrency and
    /// pace.
    #[must_use]
    pub fn beside(&self, cancel: CancellationToken, budget: Option<Arc<dyn RequestBudget>>) -> Self {
        Self {
            sender: Arc::new(self.sender.beside(cancel, budget)),
        }
    }

    /// The lead of the API's clock over this machine's in the latest answer; `None` before an answer with a `Date`.
    pub fn clock_ahead(&self) -> Option<TimeDelta> {
        self.sender.clock_ahead()
    }

    /// The spaces that the token sees.
    ///
    /// # Errors
    /// The errors of every request: `Unauthorized`, `Forbidden`, `NotFound`, `Rejected` at once; `RateLimited`, `Server`,
    /// `Connection` after the configured retries; `Skipped` if other requests of the space or room kept failing;
    /// `InvalidAnswer`, `TooLarge`; `Interrupted` if the program stops.
    pub async fn spaces(&self) -> Result<Listing<Space>> {
        self.list(List::Spaces, request::spaces()?).await
    }

    /// The rooms of a space.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn rooms(&self, space: &SpaceId) -> Result<Listing<Room>> {
        self.list(List::Rooms, request::rooms(space)?).await
    }

    /// The rooms of a space, page by page, while later pages are still coming.
    ///
    /// # Errors
    /// `Rejected` if the space's id can't be part of a URL.
    pub fn rooms_by_page(&self, space: &SpaceId) -> Result<ListingPages<Room>> {
        let request = request::rooms(space)?;
        Ok(ListingPages::new(&self.sender, List::Rooms, request))
    }

    /// The finished calls of a room on a date. The vendor does not document which date of a call counts.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn calls(&self, space: &SpaceId, room: &RoomId, date: NaiveDate) -> Result<Listing<Call>> {
        self.list(List::Calls, request::calls(space, room, date)?).await
    }

    /// The records of a room between two instants.
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

    /// The analytics report of a call, unchecked: it may be empty, or not in the asked `format`.
    ///
    /// # Errors
    /// As [`Client::spaces`]; `NotFound` also if there is no report yet, `Forbidden` if the tariff includes none.
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

    /// A link to the video of a record. It is valid for 24 hours and needs no token.
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

    /// Opens a download, from its start or where an earlier one was interrupted. Opening is retried like any request.
    ///
    /// # Errors
    /// `Forbidden` if the link is refused (400, 401, 403, 404, 410), because it has expired and a new one is needed;
    /// `Content` if the server has no such range, answers another one, or the file has changed; `InvalidAnswer` if the
    /// file comes compressed; otherwise as [`Client::spaces`].
    pub async fn download(&self, link: &Link, resume: Option<Resume>) -> Result<Download> {
        self.sender.download(link, resume).await
    }

    /// Sends a lesson-data payload to storeExternalUserMeta, which lies at `path`. The call is idempotent.
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

    /// The requests that were not sent because others of the same space or room kept failing.
    pub fn refused(&self) -> Vec<Refused> {
        self.sender.circuits().refused()
    }

    /// True if requests of a space fail at once, without being sent.
    pub fn is_shut_out(&self, space: &SpaceId) -> bool {
        self.sender.is_closed() || self.sender.circuits().is_open(space)
    }

    /// The effect of the API's limiter so far, if it had any.
    pub fn limited(&self) -> Option<Limited> {
        self.sender.limited()
    }

    /// The webhook of a space; `NotFound` if it has none.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn webhook(&self, space: &SpaceId) -> Result<Webhook> {
        self.ask_webhook(request::get_webhook(space)?).await
    }

    /// Creates the webhook of a space. If the reply is lost, the request is repeated, and the last secret is valid.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn create_webhook(&self, space: &SpaceId, url: &str) -> Result<Webhook> {
        self.ask_webhook(request::create_webhook(space, url)?).await
    }

    /// Changes the URL of a space's webhook.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn update_webhook(&self, space: &SpaceId, url: &str, active: bool) -> Result<Webhook> {
        self.ask_webhook(request::update_webhook(space, url, active)?)
            .await
    }

    /// Replaces the secret of a space's webhook.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn refresh_webhook(&self, space: &SpaceId) -> Result<Webhook> {
        self.ask_webhook(request::refresh_webhook(space)?).await
    }

    /// Deletes the webhook of a space.
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

    /// The number of requests so far.
    pub fn stats(&self) -> Stats {
        self.sender.stats()
    }

    async fn list<T: Item>(&self, list: List, request: Request) -> Result<Listing<T>> {
        ListingPages::new(&self.sender, list, request).whole().await
    }
}
