//! Limits the requests in flight for each room, so that a slow room never uses more than its share of the concurrency.
//! Used by `walk` for listings and by `day` for reports.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ids::{RoomId, SpaceId};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A room may use at most this part of all requests in flight, unless there are fewer rooms.
const SHARE: usize = 4;

/// The number of requests that a room may have in flight if `rooms` rooms share `concurrency` of them.
fn width(concurrency: usize, rooms: usize) -> usize {
    (concurrency / rooms.max(1)).max(concurrency / SHARE).max(1)
}

/// The limit of every room.
#[derive(Debug)]
pub(crate) struct RoomLimits {
    concurrency: usize,
    width: AtomicUsize,
    rooms: Mutex<HashMap<(SpaceId, RoomId), Arc<Semaphore>>>,
}

impl RoomLimits {
    /// Limits for `concurrency` requests in flight.
    pub fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            width: width(concurrency, SHARE).into(),
            rooms: Mutex::default(),
        }
    }

    /// Shares the requests in flight among this number of rooms from now on.
    pub fn share_among(&self, rooms: usize) {
        self.width
            .store(width(self.concurrency, rooms), Ordering::Relaxed);
    }

    /// The number of requests that a room may have in flight.
    pub fn width(&self) -> usize {
        self.width.load(Ordering::Relaxed)
    }

    /// Waits for a turn of a room.
    pub async fn turn(&self, space: &SpaceId, room: &RoomId) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut rooms = self.rooms.lock();
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
        fn a_room_gets_its_share_and_a_lone_room_gets_all(concurrency in 1_usize..200, rooms in 0_usize..1000) {
            let width = width(concurrency, rooms);
            prop_assert!(width >= 1 && width <= concurrency);
            if rooms <= 1 {
                prop_assert_eq!(width, concurrency);
            }
            if rooms >= SHARE && concurrency >= SHARE {
                prop_assert!(width * SHARE <= concurrency, "three more rooms can be asked at the same time");
            }
        }
    }

    #[tokio::test]
    async fn a_room_that_used_all_its_turns_does_not_block_another() {
        let room_limits = RoomLimits::new(8);
        let _held = [
            room_limits.turn(&"s".into(), &"slow".into()).await,
            room_limits.turn(&"s".into(), &"slow".into()).await,
        ];
        assert!(
            room_limits
                .turn(&"s".into(), &"slow".into())
                .now_or_never()
                .is_none()
        );
        assert!(room_limits.turn(&"s".into(), &"other".into()).await.is_some());
    }
}
