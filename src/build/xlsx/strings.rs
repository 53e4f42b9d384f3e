//! The texts of a workbook: those that its cells share, and how a text is written. Pure.

use std::borrow::Cow;
use std::io::Read;

use quick_xml::events::Event;

use super::archive::Archive;
use super::part::{Depth, MOST_TEXT, Part, attribute};
use super::refusal::Refusal;

/// Length of an escape `_xHHHH_`.
const ESCAPE: usize = 7;

/// The shared strings in their order; none where one is too long to be a value.
pub(super) struct Strings {
    pub texts: Vec<Option<String>>,
    /// Characters that could not be decoded.
    pub replaced: u64,
}

/// Reads the shared strings of a workbook.
pub(super) fn read(archive: &mut Archive<'_>, part: &str) -> Result<Strings, Refusal> {
    let mut texts = Vec::new();
    let Some(mut part) = archive.part(part)? else {
        return Ok(Strings { texts, replaced: 0 });
    };
    let mut depth = Depth::default();
    loop {
        match part.next()? {
            Event::Start(start) if start.local_name().as_ref() == "si" => {
                texts.push(rich_text(&mut part, "si")?);
            }
            Event::Start(_) => depth.down(),
            Event::End(_) => depth.up(),
            Event::Eof => break,
            _ => {}
        }
    }
    depth.end()?;
    let replaced = part.replaced();
    Ok(Strings { texts, replaced })
}

/// The text of an element that has just begun, in one piece or in several of different looks; without what tells how it
/// is spoken. None where it is too long to be a value.
pub(super) fn rich_text<R: Read>(part: &mut Part<R>, element: &str) -> Result<Option<String>, Refusal> {
    let mut text = Some(String::new());
    loop {
        match part.next()? {
            Event::Start(start) => {
                let is_kept = attribute(&start, "space").is_some_and(|space| space == "preserve");
                match start.local_name().as_ref() {
                    "t" => {
                        let more = part.text("t")?;
                        text = text.zip(more).and_then(|(text, more)| join(text, &more, is_kept));
                    }
                    "rPh" => part.skip("rPh")?,
                    _ => {}
                }
            }
            Event::End(end) if end.local_name().as_ref() == element => return Ok(text),
            Event::Eof => return Err(Refusal::Damaged),
            _ => {}
        }
    }
}

fn join(mut text: String, more: &str, is_kept: bool) -> Option<String> {
    let more = match is_kept {
        true => more,
        // Other spaces are a text's own.
        false => more.trim_matches([' ', '\t', '\r', '\n']),
    };
    text.push_str(&unescape(more));
    (text.len() <= MOST_TEXT).then_some(text)
}

/// A text without the escapes `_xHHHH_` that stand for UTF-16 units which XML can't hold.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains("_x") {
        return text.into();
    }
    let mut units = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    let flush = |units: &mut Vec<u16>, plain: &mut String| {
        plain.push_str(&String::from_utf16_lossy(units));
        units.clear();
    };
    while let Some(c) = rest.chars().next() {
        if let Some(unit) = escape_at(rest) {
            units.push(unit);
            rest = &rest[ESCAPE..];
            continue;
        }
        flush(&mut units, &mut plain);
        plain.push(c);
        rest = &rest[c.len_utf8()..];
    }
    flush(&mut units, &mut plain);
    plain.into()
}

fn escape_at(text: &str) -> Option<u16> {
    let digits = text.get(..ESCAPE)?.strip_prefix("_x")?.strip_suffix('_')?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rich(xml: &str) -> Option<String> {
        let mut part = Part::new(xml.as_bytes(), 1000);
        while !matches!(part.next(), Ok(Event::Start(_))) {}
        rich_text(&mut part, "si").expect("text")
    }

    #[test]
    fn a_text_in_pieces_is_one_and_its_phonetics_are_none() {
        for (xml, text) in [
            ("<si><t> Анна </t></si>", "Анна"),
            ("<si><t xml:space='preserve'> Анна </t></si>", " Анна "),
            (
                "<si><r><rPr><b/></rPr><t>Ан</t></r><r><t xml:space='preserve'>на </t></r></si>",
                "Анна ",
            ),
            (
                "<si><t>課</t><rPh sb='0' eb='1'><t>か</t></rPh><phoneticPr/></si>",
                "課",
            ),
            ("<si/>", ""),
            ("<x:si><x:t>&amp;</x:t></x:si>", "&"),
        ] {
            assert_eq!(rich(xml).as_deref(), Some(text), "{xml}");
        }
    }

    #[test]
    fn escapes_are_what_they_stand_for() {
        for (text, plain) in [
            ("a_x000D_b", "a\rb"),
            ("_xD83D__xDCF7_", "📷"),
            ("урок _xD83D_", "урок \u{fffd}"),
            ("_xDCF7__xD83D_x", "\u{fffd}\u{fffd}x"),
            ("_x005F_x000D_", "_x000D_"),
            ("_x00+D_ _x00я_ _x", "_x00+D_ _x00я_ _x"),
            ("", ""),
        ] {
            assert_eq!(unescape(text), plain, "{text}");
        }
    }
}
