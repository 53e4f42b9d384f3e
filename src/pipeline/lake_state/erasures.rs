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

/// The key that tombstones were made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TombstoneKey {
    /// The random part that the lake keeps: whoever reads it can test ids.
    Lake,
    /// The same, together with the key of `privacy.key_file`.
    Privacy,
}

/// The random part of the key of tombstones, as the lake keeps it.
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
    /// Rows of each table before the erasure.
    pub rows_before: BTreeMap<String, u64>,
    /// Rows of each table after it.
    pub rows_after: BTreeMap<String, u64>,
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
    /// The key of the tombstones.
    pub key: TombstoneKey,
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
}

/// The keys of a lake's tombstones.
pub(crate) struct TombstoneKeys {
    of_lake: PseudonymKey,
    /// None if no `privacy.key_file` is configured.
    of_privacy: Option<PseudonymKey>,
}

impl TombstoneKeys {
    /// Reads the keys; makes the random part if there is none and `make` is set. None if there is none.
    async fn read(store: &dyn Store, secret: Option<&PseudonymKey>, make: bool) -> Result<Option<Self>> {
        let salt = match get_json::<Salt>(store, key::ERASURE_SALT).await? {
            Some((salt, _)) => salt,
            None if make => make_salt(store).await?,
            None => return Ok(None),
        };
        let keyed = secret.map(|key| key.of(&format!("erasure\0{}", salt.salt)));
        Ok(Some(Self {
            of_lake: PseudonymKey::new(salt.salt.as_bytes()),
            of_privacy: keyed.map(|keyed| PseudonymKey::new(keyed.as_bytes())),
        }))
    }

    /// The keys of a lake, which get their random part if they have none.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn of(store: &dyn Store, secret: Option<&PseudonymKey>) -> Result<Self> {
        let keys = Self::read(store, secret, true).await?;
        keys.ok_or_else(|| Error::new(ErrorKind::Internal, key::ERASURE_SALT, "was not made"))
    }

    /// The key for new tombstones, and its kind.
    pub fn newest(&self) -> (TombstoneKey, &PseudonymKey) {
        match &self.of_privacy {
            Some(key) => (TombstoneKey::Privacy, key),
            None => (TombstoneKey::Lake, &self.of_lake),
        }
    }
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

/// The tombstones of a lake.
///
/// # Errors
/// `Config` if tombstones were made with a key that is not configured; any error of the store.
async fn tombstones(store: &dyn Store, secret: Option<&PseudonymKey>) -> Result<Erased> {
    let mut erased = Erased::default();
    let Some(keys) = TombstoneKeys::read(store, secret, false).await? else {
        return Ok(erased);
    };
    let (of_lake, of_privacy): (Vec<_>, Vec<_>) = all(store)
        .await?
        .into_iter()
        .partition(|erasure| erasure.key == TombstoneKey::Lake);
    let people = |erasures: Vec<Erasure>| erasures.into_iter().flat_map(|erasure| erasure.people);
    erased.add(keys.of_lake, people(of_lake));
    match keys.of_privacy {
        Some(key) => erased.add(key, people(of_privacy)),
        None if !of_privacy.is_empty() => return Err(lacks_key(of_privacy.len())),
        None => {}
    }
    Ok(erased)
}

fn lacks_key(erasures: usize) -> Error {
    let message = format!(
        "is not set, and {erasures} erasures of this lake were made with its key: without it nobody knows whom to keep out"
    );
    Error::new(ErrorKind::Config, "privacy.key_file", message).hint("name the file with the key again")
}

/// The tombstones as a process knows them.
pub(crate) struct KnownErasures {
    secret: Option<PseudonymKey>,
    /// The number of erasures that were begun when they were read, and the tombstones.
    known: Mutex<(u64, Arc<Erased>)>,
    /// The number of erasures that were begun before this process began its work.
    before: OnceLock<u64>,
}

impl KnownErasures {
    /// Nobody is known yet. `secret` is the key of pseudonyms, if there is one.
    pub fn new(secret: Option<PseudonymKey>) -> Self {
        Self {
            secret,
            known: Mutex::default(),
            before: OnceLock::new(),
        }
    }

    /// The tombstones that are known.
    pub fn get(&self) -> Arc<Erased> {
        Arc::clone(&self.known.lock().1)
    }

    /// The key of pseudonyms, if there is one.
    pub fn secret(&self) -> Option<&PseudonymKey> {
        self.secret.as_ref()
    }

    /// The number of erasures that were begun before this process began its work.
    pub fn before(&self) -> u64 {
        self.before.get().copied().unwrap_or(0)
    }

    /// Reads the tombstones again if more erasures were begun than are known.
    ///
    /// # Errors
    /// As [`tombstones`].
    pub async fn read(&self, store: &dyn Store, begun: u64) -> Result<()> {
        if self.known.lock().0 < begun {
            let erased = tombstones(store, self.secret.as_ref()).await?;
            *self.known.lock() = (begun, Arc::new(erased));
        }
        self.before.get_or_init(|| begun);
        Ok(())
    }

    /// Asks the lake how many erasures were begun, and reads the tombstones of those that are not known.
    ///
    /// # Errors
    /// As [`tombstones`].
    pub async fn refresh(&self, store: &dyn Store) -> Result<u64> {
        let info = info::read(store).await?;
        let begun = info.map_or(0, |info| info.erasures);
        self.read(store, begun).await?;
        Ok(begun)
    }
}
