//! `backfill`: exports a range of dates on demand.

use std::io::IsTerminal;

use chrono::NaiveDate;

use super::{CommandContext, LogFormat, dates, output, run, shard};
use crate::config::Config;
use crate::pipeline::{Command, Exporter, Job, Only, Outline, Plan};
use crate::sanitize::escaped;
use crate::store;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Export a range of dates: list it again, and land what is new or changed
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD in `timezone`
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: NaiveDate,
    /// The last date, inclusive
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: NaiveDate,
    /// Only this space; can be repeated
    #[arg(long, value_name = "ID")]
    space: Vec<String>,
    /// Only this room; can be repeated
    #[arg(long, value_name = "ID")]
    room: Vec<String>,
    /// Only this half of the work
    #[arg(long, value_name = "HALF")]
    only: Option<Only>,
    /// Land everything again, also what is landed already
    #[arg(long)]
    force: bool,
    /// Print the plan and write nothing: days, calls, requests, bytes of recordings, table files to replace
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before a backfill of more than 400 days
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    shard: shard::ShardArgs,
    #[command(flatten)]
    plan: shard::PlanArgs,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    dates::check_job(args.from, args.to, dates::today(config.timezone))?;
    let job = Job {
        spaces: args.space.into_iter().map(Into::into).collect(),
        rooms: args.room.into_iter().map(Into::into).collect(),
        only: args.only,
        force: args.force,
        shard: args.plan.add_to(args.shard.read(context)?)?,
        ..Job::over(Command::Backfill, args.from, args.to)
    };
    if !args.dry_run {
        confirm(&config, &job, args.yes).await?;
        let summary = run::export(context, config, &job).await?;
        return run::report(context, &summary);
    }
    config.require_token()?;
    let store = store::open(&config.store).await?;
    let progress = output::ProgressDisplay::start(&context.terminal);
    let exporter = Exporter::new(context.setting(run::divided(config, &job), store, &progress))?;
    let plan = Box::pin(exporter.plan(&job)).await;
    progress.end();
    let plan = plan?;
    match context.format {
        LogFormat::Text => super::print(&for_people(&plan))?,
        LogFormat::Json => output::print_json(&plan)?,
    }
    Ok(if plan.failed.is_empty() {
        ExitStatus::Done
    } else {
        ExitStatus::Partial
    })
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
