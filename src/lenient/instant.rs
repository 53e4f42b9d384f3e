//! Instants in the notations that the vendor, the schools' systems and other platforms write. Pure.

use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::moment::{Moment, plain_moment, plain_time};
use super::{Reading, Scalar};

/// The first epoch number that is read as milliseconds, because as seconds it would lie beyond the year 5138.
const FIRST_MILLISECONDS: f64 = 1e11;
/// The first number that is no instant: the year 5138 in milliseconds.
const END_OF_MILLISECONDS: f64 = 1e14;
/// The years in which an instant may lie. Date arithmetic panics far outside of them.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2200;

/// The first serial day of Excel that is an instant, and the first that is none: 1970-01-01 and 2201-01-01.
pub(crate) const SERIAL_DAYS: std::ops::Range<f64> = 25_569.0..109_940.0;
/// Milliseconds in a day.
const DAY_MS: f64 = 86_400_000.0;
/// Most bytes of a text that can be an instant.
const MOST_TEXT: usize = 100;

/// How instants are read beyond the notations that are built in.
#[derive(Debug, Clone, PartialEq)]
pub struct InstantRules {
    /// The zone of times that state none.
    pub zone: Tz,
    formats: Vec<Format>,
}

/// A format of chrono's `strftime`.
#[derive(Debug, Clone, PartialEq)]
struct Format {
    items: Vec<Item<'static>>,
    /// True if it has no time of day: then it means the first moment of its date.
    is_date: bool,
}

impl Default for InstantRules {
    fn default() -> Self {
        Self {
            zone: Tz::UTC,
            formats: Vec::new(),
        }
    }
}

impl InstantRules {
    /// Rules with formats that are tried before the built-in notations; the error is only the reason.
    pub fn new(zone: Tz, formats: &[String]) -> Result<Self, String> {
        let formats = formats.iter().map(|text| Format::parse(text));
        Ok(Self {
            zone,
            formats: formats.collect::<Result<_, _>>()?,
        })
    }

    /// Reads an instant as [`read_instant`] does, but with these formats first and in this zone.
    pub fn read<'v>(&self, value: impl Into<Scalar<'v>>) -> Reading<DateTime<Utc>> {
        let value = value.into();
        let formatted = match value {
            _ if self.formats.is_empty() => None,
            Scalar::Text(text) => self.formatted(text),
            Scalar::Number(number) => self.formatted(&number.to_string()),
            _ => None,
        };
        match formatted {
            Some(instant) => Reading::of(Some(instant).filter(is_sane)),
            None => read_in(value, self.zone),
        }
    }

    fn formatted(&self, text: &str) -> Option<DateTime<Utc>> {
        if text.len() > MOST_TEXT {
            return None;
        }
        // Some programs write a narrow space that does not break before AM and PM.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.formats
            .iter()
            .find_map(|format| format.read(&text))
            .map(|moment| moment.utc(self.zone))
    }
}

impl Format {
    fn parse(text: &str) -> Result<Self, String> {
        let items = StrftimeItems::new(text)
            .parse_to_owned()
            .map_err(|_| format!("`{text}` is no format of chrono's strftime"))?;
        let is_hour = |item: &Item<'_>| {
            matches!(
                item,
                Item::Numeric(Numeric::Hour | Numeric::Hour12 | Numeric::Timestamp, _)
                    | Item::Fixed(Fixed::RFC2822 | Fixed::RFC3339)
            )
        };
        let format = Self {
            is_date: !items.iter().any(is_hour),
            items,
        };
        // A format that can't read what it writes lacks a part of the date.
        let written = DateTime::UNIX_EPOCH
            .format_with_items(format.items.iter())
            .to_string();
        match format.read(&written) {
            Some(_) => Ok(format),
            None => Err(format!(
                "`{text}` does not state a whole date and time: it needs year, month and day, and `%p` beside `%I`"
            )),
        }
    }

    fn read(&self, text: &str) -> Option<Moment> {
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text, self.items.iter()).ok()?;
        if parsed.offset().is_some() || parsed.timestamp().is_some() {
            let offset = parsed.offset().unwrap_or(0);
            let local = parsed.to_naive_datetime_with_offset(offset).ok()?;
            let utc = local.checked_sub_signed(TimeDelta::seconds(offset.into()))?;
            return Some(Moment::Utc(utc.and_utc()));
        }
        let date = parsed.to_naive_date().ok()?;
        let time = match self.is_date {
            true => NaiveTime::MIN,
            false => parsed.to_naive_time().ok()?,
        };
        Some(Moment::Local(date.and_time(time)))
    }
}

/// Reads an instant, in any of these notations:
///
/// - RFC 3339, also with the offset as `+0300` or `+03`, and without seconds;
/// - `YYYY-MM-DD HH:MM[:SS[.f]]` and `DD.MM.YYYY HH:MM[:SS[.f]]`, a year of two digits is of this century, each with or
///   without a zone behind it: an offset, `Z`, `UTC` or `GMT`;
/// - a date alone, which stands for its first moment; RFC 2822;
/// - seconds or milliseconds since the epoch, as a number or as text of one; a number from 25569 to 109940 is a serial
///   day of Excel.
///
/// Without a zone it is UTC. Empty text, `-`, `0` and `false` are placeholders for nothing that some systems write.
/// An instant outside of the years 1970 to 2200 is unreadable.
pub fn read_instant<'v>(value: impl Into<Scalar<'v>>) -> Reading<DateTime<Utc>> {
    read_in(value.into(), Tz::UTC)
}

fn read_in(value: Scalar<'_>, zone: Tz) -> Reading<DateTime<Utc>> {
    match value {
        Scalar::Null | Scalar::Bool(false) => Reading::Absent,
        Scalar::Bool(true) | Scalar::Nested => Reading::Unreadable,
        Scalar::Number(number) if number.as_f64() == Some(0.0) => Reading::Absent,
        Scalar::Number(number) => Reading::of(number.as_f64().and_then(|number| match serial_day(number) {
            Some(local) => Some(Moment::Local(local).utc(zone)),
            None => epoch(number),
        })),
        Scalar::Text(text) => match text.trim() {
            "" | "-" | "–" | "—" | "0" => Reading::Absent,
            text => Reading::of(moment(text).map(|moment| moment.utc(zone)).filter(is_sane)),
        },
    }
}

/// The instant that [`read_instant`] reads, if it reads one.
pub fn instant<'v>(value: impl Into<Scalar<'v>>) -> Option<DateTime<Utc>> {
    read_instant(value).ok()
}

/// True if an instant lies in a year in which a lesson can take place.
pub fn is_sane(instant: &DateTime<Utc>) -> bool {
    YEARS.contains(&instant.year())
}

/// The date and time of a serial day of Excel, which states no zone.
fn serial_day(number: f64) -> Option<NaiveDateTime> {
    if !SERIAL_DAYS.contains(&number) {
        return None;
    }
    let ms = ((number - SERIAL_DAYS.start) * DAY_MS).round();
    Some(DateTime::from_timestamp_millis(ms as i64)?.naive_utc())
}

fn moment(text: &str) -> Option<Moment> {
    plain_moment(text).or_else(|| other_moment(text))
}

fn other_moment(text: &str) -> Option<Moment> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(Moment::Utc(instant.to_utc()));
    }
    if let Ok(number) = text.parse() {
        // A year alone is no epoch.
        let epoch = || epoch(number).filter(|_| text.len() >= 9).map(Moment::Utc);
        return serial_day(number).map(Moment::Local).or_else(epoch);
    }
    let read = || {
        let (local, offset) = split_zone(text)?;
        let local = local_text(local.trim_end())?;
        Some(match offset {
            Some(offset) => Moment::Utc(local.checked_sub_signed(offset)?.and_utc()),
            None => Moment::Local(local),
        })
    };
    read().or_else(|| {
        let instant = DateTime::parse_from_rfc2822(text).ok()?;
        Some(Moment::Utc(instant.to_utc()))
    })
}

/// A date and a time, or a date alone.
fn local_text(text: &str) -> Option<NaiveDateTime> {
    Some(match text.split_once([' ', 'T', 't']) {
        Some((date, time)) => date_text(date.trim_end_matches(','))?.and_time(time_text(time.trim())?),
        None => date_text(text)?.and_time(NaiveTime::MIN),
    })
}

/// Splits a zone off the end of a date and time: `Z`, `UTC`, `GMT`, `+03:00`, `+0300` or `+03`.
fn split_zone(text: &str) -> Option<(&str, Option<TimeDelta>)> {
    for name in ["UTC", "GMT", "Z"] {
        let at = text.len().saturating_sub(name.len());
        if text.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(name)) {
            return Some((&text[..at], Some(TimeDelta::zero())));
        }
    }
    // A date has signs too, so only a sign behind a time begins an offset.
    let signs = |time: usize| text[time..].find(['+', '-']).map(|at| time + at);
    let Some(sign) = text.find(':').and_then(signs) else {
        return Some((text, None));
    };
    let digits: String = text[sign + 1..].split(':').collect();
    let number: i64 = digits.parse().ok()?;
    let minutes = match digits.len() {
        1 | 2 => number * 60,
        4 => number / 100 * 60 + number % 100,
        _ => return None,
    };
    let minutes = if text[sign..].starts_with('-') {
        -minutes
    } else {
        minutes
    };
    (minutes.abs() < 24 * 60).then(|| (&text[..sign], Some(TimeDelta::minutes(minutes))))
}

/// `YYYY-MM-DD`, `DD.MM.YYYY` or `DD.MM.YY`.
fn date_text(text: &str) -> Option<NaiveDate> {
    let number = |text: &str, lengths: &[usize]| -> Option<u32> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && lengths.contains(&text.len());
        plain.then(|| text.parse().ok()).flatten()
    };
    let has_dots = text.contains('.');
    let mut parts = text.split(if has_dots { '.' } else { '-' });
    let (first, month, last) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (year, day) = if has_dots {
        let year = number(last, &[2, 4])?;
        (if last.len() == 2 { 2000 + year } else { year }, first)
    } else {
        (number(first, &[4])?, last)
    };
    NaiveDate::from_ymd_opt(
        year.try_into().ok()?,
        number(month, &[1, 2])?,
        number(day, &[1, 2])?,
    )
}

/// `HH:MM[:SS[.f]]`.
fn time_text(text: &str) -> Option<NaiveTime> {
    plain_time(text.as_bytes()).or_else(|| {
        ["%H:%M:%S%.f", "%H:%M"]
            .iter()
            .find_map(|form| NaiveTime::parse_from_str(text, form).ok())
    })
}

/// An instant as seconds or milliseconds since the epoch, if it lies in a year of [`is_sane`].
pub fn epoch(number: f64) -> Option<DateTime<Utc>> {
    if !number.is_finite() || number.abs() >= END_OF_MILLISECONDS {
        return None;
    }
    let milliseconds = if number.abs() < FIRST_MILLISECONDS {
        number * 1e3
    } else {
        number
    };
    DateTime::from_timestamp_micros((milliseconds * 1e3).round() as i64).filter(is_sane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_instant_is_read_from_every_documented_form() {
        let expected = instant(&json!("2024-12-12T09:00:00Z"));
        assert!(expected.is_some());
        for value in [
            json!("2024-12-12T12:00:00.000+03:00"),
            json!("2024-12-12 09:00"),
            json!("2024-12-12 09:00:00"),
            json!("2024-12-12T09:00:00"),
            json!("12.12.2024 09:00"),
            json!("12.12.2024 09:00:00"),
            json!(1_733_994_000),
            json!(1_733_994_000_000_i64),
            json!("1733994000"),
            json!(1_733_994_000.0),
        ] {
            assert_eq!(instant(&value), expected, "{value}");
        }
        assert_eq!(instant(&json!("2024-12-12")), instant(&json!("2024-12-12 00:00")));
    }

    proptest::proptest! {
        /// The reference is the reading of all forms.
        #[test]
        fn the_short_way_reads_what_the_long_way_reads(
            text in "(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\\.[0-9]{0,10})?)?Z?[0-9]?",
        ) {
            if let Some(moment) = plain_moment(&text) {
                proptest::prop_assert_eq!(Some(moment), other_moment(&text), "{}", text);
            }
        }
    }

    #[test]
    fn the_most_common_forms_need_no_parser_of_formats() {
        for text in [
            "2024-12-12 09:00",
            "2024-12-12T09:00:59",
            "2024-12-12T09:00:00Z",
            "2024-12-12T09:00:00.123Z",
        ] {
            assert!(plain_moment(text).is_some(), "{text}");
        }
        for text in [
            "2024-12-12T09:00Z",
            "2024-13-12 09:00",
            "2024-12-12 09:00:60",
            "2024-12-12T09:00:00.Z",
        ] {
            assert_eq!(plain_moment(text), None, "{text}");
        }
    }

    #[test]
    fn an_instant_is_read_with_and_without_a_zone() {
        let expected = Reading::Read(DateTime::from_timestamp(1_795_341_600, 0).expect("instant"));
        for text in [
            "2026-11-22T10:00:00+0000",
            "2026-11-22T13:00:00+0300",
            "2026-11-22T13:00:00+03",
            "2026-11-22T13:00+03:00",
            "2026-11-22T10:00Z",
            "2026-11-22t10:00z",
            "2026-11-22 10:00:00 UTC",
            "2026-11-22 10:00:00.000 GMT",
            "2026-11-22 13:00:00 +0300",
            "2026-11-22 05:30 -04:30",
            "22.11.2026 10:00",
            "22.11.2026, 10:00:00",
            "22.11.2026 13:00 +03:00",
            "22.11.26 10:00",
            "22.11.26 10:00:00 UTC",
            "Sun, 22 Nov 2026 10:00:00 GMT",
            " 2026-11-22 10:00 ",
        ] {
            assert_eq!(read_instant(&json!(text)), expected, "{text}");
        }
        assert_eq!(
            read_instant(&json!("22.11.2026")),
            read_instant(&json!("2026-11-22"))
        );
        assert_eq!(
            read_instant(&json!("5.3.2026 9:05")),
            read_instant(&json!("2026-03-05 09:05"))
        );
    }

    #[test]
    fn absent_unreadable_and_insane_instants_are_told_apart() {
        for value in [
            json!(null),
            json!(""),
            json!("  "),
            json!("-"),
            json!("—"),
            json!("0"),
            json!(0),
            json!(0.0),
            json!(false),
        ] {
            assert_eq!(read_instant(&value), Reading::Absent, "{value}");
        }
        for value in [
            json!("soon"),
            json!("2024"),
            json!({}),
            json!([]),
            json!(true),
            json!(1e300),
            json!(-5),
            json!("2024-13-01 00:00"),
            json!("13.31.2024 00:00"),
            json!("2026-11-22T10:00:00+99:99"),
            json!("2026-11-22 10:00 MSK"),
            json!("+262142-12-31 23:00"),
            json!("+262142-12-31"),
            json!("0001-01-01T00:00:00Z"),
            json!("0000-00-00 00:00:00"),
            json!("1969-12-31T23:59:59Z"),
            json!("2201-01-01T00:00:00Z"),
            json!("9999-12-31T23:59:59Z"),
            json!("10:00"),
            json!("é: +"),
        ] {
            assert_eq!(read_instant(&value), Reading::Unreadable, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_and_into_the_allowed_years(
            text in "\\PC*|[-+0-9TZ:. ]{0,40}|[0-9]{1,6}[-.][0-9]{1,2}[-.][0-9]{1,6}[ T][0-9]{1,2}:[0-9]{2}[-+:0-9Z ]{0,8}",
        ) {
            if let Reading::Read(instant) = read_instant(&json!(text)) {
                proptest::prop_assert!(is_sane(&instant));
            }
        }
    }

    fn read(rules: &InstantRules, value: &serde_json::Value) -> Option<String> {
        let instant = rules.read(value).ok()?;
        Some(instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }

    #[test]
    fn a_time_without_a_zone_is_in_the_given_zone() {
        let moscow = InstantRules::new(Tz::Europe__Moscow, &[]).expect("rules");
        for (value, expected) in [
            (json!("2026-11-22 13:00"), "2026-11-22T10:00:00Z"),
            (json!("22.11.2026 13:00:05"), "2026-11-22T10:00:05Z"),
            (json!("2026-11-22"), "2026-11-21T21:00:00Z"),
            (json!("2026-11-22T13:00:00Z"), "2026-11-22T13:00:00Z"),
            (json!("2026-11-22 13:00 +05"), "2026-11-22T08:00:00Z"),
            (json!(1_795_341_600), "2026-11-22T10:00:00Z"),
            (json!(46_348.541_666_666_66), "2026-11-22T10:00:00Z"),
        ] {
            assert_eq!(read(&moscow, &value).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn a_time_that_the_clocks_skipped_or_showed_twice_is_read() {
        let berlin = InstantRules::new(Tz::Europe__Berlin, &[]).expect("rules");
        for (value, expected) in [
            ("2026-03-29 02:30", "2026-03-29T01:30:00Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(read(&berlin, &json!(value)).as_deref(), Some(expected));
        }
        // A whole date is missing.
        let apia = InstantRules::new(Tz::Pacific__Apia, &[]).expect("rules");
        assert_eq!(
            read(&apia, &json!("2011-12-30 12:00")).as_deref(),
            Some("2011-12-30T22:00:00Z")
        );
    }

    #[test]
    fn formats_come_before_the_built_in_notations() {
        let rules = |formats: &[&str]| {
            let formats: Vec<_> = formats.iter().map(ToString::to_string).collect();
            InstantRules::new(Tz::Europe__Moscow, &formats).expect("rules")
        };
        for (format, value, expected) in [
            (
                "%m/%d/%Y %I:%M:%S %p",
                json!("11/22/2026 01:00:00 PM"),
                "2026-11-22T10:00:00Z",
            ),
            (
                "%m/%d/%Y %I:%M:%S %p",
                json!("11/22/2026 1:00:00\u{202f}pm"),
                "2026-11-22T10:00:00Z",
            ),
            (
                "%m/%d/%y, %I:%M %p",
                json!("11/22/26, 1:00 PM"),
                "2026-11-22T10:00:00Z",
            ),
            (
                "%b %d, %Y %H:%M",
                json!("Nov 22, 2026 13:00"),
                "2026-11-22T10:00:00Z",
            ),
            ("%d/%m/%Y", json!("22/11/2026"), "2026-11-21T21:00:00Z"),
            (
                "%Y%m%d%H%M%S",
                json!(20_261_122_130_000_i64),
                "2026-11-22T10:00:00Z",
            ),
            (
                "%d.%m.%Y %H:%M %z",
                json!("22.11.2026 13:00 +0500"),
                "2026-11-22T08:00:00Z",
            ),
            // The format wins over the notation that is built in.
            (
                "%d.%m.%Y %M:%H",
                json!("22.11.2026 00:13"),
                "2026-11-22T10:00:00Z",
            ),
            ("%m/%d/%Y", json!("2026-11-22T10:00:00Z"), "2026-11-22T10:00:00Z"),
        ] {
            assert_eq!(
                read(&rules(&[format]), &value).as_deref(),
                Some(expected),
                "{format} {value}"
            );
        }
        let american = rules(&["%m/%d/%Y %H:%M"]);
        assert_eq!(american.read(&json!("22/11/2026 10:00")), Reading::Unreadable);
        assert_eq!(american.read(&json!("")), Reading::Absent);
    }

    #[test]
    fn a_format_without_a_date_is_refused() {
        for format in ["%H:%M", "%d.%m", "%Y", "%Q", "", "10:00", "%F %I:%M"] {
            let refused = InstantRules::new(Tz::UTC, &[format.to_owned()]);
            assert!(refused.is_err(), "{format}");
        }
        for format in ["%s", "%F", "%c", "%+", "%D %r", "%F %H:%M:%S UTC", "%j/%Y"] {
            assert!(
                InstantRules::new(Tz::UTC, &[format.to_owned()]).is_ok(),
                "{format}"
            );
        }
    }
}
