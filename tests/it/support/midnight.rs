//! A school with one lesson about midnight, in two calls of which the second one has no report at first.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::Value;
use telelake::simulator::{Oddities, Options, Report, School, Simulator};

/// The date on which the lesson has its rows, and the date of the call without a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The lesson begins before midnight, and the call without a report after it.
    Next,
    /// The call without a report begins before midnight and lasts into the lesson.
    Before,
}

/// The lesson and its calls.
pub struct Midnight {
    pub sim: Simulator,
    pub lesson_day: NaiveDate,
    pub other_day: NaiveDate,
    /// The call without a report.
    pub silent: String,
    /// The user who is in this call alone.
    pub late: String,
}

impl Midnight {
    pub async fn new(side: Side) -> Self {
        let first: NaiveDate = "2025-03-03".parse().unwrap();
        let sim = Simulator::start(Options {
            spaces: 1,
            rooms: 1,
            empty_rooms: 0.0,
            dates: telelake::simulator::days(first, 1),
            calls_per_day: 1..=1,
            participants: 4..=4,
            recorded: 0.0,
            ragged: false,
            odd: Oddities::none(),
            ..Options::default()
        })
        .await
        .unwrap();
        let midnight = (first + TimeDelta::days(1))
            .and_hms_opt(0, 0, 0)
            .unwrap()
            .and_utc();
        let (silent, late) = sim.edit(|school| match side {
            Side::Next => split(school, midnight, [-40, 10, -60, 60]),
            Side::Before => split(school, midnight, [20, -10, 5, 60]),
        });
        let (lesson_day, other_day) = match side {
            Side::Next => (first, midnight.date_naive()),
            Side::Before => (midnight.date_naive(), first),
        };
        Self {
            sim,
            lesson_day,
            other_day,
            silent,
            late,
        }
    }

    /// The lesson data of the school, with a user who is in neither call.
    pub fn metas(&self) -> Vec<Value> {
        let mut metas = self.sim.school().metas();
        let mut absent = metas[0].clone();
        absent["externalUserId"] = "absent".into();
        absent["meta"]["user_role"] = "student".into();
        metas.push(absent);
        metas
    }

    /// Sets the answer to requests for the reports of the call that has none at first.
    pub fn report(&self, report: Report) {
        let silent = |school: &mut School| school.call_mut(&self.silent).unwrap().set_report(report);
        self.sim.edit(silent);
    }
}

/// Moves the only call of a school, and adds one like it, of 20 minutes each. Times are in minutes from midnight: the starts of
/// the calls, and the start and end of the lesson.
fn split(
    school: &mut School,
    midnight: DateTime<Utc>,
    [here, there, from, to]: [i64; 4],
) -> (String, String) {
    let at = |minutes| midnight + TimeDelta::minutes(minutes);
    let call = &mut school.calls[0];
    let moved = at(here) - call.started_at;
    (call.started_at, call.finished_at) = (at(here), Some(at(here + 20)));
    (call.lesson.scheduled_start, call.lesson.scheduled_end) = (at(from), at(to));
    (call.messages, call.reactions, call.polls) = Default::default();
    for session in call
        .participants
        .iter_mut()
        .flat_map(|person| &mut person.sessions)
    {
        session.joined_at = (session.joined_at + moved).min(at(here + 10));
        session.left_at = Some(at(here + 20));
    }
    let id = call.id.clone();
    let silent = school
        .add_call_like(&id, TimeDelta::minutes(there - here))
        .unwrap();
    school.call_mut(&silent).unwrap().set_report(Report::Missing);
    let call = school.call_mut(&id).unwrap();
    let place = call
        .participants
        .iter()
        .rposition(|person| person.external_user_id.is_some());
    let late = call.participants.remove(place.unwrap());
    (silent, late.external_user_id.unwrap())
}
