//! `serve`: the daemon.

use super::CommandContext;
use crate::{ExitStatus, Result, serve};

/// Run on schedule, take webhooks and lesson data, and tell how it is, until it is stopped
///
/// Listens on `serve.listen`: POST /webhooks/teleboss, POST /meta, GET /healthz, /readyz, /metrics and /api. Ends with
/// status 0 when it was idle, with 3 when work is left: it is kept in the store, and the next start goes on with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do what is due now (a missed run, jobs, events and lesson data that were kept) and end, without listening
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let (config, source) = (context.config()?, context.source.clone());
    if args.once {
        serve::run_once(config, source, &context.cancel).await
    } else {
        serve::run(config, source, &context.cancel).await
    }
}
