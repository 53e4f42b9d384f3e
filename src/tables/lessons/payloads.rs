//! Payloads of lesson data files, with the lines that they start on. A file is a JSON array, JSON Lines or one object.
//! Pure.
//!
//! A file is read value by value, so that memory does not grow with its size, and a value that can't be read costs no
//! other value.

use serde_json::Value;

use super::json_values::JsonValues;
use super::payload::{Malformed, Payload};
use crate::json::Repairs;

/// Parses a whole file in which everything must be good: a JSON array, JSON Lines, or objects one after another. A byte
/// order mark is skipped.
///
/// # Errors
/// The first part that is not JSON or not a payload.
pub fn parse(bytes: &[u8]) -> Result<Vec<Payload>, Malformed> {
    Payloads::new(bytes).collect()
}

/// The payloads of a file, one after another; in place of one that can't be read, the reason.
pub struct Payloads<R> {
    values: JsonValues<R>,
    /// The elements of an array that stood on one line, in reverse.
    waiting: Vec<(Value, u64, Repairs)>,
}

impl<R: std::io::BufRead> Payloads<R> {
    /// Reads from the start of a file.
    pub fn new(file: R) -> Self {
        Self {
            values: JsonValues::new(file),
            waiting: Vec::new(),
        }
    }
}

impl<R: std::io::BufRead> Iterator for Payloads<R> {
    type Item = Result<Payload, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((value, line, repairs)) = self.waiting.pop() {
                return Some(Payload::read(value, line, repairs));
            }
            match self.values.next()? {
                Ok((Value::Array(elements), line, repairs)) => {
                    let elements = elements
                        .into_iter()
                        .map(|element| (element, line, Repairs::default()));
                    self.waiting = elements.rev().collect();
                    // The repairs are counted once, with the first element.
                    if let Some(first) = self.waiting.last_mut() {
                        first.2 = repairs;
                    }
                }
                Ok((value, line, repairs)) => return Some(Payload::read(value, line, repairs)),
                Err(malformed) => return Some(Err(malformed)),
            }
        }
    }
}
