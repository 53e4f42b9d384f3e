//! Reports that a process may die of, such as one that takes more memory than the machine has.
//!
//! Before such a report is read, a small object below `_telelake/attempts/` says so; it goes when the report has been
//! read. One that is found was left by a process that died. When a second process has died, the report is put aside: it
//! stays in `raw/`, and is read again only when a person asks, by `backfill --force` or `rebuild`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Result;
use crate::lake::key;
use crate::pipeline::run_context::RunContext;
use crate::store::json::{get_json, to_json};
use crate::store::{Claim, Condition};

/// Processes that may die of a report before it is put aside.
const DEATHS: u32 = 2;

/// The reason of a report that was put aside.
pub(crate) const DIED_TWICE: &str = "the program died twice while reading the report; it is kept in raw/, and read again only by `rebuild` or `backfill --force`";

/// The content of the object.
#[derive(Debug, Serialize, Deserialize)]
struct AttemptNote {
    /// The report's key.
    report: String,
    /// Processes that have died of it.
    deaths: u32,
    /// The claim of the process that reads it.
    process: String,
    since: DateTime<Utc>,
    /// The fields that this version does not know.
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// What is known of a report that a process may die of.
pub(crate) enum Trial {
    /// It may be read.
    Go(BegunAttempt),
    /// It is to be put aside.
    DiedTwice,
}

/// A report that is being read.
pub(crate) struct BegunAttempt {
    note: String,
    claim: Option<Claim>,
}

/// Says in the store that a report is about to be read, unless two processes have died of it.
///
/// # Errors
/// The store fails.
pub(crate) async fn begin(run: &RunContext, report: &str) -> Result<Trial> {
    let hash = hex::encode(Sha256::digest(report.as_bytes()));
    let note = key::attempt(&hash[..32]);
    let found = get_json::<AttemptNote>(&*run.store, &note).await?;
    let mut deaths = 0;
    let mut unknown = BTreeMap::new();
    if let Some((found, _)) = found {
        // Another process that lives may be reading it. Where that can't be told, it has died: it was on another machine,
        // or this one has been started anew.
        let has_died = !Claim::is_alive(&found.process);
        deaths = found.deaths + u32::from(has_died);
        unknown = found.unknown;
        if has_died {
            Claim::forget(&found.process);
        }
    }
    if deaths >= DEATHS {
        tracing::warn!(
            report,
            "the program died twice while reading the report: it is put aside"
        );
        run.store.delete(&note).await?;
        return Ok(Trial::DiedTwice);
    }
    let claim = Claim::new();
    let object = AttemptNote {
        report: report.into(),
        deaths,
        process: claim.id().into(),
        since: Utc::now(),
        unknown,
    };
    run.store.put(&note, to_json(&object)?, Condition::Any).await?;
    tracing::info!(report, deaths, "a large report is read");
    Ok(Trial::Go(BegunAttempt {
        note,
        claim: Some(claim),
    }))
}

impl BegunAttempt {
    /// Takes the note away: the report has been read.
    ///
    /// # Errors
    /// The store fails.
    pub async fn end(mut self, run: &RunContext) -> Result<()> {
        if let Some(claim) = self.claim.take() {
            claim.end();
        }
        run.store.delete(&self.note).await
    }
}
