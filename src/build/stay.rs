//! How long somebody was there: sessions to a duration. Pure.

use super::cell::Session;

/// What a participant's sessions add up to; times in microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stay {
    /// The start of the first session.
    pub first_joined: Option<i64>,
    /// The end of the last one; none where that is open and the call's end is not known.
    pub last_left: Option<i64>,
    /// Seconds, overlapping sessions counted once; none where an open session can't be closed.
    pub seconds: Option<f64>,
}

/// Adds up sessions, which must be sorted. An open one ends with the call.
pub(super) fn stay(sessions: &[Session], call_end: Option<i64>) -> Stay {
    let (mut total, mut until) = (0_i64, i64::MIN);
    let mut ends = true;
    for session in sessions {
        // One that begins after the call's end has no length.
        let Some(left) = session.left.or(call_end.map(|end| end.max(session.joined))) else {
            ends = false;
            continue;
        };
        total = total.saturating_add(left.saturating_sub(until.max(session.joined)).max(0));
        until = until.max(left);
    }
    // Microseconds of any real stay are exact in a double.
    #[allow(clippy::cast_precision_loss)]
    let seconds = ends.then_some(total as f64 / 1e6);
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

    proptest! {
        /// The reference: every second of the call is asked whether some session covers it.
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
