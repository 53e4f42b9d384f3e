//! The table of days: what an analyst asks first. It is right after every command that changes a day.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use telelake::lake::key;
use telelake::simulator::{Options, Report, Simulator};

use super::{backfill, range, small};
use crate::reliability::assert_sound;
use crate::support::lake::{Lake, Row};
use crate::support::program::Telelake;

const COLUMNS: [&str; 16] = [
    "space_id",
    "date",
    "space_name",
    "time_zone",
    "listed_at",
    "built_at",
    "complete",
    "reason",
    "calls",
    "participants",
    "reports_done",
    "reports_pending",
    "records_done",
    "recorded_bytes",
    "rows",
    "program_version",
];

async fn days(lake: &Lake) -> BTreeMap<(String, String), Row> {
    let rows = lake.rows("days", &COLUMNS).await.into_iter();
    rows.map(|row| ((row["space_id"].clone(), row["date"].clone()), row))
        .collect()
}

/// The time at which each day was built, to the microsecond: two runs can be within the same second.
async fn built_at(lake: &Lake) -> BTreeMap<(String, String), i64> {
    let mut built = BTreeMap::new();
    for (key, bytes) in lake.contents().await {
        if !key.starts_with("days/") {
            continue;
        }
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let spaces = column("space_id").as_string::<i32>();
            let dates = column("date").as_primitive::<Date32Type>();
            let times = column("built_at").as_primitive::<TimestampMicrosecondType>();
            for row in 0..batch.num_rows() {
                let date = dates.value_as_date(row).unwrap().to_string();
                built.insert((spaces.value(row).to_owned(), date), times.value(row));
            }
        }
    }
    built
}

async fn run(sim: &Simulator, lake: &Lake, args: &[&str], status: i32) {
    Telelake::against(sim, lake, args).run().await.expect(status);
    assert_sound(&lake.contents().await, &args.join(" "));
}

/// The sum of a column of whole numbers, or the number of rows, by space and date.
async fn sums(lake: &Lake, table: &str, column: Option<&str>) -> BTreeMap<(String, String), u64> {
    let columns: Vec<_> = ["space_id"].into_iter().chain(column).collect();
    let mut sums = BTreeMap::new();
    for row in lake.rows(table, &columns).await {
        let one = column.map_or(1, |column| row[column].parse().unwrap_or(0));
        let day = (row["space_id"].clone(), row["date"].clone());
        *sums.entry(day).or_default() += one;
    }
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn every_day_that_was_looked_at_has_a_row_that_agrees_with_the_tables() {
    let sim = Simulator::start(Options { spaces: 2, ..small() }).await.unwrap();
    let lake = Lake::folder();
    let last = *sim.options().dates.last().unwrap();
    let empty = (last + chrono::Days::new(1)).to_string();
    let from = sim.options().dates[0].to_string();
    run(&sim, &lake, &["backfill", "--from", &from, "--to", &empty], 0).await;

    let days = days(&lake).await;
    let looked_at = 2 * (sim.options().dates.len() + 1);
    assert_eq!(days.len(), looked_at);
    for (table, column, of_day) in [
        ("calls", None, "calls"),
        ("participants", None, "participants"),
        ("coverage", Some("calls"), "calls"),
        ("coverage", Some("reports_done"), "reports_done"),
        ("coverage", Some("records_done"), "records_done"),
        ("recordings", Some("bytes"), "recorded_bytes"),
    ] {
        let sums = sums(&lake, table, column).await;
        assert!(!sums.is_empty());
        for (day, row) in &days {
            let expected = sums.get(day).copied().unwrap_or(0).to_string();
            assert_eq!(row[of_day], expected, "{of_day} of {day:?}");
        }
    }
    for ((space, date), row) in &days {
        assert_eq!((&*row["time_zone"], &*row["reports_pending"]), ("UTC", "0"));
        assert_eq!((&*row["complete"], &*row["reason"]), ("true", ""), "{date}");
        assert_eq!(row["program_version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(row["listed_at"], row["built_at"], "one run did both");
        let name = sim
            .school()
            .spaces
            .iter()
            .find(|it| it.id == *space)
            .unwrap()
            .name
            .clone();
        assert_eq!(row["space_name"], name);
        match *date == empty {
            true => assert_eq!((&*row["calls"], &*row["rows"]), ("0", "{}")),
            false => assert!(row["rows"].contains(&format!("participants: {}", row["participants"]))),
        }
    }
    // Each day of `coverage` has the times of its row here.
    for row in lake
        .rows("coverage", &["space_id", "listed_at", "built_at"])
        .await
    {
        let day = &days[&(row["space_id"].clone(), row["date"].clone())];
        assert_eq!(
            (&row["listed_at"], &row["built_at"]),
            (&day["listed_at"], &day["built_at"])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_not_complete_says_why_until_it_is() {
    let sim = Simulator::start(small()).await.unwrap();
    let lake = Lake::folder();
    let call = sim.school().calls[0].clone();
    let report = sim.edit(|school| std::mem::replace(&mut school.calls[0].json, Report::Missing));
    let range = range(&sim);
    run(&sim, &lake, &backfill(&range, &[]), 0).await;
    let day = (call.space_id.clone(), call.started_at.date_naive().to_string());
    let before = days(&lake).await;
    assert_eq!(
        (&*before[&day]["complete"], &*before[&day]["reports_pending"]),
        ("false", "1")
    );
    assert!(!before[&day]["reason"].is_empty());
    let built_before = built_at(&lake).await;
    assert!(
        before
            .iter()
            .all(|(key, row)| *key == day || row["complete"] == "true")
    );

    sim.edit(|school| school.calls[0].json = report);
    run(&sim, &lake, &backfill(&range, &[]), 0).await;
    let after = days(&lake).await;
    assert_eq!(
        (&*after[&day]["complete"], &*after[&day]["reports_pending"]),
        ("true", "0")
    );
    // The days that changed since the last read are those with a later `built_at`.
    let newest = built_before.values().max().unwrap();
    let built_after = built_at(&lake).await;
    let changed: Vec<_> = built_after.iter().filter(|(_, at)| *at > newest).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(*changed[0].0, day);
    for (key, row) in &before {
        assert!(*key == day || after[key] == *row, "{key:?} did not change");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_damaged_table_is_made_anew() {
    let sim = Simulator::start(small()).await.unwrap();
    let lake = Lake::folder();
    let range = range(&sim);
    run(&sim, &lake, &backfill(&range, &[]), 0).await;
    let whole = days(&lake).await;
    let table = key::days(&sim.school().spaces[0].id.as_str().into());
    let rebuild = ["rebuild", "--from", &range[1], "--to", &range[1]];
    for (damage, finding) in [(None, "table_missing"), (Some("PAR1"), "table_damaged")] {
        for args in [&rebuild[..], &["verify", "--repair"]] {
            match damage {
                None => lake.remove(&table).await,
                Some(bytes) => lake.put(&table, bytes).await,
            }
            let verified = Telelake::new(&["verify", "--json"])
                .lake(&lake)
                .run()
                .await
                .expect(5);
            let findings = verified.summary()["findings"].clone();
            assert_eq!(
                (
                    &findings[0]["kind"],
                    &findings[0]["key"],
                    findings.as_array().unwrap().len()
                ),
                (&finding.into(), &table.as_str().into(), 1)
            );
            run(&sim, &lake, args, 0).await;
            assert_eq!(days(&lake).await, whole);
            Telelake::new(&["verify"]).lake(&lake).run().await.expect(0);
        }
    }
    // A row that is not that of its day is found and repaired as well.
    let other = Lake::folder();
    let only = [
        "backfill",
        "--only",
        "analytics",
        "--from",
        &range[1],
        "--to",
        &range[3],
    ];
    run(&sim, &other, &only, 0).await;
    lake.put(&table, other.get(&table).await).await;
    let verified = Telelake::new(&["verify", "--json"])
        .lake(&lake)
        .run()
        .await
        .expect(5);
    assert_eq!(verified.summary()["findings"][0]["kind"], "table_differs");
    run(&sim, &lake, &["verify", "--repair"], 0).await;
    assert_eq!(days(&lake).await, whole);
}
