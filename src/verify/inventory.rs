//! What lies in the store, by a listing: what is of the lake, and what is not. Each object is struck off when something
//! tells of it; what is left in the end is a stray.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::Result;
use crate::lake::key;
use crate::lake::key_kind::KeyKind;
use crate::lake::table::{Table, builtin};
use crate::store::{Entry, Store};

/// Listings at once.
const LISTINGS_AT_ONCE: usize = 16;

/// The dates that are looked at; an open end goes as far as the lake.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dates {
    pub from: Option<NaiveDate>,
    pub to: Option<NaiveDate>,
}

impl Dates {
    pub fn contain(&self, date: NaiveDate) -> bool {
        self.from.is_none_or(|from| from <= date) && self.to.is_none_or(|to| date <= to)
    }

    fn are_all(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

/// The lake as it is listed.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Keys of all manifests, with their dates; also of dates that are not looked at.
    pub manifests: Vec<(NaiveDate, String)>,
    /// Keys of markers of the dates.
    pub markers: BTreeSet<String>,
    /// Lesson data as it came, with its size.
    pub raw_meta: Vec<(String, u64)>,
    /// Objects that checks left behind.
    pub probes: Vec<Entry>,
    /// The program's other objects.
    pub state: BTreeSet<String>,
    /// Objects of no form that the lake has.
    pub strays: Vec<String>,
    /// Objects that are none of the lake's.
    pub unknown: u64,
    /// Objects that a manifest or a catalogue must tell of, with their size.
    pub objects: BTreeMap<String, u64>,
}

impl Inventory {
    /// Lists the store; of a few dates, only what is theirs.
    pub async fn list(store: &dyn Store, dates: Dates, tables: &BTreeSet<String>) -> Result<Self> {
        let mut inventory = Self::default();
        if dates.are_all() {
            inventory.add(store.list("").await?, dates, tables);
            return Ok(inventory);
        }
        inventory.add(store.list(key::STATE).await?, dates, tables);
        let prefixes = prefixes(&inventory, dates, tables);
        let mut listings = stream::iter(prefixes)
            .map(|prefix| async move { store.list(&prefix).await })
            .buffer_unordered(LISTINGS_AT_ONCE);
        while let Some(entries) = listings.try_next().await? {
            inventory.add(entries, dates, tables);
        }
        Ok(inventory)
    }

    fn add(&mut self, entries: Vec<Entry>, dates: Dates, tables: &BTreeSet<String>) {
        for entry in entries {
            match KeyKind::of(&entry.key, tables) {
                KeyKind::Manifest { date, .. } => self.manifests.push((date, entry.key)),
                KeyKind::Marker { date, .. } if dates.contain(date) => drop(self.markers.insert(entry.key)),
                KeyKind::Marker { .. } => {}
                KeyKind::RawMeta => self.raw_meta.push((entry.key, entry.bytes)),
                KeyKind::Probe => self.probes.push(entry),
                KeyKind::State => drop(self.state.insert(entry.key)),
                KeyKind::Stray => self.strays.push(entry.key),
                KeyKind::Unknown => self.unknown += 1,
                KeyKind::OfDay { .. } | KeyKind::MetaTable(_) | KeyKind::CatalogTable => {
                    self.objects.insert(entry.key, entry.bytes);
                }
            }
        }
    }

    /// Strikes an object off; gives its size.
    pub fn take(&mut self, key: &str) -> Option<u64> {
        self.objects.remove(key)
    }
}

/// What is listed of a few dates. Ends that were left open are those of the lake.
fn prefixes(inventory: &Inventory, dates: Dates, tables: &BTreeSet<String>) -> Vec<String> {
    let known = || inventory.manifests.iter().map(|(date, _)| *date);
    let undated = builtin::all().iter().filter(|table| !table.is_dated());
    let mut prefixes: Vec<_> = undated.map(|table| format!("{}/", table.name)).collect();
    let (Some(first), Some(last)) = (dates.from.or(known().min()), dates.to.or(known().max())) else {
        return prefixes;
    };
    for date in first.iter_days().take_while(|date| *date <= last) {
        let of_date = |place: &str| format!("{place}/date={date}/");
        prefixes.extend(
            tables
                .iter()
                .filter(|table| builtin::get(table).is_none_or(Table::is_dated))
                .map(|table| of_date(table)),
        );
        prefixes.extend(["raw/reports", "raw/meta"].map(of_date));
    }
    prefixes
}
