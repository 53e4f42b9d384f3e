//! `rebuild`: builds the tables again from the landed reports. Needs no token.

use chrono::NaiveDate;

use super::{CommandContext, dates, output, run, shard};
use crate::pipeline::{Command, Job, Rebuilder};
use crate::store;
use crate::{ExitStatus, Result};

/// Build the tables again from the landed reports with the current mapping, without requests to the API
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD in `timezone`
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: NaiveDate,
    /// The last date, inclusive
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: NaiveDate,
    #[command(flatten)]
    shard: shard::ShardArgs,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    dates::check_job(args.from, args.to, dates::today(config.timezone))?;
    let job = Job {
        shard: args.shard.read(context)?,
        ..Job::over(Command::Rebuild, args.from, args.to)
    };
    // Before the store is opened, because a wrong mapping is a usage error even if the store is unreachable.
    crate::pipeline::mapping_to_build(&config)?;
    let store = store::open(&config.store).await?;
    let progress = output::ProgressDisplay::start(&context.terminal);
    let rebuilder = Rebuilder::new(context.setting(config, store, &progress))?;
    let summary = Box::pin(rebuilder.run(&job)).await;
    progress.end();
    run::report(context, &summary?)
}
