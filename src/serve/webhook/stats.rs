//! Statistics of webhooks by space since the daemon's start: the last accepted event, and the last refusal with its reason.
//! They are in memory and bounded, because strangers can invent spaces. No I/O.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;

/// The most spaces with accepted events; a lake has some dozens.
const MOST_PROVED: usize = 10_000;
/// The most spaces with refusals only; a further one replaces the one whose last refusal is oldest.
const MOST_UNPROVED: usize = 100;
/// Longer names can't be of a space.
const LONGEST: usize = 64;

/// The reason of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The signature does not match the space's secret.
    Signature,
    /// The space's secret can't be read; the vendor sends the event again.
    SecretUnreadable,
    /// The body is larger than an event can be.
    TooLarge,
    /// The body did not arrive completely or in time.
    NotRead,
    /// The body is not an event.
    Malformed,
    /// The event could not be written to the store; the vendor sends it again.
    NotKept,
}

/// The last event of a space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastEvent {
    /// The vendor's name of the event.
    pub name: &'static str,
    /// The time of receipt.
    pub at: DateTime<Utc>,
}

/// The last refusal of a space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastRefusal {
    /// The time of the refusal.
    pub at: DateTime<Utc>,
    /// The reason.
    pub why: Reason,
    /// The address of the sender.
    pub from: Option<IpAddr>,
}

/// The statistics of a space.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SpaceStats {
    /// The number of accepted events.
    pub accepted: u64,
    /// The last accepted event.
    pub last_event: Option<LastEvent>,
    /// The number of refused webhooks.
    pub refused: u64,
    /// The last refusal.
    pub last_refusal: Option<LastRefusal>,
}

/// The statistics of all spaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WebhookReport {
    /// The start of the counting: the daemon's start.
    pub since: DateTime<Utc>,
    /// The statistics by space.
    pub spaces: BTreeMap<String, SpaceStats>,
    /// Webhooks without a readable event, or with a name that no space can have.
    pub unattributed: SpaceStats,
}

/// See the module.
pub struct WebhookStats(Mutex<WebhookReport>);

impl WebhookStats {
    /// Starts with empty statistics.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self(Mutex::new(WebhookReport {
            since: now,
            spaces: BTreeMap::new(),
            unattributed: SpaceStats::default(),
        }))
    }

    /// Counts an accepted event.
    pub fn accepted(&self, space: &str, name: &'static str, now: DateTime<Utc>) {
        let mut report = self.lock();
        let of_space = report.of(Some(space), true);
        of_space.accepted += 1;
        of_space.last_event = Some(LastEvent { name, at: now });
    }

    /// Counts a refusal; `space` is none if no event could be read.
    pub fn refused(&self, space: Option<&str>, why: Reason, from: Option<IpAddr>, now: DateTime<Utc>) {
        let mut report = self.lock();
        let of_space = report.of(space, false);
        of_space.refused += 1;
        of_space.last_refusal = Some(LastRefusal { at: now, why, from });
    }

    /// The statistics so far.
    pub fn report(&self) -> WebhookReport {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, WebhookReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WebhookReport {
    fn of(&mut self, space: Option<&str>, is_proved: bool) -> &mut SpaceStats {
        let Some(space) = space.filter(|space| space.len() <= LONGEST) else {
            return &mut self.unattributed;
        };
        if !self.spaces.contains_key(space) && !self.make_room(is_proved) {
            return &mut self.unattributed;
        }
        self.spaces.entry(space.to_owned()).or_default()
    }

    /// Makes room for another space; returns false if there is none.
    fn make_room(&mut self, is_proved: bool) -> bool {
        let (proved, unproved): (Vec<_>, Vec<_>) = self.spaces.iter().partition(|(_, one)| one.accepted > 0);
        if is_proved {
            return proved.len() < MOST_PROVED;
        }
        if unproved.len() >= MOST_UNPROVED {
            let at = |one: &SpaceStats| one.last_refusal.as_ref().map(|last| last.at);
            let oldest = unproved.into_iter().min_by_key(|(_, one)| at(one));
            if let Some(oldest) = oldest.map(|(space, _)| space.clone()) {
                self.spaces.remove(&oldest);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_space_has_its_last_event_and_its_last_refusal() {
        let (now, from) = (Utc::now(), Some(IpAddr::from([192, 0, 2, 1])));
        let seen = WebhookStats::new(now);
        seen.accepted("s1", "call_started", now);
        seen.accepted("s1", "call_finished", now);
        seen.refused(Some("s1"), Reason::Signature, from, now);
        seen.refused(Some("s2"), Reason::SecretUnreadable, from, now);
        seen.refused(None, Reason::TooLarge, None, now);
        let report = serde_json::to_value(seen.report()).expect("JSON");
        assert_eq!(report["spaces"]["s1"]["accepted"], 2);
        assert_eq!(report["spaces"]["s1"]["last_event"]["name"], "call_finished");
        assert_eq!(report["spaces"]["s1"]["last_refusal"]["why"], "signature");
        assert_eq!(report["spaces"]["s1"]["last_refusal"]["from"], "192.0.2.1");
        assert_eq!(report["spaces"]["s2"]["last_event"], serde_json::Value::Null);
        assert_eq!(report["spaces"]["s2"]["last_refusal"]["why"], "secret_unreadable");
        assert_eq!(report["unattributed"]["last_refusal"]["why"], "too_large");
    }

    #[test]
    fn invented_spaces_are_bounded_and_replace_no_proved_space() {
        let now = Utc::now();
        let seen = WebhookStats::new(now);
        seen.accepted("s1", "call_finished", now);
        for n in 0..10 * MOST_UNPROVED {
            let at = now + chrono::TimeDelta::seconds(n as i64);
            seen.refused(Some(&format!("made-up-{n}")), Reason::Signature, None, at);
        }
        seen.refused(Some(&"x".repeat(LONGEST + 1)), Reason::Signature, None, now);
        let report = seen.report();
        assert_eq!(report.spaces.len(), 1 + MOST_UNPROVED);
        assert_eq!(report.spaces["s1"].accepted, 1);
        assert!(
            report
                .spaces
                .contains_key(&format!("made-up-{}", 10 * MOST_UNPROVED - 1))
        );
        assert_eq!(report.unattributed.refused, 1);
    }
}
