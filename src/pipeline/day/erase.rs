//! Keeps the people who were erased out of a day: out of answers before they are stored, and out of reports that the lake
//! has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::judge::ReportAsk;
use crate::Result;
use crate::config::ReportFormat;
use crate::ids::CallId;
use crate::lake::erased::Erased;
use crate::lake::manifest::{CallEntry, Manifest};
use crate::pipeline::memory;
use crate::pipeline::memory::Fresh;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::walk::found::DayWork;
use crate::store::{Condition, OptionalExt};
use crate::tables::{ErasedReport, Mapping, Traces, erase_json, erase_report, erase_workbook};
use crate::task::isolated_blocking;

/// The answer to a request for a report, without the people who were erased.
pub(super) struct CleanAnswer {
    pub bytes: Bytes,
    /// The keyed hashes of their names; empty if the answer had nobody of them.
    pub erased_names: BTreeSet<String>,
}

/// Removes the people who were erased from an answer before it is stored. The error is the reason why nobody can tell if it
/// has any of them.
pub(super) async fn clean(
    run: &Arc<RunContext>,
    ask: &ReportAsk,
    bytes: Bytes,
) -> std::result::Result<CleanAnswer, String> {
    let erased = run.erased();
    let is_nothing = bytes.is_empty() || bytes.trim_ascii() == b"{}";
    if erased.is_empty() || is_nothing {
        return Ok(CleanAnswer {
            bytes,
            erased_names: BTreeSet::new(),
        });
    }
    let _room = run.memory.reserve(memory::need(ask.format, &bytes)).await;
    let known = Traces::of_call(&ask.call, ask.erased_names.clone());
    let (of_run, format) = (Arc::clone(run), ask.format);
    let cleaning = isolated_blocking("report", move || {
        let mut known = known;
        let done = erase(format, &bytes, &of_run.mapping, &erased, &mut known);
        Ok(done.map(|done| match done {
            Some(done) if !done.is_unchanged() => CleanAnswer {
                bytes: done.bytes.into(),
                erased_names: known.erased_names(&erased),
            },
            _ => CleanAnswer {
                bytes,
                erased_names: BTreeSet::new(),
            },
        }))
    });
    let cleaned = cleaning.await.map_err(|error| error.message().to_owned())?;
    cleaned.map_err(|why| {
        format!(
            "the report is {why}, so that nobody can tell if it has people who were erased; it was not stored"
        )
    })
}

/// Removes the people who were erased from the calls and records as the API lists them.
pub(super) fn clean_listing(erased: &Erased, work: &mut DayWork) {
    if erased.is_empty() {
        return;
    }
    let calls = work.calls.values_mut().map(|(_, call)| &mut call.raw);
    let records = work.records.values_mut().map(|(_, record)| &mut record.raw);
    for object in calls.chain(records) {
        let cleaned = erase_json(object.as_str().as_bytes(), erased, &mut Traces::default());
        if let Some(value) = cleaned.and_then(|json| serde_json::from_slice::<Value>(&json).ok()) {
            *object = value.into();
        }
    }
}

fn erase(
    format: ReportFormat,
    bytes: &[u8],
    mapping: &Mapping,
    erased: &Erased,
    known: &mut Traces,
) -> std::result::Result<Option<ErasedReport>, String> {
    match format {
        ReportFormat::Json => erase_report(bytes, mapping, erased, known).map_err(|why| why.to_string()),
        ReportFormat::Xlsx => erase_workbook(bytes, mapping, erased, known).map_err(|why| why.to_string()),
    }
}

/// What an erasure finds in the reports of a day.
#[derive(Debug, Default)]
pub(crate) struct DayFindings {
    /// The new bytes of reports that have somebody who was erased, by call and format.
    pub reports: BTreeMap<(CallId, ReportFormat), FoundReport>,
    /// The calls in which the people took part, also those whose reports were cleaned before.
    pub calls: BTreeSet<CallId>,
    /// What is known of the people.
    pub traces: Traces,
    /// Texts that mention them, by call and place.
    pub mentions: BTreeMap<(CallId, String), u64>,
    /// The keys of reports that can't be read.
    pub unreadable: BTreeMap<String, String>,
    /// The keys of reports that the manifest names and the store lacks.
    pub missing: BTreeSet<String>,
    /// The keys of reports whose bytes are not those that the manifest names.
    pub damaged: BTreeSet<String>,
}

/// A report that has somebody who was erased.
#[derive(Debug)]
pub(crate) struct FoundReport {
    /// The report without the people; empty in a search that destroys nothing.
    pub bytes: Bytes,
    /// The keyed hashes of their names.
    pub erased_names: BTreeSet<String>,
    /// True if its bytes were not those that the manifest names. They do not become so by an erasure.
    pub is_damaged: bool,
}

impl DayFindings {
    /// True if nobody was found.
    pub fn is_none(&self) -> bool {
        self.reports.is_empty()
    }

    /// True if the tables of the day can't be built from its reports without a loss.
    pub fn is_incomplete(&self) -> bool {
        !self.missing.is_empty() || !self.damaged.is_empty()
    }

    /// Takes up reports that a process has written and not noted, unless they have somebody still.
    fn take_up(&mut self, call: &CallId, entry: &CallEntry, half_done: Vec<(ReportFormat, Bytes)>) {
        for (format, bytes) in half_done {
            self.calls.insert(call.clone());
            let erased_names = entry.erased_names();
            let report = FoundReport {
                bytes,
                erased_names,
                is_damaged: false,
            };
            self.reports.entry((call.clone(), format)).or_insert(report);
        }
    }

    fn take(&mut self, call: &CallId, search: CallSearch, damaged: &BTreeSet<ReportFormat>, erased: &Erased) {
        let names = search.known.erased_names(erased);
        for (format, done) in search.found {
            for (place, count) in &done.mentions {
                *self.mentions.entry((call.clone(), place.clone())).or_default() += count;
            }
            if !done.is_unchanged() {
                let found = FoundReport {
                    bytes: done.bytes.into(),
                    erased_names: names.clone(),
                    is_damaged: damaged.contains(&format),
                };
                self.reports.insert((call.clone(), format), found);
                self.calls.insert(call.clone());
            }
        }
        self.traces.add(&search.known);
    }
}

/// Searches the reports of a day that the lake has. Those that were just landed are read from memory, because the erasure may
/// have deleted them meanwhile. `seeds` is what is known of the people beforehand.
///
/// # Errors
/// Any error of the store. A report that is gone, or can't be read, is none.
pub(crate) async fn search(
    run: &Arc<RunContext>,
    manifest: &Manifest,
    fresh: &Fresh,
    (erased, seeds): (&Arc<Erased>, &Traces),
) -> Result<DayFindings> {
    let mut findings = DayFindings::default();
    for (call, entry) in &manifest.calls {
        let names: BTreeSet<String> = entry.erased_names();
        let mut reports = Vec::new();
        let mut damaged = BTreeSet::new();
        for format in [ReportFormat::Json, ReportFormat::Xlsx] {
            let landed = entry.reports.get(&format).and_then(|landing| landing.stored());
            let Some(landed) = landed else { continue };
            let bytes = match fresh.get(&landed.key) {
                Some((bytes, _)) => Some(bytes.clone()),
                None => run.store.read(&landed.key).await.optional()?,
            };
            let Some(bytes) = bytes else {
                findings.missing.insert(landed.key.clone());
                continue;
            };
            if landed.erased.is_empty() && landed.sha256 != hex::encode(Sha256::digest(&bytes)) {
                findings.damaged.insert(landed.key.clone());
                damaged.insert(format);
            }
            reports.push((format, bytes, landed.key.clone()));
        }
        if reports.is_empty() {
            continue;
        }
        // One reservation for all: several could wait for each other.
        let needs = reports
            .iter()
            .map(|(format, bytes, _)| memory::need(*format, bytes));
        let _room = run.memory.reserve(needs.sum()).await;
        let half_done = half_done(entry, &reports);
        let mut known = Traces::of_call(call, names);
        known.add(seeds);
        let (of_run, of_erased) = (Arc::clone(run), Arc::clone(erased));
        let searched = isolated_blocking("report", move || {
            Ok(CallSearch::of(&reports, &of_run.mapping, &of_erased, known))
        });
        let mut searched = searched.await?;
        findings.unreadable.append(&mut searched.unreadable);
        findings.take(call, searched, &damaged, erased);
        findings.take_up(call, entry, half_done);
    }
    Ok(findings)
}

/// The reports that a process has written without people, but has not noted in the manifest before it was killed.
fn half_done(entry: &CallEntry, reports: &[(ReportFormat, Bytes, String)]) -> Vec<(ReportFormat, Bytes)> {
    let is_half_done = |(format, bytes, _): &&(ReportFormat, Bytes, String)| {
        let landed = entry
            .reports
            .get(format)
            .and_then(|landing| landing.landed.as_ref());
        landed.is_some_and(|landed| {
            !landed.erased.is_empty() && landed.sha256 != hex::encode(Sha256::digest(bytes))
        })
    };
    let reports = reports.iter().filter(is_half_done);
    reports
        .map(|(format, bytes, _)| (*format, bytes.clone()))
        .collect()
}

/// The search of the reports of a call.
struct CallSearch {
    found: Vec<(ReportFormat, ErasedReport)>,
    known: Traces,
    unreadable: BTreeMap<String, String>,
}

impl CallSearch {
    /// Searches each report, again as long as another one tells more of the people.
    fn of(
        reports: &[(ReportFormat, Bytes, String)],
        mapping: &Mapping,
        erased: &Erased,
        known: Traces,
    ) -> Self {
        let mut search = Self {
            found: Vec::new(),
            known,
            unreadable: BTreeMap::new(),
        };
        loop {
            let before = search.known.clone();
            search.found.clear();
            for (format, bytes, key) in reports {
                match erase(*format, bytes, mapping, erased, &mut search.known) {
                    Ok(done) => search.found.extend(done.map(|done| (*format, done))),
                    Err(why) => drop(search.unreadable.insert(key.clone(), why)),
                }
            }
            if search.known == before {
                return search;
            }
        }
    }
}

/// Writes the found reports without the people, and notes that in the manifest.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn destroy(
    run: &RunContext,
    manifest: &mut Manifest,
    findings: &mut DayFindings,
) -> Result<()> {
    for ((call, format), found) in &mut findings.reports {
        let landing = manifest
            .calls
            .get_mut(call)
            .and_then(|entry| entry.reports.get_mut(format));
        let Some(landed) = landing.and_then(|landing| landing.landed.as_mut()) else {
            continue;
        };
        let bytes = std::mem::take(&mut found.bytes);
        if !found.is_damaged {
            landed.sha256 = hex::encode(Sha256::digest(&bytes));
            landed.bytes = bytes.len() as u64;
            landed.erased.extend(found.erased_names.iter().cloned());
        }
        run.put(&landed.key, bytes, Condition::Any).await?;
    }
    Ok(())
}
