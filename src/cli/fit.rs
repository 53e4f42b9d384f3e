//! The part of `check` that tests the mapping with a real report.

use super::CommandContext;
use super::sample;
use crate::api::Client;
use crate::cli::sample::Sample;
use crate::config::Config;
use crate::store;
use crate::tables;
use crate::tables::{Fit, Mapping, Sightings};

/// The number of names to show in each list.
const SHOWN: usize = 12;

/// The result of testing the mapping.
pub(super) struct MappingFit {
    pub is_good: bool,
    /// The headline.
    pub text: String,
    /// Further lines.
    pub details: Vec<String>,
}

/// Tests the mapping with the newest landed report, or else with one from the API. Errors of store and API are ignored
/// here, because other checks report them.
pub(super) async fn judge(context: &CommandContext, config: &Config, mapping: &Mapping) -> MappingFit {
    let name = match config.export.mapping.as_str() {
        "" => "built in".to_owned(),
        file => format!("{file}, over the built-in one"),
    };
    let plain = |text: &str| MappingFit {
        is_good: true,
        text: format!("{name}; {text}"),
        details: Vec::new(),
    };
    let Some(sample) = sample(context, config).await else {
        return plain("no report was found to test it with");
    };
    match tables::fit(&sample.bytes, mapping) {
        Ok(fit) => describe(&name, &sample, &fit),
        Err(why) => MappingFit {
            is_good: false,
            ..plain(&format!("the report of call {} is {why}", sample.call))
        },
    }
}

async fn sample(context: &CommandContext, config: &Config) -> Option<Sample> {
    if let Ok(store) = store::open(&config.store).await
        && let Ok(Some(sample)) = sample::landed_sample(&*store).await
    {
        return Some(sample);
    }
    let client = Client::new(&config.api, context.cancel.clone()).ok()?;
    sample::fetched_sample(&client, config, chrono::Utc::now())
        .await
        .ok()
        .flatten()
}

fn describe(name: &str, sample: &Sample, fit: &Fit) -> MappingFit {
    let from = if sample.landed {
        "in the lake"
    } else {
        "from the API"
    };
    let mut details = Vec::new();
    for table in &fit.tables {
        let Some(rows) = table.rows else {
            details.push(format!("{}: the report has no such rows", table.table));
            continue;
        };
        details.push(format!("{}: {rows} rows", table.table));
        if rows > 0 {
            details.extend(list("  bound", table.bound.iter().cloned()));
            details.extend(list("  unbound", table.unbound.iter().cloned()));
        }
    }
    let times =
        |(path, sightings): (&String, &Sightings)| format!("{path} ({})", sightings.values().sum::<u64>());
    details.extend(list("unmapped fields", fit.notes.unmapped.iter().map(times)));
    details.extend(list("values that do not fit", fit.notes.bad.iter().map(times)));
    let known = fit
        .tables
        .iter()
        .any(|table| table.table == "participants" && table.rows.is_some());
    let text = format!("{name}; tested with the report of call {} {from}", sample.call);
    MappingFit {
        is_good: known,
        text: if known {
            text
        } else {
            format!("{text}, where it finds no participants")
        },
        details,
    }
}

fn list(title: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<_> = names.collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| format!("{title}: {shown}{more}"))
}
