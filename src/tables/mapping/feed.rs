//! The feed of a column in the mapping file: paths, or a table with more keys. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::names::{Names, NamesForms, Texts};

/// The feed of a column.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Feed {
    /// Paths; the first that exists wins.
    pub from: Names,
    /// Paths of texts that are joined by spaces. They come before `from`.
    pub concat: Names,
    /// For sessions: the paths of a session's own fields, by name.
    pub fields: BTreeMap<String, Names>,
    /// The lookup for a value that no path has.
    pub lookup: Option<Lookup>,
    /// For sessions that stand outside of the row. They come before `from`.
    pub elsewhere: Option<SessionSource>,
    /// How a value is read.
    pub options: ValueOptions,
    /// For a user-defined table: the type.
    pub kind: Option<String>,
    /// For a user-defined table: the meaning of the column.
    pub doc: Option<String>,
    /// True if the names of the mapping below are discarded.
    #[serde(skip)]
    pub replace: bool,
}

/// How a value becomes that of its column, in JSON as in a workbook.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct ValueOptions {
    /// The factor for numbers: from milliseconds to a column of seconds, 0.001.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The values that texts stand for, by text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Value>,
    /// The value where there is none, or one that `values` does not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The zone of times that state none, instead of the table's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The formats of instants, instead of the table's.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub formats: Names,
}

impl ValueOptions {
    /// True if they are meant for the names beside them alone.
    fn change_meaning(&self) -> bool {
        self.scale.is_some() || !self.values.is_empty() || self.default.is_some()
    }

    /// Lays these options over others.
    pub fn over(self, below: Self) -> Self {
        let mut values = below.values;
        values.extend(self.values);
        Self {
            scale: self.scale.or(below.scale),
            values,
            default: self.default.or(below.default),
            zone: self.zone.or(below.zone),
            formats: if self.formats.is_empty() {
                below.formats
            } else {
                self.formats
            },
        }
    }
}

/// A value from another element of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Lookup {
    /// The array to search.
    pub find: String,
    /// The fields of its elements to compare; any of them may be equal.
    pub key: Names,
    /// The row's value to compare with.
    pub by: Names,
    /// The fields of the element found; the first that exists wins.
    pub take: Names,
}

/// A list outside of the rows that holds the sessions of all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SessionSource {
    /// The path of the list, from the row.
    pub list: String,
    /// The fields of its elements that name their row. None if the list is the row's own.
    pub key: Names,
    /// The row's values that the key equals.
    pub equals: Names,
    /// For a list of events.
    pub events: Option<EventRules>,
}

/// The fields of an event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct EventRules {
    /// Its time.
    pub at: Names,
    /// Its type.
    pub kind: Names,
    /// The types that begin a session.
    pub join: Texts,
    /// The types that end one.
    pub leave: Texts,
}

/// The keys of a feed that is a table.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FeedKeys {
    from: Names,
    concat: Names,
    fields: BTreeMap<String, Names>,
    find: Option<String>,
    key: Option<Names>,
    by: Option<Names>,
    take: Option<Names>,
    list: Option<String>,
    events: Option<String>,
    equals: Option<Names>,
    at: Option<Names>,
    join: Option<Texts>,
    leave: Option<Texts>,
    scale: Option<f64>,
    values: BTreeMap<String, Value>,
    default: Option<Value>,
    zone: Option<String>,
    formats: Names,
    r#type: Option<Names>,
    doc: Option<String>,
    replace: bool,
}

impl Feed {
    /// The feed of these paths.
    pub fn of(names: Names) -> Self {
        Self {
            from: names,
            ..Self::default()
        }
    }

    /// True if it names a place in the object.
    pub fn is_fed(&self) -> bool {
        let has_names = !self.from.is_empty() || !self.concat.is_empty();
        has_names || self.lookup.is_some() || self.elsewhere.is_some()
    }

    /// Lays this feed over another: its names come first. A scale, values and a default apply to the names beside them and
    /// not to those below.
    pub fn over(mut self, mut below: Self) -> Self {
        if self.replace || (self.is_fed() && self.options.change_meaning()) {
            if self.fields.is_empty() {
                self.fields = below.fields;
            }
            return self;
        }
        for (field, names) in self.fields {
            let known = below.fields.entry(field).or_default();
            *known = names.before(std::mem::take(known));
        }
        Self {
            from: self.from.before(below.from),
            concat: if self.concat.is_empty() {
                below.concat
            } else {
                self.concat
            },
            fields: below.fields,
            lookup: self.lookup.or(below.lookup),
            elsewhere: self.elsewhere.or(below.elsewhere),
            options: self.options.over(below.options),
            kind: self.kind.or(below.kind),
            doc: self.doc.or(below.doc),
            replace: false,
        }
    }
}

impl<'de> Deserialize<'de> for Feed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Feed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a source path, a list of them, or a table with `from`")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Feed, E> {
                Ok(Feed::of(Names(vec![path.to_owned()])))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Feed, A::Error> {
                Ok(Feed::of(NamesForms.visit_seq(seq)?))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Feed, A::Error> {
                FeedKeys::deserialize(MapAccessDeserializer::new(map))?
                    .feed()
                    .map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl FeedKeys {
    fn feed(mut self) -> Result<Feed, &'static str> {
        let elsewhere = self.session_source()?;
        let lookup = match (self.find, self.key, self.by, self.take) {
            (None, None, None, None) => None,
            (Some(find), Some(key), Some(by), Some(take)) => Some(Lookup { find, key, by, take }),
            _ => return Err("a lookup needs all of `find`, `key`, `by` and `take`"),
        };
        let kind = match self.r#type.map(|names| names.0) {
            None => None,
            Some(mut names) if names.len() == 1 => names.pop(),
            Some(_) => return Err("a column has one `type`"),
        };
        let feed = Feed {
            from: self.from,
            concat: self.concat,
            fields: self.fields,
            lookup,
            elsewhere,
            options: ValueOptions {
                scale: self.scale,
                values: self.values,
                default: self.default,
                zone: self.zone,
                formats: self.formats,
            },
            kind,
            doc: self.doc,
            replace: self.replace,
        };
        // Without a place it adds to the mapping below.
        let adds = !feed.fields.is_empty() || feed.options != ValueOptions::default();
        if !feed.is_fed() && (!adds || feed.replace) {
            return Err("nothing feeds the column: `from` is missing");
        }
        Ok(feed)
    }

    /// Takes the keys of sessions that stand elsewhere.
    fn session_source(&mut self) -> Result<Option<SessionSource>, &'static str> {
        let (list, is_events) = match (self.list.take(), self.events.take()) {
            (None, None) => {
                let is_free = self.equals.is_none() && self.at.is_none();
                return match is_free && self.join.is_none() && self.leave.is_none() {
                    true => Ok(None),
                    false => Err(
                        "`equals` is for sessions with `list` or `events`; `at`, `join` and `leave` for `events`",
                    ),
                };
            }
            (Some(_), Some(_)) => return Err("sessions come from a `list` or from `events`, not from both"),
            (Some(list), None) => (list, false),
            (None, Some(events)) => (events, true),
        };
        if self.find.is_some() {
            return Err("sessions have no lookup: `list` with `key` and `equals` finds them");
        }
        let (key, equals) = match (self.key.take(), self.equals.take()) {
            (Some(key), Some(equals)) => (key, equals),
            (None, None) if is_events => (Names::default(), Names::default()),
            (None, None) => {
                return Err("a `list` needs `key` and `equals`; a list of the row itself is a `from`");
            }
            _ => return Err("`key` and `equals` belong together"),
        };
        let events = match (self.at.take(), self.join.take(), self.leave.take()) {
            (Some(at), Some(join), Some(leave)) if is_events => Some(EventRules {
                at,
                kind: self
                    .r#type
                    .take()
                    .ok_or("`events` need the `type` that `join` and `leave` are values of")?,
                join,
                leave,
            }),
            _ if is_events => return Err("`events` need all of `at`, `type`, `join` and `leave`"),
            (None, None, None) => None,
            _ => return Err("`at`, `join` and `leave` are for `events`"),
        };
        Ok(Some(SessionSource {
            list,
            key,
            equals,
            events,
        }))
    }
}
