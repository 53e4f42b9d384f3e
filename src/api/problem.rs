//! Turns failed answers and transport errors into errors that are safe to log. Pure; `sender` and `download` call it.
//!
//! Texts from the API or from a library are shortened, freed of control characters and of the token, and masked by
//! [`without_secrets`]. They are kept apart from the error's message, because manifests and tables store the message.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use chrono::Utc;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::retry_after;
use crate::sanitize::{MASK, escaped, is_printable, without_secrets};
use crate::tls::CertificateFault;
use crate::{Error, ErrorKind, lenient};

/// The most characters of the API's own text that an error repeats.
const LONGEST_WORDS: usize = 200;
/// The most characters of an error's code.
const LONGEST_CODE: usize = 40;
/// The most characters of an id that an error repeats.
const LONGEST_ID: usize = 64;

/// The most bytes of an error answer's body that are read; only its `message` and `code` are used.
pub(super) const LONGEST_ERROR: usize = 64 * 1024;
/// The most bytes of a body with a success status that is checked for a hidden error.
const LONGEST_HIDDEN: usize = 8 * 1024;
/// The fields of an error. An object with any other field is no error.
const ERROR_FIELDS: [&str; 14] = [
    "message",
    "code",
    "status",
    "statusCode",
    "error",
    "errors",
    "error_description",
    "details",
    "success",
    "timestamp",
    "path",
    "requestId",
    "request_id",
    "traceId",
];

const TOKEN_HINT: &str = "check api.token, or make a new personal token";
pub(super) const BASE_URL_HINT: &str = "check api.base_url";

/// An id for error messages: shortened, on one line.
pub(super) fn shown(id: &str) -> String {
    match id.char_indices().nth(LONGEST_ID) {
        Some((end, _)) => format!("{}…", escaped(&id[..end])),
        None => escaped(id).into_owned(),
    }
}

/// A text from the API or a library, made safe to log.
pub(super) fn safe_text(text: &str, token: &str) -> String {
    let masked = if token.is_empty() {
        text.to_owned()
    } else {
        text.replace(token, MASK)
    };
    let clean: String = masked
        .chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .collect();
    let safe = without_secrets(&clean);
    let mut bounded: String = safe.chars().take(LONGEST_WORDS).collect();
    if safe.chars().nth(LONGEST_WORDS).is_some() {
        bounded.push('…');
    }
    bounded
}

/// The kind of error that a status means.
pub(super) fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        429 => ErrorKind::RateLimited,
        // These two (timeout, too early) say nothing against the request itself.
        408 | 425 => ErrorKind::Server,
        400..=499 => ErrorKind::Rejected,
        500..=599 => ErrorKind::Server,
        _ => ErrorKind::InvalidAnswer,
    }
}

/// A status as text, such as `403 Forbidden`.
pub(super) fn status_text(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// The error for an answer without a success status. Only `message` and `code` are read from `body`.
pub(super) fn refusal(
    about: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    token: &str,
) -> Error {
    let answer = serde_json::from_slice(body).ok();
    let mut kind = kind_of(status);
    // Some rate limiters answer 503 instead of 429.
    if status == StatusCode::SERVICE_UNAVAILABLE
        && answer.as_ref().and_then(kind_by_code) == Some(ErrorKind::RateLimited)
    {
        kind = ErrorKind::RateLimited;
    }
    let ErrorText { text, code } = answer
        .map(|answer| error_text(&answer, token))
        .unwrap_or_default();
    let message = with_code(&status_text(status), code);
    let error = Error::new(kind, about, message).said(text);
    with_hint(error).retry_after(asked_pause(headers))
}

fn with_hint(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unauthorized => error.hint(TOKEN_HINT),
        ErrorKind::InvalidAnswer => {
            error.hint(format!("{BASE_URL_HINT}: the API itself does not redirect here"))
        }
        ErrorKind::RateLimited => error.hint("set api.requests_per_second to what the API bears"),
        _ => error,
    }
}

/// The error within an answer that has a success status. `is_read`: the request only reads, so an object that holds
/// only a message is an error. For a request that changes something, only an error code counts.
pub(super) fn hidden_error(
    about: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    is_read: bool,
    token: &str,
) -> Option<Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if body.first() != Some(&b'{') || body.len() > LONGEST_HIDDEN {
        return None;
    }
    // Most answers are lists, which need not be parsed for this.
    if !may_begin_error(body) {
        return None;
    }
    let (answer, _): (Value, _) = crate::json::read(body).ok()?;
    let fields = answer.as_object()?;
    let is_known = |field: &String| ERROR_FIELDS.contains(&field.as_str());
    let by_code = kind_by_code(&answer);
    let says = |field: &str| fields.get(field).is_some_and(|value| !is_nothing(value));
    let is_told = says("message") || says("error") || says("errors");
    let is_error = match is_read {
        true => is_told || (fields.contains_key("message") && says("code")),
        false => by_code.is_some(),
    };
    if !is_error || !fields.keys().all(is_known) {
        return None;
    }
    let kind = by_code.unwrap_or(ErrorKind::Server);
    let ErrorText { text, code } = error_text(&answer, token);
    let message = with_code(&format!("answered an error as {}", status_text(status)), code);
    let error = Error::new(kind, about, message).said(text);
    Some(with_hint(error).retry_after(asked_pause(headers)))
}

/// True unless the first field of a JSON object is no field of an error.
fn may_begin_error(body: &[u8]) -> bool {
    let first = body.split(|byte| *byte == b'"').nth(1).unwrap_or_default();
    first.contains(&b'\\') || ERROR_FIELDS.iter().any(|field| field.as_bytes() == first)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// The kind that an error's code means, if the code is an HTTP status or a known word.
fn kind_by_code(answer: &Value) -> Option<ErrorKind> {
    let inner = answer.get("error");
    ["statusCode", "status", "code"]
        .iter()
        .flat_map(|field| [answer.get(*field), inner.and_then(|inner| inner.get(*field))])
        .chain([inner])
        .flatten()
        .find_map(kind_of_code)
}

fn kind_of_code(code: &Value) -> Option<ErrorKind> {
    let text = lenient::text(code)?;
    if let Ok(status) = text.trim().parse::<u16>() {
        let status = StatusCode::from_u16(status).ok()?;
        return matches!(status.as_u16(), 400..=599).then(|| kind_of(status));
    }
    let word: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let word = word.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
    if has(&["toomany", "ratelimit", "throttl", "slowdown"]) {
        Some(ErrorKind::RateLimited)
    } else if has(&["unauthorized", "unauthenticated", "invalidtoken", "tokenexpired"]) {
        Some(ErrorKind::Unauthorized)
    } else if has(&["forbidden", "accessdenied"]) {
        Some(ErrorKind::Forbidden)
    } else if has(&["notfound"]) {
        Some(ErrorKind::NotFound)
    } else if has(&["internalerror", "internalservererror", "unavailable", "timeout"]) {
        Some(ErrorKind::Server)
    } else {
        None
    }
}

/// The text and the code of an API error.
#[derive(Default)]
struct ErrorText {
    /// The text, masked.
    text: Option<String>,
    /// The code, if it is a word or a number and no sentence.
    code: Option<String>,
}

/// Reads `message` and `code`, or OAuth's `error` and `error_description`.
fn error_text(answer: &Value, token: &str) -> ErrorText {
    let inner = answer.get("error").filter(|inner| inner.is_object());
    let answer = inner.unwrap_or(answer);
    let text = |field: &str| {
        let text = match answer.get(field)? {
            Value::Array(lines) => lines
                .iter()
                .filter_map(lenient::text)
                .collect::<Vec<_>>()
                .join("; "),
            line => lenient::text(line)?,
        };
        Some(safe_text(&text, token)).filter(|text| !text.is_empty())
    };
    let mut codes = ["code", "statusCode", "status", "error"]
        .into_iter()
        .filter_map(text);
    ErrorText {
        text: text("message").or_else(|| text("error_description")),
        code: codes.next().filter(|code| is_code(code)),
    }
}

/// True if a text looks like an error code. Anything else may be personal data.
fn is_code(code: &str) -> bool {
    code.len() <= LONGEST_CODE
        && code
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

fn with_code(what: &str, code: Option<String>) -> String {
    match code {
        Some(code) => format!("{what} (code {code})"),
        None => what.to_owned(),
    }
}

/// The pause that an answer asks for (`Retry-After`).
pub(super) fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    retry_after::read(text(RETRY_AFTER)?, text(DATE), Utc::now())
}

/// The host that a request was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestTarget {
    /// The API.
    Api,
    /// The host that a download link names.
    Recordings,
}

impl RequestTarget {
    /// The hint for a host that can't be reached.
    fn hint(self, refused: bool) -> &'static str {
        match self {
            Self::Api if refused => {
                "nothing listens there: check the host and port in api.base_url, and the firewall"
            }
            Self::Api => "check the network, and the host in api.base_url",
            Self::Recordings => {
                "let this machine reach that host: check the network, the firewall and the proxy"
            }
        }
    }
}

/// The error for a request without a complete answer. Only the causes are repeated, because the library's own text
/// contains the URL.
pub(super) fn transport(about: &str, error: reqwest::Error, token: &str, peer: RequestTarget) -> Error {
    let error = error.without_url();
    if error.is_builder() {
        return Error::new(
            ErrorKind::InvalidAnswer,
            about,
            "no request can be made of the URL",
        );
    }
    if let Some(refusal) = refusal_in(&error) {
        return refused_link(about, refusal);
    }
    if error.is_redirect() {
        return Error::new(ErrorKind::InvalidAnswer, about, "redirected to no URL");
    }
    let causes = causes(&error);
    if let Some(fault) = CertificateFault::find(&error) {
        return Error::new(ErrorKind::Untrusted, about, fault.message()).hint(fault.hint("SSL_CERT_FILE"));
    }
    let what = if error.is_timeout() {
        return timed_out(about);
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection was cut"
    };
    let refused = causes.iter().any(|cause| cause.contains("refused"));
    let message = match plainest(&causes) {
        Some(cause) => format!("{what}: {}", safe_text(&cause, token)),
        None => what.to_owned(),
    };
    Error::new(ErrorKind::Connection, about, message).hint(peer.hint(refused))
}

/// The reason why a link or a redirect is not followed. It holds no URL, because links are secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkRefusal {
    NotPublic,
    Scheme,
    Downgrade,
    TooMany,
}

impl fmt::Display for LinkRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPublic => "leads to an address that is not public",
            Self::Scheme => "leads to no http(s) URL",
            Self::Downgrade => "leads from https to http",
            Self::TooMany => "redirects too often",
        })
    }
}

impl std::error::Error for LinkRefusal {}

/// The error for a download link that must not be followed.
pub(super) fn refused_link(about: &str, refusal: LinkRefusal) -> Error {
    Error::new(
        ErrorKind::InvalidAnswer,
        about,
        format!("not followed: the link {refusal}"),
    )
}

fn refusal_in(error: &dyn StdError) -> Option<LinkRefusal> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(refusal) = cause.downcast_ref() {
            return Some(*refusal);
        }
        next = cause.source();
    }
    None
}

/// The error for a request whose answer did not come in time.
pub(super) fn timed_out(about: &str) -> Error {
    Error::new(ErrorKind::Connection, about, "timed out")
        .hint("check the network and the firewall; api.timeout is how long is waited")
}

/// The causes of an error, the innermost last.
fn causes(error: &dyn StdError) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

/// The innermost cause, which is the clearest one, such as "Connection refused (os error 111)".
fn plainest(causes: &[String]) -> Option<String> {
    let last = causes.last()?;
    let dns = causes.iter().any(|cause| cause.starts_with("dns error"));
    Some(if dns && !last.starts_with("dns error") {
        format!("dns error: {last}")
    } else {
        last.clone()
    })
}

/// The error for a request that was ended because the program stops.
pub(super) fn interrupted(about: &str) -> Error {
    Error::new(ErrorKind::Interrupted, about, "stopped")
}

/// Adds the number of attempts to the error of the last one.
pub(super) fn after_attempts(error: Error, attempts: u32) -> Error {
    match attempts {
        0 | 1 => error,
        _ => error.and(&format!(", {attempts} attempts")),
    }
}

/// Adds the pause that the server asked for to an error whose pause is longer than a run waits.
pub(super) fn postponed(error: Error) -> Error {
    let pause = error.pause().unwrap_or_default().as_secs();
    let pause = humantime::format_duration(Duration::from_secs(pause));
    error.and(&format!(
        ": it asks for a pause of {pause}, so the next run tries again"
    ))
}

/// The error for a request that is not sent because the API refuses all requests.
pub(super) fn closed(about: &str, of_space: bool, reason: &str) -> Error {
    // Requests of a space are counted as skipped: the run's summary reports their number once.
    let kind = match of_space {
        true => ErrorKind::Skipped,
        false => ErrorKind::RateLimited,
    };
    let message = format!("not sent: the API refuses all requests ({reason})");
    Error::new(kind, about, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(status: u16, body: &str) -> Error {
        let status = StatusCode::from_u16(status).unwrap();
        refusal(
            "GET rooms of space 60d5",
            status,
            &HeaderMap::new(),
            body.as_bytes(),
            "t0ken",
        )
    }

    #[test]
    fn an_error_names_status_message_and_code() {
        let texts = [
            refused(401, r#"{"message":"jwt expired","code":4010}"#),
            refused(403, r#"{"message":"No access","code":"forbidden"}"#),
            refused(422, r#"{"message":["date is wrong","roomId is wrong"]}"#),
            refused(404, "<html>Ivan Petrov</html>"),
            refused(302, ""),
            refused(599, r#"{"message":"","code":7}"#),
        ]
        .map(|error| error.to_string());
        insta::assert_snapshot!(texts.join("\n"), @r"
        GET rooms of space 60d5: 401 Unauthorized (code 4010): jwt expired (check api.token, or make a new personal token)
        GET rooms of space 60d5: 403 Forbidden (code forbidden): No access
        GET rooms of space 60d5: 422 Unprocessable Entity: date is wrong; roomId is wrong
        GET rooms of space 60d5: 404 Not Found
        GET rooms of space 60d5: 302 Found (check api.base_url: the API itself does not redirect here)
        GET rooms of space 60d5: 599 (code 7)
        ");
        assert_eq!(
            refused(403, r#"{"message":"Anna","code":"for Anna"}"#).message(),
            "403 Forbidden"
        );
    }

    #[test]
    fn every_status_has_its_kind() {
        let kind = |status| kind_of(StatusCode::from_u16(status).unwrap());
        assert_eq!(kind(429), ErrorKind::RateLimited);
        assert_eq!([kind(408), kind(425)], [ErrorKind::Server; 2]);
        assert_eq!([kind(400), kind(409), kind(422)], [ErrorKind::Rejected; 3]);
        assert_eq!([kind(500), kind(503), kind(520)], [ErrorKind::Server; 3]);
        assert_eq!([kind(301), kind(304)], [ErrorKind::InvalidAnswer; 2]);
    }

    #[test]
    fn the_token_and_signatures_are_masked() {
        let body = r#"{"message":"Bearer t0ken\nsee https://u:p@h/x?X-Sig=abc#f and (http://h?k=1)","code":"t0ken"}"#;
        let text = refused(400, body).to_string();
        assert_eq!(
            text,
            "GET rooms of space 60d5: 400 Bad Request: Bearer *** see https://h/x?*** and (http://h?***"
        );
    }

    #[test]
    fn a_requested_pause_is_kept_in_the_error() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
        let error = refusal("x", StatusCode::SERVICE_UNAVAILABLE, &headers, b"", "");
        assert_eq!(error.pause(), Some(Duration::from_secs(7)));
        let error = after_attempts(error.hint("wait"), 3);
        assert_eq!(error.to_string(), "x: 503 Service Unavailable, 3 attempts (wait)");
        assert_eq!(error.pause(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn any_bearer_token_is_masked() {
        assert_eq!(
            safe_text("bearer 0ther-t0ken or Bearer\nt0ken is refused", "t0ken"),
            "bearer *** or Bearer *** is refused"
        );
    }

    proptest! {
        #[test]
        fn repeated_texts_and_ids_are_short_single_lines(text in "\\PC*|.{0,400}|(\\s|[a-z:/?@#]){0,60}") {
            let safe = safe_text(&text, "t0ken");
            prop_assert!(safe.chars().count() <= LONGEST_WORDS + 1 && !safe.contains(char::is_control));
            let id = shown(&text);
            prop_assert!(id.chars().count() <= LONGEST_ID * 10 + 1 && !id.contains(char::is_control));
        }
    }
}
