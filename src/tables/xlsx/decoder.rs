//! Decodes a part to UTF-8, from UTF-8 or UTF-16, with or without a byte order mark. Other bytes become U+FFFD. Pure.

/// Bytes that determine the encoding.
const HEAD: usize = 4;

/// Decodes a part piece by piece.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    encoding: Option<Encoding>,
    /// The start of a character whose end is still to come.
    rest: Vec<u8>,
    /// The number of characters that could not be decoded.
    pub replaced: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Encoding {
    Utf8,
    Utf16 { big: bool },
}

impl Encoding {
    /// The encoding by the first bytes, and the length of the byte order mark.
    fn of(head: &[u8]) -> (Self, usize) {
        match head {
            [0xef, 0xbb, 0xbf, ..] => (Self::Utf8, 3),
            [0xff, 0xfe, ..] => (Self::Utf16 { big: false }, 2),
            [0xfe, 0xff, ..] => (Self::Utf16 { big: true }, 2),
            [b'<', 0, ..] => (Self::Utf16 { big: false }, 0),
            [0, b'<', ..] => (Self::Utf16 { big: true }, 0),
            _ => (Self::Utf8, 0),
        }
    }
}

impl Decoder {
    /// Appends the text of the next bytes to `text`; `last` says that no more will come.
    pub fn decode(&mut self, bytes: &[u8], last: bool, text: &mut Vec<u8>) {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        if self.encoding.is_none() {
            if all.len() < HEAD && !last {
                self.rest = all;
                return;
            }
            let (encoding, mark) = Encoding::of(&all);
            self.encoding = Some(encoding);
            all.drain(..mark);
        }
        match self.encoding {
            Some(Encoding::Utf16 { big }) => self.utf16(&all, big, last, text),
            _ => self.utf8(&all, last, text),
        }
    }

    fn utf8(&mut self, bytes: &[u8], last: bool, text: &mut Vec<u8>) {
        let mut seen = 0;
        for chunk in bytes.utf8_chunks() {
            text.extend_from_slice(chunk.valid().as_bytes());
            seen += chunk.valid().len() + chunk.invalid().len();
            if chunk.invalid().is_empty() {
                continue;
            }
            if seen == bytes.len() && !last {
                self.rest = chunk.invalid().to_vec();
                return;
            }
            self.replace(text);
        }
    }

    fn utf16(&mut self, bytes: &[u8], big: bool, last: bool, text: &mut Vec<u8>) {
        let unit = |pair: &[u8]| match (big, pair) {
            (true, &[high, low]) | (false, &[low, high]) => u16::from_be_bytes([high, low]),
            _ => 0xfffd,
        };
        let mut units: Vec<u16> = bytes.chunks_exact(2).map(unit).collect();
        let mut end = bytes.len() - bytes.len() % 2;
        // The other half comes with the next bytes.
        if !last && units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) {
            units.pop();
            end -= 2;
        }
        for decoded in char::decode_utf16(units) {
            match decoded {
                Ok(c) => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(_) => self.replace(text),
            }
        }
        match last {
            true if end < bytes.len() => self.replace(text),
            _ => self.rest = bytes[end..].to_vec(),
        }
    }

    fn replace(&mut self, text: &mut Vec<u8>) {
        self.replaced += 1;
        text.extend_from_slice("\u{fffd}".as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8], cut: usize) -> (String, u64) {
        let mut decoder = Decoder::default();
        let mut text = Vec::new();
        for piece in bytes.chunks(cut) {
            decoder.decode(piece, false, &mut text);
        }
        decoder.decode(&[], true, &mut text);
        (String::from_utf8(text).expect("UTF-8"), decoder.replaced)
    }

    #[test]
    fn broken_characters_are_replaced_and_counted() {
        for cut in 1..9 {
            assert_eq!(decode(b"<a>caf\xe9</a>", cut), ("<a>caf\u{fffd}</a>".into(), 1));
            assert_eq!(decode(b"<\0\0\xd8a\0", cut), ("<\u{fffd}a".into(), 1));
            assert_eq!(decode(b"\xfe\xff\0<\0", cut), ("<\u{fffd}".into(), 1));
            assert_eq!(decode("\u{feff}я".as_bytes(), cut), ("я".into(), 0));
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_through_in_any_encoding_and_pieces(text in "\\PC{0,40}", cut in 1_usize..7) {
            let text = format!("<{text}");
            let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            for bytes in [text.as_bytes(), &[b"\xff\xfe", &le[..]].concat(), &[b"\xfe\xff", &be[..]].concat()] {
                prop_assert_eq!(decode(bytes, cut), (text.clone(), 0));
            }
        }

        #[test]
        fn any_bytes_are_decoded_as_the_standard_library_does(bytes in proptest::collection::vec(any::<u8>(), 4..40), cut in 1_usize..7) {
            let bytes = [b"<a>", &bytes[..]].concat();
            prop_assert_eq!(decode(&bytes, cut).0, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
