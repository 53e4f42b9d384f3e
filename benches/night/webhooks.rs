//! Webhooks: the time to an answer during a backfill, and the time from the end of a lesson to its rows, as
//! DuckDB reads them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use telelake::simulator::{Event, Options, Simulator};

use crate::report::{against_goal, figure, seconds, title};
use crate::support::daemon::{Daemon, Plan};
use crate::support::lake::Lake;

const SECRET: &str = "s3cr3t-of-all";
const WEBHOOKS: u32 = 1000;
/// The interval between webhooks, so that all are sent within ten seconds.
const SPACED: Duration = Duration::from_millis(10);
const LESSONS: usize = 10;

pub async fn measure() {
    title(
        "webhooks into S3",
        "1,000 in 10 s while a backfill runs, settle = 0s, SeaweedFS",
    );
    let sim = Simulator::start(Options {
        spaces: 1,
        rooms: 150,
        recording_size: 1 << 20,
        ..Options::default()
    })
    .await
    .unwrap();
    let lake = Lake::s3().await;
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SCOPE__SETTLE", "1h")
        .start()
        .await;
    let dates = &sim.options().dates;
    let job = format!(r#"{{"from":"{}","to":"{}"}}"#, dates[0], dates[dates.len() - 1]);
    assert_eq!(daemon.post("/api/backfill", &job).await.0, 202);
    let mut times = flood(&daemon, &sim.school().spaces[0].id).await;
    let busy = !daemon.json("/api/progress").await["running"]
        .as_array()
        .unwrap()
        .is_empty();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    figure("backfill still running at the end", busy.to_string());
    figure("answered", times.len().to_string());
    figure("median", seconds(at(0.5)));
    figure("p99", seconds(at(0.99)));
    figure("longest", seconds(at(1.0)));
    daemon.ended("backfill", 0).await;
    daemon.kill().await;

    title(
        "from call_finished to rows",
        "one lesson at a time into a folder, settle = 0s, read by DuckDB",
    );
    let Lake::Folder(folder) = Lake::folder() else {
        unreachable!("a folder is one")
    };
    let path = folder.path().to_owned();
    let lake = Lake::Folder(folder);
    let daemon = Plan::new(&sim, &lake).start().await;
    let mut reader = Reader::start(&path);
    let mut waits = Vec::new();
    for _ in 0..LESSONS {
        let (call, event) = hold_lesson(&sim);
        let started = Instant::now();
        assert_eq!(
            daemon.post("/webhooks/teleboss", &event.signed(SECRET)).await.0,
            200
        );
        reader.wait_for(&call);
        waits.push(started.elapsed());
    }
    waits.sort();
    let goal = Duration::from_secs(2);
    figure("median", seconds(waits[LESSONS / 2]));
    against_goal(
        "longest of 10",
        seconds(waits[LESSONS - 1]),
        "< 2 s",
        waits[LESSONS - 1] < goal,
    );
    daemon.kill().await;
}

/// Sends a webhook every [`SPACED`], without waiting for answers, and returns the time of each.
async fn flood(daemon: &Daemon, space: &str) -> Vec<Duration> {
    let start = tokio::time::Instant::now();
    stream::iter(0..WEBHOOKS)
        .map(|n| {
            let event = Event::of_room("call_finished", space, &format!("{n:024x}"));
            async move {
                tokio::time::sleep_until(start + SPACED * n).await;
                let sent = Instant::now();
                let (status, _) = daemon.post("/webhooks/teleboss", &event.signed(SECRET)).await;
                assert_eq!(status, 200);
                sent.elapsed()
            }
        })
        .buffer_unordered(WEBHOOKS as usize)
        .collect()
        .await
}

/// A lesson that ended a minute ago: the id of its call, and the event.
fn hold_lesson(sim: &Simulator) -> (String, Event) {
    sim.edit(|school| {
        let model = school.calls[0].clone();
        let again = TimeDelta::seconds(i64::try_from(school.calls.len()).unwrap());
        let later = Utc::now() - TimeDelta::minutes(10) - model.finished_at.unwrap() + again;
        let call = school.add_call_like(&model.id, later).unwrap();
        (
            call,
            Event::of_room("call_finished", &model.space_id, &model.room_id),
        )
    })
}

/// Polls DuckDB in a process of its own until a call has rows.
struct Reader {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

const SCRIPT: &str = r"
import sys, time, duckdb
db = duckdb.connect()
sql = f'''SELECT count(*) FROM read_parquet('{sys.argv[1]}/participants/date=*/*.parquet', hive_partitioning = true)
          WHERE call_id = ?'''
print('ready', flush=True)
for call in sys.stdin:
    while True:
        try:
            if db.execute(sql, [call.strip()]).fetchone()[0]:
                break
        except duckdb.Error:
            pass  # no file yet
        time.sleep(0.005)
    print('there', flush=True)
";

impl Reader {
    fn start(lake: &Path) -> Self {
        use std::io::BufRead;
        let python: PathBuf = [env!("CARGO_MANIFEST_DIR"), ".tools/venv/bin/python"]
            .iter()
            .collect();
        let mut child = Command::new(python)
            .args(["-c", SCRIPT])
            .arg(lake)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Self { child, lines }
    }

    fn wait_for(&mut self, call: &str) {
        use std::io::Write;
        writeln!(self.child.stdin.as_mut().unwrap(), "{call}").unwrap();
        assert_eq!(self.lines.next().unwrap().unwrap(), "there");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
