//! What a cell's number stands for, by its number format: a number, a date or a length of time. Pure.

use std::collections::HashMap;

use super::archive::Archive;
use super::part::attribute;
use super::refusal::Refusal;

/// What a number stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// Itself.
    #[default]
    Number,
    /// A serial day.
    Date,
    /// A length of time in days.
    Span,
}

/// The formats of a workbook's cells, by the number that a cell names.
pub(super) fn read(archive: &mut Archive<'_>, part: &str) -> Result<Vec<Format>, Refusal> {
    let Some(mut styles) = archive.part(part)? else {
        return Ok(Vec::new());
    };
    let mut codes: HashMap<String, Format> = HashMap::new();
    let mut formats = Vec::new();
    // The same elements stand for other things in other groups.
    let mut group = String::new();
    styles.each(&mut |name, element| {
        match (name, group.as_str()) {
            ("numFmts" | "cellXfs" | "cellStyleXfs" | "cellStyles" | "dxfs", _) => {
                name.clone_into(&mut group)
            }
            ("numFmt", "numFmts") => {
                let id = attribute(element, "numFmtId").unwrap_or_default();
                let code = attribute(element, "formatCode").unwrap_or_default();
                codes.insert(id.into_owned(), of_code(&code));
            }
            ("xf", "cellXfs") => {
                let id = attribute(element, "numFmtId").unwrap_or_default();
                formats.push(codes.get(&*id).copied().unwrap_or_else(|| of_id(&id)));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(formats)
}

/// The formats that every program knows by their numbers.
fn of_id(id: &str) -> Format {
    match id.parse() {
        // 27 to 36 and 50 to 58 are dates of East Asia.
        Ok(14..=22 | 27..=36 | 45 | 47 | 50..=58) => Format::Date,
        Ok(46) => Format::Span,
        _ => Format::Number,
    }
}

/// A format by its code: what stands in quotes and brackets, or is escaped, is no part of a date.
fn of_code(code: &str) -> Format {
    if ["general", "standard"].contains(&code.trim().to_lowercase().as_str()) {
        return Format::Number;
    }
    let mut characters = code.chars();
    while let Some(c) = characters.next() {
        match c {
            // The first section alone: it is that of what is not negative.
            ';' => break,
            '\\' | '_' | '*' => {
                characters.next();
            }
            '"' => {
                characters.find(|c| *c == '"');
            }
            '[' => {
                let inner: String = characters.by_ref().take_while(|c| *c != ']').collect();
                let first = inner.chars().next().map(|c| c.to_ascii_lowercase());
                let is_alone = inner.chars().all(|c| Some(c.to_ascii_lowercase()) == first);
                if is_alone && matches!(first, Some('h' | 'm' | 's')) {
                    return Format::Span;
                }
            }
            c if matches!(c.to_ascii_lowercase(), 'd' | 'm' | 'y' | 'h' | 's') => return Format::Date,
            _ => {}
        }
    }
    Format::Number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_says_what_a_number_stands_for() {
        for code in [
            "DD/MM/YY",
            "H:MM:SS;@",
            "m\"M\"d\"D\";@",
            "[$-419]dd.mm.yyyy\\ hh:mm",
            "[$-404]e\"\\xfc\"m\"\\xfc\"d\"\\xfc\"",
            "h:mm AM/PM",
            "[Red]yyyy",
        ] {
            assert_eq!(of_code(code), Format::Date, "{code}");
        }
        for code in [
            "[h]:mm:ss",
            "[ss]",
            "[s].000",
            "[Blue]\\+[h]:mm;[Red]\\-[h]:mm",
            "[>=100][Magenta][s].00",
        ] {
            assert_eq!(of_code(code), Format::Span, "{code}");
        }
        for code in [
            "General",
            "0",
            "#,##0\\ [$\\u20bd-46D]",
            "\"Y: \"0.00\"m\";\"Y: <num>m\";@",
            "0_ ;[Red]\\-0\\ ",
            "\\Y000000",
            "#,##0.0####\" YMD\"",
            "0.00E+00",
            "_(* #,##0_)",
            "_d0",
            "@",
            "\"unclosed d",
            "[unclosed d",
        ] {
            assert_eq!(of_code(code), Format::Number, "{code}");
        }
        let ids = ["0", "14", "22", "46", "49", "164", ""].map(of_id);
        let (n, d) = (Format::Number, Format::Date);
        assert_eq!(ids, [n, d, d, Format::Span, n, n, n]);
    }
}
