//! The program's one error type, and the two decisions that hang on it: which errors are tried again
//! ([`Error::is_retryable`]) and which exit status each one gets ([`Error::exit_status`]).
//!
//! Pure; used by every room. An error names the object it was about and the way out. It never carries an answer's
//! body, a token or a signed URL. What the other side said stands apart from the program's own sentence: it is masked,
//! shown in logs and summaries, and never kept in a manifest or a table.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::sanitize;

/// What went wrong, in the terms that decide what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The command line is wrong.
    Usage,
    /// The configuration is wrong, or the lake was written with another one.
    Config,
    /// The file of a secret that is needed is missing, may not be read or holds none.
    SecretUnreadable,
    /// The API refused the token (401).
    Unauthorized,
    /// The API refuses this object to this token or tariff (403).
    Forbidden,
    /// The API has no such object, or not yet (404).
    NotFound,
    /// The API refused the request for another reason (4xx).
    Rejected,
    /// The API refused the request as one too many (429) and did not relent.
    RateLimited,
    /// The API failed (5xx).
    Server,
    /// No connection, a connection cut, or no answer in time.
    Connection,
    /// The other side's certificate is not trusted.
    Untrusted,
    /// Not sent: requests of the same space or room had kept failing.
    Skipped,
    /// The answer is not what the API promises: HTML, broken JSON, another shape.
    InvalidAnswer,
    /// The answer is larger than the program accepts.
    TooLarge,
    /// What was transferred is not what it should be: cut, no MP4, of the wrong size.
    Content,
    /// The store can't be reached, does not exist or refuses access.
    StoreUnavailable,
    /// The store has no such object.
    StoreNotFound,
    /// The store's server does not know what was asked of it.
    Unsupported,
    /// A conditional write lost against another writer.
    Precondition,
    /// The store failed in another way.
    Store,
    /// The program was asked to stop.
    Interrupted,
    /// A fault of the program itself.
    Internal,
}

/// The longest pause that is waited for within a run; who asks for more is left to the next run.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Exit statuses that scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// All done.
    Done = 0,
    /// An unexpected failure.
    Unexpected = 1,
    /// Wrong usage or configuration, found before any request.
    Usage = 2,
    /// Done in part: what failed is named and will be tried again.
    Partial = 3,
    /// Nothing could be done: the token refused, or the API or the store out of reach.
    Nothing = 4,
    /// `verify` found damage.
    Damaged = 5,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        (status as u8).into()
    }
}

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: its kind, the object it was about, what happened and what to do.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    about: String,
    message: String,
    said: Option<String>,
    hint: Option<String>,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error of `kind` about an object (`"space 60d5…"`, `"GET /spaces"`, a key, a file), with what happened. What
    /// is not printable in either is escaped.
    pub fn new(kind: ErrorKind, about: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            about: one_line(about.into()),
            message: one_line(message.into()),
            said: None,
            hint: None,
            retry_after: None,
        }
    }

    /// Adds what the operator can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what the other side said, in its own words; they must be masked by now.
    #[must_use]
    pub fn said(mut self, words: Option<String>) -> Self {
        self.said = words.map(one_line);
        self
    }

    /// Adds the pause that the other side asked for.
    #[must_use]
    pub fn retry_after(mut self, pause: Option<Duration>) -> Self {
        self.retry_after = pause;
        self
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The object that the error is about.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// What happened, in the program's own words, without the object and the hint: a manifest's `reason`.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What happened, and what the other side said: for logs and summaries.
    pub fn told(&self) -> String {
        match &self.said {
            Some(words) => format!("{}: {words}", self.message),
            None => self.message.clone(),
        }
    }

    /// The pause that the other side asked for, when it did.
    pub fn pause(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the other side asked for a pause that no run waits for.
    pub fn is_postponed(&self) -> bool {
        self.retry_after.is_some_and(|pause| pause > LONGEST_PAUSE)
    }

    /// The same error with more about what happened; the hint and the pause stay.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        self.message.push_str(&one_line(more.to_owned()));
        self
    }

    /// The same error as one of another kind and about something else; the hint stays.
    #[must_use]
    pub fn retold(mut self, kind: ErrorKind, about: impl Into<String>) -> Self {
        self.kind = kind;
        self.about = one_line(about.into());
        if let Some(rest) = self.message.strip_prefix(&self.about) {
            self.message = rest.trim_start().to_owned();
        }
        self
    }

    /// Adds what the operator can do, where nothing is said of it yet.
    #[must_use]
    pub fn or_hint(mut self, hint: &str) -> Self {
        self.hint.get_or_insert_with(|| hint.to_owned());
        self
    }

    /// Whether the same request may succeed when it is sent again: the only place that decides this.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ErrorKind::RateLimited | ErrorKind::Server | ErrorKind::Connection => !self.is_postponed(),
            ErrorKind::Usage
            | ErrorKind::Config
            | ErrorKind::SecretUnreadable
            | ErrorKind::Unauthorized
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::Rejected
            | ErrorKind::Untrusted
            | ErrorKind::Skipped
            | ErrorKind::InvalidAnswer
            | ErrorKind::TooLarge
            | ErrorKind::Content
            | ErrorKind::StoreUnavailable
            | ErrorKind::StoreNotFound
            | ErrorKind::Unsupported
            | ErrorKind::Precondition
            | ErrorKind::Store
            | ErrorKind::Interrupted
            | ErrorKind::Internal => false,
        }
    }

    /// The exit status of a command that ended with this error: the only place that decides this.
    pub fn exit_status(&self) -> ExitStatus {
        match self.kind {
            ErrorKind::Usage | ErrorKind::Config | ErrorKind::SecretUnreadable => ExitStatus::Usage,
            ErrorKind::Unauthorized
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::Rejected
            | ErrorKind::RateLimited
            | ErrorKind::Server
            | ErrorKind::Connection
            | ErrorKind::Untrusted
            | ErrorKind::Skipped
            | ErrorKind::InvalidAnswer
            | ErrorKind::TooLarge
            | ErrorKind::StoreUnavailable
            | ErrorKind::StoreNotFound
            | ErrorKind::Unsupported
            | ErrorKind::Store => ExitStatus::Nothing,
            ErrorKind::Interrupted | ErrorKind::Content => ExitStatus::Partial,
            ErrorKind::Precondition | ErrorKind::Internal => ExitStatus::Unexpected,
        }
    }
}

fn one_line(text: String) -> String {
    match sanitize::escaped(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(safe) => safe,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.told())?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_happened_to_which_object_and_what_to_do() {
        let error = Error::new(
            ErrorKind::Unauthorized,
            "GET /spaces",
            "401 the token was refused",
        )
        .hint("make a new personal token");
        assert_eq!(
            error.to_string(),
            "GET /spaces: 401 the token was refused (make a new personal token)"
        );
        assert_eq!(error.exit_status(), ExitStatus::Nothing);
        assert!(!error.is_retryable());
    }

    #[test]
    fn the_words_of_the_other_side_are_no_part_of_the_message() {
        let error = Error::new(ErrorKind::Forbidden, "GET /spaces", "403 Forbidden")
            .said(Some("no access\nfor you".into()))
            .hint("ask");
        assert_eq!(error.message(), "403 Forbidden");
        assert_eq!(
            error.and(", 2 attempts").to_string(),
            "GET /spaces: 403 Forbidden, 2 attempts: no access\\u{a}for you (ask)"
        );
    }

    #[test]
    fn a_pause_of_hours_is_not_waited_for() {
        for kind in [ErrorKind::RateLimited, ErrorKind::Server] {
            let error = |seconds| {
                let error = Error::new(kind, "GET /spaces", "later").hint("wait");
                error.retry_after(Some(Duration::from_secs(seconds)))
            };
            assert!(error(300).is_retryable() && !error(300).is_postponed());
            assert!(!error(301).is_retryable() && error(301).is_postponed());
            assert_eq!(
                error(1).and(", 3 attempts").to_string(),
                "GET /spaces: later, 3 attempts (wait)"
            );
        }
    }
}
