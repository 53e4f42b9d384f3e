//! The erasures of a lake: the tombstones that every landing, import and build obeys, and the record of what was destroyed.
//!
//! `_telelake/erasures/<id>.json` is the record of an erasure. It is written before anything is destroyed, so that a process
//! that lands or imports at the same time knows the tombstones. Records hold keyed hashes and counts, and no personal data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::info;
use crate::lake::erased::{Erased, Tombstone};
use crate::lake::key;
use crate::pseudonym::PseudonymKey;
use crate::store::json::{get_json, to_json};
use crate::store::{Condition, Store};
use crate::{Error, ErrorKind, Result};

/// Bytes of the random part of the key.
const SALT_BYTES: usize = 32;

/// The key of a lake's tombstones. Whoever reads it can test if a given id was erased.
#[derive(Serialize, Deserialize)]
struct Salt {
    salt: String,
}

/// What becomes of the recordings of calls that an erased person took part in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RecordingChoice {
    /// They are listed for a human.
    #[default]
    List,
    /// They are deleted.
    Delete,
}

/// What an erasure destroyed of a day. `rows_before` is written before the day is touched, so that a kill loses no count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DayErasure {
    /// Raw reports that were written anew.
    pub reports: u64,
    /// Recordings that were deleted.
    pub recordings: u64,
    /// The calls in which the people took part.
    pub calls: BTreeSet<String>,
    /// Rows of each table before the erasure.
    pub rows_before: BTreeMap<String, u64>,
    /// Rows of each table after it.
    pub rows_after: BTreeMap<String, u64>,
    /// True if all that was planned is done.
    pub is_done: bool,
}

impl DayErasure {
    /// The rows that were destroyed, by table.
    pub fn rows(&self) -> BTreeMap<&str, u64> {
        let rows = self.rows_before.iter().map(|(table, before)| {
            let after = self.rows_after.get(table).copied().unwrap_or(0);
            (table.as_str(), before.saturating_sub(after))
        });
        rows.filter(|(_, rows)| *rows > 0).collect()
    }
}

/// Something that an erasure leaves to a human.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftToHuman {
    /// The kind: `mention`, `recording`, `versions`, `unreadable`.
    pub kind: String,
    /// Where it is: keys of objects, places in them.
    pub place: String,
    /// What it is, and what can be done.
    pub note: String,
}

/// The record of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Its id.
    pub id: String,
    /// When it began.
    pub begun_at: DateTime<Utc>,
    /// When everything was destroyed; none while it is not done.
    #[serde(default)]
    pub ended_at: Option<DateTime<Utc>>,
    /// The name of the operator, if one was given.
    #[serde(default)]
    pub operator: Option<String>,
    /// The version of the program.
    pub program: String,
    /// The ids of the runs that worked on it.
    #[serde(default)]
    pub runs: BTreeSet<String>,
    /// The tombstones.
    pub people: BTreeSet<Tombstone>,
    /// What became of recordings.
    pub recordings: RecordingChoice,
    /// The days that were touched, by `date|space`.
    #[serde(default)]
    pub days: BTreeMap<String, DayErasure>,
    /// Other objects that were written anew or deleted, by kind.
    #[serde(default)]
    pub objects: BTreeMap<String, u64>,
    /// Rows of the tables that have a file for each date, by table and date.
    #[serde(default)]
    pub dates: BTreeMap<String, DayErasure>,
    /// What is left to a human.
    #[serde(default)]
    pub left: BTreeSet<LeftToHuman>,
    /// The keys of objects that were written anew or deleted, until their old versions are gone too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub touched: BTreeSet<String>,
}

/// The key of a lake's tombstones, which is made if there is none.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn tombstone_key(store: &dyn Store) -> Result<PseudonymKey> {
    let salt = match get_json::<Salt>(store, key::ERASURE_SALT).await? {
        Some((salt, _)) => salt,
        None => {
            let erasures = all(store).await?.len();
            if erasures > 0 {
                return Err(lost_key(erasures));
            }
            make_salt(store).await?
        }
    };
    Ok(PseudonymKey::new(salt.salt.as_bytes()))
}

async fn make_salt(store: &dyn Store) -> Result<Salt> {
    let mut bytes = [0; SALT_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Internal, "random numbers", error.to_string()))?;
    let salt = Salt {
        salt: hex::encode(bytes),
    };
    match store
        .put(key::ERASURE_SALT, to_json(&salt)?, Condition::Absent)
        .await
    {
        Ok(_) => Ok(salt),
        Err(error) if error.kind() == ErrorKind::Precondition => {
            let made = get_json::<Salt>(store, key::ERASURE_SALT).await?;
            made.map(|(salt, _)| salt).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// The records of all erasures, the earliest first.
///
/// # Errors
/// Any error of the store, also if a record is damaged: without it nobody knows who was erased.
pub(crate) async fn all(store: &dyn Store) -> Result<Vec<Erasure>> {
    let mut erasures = Vec::new();
    for object in store.list(key::ERASURES).await? {
        if object.key != key::ERASURE_SALT
            && let Some((erasure, _)) = get_json::<Erasure>(store, &object.key).await?
        {
            erasures.push(erasure);
        }
    }
    erasures.sort_by(|a, b| (a.begun_at, &a.id).cmp(&(b.begun_at, &b.id)));
    Ok(erasures)
}

/// The error of a lake whose tombstones can't be tested, because their key is gone.
fn lost_key(erasures: usize) -> Error {
    let why = format!("is missing, and nobody can tell without it who was erased by {erasures} erasures");
    Error::new(ErrorKind::Store, key::ERASURE_SALT, why)
        .hint("restore it from a copy of the lake; without one, move the records beside it away and erase the people again")
}

/// The tombstones of a lake, and the ids of erasures that did not end.
#[derive(Clone, Default)]
struct Tombstones {
    erased: Arc<Erased>,
    unfinished: Vec<String>,
}

/// Reads the tombstones of a lake.
///
/// # Errors
/// `Store` if their key is gone, or a record is damaged; any error of the store.
async fn tombstones(store: &dyn Store) -> Result<Tombstones> {
    let erasures = all(store).await?;
    let Some((salt, _)) = get_json::<Salt>(store, key::ERASURE_SALT).await? else {
        return match erasures.len() {
            0 => Ok(Tombstones::default()),
            count => Err(lost_key(count)),
        };
    };
    let is_open = |erasure: &&Erasure| erasure.ended_at.is_none();
    Ok(Tombstones {
        unfinished: erasures
            .iter()
            .filter(is_open)
            .map(|erasure| erasure.id.clone())
            .collect(),
        erased: Arc::new(Erased::new(
            PseudonymKey::new(salt.salt.as_bytes()),
            erasures.into_iter().flat_map(|erasure| erasure.people),
        )),
    })
}

/// The tombstones as a process knows them.
#[derive(Default)]
pub(crate) struct KnownErasures {
    /// The number of erasures that were begun when they were read, and the tombstones.
    known: Mutex<(u64, Tombstones)>,
    /// The number of erasures that were begun before this process began its work.
    before: OnceLock<u64>,
}

impl KnownErasures {
    /// The tombstones that are known.
    pub fn get(&self) -> Arc<Erased> {
        Arc::clone(&self.known.lock().1.erased)
    }

    /// The ids of erasures that had not ended when the tombstones were read.
    pub fn unfinished(&self) -> Vec<String> {
        self.known.lock().1.unfinished.clone()
    }

    /// The number of erasures that were begun before this process began its work.
    pub fn before(&self) -> u64 {
        self.before.get().copied().unwrap_or(0)
    }

    /// Reads the tombstones again if more erasures were begun than are known.
    ///
    /// # Errors
    /// Any error of the store, also if a record is damaged.
    pub async fn read(&self, store: &dyn Store, begun: u64) -> Result<()> {
        if self.known.lock().0 < begun {
            let tombstones = tombstones(store).await?;
            *self.known.lock() = (begun, tombstones);
        }
        self.before.get_or_init(|| begun);
        Ok(())
    }

    /// Asks the lake how many erasures were begun, and reads the tombstones of those that are not known.
    ///
    /// # Errors
    /// Any error of the store, also if a record is damaged.
    pub async fn refresh(&self, store: &dyn Store) -> Result<u64> {
        let info = info::read(store).await?;
        let begun = info.map_or(0, |info| info.erasures);
        self.read(store, begun).await?;
        Ok(begun)
    }
}
