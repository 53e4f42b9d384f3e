//! Payloads of lesson data files, with the lines that they start on. A file is a JSON array, JSON Lines or one object.
//! Pure.
//!
//! A file is read value by value, so that memory does not grow with its size, and a value that can't be read costs no
//! other value.

use std::collections::VecDeque;
use std::io::{BufRead, Read as _};

use super::payload::{Malformed, Payload};
use crate::json::{Repairs, Text};
use crate::tables::report::node::Node;

/// Most bytes of a value or of a line.
const LONGEST: usize = 8 << 20;
/// Bytes at the start of a file in which a line is searched that is an object by itself.
const HEAD: usize = 1 << 20;

/// Parses a whole file in which everything must be good: a JSON array, JSON Lines, or objects one after another. A byte
/// order mark is skipped.
///
/// # Errors
/// The first part that is not JSON or not a payload.
pub fn parse(bytes: &[u8]) -> Result<Vec<Payload>, Malformed> {
    Payloads::new(bytes).collect()
}

/// A payload, or the reason why it can't be read.
type Item = Result<Payload, Malformed>;

/// The layout of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Not determined yet.
    Unknown,
    /// A value on each line: a broken one ends with its line.
    Lines,
    /// Values over several lines, or an array: a value ends where its brackets do.
    Nested,
}

/// The payloads of a file, one after another; in place of one that can't be read, the reason.
pub struct Payloads<R> {
    file: R,
    layout: Layout,
    /// The line and the column of the next byte, from 1.
    line: u64,
    column: usize,
    /// True if the next byte lies within the file's array.
    in_array: bool,
    /// True if a value may follow without a comma before it.
    expected: bool,
    ready: VecDeque<Item>,
    /// The memory of the line before.
    held: Vec<u8>,
}

impl<R: BufRead> Payloads<R> {
    /// Reads from the start of a file.
    pub fn new(file: R) -> Self {
        Self {
            file,
            layout: Layout::Unknown,
            line: 1,
            column: 1,
            in_array: false,
            expected: true,
            ready: VecDeque::new(),
            held: Vec::new(),
        }
    }

    /// Skips a byte order mark and determines the layout: in JSON Lines, at least one line is an object, whatever the
    /// other lines are.
    fn begin(&mut self) -> Layout {
        if self.buffer().starts_with(b"\xef\xbb\xbf") {
            self.file.consume(3);
        }
        let head = self.buffer();
        let head = &head[..head.len().min(HEAD)];
        let in_brackets = head.trim_ascii_start().first() == Some(&b'[');
        let is_object = |line: &[u8]| line.trim_ascii_start().first() == Some(&b'{') && is_json(line);
        match !in_brackets && head.split(|byte| *byte == b'\n').any(is_object) {
            true => Layout::Lines,
            false => Layout::Nested,
        }
    }

    /// The bytes that were read and not consumed yet; empty at the end of the file.
    fn buffer(&mut self) -> &[u8] {
        // The bytes are in memory, so reading them does not fail.
        self.file.fill_buf().unwrap_or_default()
    }

    /// Reads the next line; none at the end of the file.
    fn next_line(&mut self) -> Option<()> {
        let held = std::mem::take(&mut self.held);
        let (mut held, number) = self.take_line(held)?;
        if held.len() > LONGEST {
            let malformed = Malformed::new(number, "is longer than any payload");
            self.ready.push_back(Err(malformed));
            return Some(());
        }
        // An array is read line by line if one of its brackets is missing.
        let line = if self.in_array {
            undecorated(&held)
        } else {
            held.trim_ascii_end()
        };
        if !line.is_empty() {
            match Text::new(line).read() {
                Ok((value, repairs)) => take(&mut self.ready, value, number, repairs),
                Err(error) => self.ready.push_back(Err(refusal(line, number, &error))),
            }
        }
        held.clear();
        self.held = held;
        Some(())
    }

    /// Reads up to the end of the line, and appends that to the bytes of the line that were read before. Of a line
    /// longer than any payload, only the start is kept.
    fn take_line(&mut self, mut line: Vec<u8>) -> Option<(Vec<u8>, u64)> {
        let most = LONGEST as u64 + 1;
        let read = (&mut self.file).take(most).read_until(b'\n', &mut line).ok()?;
        if read == 0 && line.is_empty() {
            return None;
        }
        if read as u64 == most && line.last() != Some(&b'\n') {
            self.file.skip_until(b'\n').ok()?;
        }
        let number = self.line;
        self.line += 1;
        self.column = 1;
        Some((line, number))
    }

    /// Reads the next value; none at the end of the file.
    fn next_nested(&mut self) -> Option<()> {
        loop {
            let Some(byte) = self.buffer().first().copied() else {
                let cut = std::mem::take(&mut self.in_array);
                let malformed = Malformed::new(self.line, "ends in the middle of a JSON value");
                return cut.then(|| self.ready.push_back(Err(malformed)));
            };
            match byte {
                b'[' if !self.in_array => (self.in_array, self.expected) = (true, true),
                b']' if self.in_array => self.in_array = false,
                b',' if self.in_array => self.expected = true,
                byte if byte.is_ascii_whitespace() => {}
                _ => {
                    self.value();
                    return Some(());
                }
            }
            self.skip(byte);
        }
    }

    fn skip(&mut self, byte: u8) {
        self.file.consume(1);
        self.column += 1;
        if byte == b'\n' {
            self.line += 1;
            self.column = 1;
        }
    }

    /// Reads the value that starts here, or whatever is in its place.
    fn value(&mut self) {
        let (line, column) = (self.line, self.column);
        let mut held = Vec::new();
        let mut scan = Scan::new(self.in_array);
        loop {
            let buffer = self.file.fill_buf().unwrap_or_default();
            let Some((end, whole)) = scan.end(buffer) else {
                // The file ends within the value.
                self.in_array = false;
                break;
            };
            let part = &buffer[..end];
            held.extend_from_slice(part);
            match part.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => self.column = end - at,
                None => self.column += end,
            }
            self.line += part.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.file.consume(end);
            if whole {
                break;
            }
            if held.len() > LONGEST {
                // Its brackets will not close any more, so what follows is read line by line.
                let rest = held
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1);
                let start = held.split_off(rest);
                held.extend(self.take_line(start).map(|(line, _)| line).unwrap_or_default());
                self.layout = Layout::Lines;
                break;
            }
        }
        let missing = self.in_array && !std::mem::take(&mut self.expected);
        match Text::new(&held).read() {
            Ok((value, repairs)) => {
                if missing {
                    let why = format!("not JSON: expected `,` or `]` at column {column}");
                    self.ready.push_back(Err(Malformed::new(line, why)));
                }
                take(&mut self.ready, value, line, repairs);
            }
            Err(error) => salvage(&mut self.ready, &held, line, refusal(&held, line, &error)),
        }
    }
}

impl<R: BufRead> Iterator for Payloads<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if self.layout == Layout::Unknown {
                self.layout = self.begin();
            }
            match self.layout {
                Layout::Lines => self.next_line()?,
                _ => self.next_nested()?,
            }
        }
    }
}

/// Finds the end of a value, piece by piece.
struct Scan {
    in_array: bool,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// True if the value is an object or an array; any other value ends with its line.
    container: Option<bool>,
}

impl Scan {
    fn new(in_array: bool) -> Self {
        Self {
            in_array,
            depth: 0,
            in_text: false,
            escaped: false,
            container: None,
        }
    }

    /// The number of bytes of a piece that belong to the value, and whether the value ends with them; none for an empty
    /// piece.
    fn end(&mut self, piece: &[u8]) -> Option<(usize, bool)> {
        let first = *piece.first()?;
        let container = *self.container.get_or_insert(matches!(first, b'{' | b'['));
        for (at, byte) in piece.iter().enumerate() {
            if !container && *byte == b'\n' {
                return Some((at, true));
            }
            if self.in_text {
                self.in_text = self.escaped || *byte != b'"';
                self.escaped = !self.escaped && *byte == b'\\';
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'[' | b'{' => self.depth += 1,
                b',' | b']' if !container && self.in_array && self.depth == 0 => return Some((at, true)),
                b']' | b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    if container && self.depth == 0 {
                        return Some((at + 1, true));
                    }
                }
                _ => {}
            }
        }
        Some((piece.len(), false))
    }
}

/// Takes the payload in a value that starts on a line; of an array, each element is one.
fn take(ready: &mut VecDeque<Item>, value: Node<'_>, line: u64, repairs: Repairs) {
    match value {
        Node::List(elements) => {
            // The repairs are counted once, with the first element.
            let repairs = std::iter::once(repairs).chain(std::iter::repeat(Repairs::default()));
            let elements = elements.into_iter().zip(repairs);
            ready.extend(elements.map(|(element, repairs)| Payload::read(element, line, repairs)));
        }
        value => ready.push_back(Payload::read(value, line, repairs)),
    }
}

/// Takes the payloads that stand whole on lines of their own within an unreadable value: a value whose bracket is missing
/// swallows those after it. Without such payloads, the whole value is one error.
fn salvage(ready: &mut VecDeque<Item>, held: &[u8], first: u64, malformed: Malformed) {
    let mut items = VecDeque::new();
    let mut any = false;
    for (number, line) in (first..).zip(held.split(|byte| *byte == b'\n')) {
        let line = undecorated(line);
        if line.is_empty() {
            continue;
        }
        match Text::new(line).read::<Node<'_>>() {
            Ok((value, repairs)) => {
                let is_single = value.is_object();
                take(&mut items, value, number, repairs);
                any |= is_single && items.back().is_some_and(Result::is_ok);
            }
            Err(error) => items.push_back(Err(refusal(line, number, &error))),
        }
    }
    if any {
        ready.append(&mut items);
    } else {
        ready.push_back(Err(malformed));
    }
}

fn is_json(line: &[u8]) -> bool {
    Text::new(line).read::<Node<'_>>().is_ok()
}

/// The refusal of a value that starts on a line.
fn refusal(bytes: &[u8], line: u64, error: &serde_json::Error) -> Malformed {
    let at = (line + error.line() as u64).saturating_sub(1);
    Malformed::new(at, reason(bytes, error))
}

/// A line of an array without the brackets and commas around its value.
fn undecorated(line: &[u8]) -> &[u8] {
    let is_value = |byte: &u8| !byte.is_ascii_whitespace() && !matches!(byte, b'[' | b']' | b',');
    let start = line.iter().position(is_value).unwrap_or(line.len());
    let end = line.iter().rposition(is_value).map_or(start, |at| at + 1);
    &line[start..end]
}

/// The error in the parser's words, without its position. A comment is the most common mistake and is named.
fn reason(text: &[u8], error: &serde_json::Error) -> String {
    let line = text
        .split(|byte| *byte == b'\n')
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let rest = &line[error.column().saturating_sub(1).min(line.len())..];
    if [b"//".as_slice(), b"/*", b"#"]
        .iter()
        .any(|mark| rest.starts_with(mark))
    {
        return "a comment: JSON has none, remove it".into();
    }
    if error.is_eof() {
        return "ends in the middle of a JSON value".into();
    }
    let message = error.to_string();
    let words = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(words, _)| words);
    format!("not JSON: {words} at column {}", error.column())
}
