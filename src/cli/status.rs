//! `status`: the coverage of each day and the last runs, from the manifests in the store. Needs no token.

use std::sync::Arc;

use chrono::NaiveDate;
use serde::Serialize;

use super::{CommandContext, dates, output};
use crate::lake::manifest::{Quality, Status};
use crate::notify::{Deliveries, last_deliveries};
use crate::pipeline;
use crate::pipeline::Summary;
use crate::sanitize::escaped;
use crate::status::{Coverage, DayStatus, NOT_BUILT, never_looked_at};
use crate::store;
use crate::{ExitStatus, Result};

/// Coverage day by day: calls, reports and recordings, done, pending and failed; and the last runs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD [default: the last 14 dates that the lake has]
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: Option<NaiveDate>,
    /// The last date, itself included [default: today]
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: Option<NaiveDate>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Dates shown if the user gave none.
const DATES: usize = 14;
/// Runs shown.
const RUNS: usize = 5;
/// Missing items named for each day, in text.
const NAMED: usize = 3;

#[derive(Debug, Serialize)]
struct Report {
    store: String,
    days: Vec<Arc<DayStatus>>,
    /// Spans of dates that no run has covered: the first and the last date of each.
    never_looked_at: Vec<(NaiveDate, NaiveDate)>,
    runs: Vec<Summary>,
    /// The outcome of the last notifications.
    notifications: Deliveries,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    dates::check_reading(args.from, args.to)?;
    let store = store::open(&config.store).await?;
    pipeline::refuse_newer(&*store).await?;
    // Without a first date, only the latest dates are shown.
    let count = args.from.map_or(DATES, |_| usize::MAX);
    let today = dates::today(config.timezone);
    let to = args.to.unwrap_or(today);
    let days = Coverage::default()
        .latest(&*store, args.from, Some(to), count)
        .await?;
    let runs = pipeline::last_runs(&*store, chrono::Utc::now(), RUNS).await?;
    let report = Report {
        store: store.url().to_owned(),
        never_looked_at: never_looked_at(today, args.from, args.to, &days),
        days,
        runs,
        // A list of notifications that can't be read must not hide the rest.
        notifications: last_deliveries(&*store).await.unwrap_or_default(),
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        super::print(&for_people(&report))?;
    }
    Ok(ExitStatus::Done)
}

fn for_people(report: &Report) -> String {
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
    if !report.notifications.is_empty() {
        text.push_str("\nlast notifications\n");
        text.push_str(&super::notify::for_people(&report.notifications));
    }
    text
}

/// How well lesson data and participants match over all days shown; empty if there is nothing to say.
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

fn table(days: &[Arc<DayStatus>]) -> String {
    let header = ["date", "space", "calls", "reports", "recordings", "state"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for day in days {
        let of = |done: u64, parts: &[(u64, &str)]| {
            let rest = parts
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, word)| format!(", {count} {word}"));
            format!("{done} done{}", rest.collect::<String>())
        };
        let pending = if day.calls_pending > 0 {
            format!(", {} pending", day.calls_pending)
        } else {
            String::new()
        };
        rows.push(vec![
            day.date.to_string(),
            escaped(day.space_name.as_deref().unwrap_or(&day.space_id)).into_owned(),
            format!("{}{pending}", day.calls),
            of(
                day.reports_done,
                &[
                    (day.reports_pending, "pending"),
                    (day.reports_failed, "failed"),
                    (day.reports_denied, "denied"),
                    (day.reports_lost, "lost"),
                ],
            ),
            of(
                day.records_done,
                &[
                    (day.records_pending, "pending"),
                    (day.records_failed, "failed"),
                    (day.records_denied, "denied"),
                    (day.records_unavailable, "not made"),
                    (day.records_lost, "lost"),
                ],
            ),
            state(day).into(),
        ]);
        if !day.built && !day.is_damaged() {
            rows.push(vec![String::new(), format!("  {NOT_BUILT}")]);
        }
        if day.space_missed {
            rows.push(vec![
                String::new(),
                "  the space's rooms could not all be listed".into(),
            ]);
        } else if day.rooms_missed > 0 {
            rows.push(vec![
                String::new(),
                format!("  {} rooms could not be listed", day.rooms_missed),
            ]);
        }
        if day.rooms_gone > 0 {
            rows.push(vec![
                String::new(),
                format!(
                    "  {} rooms were deleted before they could be asked",
                    day.rooms_gone
                ),
            ]);
        }
        let named = day
            .missing
            .iter()
            .filter(|missing| !matches!(missing.status, Status::Done | Status::Unavailable));
        for missing in named.take(NAMED) {
            let id = missing.record_id.as_deref().or(missing.call_id.as_deref());
            let reason = missing.reason.as_deref().unwrap_or("for an unknown reason");
            let line = format!(
                "  {} of {}: {reason}",
                missing.what,
                escaped(id.unwrap_or("?"))
            );
            rows.push(vec![String::new(), line]);
        }
    }
    // A line with a reason spans all columns, so that it must not widen them.
    let (wide, reasons): (Vec<_>, Vec<_>) = rows.into_iter().enumerate().partition(|(_, row)| row.len() > 2);
    let laid = output::columns(&wide.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>());
    let mut lines: Vec<(usize, String)> = wide
        .iter()
        .map(|(index, _)| *index)
        .zip(laid.lines().map(str::to_owned))
        .collect();
    lines.extend(
        reasons
            .into_iter()
            .map(|(index, row)| (index, format!("          {}", row[1]))),
    );
    lines.sort_by_key(|(index, _)| *index);
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}
