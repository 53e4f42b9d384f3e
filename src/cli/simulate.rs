//! `simulate`: runs only the simulator of the vendor's API.

use std::path::PathBuf;
use std::sync::Arc;

use super::CommandContext;
use crate::simulator::{RecordedAnswers, SimulateArgs, Simulator};
use crate::{ExitStatus, Result};

/// Run only the simulator of the API, on loopback, until it is stopped
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    simulate: SimulateArgs,
    /// Answer with a recording that `check --record` made, instead of an invented school
    #[arg(long, value_name = "DIR")]
    recorded: Option<PathBuf>,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let mut options = args.simulate.options();
    options.recorded_answers = match &args.recorded {
        Some(folder) => Some(Arc::new(RecordedAnswers::read(folder)?)),
        None => None,
    };
    let simulator = Simulator::start(options).await?;
    // This token may be printed, because it opens only the simulator's invented lessons.
    super::print(&format!(
        "TELELAKE_API__BASE_URL={}\nTELELAKE_API__TOKEN={}\n",
        simulator.base_url(),
        simulator.token()
    ))?;
    context.cancel.cancelled().await;
    simulator.stop().await;
    Ok(ExitStatus::Done)
}
