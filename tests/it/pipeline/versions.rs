//! Programs of different versions on a lake: newer lakes and days are refused, and unknown fields are kept.

use serde_json::{Map, Value, json};
use telelake::simulator::{Options, Simulator};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

const STORE: &str = "_telelake/store.json";

async fn exported(lake: &Lake) -> Simulator {
    let options = Options {
        recording_size: 4096,
        ..small()
    };
    let sim = Simulator::start(options).await.unwrap();
    Telelake::against(&sim, lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(0);
    sim
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_of_a_newer_version_is_refused_by_every_command_that_opens_it() {
    let lake = Lake::folder();
    let sim = exported(&lake).await;
    let mut store = lake.json(STORE).await;
    store["version"] = 2.into();
    lake.put(STORE, store.to_string()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), sim.school().metas()[0].to_string()).unwrap();
    let file = file.path().display().to_string();
    let dates = range(&sim);
    let before = lake.contents().await;
    for args in [
        &["run"][..],
        &["backfill", &dates[0], &dates[1], &dates[2], &dates[3]],
        &[
            "backfill",
            &dates[0],
            &dates[1],
            &dates[2],
            &dates[3],
            "--dry-run",
        ],
        &["rebuild", &dates[0], &dates[1], &dates[2], &dates[3]],
        &["status"],
        &["status", "--json"],
        &["verify"],
        &["verify", "--repair"],
        &["meta", "import", &file],
        &["check"],
        &["serve", "--once"],
    ] {
        let refused = Telelake::against(&sim, &lake, args)
            .env("TELELAKE_SERVE__LISTEN", "127.0.0.1:0")
            .run()
            .await
            .expect(2);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        for part in ["of version 2", "versions up to 1", "upgrade telelake"] {
            assert!(said.contains(part), "{args:?} does not say {part}: {said}");
        }
    }
    assert_eq!(lake.contents().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_a_newer_version_fails_alone_and_is_not_overwritten() {
    let lake = Lake::folder();
    let sim = exported(&lake).await;
    let mut day = lake.manifests().await.remove(0);
    let (date, space) = (day["date"].clone(), day["space_id"].as_str().unwrap().to_owned());
    let date = date.as_str().unwrap().to_owned();
    let key = format!("_telelake/days/date={date}/{space}.json");
    day["version"] = 2.into();
    // Also a day that this version cannot read at all.
    day["calls"] = json!(["of another shape"]);
    lake.put(&key, day.to_string()).await;
    sim.edit(|school| school.spaces[0].name = "Another name".into());
    let dates = range(&sim);
    for args in [
        backfill(&dates, &["--force"]),
        vec![
            "--log-format",
            "json",
            "rebuild",
            &dates[0],
            &dates[1],
            &dates[2],
            &dates[3],
        ],
    ] {
        let done = Telelake::against(&sim, &lake, &args).run().await.expect(3);
        let failed = done.summary()["failed"].clone();
        assert_eq!(failed.as_array().unwrap().len(), 1, "{failed:#}");
        assert_eq!(failed[0]["date"], date.as_str());
        let message = failed[0]["message"].as_str().unwrap();
        assert!(
            message.contains("is of version 2") && message.contains("upgrade telelake"),
            "{message}"
        );
        assert_eq!(lake.get(&key).await, day.to_string());
    }
    let renamed = |day: &Value| day["space_name"] == "Another name";
    assert_eq!(
        lake.manifests().await.iter().filter(|day| renamed(day)).count(),
        2
    );
    // Readers show the other days.
    let status = Telelake::against(&sim, &lake, &["status", "--json"])
        .run()
        .await
        .expect(0);
    assert_eq!(status.summary()["days"].as_array().unwrap().len(), 3);
}

/// Adds unknown fields to an object and, at random, to the objects in it, but not to the API's own objects.
fn sprinkle(value: &mut Value, path: &str, random: &mut fastrand::Rng, put: &mut Map<String, Value>) {
    let Value::Object(fields) = value else { return };
    // Maps by id or table name have no fields of their own.
    let is_map = ["calls", "records", "rooms", "reports", "tables", "meetings"]
        .iter()
        .any(|name| path.ends_with(&format!("/{name}")));
    for (name, value) in fields.iter_mut() {
        if !matches!(name.as_str(), "call" | "record") {
            sprinkle(value, &format!("{path}/{name}"), random, put);
        }
    }
    if !is_map && random.u8(..) < 200 {
        let name = format!("newer_{}", random.u16(..));
        let value = match random.u8(..4) {
            0 => json!(random.i64(..)),
            1 => json!({"in": [random.u8(..), null]}),
            2 => json!(null),
            _ => json!("text"),
        };
        put.insert(format!("{path}/{name}"), value.clone());
        fields.insert(name, value);
    }
}

/// A run that rewrites every manifest unchanged, except for the name of the space.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_of_a_newer_program_survive_a_run() {
    let lake = Lake::folder();
    let sim = exported(&lake).await;
    for seed in 0..5 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut put = Vec::new();
        let keys = lake.keys().await.into_keys();
        for key in keys.filter(|key| key.starts_with("_telelake/days/") || key == STORE) {
            let (mut object, mut fields) = (lake.json(&key).await, Map::new());
            sprinkle(&mut object, "", &mut random, &mut fields);
            lake.put(&key, object.to_string()).await;
            put.push((key, fields));
        }
        assert!(put.iter().map(|(_, fields)| fields.len()).sum::<usize>() > 50);
        let name = format!("Name {seed}");
        sim.edit(|school| school.spaces[0].name.clone_from(&name));
        Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
            .run()
            .await
            .expect(0);
        for (key, fields) in put {
            let now = lake.json(&key).await;
            assert!(
                key == STORE || now["space_name"] == name.as_str(),
                "{key} was written"
            );
            for (path, value) in fields {
                // The unknown fields of a table file that was replaced are gone.
                if path.contains("/built/tables/") {
                    continue;
                }
                assert_eq!(now.pointer(&path), Some(&value), "seed {seed}: {path} of {key}");
            }
        }
    }
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    Telelake::new(&["verify", "--deep", "--rebuild"])
        .lake(&lake)
        .run()
        .await
        .expect(0);
}
