//! The only room that orders the steps: walk the API, land bytes, copy recordings, build tables, commit manifests.
//!
//! `cli` calls [`Exporter::run`] and [`Exporter::plan`]. A run goes over its dates in windows, so that its memory is
//! bounded by a window's listing and the days in work. In each window the listing is drained before slow work begins;
//! then days are worked on beside one another, each one whole: see `day`.

mod builders;
mod catalog;
mod day;
mod feeds;
mod land;
mod lessons;
mod meta;
mod opened;
mod plan;
mod progress;
mod quality;
mod rebuild;
mod recording;
mod sample;
mod sort;
mod summary;
mod tables;
mod transfer;
mod uploads;
mod walk;
mod workshop;

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::api::Client;
use crate::config::{Config, ReportFormat};
use crate::store::{Entry, Store};
use crate::{Error, ErrorKind, Result};

pub use meta::{Imported, MetaFile, import_meta};
pub use opened::{OpenedStore, StoreInfo, get_json, last_runs, read as read_store_info};
pub use plan::{DayPlan, Plan};
pub use progress::{Meter, Phase, Progress};
pub use rebuild::Rebuilder;
pub use sample::{Sample, fetched_sample, landed_sample};
pub use summary::{Counts, Outcome, Problem, Summary};
pub use uploads::orphan_uploads;
use workshop::Workshop;
pub use workshop::mapping;

/// Dates whose listing is held in memory at once.
const WINDOW_DAYS: u64 = 31;
/// Days in work at once: enough to keep requests in flight while one builds, few enough to bound memory.
const DAYS_AT_ONCE: usize = 4;
/// Reports parsed at once when they are landed.
const INSPECTIONS_AT_ONCE: usize = 2;
/// Recordings in transfer at once. One fills a link; a few keep it full while others start or finish.
const TRANSFERS_AT_ONCE: usize = 4;

/// One half of the work, where a user asks for one half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// Reports alone.
    Analytics,
    /// Recordings alone.
    Recordings,
}

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// The command, for the summary.
    pub command: &'static str,
    /// The first date.
    pub from: NaiveDate,
    /// The last date, itself included.
    pub to: NaiveDate,
    /// Whether days outside of the dates that have something pending or failed are worked on too.
    pub open_days: bool,
    /// Spaces to work on, within the configured scope; empty: all of it.
    pub spaces: Vec<String>,
    /// Rooms to work on, within the configured scope; empty: all of it.
    pub rooms: Vec<String>,
    /// One half of the work.
    pub only: Option<Only>,
    /// Whether what is landed is landed again.
    pub force: bool,
}

/// The pipeline over one API and one store.
pub struct Exporter {
    context: Arc<Context>,
}

/// What every step needs: the workshop, and the way to the API.
struct Context {
    workshop: Arc<Workshop>,
    client: Client,
    /// Why the work was stopped, where it was not the operator.
    fatal: OnceLock<Error>,
    transfers: Semaphore,
    /// Reports in memory at once.
    landings: Semaphore,
    /// Reports that are parsed at once: a parsed one takes several times its bytes.
    inspections: Semaphore,
}

impl std::ops::Deref for Context {
    type Target = Workshop;

    fn deref(&self) -> &Workshop {
        &self.workshop
    }
}

impl Context {
    /// Takes note of an error that makes all further work pointless, and stops the run.
    fn note_fatal(&self, error: &Error) {
        if error.kind() == ErrorKind::Unauthorized {
            let _ = self
                .fatal
                .set(Error::new(error.kind(), error.about(), error.message()).hint(
                "the token is refused: make a new personal token and put it into api.token or api.token_file",
            ));
            self.cancel.cancel();
        }
    }

    fn settle(&self) -> TimeDelta {
        TimeDelta::from_std(*self.config.scope.settle).unwrap_or(TimeDelta::MAX)
    }

    fn wants_reports(&self, job: &Job) -> &[ReportFormat] {
        if job.only == Some(Only::Recordings) {
            &[]
        } else {
            &self.config.export.reports
        }
    }

    fn wants_recordings(&self, job: &Job) -> bool {
        self.config.export.recordings && job.only != Some(Only::Analytics)
    }
}

impl Exporter {
    /// A pipeline. `cancel` stops it; `now` is the time that it takes for the present.
    ///
    /// # Errors
    /// `Config`: no token, or a mapping that can't be read or is wrong.
    pub fn new(
        config: Config,
        store: Arc<dyn Store>,
        progress: Arc<Progress>,
        cancel: &CancellationToken,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        config.require_token()?;
        // Of its own, so that a refused token stops this run and not the process.
        let cancel = cancel.child_token();
        let client = Client::new(&config.api, cancel.clone())?;
        let concurrency = config.api.concurrency;
        Ok(Self {
            context: Arc::new(Context {
                client,
                workshop: Arc::new(Workshop::new(config, store, progress, cancel, now)?),
                fatal: OnceLock::new(),
                transfers: Semaphore::new(TRANSFERS_AT_ONCE),
                landings: Semaphore::new(concurrency),
                inspections: Semaphore::new(INSPECTIONS_AT_ONCE),
            }),
        })
    }

    /// Does a job and writes the run's summary into the store.
    ///
    /// # Errors
    /// Where nothing could be done: the token refused, the API or the store out of reach. What fails of single spaces,
    /// rooms, calls and records is in the summary instead.
    pub async fn run(&self, job: &Job) -> Result<Summary> {
        let context = &self.context;
        context.store.preflight().await?;
        let mut summary = Summary::new(job, context.config.timezone, context.now);
        let opened = OpenedStore::open_or_create(context).await?;
        opened.tell(context, &mut summary);
        // Before the first look at the meta: the run stands on what it is then.
        feeds::import(context, &mut summary).await;
        let end = self.work(job, &mut summary).await;
        let stats = context.client.stats();
        summary.counts.requests = stats.requests;
        summary.counts.retries = stats.retries;
        let error = match (context.fatal.get(), end) {
            (Some(fatal), _) => Some(Error::new(fatal.kind(), fatal.about(), fatal.message())),
            (None, Err(error)) => Some(error),
            (None, Ok(())) => None,
        };
        summary.finish(
            Utc::now(),
            context.writes(),
            context.cancel.is_cancelled(),
            error.as_ref(),
        );
        opened::write_summary(context, &summary).await?;
        Ok(summary)
    }

    async fn work(&self, job: &Job, summary: &mut Summary) -> Result<()> {
        let context = &self.context;
        let scope = walk::scope(context, job, summary).await?;
        let mut open = if job.open_days {
            opened::open_days(&*context.store).await?
        } else {
            Vec::new()
        };
        let changed = context.store.list(crate::lake::key::META_CHANGED).await?;
        let mut windows = windows(job.from, job.to).peekable();
        let mut listed = false;
        while let Some((from, to)) = windows.next() {
            // Open days go along with the first window, so that a run over one date is one listing.
            let extra = std::mem::take(&mut open);
            let found = walk::list(context, job, &scope, from, to, &extra, summary).await?;
            listed |= found.reached;
            if context.cancel.is_cancelled() {
                // Half a listing is none: its days are left as they were.
                summary.interrupted_before = Some(from);
                break;
            }
            context.progress.enter(Phase::Days, found.days.len() as u64);
            let mut outcomes = stream::iter(found.days)
                .map(|work| day::process(context, job, work))
                .buffer_unordered(DAYS_AT_ONCE);
            let mut built = std::collections::BTreeSet::new();
            while let Some(outcome) = outcomes.next().await {
                built.extend(outcome.built);
                summary.absorb(outcome);
            }
            drop(outcomes);
            self.refresh(&built, summary).await;
            if context.cancel.is_cancelled() {
                summary.interrupted_before = windows.peek().map(|(from, _)| *from);
                break;
            }
        }
        if !listed && !context.cancel.is_cancelled() {
            return Err(summary.nothing_reached());
        }
        self.refresh_changed(changed, summary).await?;
        if !context.cancel.is_cancelled() {
            catalog::update(context, &scope, summary).await;
            uploads::sweep(context, summary).await;
        }
        Ok(())
    }

    /// Builds the days again whose meta was changed by imports since the last run, and takes the imports' markers away.
    async fn refresh_changed(&self, markers: Vec<Entry>, summary: &mut Summary) -> Result<()> {
        let context = &self.context;
        let dates = markers
            .iter()
            .filter_map(|marker| crate::lake::key::date_in(&marker.key));
        let failed = summary.failed.len();
        self.refresh(&dates.collect(), summary).await;
        if context.cancel.is_cancelled() || summary.failed.len() > failed {
            return Ok(());
        }
        for marker in markers {
            context.delete(&marker.key).await?;
        }
        Ok(())
    }

    /// Builds the days around some dates again whose meta has changed, or a day that they share a meeting with. Takes
    /// no request to the API.
    async fn refresh(&self, dates: &std::collections::BTreeSet<NaiveDate>, summary: &mut Summary) {
        let context = &self.context;
        if dates.is_empty() || context.cancel.is_cancelled() {
            return;
        }
        match context.lessons.stale(context, dates).await {
            Ok(days) => {
                let mut outcomes = stream::iter(days)
                    .map(|(date, space)| day::refresh(context, date, space))
                    .buffer_unordered(DAYS_AT_ONCE);
                while let Some(outcome) = outcomes.next().await {
                    summary.absorb(outcome);
                }
            }
            Err(error) => summary.fail(Problem::new("store_failed", error.to_string())),
        }
    }

    /// What a job would do, without doing it: nothing is written.
    ///
    /// # Errors
    /// As [`Exporter::run`].
    pub async fn plan(&self, job: &Job) -> Result<Plan> {
        plan::plan(&self.context, job).await
    }
}

/// The dates from `from` to `to` in windows of [`WINDOW_DAYS`].
fn windows(from: NaiveDate, to: NaiveDate) -> impl Iterator<Item = (NaiveDate, NaiveDate)> {
    std::iter::successors(Some(from), |start| Some(*start + Days::new(WINDOW_DAYS)))
        .take_while(move |start| *start <= to)
        .map(move |start| (start, to.min(start + Days::new(WINDOW_DAYS - 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_date_once() {
        let date = |text: &str| text.parse::<NaiveDate>().expect("date");
        assert_eq!(windows(date("2026-01-01"), date("2026-01-01")).count(), 1);
        let all: Vec<_> = windows(date("2026-01-01"), date("2026-03-05"))
            .flat_map(|(from, to)| from.iter_days().take_while(move |d| *d <= to))
            .collect();
        let expected: Vec<_> = date("2026-01-01")
            .iter_days()
            .take_while(|d| *d <= date("2026-03-05"))
            .collect();
        assert_eq!(all, expected);
    }
}
