//! How a failure is told: status → kind and hint, and texts that are safe to log. Pure; `client` and `download` call it.
//!
//! An API's or a library's own words are bounded, stripped of control characters, of the token, of e-mail addresses and
//! telephone numbers, and of anything after a URL's `?`, where signatures stand.

use std::error::Error as StdError;

use chrono::Utc;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::guard::Refusal;
use super::retry;
use crate::printable::{escaped, is_printable, without_contacts};
use crate::{Error, ErrorKind, lenient};

/// Characters of the API's own words that are repeated.
const LONGEST_WORDS: usize = 200;
/// Characters of an id that are repeated.
const LONGEST_ID: usize = 64;

const TOKEN_HINT: &str = "check api.token, or make a new personal token";
pub(super) const BASE_URL_HINT: &str = "check api.base_url";

/// An id as errors show it: bounded, on one line.
pub(super) fn shown(id: &str) -> String {
    match id.char_indices().nth(LONGEST_ID) {
        Some((end, _)) => format!("{}…", escaped(&id[..end])),
        None => escaped(id).into_owned(),
    }
}

/// Somebody else's words, safe to log.
pub(super) fn words(text: &str, token: &str) -> String {
    let masked = if token.is_empty() {
        text.to_owned()
    } else {
        text.replace(token, "***")
    };
    let clean: String = masked
        .chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .collect();
    let unsigned: Vec<_> = clean.split_whitespace().map(without_query).collect();
    let safe = without_contacts(&without_bearers(unsigned).join(" "));
    let mut bounded: String = safe.chars().take(LONGEST_WORDS).collect();
    if safe.chars().nth(LONGEST_WORDS).is_some() {
        bounded.push('…');
    }
    bounded
}

/// Masks what stands after `Bearer`: also a token that is not ours may be somebody's.
fn without_bearers(mut words: Vec<String>) -> Vec<String> {
    let mut is_token = false;
    for word in &mut words {
        if std::mem::replace(&mut is_token, word.to_ascii_lowercase().ends_with("bearer")) {
            "***".clone_into(word);
        }
    }
    words
}

/// Cuts a URL before what may sign it, and takes away a password.
fn without_query(word: &str) -> String {
    let Some((start, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let plain = rest.split(['?', '#']).next().unwrap_or_default();
    let host = plain.find('/').unwrap_or(plain.len());
    let from = plain[..host].rfind('@').map_or(0, |at| at + 1);
    let cut = if plain.len() < rest.len() { "?***" } else { "" };
    format!("{start}://{}{cut}", &plain[from..])
}

/// What an answer's status means.
pub(super) fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        408 | 425 | 429 => ErrorKind::RateLimited,
        400..=499 => ErrorKind::Rejected,
        500..=599 => ErrorKind::Server,
        _ => ErrorKind::InvalidAnswer,
    }
}

/// `403 Forbidden`
pub(super) fn status_text(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// The error of an answer that is no success. `body` is read for the API's `message` and `code` alone.
pub(super) fn refusal(
    about: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    token: &str,
) -> Error {
    let kind = kind_of(status);
    let mut message = status_text(status);
    if let Some(said) = said(body, token) {
        message = format!("{message}: {said}");
    }
    let error = Error::new(kind, about, message).retry_after(asked_pause(headers));
    match kind {
        ErrorKind::Unauthorized => error.hint(TOKEN_HINT),
        ErrorKind::InvalidAnswer => {
            error.hint(format!("{BASE_URL_HINT}: the API itself does not redirect here"))
        }
        _ => error,
    }
}

/// The API's `message` and `code`.
fn said(body: &[u8], token: &str) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = |field: &str| {
        let text = match answer.get(field)? {
            Value::Array(lines) => lines
                .iter()
                .filter_map(lenient::text)
                .collect::<Vec<_>>()
                .join("; "),
            line => lenient::text(line)?,
        };
        Some(words(&text, token)).filter(|text| !text.is_empty())
    };
    match (text("message"), text("code")) {
        (Some(message), Some(code)) => Some(format!("{message} (code {code})")),
        (Some(message), None) => Some(message),
        (None, Some(code)) => Some(format!("code {code}")),
        (None, None) => None,
    }
}

/// The pause that an answer asks for.
pub(super) fn asked_pause(headers: &HeaderMap) -> Option<std::time::Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    retry::retry_after(text(RETRY_AFTER)?, text(DATE), Utc::now())
}

/// The error of a request that got no whole answer. The library's text names the URL, so only its causes are told.
pub(super) fn transport(about: &str, error: reqwest::Error, token: &str) -> Error {
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
    let what = if error.is_timeout() {
        return timed_out(about);
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection was cut"
    };
    let message = match cause(&error) {
        Some(cause) => format!("{what}: {}", words(&cause, token)),
        None => what.to_owned(),
    };
    Error::new(ErrorKind::Connection, about, message).hint("check the network, and the host in api.base_url")
}

/// A link that is not followed.
pub(super) fn refused_link(about: &str, refusal: Refusal) -> Error {
    Error::new(
        ErrorKind::InvalidAnswer,
        about,
        format!("not followed: the link {refusal}"),
    )
}

fn refusal_in(error: &dyn StdError) -> Option<Refusal> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(refusal) = cause.downcast_ref() {
            return Some(*refusal);
        }
        next = cause.source();
    }
    None
}

/// No answer in time.
pub(super) fn timed_out(about: &str) -> Error {
    Error::new(ErrorKind::Connection, about, "timed out")
}

/// The innermost cause, which is the plainest: "Connection refused (os error 111)".
fn cause(error: &dyn StdError) -> Option<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    let last = causes.last()?;
    let dns = causes.iter().any(|cause| cause.starts_with("dns error"));
    Some(if dns && !last.starts_with("dns error") {
        format!("dns error: {last}")
    } else {
        last.clone()
    })
}

/// The program was asked to stop.
pub(super) fn interrupted(about: &str) -> Error {
    Error::new(ErrorKind::Interrupted, about, "stopped")
}

/// The same error, which several attempts ended with.
pub(super) fn after_attempts(error: Error, attempts: u32) -> Error {
    if attempts < 2 {
        return error;
    }
    let pause = error.pause();
    Error::new(
        error.kind(),
        error.about(),
        format!("{}, {attempts} attempts", error.message()),
    )
    .retry_after(pause)
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
    fn an_error_says_status_message_and_code() {
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
        GET rooms of space 60d5: 401 Unauthorized: jwt expired (code 4010) (check api.token, or make a new personal token)
        GET rooms of space 60d5: 403 Forbidden: No access (code forbidden)
        GET rooms of space 60d5: 422 Unprocessable Entity: date is wrong; roomId is wrong
        GET rooms of space 60d5: 404 Not Found
        GET rooms of space 60d5: 302 Found (check api.base_url: the API itself does not redirect here)
        GET rooms of space 60d5: 599: code 7
        ");
    }

    #[test]
    fn every_status_has_its_kind() {
        let kind = |status| kind_of(StatusCode::from_u16(status).unwrap());
        for status in [408, 425, 429] {
            assert_eq!(kind(status), ErrorKind::RateLimited);
        }
        assert_eq!([kind(400), kind(409), kind(422)], [ErrorKind::Rejected; 3]);
        assert_eq!([kind(500), kind(503), kind(520)], [ErrorKind::Server; 3]);
        assert_eq!([kind(301), kind(304)], [ErrorKind::InvalidAnswer; 2]);
    }

    #[test]
    fn neither_the_token_nor_a_signature_is_repeated() {
        let body = r#"{"message":"Bearer t0ken\nsee https://u:p@h/x?X-Sig=abc#f and (http://h?k=1)","code":"t0ken"}"#;
        let text = refused(400, body).to_string();
        assert_eq!(
            text,
            "GET rooms of space 60d5: 400 Bad Request: Bearer *** see https://h/x?*** and (http://h?*** (code ***)"
        );
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
        let error = refusal("x", StatusCode::SERVICE_UNAVAILABLE, &headers, b"", "");
        assert_eq!(error.pause(), Some(std::time::Duration::from_secs(7)));
        let error = after_attempts(error, 3);
        assert_eq!(error.to_string(), "x: 503 Service Unavailable, 3 attempts");
        assert_eq!(error.pause(), Some(std::time::Duration::from_secs(7)));
    }

    #[test]
    fn a_token_in_others_words_is_masked_whosever_it_is() {
        assert_eq!(
            words(
                "header «Authorization: bearer 0ther-t0ken» or Bearer\nt0ken is refused",
                "t0ken"
            ),
            "header «Authorization: bearer *** or Bearer *** is refused"
        );
    }

    proptest! {
        #[test]
        fn words_and_ids_are_bounded_one_liners(text in "\\PC*|.{0,400}|(\\s|[a-z:/?@#]){0,60}") {
            let safe = words(&text, "t0ken");
            prop_assert!(safe.chars().count() <= LONGEST_WORDS + 1 && !safe.contains(char::is_control));
            let id = shown(&text);
            prop_assert!(id.chars().count() <= LONGEST_ID * 10 + 1 && !id.contains(char::is_control));
        }
    }
}
