//! The log of a Delta table: its state by replay, commits by put-if-absent, checkpoints.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::action::{self, Action, Add, Metadata, PROTOCOL, Protocol, Remove};
use super::checkpoint;
use crate::lake::key::DELTA;
use crate::store::{Condition, ListedObject, Store};
use crate::task::isolated_blocking;
use crate::{Error, ErrorKind, Result};

/// Commits read at once.
const READ_AT_ONCE: usize = 8;

/// The folder of a Delta table.
pub(crate) fn folder(table: &str) -> String {
    format!("{DELTA}{table}/")
}

/// The folder of its log.
pub(crate) fn log_folder(table: &str) -> String {
    format!("{DELTA}{table}/_delta_log/")
}

fn commit_key(table: &str, version: u64) -> String {
    format!("{}{version:020}.json", log_folder(table))
}

fn checkpoint_key(table: &str, version: u64) -> String {
    format!("{}{version:020}.checkpoint.parquet", log_folder(table))
}

/// The commits and checkpoints of a log, by version.
#[derive(Debug, Default)]
pub(crate) struct LogFiles {
    pub commits: BTreeMap<u64, ListedObject>,
    pub checkpoints: BTreeMap<u64, ListedObject>,
}

impl LogFiles {
    /// The commits and checkpoints among the objects of a table.
    pub fn of(table: &str, listed: impl IntoIterator<Item = ListedObject>) -> Self {
        let folder = log_folder(table);
        let mut files = Self::default();
        for object in listed {
            let Some(name) = object.key.strip_prefix(&folder) else {
                continue;
            };
            if let Some(version) = number(name, ".json") {
                files.commits.insert(version, object);
            } else if let Some(version) = number(name, ".checkpoint.parquet") {
                files.checkpoints.insert(version, object);
            }
        }
        files
    }
}

fn number(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// The state of a table at its latest version.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TableState {
    /// The latest version; `None` if there is no table.
    pub version: Option<u64>,
    /// The version of the latest checkpoint.
    pub checkpoint: Option<u64>,
    pub protocol: Option<Protocol>,
    pub metadata: Option<Metadata>,
    /// The data files of the table by path.
    pub files: BTreeMap<String, Add>,
    /// The data files that only older versions have, by path.
    pub removed: BTreeMap<String, Remove>,
}

impl TableState {
    /// Reads the state of a table from its log.
    ///
    /// # Errors
    /// `Store` if the log is damaged or another program has changed its protocol; else any error of the store.
    pub async fn load(store: &dyn Store, table: &str) -> Result<Self> {
        let files = LogFiles::of(table, store.list(&log_folder(table)).await?);
        let mut state = Self {
            checkpoint: files.checkpoints.keys().next_back().copied(),
            ..Self::default()
        };
        if let Some(version) = state.checkpoint {
            let key = checkpoint_key(table, version);
            let bytes = store.read(&key).await?;
            let actions = isolated_blocking(&key, move || Ok(checkpoint::decode(bytes))).await?;
            state.apply(version, actions.map_err(|why| damaged(&key, &why))?);
        }
        let first = state.checkpoint.map_or(0, |version| version + 1);
        let versions: BTreeSet<u64> = files
            .commits
            .keys()
            .copied()
            .filter(|version| *version >= first)
            .collect();
        let is_whole = versions
            .iter()
            .zip(first..)
            .all(|(version, expected)| *version == expected);
        if !is_whole {
            return Err(damaged(&log_folder(table), "a commit is missing"));
        }
        let mut commits = stream::iter(versions)
            .map(|version| async move {
                let key = commit_key(table, version);
                let bytes = store.read(&key).await?;
                let actions =
                    action::from_lines(&bytes).map_err(|error| damaged(&key, &error.to_string()))?;
                Ok::<_, Error>((version, actions))
            })
            .buffered(READ_AT_ONCE);
        while let Some((version, actions)) = commits.try_next().await? {
            state.apply(version, actions);
        }
        if state.version.is_some() && state.protocol != Some(PROTOCOL) {
            return Err(damaged(
                &log_folder(table),
                "another program has changed the protocol of the table",
            ));
        }
        Ok(state)
    }

    /// Applies the actions of a version.
    pub fn apply(&mut self, version: u64, actions: Vec<Action>) {
        self.version = Some(version);
        for action in actions {
            self.protocol = action.protocol.or(self.protocol);
            if let Some(metadata) = action.metadata {
                self.metadata = Some(metadata);
            }
            if let Some(remove) = action.remove {
                self.files.remove(&remove.path);
                self.removed.insert(remove.path.clone(), remove);
            }
            if let Some(add) = action.add {
                self.removed.remove(&add.path);
                self.files.insert(add.path.clone(), add);
            }
        }
    }

    /// Commits actions as the next version. Returns false if another process has committed that version first; then the
    /// state must be loaded again.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn commit(
        &mut self,
        store: &dyn Store,
        table: &str,
        operation: &str,
        at: DateTime<Utc>,
        actions: Vec<Action>,
    ) -> Result<bool> {
        let version = self.version.map_or(0, |version| version + 1);
        let info = Action {
            commit_info: Some(json!({
                "timestamp": at.timestamp_millis(),
                "operation": operation,
                "operationParameters": {},
                "engineInfo": concat!("telelake/", env!("CARGO_PKG_VERSION")),
            })),
            ..Action::default()
        };
        let lines: Vec<Action> = std::iter::once(info).chain(actions.iter().cloned()).collect();
        let text = action::to_lines(&lines).map_err(|error| fault(table, &error.to_string()))?;
        let written = store
            .put(&commit_key(table, version), text.into(), Condition::Absent)
            .await;
        match written {
            Ok(_) => {
                self.apply(version, actions);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Precondition => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a checkpoint of the latest version, without the files that were removed before `oldest`.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn write_checkpoint(
        &mut self,
        store: &dyn Store,
        table: &str,
        oldest: DateTime<Utc>,
    ) -> Result<()> {
        let Some(version) = self.version else {
            return Ok(());
        };
        let head = [
            self.protocol.map(Action::from),
            self.metadata.clone().map(Action::from),
        ];
        let is_needed = |remove: &&Remove| remove.deletion_timestamp >= Some(oldest.timestamp_millis());
        let removed = self.removed.values().filter(is_needed).cloned().map(Action::from);
        let files = self.files.values().cloned().map(Action::from);
        let actions: Vec<Action> = head.into_iter().flatten().chain(files).chain(removed).collect();
        let size = actions.len();
        let encoded = isolated_blocking(table, move || Ok(checkpoint::encode(&actions))).await?;
        let bytes = encoded.map_err(|why| fault(table, &why))?;
        // A checkpoint of a version is the same whoever writes it, so neither write needs a condition.
        store
            .put(&checkpoint_key(table, version), bytes, Condition::Any)
            .await?;
        let last = json!({"version": version, "size": size}).to_string();
        let last_key = format!("{}_last_checkpoint", log_folder(table));
        store.put(&last_key, last.into(), Condition::Any).await?;
        self.checkpoint = Some(version);
        Ok(())
    }
}

/// The error of a log that can't be used.
fn damaged(about: &str, why: &str) -> Error {
    let table = about.strip_prefix(DELTA).and_then(|rest| rest.split('/').next());
    let folder = folder(table.unwrap_or_default());
    Error::new(ErrorKind::Store, about, why).hint(format!(
        "remove {folder}; the next `telelake delta` makes the table anew"
    ))
}

fn fault(table: &str, why: &str) -> Error {
    Error::new(ErrorKind::Internal, folder(table), why)
}
