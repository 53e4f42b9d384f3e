//! Turns of rooms: however slow one room is, it never holds more than its share of what all rooms need. Used by
//! `walk` for lists and by `land` for reports.


use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::{RoomId, SpaceId};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of all requests in flight, one room's are this part at most, unless there are fewer rooms.
const SHARE: usize = 4;

/// Requests of one room at once, when `rooms` rooms share `concurrency` of them.
fn width(concurrency: usize, rooms: usize) -> usize {
    (concurrency / rooms.max(1)).max(concurrency / SHARE).max(1)
}

/// The turns of every room.
#[derive(Debug)]
pub(crate) struct RoomLimits {
    concurrency: usize,
    width: AtomicUsize,
    rooms: Mutex<HashMap<(SpaceId, RoomId), Arc<Semaphore>>>,
}

impl RoomLimits {
    /// For so many requests in flight.
    pub fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            width: width(concurrency, SHARE).into(),
            rooms: Mutex::default(),
        }
    }

    /// Shares the requests in flight among so many rooms, from now on.
    pub fn share_among(&self, rooms: usize) {
        self.width
            .store(width(self.concurrency, rooms), Ordering::Relaxed);
    }

    /// Requests of one room at once.
    pub fn width(&self) -> usize {
        self.width.load(Ordering::Relaxed)
    }

    /// Waits for a turn of a room.
    pub async fn turn(&self, space: &SpaceId, room: &RoomId) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
            let turns = rooms
                .entry((space.to_owned(), room.to_owned()))
                .or_insert_with(|| Arc::new(Semaphore::new(self.width())));
            Arc::clone(turns)
        };
        turns.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_room_has_its_share_and_a_lone_one_has_all(concurrency in 1_usize..200, rooms in 0_usize..1000) {
            let width = width(concurrency, rooms);
            prop_assert!(width >= 1 && width <= concurrency);
            if rooms <= 1 {
                prop_assert_eq!(width, concurrency);
            }
            if rooms >= SHARE && concurrency >= SHARE {
                prop_assert!(width * SHARE <= concurrency, "three more rooms can be asked beside it");
            }
        }
    }

    #[tokio::test]
    async fn a_room_that_has_all_its_turns_out_holds_no_other() {
        let room_limits = RoomLimits::new(8);
        let _held = [
            room_limits.turn(&"s".into(), &"slow".into()).await,
            room_limits.turn(&"s".into(), &"slow".into()).await,
        ];
        assert!(room_limits.turn(&"s".into(), &"slow".into()).now_or_never().is_none());
        assert!(room_limits.turn(&"s".into(), &"other".into()).await.is_some());
    }
}
