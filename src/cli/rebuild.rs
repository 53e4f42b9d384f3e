//! `rebuild`: the tables again, from what is landed. Needs no token.

use chrono::NaiveDate;

use super::{CommandContext, dates, output, run};
use crate::pipeline::Rebuilder;
use crate::store;
use crate::{ExitStatus, Result};

/// Build the tables again from the landed reports, with the mapping as it now is; no request to the API
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD in `timezone`
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: NaiveDate,
    /// The last date, itself included
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: NaiveDate,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    dates::check_job(args.from, args.to, dates::today(config.timezone))?;
    // Before the store is touched: a wrong mapping is a mistake, whatever the store says.
    crate::pipeline::mapping(&config)?;
    let store = store::open(&config.store).await?;
    let progress = output::Watch::start(&context.terminal);
    let rebuilder = Rebuilder::new(
        config,
        store,
        progress.counters(),
        &context.cancel,
        chrono::Utc::now(),
    )?;
    let summary = Box::pin(rebuilder.run(args.from, args.to)).await;
    progress.end();
    run::report(context, &summary?)
}
