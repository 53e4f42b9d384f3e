//! When what does not come is given up: `export.give_up` after the end of its call or record. Pure; called by `day`.
//!
//! It is then *lost*: named once, no longer asked for by nightly runs, and no reason to come back to its day.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::lake::manifest::{CallEntry, Landing, RecordEntry, Status};
use crate::lenient;

/// Failures before something is given up: a fault on the way says little of a call of long ago.
const FAILURES: u32 = 3;

/// How long is waited, and until when that is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GiveUpPolicy {
    give_up: TimeDelta,
    now: DateTime<Utc>,
}

impl GiveUpPolicy {
    pub fn new(give_up: Duration, now: DateTime<Utc>) -> Self {
        Self {
            give_up: TimeDelta::from_std(give_up).unwrap_or(TimeDelta::MAX),
            now,
        }
    }

    /// Whether what should have come after an instant has had its time.
    pub fn is_over(&self, since: DateTime<Utc>) -> bool {
        since
            .checked_add_signed(self.give_up)
            .is_some_and(|end| end <= self.now)
    }

    /// Gives up what was just asked for in vain, once its time is over. Says whether it did.
    pub fn give_up(&self, landing: &mut Landing, since: DateTime<Utc>) -> bool {
        let in_vain = match landing.status {
            Status::Pending => true,
            Status::Failed => landing.attempts >= FAILURES,
            Status::Done | Status::Denied | Status::Unavailable | Status::Lost => false,
        };
        if !in_vain || !self.is_over(since) {
            return false;
        }
        landing.status = Status::Lost;
        let why = landing.reason.take().unwrap_or_else(|| "it never came".into());
        landing.reason = Some(format!("lost: {why}"));
        true
    }
}

/// From when on a call's reports are waited for: its end; where none is known, its start, or the end of its date.
pub(crate) fn end_of_call(entry: &CallEntry, date: NaiveDate) -> DateTime<Utc> {
    entry
        .finished_at
        .or(entry.started_at)
        .unwrap_or_else(|| end_of(date))
}

/// From when on a record's file is waited for.
pub(crate) fn end_of_record(entry: &RecordEntry, date: NaiveDate) -> DateTime<Utc> {
    let created = || entry.record.get("createdAt").and_then(lenient::instant);
    entry
        .finished_at
        .or(entry.started_at)
        .or_else(created)
        .unwrap_or_else(|| end_of(date))
}

/// The end of a date to within a zone's offset, which does not matter here.
fn end_of(date: NaiveDate) -> DateTime<Utc> {
    crate::lake::end_of(date, chrono_tz::Tz::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn what_is_pending_is_lost_when_its_time_is_over_and_not_before() {
        let end = at("2026-11-01T10:00:00Z");
        let day = Duration::from_secs(24 * 3600);
        for (now, lost) in [("2026-11-02T09:59:59Z", false), ("2026-11-02T10:00:00Z", true)] {
            let mut landing = Landing::pending("no report yet");
            assert_eq!(GiveUpPolicy::new(day, at(now)).give_up(&mut landing, end), lost);
            assert_eq!(landing.status == Status::Lost, lost);
            assert_eq!(
                landing.reason.as_deref() == Some("lost: no report yet"),
                lost,
                "{landing:?}"
            );
        }
    }

    #[test]
    fn one_failure_long_after_is_no_reason_to_give_up() {
        let patience = GiveUpPolicy::new(Duration::from_secs(1), at("2026-11-01T10:00:00Z"));
        for (attempts, lost) in [(1, false), (2, false), (3, true)] {
            let mut landing = Landing {
                status: Status::Failed,
                attempts,
                ..Landing::pending("500")
            };
            assert_eq!(
                patience.give_up(&mut landing, at("2020-01-01T00:00:00Z")),
                lost,
                "{attempts}"
            );
        }
        for status in [Status::Done, Status::Denied, Status::Unavailable, Status::Lost] {
            let mut landing = Landing {
                status,
                attempts: 9,
                ..Landing::pending("x")
            };
            assert!(!patience.give_up(&mut landing, at("2020-01-01T00:00:00Z")));
        }
    }

    #[test]
    fn a_patience_beyond_all_time_never_ends() {
        let patience = GiveUpPolicy::new(Duration::MAX, DateTime::<Utc>::MAX_UTC);
        assert!(!patience.is_over(at("2020-01-01T00:00:00Z")));
    }
}
