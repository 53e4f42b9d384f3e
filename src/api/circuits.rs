//! The circuits of a client: one for each space, each room, and the downloads of each space's recordings. Not pure:
//! it reads the clock; `sender` asks before each attempt and tells how a request ended. When one opens is decided in
//! `circuit`.
//!
//! One room must not shut out its space: a room that fails by itself opens its own circuit first, and is then counted
//! no more. A space opens after failures of several rooms, or when all its rooms are open.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::circuit::{Admission, Circuit, Rules};
use super::problem::shown;
use crate::ids::{RoomId, SpaceId};
use crate::{Error, ErrorKind, Result};

/// Failures in a row that open a space, and a room. A space's are more than any three rooms can bring.
const OF_SPACE: u32 = 8;
const OF_ROOM: u32 = 2;

/// What a request is about, as far as circuits are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestScope {
    pub(super) space: SpaceId,
    pub(super) room: Option<RoomId>,
    /// Whether it is a download, which goes to another host than the API's.
    pub(super) download: bool,
}

/// Requests that were not sent, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The space whose requests they were.
    pub space: SpaceId,
    /// The room, where it was one room's alone.
    pub room: Option<RoomId>,
    /// Whether they were downloads of recordings.
    pub downloads: bool,
    /// How many there were.
    pub count: u64,
    /// The failure after which no more were sent.
    pub reason: String,
}

#[derive(Debug, Default)]
struct OfSpace {
    api: Circuit,
    downloads: Circuit,
    rooms: HashMap<RoomId, Circuit>,
}

/// All circuits.
#[derive(Debug)]
pub(super) struct Circuits {
    patience: Duration,
    pause: Duration,
    spaces: Mutex<HashMap<SpaceId, OfSpace>>,
}

/// A request that may be sent, until its outcome is known.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    circuits: &'a Circuits,
    place: Option<&'a RequestScope>,
    /// Whether it is the one that finds out about its space (or its downloads), and about its room.
    probes: (bool, bool),
}

impl Circuits {
    /// `patience`: how long nothing good must have come before one opens, and then the pause before a probe.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            pause: patience,
            spaces: Mutex::default(),
        }
    }

    fn rules(&self, failures: u32) -> Rules {
        Rules {
            failures,
            patience: self.patience,
            pause: self.pause,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SpaceId, OfSpace>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whether a request may be sent.
    ///
    /// # Errors
    /// `Skipped`: its space's, room's or downloads' circuit is open.
    pub(super) fn enter<'a>(&'a self, about: &str, place: Option<&'a RequestScope>) -> Result<Admitted<'a>> {
        let mut admitted = Admitted {
            circuits: self,
            place: None,
            probes: (false, false),
        };
        let Some(place) = place else {
            return Ok(admitted);
        };
        let now = Instant::now();
        let mut spaces = self.lock();
        let space = spaces.entry(place.space.to_string().into()).or_default();
        if place.download {
            let admission = space.downloads.admit(now);
            if admission == Admission::Refuse {
                return Err(skipped(about, "downloads of the space", &space.downloads.reason));
            }
            admitted.probes.0 = admission == Admission::Probe;
        } else {
            let of_space = space.api.admit(now);
            if of_space == Admission::Refuse {
                return Err(skipped(about, "requests of the space", &space.api.reason));
            }
            if let Some(room) = &place.room {
                let room = space.rooms.entry(room.to_string().into()).or_default();
                let of_room = room.admit(now);
                if of_room == Admission::Refuse {
                    if of_space == Admission::Probe {
                        space.api.give_back_probe(now);
                    }
                    return Err(skipped(about, "requests of the room", &room.reason));
                }
                admitted.probes.1 = of_room == Admission::Probe;
            }
            admitted.probes.0 = of_space == Admission::Probe;
        }
        admitted.place = Some(place);
        Ok(admitted)
    }

    /// Requests that were not sent so far, in order.
    pub(super) fn refused(&self) -> Vec<Refused> {
        let mut all = Vec::new();
        for (space, circuits) in &*self.lock() {
            let of = |room: Option<&RoomId>, downloads, circuit: &Circuit| Refused {
                space: space.clone().into(),
                room: room.cloned(),
                downloads,
                count: circuit.refused,
                reason: circuit.reason.clone(),
            };
            all.push(of(None, false, &circuits.api));
            all.push(of(None, true, &circuits.downloads));
            all.extend(
                circuits
                    .rooms
                    .iter()
                    .map(|(room, circuit)| of(Some(&room.as_str().into()), false, circuit)),
            );
        }
        all.retain(|refused| refused.count > 0);
        all.sort_by(|a, b| (&a.space, &a.room, a.downloads).cmp(&(&b.space, &b.room, b.downloads)));
        all
    }

    /// Whether a space's requests are refused.
    pub(super) fn is_open(&self, space: &SpaceId) -> bool {
        self.lock().get(space).is_some_and(|space| space.api.is_open())
    }
}

fn skipped(about: &str, what: &str, reason: &str) -> Error {
    Error::new(
        ErrorKind::Skipped,
        about,
        format!("not sent: {what} keep failing ({reason})"),
    )
}

/// What an outcome says of the place that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Good,
    Bad,
    Nothing,
}

fn outcome_of(error: Option<&Error>) -> Outcome {
    match error.map(Error::kind) {
        // It was told when to come back: nothing that the requests beside it would hear too.
        _ if error.is_some_and(Error::is_postponed) => Outcome::Nothing,
        Some(ErrorKind::Server | ErrorKind::Connection | ErrorKind::Untrusted) => Outcome::Bad,
        // Too many requests are no failure of the space's; a stop tells nothing.
        Some(ErrorKind::RateLimited | ErrorKind::Interrupted | ErrorKind::Skipped) => Outcome::Nothing,
        _ => Outcome::Good,
    }
}

impl Admitted<'_> {
    /// Whether it is the one request that finds out: then it has one attempt.
    pub(super) fn is_probe(&self) -> bool {
        self.probes.0 || self.probes.1
    }

    /// Tells how the request, begun at `begun`, ended for good.
    pub(super) fn conclude(mut self, error: Option<&Error>, begun: Instant) {
        let outcome = outcome_of(error);
        if outcome == Outcome::Nothing {
            return;
        }
        let Some(place) = self.place.take() else { return };
        let reason = error
            .map(|error| shown_reason(error.message()))
            .unwrap_or_default();
        let mut spaces = self.circuits.lock();
        let space = spaces.entry(place.space.to_string().into()).or_default();
        space.conclude(self.circuits, place, outcome == Outcome::Good, begun, &reason);
    }
}

/// A reason within another one: without the number of attempts it stays one for all.
fn shown_reason(message: &str) -> String {
    message.split(", ").next().unwrap_or(message).to_owned()
}

impl OfSpace {
    fn conclude(
        &mut self,
        circuits: &Circuits,
        place: &RequestScope,
        good: bool,
        begun: Instant,
        reason: &str,
    ) {
        let room = place.room.as_ref().filter(|_| !place.download);
        if good {
            self.good(place.download, room);
        } else {
            self.bad(circuits, place, room, begun, reason);
        }
    }

    fn good(&mut self, download: bool, room: Option<&RoomId>) {
        if download {
            self.downloads.good();
            return;
        }
        if self.api.is_open() {
            // The space is back: its rooms need not find out one by one.
            self.rooms.values_mut().for_each(Circuit::good);
        }
        self.api.good();
        if let Some(room) = room {
            self.rooms.entry(room.to_string().into()).or_default().good();
        }
    }

    fn bad(
        &mut self,
        circuits: &Circuits,
        place: &RequestScope,
        room: Option<&RoomId>,
        begun: Instant,
        reason: &str,
    ) {
        let now = Instant::now();
        let rules = circuits.rules(OF_SPACE);
        if place.download {
            self.downloads.bad(begun, now, rules, reason);
            return;
        }
        let was_open = self.api.is_open();
        let mut counts = true;
        if let Some(room) = room {
            let circuit = self.rooms.entry(room.to_string().into()).or_default();
            // One room's failures are enough for the room alone; as a probe of the space each counts.
            counts = was_open || !circuit.is_open();
            circuit.bad(begun, now, circuits.rules(OF_ROOM), reason);
        }
        if counts {
            self.api.bad(begun, now, rules, reason);
        }
        if !self.rooms.is_empty() && self.rooms.values().all(Circuit::is_open) && !self.api.is_open() {
            self.api.open(now, rules, reason);
        }
        if self.api.is_open() && !was_open {
            tracing::warn!(
                space = shown(&place.space),
                reason,
                "requests of the space keep failing: no more are sent for now"
            );
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place.take().filter(|_| self.is_probe()) else {
            return;
        };
        let now = Instant::now();
        let mut spaces = self.circuits.lock();
        let Some(space) = spaces.get_mut(&place.space) else {
            return;
        };
        if self.probes.0 {
            let circuit = if place.download {
                &mut space.downloads
            } else {
                &mut space.api
            };
            circuit.give_back_probe(now);
        }
        let room = place.room.as_ref().filter(|_| self.probes.1);
        if let Some(room) = room.and_then(|room| space.rooms.get_mut(room)) {
            room.give_back_probe(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures in a row open at once, and a pause is over at once.
    fn circuits() -> Circuits {
        Circuits::new(Duration::ZERO)
    }

    /// What opens stays open.
    fn patient() -> Circuits {
        Circuits {
            pause: Duration::from_secs(3600),
            ..circuits()
        }
    }

    fn place(space: &str, room: Option<&str>) -> RequestScope {
        RequestScope {
            space: space.into(),
            room: room.map(Into::into),
            download: false,
        }
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "GET x", "502 Bad Gateway, 6 attempts")
    }

    fn ends(circuits: &Circuits, place: &RequestScope, kind: Option<ErrorKind>) {
        let admitted = circuits.enter("GET x", Some(place)).unwrap();
        admitted.conclude(kind.map(error).as_ref(), Instant::now());
    }

    fn is_refused(circuits: &Circuits, place: &RequestScope) -> bool {
        circuits
            .enter("GET x", Some(place))
            .is_err_and(|error| error.kind() == ErrorKind::Skipped)
    }

    #[test]
    fn a_failing_room_shuts_out_itself_and_not_its_space() {
        let circuits = patient();
        ends(&circuits, &place("s", Some("other")), None);
        for _ in 0..2 {
            ends(&circuits, &place("s", Some("r")), Some(ErrorKind::Connection));
        }
        assert!(is_refused(&circuits, &place("s", Some("r"))));
        assert!(!is_refused(&circuits, &place("s", Some("other"))));
        assert!(
            !is_refused(&circuits, &place("t", Some("r"))),
            "rooms are told apart by space"
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
    fn a_failing_space_shuts_out_itself_and_no_other() {
        let circuits = patient();
        ends(&circuits, &place("s", Some("good")), None);
        for room in ["1", "2", "3", "4", "5", "6", "7", "8"] {
            assert!(!circuits.is_open(&"s".into()));
            ends(&circuits, &place("s", Some(room)), Some(ErrorKind::Server));
        }
        assert!(is_refused(&circuits, &place("s", Some("good"))));
        assert!(is_refused(&circuits, &place("s", None)));
        assert!(!is_refused(&circuits, &place("t", Some("1"))));
        assert!(circuits.is_open(&"s".into()) && !circuits.is_open(&"t".into()));
        let error = circuits.enter("GET x", Some(&place("s", None))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GET x: not sent: requests of the space keep failing (502 Bad Gateway)"
        );
    }

    #[test]
    fn a_space_of_few_rooms_is_shut_out_when_all_of_them_are() {
        let circuits = patient();
        for room in ["1", "2"] {
            ends(&circuits, &place("s", Some(room)), None);
        }
        for room in ["1", "2"] {
            for _ in 0..2 {
                assert!(!circuits.is_open(&"s".into()));
                ends(&circuits, &place("s", Some(room)), Some(ErrorKind::Server));
            }
        }
        assert!(circuits.is_open(&"s".into()));
    }

    #[test]
    fn what_is_answered_is_no_failure_and_a_stop_says_nothing() {
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
                ends(&circuits, &place("s", Some("r")), Some(kind));
            }
            assert!(!circuits.is_open(&"s".into()), "{kind:?}");
        }
    }

    #[test]
    fn a_space_that_is_back_takes_its_rooms_with_it() {
        let circuits = circuits();
        let rooms = ["1", "2"].map(|room| place("s", Some(room)));
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
        assert!(probe.is_probe(), "a probe that was broken off is made up");
        probe.conclude(None, Instant::now());
        assert!(!circuits.is_open(&"s".into()));
        let both = rooms
            .each_ref()
            .map(|room| circuits.enter("GET x", Some(room)).unwrap());
        assert!(both.iter().all(|admitted| !admitted.is_probe()));
    }

    #[test]
    fn downloads_are_counted_apart() {
        let circuits = patient();
        let download = RequestScope {
            download: true,
            ..place("s", Some("r"))
        };
        for _ in 0..8 {
            ends(&circuits, &download, Some(ErrorKind::Connection));
        }
        assert!(is_refused(&circuits, &download));
        assert!(!is_refused(&circuits, &place("s", Some("r"))));
        assert!(circuits.refused()[0].downloads);
    }
}
