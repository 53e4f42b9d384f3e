//! `meta`: imports lesson data of the LMS into the lake, or sends it to the API.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Subcommand;
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::{CommandContext, LogFormat, output};
use crate::api::Client;
use crate::pipeline;
use crate::pipeline::MetaFile;
use crate::sanitize::escaped;
use crate::store;
use crate::tables::lessons::{Malformed, Payload, parse};
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Import lesson data of the LMS into the lake, or send it to the API
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Import files of lesson data into the lake; the next run builds the days that they change. Lines that cannot be
    /// read are named and left out
    Import {
        /// A JSON array, JSON Lines or one object; `-` is stdin
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Send files of lesson data to the API (storeExternalUserMeta), in order
    Push {
        /// A JSON array, JSON Lines or one object; `-` is stdin
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Start at this line of the file, because the lines before it were sent
        #[arg(long, value_name = "N", default_value_t = 1)]
        from_line: u64,
    },
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    match args.action {
        Action::Import { files } => import(context, files).await,
        Action::Push { files, from_line } => push(context, files, from_line).await,
    }
}

async fn import(context: &CommandContext, files: Vec<PathBuf>) -> Result<ExitStatus> {
    let config = context.config()?;
    let files = read_all(files).await?;
    refuse_unusable(&files)?;
    let mapping = pipeline::mapping_to_build(&config)?;
    let store = store::open(&config.store).await?;
    if let Some(info) = pipeline::read_store_info(&*store).await? {
        info.check_key(mapping.privacy())?;
    }
    store.preflight().await?;
    let (zone, now) = (config.timezone, chrono::Utc::now());
    let done = pipeline::import_meta(&*store, zone, now, mapping.privacy(), files).await?;
    for unread in done.lines.iter().chain(&done.values) {
        eprintln!("telelake: {}", escaped(&unread.to_string()));
    }
    if done.erased > 0 {
        eprintln!(
            "telelake: {} payloads are of people who were erased from the lake, and were left out",
            done.erased
        );
    }
    match context.format {
        LogFormat::Json => output::print_json(&done)?,
        LogFormat::Text if done.changed == 0 => super::print(&format!(
            "{} payloads in {} files, nothing new: the lake is unchanged\n",
            done.payloads, done.files
        ))?,
        LogFormat::Text => super::print(&format!(
            "{} payloads in {} files, {} new or changed, on {} dates; the next run builds the days of their meetings\n",
            done.payloads,
            done.files,
            done.changed,
            done.dates.len()
        ))?,
    }
    if done.bad_lines == 0 {
        return Ok(ExitStatus::Done);
    }
    eprintln!(
        "telelake: {} lines could not be read, all others were imported: correct these lines and import them again",
        done.bad_lines
    );
    Ok(ExitStatus::Partial)
}

/// Refuses the files if none of them has a usable line.
fn refuse_unusable(files: &[MetaFile]) -> Result<()> {
    let refusals: Vec<_> = files.iter().map(MetaFile::refusal).collect();
    let first = files
        .iter()
        .zip(&refusals)
        .find_map(|(file, refusal)| Some((file, refusal.as_ref()?)));
    match first {
        Some((file, refusal)) if refusals.iter().all(Option::is_some) => Err(malformed(&file.name, refusal)),
        _ => Ok(()),
    }
}

fn malformed(name: &str, why: &Malformed) -> Error {
    Error::new(ErrorKind::Usage, name, why.to_string()).hint(
        "a meta file is a JSON array, JSON Lines or one object of {externalUserId, externalMeetingId, meta}",
    )
}

async fn push(context: &CommandContext, files: Vec<PathBuf>, from_line: u64) -> Result<ExitStatus> {
    let config = context.config()?;
    config.require_token()?;
    if files.len() > 1 && from_line > 1 {
        return Err(Error::new(
            ErrorKind::Usage,
            "--from-line",
            "applies to one file: send the other files with a command of their own",
        ));
    }
    let client = Client::new(&config.api, context.cancel.clone())?;
    let path = config.api.external_meta_path.as_str();
    let mut sent = 0_u64;
    for (name, payloads) in parse_all(read_all(files).await?)? {
        let (client, name) = (&client, &name);
        let due = payloads.iter().filter(|payload| payload.line >= from_line);
        let mut answers = stream::iter(due)
            .map(|payload| async move {
                let answer = client.store_meta(path, &payload.body()).await;
                (payload.line, answer)
            })
            .buffered(config.api.concurrency.max(1));
        while let Some((line, answer)) = answers.next().await {
            let Err(error) = answer else {
                sent += 1;
                continue;
            };
            let status = match error.exit_status() {
                ExitStatus::Nothing if sent == 0 && error.kind() != ErrorKind::Rejected => {
                    ExitStatus::Nothing
                }
                _ => ExitStatus::Partial,
            };
            eprintln!("telelake: {name}, line {line}: {error}");
            report(context, sent, Some((name, line)))?;
            return Ok(status);
        }
    }
    report(context, sent, None)?;
    Ok(ExitStatus::Done)
}

fn report(context: &CommandContext, sent: u64, stopped: Option<(&str, u64)>) -> Result<()> {
    match (context.format, stopped) {
        (LogFormat::Json, stopped) => output::print_json(&json!({
            "sent": sent,
            "file": stopped.map(|(file, _)| file),
            "from_line": stopped.map(|(_, line)| line),
        })),
        (LogFormat::Text, None) => super::print(&format!("{sent} sent\n")),
        (LogFormat::Text, Some((file, line))) => super::print(&format!(
            "{sent} sent; go on with: telelake meta push {file} --from-line {line}\n"
        )),
    }
}

/// Parses all files before the first payload is sent, because a sent payload cannot be taken back.
fn parse_all(files: Vec<MetaFile>) -> Result<Vec<(String, Vec<Payload>)>> {
    let parsed = files.into_iter().map(|file| match parse(&file.bytes) {
        Ok(payloads) => Ok((file.name, payloads)),
        Err(why) => Err(malformed(&file.name, &why)),
    });
    parsed.collect()
}

/// Reads all files before the first one is used.
async fn read_all(files: Vec<PathBuf>) -> Result<Vec<MetaFile>> {
    let reading = tokio::task::spawn_blocking(move || files.iter().map(read).collect());
    reading
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "meta files", error.to_string()))?
}

fn read(path: &PathBuf) -> Result<MetaFile> {
    let (name, bytes) = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        ("stdin".to_owned(), read.map(|_| bytes))
    } else {
        (path.display().to_string(), std::fs::read(path))
    };
    let bytes = bytes.map_err(|error| Error::new(ErrorKind::Usage, &name, error.to_string()))?;
    Ok(MetaFile {
        name,
        bytes: bytes.into(),
    })
}
