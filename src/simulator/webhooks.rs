//! A space's webhook: made, changed, shown, removed, and its secret made anew. Used by `answers`.

use std::collections::btree_map::Entry;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::generate::hex_id;
use super::locked;
use super::reply;
use super::state::Shared;

/// A space's webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where events go.
    pub url: String,
    /// The key of their signatures.
    pub secret: String,
    /// Whether events are sent.
    pub is_active: bool,
    made: u32,
}

impl Webhook {
    fn renew(&mut self, space: &str) {
        self.made += 1;
        self.secret = format!(
            "{}{}",
            hex_id(&format!("{space}/secret/{}", self.made)),
            "Zz9Yy8Xx"
        );
    }

    /// The whole of it: answers to `POST` and to a refreshed secret.
    fn full(&self) -> Value {
        json!({"url": self.url, "secret": self.secret, "isActive": self.is_active})
    }

    /// Answers to `PUT` and `GET` have no secret in the guide.
    fn shown(&self) -> Value {
        json!({"url": self.url, "isActive": self.is_active})
    }
}

/// Answers `…/webhook`.
pub(super) fn answer(shared: &Shared, method: &Method, space: &str, body: &[u8]) -> Response {
    let mut webhooks = locked(&shared.webhooks);
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let url = body
        .get("url")
        .and_then(Value::as_str)
        .filter(|url| url.starts_with("http"));
    let active = body.get("isActive").and_then(Value::as_bool);
    match (method.as_str(), webhooks.entry(space.to_owned()), url) {
        ("POST", entry, Some(url)) => {
            let made = match &entry {
                Entry::Occupied(old) => old.get().made,
                Entry::Vacant(_) => 0,
            };
            let mut webhook = Webhook {
                url: url.to_owned(),
                secret: String::new(),
                is_active: true,
                made,
            };
            webhook.renew(space);
            reply::json_as(StatusCode::CREATED, entry.insert_entry(webhook).get().full())
        }
        ("PUT", Entry::Occupied(mut entry), Some(url)) => {
            let webhook = entry.get_mut();
            url.clone_into(&mut webhook.url);
            webhook.is_active = active.unwrap_or(webhook.is_active);
            reply::json(webhook.shown())
        }
        ("POST" | "PUT", _, None) => reply::invalid("url"),
        ("GET", Entry::Occupied(entry), _) => reply::json(entry.get().shown()),
        ("DELETE", Entry::Occupied(entry), _) => {
            entry.remove();
            reply::empty(StatusCode::NO_CONTENT)
        }
        ("PUT" | "GET" | "DELETE", Entry::Vacant(_), _) => reply::refuse(404),
        _ => reply::refuse(405),
    }
}

/// Answers `…/webhook/refresh-secret`.
pub(super) fn refresh(shared: &Shared, space: &str) -> Response {
    match locked(&shared.webhooks).get_mut(space) {
        Some(webhook) => {
            webhook.renew(space);
            reply::json(webhook.full())
        }
        None => reply::refuse(404),
    }
}
