//! The daemon's listener. It bounds connections (`places`), headers and times, authenticates requests (`guard`), bounds
//! concurrent requests (`crowd`), and routes them.

pub mod body;
mod crowd;
mod forwarded;
pub mod guard;
mod places;
pub mod reply;
pub mod session;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::MatchedPath;
use axum::middleware::Next;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::places::Places;
use crate::config::Network;
use crate::metrics::{METRICS, ServedLabels};
use crate::{Error, ErrorKind, Result};

/// The most connections at once; file descriptors and memory surely suffice for them.
const CONNECTIONS: usize = 256;
/// The most connections at once from an address, or from a network of IPv6.
const CONNECTIONS_OF_AN_ADDRESS: usize = 128;
/// The timeout for a request's head, and for the next request on a connection.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The most bytes of a head, and of a body that is read ahead.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// The longest life of a connection, so that a client that reads slowly is cut too.
const CONNECTION_TIME: Duration = Duration::from_secs(600);
/// The time that requests in flight get when the daemon stops.
const GRACE: Duration = Duration::from_secs(3);

/// The client's address: the peer of the connection, or the client behind a trusted proxy.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The route that a request matches, without its parameters, for metrics and the audit; `other` if there is none.
fn route_of<B>(request: &Request<B>) -> String {
    let matched: Option<&MatchedPath> = request.extensions().get();
    let route = matched.map_or("other", MatchedPath::as_str);
    match route.split_once("/{") {
        Some(("/assets", _)) => "/assets/".into(),
        Some((fixed, _)) => fixed.into(),
        None => route.into(),
    }
}

/// Counts the response of a request; the layer of all routes.
pub async fn count(request: axum::extract::Request, next: Next) -> Response {
    let route = route_of(&request);
    let answer = next.run(request).await;
    let status = answer.status().as_u16();
    METRICS.served.get_or_create(&ServedLabels { route, status }).inc();
    answer
}

/// Binds the address.
///
/// # Errors
/// `Config`: the address can't be listened on.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::new(
            ErrorKind::Config,
            format!("serve.listen {address}"),
            error.to_string(),
        )
    })
}

/// Serves until the daemon stops, then finishes the requests in flight.
pub(super) async fn serve(
    router: Router,
    listener: TcpListener,
    trusted: &[Network],
    cancel: &CancellationToken,
) {
    let places = Places::new(CONNECTIONS, CONNECTIONS_OF_AN_ADDRESS);
    let trusted: Arc<[Network]> = trusted.into();
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                // Mostly the process is out of file descriptors, which passes.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let is_proxy = trusted.iter().any(|network| network.contains(peer));
        // A connection without a place is closed at once.
        let Some(place) = places.take(peer, is_proxy).map(Arc::new) else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let routes = TowerToHyperService::new(router.clone());
        let (trusted, seat) = (Arc::clone(&trusted), Arc::clone(&place));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let client = forwarded::client(peer, request.headers(), &trusted);
            request.extensions_mut().insert(Peer(client));
            let (in_work, answer) = (seat.work(), routes.call(request));
            async move {
                let answer = answer.await;
                drop(in_work);
                answer
            }
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // The errors of a connection are the client's: it was cut, was too slow, or did not speak HTTP.
            let served = tokio::time::timeout(CONNECTION_TIME, connection);
            tokio::select! {
                _ = served => {}
                () = place.lost() => {}
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
}
