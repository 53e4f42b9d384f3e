//! `demo`: an export of three days from the built-in simulator, without any setup.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use chrono::{Days, NaiveDate, TimeDelta, Utc};
use clap::ValueEnum;

use super::{CommandContext, output, report, run};
use crate::attendance::page::{PageLanguage, PageOptions, page};
use crate::attendance::{AttendanceSummary, Cut, summarize};
use crate::config::{self, Config, Privacy, Profile, Secret};
use crate::pipeline::{self, Command, Job, MetaFile, import_meta};
use crate::simulator::{self, Options, School, Simulator};
use crate::store::{self, Store};
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Try it without any setup: export three days from a built-in simulator of the API, and show the result
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the lake
    #[arg(long, value_name = "DIR", default_value = "./demo-lake")]
    out: PathBuf,
    /// Treat personal data as this profile of [privacy] does; the key of the pseudonyms is made beside the folder
    #[arg(long, value_name = "PROFILE", num_args = 0..=1, default_missing_value = "pseudonymous")]
    privacy: Option<ProfileArg>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProfileArg {
    /// Everything is kept
    None,
    /// Ids of people become pseudonyms; names, e-mails and telephones become null
    Pseudonymous,
    /// The same, and texts, attributes and `extra` become null
    Minimal,
}

impl From<ProfileArg> for Profile {
    fn from(profile: ProfileArg) -> Self {
        match profile {
            ProfileArg::None => Self::None,
            ProfileArg::Pseudonymous => Self::Pseudonymous,
            ProfileArg::Minimal => Self::Minimal,
        }
    }
}

/// The number of days to export.
const DAYS: u32 = 3;

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let folder = std::path::absolute(&args.out)
        .map_err(|e| Error::new(ErrorKind::Usage, args.out.display().to_string(), e.to_string()))?;
    let privacy = privacy(args.privacy.map_or(Profile::None, Into::into), &folder)?;
    let to = Utc::now().date_naive() - Days::new(1);
    let from = to - Days::new(u64::from(DAYS - 1));
    let simulator = Simulator::start(Options {
        dates: simulator::days(from, DAYS),
        participants: 8..=12,
        ..Options::default()
    })
    .await?;
    simulator.edit(|school| {
        school.plan_lessons_by_calls();
        break_a_call(school);
    });
    let lessons = lesson_data(from, &simulator.school());
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
        privacy,
        ..Config::default()
    };
    let mapping = pipeline::mapping_to_build(&config)?;
    let key_file = config.privacy.key_file.clone();
    let store = store::open(&config.store).await?;
    let (zone, url) = (config.timezone, config.store.url.clone());
    import_meta(&*store, zone, Utc::now(), mapping.privacy(), vec![lessons]).await?;
    let job = Job::over(Command::Demo, from, to);
    let (summary, _) = run::export(context, config, &job).await?;
    simulator.stop().await;
    run::show(context, &summary, summary.status() as u8)?;
    let status = summary.status();
    let attendance = summarize(&*store, zone, from, to, |_, _| {}).await?;
    let options = PageOptions {
        language: PageLanguage::En,
        names: false,
        lake: url,
        now: Utc::now(),
        zone,
    };
    let file = folder.join("report.html");
    report::write(&file, &page(&attendance, &options))?;
    let mut text = contents(&*store, &folder).await?;
    text.push_str(&results(&attendance));
    if !key_file.is_empty() {
        let _ = write!(text, "\nThe key of the pseudonyms: {key_file}\n");
    }
    text.push_str(&next_steps(&folder, &file));
    super::print(&text)?;
    Ok(status)
}

/// The length of a new key of pseudonyms, in bytes.
const KEY_BYTES: usize = 32;

/// The treatment of personal data by a profile. The key lies beside the folder of the lake and is made if it is missing.
fn privacy(profile: Profile, folder: &Path) -> Result<Privacy> {
    let mut privacy = Privacy::default();
    privacy.profile = profile;
    if profile == Profile::None {
        return Ok(privacy);
    }
    let mut file = folder.as_os_str().to_owned();
    file.push(".privacy-key");
    let file = PathBuf::from(file);
    let failed = |why: String| Error::new(ErrorKind::Usage, file.display().to_string(), why);
    if !file.try_exists().map_err(|e| failed(e.to_string()))? {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|e| failed(e.to_string()))?;
        let parent = file.parent().unwrap_or(folder);
        let made = std::fs::create_dir_all(parent).and_then(|()| write_key(&file, &hex::encode(key)));
        made.map_err(|e| failed(e.to_string()))?;
    }
    privacy.key_file = file.display().to_string();
    Ok(privacy)
}

/// Writes a key that only this user may read.
fn write_key(file: &Path, key: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)?.write_all(format!("{key}\n").as_bytes())
}

/// Breaks the connection of the first call that is long enough, so that its lesson runs over two calls.
fn break_a_call(school: &mut School) {
    let long = |call: &&simulator::Call| {
        let length = call.finished_at.unwrap_or(call.started_at) - call.started_at;
        !call.is_breakout && length > TimeDelta::minutes(30)
    };
    if let Some(id) = school.calls.iter().find(long).map(|call| call.id.clone()) {
        school.split_call(&id, TimeDelta::minutes(3));
    }
}

/// The lesson data of the school's LMS, as a file that `meta import` would read.
fn lesson_data(from: NaiveDate, school: &School) -> MetaFile {
    let lines = school.lesson_data().into_iter();
    MetaFile {
        name: format!("lessons-{from}.jsonl"),
        bytes: lines
            .map(|payload| format!("{payload}\n"))
            .collect::<String>()
            .into(),
    }
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

/// The contents of the lake: files and bytes of each folder.
async fn contents(store: &dyn Store, folder: &Path) -> Result<String> {
    let mut tops: Vec<(String, u64, u64)> = Vec::new();
    for entry in store.list("").await? {
        let Some((top, _)) = entry.key.split_once('/') else {
            continue;
        };
        match tops.last_mut() {
            Some((last, files, bytes)) if last == top => {
                *files += 1;
                *bytes += entry.bytes;
            }
            _ => tops.push((top.to_owned(), 1, entry.bytes)),
        }
    }
    let rows: Vec<Vec<String>> = tops
        .into_iter()
        .map(|(top, files, bytes)| {
            vec![
                format!("  {top}/"),
                format!("{files} files"),
                bytesize::ByteSize(bytes).display().iec().to_string(),
            ]
        })
        .collect();
    Ok(format!("\n{}\n{}", folder.display(), output::columns(&rows)))
}

/// Two query results, as the marts of `telelake sql` give them.
fn results(attendance: &AttendanceSummary) -> String {
    let mut text = String::new();
    let branches = attendance.levels.iter().find(|(level, _)| level == "branch");
    let cuts = [
        ("student_group", Some(&attendance.groups)),
        ("branch", branches.map(|(_, cut)| cut)),
    ];
    for (level, cut) in cuts {
        let _ = write!(
            text,
            "\nSELECT entity_name, sum(lessons) AS lessons, sum(expected) AS expected, sum(attended) AS attended, sum(late) AS late,\n       \
             round(100 * sum(attended) / sum(expected - unknown)) AS percent\n\
             FROM attendance_by_level WHERE level = '{level}' GROUP BY entity_id, entity_name ORDER BY entity_name;\n{}",
            output::columns(&rows_of(cut))
        );
    }
    text
}

/// The rows of a cut under a header, in the order of their names.
fn rows_of(cut: Option<&Cut>) -> Vec<Vec<String>> {
    let mut rows: Vec<_> = cut.iter().flat_map(|cut| &cut.rows).collect();
    rows.sort_by_key(|(key, row)| (row.name.clone(), (*key).clone()));
    let head = [
        "  entity_name",
        "lessons",
        "expected",
        "attended",
        "late",
        "percent",
    ];
    let mut shown = vec![head.map(str::to_owned).to_vec()];
    shown.extend(rows.into_iter().map(|(key, row)| {
        let percent = row
            .total
            .percent()
            .map_or_else(|| "–".into(), |percent| percent.to_string());
        let counts = [
            row.lessons,
            row.total.expected,
            row.total.attended,
            row.total.late,
        ];
        let cells = counts.iter().map(ToString::to_string);
        std::iter::once(format!("  {}", row.title(key)))
            .chain(cells)
            .chain([percent])
            .collect()
    }));
    shown
}

fn next_steps(folder: &Path, file: &Path) -> String {
    format!(
        "\nThe report on attendance: {}\n\nNext:\n  \
         1. Open the report in a browser, or make another: telelake report --from DATE --to DATE --lang ru\n  \
         2. Query the lake:  export TELELAKE_STORE__URL='file://{}'\n                      \
         telelake sql > lake.sql && duckdb -init lake.sql\n  \
         3. Export your own: telelake config example > telelake.toml, put your token and store.url into it, then telelake check\n",
        file.display(),
        folder.display()
    )
}
