//! The treatments of a column, and those of the entries of a map. Pure data.

/// What happens to the values of a column before a row is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// They are written as they are.
    Keep,
    /// They become null.
    Null,
    /// They become pseudonyms.
    Hash,
    /// A map or JSON: entries that say something of people are left out, and ids of people become pseudonyms.
    Clean,
    /// Ids of entities: a pseudonym in the rows of people.
    HashOfPeople,
    /// Names of entities: null in the rows of people.
    NullOfPeople,
    /// Cells of a workbook: each as the row's [`EntryTreatment`]s say.
    Entries,
}

impl Treatment {
    /// The words that stand before a column's description.
    pub fn remark(self) -> Option<&'static str> {
        match self {
            Self::Keep => None,
            Self::Null => Some("Always null here ([privacy])"),
            Self::Hash => Some(PSEUDONYM),
            Self::Clean => Some("Without what says something of people ([privacy])"),
            Self::HashOfPeople => {
                Some("In rows of people a pseudonym, HMAC-SHA-256 of the value ([privacy])")
            }
            Self::NullOfPeople => Some("Null in rows of people ([privacy])"),
            Self::Entries => Some("Each cell as the column that it feeds ([privacy])"),
        }
    }

    /// One word for documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "kept",
            Self::Null => "null",
            Self::Hash => "pseudonym",
            Self::Clean => "without people",
            Self::HashOfPeople => "pseudonym of people",
            Self::NullOfPeople => "null of people",
            Self::Entries => "as the column that a cell feeds",
        }
    }
}

/// The remark on a column of pseudonyms. Files are recognized by it.
pub(crate) const PSEUDONYM: &str = "Pseudonym, HMAC-SHA-256 of the value ([privacy])";

/// The treatment of an entry of a map, if the program knows more of it than its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryTreatment {
    /// It is written as it is.
    Keep,
    /// It is left out.
    Drop,
    /// Its value becomes a pseudonym.
    Hash,
    /// By its name and value.
    Clean,
}
