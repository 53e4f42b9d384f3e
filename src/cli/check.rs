//! `check`: whether a run could work: configuration, token, spaces, store, mapping, next runs.

use chrono::Utc;

use super::{Context, fit};
use crate::api::Client;
use crate::config::Config;
use crate::export;
use crate::printable::escaped;
use crate::serve::schedule;
use crate::store;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Check the configuration, the token, the spaces it sees, that the store can be written, the mapping against a real
/// report, and when runs are due
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Next runs shown.
const NEXT: usize = 3;

pub(super) async fn run(context: &Context) -> Result<ExitStatus> {
    let config = context.config()?;
    let token = config.require_token().map(|_| ());
    line(
        true,
        "configuration",
        &format!("valid; timezone {}", config.timezone),
    )?;
    token?;
    let mapping = export::mapping(&config).inspect_err(|error| {
        // The error itself is told where all are; here it stands among what was looked at.
        let _ = line(false, "mapping", &error.to_string());
    })?;
    // Both are looked at, so that one look tells all that is wrong.
    let api = check_api(context, &config).await;
    let store = check_store(&config).await;
    let feeds = check_feeds(&config).await;
    let mapped = fit::verdict(context, &config, &mapping).await;
    line(mapped.good, "mapping", &mapped.text)?;
    for detail in mapped.details {
        super::print(&format!("        {detail}\n"))?;
    }
    let runs = schedule::next_runs(&config.schedule.cron, config.timezone, Utc::now(), NEXT)?;
    let runs: Vec<_> = runs
        .iter()
        .map(|run| run.with_timezone(&config.timezone).format("%F %T %Z").to_string())
        .collect();
    line(
        true,
        "next runs",
        &if runs.is_empty() {
            "none: schedule.cron is empty".into()
        } else {
            runs.join(", ")
        },
    )?;
    let first = [api.err(), store.err(), feeds.err()].into_iter().flatten().next();
    Ok(first.map_or(ExitStatus::Done, |error| error.exit_status()))
}

async fn check_api(context: &Context, config: &Config) -> Result<()> {
    let outcome = match Client::new(&config.api, context.cancel.clone()) {
        Ok(client) => client.spaces().await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(listing) => {
            let spaces = &listing.items;
            let named: Vec<_> = spaces
                .iter()
                .map(|s| format!("{} ({})", s.name.as_deref().unwrap_or("-"), s.id))
                .collect();
            line(
                true,
                "API",
                &format!("{} answers, the token is accepted", config.api.base_url),
            )?;
            line(
                !spaces.is_empty(),
                "spaces",
                &if named.is_empty() {
                    "none is visible".into()
                } else {
                    named.join(", ")
                },
            )?;
            let missing: Vec<_> = config
                .scope
                .spaces
                .iter()
                .filter(|id| !spaces.iter().any(|s| s.id == **id))
                .collect();
            for id in &missing {
                line(
                    false,
                    "scope.spaces",
                    &format!("{id} is not among those that the token sees"),
                )?;
            }
            if spaces.is_empty() || !missing.is_empty() {
                return Err(Error::new(
                    ErrorKind::Forbidden,
                    "API",
                    "not all of the scope is visible",
                ));
            }
            Ok(())
        }
        Err(error) => {
            line(false, "API", &error.to_string())?;
            Err(error)
        }
    }
}

async fn check_store(config: &Config) -> Result<()> {
    let outcome = async {
        let store = store::open(&config.store).await?;
        store.preflight().await?;
        if let Some(info) = export::read_store_info(&*store).await? {
            info.check_zone(config.timezone)?;
        }
        store.conditional_writes().await
    };
    match outcome.await {
        Ok(true) => line(true, "store", &format!("{} can be written", config.store.url)),
        Ok(false) => line(
            true,
            "store",
            &format!(
                "{} can be written, but ignores conditional writes: those who write take turns by a lease",
                config.store.url
            ),
        ),
        Err(error) => {
            line(false, "store", &error.to_string())?;
            Err(error)
        }
    }
}

/// Looks whether the feeds of lesson data are there.
async fn check_feeds(config: &Config) -> Result<()> {
    let mut first = Ok(());
    for url in &config.meta.feeds {
        match export::look_at_feed(config, url).await {
            Ok(files) => line(true, "meta.feeds", &format!("{url} has {files} files of lesson data"))?,
            Err(error) => {
                line(false, "meta.feeds", &error.to_string())?;
                first = first.and(Err(error));
            }
        }
    }
    first
}

fn line(good: bool, what: &str, text: &str) -> Result<()> {
    super::print(&format!(
        "{}  {what}: {}\n",
        if good { "ok  " } else { "FAIL" },
        escaped(text)
    ))
}
