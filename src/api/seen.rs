//! The items of a list, each once. Pure; used by `paging`.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::wire::{self, Item};

/// What a key of an item without an id begins with. Ids are opaque, so a real id gets a prefix too.
const WITHOUT_ID: &str = "content ";
const WITH_ID: &str = "id ";

/// The items seen so far.
#[derive(Debug)]
pub(super) struct Seen<T> {
    pub(super) items: Vec<T>,
    keys: HashSet<String>,
    unidentified: u64,
    other_ids: u64,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            keys: HashSet::new(),
            unidentified: 0,
            other_ids: 0,
        }
    }
}

impl<T: Item> Seen<T> {
    /// What tells an item from others: its id; else its content, so that a repeated page does not count it again.
    pub(super) fn key(raw: &Value) -> String {
        match wire::id(raw) {
            Some(id) => format!("{WITH_ID}{id}"),
            None => {
                let mut content = DefaultHasher::new();
                raw.to_string().hash(&mut content);
                format!("{WITHOUT_ID}{}", content.finish())
            }
        }
    }

    /// Whether an item with this key was seen.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Takes a page's items, whose keys are `keys`; returns how many were new.
    pub(super) fn take(&mut self, items: Vec<Value>, keys: &[String]) -> usize {
        let before = self.keys.len();
        for (raw, key) in items.into_iter().zip(keys) {
            if !self.keys.insert(key.clone()) {
                continue;
            }
            self.other_ids += u64::from(wire::has_other_id(&raw));
            match T::from_raw(raw) {
                Some(item) if key.starts_with(WITH_ID) => self.items.push(item),
                _ => self.unidentified += 1,
            }
        }
        self.keys.len() - before
    }

    /// Different items so far, those without an id included.
    pub(super) fn count(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Different items whose id stands in `_id`.
    pub(super) fn other_ids(&self) -> u64 {
        self.other_ids
    }

    /// Different items without an id.
    pub(super) fn unidentified(&self) -> u64 {
        self.unidentified
    }
}
