//! Requesting, cancelling and listing jobs, and pausing the queue. The API and the page both call this. Every act is audited.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::audit::{self, Caller, Credential};
use super::events::Events;
use super::queue::{Asked, JobId, Paused, Queue, Work};
use super::running::{JobProgress, RunningJobs};
use crate::config::Config;
use crate::dates;
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::{Command, Only, Outline};
use crate::store::Store;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};

/// The parts that keep jobs. Clones share everything.
#[derive(Clone)]
pub(super) struct Jobs {
    pub config: Arc<Config>,
    pub store: Arc<dyn Store>,
    pub queue: Arc<Queue>,
    pub events: Arc<Events>,
    pub running: Arc<RunningJobs>,
}

/// The outcome of a request for a job.
#[derive(Debug)]
pub enum Answer {
    /// The job is in the store and waits for its turn.
    Queued(JobId),
    /// The job is so long that it must be confirmed; nothing was queued.
    MustConfirm(Outline),
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// The job waits for its turn.
    Waiting,
    /// The job was taken from the queue and is about to start.
    Starting,
    /// The job is running.
    Running,
    /// The job was cancelled or makes way, and finishes the steps that it can't interrupt.
    Stopping,
}

/// A waiting or running job, as `/api/jobs` and the page show it.
#[derive(Debug, Clone, Serialize)]
pub struct ListedJob {
    /// The id by which the job can be cancelled; none for the work of webhooks, which can't be cancelled.
    pub id: Option<JobId>,
    /// `run`, `backfill`, `webhook`.
    pub kind: Command,
    /// The state of the job.
    pub state: JobState,
    /// The first date; not known of a scheduled run before it begins.
    pub from: Option<NaiveDate>,
    /// The last date.
    pub to: Option<NaiveDate>,
    /// Spaces; empty: all in scope.
    pub spaces: Vec<String>,
    /// Rooms; empty: all in scope.
    pub rooms: Vec<String>,
    /// The only calls whose reports are fetched.
    pub calls: Vec<String>,
    /// The only records that are fetched.
    pub records: Vec<String>,
    /// The only half of the work that is done, if one was chosen.
    pub only: Option<Only>,
    /// True if landed files are landed again.
    pub force: bool,
    /// The time of the request, or the due time of a scheduled run.
    pub asked_at: Option<DateTime<Utc>>,
    /// The caller who requested the job.
    pub asked_by: Caller,
    /// The start of a running job.
    pub since: Option<DateTime<Utc>>,
    /// The number of waiting jobs before a waiting job.
    pub position: Option<usize>,
    /// The date from which an interrupted job continues; the dates before it are done.
    pub resume_at: Option<NaiveDate>,
    /// The progress of the job.
    pub progress: Option<JobProgress>,
}

/// All waiting and running jobs.
#[derive(Debug, Clone, Serialize)]
pub struct JobList {
    /// The pause, if the queue is paused.
    pub paused: Option<Paused>,
    /// The running jobs first, then the waiting jobs in the order of the queue.
    pub jobs: Vec<ListedJob>,
}

impl ListedJob {
    fn of(work: &Work) -> Self {
        let (id, asked_by) = (Some(work.id()), work.asked_by());
        match work {
            Work::Scheduled { due } => Self {
                kind: Command::Run,
                ..Self::empty(id, Some(*due), asked_by)
            },
            Work::Asked {
                asked_at,
                resume_at,
                job,
                ..
            } => Self {
                from: Some(job.from),
                to: Some(job.to),
                spaces: job.spaces.clone(),
                rooms: job.rooms.clone(),
                calls: job.calls.clone(),
                records: job.records.clone(),
                only: job.only,
                force: job.force,
                resume_at: *resume_at,
                ..Self::empty(id, Some(*asked_at), asked_by)
            },
        }
    }

    fn empty(id: Option<JobId>, asked_at: Option<DateTime<Utc>>, asked_by: Caller) -> Self {
        Self {
            id,
            kind: Command::Backfill,
            state: JobState::Waiting,
            from: None,
            to: None,
            spaces: Vec::new(),
            rooms: Vec::new(),
            calls: Vec::new(),
            records: Vec::new(),
            only: None,
            force: false,
            asked_at,
            asked_by,
            since: None,
            position: None,
            resume_at: None,
            progress: None,
        }
    }

    /// The export of the rooms that webhooks named.
    fn of_webhook(at_work: JobProgress) -> Self {
        let by = Caller {
            kind: Credential::Webhook,
            address: None,
        };
        Self {
            kind: Command::Webhook,
            spaces: at_work.spaces.clone(),
            ..Self::empty(None, None, by)
        }
        .at_work(at_work)
    }

    fn at_work(mut self, at_work: JobProgress) -> Self {
        self.state = JobState::Running;
        self.from = self.from.or(Some(at_work.from));
        self.to = self.to.or(Some(at_work.to));
        self.since = Some(at_work.since);
        self.progress = Some(at_work);
        self
    }
}

/// Lists the running and the waiting jobs.
pub(super) fn list(jobs: &Jobs) -> JobList {
    // Read the queue first, so that a job that ends meanwhile is listed twice rather than not at all.
    let (waiting, in_hand) = jobs.queue.all();
    let (webhooks, mut mine): (Vec<_>, Vec<_>) = jobs
        .running
        .all()
        .into_iter()
        .partition(|one| one.command == Command::Webhook);
    let mut listed = Vec::new();
    if let Some(in_hand) = in_hand {
        let mut job = ListedJob {
            state: JobState::Starting,
            since: Some(in_hand.since),
            ..ListedJob::of(&in_hand.work)
        };
        if let Some(at_work) = mine.pop() {
            job = job.at_work(at_work);
        }
        if in_hand.stop.reason().is_some() {
            job.state = JobState::Stopping;
        }
        listed.push(job);
    }
    listed.extend(webhooks.into_iter().map(ListedJob::of_webhook));
    listed.extend(waiting.iter().enumerate().map(|(position, work)| ListedJob {
        position: Some(position),
        ..ListedJob::of(work)
    }));
    JobList {
        paused: jobs.queue.paused(),
        jobs: listed,
    }
}

/// Queues a job if its dates are valid and, if it is long, `confirmed`.
///
/// # Errors
/// `Usage`: the dates break the rule; `RateLimited`: too many jobs wait; any error of the store.
pub(super) async fn ask(jobs: &Jobs, job: Asked, by: &Caller, confirmed: bool) -> Result<Answer> {
    if !confirmed && dates::count(job.from, job.to) > dates::CONFIRM_ABOVE {
        check(jobs, &job)?;
        return Ok(Answer::MustConfirm(outline(jobs, &job).await?));
    }
    push(jobs, job, by, "job_asked").await.map(Answer::Queued)
}

fn check(jobs: &Jobs, job: &Asked) -> Result<()> {
    dates::check_job(job.from, job.to, dates::today(jobs.config.timezone))
}

async fn push(jobs: &Jobs, job: Asked, by: &Caller, action: &'static str) -> Result<JobId> {
    check(jobs, &job)?;
    let what = job.to_string();
    let id = jobs.queue.push(&*jobs.store, job, by.clone()).await?;
    audit::note(by, action, &format!("job {id}, {what}"));
    Ok(id)
}

/// Outlines a job without a request to the API, so that a person can confirm it.
///
/// # Errors
/// The store fails.
pub(super) async fn outline(jobs: &Jobs, job: &Asked) -> Result<Outline> {
    Outline::of(&jobs.config, &*jobs.store, &job.job(None)).await
}

/// A retry of a day, or of one room, call or record of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The date.
    pub date: NaiveDate,
    /// The space; none: all in scope.
    pub space: Option<String>,
    /// The room, if only one room is retried.
    pub room: Option<String>,
    /// The call whose reports are fetched again.
    pub call: Option<String>,
    /// The record that is fetched again.
    pub record: Option<String>,
}

/// Queues a retry.
///
/// # Errors
/// `NotFound`: the day has no such call or record; otherwise as [`ask`].
pub(super) async fn retry(jobs: &Jobs, retry: Retry, by: &Caller) -> Result<JobId> {
    let job = job_of(jobs, retry).await?;
    push(jobs, job, by, "job_retried").await
}

/// The job of a retry. A retried call or record narrows the job to its room, which the day's manifest names, and is fetched
/// again even if it has landed.
async fn job_of(jobs: &Jobs, retry: Retry) -> Result<Asked> {
    let Retry {
        date,
        space,
        room,
        call,
        record,
    } = retry;
    let one = call.is_some() || record.is_some();
    let wrong = |message: &str| Error::new(ErrorKind::Usage, "retry", message);
    if space.is_none() && (one || room.is_some()) {
        return Err(wrong("a room, a call or a record needs its space"));
    }
    if call.is_some() && record.is_some() {
        return Err(wrong("names a call and a record; name one of them"));
    }
    let mut job = Asked {
        rooms: room.clone().into_iter().collect(),
        force: one,
        ..Asked::dates(date, date)
    };
    if let Some(space) = space.as_ref().filter(|_| one) {
        let key = key::manifest(date, &space.as_str().into());
        let manifest = get_json::<Manifest>(&*jobs.store, &key)
            .await?
            .map(|(manifest, _)| manifest);
        let found = manifest.and_then(|day| match (&call, &record) {
            (Some(call), _) => day.calls.get(call.as_str()).map(|call| call.room_id.clone()),
            (None, Some(record)) => day.records.get(record.as_str()).map(|record| record.room_id.clone()),
            (None, None) => None,
        });
        let found = found.filter(|found| room.as_ref().is_none_or(|room| *found == *room));
        let absent = || {
            Error::new(
                ErrorKind::NotFound,
                "retry",
                "the day has no such call or record in that room",
            )
        };
        job.rooms = vec![found.ok_or_else(absent)?.into()];
    }
    job.spaces = space.into_iter().collect();
    job.calls = call.into_iter().collect();
    job.records = record.into_iter().collect();
    Ok(job)
}

/// Cancels a waiting or running job. Returns none if there is no such job.
///
/// # Errors
/// The store fails: nothing is cancelled.
pub(super) async fn cancel(jobs: &Jobs, id: &str, by: &Caller) -> Result<Option<ListedJob>> {
    let before = list(jobs).jobs;
    let Some(work) = jobs.queue.cancel(&*jobs.store, id, by).await? else {
        return Ok(None);
    };
    audit::note(by, "job_cancelled", &work.to_string());
    let listed = before
        .into_iter()
        .find(|job| job.id.as_ref().is_some_and(|job| job.as_str() == id));
    let mut job = listed.unwrap_or_else(|| ListedJob::of(&work));
    job.state = JobState::Stopping;
    Ok(Some(job))
}

/// Pauses the queue: no new job starts, and the running job continues to its end.
///
/// # Errors
/// The store fails: the queue is not paused.
pub(super) async fn pause(jobs: &Jobs, by: &Caller) -> Result<Paused> {
    let paused = jobs.queue.pause(&*jobs.store, by, Utc::now()).await?;
    audit::note(by, "paused", "queue");
    Ok(paused)
}

/// Ends the pause. Returns the pause that has ended, if there was one.
///
/// # Errors
/// The store fails: the queue stays paused.
pub(super) async fn resume(jobs: &Jobs, by: &Caller) -> Result<Option<Paused>> {
    let paused = jobs.queue.resume(&*jobs.store).await?;
    jobs.events.wake.notify_one();
    audit::note(by, "resumed", "queue");
    Ok(paused)
}
