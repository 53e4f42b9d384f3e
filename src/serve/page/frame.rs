//! What surrounds every page: head, navigation, headers of the answer. Pure.

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

/// Nothing but what the daemon itself serves, and no one may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Who looks, when, and from where.
pub struct Visit {
    pub lang: Lang,
    pub zone: Tz,
    pub now: DateTime<Utc>,
    pub today: NaiveDate,
    /// Whether there is a session to end.
    pub signed_in: bool,
    /// When what is shown was read, and whether the store could not be read since.
    pub as_of: DateTime<Utc>,
    pub is_old: bool,
}

impl Visit {
    /// The time of day of an instant, with the date where it is not today's.
    pub fn time(&self, at: DateTime<Utc>) -> String {
        let local = at.with_timezone(&self.zone);
        if local.date_naive() == self.today {
            local.format("%H:%M").to_string()
        } else {
            self.at(at)
        }
    }

    /// An instant in the zone of the dates.
    pub fn at(&self, at: DateTime<Utc>) -> String {
        self.lang.instant(at, self.zone)
    }
}

/// The page that is current in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    Coverage,
    Runs,
    System,
    Elsewhere,
}

/// A whole page.
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

/// The beginning of every document, also of those for strangers.
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

/// The answer that carries a page.
pub fn answer(status: StatusCode, page: Markup) -> Response {
    // Names and reasons are others' texts: a mark in one could show a page as another.
    let page = escaped_lines(&page.into_string()).into_owned();
    let mut answer = reply::with_type(status, "text/html; charset=utf-8", page);
    guard(answer.headers_mut());
    answer
}

/// The answer that sends the reader elsewhere on this site, with a cookie perhaps.
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
    // `same-origin`, not `no-referrer`: with that one, browsers hide the origin of our own forms too.
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

/// A page that says why there is no other.
pub fn trouble(visit: &Visit, error: &Error) -> Response {
    let (status, title, hint) = match error.kind() {
        ErrorKind::Usage => (StatusCode::BAD_REQUEST, t::WRONG_REQUEST, None),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, t::NOT_FOUND, None),
        ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, t::WRONG_REQUEST, None),
        _ => {
            tracing::error!(%error, "a page could not be made");
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
