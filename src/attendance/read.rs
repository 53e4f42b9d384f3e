//! Reads the attendance of a period from the lake, several files at once, and counts it in the order of the dates.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use chrono_tz::Tz;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::day_rows::{AttendanceRole, AttendanceRow, attendance_rows};
use super::levels::LevelCuts;
use super::summary::AttendanceSummary;
use crate::Result;
use crate::lake::table::builtin::lesson_attendance;
use crate::lake::{self, key};
use crate::store::{OptionalExt, Store};
use crate::task::isolated_blocking;

/// Files read at once.
const FILES_AT_ONCE: usize = 8;

/// The attendance of a period; `zone` is that of the lake's dates.
///
/// The memory does not grow with the number of visits, only with the number of courses, groups, teachers, students and
/// entities, and with the visits in meetings without a schedule. `progress` is told of steps that were done, and of steps
/// that are to come; a step is a file.
///
/// # Errors
/// Any error of the store, and a damaged file.
pub async fn summarize(
    store: &dyn Store,
    zone: Tz,
    from: NaiveDate,
    to: NaiveDate,
    progress: impl Fn(u64, u64),
) -> Result<AttendanceSummary> {
    let mut summary = AttendanceSummary::new(from, to);
    let mut levels = LevelCuts::of(from..=to);
    let mut undated = Vec::new();
    let files = files(store, from, to).await?;
    progress(0, files.len() as u64);
    let mut reading = stream::iter(files)
        .map(|(date, key)| read_file(store, date, key))
        .buffered(FILES_AT_ONCE);
    while let Some(rows) = reading.try_next().await? {
        progress(1, 0);
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

/// The rows of a file. A file may vanish after it was listed: its day has no lesson any more.
async fn read_file(store: &dyn Store, date: NaiveDate, key: String) -> Result<Vec<AttendanceRow>> {
    match store.read(&key).await.optional()? {
        Some(file) => isolated_blocking(&key, move || attendance_rows(date, file)).await,
        None => Ok(Vec::new()),
    }
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
