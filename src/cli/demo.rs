//! `demo`: an export of three days from the built-in simulator, without any setup.

use std::path::{Path, PathBuf};

use chrono::{Days, NaiveDate, Utc};

use super::{CommandContext, output, run};
use crate::config::{self, Config, Secret};
use crate::lake::key;
use crate::pipeline::{Command, Job};
use crate::simulator::{self, Options, Simulator};
use crate::store::{self, Store};
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Try it without any setup: export three days from a built-in simulator of the API, and show the result
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the lake
    #[arg(long, value_name = "DIR", default_value = "./demo-lake")]
    out: PathBuf,
}

/// The number of days to export.
const DAYS: u32 = 3;
/// The number of rows to show.
const ROWS: usize = 8;

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let to = Utc::now().date_naive() - Days::new(1);
    let from = to - Days::new(u64::from(DAYS - 1));
    let simulator = Simulator::start(Options {
        dates: simulator::days(from, DAYS),
        ..Options::default()
    })
    .await?;
    let folder = std::path::absolute(&args.out)
        .map_err(|e| Error::new(ErrorKind::Usage, args.out.display().to_string(), e.to_string()))?;
    let config = Config {
        api: config::Api {
            base_url: simulator.base_url(),
            token: Secret::new(simulator.token()),
            ..config::Api::default()
        },
        store: config::Store {
            url: file_url(&folder)?,
            ..config::Store::default()
        },
        ..Config::default()
    };
    let store = store::open(&config.store).await?;
    let job = Job::over(Command::Demo, from, to);
    let summary = run::export(context, config, &job).await?;
    simulator.stop().await;
    let status = run::report(context, &summary)?;
    show(&*store, &folder, from, to).await?;
    Ok(status)
}

fn file_url(folder: &Path) -> Result<String> {
    reqwest::Url::from_file_path(folder)
        .map(Into::into)
        .map_err(|()| {
            Error::new(
                ErrorKind::Usage,
                folder.display().to_string(),
                "cannot be written as a URL",
            )
        })
}

/// Prints the contents of the lake, the calls read back from Parquet, and a query to try.
async fn show(store: &dyn Store, folder: &Path, from: NaiveDate, to: NaiveDate) -> Result<()> {
    let entries = store.list("").await?;
    let mut rows = Vec::new();
    for top in [
        "calls",
        "participants",
        "messages",
        "reactions",
        "poll_votes",
        "coverage",
        "rooms",
        "spaces",
        "recordings",
        "media",
        "raw",
    ] {
        let prefix = format!("{top}/");
        let of_top: Vec<_> = entries
            .iter()
            .filter(|entry| entry.key.starts_with(&prefix))
            .collect();
        let bytes = of_top.iter().map(|entry| entry.bytes).sum();
        rows.push(vec![
            format!("  {prefix}"),
            format!("{} files", of_top.len()),
            bytesize::ByteSize(bytes).display().iec().to_string(),
        ]);
    }
    let mut text = format!("\n{}\n{}", folder.display(), output::columns(&rows));
    text.push_str(&format!("\ncalls, as read back from Parquet, {from} to {to}:\n"));
    text.push_str(&output::columns(
        &calls(store, entries.iter().map(|entry| entry.key.as_str())).await?,
    ));
    text.push_str(&format!(
        "\nQuery it, for example with DuckDB:\n  SELECT date, room_name, count(*) AS people, round(avg(duration_s) / 60) AS minutes\n  \
         FROM read_parquet('{}/participants/**/*.parquet', hive_partitioning = true)\n  GROUP BY ALL ORDER BY date, people DESC;\n",
        folder.display()
    ));
    super::print(&text)
}

/// The first calls of the lake, under a header.
async fn calls(store: &dyn Store, keys: impl Iterator<Item = &str>) -> Result<Vec<Vec<String>>> {
    const COLUMNS: [&str; 6] = [
        "started_at",
        "room_name",
        "room_type",
        "duration_s",
        "participants_count",
        "recordings_count",
    ];
    let mut rows = vec![
        std::iter::once("date")
            .chain(COLUMNS)
            .map(|name| format!("  {name}"))
            .collect::<Vec<_>>(),
    ];
    for key in keys.filter(|key| key.starts_with("calls/")) {
        if rows.len() > ROWS {
            break;
        }
        let date = key::date_in(key).map(|date| date.to_string()).unwrap_or_default();
        let file = store.get(key).await?;
        for row in crate::tables::read_text(file.bytes, &COLUMNS)?
            .into_iter()
            .take(ROWS.div_ceil(3))
        {
            rows.push(
                std::iter::once(&date)
                    .chain(&row)
                    .map(|cell| format!("  {cell}"))
                    .collect(),
            );
        }
    }
    rows.truncate(ROWS + 1);
    Ok(rows)
}
