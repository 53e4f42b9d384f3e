//! Webhooks of the vendor: parsed ([`event`]), verified ([`sign`], with the [`secrets`] of each space) and received.
//!
//! An event is answered with 2xx only once it is in the store: see [`Events`](super::events::Events). A replay can't be
//! told from the next call's end in the same room, because an event carries neither a time nor a number. It is accepted,
//! and costs at most another export of a room. Pure, apart from `secrets`, which reads files, and `receive`.

pub mod event;
pub mod secrets;
pub mod seen;
pub mod sign;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::Utc;

use self::event::{Envelope, Event};
use self::seen::Reason;
use super::daemon::Daemon;
use super::events::Taken;
use super::http::{Peer, body, reply};
use crate::metrics::{METRICS, WebhookLabels};
use crate::{Error, ErrorKind};

/// The most bytes of a webhook's body, which has a few hundred.
const LARGEST: usize = 64 * 1024;

/// The time that the store gets to write a request; after that the sender must send again.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// `POST /webhooks/teleboss`
pub(super) async fn receive(
    State(daemon): State<Arc<Daemon>>,
    peer: Option<Extension<Peer>>,
    request: Body,
) -> Response {
    let from = peer.map(|Extension(Peer(address))| address);
    let refused = |space: Option<&str>, why| daemon.webhooks.refused(space, why, from, Utc::now());
    let bytes = match body::read(request, LARGEST).await {
        Ok(bytes) => bytes,
        Err(refusal) => {
            let too_large = refusal == body::Refusal::TooLarge;
            refused(
                None,
                if too_large {
                    Reason::TooLarge
                } else {
                    Reason::NotRead
                },
            );
            return count("none", "malformed", refusal.into());
        }
    };
    let Some((envelope, event)) = Envelope::read(&bytes) else {
        refused(None, Reason::Malformed);
        return count(
            "none",
            "malformed",
            reply::error(StatusCode::BAD_REQUEST, "not an event"),
        );
    };
    // Only the secret of the space that the event names can prove it.
    match daemon.secrets.prove(&event.space, &envelope).await {
        Ok(true) => {
            let (space, name) = (event.space.clone(), event.name.as_str());
            let answer = take(&daemon, event).await;
            if answer.status().is_success() {
                daemon.webhooks.accepted(&space, name, Utc::now());
            } else {
                refused(Some(&space), Reason::NotKept);
            }
            answer
        }
        Ok(false) => {
            daemon.note_forged();
            refused(Some(&event.space), Reason::Signature);
            // The response gives no reason, so that a forger learns nothing.
            let answer = reply::error(StatusCode::UNAUTHORIZED, "refused");
            count("none", "forged", answer)
        }
        Err(error) => {
            daemon.note_unreadable(&error);
            refused(Some(&event.space), Reason::SecretUnreadable);
            let answer = reply::error(StatusCode::SERVICE_UNAVAILABLE, "not now, send it again");
            count("none", "unreadable", answer)
        }
    }
}

/// `GET /api/webhooks`: the last event and the last refusal of each space.
pub(super) async fn last(State(daemon): State<Arc<Daemon>>) -> Response {
    reply::json(StatusCode::OK, &daemon.webhooks.report())
}

async fn take(daemon: &Daemon, event: Event) -> Response {
    let name = event.name.as_str();
    let (space, room, record) = (event.space.clone(), event.room.clone(), event.record.clone());
    let taking = tokio::time::timeout(PATIENCE, daemon.events.take(event, Utc::now()));
    let taken = taking.await.unwrap_or_else(|_| Err(too_slow("webhook")));
    let ids = || (space.as_str(), room.as_str(), record.as_deref());
    match taken {
        Ok(Taken::Kept) => {
            let (space, room, record) = ids();
            tracing::info!(event = name, space, room, record, "webhook");
            count(name, "kept", reply::accepted())
        }
        Ok(Taken::Known) => count(name, "known", reply::accepted()),
        Ok(Taken::Noted) => {
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

/// The error of a store that took longer than [`PATIENCE`].
pub(super) fn too_slow(about: &str) -> Error {
    Error::new(ErrorKind::StoreUnavailable, about, "the store takes too long")
}

fn count(event: &'static str, result: &'static str, answer: Response) -> Response {
    METRICS
        .webhooks
        .get_or_create(&WebhookLabels { event, result })
        .inc();
    answer
}
