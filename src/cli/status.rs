//! `status`: coverage day by day and the last runs, from the manifests in the store. Needs no token.

use chrono::{Days, NaiveDate};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::{Context, dates, output};
use crate::config::Config;
use crate::export::{self, Summary};
use crate::lake::key;
use crate::lake::manifest::{Manifest, Quality, Status};
use crate::printable::escaped;
use crate::store::{self, Store};
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Coverage day by day: calls, reports and recordings, done, pending and failed; and the last runs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD [default: the last 14 dates that the lake has]
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: Option<NaiveDate>,
    /// The last date, itself included [default: the latest that the lake has]
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: Option<NaiveDate>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Dates shown where none are asked for.
const DATES: usize = 14;
/// Runs shown.
const RUNS: usize = 5;
/// Manifests read at once.
const READ_AT_ONCE: usize = 16;
/// Items named of what is missing on a day, in text.
const NAMED: usize = 3;

/// A day's coverage.
#[derive(Debug, Default, Serialize)]
struct DayStatus {
    date: NaiveDate,
    space_id: String,
    space_name: Option<String>,
    /// Whether every room was asked for the whole date.
    listed: bool,
    calls: u64,
    calls_pending: u64,
    reports_done: u64,
    reports_pending: u64,
    reports_failed: u64,
    reports_denied: u64,
    reports_lost: u64,
    records_done: u64,
    records_pending: u64,
    records_failed: u64,
    records_denied: u64,
    records_unavailable: u64,
    records_lost: u64,
    /// Rooms that could not be listed; `space_missed` where none could.
    rooms_missed: u64,
    space_missed: bool,
    recorded_bytes: u64,
    /// How well lesson meta and participants fit together.
    #[serde(flatten)]
    quality: Quality,
    /// Whether everything that there is, is in the lake.
    complete: bool,
    /// What is missing, and why.
    missing: Vec<Missing>,
}

#[derive(Debug, Serialize)]
struct Missing {
    room_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_id: Option<String>,
    what: &'static str,
    status: Status,
    reason: Option<String>,
    attempts: u32,
}

#[derive(Debug, Serialize)]
struct Report {
    store: String,
    days: Vec<DayStatus>,
    /// Spans of dates that no run has looked at: the first and the last date of each.
    never_looked_at: Vec<(NaiveDate, NaiveDate)>,
    runs: Vec<Summary>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(Error::new(
            ErrorKind::Usage,
            "--from/--to",
            format!("{from} to {to} holds no date"),
        )
        .hint("--from must not be later than --to"));
    }
    let store = store::open(&config.store).await?;
    let days = days(&*store, args.from, args.to).await?;
    let runs = export::last_runs(&*store, RUNS).await?;
    let report = Report {
        store: store.url().to_owned(),
        never_looked_at: never_looked_at(&config, &args, &days),
        days,
        runs,
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        super::print(&for_people(&report))?;
    }
    Ok(ExitStatus::Done)
}

async fn days(store: &dyn Store, from: Option<NaiveDate>, to: Option<NaiveDate>) -> Result<Vec<DayStatus>> {
    let mut keys: Vec<(NaiveDate, String)> = store
        .list(key::DAYS)
        .await?
        .into_iter()
        .filter_map(|entry| Some((key::date_in(&entry.key)?, entry.key)))
        .filter(|(date, _)| from.is_none_or(|from| *date >= from) && to.is_none_or(|to| *date <= to))
        .collect();
    keys.sort();
    if from.is_none() {
        let mut dates: Vec<NaiveDate> = keys.iter().map(|(date, _)| *date).collect();
        dates.dedup();
        let first = dates.iter().rev().nth(DATES - 1).copied();
        keys.retain(|(date, _)| first.is_none_or(|first| *date >= first));
    }
    stream::iter(keys)
        .map(|(date, key)| async move {
            match export::get_json::<Manifest>(store, &key).await {
                Ok(manifest) => Ok(manifest.map(|(manifest, _)| day(&manifest))),
                // One damaged day must not hide the others.
                Err(error) if error.kind() == ErrorKind::Store => {
                    tracing::error!(%error, "a day can't be read");
                    Ok(Some(DayStatus {
                        date,
                        space_id: key,
                        ..DayStatus::default()
                    }))
                }
                Err(error) => Err(error),
            }
        })
        .buffered(READ_AT_ONCE)
        .try_filter_map(|day| std::future::ready(Ok(day)))
        .try_collect()
        .await
}

fn day(manifest: &Manifest) -> DayStatus {
    let mut day = DayStatus {
        date: manifest.date,
        space_id: manifest.space_id.clone(),
        space_name: manifest.space_name.clone(),
        listed: manifest.listed,
        rooms_missed: manifest.missed.rooms.len() as u64,
        space_missed: manifest.missed.space,
        calls: manifest.calls.len() as u64,
        quality: manifest
            .built
            .as_ref()
            .map_or(Quality::default(), |built| built.quality),
        ..DayStatus::default()
    };
    for (id, entry) in &manifest.calls {
        day.calls_pending += u64::from(entry.pending.is_some());
        for (format, landing) in &entry.reports {
            *match landing.status {
                Status::Done => &mut day.reports_done,
                Status::Pending | Status::Unavailable => &mut day.reports_pending,
                Status::Failed => &mut day.reports_failed,
                Status::Denied => &mut day.reports_denied,
                Status::Lost => &mut day.reports_lost,
            } += 1;
            if landing.status != Status::Done {
                day.missing.push(Missing {
                    room_id: entry.room_id.clone(),
                    call_id: Some(id.clone()),
                    record_id: None,
                    what: format.as_str(),
                    status: landing.status,
                    reason: entry.pending.clone().or_else(|| landing.reason.clone()),
                    attempts: landing.attempts,
                });
            }
        }
    }
    for (id, entry) in &manifest.records {
        *match entry.file.status {
            Status::Done => &mut day.records_done,
            Status::Pending => &mut day.records_pending,
            Status::Unavailable => &mut day.records_unavailable,
            Status::Failed => &mut day.records_failed,
            Status::Denied => &mut day.records_denied,
            Status::Lost => &mut day.records_lost,
        } += 1;
        day.recorded_bytes += entry.file.usable().map_or(0, |landed| landed.bytes);
        if entry.file.status != Status::Done {
            day.missing.push(Missing {
                room_id: entry.room_id.clone(),
                call_id: entry.call_id.clone(),
                record_id: Some(id.clone()),
                what: "recording",
                status: entry.file.status,
                reason: entry.file.reason.clone(),
                attempts: entry.file.attempts,
            });
        }
    }
    let open = day.calls_pending
        + day.reports_pending
        + day.reports_failed
        + day.records_pending
        + day.records_failed;
    let closed = day.reports_denied + day.records_denied + day.reports_lost + day.records_lost;
    day.complete = day.listed && manifest.missed.is_none() && open + closed == 0;
    day
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
                "{unlisted} of them not listed whole yet: a run or backfill of their dates, once they are over, does that\n"
            ));
        }
        text.push_str(&join_quality(&report.days));
    }
    for (from, to) in &report.never_looked_at {
        text.push_str(&format!(
            "never looked at: {from} to {to}; `telelake backfill --from {from} --to {to}` does that\n"
        ));
    }
    text.push_str("\nlast runs\n");
    for run in &report.runs {
        let text_of_run = run.for_people();
        text.push_str(&format!("{}\n", text_of_run.lines().next().unwrap_or_default()));
    }
    if report.runs.is_empty() {
        text.push_str("none\n");
    }
    text
}

/// How well lesson meta and participants fit together over all days shown; nothing where there is nothing to say.
fn join_quality(days: &[DayStatus]) -> String {
    let mut all = Quality::default();
    days.iter().for_each(|day| all.add(&day.quality));
    if all.is_none() {
        return String::new();
    }
    format!(
        "lessons: {} participants without meta, {} metas without participants, {} unknown roles, {} duplicate external ids\n",
        all.participants_without_meta,
        all.meta_without_participants,
        all.unknown_roles,
        all.duplicate_external_ids
    )
}

/// Spans of dates, up to yesterday or the last one asked for, of which the lake knows nothing: nobody looked.
fn never_looked_at(config: &Config, args: &Args, days: &[DayStatus]) -> Vec<(NaiveDate, NaiveDate)> {
    let Some(first) = args.from.or(days.first().map(|day| day.date)) else {
        return Vec::new();
    };
    let yesterday = dates::today(config) - Days::new(1);
    let last = args.to.map_or(yesterday, |to| to.min(yesterday));
    let mut spans: Vec<(NaiveDate, NaiveDate)> = Vec::new();
    let absent = first
        .iter_days()
        .take_while(|date| *date <= last)
        .filter(|date| days.binary_search_by_key(date, |day| day.date).is_err());
    for date in absent {
        match spans.last_mut() {
            Some((_, end)) if *end + Days::new(1) == date => *end = date,
            _ => spans.push((date, date)),
        }
    }
    spans
}

fn table(days: &[DayStatus]) -> String {
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
            escaped(day.space_name.as_ref().unwrap_or(&day.space_id)).into_owned(),
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
            if day.complete {
                "complete".into()
            } else if day.listed {
                "NOT COMPLETE".into()
            } else {
                "not listed whole".into()
            },
        ]);
        if day.space_missed {
            rows.push(vec![
                String::new(),
                "  the space's rooms could not be listed".into(),
            ]);
        } else if day.rooms_missed > 0 {
            rows.push(vec![
                String::new(),
                format!("  {} rooms could not be listed", day.rooms_missed),
            ]);
        }
        let named = day
            .missing
            .iter()
            .filter(|missing| !matches!(missing.status, Status::Done | Status::Unavailable));
        for missing in named.take(NAMED) {
            let id = missing.record_id.as_ref().or(missing.call_id.as_ref());
            let reason = missing.reason.as_deref().unwrap_or("no reason is known");
            let line = format!(
                "  {} of {}: {reason}",
                missing.what,
                escaped(id.map_or("?", String::as_str))
            );
            rows.push(vec![String::new(), line]);
        }
    }
    // Lines of reasons span all columns: laid out apart, they do not widen them.
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
