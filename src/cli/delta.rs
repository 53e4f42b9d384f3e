//! `delta`: brings the Delta tables up to date with the lake. Needs no token.

use super::{CommandContext, LogFormat, output};
use crate::delta::TableReport;
use crate::pipeline::DeltaUpdater;
use crate::store;
use crate::{ExitStatus, Result};

/// Bring the Delta Lake tables below delta/ up to date with the lake (runs do it if `delta.enabled` is set)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also remove what no version of the last days needs (`delta.keep`, 7 days by default)
    #[arg(long)]
    vacuum: bool,
}

pub(super) async fn run(context: &CommandContext, args: &Args) -> Result<ExitStatus> {
    let config = context.config()?;
    // Before the store is opened, because a wrong mapping is a usage error even if the store is unreachable.
    crate::pipeline::mapping_to_build(&config)?;
    let store = store::open(&config.store).await?;
    let progress = output::ProgressDisplay::start(&context.terminal);
    let updater = DeltaUpdater::new(context.setting(config, store, &progress))?;
    let reports = Box::pin(updater.run(args.vacuum)).await;
    progress.end();
    let reports = reports?;
    match context.format {
        LogFormat::Text => super::print(&for_people(&reports))?,
        LogFormat::Json => output::print_json(&reports)?,
    }
    Ok(match reports.iter().any(|report| report.failure.is_some()) {
        true => ExitStatus::Partial,
        false => ExitStatus::Done,
    })
}

/// A row for each table, and below it the failure.
fn for_people(reports: &[TableReport]) -> String {
    let mut rows = vec![
        ["table", "version", "files", "commits", "removed"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(reports.iter().map(|report| {
        vec![
            report.table.clone(),
            report
                .version
                .map_or_else(|| "-".into(), |version| version.to_string()),
            report.files.to_string(),
            report.commits.to_string(),
            report.vacuumed.to_string(),
        ]
    }));
    let mut text = output::columns(&rows);
    for report in reports {
        if let Some(why) = &report.failure {
            text.push_str(&format!("{}: not up to date: {why}\n", report.table));
        }
    }
    text
}
