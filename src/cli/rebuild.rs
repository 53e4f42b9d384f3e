//! `rebuild`: builds the tables again from the landed reports. Needs no token.

use chrono::NaiveDate;

use super::engine::PipesArgs;
use super::{CommandContext, dates, output, run, shard};
use crate::Result;
use crate::pipeline::{Command, Job, Rebuilder};
use crate::store;

/// Build the tables again from the landed reports with the current mapping, without requests to the API
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD in `timezone` [default with --pipes: that of the partition]
    #[arg(long, value_name = "DATE", value_parser = dates::parse, required_unless_present = "pipes")]
    from: Option<NaiveDate>,
    /// The last date, inclusive [default with --pipes: that of the partition]
    #[arg(long, value_name = "DATE", value_parser = dates::parse, required_unless_present = "pipes")]
    to: Option<NaiveDate>,
    #[command(flatten)]
    shard: shard::ShardArgs,
    #[command(flatten)]
    pub(super) pipes: PipesArgs,
}

/// Returns the exit status.
pub(super) async fn run(context: &CommandContext, args: Args) -> Result<u8> {
    let config = context.config()?;
    let range = context.dates(args.from, args.to)?;
    let (from, to) = range.ok_or_else(|| context.no_dates())?;
    dates::check_job(from, to, dates::today(config.timezone))?;
    let job = Job {
        shard: args.shard.read(context)?,
        ..Job::over(Command::Rebuild, from, to)
    };
    // Before the store is opened, because a wrong mapping is a usage error even if the store is unreachable.
    crate::pipeline::mapping_to_build(&config)?;
    let store = store::open(&config.store).await?;
    let progress = output::ProgressDisplay::start(&context.terminal);
    let rebuilder = Rebuilder::new(context.setting(config, store.clone(), &progress))?;
    let summary = Box::pin(rebuilder.run(&job)).await;
    progress.end();
    let summary = summary?;
    let exit_status = summary.status() as u8;
    // The rebuild is of all spaces; Dagster is told of the one that it asked for.
    let spaces = context.spaces(Vec::new())?;
    run::report(context, &*store, (&summary, exit_status), &spaces).await
}
