//! The end of a day's work: build its tables when what they are made of has changed, put them in their [place](TableSnapshot),
//! then [commit] the manifest, last and conditionally.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Duration;

use super::attempts::{self, DIED_TWICE, Trial};
use super::commit::{commit, is_blank, is_open};
use crate::config::ReportFormat;
use crate::ids::{CallId, DayId, MeetingId};
use crate::lake::key;
use crate::lake::manifest::{Built, Landing, Manifest};
use crate::metrics::METRICS;
use crate::pipeline::day::publish::TableSnapshot;
use crate::pipeline::day::{Day, Fresh};
use crate::pipeline::memory;
use crate::pipeline::memory::Reserved;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::summary::{Problem, ProblemKind};
use crate::pipeline::summary::build_notes;
use crate::pipeline::summary::build_notes::Noted;
use crate::store::{Condition, Store, Version};
use crate::tables;
use crate::tables::lessons::LessonIndex;
use crate::tables::{Attendance, BuiltDay, FirstCalls, TableFile};
use crate::{Error, ErrorKind, Result};

/// Lost commits after which a day is left to the next run: others write it faster than this process can.
const COMMITS: u32 = 10;
/// The pause after a first commit that was lost to a process that is still building; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Reports read ahead of the build, and their bytes at most.
const READ_AHEAD: usize = 8;
const READ_AHEAD_BYTES: u32 = 8 << 20;

/// Builds what has changed and commits the day.
///
/// # Errors
/// Of the store; then later runs build and commit again.
pub(crate) async fn settle(run: &Arc<RunContext>, day: &mut Day) -> Result<()> {
    // A marker without a reason: a run ended between manifest and marker, or doubts that the tables are its own.
    let doubted = day.marked && !is_open(run, &day.manifest);
    let when = if doubted { When::Always } else { When::Changed };
    build_and_commit(run, day, when).await
}

/// Builds whether or not anything has changed, and commits the day where it did.
///
/// # Errors
/// As [`settle`]; `Interrupted` when the work was stopped before the tables were built.
pub(crate) async fn build_again(run: &Arc<RunContext>, day: &mut Day) -> Result<()> {
    build_and_commit(run, day, When::Always).await?;
    if day.report.counts.days_built == 0 && run.cancel.is_cancelled() {
        return Err(Error::new(ErrorKind::Interrupted, "day", "was not built"));
    }
    Ok(())
}

/// When a day is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// What its tables are made of has changed.
    Changed,
    /// In any case; tables that are as they were are not written.
    Always,
}

async fn build_and_commit(run: &Arc<RunContext>, day: &mut Day, when: When) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    for _ in 0..COMMITS {
        match step(run, day, when).await {
            Err(error) if error.kind() == ErrorKind::Precondition => {
                meet(run, day).await?;
                if day.is_claimed_by_another() {
                    // It builds at this moment. What it commits may be all that is to be done.
                    wait(run, pause).await?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    meet(run, day).await?;
                }
            }
            Ok(()) => {
                for key in std::mem::take(&mut day.receipts) {
                    run.delete(&key).await?;
                }
                return Ok(());
            }
            failed => return failed,
        }
    }
    Err(Error::new(
        ErrorKind::Precondition,
        "day",
        "other processes keep changing it; a later run goes on",
    ))
}

/// Takes in what another process made of the day meanwhile: what it committed last stands, with what this one found.
async fn meet(run: &RunContext, day: &mut Day) -> Result<()> {
    let key = key::manifest(day.manifest.date, &day.manifest.space_id);
    day.stored = crate::store::json::get_json(&*run.store, &key).await?;
    if let Some((theirs, _)) = &day.stored {
        day.manifest.absorb(theirs.clone());
    }
    day.contested = true;
    run.lessons.forget(&day_id(&day.manifest)).await;
    Ok(())
}

/// A pause of up to `most`, of another length in each process; cut short when the run stops.
async fn wait(run: &RunContext, most: Duration) -> Result<()> {
    tokio::select! {
        () = run.cancel.cancelled() => {
            Err(Error::new(ErrorKind::Interrupted, "day", "stopped while another process builds it"))
        }
        () = tokio::time::sleep(most.mul_f64(0.5 + fastrand::f64() / 2.0)) => Ok(()),
    }
}

/// What was landed is written down before tables are touched: a build that fails or is killed loses no landing, and
/// leaves a day that is known to be not built.
async fn step(run: &Arc<RunContext>, day: &mut Day, when: When) -> Result<()> {
    day.claimed = false;
    let fingerprint = tables::fingerprint(&day.manifest, &run.mapping);
    let built = match &day.manifest.built {
        Some(built) if is_current(run, &day.manifest, built, &fingerprint).await? => Some(built),
        _ => None,
    };
    // What is built again of the same is the same, to the byte.
    let same = built.map(|built| built.checked_at);
    if when == When::Changed && same.is_some() {
        commit(run, day).await?;
        return finish(run, day).await;
    }
    if same.is_none() {
        if let Some(built) = &mut day.manifest.built {
            built.fingerprint.clear();
        }
        commit(run, day).await?;
    }
    if run.cancel.is_cancelled() || is_blank(&day.manifest) {
        return Ok(());
    }
    loop {
        match build_tables(run, day, same.unwrap_or(run.now)).await {
            Err(error)
                if error.kind() == ErrorKind::StoreNotFound && forget(&mut day.manifest, error.about()) =>
            {
                let lost = Problem::new(ProblemKind::ReportLost, format!("{error}; the next run asks for it again"));
                day.report
                    .failed
                    .push(lost.on(day.manifest.date, &day.manifest.space_id));
            }
            done => break done?,
        }
    }
    commit(run, day).await?;
    finish(run, day).await
}

/// What is done after a commit of tables: the day is noted for the meetings that it now has, and what it gave up goes.
async fn finish(run: &RunContext, day: &mut Day) -> Result<()> {
    if let Some(built) = &day.manifest.built {
        let id = day_id(&day.manifest);
        run.lessons.prune(&id, built).await?;
    }
    sweep(run, day).await
}

/// Removes what the day gave up, now that its manifest says so.
async fn sweep(run: &RunContext, day: &mut Day) -> Result<()> {
    if day.manifest.evicted.is_empty() {
        return Ok(());
    }
    let reports = day.manifest.calls.values().flat_map(|call| call.reports.values());
    let files = day.manifest.records.values().map(|record| &record.file);
    let held: BTreeSet<_> = reports
        .chain(files)
        .filter_map(|landing| landing.landed.as_ref().map(|landed| landed.key.clone()))
        .collect();
    for key in std::mem::take(&mut day.manifest.evicted) {
        // It may have come back meanwhile.
        if !held.contains(&key) {
            run.delete(&key).await?;
        }
    }
    commit(run, day).await
}

/// Takes note that a landed report is no longer in the store; whether there was one of that key.
fn forget(manifest: &mut Manifest, key: &str) -> bool {
    let landings = manifest
        .calls
        .values_mut()
        .flat_map(|call| call.reports.values_mut());
    let lost = landings.filter(|landing| landing.landed.as_ref().is_some_and(|landed| landed.key == key));
    let mut found = false;
    for landing in lost {
        *landing = Landing::pending("the landed report is gone from the store");
        found = true;
    }
    found
}

fn day_id(manifest: &Manifest) -> DayId {
    DayId::new(manifest.date, manifest.space_id.clone())
}

/// Whether the day's tables are of its present state: of its landings, of the meta of its meetings, and of what other
/// days have of these.
pub(crate) async fn is_current(
    run: &RunContext,
    manifest: &Manifest,
    built: &Built,
    fingerprint: &str,
) -> Result<bool> {
    if manifest.building.is_some() || built.fingerprint != fingerprint {
        return Ok(false);
    }
    if built.meetings.is_empty() {
        return Ok(true);
    }
    let meetings = || built.meetings.keys().map(MeetingId::as_str);
    let meta = run.lessons.meta(meetings()).await?;
    if meta.digest(meetings()) != built.meta {
        return Ok(false);
    }
    let id = day_id(manifest);
    let beside = run.lessons.neighbours(&id, &built.meetings).await?;
    Ok(beside.digest == built.beside)
}

/// Builds the day's tables and puts them in their place.
async fn build_tables(run: &Arc<RunContext>, day: &mut Day, checked_at: DateTime<Utc>) -> Result<()> {
    let _turn = run.memory.build_turn(report_sizes(&day.manifest)).await;
    let (mut built, meta) = build_whole(run, day, checked_at, Embedded::Kept).await?;
    let shared = know_first_calls(run, day, &meta, checked_at, &mut built).await?;
    let mut record = Built {
        // Of the manifest as the build has corrected it.
        fingerprint: tables::fingerprint(&day.manifest, &run.mapping),
        checked_at,
        tables: BTreeMap::new(),
        meetings: built.presence.meetings(),
        meta: String::new(),
        beside: String::new(),
        quality: built.quality,
    };
    let place = TableSnapshot::look(run, day).await?;
    put_tables(run, day, &place, &mut built, &meta, &mut record).await?;
    if record.beside != shared {
        // Another day was built meanwhile: the participants do not know of it. The next look finds this day stale.
        record.beside = shared;
        run.lessons.register(&day_id(&day.manifest), &record).await?;
    }
    place.clear(run, day, &record.tables).await?;
    day.report.counts.days_built = 1;
    day.report.noted = Noted::of(&built.notes, &day.manifest);
    let told = build_notes::told_of_calls(&built.notes, &day.manifest);
    day.report.warnings.extend(told);
    let unread = unread_lessons(&day.manifest, &meta, &record);
    day.report.warnings.extend(unread);
    day.manifest.built = Some(record);
    day.manifest.building = None;
    Ok(())
}

fn report_sizes(manifest: &Manifest) -> impl Iterator<Item = u64> {
    let due = tables::due_reports(manifest).into_iter();
    due.map(|(_, _, landed)| landed.bytes)
}

/// The digest of a day's participants: what other days have of it.
fn participants(built: Option<&Built>) -> Option<&str> {
    built?
        .tables
        .get("participants")
        .map(|table| table.sha256.as_str())
}

/// Values in the lesson data of the day's meetings that could not be read.
fn unread_lessons(manifest: &Manifest, meta: &LessonIndex, built: &Built) -> Vec<Problem> {
    let meetings = built.meetings.keys().map(MeetingId::as_str);
    let unread = meta.unreadable(meetings).into_iter();
    unread
        .map(|((meeting, column), users)| {
            let message = format!("lesson data: {column} of {users} users can't be read: it is null");
            Problem::new(ProblemKind::BadValue, message)
                .on(manifest.date, &manifest.space_id)
                .meeting(meeting)
                .count(users)
        })
        .collect()
}

/// Writes the tables: first those of the day alone, so that other days that share a meeting find its participants,
/// then attendance.
async fn put_tables(
    run: &Arc<RunContext>,
    day: &mut Day,
    place: &TableSnapshot,
    built: &mut BuiltDay,
    meta: &LessonIndex,
    record: &mut Built,
) -> Result<()> {
    for file in std::mem::take(&mut built.tables) {
        place.put(run, day, file, &mut record.tables).await?;
    }
    record.meta = meta.digest(record.meetings.keys().map(MeetingId::as_str));
    let id = day_id(&day.manifest);
    // Register this day before reading its neighbours, so that of days built concurrently at least one sees the others.
    run.lessons.register(&id, record).await?;
    let beside = run.lessons.neighbours(&id, &record.meetings).await?;
    record.beside.clone_from(&beside.digest);
    if participants(Some(record))
        != participants(day.stored.as_ref().and_then(|(stored, _)| stored.built.as_ref()))
    {
        run.lessons.touch(&beside).await?;
    }
    let presences = run.lessons.presences(&beside).await?;
    let Attendance { file, look_alikes } = tables::build_attendance(
        &day.manifest,
        &built.presence,
        &presences,
        &beside.started_elsewhere,
        meta,
        &mut record.quality,
    )?;
    let (date, space) = (day.manifest.date, day.manifest.space_id.as_str());
    let alike = look_alikes.into_iter().map(|(meeting, count)| {
        let message = format!(
            "{count} users who are expected and absent have the id of one who was there, but for case or spaces"
        );
        let problem = Problem::new(ProblemKind::IdsDifferByCase, message).on(date, &space.into());
        problem.meeting(&meeting).count(count)
    });
    day.report.warnings.extend(alike);
    if let Some(file) = file {
        place.put(run, day, file, &mut record.tables).await?;
    }
    run.lessons.register(&id, record).await
}

/// What becomes of the lesson data that a day's reports hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Embedded {
    /// It is put into the lake.
    Kept,
    /// Nothing is written.
    Left,
}

/// Builds the day with the lesson data of its meetings. Which ones these are is known for sure only after the build:
/// where that makes a difference, or where its reports hold lesson data that was not known, it is built again.
async fn build_whole(
    run: &Arc<RunContext>,
    day: &mut Day,
    checked_at: DateTime<Utc>,
    held: Embedded,
) -> Result<(BuiltDay, LessonIndex)> {
    let (date, known) = (day.manifest.date, day.manifest.built.as_ref());
    let mut meta = run.lessons.guess(date, known).await?;
    loop {
        let mut built = run_build(run, day, &meta, checked_at, FirstCalls::default()).await?;
        let embedded = std::mem::take(&mut built.embedded);
        if held == Embedded::Kept && !embedded.is_empty() {
            run.lessons.take_embedded(embedded).await?;
        }
        let meetings = built.presence.meetings();
        let meetings = || meetings.keys().map(MeetingId::as_str);
        let whole = run.lessons.meta(meetings()).await?;
        if meta.says_the_same(&whole, meetings()) {
            return Ok((built, whole));
        }
        meta = whole;
    }
}

/// Builds the day again where users were first in another call of a meeting than the build took for it: in another
/// room, or on another day. Gives the digest of what other days have of the day's meetings.
async fn know_first_calls(
    run: &Arc<RunContext>,
    day: &mut Day,
    meta: &LessonIndex,
    checked_at: DateTime<Utc>,
    built: &mut BuiltDay,
) -> Result<String> {
    let (id, meetings) = (day_id(&day.manifest), built.presence.meetings());
    let beside = run.lessons.neighbours(&id, &meetings).await?;
    let firsts = built.presence.first_calls(&run.lessons.presences(&beside).await?);
    if firsts.contradict(&built.presence, &day.manifest) {
        *built = run_build(run, day, meta, checked_at, firsts).await?;
    }
    Ok(beside.digest)
}

/// The tables of a stored day as a build of the same gives them; nothing is written.
///
/// # Errors
/// Of the store: a report, or another day's participants, that is not there.
pub(crate) async fn build_only(
    run: &Arc<RunContext>,
    manifest: Manifest,
    version: Version,
) -> Result<Vec<TableFile>> {
    let checked_at = manifest.built.as_ref().map(|built| built.checked_at);
    let _turn = run.memory.build_turn(report_sizes(&manifest)).await;
    let mut day = Day::stored(manifest, version);
    let checked_at = checked_at.unwrap_or(run.now);
    let (mut built, meta) = build_whole(run, &mut day, checked_at, Embedded::Left).await?;
    know_first_calls(run, &mut day, &meta, checked_at, &mut built).await?;
    let meetings = built.presence.meetings();
    let beside = run.lessons.neighbours(&day_id(&day.manifest), &meetings).await?;
    let presences = run.lessons.presences(&beside).await?;
    let attendance = tables::build_attendance(
        &day.manifest,
        &built.presence,
        &presences,
        &beside.started_elsewhere,
        &meta,
        &mut crate::lake::manifest::Quality::default(),
    )?;
    Ok(built.tables.into_iter().chain(attendance.file).collect())
}

/// A report on its way to the build.
struct ReadyReport {
    report: Result<(CallId, ReportFormat, Bytes)>,
    /// The memory that reading it takes, and who waits for it to be read: both are dropped before the next one is taken.
    held: Option<(Reserved, oneshot::Sender<()>)>,
}

/// Runs the pure build, again without the reports that turn out to be put aside. What it finds reports to be is then what
/// the manifest says.
async fn run_build(
    run: &Arc<RunContext>,
    day: &mut Day,
    meta: &LessonIndex,
    checked_at: DateTime<Utc>,
    firsts: FirstCalls,
) -> Result<BuiltDay> {
    let fresh = std::mem::take(&mut day.fresh);
    loop {
        let manifest = Arc::new(day.manifest.clone());
        let (built, fed) = run_once(run, &manifest, &fresh, meta, checked_at, &firsts).await;
        if let Some((call, format)) = fed? {
            let entry = day.manifest.calls.get_mut(&call);
            if let Some(landing) = entry.and_then(|entry| entry.reports.get_mut(&format)) {
                landing.put_aside(DIED_TWICE);
            }
            continue;
        }
        let built = built?;
        for correction in &built.corrections {
            correction.apply(&mut day.manifest);
        }
        return Ok(built);
    }
}

/// Runs the pure build on a thread of its own, fed with reports in the tables' order. Also gives the report that is to
/// be put aside, if one is: then there is no build.
async fn run_once(
    run: &Arc<RunContext>,
    manifest: &Arc<Manifest>,
    fresh: &Fresh,
    meta: &LessonIndex,
    checked_at: DateTime<Utc>,
    firsts: &FirstCalls,
) -> (Result<BuiltDay>, Result<Option<ReportId>>) {
    let (sender, receiver) = mpsc::channel(1);
    let (of_build, for_build) = (Arc::clone(run), Arc::clone(manifest));
    let (meta, firsts) = (meta.clone(), firsts.clone());
    let building = run.builders.run(move || {
        let started = std::time::Instant::now();
        let built = tables::build_day_knowing(
            &firsts,
            &for_build,
            &of_build.mapping,
            of_build.store.url(),
            checked_at,
            &meta,
            received(receiver),
        );
        METRICS.build_seconds.observe(started.elapsed().as_secs_f64());
        built
    });
    tokio::join!(building, feed(run, manifest, fresh, sender))
}

/// The reports as they come. What is held for each is dropped before the next one is waited for.
fn received(
    mut receiver: mpsc::Receiver<ReadyReport>,
) -> impl Iterator<Item = Result<(CallId, ReportFormat, Bytes)>> {
    let mut held = None;
    std::iter::from_fn(move || {
        drop(held.take());
        let fed = receiver.blocking_recv()?;
        held = fed.held;
        Some(fed.report)
    })
}

/// A report of a day: its call and format.
type ReportId = (CallId, ReportFormat);

/// Reads the reports that a build waits for, some ahead, and hands each over when there is memory for it. Gives the one
/// that is to be put aside, if one is.
///
/// # Errors
/// The store fails at the notes of large reports. A report that can't be had is told by the build.
async fn feed(
    run: &RunContext,
    manifest: &Manifest,
    fresh: &Fresh,
    sender: mpsc::Sender<ReadyReport>,
) -> Result<Option<ReportId>> {
    let ahead = Semaphore::new(READ_AHEAD_BYTES as usize);
    let due = tables::due_reports(manifest).into_iter();
    let due: Vec<_> = due
        .map(|(call, format, landed)| (CallId::from(call), format, landed.key.clone(), landed.bytes))
        .collect();
    let mut reports = futures_util::stream::iter(due)
        .map(|(call, format, key, bytes)| {
            let (kept, ahead) = (fresh.get(&key).map(|(bytes, _)| bytes.clone()), &ahead);
            async move {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(READ_AHEAD_BYTES);
                // In order: the first of those that wait is the first that is handed over.
                let permit = ahead.acquire_many(bytes).await;
                let bytes = match kept {
                    Some(bytes) => Ok(bytes),
                    None => run.store.read(&key).await,
                };
                (call, format, key, bytes, permit)
            }
        })
        .buffered(READ_AHEAD);
    while let Some((call, format, key, bytes, permit)) = reports.next().await {
        let (mut held, mut reading) = (None, None);
        if let Ok(bytes) = &bytes {
            let reserved = run.memory.reserve(memory::need(format, bytes)).await;
            let (taken, is_read) = oneshot::channel();
            if reserved.is_risky {
                match attempts::begin(run, &key).await? {
                    Trial::Go(attempt) => reading = Some((attempt, is_read)),
                    Trial::DiedTwice => return Ok(Some((call, format))),
                }
            }
            held = Some((reserved, taken));
        }
        let report = bytes.map(|bytes| (call, format, bytes));
        // The build ends early only on an error of its own, which is told by itself.
        let is_over = sender.send(ReadyReport { report, held }).await.is_err();
        if let Some((attempt, is_read)) = reading {
            // It is told by being dropped.
            is_read.await.ok();
            attempt.end(run).await?;
        }
        if is_over {
            break;
        }
        drop(permit);
    }
    Ok(None)
}

/// Writes a table when it differs from what the store holds.
pub(crate) async fn put_if_changed(run: &RunContext, key: &str, bytes: Bytes) -> Result<()> {
    match same(&*run.store, key, &bytes).await? {
        true => Ok(()),
        false => run.put(key, bytes, Condition::Any).await.map(|_| ()),
    }
}

async fn same(store: &dyn Store, key: &str, bytes: &Bytes) -> Result<bool> {
    match store.read(key).await {
        Ok(stored) => Ok(stored == *bytes),
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(false),
        Err(error) => Err(error),
    }
}
