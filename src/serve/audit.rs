//! The audit: a log line for each request, cancellation, pause and resumption of work, and for each sign-in. It holds the
//! kind of credential and the address, never the credential itself.
//!
//! The lines have the target `telelake::audit` and the field `audit=true`, in both log formats, also with `--quiet`.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::sanitize::escaped;

/// The kind of credential of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Credential {
    /// The bearer token `serve.token`.
    Token,
    /// A session of the page, opened with the token.
    Session,
    /// The page without a configured token: somebody on this machine.
    Page,
    /// The API without a configured token: somebody on this machine.
    Local,
    /// The signature of a webhook.
    Webhook,
    /// The daemon's own schedule.
    Schedule,
    /// A signal to the process: SIGHUP.
    Signal,
    /// No credential, or a wrong one.
    Nothing,
    /// Unknown, because another version of the program wrote it.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Credential {
    /// The word that the API and the log use.
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

/// The caller of a request: the kind of credential and the address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Caller {
    /// The credential.
    pub kind: Credential,
    /// The client's address, if there is one.
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

    /// A caller with a kind of credential at an address.
    pub fn at(kind: Credential, address: Option<IpAddr>) -> Self {
        Self { kind, address }
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

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    /// The caller that the guard has put into the request.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Writes an audit line. `action` is a word for scripts, `object` a text for people.
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
    fn a_credential_of_another_version_is_read_as_unknown() {
        let caller: Caller = serde_json::from_str(r#"{"kind":"badge"}"#).expect("caller");
        assert_eq!(caller.kind, Credential::Unknown);
        let caller: Caller =
            serde_json::from_str(r#"{"kind":"session","address":"10.0.0.7"}"#).expect("caller");
        assert_eq!(caller.to_string(), "session from 10.0.0.7");
        assert_eq!(Caller::schedule().to_string(), "schedule");
    }
}
