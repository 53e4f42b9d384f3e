//! The whole program against the simulator: the lake after a run.

mod asked;
mod bad;
mod days;
mod engines;
mod faults;
mod flow;
mod gone;
mod hostile;
mod large;
mod lateness;
pub(crate) mod lessons;
mod lists;
mod mapping;
mod moved;
mod night;
mod pressure;
mod printed;
mod readings;
mod recordings;
mod resumed;
mod secrets;
mod states;
mod versions;
mod xlsx;

use telelake::simulator::{Options, Simulator};

use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

/// The dates of the simulator's school, as the command line takes them.
pub(crate) fn range(sim: &Simulator) -> [String; 4] {
    let dates = &sim.options().dates;
    [
        "--from".into(),
        dates[0].to_string(),
        "--to".into(),
        dates[dates.len() - 1].to_string(),
    ]
}

/// `backfill` over all dates of the school, with `more` arguments.
pub(crate) fn backfill<'a>(range: &'a [String; 4], more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["--log-format", "json", "backfill"];
    args.extend(range.iter().map(String::as_str));
    args.extend(more);
    args
}

/// A small school.
pub(crate) fn small() -> Options {
    Options {
        spaces: 1,
        rooms: 6,
        recording_size: 20_000,
        ..Options::default()
    }
}

/// A small school and a lake without anything.
pub(crate) async fn small_school() -> (Simulator, Lake) {
    (Simulator::start(small()).await.unwrap(), Lake::folder())
}

/// Runs `backfill` over all dates of the school; it must end with this exit status.
pub(crate) async fn exported(sim: &Simulator, lake: &Lake, more: &[&str], status: i32) -> Finished {
    let range = range(sim);
    let run = Telelake::against(sim, lake, &backfill(&range, more)).run().await;
    run.expect(status)
}

/// Asserts that the lake holds no trace of an unfinished upload.
pub(crate) async fn assert_no_upload_is_left(lake: &Lake) {
    let keys = lake.keys().await;
    let left = |key: &&String| key.contains("/tmp/") || key.starts_with("_telelake/uploads/");
    assert_eq!(keys.keys().find(left), None);
    assert_eq!(uploads(lake).await, 0, "multipart uploads were left behind");
}

/// The multipart uploads that the server has; none in a folder.
pub(crate) async fn uploads(lake: &Lake) -> usize {
    let Lake::S3 { bucket, .. } = lake else { return 0 };
    let client = crate::support::weed::started().client();
    let listed = client.list_multipart_uploads().bucket(bucket).send();
    listed.await.unwrap().uploads().len()
}
