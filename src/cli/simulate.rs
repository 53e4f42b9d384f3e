//! `simulate`: runs only the simulator of the vendor's API.

use super::CommandContext;
use crate::simulator::{SimulateArgs, Simulator};
use crate::{ExitStatus, Result};

/// Run only the simulator of the API, on loopback, until it is stopped
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    simulate: SimulateArgs,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let simulator = Simulator::start(args.simulate.options()).await?;
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
