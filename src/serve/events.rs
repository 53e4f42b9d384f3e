//! Webhook events that wait for their work. An event is in the store before it is answered, and removed after its work.
//!
//! `call_finished` is due `settle` after its receipt, all others at once. Events of the same date are done together, so a
//! thousand events do not cause a thousand runs. After a crash, the events left in the store are done by the next start.
//! `workers` does the work; this module only holds the events.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::journal::Journal;
use super::webhook::event::{EventName, ReceivedEvent, WebhookEvent};
use crate::config::Scope;
use crate::lake::key;
use crate::metrics::METRICS;
use crate::store::{OptionalExt, Store};
use crate::{ErrorKind, Result};

/// An event that arrives again within this time, while it waits, is a duplicate: the vendor sends up to three times.
const SAME: TimeDelta = TimeDelta::seconds(60);
/// The number of finished records that are remembered, so that a duplicate event costs nothing.
const REMEMBERED: usize = 10_000;
/// The attempts after which an event is left to the nightly run.
const MOST_ATTEMPTS: u32 = 8;
/// The time after which events of another process count as abandoned and are done by this one.
const ABANDONED: TimeDelta = TimeDelta::minutes(15);

/// The result of accepting an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// The event is in the store and waits for its work.
    Kept,
    /// The event is a duplicate of one that waits or is done.
    Known,
    /// The event needs no work.
    Noted,
}

/// A waiting event.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingEvent {
    /// The event with its time of receipt.
    pub kept: ReceivedEvent,
    /// The key of the object that holds it.
    pub object: String,
    /// The time when its work is due.
    pub due: DateTime<Utc>,
    first_due: DateTime<Utc>,
    attempts: u32,
}

/// See the module.
pub struct Events {
    scope: Scope,
    settle: TimeDelta,
    journal: Mutex<Option<Journal<ReceivedEvent>>>,
    inner: Arc<Mutex<WaitingEvents>>,
    /// Wakes the lane when a new event waits.
    pub wake: Arc<Notify>,
}

#[derive(Default)]
struct WaitingEvents {
    settle: TimeDelta,
    waiting: HashMap<WebhookEvent, Vec<WaitingEvent>>,
    /// The number of unfinished events of each object.
    objects: HashMap<String, usize>,
    done_records: HashSet<WebhookEvent>,
    done_order: VecDeque<WebhookEvent>,
}

impl Events {
    /// Starts without events; [`Events::load`] loads those in the store. The handle ends when [`Events::close`] was called
    /// and everything is written.
    pub fn start(store: Arc<dyn Store>, scope: Scope) -> (Self, tokio::task::JoinHandle<()>) {
        let settle = TimeDelta::from_std(*scope.settle).unwrap_or(TimeDelta::days(36_500));
        let inner = Arc::new(Mutex::new(WaitingEvents {
            settle,
            ..WaitingEvents::default()
        }));
        let wake = Arc::new(Notify::new());
        let (of_journal, woken) = (Arc::clone(&inner), Arc::clone(&wake));
        let (journal, writer) = Journal::start(store, key::EVENTS, move |object, events| {
            of_journal.lock().add(&object, events);
            woken.notify_one();
        });
        let events = Self {
            scope,
            settle,
            journal: Mutex::new(Some(journal)),
            inner,
            wake,
        };
        (events, writer)
    }

    /// Accepts an event; returns once it is in the store.
    ///
    /// # Errors
    /// Any error of the store; the sender must send the event again.
    pub async fn take(&self, event: WebhookEvent, now: DateTime<Utc>) -> Result<Acceptance> {
        if !event.name.has_work() || !self.is_in_scope(&event) {
            return Ok(Acceptance::Noted);
        }
        let kept = ReceivedEvent {
            event,
            received_at: now,
        };
        if self.inner.lock().knows(&kept) {
            return Ok(Acceptance::Known);
        }
        let journal = self.journal.lock().clone();
        let Some(journal) = journal else {
            return Err(crate::Error::new(
                ErrorKind::Interrupted,
                "events",
                "the program is stopping",
            ));
        };
        let line = serde_json::to_string(&kept)
            .map_err(|error| crate::Error::new(ErrorKind::Internal, "event", error.to_string()))?;
        journal.keep(line + "\n", kept).await?;
        Ok(Acceptance::Kept)
    }

    fn is_in_scope(&self, event: &WebhookEvent) -> bool {
        let scope = &self.scope;
        (scope.spaces.is_empty() || scope.spaces.contains(&event.space))
            && (scope.rooms.is_empty() || scope.rooms.contains(&event.room))
            && !scope.exclude_rooms.contains(&event.room)
    }

    /// Loads the events in the store: all of them at the start, later only those that another process has abandoned.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn load(&self, store: &dyn Store, all: bool, now: DateTime<Utc>) -> Result<()> {
        for entry in store.list(key::EVENTS).await? {
            let known = self.inner.lock().objects.contains_key(&entry.key);
            if known || !entry.key.ends_with(".jsonl") {
                continue;
            }
            let Some(object) = store.get(&entry.key).await.optional()? else {
                continue;
            };
            let Some(events) = read(&object.bytes) else {
                tracing::error!(
                    key = entry.key,
                    "events in the store can't be read; the nightly run covers their rooms"
                );
                continue;
            };
            let abandoned = |kept: &ReceivedEvent| due(kept, self.settle) + ABANDONED < now;
            if all || events.iter().all(abandoned) {
                self.inner.lock().add(&entry.key, events);
                self.wake.notify_one();
            }
        }
        Ok(())
    }

    /// Takes the due events out.
    pub fn take_due(&self, now: DateTime<Utc>) -> Vec<WaitingEvent> {
        let mut inner = self.inner.lock();
        let mut due = Vec::new();
        inner.waiting.retain(|_, waiting| {
            let (now_due, later) = std::mem::take(waiting)
                .into_iter()
                .partition(|one| one.due <= now);
            due.extend::<Vec<_>>(now_due);
            *waiting = later;
            !waiting.is_empty()
        });
        inner.count();
        due
    }

    /// The time when the next event is due.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        let inner = self.inner.lock();
        inner.waiting.values().flatten().map(|one| one.due).min()
    }

    /// Marks events as done, and returns the keys of the objects that can be removed.
    #[must_use]
    pub fn done(&self, done: Vec<WaitingEvent>) -> Vec<String> {
        let mut inner = self.inner.lock();
        let mut over = Vec::new();
        for one in done {
            if one.kept.event.name == EventName::RecordFinished {
                inner.remember(one.kept.event);
            }
            if let Some(left) = inner.objects.get_mut(&one.object) {
                *left -= 1;
                if *left == 0 {
                    inner.objects.remove(&one.object);
                    over.push(one.object);
                }
            }
        }
        over
    }

    /// Puts failed events back with a growing backoff. Returns those that have failed too often.
    #[must_use]
    pub fn again(&self, failed: Vec<WaitingEvent>, now: DateTime<Utc>) -> Vec<WaitingEvent> {
        let mut inner = self.inner.lock();
        let mut given_up = Vec::new();
        for mut one in failed {
            one.attempts += 1;
            if one.attempts >= MOST_ATTEMPTS {
                given_up.push(one);
                continue;
            }
            one.due = now + TimeDelta::minutes(1 << (one.attempts - 1).min(6));
            inner.waiting.entry(one.kept.event.clone()).or_default().push(one);
        }
        inner.count();
        given_up
    }

    /// Puts back events whose work did not begin.
    pub fn put_back(&self, waiting: Vec<WaitingEvent>) {
        let mut inner = self.inner.lock();
        for one in waiting {
            inner.waiting.entry(one.kept.event.clone()).or_default().push(one);
        }
        inner.count();
    }

    /// Lets events wait for a time. It counts as no attempt.
    pub fn postpone(&self, events: Vec<WaitingEvent>, until: DateTime<Utc>) {
        let postponed = events.into_iter().map(|one| WaitingEvent { due: until, ..one });
        self.put_back(postponed.collect());
    }

    /// Refuses further events; those in flight are still written.
    pub fn close(&self) {
        *self.journal.lock() = None;
    }
}

fn read(bytes: &[u8]) -> Option<Vec<ReceivedEvent>> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines().map(|line| serde_json::from_str(line).ok()).collect()
}

fn due(kept: &ReceivedEvent, settle: TimeDelta) -> DateTime<Utc> {
    match kept.event.name {
        EventName::CallFinished => kept.received_at + settle,
        _ => kept.received_at,
    }
}

impl WaitingEvents {
    fn add(&mut self, object: &str, events: Vec<ReceivedEvent>) {
        self.objects.insert(object.to_owned(), events.len());
        for kept in events {
            let due = due(&kept, self.settle);
            self.waiting
                .entry(kept.event.clone())
                .or_default()
                .push(WaitingEvent {
                    kept,
                    object: object.to_owned(),
                    due,
                    first_due: due,
                    attempts: 0,
                });
        }
        self.count();
    }

    /// True if the event is a duplicate: the same event waits and its work is late enough for both, or it is done.
    fn knows(&mut self, kept: &ReceivedEvent) -> bool {
        let due = due(kept, self.settle);
        let twins = self.waiting.get_mut(&kept.event).into_iter().flatten();
        for twin in twins {
            if due <= twin.first_due + SAME {
                twin.due = twin.due.max(due);
                return true;
            }
        }
        self.done_records.contains(&kept.event)
    }

    fn remember(&mut self, event: WebhookEvent) {
        if self.done_records.insert(event.clone()) {
            self.done_order.push_back(event);
        }
        if self.done_order.len() > REMEMBERED
            && let Some(oldest) = self.done_order.pop_front()
        {
            self.done_records.remove(&oldest);
        }
    }

    fn count(&self) {
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        METRICS
            .events_waiting
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Duration;
    use crate::store::folder::FolderStore;

    fn event(name: EventName, room: &str, record: Option<&str>) -> WebhookEvent {
        WebhookEvent {
            name,
            space: "s".into(),
            room: room.into(),
            record: record.map(Into::into),
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("in range")
    }

    struct World {
        _folder: tempfile::TempDir,
        store: Arc<dyn Store>,
        events: Events,
    }

    fn world(settle: u64) -> World {
        let folder = tempfile::tempdir().expect("folder");
        let url = format!("file://{}", folder.path().display());
        let store: Arc<dyn Store> = Arc::new(FolderStore::open(&url).expect("store"));
        let scope = Scope {
            settle: Duration::from_secs(settle),
            exclude_rooms: vec!["left-out".into()],
            ..Scope::default()
        };
        let (events, _) = Events::start(Arc::clone(&store), scope);
        World {
            _folder: folder,
            store,
            events,
        }
    }

    #[tokio::test]
    async fn a_call_is_due_after_it_settles_and_a_record_at_once() {
        let world = world(1800);
        let take = |event, when| world.events.take(event, when);
        let call = event(EventName::CallFinished, "r", None);
        assert_eq!(take(call.clone(), at(0)).await.expect("kept"), Acceptance::Kept);
        assert_eq!(
            take(call.clone(), at(20)).await.expect("known"),
            Acceptance::Known,
            "a duplicate"
        );
        assert_eq!(
            take(call.clone(), at(900)).await.expect("kept"),
            Acceptance::Kept,
            "another call"
        );
        let record = event(EventName::RecordFinished, "r", Some("x"));
        assert_eq!(take(record.clone(), at(5)).await.expect("kept"), Acceptance::Kept);
        for nothing in [
            event(EventName::CallStarted, "r", None),
            event(EventName::Other, "r", None),
            event(EventName::CallFinished, "left-out", None),
        ] {
            assert_eq!(take(nothing, at(5)).await.expect("noted"), Acceptance::Noted);
        }
        let due = world.events.take_due(at(10));
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].kept.event, record);
        for key in world.events.done(due) {
            world.store.delete(&key).await.expect("removed");
        }
        assert_eq!(
            take(record, at(30)).await.expect("known"),
            Acceptance::Known,
            "it is done"
        );
        assert_eq!(
            world.events.next_due(),
            Some(at(1820)),
            "late enough for the duplicate"
        );
        assert!(world.events.take_due(at(1819)).is_empty());
        assert_eq!(world.events.take_due(at(1820)).len(), 1);
        assert_eq!(world.events.take_due(at(2700)).len(), 1);
    }

    #[tokio::test]
    async fn a_replay_can_not_postpone_the_work() {
        let world = world(0);
        let call = event(EventName::CallFinished, "r", None);
        world.events.take(call.clone(), at(0)).await.expect("kept");
        for seconds in 1..=300 {
            world.events.take(call.clone(), at(seconds)).await.expect("taken");
        }
        assert!(world.events.next_due().expect("waits") <= at(60));
        let kept = world.store.list(key::EVENTS).await.expect("list").len();
        assert!(kept <= 6, "{kept} objects for one room");
    }

    #[tokio::test]
    async fn unfinished_events_are_loaded_after_a_restart_and_finished_ones_are_not() {
        let world = world(0);
        for room in ["a", "b"] {
            let event = event(EventName::CallFinished, room, None);
            world.events.take(event, at(0)).await.expect("kept");
        }
        let due = world.events.take_due(at(1));
        let (done, open): (Vec<_>, Vec<_>) = due.into_iter().partition(|one| one.kept.event.room == "a");
        for key in world.events.done(done) {
            world.store.delete(&key).await.expect("removed");
        }
        let (restarted, _) = Events::start(Arc::clone(&world.store), Scope::default());
        restarted.load(&*world.store, true, at(2)).await.expect("loaded");
        let found = restarted.take_due(at(10_000));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kept, open[0].kept);
        // A second process takes only events that the first one has left for long.
        let (beside, _) = Events::start(Arc::clone(&world.store), world.events.scope.clone());
        beside.load(&*world.store, false, at(60)).await.expect("loaded");
        assert_eq!(beside.next_due(), None);
        beside.load(&*world.store, false, at(3600)).await.expect("loaded");
        assert_eq!(beside.next_due(), Some(at(0)));
    }

    #[tokio::test]
    async fn a_failed_event_is_retried_with_a_growing_backoff_and_given_up_at_last() {
        let world = world(0);
        let event = event(EventName::RecordFinished, "r", Some("x"));
        world.events.take(event, at(0)).await.expect("kept");
        let mut now = at(0);
        let mut pauses = Vec::new();
        loop {
            let due = world.events.take_due(now);
            assert_eq!(due.len(), 1);
            if !world.events.again(due, now).is_empty() {
                break;
            }
            let next = world.events.next_due().expect("waits");
            pauses.push((next - now).num_minutes());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64]);
    }
}
