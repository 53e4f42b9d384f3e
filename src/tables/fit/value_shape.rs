//! The shape of a value: what may be told about it without telling the value. Pure.
//!
//! A letter becomes `a` or `A`, a Cyrillic one `б` or `Б`, a digit `9`; spaces and ASCII punctuation stay, and any other
//! character becomes `·`. Text stands in quotes, so that it differs from a number.

use crate::lenient::{self, Reading, Scalar};

/// Most characters of a shape.
const LONGEST: usize = 40;
/// Most equal characters in a row.
const LONGEST_RUN: usize = 12;
/// Epoch seconds from 2010 to 2040, which are the ones that a lesson can have.
const EPOCH: std::ops::Range<f64> = 1.26e9..2.21e9;

/// The unit of a number since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EpochUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// The unit of a number that is likely to be an instant; none of another number.
pub(crate) fn epoch_unit(number: f64) -> Option<EpochUnit> {
    if EPOCH.contains(&number) {
        Some(EpochUnit::Seconds)
    } else if EPOCH.contains(&(number / 1e3)) {
        Some(EpochUnit::Milliseconds)
    } else {
        None
    }
}

/// The kind of thing that a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    /// An instant that the program reads.
    Instant,
    /// Text that has a date and a time, in a notation that the program does not read.
    OtherInstant,
    /// Text of a length of time, such as `1:02:03`, `PT5M` or `55 min`.
    Duration,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A truth value.
    Truth,
    /// An id: hex digits, a UUID, or a word with many digits.
    Id,
    /// A number.
    Number,
    /// An address on the web.
    Url,
    /// One to four capitalized words.
    Name,
    /// One short word.
    Word,
    /// Any other text.
    Text,
}

impl Sort {
    /// Its name for people, with an article.
    pub fn named(self) -> &'static str {
        match self {
            Self::Instant => "an instant",
            Self::OtherInstant => "an instant in a notation of its own",
            Self::Duration => "a duration",
            Self::Email => "an e-mail address",
            Self::Phone => "a telephone number",
            Self::Truth => "a truth value",
            Self::Id => "an id",
            Self::Number => "a number",
            Self::Url => "a web address",
            Self::Name => "a name",
            Self::Word => "a word",
            Self::Text => "a text",
        }
    }

    /// True if text of this sort is data for certain, and no heading or field's name.
    pub fn is_surely_data(self) -> bool {
        matches!(
            self,
            Self::Instant
                | Self::OtherInstant
                | Self::Duration
                | Self::Email
                | Self::Phone
                | Self::Id
                | Self::Number
                | Self::Url
        )
    }
}

/// The shape of a value; none of a null.
pub(crate) fn value_shape<'v>(value: impl Into<Scalar<'v>>) -> Option<String> {
    Some(match value.into() {
        Scalar::Null => return None,
        Scalar::Nested => "a list or an object".to_owned(),
        Scalar::Bool(_) => "true or false".to_owned(),
        Scalar::Number(number) => text_shape(&number.to_string()),
        Scalar::Text(text) => format!("\"{}\"", text_shape(text)),
    })
}

/// The shape of a text, without quotes.
pub(crate) fn text_shape(text: &str) -> String {
    let mut shape = String::new();
    let (mut last, mut run, mut count) = (None, 0, 0);
    for character in text.chars() {
        let class = class(character);
        run = if last == Some(class) { run + 1 } else { 1 };
        last = Some(class);
        if run == LONGEST_RUN + 1 {
            shape.push('…');
        }
        if run > LONGEST_RUN {
            continue;
        }
        if count == LONGEST {
            shape.push('…');
            break;
        }
        shape.push(class);
        count += 1;
    }
    shape
}

fn class(character: char) -> char {
    let is_cyrillic = ('\u{400}'..='\u{52f}').contains(&character);
    match (character.is_alphabetic(), character.is_uppercase()) {
        (true, true) if is_cyrillic => 'Б',
        (true, false) if is_cyrillic => 'б',
        (true, true) => 'A',
        (true, false) => 'a',
        _ if character.is_numeric() => '9',
        _ if character.is_ascii_punctuation() => character,
        _ if character.is_whitespace() => ' ',
        _ => '·',
    }
}

/// The sort of a value; none of a null, of an empty text, a list or an object.
pub(crate) fn sort<'v>(value: impl Into<Scalar<'v>>) -> Option<Sort> {
    match value.into() {
        Scalar::Null | Scalar::Nested => None,
        Scalar::Bool(_) => Some(Sort::Truth),
        Scalar::Number(number) => {
            let number = number.as_f64()?;
            Some(if epoch_unit(number).is_some() {
                Sort::Instant
            } else {
                Sort::Number
            })
        }
        Scalar::Text(text) => text_sort(text.trim()),
    }
}

/// The sort of a trimmed text.
fn text_sort(text: &str) -> Option<Sort> {
    if text.is_empty() || text.chars().all(|c| !c.is_alphanumeric() && c.is_ascii()) {
        return None;
    }
    if matches!(text.to_ascii_lowercase().as_str(), "true" | "false") {
        return Some(Sort::Truth);
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    Some(if text.starts_with("http://") || text.starts_with("https://") {
        Sort::Url
    } else if is_email(text) {
        Sort::Email
    } else if is_duration(text) {
        Sort::Duration
    } else if digits >= 6 && is_dated(text) {
        match lenient::read_instant(Scalar::Text(text)) {
            Reading::Read(_) => Sort::Instant,
            Reading::Absent | Reading::Unreadable => Sort::OtherInstant,
        }
    } else if is_phone(text, digits, letters) {
        Sort::Phone
    } else if digits > 0 && text.parse::<f64>().is_ok() {
        match text.parse::<f64>() {
            Ok(number) if epoch_unit(number).is_some() => Sort::Instant,
            _ => Sort::Number,
        }
    } else if is_id(text, digits, letters) {
        Sort::Id
    } else {
        words_sort(text)
    })
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    !local.is_empty() && domain.contains('.') && !domain.contains('@') && !text.contains(char::is_whitespace)
}

/// True for a text with a year and two more groups of digits, or with the name of a month.
fn is_dated(text: &str) -> bool {
    let groups: Vec<usize> = text
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .filter(|length| *length > 0)
        .collect();
    let separators = ['-', '.', '/', ':'];
    let has_year = groups.iter().take(3).any(|length| *length == 4);
    let has_short_year = groups.len() >= 5 && groups.iter().all(|length| *length <= 2) && text.contains(':');
    let is_plain = groups.len() >= 3 && (has_year || has_short_year) && text.contains(separators);
    let lower = text.to_lowercase();
    let mut words = lower
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty());
    let only_few_letters = words.all(|word| BESIDE_DATES.contains(&word));
    // A telephone number has groups too, but begins with a plus or has no group of four in front.
    (is_plain && only_few_letters && !text.starts_with('+') && !text.contains('('))
        || (groups.len() >= 2 && has_year && has_month(text))
}

/// Words that stand beside the digits of dates.
const BESIDE_DATES: [&str; 11] = ["t", "z", "am", "pm", "a", "p", "m", "utc", "gmt", "msk", "мск"];
/// English names of months as they begin, and Russian ones.
const MONTHS: [&str; 24] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "янв", "фев", "мар",
    "апр", "мая", "июн", "июл", "авг", "сен", "окт", "ноя", "дек",
];

/// True if a word of a text is the name of a month.
fn has_month(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut words = text.split(|c: char| !c.is_alphabetic());
    words.any(|word| MONTHS.iter().any(|month| word.starts_with(month)))
}

/// Words of units of time, English and Russian.
const UNITS: [&str; 23] = [
    "h",
    "hr",
    "hrs",
    "hour",
    "hours",
    "m",
    "min",
    "mins",
    "minute",
    "minutes",
    "s",
    "sec",
    "secs",
    "second",
    "seconds",
    "ч",
    "час",
    "часа",
    "часов",
    "м",
    "мин",
    "с",
    "сек",
];

/// True for `1:02:03`, `12:30`, `PT1H2M`, `1h 2m`, `55 min`, `55 мин`.
pub(crate) fn is_duration(text: &str) -> bool {
    let is_number =
        |part: &str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
    let clock: Vec<&str> = text.split(':').collect();
    if matches!(clock.len(), 2 | 3) {
        let last = clock[clock.len() - 1];
        let (last, fraction) = last.split_once('.').unwrap_or((last, "0"));
        let is_fraction =
            (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
        return clock[..clock.len() - 1].iter().all(|part| is_number(part)) && is_number(last) && is_fraction;
    }
    if let Some(iso) = text.strip_prefix("PT") {
        let is_iso = |c: char| c.is_ascii_digit() || "HMS.".contains(c);
        return !iso.is_empty() && iso.chars().all(is_iso) && iso.ends_with(['H', 'M', 'S']);
    }
    let lower = text.to_lowercase();
    let has_digits = lower.starts_with(|c: char| c.is_ascii_digit());
    let is_part = |c: char| c.is_ascii_digit() || c.is_alphabetic() || " .,".contains(c);
    let mut words = lower
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .peekable();
    has_digits && lower.chars().all(is_part) && words.peek().is_some() && words.all(is_unit)
}

/// True if a word in small letters is a unit of time.
fn is_unit(word: &str) -> bool {
    UNITS.contains(&word)
}

/// True if a word may stay in a masked duration: a unit of time, or a letter of a notation such as `PT1H2M3S`.
pub(crate) fn is_word_of_durations(word: &str) -> bool {
    let lower = word.to_lowercase();
    lower == "pt" || is_unit(&lower)
}

fn is_phone(text: &str, digits: usize, letters: usize) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || "+-() .".contains(c);
    letters == 0
        && text.chars().all(is_part)
        && (text.starts_with('+') && (9..=15).contains(&digits)
            || (10..=12).contains(&digits)
                && (text.contains(['(', '-', ' ']) || text.starts_with(['7', '8']))
                && !text.contains('.'))
}

fn is_id(text: &str, digits: usize, letters: usize) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_:=/+.".contains(c);
    let is_hex = text.len() >= 8 && digits > 0 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    is_hex || (text.chars().all(is_part) && digits > 0 && letters > 0)
}

fn words_sort(text: &str) -> Sort {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_capitalized = |word: &&str| {
        word.starts_with(char::is_uppercase) && word.chars().all(|c| c.is_alphabetic() || "-.'’".contains(c))
    };
    match words.len() {
        2..=4 if words.iter().all(is_capitalized) => Sort::Name,
        1 if text.chars().count() <= 30 && text.chars().all(|c| c.is_alphabetic() || "_-".contains(c)) => {
            Sort::Word
        }
        _ => Sort::Text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_shape_keeps_punctuation_and_no_letter_or_digit() {
        for (value, shape) in [
            (json!("22.11.2026 10:05"), "\"99.99.9999 99:99\""),
            (json!("10:00 MSK"), "\"99:99 AAA\""),
            (json!("Иван Ё-н"), "\"Бббб Б-б\""),
            (json!("👍🏽"), "\"··\""),
            (json!(12.5), "99.9"),
            (json!(true), "true or false"),
            (json!([1]), "a list or an object"),
        ] {
            assert_eq!(value_shape(&value).as_deref(), Some(shape), "{value}");
        }
        assert_eq!(value_shape(&json!(null)), None);
        let long = text_shape(&"ab".repeat(100));
        assert_eq!(long, format!("{}…", "a".repeat(12)));
        assert!(text_shape(&"a1".repeat(100)).chars().count() <= LONGEST + 1);
    }

    #[test]
    fn values_are_told_apart_by_their_sort() {
        for (value, expected) in [
            (json!("2026-11-22T10:00:00Z"), Sort::Instant),
            (json!(1_795_341_600), Sort::Instant),
            (json!(1_795_341_600_123_i64), Sort::Instant),
            (json!("1795341600"), Sort::Instant),
            (json!("11/22/2026 10:05:00 AM"), Sort::OtherInstant),
            (json!("Nov 22, 2026 10:05 AM"), Sort::OtherInstant),
            (json!("22 ноября 2026 г., 10:05"), Sort::OtherInstant),
            (json!("1:02:03"), Sort::Duration),
            (json!("55 мин"), Sort::Duration),
            (json!("PT1H2M3S"), Sort::Duration),
            (json!("1h 2m 3s"), Sort::Duration),
            (json!("olga@example.org"), Sort::Email),
            (json!("+7 (900) 123-45-67"), Sort::Phone),
            (json!("89001234567"), Sort::Phone),
            (json!(true), Sort::Truth),
            (json!("64ab00000000000000000001"), Sort::Id),
            (json!("550e8400-e29b-41d4-a716-446655440000"), Sort::Id),
            (json!("550e8400-e29b-41d4-a716-446655440000"), Sort::Id),
            (json!("u-17"), Sort::Id),
            (json!("c1"), Sort::Id),
            (json!(17), Sort::Number),
            (json!("https://example.org/x"), Sort::Url),
            (json!("Иван Петров"), Sort::Name),
            (json!("moderator"), Sort::Word),
            (json!("Здравствуйте, начнём урок."), Sort::Text),
        ] {
            assert_eq!(sort(&value), Some(expected), "{value}");
        }
        // A clock or a length in front of other words is no duration, and no number is spelled with letters alone.
        for text in [
            "18:30. Мария Ивановна заболела",
            "10:05. ",
            "5 мин ⠊⠧⠁⠝",
            "NaN",
            "inf",
            "Infinity",
        ] {
            let sort = sort(&json!(text));
            assert!(
                !is_duration(text) && !sort.is_some_and(Sort::is_surely_data),
                "{text}: {sort:?}"
            );
        }
        assert!(!is_duration("1:02:03.secret") && !is_duration("10:05."));
        assert!(is_duration("1:02:03.250") && is_duration("1,5 ч"));
        for value in [json!(null), json!(""), json!(" - "), json!({})] {
            assert_eq!(sort(&value), None, "{value}");
        }
    }
}
