//! The API's token in force. It is read again when the API refuses it (401), since its file may hold a new one by then,
//! and when the daemon is told to (SIGHUP). Requests in flight keep the token that they were sent with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::time::Instant;

use crate::config::{self, Secret};
use crate::{Error, ErrorKind, Result};

/// After a refused token's file was read and held nothing new, it is left alone for so long.
const REST: Duration = Duration::from_secs(1);

/// A token as requests carry it.
#[derive(Debug)]
pub(super) struct Token {
    secret: Secret,
    /// None where there is no token.
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

/// See the module.
#[derive(Debug)]
pub(super) struct Credential(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    source: config::Api,
    token: Arc<Token>,
    /// When the file was last read in vain.
    looked: Option<Instant>,
}

impl Credential {
    pub(super) fn new(source: &config::Api) -> Result<Self> {
        let token = Token::new(source.read_token()?)?;
        Ok(Self(Mutex::new(Inner {
            source: source.clone(),
            token: Arc::new(token),
            looked: None,
        })))
    }

    pub(super) fn current(&self) -> Arc<Token> {
        Arc::clone(&self.lock().token)
    }

    /// Another token than the refused one, if there is one by now: the request is then sent again. Without a file there
    /// is none.
    pub(super) fn renewed(&self, refused: &Token) -> Option<Arc<Token>> {
        let mut inner = self.lock();
        if inner.token.secret != refused.secret {
            return Some(Arc::clone(&inner.token));
        }
        let now = Instant::now();
        if inner.source.token_file.is_empty() || inner.looked.is_some_and(|at| now - at < REST) {
            return None;
        }
        inner.looked = Some(now);
        // A small file on a local disk, once in a while: not worth a thread.
        let read = inner.source.read_token().and_then(Token::new);
        match read {
            Ok(token) if token.secret != refused.secret => {
                tracing::info!(
                    "the API refused the token; its file holds another one, which is used from now on"
                );
                inner.token = Arc::new(token);
                inner.looked = None;
                Some(Arc::clone(&inner.token))
            }
            Ok(_) => None,
            Err(error) => {
                tracing::error!(%error, "the API refused the token, and it can't be read again");
                None
            }
        }
    }

    /// Takes another source; tells whether its token is another one.
    pub(super) fn replace(&self, source: &config::Api) -> Result<bool> {
        let token = Token::new(source.read_token()?)?;
        let mut inner = self.lock();
        let changed = inner.token.secret != token.secret;
        *inner = Inner {
            source: source.clone(),
            token: Arc::new(token),
            looked: None,
        };
        Ok(changed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
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
    async fn a_refused_token_is_read_again_once_in_a_while() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("token");
        let credential = Credential::new(&put(&file, "first")).expect("read");
        let first = credential.current();
        assert!(credential.renewed(&first).is_none(), "the same as before");
        put(&file, "second");
        assert!(credential.renewed(&first).is_none(), "it has just been looked at");
        tokio::time::advance(REST).await;
        let second = credential.renewed(&first).expect("another one");
        assert_eq!(second.expose(), "second");
        // Who was refused with the first one too finds the second in force.
        assert_eq!(credential.renewed(&first).expect("it").expose(), "second");
        // A new one may come at any time after that.
        put(&file, "third");
        assert_eq!(credential.renewed(&second).expect("it").expose(), "third");
        std::fs::remove_file(&file).expect("removed");
        assert!(credential.renewed(&credential.current()).is_none());
        assert_eq!(credential.current().expose(), "third", "the last good one stays");
    }

    #[test]
    fn a_source_that_can_not_be_read_replaces_nothing() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("token");
        let source = put(&file, "first");
        let credential = Credential::new(&source).expect("read");
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
