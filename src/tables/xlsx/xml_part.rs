//! An XML part of a workbook: it is unpacked, decoded, counted and parsed while it is read. Pure.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::{Error, Reader, XmlVersion};

use super::decoder::Decoder;
use super::refusal::Refusal;

/// Bytes of each read.
const CHUNK: usize = 64 << 10;
/// Most bytes of a text that is kept; a longer text is no value of a cell.
pub(super) const MOST_TEXT: usize = 1 << 20;

/// Most bytes between two `<`: a tag with its attributes, or a text. The parser holds them in memory, more than once.
const MOST_RUN: usize = 1 << 20;
/// Most elements that are open at once, because the parser keeps the name of each.
const MOST_OPEN: u64 = 1000;
/// The encodings that are decoded. A part that declares UTF-16 and is not UTF-16 was converted to UTF-8 after the
/// declaration was written.
const DECODED: [&str; 7] = [
    "utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf-16le", "utf-16be",
];

/// A part's bytes for the parser: UTF-8, in runs of a limited length.
struct XmlSource<R> {
    packed: R,
    decoder: Decoder,
    /// Bytes since the last `<`.
    run: usize,
    /// True if the part declares an encoding that is not decoded: only ASCII means the same in each.
    ascii_only: bool,
    chunk: Vec<u8>,
    text: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> BufRead for XmlSource<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.text.len() && !self.ended {
            self.text.clear();
            self.at = 0;
            let read = self.packed.read(&mut self.chunk)?;
            self.ended = read == 0;
            self.decoder
                .decode(&self.chunk[..read], self.ended, &mut self.text);
            self.check_run().map_err(io::Error::other)?;
            self.check_encoding().map_err(io::Error::other)?;
        }
        Ok(&self.text[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl<R: Read> Read for XmlSource<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R> XmlSource<R> {
    fn check_run(&mut self) -> Result<(), Refusal> {
        let last = self.text.iter().rposition(|byte| *byte == b'<');
        self.run = last.map_or(self.run + self.text.len(), |at| self.text.len() - at);
        if self.run > MOST_RUN {
            Err(Refusal::TooMuch)
        } else {
            Ok(())
        }
    }

    fn check_encoding(&self) -> Result<(), Refusal> {
        match self.ascii_only && !self.text[self.at..].is_ascii() {
            true => Err(Refusal::Encoding),
            false => Ok(()),
        }
    }
}

/// A part while it is parsed.
pub(super) struct XmlPart<R: Read> {
    reader: Reader<XmlSource<R>>,
    buffer: Vec<u8>,
    /// The number of elements that are open.
    open: u64,
    /// True if there was an element.
    any: bool,
}

impl<R: Read> XmlPart<R> {
    /// Opens a part.
    pub fn new(packed: R) -> Self {
        let mut reader = Reader::from_reader(XmlSource {
            packed,
            decoder: Decoder::default(),
            run: 0,
            ascii_only: false,
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
            open: 0,
            any: false,
        }
    }

    /// The next event. A part that ends with open elements, or without any element, is damaged.
    pub fn next(&mut self) -> Result<Event<'_>, Refusal> {
        self.buffer.clear();
        let event = self.reader.read_event_into(&mut self.buffer).map_err(refusal)?;
        match &event {
            Event::Start(_) => (self.open, self.any) = (self.open + 1, true),
            Event::End(_) => self.open = self.open.saturating_sub(1),
            Event::Decl(declaration) if !is_decoded(declaration) => {
                let source = self.reader.get_mut();
                source.ascii_only = true;
                source.check_encoding()?;
            }
            Event::Eof if self.open > 0 || !self.any => return Err(Refusal::Damaged),
            _ => {}
        }
        if self.open > MOST_OPEN {
            Err(Refusal::TooMuch)
        } else {
            Ok(event)
        }
    }

    /// The number of elements that are open.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Takes elements for closed that broken XML left open, until `open` are left.
    pub fn close(&mut self, open: u64) {
        self.open = open;
    }

    /// The number of characters that could not be decoded so far and were replaced.
    pub fn replaced(&self) -> u64 {
        self.reader.get_ref().decoder.replaced
    }

    /// Calls `element` with each element at any depth, until the part ends or `element` fails.
    pub fn each(
        &mut self,
        element: &mut dyn FnMut(&str, &BytesStart<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        loop {
            match self.next()? {
                Event::Start(start) => element(start.local_name().as_ref(), &start)?,
                Event::Eof => return Ok(()),
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

/// True if a declaration names no encoding, or one that is decoded.
fn is_decoded(declaration: &BytesDecl<'_>) -> bool {
    match declaration.encoding() {
        Some(Ok(name)) => DECODED.contains(&name.to_ascii_lowercase().as_str()),
        _ => true,
    }
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
        let mut part = XmlPart::new(xml.as_bytes());
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
        let each = |xml: &str| XmlPart::new(xml.as_bytes()).each(&mut |_, _| Ok(()));
        assert_eq!(each("<a><b/></a>"), Ok(()));
        for cut in ["", "no XML", "<a><b/>", "<a", "<a b='"] {
            assert_eq!(each(cut), Err(Refusal::Damaged), "{cut}");
        }
    }

    fn read_all(xml: &str) -> Result<(), Refusal> {
        XmlPart::new(xml.as_bytes()).each(&mut |_, _| Ok(()))
    }

    #[test]
    fn a_declared_foreign_encoding_is_refused_if_the_part_is_not_ascii() {
        for name in ["windows-1251", "koi8-r", "iso-8859-1"] {
            let declared = format!("<?xml version='1.0' encoding='{name}'?>");
            assert_eq!(read_all(&format!("{declared}<a>abc</a>")), Ok(()), "{name}");
            let near = format!("{declared}<a>я</a>");
            let far = format!("{declared}<a>{}<b/>я</a>", "<b/>".repeat(CHUNK));
            for foreign in [near, far] {
                assert_eq!(read_all(&foreign), Err(Refusal::Encoding), "{name}");
            }
        }
        assert_eq!(read_all("<?xml version='1.0' encoding='UTF-8'?><a>я</a>"), Ok(()));
    }

    #[test]
    fn long_runs_and_deep_nesting_are_refused() {
        assert_eq!(read_all(&" ".repeat(2 << 20)), Err(Refusal::TooMuch));
        assert_eq!(
            read_all(&format!("<a b='{}'/>", " ".repeat(2 << 20))),
            Err(Refusal::TooMuch)
        );
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert_eq!(read_all(&nested(1000)), Ok(()));
        assert_eq!(read_all(&nested(1001)), Err(Refusal::TooMuch));
    }
}
