//! `run`: the nightly job.

use chrono::NaiveDate;

use super::{CommandContext, LogFormat, dates, output, shard};
use crate::config::Config;
use crate::notify::Notifier;
use crate::pipeline::{Exporter, Job, Outcome, Summary, nightly, nightly_job};
use crate::store;
use crate::{ExitStatus, Result};

/// Run the nightly job: yesterday, the `export.lookback_days` before it, and every day with something pending
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A date instead of yesterday, as YYYY-MM-DD in `timezone`
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    date: Option<NaiveDate>,
    #[command(flatten)]
    shard: shard::ShardArgs,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    config.require_token()?;
    crate::pipeline::mapping_to_build(&config)?;
    let today = dates::today(config.timezone);
    let shard = args.shard.read(context)?;
    let job = match args.date {
        Some(date) => {
            dates::check_job(date, date, today)?;
            let (from, to) = nightly(Some(date), today, config.export.lookback_days);
            Job::nightly(from.max(dates::FIRST), to)
        }
        None => {
            let store = store::open(&config.store).await?;
            nightly_job(&config, &*store, chrono::Utc::now()).await?
        }
    };
    let job = Job { shard, ..job };
    let summary = export(context, config, &job).await?;
    report(context, &summary)
}

/// Runs a job and shows its progress.
pub(super) async fn export(context: &CommandContext, config: Config, job: &Job) -> Result<Summary> {
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
    summary
}

/// The configuration of a shard: the API's rate is shared among all shards of the job.
pub(super) fn divided(mut config: Config, job: &Job) -> Config {
    if let Some(of_job) = &job.shard {
        config.api.divide(of_job.shard);
    }
    config
}

/// Prints the summary and returns its exit status.
pub(super) fn report(context: &CommandContext, summary: &Summary) -> Result<ExitStatus> {
    match context.format {
        LogFormat::Text => super::print(&format!("{}\n", summary.for_people()))?,
        LogFormat::Json => output::print_json(summary)?,
    }
    // An operator looks at stderr first, and stdout may be redirected.
    if let Some(error) = &summary.error {
        eprintln!("telelake: {error}");
    }
    Ok(summary.status())
}
