//! The current API token. It is read again if the API refuses it (401), because its file may hold a new token by then,
//! and if the daemon gets a SIGHUP. Requests in flight keep the token that they were sent with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::time::Instant;

use crate::config::{self, Secret};
use crate::{Error, ErrorKind, Result};

/// The file of a refused token is read at most once in this time.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// A token, and the header that carries it.
#[derive(Debug)]
pub(super) struct Token {
    secret: Secret,
    /// `None` if there is no token.
    header: Option<HeaderValue>,
}

impl Token {
    fn new(secret: Secret) -> Result<Self> {
        if secret.is_empty() {
            return Ok(Self { secret, header: None });
        }
        let mut header = HeaderValue::try_from(format!("Bearer {}", secret.expose())).map_err(|_| {
            let why = "has characters that no header can carry";
            Error::new(ErrorKind::Config, "api.token", why)
        })?;
        header.set_sensitive(true);
        Ok(Self {
            secret,
            header: Some(header),
        })
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.header.clone()
    }

    pub(super) fn expose(&self) -> &str {
        self.secret.expose()
    }
}

/// The current token and its source. Clients that share it renew it together.
#[derive(Debug)]
pub(in crate::api) struct CurrentToken(Mutex<TokenState>);

#[derive(Debug)]
struct TokenState {
    source: config::Api,
    token: Arc<Token>,
    /// The time of the last read that brought no new token.
    last_read: Option<Instant>,
}

impl CurrentToken {
    pub(super) fn new(source: &config::Api) -> Result<Self> {
        let token = Token::new(source.read_token()?)?;
        Ok(Self(Mutex::new(TokenState {
            source: source.clone(),
            token: Arc::new(token),
            last_read: None,
        })))
    }

    pub(super) fn current(&self) -> Arc<Token> {
        Arc::clone(&self.lock().token)
    }

    /// A token other than the refused one, if there is one by now; then the caller sends the request again. A token that
    /// comes from no file is never renewed.
    pub(super) fn renewed(&self, refused: &Token) -> Option<Arc<Token>> {
        let mut inner = self.lock();
        if inner.token.secret != refused.secret {
            return Some(Arc::clone(&inner.token));
        }
        let now = Instant::now();
        if inner.source.token_file.is_empty() || inner.last_read.is_some_and(|at| now - at < READ_INTERVAL) {
            return None;
        }
        inner.last_read = Some(now);
        // This blocks, but only for a small local file and at most once a second.
        let read = inner.source.read_token().and_then(Token::new);
        match read {
            Ok(token) if token.secret != refused.secret => {
                tracing::info!(
                    "the API refused the token; the token file holds a new one, which is used from now on"
                );
                inner.token = Arc::new(token);
                inner.last_read = None;
                Some(Arc::clone(&inner.token))
            }
            Ok(_) => None,
            Err(error) => {
                tracing::error!(%error, "the API refused the token, and the token file can't be read");
                None
            }
        }
    }

    /// Replaces the source. Returns true if its token differs from the current one.
    pub(in crate::api) fn replace(&self, source: &config::Api) -> Result<bool> {
        let token = Token::new(source.read_token()?)?;
        let mut inner = self.lock();
        let changed = inner.token.secret != token.secret;
        *inner = TokenState {
            source: source.clone(),
            token: Arc::new(token),
            last_read: None,
        };
        Ok(changed)
    }

    fn lock(&self) -> MutexGuard<'_, TokenState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(file: &std::path::Path, text: &str) -> config::Api {
        std::fs::write(file, text).expect("written");
        config::Api {
            token_file: file.display().to_string(),
            ..config::Api::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_of_a_refused_token_is_read_at_most_once_a_second() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("token");
        let credential = CurrentToken::new(&put(&file, "first")).expect("read");
        let first = credential.current();
        assert!(credential.renewed(&first).is_none(), "the same as before");
        put(&file, "second");
        assert!(
            credential.renewed(&first).is_none(),
            "the file was read a moment ago"
        );
        tokio::time::advance(READ_INTERVAL).await;
        let second = credential.renewed(&first).expect("a new token");
        assert_eq!(second.expose(), "second");
        // Another request that was refused with the first token finds the second one current.
        assert_eq!(credential.renewed(&first).expect("it").expose(), "second");
        // After a renewal, the next one may follow at once.
        put(&file, "third");
        assert_eq!(credential.renewed(&second).expect("it").expose(), "third");
        std::fs::remove_file(&file).expect("removed");
        assert!(credential.renewed(&credential.current()).is_none());
        assert_eq!(
            credential.current().expose(),
            "third",
            "the last good token stays"
        );
    }

    #[test]
    fn an_unreadable_source_leaves_the_current_token() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("token");
        let source = put(&file, "first");
        let credential = CurrentToken::new(&source).expect("read");
        assert!(!credential.replace(&source).expect("read"));
        let inline = config::Api {
            token: Secret::new("second"),
            ..config::Api::default()
        };
        assert!(credential.replace(&inline).expect("read"));
        std::fs::remove_file(&file).expect("removed");
        let error = credential.replace(&source).expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::SecretUnreadable);
        assert_eq!(credential.current().expose(), "second");
    }
}
