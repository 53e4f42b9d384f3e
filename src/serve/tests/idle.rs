//! An idle daemon does next to nothing: the test counts the turns of its loops over an hour of a paused clock.

use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Secret, Source};
use crate::metrics::{LoopLabels, METRICS};
use crate::serve::daemon::Daemon;
use crate::serve::{clock, look_around, workers};

/// The loops, and the most turns that each may make in an idle hour.
const LOOPS: [(&str, u64); 7] = [
    ("runs", 2),
    ("events", 2),
    ("imports", 2),
    ("passing", 2),
    ("look_around", 7),
    ("health", 121),
    ("clock", 181),
];

#[tokio::test(start_paused = true)]
async fn an_idle_daemon_makes_next_to_no_turns_in_an_hour() {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = Config::default();
    config.store.url = format!("file://{}", folder.path().display());
    config.api.base_url = "http://127.0.0.1:1/v1".into();
    config.api.token = Secret::new("a-token");
    config.schedule.cron = vec!["0 0 29 2 *".into()];
    let (daemon, _writers) = Daemon::open(config, Source::default(), &CancellationToken::new())
        .await
        .expect("daemon");
    let loops = async {
        tokio::join!(
            workers::run_main(&daemon.workers),
            workers::run_events(&daemon.workers),
            clock::run(&daemon.clock),
            daemon.relay.run_imports(),
            daemon.relay.run_passing(),
            daemon.health.watch(&daemon.live, &daemon.cancel),
            look_around(&daemon),
        )
    };
    tokio::select! {
        _ = loops => panic!("the loops ended"),
        () = tokio::time::sleep(Duration::from_secs(3600)) => {}
    }
    for (name, most) in LOOPS {
        let turns = METRICS.loop_turns.get_or_create(&LoopLabels { name }).get();
        assert!(
            (1..=most).contains(&turns),
            "{name} made {turns} turns, {most} at most"
        );
    }
}
