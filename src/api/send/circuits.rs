//! The circuits of a client: one for each space, each room, and the downloads of each space's recordings. Not pure: it
//! reads the clock. `sender` asks before each attempt and reports the outcome of each request; `circuit` decides.
//!
//! A room's circuit has its space's as parent, so that one failing room does not stop its space: the room opens first,
//! and its failures no longer count for the space. A space opens after failures of several rooms, or if all its rooms
//! are open.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::circuit::{Admission, Circuit, Rules};
use crate::api::problem::shown;
use crate::api::request::RequestScope;
use crate::ids::{RoomId, SpaceId};
use crate::{Error, ErrorKind, Result};

/// The failures in a row that open a space's circuit. They are more than any three rooms can bring.
const SPACE_FAILURES: u32 = 8;
/// The failures in a row that open a room's circuit.
const ROOM_FAILURES: u32 = 2;

type CircuitMap = HashMap<RequestScope, Circuit>;

/// Requests that were not sent, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The space of the requests.
    pub space: SpaceId,
    /// The room, if only its requests were refused.
    pub room: Option<RoomId>,
    /// True if the requests were downloads of recordings.
    pub downloads: bool,
    /// The number of requests.
    pub count: u64,
    /// The failure that opened the circuit.
    pub reason: String,
}

/// All circuits of a client.
#[derive(Debug)]
pub(in crate::api) struct Circuits {
    patience: Duration,
    pause: Duration,
    circuits: Mutex<CircuitMap>,
}

/// The permission to send a request, until its outcome is known.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    circuits: &'a Circuits,
    scope: Option<&'a RequestScope>,
    /// The circuits for which this request is the probe.
    probes: Vec<RequestScope>,
}

impl Circuits {
    /// `patience`: the time without a success before a circuit opens, and also the pause before a probe.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            pause: patience,
            circuits: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CircuitMap> {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides if a request may be sent.
    ///
    /// # Errors
    /// `Skipped` if the circuit of its space, its room or its downloads is open.
    pub(super) fn enter<'a>(&'a self, about: &str, scope: Option<&'a RequestScope>) -> Result<Admitted<'a>> {
        // Dropped after the lock: a probe is given back if the room refuses what its space would have sent.
        let mut admitted = Admitted {
            circuits: self,
            scope,
            probes: Vec::new(),
        };
        let now = Instant::now();
        let mut circuits = self.lock();
        for key in scope.into_iter().flat_map(outermost_first) {
            let circuit = circuits.entry(key.clone()).or_default();
            match circuit.admit(now) {
                Admission::Send => {}
                Admission::Probe => admitted.probes.push(key),
                Admission::Refuse => return Err(skipped(about, &key, &circuit.reason)),
            }
        }
        Ok(admitted)
    }

    /// The requests that were not sent so far, sorted by space and room.
    pub(in crate::api) fn refused(&self) -> Vec<Refused> {
        let mut all: Vec<_> = self
            .lock()
            .iter()
            .filter(|(_, circuit)| circuit.refused > 0)
            .map(|(scope, circuit)| Refused {
                space: scope.space().clone(),
                room: scope.room().cloned(),
                downloads: matches!(scope, RequestScope::Downloads(_)),
                count: circuit.refused,
                reason: circuit.reason.clone(),
            })
            .collect();
        all.sort_by(|a, b| (&a.space, &a.room, a.downloads).cmp(&(&b.space, &b.room, b.downloads)));
        all
    }

    /// True if a space's requests are refused.
    pub(in crate::api) fn is_open(&self, space: &SpaceId) -> bool {
        is_open(&self.lock(), &RequestScope::Space(space.clone()))
    }

    fn rules(&self, scope: &RequestScope) -> Rules {
        Rules {
            failures: match scope {
                RequestScope::Room(..) => ROOM_FAILURES,
                RequestScope::Space(_) | RequestScope::Downloads(_) => SPACE_FAILURES,
            },
            patience: self.patience,
            pause: self.pause,
        }
    }

    /// Notes a success. It closes the circuit and its parent's.
    fn note_success(&self, scope: &RequestScope) {
        let mut circuits = self.lock();
        let top = top_of(scope);
        if is_open(&circuits, &top) {
            // The space answers again, so its rooms need no probes of their own.
            for (_, room) in circuits.iter_mut().filter(|(key, _)| is_room_of(key, &top)) {
                room.good();
            }
        }
        for key in outermost_first(scope) {
            circuits.entry(key).or_default().good();
        }
    }

    /// Notes that a request begun at `begun` failed after all its attempts.
    fn note_failure(&self, scope: &RequestScope, begun: Instant, reason: &str) {
        let now = Instant::now();
        let mut circuits = self.lock();
        let top = top_of(scope);
        let was_open = is_open(&circuits, &top);
        // The failures of an open room no longer count for its space, except as the space's probe.
        let counts = *scope == top || was_open || !is_open(&circuits, scope);
        let mut note = |key: &RequestScope| {
            let circuit = circuits.entry(key.clone()).or_default();
            circuit.bad(begun, now, self.rules(key), reason);
        };
        if *scope != top {
            note(scope);
        }
        if counts {
            note(&top);
        }
        let mut rooms = circuits
            .iter()
            .filter(|(key, _)| is_room_of(key, &top))
            .peekable();
        let all_rooms_open = rooms.peek().is_some() && rooms.all(|(_, room)| room.is_open());
        let circuit = circuits.entry(top.clone()).or_default();
        if all_rooms_open && !circuit.is_open() {
            circuit.open(now, self.rules(&top), reason);
        }
        if circuit.is_open()
            && !was_open
            && let RequestScope::Space(space) = &top
        {
            tracing::warn!(
                space = shown(space),
                reason,
                "requests of the space keep failing: no more are sent for now"
            );
        }
    }
}

/// The scope whose circuit is the parent of this one's, or the scope itself.
fn top_of(scope: &RequestScope) -> RequestScope {
    match scope {
        RequestScope::Room(space, _) => RequestScope::Space(space.clone()),
        RequestScope::Space(_) | RequestScope::Downloads(_) => scope.clone(),
    }
}

/// The keys of all circuits that a request passes.
fn outermost_first(scope: &RequestScope) -> impl Iterator<Item = RequestScope> + use<> {
    let top = top_of(scope);
    let room = (*scope != top).then(|| scope.clone());
    std::iter::once(top).chain(room)
}

fn is_room_of(scope: &RequestScope, space: &RequestScope) -> bool {
    matches!((scope, space), (RequestScope::Room(of, _), RequestScope::Space(space)) if of == space)
}

fn is_open(circuits: &CircuitMap, scope: &RequestScope) -> bool {
    circuits.get(scope).is_some_and(Circuit::is_open)
}

fn skipped(about: &str, scope: &RequestScope, reason: &str) -> Error {
    let what = match scope {
        RequestScope::Space(_) => "requests of the space",
        RequestScope::Room(..) => "requests of the room",
        RequestScope::Downloads(_) => "downloads of the space",
    };
    let message = format!("not sent: {what} keep failing ({reason})");
    Error::new(ErrorKind::Skipped, about, message)
}

impl Admitted<'_> {
    /// True if the request is a probe. A probe has a single attempt.
    pub(super) fn is_probe(&self) -> bool {
        !self.probes.is_empty()
    }

    /// Reports the outcome of the request, begun at `begun`, after all its attempts.
    pub(super) fn conclude(mut self, error: Option<&Error>, begun: Instant) {
        let (Some(scope), Some(outcome)) = (self.scope, outcome_of(error)) else {
            return;
        };
        self.probes.clear();
        match outcome {
            Ok(()) => self.circuits.note_success(scope),
            Err(reason) => self.circuits.note_failure(scope, begun, &reason),
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.probes.is_empty() {
            return;
        }
        let mut circuits = self.circuits.lock();
        for key in &self.probes {
            if let Some(circuit) = circuits.get_mut(key) {
                circuit.give_back_probe(Instant::now());
            }
        }
    }
}

/// Judges a request's outcome: success, failure with its reason, or `None` if it says nothing about the scope.
fn outcome_of(error: Option<&Error>) -> Option<Result<(), String>> {
    let Some(error) = error else { return Some(Ok(())) };
    match error.kind() {
        // The pause that the server asked for concerns this object alone.
        _ if error.is_postponed() => None,
        // Without the number of attempts, the reason is the same for all requests.
        ErrorKind::Server | ErrorKind::Connection | ErrorKind::Untrusted => {
            let reason = error.message().split(", ").next().unwrap_or_default();
            Some(Err(reason.to_owned()))
        }
        // The limiter refuses all requests alike, and a stop says nothing.
        ErrorKind::RateLimited | ErrorKind::Interrupted | ErrorKind::Skipped => None,
        // The API answered, even if with a refusal.
        _ => Some(Ok(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Circuits that open without patience, and whose pauses are over at once.
    fn circuits() -> Circuits {
        Circuits::new(Duration::ZERO)
    }

    /// Circuits that stay open.
    fn patient() -> Circuits {
        Circuits {
            pause: Duration::from_secs(3600),
            ..circuits()
        }
    }

    fn scope(space: &str, room: Option<&str>) -> RequestScope {
        match room {
            Some(room) => RequestScope::Room(space.into(), room.into()),
            None => RequestScope::Space(space.into()),
        }
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "GET x", "502 Bad Gateway, 6 attempts")
    }

    fn ends(circuits: &Circuits, scope: &RequestScope, kind: Option<ErrorKind>) {
        let admitted = circuits.enter("GET x", Some(scope)).unwrap();
        admitted.conclude(kind.map(error).as_ref(), Instant::now());
    }

    fn is_refused(circuits: &Circuits, scope: &RequestScope) -> bool {
        circuits
            .enter("GET x", Some(scope))
            .is_err_and(|error| error.kind() == ErrorKind::Skipped)
    }

    #[test]
    fn a_failing_room_opens_its_own_circuit_and_not_its_spaces() {
        let circuits = patient();
        ends(&circuits, &scope("s", Some("other")), None);
        for _ in 0..2 {
            ends(&circuits, &scope("s", Some("r")), Some(ErrorKind::Connection));
        }
        assert!(is_refused(&circuits, &scope("s", Some("r"))));
        assert!(!is_refused(&circuits, &scope("s", Some("other"))));
        assert!(
            !is_refused(&circuits, &scope("t", Some("r"))),
            "the same room id in another space is another room"
        );
        assert!(!circuits.is_open(&"s".into()));
        let refused = circuits.refused();
        assert_eq!(refused.len(), 1);
        assert_eq!(
            (
                refused[0].room.as_deref(),
                refused[0].count,
                refused[0].reason.as_str()
            ),
            (Some("r"), 1, "502 Bad Gateway")
        );
    }

    #[test]
    fn a_failing_space_opens_its_circuit_and_no_other() {
        let circuits = patient();
        ends(&circuits, &scope("s", Some("good")), None);
        for room in ["1", "2", "3", "4", "5", "6", "7", "8"] {
            assert!(!circuits.is_open(&"s".into()));
            ends(&circuits, &scope("s", Some(room)), Some(ErrorKind::Server));
        }
        assert!(is_refused(&circuits, &scope("s", Some("good"))));
        assert!(is_refused(&circuits, &scope("s", None)));
        assert!(!is_refused(&circuits, &scope("t", Some("1"))));
        assert!(circuits.is_open(&"s".into()) && !circuits.is_open(&"t".into()));
        let error = circuits.enter("GET x", Some(&scope("s", None))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GET x: not sent: requests of the space keep failing (502 Bad Gateway)"
        );
    }

    #[test]
    fn a_space_opens_if_all_its_rooms_are_open() {
        let circuits = patient();
        for room in ["1", "2"] {
            ends(&circuits, &scope("s", Some(room)), None);
        }
        for room in ["1", "2"] {
            for _ in 0..2 {
                assert!(!circuits.is_open(&"s".into()));
                ends(&circuits, &scope("s", Some(room)), Some(ErrorKind::Server));
            }
        }
        assert!(circuits.is_open(&"s".into()));
    }

    #[test]
    fn an_answer_is_no_failure_and_a_stop_says_nothing() {
        let circuits = patient();
        for kind in [
            ErrorKind::NotFound,
            ErrorKind::Forbidden,
            ErrorKind::Rejected,
            ErrorKind::RateLimited,
            ErrorKind::Interrupted,
            ErrorKind::InvalidAnswer,
        ] {
            for _ in 0..20 {
                ends(&circuits, &scope("s", Some("r")), Some(kind));
            }
            assert!(!circuits.is_open(&"s".into()), "{kind:?}");
        }
    }

    #[test]
    fn a_space_that_answers_again_closes_its_rooms_circuits() {
        let circuits = circuits();
        let rooms = ["1", "2"].map(|room| scope("s", Some(room)));
        rooms.iter().for_each(|room| ends(&circuits, room, None));
        for room in &rooms {
            for _ in 0..2 {
                ends(&circuits, room, Some(ErrorKind::Server));
            }
        }
        assert!(circuits.is_open(&"s".into()));
        let probe = circuits.enter("GET x", Some(&rooms[0])).unwrap();
        assert!(probe.is_probe() && is_refused(&circuits, &rooms[1]));
        drop(probe);
        let probe = circuits.enter("GET x", Some(&rooms[0])).unwrap();
        assert!(probe.is_probe(), "an interrupted probe is repeated");
        probe.conclude(None, Instant::now());
        assert!(!circuits.is_open(&"s".into()));
        let both = rooms
            .each_ref()
            .map(|room| circuits.enter("GET x", Some(room)).unwrap());
        assert!(both.iter().all(|admitted| !admitted.is_probe()));
    }

    #[test]
    fn downloads_have_a_circuit_of_their_own() {
        let circuits = patient();
        let download = RequestScope::Downloads("s".into());
        for _ in 0..8 {
            ends(&circuits, &download, Some(ErrorKind::Connection));
        }
        assert!(is_refused(&circuits, &download));
        assert!(!is_refused(&circuits, &scope("s", Some("r"))));
        assert!(circuits.refused()[0].downloads);
    }
}
