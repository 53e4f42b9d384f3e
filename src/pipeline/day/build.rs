//! The end of a day's work: builds its tables if anything that they are made of has changed, [publishes](TableSnapshot)
//! them, and then [commits](commit) the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::time::Duration;

use super::commit::{close, commit, has_nothing, is_open, prove_marker, write};
use super::expire::note_expired;
use super::feed::run_build;
use super::follow_erasure::follow_erasure;
use super::publish::{Reading, TableSnapshot, commit_landings};
use super::state::DayState;
use crate::backoff::Backoff;
use crate::ids::{DayId, MeetingId};
use crate::lake::key;
use crate::lake::manifest::{Built, LessonSpan, Manifest, Quality, UnreportedCall};
use crate::pipeline::lessons::cache::NeighbourDays;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::summary::build_notes::{self, NotesBySubject};
use crate::pipeline::summary::{Problem, ProblemKind};
use crate::store::json::get_json;
use crate::store::{Condition, Store, Version};
use crate::tables::lessons::LessonIndex;
use crate::tables::{self, Attendance, BuiltDay, FirstCalls, TableFile};
use crate::{Error, ErrorKind, Result};

/// Lost commits after which a day is left to the next run, because other processes write it faster than this one can.
const COMMITS: u32 = 10;
/// The backoff after a commit was lost to a process that is still building.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

/// Builds the day if anything has changed, and commits it. Lesson data and neighbour days are compared only if there are
/// markers of changes, because whatever changes these leaves one.
///
/// # Errors
/// Any error of the store. Later runs build and commit again.
pub(crate) async fn build_and_commit(run: &Arc<RunContext>, day: &mut DayState) -> Result<()> {
    // A marker without a reason: a run was killed between manifest and marker, or had ousted a rival and left the marker.
    let must_check = day.has_marker && !is_open(run, &day.manifest);
    let when = if must_check {
        BuildWhen::Always
    } else if run.has_changed_lessons().await? {
        BuildWhen::Stale
    } else {
        BuildWhen::Changed
    };
    retry_until_committed(run, day, when).await
}

/// Builds the day if anything that its tables are made of has changed, and commits it.
///
/// # Errors
/// As [`build_and_commit`].
pub(crate) async fn refresh(run: &Arc<RunContext>, day: &mut DayState) -> Result<()> {
    retry_until_committed(run, day, BuildWhen::Stale).await
}

/// Builds the day even if nothing has changed, and commits it.
///
/// # Errors
/// As [`build_and_commit`]; `Interrupted` if the run stopped before the tables were built.
pub(crate) async fn build_again(run: &Arc<RunContext>, day: &mut DayState) -> Result<()> {
    day.row_is_due = true;
    retry_until_committed(run, day, BuildWhen::Always).await?;
    if day.report.counts.days_built == 0 && run.cancel.is_cancelled() {
        return Err(Error::new(ErrorKind::Interrupted, "day", "was not built"));
    }
    Ok(())
}

/// The condition under which a day is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BuildWhen {
    /// Its landings, calls or records have changed, or the mapping.
    Changed,
    /// The same, or the lesson data of its meetings, or a neighbour day.
    Stale,
    /// In any case. Tables that have not changed are not written.
    Always,
}

/// Tries to build and commit the day until no other process commits it in between.
async fn retry_until_committed(run: &Arc<RunContext>, day: &mut DayState, when: BuildWhen) -> Result<()> {
    let mut waits = 0;
    for _ in 0..COMMITS {
        match try_once(run, day, when).await {
            Err(error) if error.kind() == ErrorKind::Precondition => {
                merge_theirs(run, day).await?;
                if day.is_claimed_by_another() {
                    // The other process is building now. Its commit may include all that there is to do.
                    waits += 1;
                    wait(run, BACKOFF.pause(waits)).await?;
                    merge_theirs(run, day).await?;
                }
            }
            Ok(()) => {
                for key in std::mem::take(&mut day.receipts) {
                    run.delete(&key).await?;
                }
                return Ok(());
            }
            failed => {
                // The error tells more than a second one.
                prove_marker(run, day).await.ok();
                return failed;
            }
        }
    }
    prove_marker(run, day).await?;
    Err(Error::new(
        ErrorKind::Precondition,
        "day",
        "other processes keep changing it; a later run goes on",
    ))
}

/// Merges what another process has committed since the day was read with what this one found.
async fn merge_theirs(run: &Arc<RunContext>, day: &mut DayState) -> Result<()> {
    let key = key::manifest(day.manifest.date, &day.manifest.space_id);
    day.stored = get_json(&*run.store, &key).await?;
    day.stored_is_open = None;
    if let Some((theirs, _)) = day.stored.clone() {
        day.absorb(theirs);
    }
    day.claim.meet_rival();
    follow_erasure(run, day).await?;
    run.lessons.forget(&day.id()).await;
    Ok(())
}

/// Waits for a while. Ends early if the run stops.
async fn wait(run: &RunContext, pause: Duration) -> Result<()> {
    tokio::select! {
        () = run.cancel.cancelled() => {
            Err(Error::new(ErrorKind::Interrupted, "day", "stopped while another process builds it"))
        }
        () = tokio::time::sleep(pause) => Ok(()),
    }
}

/// Makes one attempt to build and commit the day. It commits the landings before it touches tables, so that a build that
/// fails or is killed loses no landing and leaves a day that is known to be out of date.
async fn try_once(run: &Arc<RunContext>, day: &mut DayState, when: BuildWhen) -> Result<()> {
    day.claim.begin_attempt();
    if day.manifest.is_frozen() {
        return keep_tables(run, day, when).await;
    }
    day.manifest.reports_wanted_at = None;
    let fingerprint = tables::fingerprint(&day.manifest, &run.mapping);
    let current = match &day.manifest.built {
        Some(built) if when == BuildWhen::Changed && is_of(&day.manifest, built, &fingerprint) => Some(built),
        Some(built)
            if when != BuildWhen::Changed && is_current(run, &day.manifest, built, &fingerprint).await? =>
        {
            Some(built)
        }
        _ => None,
    };
    // Builds are deterministic: with the same stamp, the same inputs give the same bytes.
    let stamp = current.map(BuildStamp::of);
    let fingerprint_before = day.manifest.built.as_ref().map(|built| built.fingerprint.clone());
    if stamp.is_some() {
        // Another listing with the same result is not noted, so that it changes no table.
        day.manifest.listed_at = day.stored_listing();
    }
    if when != BuildWhen::Always && stamp.is_some() {
        commit(run, day).await?;
        if !day.manifest.evicted.is_empty() {
            // A run was killed after its commit, perhaps before it had pruned the meetings of the calls that left the day.
            prune(run, day).await?;
        }
        return delete_evicted(run, day).await;
    }
    if stamp.is_none() {
        if let Some(built) = &mut day.manifest.built {
            built.fingerprint.clear();
        }
        commit_landings(run, day).await?;
    }
    if run.cancel.is_cancelled() || has_nothing(day) {
        return prove_marker(run, day).await;
    }
    let reading = match when {
        BuildWhen::Always => Reading::All,
        BuildWhen::Changed | BuildWhen::Stale => Reading::Changed,
    };
    if !build_of_present(run, day, (stamp.as_ref(), reading), fingerprint_before).await? {
        return keep_tables(run, day, when).await;
    }
    write(run, day).await?;
    prune(run, day).await?;
    delete_evicted(run, day).await?;
    // The marker goes last, so that a run that is killed in between is completed by the next one.
    close(run, day).await
}

/// Builds the day's tables of the reports that the store has, and publishes them. Returns false if a report is gone because its
/// retention is over, so that the day keeps the tables that it has, with the fingerprint that these had.
async fn build_of_present(
    run: &Arc<RunContext>,
    day: &mut DayState,
    (stamp, reading): (Option<&BuildStamp>, Reading),
    fingerprint_before: Option<String>,
) -> Result<bool> {
    loop {
        let error = match build_tables(run, day, stamp, reading).await {
            Err(error) if error.kind() == ErrorKind::StoreNotFound => error,
            built => return built.map(|()| true),
        };
        let is_over = run.cutoffs.raw_is_over(day.manifest.date);
        if is_over && note_expired(&mut day.manifest, error.about(), run.now) {
            // The store removed it by a rule of its own. If the tables lack something, all reports are requested again.
            let before = fingerprint_before.unwrap_or_default();
            if before.is_empty() {
                day.manifest.reports_wanted_at.get_or_insert(run.now);
            }
            if let Some(built) = &mut day.manifest.built {
                built.fingerprint = before;
            }
            return Ok(false);
        }
        if !day.manifest.lose_report(error.about()) {
            return Err(error);
        }
        let message = format!("{error}; the next run asks for it again");
        let lost = Problem::new(ProblemKind::ReportLost, message);
        let lost = lost.on(day.manifest.date, &day.manifest.space_id);
        day.report.failed.push(lost);
    }
}

/// Commits a day whose reports were deleted with the tables that it has, because no build can make them again. The report
/// names the day if a build would be due.
async fn keep_tables(run: &RunContext, day: &mut DayState, when: BuildWhen) -> Result<()> {
    let fingerprint = tables::fingerprint(&day.manifest, &run.mapping);
    let is_current = match &day.manifest.built {
        Some(built) if when == BuildWhen::Changed => is_of(&day.manifest, built, &fingerprint),
        Some(built) => is_current(run, &day.manifest, built, &fingerprint).await?,
        None => true,
    };
    day.report.is_frozen = !is_current || when == BuildWhen::Always;
    day.manifest.listed_at = day.stored_listing();
    commit(run, day).await?;
    delete_evicted(run, day).await
}

/// Registers the meetings of the committed day, and no others.
async fn prune(run: &RunContext, day: &DayState) -> Result<()> {
    match &day.manifest.built {
        Some(built) => run.lessons.prune(&day.id(), built).await,
        None => Ok(()),
    }
}

/// Deletes the reports and recordings that the day gave up, because the committed manifest says so.
async fn delete_evicted(run: &RunContext, day: &mut DayState) -> Result<()> {
    if day.manifest.evicted.is_empty() {
        return Ok(());
    }
    let reports = day.manifest.calls.values().flat_map(|call| call.reports.values());
    let files = day.manifest.records.values().map(|record| &record.file);
    let in_use: BTreeSet<_> = reports
        .chain(files)
        .filter_map(|landing| landing.landed.as_ref().map(|landed| landed.key.clone()))
        .collect();
    for key in std::mem::take(&mut day.manifest.evicted) {
        // Its call may have come back to the day meanwhile.
        if !in_use.contains(&key) {
            run.delete(&key).await?;
        }
    }
    commit(run, day).await
}

fn day_id(manifest: &Manifest) -> DayId {
    DayId::new(manifest.date, manifest.space_id.clone())
}

/// True if the day's tables are up to date with its landings.
fn is_of(manifest: &Manifest, built: &Built, fingerprint: &str) -> bool {
    manifest.building.is_none() && built.fingerprint == fingerprint
}

/// True if the day's tables are up to date with its landings, the lesson data of its meetings, and its neighbour days.
pub(crate) async fn is_current(
    run: &RunContext,
    manifest: &Manifest,
    built: &Built,
    fingerprint: &str,
) -> Result<bool> {
    if !is_of(manifest, built, fingerprint) {
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
    let beside = run
        .lessons
        .neighbours(&id, &built.meetings, &built.lessons)
        .await?;
    Ok(beside.digest == built.beside)
}

/// The circumstances of a build that its tables or the table of days show.
#[derive(Clone)]
struct BuildStamp {
    built_at: DateTime<Utc>,
    mapping: String,
    program: String,
}

impl BuildStamp {
    /// The stamp of a build that is still valid.
    fn of(built: &Built) -> Self {
        Self {
            built_at: built.built_at,
            mapping: built.mapping.clone(),
            program: built.program.clone(),
        }
    }

    /// The stamp of a build of this run.
    fn now(run: &RunContext) -> Self {
        Self {
            built_at: run.now,
            mapping: run.mapping.digest().to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Builds the day's tables and publishes them.
async fn build_tables(
    run: &Arc<RunContext>,
    day: &mut DayState,
    stamp: Option<&BuildStamp>,
    reading: Reading,
) -> Result<()> {
    let stamp = stamp.cloned().unwrap_or_else(|| BuildStamp::now(run));
    let built_at = stamp.built_at;
    let _turn = run.memory.build_turn(report_sizes(&day.manifest)).await;
    let (mut built, meta) = loop {
        let whole = build_whole(run, day, built_at, Embedded::Import).await?;
        // People who were erased since the day was read must not come back with it.
        if !follow_erasure(run, day).await? {
            break whole;
        }
    };
    let lessons = tables::lesson_span(&built.presence, &meta);
    let assumed = know_first_calls(run, day, (&meta, &lessons), built_at, &mut built).await?;
    let mut record = Built {
        // The fingerprint of the manifest as the build has corrected it.
        fingerprint: tables::fingerprint(&day.manifest, &run.mapping),
        built_at,
        mapping: stamp.mapping,
        program: stamp.program,
        tables: BTreeMap::new(),
        meetings: built.presence.meetings(),
        meta: String::new(),
        beside: String::new(),
        lessons,
        unreported: day.manifest.unreported_calls(),
        quality: built.quality,
    };
    let snapshot = TableSnapshot::take(run, day, &built.tables, reading).await?;
    let beside = put_tables(run, day, &snapshot, &mut built, &meta, &mut record).await?;
    if beside.presence_digest != assumed.presence_digest {
        // A neighbour day was built meanwhile, and the participants do not know of it. With this digest the check of the
        // touched meetings finds the day out of date. A day that is no neighbour any more counts too.
        run.lessons.touch([&assumed, &beside]).await?;
        record.beside = assumed.digest;
        run.lessons.register(&day.id(), &record).await?;
    }
    snapshot.delete_empty(run, day, &record.tables).await?;
    day.report.counts.days_built = 1;
    day.report.noted = NotesBySubject::of(&built.notes, &day.manifest);
    let notes = build_notes::told_of_calls(&built.notes, &day.manifest);
    day.report.warnings.extend(notes);
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

/// The digest of a day's participants, which is all that neighbour days use of it.
fn participants(built: Option<&Built>) -> Option<&str> {
    built?
        .tables
        .get("participants")
        .map(|table| table.sha256.as_str())
}

/// The calls that got or lost a report between two builds of a day.
fn changed_calls<'b>(now: Option<&'b Built>, before: Option<&'b Built>) -> Vec<&'b UnreportedCall> {
    let lacking = |one: Option<&'b Built>, other: Option<&'b Built>| {
        let calls = one.into_iter().flat_map(|built| &built.unreported);
        calls.filter(move |(id, call)| other.and_then(|other| other.unreported.get(*id)) != Some(*call))
    };
    let changed = lacking(now, before).chain(lacking(before, now));
    changed.map(|(_, call)| call).collect()
}

/// The warnings about values in the lesson data of the day's meetings that could not be read.
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

/// Writes the tables: first those of the day alone, so that neighbour days find its participants, then attendance. Returns
/// the neighbour days as the attendance knows them.
async fn put_tables(
    run: &Arc<RunContext>,
    day: &mut DayState,
    snapshot: &TableSnapshot,
    built: &mut BuiltDay,
    meta: &LessonIndex,
    record: &mut Built,
) -> Result<NeighbourDays> {
    let files = std::mem::take(&mut built.tables);
    snapshot.put(run, day, files, &mut record.tables).await?;
    record.meta = meta.digest(record.meetings.keys().map(MeetingId::as_str));
    let id = day.id();
    // Register this day before reading its neighbours, so that of days built concurrently at least one sees the others.
    run.lessons.register(&id, record).await?;
    let beside = run
        .lessons
        .neighbours(&id, &record.meetings, &record.lessons)
        .await?;
    record.beside.clone_from(&beside.digest);
    let changed = changed_calls(Some(record), day.stored_build());
    run.lessons.touch_beside(&id, &changed).await?;
    if !changed.is_empty() || participants(Some(record)) != participants(day.stored_build()) {
        // The days of meetings that have left this day may have counted what it had of them.
        let mut left = day
            .stored_build()
            .map(|built| built.meetings.clone())
            .unwrap_or_default();
        left.retain(|meeting, _| !record.meetings.contains_key(meeting));
        let left = run.lessons.neighbours(&id, &left, &record.lessons).await?;
        run.lessons.touch([&beside, &left]).await?;
    }
    let others = run.lessons.other_days(&beside, &built.presence, meta).await?;
    let Attendance { file, look_alikes } = tables::build_attendance(
        &day.manifest,
        &built.presence,
        &others,
        meta,
        run.mapping.privacy(),
        &mut record.quality,
    )?;
    let (date, space) = (day.manifest.date, &day.manifest.space_id);
    let alike = look_alikes.into_iter().map(|(meeting, count)| {
        let message = format!(
            "{count} users who are expected and absent have the id of one who was there, but for case or spaces"
        );
        let problem = Problem::new(ProblemKind::IdsDifferByCase, message).on(date, space);
        problem.meeting(&meeting).count(count)
    });
    day.report.warnings.extend(alike);
    let attendance = file.into_iter().collect();
    snapshot.put(run, day, attendance, &mut record.tables).await?;
    run.lessons.register(&id, record).await?;
    Ok(beside)
}

/// The treatment of the lesson data that a day's reports hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Embedded {
    /// It is imported into the lake.
    Import,
    /// It is left alone, because nothing must be written.
    Ignore,
}

/// Builds the day with the lesson data of its meetings. The meetings are known for sure only after a build. If their
/// lesson data differs from the data that the build had, the day is built again.
async fn build_whole(
    run: &Arc<RunContext>,
    day: &mut DayState,
    built_at: DateTime<Utc>,
    treatment: Embedded,
) -> Result<(BuiltDay, LessonIndex)> {
    let (date, known) = (day.manifest.date, day.manifest.built.as_ref());
    let mut meta = run.lessons.guess(date, known).await?;
    loop {
        let mut built = run_build(run, day, &meta, built_at, FirstCalls::default()).await?;
        let embedded = std::mem::take(&mut built.embedded);
        if treatment == Embedded::Import && !embedded.is_empty() {
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

/// Builds the day again if users were first in another call of a meeting than the build assumed, in another room or on
/// another day. Returns the neighbour days as the build knows them.
async fn know_first_calls(
    run: &Arc<RunContext>,
    day: &mut DayState,
    (meta, lessons): (&LessonIndex, &LessonSpan),
    built_at: DateTime<Utc>,
    built: &mut BuiltDay,
) -> Result<NeighbourDays> {
    let meetings = built.presence.meetings();
    let beside = run.lessons.neighbours(&day.id(), &meetings, lessons).await?;
    let others = run.lessons.other_days(&beside, &built.presence, meta).await?;
    let firsts = built.presence.first_calls(&others.presences);
    if firsts.contradict(&built.presence, &day.manifest) {
        *built = run_build(run, day, meta, built_at, firsts).await?;
    }
    Ok(beside)
}

/// Builds the tables of a stored day in memory, as a build of the same inputs gives them. It writes nothing.
///
/// # Errors
/// Any error of the store, for example if a report or the participants of a neighbour day are missing.
pub(crate) async fn build_only(
    run: &Arc<RunContext>,
    manifest: Manifest,
    version: Version,
) -> Result<Vec<TableFile>> {
    let built_at = manifest.built.as_ref().map(|built| built.built_at);
    let _turn = run.memory.build_turn(report_sizes(&manifest)).await;
    let mut day = DayState::from_stored(manifest, version);
    let built_at = built_at.unwrap_or(run.now);
    let (mut built, meta) = build_whole(run, &mut day, built_at, Embedded::Ignore).await?;
    let lessons = tables::lesson_span(&built.presence, &meta);
    let beside = know_first_calls(run, &mut day, (&meta, &lessons), built_at, &mut built).await?;
    let others = run.lessons.other_days(&beside, &built.presence, &meta).await?;
    let attendance = tables::build_attendance(
        &day.manifest,
        &built.presence,
        &others,
        &meta,
        run.mapping.privacy(),
        &mut Quality::default(),
    )?;
    Ok(built.tables.into_iter().chain(attendance.file).collect())
}

/// Writes a table if it differs from the stored one.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn put_if_changed(run: &RunContext, key: &str, bytes: Bytes) -> Result<()> {
    match is_stored(&*run.store, key, &bytes).await? {
        true => Ok(()),
        false => run.put(key, bytes, Condition::Any).await.map(|_| ()),
    }
}

async fn is_stored(store: &dyn Store, key: &str, bytes: &Bytes) -> Result<bool> {
    match store.read(key).await {
        Ok(stored) => Ok(stored == *bytes),
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(false),
        Err(error) => Err(error),
    }
}
