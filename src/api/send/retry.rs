//! Decides after each attempt if a request is sent again. Pure; `Sender::persist` waits and sends.

use crate::api::problem;
use crate::{Error, Result};

/// A request fails after this many refusals by the limiter that each came just after another request was answered,
/// because then the limiter refuses this request only.
const MOST_LONE_REFUSALS: u32 = 10;

/// The outcome of an attempt.
#[derive(Debug)]
pub(in crate::api) enum Attempt<T> {
    /// The request was answered, or failed in a way that may be retried.
    Done(Result<T>),
    /// The API's limiter refused the request, which says nothing about the request itself. `first`: another request was
    /// answered just before.
    Limited { error: Error, first: bool },
    /// The request failed and is not retried.
    Final(Error),
}

/// The next step of a request after an attempt.
#[derive(Debug)]
pub(super) enum NextAttempt<T> {
    /// The request is done.
    None(Result<T>),
    /// It is sent again when the limiter's hold ends.
    AfterHold(Error),
    /// It is sent again after a backoff for this many failures.
    AfterBackoff { error: Error, failures: u32 },
}

/// The attempts of a request so far.
#[derive(Debug)]
pub(super) struct Attempts {
    retries: u32,
    count: u32,
    failures: u32,
    lone_refusals: u32,
}

impl Attempts {
    /// The attempts of a request that may be retried `retries` times after a failure.
    pub(super) fn new(retries: u32) -> Self {
        Self {
            retries,
            count: 0,
            failures: 0,
            lone_refusals: 0,
        }
    }

    /// The number of attempts so far.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Takes the outcome of an attempt. A probe of a circuit is never retried after a failure.
    pub(super) fn take<T>(&mut self, outcome: Attempt<T>, is_probe: bool) -> NextAttempt<T> {
        self.count = self.count.saturating_add(1);
        let result = match outcome {
            Attempt::Limited { error, first } if self.lone_refusals < MOST_LONE_REFUSALS => {
                self.lone_refusals += u32::from(first);
                return NextAttempt::AfterHold(error);
            }
            Attempt::Limited { error, .. } | Attempt::Final(error) => {
                return NextAttempt::None(Err(self.final_error(error)));
            }
            Attempt::Done(result) => result,
        };
        self.failures = self.failures.saturating_add(1);
        match result {
            Err(error) if error.is_retryable() && self.failures <= self.retries && !is_probe => {
                let failures = self.failures;
                NextAttempt::AfterBackoff { error, failures }
            }
            result => NextAttempt::None(result.map_err(|error| self.final_error(error))),
        }
    }

    /// The error of a request that is not sent again.
    fn final_error(&self, error: Error) -> Error {
        if error.is_postponed() {
            problem::postponed(error)
        } else if error.is_retryable() {
            problem::after_attempts(error, self.count)
        } else {
            error
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn failed(kind: ErrorKind) -> Attempt<()> {
        Attempt::Done(Err(Error::new(kind, "GET x", "failed")))
    }

    fn limited(first: bool) -> Attempt<()> {
        let error = Error::new(ErrorKind::RateLimited, "GET x", "429");
        Attempt::Limited { error, first }
    }

    /// The final message, or `None` if the request is sent again.
    fn end(next: NextAttempt<()>) -> Option<String> {
        match next {
            NextAttempt::None(result) => {
                Some(result.map_or_else(|error| error.message().to_owned(), |()| "ok".into()))
            }
            NextAttempt::AfterHold(_) | NextAttempt::AfterBackoff { .. } => None,
        }
    }

    #[test]
    fn a_failure_is_retried_as_often_as_configured() {
        let mut attempts = Attempts::new(2);
        for expected in 1..=2 {
            let next = attempts.take(failed(ErrorKind::Server), false);
            assert!(matches!(next, NextAttempt::AfterBackoff { failures, .. } if failures == expected));
        }
        let next = attempts.take(failed(ErrorKind::Server), false);
        assert_eq!(end(next).as_deref(), Some("failed, 3 attempts"));
        assert_eq!(
            end(Attempts::new(2).take(Attempt::Done(Ok(())), false)).as_deref(),
            Some("ok")
        );
    }

    #[test]
    fn a_probe_a_refusal_and_a_final_error_are_not_retried() {
        let failed_once = Some("failed");
        let new = || Attempts::new(5);
        assert_eq!(
            end(new().take(failed(ErrorKind::Server), true)).as_deref(),
            failed_once
        );
        assert_eq!(
            end(new().take(failed(ErrorKind::NotFound), false)).as_deref(),
            failed_once
        );
        let last = Attempt::<()>::Final(Error::new(ErrorKind::Connection, "GET x", "failed"));
        assert_eq!(end(new().take(last, false)).as_deref(), failed_once);
    }

    #[test]
    fn refusals_of_the_limiter_count_as_no_failure_unless_they_concern_this_request_only() {
        let mut attempts = Attempts::new(0);
        for _ in 0..100 {
            assert_eq!(end(attempts.take(limited(false), false)), None);
        }
        for _ in 0..MOST_LONE_REFUSALS {
            assert_eq!(end(attempts.take(limited(true), false)), None);
        }
        assert_eq!(
            end(attempts.take(limited(true), false)).as_deref(),
            Some("429, 111 attempts")
        );
    }
}
