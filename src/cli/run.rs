//! `run`: the nightly job.

use chrono::{Days, NaiveDate};

use super::{Context, LogFormat, dates, output};
use crate::config::Config;
use crate::export::{Exporter, Job, Summary, last_runs};
use crate::store;
use crate::{ExitStatus, Result};

/// The nightly job: yesterday and `export.lookback_days` before it, and every day with something pending
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Another date than yesterday, as YYYY-MM-DD in `timezone`
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    date: Option<NaiveDate>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    config.require_token()?;
    crate::export::mapping(&config)?;
    let today = dates::today(&config);
    let (mut from, to) = dates::nightly(args.date, today, config.export.lookback_days);
    dates::check_range(to, to, today)?;
    if args.date.is_none() {
        from = with_missed_nights(&config, from, today).await?;
    }
    let job = Job {
        command: "run",
        from,
        to,
        open_days: true,
        spaces: Vec::new(),
        rooms: Vec::new(),
        only: None,
        force: false,
    };
    let summary = export(context, config, &job).await?;
    report(context, &summary)
}

/// Runs that are looked through for the last good night.
const RUNS: usize = 60;
/// Nights that are made up at most: beyond that, an outage is a backfill's matter.
const MOST_NIGHTS: u64 = 31;

/// The first date of a nightly run when nights before it failed or never were: right after the last one that was
/// looked at. A lake without any night begins where it is told to.
async fn with_missed_nights(config: &Config, from: NaiveDate, today: NaiveDate) -> Result<NaiveDate> {
    let store = store::open(&config.store).await?;
    let runs = last_runs(&*store, RUNS).await?;
    let first = dates::after_last_night(&runs, config.timezone).map_or(from, |next| from.min(next));
    let first = first.max(today - Days::new(MOST_NIGHTS));
    if first < from {
        tracing::warn!(%first, "nights were missed: this run makes them up");
    }
    Ok(first.min(from))
}

/// Does a job with progress on the terminal.
pub(super) async fn export(context: &Context, config: Config, job: &Job) -> Result<Summary> {
    config.require_token()?;
    // Before the store is touched: a wrong mapping is a mistake, whatever the store says.
    crate::export::mapping(&config)?;
    let store = store::open(&config.store).await?;
    let progress = output::Watch::start(&context.terminal);
    let exporter = Exporter::new(
        config,
        store,
        progress.counters(),
        &context.cancel,
        chrono::Utc::now(),
    )?;
    let summary = Box::pin(exporter.run(job)).await;
    progress.end();
    summary
}

/// Prints the summary and gives its exit status.
pub(super) fn report(context: &Context, summary: &Summary) -> Result<ExitStatus> {
    match context.format {
        LogFormat::Text => super::print(&format!("{}\n", summary.for_people()))?,
        LogFormat::Json => output::print_json(summary)?,
    }
    // One line where an operator looks first, also when stdout goes elsewhere.
    if let Some(error) = &summary.error {
        eprintln!("telelake: {error}");
    }
    Ok(summary.status())
}
