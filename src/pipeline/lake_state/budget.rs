//! The budget of requests a day (`api.requests_per_day`), counted in the lake, so that all processes of a date share it:
//! shards, retries, and several jobs. A process takes requests from the count in portions, and gives back what is left at
//! the end of its run. What a process took and lost when it was killed counts as sent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Days, NaiveDate, SecondsFormat, Utc};
use chrono_tz::Tz;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::api::RequestBudget;
use crate::config::Config;
use crate::lake::{self, key};
use crate::pipeline::job::{Command, Job};
use crate::pipeline::stop::StopReason;
use crate::store::Store;
use crate::store::json::{get_json, update_json};
use crate::{Error, ErrorKind, Result};

/// The most requests that a process takes at once. It takes fewer of a small budget: a hundredth.
const PORTION: u64 = 200;
/// The age of the counts that are deleted.
const KEPT: Days = Days::new(7);

/// The count of a date in the lake.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Count {
    /// Requests that processes have taken.
    taken: u64,
}

/// The dates from which backfills go on that were stopped, by the id of the job.
type Resumes = BTreeMap<String, NaiveDate>;

/// True for a job that does not begin anew after a spent budget: another night has other dates.
fn is_resumed(job: &Job) -> bool {
    job.command == Command::Backfill && !job.force
}

/// The budget of a run.
pub(crate) struct DailyBudget {
    store: Arc<dyn Store>,
    zone: Tz,
    /// The budget of all processes together.
    of_all: u64,
    /// The most that this process may take: a shard has its part.
    own: u64,
    state: Mutex<State>,
    /// True while a run counts: a plan writes nothing.
    counts: AtomicBool,
    /// The time from which requests are sent again, once the budget is spent.
    spent_until: OnceLock<DateTime<Utc>>,
    /// Stops the run when the budget is spent.
    cancel: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    date: Option<NaiveDate>,
    /// Requests that were taken from the count and not sent yet.
    left: u64,
    /// Requests that this process has taken on the date, without those given back.
    taken: u64,
}

impl DailyBudget {
    /// The budget of a configuration; `None` if it sets none. `cancel` stops the run.
    pub fn new(config: &Config, store: Arc<dyn Store>, cancel: CancellationToken) -> Option<Arc<Self>> {
        let of_all = config.api.requests_per_day;
        (of_all > 0).then(|| {
            Arc::new(Self {
                store,
                zone: config.timezone,
                of_all,
                own: config
                    .api
                    .shard
                    .map_or(of_all, |shard| shard.part_of(of_all).max(1)),
                state: Mutex::default(),
                counts: AtomicBool::new(false),
                spent_until: OnceLock::new(),
                cancel,
            })
        })
    }

    /// Begins to count.
    pub fn begin(&self) {
        self.counts.store(true, Ordering::Relaxed);
    }

    /// Deletes the counts of dates long ago. A failure is left to the next run.
    pub async fn tidy(&self) {
        let first = lake::date_of(Utc::now(), self.zone) - KEPT;
        let tidied = async {
            for object in self.store.list(key::REQUESTS).await? {
                let name = object.key.strip_prefix(key::REQUESTS);
                let date = name.and_then(|name| name.strip_suffix(".json")?.parse::<NaiveDate>().ok());
                if date.is_some_and(|date| date < first) {
                    self.store.delete(&object.key).await?;
                }
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = tidied.await {
            tracing::debug!(%error, "old counts of requests could not be deleted");
        }
    }

    /// Gives back what was taken and not sent. A failure costs a part of the budget and nothing else.
    pub async fn end(&self) {
        let mut state = self.state.lock().await;
        let left = std::mem::take(&mut state.left);
        if let Some(date) = state.date.filter(|_| left > 0) {
            let give_back = |count: &mut Count| count.taken = count.taken.saturating_sub(left);
            if let Err(error) = update_json(&*self.store, &key::requests(date), give_back).await {
                tracing::debug!(%error, left, "requests could not be given back to the budget");
            }
        }
    }

    /// The reason why the run was stopped, if the budget is spent.
    pub fn spent(&self) -> Option<StopReason> {
        let until = *self.spent_until.get()?;
        let of = match self.own == self.of_all {
            true => format!("{} requests", self.of_all),
            false => format!("{} requests, of which this shard has {},", self.of_all, self.own),
        };
        let why = format!(
            "the budget of {of} a day is spent (api.requests_per_day): a run from {} on continues",
            until
                .with_timezone(&self.zone)
                .to_rfc3339_opts(SecondsFormat::Secs, false)
        );
        Some(StopReason::BudgetSpent { why, until })
    }

    /// The date from which a backfill goes on, if it was stopped before its last date.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn resume_at(&self, job: &Job) -> Result<Option<NaiveDate>> {
        if !is_resumed(job) {
            return Ok(None);
        }
        let resumes = get_json::<Resumes>(&*self.store, key::RESUMES).await?;
        let from = resumes.and_then(|(resumes, _)| resumes.get(&job.id()).copied());
        if let Some(from) = from {
            tracing::info!(%from, "the earlier dates were done before the backfill was stopped");
        }
        Ok(from)
    }

    /// Notes how far a backfill has come. If it is not over and did not get to any date, it goes on as before.
    pub async fn note_progress(&self, job: &Job, is_over: bool, reached: Option<NaiveDate>) {
        let resume_at = reached.filter(|_| !is_over);
        if !is_resumed(job) || (resume_at.is_none() && !is_over) {
            return;
        }
        let note = |resumes: &mut Resumes| match resume_at {
            Some(date) => drop(resumes.insert(job.id(), date)),
            None => drop(resumes.remove(&job.id())),
        };
        if let Err(error) = update_json(&*self.store, key::RESUMES, note).await {
            tracing::warn!(%error, "the progress of the backfill could not be noted: the next one begins at its first date");
        }
    }

    async fn take_at(&self, now: DateTime<Utc>) -> Result<()> {
        if !self.counts.load(Ordering::Relaxed) {
            return Ok(());
        }
        let date = lake::date_of(now, self.zone);
        let mut state = self.state.lock().await;
        if state.date != Some(date) {
            *state = State {
                date: Some(date),
                ..State::default()
            };
        }
        if state.left == 0 {
            let most = (self.of_all / 100)
                .clamp(1, PORTION)
                .min(self.own.saturating_sub(state.taken));
            let mut portion = 0;
            if most > 0 {
                let of_all = self.of_all;
                let take = |count: &mut Count| {
                    portion = most.min(of_all.saturating_sub(count.taken));
                    count.taken += portion;
                };
                update_json(&*self.store, &key::requests(date), take).await?;
            }
            if portion == 0 {
                let _ = self.spent_until.set(lake::end_of(date, self.zone));
                self.cancel.cancel();
                return Err(Error::new(
                    ErrorKind::Interrupted,
                    "api.requests_per_day",
                    "the budget of requests is spent",
                ));
            }
            state.left = portion;
            state.taken += portion;
        }
        state.left -= 1;
        Ok(())
    }
}

impl fmt::Debug for DailyBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DailyBudget");
        shown
            .field("of_all", &self.of_all)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl RequestBudget for DailyBudget {
    fn take(&self) -> BoxFuture<'_, Result<()>> {
        self.take_at(Utc::now()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Shard;
    use crate::store::folder::FolderStore;

    struct Lake {
        _folder: tempfile::TempDir,
        store: Arc<dyn Store>,
    }

    fn lake() -> Lake {
        let folder = tempfile::tempdir().expect("folder");
        let url = format!("file://{}", folder.path().display());
        let store = Arc::new(FolderStore::open(&url).expect("store"));
        Lake {
            _folder: folder,
            store,
        }
    }

    impl Lake {
        async fn budget(&self, limit: u64, shard: Option<Shard>) -> (Arc<DailyBudget>, CancellationToken) {
            let mut config = Config {
                timezone: Tz::Europe__Moscow,
                ..Config::default()
            };
            config.api.requests_per_day = limit;
            config.api.shard = shard;
            let cancel = CancellationToken::new();
            let budget = DailyBudget::new(&config, Arc::clone(&self.store), cancel.clone());
            let budget = budget.expect("a budget");
            budget.begin();
            (budget, cancel)
        }

        async fn taken(&self, date: &str) -> u64 {
            let count = get_json::<Count>(&*self.store, &key::requests(date.parse().expect("date"))).await;
            count.expect("read").map_or(0, |(count, _)| count.taken)
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    /// Takes requests until the budget is spent.
    async fn drain(budget: &DailyBudget, now: DateTime<Utc>) -> u64 {
        let mut sent = 0;
        while budget.take_at(now).await.is_ok() {
            sent += 1;
        }
        sent
    }

    #[tokio::test]
    async fn processes_of_a_date_share_the_budget_and_give_back_what_they_do_not_send() {
        let lake = lake();
        let now = at("2026-11-22T20:59:00Z");
        let (one, _) = lake.budget(1_000, None).await;
        for _ in 0..15 {
            one.take_at(now).await.expect("a request");
        }
        assert_eq!(lake.taken("2026-11-22").await, 20, "two portions of ten");
        one.end().await;
        assert_eq!(lake.taken("2026-11-22").await, 15);
        let (other, cancel) = lake.budget(1_000, None).await;
        assert_eq!(drain(&other, now).await, 985);
        assert!(cancel.is_cancelled());
        let Some(StopReason::BudgetSpent { why, until }) = other.spent() else {
            panic!("a reason");
        };
        assert_eq!(until, at("2026-11-22T21:00:00Z"));
        assert!(
            why.contains("1000 requests") && why.contains("2026-11-23T00:00:00+03:00"),
            "{why}"
        );
        let (tomorrow, _) = lake.budget(1_000, None).await;
        assert_eq!(
            drain(&tomorrow, at("2026-11-22T21:00:00Z")).await,
            1_000,
            "a new date of the zone"
        );
    }

    #[tokio::test]
    async fn a_shard_has_its_part_and_its_retry_what_is_left_of_all() {
        let lake = lake();
        let now = at("2026-11-22T10:00:00Z");
        let shard = Shard { index: 1, count: 4 };
        let (one, _) = lake.budget(100, Some(shard)).await;
        assert_eq!(drain(&one, now).await, 25);
        assert!(format!("{:?}", one.spent()).contains("this shard has 25"));
        let (whole, _) = lake.budget(100, None).await;
        assert_eq!(drain(&whole, now).await, 75);
        let (again, _) = lake.budget(100, Some(shard)).await;
        assert_eq!(drain(&again, now).await, 0);
    }

    #[tokio::test]
    async fn a_plan_counts_nothing_and_old_counts_are_deleted() {
        let lake = lake();
        let (budget, _) = lake.budget(1, None).await;
        budget.counts.store(false, Ordering::Relaxed);
        for _ in 0..5 {
            budget
                .take_at(at("2026-11-22T10:00:00Z"))
                .await
                .expect("a request");
        }
        assert_eq!(lake.taken("2026-11-22").await, 0);
        for date in ["2020-01-01", "2999-01-01"] {
            let key = key::requests(date.parse().expect("date"));
            update_json(&*lake.store, &key, |count: &mut Count| count.taken = 7)
                .await
                .expect("written");
        }
        budget.tidy().await;
        assert_eq!(
            (lake.taken("2020-01-01").await, lake.taken("2999-01-01").await),
            (0, 7)
        );
    }
}
