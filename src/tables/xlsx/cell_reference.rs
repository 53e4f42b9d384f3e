//! Positions of cells in a sheet: `B7`, `$b$7`, `B7:C9`. Pure.

use super::refusal::Refusal;

/// Excel's own limits.
const MOST_ROWS: u32 = 1 << 20;
const MOST_COLUMNS: u32 = 1 << 14;

/// Parses a cell's row and column; both count from 0.
pub(super) fn cell(text: &str) -> Result<(u32, u32), Refusal> {
    let text = text.trim();
    let text = text.strip_prefix('$').unwrap_or(text);
    let digits = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let letters = &text[..text.len() - digits.len()];
    let digits = digits.strip_prefix('$').unwrap_or(digits);
    let mut column = 0_u32;
    for letter in letters.bytes() {
        let letter = u32::from(letter.to_ascii_uppercase() - b'A') + 1;
        column = column.saturating_mul(26).saturating_add(letter);
    }
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if column == 0 || !is_number {
        return Err(Refusal::Damaged);
    }
    let row: u32 = digits.parse().map_err(|_| Refusal::TooMuch)?;
    within(row.checked_sub(1).ok_or(Refusal::Damaged)?, column - 1)
}

/// Checks that a sheet can have a position.
pub(super) fn within(row: u32, column: u32) -> Result<(u32, u32), Refusal> {
    match row < MOST_ROWS && column < MOST_COLUMNS {
        true => Ok((row, column)),
        false => Err(Refusal::TooMuch),
    }
}

/// The name of a position, such as `B7`.
pub(super) fn name((row, column): (u32, u32)) -> String {
    format!("{}{}", letter(column), row + 1)
}

/// A column's letters: `A`, `Z`, `AA`.
pub(super) fn letter(column: u32) -> String {
    let (mut rest, mut letters) = (column, Vec::new());
    loop {
        letters.push(
            char::from_digit(rest % 26 + 10, 36)
                .unwrap_or('?')
                .to_ascii_uppercase(),
        );
        match (rest / 26).checked_sub(1) {
            Some(more) => rest = more,
            None => break,
        }
    }
    letters.iter().rev().collect()
}

/// A region as `A2:B4`, its first cell first; none if the text is not a region.
pub(super) fn region(text: &str) -> Option<String> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    let (first, last) = (cell(first).ok()?, cell(last).ok()?);
    let top = name((first.0.min(last.0), first.1.min(last.1)));
    let bottom = name((first.0.max(last.0), first.1.max(last.1)));
    Some(format!("{top}:{bottom}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_letters() {
        assert_eq!(
            [0, 25, 26, 701, 702, 16_383].map(letter),
            ["A", "Z", "AA", "ZZ", "AAA", "XFD"]
        );
    }

    #[test]
    fn cell_references_are_read_in_every_notation() {
        for text in ["AB12", "$AB$12", "ab12", " AB$12 "] {
            assert_eq!(cell(text), Ok((11, 27)), "{text}");
        }
        for text in ["", "A", "12", "A0", "A-1", "A1B", "Я1", "A1:B2", "$", "A$"] {
            assert_eq!(cell(text), Err(Refusal::Damaged), "{text}");
        }
        for text in ["XFE1", "A1048577", "A99999999999999999999", "AAAAAAAAAAAAAAA1"] {
            assert_eq!(cell(text), Err(Refusal::TooMuch), "{text}");
        }
        for (text, plain) in [
            ("A2:B4", "A2:B4"),
            ("$B$2:$A$4", "A2:B4"),
            ("b4:a2", "A2:B4"),
            ("C3", "C3:C3"),
        ] {
            assert_eq!(region(text).as_deref(), Some(plain), "{text}");
        }
        assert_eq!(region(":"), None);
    }
}
