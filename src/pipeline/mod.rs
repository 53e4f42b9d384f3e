//! The only room that orders the steps: walk the API, land bytes, copy recordings, build tables, commit manifests.
//!
//! `cli` calls [`Exporter::run`] and [`Exporter::plan`]. A run goes over its dates in windows, so that its memory is
//! bounded by a window's listing and the days in work. In each window the listing is drained before slow work begins;
//! then days are worked on beside one another, each one whole: see `day`.

pub(crate) mod day;
pub(crate) mod job;
pub(crate) mod lake_state;
pub(crate) mod lessons;
pub(crate) mod memory;
pub(crate) mod nights;
pub(crate) mod outline;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod rebuild;
pub(crate) mod run_context;
pub(crate) mod stop;
pub(crate) mod summary;
pub(crate) mod walk;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::api::Client;
use crate::config::{Config, ReportFormat};
use crate::ids::{CallId, DayId, RecordId, RoomId, SpaceId};
use crate::store::{Entry, Store};
use crate::{Error, ErrorKind, Result};

pub use job::{Command, Only};
pub use lake_state::info::{StoreInfo, read as read_store_info, refuse_newer};
pub use lake_state::orphan_uploads::orphan_uploads;
pub use lessons::feeds::look_at_feed;
pub use lessons::import::{Imported, MetaFile, Unread, import_meta};
pub use nights::{nightly, nightly_job};
pub use outline::Outline;
pub use plan::{DayPlan, Plan};
pub use progress::{Meter, Phase, Progress};
pub use rebuild::Rebuilder;
use run_context::RunContext;
pub use run_context::mapping;
pub use stop::{Stop, StopReason};
#[cfg(test)]
pub(crate) use summary::runs::tests::Past;
pub use summary::runs::{find_run, last_runs, read_run, run_entries};
pub use summary::trace::run_log;
pub use summary::{Counts, Outcome, Problem, ProblemKind, Summary};

/// Dates whose listing is held in memory at once.
const WINDOW_DAYS: u64 = 31;
/// How often days that share meetings are looked at again, as others of them were built meanwhile.
const MOST_ROUNDS: usize = 3;
/// Days in work at once: enough to keep requests in flight while one builds, few enough to bound memory.
const DAYS_AT_ONCE: usize = 4;
/// Reports parsed at once when they are landed.
const INSPECTIONS_AT_ONCE: usize = 2;
/// Recordings in transfer at once. One fills a link; a few keep it full while others start or finish.
const TRANSFERS_AT_ONCE: usize = 4;

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// The command, for the summary.
    pub command: Command,
    /// The first date.
    pub from: NaiveDate,
    /// The last date, itself included.
    pub to: NaiveDate,
    /// Whether days outside of the dates that have something pending or failed are worked on too.
    pub open_days: bool,
    /// Spaces to work on, within the configured scope; empty: all of it.
    pub spaces: Vec<SpaceId>,
    /// Rooms to work on, within the configured scope; empty: all of it.
    pub rooms: Vec<RoomId>,
    /// Calls; if any are named, only their reports are fetched.
    pub calls: Vec<CallId>,
    /// Records; if any are named, only they are fetched.
    pub records: Vec<RecordId>,
    /// One half of the work.
    pub only: Option<Only>,
    /// Whether what is landed is landed again.
    pub force: bool,
}

impl Job {
    /// All in scope over some dates.
    pub fn over(command: Command, from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            command,
            from,
            to,
            open_days: false,
            spaces: Vec::new(),
            rooms: Vec::new(),
            calls: Vec::new(),
            records: Vec::new(),
            only: None,
            force: false,
        }
    }

    /// True if the reports of a call are fetched.
    fn takes_call(&self, call: &CallId) -> bool {
        self.calls.contains(call) || (self.calls.is_empty() && self.records.is_empty())
    }

    /// True if a record is fetched.
    fn takes_record(&self, record: &RecordId) -> bool {
        self.records.contains(record) || (self.calls.is_empty() && self.records.is_empty())
    }

    /// Whether a user typed the spaces and rooms: one that does not exist is then a mistake of the command line.
    fn is_typed(&self) -> bool {
        self.command == Command::Backfill
    }

    /// Whether the events of a webhook ask for its rooms.
    fn is_of_webhook(&self) -> bool {
        self.command == Command::Webhook
    }

    /// Whether what was given up is asked for again on a date: someone asks for that very date. A nightly run, which
    /// looks for open days too, leaves it alone.
    fn asks_for_lost(&self, date: NaiveDate) -> bool {
        !self.open_days && (self.from..=self.to).contains(&date)
    }
}

/// Reports and recordings: the day, the id of the call or record, and the report's format.
pub(crate) type Again = HashSet<(DayId, Piece)>;

/// A report of a call, or a recording.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    Report(CallId, ReportFormat),
    Recording(RecordId),
}

/// How much of a run a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// With feeds and changed meta.
    Whole,
    /// The rooms alone.
    Rooms,
}

/// The pipeline over one API and one store.
pub struct Exporter {
    context: Arc<ExportContext>,
}

/// What every step needs: the run, and the way to the API.
pub(crate) struct ExportContext {
    run: Arc<RunContext>,
    client: Client,
    /// Why the work was stopped, where it was not the operator.
    fatal: OnceLock<Error>,
    transfers: Semaphore,
    /// What is landed again although it is there.
    again: Again,
    /// Turns of rooms in what is shared.
    room_limits: walk::room_limits::RoomLimits,
    /// Reports in memory at once.
    landings: Semaphore,
    /// Reports that are parsed at once: a parsed one takes several times its bytes.
    inspections: Semaphore,
}

impl ExportContext {
    /// Takes note of an error that makes all further work pointless, and stops the run.
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

    fn settle(&self) -> TimeDelta {
        TimeDelta::from_std(*self.run.config.scope.settle).unwrap_or(TimeDelta::MAX)
    }

    fn patience(&self) -> day::give_up::GiveUpPolicy {
        day::give_up::GiveUpPolicy::new(*self.run.config.export.give_up, self.run.now)
    }

    fn wants_reports(&self, job: &Job) -> &[ReportFormat] {
        if job.only == Some(Only::Recordings) {
            &[]
        } else {
            &self.run.config.export.reports
        }
    }

    fn wants_recordings(&self, job: &Job) -> bool {
        self.run.config.export.recordings && job.only != Some(Only::Analytics)
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
        let client = Client::new(&config.api, cancel.clone())?;
        Self::beside(&client, config, store, progress, cancel, now)
    }

    /// A pipeline that shares the API's concurrency and pace with others over the same client.
    ///
    /// # Errors
    /// As [`Exporter::new`].
    pub fn beside(
        client: &Client,
        config: Config,
        store: Arc<dyn Store>,
        progress: Arc<Progress>,
        cancel: &CancellationToken,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        // Of its own, so that a refused token stops this run and not the process.
        let cancel = cancel.child_token();
        let client = client.beside(cancel.clone());
        let concurrency = config.api.concurrency;
        Ok(Self {
            context: Arc::new(ExportContext {
                client,
                run: Arc::new(RunContext::new(config, store, progress, cancel, now)?),
                fatal: OnceLock::new(),
                transfers: Semaphore::new(TRANSFERS_AT_ONCE),
                again: Again::new(),
                room_limits: walk::room_limits::RoomLimits::new(concurrency),
                landings: Semaphore::new(concurrency),
                inspections: Semaphore::new(INSPECTIONS_AT_ONCE),
            }),
        })
    }

    /// The same, and it lands some things again although they are there: those of a repair. What the API does not give
    /// again is kept as it is.
    #[must_use]
    pub(crate) fn landing_again(mut self, again: Again) -> Self {
        if let Some(context) = Arc::get_mut(&mut self.context) {
            context.again = again;
        }
        self
    }

    /// The same, and `stop` says why it was stopped: its token is that of the pipeline, or above it.
    #[must_use]
    pub fn stopped_by(mut self, stop: Stop) -> Self {
        let run = Arc::get_mut(&mut self.context).map(|context| &mut context.run);
        if let Some(run) = run.and_then(Arc::get_mut) {
            run.stop = Some(stop);
        }
        self
    }

    /// Does a job and writes the run's summary into the store.
    ///
    /// # Errors
    /// Where nothing could be done: the token refused, the API or the store out of reach. What fails of single spaces,
    /// rooms, calls and records is in the summary instead.
    pub async fn run(&self, job: &Job) -> Result<Summary> {
        let done = self.run_whole(job).await;
        match &done {
            Ok(summary) => summary.note_end(),
            Err(_) => Summary::count_lost(job),
        }
        done
    }

    async fn run_whole(&self, job: &Job) -> Result<Summary> {
        self.context.run.store.preflight().await?;
        self.perform(job, Extent::Whole).await
    }

    /// Does a job over a few rooms, beside the runs: the feeds and the meta that came since are left to these, and no
    /// summary is written, since there may be thousands a day.
    ///
    /// # Errors
    /// As [`Exporter::run`].
    pub async fn look_in(&self, job: &Job) -> Result<Summary> {
        self.perform(job, Extent::Rooms).await
    }

    async fn perform(&self, job: &Job, extent: Extent) -> Result<Summary> {
        let context = &self.context;
        let mut summary = Summary::new(job, context.run.config.timezone, context.run.now);
        let span = tracing::info_span!("run", run = summary.id, command = job.command.name());
        async {
            let info = context.run.open_or_create_lake().await?;
            let trace = match extent {
                Extent::Whole => Some(context.run.begin_trace(&summary).await),
                Extent::Rooms => None,
            };
            info.warn(&mut summary);
            let work = Box::pin(async {
                if extent == Extent::Whole {
                    // Before the first look at the meta: the run stands on what it is then.
                    lessons::feeds::import(context, &mut summary).await;
                }
                self.work(job, extent, &mut summary).await
            });
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

    async fn work(&self, job: &Job, extent: Extent, summary: &mut Summary) -> Result<()> {
        let context = &self.context;
        let scope = walk::scope(context, job, summary).await?;
        let mut open = if job.open_days {
            let today = crate::lake::date_of(context.run.now, context.run.config.timezone);
            lake_state::open_days::open_days(&*context.run.store, today).await?
        } else {
            Vec::new()
        };
        let changed = match extent {
            Extent::Whole => context.run.store.list(crate::lake::key::META_CHANGED).await?,
            Extent::Rooms => Vec::new(),
        };
        let mut windows = windows(job.from, job.to).peekable();
        let (mut listed, mut lost) = (false, false);
        while let Some((from, to)) = windows.next() {
            // Open days go along with the first window, so that a run over one date is one listing.
            let extra = std::mem::take(&mut open);
            summary.resume_at = Some(from);
            let found = walk::list(context, job, &scope, from, to, &extra, summary).await?;
            listed |= found.reached;
            if context.run.cancel.is_cancelled() {
                // Half a listing is none: its days are left as they were.
                summary.interrupted_before = Some(from);
                break;
            }
            let count = found.days.all().count();
            context.run.progress.enter(Phase::Days, count as u64);
            for stage in found.days.stages() {
                let mut outcomes = stream::iter(stage)
                    .map(|work| day::process(context, job, work))
                    .buffer_unordered(DAYS_AT_ONCE);
                while let Some(outcome) = outcomes.next().await {
                    summary.absorb(outcome);
                }
            }
            self.refresh_neighbours(summary).await;
            lost = !context.run.cancel.is_cancelled() && scope.is_lost(&context.client);
            if lost || context.run.cancel.is_cancelled() {
                summary.interrupted_before = windows.peek().map(|(from, _)| *from);
                break;
            }
        }
        if !listed && !lost && !context.run.cancel.is_cancelled() {
            return Err(summary.nothing_reached());
        }
        self.refresh_changed(changed, summary).await?;
        self.refresh_neighbours(summary).await;
        if !context.run.cancel.is_cancelled() {
            lake_state::catalog::update(context, &scope, summary).await;
            lake_state::orphan_uploads::sweep(&context.run, summary).await;
        }
        if lost { Err(api_lost()) } else { Ok(()) }
    }

    /// Builds the days again whose meta was changed by imports since the last run, and takes the imports' markers away.
    async fn refresh_changed(&self, markers: Vec<Entry>, summary: &mut Summary) -> Result<()> {
        let context = &self.context;
        if markers.is_empty() {
            return Ok(());
        }
        let failed = summary.failed.len();
        let (dates, meetings) = lessons::import::read_markers(&*context.run.store, &markers).await?;
        for date in &dates {
            // An import that was killed has left out what comes after its markers.
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

    /// Builds the days again that share a meeting with one that has changed: their attendance is of both. The markers of
    /// these meetings go when that is done; else they tell the next run.
    async fn refresh_neighbours(&self, summary: &mut Summary) {
        let context = &self.context;
        for _ in 0..MOST_ROUNDS {
            let meetings = context.run.lessons.take_touched().await;
            if meetings.is_empty() {
                break;
            }
            self.refresh(&meetings, summary).await;
        }
        let is_of_day = |problem: &Problem| {
            matches!(problem.kind, ProblemKind::DayFailed | ProblemKind::StoreFailed)
        };
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

    /// Builds the days with some meetings, by their marks, again whose meta has changed, or a day that they share a
    /// meeting with. Takes no request to the API.
    async fn refresh(&self, meetings: &BTreeSet<u64>, summary: &mut Summary) {
        let context = &self.context;
        if meetings.is_empty() || context.run.cancel.is_cancelled() {
            return;
        }
        match context.run.lessons.stale(meetings).await {
            Ok(days) => {
                let mut outcomes = stream::iter(days)
                    .map(|DayId { date, space }| day::refresh(context, date, space))
                    .buffer_unordered(DAYS_AT_ONCE);
                while let Some(outcome) = outcomes.next().await {
                    summary.absorb(outcome);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => summary.fail(Problem::new(ProblemKind::StoreFailed, error.to_string())),
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

/// No space answers any more: what was landed is committed, and the run ends.
fn api_lost() -> Error {
    Error::new(
        ErrorKind::Connection,
        "API",
        "stopped answering, for every space in scope: the run ended early",
    )
    .hint("what was landed is kept and the next run goes on; `telelake check` says whether the API is back")
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
