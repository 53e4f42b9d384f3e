//! Puts a report aside if two processes died while they read it, for instance because it needs more memory than there is.
//!
//! Before a process reads a large report it writes a note below `_telelake/attempts/`, and deletes it afterwards. A note
//! that is found belongs to a process that died. After the second death the report is put aside: its bytes stay in
//! `raw/`, and it is read again only if a person runs `backfill --force` or `rebuild`.

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

/// Deaths after which a report is put aside.
const DEATHS: u32 = 2;

/// The reason of a report that was put aside.
pub(crate) const DIED_TWICE: &str = "the program died twice while reading the report; it is kept in raw/, and read again only by `rebuild` or `backfill --force`";

/// The content of a note.
#[derive(Debug, Serialize, Deserialize)]
struct AttemptNote {
    /// The report's key.
    report: String,
    /// The number of processes that died while they read it.
    deaths: u32,
    /// The claim of the process that reads the report.
    process: String,
    since: DateTime<Utc>,
    /// The fields that this version does not know.
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// The decision about a report that is large enough to kill the process.
pub(crate) enum Trial {
    /// The report may be read.
    Go(BegunAttempt),
    /// The report must be put aside.
    DiedTwice,
}

/// A note in the store: this process reads the report now.
pub(crate) struct BegunAttempt {
    note: String,
    claim: Option<Claim>,
}

/// Writes the note for a report that is about to be read, unless two processes have died of the report.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn begin(run: &RunContext, report: &str) -> Result<Trial> {
    let hash = hex::encode(Sha256::digest(report.as_bytes()));
    let note = key::attempt(&hash[..32]);
    let found = get_json::<AttemptNote>(&*run.store, &note).await?;
    let mut deaths = 0;
    let mut unknown = BTreeMap::new();
    if let Some((found, _)) = found {
        // A process that is alive may be reading the report right now. A process that cannot be found counts as dead:
        // it ran on another machine, or before this machine was restarted.
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
            "the program died twice while reading this report; the report is put aside"
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
    /// Deletes the note, because the report has been read.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn end(mut self, run: &RunContext) -> Result<()> {
        if let Some(claim) = self.claim.take() {
            claim.end();
        }
        run.store.delete(&self.note).await
    }
}
