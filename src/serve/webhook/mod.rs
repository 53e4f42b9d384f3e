//! Webhooks of the vendor: parsed ([`event`]), verified ([`sign`], with the [`secrets`] of each space) and received.
//!
//! An event is answered with 2xx only once it is in the store: see `serve/events.rs`. A replay can't be
//! told from the next call's end in the same room, because an event carries neither a time nor a number. It is accepted,
//! and costs at most another export of a room. Pure, apart from `secrets`, which reads files, and `receive`.

pub mod event;
pub mod secrets;
pub mod sign;
pub mod stats;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use chrono::Utc;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::event::{WebhookEnvelope, WebhookEvent};
use self::secrets::Secrets;
use self::stats::{RefusalReason, WebhookStats};
use super::events::{Acceptance, Events};
use super::http::guard::{RouteGroup, RouteGuard};
use super::http::{ClientAddress, body, reply};
use crate::Error;
use crate::metrics::{METRICS, WebhookLabels};

/// The most bytes of a webhook's body, which has a few hundred.
const LARGEST: usize = 64 * 1024;

/// The least time between two log lines about refused webhooks.
const SELDOM: Duration = Duration::from_secs(60);

/// The parts that receive webhooks. Clones share everything.
#[derive(Clone)]
pub struct WebhookState {
    secrets: Arc<Secrets>,
    events: Arc<Events>,
    /// The statistics by space.
    pub stats: Arc<WebhookStats>,
    warnings: Arc<Mutex<Warnings>>,
}

/// The last log lines about refused webhooks.
#[derive(Default)]
struct Warnings {
    forged_at: Option<Instant>,
    /// The number of forged webhooks since then.
    forged: u64,
    unreadable_at: Option<Instant>,
}

impl WebhookState {
    /// Starts with empty statistics.
    pub fn new(secrets: Arc<Secrets>, events: Arc<Events>) -> Self {
        Self {
            secrets,
            events,
            stats: Arc::new(WebhookStats::new(Utc::now())),
            warnings: Arc::default(),
        }
    }

    /// Counts a webhook with a wrong signature. The log gets a line only now and then, because an operator must learn of a
    /// wrong secret but a forger must not fill the log.
    fn note_forged(&self) {
        let mut warnings = self.warnings.lock();
        warnings.forged += 1;
        if warnings.forged_at.is_none_or(|last| last.elapsed() >= SELDOM) {
            tracing::warn!(
                count = warnings.forged,
                "webhooks were refused because their signature does not match the space's secret; see `telelake webhook show`"
            );
            (warnings.forged_at, warnings.forged) = (Some(Instant::now()), 0);
        }
    }

    /// Logs, but only now and then, that a webhook's secret can't be read.
    fn note_unreadable(&self, error: &Error) {
        let mut warnings = self.warnings.lock();
        if warnings.unreadable_at.is_none_or(|last| last.elapsed() >= SELDOM) {
            tracing::error!(%error, "a webhook was answered with 503 because its secret can't be read");
            warnings.unreadable_at = Some(Instant::now());
        }
    }
}

/// The routes of webhooks, and of their statistics.
pub(super) fn routes(state: WebhookState, guard: &RouteGuard) -> Router {
    let receiver = Router::new()
        .route("/webhooks/teleboss", post(receive))
        .with_state(state.clone());
    let stats = Router::new()
        .route("/api/webhooks", get(last))
        .with_state(state.stats);
    guard
        .protect(RouteGroup::Webhook, receiver)
        .merge(guard.protect(RouteGroup::Api, stats))
}

/// `POST /webhooks/teleboss`
async fn receive(
    State(state): State<WebhookState>,
    peer: Option<Extension<ClientAddress>>,
    request: Body,
) -> Response {
    let from = peer.map(|Extension(ClientAddress(address))| address);
    let refused = |space: Option<&str>, why| state.stats.refused(space, why, from, Utc::now());
    let bytes = match body::read(request, LARGEST).await {
        Ok(bytes) => bytes,
        Err(refusal) => {
            let why = match refusal {
                body::BodyRefusal::TooLarge => RefusalReason::TooLarge,
                body::BodyRefusal::TooSlow | body::BodyRefusal::Broken => RefusalReason::NotRead,
            };
            refused(None, why);
            return count("none", "malformed", refusal.into());
        }
    };
    let Some((envelope, event)) = WebhookEnvelope::read(&bytes) else {
        refused(None, RefusalReason::Malformed);
        return count(
            "none",
            "malformed",
            reply::error(StatusCode::BAD_REQUEST, "not an event"),
        );
    };
    // Only the secret of the space that the event names can prove it.
    match state.secrets.prove(&event.space, &envelope).await {
        Ok(true) => {
            let (space, name) = (event.space.clone(), event.name.as_str());
            let answer = take(&state.events, event).await;
            if answer.status().is_success() {
                state.stats.accepted(&space, name, Utc::now());
            } else {
                refused(Some(&space), RefusalReason::NotKept);
            }
            answer
        }
        Ok(false) => {
            state.note_forged();
            refused(Some(&event.space), RefusalReason::Signature);
            // The response gives no reason, so that a forger learns nothing.
            let answer = reply::error(StatusCode::UNAUTHORIZED, "refused");
            count("none", "forged", answer)
        }
        Err(error) => {
            state.note_unreadable(&error);
            refused(Some(&event.space), RefusalReason::SecretUnreadable);
            let answer = reply::error(StatusCode::SERVICE_UNAVAILABLE, "not now, send it again");
            count("none", "unreadable", answer)
        }
    }
}

/// `GET /api/webhooks`: the last event and the last refusal of each space.
async fn last(State(stats): State<Arc<WebhookStats>>) -> Response {
    reply::json(StatusCode::OK, &stats.report())
}

async fn take(events: &Events, event: WebhookEvent) -> Response {
    let name = event.name.as_str();
    let (space, room, record) = (event.space.clone(), event.room.clone(), event.record.clone());
    let taken = events.take(event, Utc::now()).await;
    let (space, room, record) = (space.as_str(), room.as_str(), record.as_deref());
    match taken {
        Ok(Acceptance::Kept) => {
            tracing::info!(event = name, space, room, record, "webhook");
            count(name, "kept", reply::accepted())
        }
        Ok(Acceptance::Known) => count(name, "known", reply::accepted()),
        Ok(Acceptance::Noted) => {
            tracing::debug!(event = name, space, room, record, "webhook");
            count(name, "noted", reply::accepted())
        }
        Err(error) => {
            tracing::error!(event = name, space, room, record, %error, "a webhook could not be written to the store");
            let answer = reply::error(
                StatusCode::SERVICE_UNAVAILABLE,
                "could not be kept, send it again",
            );
            count(name, "failed", answer)
        }
    }
}

fn count(event: &'static str, result: &'static str, answer: Response) -> Response {
    METRICS
        .webhooks
        .get_or_create(&WebhookLabels { event, result })
        .inc();
    answer
}
