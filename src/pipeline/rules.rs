//! The rules of a job: all that its decisions need of the configuration, the job and the time. Pure data.
//!
//! The pure core of the pipeline (`asks`, `assign`, `merge`, `due`, giving up) takes these rules and never the run's
//! context, so that tests call it with plain values.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;

use super::cutoffs::CutOffs;
use super::day::give_up::GiveUpPolicy;
use super::job::{Again, Job, Only};
use crate::config::{self, Config, ReportFormat};
use crate::ids::RoomId;
use crate::lake;

/// The rules of a job.
#[derive(Debug, Clone)]
pub(crate) struct JobRules {
    /// The job.
    pub job: Job,
    /// Reports and recordings that are landed again although the lake has them.
    pub again: Again,
    /// The zone of all dates.
    pub zone: Tz,
    /// The present.
    pub now: DateTime<Utc>,
    /// The time from the end of a call until its report is final.
    pub settle: TimeDelta,
    /// The policy for reports and recordings that do not come.
    pub give_up: GiveUpPolicy,
    /// The dates before yesterday that a nightly run looks at.
    pub lookback_days: u32,
    /// The report formats that the configuration exports.
    pub formats: Vec<ReportFormat>,
    /// True if the configuration exports recordings.
    pub recordings: bool,
    /// The zone by whose dates the API lists calls, if the configuration declares it.
    pub call_date: Option<Tz>,
    /// The dates from which on each kind of data is kept.
    pub cutoffs: CutOffs,
    /// The spaces, rooms and calls that the configuration exports.
    pub scope: config::Scope,
}

impl JobRules {
    /// The rules of a job under a configuration.
    pub fn new(config: &Config, job: &Job, again: Again, now: DateTime<Utc>) -> Self {
        Self {
            job: job.clone(),
            again,
            zone: config.timezone,
            now,
            settle: TimeDelta::from_std(*config.scope.settle).unwrap_or(TimeDelta::MAX),
            give_up: GiveUpPolicy::new(*config.export.give_up, now),
            lookback_days: config.export.lookback_days,
            formats: config.export.reports.clone(),
            recordings: config.export.recordings,
            call_date: config.api.call_date,
            cutoffs: CutOffs::new(config, lake::date_of(now, config.timezone)),
            scope: config.scope.clone(),
        }
    }

    /// Today's date.
    pub fn today(&self) -> NaiveDate {
        lake::date_of(self.now, self.zone)
    }

    /// The first day that a window from `from` may write. A call that ended after midnight is announced by a webhook on the
    /// date after its own.
    pub fn first_day(&self, from: NaiveDate) -> NaiveDate {
        if self.job.is_of_webhook() {
            from - Days::new(1)
        } else {
            from
        }
    }

    /// The report formats that the job fetches.
    pub fn formats_of_job(&self) -> &[ReportFormat] {
        match self.job.only {
            Some(Only::Recordings) => &[],
            Some(Only::Analytics) | None => &self.formats,
        }
    }

    /// True if the job fetches recordings.
    pub fn wants_recordings(&self) -> bool {
        self.recordings && self.job.only != Some(Only::Analytics)
    }

    /// True if the configuration exports a room.
    pub fn exports_room(&self, room: &RoomId) -> bool {
        (self.scope.rooms.is_empty() || self.scope.rooms.contains(room))
            && !self.scope.exclude_rooms.contains(room)
    }

    /// True if a date is over and its last calls have settled.
    pub fn is_settled(&self, date: NaiveDate) -> bool {
        self.is_settled_at(date, self.now)
    }

    /// True if a date was over at an instant and its last calls had settled.
    pub fn is_settled_at(&self, date: NaiveDate, at: DateTime<Utc>) -> bool {
        let end = lake::end_of(date, self.zone).checked_add_signed(self.settle);
        end.is_some_and(|end| end <= at)
    }

    /// True if a day no longer waits for rooms that the API does not list any more.
    pub fn has_given_up_gone_rooms(&self, date: NaiveDate) -> bool {
        self.give_up.is_over(lake::end_of(date, self.zone))
    }
}
