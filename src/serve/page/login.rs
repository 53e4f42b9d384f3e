//! Signing in with `serve.token` for a session, so that the token itself is never in a cookie. Without a configured token
//! nobody needs to sign in.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Query, State};
use axum::http::header::{COOKIE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use chrono::Utc;
use maud::html;
use serde::Deserialize;

use super::forms::form;
use super::frame::{self, answer, go_to};
use super::lang::Text;
use super::{language, texts as t};
use crate::serve::audit::{self, Caller, Credential};
use crate::serve::daemon::Daemon;
use crate::serve::http::session;
use crate::serve::http::{Peer, is_same};

const COOKIE_NAME: &str = "telelake";

/// The session in a request's cookie.
pub fn session_in(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

/// Sends a reader without a session to the sign-in form, and afterwards back. A reader who follows a link from another site
/// may have a session, because browsers send no `Strict` cookie then; a reload from our own page sends it.
pub fn first(uri: &Uri, headers: &HeaderMap) -> Response {
    let from_elsewhere = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "cross-site");
    if from_elsewhere && session_in(headers).is_none() {
        let lang = language(headers);
        let page = html! {
            (frame::head(lang, lang.say(t::SIGN_IN)))
            meta http-equiv="refresh" content="0";
        };
        return answer(StatusCode::OK, page);
    }
    let wanted = uri.path_and_query().map_or("/", |wanted| wanted.as_str());
    let to = serde_urlencoded::to_string([("to", wanted)]).unwrap_or_default();
    go_to(&format!("/login?{to}"), None)
}

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    to: String,
}

/// The wanted path if it is on this site, else `/`. Browsers take `//x` and `/\x` for another site.
fn place(wanted: &str) -> &str {
    let is_ours = wanted.starts_with('/')
        && !wanted.starts_with("//")
        && wanted
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours { wanted } else { "/" }
}

/// `GET /login`
pub async fn get(
    State(daemon): State<Arc<Daemon>>,
    Query(Wanted { to }): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    if daemon.live.serve_token().is_empty() {
        return go_to("/", None);
    }
    the_form(&headers, place(&to), None)
}

fn the_form(headers: &HeaderMap, to: &str, trouble: Option<(StatusCode, Text)>) -> Response {
    let lang = language(headers);
    let say = |text| lang.say(text);
    let page = html! {
        (frame::head(lang, say(t::SIGN_IN)))
        body.door {
            main {
                h1 { "telelake" }
                form method="post" action="/login" data-once {
                    @if let Some((_, why)) = trouble {
                        p #wrong.verdict.failed role="alert" { (say(why)) }
                    }
                    input type="hidden" name="to" value=(to);
                    label for="token" { (say(t::TOKEN)) }
                    input #token name="token" type="password" autocomplete="current-password" required
                        autofocus aria-describedby="hint" aria-invalid=[trouble.map(|_| "true")];
                    p #hint.quiet { (say(t::TOKEN_HINT)) }
                    button.strong { (say(t::ENTER)) }
                }
            }
        }
    };
    answer(trouble.map_or(StatusCode::OK, |(status, _)| status), page)
}

#[derive(Deserialize)]
struct Given {
    token: String,
    #[serde(default)]
    to: String,
}

/// `POST /login`
pub async fn post(
    State(daemon): State<Arc<Daemon>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let given: Given = match form(body).await {
        Ok(given) => given,
        Err(refusal) => return *refusal,
    };
    let (token, now) = (daemon.live.serve_token(), Utc::now());
    if token.is_empty() {
        return go_to("/", None);
    }
    let to = place(&given.to);
    if daemon.page.guesses.is_barred(peer, now) {
        let why = (StatusCode::TOO_MANY_REQUESTS, t::TOO_MANY_GUESSES);
        let mut answer = the_form(&headers, to, Some(why));
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("60"));
        return answer;
    }
    if !is_same(given.token.trim(), token.expose()) {
        daemon.page.guesses.note_wrong(peer, "the page", now);
        return the_form(&headers, to, Some((StatusCode::UNAUTHORIZED, t::WRONG_TOKEN)));
    }
    match daemon.page.sessions.open(now) {
        Ok(session) => {
            audit::note(&Caller::at(Credential::Token, Some(peer)), "sign_in", "the page");
            go_to(
                to,
                Some(&cookie(&session, session::LIFETIME.num_seconds(), &headers)),
            )
        }
        Err(error) => crate::serve::http::reply::failed(&error),
    }
}

/// `POST /logout`
pub async fn leave(State(daemon): State<Arc<Daemon>>, caller: Caller, headers: HeaderMap) -> Response {
    if let Some(session) = session_in(&headers) {
        daemon.page.sessions.close(session);
        audit::note(&caller, "sign_out", "the page");
    }
    go_to("/login", Some(&cookie("", 0, &headers)))
}

fn cookie(value: &str, seconds: i64, headers: &HeaderMap) -> String {
    // The daemon itself speaks HTTP; only the proxy in front knows if the reader uses HTTPS.
    let by_https = headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    let secure = if by_https { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_redirects_only_within_this_site() {
        for ours in ["/", "/day?date=2026-11-01&space=a%20b", "/runs"] {
            assert_eq!(place(ours), ours);
        }
        for theirs in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "evil",
            "/a\r\nb",
            "/a b",
        ] {
            assert_eq!(place(theirs), "/", "{theirs}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others_and_is_secure_over_https() {
        let mut headers = HeaderMap::new();
        assert_eq!(session_in(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("a=1; telelakes=x; telelake=abc"));
        assert_eq!(session_in(&headers), Some("abc"));
        assert!(!cookie("x", 1, &headers).contains("Secure"));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        let set = cookie("x", 1, &headers);
        assert_eq!(
            set,
            "telelake=x; Path=/; HttpOnly; SameSite=Strict; Max-Age=1; Secure"
        );
    }
}
