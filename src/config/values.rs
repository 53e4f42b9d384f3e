//! The value types of the configuration: durations, sizes, networks and secrets. Pure.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::token::BYTE_ORDER_MARK;

/// A duration, written as `30s`, `5m` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// Parses a duration; none if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        humantime::parse_duration(text).map(Self).ok()
    }
}

impl Deref for Duration {
    type Target = std::time::Duration;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is not a duration such as \"30s\" or \"5m\"")))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

/// A number of bytes, written as `16MiB` or `1GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(bytesize::ByteSize);

impl Bytes {
    /// A number of whole MiB.
    pub const fn mebibytes(count: u64) -> Self {
        Self(bytesize::ByteSize::mib(count))
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0.as_u64()
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| D::Error::custom(format!("`{text}` is not a size such as \"16MiB\"")))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}", self.0.to_string().replace(' ', "")))
    }
}

/// A network such as `10.0.0.0/8` or `2001:db8::/32`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(ipnet::IpNet);

impl Network {
    /// True if an address is in the network. An IPv4 address may be written as an IPv6 one.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let single = || {
            text.trim()
                .parse::<IpAddr>()
                .map(|one| ipnet::IpNet::from(one.to_canonical()))
        };
        let network = text.trim().parse().or_else(|_| single());
        network
            .map(Self)
            .map_err(|_| format!("`{text}` is neither an address nor a network such as \"10.0.0.0/8\""))
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Text that neither `Debug` nor serialization prints.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

const MASK: &str = "***";

impl Secret {
    /// Makes a secret of a text, without its byte order mark and surrounding white space.
    pub fn new(text: &str) -> Self {
        Self(text.trim_start_matches(BYTE_ORDER_MARK).trim().to_owned())
    }

    /// True if there is no secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret itself. Only code that sends or compares it may call this.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "\"\"" } else { MASK })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The standard error would show the value.
        String::deserialize(deserializer)
            .map(Self)
            .map_err(|_| D::Error::custom("a secret must be text in quotes"))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { MASK })
    }
}
