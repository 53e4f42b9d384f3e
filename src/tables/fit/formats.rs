//! The notation of an instant that the program does not read by itself, as chrono writes it. Pure.

use super::field_tree::FieldTree;
use super::toml_lines::TomlLines;
use super::value_shape::Sort;

/// Shapes of dates and their notation; slashes are decided by the values.
const DATES: [(&str, &str); 6] = [
    ("9999/99/99", "%Y/%m/%d"),
    ("99.99.9999", "%d.%m.%Y"),
    ("99-99-9999", "%d-%m-%Y"),
    ("99.99.99", "%d.%m.%y"),
    ("9999-99-99", "%Y-%m-%d"),
    ("9999.99.99", "%Y.%m.%d"),
];
/// Shapes of times.
const TIMES: [(&str, &str); 6] = [
    ("99:99:99 AA", "%I:%M:%S %p"),
    ("99:99 AA", "%I:%M %p"),
    ("99:99:99 aa", "%I:%M:%S %p"),
    ("99:99 aa", "%I:%M %p"),
    ("99:99:99", "%H:%M:%S"),
    ("99:99", "%H:%M"),
];

/// Adds the notation of a field's instants to the lines, if they need one.
pub(crate) fn note(tree: &FieldTree, toml: &mut TomlLines) {
    if tree.sort() != Some(Sort::OtherInstant) {
        return;
    }
    for shape in tree.shapes.keys() {
        if let Some(format) = format(shape, tree.above_twelve) {
            toml.format(format);
        }
    }
}

/// The notation of a shape. A single digit stands for two, because chrono reads both.
pub(crate) fn format(shape: &str, above_twelve: (bool, bool)) -> Option<&'static str> {
    let plain = padded(shape.trim_matches('"'));
    let (date, rest) = plain.split_at_checked(plain.find([' ', 'T']).unwrap_or(plain.len()))?;
    let gap = rest.chars().next();
    let rest = rest.trim_start_matches([' ', 'T']);
    let slashes = match (date.trim_end_matches(','), above_twelve) {
        ("99/99/9999", (true, false)) => Some("%d/%m/%Y"),
        ("99/99/9999", _) => Some("%m/%d/%Y"),
        ("99/99/99", (true, false)) => Some("%d/%m/%y"),
        ("99/99/99", _) => Some("%m/%d/%y"),
        _ => None,
    };
    let plain_date = date.trim_end_matches(',');
    let day = slashes.or_else(|| {
        DATES
            .iter()
            .find(|(known, _)| *known == plain_date)
            .map(|(_, format)| *format)
    })?;
    let time = TIMES
        .iter()
        .find(|(known, _)| *known == rest)
        .map(|(_, format)| *format);
    let comma = if date.ends_with(',') { "," } else { "" };
    known(&match (time, rest.is_empty()) {
        (Some(time), _) => format!("{day}{comma}{}{time}", gap.unwrap_or(' ')),
        (None, true) => day.to_owned(),
        (None, false) => return None,
    })
}

/// The notation as a text that lives as long as the program.
fn known(format: &str) -> Option<&'static str> {
    NOTATIONS.iter().find(|known| **known == format).copied()
}

/// All notations that are suggested.
const NOTATIONS: [&str; 24] = [
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y, %I:%M:%S %p",
    "%m/%d/%Y, %I:%M %p",
    "%d/%m/%Y %I:%M:%S %p",
    "%d/%m/%Y %I:%M %p",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y, %H:%M:%S",
    "%d/%m/%Y, %H:%M",
    "%m/%d/%y %I:%M:%S %p",
    "%m/%d/%y %I:%M %p",
    "%m/%d/%y %H:%M:%S",
    "%m/%d/%y %H:%M",
    "%d/%m/%y %H:%M:%S",
    "%d/%m/%y %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d-%m-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M",
    "%Y.%m.%d %H:%M:%S",
    "%Y.%m.%d %H:%M",
];

/// A shape in which every group of one digit has two.
fn padded(shape: &str) -> String {
    let mut padded = String::new();
    let characters: Vec<char> = shape.chars().collect();
    for (at, character) in characters.iter().enumerate() {
        let is_digit = |at: Option<usize>| at.and_then(|at| characters.get(at)) == Some(&'9');
        padded.push(*character);
        if *character == '9' && !is_digit(at.checked_sub(1)) && !is_digit(Some(at + 1)) {
            padded.push('9');
        }
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_gives_the_notation_of_chrono() {
        for (shape, above, expected) in [
            (
                "\"99/99/9999 99:99:99 AA\"",
                (false, true),
                Some("%m/%d/%Y %I:%M:%S %p"),
            ),
            (
                "\"9/9/9999, 9:99:99 AA\"",
                (false, false),
                Some("%m/%d/%Y, %I:%M:%S %p"),
            ),
            ("\"99/99/9999 99:99\"", (true, false), Some("%d/%m/%Y %H:%M")),
            (
                "\"9999/99/99 99:99:99\"",
                (false, false),
                Some("%Y/%m/%d %H:%M:%S"),
            ),
            ("\"aaaaa\"", (false, false), None),
            ("\"99/99/9999 aaaa\"", (false, false), None),
        ] {
            assert_eq!(format(shape, above), expected, "{shape}");
        }
    }
}
