//! Work in a task or thread of its own, where a panic becomes an error of that work alone. A leaf.

use tracing::Instrument;

use crate::{Error, ErrorKind, Result};

/// Runs `work` in a task of its own, so that a panic in it is an error of this work alone. `what` names it in the error.
/// If the caller is dropped, the task goes on. The task's log lines belong to the caller's span, and so to its run's log.
///
/// # Errors
/// Any error of the work; `Internal` if it panicked.
pub(crate) async fn isolated<T: Send + 'static>(
    what: &str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let ended = tokio::spawn(work.in_current_span()).await;
    ended.unwrap_or_else(|_| Err(panicked(what)))
}

/// Runs `work` in a thread where it may block. Otherwise as [`isolated`].
///
/// # Errors
/// Any error of the work; `Internal` if it panicked.
pub(crate) async fn isolated_blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|_| Err(panicked(what)))
}

/// The error of a task that panicked.
pub(crate) fn panicked(what: &str) -> Error {
    Error::new(ErrorKind::Internal, what, "its task panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_the_work_alone() {
        let broken = [
            isolated::<()>("day", async { panic!("as a test") }).await,
            isolated_blocking::<()>("day", || panic!("as a test")).await,
        ];
        for error in broken.map(|ended| ended.expect_err("panicked")) {
            assert_eq!((error.kind(), error.about()), (ErrorKind::Internal, "day"));
        }
        assert!(matches!(isolated("day", async { Ok(1) }).await, Ok(1)));
        assert!(matches!(isolated_blocking("file", || Ok(1)).await, Ok(1)));
    }

    #[tokio::test]
    async fn a_task_stays_in_the_span_of_its_caller() {
        let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry());
        let run = tracing::info_span!("run");
        let span = async || isolated("day", async { Ok(tracing::Span::current().id()) }).await;
        let inside = span().instrument(run.clone()).await.expect("no error");
        assert!(inside.is_some() && inside == run.id());
    }
}
