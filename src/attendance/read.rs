//! Reads the attendance of a period from the lake, a file at a time.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::day_rows::{AttendanceRole, attendance_rows};
use super::levels::LevelCuts;
use super::summary::AttendanceSummary;
use crate::Result;
use crate::lake::table::builtin::lesson_attendance;
use crate::lake::{self, key};
use crate::store::{OptionalExt, Store};

/// The attendance of a period; `zone` is that of the lake's dates.
///
/// The memory does not grow with the number of visits, only with the number of courses, groups, teachers, students and
/// entities, and with the visits in meetings without a schedule.
///
/// # Errors
/// Any error of the store, and a damaged file.
pub async fn summarize(
    store: &dyn Store,
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
) -> Result<AttendanceSummary> {
    let mut summary = AttendanceSummary::new(from, to);
    let mut levels = LevelCuts::default();
    let mut undated = Vec::new();
    for (date, key) in files(store, from, to).await? {
        // A file may vanish after it was listed: its day has no lesson any more.
        let Some(file) = store.read(&key).await.optional()? else {
            continue;
        };
        let rows = attendance_rows(date, file)?;
        for meeting in rows.chunk_by(|a, b| a.meeting == b.meeting) {
            summary.add_meeting(meeting);
        }
        for row in rows.into_iter().filter(|row| row.role == AttendanceRole::Student) {
            match row.start {
                Some(start) => levels.add(store, lake::date_of(start, zone), &row).await?,
                None => undated.push(row),
            }
        }
    }
    levels.add_undated(store, &undated).await?;
    summary.levels = in_order(levels);
    Ok(summary)
}

/// The files of the period, the earliest first. All keys of the table are listed, unless the period is one day.
async fn files(store: &dyn Store, from: NaiveDate, to: NaiveDate) -> Result<Vec<(NaiveDate, String)>> {
    let table = lesson_attendance::NAME;
    let prefix = if from == to {
        format!("{table}/date={from}/")
    } else {
        format!("{table}/")
    };
    let listed = store.list(&prefix).await?.into_iter();
    let files = listed.filter_map(|file| Some((key::date_in(&file.key)?, file.key)));
    Ok(files
        .filter(|(date, key)| (from..=to).contains(date) && key.ends_with(".parquet"))
        .collect())
}

/// The cuts by level: a level comes after the one that encloses it.
fn in_order(levels: LevelCuts) -> Vec<(String, super::Cut)> {
    let LevelCuts {
        mut cuts, parents, ..
    } = levels;
    let depth = |level: &String| {
        let (mut seen, mut at) = (BTreeSet::new(), level);
        while let Some(parent) = parents.get(at) {
            if !seen.insert(parent) {
                break;
            }
            at = parent;
        }
        seen.len()
    };
    let mut names: Vec<String> = cuts.keys().cloned().collect();
    names.sort_by_key(|level| (depth(level), level.clone()));
    names
        .into_iter()
        .filter_map(|level| cuts.remove(&level).map(|cut| (level, cut)))
        .collect()
}
