//! A day in work: its manifest, the version that the store has, and all that this run has learnt about it.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};

use super::claim::DayClaim;
use super::recording::RecordResult;
use super::report::ReportResult;
use super::{expire, give_up, merge};
use crate::ids::{CallId, DayId, RecordId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::{Built, Manifest, Status};
use crate::pipeline::job::Piece;
use crate::pipeline::memory::{Fresh, MemoryBudget};
use crate::pipeline::rules::JobRules;
use crate::pipeline::summary::{DayReport, Problem, ProblemKind};
use crate::pipeline::walk::found::DayWork;
use crate::store::json::get_json;
use crate::store::{Store, Version};
use crate::{Error, ErrorKind, Result};

/// A day in work.
pub(crate) struct DayState {
    /// The manifest as it will be committed.
    pub manifest: Manifest,
    /// The manifest as the store has it.
    pub stored: Option<(Manifest, Version)>,
    /// True if the stored manifest says that the day is open; none if nobody has asked yet.
    pub stored_is_open: Option<bool>,
    /// The reports that were just landed.
    pub fresh: Fresh,
    /// The counts and problems for the run's summary.
    pub report: DayReport,
    /// True if the store has a marker which says that the day is open.
    pub has_marker: bool,
    /// True if the manifest was written, and nobody has looked since then if the marker is still right.
    pub marker_is_unproved: bool,
    /// True if the manifest was written, or a rebuild was asked for, and the row of `days` was not compared since then.
    pub row_is_due: bool,
    /// The number of erasures whose people are not in the day's reports; none if it is those from before the run.
    pub erasures_known: Option<u64>,
    /// The claims of this process on the day.
    pub claim: DayClaim,
    /// True if other days must still give up what this one has taken, so that it keeps its marker.
    pub waits_for_others: bool,
    /// True if objects must still be deleted after the commit, so that the day keeps its marker.
    pub keeps_marker: bool,
    /// The calls and records that the day gives up, also if another process commits it with them meanwhile.
    given_up: (BTreeSet<CallId>, BTreeSet<RecordId>),
    /// Receipts of uploads. They are deleted when the manifest, which says the same, is committed.
    pub receipts: Vec<String>,
    /// The reports and recordings that were given up before this run.
    lost: HashSet<Piece>,
    /// The reports and recordings that were not asked for because other requests of their space or room kept failing.
    /// The run reports them together.
    skipped: HashSet<Piece>,
}

impl DayState {
    /// Loads a day from the store. A day without a manifest is empty.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn load(store: &dyn Store, date: NaiveDate, space: SpaceId) -> Result<Self> {
        let stored = get_json::<Manifest>(store, &key::manifest(date, &space)).await?;
        let manifest = match &stored {
            Some((manifest, _)) => manifest.clone(),
            None => Manifest::new(date, space),
        };
        Ok(Self::new(manifest, stored))
    }

    /// A day whose manifest was read from the store.
    pub fn from_stored(manifest: Manifest, version: Version) -> Self {
        Self::new(manifest.clone(), Some((manifest, version)))
    }

    fn new(manifest: Manifest, stored: Option<(Manifest, Version)>) -> Self {
        Self {
            lost: lost(&manifest),
            manifest,
            stored,
            stored_is_open: None,
            fresh: HashMap::new(),
            report: DayReport::default(),
            has_marker: false,
            marker_is_unproved: false,
            row_is_due: false,
            erasures_known: None,
            claim: DayClaim::default(),
            waits_for_others: false,
            keeps_marker: false,
            given_up: (BTreeSet::new(), BTreeSet::new()),
            skipped: HashSet::new(),
            receipts: Vec::new(),
        }
    }

    /// The id of the day.
    pub fn id(&self) -> DayId {
        DayId::new(self.manifest.date, self.manifest.space_id.clone())
    }

    /// Notes what the day gives up.
    pub fn gives_up(&mut self, work: &DayWork) {
        self.given_up = (work.evict_calls.clone(), work.evict_records.clone());
    }

    /// Merges the manifest that another process has committed meanwhile. What this day gives up does not come back by it.
    pub fn absorb(&mut self, theirs: Manifest) {
        self.manifest.absorb(theirs);
        let (calls, records) = &self.given_up;
        merge::evict(&mut self.manifest, calls, records);
    }

    /// The tables that the stored manifest names.
    pub fn stored_build(&self) -> Option<&Built> {
        self.stored.as_ref()?.0.built.as_ref()
    }

    /// The time of the last listing that the stored manifest notes.
    pub fn stored_listing(&self) -> Option<DateTime<Utc>> {
        self.stored.as_ref()?.0.listed_at
    }

    /// The claim in the stored manifest.
    pub fn stored_claim(&self) -> Option<&str> {
        self.stored.as_ref()?.0.building.as_deref()
    }

    /// True if another process has claimed the day, or had when it died.
    pub fn is_claimed_by_another(&self) -> bool {
        self.claim.is_of_another(self.stored_claim())
    }

    /// Takes in the result of a request for a report.
    pub fn accept_report(&mut self, rules: &JobRules, memory: &MemoryBudget, mut result: ReportResult) {
        if let (Some(bytes), Some(landed)) = (result.fresh, result.landing.landed.as_ref()) {
            self.report.counts.reports_landed += 1;
            if let Some(room) = memory.keep(bytes.len() as u64) {
                self.fresh.insert(landed.key.clone(), (bytes, room));
            }
        }
        self.report.warnings.extend(result.warning);
        if result.skipped {
            let piece = Piece::Report(result.call.clone(), result.format);
            self.skipped.insert(piece);
        }
        let is_frozen = self.manifest.is_frozen();
        let Some(entry) = self.manifest.calls.get_mut(&result.call) else {
            return;
        };
        if is_frozen && expire::is_news(&result.landing, entry.reports.get(&result.format)) {
            self.manifest.reports_wanted_at.get_or_insert(rules.now);
        }
        // A landing that did not change was not asked for, because the run stops. If the end of the call cannot be read,
        // nobody knows for how long its report has been due.
        let was_asked = entry.reports.get(&result.format) != Some(&result.landing);
        if was_asked && !entry.end_is_unreadable() {
            let end = give_up::end_of_call(entry, self.manifest.date);
            rules.give_up.give_up(&mut result.landing, end);
        }
        entry.reports.insert(result.format, result.landing);
    }

    /// Takes in the result of a copy of a recording.
    pub fn accept_record(&mut self, rules: &JobRules, mut result: RecordResult) {
        if result.bytes > 0 {
            self.report.counts.records_landed += 1;
            self.report.counts.recorded_bytes += result.bytes;
        }
        self.report.warnings.extend(result.warning);
        if result.skipped {
            self.skipped.insert(Piece::Recording(result.record.clone()));
        }
        self.receipts.extend(result.receipt);
        let is_frozen = self.manifest.is_frozen();
        let Some(entry) = self.manifest.records.get_mut(&result.record) else {
            return;
        };
        if is_frozen && expire::is_news(&result.landing, Some(&entry.file)) {
            self.manifest.reports_wanted_at.get_or_insert(rules.now);
        }
        if entry.file != result.landing {
            let end = give_up::end_of_record(entry, self.manifest.date);
            rules.give_up.give_up(&mut result.landing, end);
        }
        entry.file = result.landing;
    }

    /// Adds to the report the reports in the lake that do not say who was there.
    pub fn name_shortfalls(&mut self) {
        let (date, space) = (self.manifest.date, &self.manifest.space_id);
        for (id, entry) in &self.manifest.calls {
            for (format, landing) in &entry.reports {
                let problem = |kind: ProblemKind, why: &str| {
                    let message = format!("{} report: {why}", format.as_str());
                    let problem = Problem::new(kind, message).on(date, space);
                    problem.room(&entry.room_id).call(id)
                };
                if landing.is_put_aside() {
                    let why = landing.reason.as_deref().unwrap_or_default();
                    self.report.failed.push(problem(ProblemKind::ReportFailed, why));
                }
                // The build reports what cannot be read at all.
                let lack = landing
                    .shortfall()
                    .filter(|lack| lack.status() == Status::Pending);
                let pending = lack.map(|lack| problem(ProblemKind::ReportPending, lack.reason()));
                self.report.pending.extend(pending);
            }
        }
    }

    /// Counts the day as it is at the end of its work, and reports what is not done.
    pub fn count(&mut self, rules: &JobRules) {
        let (date, space) = (self.manifest.date, &self.manifest.space_id);
        if let Some(built) = &self.manifest.built {
            self.report.counts.quality = built.quality;
            self.report.noted.see_quality(date, space, &built.quality);
        }
        self.report.counts.days = 1;
        self.report.counts.calls = self.manifest.calls.len() as u64;
        self.count_reports(rules);
        if rules.wants_recordings() {
            self.count_recordings(rules);
        }
    }

    fn count_reports(&mut self, rules: &JobRules) {
        let (date, space) = (self.manifest.date, &self.manifest.space_id);
        let again = rules.job.asks_for_lost(date);
        let report = &mut self.report;
        for (id, entry) in &self.manifest.calls {
            let problem = |kind: ProblemKind, why: &str| {
                Problem::new(kind, why)
                    .on(date, space)
                    .room(&entry.room_id)
                    .call(id)
            };
            if let Some(why) = &entry.pending {
                report.counts.calls_pending += 1;
                report.counts.reports.pending += entry.reports.len() as u64;
                report.pending.push(problem(ProblemKind::CallPending, why));
                continue;
            }
            for (format, landing) in &entry.reports {
                let piece = Piece::Report(id.clone(), *format);
                if self.skipped.contains(&piece) {
                    report.counts.reports.pending += 1;
                } else if rules.formats_of_job().contains(format) {
                    let named = |kind: ProblemKind| {
                        let why = landing.reason.as_deref().unwrap_or_default();
                        problem(kind, &format!("{} report: {why}", format.as_str()))
                    };
                    // The run that gives a report up names it, and so does a run that asks for it again.
                    let names_lost = again || !self.lost.contains(&piece);
                    report.count_report(landing.status, names_lost, named);
                }
            }
        }
    }

    fn count_recordings(&mut self, rules: &JobRules) {
        let (date, space) = (self.manifest.date, &self.manifest.space_id);
        let again = rules.job.asks_for_lost(date);
        for (id, entry) in &self.manifest.records {
            let piece = Piece::Recording(id.clone());
            if self.skipped.contains(&piece) {
                self.report.counts.records.pending += 1;
                continue;
            }
            let named = |kind: ProblemKind| {
                let why = entry.file.reason.as_deref().unwrap_or_default();
                Problem::new(kind, why)
                    .on(date, space)
                    .room(&entry.room_id)
                    .record(id)
            };
            let names_lost = again || !self.lost.contains(&piece);
            self.report.count_record(entry.file.status, names_lost, named);
        }
    }

    /// The report of a day that could not be committed. What was landed is in the lake all the same.
    pub fn into_failed_report(self, error: &Error) -> DayReport {
        let mut report = failed_report(error, self.manifest.date, &self.manifest.space_id);
        let landed = &self.report.counts;
        report.counts.reports_landed = landed.reports_landed;
        report.counts.records_landed = landed.records_landed;
        report.counts.recorded_bytes = landed.recorded_bytes;
        report.warnings = self.report.warnings;
        report
    }
}

/// The report of a day that failed. A day that was interrupted has nothing to report.
pub(crate) fn failed_report(error: &Error, date: NaiveDate, space: &SpaceId) -> DayReport {
    let mut report = DayReport::default();
    if error.kind() != ErrorKind::Interrupted {
        tracing::error!(%date, %space, %error, "the day failed");
        let kind = if is_of_store(error.kind()) {
            ProblemKind::StoreFailed
        } else {
            ProblemKind::DayFailed
        };
        let problem = Problem::new(kind, error.to_string()).on(date, space);
        report.failed.push(problem);
    }
    report
}

fn is_of_store(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Store | ErrorKind::StoreUnavailable | ErrorKind::StoreNotFound | ErrorKind::Precondition
    )
}

/// The reports and recordings of a day that are given up.
fn lost(manifest: &Manifest) -> HashSet<Piece> {
    let reports = manifest.calls.iter().flat_map(|(id, call)| {
        let lost = call
            .reports
            .iter()
            .filter(|(_, landing)| landing.status == Status::Lost);
        lost.map(|(format, _)| Piece::Report(id.clone(), *format))
    });
    let records = manifest
        .records
        .iter()
        .filter(|(_, record)| record.file.status == Status::Lost);
    reports
        .chain(records.map(|(id, _)| Piece::Recording(id.clone())))
        .collect()
}

impl DayReport {
    /// Counts a report. A report that is lost is a warning only if `names_lost`.
    fn count_report(&mut self, status: Status, names_lost: bool, named: impl Fn(ProblemKind) -> Problem) {
        let counts = &mut self.counts;
        match status {
            Status::Done => counts.reports.done += 1,
            Status::Pending | Status::Unavailable => {
                counts.reports.pending += 1;
                self.pending.push(named(ProblemKind::ReportPending));
            }
            Status::Denied => {
                counts.reports.denied += 1;
                self.warnings.push(named(ProblemKind::ReportDenied));
            }
            Status::Failed => {
                counts.reports.failed += 1;
                self.failed.push(named(ProblemKind::ReportFailed));
            }
            Status::Lost => {
                counts.reports.lost += 1;
                self.warnings
                    .extend(names_lost.then(|| named(ProblemKind::ReportLostForGood)));
            }
        }
    }

    /// Counts a recording. A recording that is lost is a warning only if `names_lost`.
    fn count_record(&mut self, status: Status, names_lost: bool, named: impl Fn(ProblemKind) -> Problem) {
        let counts = &mut self.counts;
        match status {
            Status::Done => counts.records.done += 1,
            Status::Pending => {
                counts.records.pending += 1;
                self.pending.push(named(ProblemKind::RecordPending));
            }
            Status::Unavailable => {
                counts.records.unavailable += 1;
                self.warnings.push(named(ProblemKind::RecordUnavailable));
            }
            Status::Denied => {
                counts.records.denied += 1;
                self.warnings.push(named(ProblemKind::RecordDenied));
            }
            Status::Failed => {
                counts.records.failed += 1;
                self.failed.push(named(ProblemKind::RecordFailed));
            }
            Status::Lost => {
                counts.records.lost += 1;
                self.warnings
                    .extend(names_lost.then(|| named(ProblemKind::RecordLostForGood)));
            }
        }
    }
}
