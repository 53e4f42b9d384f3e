//! The lines of a lesson day, read in place. Pure.
//!
//! A line as this program writes it is read without a parser, because its lesson data is most of it and may not be needed.
//! Such lesson data is not looked at: the checksum of the lesson day vouches for it. Any other line goes through the parser.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::lenient;

/// The fields that a line is found by.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Head<'l> {
    #[serde(borrow)]
    pub meeting: Cow<'l, str>,
    #[serde(borrow)]
    pub user: Cow<'l, str>,
}

/// An entry of lesson data as its line has it.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct StoredEntry<'l> {
    #[serde(borrow)]
    pub meeting: Cow<'l, str>,
    #[serde(borrow)]
    pub user: Cow<'l, str>,
    pub received_at: DateTime<Utc>,
    #[serde(borrow)]
    pub file: Cow<'l, str>,
    pub line: u64,
    /// The text of a JSON object; none if the lesson data was taken back.
    #[serde(default, borrow, deserialize_with = "object_text")]
    pub meta: Option<&'l str>,
}

impl<'l> Head<'l> {
    /// Reads the head of a line; none if the line is damaged.
    pub fn of(line: &'l [u8]) -> Option<Self> {
        let plain = plain_head(line).map(|(head, _)| head);
        plain.or_else(|| serde_json::from_slice(line).ok())
    }
}

impl<'l> StoredEntry<'l> {
    /// Reads a line; none if it is damaged.
    pub fn of(line: &'l [u8]) -> Option<Self> {
        Self::plain(line).or_else(|| serde_json::from_slice(line).ok())
    }

    fn plain(line: &'l [u8]) -> Option<Self> {
        let (Head { meeting, user }, rest) = plain_head(line)?;
        let (received_at, rest) = plain_text(rest)?;
        let (file, rest) = plain_text(rest.strip_prefix(br#","file":""#)?)?;
        let rest = rest.strip_prefix(br#","line":"#)?;
        let (number, rest) = rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit())?);
        let meta = match rest.strip_prefix(br#","meta":"#) {
            Some(meta) if meta.starts_with(b"{") => {
                Some(std::str::from_utf8(meta.strip_suffix(b"}\n")?).ok()?)
            }
            Some(_) => return None,
            None if rest == b"}\n" => None,
            None => return None,
        };
        Some(Self {
            meeting,
            user,
            received_at: lenient::instant(lenient::Scalar::Text(&received_at))?,
            file,
            line: std::str::from_utf8(number).ok()?.parse().ok()?,
            meta,
        })
    }
}

/// The head of a line as this program writes it, if its ids have no escapes, and what follows the quote after it.
fn plain_head(line: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let (meeting, rest) = plain_text(line.strip_prefix(br#"{"meeting":""#)?)?;
    let (user, rest) = plain_text(rest.strip_prefix(br#","user":""#)?)?;
    Some((Head { meeting, user }, rest.strip_prefix(br#","received_at":""#)?))
}

/// A text without escapes up to its closing quote, and the bytes behind that.
fn plain_text(bytes: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let end = bytes
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
    let (text, rest) = bytes.split_at(end);
    Some((std::str::from_utf8(text).ok()?.into(), rest.strip_prefix(b"\"")?))
}

/// The text of a JSON object, as it stands.
fn object_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de str>, D::Error> {
    let raw: Option<&'de RawValue> = Deserialize::deserialize(deserializer)?;
    if raw.is_some_and(|raw| !raw.get().starts_with('{')) {
        return Err(serde::de::Error::custom("lesson data is an object"));
    }
    Ok(raw.map(RawValue::get))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::tables::lessons::LessonEntry;

    fn line(meeting: &str, user: &str, file: &str, meta: Option<String>) -> Vec<u8> {
        let entry = LessonEntry {
            meeting: meeting.into(),
            user: user.into(),
            received_at: "2026-11-22T10:00:00.123456Z".parse().expect("an instant"),
            file: file.into(),
            line: 17,
            meta,
            start: None,
            known: Default::default(),
        };
        entry.line().expect("JSON")
    }

    #[test]
    fn a_line_in_another_form_is_read_too() {
        let plain = line("m", "u", "f", Some("{}".into()));
        assert!(StoredEntry::plain(&plain).is_some());
        for other in [
            &br#"{"user":"u","meeting":"m","meta":{},"line":17,"file":"f","received_at":"2026-11-22T10:00:00.123456Z"}"#[..],
            br#"{ "meeting":"m","user":"u","received_at":"2026-11-22T10:00:00.123456Z","file":"f","line":17,"meta":{}}"#,
        ] {
            assert_eq!((plain_head(other), StoredEntry::plain(other)), (None, None));
            assert_eq!(Head::of(other), Head::of(&plain));
            assert_eq!(StoredEntry::of(other), StoredEntry::of(&plain));
        }
        assert_eq!(Head::of(br#"{"meeting":"m""#), None);
    }

    #[test]
    fn a_line_without_lesson_data_was_taken_back() {
        let taken_back = line("m", "u", "f", None);
        let read = StoredEntry::plain(&taken_back).expect("plain");
        assert_eq!((read.meta, read.line), (None, 17));
        let null = br#"{"meeting":"m","user":"u","received_at":"2026-11-22T10:00:00Z","file":"f","line":1,"meta":null}"#;
        assert_eq!(StoredEntry::of(null).expect("read").meta, None);
    }

    proptest! {
        /// The reference is the parser of the whole line.
        #[test]
        fn a_line_is_read_as_the_parser_reads_it(
            meeting in "\\PC{0,12}|[a\"\\\\\u{1}\u{7f}é]{0,6}", user in "\\PC{0,12}|[a\"\\\\\u{1}\u{7f}é]{0,6}",
            file in "[a\"é]{0,6}", text in "\\PC{0,12}", is_taken_back in any::<bool>(),
        ) {
            let meta = (!is_taken_back).then(|| json!({"name": text, "inner": {"a": [1, {}]}}).to_string());
            let line = line(&meeting, &user, &file, meta.clone());
            let parsed: StoredEntry<'_> = serde_json::from_slice(&line).expect("JSON");
            if let Some(plain) = StoredEntry::plain(&line) {
                prop_assert_eq!(&plain, &parsed);
            }
            prop_assert_eq!((&*parsed.meeting, &*parsed.user, &*parsed.file), (&*meeting, &*user, &*file));
            prop_assert_eq!(parsed.meta, meta.as_deref());
            prop_assert_eq!(Head::of(&line), Some(Head { meeting: meeting.into(), user: user.into() }));
        }
    }
}
