//! The API of notifications: the last deliveries, and a test message.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::http::guard::{Group, Guard};
use super::http::reply;
use crate::notify::{Deliveries, Notifier};
use crate::store::Store;

/// The parts that notify. Clones share everything.
#[derive(Clone)]
pub struct Notifications {
    pub notifier: Arc<Notifier>,
    store: Arc<dyn Store>,
    cancel: CancellationToken,
}

impl Notifications {
    /// Notifications whose deliveries are kept in a store.
    pub fn new(notifier: Arc<Notifier>, store: Arc<dyn Store>, cancel: CancellationToken) -> Self {
        Self {
            notifier,
            store,
            cancel,
        }
    }

    /// Sends a test message to all configured URLs.
    pub async fn send_test(&self) -> Deliveries {
        self.notifier.test(&self.cancel, &*self.store).await
    }
}

/// The routes of notifications.
pub(super) fn routes(notifications: Notifications, guard: &Guard) -> Router {
    let routes = Router::new()
        .route("/api/notify", get(last))
        .route("/api/notify-test", post(test))
        .with_state(notifications);
    guard.protect(Group::Api, routes)
}

/// `GET /api/notify`: the last deliveries.
async fn last(State(notifications): State<Notifications>) -> Response {
    reply::json(StatusCode::OK, &json!({"deliveries": notifications.notifier.last()}))
}

/// `POST /api/notify-test`: sends a test message. Answers 200 if every target accepted it, otherwise 502.
async fn test(State(notifications): State<Notifications>) -> Response {
    if notifications.notifier.is_idle() {
        let why = "neither notify.url nor notify.heartbeat_url is set";
        return reply::error(StatusCode::CONFLICT, why);
    }
    let deliveries = notifications.send_test().await;
    let all = !deliveries.is_empty() && deliveries.values().all(|one| one.delivered);
    let status = if all {
        StatusCode::OK
    } else {
        StatusCode::BAD_GATEWAY
    };
    reply::json(status, &json!({"deliveries": deliveries}))
}
