//! The options of commands that workflow engines start.

use crate::pipeline::Summary;

/// The options of a run that a workflow engine starts.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct EngineArgs {
    /// Exit with N instead of 0 if there was nothing to do: nothing was landed or imported, and no table was written, because
    /// the dates have no calls or are in the lake already. Airflow takes 99 for "skipped"
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    skip_exit_code: Option<u8>,
    #[command(flatten)]
    pub pipes: PipesArgs,
}

/// The option of a command that Dagster starts.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct PipesArgs {
    /// Report to Dagster over Dagster Pipes, as DAGSTER_PIPES_CONTEXT and DAGSTER_PIPES_MESSAGES say: log messages, the
    /// materialization of the asset, and asset checks
    #[arg(long)]
    pub pipes: bool,
}

impl EngineArgs {
    /// The exit status of a run.
    pub fn exit_status(&self, summary: &Summary) -> u8 {
        let skipped = self.skip_exit_code.filter(|_| summary.had_nothing_to_do());
        skipped.unwrap_or(summary.status() as u8)
    }
}
