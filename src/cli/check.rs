//! `check`: whether a run could work: configuration, token, spaces, clock, store, mapping, next runs.

use std::cell::Cell;

use chrono::{DateTime, TimeDelta, Utc};

use super::{CommandContext, fit};
use crate::api::{Client, Space};
use crate::config::Config;
use crate::ids::SpaceId;
use crate::notify::last_deliveries;
use crate::pipeline;
use crate::pipeline::StoreInfo;
use crate::sanitize::escaped;
use crate::schedule;
use crate::serve::webhook::secrets;
use crate::store::{self, Dialect, EtagForm, Shortcoming};
use crate::{Error, ExitStatus, Result};

/// Check the configuration, the token, the spaces it sees, the clock, that the store can be written, the mapping against a real
/// report, and when runs are due
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Next runs shown.
const NEXT: usize = 3;

/// A clock that differs more from the API's than this brings a warning.
const NOTICEABLE: TimeDelta = TimeDelta::seconds(30);
/// One that differs more than this fails: days, `settle` and the age of what is missing are counted by it.
const INTOLERABLE: TimeDelta = TimeDelta::minutes(10);

/// How something that was looked at is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Good, and yet there is something to know.
    Noted,
    Doubtful,
    Bad,
}

/// Prints what was looked at, line by line, and remembers whether anything failed.
#[derive(Debug, Default)]
struct Findings {
    failed: Cell<bool>,
}

impl Findings {
    fn tell(&self, verdict: Verdict, what: &str, text: &str) -> Result<()> {
        let word = match verdict {
            Verdict::Good => "ok  ",
            Verdict::Noted => "NOTE",
            Verdict::Doubtful => "WARN",
            Verdict::Bad => "FAIL",
        };
        if verdict == Verdict::Bad {
            self.failed.set(true);
        }
        super::print(&format!("{word}  {what}: {}\n", escaped(text)))
    }

    fn good(&self, what: &str, text: &str) -> Result<()> {
        self.tell(Verdict::Good, what, text)
    }

    fn bad(&self, what: &str, text: &str) -> Result<()> {
        self.tell(Verdict::Bad, what, text)
    }
}

pub(super) async fn run(context: &CommandContext) -> Result<ExitStatus> {
    let config = context.config()?;
    let findings = Findings::default();
    let token = config.require_token().map(|_| ());
    findings.good("configuration", &format!("valid; timezone {}", config.timezone))?;
    check_secrets(&config, &findings)?;
    token?;
    let mapping = pipeline::mapping(&config).inspect_err(|error| {
        // The error itself is told where all are; here it stands among what was looked at.
        let _ = findings.bad("mapping", &error.to_string());
    })?;
    check_api(context, &config, &findings).await?;
    check_store(&config, &findings).await?;
    check_feeds(&config, &findings).await?;
    let mapped = fit::verdict(context, &config, &mapping).await;
    let verdict = if mapped.good { Verdict::Good } else { Verdict::Bad };
    findings.tell(verdict, "mapping", &mapped.text)?;
    for detail in mapped.details {
        super::print(&format!("        {detail}\n"))?;
    }
    findings.good("next runs", &next_runs(&config)?)?;
    Ok(if findings.failed.get() {
        ExitStatus::Usage
    } else {
        ExitStatus::Done
    })
}

/// Looks at the secrets of the daemon. The API's token is everybody's: without it there is nothing to check.
fn check_secrets(config: &Config, findings: &Findings) -> Result<()> {
    let serve = config.serve.read_token().err();
    for error in serve.into_iter().chain(secrets::unreadable(&config.webhook)) {
        findings.bad("secrets", &error.to_string())?;
    }
    for weakness in config.weaknesses() {
        findings.tell(Verdict::Doubtful, "security", &weakness)?;
    }
    Ok(())
}

fn next_runs(config: &Config) -> Result<String> {
    let runs = schedule::next_runs(&config.schedule.cron, config.timezone, Utc::now(), NEXT)?;
    let local = |run: &DateTime<Utc>| run.with_timezone(&config.timezone).format("%F %T %Z").to_string();
    let runs: Vec<_> = runs.iter().map(local).collect();
    Ok(if runs.is_empty() {
        "none: schedule.cron is empty".into()
    } else {
        runs.join(", ")
    })
}

/// Looks at the API, what the token sees, and the clock.
async fn check_api(context: &CommandContext, config: &Config, findings: &Findings) -> Result<()> {
    let client = match Client::new(&config.api, context.cancel.clone()) {
        Ok(client) => client,
        Err(error) => return findings.bad("API", &error.to_string()),
    };
    let seen = client.spaces().await;
    match seen {
        Ok(listing) => check_spaces(config, &listing.items, findings)?,
        Err(error) => findings.bad("API", &error.to_string())?,
    }
    let (verdict, text) = clock(client.clock_ahead());
    findings.tell(verdict, "clock", &text)
}

fn check_spaces(config: &Config, spaces: &[Space], findings: &Findings) -> Result<()> {
    let named: Vec<_> = spaces
        .iter()
        .map(|s| format!("{} ({})", s.name.as_deref().unwrap_or("-"), s.id))
        .collect();
    findings.good(
        "API",
        &format!("{} answers, the token is accepted", config.api.base_url),
    )?;
    if named.is_empty() {
        findings.bad("spaces", "none is visible")?;
    } else {
        findings.good("spaces", &named.join(", "))?;
    }
    let missing = |id: &&SpaceId| !spaces.iter().any(|space| space.id == **id);
    for id in config.scope.spaces.iter().filter(missing) {
        findings.bad(
            "scope.spaces",
            &format!("{id} is not among those that the token sees"),
        )?;
    }
    Ok(())
}

/// What there is to say of a machine whose API's clock is so much ahead of its own.
fn clock(ahead: Option<TimeDelta>) -> (Verdict, String) {
    let Some(ahead) = ahead else {
        return (Verdict::Good, "the API does not tell its time".into());
    };
    let off = ahead.abs();
    if off <= NOTICEABLE {
        return (Verdict::Good, "agrees with that of the API".into());
    }
    let way = if ahead > TimeDelta::zero() {
        "behind"
    } else {
        "ahead of"
    };
    let length = humantime::format_duration(std::time::Duration::from_secs(off.num_seconds().unsigned_abs()));
    let text = format!("this machine is {length} {way} the API: set its clock, for example by NTP");
    if off <= INTOLERABLE {
        (Verdict::Doubtful, text)
    } else {
        (Verdict::Bad, text)
    }
}

async fn check_store(config: &Config, findings: &Findings) -> Result<()> {
    let outcome = async {
        let store = store::open(&config.store).await?;
        store.preflight().await?;
        let info = pipeline::read_store_info(&*store).await?;
        if let Some(info) = &info {
            info.check_zone(config.timezone)?;
        }
        tell_of_notifications(&*store, findings).await?;
        let moved = info.filter(|info| info.dialect(&*store).is_none());
        Ok::<_, Error>((store.probe().await?, moved))
    };
    let (dialect, moved) = match outcome.await {
        Ok(found) => found,
        Err(error) => return findings.bad("store", &error.to_string()),
    };
    findings.good("store", &format!("{} can be written", config.store.url))?;
    for (verdict, text) in notes_of_store(&dialect, moved.as_ref(), config.export.recordings) {
        findings.tell(verdict, "store", &text)?;
    }
    Ok(())
}

/// What there is to know of a store that can be written.
fn notes_of_store(dialect: &Dialect, moved: Option<&StoreInfo>, recordings: bool) -> Vec<(Verdict, String)> {
    let mut notes = Vec::new();
    if !dialect.conditional_writes {
        let text = "it ignores or refuses conditional writes: those who write take turns by a lease, and after a kill the \
                    next run waits a minute";
        notes.push((Verdict::Noted, text.to_owned()));
    } else if dialect.etag_form == EtagForm::Bare {
        let text = "it takes an ETag in If-Match only without its quotes: it is sent so";
        notes.push((Verdict::Noted, text.to_owned()));
    }
    for lack in &dialect.lacks {
        let verdict = match lack {
            Shortcoming::Multipart if recordings => Verdict::Bad,
            _ => Verdict::Noted,
        };
        notes.push((verdict, lack.message().to_owned()));
    }
    if let Some(info) = moved {
        let before = if info.url.is_empty() {
            "by an older version, or at another place".to_owned()
        } else {
            format!("at {}", [&*info.url, &*info.endpoint].join(" ").trim_end())
        };
        let text = format!("the lake was last written {before}: the next run probes the store anew");
        notes.push((Verdict::Noted, text));
    }
    notes
}

/// Tells how the last notifications went.
async fn tell_of_notifications(store: &dyn store::Store, findings: &Findings) -> Result<()> {
    for (key, delivery) in last_deliveries(store).await.unwrap_or_default() {
        let verdict = if delivery.delivered {
            Verdict::Good
        } else {
            Verdict::Doubtful
        };
        findings.tell(verdict, &key, &delivery.for_people())?;
    }
    Ok(())
}

/// Looks whether the feeds of lesson data are there.
async fn check_feeds(config: &Config, findings: &Findings) -> Result<()> {
    for url in &config.meta.feeds {
        match pipeline::look_at_feed(config, url).await {
            Ok(files) => findings.good("meta.feeds", &format!("{url} has {files} files of lesson data"))?,
            Err(error) => findings.bad("meta.feeds", &error.to_string())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(dialect: &Dialect, recordings: bool) -> Vec<(Verdict, String)> {
        notes_of_store(dialect, None, recordings)
    }

    #[test]
    fn what_a_store_lacks_is_a_note_and_what_recordings_need_a_failure() {
        assert_eq!(notes(&Dialect::default(), true), []);
        let bare = Dialect {
            etag_form: EtagForm::Bare,
            lacks: [Shortcoming::UploadList, Shortcoming::PartList].into(),
            ..Dialect::default()
        };
        let found = notes(&bare, true);
        assert!(
            found.iter().all(|(verdict, _)| *verdict == Verdict::Noted),
            "{found:?}"
        );
        for (note, word) in found
            .iter()
            .zip(["If-Match", "ListMultipartUploads", "ListParts"])
        {
            assert!(note.1.contains(word), "{note:?}");
        }
        let none = Dialect {
            conditional_writes: false,
            lacks: [Shortcoming::Multipart].into(),
            ..Dialect::default()
        };
        let verdicts = |recordings| {
            notes(&none, recordings)
                .into_iter()
                .map(|(verdict, _)| verdict)
                .collect::<Vec<_>>()
        };
        assert_eq!(verdicts(true), [Verdict::Noted, Verdict::Bad]);
        assert_eq!(verdicts(false), [Verdict::Noted, Verdict::Noted]);
    }

    #[test]
    fn a_clock_is_good_doubtful_or_bad_by_how_far_it_is_off() {
        for (ahead, verdict) in [
            (0, Verdict::Good),
            (30, Verdict::Good),
            (-30, Verdict::Good),
            (31, Verdict::Doubtful),
            (-600, Verdict::Doubtful),
            (601, Verdict::Bad),
            (-86_400, Verdict::Bad),
        ] {
            assert_eq!(clock(Some(TimeDelta::seconds(ahead))).0, verdict, "{ahead}");
        }
        assert_eq!(clock(None).0, Verdict::Good);
        let text = clock(Some(TimeDelta::seconds(3_700))).1;
        assert!(text.contains("1h 1m 40s behind"), "{text}");
        let text = clock(Some(TimeDelta::seconds(-60))).1;
        assert!(text.contains("1m ahead of"), "{text}");
    }
}
