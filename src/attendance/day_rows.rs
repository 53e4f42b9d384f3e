//! The rows of a file of `lesson_attendance`, meeting by meeting. Pure.

use chrono::{DateTime, NaiveDate, Utc};

use super::tally::Tally;
use crate::Result;
use crate::lake::table::builtin::lesson_attendance as la;
use crate::tables::{RowBatch, read_rows};

/// The columns that are read.
const COLUMNS: [&str; 15] = [
    la::external_meeting_id,
    la::external_user_id,
    la::meta_matched,
    la::user_fullname,
    la::user_role,
    la::lesson_name,
    la::lesson_scheduled_start_at,
    la::lesson_course_id,
    la::lesson_course_name,
    la::student_group_id,
    la::student_group_name,
    la::attended,
    la::late_s,
    la::teacher_ids,
    la::teacher_names,
];

/// The role of a user in a meeting, as far as attendance goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttendanceRole {
    /// Expected: lesson data with the role `student`, or with none and the user is no teacher.
    Student,
    /// A teacher of the meeting.
    Teacher,
    /// Lesson data with another role.
    Other,
    /// There is no lesson data of the user in the meeting.
    Guest,
}

/// A user in a meeting.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AttendanceRow {
    pub date: NaiveDate,
    pub meeting: String,
    pub user: String,
    pub role: AttendanceRole,
    /// The full name; of a teacher the name in `teacher_names`.
    pub name: Option<String>,
    pub lesson: Option<String>,
    pub start: Option<DateTime<Utc>>,
    /// Id and name; the name alone if there is no id.
    pub course: Option<(String, Option<String>)>,
    pub group: Option<(String, Option<String>)>,
    pub attended: Option<bool>,
    pub visit: Tally,
}

/// The rows of a file.
///
/// # Errors
/// `Store` if the bytes are not Parquet.
pub(super) fn attendance_rows(date: NaiveDate, file: bytes::Bytes) -> Result<Vec<AttendanceRow>> {
    let mut rows = Vec::new();
    for batch in read_rows(file, &COLUMNS)? {
        rows.extend((0..batch.rows()).filter_map(|row| attendance_row(date, &batch, row)));
    }
    Ok(rows)
}

/// None without the key, which no file of ours lacks.
fn attendance_row(date: NaiveDate, batch: &RowBatch, row: usize) -> Option<AttendanceRow> {
    let text = |column| batch.text(column, row).map(str::to_owned);
    let attended = batch.truth(la::attended, row);
    let user = text(la::external_user_id)?;
    let teachers = batch.texts(la::teacher_ids, row);
    let teacher = teachers.iter().position(|id| *id == user);
    let names = batch.texts(la::teacher_names, row);
    let teacher_name = teacher
        .and_then(|at| names.get(at))
        .map(|name| (*name).to_owned());
    let role = batch
        .text(la::user_role, row)
        .map(|role| role.trim().to_lowercase());
    Some(AttendanceRow {
        date,
        meeting: text(la::external_meeting_id)?,
        role: match (batch.truth(la::meta_matched, row), role.as_deref(), teacher) {
            (Some(true), Some("student"), _) | (Some(true), None, None) => AttendanceRole::Student,
            (_, _, Some(_)) => AttendanceRole::Teacher,
            (Some(true), ..) => AttendanceRole::Other,
            _ => AttendanceRole::Guest,
        },
        user,
        name: teacher_name.or_else(|| text(la::user_fullname)),
        lesson: text(la::lesson_name),
        start: batch.instant(la::lesson_scheduled_start_at, row),
        course: entity(text(la::lesson_course_id), text(la::lesson_course_name)),
        group: entity(text(la::student_group_id), text(la::student_group_name)),
        attended,
        visit: Tally::of_visit(attended, batch.number(la::late_s, row)),
    })
}

/// An entity by its id, or by its name if it has no id.
pub(super) fn entity(id: Option<String>, name: Option<String>) -> Option<(String, Option<String>)> {
    let key = id.or_else(|| name.clone())?;
    Some((key, name))
}
