//! A request to the simulated API, taken apart. Made by `routes`, read by `answers` and `blob`.

use std::collections::HashMap;

use axum::http::header::HOST;
use axum::http::{HeaderMap, Method};
use bytes::Bytes;

use super::log::InFlight;

/// A request, taken apart.
pub(super) struct ApiRequest {
    pub(super) method: Method,
    pub(super) path: String,
    /// The parts of the path, decoded one by one, because an id may hold any character.
    pub(super) parts: Vec<String>,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) in_flight: InFlight,
}

impl ApiRequest {
    /// The parts of the path, `v1` included.
    pub(super) fn parts(&self) -> Vec<&str> {
        self.parts.iter().map(String::as_str).collect()
    }

    /// The host that the request names, if it names one.
    pub(super) fn host(&self) -> Option<&str> {
        self.headers.get(HOST).and_then(|host| host.to_str().ok())
    }
}
