//! The import of lesson data: files are kept as they came, then the latest entry of each user and meeting goes to the
//! lesson day of its date, and that date's tables are built. Needs no API.
//!
//! The order of writes makes it safe to kill an import: raw file, index, marker, lesson days, tables. Importing the same
//! file again does whatever was left out, and the marker stays until a run has checked the days of its meetings and the
//! tables of its dates. A file is imported in batches, so that memory does not grow with the number of its entries.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::ids::{MeetingId, UserId};
use crate::lake::{self, key};
use crate::pipeline::job::Command;
use crate::pipeline::lake_state::info::StoreInfo;
use crate::pipeline::lake_state::lease;
use crate::pipeline::lake_state::lease::Lease;
use crate::pipeline::lessons::lesson_days::{LessonDayWriter, read_entries, read_lesson_day};
use crate::store::json::{get_json, to_json};
use crate::store::{Condition, Store};
use crate::tables::lessons::{LatestEntries, LessonDayChange, LessonEntry, Malformed, Payload, Payloads};

/// Bytes of entries in a batch.
const BATCH_BYTES: usize = 8 << 20;
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

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Files given.
    pub files: u64,
    /// Files that the lake already had.
    pub known_files: u64,
    /// Payloads in all.
    pub payloads: u64,
    /// Lesson entries (a user in a meeting) that are new or have changed.
    pub changed: u64,
    /// The dates whose lesson days were changed.
    pub dates: BTreeSet<NaiveDate>,
    /// Objects written or removed.
    pub writes: u64,
    /// Lines that are no readable payload. The other lines were imported.
    pub bad_lines: u64,
    /// Values that can't be read. Their rows are there without them.
    pub bad_values: u64,
    /// The first of the bad lines.
    pub lines: Vec<Unread>,
    /// The first of the bad values.
    pub values: Vec<Unread>,
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
        for column in payload.unreadable() {
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

/// The dates that have lesson data of each meeting. A date too many does no harm.
pub(crate) type MeetingIndex = BTreeMap<String, BTreeSet<NaiveDate>>;

/// The content of an import's marker.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// The dates whose lesson days it changes.
    pub dates: BTreeSet<NaiveDate>,
    /// The [marks](key::mark) of the meetings that it changes.
    pub meetings: BTreeSet<String>,
}

/// Imports files of lesson data.
///
/// # Errors
/// Any error of the store; importing the same files again finishes the import. `Config` if the lake has another time zone.
pub async fn import_meta(
    store: &dyn Store,
    zone: Tz,
    now: DateTime<Utc>,
    files: Vec<MetaFile>,
) -> Result<Imported> {
    let (info, created) = StoreInfo::open_or_create(store, zone, now).await?;
    let conditional = info.conditional_writes;
    let importing = async {
        let mut import = Import::new(store, zone, now);
        let mut all_faults = Vec::new();
        for file in files {
            all_faults.push(import.add(file).await?);
        }
        let mut done = import.finish().await?;
        for faults in all_faults {
            done.bad_lines += faults.bad_lines;
            done.bad_values += faults.bad_values;
            done.lines.extend(faults.lines);
            done.values.extend(faults.values);
        }
        Ok(done)
    };
    let mut done = if conditional {
        importing.await?
    } else {
        let lease = Lease::take(
            store,
            Command::MetaImport.name(),
            Utc::now(),
            &CancellationToken::new(),
        )
        .await?;
        let lost = CancellationToken::new();
        let stopping = async {
            tokio::select! {
                () = lost.cancelled() => Err(lease::lost()),
                done = importing => done,
            }
        };
        lease.during(stopping, || lost.cancel()).await?
    };
    done.writes += u64::from(created);
    Ok(done)
}

/// Imports the lesson data that reports contain; the reports themselves are already in the lake.
pub(crate) async fn take_embedded(
    store: &dyn Store,
    zone: Tz,
    now: DateTime<Utc>,
    entries: Vec<LessonEntry>,
) -> Result<Imported> {
    let mut import = Import::new(store, zone, now);
    let (changes, known) = import.changes(entries.into_iter().collect()).await?;
    import.write_index(&changes).await?;
    import.write_changes(changes, known).await?;
    import.finish().await
}

/// Reads the markers of imports: the dates whose lesson days were changed, and the marks of the meetings.
///
/// # Errors
/// Any error of the store, also if a marker is damaged.
pub(crate) async fn read_markers(
    store: &dyn Store,
    markers: &[crate::store::ListedObject],
) -> Result<(BTreeSet<NaiveDate>, BTreeSet<u64>)> {
    let (mut dates, mut meetings) = (BTreeSet::new(), BTreeSet::new());
    for marker in markers {
        // Another process may have removed it.
        if let Some((marker, _)) = get_json::<Marker>(store, &marker.key).await? {
            dates.extend(marker.dates);
            meetings.extend(marker.meetings.iter().filter_map(|mark| key::read_mark(mark)));
        }
    }
    Ok((dates, meetings))
}

/// An import that is going on.
pub(crate) struct Import<'a> {
    writer: LessonDayWriter<'a>,
    zone: Tz,
    now: DateTime<Utc>,
    id: String,
    done: Imported,
    /// The latest entries by meeting and user, not yet written, and their bytes.
    batch: LatestEntries,
    weight: usize,
    /// The files that the batch comes from.
    files: Vec<RawFile>,
    /// The keys of the raw files in the lake, listed when first needed.
    raw: Option<Vec<String>>,
    /// The dates whose tables are built at the end: once, however many batches change them.
    due: BTreeSet<NaiveDate>,
    batches: u32,
}

/// A file that is kept as it came.
struct RawFile {
    name: Arc<str>,
    bytes: Bytes,
    hash: String,
    /// True if the lake already has it.
    known: bool,
    /// True if this import has stored it.
    kept: bool,
}

/// The changes to lesson days, by date.
type Changes = BTreeMap<NaiveDate, LessonDayChange>;

impl<'a> Import<'a> {
    pub fn new(store: &'a dyn Store, zone: Tz, now: DateTime<Utc>) -> Self {
        Self {
            writer: LessonDayWriter::new(store),
            zone,
            now: now.trunc_subsecs(6),
            id: format!(
                "{}-{:06x}",
                now.format("%Y%m%dT%H%M%S%6fZ"),
                fastrand::u32(..0x0100_0000)
            ),
            done: Imported::default(),
            batch: LatestEntries::default(),
            weight: 0,
            files: Vec::new(),
            raw: None,
            due: BTreeSet::new(),
            batches: 0,
        }
    }

    /// Imports a file and reports what can't be read of it. Entries left in the batch are written with the next file, or by
    /// [`Import::finish`].
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn add(&mut self, file: MetaFile) -> Result<FileFaults> {
        self.done.files += 1;
        let mut faults = FileFaults::default();
        let name: Arc<str> = file.name.as_str().into();
        let mut payloads = Payloads::new(Cursor::new(file.bytes.clone())).peekable();
        let mut hash = Some(hex::encode(Sha256::digest(&file.bytes)));
        // A file without a readable payload is not kept, unless it is empty.
        let mut usable = payloads.peek().is_none();
        loop {
            let next = payloads.next();
            usable |= matches!(next, Some(Ok(_)));
            if usable && let Some(hash) = hash.take() {
                self.begin_file(&name, &file.bytes, hash).await?;
            }
            match next {
                Some(Ok(payload)) => {
                    faults.take_values(&name, &payload);
                    self.take(payload, &name);
                }
                Some(Err(malformed)) => faults.take_line(&name, malformed),
                None => return Ok(faults),
            }
            if self.weight >= BATCH_BYTES {
                self.write_batch().await?;
                let last = self.files.pop();
                self.files = last.into_iter().collect();
            }
        }
    }

    /// Writes the last batch, builds the tables, and gives the result.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn finish(mut self) -> Result<Imported> {
        if !self.batch.is_empty() || !self.files.is_empty() {
            self.write_batch().await?;
        }
        for date in std::mem::take(&mut self.due) {
            self.writer.build_tables(date).await?;
        }
        self.done.writes += self.writer.writes;
        Ok(self.done)
    }

    async fn begin_file(&mut self, name: &Arc<str>, bytes: &Bytes, hash: String) -> Result<()> {
        let raw = match &mut self.raw {
            Some(raw) => raw,
            none => {
                let listed = self.writer.store.list(key::RAW_META).await?;
                none.insert(listed.into_iter().map(|entry| entry.key).collect())
            }
        };
        let ending = format!("-{}.jsonl", &hash[..32]);
        let known = raw.iter().any(|key| key.ends_with(&ending));
        self.done.known_files += u64::from(known);
        self.files.push(RawFile {
            name: Arc::clone(name),
            bytes: bytes.clone(),
            hash,
            known,
            kept: false,
        });
        Ok(())
    }

    fn take(&mut self, payload: Payload, name: &Arc<str>) {
        self.done.payloads += 1;
        let entry = LessonEntry::new(payload, name, self.now);
        self.weight += entry.weight();
        self.batch.put(entry);
    }

    async fn write_batch(&mut self) -> Result<()> {
        let latest = std::mem::take(&mut self.batch);
        self.weight = 0;
        let (changes, known) = self.changes(latest).await?;
        self.keep_files(&changes).await?;
        self.write_index(&changes).await?;
        self.mark(&changes).await?;
        self.write_changes(changes, known).await
    }

    /// Keeps the files of the batch as they came. A file that the lake has is kept again only if importing it reverts
    /// a newer value.
    async fn keep_files(&mut self, changes: &Changes) -> Result<()> {
        let day = lake::date_of(self.now, self.zone);
        let stamp = self.now.format("%Y%m%dT%H%M%S%6fZ");
        let news: BTreeSet<&Arc<str>> = changes
            .values()
            .flat_map(|change| change.put.entries().map(|entry| &entry.file))
            .collect();
        for file in &mut self.files {
            if !file.kept && (!file.known || news.contains(&file.name)) {
                let key = key::raw_meta(day, &format!("{stamp}-{}", &file.hash[..32]));
                self.writer.put(&key, file.bytes.clone(), Condition::Any).await?;
                file.kept = true;
            }
        }
        Ok(())
    }

    /// Writes a marker for the next run, which checks the days of these meetings.
    async fn mark(&mut self, changes: &Changes) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let changed = changes
            .values()
            .flat_map(|change| change.put.entries().chain(change.moved.entries()));
        let marker = Marker {
            dates: changes.keys().copied().collect(),
            meetings: changed
                .map(|entry| key::mark_text(key::mark(&entry.meeting)))
                .collect(),
        };
        let key = key::meta_changed(&format!("{}-{}", self.id, self.batches));
        self.batches += 1;
        self.writer.put(&key, to_json(&marker)?, Condition::Any).await?;
        Ok(())
    }

    /// Changes the lesson days. `known` are the dates that have, or had, some of the entries: an import that was killed may
    /// have left out their tables.
    async fn write_changes(&mut self, changes: Changes, known: BTreeSet<NaiveDate>) -> Result<()> {
        // Write all new entries, then remove those that moved to another date: an import that is killed in between leaves an
        // entry too many, which is repaired, and loses none.
        let (put, moved): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .map(|(date, LessonDayChange { put, moved })| {
                let comes = LessonDayChange {
                    put,
                    ..LessonDayChange::default()
                };
                let goes = LessonDayChange {
                    moved,
                    ..LessonDayChange::default()
                };
                ((date, comes), (date, goes))
            })
            .unzip();
        for (date, change) in put.into_iter().chain(moved) {
            if !change.is_empty() {
                self.writer.change(date, &change.into()).await?;
                self.done.dates.insert(date);
                self.due.insert(date);
            }
        }
        self.due.extend(known);
        Ok(())
    }

    /// The index of the entries' meetings, as the lake has it.
    async fn index(&self, entries: &LatestEntries) -> Result<MeetingIndex> {
        let meetings: BTreeSet<&str> = entries.entries().map(|entry| entry.meeting.as_str()).collect();
        let shards: BTreeSet<_> = meetings.iter().map(|meeting| key::meta_index(meeting)).collect();
        let mut index = MeetingIndex::new();
        for shard in shards {
            if let Some((mut part, _)) = get_json::<MeetingIndex>(self.writer.store, &shard).await? {
                part.retain(|meeting, _| meetings.contains(meeting.as_str()));
                index.extend(part);
            }
        }
        Ok(index)
    }

    /// The changes that the entries make, by date; and the dates that already have some of them.
    async fn changes(&mut self, latest: LatestEntries) -> Result<(Changes, BTreeSet<NaiveDate>)> {
        let index = self.index(&latest).await?;
        let dates: BTreeSet<NaiveDate> = index.values().flatten().copied().collect();
        let latest = Arc::new(latest);
        // An entry lies on more than one date only if an import was killed between two lesson days.
        let mut found: HashMap<(MeetingId, UserId), Vec<(NaiveDate, LessonEntry)>> = HashMap::new();
        for date in &dates {
            let Some(lesson_day) = read_lesson_day(self.writer.store, *date).await? else {
                continue;
            };
            let wanted = Arc::clone(&latest);
            let known = read_entries(*date, lesson_day.bytes, move |meeting, user| {
                wanted.get(meeting, user).is_some()
            });
            for entry in known.await? {
                let key = (entry.meeting.clone(), entry.user.clone());
                found.entry(key).or_default().push((*date, entry));
            }
        }
        let mut changes = Changes::new();
        // No lookup is left, so that the entries can be moved.
        for entry in Arc::unwrap_or_clone(latest) {
            let key = (entry.meeting.clone(), entry.user.clone());
            let found = found.remove(&key).unwrap_or_default();
            self.change(entry, found, &mut changes);
        }
        Ok((changes, dates))
    }

    /// Decides on an entry, given the ones of its user and meeting that the lake has.
    fn change(&mut self, entry: LessonEntry, found: Vec<(NaiveDate, LessonEntry)>, changes: &mut Changes) {
        let known = found
            .iter()
            .reduce(|a, b| if b.1.is_later_than(&a.1) { b } else { a });
        // The same data again is no change, and keeps its age.
        let stands = known.filter(|(_, known)| known.meta == entry.meta || !entry.is_later_than(known));
        let date = match (stands, known) {
            (Some((date, _)), _) => *date,
            (None, known) => entry.date(self.zone, known.map(|(before, _)| *before)),
        };
        let latest = stands.map_or(&entry, |(_, known)| known);
        for (before, _) in found.iter().filter(|(before, _)| *before != date) {
            changes.entry(*before).or_default().moved.put(latest.clone());
        }
        if stands.is_none() {
            self.done.changed += 1;
            changes.entry(date).or_default().put.put(entry);
        }
    }

    /// Writes the dates of the meetings' entries into the index, before the entries are there.
    async fn write_index(&mut self, changes: &Changes) -> Result<()> {
        let mut shards: BTreeMap<String, MeetingIndex> = BTreeMap::new();
        for (date, change) in changes {
            for entry in change.put.entries() {
                let shard = shards.entry(key::meta_index(&entry.meeting)).or_default();
                shard.entry(entry.meeting.to_string()).or_default().insert(*date);
            }
        }
        for (key, added) in shards {
            let merge = |index: &mut MeetingIndex| {
                for (meeting, dates) in &added {
                    index.entry(meeting.clone()).or_default().extend(dates);
                }
            };
            self.writer.update(&key, merge).await?;
        }
        Ok(())
    }
}
