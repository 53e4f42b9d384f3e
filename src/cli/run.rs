//! `run`: the nightly job.

use std::sync::Arc;

use chrono::{Days, NaiveDate};

use super::engine::EngineArgs;
use super::{CommandContext, LogFormat, dates, output, result_line, shard};
use crate::Result;
use crate::config::Config;
use crate::ids::SpaceId;
use crate::notify::Notifier;
use crate::pipeline::{Exporter, Job, Outcome, Summary, nightly, nightly_job};
use crate::store::{self, Store};

/// Run the nightly job: yesterday, the `export.lookback_days` before it, and every day with something pending
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A date instead of yesterday, as YYYY-MM-DD in `timezone`
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    date: Option<NaiveDate>,
    #[command(flatten)]
    shard: shard::ShardArgs,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

/// Returns the exit status.
pub(super) async fn run(context: &CommandContext, args: Args) -> Result<u8> {
    let config = context.config()?;
    config.require_token()?;
    crate::pipeline::mapping_to_build(&config)?;
    let today = dates::today(config.timezone);
    let shard = args.shard.read(context)?;
    let job = match args.date {
        // Yesterday's run is the nightly one, also if the engine names the date: it makes up nights that were missed.
        Some(date) if date + Days::new(1) != today => {
            dates::check_job(date, date, today)?;
            let (from, to) = nightly(Some(date), today, config.export.lookback_days);
            Job::nightly(from.max(dates::FIRST), to)
        }
        _ => {
            let store = store::open(&config.store).await?;
            nightly_job(&config, &*store, chrono::Utc::now()).await?
        }
    };
    let job = Job { shard, ..job };
    export_for_engine(context, config, &job, args.engine).await
}

/// Runs a job, shows its progress, and reports its end. Returns the exit status.
pub(super) async fn export_for_engine(
    context: &CommandContext,
    config: Config,
    job: &Job,
    engine: EngineArgs,
) -> Result<u8> {
    let (summary, store) = export(context, config, job).await?;
    let exit_status = engine.exit_status(&summary);
    report(context, &*store, (&summary, exit_status), &job.spaces).await
}

/// Runs a job and shows its progress. Returns its summary, and the store that it wrote to.
pub(super) async fn export(
    context: &CommandContext,
    config: Config,
    job: &Job,
) -> Result<(Summary, Arc<dyn Store>)> {
    config.require_token()?;
    // Before the store is opened, because a wrong mapping is a usage error even if the store is unreachable.
    crate::pipeline::mapping_to_build(&config)?;
    let store = store::open(&config.store).await?;
    let notifier = Notifier::new(&config.notify)?;
    let progress = output::ProgressDisplay::start(&context.terminal);
    let exporter = Exporter::new(context.setting(divided(config, job), store.clone(), &progress))?;
    let summary = Box::pin(exporter.run(job)).await;
    progress.end();
    // A shard that is done says nothing until the job is: its heartbeat would hide the shards that never came.
    let is_silent = |summary: &Summary| summary.outcome == Outcome::Done && !summary.ends_job();
    if !summary.as_ref().is_ok_and(is_silent) {
        notifier
            .tell(job.command.name(), &summary, &context.cancel, &*store)
            .await;
    }
    Ok((summary?, store))
}

/// The configuration of a shard: the API's rate is shared among all shards of the job.
pub(super) fn divided(mut config: Config, job: &Job) -> Config {
    if let Some(of_job) = &job.shard {
        config.api.divide(of_job.shard);
    }
    config
}

/// Reports the end of a run to Dagster if it is connected, and prints the summary; `spaces` are those of the run, or none if it
/// took all. Returns the exit status.
pub(super) async fn report(
    context: &CommandContext,
    store: &dyn Store,
    (summary, exit_status): (&Summary, u8),
    spaces: &[SpaceId],
) -> Result<u8> {
    if let Some(pipes) = &context.pipes {
        pipes.report_run(store, (summary, exit_status), spaces).await;
    }
    show(context, summary, exit_status)?;
    Ok(exit_status)
}

/// Prints the summary of a run that ends with `exit_status`.
pub(super) fn show(context: &CommandContext, summary: &Summary, exit_status: u8) -> Result<()> {
    match context.format {
        LogFormat::Text => super::print(&format!("{}\n", summary.for_people()))?,
        LogFormat::Json => result_line::print_run(summary, exit_status)?,
    }
    // An operator looks at stderr first, and stdout may be redirected.
    if let Some(error) = &summary.error {
        eprintln!("telelake: {error}");
    }
    Ok(())
}
