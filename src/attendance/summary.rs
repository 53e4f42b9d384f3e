//! The attendance of a period. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, Days, NaiveDate};

use super::cut::{Cut, shown_id};
use super::day_rows::{AttendanceRole, AttendanceRow};
use super::tally::Tally;

/// The number of lessons and groups to look at.
const TO_LOOK_AT: usize = 5;
/// A lesson or group with fewer visits says little.
const FEWEST_VISITS: u64 = 3;

/// The Monday of a date's week.
pub(super) fn week_of(date: NaiveDate) -> NaiveDate {
    date - Days::new(date.weekday().num_days_from_monday().into())
}

/// The attendance of a period.
#[derive(Debug, Clone, PartialEq)]
pub struct AttendanceSummary {
    /// The first date.
    pub from: NaiveDate,
    /// The last date.
    pub to: NaiveDate,
    /// All visits.
    pub total: Tally,
    /// The number of meetings.
    pub lessons: u64,
    /// Users who came without lesson data for the meeting, counted once for each meeting.
    pub guests: u64,
    /// The visits by date.
    pub days: BTreeMap<NaiveDate, Tally>,
    /// The visits by the Monday of their week.
    pub weeks: BTreeMap<NaiveDate, Tally>,
    /// The lessons with the lowest share, the lowest first.
    pub lowest: Vec<LessonTally>,
    /// By course.
    pub courses: Cut,
    /// By student group.
    pub groups: Cut,
    /// By teacher: the visits of students in the teacher's lessons.
    pub teachers: Cut,
    /// By student.
    pub students: Cut,
    /// By each other level of the school's own hierarchy, outer levels first.
    pub levels: Vec<(String, Cut)>,
}

/// The visits of a lesson.
#[derive(Debug, Clone, PartialEq)]
pub struct LessonTally {
    /// The date of its first call.
    pub date: NaiveDate,
    /// The meeting's id in the LMS.
    pub meeting: String,
    /// The name.
    pub name: Option<String>,
    /// The names of its groups.
    pub groups: BTreeSet<String>,
    /// The names of its teachers.
    pub teachers: BTreeSet<String>,
    /// Its visits.
    pub visits: Tally,
}

impl AttendanceSummary {
    /// The attendance of a period in which nothing was.
    pub fn new(from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            from,
            to,
            total: Tally::default(),
            lessons: 0,
            guests: 0,
            days: BTreeMap::new(),
            weeks: BTreeMap::new(),
            lowest: Vec::new(),
            courses: Cut::default(),
            groups: Cut::default(),
            teachers: Cut::default(),
            students: Cut::default(),
            levels: Vec::new(),
        }
    }

    /// The groups with the lowest share, the lowest first.
    pub fn lowest_groups(&self) -> Vec<(&str, &super::CutRow)> {
        let mut rows = self.groups.worst_first();
        rows.retain(|(_, row)| is_worth_a_look(row.total));
        rows.truncate(TO_LOOK_AT);
        rows
    }

    /// Adds all rows of a meeting.
    pub(super) fn add_meeting(&mut self, rows: &[AttendanceRow]) {
        let Some(first) = rows.first() else { return };
        let week = week_of(first.date);
        let mut lesson = LessonTally {
            date: first.date,
            meeting: first.meeting.clone(),
            name: rows.iter().filter_map(|row| row.lesson.clone()).max(),
            groups: BTreeSet::new(),
            teachers: BTreeSet::new(),
            visits: Tally::default(),
        };
        for row in rows {
            match row.role {
                AttendanceRole::Student => {
                    lesson.visits.add(row.visit);
                    lesson
                        .groups
                        .extend(row.group.iter().filter_map(|(_, name)| name.clone()));
                    self.add_student(row, week);
                }
                AttendanceRole::Teacher => {
                    let name = row.name.clone().unwrap_or_else(|| shown_id(&row.user).to_owned());
                    lesson.teachers.insert(name);
                }
                AttendanceRole::Guest => self.guests += u64::from(row.attended == Some(true)),
                AttendanceRole::Other => {}
            }
        }
        for row in rows.iter().filter(|row| row.role == AttendanceRole::Teacher) {
            self.teachers
                .add(&row.user, row.name.as_deref(), &row.meeting, week, lesson.visits);
            self.teachers
                .row(&row.user, None, &row.meeting)
                .held
                .add(row.visit);
        }
        self.lessons += 1;
        self.total.add(lesson.visits);
        self.days.entry(lesson.date).or_default().add(lesson.visits);
        self.weeks.entry(week).or_default().add(lesson.visits);
        self.keep_if_low(lesson);
    }

    fn add_student(&mut self, row: &AttendanceRow, week: NaiveDate) {
        let cuts = [(&mut self.courses, &row.course), (&mut self.groups, &row.group)];
        for (cut, entity) in cuts {
            if let Some((key, name)) = entity {
                cut.add(key, name.as_deref(), &row.meeting, week, row.visit);
            }
        }
        self.students
            .add(&row.user, row.name.as_deref(), &row.meeting, week, row.visit);
    }

    fn keep_if_low(&mut self, lesson: LessonTally) {
        if !is_worth_a_look(lesson.visits) {
            return;
        }
        self.lowest.push(lesson);
        self.lowest.sort_by(|a, b| {
            let share = |lesson: &LessonTally| lesson.visits.share().unwrap_or(2.0);
            share(a)
                .total_cmp(&share(b))
                .then(b.visits.absent().cmp(&a.visits.absent()))
                .then((b.date, &a.meeting).cmp(&(a.date, &b.meeting)))
        });
        self.lowest.truncate(TO_LOOK_AT);
    }
}

fn is_worth_a_look(visits: Tally) -> bool {
    visits.known() >= FEWEST_VISITS && visits.absent() > 0
}
