//! The state that all requests share: the school, the links, webhooks and lesson data, and the log. Used by `routes`,
//! `answers` and `blob`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use serde_json::Value;

use super::fault::Faults;
use super::locked;
use super::log::Log;
use super::options::Options;
use super::school::School;
use super::seeded::hash;
use super::webhooks::Webhook;

/// The state that all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    /// `127.0.0.1:PORT`, for links if a request has no `Host`.
    pub(super) authority: String,
    pub(super) faults: Faults,
    pub(super) log: Log,
    pub(super) webhooks: Mutex<BTreeMap<String, Webhook>>,
    pub(super) metas: Mutex<Vec<Value>>,
    /// The token that is accepted.
    pub(super) token: Mutex<String>,
    school: RwLock<Arc<School>>,
    links: Mutex<HashMap<String, DownloadLink>>,
    window: Mutex<(Instant, u32)>,
}

/// A download link that a client received.
#[derive(Debug)]
struct DownloadLink {
    record: String,
    made_at: Instant,
    uses: u32,
    refused: bool,
}

impl Shared {
    pub(super) fn new(options: Options, authority: String) -> Self {
        Self {
            authority,
            faults: Faults::new(options.seed, options.fault_rate),
            log: Log::default(),
            webhooks: Mutex::default(),
            metas: Mutex::default(),
            token: Mutex::new(options.token.clone()),
            school: RwLock::new(Arc::new(super::generate::school(&options))),
            links: Mutex::default(),
            window: Mutex::new((Instant::now(), 0)),
            options,
        }
    }

    /// The school as it is now.
    pub(super) fn school(&self) -> Arc<School> {
        self.school.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn edit<T>(&self, change: impl FnOnce(&mut School) -> T) -> T {
        let mut school = self.school.write().unwrap_or_else(PoisonError::into_inner);
        let school = Arc::make_mut(&mut school);
        let result = change(school);
        school.reindex();
        result
    }

    /// Counts a request; true if it exceeds the limit of the current window.
    pub(super) fn exceeds_limit(&self) -> bool {
        let Some(limit) = self.options.rate_limit else {
            return false;
        };
        let mut window = locked(&self.window);
        if window.0.elapsed() >= self.options.rate_window {
            *window = (Instant::now(), 0);
        }
        window.1 += 1;
        window.1 > limit
    }

    /// Makes a link to a record and returns its signature.
    pub(super) fn make_link(&self, record: &str) -> String {
        let mut links = locked(&self.links);
        let name = format!("{}/link/{record}/{}", self.options.seed, links.len());
        let signature = format!("{:016x}{:016x}", hash(&name), hash(&format!("{name}/2")));
        let link = DownloadLink {
            record: record.to_owned(),
            made_at: Instant::now(),
            uses: 0,
            refused: false,
        };
        links.insert(signature.clone(), link);
        signature
    }

    /// The record of a link, valid or not.
    pub(super) fn linked(&self, signature: &str) -> Option<String> {
        locked(&self.links).get(signature).map(|link| link.record.clone())
    }

    /// Uses a link (`count` is false for `HEAD`); true if it was still valid.
    pub(super) fn use_link(&self, signature: &str, count: bool) -> bool {
        let mut links = locked(&self.links);
        let Some(link) = links.get_mut(signature) else {
            return false;
        };
        let Options {
            link_lifetime,
            link_uses,
            ..
        } = self.options;
        let late = link_lifetime.is_some_and(|lifetime| link.made_at.elapsed() >= lifetime);
        let used_up = link_uses.is_some_and(|uses| link.uses >= uses);
        link.uses += u32::from(count);
        !(late || used_up || link.refused)
    }

    /// Refuses this link from now on.
    pub(super) fn expire(&self, signature: &str) {
        if let Some(link) = locked(&self.links).get_mut(signature) {
            link.refused = true;
        }
    }

    /// Refuses every link handed out so far.
    pub(super) fn expire_all(&self) {
        for link in locked(&self.links).values_mut() {
            link.refused = true;
        }
    }
}
