//! `verify`: compares the lake with its manifests. Needs a token only for a repair that downloads.

use chrono::NaiveDate;

use super::engine::PipesArgs;
use super::{CommandContext, LogFormat, dates, output, result_line, shard};
use crate::store;
use crate::verify::{Verifier, VerifyOptions};
use crate::{ExitStatus, Result};

/// Compare the lake with its manifests: objects, sizes, rows, duplicates and strays. Writes nothing without --repair
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD [default: the first of the lake]
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: Option<NaiveDate>,
    /// The last date, inclusive [default: the last of the lake]
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: Option<NaiveDate>,
    /// Also read the bytes: checksums, the key of every row, unfinished uploads
    #[arg(long)]
    deep: bool,
    /// Build the tables in memory and compare them with those in the lake
    #[arg(long)]
    rebuild: bool,
    /// Repair the damage, then verify again: build tables again, and download reports and recordings again (which needs
    /// a token). Do not use it while a run is active
    #[arg(long)]
    repair: bool,
    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    shard: shard::ShardArgs,
    #[command(flatten)]
    pub(super) pipes: PipesArgs,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    let range = context.dates(args.from, args.to)?;
    let (from, to) = match range {
        Some((from, to)) => (Some(from), Some(to)),
        None => (args.from, args.to),
    };
    dates::check_reading(from, to)?;
    let shard = args.shard.read(context)?.map(|of_job| of_job.shard);
    crate::pipeline::mapping_to_build(&config)?;
    let store = store::open(&config.store).await?;
    let progress = output::ProgressDisplay::start(&context.terminal);
    let verifier = Verifier::new(context.setting(config, store, &progress));
    let options = VerifyOptions {
        from,
        to,
        deep: args.deep,
        rebuild: args.rebuild,
        shard,
        only_dates: false,
    };
    let verified = match args.repair {
        true => Box::pin(verifier.repair(options)).await,
        false => Box::pin(verifier.verify(options)).await,
    };
    progress.end();
    let verified = verified?;
    let status = match (verified.is_whole(), verified.interrupted) {
        (false, _) => ExitStatus::Damaged,
        (true, true) => ExitStatus::Partial,
        (true, false) => ExitStatus::Done,
    };
    if let Some(pipes) = &context.pipes {
        pipes.report_verification(&verified, status);
    }
    match context.format {
        _ if args.json => output::print_json(&verified)?,
        LogFormat::Json => result_line::print_verification(&verified, status)?,
        LogFormat::Text => super::print(&verified.for_people())?,
    }
    Ok(status)
}
