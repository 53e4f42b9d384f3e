//! `notify`: shows the results of the last notifications, or tests both targets.

use super::{CommandContext, LogFormat, output};
use crate::notify::{Deliveries, Notifier, last_deliveries};
use crate::store;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Show the results of the last notifications, or send a test to `notify.url` and `notify.heartbeat_url`
///
/// The exit status is 0 if every target accepted its message, and 4 if one did not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Send a test message to both targets now
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
                "is not set, and neither is notify.heartbeat_url: there is no target",
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
