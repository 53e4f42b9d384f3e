//! Authentication of requests. Webhooks prove themselves by their signature; health and the page's style are open to all.
//! Everything else needs the bearer token `serve.token`, or a session of the page that was opened with it. Without a token
//! the listener is on loopback. Then a request must be addressed to this machine by name, because otherwise any web page
//! open in a browser here could send it, and must show no sign of a proxy, because otherwise the whole world could.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, AsHeaderName, CONTENT_TYPE, HOST, HeaderName, ORIGIN, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::crowd::{Crowd, CrowdRefusal, Entered, Share};
use super::forwarded::is_forwarded;
use super::session::{Access, Guesses};
use super::{Peer, reply, route_of};
use crate::config::Secret;
use crate::serve::audit::{self, Caller, Credential};

/// A group of routes with the same rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Health and the page's assets: open to all, and never counted as in flight because they take no time.
    Open,
    /// Webhooks, which prove themselves by their signature.
    Webhook,
    /// The sign-in, which needs no token yet.
    SignIn,
    /// The sign-out, which writes an audit line of its own.
    SignOut,
    /// Forms of the page, which any other site can send too.
    Form,
    /// The JSON API.
    Api,
    /// Everything else that needs the token, unknown paths included.
    Private,
}

impl Group {
    fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Webhook)
    }

    fn is_form(self) -> bool {
        matches!(self, Self::SignIn | Self::SignOut | Self::Form)
    }

    /// True if a request that changes something leaves a line in the audit.
    fn is_audited(self) -> bool {
        matches!(self, Self::Form | Self::Api | Self::Private)
    }

    fn share(self) -> Option<Share> {
        match self {
            Self::Open => None,
            Self::Webhook | Self::SignIn => Some(Share::Strangers),
            Self::SignOut | Self::Form | Self::Api | Self::Private => Some(Share::Authenticated),
        }
    }
}

/// The guard of all routes. Clones share everything.
#[derive(Clone)]
pub struct Guard {
    access: Arc<Access>,
    crowd: Arc<Crowd>,
}

impl Guard {
    /// A guard that admits who has access.
    pub fn new(access: Arc<Access>) -> Self {
        Self {
            access,
            crowd: Crowd::new(),
        }
    }

    /// Applies the rules of a group to a router.
    pub fn protect(&self, group: Group, routes: Router) -> Router {
        routes.layer(axum::middleware::from_fn_with_state(
            (self.clone(), group),
            admit,
        ))
    }
}

/// Admits or refuses a request. An admitted one carries its [`Caller`]; if it changes something, it leaves an audit line.
async fn admit(
    State((guard, group)): State<(Guard, Group)>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Err((status, why)) = verdict(&guard.access, group, &request) {
        return reply::error(status, why);
    }
    let _entered = match enter(&guard.crowd, group, &request) {
        Ok(entered) => entered,
        Err(full) => return refusal(full),
    };
    if group.is_open() {
        return next.run(request).await;
    }
    let caller = caller(&guard.access, group, &request);
    request.extensions_mut().insert(caller.clone());
    let act = format!("{} {}", request.method(), route_of(&request));
    let changes = !is_read(request.method());
    let answer = next.run(request).await;
    if changes && group.is_audited() {
        audit::note(&caller, "request", &format!("{act}: {}", answer.status().as_u16()));
    }
    answer
}

/// The caller of an admitted request.
fn caller(access: &Access, group: Group, request: &Request) -> Caller {
    let kind = match (access.token().is_empty(), group) {
        (true, Group::Api) => Credential::Local,
        (true, _) => Credential::Page,
        (false, _) if access.has_session(request.headers(), Utc::now()) => Credential::Session,
        (false, _) => Credential::Token,
    };
    Caller::at(kind, peer_of(request).map(|Peer(address)| address))
}

fn peer_of(request: &Request) -> Option<Peer> {
    request.extensions().get().copied()
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Counts a request among those in flight.
fn enter(crowd: &Arc<Crowd>, group: Group, request: &Request) -> Result<Option<Entered>, CrowdRefusal> {
    match (group.share(), peer_of(request)) {
        (Some(share), Some(Peer(client))) => crowd.enter(share, client).map(Some),
        _ => Ok(None),
    }
}

fn refusal(full: CrowdRefusal) -> Response {
    let mut answer = match full {
        CrowdRefusal::Client => reply::error(
            StatusCode::TOO_MANY_REQUESTS,
            "too many concurrent requests; try again",
        ),
        CrowdRefusal::All => reply::error(StatusCode::SERVICE_UNAVAILABLE, "busy; try again"),
    };
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn verdict(access: &Access, group: Group, request: &Request) -> Verdict {
    if group.is_open() {
        return Ok(());
    }
    let (headers, now) = (request.headers(), Utc::now());
    let token = access.token();
    if token.is_empty() {
        is_meant_for_us(request)?;
    } else if group != Group::SignIn && !access.has_session(headers, now) {
        by_bearer(&token, headers, peer_of(request), &access.guesses, now)?;
    }
    is_from_us(group, request.method(), headers)
}

type Verdict = Result<(), (StatusCode, &'static str)>;

fn header(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Checks a request where no token is configured: it must address this machine by its own name, and must not come through a
/// proxy, because a proxy uses that name for any client.
fn is_meant_for_us(request: &Request) -> Verdict {
    let headers = request.headers();
    if is_forwarded(request.version(), headers) || header(headers, ORIGIN).is_some_and(is_elsewhere) {
        return Err((
            StatusCode::FORBIDDEN,
            "this came through a proxy, but without serve.token only this machine is answered: set serve.token",
        ));
    }
    let authority = || request.uri().authority().map(|authority| authority.as_str());
    if header(headers, HOST).or_else(authority).is_some_and(is_loopback) {
        return Ok(());
    }
    Err((
        StatusCode::FORBIDDEN,
        "without serve.token only this machine is answered, by its own name: set serve.token",
    ))
}

/// True if an origin is another machine's page.
fn is_elsewhere(origin: &str) -> bool {
    !origin
        .split_once("://")
        .is_some_and(|(_, host)| is_loopback(host))
}

/// Checks the bearer token. An address that guesses is refused for a while.
fn by_bearer(
    token: &Secret,
    headers: &HeaderMap,
    peer: Option<Peer>,
    guesses: &Guesses,
    now: DateTime<Utc>,
) -> Verdict {
    let needed = Err((StatusCode::UNAUTHORIZED, "a bearer token is needed"));
    let Some(given) = header(headers, AUTHORIZATION) else {
        return needed;
    };
    if peer.is_some_and(|Peer(address)| guesses.is_barred(address, now)) {
        return Err((
            StatusCode::TOO_MANY_REQUESTS,
            "too many wrong tokens; wait a minute",
        ));
    }
    let given = given.strip_prefix("Bearer ");
    if given.is_some_and(|given| is_same(given.trim(), token.expose())) {
        return Ok(());
    }
    if let Some(Peer(address)) = peer {
        guesses.note_wrong(address, "the API", now);
    }
    needed
}

/// Checks that a request that changes something was not sent by another site in a browser. Such a site can send neither our
/// origin nor JSON.
fn is_from_us(group: Group, method: &Method, headers: &HeaderMap) -> Verdict {
    if is_read(method) {
        return Ok(());
    }
    let host = header(headers, HOST).unwrap_or_default();
    let is_ours = |origin: &str| {
        origin
            .split_once("://")
            .is_some_and(|(_, of)| of.eq_ignore_ascii_case(host))
    };
    // `Sec-Fetch-Site` counts before `Origin`, because a proxy may change our host name.
    let site = header(headers, HeaderName::from_static("sec-fetch-site"));
    let ours = match (site, header(headers, ORIGIN)) {
        (Some(site), _) => Some(matches!(site, "same-origin" | "none")),
        (None, Some(origin)) => Some(is_ours(origin)),
        // The client is no current browser, so it sends no cookie.
        (None, None) => None,
    };
    if ours == Some(false) || (ours.is_none() && group.is_form()) {
        return Err((StatusCode::FORBIDDEN, "refused: sent by another site"));
    }
    let json =
        header(headers, CONTENT_TYPE).is_some_and(|value| value.trim_start().starts_with("application/json"));
    // DELETE has no body, and a browser does not send it for another site without a preflight.
    if group == Group::Api && *method != Method::DELETE && !json {
        return Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type must be application/json",
        ));
    }
    Ok(())
}

/// True if a `Host` names this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Compares digests, so that the time of the comparison reveals nothing of the token.
pub fn is_same(given: &str, token: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(token: &str, method: Method, group: Group, headers: &[(&'static str, &str)]) -> u16 {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).expect("a request");
        let map = request.headers();
        let who = if token.is_empty() {
            is_meant_for_us(&request)
        } else {
            by_bearer(&Secret::new(token), map, None, &Guesses::default(), Utc::now())
        };
        who.and_then(|()| is_from_us(group, request.method(), map))
            .map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn with_a_token_only_its_bearer_is_admitted() {
        let host = ("host", "lake.example");
        let get = |headers: &[(&'static str, &str)]| verdict("t0ken", Method::GET, Group::Private, headers);
        assert_eq!(get(&[host]), 401);
        assert_eq!(get(&[host, ("authorization", "Bearer t0ken")]), 200);
        for wrong in ["Bearer t0ke", "Bearer t0kenn", "Basic t0ken", "t0ken", "Bearer "] {
            assert_eq!(get(&[host, ("authorization", wrong)]), 401, "{wrong}");
        }
    }

    #[test]
    fn without_a_token_only_requests_to_a_loopback_name_are_admitted() {
        for (host, status) in [
            ("127.0.0.1:8080", 200),
            ("localhost", 200),
            ("LOCALHOST:8080", 200),
            ("[::1]:8080", 200),
            ("evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("10.0.0.1", 403),
            ("", 403),
        ] {
            assert_eq!(
                verdict("", Method::GET, Group::Api, &[("host", host)]),
                status,
                "{host}"
            );
        }
        assert_eq!(verdict("", Method::GET, Group::Api, &[]), 403);
    }

    #[test]
    fn without_a_token_forwarded_requests_are_refused() {
        let host = ("host", "127.0.0.1:8080");
        for mark in [
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "203.0.113.7"),
            ("forwarded", "for=203.0.113.7"),
            ("via", "1.1 proxy"),
            ("origin", "https://lake.example"),
        ] {
            for group in [Group::Private, Group::Api, Group::Form, Group::SignIn] {
                assert_eq!(
                    verdict("", Method::GET, group, &[host, mark]),
                    403,
                    "{mark:?} {group:?}"
                );
            }
        }
        assert_eq!(
            verdict("", Method::GET, Group::Private, &[host, ("origin", "http://localhost:8080")]),
            200
        );
        let bearer = ("authorization", "Bearer t0ken");
        let mark = ("x-forwarded-for", "203.0.113.7");
        assert_eq!(
            verdict("t0ken", Method::GET, Group::Private, &[host, mark, bearer]),
            200
        );
    }

    #[test]
    fn requests_of_other_sites_change_nothing() {
        let host = ("host", "localhost:8080");
        let json = ("content-type", "application/json");
        let post = |more: &[(&'static str, &str)]| {
            verdict("", Method::POST, Group::Api, &[&[host], more].concat())
        };
        assert_eq!(post(&[json]), 200);
        assert_eq!(post(&[json, ("origin", "http://localhost:8080")]), 200);
        assert_eq!(post(&[json, ("sec-fetch-site", "same-origin")]), 200);
        assert_eq!(post(&[]), 415);
        assert_eq!(post(&[("content-type", "text/plain")]), 415);
        for origin in ["http://evil.example", "null", "http://localhost:9090"] {
            assert_eq!(post(&[json, ("origin", origin)]), 403, "{origin}");
        }
        assert_eq!(post(&[json, ("sec-fetch-site", "cross-site")]), 403);
        let meta = verdict(
            "",
            Method::POST,
            Group::Private,
            &[host, ("origin", "http://evil.example")],
        );
        assert_eq!(meta, 403);
    }

    #[test]
    fn a_form_must_prove_its_origin() {
        let host = ("host", "localhost:8080");
        let post =
            |more: &[(&'static str, &str)]| verdict("", Method::POST, Group::Form, &[&[host], more].concat());
        assert_eq!(post(&[]), 403, "without an origin");
        assert_eq!(post(&[("origin", "http://localhost:8080")]), 200);
        assert_eq!(post(&[("origin", "null")]), 403);
        assert_eq!(post(&[("sec-fetch-site", "same-site")]), 403);
        // A proxy may use another host name.
        let by_proxy = [
            host,
            ("authorization", "Bearer t0ken"),
            ("origin", "https://lake.example"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(verdict("t0ken", Method::POST, Group::Form, &by_proxy), 200);
    }

    #[test]
    fn an_address_that_guesses_tokens_is_barred() {
        let (guesses, now) = (Guesses::default(), Utc::now());
        let peer = Some(Peer([10, 0, 0, 1].into()));
        let ask = |token: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().expect("a value"));
            by_bearer(&Secret::new("t0ken"), &headers, peer, &guesses, now)
                .map_or_else(|(status, _)| status.as_u16(), |()| 200)
        };
        assert_eq!(ask("t0ken"), 200);
        let answers: Vec<u16> = (0..12).map(|n| ask(&format!("guess{n}"))).collect();
        assert_eq!((answers[0], answers[11]), (401, 429));
        assert_eq!(ask("t0ken"), 429);
    }
}
