//! Reads JSON with small faults: a name that was cut inside an emoji, a byte of another encoding, `NaN`. Pure; used for lists
//! of the API, reports and lesson data.
//!
//! [`Text::read`] reads well-formed JSON at the parser's own speed. Only a text that the parser refuses is mended: a bad
//! character becomes U+FFFD and an impossible number null, both are counted, and the rest is read. Whole numbers beyond
//! 64 bits become text, because a double would change their digits.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The counts of faults that were mended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Characters that became U+FFFD.
    pub characters: u64,
    /// Numbers that became null.
    pub numbers: u64,
}

impl Repairs {
    /// True if nothing was mended.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the repairs of another text.
    pub fn add(&mut self, other: Self) {
        self.characters += other.characters;
        self.numbers += other.numbers;
    }
}

/// An upper bound, less one, of the number of values in a JSON text, without parsing it.
pub fn most_values(text: &[u8]) -> usize {
    count(text, |byte| (byte == b',') | (byte == b'[') | (byte == b'{'))
}

/// The number of some bytes in a text. Blocks are short enough for a count of eight bits, so that the compiler compares
/// many bytes at once.
pub fn count(text: &[u8], is_wanted: impl Fn(u8) -> bool) -> usize {
    let of_block = |block: &[u8]| block.iter().map(|byte| u8::from(is_wanted(*byte))).sum::<u8>();
    text.chunks(255).map(|block| usize::from(of_block(block))).sum()
}

impl std::fmt::Display for Repairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { characters, numbers } = self;
        write!(
            f,
            "{characters} unreadable characters stand as U+FFFD, {numbers} impossible numbers are null"
        )
    }
}

/// A JSON text and, if it has faults, its mended form. Values that are read borrow from it.
#[derive(Debug)]
pub struct Text<'b> {
    bytes: &'b [u8],
    mended: OnceCell<(Vec<u8>, Repairs)>,
}

impl<'b> Text<'b> {
    /// Makes a text. A byte order mark before it is left out.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self {
            bytes: bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes),
            mended: OnceCell::new(),
        }
    }

    /// Reads the text, and returns the number of faults that were mended.
    ///
    /// # Errors
    /// The mended text is no JSON, or not a `T`.
    pub fn read<'t, T: Deserialize<'t>>(&'t self) -> serde_json::Result<(T, Repairs)> {
        if !has_long_number(self.bytes)
            && let Ok(text) = std::str::from_utf8(self.bytes)
            && let Ok(value) = serde_json::from_str(text)
        {
            return Ok((value, Repairs::default()));
        }
        let (mended, repairs) = self.mended.get_or_init(|| mend(self.bytes));
        Ok((serde_json::from_slice(mended)?, *repairs))
    }
}

/// Reads a value that owns what it holds; see [`Text::read`].
///
/// # Errors
/// As [`Text::read`].
pub fn read<T: for<'t> Deserialize<'t>>(bytes: &[u8]) -> serde_json::Result<(T, Repairs)> {
    Text::new(bytes).read()
}

/// A JSON value as text, for values that are kept in great number: parsed, they would take about ten times the memory.
///
/// Two are equal if their texts are. [`RawJson::from`] always gives the same text for the same value.
#[derive(Debug, Clone)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The value.
    ///
    /// # Errors
    /// The text came from a file and is no JSON, or is nested too deep.
    pub fn parse(&self) -> serde_json::Result<Value> {
        serde_json::from_str(self.as_str())
    }

    /// The value; null if it can't be parsed, which only happens to a file that was changed by hand.
    pub fn value(&self) -> Value {
        self.parse().unwrap_or_default()
    }

    /// A field of an object.
    pub fn field(&self, name: &str) -> Option<Value> {
        self.value().get_mut(name).map(Value::take)
    }
}

impl From<&Value> for RawJson {
    fn from(value: &Value) -> Self {
        // The text of a value is always JSON.
        Self(serde_json::value::to_raw_value(value).unwrap_or_default())
    }
}

impl From<Value> for RawJson {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        // Earlier versions wrote the value on several lines.
        if text.get().contains('\n')
            && let Ok(value) = serde_json::from_str::<Value>(text.get())
        {
            return Ok(Self::from(&value));
        }
        Ok(Self(text))
    }
}

/// The digits of the shortest whole number that does not fit 64 bits.
const LONG: usize = 19;

/// True if there may be a whole number beyond 64 bits. Skips [`LONG`] bytes at a time while it meets no digit.
fn has_long_number(bytes: &[u8]) -> bool {
    let mut at = LONG - 1;
    while let Some(byte) = bytes.get(at) {
        if byte.is_ascii_digit() {
            let is_digit = |byte: &&u8| byte.is_ascii_digit();
            let before = bytes[..at].iter().rev().take_while(is_digit).count();
            let from_here = bytes[at..].iter().take_while(is_digit).count();
            if before + from_here >= LONG {
                return true;
            }
            at += from_here;
        }
        at += LONG;
    }
    false
}

/// The text without these faults. Any other fault stays.
fn mend(bytes: &[u8]) -> (Vec<u8>, Repairs) {
    let mut repairs = Repairs::default();
    let text = String::from_utf8_lossy(bytes);
    if let Cow::Owned(text) = &text {
        let bad = |text: &str| text.matches('\u{fffd}').count() as u64;
        let good: u64 = bytes.utf8_chunks().map(|chunk| bad(chunk.valid())).sum();
        repairs.characters = bad(text) - good;
    }
    let mut mender = Mender {
        rest: &text,
        mended: Vec::with_capacity(bytes.len() + 64),
        repairs,
    };
    while mender.step() {}
    (mender.mended, mender.repairs)
}

/// Copies a text token by token.
struct Mender<'t> {
    rest: &'t str,
    mended: Vec<u8>,
    repairs: Repairs,
}

/// The names that JavaScript and Python write for numbers that JSON does not have.
const NO_NUMBERS: [&str; 6] = ["-Infinity", "Infinity", "-NaN", "NaN", "nan", "undefined"];

impl<'t> Mender<'t> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.bytes().next() else {
            return false;
        };
        if first == b'"' {
            self.copy(1);
            self.string();
        } else if let Some(name) = NO_NUMBERS.iter().find(|name| self.rest.starts_with(**name)) {
            self.null(name.len());
        } else if first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.') {
            self.number();
        } else {
            // The first character begins none of these, so the search starts behind it.
            let first = self.rest.chars().next().map_or(0, char::len_utf8);
            let begins = |c: char| "\"-+.0123456789INnu".contains(c);
            let length = self.rest[first..].find(begins).map(|end| first + end);
            self.copy(length.unwrap_or(self.rest.len()));
        }
        true
    }

    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn copy(&mut self, length: usize) {
        let taken = self.take(length);
        self.mended.extend_from_slice(taken.as_bytes());
    }

    fn null(&mut self, length: usize) {
        self.take(length);
        self.mended.extend_from_slice(b"null");
        self.repairs.numbers += 1;
    }

    fn number(&mut self) {
        let length = self
            .rest
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'))
            .count();
        let number = &self.rest[..length];
        let whole = number.strip_prefix('-').unwrap_or(number);
        let is_long = whole.len() >= LONG && whole.bytes().all(|byte| byte.is_ascii_digit());
        if is_long && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
            self.mended.push(b'"');
            self.copy(length);
            self.mended.push(b'"');
        } else if serde_json::from_str::<serde_json::Number>(number).is_ok() {
            self.copy(length);
        } else {
            self.null(length);
        }
    }

    /// Mends the inside of a string and copies the quote that ends it.
    fn string(&mut self) {
        loop {
            let plain = self.rest.find(|c: char| c == '"' || c == '\\' || c < ' ');
            self.copy(plain.unwrap_or(self.rest.len()));
            match self.rest.bytes().next() {
                None => return,
                Some(b'"') => return self.copy(1),
                Some(b'\\') => self.escape(),
                Some(_) => {
                    // A bare control character.
                    let control = self.take(1).as_bytes()[0];
                    self.mended
                        .extend_from_slice(format!("\\u{control:04x}").as_bytes());
                }
            }
        }
    }

    fn escape(&mut self) {
        let after = self.rest.as_bytes().get(1).copied();
        match after {
            Some(b'u') => match self.code_unit(0) {
                Some(0xD800..=0xDBFF) if matches!(self.code_unit(6), Some(0xDC00..=0xDFFF)) => self.copy(12),
                Some(0xD800..=0xDFFF) => self.replace(6),
                Some(_) => self.copy(6),
                None => {
                    let digits = self.rest[2..].bytes().take_while(u8::is_ascii_hexdigit).take(3);
                    self.replace(2 + digits.count());
                }
            },
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.copy(2),
            // The text was cut and ends here.
            None => self.copy(1),
            Some(_) => self.replace(1),
        }
    }

    /// The value of `\uXXXX` at a position.
    fn code_unit(&self, at: usize) -> Option<u16> {
        let digits = self.rest.get(at..at + 6)?.strip_prefix("\\u")?;
        let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        all_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    }

    fn replace(&mut self, length: usize) {
        self.take(length);
        self.mended.extend_from_slice("\u{fffd}".as_bytes());
        self.repairs.characters += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn mended(text: &[u8]) -> (Value, u64, u64) {
        let (value, repairs) = read::<Value>(text).expect("JSON");
        (value, repairs.characters, repairs.numbers)
    }

    #[test]
    fn a_value_as_text_is_written_as_it_is_and_equal_to_itself() {
        let value = json!({"b": [1.5, "\n"], "a": null});
        let text = RawJson::from(&value);
        assert_eq!(text.as_str(), r#"{"a":null,"b":[1.5,"\n"]}"#);
        let file = serde_json::to_string_pretty(&[&text]).expect("JSON");
        assert_eq!(file, format!("[\n  {}\n]", text.as_str()));
        let [read] = serde_json::from_str::<[RawJson; 1]>(&file).expect("JSON");
        assert_eq!((read.value(), &read), (value.clone(), &text));
        assert_eq!(
            (read.field("b"), read.field("c")),
            (Some(json!([1.5, "\n"])), None)
        );
        let lines = serde_json::to_string_pretty(&[value]).expect("JSON");
        let [read] = serde_json::from_str::<[RawJson; 1]>(&lines).expect("JSON");
        assert_eq!(read, text, "an earlier version wrote it on several lines");
    }

    #[test]
    fn a_bad_character_costs_only_itself() {
        for (text, value) in [
            (&br#"["\ud83d", 1]"#[..], json!(["\u{fffd}", 1])),
            (br#"["a\ude00b"]"#, json!(["a\u{fffd}b"])),
            (br#"["\ud83dx\ud83d\ude00"]"#, json!(["\u{fffd}x\u{1f600}"])),
            (b"[\"caf\xe9\"]", json!(["caf\u{fffd}"])),
            (br#"["\ud8"]"#, json!(["\u{fffd}"])),
            (br#"["\x41"]"#, json!(["\u{fffd}x41"])),
            (b"\xef\xbb\xbf[\"\xff\"]", json!(["\u{fffd}"])),
        ] {
            assert_eq!(mended(text), (value, 1, 0), "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(mended(b"[\"a\nb\tc\"]"), (json!(["a\nb\tc"]), 0, 0));
        assert_eq!(
            mended("[\"\u{fffd}\", \"\\ud800\"]".as_bytes()),
            (json!(["\u{fffd}", "\u{fffd}"]), 1, 0)
        );
    }

    #[test]
    fn an_impossible_number_is_null() {
        let text =
            br#"{"a": NaN, "b": [1e400, -Infinity, 1], "NaN": "NaN 1e400", "c": -1E999, "d": 01, "e": null}"#;
        let value =
            json!({"a": null, "b": [null, null, 1], "NaN": "NaN 1e400", "c": null, "d": null, "e": null});
        assert_eq!(mended(text), (value, 0, 5));
    }

    #[test]
    fn whole_numbers_beyond_64_bits_keep_their_digits() {
        let text = br#"[100000000000000000001, 100000000000000000002, -9223372036854775809, 18446744073709551615, 7]"#;
        let value = json!([
            "100000000000000000001",
            "100000000000000000002",
            "-9223372036854775809",
            u64::MAX,
            7
        ]);
        assert_eq!(mended(text), (value, 0, 0));
    }

    #[test]
    fn cut_json_and_other_text_is_still_refused() {
        for text in [
            &b"[1, "[..],
            b"{\"a\": \"x",
            b"{\"a\": \"x\\",
            b"oops",
            b"",
            b"<html>",
            b"[1 2]",
            b"NaNa",
        ] {
            assert!(read::<Value>(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn bytes_are_counted_in_texts_of_any_length() {
        for length in [0, 1, 254, 255, 256, 510, 1000] {
            assert_eq!(count(&vec![b'{'; length], |byte| byte == b'{'), length);
            assert_eq!(count(&vec![b'x'; length], |byte| byte == b'{'), 0);
        }
    }

    #[test]
    fn the_bound_for_values_is_never_too_low() {
        for (text, values) in [("7", 1), ("[]", 1), ("[1,2]", 3), (r#"{"a":[1],"b":{}}"#, 4)] {
            assert!(most_values(text.as_bytes()) + 1 >= values, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read::<Value>(&bytes);
        }

        #[test]
        fn mending_well_formed_json_changes_nothing(
            texts in proptest::collection::vec("\\PC{0,20}|[\\u0000-\\u0040]{0,10}", 0..5), number in any::<f64>(), whole in any::<i64>(),
        ) {
            let value = json!({"texts": texts, "number": number, "whole": whole, "null": null, "yes": true});
            let text = value.to_string();
            let (again, repairs) = mend(text.as_bytes());
            prop_assert_eq!(&again, text.as_bytes());
            prop_assert!(repairs.is_none());
        }

        #[test]
        fn long_numbers_are_found_wherever_they_stand(before in "[a-z0-9 ]{0,60}", digits in "[0-9]{19,25}", after in "[a-z ]{0,30}") {
            let text = format!("{before}{digits}{after}");
            prop_assert!(has_long_number(text.as_bytes()));
        }
    }
}
