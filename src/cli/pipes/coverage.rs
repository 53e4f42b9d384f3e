//! The days of a run as Dagster is told of them: what the asset holds, and the asset checks. Read from the manifests.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::message::Metadata;
use crate::Result;
use crate::ids::SpaceId;
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::lake::tally::Tally;
use crate::pipeline::Summary;
use crate::status::DayStatus;
use crate::store::Store;
use crate::store::json::get_json;

/// Manifests read at once.
const READ_AT_ONCE: usize = 16;
/// The check that all calls, reports and recordings of the days are in the lake and in its tables.
pub(super) const COMPLETE: &str = "complete";
/// The check that it is known of each call who was there.
pub(super) const ATTENDANCE_KNOWN: &str = "attendance_known";

/// The sums over the days of a run.
#[derive(Debug, Default)]
pub(super) struct RunCoverage {
    days: u64,
    incomplete: u64,
    unbuilt: u64,
    calls: u64,
    calls_pending: u64,
    /// Calls of which no report says who was there.
    unreported: u64,
    participants: u64,
    reports: Tally,
    recordings: Tally,
    recorded_bytes: u64,
    rows: BTreeMap<String, u64>,
    /// The first reason why a day is not complete.
    reason: Option<String>,
    fingerprints: Sha256,
}

/// The result of an asset check.
#[derive(Debug)]
pub(super) struct Check {
    pub name: &'static str,
    pub passed: bool,
    /// `WARN` if only time is missing, else `ERROR`.
    pub severity: &'static str,
    pub metadata: Metadata,
}

/// Reads the days of a run; `spaces` empty means all.
///
/// # Errors
/// Any error of the store, or a manifest that can't be read.
pub(super) async fn read(store: &dyn Store, summary: &Summary, spaces: &[SpaceId]) -> Result<RunCoverage> {
    let keys = manifests(store, summary.from, summary.to).await?;
    let mut manifests = stream::iter(keys)
        .map(|key| async move { get_json::<Manifest>(store, &key).await })
        .buffered(READ_AT_ONCE);
    let mut coverage = RunCoverage::default();
    while let Some(read) = manifests.try_next().await? {
        // It was deleted after it was listed.
        let Some((manifest, _)) = read else { continue };
        if spaces.is_empty() || spaces.contains(&manifest.space_id) {
            coverage.add(&manifest);
        }
    }
    Ok(coverage)
}

/// The keys of the manifests of some dates, in order.
async fn manifests(store: &dyn Store, from: NaiveDate, to: NaiveDate) -> Result<Vec<String>> {
    let prefix = match from == to {
        true => format!("{}date={from}/", key::DAYS),
        false => key::DAYS.to_owned(),
    };
    let listed = store.list(&prefix).await?.into_iter().map(|object| object.key);
    let mut keys: Vec<_> = listed
        .filter(|key| key::date_in(key).is_some_and(|date| (from..=to).contains(&date)))
        .collect();
    keys.sort_unstable();
    Ok(keys)
}

impl RunCoverage {
    fn add(&mut self, manifest: &Manifest) {
        let day = DayStatus::of(manifest);
        self.days += 1;
        self.incomplete += u64::from(!day.complete);
        self.unbuilt += u64::from(!day.built);
        self.calls += day.calls;
        self.calls_pending += day.calls_pending;
        self.participants += day.participants;
        self.reports += day.reports;
        self.recordings += day.records;
        self.recorded_bytes += day.recorded_bytes;
        if self.reason.is_none() {
            self.reason = day.reason;
        }
        let Some(built) = &manifest.built else { return };
        self.unreported += built.unreported.len() as u64;
        for (name, table) in &built.tables {
            *self.rows.entry(name.clone()).or_default() += table.rows;
        }
        let line = format!("{}|{} {}\n", manifest.date, manifest.space_id, built.fingerprint);
        self.fingerprints.update(line);
    }

    /// The metadata of the materialization; `is_partition` if the asset has partitions.
    pub fn metadata(&self, summary: &Summary, store: &str, is_partition: bool) -> Metadata {
        let rows = self.rows.values().sum();
        let metadata = Metadata::default()
            .int("days", self.days)
            .int("calls", self.calls)
            .int("participants", self.participants)
            .int("reports", self.reports.done)
            .int("recordings", self.recordings.done)
            .int("recorded_bytes", self.recorded_bytes)
            .int("rows", rows)
            .json("rows_by_table", serde_json::json!(self.rows))
            .text("run_id", Some(&summary.id))
            .path(
                "summary",
                &format!("{}/{}", store.trim_end_matches('/'), key::run(&summary.id)),
            );
        match is_partition {
            // Dagster shows this key beside the partition.
            true => metadata.int("dagster/partition_row_count", rows),
            false => metadata,
        }
    }

    /// The version of the data: it changes if and only if an input of the tables does. None if a table is out of date.
    pub fn data_version(&self) -> Option<String> {
        let is_current = self.days > 0 && self.unbuilt == 0;
        is_current.then(|| hex::encode(self.fingerprints.clone().finalize()))
    }

    /// The results of the asset checks.
    pub fn checks(&self) -> [Check; 2] {
        let is_known = self.days > 0;
        let has_failed = self.reports.failed + self.recordings.failed > 0;
        let complete = Metadata::default()
            .int("days", self.days)
            .int("days_incomplete", self.incomplete)
            .int("calls_pending", self.calls_pending)
            .int("reports_pending", self.reports.pending)
            .int("reports_failed", self.reports.failed)
            .int("reports_denied", self.reports.denied)
            .int("reports_lost", self.reports.lost)
            .int("recordings_pending", self.recordings.pending)
            .int("recordings_failed", self.recordings.failed)
            .int("recordings_lost", self.recordings.lost)
            .text("reason", self.reason.as_deref());
        let attendance = Metadata::default()
            .int("calls", self.calls)
            .int("calls_without_report", self.unreported)
            .int("days_not_built", self.unbuilt);
        [
            Check {
                name: COMPLETE,
                passed: is_known && self.incomplete == 0,
                severity: if has_failed { "ERROR" } else { "WARN" },
                metadata: complete,
            },
            Check {
                name: ATTENDANCE_KNOWN,
                passed: is_known && self.unbuilt == 0 && self.unreported == 0,
                severity: "WARN",
                metadata: attendance,
            },
        ]
    }
}
