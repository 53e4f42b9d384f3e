//! The webhooks of spaces: create, change, show, remove and renew the secret; and the events sent to them. Used by
//! `answers` and by [`Simulator::send_webhook`](super::Simulator::send_webhook).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Sha256;

use super::reply;
use super::seeded::hex_id;
use crate::{Error, ErrorKind, Result};

/// A space's webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The URL that receives the events.
    pub url: String,
    /// The key of the signatures.
    pub secret: String,
    /// True if events are sent.
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

    /// The answer to `POST` and to a refreshed secret.
    fn full(&self) -> Value {
        json!({"url": self.url, "secret": self.secret, "isActive": self.is_active})
    }

    /// The answer to `PUT` and `GET`, which has no secret in the guide.
    fn shown(&self) -> Value {
        json!({"url": self.url, "isActive": self.is_active})
    }
}

/// Answers `…/webhook`.
pub(super) fn answer(
    webhooks: &mut BTreeMap<String, Webhook>,
    method: &Method,
    space: &str,
    body: &[u8],
) -> Response {
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
pub(super) fn refresh(webhooks: &mut BTreeMap<String, Webhook>, space: &str) -> Response {
    match webhooks.get_mut(space) {
        Some(webhook) => {
            webhook.renew(space);
            reply::json(webhook.full())
        }
        None => reply::refuse(404),
    }
}

/// An event, in the guide's order of fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `call_finished`, `record_finished`, …
    pub event_name: String,
    /// The room.
    pub room_id: String,
    /// The space.
    pub space_id: String,
    /// The record, if the event is about a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_id: Option<String>,
}

impl Event {
    /// An event of a room.
    pub fn of_room(name: &str, space: &str, room: &str) -> Self {
        Self {
            event_name: name.into(),
            room_id: room.into(),
            space_id: space.into(),
            record_id: None,
        }
    }

    /// The same event, of a record.
    #[must_use]
    pub fn record(mut self, id: &str) -> Self {
        self.record_id = Some(id.into());
        self
    }

    /// The body of the request, signed as the guide says.
    pub fn signed(&self, secret: &str) -> String {
        let body = serde_json::to_string(self).unwrap_or_default();
        format!(r#"{{"signature":"{}","body":{body}}}"#, sign(&body, secret))
    }
}

/// `crypto.createHmac('sha256', secret).update(body, 'utf8').digest('hex')`
fn sign(body: &str, secret: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    mac.map(|mac| hex::encode(mac.chain_update(body).finalize().into_bytes()))
        .unwrap_or_default()
}

/// Sends an event to the URL of a webhook and returns the status of the answer.
pub(super) async fn send(webhook: &Webhook, event: &Event) -> Result<u16> {
    let failed =
        |error: reqwest::Error| Error::new(ErrorKind::Connection, "webhook", error.without_url().to_string());
    // The URL is on loopback, so that neither a proxy nor certificates are needed.
    let http = crate::tls::http_client().no_proxy().tls_certs_only([]);
    let http = http.build().map_err(failed)?;
    let answer = http
        .post(&webhook.url)
        .header("content-type", "application/json")
        .body(event.signed(&webhook.secret))
        .send()
        .await
        .map_err(failed)?;
    Ok(answer.status().as_u16())
}
