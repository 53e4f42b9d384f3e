//! The job of a run: its command, its dates, and what it is limited to. Pure.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use chrono::NaiveDate;
use clap::ValueEnum;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::assignment::RecordedBytes;
use crate::config::ReportFormat;
use crate::ids::{CallId, DayId, RecordId, RoomId, SpaceId};
use crate::shard::Shard;

/// The command that a run belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The nightly run.
    Run,
    /// A range of dates that somebody asked for.
    Backfill,
    /// The daemon's run over the rooms of webhook events.
    Webhook,
    /// Building tables again from landed bytes.
    Rebuild,
    /// The repair of what `verify` found.
    Repair,
    /// A run against the simulator.
    Demo,
    /// An import of lesson data.
    MetaImport,
    /// Bringing the Delta tables up to date.
    Delta,
    /// The deletion of data whose retention is over.
    Retain,
    /// The erasure of people.
    Forget,
}

impl Command {
    /// The name, as summaries, metrics, leases and logs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Backfill => "backfill",
            Self::Webhook => "webhook",
            Self::Rebuild => "rebuild",
            Self::Repair => "repair",
            Self::Demo => "demo",
            Self::MetaImport => "meta import",
            Self::Delta => "delta",
            Self::Retain => "retain",
            Self::Forget => "forget",
        }
    }

    /// Finds a command by its name. A stored summary may have one that this version does not know.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Run,
            Self::Backfill,
            Self::Webhook,
            Self::Rebuild,
            Self::Repair,
            Self::Demo,
            Self::MetaImport,
            Self::Delta,
            Self::Retain,
            Self::Forget,
        ];
        all.into_iter().find(|command| command.name() == name)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The half of the work that a job does, if it does not do all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Reports and their tables
    Analytics,
    /// MP4 files
    Recordings,
}

impl Only {
    /// The name, as the command line and the API take it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Analytics => "analytics",
            Self::Recordings => "recordings",
        }
    }
}

/// The part of a job that one of several processes does.
#[derive(Debug, Clone)]
pub struct JobShard {
    /// The place of the shard, and their number.
    pub shard: Shard,
    /// The engine's name for the job, which tells two jobs over the same dates apart.
    pub name: Option<String>,
    /// The bytes of recordings by day, if a plan tells them: all shards must get the same plan.
    pub recorded: Arc<RecordedBytes>,
}

impl JobShard {
    /// A shard of a job without a name and a plan.
    pub fn new(shard: Shard) -> Self {
        Self {
            shard,
            name: None,
            recorded: Arc::default(),
        }
    }
}

/// A shard in the summary of its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardOfJob {
    /// The place of the shard, from 0.
    pub index: u32,
    /// The number of shards.
    pub count: u32,
    /// The id that the shards of the job have in common.
    pub job: String,
    /// True if all shards of the job had ended with this one, so that it did what belongs to the whole lake.
    #[serde(default)]
    pub last: bool,
}

/// The work that a run is asked to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// The command, for the summary.
    pub command: Command,
    /// The first date.
    pub from: NaiveDate,
    /// The last date, itself included.
    pub to: NaiveDate,
    /// True if days outside of the dates are processed too if they have something pending or failed.
    pub open_days: bool,
    /// The spaces to work on, within the configured scope; empty: all.
    pub spaces: Vec<SpaceId>,
    /// The rooms to work on, within the configured scope; empty: all.
    pub rooms: Vec<RoomId>,
    /// The calls. If any is named, only their reports are fetched.
    pub calls: Vec<CallId>,
    /// The records. If any is named, only they are fetched.
    pub records: Vec<RecordId>,
    /// The half of the work that is done; none: both.
    pub only: Option<Only>,
    /// True if reports and recordings are landed again although the lake has them.
    pub force: bool,
    /// The part of the job that this process does; `None`: all of it.
    pub shard: Option<JobShard>,
}

impl Job {
    /// A job over all in scope.
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
            shard: None,
        }
    }

    /// An id of what the job is, the same whenever it is given, and another one for each shard.
    pub(crate) fn id(&self) -> String {
        let what = (
            (self.command.name(), self.from, self.to, self.only, self.force),
            (
                &self.spaces,
                &self.rooms,
                &self.calls,
                &self.records,
                self.shard(),
            ),
        );
        hex::encode(&Sha256::digest(format!("{what:?}"))[..8])
    }

    /// The id that the shards of the job have in common; `None` for a job that one process does. Shards with different plans
    /// have one id too, so that it is noticed.
    pub(crate) fn shared_id(&self) -> Option<String> {
        let JobShard { shard, name, .. } = self.shard.as_ref()?;
        let what = (
            (self.command.name(), self.from, self.to, self.only, self.force),
            (&self.spaces, &self.rooms, shard.count, name),
        );
        let digest = hex::encode(&Sha256::digest(format!("{what:?}"))[..4]);
        let title = match name {
            Some(name) => name.clone(),
            None => format!("{}-{}-{}", self.command.name(), self.from, self.to),
        };
        Some(format!("{title}-{digest}"))
    }

    /// This shard, as the summary of its run has it.
    pub(crate) fn shard_of_job(&self) -> Option<ShardOfJob> {
        let Shard { index, count } = self.shard()?;
        Some(ShardOfJob {
            index,
            count,
            job: self.shared_id()?,
            last: false,
        })
    }

    /// The place of the shard, and their number.shards this process does, if the job is shared.
    pub(crate) fn shard(&self) -> Option<Shard> {
        self.shard.as_ref().map(|of_job| of_job.shard)
    }

    /// True if the job works on a room, as far as it limits the rooms.
    pub(crate) fn takes_room(&self, room: &RoomId) -> bool {
        self.rooms.is_empty() || self.rooms.contains(room)
    }

    /// True if the job fetches the reports of a call.
    pub(crate) fn takes_call(&self, call: &CallId) -> bool {
        self.calls.contains(call) || (self.calls.is_empty() && self.records.is_empty())
    }

    /// True if the job fetches a record.
    pub(crate) fn takes_record(&self, record: &RecordId) -> bool {
        self.records.contains(record) || (self.calls.is_empty() && self.records.is_empty())
    }

    /// True if the job is about certain records, which may lie in rooms without a call on the dates: a webhook announced
    /// them, or somebody named them.
    pub(crate) fn names_records(&self) -> bool {
        self.is_of_webhook() || !self.records.is_empty()
    }

    /// True if a date is one of the job's.
    pub(crate) fn covers(&self, date: NaiveDate) -> bool {
        (self.from..=self.to).contains(&date)
    }

    /// True if a user typed the spaces and rooms. A space or room that does not exist is then a usage error.
    pub(crate) fn is_typed(&self) -> bool {
        self.command == Command::Backfill
    }

    /// True if the rooms are those of webhook events.
    pub(crate) fn is_of_webhook(&self) -> bool {
        self.command == Command::Webhook
    }

    /// True if the job asks again for what was given up on a date, because somebody asks for that very date. A nightly
    /// run, which looks for open days too, leaves it alone.
    pub(crate) fn asks_for_lost(&self, date: NaiveDate) -> bool {
        !self.open_days && self.covers(date)
    }
}

/// A report of a call, or a recording.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    Report(CallId, ReportFormat),
    Recording(RecordId),
}

/// Reports and recordings that are landed again although the lake has them.
pub(crate) type Again = HashSet<(DayId, Piece)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_by_its_name() {
        assert_eq!(Command::from_name("meta import"), Some(Command::MetaImport));
        assert_eq!(Command::from_name("of a newer version"), None);
        let json = serde_json::to_string(&[Command::Run, Command::Repair]).expect("JSON");
        assert_eq!(json, r#"["run","repair"]"#);
    }

    #[test]
    fn shards_of_one_job_have_one_id_and_those_of_another_have_not() {
        let date = |text: &str| text.parse::<NaiveDate>().expect("a date");
        let job = |index, count, change: fn(&mut Job)| {
            let mut job = Job::over(Command::Backfill, date("2026-11-01"), date("2026-11-09"));
            job.shard = Shard::new(index, count).map(JobShard::new).ok();
            change(&mut job);
            job.shared_id().unwrap_or_default()
        };
        let id = job(0, 3, |_| {});
        assert!(id.starts_with("backfill-2026-11-01-2026-11-09-"), "{id}");
        assert_eq!(job(2, 3, |_| {}), id);
        assert_ne!(job(0, 4, |_| {}), id);
        assert_ne!(job(0, 3, |job| job.force = true), id);
        assert_ne!(job(0, 3, |job| job.spaces = vec!["s".into()]), id);
        let named = job(0, 3, |job| {
            job.shard = Some(JobShard {
                name: Some("77".into()),
                ..JobShard::new(Shard { index: 0, count: 3 })
            })
        });
        assert!(named.starts_with("77-"), "{named}");
        assert_eq!(job(0, 3, |job| job.shard = None), "", "one process does it");
    }

    #[test]
    fn the_command_line_and_json_name_a_half_alike() {
        for half in [Only::Analytics, Only::Recordings] {
            let cli = half.to_possible_value().expect("a value");
            assert_eq!(cli.get_name(), half.name());
            assert_eq!(serde_json::to_value(half).expect("JSON"), half.name());
        }
    }
}
