//! Decides what a job must fetch of a day. Pure.

use std::collections::BTreeSet;

use super::recording;
use super::report::{self, ReportAsk};
use super::transfer::RecordAsk;
use crate::ids::{CallId, DayId, RecordId};
use crate::lake::manifest::{Landing, Manifest, Status};
use crate::pipeline::cutoffs::DataKind;
use crate::pipeline::job::Piece;
use crate::pipeline::rules::JobRules;
use crate::pipeline::walk::found::DayWork;

/// The reports and recordings that a job must fetch of a day.
#[derive(Default)]
pub(crate) struct Due {
    pub reports: Vec<ReportAsk>,
    pub records: Vec<RecordAsk>,
}

/// The calls and records that were found after the day had been processed once.
pub(crate) struct NewPieces {
    calls: BTreeSet<CallId>,
    records: BTreeSet<RecordId>,
}

impl NewPieces {
    pub fn of(work: &DayWork) -> Self {
        Self {
            calls: work.calls.keys().cloned().collect(),
            records: work.records.keys().cloned().collect(),
        }
    }
}

impl Due {
    /// Keeps what is new. The rest was asked for when the day was processed before.
    pub fn keep(&mut self, new: &NewPieces) {
        self.reports.retain(|ask| new.calls.contains(&ask.call));
        self.records.retain(|ask| new.records.contains(&ask.record));
    }

    /// The sum of the recordings' sizes in bytes, as the API says.
    pub fn recorded_bytes(&self) -> u64 {
        self.records.iter().filter_map(|ask| ask.file_size).sum()
    }
}

/// Decides what a job must fetch of a day. What failed before comes last, because its failures must not use up the
/// attempts that others need.
pub(crate) fn due(rules: &JobRules, manifest: &Manifest) -> Due {
    let mut due = Due {
        reports: due_reports(rules, manifest),
        records: match rules.wants_recordings() {
            true => due_records(rules, manifest),
            false => Vec::new(),
        },
    };
    due.reports.sort_by_key(|ask| ask.before.attempts);
    due.records.sort_by_key(|ask| ask.before.attempts);
    due
}

fn due_reports(rules: &JobRules, manifest: &Manifest) -> Vec<ReportAsk> {
    let calls = manifest
        .calls
        .iter()
        .filter(|(id, entry)| rules.job.takes_room(&entry.room_id) && rules.job.takes_call(id));
    let mut asks = Vec::new();
    for (id, entry) in calls {
        for format in rules.formats_of_job() {
            let piece = Piece::Report(id.clone(), *format);
            let is_wanted = |landing: &Landing| manifest.reports_wanted_at.is_some() && landing.is_deleted();
            let force = is_forced(rules, manifest, piece) || entry.reports.get(format).is_some_and(is_wanted);
            let landing = entry.reports.get(format).filter(|landing| {
                !is_left_alone(rules, manifest, landing) && report::is_due(entry, landing, force)
            });
            asks.extend(landing.map(|landing| ReportAsk {
                date: manifest.date,
                space: manifest.space_id.clone(),
                room: entry.room_id.clone(),
                call: id.clone(),
                format: *format,
                participants: entry.participants,
                people: report::people_counted(entry),
                of: report::call_state(entry),
                before: revived(landing),
                force,
                erased_names: entry.erased_names(),
            }));
        }
    }
    asks
}

fn due_records(rules: &JobRules, manifest: &Manifest) -> Vec<RecordAsk> {
    let records = manifest.records.iter().filter(|(id, entry)| {
        rules.job.takes_room(&entry.room_id)
            && rules.job.takes_record(id)
            && !is_left_alone(rules, manifest, &entry.file)
            && !rules.cutoffs.is_over(DataKind::Recordings, manifest.date)
            && recording::is_due(entry, is_forced(rules, manifest, Piece::Recording((*id).clone())))
    });
    let asks = records.map(|(id, entry)| RecordAsk {
        date: manifest.date,
        space: manifest.space_id.clone(),
        room: entry.room_id.clone(),
        call: entry.call_id.clone(),
        record: id.clone(),
        file_size: recording::file_size(entry),
        of: recording::record_state(entry),
        before: revived(&entry.file),
    });
    asks.collect()
}

/// True if the job lands a report or recording again although the lake has it.
fn is_forced(rules: &JobRules, manifest: &Manifest, piece: Piece) -> bool {
    let day = DayId::new(manifest.date, manifest.space_id.clone());
    (rules.job.force && rules.job.covers(manifest.date)) || rules.again.contains(&(day, piece))
}

/// True if the job leaves a report or recording alone because it was given up.
fn is_left_alone(rules: &JobRules, manifest: &Manifest, landing: &Landing) -> bool {
    landing.status == Status::Lost && !rules.job.asks_for_lost(manifest.date)
}

/// The landing as it is asked for: one that was given up has as many attempts left as a new one.
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
