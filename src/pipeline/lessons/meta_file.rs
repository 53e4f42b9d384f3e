//! A file of lesson data on its way into the lake: its payloads become lesson entries, and what can't be read of it is
//! counted.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{MeetingId, UserId};
use crate::tables::lessons::{LatestEntries, LessonEntry, Malformed, Payload, Payloads};

/// Bytes of entries in a batch.
const BATCH_BYTES: usize = 32 << 20;
/// Bad lines, and bad values, that are named one by one. The others are only counted.
const MOST_NAMED: usize = 100;

/// A file of lesson data.
#[derive(Debug, Clone)]
pub struct MetaFile {
    /// The file's name. Files of one import are ordered by it.
    pub name: String,
    /// The file's bytes.
    pub bytes: Bytes,
}

impl MetaFile {
    /// The reason why no line of the file can be used; `None` if one can, or if the file is empty.
    pub fn refusal(&self) -> Option<Malformed> {
        let mut first = None;
        for payload in Payloads::new(&*self.bytes) {
            match payload {
                Ok(_) => return None,
                Err(malformed) => drop(first.get_or_insert(malformed)),
            }
        }
        first
    }
}

/// A line or a value in a file of lesson data that can't be read, with the ids that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The fault: ids, names of columns and places, never a value.
    pub message: String,
    /// The meeting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_meeting_id: Option<MeetingId>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_user_id: Option<UserId>,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, line {}: {}", self.file, self.line, self.message)
    }
}

/// The lines and values of a file that can't be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileFaults {
    /// Lines that are no readable payload.
    pub bad_lines: u64,
    /// The first of them, up to [`MOST_NAMED`].
    pub lines: Vec<Unread>,
    /// Values that can't be read.
    #[serde(skip)]
    pub bad_values: u64,
    /// The first of them, up to [`MOST_NAMED`].
    #[serde(skip)]
    pub values: Vec<Unread>,
}

impl FileFaults {
    fn take_line(&mut self, name: &str, malformed: Malformed) {
        self.bad_lines += 1;
        if self.lines.len() < MOST_NAMED {
            self.lines.push(Unread {
                file: name.to_owned(),
                line: malformed.line,
                message: malformed.why,
                external_meeting_id: malformed.meeting,
                external_user_id: malformed.user,
            });
        }
    }

    fn take_values(&mut self, name: &str, payload: &Payload) {
        for column in &payload.unreadable {
            self.take_value(name, payload, 1, format!("{column} can't be read and is null"));
        }
        if !payload.repairs.is_none() {
            let times = payload.repairs.characters + payload.repairs.numbers;
            self.take_value(name, payload, times, payload.repairs.to_string());
        }
    }

    fn take_value(&mut self, name: &str, payload: &Payload, times: u64, message: String) {
        self.bad_values += times;
        if self.values.len() < MOST_NAMED {
            self.values.push(Unread {
                file: name.to_owned(),
                line: payload.line,
                message,
                external_meeting_id: Some(payload.meeting.clone()),
                external_user_id: Some(payload.user.clone()),
            });
        }
    }
}

/// The latest entries of some payloads, and their bytes.
#[derive(Default)]
pub(super) struct Batch {
    pub entries: LatestEntries,
    bytes: usize,
}

impl Batch {
    /// True if it must be written before more is read.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES
    }
}

/// A file that is being read into batches.
pub(super) struct FileReader {
    pub name: Arc<str>,
    payloads: Payloads<Cursor<Bytes>>,
    /// The file's bytes as they came, until it is known to be worth keeping.
    unused: Option<Bytes>,
    /// The digest of a file that is worth keeping, until it is taken.
    hash: Option<String>,
    received_at: DateTime<Utc>,
    /// Payloads read so far.
    pub payloads_read: u64,
    pub faults: FileFaults,
    pub is_at_end: bool,
}

impl FileReader {
    /// Reads a file from which erased people were removed; `original` are its bytes as they came.
    pub fn new(file: &MetaFile, original: Bytes, received_at: DateTime<Utc>) -> Self {
        Self {
            name: file.name.as_str().into(),
            payloads: Payloads::new(Cursor::new(file.bytes.clone())),
            unused: Some(original),
            hash: None,
            received_at,
            payloads_read: 0,
            faults: FileFaults::default(),
            is_at_end: false,
        }
    }

    /// Reads payloads into a batch until it is full, or the file ends.
    pub fn fill(&mut self, batch: &mut Batch) {
        while !batch.is_full() {
            match self.payloads.next() {
                Some(Ok(payload)) => {
                    self.use_file();
                    self.faults.take_values(&self.name, &payload);
                    self.payloads_read += 1;
                    let entry = LessonEntry::new(payload, &self.name, self.received_at);
                    batch.bytes += entry.weight();
                    batch.entries.put(entry);
                }
                Some(Err(malformed)) => self.faults.take_line(&self.name, malformed),
                None => {
                    // A file without a readable payload is not kept, unless it is empty.
                    if self.faults.bad_lines == 0 {
                        self.use_file();
                    }
                    self.is_at_end = true;
                    return;
                }
            }
        }
    }

    fn use_file(&mut self) {
        if let Some(bytes) = self.unused.take() {
            self.hash = Some(hex::encode(Sha256::digest(&bytes)));
        }
    }

    /// The digest of the file, once, as soon as it is worth keeping.
    pub fn take_hash(&mut self) -> Option<String> {
        self.hash.take()
    }
}
