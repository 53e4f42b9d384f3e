//! Faults to order: which requests fail, and how. Pure but for the counting; asked by `routes` about every request.
//!
//! Whether a request fails follows from the rule and from how often that rule was met, never from chance: a random
//! rate is a function of the seed, the request and how often it came.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::generate::{falls, hash};
use super::locked;
use super::log::Endpoint;
use super::options::RetryAfter;

/// How a request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// This status, with the API's JSON error.
    Status(u16),
    /// This status, with the API's JSON error of another message.
    Message(u16, String),
    /// 502 with a proxy's page.
    BadGateway,
    /// 429.
    TooMany(RetryAfter),
    /// The connection is reset without an answer.
    Reset,
    /// Nothing comes for so long; then the answer.
    Stall(Duration),
    /// The connection is cut after so many bytes of the body (and before its end), against `Content-Length`.
    CutBody(u64),
    /// Nothing more comes for so long after so many bytes of the body; then the rest.
    StallBody(u64, Duration),
    /// After so many bytes of the body only a KiB comes at a time, each after such a pause.
    Drip(u64, Duration),
    /// The link is refused (403) from now on. For blobs.
    ExpireLink,
    /// `Range` is ignored: 200 and all of it. For blobs.
    NoRange,
    /// A request for an open range is answered with so many bytes of it at most, as HTTP allows. For blobs.
    ShortRange(u64),
    /// The file ends after so many bytes, and HTTP says that this is all of it. For blobs.
    Truncated(u64),
    /// The body comes without `Content-Length`.
    NoLength,
    /// 200 with a page of HTML.
    Html,
    /// A page of objects that nobody has seen before, as many as were asked for: the list has no end. For lists.
    Invented,
    /// 200 with these bytes.
    Bytes(Vec<u8>),
}

/// Which requests a rule is about: all of them, narrowed step by step.
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

    /// Those with this text in path or query: an id, `format=xlsx`; for a blob, its record's id.
    #[must_use]
    pub fn containing(mut self, text: impl Into<String>) -> Self {
        self.containing = Some(text.into());
        self
    }

    /// Only the first `count` of them.
    #[must_use]
    pub fn first(mut self, count: u64) -> Self {
        self.pick = Pick::First(count);
        self
    }

    /// All but the first `count` of them.
    #[must_use]
    pub fn after(mut self, count: u64) -> Self {
        self.pick = Pick::After(count);
        self
    }

    /// Only the `n`-th of them, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.pick = Pick::Nth(n);
        self
    }

    /// Every `n`-th of them.
    #[must_use]
    pub fn every(mut self, n: u64) -> Self {
        self.pick = Pick::Every(n.max(1));
        self
    }

    /// A share of them, 0 to 1; the same request never more than three times.
    #[must_use]
    pub fn rate(mut self, share: f64) -> Self {
        self.pick = Pick::Rate(share);
        self
    }
}

/// A rule's failures of one request at a random rate end after this many: what is tried again must succeed.
const BOUND: u32 = 3;

/// The faults ordered; from [`super::Simulator::faults`].
#[derive(Debug, Default)]
pub struct Faults {
    seed: u64,
    rules: Mutex<Vec<Rule>>,
}

#[derive(Debug)]
struct Rule {
    matcher: Matcher,
    /// One of them: in turn, or at a random rate as the request and the attempt say.
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

    /// Orders a fault. Of several rules that pick a request, the first ordered has its way.
    pub fn order(&self, when: Matcher, what: Failure) {
        self.order_mixed(when, vec![what]);
    }

    /// Orders several kinds of fault in turn.
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

    /// How often the rules had their way.
    pub fn hits(&self) -> u64 {
        locked(&self.rules).iter().map(|rule| rule.hits).sum()
    }

    /// What is ordered for a request; `name` is its path and query, and its record's id.
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
                // Of the request alone: others in between change nothing.
                turn = hash(&format!("{attempt}/kind"));
                let fails = *failed < BOUND && falls(&attempt, share);
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
    fn rules_pick_what_they_say() {
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
            "bounded for one request"
        );
    }
}
