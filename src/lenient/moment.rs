//! A point in time as far as a text states it, and its most common forms, read byte by byte: a parser of formats takes many times
//! as long. Pure.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

/// A point in time, as far as a text states it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Moment {
    Utc(DateTime<Utc>),
    /// A date and a time without a zone.
    Local(NaiveDateTime),
}

impl Moment {
    /// The instant, if a time without a zone is in `zone`. If the clocks were set back, it is the first of the two
    /// possible instants; if they were set forward over it, it is what a clock shows that was not set.
    pub(super) fn utc(self, zone: Tz) -> DateTime<Utc> {
        /// No clock is set by more than this.
        const LONGEST_GAP: TimeDelta = TimeDelta::days(2);
        let local = match self {
            Self::Utc(instant) => return instant,
            Self::Local(local) if zone == Tz::UTC => return local.and_utc(),
            Self::Local(local) => local,
        };
        let known = zone.from_local_datetime(&local).earliest().or_else(|| {
            let before = local.checked_sub_signed(LONGEST_GAP)?;
            zone.from_local_datetime(&before)
                .earliest()?
                .checked_add_signed(LONGEST_GAP)
        });
        known.map_or_else(|| local.and_utc(), |instant| instant.to_utc())
    }
}

/// The two most common forms of a time, without a parser of formats.
pub(super) fn plain_time(text: &[u8]) -> Option<NaiveTime> {
    let (hour, minute, second) = match *text {
        [h, i, b':', m, n] => (pair(h, i), pair(m, n), Some(0)),
        [h, i, b':', m, n, b':', s, t] => (pair(h, i), pair(m, n), pair(s, t)),
        _ => return None,
    };
    NaiveTime::from_hms_opt(hour?, minute?, second?)
}

/// The most common forms of an instant: `YYYY-MM-DD HH:MM[:SS]`, also with `T`, and with `Z` behind seconds and their fraction.
pub(super) fn plain_moment(text: &str) -> Option<Moment> {
    let (date, rest) = text.as_bytes().split_at_checked(11)?;
    let &[c, y, e, a, b'-', m, n, b'-', d, f, b' ' | b'T'] = date else {
        return None;
    };
    let year = pair(c, y)? * 100 + pair(e, a)?;
    let date = NaiveDate::from_ymd_opt(year.try_into().ok()?, pair(m, n)?, pair(d, f)?)?;
    Some(match rest.len() {
        ..9 => Moment::Local(date.and_time(plain_time(rest)?)),
        9.. => {
            let (time, fraction) = rest.strip_suffix(b"Z")?.split_at_checked(8)?;
            let time = plain_time(time)?.with_nanosecond(nanoseconds(fraction)?)?;
            Moment::Utc(date.and_time(time).and_utc())
        }
    })
}

/// The nanoseconds of a fraction of a second, which begins with a dot; 0 if there is none.
fn nanoseconds(fraction: &[u8]) -> Option<u32> {
    let digits = match fraction {
        [] => return Some(0),
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    let padding = std::iter::repeat_n(&b'0', 9 - digits.len());
    digits.iter().chain(padding).try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u32::from(digit - b'0'))
    })
}

/// The number of two digits.
fn pair(tens: u8, ones: u8) -> Option<u32> {
    let is_number = tens.is_ascii_digit() && ones.is_ascii_digit();
    is_number.then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}
