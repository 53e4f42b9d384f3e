//! The threads that build days: few, and always the same ones.
//!
//! A build allocates much and frees it all at its end. The system's allocator keeps what a thread has freed for that
//! thread, so that builds that wander over all of the runtime's threads would take each one's peak in memory, together.

use crate::{Error, ErrorKind, Result};

/// Days built at once at most, however many cores there are: each holds its own tables in memory.
const MOST: usize = 8;

/// A pool of threads; a day waits for a free one.
pub(super) struct Builders(rayon::ThreadPool);

impl Builders {
    /// How many days can be built at once.
    pub fn count() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST))
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// `Internal`: the system gives no threads.
    pub fn start() -> Result<Self> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(Self::count())
            .thread_name(|number| format!("build-{number}"))
            // Whoever waits for the work is told by its channel.
            .panic_handler(|_| {})
            .build()
            .map(Self)
            .map_err(|error| Error::new(ErrorKind::Internal, "threads", error.to_string()))
    }

    /// Does work on one of the threads. It may wait for others of the runtime, but not for further work of these.
    ///
    /// # Errors
    /// Those of the work; `Internal` where it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.0.spawn(move || {
            // Nobody waits any more where the run was stopped.
            let _ = done.send(work());
        });
        result
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "build", "broke off")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_and_a_panic_is_an_error_that_takes_no_thread_along() {
        let builders = Builders::start().expect("threads");
        for _ in 0..2 * Builders::count() {
            let broken: Result<()> = builders.run(|| panic!("of the work's own")).await;
            assert_eq!(broken.expect_err("panicked").kind(), ErrorKind::Internal);
        }
        assert_eq!(builders.run(|| Ok(7)).await.expect("done"), 7);
    }
}
