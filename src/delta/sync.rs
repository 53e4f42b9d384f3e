//! Brings one Delta table up to date: a commit for each date that has changed.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::action::{Action, Add, Format, Metadata, PROTOCOL};
use super::log::{TableState, folder};
use super::plan::{DateChange, MOST_BYTES, SourceFiles, changes, date_of, tags};
use super::schema::{DATE, partition_columns, schema_string};
use super::sources::{FilesByDate, digest, source_files, source_key};
use super::statistics::statistics;
use super::{DeltaOptions, TableReport, time_since};
use crate::lake::table::Table;
use crate::status::{DayTables, day_tables};
use crate::store::{Condition, Store};
use crate::tables::merge_files;
use crate::task::isolated_blocking;
use crate::{Error, ErrorKind, Result};

/// Lost commits after which a sync gives up. The next one goes on.
pub(super) const TRIES: usize = 20;
/// Files copied or read at once.
const FILES_AT_ONCE: usize = 8;
/// Commits after which the last step of a sync writes a checkpoint, and after which one is written in between.
const CHECKPOINT_EVERY: u64 = 10;
const CHECKPOINT_BETWEEN: u64 = 100;

/// The sync of a table.
pub(super) struct TableSync<'a> {
    pub store: &'a dyn Store,
    pub table: &'a Table,
    pub options: &'a DeltaOptions,
    pub cancel: &'a CancellationToken,
    /// The start of the sync, at which the time was `options.now`.
    pub started: Instant,
}

/// The outcome of an attempt to bring a table up to date.
enum Synced {
    Whole,
    /// Some dates could not be brought up to date, for this reason.
    Behind(String),
    /// Another process has committed meanwhile, so that the state must be read again.
    Lost,
}

/// The outcome of a change that was tried.
enum Tried {
    Committed,
    /// Another process has committed the version first.
    Lost,
    /// The lake's files are not those that were planned, because they are being written.
    Moving(String),
}

impl TableSync<'_> {
    /// Brings the table up to date with the files of the days. `days` must have been listed after `state` was read: then
    /// whatever they lack has left the lake, and was not added by another process meanwhile.
    ///
    /// # Errors
    /// `Interrupted` if the sync was cancelled; else any error of the store.
    pub async fn run(&self, mut state: TableState, days: &[DayTables]) -> Result<TableReport> {
        let mut report = TableReport::new(&self.table.name);
        let mut synced = self.bring_up(&mut state, days, &mut report).await?;
        for attempt in 1..TRIES {
            let is_done = match &synced {
                Synced::Whole => true,
                Synced::Lost => false,
                // Look again once, because a run may have written the files since the days were listed.
                Synced::Behind(_) => attempt > 1,
            };
            if is_done {
                break;
            }
            state = TableState::load(self.store, &self.table.name).await?;
            let days = day_tables(self.store).await?;
            synced = self.bring_up(&mut state, &days, &mut report).await?;
        }
        report.failure = match synced {
            Synced::Whole => None,
            Synced::Behind(why) => Some(why),
            Synced::Lost => {
                let message = "other processes keep writing it";
                let error = Error::new(ErrorKind::Precondition, folder(&self.table.name), message);
                return Err(error);
            }
        };
        self.checkpoint(&mut state, CHECKPOINT_EVERY).await?;
        report.version = state.version;
        report.files = state.files.len();
        Ok(report)
    }

    /// Commits what the table lacks.
    async fn bring_up(
        &self,
        state: &mut TableState,
        days: &[DayTables],
        report: &mut TableReport,
    ) -> Result<Synced> {
        let wanted = source_files(self.store, self.table, days, state).await?;
        let planned = changes(state.files.values(), &wanted, self.options.merge_before);
        let mut head = self.definition(state);
        if planned.is_empty() && !head.is_empty() {
            let operation = if state.version.is_none() {
                "CREATE TABLE"
            } else {
                "CHANGE COLUMN"
            };
            let is_committed = state
                .commit(self.store, &self.table.name, operation, self.now(), head)
                .await?;
            report.commits += u64::from(is_committed);
            return Ok(if is_committed { Synced::Whole } else { Synced::Lost });
        }
        let mut behind = Vec::new();
        for change in planned {
            if self.cancel.is_cancelled() {
                return Err(Error::new(
                    ErrorKind::Interrupted,
                    folder(&self.table.name),
                    "stopped",
                ));
            }
            match self.apply(state, &change, &wanted, &head).await? {
                Tried::Committed => {
                    report.commits += 1;
                    head.clear();
                    self.checkpoint(state, CHECKPOINT_BETWEEN).await?;
                }
                Tried::Lost => return Ok(Synced::Lost),
                Tried::Moving(why) => behind.push(why),
            }
        }
        Ok(match behind.as_slice() {
            [] => Synced::Whole,
            [why] => Synced::Behind(why.clone()),
            [why, others @ ..] => Synced::Behind(format!("{why}, and {} other dates", others.len())),
        })
    }

    /// The actions that define the table, if the log lacks them or the schema is another one.
    fn definition(&self, state: &TableState) -> Vec<Action> {
        let schema_string = schema_string(self.table);
        let known = state.metadata.as_ref();
        if known.is_some_and(|known| known.schema_string == schema_string) {
            return Vec::new();
        }
        let metadata = Metadata {
            id: known.map_or_else(uuid, |known| known.id.clone()),
            name: Some(self.table.name.to_string()),
            description: Some(format!("A row for {}", self.table.row)),
            format: Format {
                provider: "parquet".into(),
                options: BTreeMap::new(),
            },
            schema_string,
            partition_columns: partition_columns(self.table),
            configuration: BTreeMap::new(),
            created_time: Some(self.now().timestamp_millis()),
        };
        let protocol = state.protocol.is_none().then(|| PROTOCOL.into());
        protocol.into_iter().chain([metadata.into()]).collect()
    }

    /// Makes the data files of a change and commits it, together with the actions of `head`.
    async fn apply(
        &self,
        state: &mut TableState,
        change: &DateChange,
        wanted: &FilesByDate,
        head: &[Action],
    ) -> Result<Tried> {
        let made = match change.is_merge {
            true => match self.merge(change).await? {
                Ok(add) => Ok(vec![add]),
                Err(NoMerge::Moving(why)) => Err(why),
                Err(NoMerge::Unfit(why)) => {
                    tracing::warn!(table = %self.table.name, date = ?change.date, why, "the files of a date stay apart");
                    return Box::pin(self.apply_apart(state, change.date, wanted, head)).await;
                }
            },
            false => self.copy(change).await?,
        };
        let adds = match made {
            Ok(adds) => adds,
            Err(why) => return Ok(Tried::Moving(why)),
        };
        let at = self.now();
        let removed = change.remove.iter().filter_map(|path| state.files.get(path));
        let removed = removed.map(|add| add.removed(at.timestamp_millis(), change.changes_data).into());
        let actions: Vec<Action> = head
            .iter()
            .cloned()
            .chain(removed)
            .chain(adds.iter().cloned().map(Action::from))
            .collect();
        let operation = if change.changes_data { "WRITE" } else { "OPTIMIZE" };
        if state
            .commit(self.store, &self.table.name, operation, at, actions)
            .await?
        {
            return Ok(Tried::Committed);
        }
        for add in adds {
            self.store.delete(&self.data_key(&add.path)).await?;
        }
        Ok(Tried::Lost)
    }

    /// Brings a date up to date whose files can't become one.
    async fn apply_apart(
        &self,
        state: &mut TableState,
        date: Option<NaiveDate>,
        wanted: &FilesByDate,
        head: &[Action],
    ) -> Result<Tried> {
        let of_date: Vec<Add> = state
            .files
            .values()
            .filter(|add| date_of(add) == date)
            .cloned()
            .collect();
        let wanted_now = wanted.get(&date).map(|files| (date, files.clone()));
        let planned = changes(&of_date, &wanted_now.into_iter().collect(), NaiveDate::MIN);
        match planned.into_iter().next() {
            Some(change) => self.apply(state, &change, wanted, head).await,
            None => Ok(Tried::Moving("its files stay apart".into())),
        }
    }

    /// Copies files of the plain table. The inner error says which one is not as planned.
    async fn copy(&self, change: &DateChange) -> Result<Result<Vec<Add>, String>> {
        let copies = stream::iter(change.add.clone())
            .map(|(name, file)| async move {
                let source = source_key(self.table, change.date, &name);
                let path = self.new_path(change.date, &name);
                let target = self.data_key(&path);
                match self.store.copy(&source, &target).await {
                    Err(error) if error.kind() == ErrorKind::StoreNotFound => return Ok(Err(source)),
                    done => done?,
                }
                let bytes = self.store.read(&target).await?;
                if digest(&bytes) != file.digest {
                    self.store.delete(&target).await?;
                    return Ok(Err(source));
                }
                let sources: SourceFiles = [(name, file)].into();
                Ok::<_, Error>(self.add(path, change, &sources, &bytes).map_err(|_| source))
            })
            .buffer_unordered(FILES_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        let mut adds = Vec::new();
        let mut moving = None;
        for copy in copies {
            match copy {
                Ok(add) => adds.push(add),
                Err(source) => moving = Some(format!("{source} is not the file that its manifest names")),
            }
        }
        let Some(why) = moving else { return Ok(Ok(adds)) };
        for add in adds {
            self.store.delete(&self.data_key(&add.path)).await?;
        }
        Ok(Err(why))
    }

    /// Joins files of the plain table into one data file.
    async fn merge(&self, change: &DateChange) -> Result<Result<Add, NoMerge>> {
        let read: Vec<Result<Bytes, String>> = stream::iter(change.add.clone())
            .map(|(name, file)| async move {
                let source = source_key(self.table, change.date, &name);
                match self.store.read(&source).await {
                    Ok(bytes) if digest(&bytes) == file.digest => Ok(Ok(bytes)),
                    Ok(_) => Ok(Err(source)),
                    Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(Err(source)),
                    Err(error) => Err(error),
                }
            })
            .buffered(FILES_AT_ONCE)
            .try_collect()
            .await?;
        let files = match read.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(files) => files,
            Err(source) => {
                let why = format!("{source} is not the file that its manifest names");
                return Ok(Err(NoMerge::Moving(why)));
            }
        };
        let size: usize = files.iter().map(Bytes::len).sum();
        if i64::try_from(size).unwrap_or(i64::MAX) > MOST_BYTES {
            return Ok(Err(NoMerge::Unfit("they are large enough".into())));
        }
        let table = self.table.clone();
        let merged = isolated_blocking(&self.table.name, move || Ok(merge_files(&table, files))).await?;
        let bytes = match merged {
            Ok(bytes) => bytes,
            Err(why) => return Ok(Err(NoMerge::Unfit(why))),
        };
        let path = self.new_path(change.date, "all");
        self.store
            .put(&self.data_key(&path), bytes.clone(), Condition::Any)
            .await?;
        Ok(self
            .add(path, change, &change.add, &bytes)
            .map_err(NoMerge::Unfit))
    }

    /// The action that adds a data file.
    fn add(
        &self,
        path: String,
        change: &DateChange,
        sources: &SourceFiles,
        bytes: &Bytes,
    ) -> Result<Add, String> {
        let date = change.date.map(|date| (DATE.to_owned(), Some(date.to_string())));
        Ok(Add {
            path,
            partition_values: date.into_iter().collect(),
            size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            modification_time: self.now().timestamp_millis(),
            data_change: change.changes_data,
            stats: Some(statistics(self.table, bytes)?),
            tags: Some(tags(sources)),
        })
    }

    /// The path of a new data file: it is never used again, and its time tells a vacuum how old it is.
    fn new_path(&self, date: Option<NaiveDate>, name: &str) -> String {
        let folder = date.map(|date| format!("date={date}/")).unwrap_or_default();
        // A path is decoded by readers, some of which do so twice.
        let name = match name.contains('%') {
            true => hex::encode(&Sha256::digest(name)[..12]),
            false => name.to_owned(),
        };
        let at = self.now().format("%Y%m%dT%H%M%SZ");
        format!("{folder}{name}-{at}-{:08x}.parquet", fastrand::u32(..))
    }

    fn data_key(&self, path: &str) -> String {
        format!("{}{path}", folder(&self.table.name))
    }

    async fn checkpoint(&self, state: &mut TableState, every: u64) -> Result<()> {
        let commits = state.version.map_or(0, |version| version + 1);
        let covered = state.checkpoint.map_or(0, |version| version + 1);
        if commits - covered < every {
            return Ok(());
        }
        let oldest = self
            .now()
            .checked_sub_signed(self.options.keep)
            .unwrap_or(DateTime::<Utc>::MIN_UTC);
        state.write_checkpoint(self.store, &self.table.name, oldest).await
    }

    /// The time, on from that of the run.
    fn now(&self) -> DateTime<Utc> {
        time_since(self.options, self.started)
    }
}

/// The reason why files were not joined.
enum NoMerge {
    /// A file is not the one that was planned.
    Moving(String),
    /// The files don't fit together, or are large.
    Unfit(String),
}

/// A random UUID.
fn uuid() -> String {
    let random = fastrand::u128(..);
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_random_uuid() {
        let (a, b) = (uuid(), uuid());
        assert_ne!(a, b);
        assert_eq!((a.len(), &a[14..15]), (36, "4"), "{a}");
        assert!("89ab".contains(&a[19..20]), "{a}");
        assert_eq!(a.matches('-').count(), 4);
    }
}
