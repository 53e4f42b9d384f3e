//! Counts of the people in a report, and the defect that keeps a report from being its call's. Pure.

use crate::lake::manifest::{Landing, Shortfall, Status};

/// Counts of the people in a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turnout {
    /// People about whom the mapping finds anything.
    pub people: u64,
    /// People whom the report does not call absent.
    pub present: u64,
    /// Their stays that could be read.
    pub sessions: u64,
    /// Their stays that could not be read.
    pub sessions_unreadable: u64,
}

impl Turnout {
    /// The defect of the report, if the call counts this many participants.
    pub fn shortfall(&self, counted: Option<i64>) -> Option<Shortfall> {
        let counts_people = counted.is_some_and(|count| count > 0);
        if counts_people && self.people == 0 {
            return Some(Shortfall::Nobody);
        }
        let says_absent = counts_people && self.present == 0;
        let is_timeless = self.sessions == 0 && (self.sessions_unreadable > 0 || says_absent);
        is_timeless.then_some(Shortfall::Timeless)
    }
}

/// The landing with the status that a build finds for its report; none if it is unchanged. Another mapping may find
/// people where the previous one found none, and vice versa.
pub fn corrected(
    landing: &Landing,
    shortfall: Option<Shortfall>,
    participants: Option<u64>,
) -> Option<Landing> {
    let before = landing.shortfall();
    let mut corrected = landing.clone();
    match (landing.status, shortfall) {
        (Status::Done, Some(lack)) => {
            corrected.status = lack.status();
            corrected.reason = Some(lack.reason().into());
            corrected.attempts = 1;
        }
        (Status::Pending | Status::Lost, None) if before.is_some() => corrected.finish(),
        (Status::Failed, None) if before == Some(Shortfall::Unreadable) => corrected.finish(),
        (Status::Pending | Status::Failed, Some(lack)) if before.is_some_and(|before| before != lack) => {
            corrected.status = lack.status();
            corrected.reason = Some(lack.reason().into());
        }
        _ => {}
    }
    let landed = corrected.landed.as_mut()?;
    landed.shortfall = shortfall;
    // A report that can't be read now keeps its earlier count.
    landed.participants = participants.or(landed.participants);
    (corrected != *landing).then_some(corrected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::manifest::Landed;

    fn turnout(people: u64, present: u64, sessions: u64, sessions_unreadable: u64) -> Turnout {
        Turnout {
            people,
            present,
            sessions,
            sessions_unreadable,
        }
    }

    #[test]
    fn a_report_without_people_or_times_falls_short() {
        for (found, counted, lack) in [
            (turnout(0, 0, 0, 0), Some(5), Some(Shortfall::Nobody)),
            (turnout(0, 0, 0, 0), Some(0), None),
            (turnout(0, 0, 0, 0), None, None),
            (turnout(5, 5, 0, 3), Some(5), Some(Shortfall::Timeless)),
            (turnout(5, 5, 0, 3), None, Some(Shortfall::Timeless)),
            (turnout(5, 5, 1, 3), Some(5), None),
            // The report says nothing of sessions: all were there.
            (turnout(5, 5, 0, 0), Some(5), None),
            // All were absent from a call that counts people.
            (turnout(5, 0, 0, 0), Some(5), Some(Shortfall::Timeless)),
            (turnout(5, 0, 0, 0), Some(0), None),
        ] {
            assert_eq!(found.shortfall(counted), lack, "{found:?} of {counted:?}");
        }
    }

    fn landing(status: Status, shortfall: Option<Shortfall>) -> Landing {
        Landing {
            status,
            reason: (status != Status::Done).then(|| "why".into()),
            attempts: u32::from(status != Status::Done),
            landed: Some(Landed {
                key: "k".into(),
                bytes: 1,
                sha256: "a".into(),
                landed_at: chrono::DateTime::UNIX_EPOCH,
                usable: true,
                participants: Some(2),
                shortfall,
                of: None,
                put_aside: false,
                erased: Default::default(),
                deleted_at: None,
            }),
        }
    }

    #[test]
    fn a_build_corrects_a_status_that_its_mapping_contradicts() {
        use Shortfall::{Nobody, Timeless, Unreadable};
        use Status::{Denied, Done, Failed, Lost, Pending};
        for (status, before, now, then) in [
            (Done, None, Some(Nobody), Pending),
            (Done, None, Some(Timeless), Pending),
            (Done, None, Some(Unreadable), Failed),
            (Done, None, None, Done),
            (Pending, Some(Nobody), None, Done),
            (Lost, Some(Timeless), None, Done),
            (Failed, Some(Unreadable), None, Done),
            (Pending, Some(Nobody), Some(Timeless), Pending),
            // The report in the lake is good, and another one is awaited.
            (Pending, None, None, Pending),
            (Failed, None, None, Failed),
            (Denied, None, Some(Nobody), Denied),
            (Lost, Some(Nobody), Some(Nobody), Lost),
        ] {
            let landing = landing(status, before);
            let corrected = corrected(&landing, now, Some(2)).unwrap_or_else(|| landing.clone());
            assert_eq!(corrected.status, then, "{status:?} {before:?} {now:?}");
            assert_eq!(corrected.shortfall(), now);
            assert_eq!(corrected.reason.is_none(), then == Done, "{corrected:?}");
        }
        assert_eq!(corrected(&landing(Done, None), None, Some(2)), None);
    }

    #[test]
    fn an_earlier_versions_count_of_nobody_is_a_shortfall() {
        let mut old = landing(Status::Pending, None);
        if let Some(landed) = &mut old.landed {
            landed.participants = Some(0);
        }
        assert_eq!(old.shortfall(), Some(Shortfall::Nobody));
        let now = corrected(&old, None, Some(3)).expect("a correction");
        assert_eq!((now.status, now.attempts), (Status::Done, 0));
        assert_eq!(now.landed.and_then(|landed| landed.participants), Some(3));
    }
}
