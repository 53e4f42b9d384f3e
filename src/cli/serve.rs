//! `serve`: runs the daemon.

use super::CommandContext;
use crate::{ExitStatus, Result, serve};

/// Run the daemon until it is stopped: scheduled runs, webhooks, lesson data and a status page
///
/// Listens on `serve.listen`: POST /webhooks/teleboss, POST /meta, GET /healthz, /readyz, /metrics and /api. The exit
/// status is 0 if the daemon was idle, and 3 if work is left, which the store keeps for the next start.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do what is due now (a missed run, stored jobs, events and lesson data) without listening, and end
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
