//! Asking for jobs, cancelling them, pausing and listing: what the API and the page do alike. Every act is audited.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::audit::{self, Caller, Credential};
use super::daemon::{AtWork, Daemon};
use super::queue::{Asked, JobId, Paused, Work};
use crate::dates;
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::{Command, Only, Outline};
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};

/// The outcome of a request for a job.
#[derive(Debug)]
pub enum Answer {
    /// It is safely kept and waits for its turn.
    Queued(JobId),
    /// It is so long that it has to be confirmed; nothing is kept.
    MustConfirm(Outline),
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for its turn.
    Waiting,
    /// It was taken, and begins.
    Starting,
    /// It is in work.
    Running,
    /// It was cancelled, or makes way: what is in work ends what it can't leave.
    Stopping,
}

/// A job that waits or runs, as `/api/jobs` and the page tell it.
#[derive(Debug, Clone, Serialize)]
pub struct ListedJob {
    /// The id, by which it can be cancelled; none for looks at the rooms of webhooks, which can't.
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
    /// One half of the work.
    pub only: Option<Only>,
    /// True if what is landed is landed again.
    pub force: bool,
    /// When it was asked for, or due.
    pub asked_at: Option<DateTime<Utc>>,
    /// By whom.
    pub asked_by: Caller,
    /// Since when it is in work.
    pub since: Option<DateTime<Utc>>,
    /// Jobs before it, those in work not counted; none of one in work.
    pub position: Option<usize>,
    /// Where it goes on after it made way or the daemon was stopped: the dates before are done.
    pub resume_at: Option<NaiveDate>,
    /// The progress of the job.
    pub progress: Option<AtWork>,
}

/// All that waits and runs.
#[derive(Debug, Clone, Serialize)]
pub struct JobList {
    /// The pause, if the queue is paused.
    pub paused: Option<Paused>,
    /// What is in work first, then what waits, in its order.
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

    /// A look at the rooms of webhooks.
    fn of_webhook(at_work: AtWork) -> Self {
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

    fn at_work(mut self, at_work: AtWork) -> Self {
        self.state = JobState::Running;
        self.from = self.from.or(Some(at_work.from));
        self.to = self.to.or(Some(at_work.to));
        self.since = Some(at_work.since);
        self.progress = Some(at_work);
        self
    }
}

/// Lists what runs and what waits.
pub(super) fn list(daemon: &Daemon) -> JobList {
    // In this order: what ends meanwhile is seen twice rather than not at all.
    let (waiting, in_hand) = daemon.queue.all();
    let (webhooks, mut mine): (Vec<_>, Vec<_>) = daemon
        .running()
        .into_iter()
        .partition(|one| one.command == Command::Webhook);
    let mut jobs = Vec::new();
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
        jobs.push(job);
    }
    jobs.extend(webhooks.into_iter().map(ListedJob::of_webhook));
    jobs.extend(waiting.iter().enumerate().map(|(position, work)| ListedJob {
        position: Some(position),
        ..ListedJob::of(work)
    }));
    JobList {
        paused: daemon.queue.paused(),
        jobs,
    }
}

/// Takes a job when its dates are right and, if it is long, `confirmed`.
///
/// # Errors
/// `Usage`: its dates break the rule; `RateLimited`: too many jobs wait; of the store.
pub(super) async fn ask(daemon: &Daemon, job: Asked, by: &Caller, confirmed: bool) -> Result<Answer> {
    if !confirmed && dates::count(job.from, job.to) > dates::CONFIRM_ABOVE {
        check(daemon, &job)?;
        return Ok(Answer::MustConfirm(outline(daemon, &job).await?));
    }
    push(daemon, job, by, "job_asked").await.map(Answer::Queued)
}

fn check(daemon: &Daemon, job: &Asked) -> Result<()> {
    dates::check_job(job.from, job.to, dates::today(daemon.config.timezone))
}

async fn push(daemon: &Daemon, job: Asked, by: &Caller, action: &'static str) -> Result<JobId> {
    check(daemon, &job)?;
    let what = job.to_string();
    let id = daemon.queue.push(&*daemon.store, job, by.clone()).await?;
    audit::note(by, action, &format!("job {id}, {what}"));
    Ok(id)
}

/// What is known of a job without a request to the API: for a person who confirms it.
///
/// # Errors
/// The store fails.
pub(super) async fn outline(daemon: &Daemon, job: &Asked) -> Result<Outline> {
    Outline::of(&daemon.config, &*daemon.store, &job.job(None)).await
}

/// A retry of a day, or of one room, call or record of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The date.
    pub date: NaiveDate,
    /// The space; none: all in scope.
    pub space: Option<String>,
    /// The room, if only one is asked for.
    pub room: Option<String>,
    /// The call whose reports are fetched again.
    pub call: Option<String>,
    /// The record that is fetched again.
    pub record: Option<String>,
}

/// Asks for a retry.
///
/// # Errors
/// `NotFound`: the day has no such call or record; else as [`ask`].
pub(super) async fn retry(daemon: &Daemon, retry: Retry, by: &Caller) -> Result<JobId> {
    let job = job_of(daemon, retry).await?;
    push(daemon, job, by, "job_retried").await
}

/// The job of a retry. A call or a record narrows it to its room, as the day's manifest says, and is fetched although it
/// is there.
async fn job_of(daemon: &Daemon, retry: Retry) -> Result<Asked> {
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
        let manifest = get_json::<Manifest>(&*daemon.store, &key)
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

/// Cancels a job that waits or runs; none if there is no such job.
///
/// # Errors
/// The store fails: nothing is cancelled.
pub(super) async fn cancel(daemon: &Daemon, id: &str, by: &Caller) -> Result<Option<ListedJob>> {
    let before = list(daemon).jobs;
    let Some(work) = daemon.queue.cancel(&*daemon.store, id, by).await? else {
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

/// Pauses the queue: nothing new begins, what is in work goes on to its end.
///
/// # Errors
/// The store fails: the queue is not paused.
pub(super) async fn pause(daemon: &Daemon, by: &Caller) -> Result<Paused> {
    let paused = daemon.queue.pause(&*daemon.store, by, Utc::now()).await?;
    audit::note(by, "paused", "queue");
    Ok(paused)
}

/// Ends the pause. Gives the pause that has ended, if there was one.
///
/// # Errors
/// The store fails: the queue stays paused.
pub(super) async fn resume(daemon: &Daemon, by: &Caller) -> Result<Option<Paused>> {
    let paused = daemon.queue.resume(&*daemon.store).await?;
    daemon.events.wake.notify_one();
    audit::note(by, "resumed", "queue");
    Ok(paused)
}
