//! The verification: it compares the lake with its manifests. Is everything there, unchanged, once, and nothing else? It
//! writes nothing; only [`Verifier::repair`] does. Called by `cli verify`.
//!
//! ```text
//! listing ─► inventory ─┬─ day: manifest ↔ objects, rows, bytes, rebuild ─┐
//!                       ├─ state: lesson data, rooms and spaces           ├─► findings ─► repair ─► again
//!                       └─ the rest: duplicates, strays, uploads ─────────┘
//! ```
//! A run may be at work meanwhile, so that whatever looks wrong is read again before it becomes a finding.

mod day;
mod days_table;
mod duplicates;
mod finding;
mod inventory;
mod objects;
mod repair;
mod session;
mod shard;
mod state;
mod strays;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use futures_util::{StreamExt, TryStreamExt, stream};

pub use self::finding::{Finding, FindingKind, Verified, VerifyCounts};
use self::inventory::{Dates, Inventory};
use crate::lake::key;
use crate::pipeline::lake_state::info::{StoreInfo, no_lake, refuse_newer};
use crate::pipeline::run_context::RunContext;
use crate::pipeline::{Phase, Setting};
use crate::shard::Shard;
use crate::task::isolated;
use crate::{ErrorKind, Result};
use session::{ObjectRead, Verification};

/// Days checked at once.
const DAYS_AT_ONCE: usize = 8;
/// Days built at once.
const BUILDS_AT_ONCE: usize = 2;
/// Days after which the run context is replaced, and with it the lesson cache.
const DAYS_OF_A_BUILDER: usize = 64;

/// The note on tables that can't be compared because `[privacy]` has changed.
const OTHER_POLICY: &str = "the tables of lesson data, rooms, spaces and days were built under another [privacy] and are not \
                            compared: the next run builds them again";

/// The scope and the depth of a verification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// The first date; `None`: the lake's first one.
    pub from: Option<NaiveDate>,
    /// The last date, itself included; `None`: the lake's last one.
    pub to: Option<NaiveDate>,
    /// True to read all bytes: checksums, and the keys of all rows.
    pub deep: bool,
    /// True to build the tables in memory and compare them.
    pub rebuild: bool,
    /// The part of the dates that this process verifies; `None`: all.
    pub shard: Option<Shard>,
    /// True if another shard checks what belongs to no date.
    pub only_dates: bool,
}

impl VerifyOptions {
    /// True if the verification includes what belongs to no date.
    pub(crate) fn checks_lake(&self) -> bool {
        !self.only_dates
    }
}

/// Compares a lake with its manifests.
pub struct Verifier {
    setting: Setting,
}

impl Verifier {
    /// A verifier of a lake.
    pub fn new(setting: Setting) -> Self {
        Self {
            setting: setting.child(),
        }
    }

    /// Verifies the lake. Writes nothing.
    ///
    /// # Errors
    /// Nothing could be checked: there is no lake, the store is out of reach, or the mapping is wrong. Faults of the lake
    /// are findings in the result.
    pub async fn verify(&self, options: VerifyOptions) -> Result<Verified> {
        match shard::limit(&*self.setting.store, options).await? {
            Some(options) => self.verify_dates(options).await,
            None => Ok(self.nothing(options)),
        }
    }

    /// The result of a shard without a date.
    fn nothing(&self, options: VerifyOptions) -> Verified {
        Verified {
            store: self.setting.store.url().to_owned(),
            deep: options.deep,
            rebuilt: options.rebuild,
            notes: vec!["there are more shards than dates: this one has nothing to verify".to_owned()],
            ..Verified::default()
        }
    }

    async fn verify_dates(&self, options: VerifyOptions) -> Result<Verified> {
        let verification = self.open(options).await?;
        let end = Box::pin(verify_all(&verification)).await;
        let interrupted = match end {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => return Err(error),
        };
        let mut results = std::mem::take(&mut *verification.results());
        results.findings.sort_by(|a, b| {
            (a.date, &a.space_id, a.kind, &a.key).cmp(&(b.date, &b.space_id, b.kind, &b.key))
        });
        results.counts.findings = results.findings.len() as u64;
        Ok(Verified {
            store: self.setting.store.url().to_owned(),
            from: options.from,
            to: options.to,
            deep: options.deep,
            rebuilt: options.rebuild,
            interrupted,
            counts: results.counts,
            findings: results.findings,
            notes: self.notes(options, &verification),
            ..Verified::default()
        })
    }

    /// Verifies the lake, repairs the findings that can be repaired, and verifies again.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub async fn repair(&self, options: VerifyOptions) -> Result<Verified> {
        let Some(options) = shard::limit(&*self.setting.store, options).await? else {
            return Ok(self.nothing(options));
        };
        let before = self.verify_dates(options).await?;
        if before.is_whole() || before.interrupted {
            return Ok(before);
        }
        let notes = Box::pin(repair::repair_findings(self, &before.findings)).await?;
        let mut after = self.verify_dates(options).await?;
        let same = |a: &Finding, b: &Finding| (a.kind, &a.key) == (b.kind, &b.key);
        after.mended = before.findings;
        after
            .mended
            .retain(|was| !after.findings.iter().any(|is| same(was, is)));
        after.counts.mended = after.mended.len() as u64;
        after.notes.extend(notes);
        Ok(after)
    }

    /// Notes on checks that were not made.
    fn notes(&self, options: VerifyOptions, verification: &Verification) -> Vec<String> {
        let lacks = self.setting.store.shortcomings().into_iter();
        let lacks = lacks.filter(|_| options.deep && self.setting.config.export.recordings);
        let lacks = lacks.map(|lack| lack.message().to_owned());
        let other_policy = (!verification.is_under_policy()).then(|| OTHER_POLICY.to_owned());
        lacks.chain(other_policy).collect()
    }

    async fn open(&self, options: VerifyOptions) -> Result<Arc<Verification>> {
        let run = Arc::new(RunContext::new(self.setting.clone())?);
        let tables = table_names(&run);
        let verification = Verification::new(Arc::clone(&run), options, Inventory::default());
        refuse_newer(&*self.setting.store).await?;
        let info = verification.read_json::<StoreInfo>(key::STORE_INFO).await?;
        if let ObjectRead::Parsed(info, _) = &info {
            info.check_zone(self.setting.config.timezone)?;
            info.check_key(run.mapping.privacy())?;
            verification.note_policy(info);
            if let Some(dialect) = info.dialect(&*self.setting.store) {
                self.setting.store.speak(dialect);
            }
        }
        // The first shard also finds what lies anywhere else.
        let all = options.shard.is_some() && options.checks_lake() && options.from.is_none();
        let store = &*self.setting.store;
        let mut inventory = Inventory::list(store, verification.dates(), all, &tables).await?;
        if options.shard.is_some() {
            inventory.keep_own(verification.dates(), options.checks_lake());
        }
        let why = match info {
            ObjectRead::Parsed(..) | ObjectRead::Newer(_) => None,
            ObjectRead::Missing if inventory.manifests.is_empty() => {
                return Err(no_lake(&*self.setting.store));
            }
            ObjectRead::Missing => Some("nothing".to_owned()),
            ObjectRead::Damaged(why) | ObjectRead::Unreadable(why) => Some(why),
        };
        if let Some(why) = why {
            let finding = Finding::new(FindingKind::StateDamaged, key::STORE_INFO);
            verification.report(finding.differs("the description of the store", why));
        }
        if options.deep {
            let bytes = inventory.objects.values().sum();
            run.progress.recorded_bytes.add_goal(bytes);
        }
        *verification.inventory() = inventory;
        Ok(Arc::new(verification))
    }
}

/// The names of all tables of the mapping.
fn table_names(run: &RunContext) -> BTreeSet<String> {
    let tables = run.mapping.tables();
    tables.map(|table| table.name.to_string()).collect()
}

async fn verify_all(verification: &Arc<Verification>) -> Result<()> {
    let segments = verify_days(verification).await?;
    days_table::strike_off(verification, &segments);
    state::verify_lessons(verification).await?;
    if verification.options.checks_lake() {
        state::verify_catalogs(verification).await?;
    }
    duplicates::find_doubled_ids(verification).await?;
    duplicates::find_doubled_rows(verification);
    strays::find_markers(verification).await?;
    strays::find_strays(verification).await?;
    days_table::verify(verification).await?;
    if verification.options.deep && verification.options.checks_lake() {
        strays::abort_uploads(verification).await?;
    }
    Ok(())
}

/// Verifies all days of the dates. Of the dates just before and after, only the calls and records are noted, because a
/// duplicate would lie there. Gives the segments of all spaces that have a manifest.
async fn verify_days(verification: &Arc<Verification>) -> Result<BTreeSet<String>> {
    let mut manifests = std::mem::take(&mut verification.inventory().manifests);
    manifests.sort();
    let names = manifests.iter().filter_map(|(_, key)| key.rsplit('/').next());
    let segments = names
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    let dates = verification.dates();
    let near = |date: NaiveDate| {
        let around = [date - Days::new(1), date + Days::new(1)];
        around.into_iter().any(|date| dates.contain(date))
    };
    manifests.retain(|(date, _)| dates.contain(*date) || near(*date));
    verification
        .run
        .progress
        .enter(Phase::Days, manifests.len() as u64);
    for days in manifests.chunks(DAYS_OF_A_BUILDER) {
        // The lesson cache lives as long as its run context: a new one keeps the memory bounded.
        let builder = match verification.options.rebuild {
            true => Arc::new(verification.run.anew()?),
            false => Arc::clone(&verification.run),
        };
        verify_some_days(verification, &builder, days).await?;
    }
    Ok(segments)
}

async fn verify_some_days(
    verification: &Arc<Verification>,
    builder: &Arc<RunContext>,
    days: &[(NaiveDate, String)],
) -> Result<()> {
    let at_once = match verification.options.rebuild {
        true => BUILDS_AT_ONCE,
        false => DAYS_AT_ONCE,
    };
    stream::iter(days.to_vec())
        .map(|(date, key)| {
            // A task of its own, so that days use all cores.
            let (verification, builder) = (Arc::clone(verification), Arc::clone(builder));
            isolated("verify", async move {
                verification.check_stopped()?;
                match verification.dates().contain(date) {
                    true => Box::pin(day::verify(&verification, &builder, date, &key)).await?,
                    false => day::note_neighbour(&verification, &key).await?,
                }
                verification.run.progress.days.advance(1);
                Ok(())
            })
        })
        .buffer_unordered(at_once)
        .try_collect()
        .await
}
