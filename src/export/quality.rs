//! What a run says of how lesson meta and participants fit together. Pure.

use super::summary::Problem;
use crate::lake::manifest::Quality;

/// What deserves a look of how meta and participants fit together. Absent users do not: they are what attendance is
/// about.
pub(super) fn told(quality: &Quality) -> Vec<Problem> {
    let told = [
        (
            "participants_without_meta",
            quality.participants_without_meta,
            "participants with a user and a meeting have no lesson meta",
        ),
        (
            "unknown_role",
            quality.unknown_roles,
            "users have a role that is none of student, teacher, parent, assistant",
        ),
        (
            "duplicate_external_id",
            quality.duplicate_external_ids,
            "participants share user and meeting with another one of their call",
        ),
    ];
    told.into_iter()
        .filter(|(_, count, _)| *count > 0)
        .map(|(kind, count, what)| Problem::new(kind, format!("{count} {what}")))
        .collect()
}
