//! The threads that build days.
//!
//! A build allocates a lot of memory and frees it all at its end, but the system's allocator keeps the freed memory for
//! the thread that freed it. If builds ran on all threads of the runtime, the process would hold the peak of each thread.
//! Therefore a few fixed threads do all builds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

use crate::{Error, ErrorKind, Result};

/// The upper limit for days that are built at once, because each holds its tables in memory.
const MOST: usize = 8;

type BuildWork = Box<dyn FnOnce() + Send>;

/// A pool of build threads. It ends its threads when it is dropped.
pub(crate) struct Builders(Sender<BuildWork>);

impl Builders {
    /// The number of days that can be built at once.
    pub fn count() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST))
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// `Internal` if the system refuses a thread.
    pub fn start() -> Result<Self> {
        let (sender, receiver) = channel();
        let waiting = Arc::new(Mutex::new(receiver));
        for number in 0..Self::count() {
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new()
                .name(format!("build-{number}"))
                .spawn(move || work_off(&waiting))
                .map_err(|error| Error::new(ErrorKind::Internal, "threads", error.to_string()))?;
        }
        Ok(Self(sender))
    }

    /// Runs `work` on the next free thread. The work must not wait for other work of this pool.
    ///
    /// # Errors
    /// The error of the work; `Internal` if it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, result) = tokio::sync::oneshot::channel();
        let work: BuildWork = Box::new(move || {
            // The receiver is gone if the run was stopped.
            let _ = done.send(work());
        });
        let panicked = || Error::new(ErrorKind::Internal, "build", "broke off");
        self.0.send(work).map_err(|_| panicked())?;
        result.await.unwrap_or_else(|_| Err(panicked()))
    }
}

/// Runs the waiting work, one piece after another, until the pool is dropped.
fn work_off(waiting: &Mutex<Receiver<BuildWork>>) {
    loop {
        let next = waiting.lock().recv();
        let Ok(work) = next else { return };
        // The caller learns of a panic from its channel, which closes without a result.
        let _ = catch_unwind(AssertUnwindSafe(work));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_work_and_ends_no_thread() {
        let builders = Builders::start().expect("threads");
        for _ in 0..2 * Builders::count() {
            let broken: Result<()> = builders.run(|| panic!("of the work's own")).await;
            assert_eq!(broken.expect_err("panicked").kind(), ErrorKind::Internal);
        }
        assert_eq!(builders.run(|| Ok(7)).await.expect("done"), 7);
    }
}
