//! Merges the findings of the walk into a day's manifest. Pure.
//!
//! A call or record that the API lists now is as the API lists it now. One that the API no longer lists stays, unless it
//! turned out to belong to another day.

use std::collections::BTreeSet;

use super::{give_up, recording};
use crate::api::{Call, Record};
use crate::ids::{CallId, RecordId, RoomId};
use crate::lake::manifest::{CallEntry, Landing, Manifest, Missed, RecordEntry, RoomEntry, Status};
use crate::pipeline::rules::JobRules;
use crate::pipeline::walk::found::{DayWork, RoomsAsked};

/// Runs in a row that find the room list longer than what was received, before its missing rooms are given up. The API
/// may count wrong forever.
const PARTIAL_RUNS: u32 = 3;

/// Merges the findings of the walk into the manifest.
pub(crate) fn merge(rules: &JobRules, manifest: &mut Manifest, work: DayWork) {
    merge_missed(rules, manifest, &work);
    manifest.space_name = work.space_name.or(manifest.space_name.take());
    manifest.listed |= work.listed;
    if matches!(work.asked, RoomsAsked::All) && !work.missed.space {
        manifest.listed_at = Some(rules.now);
    }
    for (id, room) in work.rooms {
        if room != RoomEntry::default() || !manifest.rooms.contains_key(&id) {
            manifest.rooms.insert(id, room);
        }
    }
    evict(manifest, &work.evict_calls, &work.evict_records);
    for (id, (room, call)) in work.calls {
        merge_call(manifest, id, room, call);
    }
    for (id, (room, record)) in work.records {
        merge_record(manifest, id, room, record);
    }
    let missed = manifest.missed.clone();
    judge_calls(rules, manifest, &missed);
    judge_records(rules, manifest, &missed);
}

/// Gives up calls and records that belong to another day.
pub(super) fn evict(manifest: &mut Manifest, calls: &BTreeSet<CallId>, records: &BTreeSet<RecordId>) {
    for id in calls {
        let entry = manifest.calls.remove(id);
        let landings = entry.into_iter().flat_map(|entry| entry.reports.into_values());
        let keys = landings.filter_map(|landing| Some(landing.landed?.key));
        manifest.evicted.extend(keys);
    }
    for id in records {
        let landed = manifest.records.remove(id).and_then(|entry| entry.file.landed);
        manifest.evicted.extend(landed.map(|landed| landed.key));
    }
}

/// Merges what could not be listed. A room or list that is given up does not keep the day open, but the day is never
/// complete.
fn merge_missed(rules: &JobRules, manifest: &mut Manifest, work: &DayWork) {
    let before = std::mem::take(&mut manifest.missed);
    let found = &work.missed;
    let missed = &mut manifest.missed;
    let half = rules.job.only.is_some();
    let all = matches!(work.asked, RoomsAsked::All);
    let was_asked = |room: &RoomId| match &work.asked {
        // If the rooms could not be listed, none was asked.
        _ if half || found.space => false,
        RoomsAsked::All => true,
        RoomsAsked::These(rooms) => rooms.contains(room),
    };
    if all && !half {
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
    let answered = |room: &RoomId| {
        work.heard_gone.contains(room) || (was_asked(room) && work.listed_rooms.contains(room))
    };
    missed.gone = before.gone.into_iter().filter(|room| !answered(room)).collect();
    if rules.has_given_up_gone_rooms(manifest.date) {
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
    manifest.records.insert(id, entry);
}

/// True if a room's listing for the day was answered.
fn was_listed(missed: &Missed, room: &RoomId) -> bool {
    !missed.space && !missed.rooms.contains(room)
}

/// Says of each call if its reports must wait, and adds the reports that the configuration exports.
fn judge_calls(rules: &JobRules, manifest: &mut Manifest, missed: &Missed) {
    let date = manifest.date;
    for entry in manifest.calls.values_mut() {
        entry.pending = unsettled(rules, entry);
        // The API may never say that a call has ended. Its report is asked for when the waiting time is over.
        if entry.finished_at.is_none()
            && was_listed(missed, &entry.room_id)
            && rules.give_up.is_over(give_up::end_of_call(entry, date))
        {
            entry.pending = None;
        }
        for format in &rules.formats {
            entry
                .reports
                .get_or_insert_with(*format, || Landing::pending("not asked for yet"));
        }
    }
}

/// Says of each record that was not copied if it can be, and gives up those whose waiting time is over.
fn judge_records(rules: &JobRules, manifest: &mut Manifest, missed: &Missed) {
    let date = manifest.date;
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
            // An end that cannot be read is no proof that nothing will come.
            if was_lost || (was_listed(missed, &entry.room_id) && !entry.end_is_unreadable()) {
                let end = give_up::end_of_record(entry, date);
                rules.give_up.give_up(&mut entry.file, end);
            }
        } else if was_lost && entry.file.attempts == 0 {
            // It was given up without any attempt, because it could not be copied. Now it can.
            entry.file = Landing::pending("not asked for yet");
        }
    }
}

/// The reason why a call's reports are not asked for yet, if there is one.
fn unsettled(rules: &JobRules, entry: &CallEntry) -> Option<String> {
    let Some(end) = entry.finished_at else {
        return Some(match entry.end_is_unreadable() {
            true => "the call's `finishedAt` can't be read".into(),
            false => "the call has not finished".into(),
        });
    };
    let is_settled = end
        .checked_add_signed(rules.settle)
        .is_some_and(|settled| settled <= rules.now);
    (!is_settled).then(|| "the call has only just finished".into())
}
