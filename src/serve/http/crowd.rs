//! Limits of concurrent requests: a share for unauthenticated callers, a share for authenticated ones, and a limit for each
//! client. The rest of the connections is left to health probes, which take no time. No I/O.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::session::network;

/// The most concurrent requests of each kind.
const SHARE: usize = 96;
/// The most concurrent requests of a client.
const OF_A_CLIENT: usize = 80;

/// The share that a request takes its place from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// For callers who are not authenticated yet: a webhook, or somebody who signs in.
    Strangers,
    /// For authenticated callers.
    Authenticated,
}

/// The reason why a request must be sent again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CrowdRefusal {
    /// The client has too many requests in flight.
    Client,
    /// All clients together have too many requests in flight.
    All,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Crowd {
    strangers: Arc<Semaphore>,
    authenticated: Arc<Semaphore>,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Crowd {
    pub(super) fn new() -> Arc<Self> {
        let share = || Arc::new(Semaphore::new(SHARE));
        Arc::new(Self {
            strangers: share(),
            authenticated: share(),
            clients: Mutex::default(),
        })
    }

    /// Admits a request, which counts until the returned guard is dropped.
    pub(super) fn enter(self: &Arc<Self>, share: Share, client: IpAddr) -> Result<Entered, CrowdRefusal> {
        let share = match share {
            Share::Strangers => &self.strangers,
            Share::Authenticated => &self.authenticated,
        };
        let client = network(client);
        {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            let count = clients.entry(client).or_default();
            if *count >= OF_A_CLIENT {
                return Err(CrowdRefusal::Client);
            }
            *count += 1;
        }
        // From here on the guard gives the client's place back.
        let mut entered = Entered {
            client,
            crowd: Arc::clone(self),
            _share: None,
        };
        entered._share = Some(Arc::clone(share).try_acquire_owned().map_err(|_| CrowdRefusal::All)?);
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
    fn strangers_take_no_place_of_authenticated_callers_and_no_client_takes_all() {
        let crowd = Crowd::new();
        let of = |share, last: usize| crowd.enter(share, IpAddr::from([192, 0, 2, last as u8]));
        let one: Vec<_> = (0..OF_A_CLIENT)
            .map(|_| of(Share::Strangers, 1).expect("admitted"))
            .collect();
        assert_eq!(of(Share::Strangers, 1).expect_err("too many"), CrowdRefusal::Client);
        let others: Vec<_> = (OF_A_CLIENT..SHARE)
            .map(|n| of(Share::Strangers, n + 2).expect("admitted"))
            .collect();
        assert_eq!(of(Share::Strangers, 2).expect_err("too many"), CrowdRefusal::All);
        let _authenticated = of(Share::Authenticated, 2).expect("a share of its own");
        drop((one, others));
        of(Share::Strangers, 1).expect("admitted again");
        assert_eq!(
            crowd.clients.lock().expect("lock").len(),
            1,
            "clients without requests are forgotten"
        );
    }
}
