//! Deduplicates the items of a list by id. Pure; used by `paging`.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;

use super::wire::{self, Item};

/// The key by which an item is deduplicated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ItemKey {
    Id(Arc<str>),
    /// The hash of an item without an id, so that a repeated page does not count it again.
    Content(u64),
}

impl ItemKey {
    /// The key of an item.
    pub(super) fn of(raw: &Value) -> Self {
        match wire::id(raw) {
            Some(id) => Self::Id(id.into()),
            None => {
                let mut content = DefaultHasher::new();
                raw.to_string().hash(&mut content);
                Self::Content(content.finish())
            }
        }
    }
}

/// The distinct items that were read so far.
#[derive(Debug)]
pub(super) struct SeenItems<T> {
    /// The items that nobody has taken out yet.
    pub(super) items: Vec<T>,
    keys: HashSet<ItemKey>,
    unidentified: u64,
    other_ids: u64,
}

impl<T> Default for SeenItems<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            keys: HashSet::new(),
            unidentified: 0,
            other_ids: 0,
        }
    }
}

impl<T: Item> SeenItems<T> {
    /// True if an item with this key was seen.
    pub(super) fn has(&self, key: &ItemKey) -> bool {
        self.keys.contains(key)
    }

    /// Takes a page's items with their `keys`. Returns the number of new ones.
    pub(super) fn take(&mut self, items: Vec<Value>, keys: &[ItemKey]) -> usize {
        let before = self.keys.len();
        for (raw, key) in items.into_iter().zip(keys) {
            if !self.keys.insert(key.clone()) {
                continue;
            }
            self.other_ids += u64::from(wire::has_other_id(&raw));
            match T::from_raw(raw) {
                Some(item) if matches!(key, ItemKey::Id(_)) => self.items.push(item),
                _ => self.unidentified += 1,
            }
        }
        self.keys.len() - before
    }

    /// The number of distinct items, including those without an id.
    pub(super) fn count(&self) -> u64 {
        self.keys.len() as u64
    }

    /// The number of distinct items that have their id in `_id`.
    pub(super) fn other_ids(&self) -> u64 {
        self.other_ids
    }

    /// The number of distinct items without an id.
    pub(super) fn unidentified(&self) -> u64 {
        self.unidentified
    }
}
