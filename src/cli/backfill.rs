//! `backfill`: exports a range of dates on demand.

use std::io::IsTerminal;

use chrono::NaiveDate;
use serde::Serialize;

use super::engine::EngineArgs;
use super::{CommandContext, LogFormat, dates, output, run, shard};
use crate::config::Config;
use crate::ids::SpaceId;
use crate::pipeline::{Command, Exporter, Job, Only, Outline, Plan};
use crate::sanitize::escaped;
use crate::store;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Export a range of dates: list it again, and land what is new or changed
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD in `timezone` [default with --pipes: that of the partition]
    #[arg(long, value_name = "DATE", value_parser = dates::parse, required_unless_present = "pipes")]
    from: Option<NaiveDate>,
    /// The last date, inclusive [default with --pipes: that of the partition]
    #[arg(long, value_name = "DATE", value_parser = dates::parse, required_unless_present = "pipes")]
    to: Option<NaiveDate>,
    /// Only this space; can be repeated [default with --pipes: that of the partition, if it has one]
    #[arg(long, value_name = "ID")]
    space: Vec<String>,
    /// Only this room; can be repeated
    #[arg(long, value_name = "ID", conflicts_with = "shard")]
    room: Vec<String>,
    /// Only this half of the work
    #[arg(long, value_name = "HALF")]
    only: Option<Only>,
    /// Land everything again, also what is landed already
    #[arg(long)]
    force: bool,
    /// Print the plan and write nothing: days, calls, requests, bytes of recordings, table files to replace
    #[arg(long, conflicts_with_all = ["pipes", "skip_exit_code"])]
    dry_run: bool,
    /// With --dry-run: print the days that have something to fetch or to build as a JSON list, for engines that start a task
    /// for each
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Do not ask before a backfill of more than 400 days
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    shard: shard::ShardArgs,
    #[command(flatten)]
    plan: shard::PlanArgs,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

/// A day that has something to do, for machines.
#[derive(Debug, Serialize)]
struct DueDay<'p> {
    date: NaiveDate,
    space_id: &'p SpaceId,
    /// `DATE|SPACE`, as Dagster names the partition of a date and a space.
    key: String,
    /// The calls of the day, those that the lake has included.
    calls: u64,
    /// The requests for reports and recordings.
    requests: u64,
    /// The bytes of these recordings, as the API says.
    bytes: u64,
}

/// Returns the exit status.
pub(super) async fn run(context: &CommandContext, args: Args) -> Result<u8> {
    let config = context.config()?;
    let range = context.dates(args.from, args.to)?;
    let (from, to) = range.ok_or_else(|| context.no_dates())?;
    dates::check_job(from, to, dates::today(config.timezone))?;
    let job = Job {
        spaces: context.spaces(args.space)?,
        rooms: args.room.into_iter().map(Into::into).collect(),
        only: args.only,
        force: args.force,
        shard: args.plan.add_to(args.shard.read(context)?)?,
        ..Job::over(Command::Backfill, from, to)
    };
    if !args.dry_run {
        confirm(&config, &job, args.yes).await?;
        return run::export_for_engine(context, config, &job, args.engine).await;
    }
    show_plan(context, config, &job, args.json).await
}

/// Plans the job and prints the plan. Returns the exit status.
async fn show_plan(context: &CommandContext, config: Config, job: &Job, as_list: bool) -> Result<u8> {
    config.require_token()?;
    let store = store::open(&config.store).await?;
    let progress = output::ProgressDisplay::start(&context.terminal);
    let exporter = Exporter::new(context.setting(run::divided(config, job), store, &progress))?;
    let plan = Box::pin(exporter.plan(job)).await;
    progress.end();
    let plan = plan?;
    match context.format {
        _ if as_list => output::print_json(&due_days(&plan))?,
        LogFormat::Text => super::print(&for_people(&plan))?,
        LogFormat::Json => output::print_json(&plan)?,
    }
    let status = match plan.failed.is_empty() {
        true => ExitStatus::Done,
        false => ExitStatus::Partial,
    };
    Ok(status as u8)
}

/// The days of a plan that have something to fetch or to build.
fn due_days(plan: &Plan) -> Vec<DueDay<'_>> {
    let due = plan.days.iter().filter(|day| day.has_work());
    due.map(|day| DueDay {
        date: day.date,
        space_id: &day.space_id,
        key: format!("{}|{}", day.date, day.space_id),
        calls: day.calls,
        requests: day.requests(),
        bytes: day.recording_bytes,
    })
    .collect()
}

/// Shows the outline of a long backfill and asks for confirmation.
async fn confirm(config: &Config, job: &Job, yes: bool) -> Result<()> {
    let days = dates::count(job.from, job.to);
    if days <= dates::CONFIRM_ABOVE {
        return Ok(());
    }
    config.require_token()?;
    let store = store::open(&config.store).await?;
    let outline = Outline::of(config, &*store, job).await?;
    eprintln!("{}", outline.for_people());
    let wrong = |message: String| Error::new(ErrorKind::Usage, "backfill", message);
    if yes {
        return Ok(());
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        let message = format!(
            "{days} days are more than {} and were not confirmed",
            dates::CONFIRM_ABOVE
        );
        return Err(wrong(message).hint("add --yes to confirm; --dry-run shows the plan"));
    }
    eprint!("go on? [y/N] ");
    let mut answer = String::new();
    let read =
        tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut answer).map(|_| answer)).await;
    match read {
        Ok(Ok(answer)) if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") => Ok(()),
        _ => Err(wrong("not confirmed: nothing was done".into())),
    }
}

fn for_people(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |parts: String| {
        text.push_str(&parts);
        text.push('\n');
    };
    for day in &plan.days {
        let size = bytesize::ByteSize(day.recording_bytes).display().iec();
        line(format!(
            "{}  {}  {} calls ({} new), {} reports, {} recordings ({size})",
            day.date,
            escaped(day.space_name.as_deref().unwrap_or(&day.space_id)),
            day.calls,
            day.new_calls,
            day.reports,
            day.recordings
        ));
        for file in &day.files {
            line(format!("    writes {file}"));
        }
    }
    for problem in plan.failed.iter().chain(&plan.warnings) {
        line(format!("! {}", problem.one_line()));
    }
    line(format!(
        "plan: {} days, {} calls, {} requests, {} of recordings, {} table files; nothing was written",
        plan.days.len(),
        plan.calls,
        plan.requests,
        bytesize::ByteSize(plan.recording_bytes).display().iec(),
        plan.files
    ));
    text
}
