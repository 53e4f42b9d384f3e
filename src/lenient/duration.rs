//! Lengths of time in the notations of the platforms' reports. Pure.

use super::{Scalar, number};

/// Seconds in a minute, an hour, a day and a week.
const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;
const WEEK: f64 = 7.0 * DAY;

/// The units that may stand behind a number, in the order in which they follow each other, with their seconds.
const UNITS: [(f64, &[&str]); 6] = [
    (
        WEEK,
        &[
            "w",
            "wk",
            "wks",
            "week",
            "weeks",
            "нед",
            "неделя",
            "недели",
            "недель",
        ],
    ),
    (
        DAY,
        &[
            "d",
            "day",
            "days",
            "д",
            "дн",
            "день",
            "дня",
            "дней",
            "сут",
            "сутки",
            "суток",
        ],
    ),
    (
        HOUR,
        &["h", "hr", "hrs", "hour", "hours", "ч", "час", "часа", "часов"],
    ),
    (
        MINUTE,
        &[
            "m",
            "min",
            "mins",
            "minute",
            "minutes",
            "м",
            "мин",
            "минута",
            "минуты",
            "минут",
        ],
    ),
    (
        1.0,
        &[
            "s",
            "sec",
            "secs",
            "second",
            "seconds",
            "с",
            "сек",
            "секунда",
            "секунды",
            "секунд",
        ],
    ),
    (0.001, &["ms", "msec", "millisecond", "milliseconds", "мс"]),
];

/// Reads a length of time in seconds, in any of these notations: a number, which counts seconds; ISO 8601
/// (`PT1H2M3S`); a clock (`H:MM:SS`, days before it as in `1.02:03:04` or `1 day, 2:03:04`); numbers with units
/// (`1h 2m 3s`, `55 min`, `55 мин`). Two numbers with a colon could be hours and minutes or minutes and seconds, so they
/// are not read.
pub fn seconds<'v>(value: impl Into<Scalar<'v>>) -> Option<f64> {
    let value = value.into();
    if let Some(number) = number(value) {
        return Some(number);
    }
    let Scalar::Text(text) = value else {
        return None;
    };
    let text = text.trim();
    // Longer texts are no durations.
    if text.len() > 100 {
        return None;
    }
    let seconds = iso(text).or_else(|| clock(text)).or_else(|| units(text))?;
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}

/// `PT1H2M3S`, `P1DT2H`, `P2W`.
fn iso(text: &str) -> Option<f64> {
    let rest = text.strip_prefix(['P', 'p'])?;
    let (date, time) = match rest.split_once(['T', 't']) {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (rest, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let date = fields(date, &[('w', WEEK), ('d', DAY)])?;
    Some(date + fields(time, &[('h', HOUR), ('m', MINUTE), ('s', 1.0)])?)
}

/// Numbers with letters behind them, each letter at most once and in this order.
fn fields(text: &str, mut known: &[(char, f64)]) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (value, behind) = amount(rest)?;
        let letter = behind.chars().next()?;
        let at = known
            .iter()
            .position(|(known, _)| letter.to_ascii_lowercase() == *known)?;
        total += value * known[at].1;
        known = &known[at + 1..];
        rest = &behind[letter.len_utf8()..];
    }
    Some(total)
}

/// `H:MM:SS[.f]`, with days before it: `1.02:03:04`, `1 day, 2:03:04`.
fn clock(text: &str) -> Option<f64> {
    let mut parts = text.rsplit(':');
    let (second, minute, hour) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (days, hour) = match hour.rsplit_once(['.', ',']) {
        Some((days, hour)) => (day_count(days)?, hour.trim_start()),
        None => (0.0, hour),
    };
    let whole = |text: &str, most: f64| {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: f64 = is_plain.then(|| text.parse().ok()).flatten()?;
        (number < most).then_some(number)
    };
    let (second, rest) = amount(second)?;
    let is_clock = rest.is_empty() && second < 60.0 && minute.len() == 2;
    let hours = whole(hour, if days > 0.0 { 24.0 } else { f64::MAX })?;
    is_clock.then_some(days * DAY + hours * HOUR + whole(minute, 60.0)? * MINUTE + second)
}

fn day_count(text: &str) -> Option<f64> {
    let (days, unit) = amount(text)?;
    (days.fract() == 0.0 && (unit.is_empty() || UNITS[1].1.contains(&unit.trim()))).then_some(days)
}

/// `1h 2m 3s`, `55 min`, `1 ч. 5 мин.`: units become smaller, and each appears once.
fn units(text: &str) -> Option<f64> {
    let text = text.to_lowercase();
    let mut rest = text.as_str();
    let mut known = &UNITS[..];
    let mut total = 0.0;
    loop {
        let (value, behind) = amount(rest)?;
        let behind = behind.trim_start();
        let end = behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len());
        let at = known
            .iter()
            .position(|(_, names)| names.contains(&&behind[..end]))?;
        total += value * known[at].0;
        known = &known[at + 1..];
        rest = behind[end..].trim_start_matches(|c: char| c.is_whitespace() || ".,".contains(c));
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// A number at the start of a text, and what stands behind it. The decimal sign may be a comma.
fn amount(text: &str) -> Option<(f64, &str)> {
    let is_number = |c: char| c.is_ascii_digit() || ".,".contains(c);
    let end = text.find(|c: char| !is_number(c)).unwrap_or(text.len());
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number = text[..end].replace(',', ".").parse().ok()?;
    Some((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_length_is_read_from_every_documented_notation() {
        for (text, expected) in [
            ("3723", 3723.0),
            ("3723.5", 3723.5),
            ("PT1H2M3S", 3723.0),
            ("pt55m", 3300.0),
            ("PT3723.5S", 3723.5),
            ("PT0,5H", 1800.0),
            ("P1DT2H", 93_600.0),
            ("P1W", 604_800.0),
            ("PT0S", 0.0),
            ("1:02:03", 3723.0),
            ("01:02:03.25", 3723.25),
            ("100:00:00", 360_000.0),
            ("1.02:03:04", 93_784.0),
            ("1 day, 2:03:04", 93_784.0),
            ("1h 2m 3s", 3723.0),
            ("1h2m3s", 3723.0),
            ("1 hr, 2 min", 3720.0),
            ("55 min", 3300.0),
            ("55 мин", 3300.0),
            ("1 ч. 5 мин.", 3900.0),
            ("1,5 часа", 5400.0),
            ("2 Hours 1 Minute", 7260.0),
            ("90 секунд", 90.0),
            ("1500 ms", 1.5),
            (" 55\u{a0}мин ", 3300.0),
        ] {
            assert_eq!(seconds(&json!(text)), Some(expected), "{text}");
        }
        assert_eq!(seconds(&json!(12.5)), Some(12.5));
    }

    #[test]
    fn a_length_that_could_mean_two_things_is_not_read() {
        for text in [
            "",
            "-",
            "55:10",
            "1:2:3",
            "1:60:00",
            "1:00:60",
            "P",
            "PT",
            "PT5",
            "PT1S2H",
            "P1M",
            "5 apples",
            "min",
            "1m 2h",
            "5 min 3 min",
            "1h 2",
            "1.25:00:00",
            "h",
            "-5 min",
            "1:00:00 PM",
            "NaN",
        ] {
            assert_eq!(seconds(&json!(text)), None, "{text}");
        }
        for value in [json!(null), json!(true), json!([1]), json!({})] {
            assert_eq!(seconds(&value), None, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC*|[-PTHMSDW0-9:., hмчinday]{0,30}") {
            if let Some(seconds) = seconds(&json!(text)) {
                proptest::prop_assert!(seconds.is_finite());
            }
        }

        /// The reference is the clock that is written.
        #[test]
        fn a_clock_and_iso_8601_mean_the_same(hours in 0_u32..2000, minutes in 0_u32..60, seconds_of in 0_u32..60) {
            let expected = f64::from(hours * 3600 + minutes * 60 + seconds_of);
            for text in [
                format!("{hours}:{minutes:02}:{seconds_of:02}"),
                format!("PT{hours}H{minutes}M{seconds_of}S"),
                format!("{hours} ч {minutes} мин {seconds_of} с"),
            ] {
                proptest::prop_assert_eq!(seconds(&json!(text)), Some(expected));
            }
        }
    }
}
