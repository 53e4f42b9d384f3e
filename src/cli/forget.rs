//! `forget`: erases people from the lake. Needs no token.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::act::Act;
use super::{CommandContext, LogFormat, output};
use crate::lake::erased::{KnownBy, Person};
use crate::pipeline::{ForgetOptions, Forgetter, Forgotten, LeftToHuman, RecordingChoice};
use crate::sanitize::escaped;
use crate::store;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Items of a kind that are printed one by one.
const MOST_PRINTED: usize = 20;

/// Erase people from everything that the lake has of them, and keep them out from now on
///
/// It finds them in raw reports, lesson data, tables, Delta tables and the program's own objects. A command that was stopped
/// goes on if it is given again.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("people").required(true).multiple(true).args(["user", "email", "participant"])))]
pub struct Args {
    /// Ids of users in the LMS (externalUserId)
    #[arg(long, value_name = "ID", num_args = 1..)]
    user: Vec<String>,
    /// E-mail addresses, for people without such an id
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    email: Vec<String>,
    /// Ids of participants in the reports, for people without such an id
    #[arg(long, value_name = "ID", num_args = 1..)]
    participant: Vec<String>,
    /// Print what would be destroyed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// What becomes of recordings of calls that they took part in
    #[arg(long, value_name = "WHAT", default_value = "list")]
    recordings: RecordingChoice,
    /// Write the act of destruction to FILE as Markdown in Russian and English, and as JSON beside it (.json)
    #[arg(long, value_name = "FILE")]
    act: Option<PathBuf>,
    /// The name of the operator, for the act and the record in the lake
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
}

impl Args {
    fn people(&self) -> Result<BTreeSet<Person>> {
        let all = [
            (KnownBy::User, "--user", &self.user),
            (KnownBy::Email, "--email", &self.email),
            (KnownBy::Participant, "--participant", &self.participant),
        ];
        let mut people = BTreeSet::new();
        for (known_by, option, values) in all {
            for value in values.iter().map(|value| value.trim()) {
                let refuse = |why: &str| Err(Error::new(ErrorKind::Usage, option, why));
                if value.is_empty() {
                    return refuse("is empty");
                }
                if known_by == KnownBy::Email && !value.contains('@') {
                    return refuse("is no e-mail address: it has no @");
                }
                people.insert(Person {
                    known_by,
                    value: value.to_owned(),
                });
            }
        }
        Ok(people)
    }
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let options = ForgetOptions {
        people: args.people()?,
        recordings: args.recordings,
        operator: args.operator.clone(),
        dry_run: args.dry_run,
    };
    let config = context.config()?;
    // Before the store is opened, because a wrong mapping is a usage error even if the store is unreachable.
    crate::pipeline::mapping(&config)?;
    let act = args
        .act
        .as_deref()
        .filter(|_| !args.dry_run)
        .map(ActFiles::new)
        .transpose()?;
    let store = store::open(&config.store).await?;
    let lake = store.url().to_owned();
    let progress = output::ProgressDisplay::start(&context.terminal);
    let forgetter = Forgetter::new(context.setting(config, store, &progress))?;
    let forgotten = Box::pin(forgetter.run(&options)).await;
    progress.end();
    let forgotten = forgotten?;
    if let Some(files) = act {
        files.write(&Act::of(&forgotten, &lake))?;
    }
    match context.format {
        LogFormat::Text => super::print(&for_people(&forgotten))?,
        LogFormat::Json => output::print_json(&forgotten)?,
    }
    Ok(match forgotten.failed.is_empty() {
        true => ExitStatus::Done,
        false => ExitStatus::Partial,
    })
}

/// The files of an act: Markdown, and JSON beside it.
struct ActFiles {
    markdown: PathBuf,
    json: PathBuf,
}

impl ActFiles {
    /// Proves that both files can be made, before anything is destroyed. Acts are kept for years, so that no file is
    /// replaced.
    fn new(file: &Path) -> Result<Self> {
        let files = Self {
            markdown: match file.extension().is_some_and(|extension| extension == "json") {
                true => file.with_extension("md"),
                false => file.to_owned(),
            },
            json: file.with_extension("json"),
        };
        let is_taken = |file: &&PathBuf| file.metadata().is_ok_and(|there| there.len() > 0);
        if let Some(there) = [&files.markdown, &files.json].into_iter().find(is_taken) {
            let why = format!("{} is there already: an act replaces no file", there.display());
            return Err(Error::new(ErrorKind::Usage, "--act", why).hint("name another file"));
        }
        for file in [&files.markdown, &files.json] {
            let was_there = file.exists();
            open(file).map_err(|error| unwritable(file, &error))?;
            if !was_there {
                std::fs::remove_file(file).map_err(|error| unwritable(file, &error))?;
            }
        }
        Ok(files)
    }

    fn write(&self, act: &Act) -> Result<()> {
        for (file, text) in [(&self.markdown, act.markdown()), (&self.json, act.json()?)] {
            open(file)
                .and_then(|mut made| made.write_all(text.as_bytes()))
                .map_err(|error| unwritable(file, &error))?;
        }
        Ok(())
    }
}

fn open(file: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().append(true).create(true).open(file)
}

fn unwritable(file: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Usage, "--act", format!("{}: {error}", file.display()))
        .hint("name a file in a folder that is there and can be written")
}

fn for_people(forgotten: &Forgotten) -> String {
    let erasure = &forgotten.erasure;
    let act = Act::of(forgotten, "");
    let mut text = match (forgotten.dry_run, act.is_nothing()) {
        (_, true) => "the lake has nothing of these people\n".to_owned(),
        (true, false) => "would be destroyed:\n".to_owned(),
        (false, false) => "destroyed:\n".to_owned(),
    };
    let mut rows = Vec::new();
    if act.reports > 0 {
        rows.push(vec![
            "raw reports written anew".to_owned(),
            act.reports.to_string(),
        ]);
    }
    for (kind, count) in &erasure.objects {
        rows.push(vec![kind.clone(), count.to_string()]);
    }
    if act.recordings > 0 {
        rows.push(vec!["recordings".to_owned(), act.recordings.to_string()]);
    }
    for (table, count) in act.rows_by_table() {
        rows.push(vec![format!("rows of {table}"), count.to_string()]);
    }
    if forgotten.dry_run && !erasure.days.is_empty() {
        rows.push(vec![
            "days that are built again".to_owned(),
            erasure.days.len().to_string(),
        ]);
    }
    text.push_str(&output::columns(&rows));
    if !forgotten.dry_run {
        text.push_str(&format!(
            "{} kept out of every run, import and repair from now on; the record is {}\n",
            match erasure.people.len() {
                1 => "the person is".to_owned(),
                count => format!("{count} people are"),
            },
            crate::lake::key::erasure(&erasure.id)
        ));
        if act.is_nothing() {
            text.push_str(
                "if an id is mistyped, remove that record: ids are compared exactly, with their case\n",
            );
        }
    }
    push_left(&mut text, &erasure.left);
    for why in &forgotten.failed {
        text.push_str(&format!(
            "failed: {}; the same command tries again\n",
            escaped(why)
        ));
    }
    text
}

/// What is left to a human, by kind.
fn push_left(text: &mut String, left: &BTreeSet<LeftToHuman>) {
    let mut kinds: BTreeMap<&str, Vec<&LeftToHuman>> = BTreeMap::new();
    for item in left {
        kinds.entry(&item.kind).or_default().push(item);
    }
    for (kind, items) in kinds {
        text.push_str(&format!("left to you ({kind}, {}):\n", items.len()));
        for item in items.iter().take(MOST_PRINTED) {
            text.push_str(&format!("  {}: {}\n", escaped(&item.place), escaped(&item.note)));
        }
        if items.len() > MOST_PRINTED {
            text.push_str(&format!(
                "  and {} more: `--act FILE` or `--log-format json` lists all\n",
                items.len() - MOST_PRINTED
            ));
        }
    }
}
