//! Lands one report: requests it, reads it, stores its bytes as they came. `judge` decides what an answer is worth.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::attempts::{self, DIED_TWICE, Trial};
use super::erase::{self, CleanAnswer};
use super::judge::{KeptReport, ReportVerdict, differing_count, judge, refuse, unchanged, verdict};
pub(crate) use super::judge::{ReportAsk, ReportResult};
use crate::config::ReportFormat;
use crate::lake::key;
use crate::lake::manifest::{CallEntry, Landed, Landing, Status};
use crate::lenient;
use crate::pipeline::{ExportContext, memory};
use crate::tables;

/// The state of a call, as far as its report depends on it. If the API lists another state, the report is landed again.
pub(crate) fn call_state(entry: &CallEntry) -> String {
    let end = entry.finished_at.map(|at| at.to_rfc3339()).unwrap_or_default();
    let participants = entry
        .participants
        .map(|count| count.to_string())
        .unwrap_or_default();
    format!("{end} {participants}")
}

/// True if a report must be asked for.
pub(crate) fn is_due(entry: &CallEntry, landing: &Landing, force: bool) -> bool {
    if entry.pending.is_some() || (landing.is_put_aside() && !force) {
        return false;
    }
    let current = landing
        .usable()
        .is_some_and(|landed| landed.of.as_deref() == Some(&call_state(entry)));
    force || landing.status != Status::Done || !current
}

/// The people that a call counts at least: the smallest of its counts, because one of them counts every join. None if
/// it counts none.
pub(crate) fn people_counted(entry: &CallEntry) -> Option<u64> {
    const COUNTS: [&str; 3] = [
        "participantsCount",
        "totalParticipantsCount",
        "uniqueParticipantsCount",
    ];
    let call = entry.call.value();
    let counts = COUNTS
        .iter()
        .filter_map(|name| call.get(*name).and_then(lenient::integer));
    counts
        .filter(|count| *count > 0)
        .min()
        .and_then(|count| u64::try_from(count).ok())
}

/// The limit for values in a report. A value of a byte or two takes many times that in memory, and a build holds all.
const MOST_VALUES: usize = 10_000_000;

/// The most bytes of a report that is read on the thread that received it. It takes less than a millisecond; to wake another
/// thread for it costs nearly as much.
const READ_AT_ONCE: usize = 64 << 10;

/// An upper bound, less one, for the number of values in JSON.
fn values(json: &[u8]) -> usize {
    json.iter()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{'))
        .count()
}

/// Asks for a report and lands it. An error becomes the status and the reason of the landing.
pub(crate) async fn report(context: &Arc<ExportContext>, ask: ReportAsk) -> ReportResult {
    let _turn = context.room_limits.turn(&ask.space, &ask.room).await;
    // Held from the request to the store, so that memory is bounded for the whole run and not for each day.
    let Ok(_permit) = context.landings.acquire().await else {
        return unchanged(&ask);
    };
    let answer = context
        .client
        .report(&ask.space, &ask.room, &ask.call, ask.format)
        .await;
    let mut result = unchanged(&ask);
    match answer {
        Ok(bytes) => match erase::clean(&context.run, &ask, bytes).await {
            Ok(clean) => take(context, ask, clean, &mut result).await,
            Err(why) => {
                result.landing.status = Status::Failed;
                result.landing.reason = Some(why);
                result.landing.attempts += 1;
            }
        },
        Err(error) => {
            context.note_fatal(&error);
            refuse(&ask, &error, &mut result);
        }
    }
    context.run.progress.reports.advance(1);
    result
}

/// Judges an answer and stores it if it is worth it.
async fn take(
    context: &Arc<ExportContext>,
    mut ask: ReportAsk,
    clean: CleanAnswer,
    result: &mut ReportResult,
) {
    if !clean.erased_names.is_empty() {
        // The call still counts the people who were erased.
        (ask.participants, ask.people) = (None, None);
    }
    let verdict = inspect(context, &ask, clean.bytes.clone()).await;
    keep(context, &ask, clean.bytes, verdict, result).await;
    if let Some(landed) = result.landing.landed.as_mut() {
        landed.erased.extend(clean.erased_names);
    }
}

/// Reads a report within the memory budget. A report that two processes died of is not read.
async fn inspect(context: &Arc<ExportContext>, ask: &ReportAsk, bytes: Bytes) -> ReportVerdict {
    // If there is nothing to report, a workbook comes as `{}` too.
    if bytes.is_empty() || bytes.trim_ascii() == b"{}" {
        return ReportVerdict::Empty;
    }
    let reserved = context.run.memory.reserve(memory::need(ask.format, &bytes)).await;
    let attempt = if reserved.is_risky {
        let key = key::report(ask.date, &ask.space, &ask.call, ask.format);
        match attempts::begin(&context.run, &key).await {
            Ok(Trial::Go(attempt)) => Some(attempt),
            Ok(Trial::DiedTwice) => return ReportVerdict::Bad(DIED_TWICE.into()),
            Err(error) => return ReportVerdict::Bad(format!("not read: {}", error.message())),
        }
    } else {
        None
    };
    let verdict = match ask.format {
        ReportFormat::Json => inspect_json(context, ask, bytes).await,
        ReportFormat::Xlsx => inspect_workbook(context, ask, bytes).await,
    };
    if let Some(attempt) = attempt
        && let Err(error) = attempt.end(&context.run).await
    {
        tracing::debug!(%error, "the note of a large report could not be deleted");
    }
    verdict
}

async fn inspect_json(context: &Arc<ExportContext>, ask: &ReportAsk, bytes: Bytes) -> ReportVerdict {
    let run = Arc::clone(&context.run);
    let is_small = bytes.len() <= READ_AT_ONCE;
    let inspect = move || (values(&bytes) <= MOST_VALUES).then(|| tables::inspect(&bytes, &run.mapping));
    let inspected = if is_small {
        catch_unwind(AssertUnwindSafe(inspect)).ok()
    } else {
        let _permit = context.inspections.acquire().await;
        tokio::task::spawn_blocking(inspect).await.ok()
    };
    match inspected {
        Some(None) => ReportVerdict::Bad(format!(
            "the report has more values than any call's: over {MOST_VALUES}"
        )),
        Some(Some(Ok(report))) if report.empty => ReportVerdict::Empty,
        Some(Some(Ok(report))) if report.crowded => ReportVerdict::Bad(format!(
            "the report has more rows than any call's: over {} participants, or over {} of another kind",
            tables::MOST_PARTICIPANTS,
            tables::MOST_ROWS
        )),
        Some(Some(Ok(report))) if !report.nested => {
            ReportVerdict::Bad("the report is neither a JSON object nor a list".into())
        }
        Some(Some(Ok(report))) => verdict(ask, &report.turnout, report.participants),
        Some(Some(Err(why))) => ReportVerdict::Bad(format!("the report is {why}")),
        None => ReportVerdict::Bad("the report could not be read".into()),
    }
}

async fn inspect_workbook(context: &Arc<ExportContext>, ask: &ReportAsk, bytes: Bytes) -> ReportVerdict {
    let counts_some = ask.participants.is_some_and(|count| count > 0);
    let context = Arc::clone(context);
    let inspected =
        tokio::task::spawn_blocking(move || tables::inspect_workbook(&bytes, &context.run.mapping)).await;
    match inspected {
        Ok(Ok(report)) if counts_some && report.empty => ReportVerdict::Empty,
        Ok(Ok(report)) => verdict(ask, &report.turnout, report.participants),
        Ok(Err(why)) => ReportVerdict::Bad(format!("the report is {why}")),
        Err(_) => ReportVerdict::Bad("the report could not be read".into()),
    }
}

/// Stores the bytes of an answer if it is worth it, and updates the landing.
async fn keep(
    context: &ExportContext,
    ask: &ReportAsk,
    bytes: Bytes,
    verdict: ReportVerdict,
    result: &mut ReportResult,
) {
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let put_aside = matches!(&verdict, ReportVerdict::Bad(why) if why == DIED_TWICE);
    let Some(kept) = judge(ask, verdict, &sha256, result) else {
        if let Some(landed) = result.landing.landed.as_mut().filter(|_| put_aside) {
            landed.put_aside = true;
        }
        return;
    };
    let key = key::report(ask.date, &ask.space, &ask.call, ask.format);
    let is_new = ask.force || !is_landed(ask, &key, &sha256);
    if is_new && let Err(error) = context.run.put_relaxed(&key, bytes.clone()).await {
        result.landing.status = Status::Failed;
        result.landing.reason = Some(format!("could not be stored: {}", error.message()));
        result.landing.attempts += 1;
        return;
    }
    let (usable, participants) = (kept.usable, kept.participants);
    result.landing = landing(ask, kept, key, &bytes, sha256, context.run.now);
    if let Some(landed) = result.landing.landed.as_mut() {
        landed.put_aside = put_aside;
    }
    if usable {
        result.fresh = is_new.then_some(bytes);
        // If there is JSON too, its warning says the same.
        let is_first =
            ask.format == ReportFormat::Json || context.run.config.export.reports == [ReportFormat::Xlsx];
        result.warning = differing_count(ask, participants).filter(|_| is_first);
    }
}

/// True if the lake has these very bytes.
fn is_landed(ask: &ReportAsk, key: &str, sha256: &str) -> bool {
    let landed = ask.before.landed.as_ref();
    landed.is_some_and(|landed| landed.key == key && landed.sha256 == sha256 && !landed.is_deleted())
}

/// The landing of a report that was stored.
fn landing(
    ask: &ReportAsk,
    kept: KeptReport,
    key: String,
    bytes: &Bytes,
    sha256: String,
    now: DateTime<Utc>,
) -> Landing {
    let is_done = kept.status == Status::Done;
    Landing {
        status: kept.status,
        reason: kept.reason,
        attempts: if is_done { 0 } else { ask.before.attempts + 1 },
        landed: Some(Landed {
            key,
            bytes: bytes.len() as u64,
            sha256,
            landed_at: now,
            usable: kept.usable,
            participants: kept.participants,
            shortfall: kept.shortfall,
            of: Some(ask.of.clone()),
            put_aside: false,
            erased: Default::default(),
            deleted_at: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_joins_of_one_person_count_once() {
        let mut entry = CallEntry {
            room_id: "r".into(),
            started_at: None,
            finished_at: None,
            participants: Some(12),
            call:
                json!({"participantsCount": 5, "totalParticipantsCount": 12, "uniqueParticipantsCount": "4"})
                    .into(),
            pending: None,
            reports: crate::small_map::SmallMap::default(),
        };
        assert_eq!(people_counted(&entry), Some(4));
        entry.call = json!({"participantsCount": 0, "totalParticipantsCount": null}).into();
        assert_eq!(people_counted(&entry), None);
    }
}
