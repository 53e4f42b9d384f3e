//! `health`: asks the daemon of this configuration whether it is alive, for the health check of a container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::CommandContext;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Ask the daemon at `serve.listen` whether it is alive: exit status 0 if it is, else 1
///
/// Needs no token. A daemon that listens on all addresses is asked on loopback.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// A daemon that does not answer in this time counts as dead.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn run(context: &CommandContext) -> Result<ExitStatus> {
    let url = format!("http://{}/healthz", reachable(context.config()?.listen()?));
    match ask(&url).await {
        Ok(()) => {
            super::print(&format!("{url}: the daemon is alive\n"))?;
            Ok(ExitStatus::Done)
        }
        Err(error) => {
            eprintln!("telelake: {error}");
            Ok(ExitStatus::Unexpected)
        }
    }
}

/// The address at which this machine reaches its own listener.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

/// The innermost cause of an error, such as "Connection refused (os error 111)".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

async fn ask(url: &str) -> Result<()> {
    let failed = |error: reqwest::Error| {
        Error::new(
            ErrorKind::Connection,
            url,
            format!("the daemon does not answer: {}", innermost(&error)),
        )
    };
    // The listener is on this machine, so that neither a proxy nor a certificate is needed.
    let client = crate::tls::http_client()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()
        .map_err(failed)?;
    let status = client.get(url).send().await.map_err(failed)?.status();
    if status == reqwest::StatusCode::OK {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Server,
        url,
        format!("answered {status}: this is not the daemon, or it is not well"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
        ] {
            let address = reachable(listen.parse().expect("an address"));
            assert_eq!(address.to_string(), asked);
        }
    }
}
