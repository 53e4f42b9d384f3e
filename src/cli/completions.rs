//! `completions`: prints completions for a shell.

use clap::CommandFactory;

use crate::ExitStatus;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> ExitStatus {
    clap_complete::generate(
        args.shell,
        &mut super::Cli::command(),
        "telelake",
        &mut std::io::stdout(),
    );
    ExitStatus::Done
}
