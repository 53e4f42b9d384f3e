//! The memory that reports may take while they are read: a budget for all runs of the process together, `export.memory`.
//!
//! Whoever reads a report reserves what that takes, by an estimate, and waits while others hold too much. A large report
//! waits for every other large one besides. One that takes more than the whole budget is read alone: the budget is then
//! as good as empty. What is reserved is never held while more is waited for, so nobody waits for itself.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ReportFormat;
use crate::tables;

/// The budget is counted in pieces of so many bytes.
const UNIT: u64 = 64 << 10;
/// A report that takes more than this part of the budget is large: one of them at a time.
const LARGE: u32 = 4;
/// A process may die of a report that takes more than this part of the budget: see `attempts`.
const RISKY: u32 = 16;
/// This part of the budget keeps landed reports until the day's build, so that the build need not read them again.
const KEPT: u32 = 16;

/// Bytes in memory for a byte of JSON: itself, its mended form, its text in rows.
const PER_BYTE: u64 = 3;
/// Bytes for a value of JSON, in the tree.
const PER_VALUE: u64 = 96;
/// Bytes for an object of JSON: most are a row of a table, and a row has a cell for each column.
const PER_OBJECT: u64 = 1800;
/// Bytes for a byte that a workbook unpacks to.
const PER_UNPACKED: u64 = 3;

/// Bytes that a build takes for a byte of its largest report, and for one of all of them together.
const PER_BYTE_OF_LARGEST: u64 = 16;
const PER_BYTE_OF_ALL: u64 = 2;

/// The budget.
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
    /// True if it is so much that a process may die of it.
    pub is_risky: bool,
}

/// Room for a report that is kept, until it is dropped.
pub(crate) struct KeptRoom {
    _units: OwnedSemaphorePermit,
}

impl MemoryBudget {
    /// The budget of so many bytes: all who ask for the same have the same.
    pub fn shared(bytes: u64) -> Arc<Self> {
        static SHARED: Mutex<Weak<MemoryBudget>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Reserves what reading a report takes, as soon as it is there.
    pub async fn reserve(&self, need: u64) -> Reserved {
        let wanted = units(need).min(self.total);
        // Before the units: one that waits here holds none.
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

    /// Waits for the turn of a large build, from its reports' sizes; none for another build. What a build holds besides a
    /// report, such as who was in which meeting, is bounded by this alone: one large build is made at a time.
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

    /// Room for a report of so many bytes that is kept, where there is any.
    pub fn keep(&self, bytes: u64) -> Option<KeptRoom> {
        let kept = Arc::clone(&self.kept);
        let units = kept.try_acquire_many_owned(units(bytes)).ok()?;
        Some(KeptRoom { _units: units })
    }
}

/// Bytes in units, rounded up.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// About how many bytes reading a report takes, rather too many than too few.
pub(crate) fn need(format: ReportFormat, report: &[u8]) -> u64 {
    match format {
        ReportFormat::Json => {
            let count = |wanted: &[u8]| report.iter().filter(|byte| wanted.contains(byte)).count() as u64;
            PER_BYTE * report.len() as u64 + PER_VALUE * count(b",[{") + PER_OBJECT * count(b"{")
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

    /// What is given at once; none where it has to wait.
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
    fn what_takes_more_than_all_of_it_is_read_alone() {
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
        assert!(turn(&[MIB]).is_none(), "the other one is at it");
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
        let memory = MemoryBudget::of(64 * MIB);
        let kept = memory.keep(3 * MIB).expect("4 MiB are for them");
        assert!(memory.keep(2 * MIB).is_none());
        assert!(now(&memory, 64 * MIB).is_some(), "they are no part of the rest");
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
        /// Whatever is asked for and given back: no more is given than there is, and all of it comes back.
        #[test]
        fn no_more_is_given_than_there_is(needs in proptest::collection::vec((0..100 * MIB, any::<bool>()), 0..40)) {
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
