//! Masks the values of the API's answers, so that their shape can be shown to somebody. Pure.
//!
//! Keys, types, lengths and notations remain. The same value gets the same masked value everywhere in a recording, so that ids
//! still join. The masked values follow from a random key that is never stored, so that nobody can compute them again.
//!
//! | value | becomes |
//! |---|---|
//! | `true`, `false`, null, `0`, `1`, empty text, a list without elements, text of punctuation | stays |
//! | a letter, a digit | another one of the same script and case; hex digits stay hex digits |
//! | an instant | moved by the same time for the whole recording, in the same notation |
//! | seconds or milliseconds since the epoch, in fields that are surely times | moved by that time, too; elsewhere masked as a number |
//! | a duration, a time of day | another one in the same notation |
//! | a key that may be data | masked like a value |

mod instants;
mod json;
mod noise;

use std::collections::{HashMap, HashSet};

use chrono::TimeDelta;
use serde_json::Number;

use self::instants::Slashes;
use self::noise::Noise;
use super::mapping::Mapping;
use super::report::path::{Path, Step};
use crate::lake::table::Type;
use crate::tables::fit::data_names::DataNames;
use crate::tables::fit::value_shape;
use crate::tables::fit::words;

/// Tries to find a masked value that is no value of the answers.
const TRIES: u32 = 60;
/// Fewer characters are too few to tell anything.
const TELLING: usize = 3;
/// Numbers that may be serial days of a workbook, from 2000 to 2058.
const SERIAL_DAYS: std::ops::Range<f64> = 36_526.0..58_000.0;

/// Masks values; one for a whole recording.
#[derive(Debug)]
pub struct Masker {
    key: [u8; 32],
    shift: TimeDelta,
    /// The values of the answers, which no masked value may be.
    originals: HashSet<String>,
    /// Tells which keys are data.
    keys: DataNames,
    slashes: Slashes,
    /// Names of fields that the mapping reads times from.
    times: HashSet<String>,
    masked: HashMap<String, String>,
    /// Numbers since the epoch in fields of times, which are masked in another way than equal ids.
    moved_epochs: HashMap<String, String>,
    used: HashSet<String>,
}

impl Masker {
    /// A masker from a random key. The mapping says which names of fields are no data.
    pub fn new(key: [u8; 32], mapping: &Mapping) -> Self {
        let mut noise = Noise::new(&key, 0, "shift");
        // Years back, so that no masked time is in the future, by a time that is no multiple of anything.
        let days = 1000 + i64::from(noise.below(1500));
        let seconds = i64::from(noise.below(86_399)) + 1;
        Self {
            key,
            shift: -(TimeDelta::days(days) + TimeDelta::seconds(seconds)),
            originals: HashSet::new(),
            keys: DataNames::of_mapping(mapping),
            slashes: Slashes::default(),
            times: times(mapping),
            masked: HashMap::new(),
            moved_epochs: HashMap::new(),
            used: HashSet::new(),
        }
    }

    /// Remembers a value of the answers. All must be known before the first is masked.
    pub fn learn(&mut self, text: &str) {
        let text = text.trim();
        self.keys.learn_text(text);
        if text.chars().count() < TELLING {
            return;
        }
        self.slashes.learn(text);
        self.originals.insert(text.to_owned());
    }

    /// True if a text is a value of the answers, or holds one that is a name or a text of several words.
    pub fn is_data(&self, text: &str) -> bool {
        let holds = |original: &String| {
            original.chars().count() > TELLING && original.contains(' ') && text.contains(original.as_str())
        };
        self.originals.contains(text.trim()) || self.originals.iter().any(holds)
    }

    /// True if the values of a field are surely times: the mapping or its name says so.
    pub fn is_time(&self, field: &str) -> bool {
        self.times.contains(field) || words::is_time(field)
    }

    /// The masked form of a text.
    pub fn text(&mut self, text: &str) -> String {
        if let Some(masked) = self.masked.get(text) {
            return masked.clone();
        }
        let lower = text.trim().to_ascii_lowercase();
        let stays = matches!(lower.as_str(), "true" | "false" | "0" | "1")
            || text.chars().all(|c| !c.is_alphanumeric() && c.is_ascii());
        let masked = if stays { text.to_owned() } else { self.found(text) };
        self.used.insert(masked.clone());
        self.masked.insert(text.to_owned(), masked.clone());
        masked
    }

    /// The masked form of a text in a field. If its values are surely times, a number since the epoch is moved; anywhere else it
    /// may be an id or a telephone number.
    pub fn text_of_field(&mut self, text: &str, is_time: bool) -> String {
        if !is_time {
            return self.text(text);
        }
        if let Some(moved) = self.moved_epochs.get(text) {
            return moved.clone();
        }
        let mut noise = Noise::new(&self.key, 0, text);
        let Some(moved) = self.moved_epoch(text.trim(), &mut noise) else {
            return self.text(text);
        };
        self.moved_epochs.insert(text.to_owned(), moved.clone());
        moved
    }

    /// A masked form that is no other value's and, if it tells anything, no value of the answers.
    fn found(&self, text: &str) -> String {
        let mut noise = Noise::new(&self.key, 0, text);
        if let Some(moved) = instants::moved(text, self.shift, self.slashes, &mut noise) {
            return moved;
        }
        let is_original =
            |masked: &str| masked.chars().count() >= TELLING && self.originals.contains(masked.trim());
        let mut masked = noise.text(text);
        for attempt in 1..TRIES {
            if masked != text && !self.used.contains(&masked) && !is_original(&masked) {
                return masked;
            }
            masked = Noise::new(&self.key, attempt, text).text(text);
        }
        while masked == text || is_original(&masked) {
            // All values of this length are taken: a longer one is not.
            masked.push(if text.ends_with(|c: char| c.is_ascii_digit()) {
                '7'
            } else {
                'x'
            });
        }
        masked
    }

    /// The masked form of a number, of the same type and with as many digits. `is_time` says that it is surely a time.
    pub fn number(&mut self, number: &Number, is_time: bool) -> Number {
        let text = number.to_string();
        let value = number.as_f64().unwrap_or_default();
        if value == 0.0 || value == 1.0 {
            return number.clone();
        }
        let masked = self.text_of_field(&text, is_time);
        let read = |text: &str| {
            serde_json::from_str::<Number>(text)
                .ok()
                .filter(|read| read.is_f64() == number.is_f64())
        };
        // The largest whole numbers begin with small digits.
        let small = || {
            let from = usize::from(masked.starts_with('-'));
            read(&format!("{}10{}", &masked[..from], masked.get(from + 2..)?))
        };
        read(&masked).or_else(small).unwrap_or_else(|| Number::from(7))
    }

    /// The masked form of a workbook's number: serial days are moved like dates if they are surely times.
    pub fn cell_number(&mut self, number: f64, is_time: bool) -> f64 {
        if is_time && SERIAL_DAYS.contains(&number) {
            return self.serial(number);
        }
        let Some(number) = Number::from_f64(number) else {
            return 0.0;
        };
        // Whole numbers have no fraction in a workbook, either.
        let whole = number
            .as_f64()
            .filter(|number| number.fract() == 0.0 && number.abs() < 9e15);
        #[expect(clippy::cast_possible_truncation, reason = "exact below 9e15")]
        let number = whole.map_or(number, |whole| Number::from(whole as i64));
        self.number(&number, is_time).as_f64().unwrap_or_default()
    }

    /// A serial day, moved. A date without a time stays one. Parts of seconds are dropped.
    pub fn serial(&self, day: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "few seconds")]
        let days = self.shift.num_seconds() as f64 / 86_400.0;
        if day.fract() == 0.0 {
            day + days.floor()
        } else {
            ((day + days) * 86_400.0).round() / 86_400.0
        }
    }

    /// Seconds or milliseconds since the epoch, moved. What is below a second is masked.
    fn moved_epoch(&self, text: &str, noise: &mut Noise) -> Option<String> {
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return None;
        }
        let unit = value_shape::epoch_unit(text.parse().ok()?)?;
        let (whole, fraction) = text
            .split_once('.')
            .map_or((text, None), |(whole, rest)| (whole, Some(rest)));
        let (seconds, millis) = match unit {
            value_shape::EpochUnit::Seconds => (whole, ""),
            value_shape::EpochUnit::Milliseconds => whole.split_at_checked(whole.len().checked_sub(3)?)?,
        };
        let mut moved = seconds
            .parse::<i64>()
            .ok()?
            .checked_add(self.shift.num_seconds())?
            .to_string();
        moved.push_str(&noise.fraction(millis));
        if let Some(fraction) = fraction {
            moved.push('.');
            moved.push_str(&noise.fraction(fraction));
        }
        Some(moved)
    }
}

/// The names of the fields from which a mapping reads times.
fn times(mapping: &Mapping) -> HashSet<String> {
    let columns = mapping.tables.iter().flat_map(|plan| &plan.columns);
    let mut paths: Vec<&Path> = Vec::new();
    for column in columns {
        match &column.session {
            Some(session) => {
                paths.extend(session.joined.iter().chain(&session.left));
                let events = session.elsewhere.as_ref().and_then(|list| list.events.as_ref());
                paths.extend(events.iter().flat_map(|events| &events.at));
            }
            None if column.kind == Type::Timestamp => paths.extend(&column.from),
            None => {}
        }
    }
    let fields = paths.into_iter().filter_map(|path| match path.steps.last() {
        Some(Step::Field(name)) if !path.is_key => Some(name.clone()),
        _ => None,
    });
    fields.collect()
}

#[cfg(test)]
mod tests;
