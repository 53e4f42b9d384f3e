//! The real program is killed with `SIGKILL` at seeded moments and started again until it completes: the lake
//! equals that of a night without kills.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use telelake::simulator::{Options, Simulator};

use super::compared::{Tally, gist, tally};
use super::{soak, tiny};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

fn school() -> Options {
    Options {
        recording_size: 300_000,
        ..tiny()
    }
}

/// The commands of a history, in order.
struct Commands<'a> {
    sim: &'a Simulator,
    lake: &'a Lake,
    meta: &'a Path,
}

impl Commands<'_> {
    fn command(&self, name: &str) -> Telelake {
        let dates = &self.sim.options().dates;
        let (first, last) = (dates[0].to_string(), dates[dates.len() - 1].to_string());
        let args = match name {
            "run" => vec!["-q", "run", "--date", &last],
            "rebuild" => vec!["-q", "rebuild", "--from", &first, "--to", &last],
            _ => vec!["-q", "meta", "import", self.meta.to_str().unwrap()],
        };
        Telelake::against(self.sim, self.lake, &args)
    }

    /// Starts a command and kills it after a while, unless it ends before. Returns true if it was killed.
    async fn kill(&self, name: &str, after: Duration) -> bool {
        let mut child = self.command(name).start();
        let died = tokio::time::timeout(after, child.wait()).await;
        if died.is_ok() {
            return false;
        }
        child.kill().await.unwrap();
        true
    }

    async fn finish(&self, name: &str) {
        self.command(name).run().await.expect(0);
    }
}

/// The durations of the undisturbed commands, and their lake.
struct Night {
    run: Duration,
    rebuild: Duration,
    import: Duration,
    gist: BTreeMap<String, String>,
}

async fn undisturbed(commands: &Commands<'_>) -> Night {
    let timed = async |name: &'static str| {
        let started = Instant::now();
        commands.finish(name).await;
        started.elapsed()
    };
    let import = timed("import").await;
    let run = timed("run").await;
    let rebuild = timed("rebuild").await;
    commands.finish("run").await;
    Night {
        run,
        rebuild,
        import,
        gist: gist(commands.lake).await,
    }
}

/// Runs a history with kills in every command, then all commands to their end. Returns the number of kills.
async fn history(commands: &Commands<'_>, night: &Night, seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    let mut moment = |whole: Duration| whole.mul_f64(random.f64());
    let mut kills = 0;
    kills += usize::from(commands.kill("import", moment(night.import)).await);
    if seed.is_multiple_of(2) {
        commands.finish("import").await;
    }
    for _ in 0..=seed % 3 {
        kills += usize::from(commands.kill("run", moment(night.run)).await);
    }
    commands.finish("import").await;
    commands.finish("run").await;
    if seed.is_multiple_of(3) {
        kills += usize::from(commands.kill("rebuild", moment(night.rebuild)).await);
        commands.finish("rebuild").await;
    }
    // Days that were taken over from dead processes are checked once more.
    commands.finish("run").await;
    kills
}

async fn histories(new: impl AsyncFn() -> Lake, count: u64, place: &str) {
    let sim = Simulator::start(school()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let meta = folder.path().join("metas.jsonl");
    let lines: String = sim
        .school()
        .metas()
        .iter()
        .map(|meta| format!("{meta}\n"))
        .collect();
    std::fs::write(&meta, lines).unwrap();
    let first = new().await;
    let night = undisturbed(&Commands {
        sim: &sim,
        lake: &first,
        meta: &meta,
    })
    .await;
    let (mut kills, mut sum) = (0, Tally::default());
    for seed in 0..soak().unwrap_or(count) {
        let lake = new().await;
        let commands = Commands {
            sim: &sim,
            lake: &lake,
            meta: &meta,
        };
        kills += history(&commands, &night, seed).await;
        sum += tally(&lake, &sim, Some(&night.gist), &format!("{place}, seed {seed}")).await;
        lake.drop_whole().await;
        if seed % 20 == 19 {
            println!("{place}: {} histories, {kills} kills: {sum:?}", seed + 1);
        }
    }
    println!(
        "SOAK {place}: {} histories, {kills} kills: {} differences, {} lost, {} doubled, {} damaged",
        soak().unwrap_or(count),
        sum.differences,
        sum.lost,
        sum.doubled,
        sum.damaged
    );
    assert_eq!(sum, Tally::default());
    assert!(kills > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder() {
    histories(async || Lake::folder(), 12, "folder").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_s3() {
    histories(async || Lake::s3().await, 6, "S3").await;
}
