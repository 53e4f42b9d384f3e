//! `check`: tests all that a run needs: configuration, token, spaces, clock, store, mapping and schedule.

use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};

use super::call_date::{self, Verdict};
use super::check_report::{CheckOutcome, CheckReport};
use super::{CommandContext, fit, record};
use crate::api::{Client, Space};
use crate::config::Config;
use crate::ids::SpaceId;
use crate::notify::last_deliveries;
use crate::pipeline;
use crate::pipeline::StoreInfo;
use crate::schedule;
use crate::serve::webhook::secrets;
use crate::store::{self, Dialect, EtagForm, Shortcoming};
use crate::{Error, ExitStatus, Result};

/// Check all that a run needs: configuration, token, spaces, clock, a writable store, the mapping with a real report, and
/// the next runs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Test the mapping with this report, a JSON or XLSX file, and check nothing else: no token, API or store is needed. Can be
    /// given several times
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// Test this mapping file instead of the configured one
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Keep the first answer of each endpoint in this empty folder, with all values masked, to send it to somebody
    #[arg(long, value_name = "DIR", conflicts_with = "report")]
    record: Option<PathBuf>,
}

/// The number of next runs to show.
const NEXT_RUNS: usize = 3;

/// A larger difference from the API's clock gives a warning.
const NOTICEABLE: TimeDelta = TimeDelta::seconds(30);
/// A larger difference fails, because days, `settle` and `give_up` are counted by the clock.
const INTOLERABLE: TimeDelta = TimeDelta::minutes(10);

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let report = CheckReport::default();
    match args.report.is_empty() {
        true => check_all(context, &args, &report).await?,
        false => check_files(context, &args, &report)?,
    }
    Ok(match report.has_failed() {
        true => ExitStatus::Usage,
        false => ExitStatus::Done,
    })
}

/// Tests the mapping with files. The configuration only names the mapping.
fn check_files(context: &CommandContext, args: &Args, report: &CheckReport) -> Result<()> {
    let named = match &args.mapping {
        Some(file) => fit::NamedMapping::read(file)?,
        None => fit::NamedMapping::configured(&context.config()?)?,
    };
    args.report
        .iter()
        .try_for_each(|file| fit::judge_file(file, &named, report))
}

async fn check_all(context: &CommandContext, args: &Args, report: &CheckReport) -> Result<()> {
    let config = context.config()?;
    args.record.as_deref().map_or(Ok(()), record::require_empty)?;
    let token = config.require_token().map(|_| ());
    report.good("configuration", &format!("valid; timezone {}", config.timezone))?;
    check_secrets(&config, report)?;
    token?;
    let mapping = match &args.mapping {
        Some(file) => fit::NamedMapping::read(file),
        None => fit::NamedMapping::configured(&config),
    };
    let mapping = mapping.inspect_err(|error| {
        // The error itself ends the command; this line puts it among the other checks.
        let _ = report.bad("mapping", &error.to_string());
    })?;
    check_api(context, &config, report).await?;
    check_store(&config, report).await?;
    check_privacy(&config, report).await?;
    check_feeds(&config, report).await?;
    fit::judge(context, &config, &mapping, report).await?;
    if let Some(folder) = &args.record {
        record::record(context, &config, &mapping.mapping, folder, report).await?;
    }
    report.good("next runs", &next_runs(&config)?)
}

/// Checks the secrets of the daemon. The API's token is checked before, because the other checks need it.
fn check_secrets(config: &Config, report: &CheckReport) -> Result<()> {
    let serve = config.serve.read_token().err();
    for error in serve.into_iter().chain(secrets::unreadable(&config.webhook)) {
        report.bad("secrets", &error.to_string())?;
    }
    for weakness in config.weaknesses() {
        report.tell(CheckOutcome::Doubtful, "security", &weakness)?;
    }
    Ok(())
}

fn next_runs(config: &Config) -> Result<String> {
    let runs = schedule::next_runs(&config.schedule.cron, config.timezone, Utc::now(), NEXT_RUNS)?;
    let local = |run: &DateTime<Utc>| run.with_timezone(&config.timezone).format("%F %T %Z").to_string();
    let runs: Vec<_> = runs.iter().map(local).collect();
    Ok(if runs.is_empty() {
        "none: schedule.cron is empty".into()
    } else {
        runs.join(", ")
    })
}

/// Checks the API, the spaces that the token sees, and the clock.
async fn check_api(context: &CommandContext, config: &Config, report: &CheckReport) -> Result<()> {
    let client = match Client::new(&config.api, context.cancel.clone()) {
        Ok(client) => client,
        Err(error) => return report.bad("API", &error.to_string()),
    };
    let seen = client.spaces().await;
    match seen {
        Ok(listing) => {
            check_spaces(config, &listing.items, report)?;
            check_call_date(&client, config, report).await?;
        }
        Err(error) => report.bad("API", &error.to_string())?,
    }
    let (outcome, text) = clock(client.clock_ahead());
    report.tell(outcome, "clock", &text)
}

/// Says by which zone the API dates its calls. A list that fails is no failure of the check: a run names it.
async fn check_call_date(client: &Client, config: &Config, report: &CheckReport) -> Result<()> {
    let (outcome, text) = match call_date::listed_calls(client, config).await {
        Ok(listed) => match call_date::judge(&listed, config.api.call_date, config.timezone) {
            Verdict::Good(text) => (CheckOutcome::Good, text),
            Verdict::Contradicted(text) => (CheckOutcome::Doubtful, text),
        },
        Err(error) => (
            CheckOutcome::Doubtful,
            format!("recent calls could not be listed: {error}"),
        ),
    };
    report.tell(outcome, "api.call_date", &text)
}

fn check_spaces(config: &Config, spaces: &[Space], report: &CheckReport) -> Result<()> {
    let named: Vec<_> = spaces
        .iter()
        .map(|s| format!("{} ({})", s.name.as_deref().unwrap_or("-"), s.id))
        .collect();
    report.good(
        "API",
        &format!("{} answers, the token is accepted", config.api.base_url),
    )?;
    if named.is_empty() {
        report.bad("spaces", "none is visible")?;
    } else {
        report.good("spaces", &named.join(", "))?;
    }
    let missing = |id: &&SpaceId| !spaces.iter().any(|space| space.id == **id);
    for id in config.scope.spaces.iter().filter(missing) {
        report.bad(
            "scope.spaces",
            &format!("{id} is not among those that the token sees"),
        )?;
    }
    Ok(())
}

/// Judges the clock of this machine; `ahead` is the lead of the API's clock, if the API reports one.
fn clock(ahead: Option<TimeDelta>) -> (CheckOutcome, String) {
    let Some(ahead) = ahead else {
        return (CheckOutcome::Good, "the API does not tell its time".into());
    };
    let off = ahead.abs();
    if off <= NOTICEABLE {
        return (CheckOutcome::Good, "agrees with that of the API".into());
    }
    let way = if ahead > TimeDelta::zero() {
        "behind"
    } else {
        "ahead of"
    };
    let length = humantime::format_duration(std::time::Duration::from_secs(off.num_seconds().unsigned_abs()));
    let text = format!("this machine is {length} {way} the API: set its clock, for example by NTP");
    if off <= INTOLERABLE {
        (CheckOutcome::Doubtful, text)
    } else {
        (CheckOutcome::Bad, text)
    }
}

async fn check_store(config: &Config, report: &CheckReport) -> Result<()> {
    let outcome = async {
        let store = store::open(&config.store).await?;
        store.preflight().await?;
        let info = pipeline::read_store_info(&*store).await?;
        if let Some(info) = &info {
            info.check_zone(config.timezone)?;
        }
        check_notifications(&*store, report).await?;
        let moved = info.filter(|info| info.dialect(&*store).is_none());
        Ok::<_, Error>((store.probe().await?, moved))
    };
    let (dialect, moved) = match outcome.await {
        Ok(found) => found,
        Err(error) => return report.bad("store", &error.to_string()),
    };
    report.good("store", &format!("{} can be written", config.store.url))?;
    for (outcome, text) in notes_of_store(&dialect, moved.as_ref(), config.export.recordings) {
        report.tell(outcome, "store", &text)?;
    }
    Ok(())
}

/// Says what happens to personal data, and if the key of the pseudonyms is that of the lake. Never the key.
async fn check_privacy(config: &Config, report: &CheckReport) -> Result<()> {
    let mapping = match pipeline::mapping_to_build(config) {
        Ok(mapping) => mapping,
        Err(error) => return report.bad("privacy", &error.to_string()),
    };
    let policy = mapping.privacy();
    let profile = config.privacy.profile.name();
    if policy.digest().is_none() {
        return report.good(
            "privacy",
            &format!("profile {profile}: the tables hold what the reports say"),
        );
    }
    // A store out of reach is reported by its own check.
    let info = match store::open(&config.store).await {
        Ok(store) => pipeline::read_store_info(&*store).await.ok().flatten(),
        Err(_) => None,
    };
    let key = match info.as_ref().map(|info| info.check_key(policy)) {
        _ if policy.key_check().is_none() => "no pseudonyms".to_owned(),
        Some(Err(error)) => return report.bad("privacy", &error.to_string()),
        Some(Ok(())) if info.is_some_and(|info| info.privacy_key_check.is_some()) => {
            "the key is that of the lake".to_owned()
        }
        _ => "the key can be read; the lake has no pseudonyms yet".to_owned(),
    };
    report.good("privacy", &format!("profile {profile}; {key}"))
}

/// The remarks about a writable store.
fn notes_of_store(
    dialect: &Dialect,
    moved: Option<&StoreInfo>,
    recordings: bool,
) -> Vec<(CheckOutcome, String)> {
    let mut notes = Vec::new();
    if !dialect.conditional_writes {
        let text = "it ignores or refuses conditional writes: writers take turns by a lease, and after a kill the next run \
                    waits a minute";
        notes.push((CheckOutcome::GoodWithRemark, text.to_owned()));
    } else if dialect.etag_form == EtagForm::Bare {
        let text = "it accepts an ETag in If-Match only without quotes: ETags are sent without them";
        notes.push((CheckOutcome::GoodWithRemark, text.to_owned()));
    }
    for lack in &dialect.lacks {
        let outcome = match lack {
            Shortcoming::Multipart if recordings => CheckOutcome::Bad,
            _ => CheckOutcome::GoodWithRemark,
        };
        notes.push((outcome, lack.message().to_owned()));
    }
    if let Some(info) = moved {
        let before = if info.url.is_empty() {
            "by an older version or at another address".to_owned()
        } else {
            format!("at {}", [&*info.url, &*info.endpoint].join(" ").trim_end())
        };
        let text = format!("the lake was last written {before}: the next run probes the store again");
        notes.push((CheckOutcome::GoodWithRemark, text));
    }
    notes
}

/// Reports the results of the last notifications.
async fn check_notifications(store: &dyn store::Store, report: &CheckReport) -> Result<()> {
    for (key, delivery) in last_deliveries(store).await.unwrap_or_default() {
        let outcome = if delivery.delivered {
            CheckOutcome::Good
        } else {
            CheckOutcome::Doubtful
        };
        report.tell(outcome, &key, &delivery.for_people())?;
    }
    Ok(())
}

/// Checks that the feeds of lesson data can be read.
async fn check_feeds(config: &Config, report: &CheckReport) -> Result<()> {
    for url in &config.meta.feeds {
        match pipeline::look_at_feed(config, url).await {
            Ok(files) => report.good("meta.feeds", &format!("{url} has {files} files of lesson data"))?,
            Err(error) => report.bad("meta.feeds", &error.to_string())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(dialect: &Dialect, recordings: bool) -> Vec<(CheckOutcome, String)> {
        notes_of_store(dialect, None, recordings)
    }

    #[test]
    fn a_missing_store_feature_is_a_remark_unless_recordings_need_it() {
        assert_eq!(notes(&Dialect::default(), true), []);
        let bare = Dialect {
            etag_form: EtagForm::Bare,
            lacks: [Shortcoming::UploadList, Shortcoming::PartList].into(),
            ..Dialect::default()
        };
        let found = notes(&bare, true);
        assert!(
            found
                .iter()
                .all(|(outcome, _)| *outcome == CheckOutcome::GoodWithRemark),
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
        let outcomes = |recordings| {
            notes(&none, recordings)
                .into_iter()
                .map(|(outcome, _)| outcome)
                .collect::<Vec<_>>()
        };
        assert_eq!(outcomes(true), [CheckOutcome::GoodWithRemark, CheckOutcome::Bad]);
        assert_eq!(
            outcomes(false),
            [CheckOutcome::GoodWithRemark, CheckOutcome::GoodWithRemark]
        );
    }

    #[test]
    fn a_clock_is_judged_by_its_difference() {
        for (ahead, outcome) in [
            (0, CheckOutcome::Good),
            (30, CheckOutcome::Good),
            (-30, CheckOutcome::Good),
            (31, CheckOutcome::Doubtful),
            (-600, CheckOutcome::Doubtful),
            (601, CheckOutcome::Bad),
            (-86_400, CheckOutcome::Bad),
        ] {
            assert_eq!(clock(Some(TimeDelta::seconds(ahead))).0, outcome, "{ahead}");
        }
        assert_eq!(clock(None).0, CheckOutcome::Good);
        let text = clock(Some(TimeDelta::seconds(3_700))).1;
        assert!(text.contains("1h 1m 40s behind"), "{text}");
        let text = clock(Some(TimeDelta::seconds(-60))).1;
        assert!(text.contains("1m ahead of"), "{text}");
    }
}
