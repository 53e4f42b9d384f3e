//! Finds stays outside their call, mostly because their times are in another zone than the mapping assumes. Pure.

use crate::tables::parquet::cell::Session;

const MINUTE: i64 = 60_000_000;
/// Microseconds by which a stay may miss its call.
const TOLERANCE: i64 = 5 * MINUTE;
/// Offsets of zones are multiples of this.
const STEP_MINUTES: i64 = 15;
/// No zone is further from UTC.
const MOST_STEPS: i64 = 14 * 60 / STEP_MINUTES;

/// Most stays of a report miss their call by over 5 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutsideCall {
    /// The number of such stays.
    pub stays: u64,
    /// The number of all stays in the report.
    pub of: u64,
    /// Minutes by which the furthest stay misses the call.
    pub minutes: i64,
    /// The offset, in minutes from the zone that they were read in, of a zone in which most of them would lie within the
    /// call.
    pub zone: Option<i64>,
}

impl OutsideCall {
    /// The sentence of the warning.
    pub fn sentence(&self) -> String {
        let Self {
            stays,
            of,
            minutes,
            zone,
        } = self;
        let missed = format!(
            "{stays} of {of} stays of the report lie outside their call, the furthest by {minutes} min"
        );
        match zone {
            Some(zone) => {
                let (sign, way) = if *zone < 0 {
                    ('-', "later")
                } else {
                    ('+', "earlier")
                };
                let (hours, rest) = (zone.abs() / 60, zone.abs() % 60);
                let length = match rest {
                    0 => format!("{hours} h"),
                    _ => format!("{hours} h {rest} min"),
                };
                format!(
                    "{missed}; they would fit if they were {length} {way}: set `zone` in the mapping, to one of \
                     {sign}{hours:02}:{rest:02} if it has none yet"
                )
            }
            None => format!("{missed}; no zone makes most of them fit"),
        }
    }
}

/// The stays that miss a call; none if they are not more than half of all, because single ones can be right. Times are in microseconds. An unknown start or end of the call is
/// never missed.
pub(crate) fn outside(sessions: &[Session], start: Option<i64>, end: Option<i64>) -> Option<OutsideCall> {
    let by = |session: &Session, shift: i64| {
        let joined = session.joined.saturating_add(shift);
        // An open stay is known only by its start.
        let left = session.left.unwrap_or(session.joined).saturating_add(shift);
        let early = start.map_or(0, |start| start.saturating_sub(left));
        let late = end.map_or(0, |end| joined.saturating_sub(end));
        early.max(late)
    };
    let outside: Vec<_> = sessions
        .iter()
        .filter(|session| by(session, 0) > TOLERANCE)
        .collect();
    if 2 * outside.len() <= sessions.len() {
        return None;
    }
    let furthest = outside.iter().map(|session| by(session, 0)).max()?;
    let within = |shift: i64| {
        let fits = |session: &&&Session| {
            let joined = session.joined.saturating_add(shift);
            let left = session.left.unwrap_or(session.joined).saturating_add(shift);
            start.is_none_or(|start| joined >= start.saturating_sub(TOLERANCE))
                && end.is_none_or(|end| left <= end.saturating_add(TOLERANCE))
        };
        outside.iter().filter(fits).count()
    };
    let zone = (-MOST_STEPS..=MOST_STEPS)
        .map(|steps| steps * STEP_MINUTES)
        .map(|zone| (within(-zone * MINUTE), zone))
        .filter(|(fit, _)| 2 * fit > outside.len())
        // If several offsets fit equally well, prefer whole hours, then the nearest to UTC.
        .min_by_key(|(fit, zone)| (usize::MAX - fit, zone % 60 != 0, zone.abs()))
        .map(|(_, zone)| zone);
    Some(OutsideCall {
        stays: outside.len() as u64,
        of: sessions.len() as u64,
        minutes: furthest / MINUTE,
        zone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_795_341_600_000_000;

    /// Sessions from and to minutes after the start of a call of an hour.
    fn told(sessions: &[(i64, Option<i64>)]) -> Option<OutsideCall> {
        let at = |minutes: i64| START + minutes * MINUTE;
        let sessions: Vec<_> = sessions
            .iter()
            .map(|(joined, left)| Session {
                joined: at(*joined),
                left: left.map(at),
            })
            .collect();
        outside(&sessions, Some(START), Some(at(60)))
    }

    #[test]
    fn stays_outside_their_call_are_reported_with_a_fitting_zone() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[(-10, Some(-5)), (65, None), (-300, Some(300))]), None);
        let moscow = told(&[(180, Some(240)), (185, Some(200)), (190, None)]).expect("outside");
        assert_eq!(
            (moscow.stays, moscow.of, moscow.minutes, moscow.zone),
            (3, 3, 130, Some(180))
        );
        assert!(moscow.sentence().contains("3 h earlier"), "{}", moscow.sentence());
        assert!(moscow.sentence().contains("+03:00"), "{}", moscow.sentence());
        assert_eq!(told(&[(-240, Some(-190)), (0, Some(60))]), None);
        let west = told(&[(-240, Some(-190)), (0, Some(60)), (-230, Some(-200))]).expect("outside");
        assert_eq!((west.stays, west.of, west.zone), (2, 3, Some(-240)));
        assert!(west.sentence().contains("4 h later"), "{}", west.sentence());
        assert!(west.sentence().contains("-04:00"));
        let lost = told(&[(100_000, Some(100_001))]).expect("outside");
        assert_eq!((lost.minutes, lost.zone), (99_940, None));
    }

    #[test]
    fn an_unknown_edge_of_a_call_is_not_missed() {
        let session = |joined: i64| Session { joined, left: None };
        assert_eq!(outside(&[session(0), session(i64::MAX)], None, None), None);
        assert!(outside(&[session(START + 1000 * MINUTE)], Some(START), None).is_none());
        assert!(outside(&[session(i64::MIN)], Some(START), None).is_some());
    }
}
