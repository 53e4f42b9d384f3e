//! The command line: arguments in, printing out. Each command has a file; the work itself is in other folders.
//!
//! Data goes to stdout; logs and progress bars go to stderr.

mod act;
mod backfill;
mod call_date;
mod check;
mod check_report;
mod completions;
mod config;
mod delta;
mod demo;
mod engine;
mod fit;
mod forget;
mod health;
mod meta;
mod notify;
mod output;
mod pipes;
mod rebuild;
mod record;
mod report;
mod result_line;
mod retain;
mod run;
mod sample;
mod schema;
mod serve;
mod shard;
mod simulate;
mod sql;
mod status;
mod verify;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;

use chrono::NaiveDate;
use clap::{Parser, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Source};
use crate::dates;
use crate::ids::SpaceId;
use crate::pipeline::Setting;
use crate::sanitize::escaped_lines;
use crate::store::Store;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Copies what happened in teleboss / livedigital rooms into a data lake: Parquet tables and MP4 files in S3 or in a
/// folder.
#[derive(Debug, Parser)]
#[command(name = "telelake", version, about, after_help = EXIT_STATUSES, max_term_width = 100)]
pub struct Cli {
    /// The configuration file [default: ./telelake.toml, else /etc/telelake/telelake.toml, if it exists]
    #[arg(
        long,
        global = true,
        env = "TELELAKE_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// The format of logs on stderr and of a run's summary on stdout
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
    command: CliCommand,
}

const EXIT_STATUSES: &str = "\
Exit status:
  0  all done
  1  an unexpected failure
  2  wrong usage or configuration; nothing was requested
  3  done in part, or stopped: the failures are named, and the next run tries again
  4  nothing could be done: the token is refused, or the API or the store is unreachable
  5  verify found damage
  N  run or backfill --skip-exit-code N had nothing to do

The environment can set every key of the configuration: TELELAKE_<SECTION>__<KEY>.
The first SIGTERM or Ctrl-C ends the work cleanly within 10 s, the second one ends it at once.";

/// The format of logs and summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people
    Text,
    /// A JSON object on each line, for machines
    Json,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    Demo(demo::Args),
    Run(run::Args),
    Backfill(backfill::Args),
    Serve(serve::Args),
    Rebuild(rebuild::Args),
    Retain(retain::Args),
    Forget(forget::Args),
    Delta(delta::Args),
    Status(status::Args),
    Verify(verify::Args),
    Check(check::Args),
    Health(health::Args),
    Schema(schema::Args),
    Sql(sql::Args),
    Report(report::Args),
    Meta(meta::Args),
    Webhook(webhook::Args),
    Notify(notify::Args),
    Simulate(simulate::Args),
    Config(config::Args),
    Completions(completions::Args),
}

impl CliCommand {
    /// True if the command was given `--pipes`.
    fn speaks_pipes(&self) -> bool {
        match self {
            Self::Run(args) => args.engine.pipes.pipes,
            Self::Backfill(args) => args.engine.pipes.pipes,
            Self::Rebuild(args) => args.pipes.pipes,
            Self::Verify(args) => args.pipes.pipes,
            _ => false,
        }
    }
}

/// The inputs that all commands share.
pub(crate) struct CommandContext {
    source: Source,
    /// The target of progress and logs.
    pub terminal: Arc<output::Terminal>,
    /// Cancelled at the first signal.
    pub cancel: CancellationToken,
    /// The format of a printed summary.
    pub format: LogFormat,
    /// The connection to Dagster of a command with `--pipes`.
    pipes: Option<pipes::Session>,
}

impl CommandContext {
    /// Reads the configuration.
    pub fn config(&self) -> Result<Config> {
        Config::load(&self.source)
    }

    /// A variable of the environment.
    pub fn variable(&self, name: &str) -> Option<String> {
        let variables = self.source.env.iter();
        variables
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value.clone())
            .next_back()
    }

    /// The dates of a command: each as it was given, else that of the partition that Dagster asks for. None if neither names
    /// both.
    pub fn dates(
        &self,
        from: Option<NaiveDate>,
        to: Option<NaiveDate>,
    ) -> Result<Option<(NaiveDate, NaiveDate)>> {
        let partition = self.partition()?;
        let from = from.or(partition.as_ref().map(|partition| partition.from));
        let to = to.or(partition.as_ref().map(|partition| partition.to));
        Ok(from.zip(to))
    }

    /// The spaces of a command: as they were given, else that of the partition that Dagster asks for. Empty: all.
    pub fn spaces(&self, given: Vec<String>) -> Result<Vec<SpaceId>> {
        if !given.is_empty() {
            return Ok(given.into_iter().map(Into::into).collect());
        }
        let space = self.partition()?.and_then(|partition| partition.space);
        Ok(space.into_iter().collect())
    }

    fn partition(&self) -> Result<Option<pipes::Partition>> {
        match &self.pipes {
            Some(pipes) => pipes.partition(),
            None => Ok(None),
        }
    }

    /// The error of a command without dates.
    pub fn no_dates(&self) -> Error {
        let message = "the dates are missing: the step that Dagster runs has no partition";
        Error::new(ErrorKind::Usage, "--pipes", message)
            .hint("give --from and --to, or give the asset partitions by date, or by date and space")
    }

    /// The setting of the command's work on a lake.
    pub fn setting(
        &self,
        config: Config,
        store: Arc<dyn Store>,
        progress: &output::ProgressDisplay,
    ) -> Setting {
        Setting {
            progress: progress.counters(),
            cancel: self.cancel.clone(),
            ..Setting::new(config, store, chrono::Utc::now())
        }
    }
}

/// Runs the program: parses the arguments, sets up logs and signals, and runs the command. Returns the exit status: a value of
/// [`ExitStatus`], or what `--skip-exit-code` names.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come here too and are no mistake.
            let status = if error.use_stderr() {
                ExitStatus::Usage
            } else {
                ExitStatus::Done
            };
            let _ = error.print();
            return status as u8;
        }
    };
    let terminal = output::Terminal::install(cli.log_format, cli.verbose, cli.quiet);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("telelake: no runtime: {error}");
            return ExitStatus::Unexpected as u8;
        }
    };
    let fail = |error: &Error| {
        eprintln!("telelake: {error}");
        error.exit_status() as u8
    };
    let pipes = match cli.command.speaks_pipes().then(pipes::Session::open).transpose() {
        Ok(pipes) => pipes,
        Err(error) => return fail(&error),
    };
    let context = CommandContext {
        source: Source::of_process(cli.config),
        terminal,
        cancel: CancellationToken::new(),
        format: cli.log_format,
        pipes,
    };
    let outcome = runtime.block_on(async {
        let watch = tokio::spawn(watch_signals(context.cancel.clone()));
        let outcome = Box::pin(dispatch(&context, cli.command)).await;
        watch.abort();
        outcome
    });
    if let Some(pipes) = context.pipes {
        pipes.close(&outcome);
    }
    // A thread that is blocked, for example by a slow disk, must not delay the exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    outcome.unwrap_or_else(|error| fail(&error))
}

/// Runs a command, and returns the exit status.
async fn dispatch(context: &CommandContext, command: CliCommand) -> Result<u8> {
    let status = match command {
        CliCommand::Run(args) => return Box::pin(run::run(context, args)).await,
        CliCommand::Backfill(args) => return Box::pin(backfill::run(context, args)).await,
        CliCommand::Rebuild(args) => return rebuild::run(context, args).await,
        CliCommand::Demo(args) => Box::pin(demo::run(context, args)).await,
        CliCommand::Serve(args) => serve::run(context, args).await,
        CliCommand::Retain(args) => retain::run(context, &args).await,
        CliCommand::Forget(args) => forget::run(context, args).await,
        CliCommand::Delta(args) => delta::run(context, &args).await,
        CliCommand::Status(args) => status::run(context, args).await,
        CliCommand::Verify(args) => verify::run(context, args).await,
        CliCommand::Meta(args) => meta::run(context, args).await,
        CliCommand::Webhook(args) => webhook::run(context, args).await,
        CliCommand::Notify(args) => notify::run(context, &args).await,
        CliCommand::Check(args) => check::run(context, args).await,
        CliCommand::Health(_) => health::run(context).await,
        CliCommand::Schema(args) => schema::run(context, &args),
        CliCommand::Report(args) => report::run(context, args).await,
        CliCommand::Sql(args) => sql::run(context, args).await,
        CliCommand::Simulate(args) => simulate::run(context, args).await,
        CliCommand::Config(args) => config::run(context, &args),
        CliCommand::Completions(args) => Ok(completions::run(&args)),
    };
    status.map(|status| status as u8)
}

/// The time in which a stopped program must end, a little less than the promised 10 s.
const GRACE: std::time::Duration = std::time::Duration::from_secs(9);

/// Cancels the work at the first signal; ends the process at the second one, or after [`GRACE`].
async fn watch_signals(cancel: CancellationToken) {
    if !signal().await {
        return;
    }
    tracing::warn!("stopping: work in flight is finished within 10 s; a second signal stops at once");
    cancel.cancel();
    tokio::select! {
        _ = signal() => {}
        () = tokio::time::sleep(GRACE) => {}
    }
    std::process::exit(ExitStatus::Partial as i32);
}

/// Waits for SIGINT or SIGTERM; returns false if the system cannot report them.
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

/// Writes to stdout and escapes control sequences. A reader that has gone (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(escaped_lines(text).as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Internal, "stdout", error.to_string()))
        }
        _ => Ok(()),
    }
}
