//! The part buffers of a store, bounded in number and reused.
//!
//! Uploads would otherwise allocate and free a buffer for each part, on one thread after another, and the system's
//! allocator would keep twice the memory that is in use.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// The part buffers that all uploads of a store share.
pub(super) struct Buffers {
    permits: Arc<Semaphore>,
    most: usize,
    /// Each buffer's capacity in bytes.
    size: usize,
    idle: Mutex<Vec<BytesMut>>,
}

/// The right to one buffer, given back when dropped.
pub(super) struct Slot {
    buffers: Arc<Buffers>,
    _permit: OwnedSemaphorePermit,
}

impl Buffers {
    pub(super) fn new(most: usize, size: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(most)),
            most,
            size,
            idle: Mutex::default(),
        })
    }

    /// An empty buffer, once one is free.
    pub(super) async fn take(self: &Arc<Self>) -> Result<(BytesMut, Slot), AcquireError> {
        let slot = Slot {
            _permit: Arc::clone(&self.permits).acquire_owned().await?,
            buffers: Arc::clone(self),
        };
        let idle = self.idle.lock().pop();
        Ok((idle.unwrap_or_else(|| BytesMut::with_capacity(self.size)), slot))
    }
}

impl Slot {
    /// Gives the slot back with its buffer, which is used again unless somebody else still holds its bytes.
    pub(super) fn give_back(self, bytes: Bytes) {
        if let Ok(mut buffer) = bytes.try_into_mut() {
            buffer.clear();
            if buffer.capacity() >= self.buffers.size {
                self.buffers.idle.lock().push(buffer);
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The last slot frees the memory, because the daemon sits idle for hours.
        if self.buffers.permits.available_permits() + 1 >= self.buffers.most {
            self.buffers.idle.lock().clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_buffer_is_used_again_and_freed_once_all_are_back() {
        let buffers = Buffers::new(2, 1024);
        let (_held, held_slot) = buffers.take().await.unwrap();
        let (mut buffer, slot) = buffers.take().await.unwrap();
        assert_eq!(buffers.permits.available_permits(), 0);
        buffer.extend_from_slice(&[1; 1024]);
        let place = buffer.as_ptr();
        slot.give_back(buffer.freeze());

        let (buffer, slot) = buffers.take().await.unwrap();
        assert_eq!(
            (buffer.as_ptr(), buffer.len(), buffer.capacity()),
            (place, 0, 1024)
        );
        let sent = buffer.freeze();
        let still_read = sent.clone();
        slot.give_back(sent);
        assert_eq!(
            buffers.idle.lock().len(),
            0,
            "{} bytes are read elsewhere",
            still_read.len()
        );

        let (buffer, slot) = buffers.take().await.unwrap();
        slot.give_back(buffer.freeze());
        drop(held_slot);
        assert_eq!(
            (buffers.idle.lock().len(), buffers.permits.available_permits()),
            (0, 2)
        );
    }
}
