//! Faults to order: the requests that fail, and their failures. `routes` asks about every request. Pure except for the
//! counters.
//!
//! Nothing depends on chance: a rule counts the requests that it matches, and a random rate is a function of the seed,
//! the request and the number of its attempts.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::locked;
use super::log::Endpoint;
use super::options::RetryAfter;
use super::seeded::{hash, is_in_share};

/// The failure of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// This status, with the API's JSON error.
    Status(u16),
    /// This status, with the API's JSON error of another message.
    Message(u16, String),
    /// 502 with the HTML page of a proxy.
    BadGateway,
    /// 429.
    TooMany(RetryAfter),
    /// The connection is reset without an answer.
    Reset,
    /// The answer comes after this pause.
    Stall(Duration),
    /// The connection is cut after this many bytes of the body, always before the end that `Content-Length` names.
    CutBody(u64),
    /// The body pauses for this long after this many bytes, and then goes on.
    StallBody(u64, Duration),
    /// After this many bytes, the body comes in pieces of 1 KiB with this pause before each.
    Drip(u64, Duration),
    /// The link is refused (403) from now on. Only for blobs.
    ExpireLink,
    /// `Range` is ignored: 200 and the whole file. Only for blobs.
    NoRange,
    /// An open range is answered with at most this many bytes, as HTTP allows. Only for blobs.
    ShortRange(u64),
    /// The file ends after this many bytes, and the HTTP headers call that the whole file. Only for blobs.
    Truncated(u64),
    /// The body comes without `Content-Length`.
    NoLength,
    /// 200 with a page of HTML.
    Html,
    /// A page of new objects, as many as the request asked for, so that the list never ends. Only for lists.
    Invented,
    /// 200 with these bytes.
    Bytes(Vec<u8>),
}

/// Selects the requests of a rule: all of them, unless it is narrowed.
#[derive(Debug, Clone)]
pub struct Matcher {
    endpoint: Option<Endpoint>,
    containing: Option<String>,
    pick: Pick,
}

#[derive(Debug, Clone, Copy)]
enum Pick {
    All,
    First(u64),
    After(u64),
    Nth(u64),
    Every(u64),
    Rate(f64),
}

impl Matcher {
    /// Every request.
    pub fn any() -> Self {
        Self {
            endpoint: None,
            containing: None,
            pick: Pick::All,
        }
    }

    /// Every request of a kind.
    pub fn endpoint(endpoint: Endpoint) -> Self {
        Self {
            endpoint: Some(endpoint),
            ..Self::any()
        }
    }

    /// Only requests with this text in path or query, such as an id or `format=xlsx`; for a blob, the id of its record.
    #[must_use]
    pub fn containing(mut self, text: impl Into<String>) -> Self {
        self.containing = Some(text.into());
        self
    }

    /// Only the first `count` of the selected requests.
    #[must_use]
    pub fn first(mut self, count: u64) -> Self {
        self.pick = Pick::First(count);
        self
    }

    /// All selected requests except the first `count`.
    #[must_use]
    pub fn after(mut self, count: u64) -> Self {
        self.pick = Pick::After(count);
        self
    }

    /// Only the `n`-th selected request, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.pick = Pick::Nth(n);
        self
    }

    /// Every `n`-th selected request.
    #[must_use]
    pub fn every(mut self, n: u64) -> Self {
        self.pick = Pick::Every(n.max(1));
        self
    }

    /// A share (0 to 1) of the selected requests, and the same request never more than three times.
    #[must_use]
    pub fn rate(mut self, share: f64) -> Self {
        self.pick = Pick::Rate(share);
        self
    }
}

/// A random rate fails the same request at most this often, so that retries succeed.
const MAX_FAILURES_OF_A_REQUEST: u32 = 3;

/// The faults ordered; from [`super::Simulator::faults`].
#[derive(Debug, Default)]
pub struct Faults {
    seed: u64,
    rules: Mutex<Vec<Rule>>,
}

#[derive(Debug)]
struct Rule {
    matcher: Matcher,
    /// The failures in turn; at a random rate, the request and its attempt choose.
    failures: Vec<Failure>,
    met: u64,
    hits: u64,
    tries: HashMap<String, (u32, u32)>,
}

impl Faults {
    pub(super) fn new(seed: u64, rate: f64) -> Self {
        let faults = Self {
            seed,
            ..Self::default()
        };
        if rate > 0.0 {
            let mixed = vec![
                Failure::Status(500),
                Failure::Reset,
                Failure::BadGateway,
                Failure::CutBody(100),
                Failure::TooMany(RetryAfter::Unsaid),
            ];
            faults.order_mixed(Matcher::any().rate(rate), mixed);
        }
        faults
    }

    /// Orders a fault. If several rules match a request, the first one ordered applies.
    pub fn order(&self, when: Matcher, what: Failure) {
        self.order_mixed(when, vec![what]);
    }

    /// Orders several failures, which take turns.
    pub fn order_mixed(&self, when: Matcher, what: Vec<Failure>) {
        locked(&self.rules).push(Rule {
            matcher: when,
            failures: what,
            met: 0,
            hits: 0,
            tries: HashMap::new(),
        });
    }

    /// Takes all orders back.
    pub fn clear(&self) {
        locked(&self.rules).clear();
    }

    /// The number of requests that failed by a rule.
    pub fn hits(&self) -> u64 {
        locked(&self.rules).iter().map(|rule| rule.hits).sum()
    }

    /// The failure ordered for a request; `name` is its path and query, or the id of its record.
    pub(super) fn about(&self, endpoint: Endpoint, name: &str) -> Option<Failure> {
        let mut rules = locked(&self.rules);
        rules
            .iter_mut()
            .find_map(|rule| rule.meet(self.seed, endpoint, name))
    }
}

impl Rule {
    fn meet(&mut self, seed: u64, endpoint: Endpoint, name: &str) -> Option<Failure> {
        let matcher = &self.matcher;
        let other = matcher.endpoint.is_some_and(|wanted| wanted != endpoint)
            || matcher
                .containing
                .as_ref()
                .is_some_and(|text| !name.contains(text.as_str()));
        if other {
            return None;
        }
        self.met += 1;
        let mut turn = self.hits;
        let picked = match self.matcher.pick {
            Pick::All => true,
            Pick::First(count) => self.met <= count,
            Pick::After(count) => self.met > count,
            Pick::Nth(n) => self.met == n,
            Pick::Every(n) => self.met.is_multiple_of(n),
            Pick::Rate(share) => {
                let (tries, failed) = self.tries.entry(name.to_owned()).or_default();
                *tries += 1;
                let attempt = format!("{seed}/{name}/{tries}");
                // Only the request itself counts, so that other requests in between change nothing.
                turn = hash(&format!("{attempt}/kind"));
                let fails = *failed < MAX_FAILURES_OF_A_REQUEST && is_in_share(&attempt, share);
                *failed += u32::from(fails);
                fails
            }
        };
        if !picked || self.failures.is_empty() {
            return None;
        }
        self.hits += 1;
        let turn = turn % self.failures.len() as u64;
        self.failures
            .get(usize::try_from(turn).unwrap_or_default())
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(matcher: Matcher, names: &[&str]) -> Vec<bool> {
        let faults = Faults::default();
        faults.order(matcher, Failure::Reset);
        names
            .iter()
            .map(|name| faults.about(Endpoint::Report, name).is_some())
            .collect()
    }

    #[test]
    fn a_matcher_picks_its_requests() {
        let names = ["a1", "b1", "a2", "b2", "a3"];
        let any = Matcher::any;
        assert_eq!(hits(any().first(2), &names), [true, true, false, false, false]);
        assert_eq!(hits(any().after(3), &names), [false, false, false, true, true]);
        assert_eq!(hits(any().every(2), &names), [false, true, false, true, false]);
        assert_eq!(
            hits(any().containing("a").nth(2), &names),
            [false, false, true, false, false]
        );
        assert_eq!(hits(Matcher::endpoint(Endpoint::Blob), &names), [false; 5]);
        let same = ["x"; 50];
        let rate = hits(any().rate(1.0), &same);
        assert_eq!(
            rate.iter().filter(|hit| **hit).count(),
            3,
            "a request fails at most three times"
        );
    }
}
