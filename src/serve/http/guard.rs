//! Who may ask what. Webhooks prove themselves by their signature, health is open to all; everything else takes the
//! bearer token `serve.token`. Where there is none, the listener is on loopback: then a request must also be meant for
//! this machine, or any web page open in a browser here could speak to it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::{reply, route_of};
use crate::config::Secret;
use crate::metrics::{METRICS, ServedLabels};
use crate::serve::daemon::Daemon;

/// Lets a request through, or not; and counts the answer.
pub(super) async fn pass(State(daemon): State<Arc<Daemon>>, request: Request, next: Next) -> Response {
    let route = route_of(request.uri().path());
    let verdict = if is_open(route) {
        Ok(())
    } else {
        check(
            &daemon.config.serve.token,
            request.method(),
            request.uri(),
            request.headers(),
        )
    };
    let answer = match verdict {
        Ok(()) => next.run(request).await,
        Err((status, why)) => reply::error(status, why),
    };
    let labels = ServedLabels {
        route,
        status: answer.status().as_u16(),
    };
    METRICS.served.get_or_create(&labels).inc();
    answer
}

/// Whether a route needs no token.
fn is_open(route: &str) -> bool {
    matches!(route, "/webhooks/teleboss" | "/healthz" | "/readyz")
}

type Verdict = Result<(), (StatusCode, &'static str)>;

fn check(token: &Secret, method: &Method, uri: &Uri, headers: &HeaderMap) -> Verdict {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if token.is_empty() {
        let host = header(HOST).or_else(|| uri.authority().map(|authority| authority.as_str()));
        if !host.is_some_and(is_loopback) {
            return Err((
                StatusCode::FORBIDDEN,
                "without serve.token only this machine is answered, by its own name",
            ));
        }
    } else {
        let given = header(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        if !given.is_some_and(|given| is_same(given.trim(), token.expose())) {
            return Err((StatusCode::UNAUTHORIZED, "a bearer token is needed"));
        }
    }
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    // A form on another site can send neither another origin's header nor JSON.
    let host = header(HOST).unwrap_or_default();
    let foreign = header(ORIGIN).is_some_and(|origin| {
        origin
            .split_once("://")
            .is_none_or(|(_, of)| !of.eq_ignore_ascii_case(host))
    });
    let site = header(axum::http::HeaderName::from_static("sec-fetch-site"));
    if foreign || site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err((StatusCode::FORBIDDEN, "refused: sent by another site"));
    }
    let json = header(CONTENT_TYPE).is_some_and(|value| value.trim_start().starts_with("application/json"));
    if uri.path().starts_with("/api/") && !json {
        return Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type must be application/json",
        ));
    }
    Ok(())
}

/// Whether a `Host` names this machine.
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

/// Compares digests: how long it takes tells nothing of the token.
fn is_same(given: &str, token: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(token: &str, method: Method, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        let uri = path.parse().expect("a path");
        check(&Secret::new(token), &method, &uri, &map).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn with_a_token_only_its_bearer_is_let_in() {
        let host = ("host", "lake.example");
        let get = |headers: &[(&'static str, &str)]| verdict("t0ken", Method::GET, "/metrics", headers);
        assert_eq!(get(&[host]), 401);
        assert_eq!(get(&[host, ("authorization", "Bearer t0ken")]), 200);
        for wrong in ["Bearer t0ke", "Bearer t0kenn", "Basic t0ken", "t0ken", "Bearer "] {
            assert_eq!(get(&[host, ("authorization", wrong)]), 401, "{wrong}");
        }
    }

    #[test]
    fn without_a_token_only_this_machine_is_answered_by_its_own_name() {
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
                verdict("", Method::GET, "/api/status", &[("host", host)]),
                status,
                "{host}"
            );
        }
        assert_eq!(verdict("", Method::GET, "/api/status", &[]), 403);
    }

    #[test]
    fn no_other_site_changes_anything() {
        let host = ("host", "localhost:8080");
        let json = ("content-type", "application/json");
        let post = |more: &[(&'static str, &str)]| {
            verdict("", Method::POST, "/api/backfill", &[&[host], more].concat())
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
            "/meta",
            &[host, ("origin", "http://evil.example")],
        );
        assert_eq!(meta, 403);
    }
}
