//! Builds the HTTP clients: one for the API, and two for downloads (public hosts, and this machine).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Url, redirect};

use super::guard::DownloadGuard;
use crate::api::problem;
use crate::{Error, ErrorKind, Result};

/// The `User-Agent` of all requests.
const USER_AGENT: &str = concat!("telelake/", env!("CARGO_PKG_VERSION"));
/// The longest wait for a connection; after it the request is retried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP clients of a sender. Clones share their connections.
#[derive(Debug, Clone)]
pub(super) struct HttpClients {
    pub(super) api: reqwest::Client,
    /// Built when a link leads to a public host: reading the CA certificates takes time, and the demo needs none.
    downloads: Arc<OnceLock<Result<reqwest::Client>>>,
    local_downloads: reqwest::Client,
    guard: Arc<DownloadGuard>,
}

impl HttpClients {
    /// Clients for the API at `base`. `guard` checks the hosts of downloads.
    pub(super) fn new(base: &Url, guard: &Arc<DownloadGuard>) -> Result<Self> {
        let api = if is_local(base) { local() } else { builder() };
        let api = api
            .redirect(redirect::Policy::none())
            .default_headers(default_headers());
        let clients = Self {
            api: build(api)?,
            downloads: Arc::default(),
            local_downloads: guarded(local(), guard)?,
            guard: Arc::clone(guard),
        };
        if !is_local(base) {
            clients.public_downloads()?;
        }
        Ok(clients)
    }

    /// The client for a download link. It sends no token, because links lead to other hosts.
    ///
    /// # Errors
    /// `Config` if the CA certificates can't be read.
    pub(super) fn for_download(&self, link: &Url) -> Result<&reqwest::Client> {
        if is_local(link) {
            Ok(&self.local_downloads)
        } else {
            self.public_downloads()
        }
    }

    fn public_downloads(&self) -> Result<&reqwest::Client> {
        let client = self.downloads.get_or_init(|| guarded(builder(), &self.guard));
        client.as_ref().map_err(Clone::clone)
    }
}

fn guarded(builder: reqwest::ClientBuilder, guard: &Arc<DownloadGuard>) -> Result<reqwest::Client> {
    build(builder.redirect(guard.redirects()).dns_resolver(guard.names()))
}

fn builder() -> reqwest::ClientBuilder {
    crate::tls::http_client()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        // The next host of a redirect must not read the signature of the link.
        .referer(false)
}

/// A client for servers on this machine: without a proxy, and without CA certificates, which the demo does not need.
fn local() -> reqwest::ClientBuilder {
    builder().no_proxy().tls_certs_only([])
}

fn is_local(url: &Url) -> bool {
    url.scheme() == "http" && matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|error| not_built(&error))
}

fn default_headers() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))])
}

fn not_built(error: &reqwest::Error) -> Error {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(ErrorKind::Config, "HTTP client", problem::safe_text(&cause, ""))
        .hint("install the system's CA certificates, and check the proxy variables")
}
