//! Attendance for people: reads the lake's tables for a period, counts visits by course, group, teacher, student and any
//! level of the school's own, and draws one HTML page. Used by the commands `report` and `demo`.
//!
//! The numbers are those of the marts of `telelake sql`: a *visit* is a student in a meeting, who is expected if lesson
//! data names the user with the role `student` or with no role. [`summarize`] reads the days one by one and keeps only
//! counts; [`page`] is pure.

mod cut;
mod day_rows;
mod levels;
pub mod page;
mod read;
mod summary;
mod tally;

pub use cut::{Cut, CutRow};
pub use read::summarize;
pub use summary::{AttendanceSummary, LessonTally};
pub use tally::Tally;
