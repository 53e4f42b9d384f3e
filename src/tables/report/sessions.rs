//! Reads the sessions of a row: from a list of its own, from the row itself, or from a list or events elsewhere in the
//! report. Pure.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::node::Node;
use super::path::{Path, Scope, Walked};
use super::stay::{ReportedStay, ReportedStays, read_stay};
use crate::lenient::Reading;
use crate::tables::mapping::names::fold;
use crate::tables::mapping::session_plan::{EventPlan, SessionList, SessionPlan};
use crate::tables::mapping::value_rules::ValueRules;
use crate::tables::parquet::cell::Session;

/// Most sessions of a report, many times those of any call. The sessions beyond it count as unreadable.
const MOST_SESSIONS: usize = 1_000_000;

/// The sessions of a row.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RowSessions {
    pub stays: ReportedStays,
    /// True if the row itself is a stay, or an event of one, so that a person may have several rows.
    pub is_stay: bool,
}

/// Reads the sessions of a report's rows, one row after the other.
#[derive(Debug, Default)]
pub(crate) struct SessionReader {
    /// The stays of a list that several rows share, by key.
    shared: Option<SharedList>,
    /// The number of sessions that were read.
    sessions: usize,
    /// The number of sessions and events in earlier lists that belong to no row.
    unclaimed: u64,
}

/// The stays of a list, by key.
#[derive(Debug)]
struct SharedList {
    /// The address of the list, which tells it from the one of another scope.
    address: usize,
    by_key: HashMap<String, PersonStays>,
    is_misshapen: bool,
    /// The number of sessions and events without a key.
    keyless: u64,
}

/// The stays of one key.
#[derive(Debug, Default)]
struct PersonStays {
    stays: ReportedStays,
    /// The number of sessions or events that they were made of.
    of: u64,
    is_claimed: bool,
}

impl SessionReader {
    /// Reads the sessions of the row that these scopes lead to.
    pub fn read(&mut self, plan: &SessionPlan, from: &[Path], scopes: &[Scope<'_, '_>]) -> RowSessions {
        let mut read = self
            .elsewhere(plan, scopes)
            .unwrap_or_else(|| of_row(plan, from, scopes));
        let count = read.stays.len();
        self.sessions = self.sessions.saturating_add(count);
        if self.sessions > MOST_SESSIONS && count > 0 {
            read.stays = too_many();
        }
        read
    }

    /// The number of sessions and events in lists that belong to none of the rows that were read.
    pub fn unclaimed(&self) -> u64 {
        self.unclaimed + self.shared.as_ref().map_or(0, SharedList::unclaimed)
    }

    /// The sessions in the list elsewhere; none if it has none of this row.
    fn elsewhere(&mut self, plan: &SessionPlan, scopes: &[Scope<'_, '_>]) -> Option<RowSessions> {
        let list = plan.elsewhere.as_ref()?;
        let own = list.key.is_empty();
        let key = match own {
            true => String::new(),
            false => text_of(&list.equals, scopes)?,
        };
        let collection = list.list.collection(scopes)?;
        let address = std::ptr::from_ref(collection) as usize;
        if self
            .shared
            .as_ref()
            .is_none_or(|shared| shared.address != address)
        {
            let next = SharedList::read(plan, list, scopes, address);
            self.unclaimed += self.shared.replace(next).map_or(0, |shared| shared.unclaimed());
        }
        let shared = self.shared.as_mut()?;
        let stays = match shared.by_key.get_mut(&key) {
            // Do not copy what is beyond the limit: a hostile report has one key in all rows.
            Some(person) if self.sessions + person.stays.len() > MOST_SESSIONS => too_many(),
            Some(person) => {
                let mut stays = person.stays.clone();
                // Each value that can't be read is counted once.
                if std::mem::replace(&mut person.is_claimed, true) {
                    stays.bad = 0;
                }
                stays
            }
            None if shared.is_misshapen => {
                let mut stays = ReportedStays::default();
                stays.add_unreadable();
                stays
            }
            None => return None,
        };
        Some(RowSessions {
            stays,
            // Rows that are taken from the list of events itself repeat their person.
            is_stay: list.events.is_some(),
        })
    }
}

/// The stays of a person in a report with more sessions than any call has.
fn too_many() -> ReportedStays {
    let mut stays = ReportedStays::default();
    stays.add_unreadable();
    stays
}

impl SharedList {
    /// The number of sessions and events that belong to no row so far.
    fn unclaimed(&self) -> u64 {
        let people = self.by_key.values().filter(|person| !person.is_claimed);
        self.keyless + people.map(|person| person.of).sum::<u64>()
    }

    fn read(plan: &SessionPlan, list: &SessionList, scopes: &[Scope<'_, '_>], address: usize) -> Self {
        let mut by_key: HashMap<String, PersonStays> = HashMap::new();
        let mut events: HashMap<String, Vec<Event>> = HashMap::new();
        let mut keyless = 0;
        let key_of = |scopes: &[Scope<'_, '_>]| match list.key.is_empty() {
            true => Some(String::new()),
            false => text_of(&list.key, scopes),
        };
        let walked = list.list.walk(scopes, &mut |scopes| {
            let event = list
                .events
                .as_ref()
                .map(|of| Event::read(of, &plan.values, scopes));
            match (event, key_of(scopes)) {
                // An event of another type.
                (Some(None), _) => {}
                (_, None) => keyless += 1,
                (Some(Some(event)), Some(key)) => events.entry(key).or_default().push(event),
                (None, Some(key)) => {
                    let person = by_key.entry(key).or_default();
                    person.stays.add(plan.stay(scopes));
                    person.of += 1;
                }
            }
        });
        for (key, of_person) in events {
            let person = by_key.entry(key).or_default();
            person.of = of_person.len() as u64;
            person.stays = paired(of_person);
        }
        Self {
            address,
            by_key,
            is_misshapen: walked.misshapen > 0,
            keyless,
        }
    }
}

impl SessionPlan {
    /// True if a value has any time of a session.
    fn is_stay(&self, scopes: &[Scope<'_, '_>]) -> bool {
        [&self.joined, &self.left]
            .into_iter()
            .any(|paths| instant(paths, scopes, &self.values) != Reading::Absent)
    }

    fn stay(&self, scopes: &[Scope<'_, '_>]) -> ReportedStay {
        let [joined, left] = [&self.joined, &self.left].map(|paths| instant(paths, scopes, &self.values));
        let stay = read_stay(joined, left);
        match stay {
            ReportedStay::Read(session) | ReportedStay::EndUnreadable(session) if session.left.is_none() => {
                let lengths = self.length.iter().filter_map(|path| path.value(scopes));
                let length = lengths.filter_map(|value| self.values.length(&value)).next();
                stay.lasting(length)
            }
            stay => stay,
        }
    }
}

/// Reads the stays of a row from the first path that exists. Anything else in the place of a list of stays is unreadable,
/// because it does not say that there were none.
fn of_row(plan: &SessionPlan, from: &[Path], scopes: &[Scope<'_, '_>]) -> RowSessions {
    let mut read = RowSessions::default();
    for path in from {
        if path.arrays() == 0 {
            // A row is itself a stay if it has any time.
            let Some(value) = path.value(scopes) else {
                continue;
            };
            let inner = match path.is_here() {
                true => Vec::new(),
                false => [scopes, &[Scope::from(&*value)]].concat(),
            };
            let scopes = if inner.is_empty() { scopes } else { &inner };
            if plan.is_stay(scopes) {
                read.stays.add(plan.stay(scopes));
                read.is_stay = path.is_here();
                return read;
            }
            continue;
        }
        match path.collection(scopes) {
            None | Some(Node::Null) => {}
            Some(_) => {
                let mut stays = ReportedStays {
                    sessions: Some(Vec::new()),
                    ..read.stays
                };
                let walked = path.walk(scopes, &mut |scopes| stays.add(plan.stay(scopes)));
                (0..walked.misshapen).for_each(|_| stays.add_unreadable());
                read.stays = stays;
                if is_explicit(walked) {
                    return read;
                }
                read.stays.sessions = None;
            }
        }
    }
    read
}

/// True if a list was found, even if it is empty. A list of lists in which an inner one is missing is no explicit empty
/// list.
fn is_explicit(walked: Walked) -> bool {
    walked.values > 0 || (walked.missing == 0 && walked.misshapen == 0)
}

/// An event of a person who joined or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Event {
    /// Microseconds since the epoch; none if the time can't be read.
    at: Option<i64>,
    is_join: bool,
}

impl Event {
    /// Reads an event; none if it is of another type.
    fn read(plan: &EventPlan, values: &ValueRules, scopes: &[Scope<'_, '_>]) -> Option<Self> {
        let kind = fold(&text_of(&plan.kind, scopes)?);
        let is_join = plan.join.contains(&kind);
        (is_join || plan.leave.contains(&kind)).then(|| Self {
            at: instant(&plan.at, scopes, values)
                .ok()
                .map(|at| at.timestamp_micros()),
            is_join,
        })
    }
}

/// Makes stays of one person's events.
///
/// A second join without a leave is the same stay: the connection was lost, or the person has two devices. The stay then
/// ends with the last leave that these joins account for. A leave without a join is a stay whose start is unknown.
fn paired(mut events: Vec<Event>) -> ReportedStays {
    let mut stays = ReportedStays::default();
    let unreadable = events.iter().filter(|event| event.at.is_none());
    let unreadable: Vec<bool> = unreadable.map(|event| event.is_join).collect();
    for is_join in unreadable {
        match is_join {
            true => stays.add(ReportedStay::Unreadable),
            false => stays.bad += 1,
        }
    }
    events.retain(|event| event.at.is_some());
    events.sort_by_key(|event| event.at);
    let mut open: Option<i64> = None;
    // Joins of the last stay that no leave has answered yet.
    let mut unanswered = 0_u64;
    for event in events {
        let Some(at) = event.at else { continue };
        match (event.is_join, open) {
            (true, Some(_)) => unanswered += 1,
            (true, None) => (open, unanswered) = (Some(at), 1),
            (false, Some(joined)) => {
                stays.add(ReportedStay::Read(Session {
                    joined,
                    left: Some(at),
                }));
                (open, unanswered) = (None, unanswered - 1);
            }
            (false, None) => {
                let last = stays.sessions.as_mut().and_then(|sessions| sessions.last_mut());
                match last.filter(|_| unanswered > 0) {
                    Some(session) => {
                        session.left = Some(at);
                        unanswered -= 1;
                    }
                    None => stays.add(ReportedStay::Unreadable),
                }
            }
        }
    }
    if let Some(joined) = open {
        stays.add(ReportedStay::Read(Session { joined, left: None }));
    }
    stays
}

/// The first reading of some fields that is not absent.
fn instant(paths: &[Path], scopes: &[Scope<'_, '_>], values: &ValueRules) -> Reading<DateTime<Utc>> {
    paths
        .iter()
        .filter_map(|path| path.value(scopes))
        .map(|value| values.instant(&value))
        .find(|reading| *reading != Reading::Absent)
        .unwrap_or(Reading::Absent)
}

/// The text of the first of some fields that has one.
fn text_of(paths: &[Path], scopes: &[Scope<'_, '_>]) -> Option<String> {
    let values = paths.iter().filter_map(|path| path.value(scopes));
    values
        .filter_map(|value| Some(value.to_text()?.into_owned()))
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sessions of events such as `+0 -30`, in minutes, and the number of unreadable ones.
    fn sessions(events: &str) -> (Vec<(i64, Option<i64>)>, u64) {
        let events = events.split_whitespace().map(|event| Event {
            at: event[1..].parse::<i64>().ok(),
            is_join: event.starts_with('+'),
        });
        let stays = paired(events.collect());
        let sessions = stays.sessions.unwrap_or_default();
        let sessions = sessions
            .iter()
            .map(|session| (session.joined, session.left))
            .collect();
        (sessions, stays.unreadable)
    }

    #[test]
    fn events_become_sessions() {
        let some = |list: &[(i64, i64)]| {
            list.iter()
                .map(|(from, to)| (*from, Some(*to)))
                .collect::<Vec<_>>()
        };
        for (events, expected, unreadable) in [
            ("+0 -30 +40 -50", some(&[(0, 30), (40, 50)]), 0),
            // The order of the list does not matter.
            ("-50 +40 -30 +0", some(&[(0, 30), (40, 50)]), 0),
            // The connection was lost without an event.
            ("+0 +10 -30", some(&[(0, 30)]), 0),
            // Two devices.
            ("+0 +10 -20 -30", some(&[(0, 30)]), 0),
            ("+0 +10 -20 +25 -30 -40", some(&[(0, 20), (25, 30)]), 1),
            ("+0", vec![(0, None)], 0),
            ("+0 -10 +20", vec![(0, Some(10)), (20, None)], 0),
            ("-10", vec![], 1),
            ("+0 -10 -20", some(&[(0, 10)]), 1),
            ("+? -10", vec![], 2),
            ("+0 -?", vec![(0, None)], 0),
        ] {
            assert_eq!(sessions(events), (expected, unreadable), "{events}");
        }
    }
}
