//! A first look at a report: is it JSON, and does it say anything? Pure; called when a report lands.

use super::node::Node;
use super::people::ParticipantMerger;
use super::rows::{self, RowReader};
use super::turnout::Turnout;
use crate::json::{Repairs, Text};
use crate::lake::table::builtin::participants;
use crate::tables::build_notes::Notes;
use crate::tables::mapping::Mapping;
use crate::tables::mapping::mapping_file::TableSource;
use crate::tables::parquet::cell::Cell;

/// The result of a first look at a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// True if it is a JSON object or a list, which the mapping may read rows from.
    pub nested: bool,
    /// True if it is `{}`, `[]` or `null`.
    pub empty: bool,
    /// True if it has more rows than any call could have. Then no row was read.
    pub crowded: bool,
    /// The number of participants; none if the report lacks the place where the mapping expects them.
    pub participants: Option<u64>,
    /// Counts of the people that the mapping finds.
    pub turnout: Turnout,
}

/// The bytes are not JSON, or are nested deeper than any report. Holds the position, never the content.
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

/// Inspects a report.
///
/// # Errors
/// If the bytes are not JSON.
pub fn inspect(json: &[u8], mapping: &Mapping) -> Result<Inspection, NotJson> {
    let text = Text::new(json);
    let (report, _) = parse(&text)?;
    let crowded = is_crowded(mapping, &report);
    let plan = mapping.plan(participants::NAME).filter(|_| !crowded);
    let found = plan.and_then(|plan| Some((rows::count(plan, &report)?, plan, ParticipantMerger::of(plan)?)));
    let settled = found.map(|(_, plan, people)| {
        let template = vec![Cell::Null; plan.table.columns.len()];
        // Values that do not fit are reported when the tables are built.
        let mut notes = Notes::default();
        let rows = RowReader::new(mapping, plan).rows(&report, &template, &mut notes);
        people.merge(rows, "", None, &mut notes)
    });
    Ok(Inspection {
        nested: report.is_object() || report.as_list().is_some(),
        empty: match &report {
            Node::Object(object) => object.is_empty(),
            Node::List(elements) => elements.is_empty(),
            value => value.is_null(),
        },
        crowded,
        participants: settled.as_ref().map(|settled| settled.rows.len() as u64),
        turnout: settled.map(|settled| settled.turnout).unwrap_or_default(),
    })
}

/// Most participants of a report: many times those of any call. A row takes about 2 KB of memory.
pub const MOST_PARTICIPANTS: u64 = 100_000;
/// Most rows of a report for any other table.
pub const MOST_ROWS: u64 = 1_000_000;

/// True if a report has more rows for a table than any call could have.
pub(crate) fn is_crowded(mapping: &Mapping, report: &Node<'_>) -> bool {
    let mut plans = mapping
        .tables
        .iter()
        .filter(|plan| plan.source == TableSource::Report);
    plans.any(|plan| {
        let most = match &*plan.table.name {
            participants::NAME => MOST_PARTICIPANTS,
            _ => MOST_ROWS,
        };
        rows::count(plan, report).is_some_and(|rows| rows > most)
    })
}

/// Parses a report, and counts what was repaired in it. The parser limits the nesting.
pub(crate) fn parse<'t>(json: &'t Text<'_>) -> Result<(Node<'t>, Repairs), NotJson> {
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
    fn a_report_is_distinguished_from_an_empty_one_and_a_page() {
        let mapping = Mapping::builtin().expect("mapping");
        let look =
            |text: &str| inspect(text.as_bytes(), &mapping).map(|it| (it.nested, it.empty, it.participants));
        let of = |nested, empty, participants| Ok((nested, empty, participants));
        assert_eq!(look("{}"), of(true, true, None));
        assert_eq!(look("null"), of(false, true, None));
        assert_eq!(look("[1]"), of(true, false, None));
        assert_eq!(look("[]"), of(true, true, None));
        assert_eq!(look("1"), of(false, false, None));
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
        assert_eq!(bad.map(|it| it.participants), Ok(Some(1)));
        assert!(look(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_report_with_too_many_rows_is_found_before_the_rows_are_read() {
        let mapping = Mapping::builtin().expect("mapping");
        let most = usize::try_from(MOST_PARTICIPANTS).expect("a number");
        let look = |people: usize| {
            let text = format!(r#"{{"participants": [{}]}}"#, vec!["1"; people].join(","));
            inspect(text.as_bytes(), &mapping).expect("JSON")
        };
        assert!(!look(most).crowded);
        let crowded = look(most + 1);
        assert_eq!((crowded.crowded, crowded.participants), (true, None));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_inspected(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = inspect(&bytes, &Mapping::builtin().expect("mapping"));
        }
    }
}
