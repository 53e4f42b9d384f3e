//! `report`: writes attendance as one HTML page. Needs no token.

use std::path::{Path, PathBuf};

use chrono::{NaiveDate, Utc};
use clap::ValueEnum;

use super::{CommandContext, dates, output};
use crate::attendance::page::{PageLanguage, PageOptions, page};
use crate::attendance::{AttendanceSummary, summarize};
use crate::{Error, ErrorKind, ExitStatus, Result, pipeline, store};

/// Write attendance as one HTML page: course, group, teacher, student and each level of the school's own hierarchy
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first date, as YYYY-MM-DD in `timezone`
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: NaiveDate,
    /// The last date, inclusive
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: NaiveDate,
    /// The file; `-` is stdout
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Show students by their names instead of their ids in the LMS
    #[arg(long)]
    names: bool,
    /// The language
    #[arg(long, value_name = "LANG", default_value = "en")]
    lang: LangArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LangArg {
    /// Russian
    Ru,
    /// English
    En,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    dates::check_reading(Some(args.from), Some(args.to))?;
    let store = store::open(&config.store).await?;
    pipeline::warn_without_lake(&*store).await?;
    let progress = output::ProgressDisplay::start(&context.terminal);
    let files = progress.counters();
    let summary = summarize(&*store, config.timezone, args.from, args.to, |done, more| {
        files.days.add_goal(more);
        files.days.advance(done);
    })
    .await;
    progress.end();
    let summary = summary?;
    let options = PageOptions {
        language: match args.lang {
            LangArg::Ru => PageLanguage::Ru,
            LangArg::En => PageLanguage::En,
        },
        names: args.names,
        lake: config.store.url,
        now: Utc::now(),
        zone: config.timezone,
    };
    let html = page(&summary, &options);
    if args.out == Path::new("-") {
        super::print(&html)?;
        return Ok(ExitStatus::Done);
    }
    write(&args.out, &html)?;
    super::print(&format!("{}: {}\n", args.out.display(), in_short(&summary)))?;
    Ok(ExitStatus::Done)
}

/// Writes the page as a whole: a reader sees the old file or the new one.
pub(super) fn write(file: &Path, html: &str) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Usage, file.display().to_string(), error.to_string())
            .hint("name a file in a folder that exists and can be written: --out FILE")
    };
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let part = PathBuf::from(name);
    let written = std::fs::write(&part, html).and_then(|()| std::fs::rename(&part, file));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&part);
        failed(error)
    })
}

fn in_short(summary: &AttendanceSummary) -> String {
    let total = summary.total;
    match total.percent() {
        Some(percent) => format!(
            "{percent} % of {} expected visits in {} lessons",
            total.known(),
            summary.lessons
        ),
        None => "no lessons with lesson data in this period".into(),
    }
}
