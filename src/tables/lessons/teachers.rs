//! The teachers of a meeting, as lesson data or else the calls name them. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::lesson::Lesson;
use super::presence::Meeting;
use crate::lake::table::builtin::lesson;
use crate::tables::parquet::cell::Cell;

/// The role of a teacher in lesson data.
const TEACHER: &str = "teacher";
/// Roles in lesson data whose users do not teach, even if they are moderators of the call.
const LEARNERS: [&str; 2] = ["student", "parent"];

/// The teachers of a meeting: their ids in the LMS, sorted, and a name for each.
#[derive(Debug, Default)]
pub(super) struct Teachers {
    ids: Vec<String>,
    names: Vec<String>,
}

impl Teachers {
    /// Finds the teachers: users whose lesson data says so. If there are none, the moderators who were in the meeting's
    /// calls.
    pub fn of(meeting: &Meeting, lessons: &BTreeMap<&str, Lesson<'_>>) -> Self {
        let is_role = |user: &str, roles: &[&str]| {
            let role = lessons
                .get(user)
                .and_then(|lesson| lesson.text(lesson::user_role));
            role.is_some_and(|role| roles.iter().any(|it| role.trim().eq_ignore_ascii_case(it)))
        };
        let expected = lessons.keys().copied().filter(|user| is_role(user, &[TEACHER]));
        let mut ids: Vec<&str> = expected.collect();
        if ids.is_empty() {
            let moderators = meeting.moderators.keys().map(|user| user.as_str());
            ids = moderators.filter(|user| !is_role(user, &LEARNERS)).collect();
        }
        let name = |user: &str| {
            let full = lessons
                .get(user)
                .and_then(|lesson| lesson.text(lesson::user_fullname));
            let shown = || meeting.moderators.get(user)?.as_deref();
            full.or_else(shown).unwrap_or(user).to_owned()
        };
        Self {
            names: ids.iter().map(|user| name(user)).collect(),
            ids: ids.into_iter().map(str::to_owned).collect(),
        }
    }

    /// The cells of `teacher_ids` and `teacher_names`.
    pub fn cells(&self) -> [Cell<'_>; 2] {
        [&self.ids, &self.names].map(|texts| Cell::Texts(texts.iter().map(Cow::from).collect()))
    }
}
