//! The pipeline: the only folder that orders the steps. It walks the API, lands bytes, copies recordings, builds tables and
//! commits manifests.
//!
//! `cli` and `serve` call [`Exporter::run`] and [`Exporter::plan`]. A run processes its dates in windows, so that its memory
//! is bounded by the listing of one window and the days in work. Listing, landing and building go on at the same time: a
//! day is processed, from its manifest to its commit (see `day`), as soon as its listing is complete.

pub(crate) mod assignment;
pub(crate) mod cutoffs;
pub(crate) mod day;
pub(crate) mod delta;
mod forget;
pub(crate) mod job;
pub(crate) mod lake_state;
pub(crate) mod lessons;
pub(crate) mod memory;
pub(crate) mod nights;
pub(crate) mod outline;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod rebuild;
pub(crate) mod retention;
pub(crate) mod rules;
pub(crate) mod run_context;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod setting;
pub(crate) mod stop;
pub(crate) mod summary;
pub(crate) mod walk;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use chrono::{Days, NaiveDate};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::Instrument;

use crate::api::{Client, RequestBudget};
use crate::ids::DayId;
use crate::lake::key;
use crate::shard::Shard;
use crate::store::ListedObject;
use crate::{Error, ErrorKind, Result, task};

use assignment::Assignment;
pub use assignment::RecordedBytes;
pub(crate) use cutoffs::DataKind;
pub use delta::DeltaUpdater;
pub use forget::{ForgetOptions, Forgetter, Forgotten};
pub(crate) use job::{Again, Piece};
pub use job::{Command, Job, JobShard, Only, ShardOfJob};
pub use lake_state::erasures::{DayErasure, Erasure, LeftToHuman, RecordingChoice};
pub use lake_state::info::{StoreInfo, read as read_store_info, warn_without_lake};
use lake_state::open_days::OpenDay;
pub use lake_state::orphan_uploads::orphan_uploads;
pub use lake_state::shards::{SharedJob, SharedJobShard, shared_jobs};
pub use lessons::feeds::look_at_feed;
pub use lessons::import::{Imported, import_meta};
pub use lessons::meta_file::{MetaFile, Unread};
pub use nights::{nightly, nightly_job};
pub use outline::Outline;
pub use plan::{DayPlan, Plan};
pub use progress::{Meter, Phase, Progress};
pub use rebuild::Rebuilder;
pub use retention::{KindCounts, RetainReport, Retainer};
use rules::JobRules;
use run_context::RunContext;
pub use run_context::{mapping, mapping_to_build};
pub use setting::Setting;
pub use stop::{Stop, StopReason};
#[cfg(test)]
pub(crate) use summary::runs::tests::Past;
pub use summary::runs::{find_run, last_runs, read_run, run_entries};
pub use summary::trace::run_log;
pub use summary::{Counts, Outcome, Problem, ProblemKind, Summary};
use summary::{DayReport, FeedReport};
use walk::found::{JobScope, ToDo};
use walk::{Walk, WindowEnd};
use windows::windows;

/// The number of rounds in which days that share meetings are checked again, because others of them were built meanwhile.
const MOST_ROUNDS: usize = 3;
/// The number of days in work at once: enough to keep requests in flight while one builds, few enough to bound memory.
const DAYS_AT_ONCE: usize = 4;
/// The number of reports that are parsed at once when they are landed.
const INSPECTIONS_AT_ONCE: usize = 2;
/// The number of recordings in transfer at once. One can fill a link; a few keep it full while others start or finish.
const TRANSFERS_AT_ONCE: usize = 4;

/// The number of reports that are fetched or stored at once: more than requests in flight, so that the API does not wait
/// for the store.
const fn landings(concurrency: usize) -> usize {
    concurrency + concurrency.div_ceil(2)
}

/// The extent of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The job includes the feeds and changed lesson data.
    Whole,
    /// The job is limited to some rooms.
    Rooms,
}

/// The pipeline over one API and one store.
pub struct Exporter {
    context: Arc<ExportContext>,
}

/// The context of an export: the run, the API client, and the limits of what is in flight.
pub(crate) struct ExportContext {
    run: Arc<RunContext>,
    client: Client,
    /// The error that stopped the work, if it was not the operator.
    fatal: OnceLock<Error>,
    transfers: Semaphore,
    /// The reports and recordings that are landed again although the lake has them.
    again: Again,
    room_limits: walk::room_limits::RoomLimits,
    /// Limits the reports in memory.
    landings: Semaphore,
    /// Limits the reports that are being parsed: a parsed report takes several times its bytes.
    inspections: Semaphore,
    /// True once the run has imported the feeds. Builds wait for it.
    lesson_data_is_ready: watch::Sender<bool>,
}

impl ExportContext {
    /// Stops the run if an error makes all further work pointless.
    fn note_fatal(&self, error: &Error) {
        if error.kind() == ErrorKind::Unauthorized {
            let _ = self
                .fatal
                .set(Error::new(error.kind(), error.about(), error.message()).hint(
                "the token is refused: make a new personal token and put it into api.token or api.token_file",
            ));
            self.run.cancel.cancel();
        }
    }

    /// The rules of a job.
    fn rules(&self, job: &Job) -> Arc<JobRules> {
        let rules = JobRules::new(&self.run.config, job, self.again.clone(), self.run.now);
        Arc::new(rules)
    }
}

impl Exporter {
    /// A pipeline.
    ///
    /// # Errors
    /// `Config` if there is no token, or the mapping is wrong or cannot be read.
    pub fn new(setting: Setting) -> Result<Self> {
        setting.config.require_token()?;
        let client = Client::new(&setting.config.api, setting.cancel.clone())?;
        Self::beside(&client, setting)
    }

    /// A pipeline that shares the API's concurrency and pace with other pipelines over the same client.
    ///
    /// # Errors
    /// As [`Exporter::new`].
    pub fn beside(client: &Client, setting: Setting) -> Result<Self> {
        // The run can be cancelled alone, so that a refused token stops this run and not the process.
        let setting = setting.child();
        let concurrency = setting.config.api.concurrency;
        let run = RunContext::new(setting)?;
        let budget = run
            .budget
            .clone()
            .map(|budget| -> Arc<dyn RequestBudget> { budget });
        Ok(Self {
            context: Arc::new(ExportContext {
                client: client.beside(run.cancel.clone(), budget),
                run: Arc::new(run),
                fatal: OnceLock::new(),
                transfers: Semaphore::new(TRANSFERS_AT_ONCE),
                again: Again::new(),
                room_limits: walk::room_limits::RoomLimits::new(concurrency),
                landings: Semaphore::new(landings(concurrency)),
                inspections: Semaphore::new(INSPECTIONS_AT_ONCE),
                lesson_data_is_ready: watch::Sender::new(false),
            }),
        })
    }

    /// Lands some reports and recordings again although the lake has them. What the API does not give again is kept.
    #[must_use]
    pub(crate) fn landing_again(mut self, again: Again) -> Self {
        if let Some(context) = Arc::get_mut(&mut self.context) {
            context.again = again;
        }
        self
    }

    /// Takes the reason of a stop from `stop`, whose token must be that of the pipeline or a parent of it.
    #[must_use]
    pub fn stopped_by(mut self, stop: Stop) -> Self {
        let run = Arc::get_mut(&mut self.context).map(|context| &mut context.run);
        if let Some(run) = run.and_then(Arc::get_mut) {
            run.stop = Some(stop);
        }
        self
    }

    /// Does a job and writes the run's summary to the store.
    ///
    /// # Errors
    /// Any error that prevents all work: the token is refused, the API or the store is unavailable. The summary has the
    /// failures of single spaces, rooms, calls and records.
    pub async fn run(&self, job: &Job) -> Result<Summary> {
        let run = &self.context.run;
        let ready = match run.check_key().await {
            Ok(()) => run.store.preflight().await,
            wrong => wrong,
        };
        let done = match ready {
            Ok(()) => self.perform(job, Extent::Whole).await,
            Err(error) => Err(error),
        };
        match &done {
            Ok(summary) => summary.note_end(),
            Err(_) => Summary::count_lost(job),
        }
        done
    }

    /// Does a job over a few rooms, concurrently with runs. It leaves the feeds and changed lesson data to the runs, and
    /// writes no summary, because there may be thousands of such jobs a day.
    ///
    /// # Errors
    /// As [`Exporter::run`].
    pub async fn look_in(&self, job: &Job) -> Result<Summary> {
        self.perform(job, Extent::Rooms).await
    }

    async fn perform(&self, job: &Job, extent: Extent) -> Result<Summary> {
        let context = &self.context;
        context.lesson_data_is_ready.send_replace(false);
        let mut summary = Summary::new(job, context.run.config.timezone, context.run.now);
        let span = tracing::info_span!("run", run = summary.id, command = job.command.name());
        async {
            let info = context.run.open_or_create_lake().await?;
            let trace = match extent {
                Extent::Whole => Some(context.run.begin_trace(&summary).await),
                Extent::Rooms => None,
            };
            info.warn(&mut summary);
            if extent == Extent::Whole {
                for id in context.run.erasures.unfinished() {
                    let text = format!("the erasure {id} did not end: give its `forget` command again");
                    summary.warn(Problem::new(ProblemKind::ErasureUnfinished, text));
                }
            }
            let work = Box::pin(self.within_budget(job, extent, &mut summary));
            let work = context.run.alone(job.command, work);
            let end = match &trace {
                Some(trace) => trace.during(work).await.flatten(),
                None => work.await.flatten(),
            };
            summary.take_requests(&context.client);
            let fatal = context.fatal.get().cloned();
            summary.end(context.run.end(fatal.or(end.err())));
            summary.count();
            if let Some(trace) = trace {
                trace.end(&mut summary).await;
            }
            Ok(summary)
        }
        .instrument(span)
        .await
    }

    /// Does the work, and counts its requests if there is a budget of them.
    async fn within_budget(&self, job: &Job, extent: Extent, summary: &mut Summary) -> Result<()> {
        let Some(budget) = &self.context.run.budget else {
            return self.work(job, extent, summary).await;
        };
        budget.begin();
        let done = self.work(job, extent, summary).await;
        if extent == Extent::Whole {
            let is_over = done.is_ok() && !self.context.run.cancel.is_cancelled();
            budget.note_progress(job, is_over, summary.resume_at).await;
            budget.tidy().await;
        }
        budget.end().await;
        done
    }

    /// The date from which a backfill goes on that has spent a budget before.
    async fn resumed(&self, job: &Job, summary: &mut Summary) -> Result<Option<NaiveDate>> {
        let Some(budget) = &self.context.run.budget else {
            return Ok(None);
        };
        summary.resume_at = budget.resume_at(job).await?;
        Ok(summary.resume_at)
    }

    async fn work(&self, job: &Job, extent: Extent, summary: &mut Summary) -> Result<()> {
        let context = &self.context;
        let rules = context.rules(job);
        lake_state::shards::begin(&context.run, summary).await?;
        let imports = extent == Extent::Whole && job.shard().is_none_or(Shard::is_first);
        // Only builds need the lesson data, so the feeds are imported while the walk goes on.
        let (mut feeds, exported) = tokio::join!(self.import_feeds(imports), self.export(&rules, summary));
        let own = std::mem::take(&mut feeds.markers);
        summary.absorb_feeds(feeds);
        let (scope, is_lost) = exported?;
        self.refresh_neighbours(summary).await;
        if !context.run.cancel.is_cancelled() {
            lake_state::catalog::update(context, &scope, job.shard(), summary).await;
        }
        if job.shard.is_some() && !is_lost && !context.run.cancel.is_cancelled() {
            // Without an assignment all dates of the job are older than the tables are kept.
            let assignment = scope.assignment.as_ref().map(Assignment::digest);
            lake_state::shards::end(&context.run, assignment.unwrap_or_default(), summary).await?;
            // The other shards have imported and built meanwhile.
            context.run.lessons.read_all_again().await;
        }
        if extent == Extent::Whole && summary.ends_job() {
            let changed = context.run.store.list(key::META_CHANGED).await?;
            self.refresh_changed(changed, &own, summary).await?;
        }
        self.refresh_neighbours(summary).await;
        if summary.ends_job() {
            self.close(job, extent, summary).await;
        }
        if is_lost { Err(api_lost()) } else { Ok(()) }
    }

    /// Ends a job with what belongs to the whole lake and not to a day or space.
    async fn close(&self, job: &Job, extent: Extent, summary: &mut Summary) {
        let run = &self.context.run;
        if !run.cancel.is_cancelled() {
            lake_state::orphan_uploads::sweep(run, summary).await;
        }
        if extent == Extent::Whole {
            lake_state::policy::refresh(run, summary).await;
            retention::after_run(run, summary).await;
            lake_state::day_index::update(run, job).await;
            delta::update(run, summary).await;
        }
        // A night without changes asks for nothing more.
        if extent == Extent::Whole && run.writes() > 0 {
            lake_state::shards::tidy(run, summary.shard.as_ref()).await;
        }
    }

    /// Imports the feeds, unless another process does it, and lets the builds begin.
    async fn import_feeds(&self, imports: bool) -> FeedReport {
        let context = Arc::clone(&self.context);
        let report = if imports {
            let import = async move { Ok(lessons::feeds::import(&context).await) };
            task::isolated("feeds", import.in_current_span()).await
        } else {
            Ok(FeedReport::default())
        };
        self.context.lesson_data_is_ready.send_replace(true);
        report.unwrap_or_else(|error| {
            let mut failed = FeedReport::default();
            failed.fail(Problem::new(ProblemKind::MetaFailed, error.to_string()));
            failed
        })
    }

    /// Walks the dates and processes their days, window by window. Returns the scope, and true if the API was lost.
    async fn export(&self, rules: &Arc<JobRules>, summary: &mut Summary) -> Result<(JobScope, bool)> {
        let context = &self.context;
        let job = kept_dates(rules, summary);
        let mut open = match job.open_days {
            true => lake_state::open_days::open_days(&*context.run.store, rules.today()).await?,
            false => Vec::new(),
        };
        open.retain(|day: &OpenDay| !rules.cutoffs.is_over(DataKind::Tables, day.date));
        if job.from > job.to && open.is_empty() {
            return Ok((JobScope::default(), false));
        }
        let mut walk = Walk::begin(context, rules, summary).await?;
        walk.scope.leave_out_others(rules, &mut open);
        if walk.scope.is_part() && walk.scope.spaces.is_empty() {
            // All days are those of other shards.
            return Ok((walk.scope, false));
        }
        let (from, to) = walk.scope.dates((job.from, job.to));
        let from = self
            .resumed(&job, summary)
            .await?
            .map_or(from, |date| date.clamp(from, to));
        let mut windows = windows(from, to, context.run.budget.is_some()).peekable();
        let (mut reached, mut is_lost) = (false, false);
        while let Some(window) = windows.next() {
            // The open days are listed with the first window, so that a run over one date is one listing.
            let open = std::mem::take(&mut open);
            summary.resume_at = Some(window.0);
            let end = self.export_window(&mut walk, window, &open, summary).await?;
            reached |= end.reached;
            if !end.is_whole {
                // The listing is incomplete, so the days that were not complete are left as they were.
                summary.interrupted_before = Some(window.0);
                break;
            }
            self.refresh_neighbours(summary).await;
            is_lost = !context.run.cancel.is_cancelled() && walk.scope.is_lost(&context.client);
            if is_lost || context.run.cancel.is_cancelled() {
                summary.interrupted_before = windows.peek().map(|(from, _)| *from);
                break;
            }
        }
        // A shard names it in its failures, and the job goes on with the other shards.
        let is_shard = walk.scope.assignment.is_some();
        if !reached && !is_lost && !is_shard && !context.run.cancel.is_cancelled() {
            return Err(summary.nothing_reached());
        }
        Ok((walk.scope, is_lost))
    }

    /// Walks a window, and meanwhile processes the days whose listing is complete.
    async fn export_window(
        &self,
        walk: &mut Walk<'_>,
        window: (NaiveDate, NaiveDate),
        open: &[OpenDay],
        summary: &mut Summary,
    ) -> Result<WindowEnd> {
        let (sender, todo) = mpsc::unbounded_channel();
        let rules = walk.rules;
        let walking = Box::pin(async move {
            walk.window(window, open, &sender, summary)
                .await
                .map(|end| (end, summary))
        });
        let (walked, days) = tokio::join!(walking, process_days(&self.context, rules, todo));
        let (end, summary) = walked?;
        for day in days.into_values() {
            summary.absorb(day);
        }
        Ok(end)
    }

    /// Builds the days again whose lesson data was changed by imports since the last run, and deletes the markers of these
    /// imports. `own` are those of this run, which have built their own tables.
    async fn refresh_changed(
        &self,
        markers: Vec<ListedObject>,
        own: &BTreeSet<String>,
        summary: &mut Summary,
    ) -> Result<()> {
        let context = &self.context;
        if markers.is_empty() {
            return Ok(());
        }
        let failed = summary.failed.len();
        let store = &*context.run.store;
        let (own, others): (Vec<_>, Vec<_>) = markers
            .iter()
            .cloned()
            .partition(|marker| own.contains(&marker.key));
        let (dates, mut meetings) = lessons::import::read_markers(store, &others).await?;
        meetings.extend(lessons::import::read_markers(store, &own).await?.1);
        for date in &dates {
            // An import that was killed has written its markers, but perhaps not all that comes after them.
            if let Err(error) = context.run.lessons.rebuild_tables(*date).await
                && error.kind() != ErrorKind::Interrupted
            {
                summary.fail(Problem::new(ProblemKind::MetaFailed, error.to_string()));
            }
        }
        self.refresh(&meetings, summary).await;
        if context.run.cancel.is_cancelled() || summary.failed.len() > failed {
            return Ok(());
        }
        for marker in markers {
            context.run.delete(&marker.key).await?;
        }
        Ok(())
    }

    /// Builds the days again that share a meeting with a day that has changed, because their attendance depends on both.
    /// Then it deletes the markers of these meetings. If that fails, the markers tell the next run.
    async fn refresh_neighbours(&self, summary: &mut Summary) {
        let context = &self.context;
        for _ in 0..MOST_ROUNDS {
            let meetings = context.run.lessons.take_touched().await;
            if meetings.is_empty() {
                break;
            }
            self.refresh(&meetings, summary).await;
        }
        let is_of_day =
            |problem: &Problem| matches!(problem.kind, ProblemKind::DayFailed | ProblemKind::StoreFailed);
        let failed = summary.failed.iter().any(is_of_day);
        if failed || context.run.cancel.is_cancelled() || !context.run.lessons.take_touched().await.is_empty()
        {
            return;
        }
        for marker in context.run.lessons.take_markers().await {
            if let Err(error) = context.run.delete(&marker).await
                && error.kind() != ErrorKind::Interrupted
            {
                summary.fail(Problem::new(ProblemKind::StoreFailed, error.to_string()));
            }
        }
    }

    /// Builds the days of some meetings again if their lesson data or a neighbour day has changed. The meetings are given
    /// by their marks. It sends no request to the API.
    async fn refresh(&self, meetings: &BTreeSet<u64>, summary: &mut Summary) {
        let context = &self.context;
        if meetings.is_empty() || context.run.cancel.is_cancelled() {
            return;
        }
        match context.run.lessons.stale(meetings).await {
            Ok(days) => {
                let mut outcomes = stream::iter(days)
                    .map(|id| day::refresh(context, id))
                    .buffer_unordered(DAYS_AT_ONCE);
                while let Some(outcome) = outcomes.next().await {
                    summary.absorb(outcome);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => summary.fail(Problem::new(ProblemKind::StoreFailed, error.to_string())),
        }
    }

    /// Plans a job without doing it. It writes nothing.
    ///
    /// # Errors
    /// As [`Exporter::run`].
    pub async fn plan(&self, job: &Job) -> Result<Plan> {
        plan::plan(&self.context, job).await
    }
}

/// Processes days as the walk hands them on, several at once. Returns a report for each day.
async fn process_days(
    context: &Arc<ExportContext>,
    rules: &Arc<JobRules>,
    mut todo: mpsc::UnboundedReceiver<ToDo>,
) -> BTreeMap<DayId, DayReport> {
    let mut reports: BTreeMap<DayId, DayReport> = BTreeMap::new();
    let mut working = FuturesUnordered::new();
    let (mut must_wait, mut is_over) = (false, false);
    loop {
        must_wait &= !working.is_empty();
        let takes_more = !must_wait && !is_over && working.len() < DAYS_AT_ONCE;
        tokio::select! {
            next = todo.recv(), if takes_more => match next {
                Some(ToDo::Day(day)) => working.push(async {
                    let id = DayId::new(day.date, day.space_id.clone());
                    (id, day::process(context, rules, *day).await)
                }),
                Some(ToDo::Wait) => must_wait = true,
                None => is_over = true,
            },
            Some((id, mut report)) = working.next() => {
                // A day for which more was found at the end of the walk is processed twice, and counts once.
                if let Some(first) = reports.remove(&id) {
                    report.follow(first);
                }
                reports.insert(id, report);
            }
            else => return reports,
        }
    }
}

/// The job without the dates that are older than the tables are kept. The summary names these.
fn kept_dates(rules: &JobRules, summary: &mut Summary) -> Job {
    let mut job = rules.job.clone();
    let first = rules.cutoffs.first_kept(DataKind::Tables);
    if let Some(first) = first.filter(|first| job.from < *first) {
        let last = job.to.min(first - Days::new(1));
        let message = format!(
            "{} to {last}: older than `retention.tables`, so that nothing is listed or fetched; {first} is the first date \
             that is kept",
            job.from
        );
        summary.warn(Problem::new(ProblemKind::DaysExpired, message));
        job.from = first;
    }
    job
}

/// The error of a run during which all spaces stopped answering. It has committed what was landed.
fn api_lost() -> Error {
    Error::new(
        ErrorKind::Connection,
        "API",
        "stopped answering, for every space in scope: the run ended early",
    )
    .hint("what was landed is kept and the next run goes on; `telelake check` says whether the API is back")
}
