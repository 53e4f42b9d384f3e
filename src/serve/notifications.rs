//! The API of notifications: the last deliveries, and a test message.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;

use super::daemon::Daemon;
use super::http::reply;

/// The routes of notifications.
pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/api/notify", get(last))
        .route("/api/notify-test", post(test))
}

/// `GET /api/notify`: the last deliveries.
async fn last(State(daemon): State<Arc<Daemon>>) -> Response {
    reply::json(StatusCode::OK, &json!({"deliveries": daemon.notifier.last()}))
}

/// `POST /api/notify-test`: sends a test message. Answers 200 if every target accepted it, otherwise 502.
async fn test(State(daemon): State<Arc<Daemon>>) -> Response {
    if daemon.notifier.is_idle() {
        let why = "neither notify.url nor notify.heartbeat_url is set";
        return reply::error(StatusCode::CONFLICT, why);
    }
    let deliveries = daemon.notifier.test(&daemon.cancel, &*daemon.store).await;
    let all = !deliveries.is_empty() && deliveries.values().all(|one| one.delivered);
    let status = if all {
        StatusCode::OK
    } else {
        StatusCode::BAD_GATEWAY
    };
    reply::json(status, &json!({"deliveries": deliveries}))
}
