//! Builds the HTTP clients: one for the API, and two for downloads (public hosts, and this machine).

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Url, redirect};

use super::guard::Guard;
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
    downloads: reqwest::Client,
    local_downloads: reqwest::Client,
}

impl HttpClients {
    /// Clients for the API at `base`. `guard` checks the hosts of downloads.
    pub(super) fn new(base: &Url, guard: &std::sync::Arc<Guard>) -> Result<Self> {
        let api = if is_local(base) { local() } else { builder() };
        let api = api
            .redirect(redirect::Policy::none())
            .default_headers(default_headers());
        let guarded = |builder: reqwest::ClientBuilder| {
            build(builder.redirect(guard.redirects()).dns_resolver(guard.names()))
        };
        let local_downloads = guarded(local())?;
        let downloads = match guarded(builder()) {
            Err(_) if is_local(base) => local_downloads.clone(),
            built => built?,
        };
        Ok(Self {
            api: build(api)?,
            downloads,
            local_downloads,
        })
    }

    /// The client for a download link. It sends no token, because links lead to other hosts.
    pub(super) fn for_download(&self, link: &Url) -> &reqwest::Client {
        if is_local(link) {
            &self.local_downloads
        } else {
            &self.downloads
        }
    }
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
