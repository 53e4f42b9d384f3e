//! Moves instants that are texts, in the notation that they have. Pure.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};

use super::noise::Noise;
use crate::lang;

/// Names of months that are kept in their language and length.
const MONTHS: [[&str; 12]; 5] = [
    [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
    [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ],
    lang::OF_MONTHS_RU,
    lang::MONTHS_RU,
    [
        "янв", "фев", "мар", "апр", "мая", "июн", "июл", "авг", "сен", "окт", "ноя", "дек",
    ],
];
/// Words that stand beside a date with the name of a month, and stay.
const BESIDE: [&str; 7] = ["am", "pm", "utc", "gmt", "msk", "г", "в"];

/// Names of zones in the dates of mails.
const MAIL_ZONES: [&str; 12] = [
    "GMT", "UTC", "UT", "Z", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT",
];

/// The order of day and month in dates with slashes, as far as the values tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slashes {
    day_first: bool,
    month_first: bool,
}

impl Slashes {
    /// Learns from a value.
    pub fn learn(&mut self, text: &str) {
        let mut parts = text.split('/').map(|part| part.parse::<u32>().unwrap_or(0));
        self.day_first |= parts.next().is_some_and(|first| (13..32).contains(&first));
        self.month_first |= parts.next().is_some_and(|second| (13..32).contains(&second));
    }
}

/// A text taken apart.
struct Notation<'t> {
    /// The digits of the date, in their order: year, month and day by their position.
    order: [Part; 3],
    widths: [usize; 3],
    separator: char,
    at: NaiveDateTime,
    gap: &'t str,
    time: Option<ClockNotation<'t>>,
    zone: &'t str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    Month,
    Day,
}

struct ClockNotation<'t> {
    hour_width: usize,
    has_seconds: bool,
    fraction: &'t str,
    /// The text of AM or PM with the space before it.
    half: &'t str,
}

/// The instant of a text, moved; none if the text is no instant.
pub(super) fn moved(text: &str, shift: TimeDelta, slashes: Slashes, noise: &mut Noise) -> Option<String> {
    if let Some(notation) = take_apart(text, slashes) {
        return Some(notation.moved(shift, noise));
    }
    if let Ok(at) = DateTime::parse_from_rfc2822(text) {
        let moved = at.checked_add_signed(shift)?.to_rfc2822();
        // Behind the zone may stand a comment with any text.
        return Some(match text.rsplit_once(' ') {
            Some((_, zone)) if MAIL_ZONES.contains(&zone) => moved
                .rsplit_once(' ')
                .map_or(moved.clone(), |(date, _)| format!("{date} {zone}")),
            _ => moved,
        });
    }
    with_month_name(text, noise)
}

/// Splits off a group of digits of an allowed length.
fn digits(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<(u32, usize, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    if !lengths.contains(&length) {
        return None;
    }
    Some((text[..length].parse().ok()?, length, &text[length..]))
}

fn take_apart(text: &str, slashes: Slashes) -> Option<Notation<'_>> {
    let (first, first_width, rest) = digits(text, 1..=4)?;
    let separator = rest.chars().next().filter(|c| "-./".contains(*c))?;
    let (second, second_width, rest) = digits(rest.strip_prefix(separator)?, 1..=2)?;
    let (third, third_width, rest) = digits(rest.strip_prefix(separator)?, 1..=4)?;
    let widths = [first_width, second_width, third_width];
    let order = match (first_width, third_width, separator) {
        (4, 1 | 2, _) => [Part::Year, Part::Month, Part::Day],
        (1 | 2, 2 | 4, '/') if slashes.day_first && !slashes.month_first => {
            [Part::Day, Part::Month, Part::Year]
        }
        (1 | 2, 2 | 4, '/') => [Part::Month, Part::Day, Part::Year],
        (1 | 2, 2 | 4, _) => [Part::Day, Part::Month, Part::Year],
        _ => return None,
    };
    let of = |part: Part| {
        let numbers = [first, second, third];
        order
            .iter()
            .position(|known| *known == part)
            .map_or(0, |at| numbers[at])
    };
    let year = of(Part::Year);
    let year = if year < 100 { 2000 + year } else { year };
    let date = NaiveDate::from_ymd_opt(year.try_into().ok()?, of(Part::Month), of(Part::Day))?;
    let gap_length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
    let gap = &rest[..gap_length];
    if !matches!(gap, "" | " " | "T" | "t" | ", " | "  ") {
        return None;
    }
    let (at, time, zone) = match gap.is_empty() {
        true => (date.and_hms_opt(0, 0, 0)?, None, rest),
        false => clock(date, &rest[gap_length..])?,
    };
    is_zone(zone).then_some(Notation {
        order,
        widths,
        separator,
        at,
        gap,
        time,
        zone,
    })
}

fn clock(date: NaiveDate, text: &str) -> Option<(NaiveDateTime, Option<ClockNotation<'_>>, &str)> {
    let (hour, hour_width, rest) = digits(text, 1..=2)?;
    let (minute, _, rest) = digits(rest.strip_prefix(':')?, 2..=2)?;
    let seconds = rest.strip_prefix(':').and_then(|rest| digits(rest, 2..=2));
    let rest = seconds.map_or(rest, |(_, _, rest)| rest);
    let fraction_length = match rest.strip_prefix(['.', ',']) {
        Some(fraction) if seconds.is_some() => 1 + fraction.bytes().take_while(u8::is_ascii_digit).count(),
        _ => 0,
    };
    let (fraction, rest) = rest.split_at(fraction_length);
    let lower = rest.to_ascii_lowercase();
    let halves = [" am", " pm", "am", "pm"];
    let half_length = halves
        .iter()
        .find(|half| lower.starts_with(**half))
        .map_or(0, |half| half.len());
    let (half, rest) = rest.split_at(half_length);
    let hour = match half.trim_start().to_ascii_lowercase().as_str() {
        "pm" if hour < 12 => hour + 12,
        "am" if hour == 12 => 0,
        _ => hour,
    };
    let at = date.and_hms_opt(hour, minute, seconds.map_or(0, |(second, ..)| second))?;
    let notation = ClockNotation {
        hour_width,
        has_seconds: seconds.is_some(),
        fraction,
        half,
    };
    Some((at, Some(notation), rest))
}

/// True for nothing, an offset or the name of a zone.
fn is_zone(text: &str) -> bool {
    let text = text.trim();
    matches!(
        text.to_ascii_uppercase().as_str(),
        "" | "Z" | "UTC" | "GMT" | "MSK" | "(UTC)"
    ) || is_offset(text)
}

/// True for `+03`, `+0300` and `+03:00`, if a zone can have that offset.
fn is_offset(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['+', '-']) else {
        return false;
    };
    let Some((hours, _, rest)) = digits(rest, 2..=2).or_else(|| digits(rest, 4..=4)) else {
        return false;
    };
    let (hours, minutes) = match (rest, hours) {
        ("", whole) if text.len() == 5 => (whole / 100, whole % 100),
        ("", hours) => (hours, 0),
        (rest, hours) => match rest.strip_prefix(':').and_then(|rest| digits(rest, 2..=2)) {
            Some((minutes, _, "")) if text.len() == 6 => (hours, minutes),
            _ => return false,
        },
    };
    hours <= 14 && matches!(minutes, 0 | 15 | 30 | 45)
}

impl Notation<'_> {
    fn moved(&self, shift: TimeDelta, noise: &mut Noise) -> String {
        let at = self.at.checked_add_signed(shift).unwrap_or(self.at);
        let mut text = String::new();
        for (place, part) in self.order.iter().enumerate() {
            if place > 0 {
                text.push(self.separator);
            }
            let number = match part {
                Part::Year if self.widths[place] == 2 => at.year().rem_euclid(100),
                Part::Year => at.year(),
                Part::Month => at.month().try_into().unwrap_or(1),
                Part::Day => at.day().try_into().unwrap_or(1),
            };
            text.push_str(&format!("{number:0width$}", width = self.widths[place]));
        }
        text.push_str(self.gap);
        if let Some(clock) = &self.time {
            text.push_str(&clock.text(at, noise));
        }
        text.push_str(self.zone);
        text
    }
}

impl ClockNotation<'_> {
    fn text(&self, at: NaiveDateTime, noise: &mut Noise) -> String {
        let hour = match self.half.is_empty() {
            true => at.hour(),
            false => at.hour12().1,
        };
        let mut text = format!("{hour:0width$}:{:02}", at.minute(), width = self.hour_width);
        if self.has_seconds {
            text.push_str(&format!(":{:02}", at.second()));
        }
        if let Some(sign) = self.fraction.chars().next() {
            text.push(sign);
            text.push_str(&noise.fraction(&self.fraction[1..]));
        }
        let half = match (at.hour() < 12, self.half.contains('m')) {
            (true, true) => "am",
            (false, true) => "pm",
            (true, false) => "AM",
            (false, false) => "PM",
        };
        if !self.half.is_empty() {
            text.push_str(&self.half[..self.half.len() - 2]);
            text.push_str(half);
        }
        text
    }
}

/// A date with the name of a month: other numbers that a date and a time can have, and another month.
fn with_month_name(text: &str, noise: &mut Noise) -> Option<String> {
    let lower = text.to_lowercase();
    let mut words = lower
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty());
    let is_known = |word: &str| BESIDE.contains(&word) || month_names(word).is_some();
    let has_month = lower
        .split(|c: char| !c.is_alphabetic())
        .any(|word| month_names(word).is_some());
    let has_digits = text.chars().filter(char::is_ascii_digit).count() >= 3;
    if !has_month || !has_digits || !words.all(is_known) {
        return None;
    }
    let mut masked = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let is_same = |c: char| {
            if is_digit {
                c.is_ascii_digit()
            } else {
                c.is_alphabetic()
            }
        };
        let length = if is_digit || first.is_alphabetic() {
            rest.find(|c: char| !is_same(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        let is_clock = after.starts_with(':') || masked.ends_with(':');
        masked.push_str(
            &match (is_digit, token.len(), month_names(&token.to_lowercase())) {
                (true, 4, _) => (2015 + noise.below(8)).to_string(),
                (true, _, _) if masked.ends_with(':') => noise.group(token.len(), 60),
                (true, width, _) if is_clock => {
                    format!("{:0width$}", 1 + noise.below(if width == 1 { 9 } else { 11 }))
                }
                (true, width, _) => format!("{:0width$}", 1 + noise.below(if width == 1 { 9 } else { 28 })),
                (false, _, Some(months)) => like(months[noise.below(12) as usize], token),
                (false, ..) => token.to_owned(),
            },
        );
        rest = after;
    }
    Some(masked)
}

fn month_names(word: &str) -> Option<&'static [&'static str; 12]> {
    MONTHS.iter().find(|months| months.contains(&word))
}

/// A word with a capital letter if the other one has it.
fn like(word: &str, other: &str) -> String {
    let mut letters = word.chars();
    match (other.starts_with(char::is_uppercase), letters.next()) {
        (true, Some(first)) => first.to_uppercase().chain(letters).collect(),
        _ => word.to_owned(),
    }
}
