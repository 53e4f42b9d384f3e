//! Meta into the lake: files are kept as they came, then the latest of each user and meeting is put on the shelf of
//! its date, and that date's tables are built. Needs no API.
//!
//! Order makes it safe to be killed: raw file, index, markers, shelves, tables. Whatever is left out, the same file
//! brings again, and the markers stay until a run has looked at the days around and at the tables of their dates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use chrono_tz::Tz;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::lease::{self, Lease};
use super::opened::{OpenedStore, get_json, to_json};
use super::workshop::Workshop;
use crate::build::TableFile;
use crate::build::meta::{Entry, Payload, Shelf, build_meta_tables};
use crate::lake::{self, key};
use crate::store::{Condition, Object, Store, Version};
use crate::{Error, ErrorKind, Result};

/// Lost conditional writes after which an import gives up.
const TRIES: usize = 20;

/// A meta file that was read and parsed.
#[derive(Debug)]
pub struct MetaFile {
    /// What it is called: files that come at once are ordered by it.
    pub name: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// What they say.
    pub payloads: Vec<Payload>,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Files given.
    pub files: u64,
    /// Files that the lake had already.
    pub known_files: u64,
    /// Payloads in all.
    pub payloads: u64,
    /// Users of meetings whose meta is new or has changed.
    pub changed: u64,
    /// The dates of which tables were built.
    pub dates: BTreeSet<NaiveDate>,
    /// Objects written or removed.
    pub writes: u64,
}

/// Which dates have meta of each meeting; a date too many does no harm.
type Index = BTreeMap<String, BTreeSet<NaiveDate>>;

/// Takes meta files into the lake.
///
/// # Errors
/// Of the store; the same files again finish the import. `Config` when the lake is of another timezone.
pub async fn import_meta(
    store: &dyn Store,
    zone: Tz,
    now: DateTime<Utc>,
    files: Vec<MetaFile>,
) -> Result<Imported> {
    let (opened, created) = OpenedStore::open_in(store, zone, now).await?;
    let conditional = opened.info.conditional_writes;
    let importing = import_held(store, zone, now, conditional, files);
    let mut done = if conditional {
        importing.await?
    } else {
        let lease = Lease::take(store, "meta import", Utc::now(), &CancellationToken::new()).await?;
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

/// The same for one that writes already: a run's own import.
pub(super) async fn import_held(
    store: &dyn Store,
    zone: Tz,
    now: DateTime<Utc>,
    conditional: bool,
    files: Vec<MetaFile>,
) -> Result<Imported> {
    let mut import = Import::new(store, zone, now, conditional);
    import.take(files).await?;
    Ok(import.done)
}

/// Takes in what reports hold; their bytes lie in the lake already.
pub(super) async fn take_embedded(
    store: &dyn Store,
    zone: Tz,
    now: DateTime<Utc>,
    conditional: bool,
    entries: Vec<Entry>,
) -> Result<Imported> {
    let mut import = Import::new(store, zone, now, conditional);
    let latest = Shelf::from(entries);
    let index = import.index(&latest).await?;
    let changes = import.changes(latest, &index).await?;
    import.write_index(&changes).await?;
    import.shelve_all(changes).await?;
    Ok(import.done)
}

/// Builds the tables of a date's meta where they are not of its shelf: an import may have been killed before them.
pub(super) async fn mend(context: &Workshop, date: NaiveDate) -> Result<()> {
    let conditional = context.conditional.load(Ordering::Relaxed);
    let mut import = Import::new(&*context.store, context.config.timezone, context.now, conditional);
    let mended = import.shelve(date, &Change::default()).await;
    context.writes.fetch_add(import.done.writes, Ordering::Relaxed);
    mended
}

struct Import<'a> {
    store: &'a dyn Store,
    zone: Tz,
    now: DateTime<Utc>,
    conditional: bool,
    id: String,
    done: Imported,
    /// The dates on which what came lies already, or lay. An import that was killed may have left out their tables.
    known: BTreeSet<NaiveDate>,
}

/// What an import does to a date.
#[derive(Default)]
struct Change {
    put: Vec<Entry>,
    /// Entries that take the place of this date's on another one.
    moved: Vec<Entry>,
}

impl<'a> Import<'a> {
    fn new(store: &'a dyn Store, zone: Tz, now: DateTime<Utc>, conditional: bool) -> Self {
        Self {
            store,
            zone,
            now: now.trunc_subsecs(6),
            conditional,
            id: format!(
                "{}-{:06x}",
                now.format("%Y%m%dT%H%M%S%6fZ"),
                fastrand::u32(..0x0100_0000)
            ),
            done: Imported::default(),
            known: BTreeSet::new(),
        }
    }

    async fn take(&mut self, files: Vec<MetaFile>) -> Result<()> {
        let raw = self.store.list(key::RAW_META).await?;
        // The latest of what came, by meeting and user.
        let mut latest = Shelf::default();
        let mut bodies = Vec::new();
        for file in files {
            self.done.files += 1;
            self.done.payloads += file.payloads.len() as u64;
            let hash = hex::encode(Sha256::digest(&file.bytes));
            let known = raw
                .iter()
                .any(|entry| entry.key.ends_with(&format!("-{}.jsonl", &hash[..32])));
            self.done.known_files += u64::from(known);
            let entries: Vec<_> = file
                .payloads
                .into_iter()
                .map(|payload| Entry::new(payload, &file.name, self.now))
                .collect();
            bodies.push((known, hash, file.name, file.bytes));
            for entry in entries {
                latest.put(entry);
            }
        }
        let index = self.index(&latest).await?;
        let changes = self.changes(latest, &index).await?;
        let day = lake::date_of(self.now, self.zone);
        let stamp = self.now.format("%Y%m%dT%H%M%S%6fZ");
        for (known, hash, name, bytes) in bodies {
            // One that the lake has is kept again only where it undoes a later one.
            let mut news = changes.values().flat_map(|change| &change.put);
            if !known || news.any(|entry| entry.file == name) {
                let key = key::raw_meta(day, &format!("{stamp}-{}", &hash[..32]));
                self.put(&key, bytes, Condition::Any).await?;
            }
        }
        self.write_index(&changes).await?;
        for date in changes.keys() {
            let marker = key::meta_changed(*date, &self.id);
            self.put(&marker, Bytes::new(), Condition::Any).await?;
        }
        self.shelve_all(changes).await
    }

    async fn shelve_all(&mut self, changes: BTreeMap<NaiveDate, Change>) -> Result<()> {
        // First all that comes, then what goes elsewhere: killed in between, one too many is mended, and none is lost.
        let (put, moved): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .map(|(date, Change { put, moved })| {
                let comes = Change {
                    put,
                    ..Change::default()
                };
                let goes = Change {
                    moved,
                    ..Change::default()
                };
                ((date, comes), (date, goes))
            })
            .unzip();
        for (date, change) in put.into_iter().chain(moved) {
            if !change.put.is_empty() || !change.moved.is_empty() {
                self.shelve(date, &change).await?;
                self.known.remove(&date);
                self.done.dates.insert(date);
            }
        }
        for date in std::mem::take(&mut self.known) {
            self.shelve(date, &Change::default()).await?;
        }
        Ok(())
    }

    /// The dates that the lake has of some entries' meetings.
    async fn index(&self, entries: &Shelf) -> Result<Index> {
        let shards: BTreeSet<_> = entries
            .entries()
            .map(|entry| key::meta_index(&entry.meeting))
            .collect();
        let mut index = Index::new();
        for shard in shards {
            if let Some((part, _)) = get_json::<Index>(self.store, &shard).await? {
                index.extend(part);
            }
        }
        Ok(index)
    }

    /// What is new of what came, by date.
    async fn changes(&mut self, latest: Shelf, index: &Index) -> Result<BTreeMap<NaiveDate, Change>> {
        let mut shelves: BTreeMap<NaiveDate, Shelf> = BTreeMap::new();
        let mut changes: BTreeMap<NaiveDate, Change> = BTreeMap::new();
        for entry in Vec::from(latest) {
            let dates = index.get(&entry.meeting).into_iter().flatten();
            self.known.extend(dates.clone());
            for date in dates.clone() {
                if !shelves.contains_key(date) {
                    let shelf = get_json::<Shelf>(self.store, &key::meta_shelf(*date)).await?;
                    shelves.insert(*date, shelf.map(|(shelf, _)| shelf).unwrap_or_default());
                }
            }
            // More than one only where an import was killed between two shelves.
            let found: Vec<(NaiveDate, &Entry)> = dates
                .filter_map(|date| Some((*date, shelves.get(date)?.get(&entry.meeting, &entry.user)?)))
                .collect();
            let known = found
                .iter()
                .copied()
                .reduce(|a, b| if b.1.is_later_than(a.1) { b } else { a });
            // The same again is no news, and stays as old as it is.
            let stands = known
                .filter(|(_, known)| known.meta == entry.meta || !entry.is_later_than(known))
                .map(|(date, known)| (date, known.clone()));
            let (date, latest) = if let Some((date, known)) = stands {
                (date, known)
            } else {
                self.done.changed += 1;
                let date = entry.date(self.zone, known.map(|(before, _)| before));
                changes.entry(date).or_default().put.push(entry.clone());
                (date, entry.clone())
            };
            for (before, _) in found.into_iter().filter(|(before, _)| *before != date) {
                changes.entry(before).or_default().moved.push(latest.clone());
            }
        }
        Ok(changes)
    }

    /// Writes down where the meetings' meta lies, before it lies there.
    async fn write_index(&mut self, changes: &BTreeMap<NaiveDate, Change>) -> Result<()> {
        let mut shards: BTreeMap<String, Index> = BTreeMap::new();
        for (date, change) in changes {
            for entry in &change.put {
                let shard = shards.entry(key::meta_index(&entry.meeting)).or_default();
                shard.entry(entry.meeting.clone()).or_default().insert(*date);
            }
        }
        for (key, added) in shards {
            let merge = |index: &mut Index| {
                for (meeting, dates) in &added {
                    index.entry(meeting.clone()).or_default().extend(dates);
                }
            };
            self.update(&key, merge).await?;
        }
        Ok(())
    }

    /// Changes a date's shelf and builds its tables, until no other process has changed it meanwhile.
    async fn shelve(&mut self, date: NaiveDate, change: &Change) -> Result<()> {
        let shelf_key = key::meta_shelf(date);
        for _ in 0..TRIES {
            // Before the shelf: whoever writes over a table saw it before the shelf that its own is made of, so that
            // of two the one with the later shelf wins.
            let seen = self.tables(date).await?;
            let (shelf, version) = self
                .update(&shelf_key, |shelf: &mut Shelf| {
                    for entry in &change.put {
                        shelf.put(entry.clone());
                    }
                    for entry in &change.moved {
                        let later = shelf
                            .get(&entry.meeting, &entry.user)
                            .is_some_and(|known| entry.is_later_than(known));
                        if later {
                            shelf.remove(&entry.meeting, &entry.user);
                        }
                    }
                })
                .await?;
            match self.put_tables(build_meta_tables(date, &shelf)?, seen).await {
                Err(error) if error.kind() == ErrorKind::Precondition => continue,
                done => done?,
            }
            let now = get_json::<Shelf>(self.store, &shelf_key).await?;
            if now.map(|(_, version)| version) == version {
                return Ok(());
            }
        }
        Err(busy(&shelf_key))
    }

    /// The tables of a date as they lie there.
    async fn tables(&self, date: NaiveDate) -> Result<BTreeMap<String, Option<Object>>> {
        let mut seen = BTreeMap::new();
        for table in ["user_meta", "hierarchy"] {
            let key = key::table(table, date, table);
            let object = match self.store.get(&key).await {
                Ok(object) => Some(object),
                Err(error) if error.kind() == ErrorKind::StoreNotFound => None,
                Err(error) => return Err(error),
            };
            seen.insert(key, object);
        }
        Ok(seen)
    }

    /// Writes tables where they are not there yet, over what was seen and nothing else.
    async fn put_tables(
        &mut self,
        files: Vec<TableFile>,
        mut seen: BTreeMap<String, Option<Object>>,
    ) -> Result<()> {
        for file in files {
            match seen.remove(&file.key).flatten() {
                Some(object) if object.bytes == file.bytes => {}
                object => {
                    let condition =
                        object.map_or(Condition::Absent, |object| Condition::Unchanged(object.version));
                    self.put(&file.key, file.bytes, condition).await?;
                }
            }
        }
        for (key, object) in seen {
            if object.is_some() {
                self.store.delete(&key).await?;
                self.done.writes += 1;
            }
        }
        Ok(())
    }

    /// Changes one of the program's own objects under a condition, again and again until no other process was faster.
    async fn update<T>(&mut self, key: &str, change: impl Fn(&mut T)) -> Result<(T, Option<Version>)>
    where
        T: Default + Clone + PartialEq + Serialize + serde::de::DeserializeOwned,
    {
        for _ in 0..TRIES {
            let (before, version) = match get_json::<T>(self.store, key).await? {
                Some((value, version)) => (value, Some(version)),
                None => (T::default(), None),
            };
            let mut after = before.clone();
            change(&mut after);
            if after == before {
                return Ok((after, version));
            }
            let condition = version.map_or(Condition::Absent, Condition::Unchanged);
            match self.put(key, to_json(&after)?, condition).await {
                Ok(version) => return Ok((after, Some(version))),
                Err(error) if error.kind() == ErrorKind::Precondition => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy(key))
    }

    async fn put(&mut self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        let condition = if self.conditional {
            condition
        } else {
            Condition::Any
        };
        self.done.writes += 1;
        self.store.put(key, bytes, condition).await
    }
}

fn busy(key: &str) -> Error {
    Error::new(
        ErrorKind::Precondition,
        key,
        "other processes keep changing it; import the file again",
    )
}
