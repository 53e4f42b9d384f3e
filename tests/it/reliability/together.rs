//! Real programs over the same days at once: three nightly runs, then a nightly run, a backfill, a rebuild and an import.

use telelake::simulator::{Options, Simulator};

use super::compared::{Tally, tally};
use super::{soak, tiny};
use crate::pipeline::{backfill, range};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

fn school() -> Options {
    Options {
        rooms: 4,
        recording_size: 100_000,
        ..tiny()
    }
}

/// A run beside others may leave a day to the next run, but never more.
#[track_caller]
fn assert_done(finished: &Finished, history: &str) {
    assert!([0, 3].contains(&finished.status), "{history}: {finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{history}: {finished:?}");
}

async fn once(lake: &Lake, history: &str) -> (Tally, usize) {
    let sim = Simulator::start(school()).await.unwrap();
    let range = range(&sim);
    let (from, to) = (range[1].as_str(), range[3].as_str());
    let folder = tempfile::tempdir().unwrap();
    let files = [0, 1].map(|half| {
        let path = folder.path().join(format!("{half}.jsonl"));
        let metas = sim.school().metas();
        let lines = metas.iter().skip(half).step_by(2).map(|meta| format!("{meta}\n"));
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        path.display().to_string()
    });
    let telelake = |args: &[&str]| Telelake::against(&sim, lake, args).run();
    let mut left = 0;

    let night = ["-q", "run", "--date", to];
    let three = tokio::join!(telelake(&night), telelake(&night), telelake(&night));
    for finished in [three.0, three.1, three.2] {
        assert_done(&finished, history);
        left += usize::from(finished.status == 3);
    }
    let all = backfill(&range, &[]);
    telelake(&all).await.expect(0);
    let after_first = tally(lake, &sim, None, history).await;

    let calls: Vec<_> = sim.school().calls.iter().map(|call| call.id.clone()).collect();
    for call in calls {
        sim.edit(|school| school.add_call_like(&call, chrono::TimeDelta::minutes(1)))
            .unwrap();
    }
    let rebuild = ["-q", "rebuild", "--from", from, "--to", to];
    let imports = files
        .each_ref()
        .map(|file| ["-q", "meta", "import", file.as_str()]);
    let five = tokio::join!(
        telelake(&night),
        telelake(&all),
        telelake(&rebuild),
        telelake(&imports[0]),
        telelake(&imports[1])
    );
    for finished in [five.0, five.1, five.2] {
        assert_done(&finished, history);
        left += usize::from(finished.status == 3);
    }
    five.3.expect(0);
    five.4.expect(0);
    telelake(&night).await.expect(0);
    telelake(&night).await.expect(0);
    let mut sum = tally(lake, &sim, None, history).await;
    sum += after_first;
    let metas = lake
        .rows("user_meta", &["external_user_id", "external_meeting_id"])
        .await;
    let known = sim.school().metas().len();
    sum.lost += known.saturating_sub(metas.len());
    sum.doubled += metas.len().saturating_sub(known);
    (sum, left)
}

async fn repeatedly(new: impl AsyncFn() -> Lake, place: &str) {
    let times = soak().map_or(1, |histories| (histories / 4).max(1));
    let (mut sum, mut left) = (Tally::default(), 0);
    for time in 0..times {
        let lake = new().await;
        let (tally, unfinished) = Box::pin(once(&lake, &format!("{place}, time {time}"))).await;
        sum += tally;
        left += unfinished;
        lake.drop_whole().await;
    }
    println!(
        "SOAK {place}: {times} times several at once: {} lost, {} doubled, {} damaged; {left} left a day to the next run",
        sum.lost, sum.doubled, sum.damaged
    );
    assert_eq!(sum, Tally::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder() {
    repeatedly(async || Lake::folder(), "folder").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_s3() {
    repeatedly(async || Lake::s3().await, "S3").await;
}
