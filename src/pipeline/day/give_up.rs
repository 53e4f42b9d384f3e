//! Decides when a report or a recording that does not come is given up: `export.give_up` after the end of its call or
//! record. Pure; called by `day`.
//!
//! It then has the status *lost*: one run names it, nightly runs no longer ask for it, and it does not keep its day open.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::lake::manifest::{CallEntry, Landing, RecordEntry, Status};
use crate::lenient;

/// Failed attempts before something is given up. A call may be long past when it is first asked for, so one failure in
/// transit must not be enough.
const FAILURES: u32 = 3;

/// The waiting time before something is given up, and the present.
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

    /// True if the waiting time since an instant is over.
    pub fn is_over(&self, since: DateTime<Utc>) -> bool {
        since
            .checked_add_signed(self.give_up)
            .is_some_and(|end| end <= self.now)
    }

    /// Gives up what was just asked for in vain if its waiting time is over. Returns true if it did.
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

/// The instant from which a call's reports are waited for: its end, or else its start, or else the end of its date.
pub(crate) fn end_of_call(entry: &CallEntry, date: NaiveDate) -> DateTime<Utc> {
    entry
        .finished_at
        .or(entry.started_at)
        .unwrap_or_else(|| end_of(date))
}

/// The instant from which a record's file is waited for.
pub(crate) fn end_of_record(entry: &RecordEntry, date: NaiveDate) -> DateTime<Utc> {
    let created = || {
        let created = entry.record.field("createdAt");
        created.and_then(|created| lenient::instant(&created))
    };
    entry
        .finished_at
        .or(entry.started_at)
        .or_else(created)
        .unwrap_or_else(|| end_of(date))
}

/// The end of a date in UTC. The zone's offset does not matter here.
fn end_of(date: NaiveDate) -> DateTime<Utc> {
    crate::lake::end_of(date, chrono_tz::Tz::UTC)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn a_pending_report_is_lost_when_its_waiting_time_is_over_and_not_before() {
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
    fn three_failures_after_the_waiting_time_give_a_report_up_and_one_does_not() {
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
    fn a_waiting_time_beyond_all_time_never_ends() {
        let patience = GiveUpPolicy::new(Duration::MAX, DateTime::<Utc>::MAX_UTC);
        assert!(!patience.is_over(at("2020-01-01T00:00:00Z")));
    }

    #[test]
    fn the_waiting_time_of_a_call_begins_at_the_latest_instant_that_is_known() {
        let date: NaiveDate = "2026-11-20".parse().expect("a date");
        let entry = |started_at: Option<&str>, finished_at: Option<&str>| CallEntry {
            room_id: "r".into(),
            started_at: started_at.map(at),
            finished_at: finished_at.map(at),
            participants: None,
            call: serde_json::json!({}).into(),
            pending: None,
            reports: crate::small_map::SmallMap::default(),
        };
        let (start, end) = ("2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z");
        assert_eq!(end_of_call(&entry(Some(start), Some(end)), date), at(end));
        assert_eq!(end_of_call(&entry(Some(start), None), date), at(start));
        assert_eq!(end_of_call(&entry(None, None), date), end_of(date));
    }

    #[test]
    fn the_waiting_time_of_a_record_may_begin_at_its_creation() {
        let date: NaiveDate = "2026-11-20".parse().expect("a date");
        let entry = |record: serde_json::Value| RecordEntry {
            room_id: "r".into(),
            call_id: None,
            started_at: None,
            finished_at: None,
            record: record.into(),
            file: Landing::pending("new"),
        };
        let created = "2026-11-20T10:00:00Z";
        let of = |record| end_of_record(&entry(record), date);
        assert_eq!(of(serde_json::json!({"createdAt": created})), at(created));
        assert_eq!(of(serde_json::json!({"createdAt": "soon"})), end_of(date));
    }

    proptest! {
        #[test]
        fn nothing_is_given_up_before_its_waiting_time_is_over(
            wait in 0_u64..2_000_000, passed in 0_i64..2_000_000, attempts in 0_u32..6, status in 0_usize..6,
        ) {
            let statuses = [
                Status::Pending,
                Status::Failed,
                Status::Done,
                Status::Denied,
                Status::Unavailable,
                Status::Lost,
            ];
            let before = Landing {
                status: statuses[status],
                attempts,
                ..Landing::pending("why")
            };
            let since = at("2026-11-01T10:00:00Z");
            let policy = GiveUpPolicy::new(Duration::from_secs(wait), since + TimeDelta::seconds(passed));
            let mut after = before.clone();
            let gave_up = policy.give_up(&mut after, since);
            if gave_up {
                prop_assert!(passed >= i64::try_from(wait).expect("seconds"));
                prop_assert!(before.status == Status::Pending || attempts >= FAILURES);
                prop_assert_eq!(after.status, Status::Lost);
            } else {
                prop_assert_eq!(after, before);
            }
        }
    }
}
