//! A look at a part's XML as bytes, before it is parsed: what would make the parser take memory that the part's size
//! does not bound. Pure.
//!
//! Nothing here understands XML, so nothing can be hidden from it by clever quoting: it may refuse too much, never too
//! little.

use super::refusal::Refusal;

/// Bytes between two `<`: a tag with its attributes, or a text. Excel's own bound of a cell is 32767 characters.
const MOST_RUN: u64 = 1 << 20;
/// Bytes of an XML declaration.
const MOST_DECLARATION: usize = 512;
/// The parser reserves room for as many strings as this attribute promises.
const PROMISE: &[u8] = b"uniqueCount";
/// More than a part of the allowed size could hold.
const MOST_PROMISED: u64 = 8_000_000;
/// Bytes of a tag's name that matter.
const MOST_NAME: usize = 32;

/// What has been seen of a part.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Tags, whatever they are.
    pub tags: u64,
    /// Tags named `sheet`: each gives a worksheet.
    pub sheets: u64,
    state: State,
    name: Vec<u8>,
    declaration: Vec<u8>,
    run: u64,
    matched: usize,
    promised: Option<u64>,
    seen: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Text,
    Name,
    Declaration,
}

impl Census {
    /// Looks at the next bytes.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        for byte in bytes {
            // UTF-16, with a mark or without: what is searched for here would not be found in it.
            if self.seen < 4 && matches!(byte, 0 | 0xfe | 0xff) {
                return Err(Refusal::Encoding);
            }
            self.seen = self.seen.saturating_add(1);
            self.promise(*byte)?;
            self.tag(*byte)?;
        }
        Ok(())
    }

    fn tag(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.state == State::Declaration {
            self.declaration.push(byte);
            if self.declaration.ends_with(b"?>") {
                self.state = State::Text;
                return self.check_declaration();
            }
            return if self.declaration.len() > MOST_DECLARATION {
                Err(Refusal::Encoding)
            } else {
                Ok(())
            };
        }
        if byte == b'<' {
            self.tags += 1;
            self.run = 0;
            self.name.clear();
            self.state = State::Name;
            return Ok(());
        }
        self.run += 1;
        if self.run > MOST_RUN {
            return Err(Refusal::TooMuch);
        }
        if self.state == State::Name {
            if byte.is_ascii_whitespace() || byte == b'>' || byte == b'/' {
                self.named();
            } else if self.name.len() < MOST_NAME {
                self.name.push(byte);
            }
        }
        Ok(())
    }

    fn named(&mut self) {
        self.state = State::Text;
        if self.name == b"?xml" {
            self.declaration.clear();
            self.state = State::Declaration;
        }
        if self.name.rsplit(|byte| *byte == b':').next() == Some(b"sheet") {
            self.sheets += 1;
        }
    }

    /// Other encodings could spell names so that they are not found here.
    fn check_declaration(&self) -> Result<(), Refusal> {
        let text = String::from_utf8_lossy(&self.declaration).to_ascii_lowercase();
        let Some((_, rest)) = text.split_once("encoding") else {
            return Ok(());
        };
        let known = rest.split(['"', '\'']).nth(1);
        match known {
            Some("utf-8" | "utf8" | "us-ascii" | "ascii") => Ok(()),
            _ => Err(Refusal::Encoding),
        }
    }

    fn promise(&mut self, byte: u8) -> Result<(), Refusal> {
        if let Some(promised) = &mut self.promised {
            match byte {
                b'0'..=b'9' => {
                    *promised = promised.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
                    if *promised > MOST_PROMISED {
                        return Err(Refusal::TooMuch);
                    }
                    return Ok(());
                }
                b'=' | b'"' | b'\'' | b'+' if *promised == 0 => return Ok(()),
                byte if byte.is_ascii_whitespace() && *promised == 0 => return Ok(()),
                _ => self.promised = None,
            }
        }
        self.matched = match PROMISE.get(self.matched) {
            Some(due) if *due == byte => self.matched + 1,
            _ => usize::from(byte == PROMISE[0]),
        };
        if self.matched == PROMISE.len() {
            self.matched = 0;
            self.promised = Some(0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Result<(u64, u64), Refusal> {
        let mut census = Census::default();
        // Byte by byte: nothing depends on how the stream is cut.
        text.as_bytes()
            .iter()
            .try_for_each(|byte| census.add(&[*byte]))
            .map(|()| (census.tags, census.sheets))
    }

    #[test]
    fn what_takes_memory_is_seen() {
        let declared = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
        assert_eq!(
            look(&format!("{declared}<a><x:sheet name='1'/><sheets/><sheet>")),
            Ok((5, 2))
        );
        assert_eq!(look("<sst uniqueCount=\"500\" count='9000000000'>"), Ok((1, 0)));
        for promise in [
            "<sst uniqueCount=\"90000000000\">",
            "<sst a='<' uniqueCount = '90000000000'>",
            "<sst a='>' b='uniqu'uniqueCount=\"00000000090000000000\">",
        ] {
            assert_eq!(look(promise), Err(Refusal::TooMuch), "{promise}");
        }
        assert_eq!(
            look("<?xml version='<' encoding=\"utf-16\"?>"),
            Err(Refusal::Encoding)
        );
        assert_eq!(look("\0<\0a"), Err(Refusal::Encoding));
        assert_eq!(look(&" ".repeat(2 << 20)), Err(Refusal::TooMuch));
    }
}
