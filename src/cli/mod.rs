//! The command line: arguments in, printing out. One file a command; what they do is done elsewhere.
//!
//! Data goes to stdout; logs and progress bars go to stderr.

mod backfill;
mod check;
mod completions;
mod config;
mod demo;
mod fit;
mod health;
mod meta;
mod notify;
mod output;
mod rebuild;
mod run;
mod sample;
mod schema;
mod serve;
mod simulate;
mod status;
mod verify;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Source};
use crate::dates;
use crate::sanitize::escaped_lines;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Copies what happened in teleboss / livedigital rooms into a data lake: Parquet tables and MP4 files in S3 or in a
/// folder.
#[derive(Debug, Parser)]
#[command(name = "telelake", version, about, after_help = EXIT_STATUSES, max_term_width = 100)]
pub struct Cli {
    /// The configuration file [default: ./telelake.toml, else /etc/telelake/telelake.toml, where there is one]
    #[arg(
        long,
        global = true,
        env = "TELELAKE_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// How logs are written to stderr, and a run's summary to stdout
    #[arg(
        long,
        global = true,
        env = "TELELAKE_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        hide_env_values = true
    )]
    log_format: LogFormat,
    /// More logs: -v debug, -vv trace
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Only warnings and errors, no progress
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUSES: &str = "\
Exit status:
  0  all done
  1  an unexpected failure
  2  wrong usage or configuration; nothing was requested
  3  done in part, or stopped: what failed is named and will be tried again
  4  nothing could be done: the token is refused, or the API or the store is out of reach
  5  verify found damage

Every key of the configuration can be set by the environment: TELELAKE_<SECTION>__<KEY>.
A first SIGTERM or Ctrl-C ends the work cleanly within 10 s, a second one at once.";

/// How logs and summaries look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(run::Args),
    Backfill(backfill::Args),
    Serve(serve::Args),
    Rebuild(rebuild::Args),
    Status(status::Args),
    Verify(verify::Args),
    Check(check::Args),
    Health(health::Args),
    Schema(schema::Args),
    Meta(meta::Args),
    Webhook(webhook::Args),
    Notify(notify::Args),
    Simulate(simulate::Args),
    Config(config::Args),
    Completions(completions::Args),
}

/// What every command gets.
pub(crate) struct CommandContext {
    source: Source,
    /// Where progress and logs go.
    pub terminal: Arc<output::Terminal>,
    /// Cancelled at the first signal.
    pub cancel: CancellationToken,
    /// How a summary is printed.
    pub format: LogFormat,
}

impl CommandContext {
    /// Reads the configuration.
    pub fn config(&self) -> Result<Config> {
        Config::load(&self.source)
    }
}

/// Runs the program: parses the process's arguments, sets up logs and signals, does the command.
pub fn main() -> ExitStatus {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no mistake.
            let status = if error.use_stderr() {
                ExitStatus::Usage
            } else {
                ExitStatus::Done
            };
            let _ = error.print();
            return status;
        }
    };
    let terminal = output::Terminal::install(cli.log_format, cli.verbose, cli.quiet);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("telelake: no runtime: {error}");
            return ExitStatus::Unexpected;
        }
    };
    let context = CommandContext {
        source: Source::of_process(cli.config),
        terminal,
        cancel: CancellationToken::new(),
        format: cli.log_format,
    };
    let outcome = runtime.block_on(async {
        let watch = tokio::spawn(watch_signals(context.cancel.clone()));
        let outcome = Box::pin(dispatch(&context, cli.command)).await;
        watch.abort();
        outcome
    });
    // A blocked thread (a slow disk) must not hold the exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    outcome.unwrap_or_else(|error| {
        eprintln!("telelake: {error}");
        error.exit_status()
    })
}

async fn dispatch(context: &CommandContext, command: Command) -> Result<ExitStatus> {
    match command {
        Command::Demo(args) => demo::run(context, args).await,
        Command::Run(args) => run::run(context, args).await,
        Command::Backfill(args) => backfill::run(context, args).await,
        Command::Serve(args) => serve::run(context, args).await,
        Command::Rebuild(args) => rebuild::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Verify(args) => verify::run(context, args).await,
        Command::Meta(args) => meta::run(context, args).await,
        Command::Webhook(args) => webhook::run(context, args).await,
        Command::Notify(args) => notify::run(context, &args).await,
        Command::Check(_) => check::run(context).await,
        Command::Health(_) => health::run(context).await,
        Command::Schema(args) => schema::run(context, &args),
        Command::Simulate(args) => simulate::run(context, args).await,
        Command::Config(args) => config::run(context, &args),
        Command::Completions(args) => Ok(completions::run(&args)),
    }
}

/// How long a stopped program may take to end cleanly, in seconds: within the 10 s that it promises.
const GRACE: std::time::Duration = std::time::Duration::from_secs(9);

/// The first signal stops the work; a second one, or the end of the grace, stops the process.
async fn watch_signals(cancel: CancellationToken) {
    if !signal().await {
        return;
    }
    tracing::warn!("stopping: finishing what can be finished; a second signal stops at once");
    cancel.cancel();
    tokio::select! {
        _ = signal() => {}
        () = tokio::time::sleep(GRACE) => {}
    }
    std::process::exit(ExitStatus::Partial as i32);
}

/// Waits for SIGINT or SIGTERM; false when there is no way to hear of them.
async fn signal() -> bool {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return false;
        };
        tokio::select! { _ = int.recv() => true, _ = term.recv() => true }
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await.is_ok()
    }
}

/// Writes to stdout, with what steers a terminal escaped; a reader that went away (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(escaped_lines(text).as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Internal, "stdout", error.to_string()))
        }
        _ => Ok(()),
    }
}
