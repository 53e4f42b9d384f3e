//! The summary of a run as notifications describe it. Pure.

use serde_json::{Value, json};

use super::{Outcome, Summary};
use crate::notify::RunReport;

impl RunReport for Summary {
    fn is_done(&self) -> bool {
        self.outcome == Outcome::Done
    }

    fn text(&self) -> String {
        self.for_people()
    }

    fn details(&self) -> Value {
        json!({
            "id": self.id,
            "command": self.command,
            "outcome": self.outcome,
            "exit_status": self.exit_status,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "from": self.from,
            "to": self.to,
            "counts": self.counts,
            "failed": self.failed.len(),
            "pending": self.pending.len(),
            "warnings": self.warnings.len(),
            "error": self.error,
        })
    }
}
