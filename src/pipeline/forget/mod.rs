//! `forget`: erases people from all that the lake has of them.
//!
//! The tombstones come first, so that a run or an import at the same time keeps the people out. Then go lesson data, the
//! reports and tables of each day, the Delta tables, and the program's own objects. Every step can be killed and done again:
//! the record of the erasure says what was planned, and a second look at what other processes wrote meanwhile ends it.
//!
//! ```text
//! tombstones ─► lesson data ─► days (again while others write) ─► days of the same meetings ─► Delta ─► state ─► old versions
//! ```

mod book;
mod days;
mod lesson_data;
mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use self::book::ErasureBook;
use super::lake_state::erasures::{self, Erasure, RecordingChoice};
use super::lake_state::info;
use super::{Command, Setting, delta};
use crate::lake::erased::{Erased, Person, tombstone};
use crate::lake::key;
use crate::pipeline::run_context::RunContext;
use crate::pseudonym::PseudonymKey;
use crate::tables;
use crate::{Error, ErrorKind, Result};

/// Looks at days that other processes wrote meanwhile.
const MOST_PASSES: u32 = 20;

/// What to erase.
#[derive(Debug, Clone)]
pub struct ForgetOptions {
    /// The people.
    pub people: BTreeSet<Person>,
    /// What becomes of recordings of their calls.
    pub recordings: RecordingChoice,
    /// The name of the operator, for the record.
    pub operator: Option<String>,
    /// True if nothing is to be written.
    pub dry_run: bool,
}

/// What was erased, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct Forgotten {
    /// True if nothing was written.
    pub dry_run: bool,
    /// What was destroyed, and what is left to a human.
    pub erasure: Erasure,
    /// What could not be done. The same command goes on with it.
    pub failed: Vec<String>,
}

/// Erases people from a lake.
pub struct Forgetter {
    setting: Setting,
    run: Arc<RunContext>,
}

impl Forgetter {
    /// A forgetter of a lake.
    ///
    /// # Errors
    /// `Config` if the mapping is wrong or cannot be read.
    pub fn new(setting: Setting) -> Result<Self> {
        let setting = setting.child();
        let run = Arc::new(RunContext::new(setting.clone())?);
        Ok(Self { setting, run })
    }

    /// Erases the people. With `dry_run` it only says what it would destroy, and writes nothing.
    ///
    /// # Errors
    /// Any error that prevents all work, or a stop; the same command goes on with what is left. Failures of single days are
    /// in the result.
    pub async fn run(&self, options: &ForgetOptions) -> Result<Forgotten> {
        let run = &self.run;
        if options.dry_run {
            if info::read(&*run.store).await?.is_none() {
                return Err(info::no_lake(&*run.store));
            }
            let pseudonyms = self.pseudonym_key().await?;
            let key = PseudonymKey::new(b"dry run");
            let erasure = Erasure::new(run, options, &key);
            let book = ErasureBook::new(run, options, (erasure, &[]), (&key, pseudonyms.as_ref()));
            return self.work(book).await;
        }
        run.require_lake().await?;
        let work = async {
            let pseudonyms = self.pseudonym_key().await?;
            let key = erasures::tombstone_key(&*run.store).await?;
            let known = erasures::all(&*run.store).await?;
            let mut erasure = Erasure::new(run, options, &key);
            if let Some(begun) = known.iter().find(|known| known.is_same(&erasure)) {
                erasure = begun.clone().taken_up(&erasure);
            }
            let others = known
                .iter()
                .filter(|known| known.ended_at.is_none() && known.id != erasure.id);
            let others: Vec<_> = others.map(|other| other.id.clone()).collect();
            let book = ErasureBook::new(run, options, (erasure, &known), (&key, pseudonyms.as_ref()));
            for id in others {
                book.fail(format!(
                    "the erasure {id} of other people did not end: give its command again"
                ));
            }
            book.save().await?;
            info::count_erasure(&*run.store).await?;
            self.work(book).await
        };
        run.alone(Command::Forget, Box::pin(work)).await.flatten()
    }

    /// The key of the lake's pseudonyms, if it has any.
    ///
    /// # Errors
    /// `Config` if the key is missing or another one, because then nobody finds the pseudonyms of the people.
    async fn pseudonym_key(&self) -> Result<Option<PseudonymKey>> {
        let Some(check) = info::read(&*self.run.store)
            .await?
            .and_then(|info| info.privacy_key_check)
        else {
            return Ok(None);
        };
        let secret = self.run.config.privacy.read_key()?;
        let key = PseudonymKey::new(secret.expose().as_bytes());
        if tables::key_check(&key) == check {
            return Ok(Some(key));
        }
        let why =
            "is not the key of the lake's pseudonyms, so that the people would not be found in its tables";
        Err(Error::new(ErrorKind::Config, "privacy.key_file", why)
            .hint("name the file with the key that made them"))
    }

    async fn work(&self, book: ErasureBook) -> Result<Forgotten> {
        let book = Arc::new(book);
        lesson_data::erase(&book).await?;
        // What other contexts read of lesson data is stale now.
        let run = Arc::new(RunContext::new(self.setting.clone())?);
        if !book.is_dry {
            run.require_lake().await?;
        }
        let mut seen = BTreeMap::new();
        for pass in 1..=MOST_PASSES {
            if !days::pass(&run, &book, &mut seen, pass == MOST_PASSES).await? || book.is_dry {
                break;
            }
        }
        if !book.is_dry {
            // An import that began before the erasure may have written meanwhile.
            lesson_data::erase(&book).await?;
            days::refresh_touched(&run, &book).await?;
            if book.has_found().await {
                for why in delta::after_erasure(&run).await {
                    book.fail(why);
                }
            }
        }
        objects::erase(&run, &book).await?;
        if run.cancel.is_cancelled() {
            return Err(stopped());
        }
        book.end().await
    }
}

/// The error of an erasure that was stopped.
fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "forget", "stopped before all was erased")
        .hint("the same command goes on; nothing that was erased comes back meanwhile")
}

impl Erasure {
    /// A new erasure.
    fn new(run: &RunContext, options: &ForgetOptions, key: &PseudonymKey) -> Self {
        let people: BTreeSet<_> = options
            .people
            .iter()
            .map(|person| tombstone(key, person))
            .collect();
        let id = format!(
            "{}-{:06x}",
            run.now.format("%Y%m%dT%H%M%SZ"),
            fastrand::u32(..0x0100_0000)
        );
        Self {
            begun_at: run.now,
            ended_at: None,
            operator: options.operator.clone(),
            program: env!("CARGO_PKG_VERSION").into(),
            runs: [format!("{id}-forget")].into(),
            id,
            people,
            recordings: options.recordings,
            days: BTreeMap::new(),
            objects: BTreeMap::new(),
            dates: BTreeMap::new(),
            left: BTreeSet::new(),
            touched: BTreeSet::new(),
        }
    }

    /// True if it is an earlier erasure of the same people that did not end.
    fn is_same(&self, other: &Self) -> bool {
        self.ended_at.is_none() && self.people == other.people
    }

    /// The erasure, taken up again by a later process.
    fn taken_up(mut self, by: &Self) -> Self {
        self.runs.extend(by.runs.iter().cloned());
        self.operator = by.operator.clone().or(self.operator);
        self.recordings = by.recordings;
        self
    }
}

/// The people of an erasure.
fn erased(erasure: &Erasure, key: &PseudonymKey) -> Arc<Erased> {
    Arc::new(Erased::new(key.clone(), erasure.people.iter().cloned()))
}

/// True if the key is one that an erasure itself writes.
fn is_own(object: &str) -> bool {
    object.starts_with(key::ERASURES)
}
