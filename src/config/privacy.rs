//! `[privacy]` and `[retention]`: which personal data the tables hold, and how long each kind of data is kept. Pure,
//! except for [`Privacy::read_key`].

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Duration, Secret};
use crate::Result;

/// `[privacy]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// The treatment of the columns that `columns` does not name.
    pub profile: Profile,
    /// The treatment of what no column is known for: `extra`, cells of workbooks, other attributes of lesson data.
    pub unknown: UnknownData,
    /// The time for which raw reports and raw lesson data are kept.
    pub raw: RawKept,
    /// A file that holds the key of the pseudonyms. A bare name is searched as that of other secrets.
    pub key_file: String,
    /// The key, if `key_file` is a pipe, which gives its text only once.
    #[serde(skip)]
    pub(super) key: Secret,
    /// Treatments by `table.column`; a part may be `*`. The most exact name counts.
    pub columns: BTreeMap<String, ColumnTreatment>,
}

impl Privacy {
    /// Keeps the key, so that its file is read once.
    ///
    /// # Errors
    /// As [`Privacy::read_key`].
    pub fn hold_key(&mut self) -> Result<()> {
        self.key = self.read_key()?;
        Ok(())
    }
}

/// A set of treatments for all tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// All columns are kept.
    #[default]
    None,
    /// Ids of people become pseudonyms; names, e-mails and telephones become null; texts are kept.
    Pseudonymous,
    /// The same, and texts, attributes and `extra` become null.
    Minimal,
}

impl Profile {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pseudonymous => "pseudonymous",
            Self::Minimal => "minimal",
        }
    }
}

/// What happens to a column's values before a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnTreatment {
    /// They are written as they are.
    Keep,
    /// They become null.
    Null,
    /// They become pseudonyms: HMAC-SHA-256 with the key, in hex.
    Hash,
}

/// The treatment of data for which no column is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownData {
    /// It is written as it is, unless the profile says otherwise.
    #[default]
    Keep,
    /// It is not written.
    Drop,
}

/// The time for which raw data is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RawKept {
    /// For ever, or as long as `[retention]` says.
    #[default]
    Keep,
    /// Until the tables of its day are built and nothing of the day is pending.
    None,
    /// For this time after the day.
    For(Duration),
}

impl<'de> Deserialize<'de> for RawKept {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        match text.as_str() {
            "" | "keep" => Ok(Self::Keep),
            "none" => Ok(Self::None),
            _ => Duration::parse(&text).map(Self::For).ok_or_else(|| {
                D::Error::custom(format!(
                    "`{text}` is neither \"keep\", \"none\" nor a duration such as \"30d\""
                ))
            }),
        }
    }
}

impl Serialize for RawKept {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Keep => to.serialize_str("keep"),
            Self::None => to.serialize_str("none"),
            Self::For(time) => time.serialize(to),
        }
    }
}

/// `[retention]`: for how long after its day each kind of data is kept; none: for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Raw reports and raw lesson data.
    #[serde(with = "optional_duration")]
    pub raw: Option<Duration>,
    /// Recordings.
    #[serde(with = "optional_duration")]
    pub recordings: Option<Duration>,
    /// Chat messages.
    #[serde(with = "optional_duration")]
    pub messages: Option<Duration>,
    /// Everything of a day.
    #[serde(with = "optional_duration")]
    pub tables: Option<Duration>,
}

impl Retention {
    /// True if everything is kept for ever.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A duration as text, which is empty if there is none.
mod optional_duration {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::Duration;

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => time.serialize(to),
            None => to.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(from)?;
        let wrong = || D::Error::custom(format!("`{text}` is not a duration such as \"30d\" or \"1y\""));
        (!text.is_empty())
            .then(|| Duration::parse(&text).ok_or_else(wrong))
            .transpose()
    }
}
