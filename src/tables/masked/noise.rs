//! Random characters that follow from a key and a value. Pure.

use sha2::{Digest, Sha256};

use crate::tables::fit::value_shape::{is_duration, is_word_of_durations};

/// Beginnings of web addresses, which are no data.
const SCHEMES: [&str; 2] = ["https://", "http://"];
/// Cyrillic letters that a masked text has.
const CYRILLIC: [char; 31] = [
    'а', 'б', 'в', 'г', 'д', 'е', 'ж', 'з', 'и', 'й', 'к', 'л', 'м', 'н', 'о', 'п', 'р', 'с', 'т', 'у', 'ф',
    'х', 'ц', 'ч', 'ш', 'щ', 'ы', 'ь', 'э', 'ю', 'я',
];

/// Spaces and signs beside those of ASCII that stay in a masked text.
const KEPT: &str = " \n\r\t«»„“”‘’–—…№°•·";

/// A stream of bytes.
pub(super) struct Noise {
    seed: [u8; 32],
    block: [u8; 32],
    number: u32,
    at: usize,
}

impl Noise {
    /// The stream of a value; each attempt has another one.
    pub fn new(key: &[u8; 32], attempt: u32, value: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(key);
        hasher.update(attempt.to_le_bytes());
        hasher.update(value);
        let seed: [u8; 32] = hasher.finalize().into();
        Self {
            seed,
            block: seed,
            number: 0,
            at: 32,
        }
    }

    fn byte(&mut self) -> u8 {
        if self.at == self.block.len() {
            self.number += 1;
            self.block = Sha256::digest([&self.seed[..], &self.number.to_le_bytes()].concat()).into();
            self.at = 0;
        }
        self.at += 1;
        self.block[self.at - 1]
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: u32) -> u32 {
        let bytes = [self.byte(), self.byte(), self.byte(), self.byte()];
        u32::from_le_bytes(bytes) % limit.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T], otherwise: T) -> T {
        let at = self.below(u32::try_from(of.len()).unwrap_or(1));
        of.get(at as usize).copied().unwrap_or(otherwise)
    }

    fn digit(&mut self, from: u32) -> char {
        char::from_digit(from + self.below(10 - from), 10).unwrap_or('7')
    }

    /// A text with other letters and digits.
    pub fn text(&mut self, text: &str) -> String {
        if is_duration(text) {
            return self.clock(text);
        }
        for scheme in SCHEMES {
            if let Some(rest) = text.strip_prefix(scheme) {
                return format!("{scheme}{}", self.characters(rest, false));
            }
        }
        let is_hex = text.len() >= 8 && text.contains(|c: char| c.is_ascii_digit());
        let is_hex = is_hex && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        self.characters(text, is_hex)
    }

    fn characters(&mut self, text: &str, is_hex: bool) -> String {
        // `NaN` and `inf` are words.
        let is_number = text.parse::<f64>().is_ok() && text.contains(|c: char| c.is_ascii_digit());
        let mut before = None;
        let mut masked = String::with_capacity(text.len());
        let digits = text.chars().filter(|c| c.is_ascii_digit()).count();
        let mut seen = 0;
        for character in text.chars() {
            seen += usize::from(character.is_ascii_digit());
            // A number keeps its count of digits: none begins with 0, and no fraction ends with it.
            let is_outer = before.is_none_or(|c| c == '-') || (seen == digits && text.contains('.'));
            let is_exponent =
                is_number && before.is_some_and(|c| "eE+-".contains(c)) && text.contains(['e', 'E']);
            let is_fraction_zero = is_number && character == '0' && text.ends_with(".0") && seen == digits;
            masked.push(match character {
                _ if is_number && (!character.is_ascii_digit() || is_exponent || is_fraction_zero) => {
                    character
                }
                _ if is_number => self.digit(u32::from(is_outer && digits > 0)),
                _ => self.character(character, is_hex),
            });
            before = Some(character);
        }
        masked
    }

    fn character(&mut self, character: char, is_hex: bool) -> char {
        let is_cyrillic = ('\u{400}'..='\u{52f}').contains(&character);
        match character {
            '0'..='9' => self.digit(0),
            'a'..='f' if is_hex => self.pick(b"abcdef", b'a').into(),
            'A'..='F' if is_hex => self.pick(b"ABCDEF", b'A').into(),
            _ if character.is_numeric() => self.digit(0),
            _ if character.is_alphabetic() && is_cyrillic => {
                let letter = self.pick(&CYRILLIC, 'а');
                match character.is_uppercase() {
                    true => letter.to_uppercase().next().unwrap_or(letter),
                    false => letter,
                }
            }
            _ if character.is_alphabetic() => {
                let letter = char::from(b'a' + u8::try_from(self.below(26)).unwrap_or(0));
                if character.is_uppercase() {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                }
            }
            // Pictures are values, too.
            '\u{2600}'..='\u{27bf}' | '\u{1f000}'..='\u{1faff}' => {
                char::from_u32(0x1f600 + self.below(64)).unwrap_or('\u{1f600}')
            }
            _ if character.is_ascii_punctuation() || KEPT.contains(character) => character,
            _ if character.is_whitespace() => ' ',
            // Braille, combining marks, tags, private characters and controls may spell anything.
            _ => '·',
        }
    }

    /// A duration or a time of day in the same notation: the first group of a clock is below 24, others below 60. Units of
    /// time stay; any other word is masked.
    fn clock(&mut self, text: &str) -> String {
        let kind = |c: char| (c.is_ascii_digit(), c.is_alphabetic());
        let mut masked = String::with_capacity(text.len());
        let (mut rest, mut is_first) = (text, true);
        while let Some(first) = rest.chars().next() {
            let end = rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len());
            let (group, after) = rest.split_at(end);
            if first.is_ascii_digit() {
                let most = if is_first && text.contains(':') { 24 } else { 60 };
                masked.push_str(&self.group(group.len(), most));
                is_first = false;
            } else if is_word_of_durations(group) {
                masked.push_str(group);
            } else {
                masked.extend(group.chars().map(|c| self.character(c, false)));
            }
            rest = after;
        }
        masked
    }

    /// Digits behind a point. Zeros stay, because they tell nothing.
    pub fn fraction(&mut self, digits: &str) -> String {
        if digits.bytes().all(|digit| digit == b'0') {
            return digits.to_owned();
        }
        // No digit is 0, so that a number keeps its length.
        digits.chars().map(|_| self.digit(1)).collect()
    }

    /// Digits of a number below `most`; of any number if the group has more than two.
    pub fn group(&mut self, length: usize, most: u32) -> String {
        match length {
            1 => self.below(10.min(most)).to_string(),
            2 => format!("{:02}", self.below(most)),
            _ => (0..length).map(|at| self.digit(u32::from(at == 0))).collect(),
        }
    }
}
