//! The access to the daemon: its token, the sessions of the page with their cookie, and the wrong tokens by address. All is
//! in memory, so a restart signs everybody out. Used by the guard and by the page's sign-in. Pure, apart from the random
//! number of a session and the audit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use crate::config::Secret;
use crate::serve::audit::{self, Caller, Credential};
use crate::{Error, ErrorKind, Result};

/// The lifetime of a session, however often it is used: a working day.
pub const LIFETIME: TimeDelta = TimeDelta::hours(12);
/// The most open sessions; a further one ends the oldest.
const MOST: usize = 1000;
/// Wrong tokens that an address may send within [`WINDOW`].
const WRONG: u32 = 10;
const WINDOW: TimeDelta = TimeDelta::seconds(60);
/// The most addresses that are remembered. Beyond that all are forgotten, which a guesser can't exploit without many addresses.
const ADDRESSES: usize = 10_000;

const COOKIE_NAME: &str = "telelake";

/// The daemon's own token, and everybody who came with it or with a wrong one.
pub struct Access {
    token: RwLock<Secret>,
    pub sessions: Sessions,
    pub guesses: Guesses,
}

impl Access {
    /// Starts with the token of the configuration, which may be empty.
    pub fn new(token: Secret) -> Self {
        Self {
            token: RwLock::new(token),
            sessions: Sessions::default(),
            guesses: Guesses::default(),
        }
    }

    /// The daemon's own token; empty if none is configured.
    pub fn token(&self) -> Secret {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the token. If it has changed, returns true, and everybody must sign in again.
    pub fn renew(&self, token: Secret) -> bool {
        let mut current = self.token.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != token;
        *current = token;
        if changed {
            self.sessions.close_all();
        }
        changed
    }

    /// True if a request brings the cookie of an open session.
    pub fn has_session(&self, headers: &HeaderMap, now: DateTime<Utc>) -> bool {
        session_in(headers).is_some_and(|session| self.sessions.is_open(session, now))
    }
}

/// The session in a request's cookie.
pub fn session_in(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

/// The `Set-Cookie` that opens a session, or ends it with an empty value and no seconds.
pub fn cookie(value: &str, seconds: i64, headers: &HeaderMap) -> String {
    // The daemon itself speaks HTTP; only the proxy in front knows if the reader uses HTTPS.
    let by_https = headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    let secure = if by_https { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

type Key = [u8; 32];

/// Open sessions by the digest of the cookie's value, so that the time of a lookup reveals nothing of it.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<Key, DateTime<Utc>>>);

impl Sessions {
    /// Opens a session; returns the value for the cookie, which is kept nowhere else.
    ///
    /// # Errors
    /// `Internal`: the system gives no random numbers.
    pub fn open(&self, now: DateTime<Utc>) -> Result<String> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)
            .map_err(|error| Error::new(ErrorKind::Internal, "session", error.to_string()))?;
        let value = hex::encode(random);
        let mut all = lock(&self.0);
        all.retain(|_, end| *end > now);
        if all.len() >= MOST {
            let oldest = all.iter().min_by_key(|(_, end)| **end).map(|(key, _)| *key);
            oldest.map(|key| all.remove(&key));
        }
        all.insert(key(&value), now + LIFETIME);
        Ok(value)
    }

    /// True if the session is open.
    pub fn is_open(&self, value: &str, now: DateTime<Utc>) -> bool {
        lock(&self.0).get(&key(value)).is_some_and(|end| *end > now)
    }

    /// Ends all sessions.
    pub fn close_all(&self) {
        lock(&self.0).clear();
    }

    /// Ends a session.
    pub fn close(&self, value: &str) {
        lock(&self.0).remove(&key(value));
    }
}

fn key(value: &str) -> Key {
    Sha256::digest(value).into()
}

/// Wrong tokens by address. An address that sends too many is barred for a while.
#[derive(Default)]
pub struct Guesses(Mutex<HashMap<IpAddr, (DateTime<Utc>, u32)>>);

impl Guesses {
    /// True if an address has sent too many wrong tokens lately; then even the right token is refused.
    pub fn is_barred(&self, address: IpAddr, now: DateTime<Utc>) -> bool {
        lock(&self.0)
            .get(&network(address))
            .is_some_and(|(since, wrong)| now - *since < WINDOW && *wrong >= WRONG)
    }

    /// Counts a wrong token, with lines for the audit; `place` names what it was sent to.
    pub fn note_wrong(&self, address: IpAddr, place: &str, now: DateTime<Utc>) {
        let barred = self.note(address, now);
        let caller = Caller::at(Credential::Nothing, Some(address));
        audit::note(&caller, "sign_in_refused", place);
        if barred {
            audit::note(&caller, "locked_out", "too many wrong tokens");
        }
    }

    /// Counts a wrong token; returns true if its address is barred from now on.
    fn note(&self, address: IpAddr, now: DateTime<Utc>) -> bool {
        let mut all = lock(&self.0);
        if all.len() >= ADDRESSES {
            all.clear();
        }
        let (since, wrong) = all.entry(network(address)).or_insert((now, 0));
        if now - *since >= WINDOW {
            (*since, *wrong) = (now, 0);
        }
        *wrong += 1;
        *wrong == WRONG
    }
}

/// The address, or its /64 network for IPv6, because a guesser has all addresses of it.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(network.into())
        }
        address => address,
    }
}

fn lock<T>(all: &Mutex<T>) -> MutexGuard<'_, T> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("in range")
    }

    #[test]
    fn a_session_is_unique_expires_and_can_be_closed() {
        let sessions = Sessions::default();
        let (one, two) = (
            sessions.open(at(0)).expect("one"),
            sessions.open(at(0)).expect("two"),
        );
        assert!(one != two && one.len() == 64);
        assert!(sessions.is_open(&one, at(0)));
        assert!(!sessions.is_open("", at(0)));
        assert!(!sessions.is_open(&one[..63], at(0)));
        assert!(!sessions.is_open(&hex::encode(key(&one)), at(0)));
        sessions.close(&two);
        assert!(!sessions.is_open(&two, at(0)));
        let end = LIFETIME.num_seconds();
        assert!(sessions.is_open(&one, at(end - 1)));
        assert!(!sessions.is_open(&one, at(end)));
    }

    #[test]
    fn the_cookie_is_found_among_others_and_is_secure_over_https() {
        let mut headers = HeaderMap::new();
        assert_eq!(session_in(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("a=1; telelakes=x; telelake=abc"));
        assert_eq!(session_in(&headers), Some("abc"));
        assert!(!cookie("x", 1, &headers).contains("Secure"));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        let set = cookie("x", 1, &headers);
        assert_eq!(
            set,
            "telelake=x; Path=/; HttpOnly; SameSite=Strict; Max-Age=1; Secure"
        );
    }

    #[test]
    fn a_new_token_ends_all_sessions_and_the_same_token_none() {
        let access = Access::new(Secret::new("first"));
        let mut headers = HeaderMap::new();
        let session = access.sessions.open(at(0)).expect("a session");
        headers.insert(COOKIE, format!("telelake={session}").parse().expect("a value"));
        assert!(!access.renew(Secret::new("first")) && access.has_session(&headers, at(0)));
        assert!(access.renew(Secret::new("second")) && !access.has_session(&headers, at(0)));
        assert_eq!(access.token(), Secret::new("second"));
    }

    #[test]
    fn too_many_sessions_end_the_oldest() {
        let sessions = Sessions::default();
        let all: Vec<String> = (0..=MOST as i64)
            .map(|n| sessions.open(at(n)).expect("a session"))
            .collect();
        assert!(!sessions.is_open(&all[0], at(MOST as i64)));
        assert!(sessions.is_open(&all[1], at(MOST as i64)));
        assert!(sessions.is_open(&all[MOST], at(MOST as i64)));
    }

    #[test]
    fn an_address_that_guesses_is_barred_and_others_are_not() {
        let guesses = Guesses::default();
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        for n in 0..WRONG {
            assert!(!guesses.is_barred(ip("10.0.0.1"), at(0)), "after {n}");
            guesses.note(ip("10.0.0.1"), at(0));
        }
        assert!(guesses.is_barred(ip("10.0.0.1"), at(59)));
        assert!(guesses.is_barred(ip("::ffff:10.0.0.1"), at(59)), "the same one");
        assert!(!guesses.is_barred(ip("10.0.0.2"), at(59)));
        assert!(!guesses.is_barred(ip("10.0.0.1"), at(60)));
        guesses.note(ip("10.0.0.1"), at(60));
        assert!(!guesses.is_barred(ip("10.0.0.1"), at(60)), "a new minute");
        for n in 0..u64::from(WRONG) {
            guesses.note(ip(&format!("2001:db8::{n}")), at(0));
        }
        assert!(guesses.is_barred(ip("2001:db8::ffff"), at(1)), "one network");
        assert!(!guesses.is_barred(ip("2001:db8:0:1::1"), at(1)));
    }
}
