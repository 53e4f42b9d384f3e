//! `verify`: compares the lake with its manifests. Needs no token, except for a repair that has to fetch.

use chrono::NaiveDate;

use super::{CommandContext, dates, output};
use crate::store;
use crate::verify::{Options, Verifier};
use crate::{ExitStatus, Result};

/// Compare the lake with its manifests: objects, sizes, rows, duplicates and strays. Writes nothing without --repair
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD [default: the first that the lake has]
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: Option<NaiveDate>,
    /// The last date, itself included [default: the last that the lake has]
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: Option<NaiveDate>,
    /// Read the bytes too: checksums, the key of every row, uploads that never ended
    #[arg(long)]
    deep: bool,
    /// Build the tables in memory and compare them with those in the lake
    #[arg(long)]
    rebuild: bool,
    /// Repair the findings, then verify again: build tables again, fetch reports and recordings again (needs a token). Not
    /// while another run is at work
    #[arg(long)]
    repair: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    dates::check_reading(args.from, args.to)?;
    crate::pipeline::mapping(&config)?;
    let store = store::open(&config.store).await?;
    let progress = output::Watch::start(&context.terminal);
    let verifier = Verifier::new(
        config,
        store,
        progress.counters(),
        &context.cancel,
        chrono::Utc::now(),
    );
    let options = Options {
        from: args.from,
        to: args.to,
        deep: args.deep,
        rebuild: args.rebuild,
    };
    let verified = match args.repair {
        true => Box::pin(verifier.repair(options)).await,
        false => Box::pin(verifier.verify(options)).await,
    };
    progress.end();
    let verified = verified?;
    if args.json {
        output::print_json(&verified)?;
    } else {
        super::print(&verified.for_people())?;
    }
    Ok(match (verified.is_whole(), verified.interrupted) {
        (false, _) => ExitStatus::Damaged,
        (true, true) => ExitStatus::Partial,
        (true, false) => ExitStatus::Done,
    })
}
