//! Signing in with `serve.token` for a session, so that the token itself is never in a cookie. Without a configured token
//! nobody needs to sign in.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Query, Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use chrono::Utc;
use maud::html;
use serde::Deserialize;

use super::forms::form;
use super::frame::{self, answer, go_to};
use super::lang::Text;
use super::{language, texts as t};
use crate::serve::audit::{self, Caller, Credential};
use crate::serve::http::guard::is_same;
use crate::serve::http::session::{self, Access, cookie, session_in};
use crate::serve::http::{Peer, reply};

/// Sends a reader without a session to the sign-in form, and afterwards back. A reader who follows a link from another site
/// may have a session, because browsers send no `Strict` cookie then; a reload from our own page sends it.
pub async fn ask_to_sign_in(request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    let answer = next.run(request).await;
    if answer.status() == StatusCode::UNAUTHORIZED {
        redirect(&uri, &headers)
    } else {
        answer
    }
}

fn redirect(uri: &Uri, headers: &HeaderMap) -> Response {
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
pub struct SignInQuery {
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
    State(access): State<Arc<Access>>,
    Query(SignInQuery { to }): Query<SignInQuery>,
    headers: HeaderMap,
) -> Response {
    if access.token().is_empty() {
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
struct SignInForm {
    token: String,
    #[serde(default)]
    to: String,
}

/// `POST /login`
pub async fn post(
    State(access): State<Arc<Access>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let given: SignInForm = match form(body).await {
        Ok(given) => given,
        Err(refusal) => return *refusal,
    };
    let (token, now) = (access.token(), Utc::now());
    if token.is_empty() {
        return go_to("/", None);
    }
    let to = place(&given.to);
    if access.guesses.is_barred(peer, now) {
        let why = (StatusCode::TOO_MANY_REQUESTS, t::TOO_MANY_GUESSES);
        let mut answer = the_form(&headers, to, Some(why));
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("60"));
        return answer;
    }
    if !is_same(given.token.trim(), token.expose()) {
        access.guesses.note_wrong(peer, "the page", now);
        return the_form(&headers, to, Some((StatusCode::UNAUTHORIZED, t::WRONG_TOKEN)));
    }
    match access.sessions.open(now) {
        Ok(session) => {
            audit::note(&Caller::at(Credential::Token, Some(peer)), "sign_in", "the page");
            go_to(
                to,
                Some(&cookie(&session, session::LIFETIME.num_seconds(), &headers)),
            )
        }
        Err(error) => reply::failed(&error),
    }
}

/// `POST /logout`
pub async fn leave(State(access): State<Arc<Access>>, caller: Caller, headers: HeaderMap) -> Response {
    if let Some(session) = session_in(&headers) {
        access.sessions.close(session);
        audit::note(&caller, "sign_out", "the page");
    }
    go_to("/login", Some(&cookie("", 0, &headers)))
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
}
