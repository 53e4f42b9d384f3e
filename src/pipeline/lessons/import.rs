//! The import of lesson data: files are kept as they came, then the latest entry of each user and meeting goes to the
//! lesson day of its date, and that date's tables are built. Needs no API.
//!
//! The order of writes makes it safe to kill an import: raw file, index, marker, lesson days, tables. Importing the same
//! file again does whatever was left out, and the marker stays until a run has checked the days of its meetings and the
//! tables of its dates. A file is imported in batches, so that memory does not grow with the number of its entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use chrono_tz::Tz;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::lake::erased::Erased;
use crate::lake::{self, key};
use crate::pipeline::cutoffs::DataKind;
use crate::pipeline::job::Command;
use crate::pipeline::lake_state::erasures::KnownErasures;
use crate::pipeline::lake_state::info::StoreInfo;
use crate::pipeline::lake_state::lease;
use crate::pipeline::lake_state::lease::Lease;
use crate::pipeline::lessons::index::IndexParts;
use crate::pipeline::lessons::lake::LessonLake;
use crate::pipeline::lessons::lesson_days::{
    AT_ONCE, LessonDayWriter, blocking, read_entries, read_lesson_day,
};
use crate::pipeline::lessons::meta_file::{Batch, FileFaults, FileReader, MetaFile, Unread};
use crate::pipeline::retention::state::RetentionState;
use crate::store::json::{get_json, to_json};
use crate::store::{Condition, Store};
use crate::tables::lessons::{EntryFate, LatestEntries, LessonDayChange, LessonEntry};
use crate::tables::{self, PrivacyPolicy, Traces};

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Files given.
    pub files: u64,
    /// Files that the lake already had.
    pub known_files: u64,
    /// Payloads in all.
    pub payloads: u64,
    /// Payloads of people who were erased from the lake. They were left out.
    pub erased: u64,
    /// The files that had such payloads, without them.
    #[serde(skip)]
    pub cleaned: Vec<Bytes>,
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
    /// The keys of its markers: the days of the lesson data that has changed are to be built again.
    #[serde(skip)]
    pub markers: Vec<String>,
}

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
/// Any error of the store; importing the same files again finishes the import. `Config` if the lake has another time zone, or pseudonyms by
/// another key.
pub async fn import_meta(
    store: &dyn Store,
    zone: Tz,
    now: DateTime<Utc>,
    privacy: &PrivacyPolicy,
    files: Vec<MetaFile>,
) -> Result<Imported> {
    let (info, created) = StoreInfo::open_or_create(store, zone, privacy, now).await?;
    let conditional = info.conditional_writes;
    let erasures = Arc::new(KnownErasures::default());
    erasures.read(store, info.erasures).await?;
    let importing = async {
        let mut import = Import::new(store, zone, now, privacy, &erasures);
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
pub(crate) async fn take_embedded(lake: &LessonLake, entries: Vec<LessonEntry>) -> Result<Imported> {
    let mut import = Import::new(&*lake.store, lake.zone, lake.now, &lake.privacy, &lake.erasures);
    let entries = entries
        .into_iter()
        .filter_map(|entry| import.without_erased(entry));
    let entries = entries.collect::<Vec<_>>();
    let compared = import.compare(entries.into_iter().collect()).await?;
    write_index(&import.writer, &compared.changes, compared.index).await?;
    import.write_changes(compared.changes, compared.dates).await?;
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
    /// The latest entries by meeting and user that are not yet written.
    batch: Batch,
    /// The files that the batch comes from.
    files: Vec<RawFile>,
    /// The keys of the raw files in the lake, listed when first needed.
    raw: Option<Vec<String>>,
    /// The lesson data that the lake has deleted on purpose, read when first needed.
    retention: Option<RetentionState>,
    /// The first date of which lesson data is kept; none: all dates.
    kept_from: Option<NaiveDate>,
    /// The dates whose tables are built at the end: once, however many batches change them.
    due: BTreeSet<NaiveDate>,
    batches: u32,
    erasures: Arc<KnownErasures>,
    /// The people who were left out of what is not written yet.
    left_out: Arc<Erased>,
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

/// A batch compared with the lake.
struct Compared {
    changes: Changes,
    /// The dates that have, or had, some of the entries.
    dates: BTreeSet<NaiveDate>,
    index: IndexParts,
}

impl<'a> Import<'a> {
    /// An import that leaves out the people who were erased.
    pub fn new(
        store: &'a dyn Store,
        zone: Tz,
        now: DateTime<Utc>,
        privacy: &PrivacyPolicy,
        erasures: &Arc<KnownErasures>,
    ) -> Self {
        Self {
            writer: LessonDayWriter::new(store, privacy),
            zone,
            now: now.trunc_subsecs(6),
            id: format!(
                "{}-{:06x}",
                now.format("%Y%m%dT%H%M%S%6fZ"),
                fastrand::u32(..0x0100_0000)
            ),
            done: Imported::default(),
            batch: Batch::default(),
            files: Vec::new(),
            raw: None,
            retention: None,
            kept_from: None,
            due: BTreeSet::new(),
            batches: 0,
            erasures: Arc::clone(erasures),
            left_out: erasures.get(),
        }
    }

    /// Imports a file and reports what can't be read of it. Entries left in the batch are written with the next file, or by
    /// [`Import::finish`].
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn add(&mut self, file: MetaFile) -> Result<FileFaults> {
        self.done.files += 1;
        let original = file.bytes.clone();
        let file = self.clean(file).await?;
        let mut reader = FileReader::new(&file, original, self.now);
        loop {
            let mut batch = std::mem::take(&mut self.batch);
            (reader, self.batch) = blocking(move || {
                reader.fill(&mut batch);
                Ok((reader, batch))
            })
            .await?;
            if let Some(hash) = reader.take_hash() {
                self.begin_file(&reader.name, &file.bytes, hash).await?;
            }
            if self.batch.is_full() {
                self.write_batch().await?;
                let last = self.files.pop();
                self.files = last.into_iter().collect();
            }
            if reader.is_at_end {
                self.done.payloads += reader.payloads_read;
                return Ok(reader.faults);
            }
        }
    }

    /// Writes the last batch, builds the tables, and gives the result.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn finish(mut self) -> Result<Imported> {
        if !self.batch.entries.is_empty() || !self.files.is_empty() {
            self.write_batch().await?;
        }
        self.writer.build_all(std::mem::take(&mut self.due)).await?;
        self.done.writes += self.writer.writes();
        Ok(self.done)
    }

    /// The file without the people who were erased.
    async fn clean(&mut self, mut file: MetaFile) -> Result<MetaFile> {
        let erased = Arc::clone(&self.left_out);
        if erased.is_empty() {
            return Ok(file);
        }
        let bytes = file.bytes.clone();
        let cleaned =
            blocking(move || Ok(tables::erase_meta_file(&bytes, &erased, &mut Traces::default()))).await?;
        if let Some(cleaned) = cleaned {
            self.done.erased += cleaned.payloads;
            file.bytes = cleaned.bytes.into();
            self.done.cleaned.push(file.bytes.clone());
        }
        Ok(file)
    }

    /// An entry without the people who were erased; none if it is about one of them.
    fn without_erased(&self, mut entry: LessonEntry) -> Option<LessonEntry> {
        let erased = &self.left_out;
        let fate = match erased.is_empty() {
            true => EntryFate::Stays,
            false => tables::erase_entry(&mut entry, erased, &mut Traces::default()),
        };
        (fate != EntryFate::Goes).then_some(entry)
    }

    /// Leaves the people of an erasure that was begun since the batch was read out of it.
    async fn follow_erasures(&mut self) -> Result<()> {
        self.erasures.refresh(self.writer.store).await?;
        let known = self.erasures.get();
        if Arc::ptr_eq(&known, &self.left_out) {
            return Ok(());
        }
        self.left_out = known;
        let entries = std::mem::take(&mut self.batch.entries).into_entries();
        self.batch.entries = entries.filter_map(|entry| self.without_erased(entry)).collect();
        for mut file in std::mem::take(&mut self.files) {
            let meta = MetaFile {
                name: file.name.to_string(),
                bytes: file.bytes,
            };
            file.bytes = self.clean(meta).await?.bytes;
            self.files.push(file);
        }
        Ok(())
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
        let is_there = raw.iter().any(|key| key.ends_with(&ending));
        let known = is_there || self.retention().await?.meta_files.contains(&hash[..32]);
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

    async fn retention(&mut self) -> Result<&RetentionState> {
        let known = match self.retention.take() {
            Some(known) => known,
            None => RetentionState::read(self.writer.store).await?,
        };
        Ok(self.retention.insert(known))
    }

    async fn write_batch(&mut self) -> Result<()> {
        self.follow_erasures().await?;
        let latest = std::mem::take(&mut self.batch).entries;
        let compared = self.compare(latest).await?;
        self.keep_files(&compared.changes).await?;
        write_index(&self.writer, &compared.changes, compared.index).await?;
        self.mark(&compared.changes).await?;
        self.write_changes(compared.changes, compared.dates).await
    }

    /// Keeps the files of the batch as they came. A file that the lake has is kept again only if importing it reverts
    /// a newer value.
    async fn keep_files(&mut self, changes: &Changes) -> Result<()> {
        let day = lake::date_of(self.now, self.zone);
        let stamp = self.now.format("%Y%m%dT%H%M%S%6fZ");
        let is_news = |file: &RawFile| {
            let mut changed = changes.values().flat_map(|change| change.put.entries());
            changed.any(|entry| entry.file == file.name)
        };
        for file in &mut self.files {
            if !file.kept && (!file.known || is_news(file)) {
                let key = key::raw_meta(day, &format!("{stamp}-{}", &file.hash[..32]));
                let digest = hex::encode(Sha256::digest(&file.bytes));
                let erased = (digest != file.hash).then(|| key::erased_raw_meta(&key, &digest));
                let key = erased.flatten().unwrap_or(key);
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
        let changed = changes.values();
        let changed = changed.flat_map(|change| change.put.meetings().chain(change.moved.meetings()));
        let marker = Marker {
            dates: changes.keys().copied().collect(),
            meetings: changed
                .map(|meeting| key::mark_text(key::mark(meeting)))
                .collect(),
        };
        let key = key::meta_changed(&format!("{}-{}", self.id, self.batches));
        self.batches += 1;
        self.writer.put(&key, to_json(&marker)?, Condition::Any).await?;
        self.done.markers.push(key);
        Ok(())
    }

    /// Changes the lesson days. `known` are the dates that have, or had, some of the entries: an import that was killed may
    /// have left out their tables.
    async fn write_changes(&mut self, changes: Changes, known: BTreeSet<NaiveDate>) -> Result<()> {
        self.done.dates.extend(changes.keys());
        self.due.extend(changes.keys());
        self.due.extend(known);
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
        for mut changes in [put, moved] {
            changes.retain(|(_, change)| !change.is_empty());
            self.writer.change_all(changes).await?;
        }
        Ok(())
    }

    /// Compares the entries with those that the lake has of the same users and meetings.
    async fn compare(&mut self, latest: LatestEntries) -> Result<Compared> {
        self.kept_from = self.retention().await?.kept_from(DataKind::Tables);
        let index = IndexParts::read(&self.writer, &latest).await?;
        let dates = index.dates(&latest);
        let latest = Arc::new(latest);
        let mut found: Vec<(NaiveDate, LessonEntry)> = stream::iter(dates.clone())
            .map(|date| known_entries(&self.writer, date, Arc::clone(&latest)))
            .buffered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?
            .into_iter()
            .flatten()
            .collect();
        // The entries come in this order too. The sort is stable, so that the dates of one entry stay in order.
        found.sort_by(|(_, a), (_, b)| (&a.meeting, &a.user).cmp(&(&b.meeting, &b.user)));
        let mut found = found.into_iter().peekable();
        let mut changes = Changes::new();
        // No lookup is left, so that the entries can be moved.
        for entry in Arc::unwrap_or_clone(latest).into_entries() {
            let mut of_entry = Vec::new();
            let is_same = |(_, known): &(_, LessonEntry)| {
                (&known.meeting, &known.user) == (&entry.meeting, &entry.user)
            };
            while let Some(known) = found.next_if(is_same) {
                of_entry.push(known);
            }
            self.change(entry, of_entry, &mut changes);
        }
        Ok(Compared {
            changes,
            dates,
            index,
        })
    }

    /// Decides on an entry, given the ones of its user and meeting that the lake has. There is more than one only if an
    /// import was killed between two lesson days.
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
        // The lake has deleted earlier dates, and nothing brings them back.
        if stands.is_none() && self.kept_from.is_none_or(|first| first <= date) {
            self.done.changed += 1;
            changes.entry(date).or_default().put.put(entry);
        }
    }
}

/// The entries of a date's lesson day that have the users and meetings of others.
async fn known_entries(
    writer: &LessonDayWriter<'_>,
    date: NaiveDate,
    wanted: Arc<LatestEntries>,
) -> Result<Vec<(NaiveDate, LessonEntry)>> {
    let Some(lesson_day) = read_lesson_day(writer.store, date).await? else {
        return Ok(Vec::new());
    };
    let is_wanted = move |meeting: &str, user: &str| wanted.get(meeting, user).is_some();
    let known = read_entries(date, lesson_day.bytes, is_wanted).await?;
    Ok(known.into_iter().map(|entry| (date, entry)).collect())
}

/// Writes the dates of the meetings' entries into the index, before the entries are there.
async fn write_index(writer: &LessonDayWriter<'_>, changes: &Changes, index: IndexParts) -> Result<()> {
    let added = changes.iter().flat_map(|(date, change)| {
        let meetings = change.put.meetings();
        meetings.map(move |meeting| (meeting, *date))
    });
    index.lacking(added).write(writer).await
}
