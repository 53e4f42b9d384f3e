//! A first look at a report: whether it is one, and whether it says anything. Pure; called when a report is landed.

use super::mapping::Mapping;
use super::node::Node;
use super::rows;
use crate::json::{Repairs, Text};

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
    let text = Text::new(json);
    let (report, _) = parse(&text)?;
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

/// Reads a report and tells what had to be mended in it. Nesting is bounded by the parser.
pub(super) fn parse<'t>(json: &'t Text<'_>) -> Result<(Node<'t>, Repairs), NotJson> {
    json.read().map_err(|error| NotJson {
        line: error.line(),
        column: error.column(),
    })
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
        let cut = inspect(b"{\n \"a\": \"\xd0\"", &mapping);
        assert_eq!(cut.map_err(|why| why.line), Err(2));
        let bad = inspect(
            b"{\"participants\": [{\"name\": \"\xe9\", \"id\": NaN}]}",
            &mapping,
        );
        assert_eq!(bad, of(true, false, Some(1)));
        assert!(look(&"[".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = inspect(&bytes, &Mapping::builtin().expect("mapping"));
        }
    }
}
