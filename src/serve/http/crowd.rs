//! Limits of concurrent requests: a share for unauthenticated callers, a share for authenticated ones, and a limit for each
//! client. The rest of the connections is left to health probes, which take no time. No I/O.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::serve::http::session::network;

/// The most concurrent requests of each kind.
const SHARE: usize = 96;
/// The most concurrent requests of a client.
const OF_A_CLIENT: usize = 80;

/// The kind of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// Not authenticated yet: a webhook, or somebody who signs in.
    Stranger,
    /// Authenticated.
    Known,
}

/// The reason why a request must be sent again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The client has too many requests in flight.
    Client,
    /// All clients together have too many requests in flight.
    All,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Crowd {
    strangers: Arc<Semaphore>,
    known: Arc<Semaphore>,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Crowd {
    pub(super) fn new() -> Arc<Self> {
        let share = || Arc::new(Semaphore::new(SHARE));
        Arc::new(Self {
            strangers: share(),
            known: share(),
            clients: Mutex::default(),
        })
    }

    /// Admits a request, which counts until the returned guard is dropped.
    pub(super) fn enter(self: &Arc<Self>, caller: Caller, client: IpAddr) -> Result<Entered, Full> {
        let share = match caller {
            Caller::Stranger => &self.strangers,
            Caller::Known => &self.known,
        };
        let client = network(client);
        {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            let count = clients.entry(client).or_default();
            if *count >= OF_A_CLIENT {
                return Err(Full::Client);
            }
            *count += 1;
        }
        // From here on the guard gives the client's place back.
        let mut entered = Entered {
            client,
            crowd: Arc::clone(self),
            _share: None,
        };
        entered._share = Some(Arc::clone(share).try_acquire_owned().map_err(|_| Full::All)?);
        Ok(entered)
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Entered {
    client: IpAddr,
    crowd: Arc<Crowd>,
    _share: Option<OwnedSemaphorePermit>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut clients = self.crowd.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_take_no_place_of_who_is_known_and_nobody_takes_all() {
        let crowd = Crowd::new();
        let of = |caller, last: usize| crowd.enter(caller, IpAddr::from([192, 0, 2, last as u8]));
        let one: Vec<_> = (0..OF_A_CLIENT)
            .map(|_| of(Caller::Stranger, 1).expect("let in"))
            .collect();
        assert_eq!(of(Caller::Stranger, 1).expect_err("too many"), Full::Client);
        let others: Vec<_> = (OF_A_CLIENT..SHARE)
            .map(|n| of(Caller::Stranger, n + 2).expect("let in"))
            .collect();
        assert_eq!(of(Caller::Stranger, 2).expect_err("too many"), Full::All);
        let _known = of(Caller::Known, 2).expect("a share of its own");
        drop((one, others));
        of(Caller::Stranger, 1).expect("let in again");
        assert_eq!(
            crowd.clients.lock().expect("lock").len(),
            1,
            "who is gone is forgotten"
        );
    }
}
