//! Erases people from lesson data: files as they came, and the entries of lesson days. Pure.

use std::collections::BTreeSet;

use super::json::erase_value;
use super::traces::{Traces, folded};
use crate::json::Text;
use crate::lake::erased::Erased;
use crate::lake::table::builtin::user_meta;
use crate::tables::lessons::{self, EntryFate, LessonEntry, Payload, Payloads};
use crate::tables::report::node::Node;

/// The field of a payload that holds the lesson data.
const META: &str = "meta";

/// A file of lesson data without the people who were erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedMeta {
    /// Its bytes. A file of lines keeps its lines; any other becomes one of lines.
    pub bytes: Vec<u8>,
    /// The payloads that are gone.
    pub payloads: u64,
    /// The payloads of others that lost an object or value about an erased person.
    pub changed: u64,
    /// Payloads of others that mention an erased person, and are still there.
    pub mentions: u64,
    /// Parts that could not be read and are gone, because nobody can tell whom they are about.
    pub unreadable: u64,
}

impl ErasedMeta {
    fn is_none(&self) -> bool {
        self.payloads + self.changed + self.unreadable == 0
    }
}

/// Erases people from a file of lesson data. Adds what it learns of them to `known`. None if the file has nothing of
/// them.
pub fn erase_meta_file(bytes: &[u8], erased: &Erased, known: &mut Traces) -> Option<ErasedMeta> {
    for payload in Payloads::new(bytes) {
        let user = match &payload {
            Ok(payload) => Some(&payload.user),
            Err(malformed) => malformed.user.as_ref(),
        };
        if let Some(user) = user.filter(|user| erased.has_user(user)) {
            known.users.insert(user.to_string());
        }
    }
    let mut done = ErasedMeta {
        bytes: Vec::with_capacity(bytes.len()),
        payloads: 0,
        changed: 0,
        mentions: 0,
        unreadable: 0,
    };
    let is_of_lines = is_of_lines(bytes);
    if is_of_lines {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            done.line(line, erased, known);
        }
    } else {
        for payload in Payloads::new(bytes) {
            match payload {
                Ok(payload) => {
                    let line = payload.body().to_string() + "\n";
                    done.line(line.as_bytes(), erased, known);
                }
                Err(_) => done.unreadable += 1,
            }
        }
        if done.payloads + done.changed == 0 {
            // The file stays as it came, with what can't be read of it.
            done.unreadable = 0;
        }
    }
    (!done.is_none() || done.mentions > 0).then(|| {
        if done.is_none() {
            done.bytes = bytes.to_vec();
        }
        done
    })
}

/// True if each line that is not empty is a payload by itself, as far as it can be read.
fn is_of_lines(bytes: &[u8]) -> bool {
    let mut lines = bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    let first = lines.clone().next();
    let in_brackets = first.is_some_and(|line| line.starts_with(b"["));
    !in_brackets
        && lines.any(|line| {
            Text::new(line)
                .read::<Node<'_>>()
                .is_ok_and(|(value, _)| value.is_object())
        })
}

impl ErasedMeta {
    /// Takes a line of a payload.
    fn line(&mut self, line: &[u8], erased: &Erased, known: &mut Traces) {
        let end: &[u8] = if line.ends_with(b"\n") { b"\n" } else { b"" };
        match lessons::parse(line) {
            Ok(payloads)
                if payloads
                    .iter()
                    .any(|payload: &Payload| erased.has_user(&payload.user)) =>
            {
                self.payloads += 1;
                self.bytes.extend_from_slice(end);
            }
            Ok(_) => {
                let text = Text::new(line.trim_ascii());
                let Ok((value, _)) = text.read::<Node<'_>>() else {
                    return self.bytes.extend_from_slice(line);
                };
                let (changed, mentions) = erase_value(&value, value.get(META), erased, known);
                self.mentions += u64::from(mentions > 0);
                match changed {
                    Some(changed) => {
                        self.changed += 1;
                        self.bytes.extend_from_slice(&changed);
                        self.bytes.extend_from_slice(end);
                    }
                    None => self.bytes.extend_from_slice(line),
                }
            }
            Err(malformed) => {
                let text = String::from_utf8_lossy(line);
                let is_about = malformed
                    .user
                    .as_deref()
                    .is_some_and(|user| erased.has_user(user))
                    || known.is_mentioned_in(&text, &BTreeSet::new());
                match is_about {
                    true => {
                        self.unreadable += 1;
                        self.bytes.extend_from_slice(end);
                    }
                    false => self.bytes.extend_from_slice(line),
                }
            }
        }
    }
}

/// Erases people from an entry of lesson data. Adds what it learns of them to `known`.
pub fn erase_entry(entry: &mut LessonEntry, erased: &Erased, known: &mut Traces) -> EntryFate {
    erase_entry_noting(entry, erased, known).0
}

/// Erases people from an entry, as [`erase_entry`] does, and counts the texts that mention them.
pub fn erase_entry_noting(entry: &mut LessonEntry, erased: &Erased, known: &mut Traces) -> (EntryFate, u64) {
    if erased.has_user(&entry.user) {
        known.users.insert(entry.user.to_string());
        return (EntryFate::Goes, 0);
    }
    let Some(meta) = &entry.meta else {
        return (EntryFate::Stays, 0);
    };
    let (changed, mentions) = {
        let text = Text::new(meta.as_bytes());
        let Ok((value, _)) = text.read::<Node<'_>>() else {
            return (EntryFate::Stays, 0);
        };
        erase_value(&value, None, erased, known)
    };
    let fate = match changed.and_then(|json| String::from_utf8(json).ok()) {
        Some(meta) => {
            entry.replace_meta(meta);
            EntryFate::Changed
        }
        None => EntryFate::Stays,
    };
    (fate, mentions)
}

/// Learns the names of people from their own entries.
pub fn learn_names<'e>(entries: impl IntoIterator<Item = &'e LessonEntry>, known: &mut Traces) {
    let lessons = entries.into_iter().filter_map(LessonEntry::lesson);
    for lesson in lessons {
        let name = lesson.text(user_meta::user_fullname);
        known
            .names
            .extend(name.map(folded).filter(|name| !name.is_empty()));
    }
}
