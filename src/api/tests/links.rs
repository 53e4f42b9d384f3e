//! Tests that links and redirects lead into the private network only if the API itself lies there.

use std::sync::Arc;

use reqwest::Url;

use super::{FakeNames, Reply, ScriptedServer, milliseconds};
use crate::api::problem::{RequestTarget, transport};
use crate::api::send::guard::DownloadGuard;
use crate::api::{Download, Link};
use crate::{ErrorKind, Result};

const NAMES: FakeNames = FakeNames(&[
    ("api.example", "93.184.216.34"),
    ("api.internal", "10.0.0.7"),
    ("blob.internal", "127.0.0.1"),
    ("metadata.internal", "169.254.169.254"),
]);

/// Opens a link to a loopback server named `host` with a client of the API at `base`. Returns the number of requests
/// that reached the server, and the download.
async fn followed(base: &str, host: &str) -> (usize, Result<Download>) {
    let server = ScriptedServer::replies(vec![Reply::ok("abc")]).await;
    let (client, _) = server.client_among(NAMES, |config, _| {
        config.base_url = base.into();
        config.retries = 0;
        config.timeout = milliseconds("5s");
    });
    let url = server.url.replace("127.0.0.1", host) + "/r.mp4?sig=s1gned";
    let link = Link::new(Url::parse(&url).unwrap(), &"s1".into(), &"x1".into());
    let download = client.download(&link, None).await;
    (server.heads().len(), download)
}

#[tokio::test]
async fn a_link_leads_into_the_private_network_only_if_the_api_lies_there() {
    for host in ["127.0.0.1", "2130706433", "blob.internal", "[::ffff:127.0.0.1]"] {
        for base in [
            "http://api.example/v1",
            "https://93.184.216.34/v1",
            "http://nowhere.example/v1",
        ] {
            let (asked, download) = followed(base, host).await;
            let error = download.unwrap_err();
            assert_eq!(asked, 0, "{host} was asked for an API at {base}");
            assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
            assert!(error.message().contains("not public"), "{error}");
            assert!(!error.to_string().contains("s1gned"), "{error}");
        }
    }
    for base in [
        "http://api.internal/v1",
        "http://127.0.0.1:1/v1",
        "http://[::1]:1/v1",
    ] {
        for host in ["127.0.0.1", "blob.internal"] {
            let (asked, download) = followed(base, host).await;
            let chunk = download.unwrap().chunk().await.unwrap();
            assert_eq!(
                (asked, chunk.as_deref()),
                (1, Some(b"abc".as_slice())),
                "{host} for {base}"
            );
        }
    }
}

#[tokio::test]
async fn a_redirect_is_checked_like_a_link() {
    for to in [
        "http://169.254.169.254/latest/meta-data",
        "http://[fd00::1]/",
        "http://metadata.internal/",
        "http://blob.internal/",
        "ftp://api.example/",
    ] {
        let reply = Reply::new("302 Found", &format!("Location: {to}\r\n"), "");
        let server = ScriptedServer::replies(vec![reply]).await;
        // The first request goes to loopback without a check; only the redirect is checked.
        let base = Url::parse("http://api.example/v1").unwrap();
        let guard = DownloadGuard::new(&base, Arc::new(NAMES));
        let client = crate::tls::http_client()
            .no_proxy()
            .redirect(guard.redirects())
            .dns_resolver(guard.names())
            .build()
            .unwrap();
        let error = client.get(server.url.clone()).send().await.unwrap_err();
        let error = transport("GET x", error, "", RequestTarget::Recordings);
        assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{to}: {error}");
        assert!(error.message().starts_with("not followed"), "{to}: {error}");
        assert_eq!(server.heads().len(), 1);
    }
}
