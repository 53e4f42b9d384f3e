//! A first look at a report: whether it is one, and whether it says anything. Pure; called when a report is landed.

use super::mapping::Mapping;
use super::node::Node;
use super::rows;

/// What a report looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// Whether it is a JSON object.
    pub object: bool,
    /// Whether it is `{}`, `[]` or `null`.
    pub empty: bool,
    /// The rows where the mapping expects participants; none where it has no such place.
    pub participants: Option<u64>,
}

/// The bytes are no JSON, or nested deeper than any report is. Says where, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotJson {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl std::fmt::Display for NotJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not JSON from line {}, column {}", self.line, self.column)
    }
}

impl std::error::Error for NotJson {}

/// Looks at a report's bytes.
///
/// # Errors
/// When they are no JSON.
pub fn inspect(json: &[u8], mapping: &Mapping) -> Result<Inspection, NotJson> {
    let report = parse(json)?;
    Ok(Inspection {
        object: report.is_object(),
        empty: match &report {
            Node::Object(object) => object.is_empty(),
            Node::List(elements) => elements.is_empty(),
            value => value.is_null(),
        },
        participants: mapping
            .plan("participants")
            .and_then(|plan| rows::count(plan, &report)),
    })
}

/// Reads a report; a byte order mark before it is nothing. Nesting is bounded by the parser.
pub(super) fn parse(json: &[u8]) -> Result<Node<'_>, NotJson> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    // Once for all of it, rather than text by text while parsing.
    let text = std::str::from_utf8(json).map_err(|error| place(&json[..error.valid_up_to()]))?;
    serde_json::from_str(text).map_err(|error| NotJson {
        line: error.line(),
        column: error.column(),
    })
}

/// The place right after what is good.
fn place(good: &[u8]) -> NotJson {
    let last = good.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    NotJson {
        line: 1 + good.iter().filter(|byte| **byte == b'\n').count(),
        column: 1 + last.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_report_is_told_from_an_empty_one_and_from_a_page() {
        let mapping = Mapping::builtin().expect("mapping");
        let look = |text: &str| inspect(text.as_bytes(), &mapping);
        let of = |object, empty, participants| {
            Ok(Inspection {
                object,
                empty,
                participants,
            })
        };
        assert_eq!(look("{}"), of(true, true, None));
        assert_eq!(look("null"), of(false, true, None));
        assert_eq!(look("[1]"), of(false, false, None));
        assert_eq!(look("\u{feff}{\"participants\": []}"), of(true, false, Some(0)));
        assert_eq!(look("{\"participants\": [{}, {}]}"), of(true, false, Some(2)));
        assert_eq!(look("{\"participants\": {}}"), of(true, false, None));
        assert_eq!(look("<html>"), Err(NotJson { line: 1, column: 1 }));
        assert!(look("").is_err());
        let cut = inspect(b"{\n \"a\": \"\xd0\"}", &mapping);
        assert_eq!(cut, Err(NotJson { line: 2, column: 8 }));
        assert!(look(&"[".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = inspect(&bytes, &Mapping::builtin().expect("mapping"));
        }
    }
}
