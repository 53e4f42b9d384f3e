//! The tables of a pseudonymous lake, compared with those of a plain one.

use telelake::pseudonym::PseudonymKey;

use crate::support::lake::{Lake, Row};

/// Tables with columns to compare, each with what becomes of it: kept, pseudonym or null.
pub(super) const COMPARED: [(&str, &[(&str, char)]); 8] = [
    (
        "participants",
        &[
            ("call_id", 'k'),
            ("participant_id", 'p'),
            ("external_user_id", 'p'),
            ("external_meeting_id", 'k'),
            ("name", 'n'),
            ("email", 'n'),
            ("phone", 'n'),
            ("user_fullname", 'n'),
            ("meta_matched", 'k'),
            ("student_group_name", 'k'),
            ("duration_s", 'k'),
            ("late_s", 'k'),
        ],
    ),
    (
        "messages",
        &[
            ("message_id", 'k'),
            ("participant_id", 'p'),
            ("external_user_id", 'p'),
            ("participant_name", 'n'),
            ("text", 'k'),
        ],
    ),
    (
        "reactions",
        &[
            ("call_id", 'k'),
            ("participant_id", 'p'),
            ("external_user_id", 'p'),
            ("type", 'k'),
        ],
    ),
    (
        "poll_votes",
        &[
            ("poll_id", 'k'),
            ("option_text", 'k'),
            ("participant_id", 'p'),
            ("external_user_id", 'p'),
        ],
    ),
    (
        "polls",
        &[
            ("poll_id", 'k'),
            ("question", 'k'),
            ("options", 'k'),
            ("votes_count", 'k'),
        ],
    ),
    (
        "lesson_attendance",
        &[
            ("external_meeting_id", 'k'),
            ("external_user_id", 'p'),
            ("user_fullname", 'n'),
            ("teacher_names", 'n'),
            ("attended", 'k'),
            ("call_ids", 'k'),
            ("duration_s", 'k'),
            ("in_lesson_s", 'k'),
        ],
    ),
    (
        "user_meta",
        &[
            ("external_meeting_id", 'k'),
            ("external_user_id", 'p'),
            ("user_fullname", 'n'),
            ("user_role", 'k'),
            ("meta", 'n'),
        ],
    ),
    (
        "hierarchy",
        &[
            ("external_meeting_id", 'k'),
            ("external_user_id", 'p'),
            ("depth", 'k'),
        ],
    ),
];

/// The rows of a table, sorted, with the treatments of the columns applied if there is a key.
pub(super) async fn rows(
    lake: &Lake,
    table: &str,
    columns: &[(&str, char)],
    key: Option<&PseudonymKey>,
) -> Vec<Row> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut rows = lake.rows(table, &names).await;
    for (row, key) in rows.iter_mut().flat_map(|row| key.map(|key| (row, key))) {
        for (name, treatment) in columns {
            let value = row.get_mut(*name).unwrap();
            match treatment {
                'n' => value.clear(),
                'p' if !value.is_empty() => *value = key.of(value),
                _ => {}
            }
        }
    }
    rows.sort();
    rows
}
