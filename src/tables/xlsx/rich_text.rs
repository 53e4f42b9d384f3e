//! Copies a text into the clean copy. Pure.

use std::fmt::Write;
use std::io::Read;

use quick_xml::events::Event;

use super::clean_value::{FAILED, escaped};
use super::refusal::Refusal;
use super::xml_part::{MOST_TEXT, XmlPart, attribute};

/// The pieces of a text whose element has just begun, without the phonetics. A text that is too long to be a value
/// becomes that of a failed formula.
pub(super) fn rich_text<R: Read>(part: &mut XmlPart<R>, element: &str) -> Result<String, Refusal> {
    let (mut xml, mut size) = (String::new(), 0);
    loop {
        match part.next()? {
            Event::Start(start) => match start.local_name().as_ref() {
                "t" => {
                    let is_kept = attribute(&start, "space").is_some_and(|space| space == "preserve");
                    let space = if is_kept { r#" xml:space="preserve""# } else { "" };
                    let text = part.text("t")?;
                    size += text.as_ref().map_or(MOST_TEXT + 1, String::len);
                    if size <= MOST_TEXT {
                        let _ = write!(xml, "<t{space}>{}</t>", escaped(&text.unwrap_or_default()));
                    }
                }
                "rPh" => part.skip("rPh")?,
                _ => {}
            },
            Event::End(end) if end.local_name().as_ref() == element => break,
            Event::Eof => return Err(Refusal::Damaged),
            _ => {}
        }
    }
    Ok(match size <= MOST_TEXT {
        true => xml,
        false => format!("<t>{FAILED}</t>"),
    })
}
