//! Looks at a part's XML as bytes before it is parsed, for anything that would make the parser take memory that the
//! part's size does not limit. Pure.
//!
//! It does not understand XML, so nothing can be hidden from it by clever quoting: it may refuse too much, never too
//! little.

use super::refusal::Refusal;

/// Most bytes between two `<`: a tag with its attributes, or a text. Excel's own limit of a cell is 32767 characters.
const MOST_RUN: u64 = 1 << 20;
/// Most bytes of an XML declaration.
const MOST_DECLARATION: usize = 512;

/// The state of the look at a part's UTF-8.
#[derive(Debug)]
pub(super) struct Census {
    /// Tags of any kind that the part may still have.
    tags: u64,
    /// Bytes since the last `<`.
    run: u64,
    /// The declaration from its `<?xml` on; none outside it.
    declaration: Option<Vec<u8>>,
    /// True if it declares an encoding that is not decoded. Only ASCII means the same in each.
    is_foreign: bool,
}

impl Census {
    /// Starts the look at a part that may have that many tags.
    pub fn new(tags: u64) -> Self {
        Self {
            tags,
            run: 0,
            declaration: Some(Vec::new()),
            is_foreign: false,
        }
    }

    /// Looks at the next bytes.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        for byte in bytes {
            self.declare(*byte);
            if self.is_foreign && !byte.is_ascii() {
                return Err(Refusal::Encoding);
            }
            self.run += 1;
            if *byte == b'<' {
                self.run = 0;
                self.tags = self.tags.checked_sub(1).ok_or(Refusal::TooMuch)?;
            }
            if self.run > MOST_RUN {
                return Err(Refusal::TooMuch);
            }
        }
        Ok(())
    }

    fn declare(&mut self, byte: u8) {
        let Some(declaration) = &mut self.declaration else {
            return;
        };
        declaration.push(byte);
        let begins = b"<?xml".iter().zip(&*declaration).all(|(due, byte)| due == byte);
        let ends = declaration.ends_with(b"?>");
        if ends && begins {
            self.is_foreign = is_foreign(declaration);
        }
        if ends || !begins || declaration.len() > MOST_DECLARATION {
            self.declaration = None;
        }
    }
}

/// True if a declaration names an encoding that is not decoded.
fn is_foreign(declaration: &[u8]) -> bool {
    let text = String::from_utf8_lossy(declaration).to_ascii_lowercase();
    let name = text
        .split_once("encoding")
        .and_then(|(_, rest)| rest.split(['"', '\'']).nth(1));
    // A part that declares UTF-16 and is not UTF-16 was converted to UTF-8 after the declaration was written.
    !matches!(
        name,
        None | Some("utf-8" | "utf8" | "us-ascii" | "ascii" | "utf-16" | "utf-16le" | "utf-16be")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Result<(), Refusal> {
        let mut census = Census::new(4);
        // Byte by byte: nothing depends on how the stream is cut.
        text.as_bytes().iter().try_for_each(|byte| census.add(&[*byte]))
    }

    #[test]
    fn too_many_tags_and_too_long_runs_are_refused() {
        assert_eq!(look("<?xml version=\"1.0\" encoding=\"UTF-8\"?><a>я</a>"), Ok(()));
        assert_eq!(look("<a><b><c><d><e>"), Err(Refusal::TooMuch));
        assert_eq!(look(&" ".repeat(2 << 20)), Err(Refusal::TooMuch));
    }

    #[test]
    fn a_declared_foreign_encoding_is_refused_if_the_part_is_not_ascii() {
        for name in ["windows-1251", "koi8-r", "iso-8859-1"] {
            let declared = format!("<?xml version='<' encoding='{name}'?>");
            assert_eq!(look(&format!("{declared}<a>abc</a>")), Ok(()), "{name}");
            assert_eq!(
                look(&format!("{declared}<a>я</a>")),
                Err(Refusal::Encoding),
                "{name}"
            );
        }
        assert_eq!(look("<a>я</a><?xml encoding='koi8-r'?>"), Ok(()));
    }
}
