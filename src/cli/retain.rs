//! `retain`: deletes the data whose retention is over. Needs no token.

use super::{CommandContext, LogFormat, output};
use crate::pipeline::{RetainReport, Retainer};
use crate::store;
use crate::{ExitStatus, Result};

/// Delete what the sections `retention` and `privacy` no longer keep (each run does it at its end)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(context: &CommandContext, args: &Args) -> Result<ExitStatus> {
    let config = context.config()?;
    // Before the store is opened, because a wrong mapping is a usage error even if the store is unreachable.
    crate::pipeline::mapping(&config)?;
    let store = store::open(&config.store).await?;
    let progress = output::ProgressDisplay::start(&context.terminal);
    let retainer = Retainer::new(context.setting(config, store, &progress))?;
    let report = Box::pin(retainer.run(args.dry_run)).await;
    progress.end();
    let report = report?;
    match context.format {
        LogFormat::Text => super::print(&for_people(&report))?,
        LogFormat::Json => output::print_json(&report)?,
    }
    Ok(match report.failed.is_empty() && !report.interrupted {
        true => ExitStatus::Done,
        false => ExitStatus::Partial,
    })
}

/// A row for each kind of data, and below them what could not be done.
fn for_people(report: &RetainReport) -> String {
    if report.keeps_all() {
        return "everything is kept for ever: [retention] and privacy.raw delete nothing\n".into();
    }
    let done = if report.dry_run {
        "would be deleted"
    } else {
        "deleted"
    };
    let heads = ["data", "kept from", "days", "objects", "bytes", "rows"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for kind in ["raw", "recordings", "messages", "tables"] {
        let kept = report.kept_from.get(kind).map(ToString::to_string);
        let kept = match (kept, kind == "raw" && report.raw_at_once) {
            (_, true) => "until its day is complete".into(),
            (Some(first), false) => first,
            (None, false) => "the beginning".into(),
        };
        let counts = report.deleted.get(kind).copied().unwrap_or_default();
        let numbers = [counts.days, counts.objects, counts.bytes, counts.rows];
        let numbers = numbers.map(|number| number.to_string());
        rows.push([kind.to_owned(), kept].into_iter().chain(numbers).collect());
    }
    let mut text = format!("{done}:\n{}", output::columns(&rows));
    text.push_str(
        "raw reports hold the chat, so that they go with the messages; everything goes with the tables\n",
    );
    if report.leftovers > 0 {
        let count = report.leftovers;
        text.push_str(&format!(
            "{count} objects were left by a process that did not end, and are deleted now\n"
        ));
    }
    if report.waiting > 0 {
        let count = report.waiting;
        text.push_str(&format!(
            "{count} days wait, because they are not built or have something pending: the next run goes on\n"
        ));
    }
    for why in &report.failed {
        text.push_str(&format!("failed: {why}\n"));
    }
    if report.interrupted {
        text.push_str("stopped before all was done: `telelake retain` goes on\n");
    }
    text
}
