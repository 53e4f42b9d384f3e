//! The memory budget (`export.memory`) for reports that are being read. All runs of the process share it.
//!
//! Before a report is read, its estimated need is reserved; the reader waits while others hold too much. Only one large
//! report is read at a time. A report that needs more than the whole budget waits until it is alone. Nobody waits for
//! more while holding a reservation, so there is no deadlock.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ReportFormat;
use crate::{json, tables};

/// The size in bytes of a unit, in which the budget is counted.
const UNIT: u64 = 64 << 10;
/// A report that needs more than this part of the budget is large. Only one large report is read at a time.
const LARGE: u32 = 4;
/// A report that needs more than this part of the budget may kill the process: see `attempts`.
const RISKY: u32 = 16;
/// An extra share, as a part of the budget, for landed reports that stay in memory until the build, which then need not
/// read them again.
const KEPT: u32 = 32;

/// Bytes in memory for a byte of JSON: the byte itself, its repaired form, and its text in rows.
const PER_BYTE: u64 = 3;
/// Bytes in memory for a value of JSON, in the parsed tree.
const PER_VALUE: u64 = 96;
/// Bytes in memory for an object of JSON. Most objects are a row of a table, and a row has a cell for each column.
const PER_OBJECT: u64 = 1800;
/// Bytes in memory for each byte of an unpacked workbook.
const PER_UNPACKED: u64 = 3;

/// Bytes in memory for each byte of a build's largest report.
const PER_BYTE_OF_LARGEST: u64 = 16;
/// Bytes in memory for each byte of all reports of a build.
const PER_BYTE_OF_ALL: u64 = 2;

/// The memory budget.
pub(crate) struct MemoryBudget {
    bytes: u64,
    total: u32,
    units: Arc<Semaphore>,
    large: Arc<Semaphore>,
    builds: Arc<Semaphore>,
    kept: Arc<Semaphore>,
}

/// A part of the budget, until it is dropped.
pub(crate) struct Reserved {
    _units: Option<OwnedSemaphorePermit>,
    _large: Option<OwnedSemaphorePermit>,
    /// True if it is so much that the process may die of it.
    pub is_risky: bool,
}

/// Room for a report that is kept, until it is dropped.
pub(crate) struct ReservedMemory {
    _units: OwnedSemaphorePermit,
}

impl MemoryBudget {
    /// The budget of this size. All runs that ask for the same size share it.
    pub fn shared(bytes: u64) -> Arc<Self> {
        static SHARED: Mutex<Weak<MemoryBudget>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock();
        match shared.upgrade().filter(|memory| memory.bytes == bytes) {
            Some(memory) => memory,
            None => {
                let memory = Arc::new(Self::of(bytes));
                *shared = Arc::downgrade(&memory);
                memory
            }
        }
    }

    fn of(bytes: u64) -> Self {
        let total = units(bytes).max(1);
        let semaphore = |units: u32| Arc::new(Semaphore::new(units as usize));
        Self {
            bytes,
            total,
            units: semaphore(total),
            large: semaphore(1),
            builds: semaphore(1),
            kept: semaphore(total / KEPT),
        }
    }

    /// Reserves the memory for reading a report. It waits until there is enough.
    pub async fn reserve(&self, need: u64) -> Reserved {
        let wanted = units(need).min(self.total);
        // Wait for the turn of large reports before taking units, so that the one who waits holds none.
        let large = match wanted > self.total / LARGE {
            true => Arc::clone(&self.large).acquire_owned().await.ok(),
            false => None,
        };
        Reserved {
            _units: Arc::clone(&self.units).acquire_many_owned(wanted).await.ok(),
            _large: large,
            is_risky: wanted > self.total / RISKY,
        }
    }

    /// Waits for the turn of a large build, judged by the sizes of its reports; a small build needs no turn. Only one large
    /// build runs at a time, which bounds the memory that builds need in addition to the report in hand.
    pub async fn build_turn(&self, sizes: impl Iterator<Item = u64>) -> Option<OwnedSemaphorePermit> {
        let (mut sum, mut largest) = (0_u64, 0_u64);
        for size in sizes {
            sum = sum.saturating_add(size);
            largest = largest.max(size);
        }
        let need = largest
            .saturating_mul(PER_BYTE_OF_LARGEST)
            .saturating_add(sum.saturating_mul(PER_BYTE_OF_ALL));
        match units(need) > self.total / LARGE {
            true => Arc::clone(&self.builds).acquire_owned().await.ok(),
            false => None,
        }
    }

    /// Reserves room for a report that is kept until the build, if there is any room.
    pub fn keep(&self, bytes: u64) -> Option<ReservedMemory> {
        let kept = Arc::clone(&self.kept);
        let units = kept.try_acquire_many_owned(units(bytes)).ok()?;
        Some(ReservedMemory { _units: units })
    }
}

/// The number of units for these bytes, rounded up.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Reports that were just landed, by key. They are kept for the build if there is room; else the build reads them back.
pub(crate) type Fresh = HashMap<String, (Bytes, ReservedMemory)>;

/// Estimates the bytes in memory that reading a report needs, rather too many than too few.
pub(crate) fn need(format: ReportFormat, report: &[u8]) -> u64 {
    match format {
        ReportFormat::Json => {
            let values = json::most_values(report) as u64;
            let objects = json::count(report, |byte| byte == b'{') as u64;
            PER_BYTE * report.len() as u64 + PER_VALUE * values + PER_OBJECT * objects
        }
        ReportFormat::Xlsx => report.len() as u64 + PER_UNPACKED * tables::unpacked_bytes(report),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// The reservation, if it needs no waiting.
    fn now(memory: &MemoryBudget, need: u64) -> Option<Reserved> {
        memory.reserve(need).now_or_never()
    }

    #[test]
    fn reports_wait_while_the_budget_is_spent_and_large_ones_for_one_another() {
        let memory = MemoryBudget::of(64 * MIB);
        let large = now(&memory, 17 * MIB).expect("there is room");
        assert!(large.is_risky);
        assert!(now(&memory, 17 * MIB).is_none(), "one large report at a time");
        let small: Vec<_> = (0..11).map(|_| now(&memory, 4 * MIB).expect("room")).collect();
        assert!(!small[0].is_risky);
        assert!(now(&memory, 4 * MIB).is_none(), "3 MiB are left");
        drop(large);
        assert!(now(&memory, 17 * MIB).is_some());
    }

    #[test]
    fn a_report_larger_than_the_budget_is_read_alone() {
        let memory = MemoryBudget::of(64 * MIB);
        let other = now(&memory, MIB).expect("room");
        assert!(now(&memory, 1000 * MIB).is_none());
        drop(other);
        let alone = now(&memory, u64::MAX).expect("nobody else is there");
        assert!(now(&memory, 1).is_none());
        drop(alone);
        assert!(now(&memory, 1).is_some());
    }

    #[test]
    fn one_large_build_is_made_at_a_time_and_small_ones_do_not_wait() {
        let memory = MemoryBudget::of(64 * MIB);
        let turn = |sizes: &[u64]| {
            let sizes: Vec<_> = sizes.to_vec();
            memory.build_turn(sizes.into_iter()).now_or_never()
        };
        let first = turn(&[MIB]).expect("free").expect("a turn");
        assert!(turn(&[MIB]).is_none(), "the other build holds the turn");
        assert!(
            matches!(turn(&[MIB / 8; 8]), Some(None)),
            "many small reports are no large build"
        );
        assert!(now(&memory, 64 * MIB).is_some(), "reports are read meanwhile");
        drop(first);
        assert!(matches!(turn(&[MIB / 8; 64]), Some(Some(_))), "but very many are");
    }

    #[test]
    fn kept_reports_have_a_room_of_their_own_and_are_never_waited_for() {
        let memory = MemoryBudget::of(128 * MIB);
        let kept = memory.keep(3 * MIB).expect("4 MiB are for them");
        assert!(memory.keep(2 * MIB).is_none());
        assert!(
            now(&memory, 128 * MIB).is_some(),
            "kept reports are not part of the budget"
        );
        drop(kept);
        assert!(memory.keep(4 * MIB).is_some());
    }

    #[test]
    fn all_who_ask_for_the_same_budget_share_it() {
        let (a, b) = (MemoryBudget::shared(77 * MIB), MemoryBudget::shared(77 * MIB));
        assert!(Arc::ptr_eq(&a, &b));
        let _all = now(&a, 77 * MIB).expect("room");
        assert!(now(&b, 1).is_none());
    }

    #[test]
    fn the_need_follows_what_a_report_holds() {
        let of = |text: &str| need(ReportFormat::Json, text.as_bytes());
        let text = format!(r#"{{"a": "{}"}}"#, "x".repeat(1000));
        let rows = format!("[{}]", vec![r#"{"i":1}"#; 125].join(","));
        assert!(of(&rows) > 50 * of(&text), "{} {}", of(&rows), of(&text));
        assert_eq!(need(ReportFormat::Xlsx, b"none"), 4);
    }

    proptest! {
        /// Whatever is reserved and dropped, the sum never exceeds the budget, and all of it comes back.
        #[test]
        fn reservations_never_exceed_the_budget(needs in proptest::collection::vec((0..100 * MIB, any::<bool>()), 0..40)) {
            let memory = MemoryBudget::of(64 * MIB);
            let mut held: Vec<(u64, Reserved)> = Vec::new();
            for (need, gives_back) in needs {
                if gives_back {
                    held.pop();
                }
                if let Some(reserved) = now(&memory, need) {
                    held.push((need.min(64 * MIB), reserved));
                }
                prop_assert!(held.iter().map(|(need, _)| need).sum::<u64>() <= 64 * MIB);
                prop_assert!(held.iter().filter(|(need, _)| *need > 16 * MIB).count() <= 1);
            }
            drop(held);
            prop_assert!(now(&memory, 64 * MIB).is_some());
        }
    }
}
