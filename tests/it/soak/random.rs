//! Runs that are killed again and again at any moment: the lake in the end equals that of an undisturbed run.

use std::time::Duration;

use telelake::simulator::{Oddities, Options, Simulator};

use crate::pipeline::{assert_no_upload_is_left, backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

/// The number of other histories that take as long as one of these in both stores.
const HISTORIES: u64 = 5;
/// The rough duration of an undisturbed run.
const LONGEST: u64 = 1500;

#[tokio::test(flavor = "multi_thread")]
async fn runs_killed_at_any_moment_end_in_the_undisturbed_lake() {
    let Some(histories) = super::asked() else { return };
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..histories.div_ceil(HISTORIES) {
        for lake in [Lake::folder(), Lake::s3().await] {
            let sim = Simulator::start(Options {
                rooms: 3,
                empty_rooms: 0.0,
                calls_per_day: 1..=1,
                recorded: 1.0,
                recording_size: (12 << 20) + 1,
                dates: small().dates[..1].to_vec(),
                odd: Oddities::none(),
                ..small()
            })
            .await
            .unwrap();
            let range = range(&sim);
            let kills = random.u64(1..=3);
            for _ in 0..kills {
                let mut child = Telelake::against(&sim, &lake, &backfill(&range, &[])).start();
                let moment = Duration::from_millis(random.u64(20..LONGEST));
                tokio::select! {
                    done = child.wait() => assert!(done.unwrap().success()),
                    () = tokio::time::sleep(moment) => child.kill().await.unwrap(),
                }
            }
            Telelake::against(&sim, &lake, &backfill(&range, &[]))
                .run()
                .await
                .expect(0);
            let served: u64 = sim
                .school()
                .records
                .iter()
                .map(|record| sim.bytes_served(&record.id))
                .sum();
            println!(
                "SOAK recordings, round {round}, {}: {kills} kills, {} MiB read of 36",
                lake.url(),
                served >> 20
            );
            assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
            assert_no_upload_is_left(&lake).await;
        }
    }
}
