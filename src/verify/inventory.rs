//! The inventory: the listing of the store, by kind of object. An object is struck off once a manifest or a catalogue
//! names it; the rest are strays.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::Result;
use crate::ids::SpaceId;
use crate::lake::key;
use crate::lake::key_kind::KeyKind;
use crate::lake::table::{Table, builtin};
use crate::store::{ListedObject, Store};

/// Listings at once.
const LISTINGS_AT_ONCE: usize = 16;

/// The dates of a verification; an open end goes as far as the lake.
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

/// The objects of the store that are not struck off yet.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// The keys of all manifests, with their dates; also of other dates.
    pub manifests: Vec<(NaiveDate, String)>,
    /// The keys of the markers of the dates.
    pub markers: BTreeSet<String>,
    /// The raw files of lesson data, with their size.
    pub raw_meta: Vec<(String, u64)>,
    /// Objects that checks of the store left behind.
    pub probes: Vec<ListedObject>,
    /// The program's other objects.
    pub state: BTreeSet<String>,
    /// Objects in the lake's folders whose keys have no known form.
    pub strays: Vec<String>,
    /// The number of objects outside of the lake's folders.
    pub unknown: u64,
    /// Objects that a manifest or a catalogue must name, with their size.
    pub objects: BTreeMap<String, u64>,
}

impl Inventory {
    /// Lists the store; for a range of dates, only their objects, unless `all` are wanted.
    pub async fn list(store: &dyn Store, dates: Dates, all: bool, tables: &BTreeSet<String>) -> Result<Self> {
        let mut inventory = Self::default();
        if all || dates.are_all() {
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

    /// Leaves out what another shard reports: objects of no date, unless this shard has them too.
    pub fn keep_own(&mut self, dates: Dates, with_undated: bool) {
        self.strays
            .retain(|key| key::date_in(key).map_or(with_undated, |date| dates.contain(date)));
        if !with_undated {
            self.probes.clear();
            self.unknown = 0;
            let of_lake = [key::spaces(), key::rooms(&SpaceId::default())];
            let folders = of_lake.map(|key| key.split_inclusive('/').next().unwrap_or_default().to_owned());
            self.objects
                .retain(|key, _| !folders.iter().any(|folder| key.starts_with(folder)));
        }
    }

    fn add(&mut self, entries: Vec<ListedObject>, dates: Dates, tables: &BTreeSet<String>) {
        for entry in entries {
            match KeyKind::of(&entry.key, tables) {
                KeyKind::Manifest { date, .. } => self.manifests.push((date, entry.key)),
                KeyKind::Marker { date, .. } if dates.contain(date) => drop(self.markers.insert(entry.key)),
                KeyKind::Marker { .. } => {}
                KeyKind::RawMeta => self.raw_meta.push((entry.key, entry.bytes)),
                // Delta tables are copies, which `telelake delta` brings up to date.
                KeyKind::Delta => {}
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

    /// Strikes an object off and gives its size.
    pub fn take(&mut self, key: &str) -> Option<u64> {
        self.objects.remove(key)
    }
}

/// The prefixes to list for a range of dates. An open end is the lake's own.
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
        prefixes.extend(["raw/reports", "raw/meta", "media"].map(of_date));
    }
    prefixes
}
