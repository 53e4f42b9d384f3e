//! The configuration: the meaning and default of every key.
//!
//! Pure, except for [`Config::load`] (in `load`), which reads the file and the environment, and the files of secrets (in
//! `secret`), which are read when they are needed. `config/telelake.example.toml` documents the same keys for users, and a
//! test compares the two.

mod load;
mod nearest;
mod privacy;
mod secret;
mod token;
mod validate;
mod values;
mod zone;

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

pub use load::Source;
pub use privacy::{ColumnTreatment, Privacy, Profile, RawKept, Retention, UnknownData};
pub use secret::read_text;
pub use values::{Bytes, Duration, Network, Secret};
pub(crate) use zone::parse_zone;

use crate::ids::{RoomId, SpaceId};
use crate::shard::Shard;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The time zone whose midnight separates the days, as an IANA name.
    #[serde(deserialize_with = "zone::deserialize")]
    pub timezone: Tz,
    /// The vendor's API.
    pub api: Api,
    /// The spaces, rooms and calls to export.
    pub scope: Scope,
    /// The data to export of each call.
    pub export: Export,
    /// The place of the lake.
    pub store: Store,
    /// Lesson data of the LMS.
    pub meta: Meta,
    /// The Delta Lake tables.
    pub delta: Delta,
    /// Which personal data the tables hold.
    pub privacy: Privacy,
    /// How long each kind of data is kept.
    pub retention: Retention,
    /// The times of the scheduled runs.
    pub schedule: Schedule,
    /// The daemon's listener.
    pub serve: Serve,
    /// The secrets of the spaces' webhooks.
    pub webhook: Webhook,
    /// The notifications about runs.
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
            delta: Delta::default(),
            privacy: Privacy::default(),
            retention: Retention::default(),
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
    /// The root of the API, including its version.
    pub base_url: String,
    /// The personal token.
    pub token: Secret,
    /// A file that holds the token. A bare name is searched in `$CREDENTIALS_DIRECTORY`, then beside the configuration.
    pub token_file: String,
    /// The maximum of requests in flight.
    pub concurrency: usize,
    /// The maximum of requests per second; 0: no cap.
    pub requests_per_second: f64,
    /// The maximum of requests of all runs on one date of `timezone`; 0: no limit.
    pub requests_per_day: u64,
    /// The shard of a job that this process does, if several share the limits.
    #[serde(skip)]
    pub shard: Option<Shard>,
    /// The zone in which the API lists a call under the date of its start. If it is set, no date more on each side is
    /// asked for.
    #[serde(with = "optional_zone")]
    pub call_date: Option<Tz>,
    /// The time limit of an answer. A download is limited by its speed instead.
    pub timeout: Duration,
    /// The number of retries after a temporary failure.
    pub retries: u32,
    /// The path of storeExternalUserMeta, which the vendor's guide does not name.
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
            requests_per_day: 0,
            shard: None,
            call_date: None,
            timeout: Duration::from_secs(30),
            retries: 5,
            external_meta_path: "/users/external-meta".into(),
        }
    }
}

impl Api {
    /// Leaves this process its part of the limits. Every shard may have one request in flight.
    pub fn divide(&mut self, shard: Shard) {
        let concurrency = shard.part_of(self.concurrency as u64).max(1);
        self.concurrency = usize::try_from(concurrency).unwrap_or(usize::MAX);
        self.requests_per_second /= f64::from(shard.count);
        self.shard = Some(shard);
    }
}

/// A time zone as text, which is empty if there is none.
mod optional_zone {
    use chrono_tz::Tz;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(zone: &Option<Tz>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(zone.map_or("", |zone| zone.name()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tz>, D::Error> {
        let name = String::deserialize(from)?;
        let zone = || {
            let wrong = |_| {
                D::Error::custom(format!(
                    "{name:?} is no time zone such as \"Europe/Moscow\" or \"UTC\""
                ))
            };
            name.parse().map_err(wrong)
        };
        (!name.is_empty()).then(zone).transpose()
    }
}

/// `[scope]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// The ids of the spaces to export; empty: all spaces that the token sees.
    pub spaces: Vec<SpaceId>,
    /// The ids of the rooms to export; empty: all rooms.
    pub rooms: Vec<RoomId>,
    /// The ids of rooms to skip.
    pub exclude_rooms: Vec<RoomId>,
    /// Calls with fewer participants are skipped.
    pub min_participants: i64,
    /// True if calls of breakout rooms are exported.
    pub breakout_rooms: bool,
    /// The time after the end of a call when its report counts as final.
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

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportFormat {
    /// `format=json`
    Json,
    /// `format=xlsx`
    Xlsx,
}

impl ReportFormat {
    /// The name in the API, and the extension of the file.
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
    /// The formats of reports to land.
    pub reports: Vec<ReportFormat>,
    /// True if recordings are copied.
    pub recordings: bool,
    /// The number of days before yesterday that `run` lists again.
    pub lookback_days: u32,
    /// The time after the end of a call or record when a missing report or recording counts as lost.
    pub give_up: Duration,
    /// A mapping file that overrides parts of the built-in one.
    pub mapping: String,
    /// The memory that reports may use while they are read.
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
    /// The settings that the AWS chain does not provide.
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
    /// An endpoint other than that of AWS.
    pub endpoint_url: String,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    /// The storage class of MP4 files. Tables and manifests have that of the bucket.
    pub recordings_storage_class: String,
    /// Server-side encryption: `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub sse: String,
    /// The KMS key for `aws:kms`.
    pub kms_key_id: String,
    /// The checksum that is sent with objects and parts.
    pub checksum: Checksum,
    /// The size of a part of a multipart upload.
    pub part_size: Bytes,
    /// The number of parts of an upload in flight.
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
            part_size: Bytes::mebibytes(8),
            parts_in_flight: 4,
        }
    }
}

/// A checksum that is sent with each object and part, for buckets that require one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// None.
    #[default]
    #[serde(rename = "")]
    None,
    /// `Content-MD5`, which every server knows.
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
    /// `file://` or `s3://` prefixes with files of lesson data, which each run reads.
    pub feeds: Vec<String>,
}

/// `[delta]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delta {
    /// True if runs bring the Delta tables up to date.
    pub enabled: bool,
    /// The age from which the files of a date become one file.
    pub compact_after: Duration,
    /// The time for which a vacuum keeps old versions.
    pub keep: Duration,
}

impl Default for Delta {
    fn default() -> Self {
        Self {
            enabled: false,
            compact_after: Duration::from_secs(7 * 24 * 3600),
            keep: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// `[schedule]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Cron expressions of 5 fields, or of 6 fields with seconds, in `timezone`.
    pub cron: Vec<String>,
    /// True if the daemon catches up once on a run that it missed.
    pub catch_up: bool,
    /// The largest random delay of a run, so that many daemons do not send requests at once.
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
    /// The reverse proxies that may report the client's address.
    pub trusted_proxies: Vec<Network>,
    /// The token of the daemon, which is required for addresses other than loopback.
    pub token: Secret,
    /// A file that holds the token. A bare name is searched in `$CREDENTIALS_DIRECTORY`, then beside the configuration.
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
    /// The secret for the events of spaces without a secret of their own.
    pub secret: Secret,
    /// A file that holds the secret.
    pub secret_file: String,
    /// A folder with a file for the secret of each space, named by the id of the space. `webhook install` and
    /// `webhook rotate-secret` write the files, and the daemon reads a file again after a change.
    pub secrets_dir: String,
    /// Secrets by the id of the space.
    pub secrets: BTreeMap<String, Secret>,
}

/// The runs about which [`Notify::url`] is notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyOn {
    /// Only runs with a failure.
    Failure,
    /// All runs.
    Always,
}

/// `[notify]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// The URL that receives the summary of a run as JSON.
    pub url: Secret,
    /// The runs that are reported.
    pub on: NotifyOn,
    /// The URL that is fetched after every successful run, for a monitor that notices its absence.
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

#[cfg(test)]
mod tests {
    use super::*;

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
