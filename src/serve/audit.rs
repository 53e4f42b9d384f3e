//! The audit: a line in the log for whoever asks for, cancels, pauses or resumes work, or signs in; with the kind of
//! credential and the address, never the credential itself.
//!
//! The lines have the target `telelake::audit` and the field `audit=true`, in both formats of the log and with `--quiet`.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use chrono::Utc;
use serde::{Deserialize, Serialize};

use super::daemon::Daemon;
use super::http::Peer;
use super::page::login;
use crate::sanitize::escaped;

/// The kind of credential that somebody came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Credential {
    /// The bearer token `serve.token`.
    Token,
    /// A session of the page, opened with the token.
    Session,
    /// The page, where no token is configured.
    Page,
    /// The API, where no token is configured: somebody on this machine.
    Local,
    /// The signature of a webhook.
    Webhook,
    /// The daemon's own schedule.
    Schedule,
    /// A signal to the process: SIGHUP.
    Signal,
    /// None, or a wrong one.
    Nothing,
    /// Not known: kept by an earlier version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Credential {
    /// The word, as the API and the log have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Page => "page",
            Self::Local => "local",
            Self::Webhook => "webhook",
            Self::Schedule => "schedule",
            Self::Signal => "signal",
            Self::Nothing => "nothing",
            Self::Unknown => "unknown",
        }
    }
}

/// Who asks: the kind of credential, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Caller {
    /// The credential.
    pub kind: Credential,
    /// The client's address, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl Caller {
    /// The daemon's own schedule.
    pub fn schedule() -> Self {
        Self {
            kind: Credential::Schedule,
            address: None,
        }
    }

    /// Somebody at an address, by a kind of credential.
    pub fn at(kind: Credential, address: Option<IpAddr>) -> Self {
        Self { kind, address }
    }

    /// Who sent a request that the guard has let through.
    pub fn of(daemon: &Daemon, path: &str, headers: &HeaderMap, peer: Option<Peer>) -> Self {
        let in_session = || {
            login::session_in(headers)
                .is_some_and(|session| daemon.page.sessions.is_open(session, Utc::now()))
        };
        let kind = match (daemon.live.serve_token().is_empty(), path.starts_with("/api/")) {
            (true, true) => Credential::Local,
            (true, false) => Credential::Page,
            (false, _) if in_session() => Credential::Session,
            (false, _) => Credential::Token,
        };
        Self {
            kind,
            address: peer.map(|Peer(address)| address),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match self.address {
            Some(address) => write!(f, " from {address}"),
            None => Ok(()),
        }
    }
}

impl FromRequestParts<Arc<Daemon>> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, daemon: &Arc<Daemon>) -> Result<Self, Infallible> {
        let peer = parts.extensions.get().copied();
        Ok(Self::of(daemon, parts.uri.path(), &parts.headers, peer))
    }
}

/// Writes the line: who did what to which object. `action` is a word for scripts, `object` a text for people.
pub fn note(caller: &Caller, action: &'static str, object: &str) {
    let object = escaped(object);
    tracing::info!(
        target: "telelake::audit",
        audit = true,
        action,
        by = caller.kind.as_str(),
        address = caller.address.map(tracing::field::display),
        object = object.as_ref(),
        "audit: {action}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_of_another_version_is_unknown_and_stops_nothing() {
        let caller: Caller = serde_json::from_str(r#"{"kind":"badge"}"#).expect("caller");
        assert_eq!(caller.kind, Credential::Unknown);
        let caller: Caller =
            serde_json::from_str(r#"{"kind":"session","address":"10.0.0.7"}"#).expect("caller");
        assert_eq!(caller.to_string(), "session from 10.0.0.7");
        assert_eq!(Caller::schedule().to_string(), "schedule");
    }
}
