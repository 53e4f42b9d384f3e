//! The state of a report or a recording that is to land in the lake. Pure.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The state of a report or a recording that is to land in the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is in the lake.
    Done,
    /// It is not there yet; later runs ask again.
    Pending,
    /// The API refuses it to this token or tariff.
    Denied,
    /// It could not be fetched or used; later runs ask again.
    Failed,
    /// It will never come, because the platform has given it up.
    Unavailable,
    /// It did not come within `export.give_up`; only a backfill of its date asks again.
    Lost,
}

/// The defect of a landed report that keeps it from being `done`. Its bytes are kept, because another mapping may read
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shortfall {
    /// It can no longer be parsed as its format.
    Unreadable,
    /// The call counts participants, but the mapping finds none.
    Nobody,
    /// No session time can be read, or the report calls everybody absent although the call counts participants.
    Timeless,
}

impl Shortfall {
    /// The reason as shown to people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unreadable => "the report in the lake can't be read",
            Self::Nobody => {
                "the call counts participants, but the report has none where the mapping looks for them"
            }
            Self::Timeless => {
                "no session time of the report can be read, so it does not say who was there when"
            }
        }
    }

    /// The status of a report with this defect.
    pub fn status(self) -> Status {
        match self {
            Self::Unreadable => Status::Failed,
            // The report may not be ready, or the mapping may not know its shape yet.
            Self::Nobody | Self::Timeless => Status::Pending,
        }
    }
}

/// The reason of a recording that went with people who were erased.
pub const ERASED: &str = "deleted with people who were erased";

/// The state of one report or recording, and its bytes in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landing {
    /// Its status.
    pub status: Status,
    /// The reason why it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Attempts that did not end in `done`, since the last one that did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// The bytes in the lake. They may come from an earlier attempt, or from an answer that can't be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed: Option<Landed>,
}

impl Landing {
    /// A landing that was not attempted yet.
    pub fn pending(reason: impl Into<String>) -> Self {
        Self {
            status: Status::Pending,
            reason: Some(reason.into()),
            attempts: 0,
            landed: None,
        }
    }

    /// The better of two processes' results for the same object: usable bytes win, then `done`, then the newer bytes, then
    /// those from which more people were erased, then the knowledge that they were deleted.
    pub(super) fn better(self, other: Self) -> Self {
        let rank = |landing: &Self| {
            let landed_at = landing.landed.as_ref().map(|landed| landed.landed_at);
            (
                landing.usable().is_some(),
                landing.status == Status::Done,
                landed_at,
                landing.landed.as_ref().map(|landed| landed.erased.len()),
                landing.is_deleted(),
                landing.attempts,
            )
        };
        if rank(&other) > rank(&self) { other } else { self }
    }

    /// True if the landed object was deleted on purpose, because its retention was over.
    pub fn is_deleted(&self) -> bool {
        self.landed.as_ref().is_some_and(Landed::is_deleted)
    }

    /// True if the object was deleted because people were erased. It is not fetched again, whatever asks for it.
    pub fn is_erased(&self) -> bool {
        self.is_deleted() && self.reason.as_deref() == Some(ERASED)
    }

    /// The landed object, if it is to be in the lake.
    pub fn stored(&self) -> Option<&Landed> {
        self.landed.as_ref().filter(|landed| !landed.is_deleted())
    }

    /// Marks the landed bytes as complete.
    pub fn finish(&mut self) {
        self.status = Status::Done;
        self.reason = None;
        self.attempts = 0;
    }

    /// The defect of the report in the lake.
    pub fn shortfall(&self) -> Option<Shortfall> {
        let landed = self.usable()?;
        // Manifests of earlier versions record this only as a count of 0.
        let is_empty = landed.participants == Some(0) && self.status != Status::Done;
        landed.shortfall.or_else(|| is_empty.then_some(Shortfall::Nobody))
    }

    /// True if the report was set aside because the program died twice while reading it.
    pub fn is_put_aside(&self) -> bool {
        self.landed.as_ref().is_some_and(|landed| landed.put_aside)
    }

    /// Sets the landed report aside because the program died twice while reading it: no table is built from it.
    pub fn put_aside(&mut self, reason: &str) {
        self.status = Status::Failed;
        self.reason = Some(reason.into());
        self.attempts += 1;
        if let Some(landed) = &mut self.landed {
            landed.usable = false;
            landed.put_aside = true;
        }
    }

    /// Lets a report that was set aside be read once more. The build that reads it judges it.
    pub fn take_up_again(&mut self) {
        if let Some(landed) = self.landed.as_mut().filter(|landed| landed.put_aside) {
            landed.put_aside = false;
            landed.usable = true;
            landed.shortfall = Some(Shortfall::Unreadable);
        }
    }

    /// The landed bytes, if tables may be built from them.
    pub fn usable(&self) -> Option<&Landed> {
        self.landed.as_ref().filter(|landed| landed.usable)
    }
}

/// An object of the lake that holds a report or a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// The time when it landed.
    pub landed_at: DateTime<Utc>,
    /// True if the bytes are what they should be. An unusable answer is kept as well.
    pub usable: bool,
    /// The number of participants in the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participants: Option<u64>,
    /// The defect of the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<Shortfall>,
    /// Digest of the call's state for which the report was requested. If the call changes, the report is requested
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// True if the program died twice while reading it: it is neither read nor requested again unless a person asks for
    /// it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub put_aside: bool,
    /// Keyed hashes of the names of the people who were erased from the report; see [`Erased`](super::erased::Erased). It
    /// has one for nobody's name at least, if somebody was erased.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub erased: BTreeSet<String>,
    /// The time when the object was deleted on purpose, because its retention was over. None if it is in the lake. A
    /// recording that was already too old when it was listed was never copied; it has 0 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<DateTime<Utc>>,
}

impl Landed {
    /// True if the object was deleted on purpose, because its retention was over.
    pub fn is_deleted(&self) -> bool {
        self.deleted_at.is_some()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(super) fn is_zero(count: &u32) -> bool {
    *count == 0
}
