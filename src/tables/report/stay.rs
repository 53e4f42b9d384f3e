//! Turns the stays of a report into sessions, and sessions into durations. Pure.

use chrono::{DateTime, Utc};

use crate::lenient::{self, Reading};
use crate::tables::parquet::cell::{Cell, Session};

/// Microseconds by which an end may lie before its start, because clocks differ. The stay is then 0 s long.
const CLOCK_JITTER: i64 = 5_000_000;

/// A stay as it could be read from a report. In each case the person was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportedStay {
    /// Both times; the session is open if the report has no end.
    Read(Session),
    /// Only the start: the end can't be read, or lies far before the start. The session is open.
    EndUnreadable(Session),
    /// Not even the start.
    Unreadable,
}

/// Reads a stay from its two times.
pub(crate) fn read_stay(joined: Reading<DateTime<Utc>>, left: Reading<DateTime<Utc>>) -> ReportedStay {
    let Reading::Read(joined) = joined else {
        return ReportedStay::Unreadable;
    };
    let joined = joined.timestamp_micros();
    let open = Session { joined, left: None };
    let until = |left: i64| {
        let left = Some(left);
        ReportedStay::Read(Session { joined, left })
    };
    match left {
        Reading::Absent => ReportedStay::Read(open),
        Reading::Unreadable => ReportedStay::EndUnreadable(open),
        Reading::Read(left) => match left.timestamp_micros() {
            left if left >= joined => until(left),
            left if joined - left <= CLOCK_JITTER => until(joined),
            _ => ReportedStay::EndUnreadable(open),
        },
    }
}

impl ReportedStay {
    /// The stay with an end, if it has none and its length in seconds is known.
    pub fn lasting(self, length: Option<f64>) -> Self {
        let length = length.filter(|length| length.is_finite() && *length >= 0.0);
        let (Some(length), Self::Read(session) | Self::EndUnreadable(session)) = (length, self) else {
            return self;
        };
        if session.left.is_some() {
            return self;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float that is too large becomes the largest number"
        )]
        let micros = (length * 1e6).round() as i64;
        let left = Some(session.joined.saturating_add(micros)).filter(|left| is_possible(*left));
        let ended = Session { left, ..session };
        match self {
            Self::Read(_) if left.is_some() => Self::Read(ended),
            _ => Self::EndUnreadable(ended),
        }
    }
}

/// All stays of one person in a report.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ReportedStays {
    /// The stays that could be read; none if the report says nothing about stays.
    pub sessions: Option<Vec<Session>>,
    /// The number of stays whose start can't be read.
    pub unreadable: u64,
    /// The number of values that can't be read.
    pub bad: u64,
}

impl ReportedStays {
    /// Adds a stay.
    pub fn add(&mut self, stay: ReportedStay) {
        let sessions = self.sessions.get_or_insert_default();
        match stay {
            ReportedStay::Read(session) => sessions.push(session),
            ReportedStay::EndUnreadable(session) => {
                sessions.push(session);
                self.bad += 1;
            }
            ReportedStay::Unreadable => self.add_unreadable(),
        }
    }

    /// The number of sessions that could be read.
    pub fn len(&self) -> usize {
        self.sessions.as_ref().map_or(0, Vec::len)
    }

    /// Counts something that can't be read in the place of a stay.
    pub fn add_unreadable(&mut self) {
        self.unreadable += 1;
        self.bad += 1;
    }

    /// The cells of `sessions` and `sessions_unreadable`. An empty list says that the person was absent, so it never
    /// stands for stays that could not be read.
    pub fn cells<'v>(self) -> (Cell<'v>, Cell<'v>) {
        let sessions = self
            .sessions
            .filter(|sessions| !sessions.is_empty() || self.unreadable == 0);
        (
            sessions.map_or(Cell::Null, |sessions| Cell::Sessions(sessions.into())),
            Cell::count(self.unreadable),
        )
    }
}

/// True if an instant in microseconds lies in a year in which a call can take place.
fn is_possible(micros: i64) -> bool {
    DateTime::from_timestamp_micros(micros).is_some_and(|instant| lenient::is_sane(&instant))
}

/// Seconds from microseconds.
#[expect(clippy::cast_precision_loss, reason = "exact up to 285 years")]
pub(crate) fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// Seconds from one instant to another, both in microseconds; 0 if the other is earlier.
pub(crate) fn seconds_between(from: Option<i64>, to: Option<i64>) -> Option<f64> {
    Some(seconds(to?.saturating_sub(from?).max(0)))
}

/// The totals of a participant's sessions; times in microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stay {
    /// The start of the first session.
    pub first_joined: Option<i64>,
    /// The end of the last session; none if a session is open and the call's end is unknown.
    pub last_left: Option<i64>,
    /// Seconds; overlapping sessions count once. None if an open session has no end.
    pub seconds: Option<f64>,
}

/// Adds up sessions, which must be sorted. An open session ends with the call.
pub(crate) fn stay(sessions: &[Session], call_end: Option<i64>) -> Stay {
    let (mut total, mut until) = (0_i64, i64::MIN);
    let mut ends = true;
    for session in sessions {
        // A session that begins after the call's end has no length.
        let Some(left) = session.left.or(call_end.map(|end| end.max(session.joined))) else {
            ends = false;
            continue;
        };
        total = total.saturating_add(left.saturating_sub(until.max(session.joined)).max(0));
        until = until.max(left);
    }
    let seconds = ends.then(|| seconds(total));
    Stay {
        first_joined: sessions.first().map(|session| session.joined),
        last_left: (ends && !sessions.is_empty()).then_some(until),
        seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn session(joined: i64, left: Option<i64>) -> Session {
        Session { joined, left }
    }

    #[test]
    fn overlaps_count_once_and_an_open_session_ends_with_the_call() {
        let s = 1_000_000;
        let sessions = [
            session(0, Some(10 * s)),
            session(5 * s, Some(12 * s)),
            session(20 * s, None),
        ];
        let there = stay(&sessions, Some(30 * s));
        assert_eq!(
            (there.first_joined, there.last_left, there.seconds),
            (Some(0), Some(30 * s), Some(22.0))
        );
        let open = stay(&sessions, None);
        assert_eq!(
            (open.first_joined, open.last_left, open.seconds),
            (Some(0), None, None)
        );
        let none = stay(&[], None);
        assert_eq!(
            (none.first_joined, none.last_left, none.seconds),
            (None, None, Some(0.0))
        );
    }

    fn read(text: &str) -> Reading<DateTime<Utc>> {
        match text {
            "" => Reading::Absent,
            "?" => Reading::Unreadable,
            text => Reading::Read(format!("2026-11-22T{text}Z").parse().expect("an instant")),
        }
    }

    #[test]
    fn a_readable_start_is_kept_with_any_end() {
        let joined = 1_795_341_600_000_000;
        let until = |left| session(joined, left);
        for (left, expected) in [
            ("10:00:01", ReportedStay::Read(until(Some(joined + 1_000_000)))),
            ("10:00:00", ReportedStay::Read(until(Some(joined)))),
            ("", ReportedStay::Read(until(None))),
            ("09:59:55", ReportedStay::Read(until(Some(joined)))),
            ("09:59:54", ReportedStay::EndUnreadable(until(None))),
            ("?", ReportedStay::EndUnreadable(until(None))),
        ] {
            assert_eq!(read_stay(read("10:00:00"), read(left)), expected, "{left}");
        }
        for joined in ["", "?"] {
            for left in ["", "?", "10:00:00"] {
                assert_eq!(read_stay(read(joined), read(left)), ReportedStay::Unreadable);
            }
        }
    }

    #[test]
    fn a_length_gives_the_end_of_a_stay_without_one() {
        let joined = 1_795_341_600_000_000;
        let open = session(joined, None);
        let until = |left| session(joined, Some(joined + left));
        let read = ReportedStay::Read;
        assert_eq!(read(open).lasting(Some(60.5)), read(until(60_500_000)));
        assert_eq!(read(open).lasting(Some(0.0)), read(until(0)));
        assert_eq!(read(open).lasting(None), read(open));
        assert_eq!(read(open).lasting(Some(-1.0)), read(open));
        assert_eq!(read(open).lasting(Some(1e300)), ReportedStay::EndUnreadable(open));
        assert_eq!(read(until(5)).lasting(Some(60.0)), read(until(5)));
        // The end that can't be read stays counted.
        let counted = ReportedStay::EndUnreadable;
        assert_eq!(counted(open).lasting(Some(1.0)), counted(until(1_000_000)));
        assert_eq!(
            ReportedStay::Unreadable.lasting(Some(1.0)),
            ReportedStay::Unreadable
        );
    }

    #[test]
    fn only_an_empty_list_gives_an_empty_cell() {
        let mut stays = ReportedStays::default();
        stays.add_unreadable();
        assert_eq!(stays.cells(), (Cell::Null, Cell::Int(1)));
        assert_eq!(ReportedStays::default().cells(), (Cell::Null, Cell::Int(0)));
        let empty = ReportedStays {
            sessions: Some(Vec::new()),
            ..ReportedStays::default()
        };
        assert_eq!(empty.cells(), (Cell::Sessions([].into()), Cell::Int(0)));
        let mut some = ReportedStays::default();
        some.add(ReportedStay::Unreadable);
        some.add(ReportedStay::EndUnreadable(session(1, None)));
        assert_eq!(some.bad, 2);
        assert_eq!(
            some.cells(),
            (Cell::Sessions([session(1, None)].into()), Cell::Int(1))
        );
    }

    proptest! {
        /// The reference counts each second of the call that some session covers.
        #[test]
        fn the_duration_is_the_number_of_covered_seconds(
            mut spans in proptest::collection::vec((0_i64..80, proptest::option::of(0_i64..40)), 0..12),
            end in 0_i64..100,
        ) {
            spans.sort_unstable();
            let mut sessions: Vec<_> = spans
                .iter()
                .map(|(joined, length)| session(joined * 1_000_000, length.map(|length| (joined + length) * 1_000_000)))
                .collect();
            sessions.sort_unstable();
            let covered = (0..200_i64)
                .filter(|second| {
                    spans.iter().any(|(joined, length)| {
                        let left = length.map_or(end, |length| joined + length);
                        joined <= second && *second < left
                    })
                })
                .count();
            let there = stay(&sessions, Some(end * 1_000_000));
            prop_assert_eq!(there.seconds, Some(covered as f64));
        }
    }
}
