//! Places for connections, so that idle connections keep nobody out. No I/O, no clock.
//!
//! A connection is idle while it waits for a request. If all places are taken, a new connection replaces the one that has
//! been idle longest among those of the address with most idle connections. An address has a limit of its own.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::session::network;

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_of_an_address: usize,
    inner: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    /// Numbers connections and idle periods in the order in which they began.
    next: u64,
    open: BTreeMap<u64, OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    /// None for a trusted proxy, which stands for many clients.
    address: Option<IpAddr>,
    /// The number of the idle period; none while a request is in flight.
    resting: Option<u64>,
    end: CancellationToken,
}

impl Places {
    pub(super) fn new(most: usize, most_of_an_address: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_an_address,
            inner: Mutex::default(),
        })
    }

    /// Takes a place for a new connection; none if all connections have requests in flight.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, is_proxy: bool) -> Option<ConnectionPlace> {
        let address = (!is_proxy).then(|| network(peer));
        let mut inner = self.lock();
        let of_address = |open: &OpenConnection| address.is_some() && open.address == address;
        if inner.open.values().filter(|open| of_address(open)).count() >= self.most_of_an_address {
            inner.free(of_address)?;
        }
        if inner.open.len() >= self.most {
            inner.free_of_the_greediest()?;
        }
        let number = inner.tick();
        let end = CancellationToken::new();
        let open = OpenConnection {
            address,
            resting: Some(number),
            end: end.clone(),
        };
        inner.open.insert(number, open);
        Some(ConnectionPlace {
            number,
            end,
            places: Arc::clone(self),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Ends the connection that has been idle longest among those that `is_meant` selects.
    fn free(&mut self, is_meant: impl Fn(&OpenConnection) -> bool) -> Option<()> {
        let resting = self.open.iter().filter(|(_, open)| is_meant(open));
        let resting = resting.filter_map(|(number, open)| Some((open.resting?, *number)));
        let (_, number) = resting.min()?;
        self.open.remove(&number)?.end.cancel();
        Some(())
    }

    fn free_of_the_greediest(&mut self) -> Option<()> {
        let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for open in self.open.values().filter(|open| open.resting.is_some()) {
            *counts.entry(open.address).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        self.free(|open| counts.get(&open.address) == Some(&most))
    }
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    number: u64,
    end: CancellationToken,
    places: Arc<Places>,
}

impl ConnectionPlace {
    /// Waits until the place is given to another connection.
    pub(super) async fn lost(&self) {
        self.end.cancelled().await;
    }

    /// Notes that a request begins; the connection is not idle until the returned guard is dropped.
    pub(super) fn work(self: &Arc<Self>) -> InWork {
        if let Some(open) = self.places.lock().open.get_mut(&self.number) {
            open.resting = None;
        }
        InWork(Arc::clone(self))
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.places.lock().open.remove(&self.number);
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InWork(Arc<ConnectionPlace>);

impl Drop for InWork {
    fn drop(&mut self) {
        let mut inner = self.0.places.lock();
        let now = inner.tick();
        if let Some(open) = inner.open.get_mut(&self.0.number) {
            open.resting = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn is_lost(place: &ConnectionPlace) -> bool {
        place.end.is_cancelled()
    }

    #[test]
    fn the_longest_idle_connection_of_the_greediest_address_is_closed() {
        let places = Places::new(6, 4);
        let take = |last| places.take(ip(last), false).map(Arc::new).expect("a place");
        let greedy: Vec<_> = (0..4).map(|_| take(1)).collect();
        let _working = greedy[0].work();
        let modest = [take(2), take(3)];
        let new = take(4);
        assert!(!is_lost(&greedy[0]), "it has a request in flight");
        assert!(is_lost(&greedy[1]), "it has been idle longest");
        assert!(modest.iter().all(|one| !is_lost(one)) && !is_lost(&new));
    }

    #[test]
    fn an_address_over_its_limit_loses_its_own_connection_and_a_proxy_has_no_limit() {
        let places = Places::new(100, 3);
        let of_v6 = |n: u16| {
            let address = IpAddr::from([0x2001, 0xdb8, 0, 0, n, 0, 0, 1]);
            places.take(address, false).map(Arc::new).expect("a place")
        };
        let all: Vec<_> = (0..4).map(of_v6).collect();
        assert_eq!(all.iter().filter(|one| is_lost(one)).count(), 1, "one network");
        let by_proxy: Vec<_> = (0..10).filter_map(|_| places.take(ip(1), true)).collect();
        assert!(by_proxy.len() == 10 && by_proxy.iter().all(|one| !is_lost(one)));
        let busy: Vec<_> = (0..3)
            .map(|_| Arc::new(places.take(ip(2), false).expect("a place")).work())
            .collect();
        assert!(places.take(ip(2), false).is_none(), "all of its connections have requests in flight");
        drop(busy);
        assert!(places.take(ip(2), false).is_some());
    }

    #[test]
    fn idleness_counts_from_the_end_of_the_last_request() {
        let places = Places::new(2, 2);
        let take = |last| places.take(ip(last), false).map(Arc::new).expect("a place");
        let (first, second) = (take(1), take(2));
        drop(first.work());
        let _third = take(3);
        assert!(is_lost(&second) && !is_lost(&first));
    }
}
