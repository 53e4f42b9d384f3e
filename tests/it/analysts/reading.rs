//! `telelake report` reads several files at once, a bounded number, and counts them in the order of the dates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chrono::{NaiveDate, TimeDelta};
use chrono_tz::Tz;
use telelake::attendance::{AttendanceSummary, summarize};
use telelake::lake::table::builtin::{hierarchy, lesson_attendance};
use telelake::simulator::{Options, Simulator, days};
use telelake::store::Store;

use crate::reliability::{config, file_of, import, now, run_at, tiny};
use crate::support::eventually::eventually;
use crate::support::faulty::{Call, Fault, Faulty, Gate, Op};
use crate::support::memory::Memory;

/// The number of files that may be read at once.
const AT_ONCE: usize = 8;
/// The dates of the school, each of which has a file of each table.
const DATES: u32 = 20;

/// A lake with lesson data, and its first and last date.
async fn lake() -> (Memory, [NaiveDate; 2]) {
    let options = Options {
        dates: days("2025-03-03".parse().unwrap(), DATES),
        ..tiny()
    };
    let sim = Simulator::start(options).await.unwrap();
    let store = Memory::listing_etags();
    import(&store, file_of("lessons", &sim.school().lesson_data()))
        .await
        .unwrap();
    let later = now() + TimeDelta::days(30);
    let summary = run_at(&sim, config(&sim), store.clone(), later).await.unwrap();
    assert_eq!(summary.exit_status, 0, "{:?}", summary.failed);
    let dates = &sim.options().dates;
    (store, [dates[0], dates[dates.len() - 1]])
}

/// The summary, and the numbers of files that were read and that were announced.
async fn read(store: &dyn Store, [from, to]: [NaiveDate; 2]) -> (AttendanceSummary, [u64; 2]) {
    let counts = [AtomicU64::new(0), AtomicU64::new(0)];
    let progress = |done, more| {
        counts[0].fetch_add(done, Ordering::Relaxed);
        counts[1].fetch_add(more, Ordering::Relaxed);
    };
    let summary = summarize(store, Tz::UTC, from, to, progress).await.unwrap();
    (summary, counts.map(AtomicU64::into_inner))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_reads_eight_files_at_once_and_counts_them_in_order() {
    let (store, dates) = lake().await;
    let expected = read(&store, dates).await;
    assert_eq!(expected.1, [u64::from(DATES); 2]);
    assert!(expected.0.total.attended > 0 && !expected.0.levels.is_empty());
    for table in [lesson_attendance::NAME, hierarchy::NAME] {
        let is_of_table = move |call: &Call| call.op == Op::Get && call.key.starts_with(table);
        let (gate, is_first) = (Gate::new(), AtomicBool::new(true));
        let pause = Fault::Pause {
            gate: Arc::clone(&gate),
            dies: false,
        };
        let slow = Faulty::new(store.clone(), move |call, _| {
            let waits = is_of_table(call) && is_first.swap(false, Ordering::Relaxed);
            waits.then(|| pause.clone())
        });
        let reading = tokio::spawn({
            let slow = slow.clone();
            async move { read(&slow, dates).await }
        });
        let begun = || slow.calls().iter().filter(|call| is_of_table(call)).count();
        eventually("eight files are being read", async || begun() == AT_ONCE).await;
        // A reader without a bound would take the next file at once.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(begun(), AT_ONCE, "{table}");
        gate.open();
        assert_eq!(reading.await.unwrap(), expected, "{table}");
        assert!(begun() > AT_ONCE, "{table}");
    }
}
