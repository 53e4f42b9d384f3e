//! The items of the queue: scheduled runs and requested jobs, as they are kept in the store. Pure.

use std::fmt;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::dates;
use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::pipeline::{Command, Job, Only};
use crate::serve::audit::Caller;

/// The id of a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub(super) String);

impl JobId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the scheduled run that was due at an instant.
    fn of_scheduled(due: DateTime<Utc>) -> Self {
        Self(format!("scheduled-{}", due.format("%Y%m%dT%H%M%SZ")))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A job as it is requested and kept in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The first date.
    #[serde(deserialize_with = "dates::deserialize")]
    pub from: NaiveDate,
    /// The last date, inclusive.
    #[serde(deserialize_with = "dates::deserialize")]
    pub to: NaiveDate,
    /// Spaces; empty: all in scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spaces: Vec<SpaceId>,
    /// Rooms; empty: all in scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<RoomId>,
    /// Calls; unless empty, only their reports are fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallId>,
    /// Records; unless empty, only they are fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordId>,
    /// The only half of the work that is done, if one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    /// True if landed files are landed again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl JobRequest {
    /// A job over dates for everything in scope.
    pub fn dates(from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            from,
            to,
            spaces: Vec::new(),
            rooms: Vec::new(),
            calls: Vec::new(),
            records: Vec::new(),
            only: None,
            force: false,
        }
    }

    /// The job of the pipeline; its dates before `from` are done.
    pub fn job(&self, from: Option<NaiveDate>) -> Job {
        Job {
            command: Command::Backfill,
            from: from.map_or(self.from, |from| from.clamp(self.from, self.to)),
            to: self.to,
            open_days: false,
            spaces: self.spaces.clone(),
            rooms: self.rooms.clone(),
            calls: self.calls.clone(),
            records: self.records.clone(),
            only: self.only,
            force: self.force,
            shard: None,
        }
    }
}

/// The text for the audit.
impl fmt::Display for JobRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backfill of {} to {}", self.from, self.to)?;
        let mut write = |what, id: &str| write!(f, ", {what} {id}");
        self.spaces.iter().try_for_each(|id| write("space", id))?;
        self.rooms.iter().try_for_each(|id| write("room", id))?;
        self.calls.iter().try_for_each(|id| write("call", id))?;
        self.records.iter().try_for_each(|id| write("record", id))
    }
}

/// An item of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Work {
    /// The nightly run.
    Scheduled {
        /// The due time.
        due: DateTime<Utc>,
    },
    /// A requested job.
    #[serde(rename = "asked")]
    Requested {
        /// The job's id.
        id: JobId,
        /// The time of the request.
        asked_at: DateTime<Utc>,
        /// The caller who requested it.
        #[serde(default)]
        asked_by: Caller,
        /// The date from which an interrupted job continues; the dates before it are done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume_at: Option<NaiveDate>,
        /// The job itself.
        job: JobRequest,
    },
}

impl Work {
    /// The id by which the work is cancelled.
    pub fn id(&self) -> JobId {
        match self {
            Self::Scheduled { due } => JobId::of_scheduled(*due),
            Self::Requested { id, .. } => id.clone(),
        }
    }

    /// The caller who requested the work.
    pub fn asked_by(&self) -> Caller {
        match self {
            Self::Scheduled { .. } => Caller::schedule(),
            Self::Requested { asked_by, .. } => asked_by.clone(),
        }
    }

    pub(super) fn is_scheduled(&self) -> bool {
        matches!(self, Self::Scheduled { .. })
    }
}

/// The text for the audit.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduled { due } => {
                let due = due.to_rfc3339_opts(SecondsFormat::Secs, true);
                write!(f, "scheduled run due at {due}")
            }
            Self::Requested { id, job, .. } => write!(f, "job {id}, {job}"),
        }
    }
}
