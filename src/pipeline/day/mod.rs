//! One day's work: load its manifest, merge what the walk found, land reports and recordings, build, commit.
//!
//! Whatever fails is kept in the manifest with its reason and is tried again by later runs; a day's failure stops no
//! other day.

pub(crate) mod attempts;
pub(crate) mod build;
pub(crate) mod build_threads;
pub(crate) mod commit;
pub(crate) mod give_up;
pub(crate) mod publish;
pub(crate) mod recording;
pub(crate) mod report;
pub(crate) mod transfer;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use tokio::time::{Duration, Instant};
use tracing::Instrument;

use super::memory::KeptRoom;
use super::summary::{DayReport, Problem, ProblemKind};
use super::walk::{self, Asked, DayWork};
use super::{ExportContext, Job, Piece};
use crate::api::{Call, Record};
use crate::config::ReportFormat;
use crate::ids::{CallId, DayId, RecordId, RoomId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::{CallEntry, Landing, Manifest, RecordEntry, RoomEntry, Status};
use crate::pipeline::walk::gone_rooms;
use crate::store::Version;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};
use recording::{RecordAsk, RecordResult};
use report::{ReportAsk, ReportResult};

/// How often landed work is written down while a day is long, so that a kill loses little.
const CHECKPOINT: Duration = Duration::from_secs(10);
/// Reports that were just landed, by key: kept for the build while there is room, else read back from the store.
pub(crate) type Fresh = HashMap<String, (Bytes, KeptRoom)>;

/// A day in work.
pub(crate) struct Day {
    pub manifest: Manifest,
    /// What the store holds.
    pub stored: Option<(Manifest, Version)>,
    pub fresh: Fresh,
    pub report: DayReport,
    /// Whether there is a marker that says the day is open.
    pub marked: bool,
    /// The claims that this process has made on the day, and whether the last one stands.
    pub claims: Vec<String>,
    pub claimed: bool,
    /// Whether another process was met on the day.
    pub contested: bool,
    /// Whether another process had claimed the day and may live on: its marker stays, so that the next run looks again.
    pub doubted: bool,
    /// What had been given up before this run.
    lost: HashSet<Piece>,
    /// What was not asked for, as others of its space or room had kept failing: the run tells it in one.
    skipped: Skipped,
    /// Receipts of uploads: removed once the manifest, which says the same, is committed.
    pub receipts: Vec<String>,
}

/// What of a day has been given up.
fn lost(manifest: &Manifest) -> HashSet<Piece> {
    let reports = manifest.calls.iter().flat_map(|(id, call)| {
        call.reports
            .iter()
            .map(move |(format, landing)| (Piece::Report(id.clone(), *format), landing.status))
    });
    let records = manifest
        .records
        .iter()
        .map(|(id, record)| (Piece::Recording(id.clone()), record.file.status));
    reports
        .chain(records)
        .filter(|(_, status)| *status == Status::Lost)
        .map(|(piece, _)| piece)
        .collect()
}

/// Reports and recordings that were not asked for.
#[derive(Default)]
struct Skipped {
    reports: HashSet<(CallId, ReportFormat)>,
    records: HashSet<RecordId>,
}

/// Something to be fetched.
enum Ask {
    Report(ReportAsk),
    Record(RecordAsk),
}

enum Fetched {
    Report(ReportResult),
    Record(RecordResult),
}

/// Does a day's work and tells what came of it.
pub(crate) async fn process(context: &Arc<ExportContext>, job: &Job, work: DayWork) -> DayReport {
    let (date, space) = (work.date, work.space_id.clone());
    // A task of its own, so that days use all cores, and a fault in one stays there.
    let (of_day, job) = (Arc::clone(context), job.clone());
    let span = tracing::info_span!("day", %date, %space);
    let working = tokio::spawn(async move { Box::pin(work_on(&of_day, &job, work)).await }.instrument(span));
    let outcome = working
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "day", "its work broke off")));
    let report = match outcome {
        Ok(report) => report,
        Err(error) => failed(&error, date, &space),
    };
    context.run.progress.days.advance(1);
    report
}

/// The report of a day that broke off.
fn failed(error: &Error, date: chrono::NaiveDate, space: &SpaceId) -> DayReport {
    let mut report = DayReport::default();
    if error.kind() != ErrorKind::Interrupted {
        tracing::error!(%date, %space, %error, "the day failed");
        let kind = if is_store(error.kind()) {
            ProblemKind::StoreFailed
        } else {
            ProblemKind::DayFailed
        };
        report
            .failed
            .push(Problem::new(kind, error.to_string()).on(date, space));
    }
    report
}

fn is_store(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Store | ErrorKind::StoreUnavailable | ErrorKind::StoreNotFound | ErrorKind::Precondition
    )
}

async fn work_on(context: &Arc<ExportContext>, job: &Job, work: DayWork) -> Result<DayReport> {
    if context.run.cancel.is_cancelled() {
        return Err(Error::new(
            ErrorKind::Interrupted,
            "day",
            "stopped before it was begun",
        ));
    }
    let mut day = Day::load(context, &work).await?;
    let reachable = !work.missed.space;
    day.report.warnings.extend(unreadable(&work));
    merge(context, job, &mut day.manifest, work);
    if reachable {
        day.land(context, job).await;
    }
    if let Err(error) = build::settle(&context.run, &mut day).await {
        return Ok(day.broken_off(&error));
    }
    day.count(context, job);
    Ok(day.report)
}

/// Builds a day's tables again from what lies in the lake, where they are not of its present state.
pub(crate) async fn refresh(
    context: &Arc<ExportContext>,
    date: chrono::NaiveDate,
    space: SpaceId,
) -> DayReport {
    let of_day = Arc::clone(context);
    let id = space.clone();
    let span = tracing::info_span!("day", %date, %space);
    let building = async move {
        let mut day = Day::of(&of_day, date, space).await?;
        build::settle(&of_day.run, &mut day).await?;
        Ok(day.report)
    };
    let working = tokio::spawn(building.instrument(span));
    let outcome = working
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "day", "its work broke off")));
    outcome.unwrap_or_else(|error| failed(&error, date, &id))
}

impl Day {
    /// A day as the store has it.
    pub(crate) fn stored(manifest: Manifest, version: Version) -> Self {
        Self::new(manifest.clone(), Some((manifest, version)))
    }

    fn new(manifest: Manifest, stored: Option<(Manifest, Version)>) -> Self {
        Self {
            lost: lost(&manifest),
            manifest,
            stored,
            fresh: HashMap::new(),
            report: DayReport::default(),
            marked: false,
            claims: Vec::new(),
            claimed: false,
            contested: false,
            doubted: false,
            skipped: Skipped::default(),
            receipts: Vec::new(),
        }
    }

    pub(crate) async fn load(context: &ExportContext, work: &DayWork) -> Result<Self> {
        let mut day = Self::of(context, work.date, work.space_id.clone()).await?;
        day.marked = work.marked;
        Ok(day)
    }

    async fn of(context: &ExportContext, date: chrono::NaiveDate, space: SpaceId) -> Result<Self> {
        let key = key::manifest(date, &space);
        let stored = get_json::<Manifest>(&*context.run.store, &key).await?;
        let manifest = match &stored {
            Some((manifest, _)) => manifest.clone(),
            None => Manifest::new(date, space),
        };
        Ok(Self::new(manifest, stored))
    }

    /// The report of a day that was not committed: what has landed lies in the lake all the same.
    fn broken_off(self, error: &Error) -> DayReport {
        let mut report = failed(error, self.manifest.date, &self.manifest.space_id);
        let landed = &self.report.counts;
        report.counts.reports_landed = landed.reports_landed;
        report.counts.records_landed = landed.records_landed;
        report.counts.recorded_bytes = landed.recorded_bytes;
        report.warnings = self.report.warnings;
        report
    }

    /// Fetches all that is due, many at once, and takes each result in as it comes.
    async fn land(&mut self, context: &Arc<ExportContext>, job: &Job) {
        let asks = due(context, job, &self.manifest);
        let (mut reports, mut records) = (Vec::new(), Vec::new());
        for ask in asks {
            match ask {
                Ask::Report(ask) => reports.push(ask),
                Ask::Record(ask) => records.push(ask),
            }
        }
        // What failed before goes last: it must not use up the patience that others need.
        reports.sort_by_key(|ask| ask.before.attempts);
        records.sort_by_key(|ask| ask.before.attempts);
        add_goals(context, &reports, &records);
        if !records.is_empty()
            && let Err(error) = commit::commit(&context.run, self).await
        {
            // Recordings take long: a run that is killed at the first of them has left an open day behind, and what it
            // has uploaded belongs to a known record. Where this fails, the day's end tells.
            tracing::debug!(%error, "the day was not marked before its recordings");
        }
        let reports = stream::iter(reports)
            .map(|ask| async move {
                let span = tracing::info_span!("report", call = ask.call.as_str(), format = ask.format.as_str());
                Fetched::Report(report::report(context, ask).instrument(span).await)
            })
            .buffer_unordered(context.run.config.api.concurrency);
        let records = stream::iter(records)
            .map(|ask| async move {
                let span = tracing::info_span!("recording", record = ask.record.as_str());
                Fetched::Record(recording::copy(context, ask).instrument(span).await)
            })
            .buffer_unordered(super::TRANSFERS_AT_ONCE);
        let mut fetched = stream::select(reports, records);
        let mut checkpoint = tokio::time::interval_at(Instant::now() + CHECKPOINT, CHECKPOINT);
        let mut changed = false;
        loop {
            let result = tokio::select! {
                result = fetched.next() => result,
                _ = checkpoint.tick() => {
                    // What is lost here is only work: the day's end commits all of it, or says why not.
                    if std::mem::take(&mut changed)
                        && let Err(error) = commit::commit(&context.run, self).await
                    {
                        tracing::debug!(%error, "no checkpoint");
                    }
                    continue;
                }
            };
            changed = true;
            match result {
                Some(Fetched::Report(result)) => self.take_report(context, result),
                Some(Fetched::Record(result)) => self.take_record(context, result),
                None => return,
            }
        }
    }

    fn take_report(&mut self, context: &ExportContext, mut result: ReportResult) {
        if let (Some(bytes), Some(landed)) = (result.fresh, result.landing.landed.as_ref()) {
            self.report.counts.reports_landed += 1;
            if let Some(room) = context.run.memory.keep(bytes.len() as u64) {
                self.fresh.insert(landed.key.clone(), (bytes, room));
            }
        }
        self.report.warnings.extend(result.warning);
        if result.skipped {
            self.skipped.reports.insert((result.call.clone(), result.format));
        }
        if let Some(entry) = self.manifest.calls.get_mut(&result.call) {
            // One that is as it was has not been asked for: the run stops.
            if entry.reports.get(&result.format) != Some(&result.landing) {
                // Where its end can't be read, nobody knows for how long the report has been due.
                if !entry.end_is_unreadable() {
                    let end = give_up::end_of_call(entry, self.manifest.date);
                    context.patience().give_up(&mut result.landing, end);
                }
            }
            entry.reports.insert(result.format, result.landing);
        }
    }

    fn take_record(&mut self, context: &ExportContext, mut result: RecordResult) {
        if result.bytes > 0 {
            self.report.counts.records_landed += 1;
            self.report.counts.recorded_bytes += result.bytes;
        }
        self.report.warnings.extend(result.warning);
        if result.skipped {
            self.skipped.records.insert(result.record.clone());
        }
        self.receipts.extend(result.receipt);
        if let Some(entry) = self.manifest.records.get_mut(&result.record) {
            if entry.file != result.landing {
                let end = give_up::end_of_record(entry, self.manifest.date);
                context.patience().give_up(&mut result.landing, end);
            }
            entry.file = result.landing;
        }
    }

    /// Names the reports in the lake that do not say who was there.
    pub(crate) fn name_shortfalls(&mut self) {
        let (date, space) = (self.manifest.date, self.manifest.space_id.as_str());
        for (id, entry) in &self.manifest.calls {
            for (format, landing) in &entry.reports {
                let named = |kind: ProblemKind, why: &str| {
                    let message = format!("{} report: {why}", format.as_str());
                    let problem = Problem::new(kind, message).on(date, &space.into());
                    problem.room(&entry.room_id).call(id)
                };
                if landing.is_put_aside() {
                    let why = landing.reason.as_deref().unwrap_or_default();
                    self.report.failed.push(named(ProblemKind::ReportFailed, why));
                }
                // What can't be read at all is named by the build.
                let Some(lack) = landing
                    .shortfall()
                    .filter(|lack| lack.status() == Status::Pending)
                else {
                    continue;
                };
                self.report.pending.push(named(ProblemKind::ReportPending, lack.reason()));
            }
        }
    }

    /// Counts the day as it now is, and names what is not done.
    fn count(&mut self, context: &ExportContext, job: &Job) {
        let (date, space) = (self.manifest.date, self.manifest.space_id.as_str());
        let report = &mut self.report;
        // Each is named by the run that gives it up, and by those that ask for it again.
        let again = job.asks_for_lost(date);
        let told = |piece: &Piece| again || !self.lost.contains(piece);
        if let Some(built) = &self.manifest.built {
            report.counts.quality = built.quality;
            report.noted.see_quality(date, &space.into(), &built.quality);
        }
        report.counts.days = 1;
        report.counts.calls = self.manifest.calls.len() as u64;
        for (id, entry) in &self.manifest.calls {
            let about = |kind: ProblemKind, why: &str| {
                Problem::new(kind, why)
                    .on(date, &space.into())
                    .room(&entry.room_id)
                    .call(id)
            };
            if let Some(why) = &entry.pending {
                report.counts.calls_pending += 1;
                report.counts.reports.pending += entry.reports.len() as u64;
                report.pending.push(about(ProblemKind::CallPending, why));
                continue;
            }
            for (format, landing) in &entry.reports {
                if self.skipped.reports.contains(&(id.clone(), *format)) {
                    report.counts.reports.pending += 1;
                } else if context.wants_reports(job).contains(format) {
                    let named = |kind: ProblemKind| {
                        let why = landing.reason.as_deref().unwrap_or_default();
                        about(kind, &format!("{} report: {why}", format.as_str()))
                    };
                    report.count_report(landing.status, told(&Piece::Report(id.clone(), *format)), named);
                }
            }
        }
        if context.wants_recordings(job) {
            for (id, entry) in &self.manifest.records {
                if self.skipped.records.contains(id) {
                    report.counts.records.pending += 1;
                    continue;
                }
                let named = |kind: ProblemKind| {
                    let why = entry.file.reason.as_deref().unwrap_or_default();
                    Problem::new(kind, why)
                        .on(date, &space.into())
                        .room(&entry.room_id)
                        .record(id)
                };
                report.count_record(entry.file.status, told(&Piece::Recording(id.clone())), named);
            }
        }
    }
}

impl DayReport {
    fn count_report(&mut self, status: Status, told: bool, named: impl Fn(ProblemKind) -> Problem) {
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
                self.warnings.extend(told.then(|| named(ProblemKind::ReportLostForGood)));
            }
        }
    }

    fn count_record(&mut self, status: Status, told: bool, named: impl Fn(ProblemKind) -> Problem) {
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
                self.warnings.extend(told.then(|| named(ProblemKind::RecordLostForGood)));
            }
        }
    }
}

fn add_goals(context: &ExportContext, reports: &[ReportAsk], records: &[RecordAsk]) {
    context.run.progress.reports.add_goal(reports.len() as u64);
    context.run.progress.recordings.add_goal(records.len() as u64);
    context
        .run
        .progress
        .recorded_bytes
        .add_goal(records.iter().filter_map(|ask| ask.file_size).sum());
}

/// Names the calls and records of which a field can't be read.
fn unreadable(work: &DayWork) -> Vec<Problem> {
    let calls = work.calls.iter().map(|(id, (room, call))| {
        let problem = |problem: Problem| problem.room(room).call(id);
        walk::unreadable("call", &call.unreadable).map(problem)
    });
    let records = work.records.iter().map(|(id, (room, record))| {
        let problem = |problem: Problem| problem.room(room).record(id);
        walk::unreadable("record", &record.unreadable).map(problem)
    });
    calls
        .chain(records)
        .flatten()
        .map(|problem| problem.on(work.date, &work.space_id))
        .collect()
}

/// Takes the walk's findings into the manifest. What the API lists again is as it lists it now; what it lists no more
/// stays, unless it turned out to lie on another day.
pub(crate) fn merge(context: &ExportContext, job: &Job, manifest: &mut Manifest, work: DayWork) {
    merge_missed(context, job, manifest, &work);
    manifest.space_name = work.space_name.or(manifest.space_name.take());
    manifest.listed |= work.listed;
    for (id, room) in work.rooms {
        if room != RoomEntry::default() || !manifest.rooms.contains_key(&id) {
            manifest.rooms.insert(id, room);
        }
    }
    let mut evicted = Vec::new();
    for id in &work.evict_calls {
        let reports = manifest
            .calls
            .remove(id)
            .map(|entry| entry.reports)
            .unwrap_or_default();
        evicted.extend(reports.into_values().filter_map(|landing| landing.landed));
    }
    for id in &work.evict_records {
        evicted.extend(manifest.records.remove(id).and_then(|entry| entry.file.landed));
    }
    manifest
        .evicted
        .extend(evicted.into_iter().map(|landed| landed.key));
    for (id, (room, call)) in work.calls {
        merge_call(manifest, id, room, call);
    }
    for (id, (room, record)) in work.records {
        merge_record(manifest, id, room, record);
    }
    let (settle, patience, date) = (context.settle(), context.patience(), manifest.date);
    let missed = manifest.missed.clone();
    let was_listed = |room: &RoomId| !missed.space && !missed.rooms.contains(room);
    for entry in manifest.calls.values_mut() {
        entry.pending = unsettled(entry, settle, context.run.now);
        // One that never ends, by what the API says of it, is asked about in the end.
        if entry.finished_at.is_none()
            && was_listed(&entry.room_id)
            && patience.is_over(give_up::end_of_call(entry, date))
        {
            entry.pending = None;
        }
        for format in &context.run.config.export.reports {
            entry
                .reports
                .entry(*format)
                .or_insert_with(|| Landing::pending("not asked for yet"));
        }
    }
    for entry in manifest.records.values_mut() {
        let was_lost = entry.file.status == Status::Lost;
        if let Some((status, reason)) = recording::obstacle(entry)
            && entry.file.landed.is_none()
        {
            entry.file = Landing {
                status,
                reason: Some(reason),
                attempts: 0,
                landed: None,
            };
            // What can't be read is no proof that nothing will come.
            if was_lost || (was_listed(&entry.room_id) && !entry.end_is_unreadable()) {
                let end = give_up::end_of_record(entry, date);
                patience.give_up(&mut entry.file, end);
            }
        } else if was_lost && entry.file.attempts == 0 {
            // It was never asked for, and now it can be.
            entry.file = Landing::pending("not asked for yet");
        }
    }
}

/// Runs that find the list of rooms longer than what came, before that is given up: the API may count wrong for good.
const PARTIAL_RUNS: u32 = 3;

/// Takes in what could not be listed of the day. What is given up is no reason to come back to the day, but it is never
/// complete.
fn merge_missed(context: &ExportContext, job: &Job, manifest: &mut Manifest, work: &DayWork) {
    let before = std::mem::take(&mut manifest.missed);
    let found = &work.missed;
    let missed = &mut manifest.missed;
    let all = matches!(work.asked, Asked::All);
    let was_asked = |room: &RoomId| match &work.asked {
        // If the rooms could not be listed, none was asked.
        _ if job.only.is_some() || found.space => false,
        Asked::All => true,
        Asked::Rooms(rooms) => rooms.contains(room),
    };
    if all && job.only.is_none() {
        (missed.space, missed.partial) = (found.space, found.partial);
    } else {
        missed.space = before.space || (all && found.space);
        missed.partial = before.partial || found.partial;
    }
    missed.partial_runs = match (found.partial, missed.partial) {
        (true, _) => before.partial_runs + 1,
        (false, true) => before.partial_runs,
        (false, false) => 0,
    };
    let waiting = before.rooms.into_iter().filter(|room| !was_asked(room));
    missed.rooms = waiting.chain(found.rooms.iter().cloned()).collect();
    let heard = |room: &RoomId| {
        work.heard_gone.contains(room) || (was_asked(room) && work.listed_rooms.contains(room))
    };
    missed.gone = before.gone.into_iter().filter(|room| !heard(room)).collect();
    if gone_rooms::is_given_up(context, manifest.date) {
        let refused = work.refused.keys().filter(|room| missed.rooms.remove(*room));
        missed.gone.extend(refused.cloned());
        missed.partial &= missed.partial_runs < PARTIAL_RUNS;
    }
}

fn merge_call(manifest: &mut Manifest, id: CallId, room: RoomId, call: Call) {
    let known = manifest.calls.remove(&id);
    let changed = known
        .as_ref()
        .is_some_and(|known| known.finished_at != call.finished_at);
    let mut reports = known.map(|entry| entry.reports).unwrap_or_default();
    for landing in reports.values_mut() {
        if changed && landing.status == Status::Lost {
            landing.status = Status::Pending;
            landing.reason = Some("the call has changed since its report was given up".into());
            landing.attempts = 0;
        }
    }
    let entry = CallEntry {
        room_id: room,
        started_at: call.started_at,
        finished_at: call.finished_at,
        participants: call.participants,
        call: call.raw,
        pending: None,
        reports,
    };
    manifest.calls.insert(id, entry);
}

fn merge_record(manifest: &mut Manifest, id: RecordId, room: RoomId, record: Record) {
    let file = manifest.records.remove(&id).map(|entry| entry.file);
    let entry = RecordEntry {
        room_id: room,
        call_id: record.call_id,
        started_at: record.started_at,
        finished_at: record.finished_at,
        record: record.raw,
        file: file.unwrap_or_else(|| Landing::pending("not asked for yet")),
    };
    manifest.records.insert(id.into(), entry);
}

/// Why a call's reports are not asked for yet.
fn unsettled(entry: &CallEntry, settle: chrono::TimeDelta, now: DateTime<Utc>) -> Option<String> {
    match entry.finished_at {
        None if entry.end_is_unreadable() => Some("the call's `finishedAt` can't be read".into()),
        None => Some("the call has not finished".into()),
        Some(end) if end.checked_add_signed(settle).is_none_or(|settled| now < settled) => {
            Some("the call has only just finished".into())
        }
        Some(_) => None,
    }
}

/// What there is of something, as it is asked for: what was given up has as many attempts as something new.
fn revived(landing: &Landing) -> Landing {
    let attempts = match landing.status {
        Status::Lost => 0,
        _ => landing.attempts,
    };
    Landing {
        attempts,
        ..landing.clone()
    }
}

/// What is to be fetched of a day.
fn due(context: &ExportContext, job: &Job, manifest: &Manifest) -> Vec<Ask> {
    let (date, space) = (manifest.date, &manifest.space_id);
    let mut asks = Vec::new();
    let force = job.force && (job.from..=job.to).contains(&date);
    let wanted = |room: &RoomId| job.rooms.is_empty() || job.rooms.contains(room);
    let again = job.asks_for_lost(date);
    let day = DayId::new(date, space);
    let forced = |piece| force || context.again.contains(&(day.clone(), piece));
    let left_alone = |landing: &Landing| landing.status == Status::Lost && !again;
    let calls = manifest.calls.iter();
    for (id, entry) in calls.filter(|(id, entry)| wanted(&entry.room_id) && job.takes_call(id)) {
        for format in context.wants_reports(job) {
            let landing = entry.reports.get(format);
            let force = forced(Piece::Report(id.clone(), *format));
            let due = |landing: &&Landing| !left_alone(landing) && report::is_due(entry, landing, force);
            if let Some(landing) = landing.filter(due) {
                asks.push(Ask::Report(ReportAsk {
                    date,
                    space: space.clone(),
                    room: entry.room_id.clone(),
                    call: id.clone(),
                    format: *format,
                    participants: entry.participants,
                    people: report::people_counted(entry),
                    of: report::call_state(entry),
                    before: revived(landing),
                    force,
                }));
            }
        }
    }
    if context.wants_recordings(job) {
        let records = manifest
            .records
            .iter()
            .filter(|(id, entry)| wanted(&entry.room_id) && job.takes_record(id) && !left_alone(&entry.file))
            .filter(|(id, entry)| recording::is_due(entry, forced(Piece::Recording((*id).clone()))));
        asks.extend(records.map(|(id, entry)| {
            Ask::Record(RecordAsk {
                date,
                space: space.clone(),
                room: entry.room_id.clone(),
                call: entry.call_id.clone(),
                record: id.clone(),
                file_size: recording::file_size(entry),
                of: recording::record_state(entry),
                before: revived(&entry.file),
            })
        }));
    }
    asks
}

/// What a day's work would fetch: reports, and recordings with the bytes that the API says they have.
pub(crate) fn preview(context: &ExportContext, job: &Job, manifest: &Manifest) -> (u64, u64, u64) {
    due(context, job, manifest)
        .iter()
        .fold((0, 0, 0), |(reports, records, bytes), ask| match ask {
            Ask::Report(_) => (reports + 1, records, bytes),
            Ask::Record(ask) => (reports, records + 1, bytes + ask.file_size.unwrap_or(0)),
        })
}
