//! `status`: the coverage of each day and the last runs, from the manifests in the store. Needs no token.

use std::sync::Arc;

use chrono::NaiveDate;
use serde::Serialize;

use super::{CommandContext, dates, output};
use crate::lake::manifest::{Quality, Status};
use crate::lake::tally::Tally;
use crate::notify::{Deliveries, last_deliveries};
use crate::pipeline;
use crate::pipeline::{SharedJob, Summary};
use crate::sanitize::escaped;
use crate::status::{Coverage, DayStatus, NOT_BUILT, never_looked_at};
use crate::store::{self, Store};
use crate::{ExitStatus, Result};

/// Show coverage day by day (calls, reports and recordings: done, pending, failed) and the last runs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD [default: the last 14 dates of the lake]
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: Option<NaiveDate>,
    /// The last date, inclusive [default: today]
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: Option<NaiveDate>,
    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Dates shown if the user gave none.
const DATES: usize = 14;
/// Manifests that had to be read, after which the index is written for the next reader.
const MANY: usize = 500;
/// Runs shown.
const RUNS: usize = 5;
/// Jobs with shards shown.
const SHARED_JOBS: usize = 2;
/// Missing items named for each day, in text.
const NAMED: usize = 3;

#[derive(Debug, Serialize)]
struct StatusReport {
    store: String,
    days: Vec<Arc<DayStatus>>,
    /// Spans of dates that no run has covered: the first and the last date of each.
    never_looked_at: Vec<(NaiveDate, NaiveDate)>,
    runs: Vec<Summary>,
    /// The latest jobs that several processes did together.
    shared_jobs: Vec<SharedJob>,
    /// The outcome of the last notifications.
    notifications: Deliveries,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    dates::check_reading(args.from, args.to)?;
    let store = store::open(&config.store).await?;
    pipeline::warn_without_lake(&*store).await?;
    let today = dates::today(config.timezone);
    // A list of notifications that can't be read must not hide the rest.
    let notifications = async { Ok(last_deliveries(&*store).await.unwrap_or_default()) };
    let now = chrono::Utc::now();
    let (days, runs, shared_jobs, notifications) = tokio::try_join!(
        days(&*store, &args, args.to.unwrap_or(today)),
        pipeline::last_runs(&*store, now, RUNS),
        pipeline::shared_jobs(&*store, now, SHARED_JOBS),
        notifications,
    )?;
    let report = StatusReport {
        store: store.url().to_owned(),
        never_looked_at: never_looked_at(today, args.from, args.to, &days),
        days,
        runs,
        shared_jobs,
        notifications,
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        super::print(&for_people(&report))?;
    }
    Ok(ExitStatus::Done)
}

/// The days from the first date up to `to`; without a first date, those of the latest dates.
async fn days(store: &dyn Store, args: &Args, to: NaiveDate) -> Result<Vec<Arc<DayStatus>>> {
    let coverage = Coverage::default();
    let days = match args.from {
        Some(from) => coverage.days(store, Some(from), Some(to)).await?,
        None => coverage.latest(store, to, DATES).await?,
    };
    if coverage.unindexed() >= MANY
        && let Err(error) = coverage.save(store).await
    {
        // Whoever may only read the store waits as long the next time.
        tracing::debug!(%error, "the index of the days could not be written");
    }
    Ok(days)
}

fn for_people(report: &StatusReport) -> String {
    let mut text = format!("{}\n", report.store);
    if report.days.is_empty() {
        text.push_str("no days in the lake for these dates\n");
    } else {
        text.push_str(&table(&report.days));
        let incomplete = report.days.iter().filter(|day| !day.complete).count();
        let unlisted = report.days.iter().filter(|day| !day.listed).count();
        text.push_str(&format!(
            "\n{} days, {incomplete} not complete\n",
            report.days.len()
        ));
        if unlisted > 0 {
            text.push_str(&format!(
                "{unlisted} of them not listed completely yet: a run or backfill of their dates, once they are over, lists them\n"
            ));
        }
        let unbuilt = report
            .days
            .iter()
            .filter(|day| !day.built && !day.is_damaged())
            .count();
        if unbuilt > 0 {
            text.push_str(&format!(
                "{unbuilt} of them landed but not built: the next run builds them; `telelake rebuild` with their dates does it now\n"
            ));
        }
        text.push_str(&join_quality(&report.days));
    }
    for (from, to) in &report.never_looked_at {
        text.push_str(&format!(
            "never exported: {from} to {to}; `telelake backfill --from {from} --to {to}` exports them\n"
        ));
    }
    text.push_str("\nlast runs\n");
    for run in &report.runs {
        let text_of_run = run.for_people();
        text.push_str(&format!("{}\n", text_of_run.lines().next().unwrap_or_default()));
        if let Some(cause) = &run.cause {
            text.push_str(&format!("    {cause}\n"));
        }
    }
    if report.runs.is_empty() {
        text.push_str("none\n");
    }
    if !report.shared_jobs.is_empty() {
        text.push_str("\njobs with shards\n");
        report
            .shared_jobs
            .iter()
            .for_each(|job| text.push_str(&job.for_people()));
    }
    if !report.notifications.is_empty() {
        text.push_str("\nlast notifications\n");
        text.push_str(&super::notify::for_people(&report.notifications));
    }
    text
}

/// A line about the match between lesson data and participants, over all days shown; empty if nothing differs.
fn join_quality(days: &[Arc<DayStatus>]) -> String {
    let mut all = Quality::default();
    days.iter().for_each(|day| all.add(&day.quality));
    if all.is_none() {
        return String::new();
    }
    format!(
        "lessons: {} participants without lesson data, {} lesson entries without participants, {} unknown roles, {} duplicate external ids\n",
        all.participants_without_meta,
        all.meta_without_participants,
        all.unknown_roles,
        all.duplicate_external_ids
    )
}

/// The state of a day, in a word or two.
fn state(day: &DayStatus) -> &'static str {
    if day.complete {
        "complete"
    } else if !day.listed {
        "not listed whole"
    } else if day.built {
        "NOT COMPLETE"
    } else {
        "NOT BUILT"
    }
}

/// A row for each day, and below it the lines that say why it is not complete.
fn table(days: &[Arc<DayStatus>]) -> String {
    let header = ["date", "space", "calls", "reports", "recordings", "state"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(days.iter().map(|day| row(day)));
    let laid = output::columns(&rows);
    let mut lines = laid.lines();
    let mut text = format!("{}\n", lines.next().unwrap_or_default());
    for (day, line) in days.iter().zip(lines) {
        text.push_str(&format!("{line}\n"));
        // A reason spans all columns, so that it must not widen them.
        for reason in reasons(day) {
            text.push_str(&format!("            {reason}\n"));
        }
    }
    text
}

fn row(day: &DayStatus) -> Vec<String> {
    let pending = match day.calls_pending {
        0 => String::new(),
        count => format!(", {count} pending"),
    };
    vec![
        day.date.to_string(),
        escaped(day.space_name.as_deref().unwrap_or(&day.space_id)).into_owned(),
        format!("{}{pending}", day.calls),
        states(&day.reports),
        states(&day.records),
        state(day).into(),
    ]
}

/// The number of items that are done, and of those in each other state.
fn states(tally: &Tally) -> String {
    let others = [
        (tally.pending, "pending"),
        (tally.failed, "failed"),
        (tally.denied, "denied"),
        (tally.unavailable, "not made"),
        (tally.lost, "lost"),
    ];
    let others = others.iter().filter(|(count, _)| *count > 0);
    let others: String = others.map(|(count, word)| format!(", {count} {word}")).collect();
    format!("{} done{others}", tally.done)
}

/// The reasons why a day is not complete; of the missing items, the first [`NAMED`].
fn reasons(day: &DayStatus) -> Vec<String> {
    let mut reasons = Vec::new();
    if !day.built && !day.is_damaged() {
        reasons.push(NOT_BUILT.into());
    }
    if day.space_missed {
        reasons.push("the space's rooms could not all be listed".into());
    } else if day.rooms_missed > 0 {
        reasons.push(format!("{} rooms could not be listed", day.rooms_missed));
    }
    if day.rooms_gone > 0 {
        reasons.push(format!(
            "{} rooms were deleted before they could be asked",
            day.rooms_gone
        ));
    }
    let missing = day.missing.iter();
    let named = missing.filter(|item| !matches!(item.status, Status::Done | Status::Unavailable));
    reasons.extend(named.take(NAMED).map(|item| {
        let id = item.record_id.as_deref().or(item.call_id.as_deref());
        let reason = item.reason.as_deref().unwrap_or("for an unknown reason");
        format!("{} of {}: {reason}", item.what, escaped(id.unwrap_or("?")))
    }));
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_row_with_its_reasons_below() {
        let day = DayStatus {
            date: "2026-11-22".parse().expect("date"),
            space_id: "s1".into(),
            listed: true,
            built: true,
            calls: 3,
            calls_pending: 1,
            reports: Tally {
                done: 2,
                failed: 1,
                ..Tally::default()
            },
            rooms_missed: 2,
            ..DayStatus::default()
        };
        let text = table(&[Arc::new(day)]);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].contains("3, 1 pending") && lines[1].contains("2 done, 1 failed"),
            "{text}"
        );
        assert!(lines[1].ends_with("NOT COMPLETE"), "{text}");
        assert_eq!(lines[2], "            2 rooms could not be listed");
    }
}
