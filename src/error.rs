//! The program's only error type, with the two decisions that depend on it: which errors are retried
//! ([`Error::is_retryable`]) and which exit status each error has ([`Error::exit_status`]).
//!
//! Pure; used by every folder. An error names the object that it is about and the way out. It never carries an answer's body,
//! a token or a signed URL. The words of the other side are kept apart from the program's own sentence: they are masked,
//! shown in logs and summaries, and never kept in a manifest or a table.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::sanitize;

/// The kind of an error, which decides what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The command line is wrong.
    Usage,
    /// The configuration is wrong, or the lake was written with another one.
    Config,
    /// The file of a required secret is missing, can't be read or is empty.
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
    /// There is no connection, it was cut, or no answer came in time.
    Connection,
    /// The other side's certificate is not trusted.
    Untrusted,
    /// The request was not sent, because requests of the same space or room had kept failing.
    Skipped,
    /// The answer is not the one that the API documents: HTML, broken JSON, another shape.
    InvalidAnswer,
    /// The answer is larger than the program accepts.
    TooLarge,
    /// The transferred bytes are wrong: cut, no MP4, or of the wrong size.
    Content,
    /// The store can't be reached, does not exist or refuses access.
    StoreUnavailable,
    /// The store has no such object.
    StoreNotFound,
    /// The store's server does not know the operation.
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

/// The longest pause that a run waits. If the other side asks for a longer one, the next run asks again.
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
    /// Done in part: the failures are named and will be tried again.
    Partial = 3,
    /// Nothing could be done: the token is refused, or the API or the store is out of reach.
    Nothing = 4,
    /// `verify` found damage.
    Damaged = 5,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        (status as u8).into()
    }
}

/// The result of nearly every function of the crate.
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
    /// An error of `kind` about an object (`"space 60d5…"`, `"GET /spaces"`, a key, a file), with a sentence that tells what
    /// happened. Unprintable characters in either are escaped.
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

    /// Adds a hint: what the operator can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the words of the other side, which the caller has masked.
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

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The object that the error is about.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The sentence in the program's own words, without the object and the hint: a manifest's `reason`.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The sentence and the words of the other side, for logs and summaries.
    pub fn full_message(&self) -> String {
        match &self.said {
            Some(words) => format!("{}: {words}", self.message),
            None => self.message.clone(),
        }
    }

    /// The pause that the other side asked for, if it did.
    pub fn pause(&self) -> Option<Duration> {
        self.retry_after
    }

    /// True if the other side asked for a longer pause than a run waits.
    pub fn is_postponed(&self) -> bool {
        self.retry_after.is_some_and(|pause| pause > LONGEST_PAUSE)
    }

    /// The same error with more words at the end of its sentence; the hint and the pause stay.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        self.message.push_str(&one_line(more.to_owned()));
        self
    }

    /// The same error with another kind and about another object; the hint stays.
    #[must_use]
    pub fn recast(mut self, kind: ErrorKind, about: impl Into<String>) -> Self {
        self.kind = kind;
        self.about = one_line(about.into());
        if let Some(rest) = self.message.strip_prefix(&self.about) {
            self.message = rest.trim_start().to_owned();
        }
        self
    }

    /// Adds a hint if there is none yet.
    #[must_use]
    pub fn or_hint(mut self, hint: &str) -> Self {
        self.hint.get_or_insert_with(|| hint.to_owned());
        self
    }

    /// True if the same request may succeed when it is sent again. No other place decides this.
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

    /// The exit status of a command that ended with this error. No other place decides this.
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
        write!(f, "{}: {}", self.about, self.full_message())?;
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
    fn an_error_is_one_line_with_object_sentence_and_hint() {
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
    fn the_message_does_not_contain_the_words_of_the_other_side() {
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
    fn a_request_is_not_retried_if_the_other_side_asks_for_a_long_pause() {
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
