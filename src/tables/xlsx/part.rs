//! An XML part of a workbook: it is unpacked, decoded, counted and parsed while it is read. Pure.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Error, Reader, XmlVersion};

use super::census::Census;
use super::decoder::Decoder;
use super::refusal::Refusal;

/// Bytes of each read.
const CHUNK: usize = 64 << 10;
/// Most bytes of a text that is kept; a longer text is no value of a cell.
pub(super) const MOST_TEXT: usize = 1 << 20;

/// A part's bytes for the parser: UTF-8, within the limits of the census.
struct Source<R> {
    packed: R,
    decoder: Decoder,
    census: Census,
    chunk: Vec<u8>,
    text: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.text.len() && !self.ended {
            self.text.clear();
            self.at = 0;
            let read = self.packed.read(&mut self.chunk)?;
            self.ended = read == 0;
            self.decoder
                .decode(&self.chunk[..read], self.ended, &mut self.text);
            self.census.add(&self.text).map_err(io::Error::other)?;
        }
        Ok(&self.text[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

/// A part while it is parsed.
pub(super) struct Part<R: Read> {
    reader: Reader<Source<R>>,
    buffer: Vec<u8>,
}

impl<R: Read> Part<R> {
    /// Opens a part that may have at most that many tags.
    pub fn new(packed: R, tags: u64) -> Self {
        let mut reader = Reader::from_reader(Source {
            packed,
            decoder: Decoder::default(),
            census: Census::new(tags),
            chunk: vec![0; CHUNK],
            text: Vec::new(),
            at: 0,
            ended: false,
        });
        let config = reader.config_mut();
        config.check_end_names = false;
        config.expand_empty_elements = true;
        config.allow_dangling_amp = true;
        config.allow_unmatched_ends = true;
        Self {
            reader,
            buffer: Vec::new(),
        }
    }

    /// The next event.
    pub fn next(&mut self) -> Result<Event<'_>, Refusal> {
        self.buffer.clear();
        self.reader.read_event_into(&mut self.buffer).map_err(refusal)
    }

    /// The number of characters that could not be decoded so far and were replaced.
    pub fn replaced(&self) -> u64 {
        self.reader.get_ref().decoder.replaced
    }

    /// Calls `element` with each element at any depth, until the part ends or `element` fails.
    ///
    /// A part that is cut short is damaged.
    pub fn each(
        &mut self,
        element: &mut dyn FnMut(&str, &BytesStart<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut depth = Depth::default();
        loop {
            match self.next()? {
                Event::Start(start) => {
                    depth.down();
                    element(start.local_name().as_ref(), &start)?;
                }
                Event::End(_) => depth.up(),
                Event::Eof => return depth.end(),
                _ => {}
            }
        }
    }

    /// The text up to the end of the element that has just begun; none if it is too long to be a value.
    pub fn text(&mut self, element: &str) -> Result<Option<String>, Refusal> {
        let mut text = String::new();
        let mut fits = true;
        let mut add = |more: &str| {
            fits &= text.len() + more.len() <= MOST_TEXT;
            if fits {
                text.push_str(more);
            }
        };
        loop {
            match self.next()? {
                Event::Text(more) => add(&more.xml10_content()),
                Event::CData(more) => add(&more.xml10_content()),
                Event::GeneralRef(name) => add(&character(&name)),
                Event::End(end) if end.local_name().as_ref() == element => break,
                Event::Eof => return Err(Refusal::Damaged),
                _ => {}
            }
        }
        Ok(fits.then_some(text))
    }

    /// Skips the rest of an element that has just begun.
    pub fn skip(&mut self, element: &str) -> Result<(), Refusal> {
        let mut depth = 1_u64;
        while depth > 0 {
            match self.next()? {
                Event::Start(start) if start.local_name().as_ref() == element => depth += 1,
                Event::End(end) if end.local_name().as_ref() == element => depth -= 1,
                Event::Eof => return Err(Refusal::Damaged),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The number of elements that are open.
#[derive(Debug, Default)]
pub(super) struct Depth {
    open: u64,
    any: bool,
}

impl Depth {
    /// An element begins.
    pub fn down(&mut self) {
        self.open += 1;
        self.any = true;
    }

    /// An element ends.
    pub fn up(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// The part ends. If elements are still open, or if there was none, the part is damaged.
    pub fn end(&self) -> Result<(), Refusal> {
        match self.any && self.open == 0 {
            true => Ok(()),
            false => Err(Refusal::Damaged),
        }
    }
}

/// An attribute by its local name. If `r:id` and `id` are both there, `r:id` is meant.
pub(super) fn attribute<'e>(element: &'e BytesStart<'_>, name: &str) -> Option<Cow<'e, str>> {
    let mut attributes = element.attributes();
    let mut found = None;
    for attribute in attributes.with_checks(false).flatten() {
        if attribute.key.local_name().as_ref() == name {
            let is_prefixed = attribute.key.prefix().is_some();
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.unwrap_or_else(|_| attribute.value.clone());
            if is_prefixed || found.is_none() {
                found = Some(value);
            }
        }
    }
    found
}

/// The text of an entity or a character reference; itself if it is unknown.
fn character(name: &BytesRef<'_>) -> String {
    let name: &str = name;
    let known = quick_xml::escape::resolve_xml_entity(name).map(str::to_owned);
    known
        .or_else(|| {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => number.parse().ok(),
            };
            let character = code.and_then(char::from_u32).filter(|c| *c != '\0');
            Some(character.unwrap_or(char::REPLACEMENT_CHARACTER).to_string())
        })
        .unwrap_or_else(|| format!("&{name};"))
}

fn refusal(error: Error) -> Refusal {
    let Error::Io(error) = error else {
        return Refusal::Damaged;
    };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>());
    inner.copied().unwrap_or(Refusal::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(xml: &str) -> Result<Option<String>, Refusal> {
        let mut part = Part::new(xml.as_bytes(), 1000);
        while !matches!(part.next()?, Event::Start(start) if start.local_name().as_ref() == "t") {}
        part.text("t")
    }

    #[test]
    fn text_is_read_with_its_entities_and_without_its_markup() {
        for (xml, expected) in [
            ("<t>a &lt; b &amp; c &#1071;&#x44F;</t>", "a < b & c Яя"),
            ("<t>a<![CDATA[<&>]]>b<!-- c --></t>", "a<&>b"),
            (
                "<x:t>&nbsp;&#0;&#xD800; R&D & co</x:t>",
                "&nbsp;\u{fffd}\u{fffd} R&D & co",
            ),
            ("<t/>", ""),
        ] {
            assert_eq!(text(xml), Ok(Some(expected.into())), "{xml}");
        }
        let half = "a".repeat(MOST_TEXT / 2);
        let long = format!("<t>{half}<!-- -->{half}b</t>");
        assert_eq!(text(&long), Ok(None));
        assert_eq!(text("<t>cut"), Err(Refusal::Damaged));
        assert_eq!(
            text(&format!("<t>{}", " ".repeat(MOST_TEXT + 10))),
            Err(Refusal::TooMuch)
        );
    }

    #[test]
    fn a_part_that_is_cut_short_is_damaged() {
        let each = |xml: &str| Part::new(xml.as_bytes(), 1000).each(&mut |_, _| Ok(()));
        assert_eq!(each("<a><b/></a>"), Ok(()));
        for cut in ["", "no XML", "<a><b/>", "<a", "<a b='"] {
            assert_eq!(each(cut), Err(Refusal::Damaged), "{cut}");
        }
    }
}
