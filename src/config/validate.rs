//! The checks of a configuration that need no request, and the values that commands require. Pure, except for the files of
//! secrets.

use std::net::SocketAddr;

use super::{Config, RawKept, Secret};
use crate::{Error, ErrorKind, Result};

fn bad(key: &str, why: &str) -> Result<()> {
    Err(Error::new(ErrorKind::Config, key, why))
}

fn is_http(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// The shortest token that others may try to guess over a network.
const LEAST_CHARACTERS: usize = 16;
/// The smallest number of different characters of such a token.
const LEAST_DIFFERENT: usize = 6;

/// The reason why a secret is too weak; `None` if it is strong enough.
fn weakness(secret: &Secret) -> Option<String> {
    let text = secret.expose();
    let different: std::collections::BTreeSet<char> = text.chars().collect();
    let length = text.chars().count();
    if length < LEAST_CHARACTERS {
        return Some(format!("has {length} characters, fewer than {LEAST_CHARACTERS}"));
    }
    (different.len() < LEAST_DIFFERENT).then(|| format!("has only {} different characters", different.len()))
}

/// True if others can read a request to this URL on its way.
fn is_in_clear(url: &str) -> bool {
    let is_this_machine = |url: &reqwest::Url| {
        url.host_str().is_some_and(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    };
    reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == "http" && !is_this_machine(&url))
}

/// True if a URL holds a user or a password, which must not be printed.
fn has_credentials(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
}

/// The part sizes that S3 accepts for every part but the last one.
const PART_SIZE_BYTES: std::ops::RangeInclusive<u64> = 5 * 1024 * 1024..=5 * 1024 * 1024 * 1024;

/// The shortest retention.
const SHORTEST_RETENTION: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

impl Config {
    /// Checks the values, without a request.
    ///
    /// # Errors
    /// `Config`, which names the key.
    pub fn validate(&self) -> Result<()> {
        self.validate_api()?;
        self.validate_store()?;
        self.validate_retention()?;
        for expression in &self.schedule.cron {
            crate::crontab::Expression::parse(expression)?;
        }
        for (key, url) in [
            ("notify.url", &self.notify.url),
            ("notify.heartbeat_url", &self.notify.heartbeat_url),
        ] {
            if !url.is_empty() && !is_http(url.expose()) {
                return bad(key, "is not an http(s) URL");
            }
        }
        Ok(())
    }

    fn validate_retention(&self) -> Result<()> {
        let retention = &self.retention;
        let private = match self.privacy.raw {
            RawKept::For(time) => Some(time),
            RawKept::Keep | RawKept::None => None,
        };
        let times = [
            ("retention.raw", retention.raw),
            ("retention.recordings", retention.recordings),
            ("retention.messages", retention.messages),
            ("retention.tables", retention.tables),
            ("privacy.raw", private),
        ];
        match times
            .iter()
            .find(|(_, time)| time.is_some_and(|time| *time < SHORTEST_RETENTION))
        {
            Some((key, _)) => bad(key, "is shorter than a day: nightly runs export the day before"),
            None => Ok(()),
        }
    }

    fn validate_api(&self) -> Result<()> {
        if !is_http(&self.api.base_url) {
            return bad("api.base_url", "is not an http(s) URL");
        }
        if has_credentials(&self.api.base_url) {
            return bad(
                "api.base_url",
                "holds a user or password; the API takes only a token",
            );
        }
        if self.api.concurrency == 0 {
            return bad("api.concurrency", "must be 1 or more");
        }
        if !self.api.requests_per_second.is_finite() || self.api.requests_per_second < 0.0 {
            return bad("api.requests_per_second", "must be 0 (no cap) or more");
        }
        if self.api.timeout.is_zero() {
            return bad("api.timeout", "must be more than 0");
        }
        Ok(())
    }

    fn validate_store(&self) -> Result<()> {
        if !self.store.url.starts_with("s3://") && !self.store.url.starts_with("file://") {
            return bad("store.url", "must start with file:// or s3://");
        }
        if has_credentials(&self.store.s3.endpoint_url) {
            return bad(
                "store.s3.endpoint_url",
                "holds a user or password; credentials come from the AWS chain",
            );
        }
        if !PART_SIZE_BYTES.contains(&self.store.s3.part_size.as_u64()) {
            return bad("store.s3.part_size", "must be from 5MiB to 5GiB");
        }
        if self.store.s3.parts_in_flight == 0 {
            return bad("store.s3.parts_in_flight", "must be 1 or more");
        }
        let sse = self.store.s3.sse.as_str();
        if !matches!(sse, "" | "AES256" | "aws:kms" | "aws:kms:dsse") {
            return bad("store.s3.sse", "must be AES256, aws:kms or aws:kms:dsse");
        }
        Ok(())
    }

    /// Parses the address of the daemon.
    ///
    /// # Errors
    /// `Config` if `serve.listen` is no address.
    pub fn listen(&self) -> Result<SocketAddr> {
        self.serve.listen.parse().map_err(|_| {
            Error::new(
                ErrorKind::Config,
                "serve.listen",
                "is not an address and port such as 127.0.0.1:8080",
            )
        })
    }

    /// The address of the daemon, if it is safe to listen there.
    ///
    /// # Errors
    /// `Config` if it is no address, or if others can reach it and there is no strong token; `SecretUnreadable`.
    pub fn require_listen(&self) -> Result<SocketAddr> {
        let address = self.listen()?;
        if !address.ip().is_loopback() {
            let token = self.serve.read_token()?;
            if token.is_empty() {
                return Err(Error::new(
                    ErrorKind::Config,
                    "serve.listen",
                    "is open to others, and serve.token is empty",
                )
                .hint("set serve.token or serve.token_file, or listen on 127.0.0.1"));
            }
            if let Some(why) = weakness(&token) {
                return Err(Error::new(
                    ErrorKind::Config,
                    "serve.token",
                    format!("{why}, and others can try it"),
                )
                .hint("make one by `openssl rand -hex 32`, or listen on 127.0.0.1"));
            }
        }
        Ok(address)
    }

    /// The settings that work but are not safe, as sentences that begin with the key.
    pub fn weaknesses(&self) -> Vec<String> {
        let secrets = [
            (
                "serve.token".to_owned(),
                self.serve.read_token().unwrap_or_default(),
            ),
            (
                "webhook.secret".to_owned(),
                self.webhook.read_secret().unwrap_or_default(),
            ),
            (
                "privacy.key".to_owned(),
                self.privacy.read_key().unwrap_or_default(),
            ),
        ];
        let of_spaces = self.webhook.secrets.iter();
        let of_spaces = of_spaces.map(|(space, secret)| (format!("webhook.secrets.{space}"), secret.clone()));
        let weak = secrets
            .into_iter()
            .chain(of_spaces)
            .filter(|(_, secret)| !secret.is_empty());
        let weak = weak.filter_map(|(key, secret)| {
            weakness(&secret).map(|why| format!("{key} {why}: make one by `openssl rand -hex 32`"))
        });
        let urls = [
            ("api.base_url", self.api.base_url.as_str(), "the token"),
            (
                "notify.url",
                self.notify.url.expose(),
                "the address and the message",
            ),
            (
                "notify.heartbeat_url",
                self.notify.heartbeat_url.expose(),
                "the address",
            ),
        ];
        let open = urls.into_iter().filter(|(_, url, _)| is_in_clear(url));
        let open =
            open.map(|(key, _, what)| format!("{key} is http: others can read {what} on the way; use https"));
        let proxies = (!self.serve.trusted_proxies.is_empty()
            && self.serve.token.is_empty()
            && self.serve.token_file.is_empty())
        .then(|| {
            "serve.trusted_proxies is set without serve.token: requests through a proxy are refused"
                .to_owned()
        });
        weak.chain(open).chain(proxies).collect()
    }

    /// The token, which every command that sends requests to the API needs.
    ///
    /// # Errors
    /// `Config` if there is none, `SecretUnreadable` if its file cannot be read.
    pub fn require_token(&self) -> Result<Secret> {
        let token = self.api.read_token()?;
        if token.is_empty() {
            return Err(Error::new(ErrorKind::Config, "api.token", "is missing").hint(
                "set api.token, api.token_file or TELELAKE_API__TOKEN to a personal token from the account's «Интеграция» page",
            ));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Api, Bytes, Notify, Serve, Webhook};

    #[test]
    fn the_default_configuration_is_valid_and_needs_only_a_token() {
        let config = Config::default();
        config.validate().expect("valid");
        assert!(
            config
                .require_token()
                .expect_err("no token")
                .to_string()
                .contains("TELELAKE_API__TOKEN")
        );
    }

    #[test]
    fn an_impossible_value_is_refused_and_its_key_is_named() {
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 9] = [
            ("api.base_url", |c| c.api.base_url = "ftp://x".into()),
            ("api.concurrency", |c| c.api.concurrency = 0),
            ("api.requests_per_second", |c| c.api.requests_per_second = -1.0),
            ("api.base_url", |c| {
                c.api.base_url = "https://user:pw@example.org/v1".into()
            }),
            ("store.url", |c| c.store.url = "gs://bucket".into()),
            ("store.s3.part_size", |c| {
                c.store.s3.part_size = Bytes::mebibytes(1)
            }),
            ("store.s3.sse", |c| c.store.s3.sse = "yes".into()),
            ("schedule.cron", |c| c.schedule.cron = vec!["61 2 * * *".into()]),
            ("notify.url", |c| {
                c.notify.url = Secret::new("hooks.example.org/x")
            }),
        ];
        for (key, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let error = config.validate().expect_err(key);
            assert_eq!((error.about(), error.kind()), (key, ErrorKind::Config));
        }
    }

    #[test]
    fn an_address_that_others_can_reach_needs_a_token() {
        let mut config = Config::default();
        config.require_listen().expect("loopback");
        config.serve.listen = "[::1]:0".into();
        config.require_listen().expect("loopback too");
        for open in [
            "0.0.0.0:8080",
            "[::]:8080",
            "192.168.1.2:80",
            "somewhere:80",
            "8080",
        ] {
            config.serve.listen = open.into();
            let error = config.require_listen().expect_err(open);
            assert_eq!((error.about(), error.kind()), ("serve.listen", ErrorKind::Config));
        }
        config.serve.listen = "0.0.0.0:8080".into();
        config.serve.token = Secret::new("0123456789abcdef");
        config.require_listen().expect("guarded");
    }

    #[test]
    fn a_weak_token_is_refused_if_others_can_try_it_and_else_only_named() {
        let mut config = Config::default();
        for (token, why) in [
            ("t", "has 1 characters, fewer than 16"),
            ("0123456789abcde", "has 15 characters"),
            ("aaaaaaaaaaaaaaaaaaaaaaaa", "only 1 different"),
        ] {
            config.serve.token = Secret::new(token);
            config.serve.listen = "0.0.0.0:8080".into();
            let error = config.require_listen().expect_err(token);
            assert_eq!((error.about(), error.kind()), ("serve.token", ErrorKind::Config));
            assert!(error.to_string().contains(why), "{error}");
            assert!(!error.to_string().contains("0123456789"), "{error}");
            config.serve.listen = "127.0.0.1:8080".into();
            config.require_listen().expect("only this machine");
            let named = config.weaknesses();
            assert!(
                named[0].starts_with("serve.token") && named[0].contains(why),
                "{named:?}"
            );
        }
    }

    #[test]
    fn unsafe_settings_are_named() {
        assert_eq!(Config::default().weaknesses(), [""; 0]);
        let local = Config {
            api: Api {
                base_url: "http://127.0.0.1:9/v1".into(),
                ..Api::default()
            },
            ..Config::default()
        };
        assert_eq!(local.weaknesses(), [""; 0]);
        let config = Config {
            api: Api {
                base_url: "http://api.example/v1".into(),
                ..Api::default()
            },
            serve: Serve {
                trusted_proxies: vec!["10.0.0.0/8".parse().expect("network")],
                ..Serve::default()
            },
            webhook: Webhook {
                secret: Secret::new("short"),
                secrets: [("s1".to_owned(), Secret::new("short"))].into(),
                ..Webhook::default()
            },
            notify: Notify {
                url: Secret::new("http://hooks.example/s3cr3t"),
                ..Notify::default()
            },
            ..Config::default()
        };
        let named = config.weaknesses();
        for key in [
            "webhook.secret ",
            "webhook.secrets.s1 ",
            "api.base_url ",
            "notify.url ",
            "serve.trusted_proxies ",
        ] {
            assert_eq!(
                named.iter().filter(|one| one.starts_with(key)).count(),
                1,
                "{key}: {named:?}"
            );
        }
        assert!(!named.concat().contains("s3cr3t"));
    }
}
