//! `notify`: how the last notifications went, and a test of both targets.

use super::{CommandContext, LogFormat, output};
use crate::notify::{Deliveries, Notifier, last_deliveries};
use crate::store;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Show how the last notifications went, or send a test to `notify.url` and `notify.heartbeat_url`
///
/// Ends with status 0 when every target took its message, with 4 when one did not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Send a test message to both now
    #[arg(long)]
    test: bool,
}

pub(super) async fn run(context: &CommandContext, args: &Args) -> Result<ExitStatus> {
    let config = context.config()?;
    let store = store::open(&config.store).await?;
    let deliveries = if args.test {
        let notifier = Notifier::new(&config.notify)?;
        if notifier.is_idle() {
            return Err(Error::new(
                ErrorKind::Config,
                "notify.url",
                "is not set, and neither is notify.heartbeat_url: there is nobody to tell",
            ));
        }
        notifier.test(&context.cancel, &*store).await
    } else {
        last_deliveries(&*store).await?
    };
    match context.format {
        LogFormat::Json => output::print_json(&deliveries)?,
        LogFormat::Text if deliveries.is_empty() => super::print("no notification has been sent\n")?,
        LogFormat::Text => super::print(&for_people(&deliveries))?,
    }
    let all = deliveries.values().all(|one| one.delivered);
    Ok(match args.test && (!all || deliveries.is_empty()) {
        true => ExitStatus::Nothing,
        false => ExitStatus::Done,
    })
}

/// A line for each target.
pub(super) fn for_people(deliveries: &Deliveries) -> String {
    let line =
        |(key, delivery): (&String, &crate::notify::Delivery)| format!("{key}: {}\n", delivery.for_people());
    deliveries.iter().map(line).collect()
}
