//! Reports that kill the process: after two deaths a report is put aside, and a person can request it again.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use telelake::simulator::Simulator;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

/// A report of so many people that reading it takes seconds.
fn crowd(call: &str) -> String {
    let people: Vec<_> = (0..12_000)
        .map(|n| {
            json!({"id": format!("p{n}"), "name": format!("n{n}"), "externalUserId": format!("u{n}"),
                "externalMeetingId": "m",
                "sessions": [{"joinedAt": "2025-03-10T10:00:00Z", "leftAt": "2025-03-10T10:30:00Z"}]})
        })
        .collect();
    json!({"callId": call, "participants": people}).to_string()
}

/// `rebuild` with a memory budget of which the large report needs more than a sixteenth.
fn rebuild(sim: &Simulator, lake: &Lake) -> Telelake {
    let dates = range(sim);
    let args = [
        "--log-format",
        "json",
        "rebuild",
        &dates[0],
        &dates[1],
        &dates[2],
        &dates[3],
    ];
    Telelake::new(&args)
        .env("TELELAKE_EXPORT__MEMORY", "64MiB")
        .lake(lake)
}

/// Kills a command as soon as it logs that it reads a large report.
async fn killed_while_reading(command: Telelake) {
    let mut child = command.start();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("a large report is read") {
                return;
            }
        }
        panic!("the report was not told");
    };
    tokio::time::timeout(Duration::from_secs(120), told)
        .await
        .unwrap();
    child.kill().await.unwrap();
}

fn failed(done: &Finished) -> Vec<Value> {
    done.summary()["failed"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_killed_the_program_twice_is_put_aside_until_a_person_rebuilds() {
    let lake = Lake::folder();
    let sim = Simulator::start(small()).await.unwrap();
    Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(0);
    let mut day = lake.manifests().await.remove(0);
    let date = day["date"].as_str().unwrap().to_owned();
    let manifest = format!(
        "_telelake/days/date={date}/{}.json",
        day["space_id"].as_str().unwrap()
    );
    let call = day["calls"].as_object().unwrap().keys().next().unwrap().clone();
    let crowd = crowd(&call);
    let landed = &mut day["calls"][&call]["reports"]["json"]["landed"];
    let report = landed["key"].as_str().unwrap().to_owned();
    landed["bytes"] = crowd.len().into();
    landed["sha256"] = hex::encode(Sha256::digest(&crowd)).into();
    lake.put(&report, crowd.clone()).await;
    lake.put(&manifest, day.to_string()).await;

    for _ in 0..2 {
        killed_while_reading(rebuild(&sim, &lake)).await;
        let notes = lake
            .keys()
            .await
            .into_keys()
            .filter(|key| key.contains("/attempts/"))
            .count();
        assert_eq!(notes, 1, "the note of the dead process");
    }
    let third = rebuild(&sim, &lake).run().await.expect(3);
    let named = failed(&third);
    assert_eq!(named.len(), 1, "{named:#?}");
    assert_eq!(named[0]["call_id"], call.as_str());
    assert!(
        named[0]["message"].as_str().unwrap().contains("died twice"),
        "{named:?}"
    );
    let landing = lake.json(&manifest).await["calls"][&call]["reports"]["json"].clone();
    assert_eq!(
        (&landing["status"], &landing["landed"]["put_aside"]),
        (&json!("failed"), &json!(true))
    );
    assert_eq!(lake.get(&report).await, crowd, "the report is kept");
    assert!(!lake.keys().await.keys().any(|key| key.contains("/attempts/")));
    let people = async |call: &str| {
        let rows = lake.rows("participants", &["call_id", "source"]).await;
        rows.iter()
            .filter(|row| row["call_id"] == call && row["source"] == "json")
            .count()
    };
    assert_eq!(people(&call).await, 0, "the day was built without it");
    Telelake::new(&["verify", "--deep", "--rebuild"])
        .lake(&lake)
        .run()
        .await
        .expect(0);

    // A nightly run neither reads nor requests it, but names it.
    sim.clear_log();
    let night = Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(3);
    assert!(
        failed(&night)[0]["message"]
            .as_str()
            .unwrap()
            .contains("died twice")
    );
    let asked = sim
        .requests()
        .into_iter()
        .filter(|seen| seen.path.contains("report"))
        .count();
    assert_eq!(asked, 0);

    // A rebuild reads it again, because a person asked for it; this process survives.
    rebuild(&sim, &lake).run().await.expect(0);
    assert_eq!(people(&call).await, 12_000);
    let landing = lake.json(&manifest).await["calls"][&call]["reports"]["json"].clone();
    assert_eq!(landing["status"], "done", "{landing}");
}
