//! The frame of every page: head, navigation, response headers. Pure.

use axum::http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, LOCATION, REFERRER_POLICY, SET_COOKIE, VARY, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::lang::Lang;
use super::texts as t;
use crate::sanitize::escaped_lines;
use crate::serve::http::reply;
use crate::{Error, ErrorKind};

/// The content security policy: only the daemon's own content, and no framing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The context of a request for a page: language, time and session.
pub struct Visit {
    pub lang: Lang,
    pub zone: Tz,
    pub now: DateTime<Utc>,
    pub today: NaiveDate,
    /// True if there is a session to end.
    pub signed_in: bool,
    /// The time when the shown data was read, and true if the store could not be read since.
    pub as_of: DateTime<Utc>,
    pub is_old: bool,
}

impl Visit {
    /// The time of day of an instant, with the date unless it is today.
    pub fn time(&self, at: DateTime<Utc>) -> String {
        let local = at.with_timezone(&self.zone);
        if local.date_naive() == self.today {
            local.format("%H:%M").to_string()
        } else {
            self.at(at)
        }
    }

    /// The date and time of an instant in the configured time zone.
    pub fn at(&self, at: DateTime<Utc>) -> String {
        self.lang.instant(at, self.zone)
    }
}

/// The current page in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    Coverage,
    Runs,
    System,
    Elsewhere,
}

/// A complete page.
pub fn page(visit: &Visit, here: Here, title: &str, content: &Markup) -> Markup {
    let say = |text| visit.lang.say(text);
    let current = |of: Here| (of == here).then_some("page");
    html! {
        (head(visit.lang, title))
        body data-version=(assets::PROGRAM.as_str()) {
            a.skip href="#main" { (say(t::SKIP)) }
            header.top {
                a.brand href="/" { "telelake" }
                nav aria-label=(say(t::MAIN_NAV)) {
                    a href="/" aria-current=[current(Here::Coverage)] { (say(t::COVERAGE)) }
                    a href="/runs" aria-current=[current(Here::Runs)] { (say(t::RUNS)) }
                    a href="/system" aria-current=[current(Here::System)] { (say(t::SYSTEM)) }
                }
                form.search role="search" action="/search" {
                    input type="search" name="q" required maxlength="200" aria-label=(say(t::SEARCH)) placeholder=(say(t::SEARCH));
                }
                span #asof data-live class=(if visit.is_old { "warn" } else { "quiet" }) {
                    (visit.lang.fill(t::AS_OF, &[&visit.time(visit.as_of)]))
                }
                @if visit.signed_in {
                    form method="post" action="/logout" { button.plain { (say(t::SIGN_OUT)) } }
                }
            }
            p #lost data-live role="alert" { (visit.lang.fill(t::LOST, &[&visit.time(visit.as_of)])) }
            p #said.hidden role="status" {}
            main #main tabindex="-1" { (content) }
            footer { (visit.lang.fill(t::TIMES_IN, &[&visit.zone.name()])) " telelake " (env!("CARGO_PKG_VERSION")) }
        }
    }
}

/// The head of every document, also of the sign-in form.
pub fn head(lang: Lang, title: &str) -> Markup {
    let version = assets::VERSION.as_str();
    html! {
        (DOCTYPE)
        html lang=(lang.tag());
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · telelake" }
            link rel="icon" href={ "/assets/icon.svg?" (version) };
            link rel="stylesheet" href={ "/assets/page.css?" (version) };
            script src={ "/assets/page.js?" (version) } defer {}
        }
    }
}

/// The response with a page.
pub fn answer(status: StatusCode, page: Markup) -> Response {
    // Escape control characters, because names and reasons come from strangers and could falsify the page.
    let page = escaped_lines(&page.into_string()).into_owned();
    let mut answer = reply::with_type(status, "text/html; charset=utf-8", page);
    guard(answer.headers_mut());
    answer
}

/// A redirect, with a cookie if one is given.
pub fn go_to(place: &str, cookie: Option<&str>) -> Response {
    let mut answer = reply::with_type(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    let headers = answer.headers_mut();
    guard(headers);
    if let Ok(place) = HeaderValue::from_str(place) {
        headers.insert(LOCATION, place);
    }
    if let Some(Ok(cookie)) = cookie.map(HeaderValue::from_str) {
        headers.insert(SET_COOKIE, cookie);
    }
    answer
}

fn guard(headers: &mut HeaderMap) {
    // With `no-referrer` browsers would hide the origin of our own forms too.
    let all: [(HeaderName, &'static str); 5] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (VARY, "Accept-Language, Cookie"),
    ];
    for (name, value) in all {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The error page.
pub fn trouble(visit: &Visit, error: &Error) -> Response {
    let (status, title, hint) = match error.kind() {
        ErrorKind::Usage => (StatusCode::BAD_REQUEST, t::WRONG_REQUEST, None),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, t::NOT_FOUND, None),
        ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, t::WRONG_REQUEST, None),
        _ => {
            tracing::error!(%error, "a page could not be shown");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                t::STORE_FAILED,
                Some(t::STORE_HINT),
            )
        }
    };
    let title = visit.lang.say(title);
    let content = html! {
        h1 { (title) }
        p.verdict.failed lang="en" { (error.to_string()) }
        @if let Some(hint) = hint { p { (visit.lang.say(hint)) } }
        p { a href="/" { (visit.lang.say(t::BACK)) } }
    };
    answer(status, page(visit, Here::Elsewhere, title, &content))
}
