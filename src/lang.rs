//! The page's languages: the choice for a reader, and the formats of numbers, sizes, dates and plurals. Pure.

use std::fmt::Display;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc, Weekday};
use chrono_tz::Tz;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lang {
    /// English, also for readers of other languages.
    En,
    /// Russian.
    Ru,
}

/// A text in every language with gaps `{}`.
#[derive(Debug, Clone, Copy)]
pub struct PageText {
    pub en: &'static str,
    pub ru: &'static str,
}

/// A text with plural forms; the number fills the gap `{}`.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    /// Singular, plural.
    pub en: [&'static str; 2],
    /// Forms for one, few and many: 1 звонок, 2 звонка, 5 звонков.
    pub ru: [&'static str; 3],
}

const MONTHS_EN: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Russian names of months.
pub(crate) const MONTHS_RU: [&str; 12] = [
    "январь",
    "февраль",
    "март",
    "апрель",
    "май",
    "июнь",
    "июль",
    "август",
    "сентябрь",
    "октябрь",
    "ноябрь",
    "декабрь",
];
/// Russian names of months, as they stand behind a day.
pub(crate) const OF_MONTHS_RU: [&str; 12] = [
    "января",
    "февраля",
    "марта",
    "апреля",
    "мая",
    "июня",
    "июля",
    "августа",
    "сентября",
    "октября",
    "ноября",
    "декабря",
];
const WEEKDAYS_EN: [&str; 7] = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"];
const WEEKDAYS_RU: [&str; 7] = ["пн", "вт", "ср", "чт", "пт", "сб", "вс"];

impl Lang {
    /// The language that `Accept-Language` prefers among ours.
    pub fn wanted(accepted: &str) -> Self {
        let mut best = (0.0, Self::En);
        for part in accepted.split(',') {
            let mut parts = part.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let weight = parts
                .find_map(|part| part.trim().strip_prefix("q=")?.trim().parse::<f32>().ok())
                .unwrap_or(1.0);
            let lang = match tag.split('-').next().map(str::to_ascii_lowercase).as_deref() {
                Some("ru") => Self::Ru,
                Some("en") => Self::En,
                _ => continue,
            };
            if weight > best.0 {
                best = (weight, lang);
            }
        }
        best.1
    }

    /// The tag for `lang=`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ru => "ru",
        }
    }

    /// A text.
    pub fn say(self, text: PageText) -> &'static str {
        match self {
            Self::En => text.en,
            Self::Ru => text.ru,
        }
    }

    /// A text with its gaps filled in order.
    pub fn fill(self, text: PageText, with: &[&dyn Display]) -> String {
        filled(self.say(text), with)
    }

    /// A text in the plural form of a number.
    pub fn count(self, text: Count, number: u64) -> String {
        let form = match self {
            Self::En => text.en[usize::from(number != 1)],
            Self::Ru => text.ru[russian_form(number)],
        };
        filled(form, &[&self.number(number)])
    }

    /// A whole number with separated thousands.
    pub fn number(self, number: u64) -> String {
        let digits = number.to_string();
        let gap = match self {
            Self::En => ',',
            Self::Ru => '\u{a0}',
        };
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                out.push(gap);
            }
            out.push(digit);
        }
        out
    }

    /// A size.
    pub fn bytes(self, bytes: u64) -> String {
        let text = bytesize::ByteSize(bytes).display().iec().to_string();
        match self {
            Self::En => text,
            Self::Ru => text
                .replace('.', ",")
                .replace("iB", "иБ")
                .replace('B', "Б")
                .replace('K', "К")
                .replace('M', "М")
                .replace('G', "Г")
                .replace('T', "Т")
                .replace('P', "П"),
        }
    }

    /// Seconds as hours, with a decimal below ten.
    pub fn hours(self, seconds: u64) -> String {
        if seconds >= 36_000 || seconds == 0 {
            return self.number((seconds + 1800) / 3600);
        }
        let tenths = (seconds + 180) / 360;
        let point = match self {
            Self::En => '.',
            Self::Ru => ',',
        };
        format!("{}{point}{}", tenths / 10, tenths % 10)
    }

    /// A duration in its two largest units.
    pub fn span(self, span: TimeDelta) -> String {
        let seconds = span.num_seconds().max(0);
        let (day, hour, minute, second) = match self {
            Self::En => ("d", "h", "min", "s"),
            Self::Ru => ("д", "ч", "мин", "с"),
        };
        let parts = [
            (seconds / 86_400, day),
            (seconds / 3600 % 24, hour),
            (seconds / 60 % 60, minute),
            (seconds % 60, second),
        ];
        let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
        let shown = parts.iter().skip(first).take(2).filter(|(count, _)| *count > 0);
        let text: Vec<String> = shown
            .map(|(count, unit)| format!("{count}\u{a0}{unit}"))
            .collect();
        if text.is_empty() {
            format!("0\u{a0}{second}")
        } else {
            text.join(" ")
        }
    }

    /// A day: `24 November 2026`.
    pub fn date(self, date: NaiveDate) -> String {
        format!("{} {}", self.day_and_month(date), date.year())
    }

    /// `24 November`.
    pub fn day_and_month(self, date: NaiveDate) -> String {
        let names = match self {
            Self::En => MONTHS_EN,
            Self::Ru => OF_MONTHS_RU,
        };
        format!("{}\u{a0}{}", date.day(), names[date.month0() as usize])
    }

    /// A range of days: `24 November 2026`, `1–3 November 2026`, `30 October – 2 November 2026`.
    pub fn dates(self, from: NaiveDate, to: NaiveDate) -> String {
        if from == to {
            self.date(to)
        } else if (from.year(), from.month()) == (to.year(), to.month()) {
            format!("{}–{}", from.day(), self.date(to))
        } else if from.year() == to.year() {
            format!("{} – {}", self.day_and_month(from), self.date(to))
        } else {
            format!("{} – {}", self.date(from), self.date(to))
        }
    }

    /// The name of a month alone: `November`, `ноябрь`.
    pub fn month(self, date: NaiveDate) -> &'static str {
        match self {
            Self::En => MONTHS_EN[date.month0() as usize],
            Self::Ru => MONTHS_RU[date.month0() as usize],
        }
    }

    /// The weekday in two letters.
    pub fn weekday(self, day: Weekday) -> &'static str {
        let at = day.num_days_from_monday() as usize;
        match self {
            Self::En => WEEKDAYS_EN[at],
            Self::Ru => WEEKDAYS_RU[at],
        }
    }

    /// An instant in the zone of the dates: `24 November, 02:00`.
    pub fn instant(self, at: DateTime<Utc>, zone: Tz) -> String {
        let local = at.with_timezone(&zone);
        format!(
            "{}, {}",
            self.day_and_month(local.date_naive()),
            local.format("%H:%M")
        )
    }
}

fn filled(text: &str, with: &[&dyn Display]) -> String {
    let mut parts = text.split("{}");
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut with = with.iter();
    for part in parts {
        if let Some(value) = with.next() {
            out.push_str(&value.to_string());
        }
        out.push_str(part);
    }
    out
}

/// 0 for 1, 21, 31…; 1 for 2 to 4, 22…; 2 for the rest, 11 to 14 among them.
fn russian_form(number: u64) -> usize {
    match (number % 10, number % 100) {
        (_, 11..=14) => 2,
        (1, _) => 0,
        (2..=4, _) => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: Count = Count {
        en: ["{} call", "{} calls"],
        ru: ["{} звонок", "{} звонка", "{} звонков"],
    };

    #[test]
    fn the_language_is_the_one_that_the_reader_prefers() {
        for (accepted, lang) in [
            ("", Lang::En),
            ("ru", Lang::Ru),
            ("RU-ru", Lang::Ru),
            ("ru-RU,ru;q=0.9,en-US;q=0.8", Lang::Ru),
            ("en-GB,en;q=0.9,ru;q=0.8", Lang::En),
            ("de, ru;q=0.3, en;q=0.2", Lang::Ru),
            ("de, *;q=0.5", Lang::En),
            ("ru;q=0, en;q=0.1", Lang::En),
            ("ru;q=banana", Lang::Ru),
            (";;,,q=", Lang::En),
        ] {
            assert_eq!(Lang::wanted(accepted), lang, "{accepted}");
        }
    }

    #[test]
    fn plurals_bend_as_the_language_does() {
        let ru = [
            (0, "звонков"),
            (1, "звонок"),
            (2, "звонка"),
            (4, "звонка"),
            (5, "звонков"),
            (11, "звонков"),
            (12, "звонков"),
            (14, "звонков"),
            (21, "звонок"),
            (22, "звонка"),
            (25, "звонков"),
            (101, "звонок"),
            (111, "звонков"),
            (112, "звонков"),
        ];
        for (number, word) in ru {
            assert_eq!(Lang::Ru.count(CALLS, number), format!("{number} {word}"));
        }
        assert_eq!(Lang::Ru.count(CALLS, 1_234_561), "1\u{a0}234\u{a0}561 звонок");
        for (number, text) in [
            (0, "0 calls"),
            (1, "1 call"),
            (21, "21 calls"),
            (1000, "1,000 calls"),
        ] {
            assert_eq!(Lang::En.count(CALLS, number), text);
        }
    }

    #[test]
    fn sizes_spans_and_dates_are_written_as_the_language_does() {
        let date = |text: &str| text.parse::<NaiveDate>().expect("date");
        assert_eq!(Lang::Ru.bytes(1_610_612_736), "1,5 ГиБ");
        assert_eq!(Lang::En.bytes(1_610_612_736), "1.5 GiB");
        assert_eq!(Lang::Ru.bytes(0), "0 Б");
        assert_eq!(Lang::En.hours(5400), "1.5");
        assert_eq!(Lang::Ru.hours(36_000_000), "10\u{a0}000");
        assert_eq!(Lang::En.span(TimeDelta::seconds(93_784)), "1\u{a0}d 2\u{a0}h");
        assert_eq!(Lang::Ru.span(TimeDelta::seconds(3600)), "1\u{a0}ч");
        assert_eq!(Lang::En.span(TimeDelta::milliseconds(20)), "0\u{a0}s");
        assert_eq!(Lang::Ru.date(date("2026-11-04")), "4\u{a0}ноября 2026");
        assert_eq!(
            Lang::En.dates(date("2026-11-01"), date("2026-11-03")),
            "1–3\u{a0}November 2026"
        );
        assert_eq!(
            Lang::Ru.dates(date("2025-12-31"), date("2026-01-01")),
            "31\u{a0}декабря 2025 – 1\u{a0}января 2026"
        );
        let at = "2026-11-23T23:00:00Z".parse().expect("instant");
        assert_eq!(
            Lang::En.instant(at, chrono_tz::Europe::Moscow),
            "24\u{a0}November, 02:00"
        );
    }
}
