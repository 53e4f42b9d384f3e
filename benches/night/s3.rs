//! The night into a bucket of SeaweedFS, against the script, and the requests to the store.

use std::collections::BTreeMap;
use std::time::Duration;

use telelake::simulator::Simulator;

use crate::child::Program;
use crate::lessons::feed;
use crate::night::{Side, compare, rounds, script, telelake, telelake_over};
use crate::proxy::Proxy;
use crate::report::title;
use crate::school::large;
use crate::support::lake::Lake;
use crate::support::weed::{started, weed};

const LATENCY: Duration = Duration::from_millis(20);
const USERS: usize = 20;
const MOST_WALL: f64 = 0.5;

pub async fn measure() {
    let sim = Simulator::start(large(LATENCY)).await.unwrap();
    let (feed, _) = feed(&sim, USERS);
    let feed = feed.path().to_str().unwrap();
    weed().await;
    title("s3", "the night of 2 spaces × 200 rooms × 3 days into SeaweedFS");
    let [ours, theirs]: [Side; 2] = rounds(&sim, Lake::s3, async |which, lake| match which {
        0 => telelake(&sim, lake, feed).run().await,
        _ => script(&sim, lake, feed, &["--margin"]).run().await,
    })
    .await;
    compare(&ours, &theirs).goals(MOST_WALL, 0.5).print();
    count(&sim, feed).await;
}

/// Prints the requests to the store of a first night, of a night without changes, and of one with a new day.
async fn count(sim: &Simulator, feed: &str) {
    title("requests to the store", "by kind; 2 spaces × 200 rooms");
    let proxy = Proxy::start(&started().http).await;
    let lake = Lake::s3().await;
    let dates: Vec<_> = sim.options().dates.iter().map(ToString::to_string).collect();
    let night = async |from: &str, to: &str| {
        proxy.clear();
        of_range(sim, &lake, feed, (from, to), &proxy.url()).run().await;
        proxy.counts()
    };
    let columns = [
        ("2 days, first", night(&dates[0], &dates[1]).await),
        ("a new day", night(&dates[2], &dates[2]).await),
        ("that day again", night(&dates[2], &dates[2]).await),
        ("3 days again", night(&dates[0], &dates[2]).await),
    ];
    lake.drop_whole().await;
    let mut kinds: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
    for (column, (_, counts)) in columns.iter().enumerate() {
        for (kind, count) in counts {
            kinds.entry(kind).or_default()[column] = *count;
        }
    }
    println!(
        "  {:<26}{}",
        "",
        columns.each_ref().map(|(name, _)| format!("{name:>16}")).concat()
    );
    for (kind, counts) in kinds {
        println!(
            "  {kind:<26}{}",
            counts.map(|count| format!("{count:>16}")).concat()
        );
    }
}

fn of_range(sim: &Simulator, lake: &Lake, feed: &str, dates: (&str, &str), store: &str) -> Program {
    telelake_over(sim, lake, feed, dates).env("TELELAKE_STORE__S3__ENDPOINT_URL", store)
}
