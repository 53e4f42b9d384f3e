//! The oddities of the simulated school, which are applied to a healthy one. Pure; used by `generate`.

use chrono::TimeDelta;

use super::options::Options;
use super::records;
use super::school::{Call, Record, RecordState, Report, School};
use super::seeded::hex_id;

/// Every 25th call has a given oddity; a small school has each oddity at least once.
const PERIOD: usize = 25;

/// Applies the oddities of the options to the school.
pub(super) fn apply(school: &mut School, options: &Options) {
    let odd = options.odd;
    reports(school, options);
    let size = options.whole_recording_size();
    let mut add = |on: bool, offset: usize, make: &dyn Fn(&Call) -> Record| {
        if on {
            let calls = every(school.calls.len(), offset);
            let made: Vec<_> = calls.filter_map(|i| school.calls.get(i)).map(make).collect();
            school.records.extend(made);
        }
    };
    add(odd.aborted_records, 3, &|call| Record {
        state: RecordState::Aborted,
        finished_at: Some(call.started_at + TimeDelta::seconds(2)),
        created_at: call.started_at,
        started_at: Some(call.started_at),
        file_size: Some(0),
        size: 0,
        ..records::whole(call, "aborted", 0)
    });
    add(odd.stray_records, 8, &|call| Record {
        call_id: None,
        ..records::whole(call, "stray", size)
    });
    add(odd.unfinished_record, 11, &|call| Record {
        state: RecordState::New,
        finished_at: None,
        file_size: None,
        ..records::whole(call, "unfinished", 0)
    });
    add(odd.failed_record, 13, &|call| Record {
        state: RecordState::Failed,
        finished_at: None,
        file_size: Some(0),
        ..records::whole(call, "failed", 0)
    });
    add(odd.foreign_record, 17, &|call| Record {
        call_id: Some(hex_id(&format!("{}/foreign", call.id))),
        ..records::whole(call, "foreign", size)
    });
    add(odd.wrong_file_size, 19, &|call| Record {
        file_size: Some(size + 1234),
        ..records::whole(call, "wrong-size", size)
    });
    if odd.nameless {
        for i in every(school.calls.len(), 21) {
            let call = school.calls.get_mut(i);
            if let Some(person) = call.and_then(|call| call.participants.last_mut()) {
                person.id = None;
            }
        }
    }
}

fn reports(school: &mut School, options: &Options) {
    let odd = options.odd;
    let html = "<!DOCTYPE html><html><body><h1>Сервис временно недоступен</h1></body></html>";
    let kinds = [
        (odd.missing_report, 5, Report::Missing),
        (odd.denied_report, 6, Report::Denied),
        (odd.empty_report, 7, Report::EMPTY),
        (odd.empty_report, 9, Report::bytes("{}")),
        (odd.empty_report, 10, Report::bytes("")),
        (odd.broken_report, 12, Report::bytes(html)),
    ];
    for (_, offset, report) in kinds.into_iter().filter(|(on, _, _)| *on) {
        for i in every(school.calls.len(), offset) {
            if let Some(call) = school.calls.get_mut(i) {
                call.set_report(report.clone());
            }
        }
    }
    if odd.active_call
        && let Some(call) = school.calls.last_mut()
    {
        call.finished_at = None;
    }
}

/// Positions `offset`, `offset + PERIOD`, … among `count`.
fn every(count: usize, offset: usize) -> impl Iterator<Item = usize> {
    let first = if count == 0 { 0 } else { offset % count };
    (first..count).step_by(PERIOD)
}
