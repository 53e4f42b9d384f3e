//! The configuration: what every key means, its default, and the checks that need no request.
//!
//! Pure but for [`Config::load`] (in `load`), which reads the file and the environment, and the files of secrets (in
//! `secret`), which are read when they are needed.
//! `config/telelake.example.toml` says the same to users; a test holds the two together.

mod load;
mod nearest;
mod secret;
mod token;
mod values;
mod zone;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

pub use load::Source;
pub use secret::read_text;
pub use values::{Bytes, Duration, Network, Secret};

use crate::ids::{RoomId, SpaceId};
use crate::{Error, ErrorKind, Result};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The zone whose midnight parts the days: an IANA name.
    #[serde(deserialize_with = "zone::deserialize")]
    pub timezone: Tz,
    /// The vendor's API.
    pub api: Api,
    /// What is exported.
    pub scope: Scope,
    /// What is taken of each call.
    pub export: Export,
    /// Where the lake lies.
    pub store: Store,
    /// Lesson data of the LMS.
    pub meta: Meta,
    /// When the daemon runs.
    pub schedule: Schedule,
    /// The daemon's listener.
    pub serve: Serve,
    /// The spaces' webhook.
    pub webhook: Webhook,
    /// Who hears of runs.
    pub notify: Notify,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timezone: Tz::UTC,
            api: Api::default(),
            scope: Scope::default(),
            export: Export::default(),
            store: Store::default(),
            meta: Meta::default(),
            schedule: Schedule::default(),
            serve: Serve::default(),
            webhook: Webhook::default(),
            notify: Notify::default(),
        }
    }
}

/// `[api]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// The API's root, with its version.
    pub base_url: String,
    /// The personal token.
    pub token: Secret,
    /// A file that holds the token; a bare name is looked for in `$CREDENTIALS_DIRECTORY`, then beside the configuration.
    pub token_file: String,
    /// Requests in flight at most.
    pub concurrency: usize,
    /// Requests a second at most; 0: no cap.
    pub requests_per_second: f64,
    /// For one answer; a download is bounded by its progress instead.
    pub timeout: Duration,
    /// Further attempts after a first one that failed in a way that may pass.
    pub retries: u32,
    /// The path of storeExternalUserMeta, which the vendor's guide does not give.
    pub external_meta_path: String,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            base_url: "https://moodhood-api.teleboss.ru/v1".into(),
            token: Secret::default(),
            token_file: String::new(),
            concurrency: 16,
            requests_per_second: 0.0,
            timeout: Duration::from_secs(30),
            retries: 5,
            external_meta_path: "/users/external-meta".into(),
        }
    }
}

/// `[scope]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Ids of the spaces to export; empty: all that the token sees.
    pub spaces: Vec<SpaceId>,
    /// Ids of the rooms to export; empty: all.
    pub rooms: Vec<RoomId>,
    /// Ids of rooms to leave out.
    pub exclude_rooms: Vec<RoomId>,
    /// Calls with fewer participants are left out.
    pub min_participants: i64,
    /// Whether calls of breakout rooms are exported.
    pub breakout_rooms: bool,
    /// How long after its end a call's report is taken for final.
    pub settle: Duration,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            spaces: Vec::new(),
            rooms: Vec::new(),
            exclude_rooms: Vec::new(),
            min_participants: 0,
            breakout_rooms: true,
            settle: Duration::from_secs(30 * 60),
        }
    }
}

/// A report's format, as the API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportFormat {
    /// `format=json`
    Json,
    /// `format=xlsx`
    Xlsx,
}

impl ReportFormat {
    /// The API's name, and the file's extension.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Xlsx => "xlsx",
        }
    }
}

/// `[export]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Export {
    /// The formats in which reports are landed.
    pub reports: Vec<ReportFormat>,
    /// Whether recordings are copied.
    pub recordings: bool,
    /// Days before yesterday that `run` looks at again.
    pub lookback_days: u32,
    /// How long after a call's or a record's end what does not come is asked for, before it is named as lost.
    pub give_up: Duration,
    /// A mapping file laid over the built-in one.
    pub mapping: String,
    /// The memory that reports may take while they are read.
    pub memory: Bytes,
}

impl Default for Export {
    fn default() -> Self {
        Self {
            reports: vec![ReportFormat::Json, ReportFormat::Xlsx],
            recordings: true,
            lookback_days: 3,
            give_up: Duration::from_secs(14 * 24 * 3600),
            mapping: String::new(),
            memory: Bytes::mebibytes(1024),
        }
    }
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `file:///path` or `s3://bucket/prefix`.
    pub url: String,
    /// What the AWS chain does not say already.
    pub s3: S3,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "file:///var/lib/telelake".into(),
            s3: S3::default(),
        }
    }
}

/// `[store.s3]`: an empty string leaves the choice to the AWS chain.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3 {
    /// The bucket's region.
    pub region: String,
    /// Another endpoint than AWS's.
    pub endpoint_url: String,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    /// The storage class of MP4 files; tables and manifests keep the bucket's.
    pub recordings_storage_class: String,
    /// Server-side encryption: `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub sse: String,
    /// The KMS key for `aws:kms`.
    pub kms_key_id: String,
    /// The checksum that travels with what is written.
    pub checksum: Checksum,
    /// The size of a multipart upload's part.
    pub part_size: Bytes,
    /// Parts of one upload that are sent at once.
    pub parts_in_flight: usize,
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            region: String::new(),
            endpoint_url: String::new(),
            path_style: false,
            recordings_storage_class: String::new(),
            sse: String::new(),
            kms_key_id: String::new(),
            checksum: Checksum::None,
            part_size: Bytes::mebibytes(16),
            parts_in_flight: 4,
        }
    }
}

/// A checksum that travels with each object and part, for buckets that want one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// None.
    #[default]
    #[serde(rename = "")]
    None,
    /// `Content-MD5`: every server knows it.
    Md5,
    /// CRC-32.
    Crc32,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-256.
    Sha256,
}

/// `[meta]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Meta {
    /// `file://` or `s3://` prefixes with meta files, read at every run.
    pub feeds: Vec<String>,
}

/// `[schedule]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Cron expressions of 5 fields, or of 6 with seconds, in `timezone`.
    pub cron: Vec<String>,
    /// A run missed while the daemon was down is made up once.
    pub catch_up: bool,
    /// A run begins up to so much later than its time, by chance: many daemons do not ask the API at once.
    pub jitter: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            cron: vec!["0 2 * * *".into()],
            catch_up: true,
            jitter: Duration::from_secs(0),
        }
    }
}

/// `[serve]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Serve {
    /// Address and port.
    pub listen: String,
    /// Reverse proxies whose word on the client's address is taken.
    pub trusted_proxies: Vec<Network>,
    /// Needed for any other address than loopback.
    pub token: Secret,
    /// A file that holds the token; a bare name is looked for in `$CREDENTIALS_DIRECTORY`, then beside the configuration.
    pub token_file: String,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            trusted_proxies: Vec::new(),
            token: Secret::default(),
            token_file: String::new(),
        }
    }
}

/// `[webhook]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// The secret that signs the events of spaces that have none of their own.
    pub secret: Secret,
    /// A file that holds it.
    pub secret_file: String,
    /// A folder with a file for each space's own secret, named by the space's id: `webhook install` and
    /// `webhook rotate-secret` write there, and the daemon reads a file again when it has changed.
    pub secrets_dir: String,
    /// Secrets of spaces, by the space's id.
    pub secrets: BTreeMap<String, Secret>,
}

/// When [`Notify::url`] hears of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyOn {
    /// Only when something failed.
    Failure,
    /// After every run.
    Always,
}

/// `[notify]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// Gets a JSON summary of a run.
    pub url: Secret,
    /// When.
    pub on: NotifyOn,
    /// Is fetched after every run that ended well, for a monitor that misses it.
    pub heartbeat_url: Secret,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            on: NotifyOn::Failure,
            heartbeat_url: Secret::default(),
        }
    }
}

fn is_http(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// A token that is guessed at over a network has this many characters at least, and [`LEAST_DIFFERENT`] different ones.
const LEAST_CHARACTERS: usize = 16;
const LEAST_DIFFERENT: usize = 6;

/// Why a secret is too weak, if it is.
fn weakness(secret: &Secret) -> Option<String> {
    let text = secret.expose();
    let different: std::collections::BTreeSet<char> = text.chars().collect();
    let length = text.chars().count();
    if length < LEAST_CHARACTERS {
        return Some(format!("has {length} characters, fewer than {LEAST_CHARACTERS}"));
    }
    (different.len() < LEAST_DIFFERENT).then(|| format!("has only {} different characters", different.len()))
}

/// True if what goes to a URL can be read by others on its way.
fn is_in_clear(url: &str) -> bool {
    let is_here = |url: &reqwest::Url| {
        url.host_str().is_some_and(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    };
    reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == "http" && !is_here(&url))
}

/// Whether a URL carries what must not be printed.
fn has_credentials(url: &reqwest::Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// S3 takes no smaller part than this (but for the last one), and no larger one.
const PART_SIZE_BYTES: std::ops::RangeInclusive<u64> = 5 * 1024 * 1024..=5 * 1024 * 1024 * 1024;

impl Config {
    /// Checks what can be checked without a request.
    ///
    /// # Errors
    /// `Config`, naming the key.
    pub fn validate(&self) -> Result<()> {
        let bad = |key: &str, why: String| Err(Error::new(ErrorKind::Config, key, why));
        match reqwest::Url::parse(&self.api.base_url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                if has_credentials(&url) {
                    return bad(
                        "api.base_url",
                        "holds a user or password; the API takes a token alone".into(),
                    );
                }
            }
            _ => return bad("api.base_url", "is not an http(s) URL".into()),
        }
        if reqwest::Url::parse(&self.store.s3.endpoint_url).is_ok_and(|url| has_credentials(&url)) {
            return bad(
                "store.s3.endpoint_url",
                "holds a user or password; credentials come from the AWS chain".into(),
            );
        }
        if self.api.concurrency == 0 {
            return bad("api.concurrency", "must be 1 or more".into());
        }
        if !self.api.requests_per_second.is_finite() || self.api.requests_per_second < 0.0 {
            return bad("api.requests_per_second", "must be 0 (no cap) or more".into());
        }
        if self.api.timeout.is_zero() {
            return bad("api.timeout", "must be more than 0".into());
        }
        if !self.store.url.starts_with("s3://") && !self.store.url.starts_with("file://") {
            return bad("store.url", "must start with file:// or s3://".into());
        }
        if !PART_SIZE_BYTES.contains(&self.store.s3.part_size.as_u64()) {
            return bad("store.s3.part_size", "must be from 5MiB to 5GiB".into());
        }
        if self.store.s3.parts_in_flight == 0 {
            return bad("store.s3.parts_in_flight", "must be 1 or more".into());
        }
        if !matches!(
            self.store.s3.sse.as_str(),
            "" | "AES256" | "aws:kms" | "aws:kms:dsse"
        ) {
            return bad("store.s3.sse", "must be AES256, aws:kms or aws:kms:dsse".into());
        }
        for expression in &self.schedule.cron {
            crate::crontab::Expression::parse(expression)?;
        }
        for (key, url) in [
            ("notify.url", &self.notify.url),
            ("notify.heartbeat_url", &self.notify.heartbeat_url),
        ] {
            if !url.is_empty() && !is_http(url.expose()) {
                return bad(key, "is not an http(s) URL".into());
            }
        }
        Ok(())
    }

    /// The address of the daemon.
    ///
    /// # Errors
    /// `Config`: it is none.
    pub fn listen(&self) -> Result<SocketAddr> {
        self.serve.listen.parse().map_err(|_| {
            Error::new(
                ErrorKind::Config,
                "serve.listen",
                "is not an address and port such as 127.0.0.1:8080",
            )
        })
    }

    /// Where the daemon listens.
    ///
    /// # Errors
    /// `Config`: no address, or one that others can reach without a strong token to keep them out; `SecretUnreadable`.
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

    /// What of the configuration works but is not safe, in sentences that begin with the key.
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
            open.map(|(key, _, what)| format!("{key} is http: {what} can be read on the way; use https"));
        let proxies = (!self.serve.trusted_proxies.is_empty()
            && self.serve.token.is_empty()
            && self.serve.token_file.is_empty())
        .then(|| {
            "serve.trusted_proxies is set without serve.token: what comes through a proxy is refused"
                .to_owned()
        });
        weak.chain(open).chain(proxies).collect()
    }

    /// The token, which every command that speaks to the API needs.
    ///
    /// # Errors
    /// `Config` when there is none, `SecretUnreadable` when its file can't be read.
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
    fn what_can_not_work_is_refused_by_name() {
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
    fn an_address_that_others_reach_needs_a_token() {
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
    fn a_weak_token_is_refused_where_others_can_try_it_and_named_elsewhere() {
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
    fn what_works_but_is_not_safe_is_named() {
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

    #[test]
    fn a_printed_configuration_shows_no_secret() {
        let secret = || Secret::new("s3cr3t-token");
        let config = Config {
            api: Api {
                token: secret(),
                ..Api::default()
            },
            webhook: Webhook {
                secret: secret(),
                secrets: [("s1".to_owned(), secret())].into(),
                ..Webhook::default()
            },
            notify: Notify {
                url: secret(),
                heartbeat_url: secret(),
                ..Notify::default()
            },
            ..Config::default()
        };
        let shown = format!("{config:?}{}", toml::to_string(&config).expect("serializes"));
        assert!(!shown.contains("s3cr3t-token"), "{shown}");
    }
}
