//! The lines that `check` prints: the result of each check.

use std::cell::Cell;

use crate::Result;
use crate::sanitize::escaped;

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckOutcome {
    /// Good.
    Good,
    /// Good, with a remark.
    GoodWithRemark,
    /// Doubtful: a person should look.
    Doubtful,
    /// Bad: the command fails.
    Bad,
}

/// Prints the result of each check as a line, and remembers whether one failed.
#[derive(Debug, Default)]
pub(super) struct CheckReport {
    failed: Cell<bool>,
}

impl CheckReport {
    /// True if some result was bad.
    pub fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Prints a line that belongs to the result before it.
    pub fn detail(&self, text: &str) -> Result<()> {
        super::print(&format!("        {}\n", escaped(text)))
    }

    /// Prints a result.
    pub fn tell(&self, outcome: CheckOutcome, what: &str, text: &str) -> Result<()> {
        let word = match outcome {
            CheckOutcome::Good => "ok  ",
            CheckOutcome::GoodWithRemark => "NOTE",
            CheckOutcome::Doubtful => "WARN",
            CheckOutcome::Bad => "FAIL",
        };
        if outcome == CheckOutcome::Bad {
            self.failed.set(true);
        }
        super::print(&format!("{word}  {what}: {}\n", escaped(text)))
    }

    /// Prints a good result.
    pub fn good(&self, what: &str, text: &str) -> Result<()> {
        self.tell(CheckOutcome::Good, what, text)
    }

    /// Prints a bad result.
    pub fn bad(&self, what: &str, text: &str) -> Result<()> {
        self.tell(CheckOutcome::Bad, what, text)
    }
}
