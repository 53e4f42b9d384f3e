//! The join of lesson data with the calls of a meeting, on whatever day they are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use telelake::simulator::{Report, Simulator};

use super::{ATTENDANCE, LEVELS, PARTICIPANT, import, metas, tables, write};
use crate::pipeline::{backfill, range, small};
use crate::support::lake::{Lake, Row};
use crate::support::program::Telelake;

/// The rows of a table in which a column has a value.
async fn rows_with(lake: &Lake, table: &str, columns: &[&str], (column, value): (&str, &str)) -> Vec<Row> {
    let rows = lake.rows(table, columns).await.into_iter();
    rows.filter(|row| row[column] == value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_data_joins_whatever_its_date_even_if_its_start_is_unreadable() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    let mut metas = metas(&sim);
    // Years earlier, years later, missing and unreadable. All are received years after the calls.
    let starts = [
        json!("2019-02-03 10:00"),
        json!("2031-02-03 10:00"),
        Value::Null,
        json!("на той неделе"),
    ];
    let meetings: BTreeSet<String> = metas
        .iter()
        .map(|meta| meta["externalMeetingId"].as_str().unwrap().into())
        .collect();
    let start_of: BTreeMap<&String, &Value> = meetings.iter().zip(starts.iter().cycle()).collect();
    for meta in &mut metas {
        let meeting = meta["externalMeetingId"].as_str().unwrap().to_owned();
        meta["meta"]["lesson_scheduled_start_dt"] = start_of[&meeting].clone();
        meta["meta"]
            .as_object_mut()
            .unwrap()
            .remove("lesson_scheduled_end_dt");
    }
    let run = || async {
        Telelake::against(&sim, &lake, &backfill(&range, &[]))
            .run()
            .await
            .expect(0)
    };
    run().await;
    import(&lake, &write(folder.path(), "a.jsonl", &metas)).await;
    let late = run().await;
    let people = lake.rows("participants", &PARTICIPANT).await;
    let known: Vec<_> = people
        .iter()
        .filter(|row| !row["external_user_id"].is_empty())
        .collect();
    assert!(!known.is_empty() && known.iter().all(|row| row["meta_matched"] == "true"));
    let absent = rows_with(
        &lake,
        "lesson_attendance",
        &ATTENDANCE,
        ("external_user_id", "absent"),
    )
    .await;
    assert!(!absent.is_empty() && absent.iter().all(|row| row["attended"] == "false"));

    let unread: BTreeSet<&str> = start_of
        .iter()
        .filter(|(_, start)| **start == &starts[3])
        .map(|(meeting, _)| meeting.as_str())
        .collect();
    let summary = late.summary();
    let named: BTreeSet<&str> = summary["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| {
            it["kind"] == "bad_value"
                && it["message"]
                    .as_str()
                    .unwrap()
                    .contains("lesson_scheduled_start_at")
        })
        .map(|it| it["external_meeting_id"].as_str().unwrap())
        .collect();
    let held: BTreeSet<&str> = absent
        .iter()
        .map(|row| row["external_meeting_id"].as_str())
        .collect();
    assert_eq!(named, unread.intersection(&held).copied().collect());
    assert!(!named.is_empty());

    // If the lesson data is there from the first run on, the tables are the same.
    let on_time = Lake::folder();
    import(&on_time, &write(folder.path(), "a.jsonl", &metas)).await;
    Telelake::against(&sim, &on_time, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    for table in ["participants", "lesson_attendance"] {
        let columns: &[&str] = if table == "participants" {
            &PARTICIPANT
        } else {
            &ATTENDANCE
        };
        assert_eq!(
            lake.rows(table, columns).await,
            on_time.rows(table, columns).await
        );
    }
    assert_eq!(run().await.count("writes"), 0);
}

/// Calls of a meeting that are half a year apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_with_calls_far_apart_has_its_rows_once() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let date = sim.options().dates[0];
    let school = sim.school();
    let call = school
        .calls
        .iter()
        .filter(|call| call.started_at.date_naive() == date && call.finished_at.is_some());
    let call = call
        .max_by_key(|call| {
            call.participants
                .iter()
                .filter(|it| it.external_user_id.is_some())
                .count()
        })
        .unwrap();
    let meeting = call.lesson.meeting_id.clone();
    let apart = chrono::TimeDelta::days(180);
    let later = sim.edit(|school| school.add_call_like(&call.id, apart)).unwrap();
    import(&lake, &write(folder.path(), "a.jsonl", &metas(&sim))).await;
    let of_date = |date: chrono::NaiveDate| {
        let date = date.to_string();
        let args = ["--log-format", "json", "backfill", "--from", &date, "--to", &date];
        Telelake::against(&sim, &lake, &args).run()
    };
    // The later call comes first, and its day gives up the rows when the day of the first call is built.
    of_date(date + apart).await.expect(0);
    let rows = rows_with(
        &lake,
        "lesson_attendance",
        &ATTENDANCE,
        ("external_meeting_id", &meeting),
    )
    .await;
    assert!(!rows.is_empty() && rows.iter().all(|row| row["date"] == (date + apart).to_string()));
    let run = of_date(date).await.expect(0);
    assert!(
        run.count("days_built") >= 2,
        "the other day is built too, half a year away"
    );
    let after = rows_with(
        &lake,
        "lesson_attendance",
        &ATTENDANCE,
        ("external_meeting_id", &meeting),
    )
    .await;
    assert_eq!(after.len(), rows.len(), "a user of the meeting stands twice");
    for row in &after {
        assert_eq!(row["date"], date.to_string());
        assert_eq!(
            row["attended"] == "true",
            row["call_ids"].contains(&later),
            "{row:?}"
        );
    }
    // Changed lesson data builds both days again, in a run over other dates.
    let elsewhere = || of_date("2020-01-01".parse().unwrap());
    elsewhere().await.expect(0);
    let mut one = metas(&sim)
        .into_iter()
        .find(|meta| meta["externalMeetingId"] == *meeting)
        .unwrap();
    one["meta"]["user_fullname"] = "Другое Имя".into();
    import(&lake, &write(folder.path(), "b.jsonl", &[one])).await;
    assert!(elsewhere().await.expect(0).count("days_built") >= 2);
    let people = lake.rows("participants", &["call_id", "user_fullname"]).await;
    let renamed: BTreeSet<&str> = people
        .iter()
        .filter(|row| row["user_fullname"] == "Другое Имя")
        .map(|row| row["call_id"].as_str())
        .collect();
    assert_eq!(renamed, BTreeSet::from([call.id.as_str(), later.as_str()]));
    assert_eq!(elsewhere().await.expect(0).count("writes"), 0);
    let verify = Telelake::against(&sim, &lake, &["verify", "--deep"]).run().await;
    assert_eq!(verify.status, 0, "{}", verify.stdout);
}

/// Puts a meeting on two days, and returns its id and the id of the later call.
async fn with_a_meeting_on_two_days(sim: &Simulator) -> (String, String) {
    let first = &sim.options().dates[0];
    let school = sim.school();
    let call = school
        .calls
        .iter()
        .filter(|call| call.started_at.date_naive() == *first && call.finished_at.is_some())
        .max_by_key(|call| {
            call.participants
                .iter()
                .filter(|it| it.external_user_id.is_some())
                .count()
        })
        .unwrap();
    let meeting = call.lesson.meeting_id.clone();
    let later = sim
        .edit(|school| school.add_call_like(&call.id, chrono::TimeDelta::days(1)))
        .unwrap();
    (meeting, later)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_on_two_days_has_its_rows_on_the_day_of_its_first_call() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    import(&lake, &write(folder.path(), "a.jsonl", &metas(&sim))).await;
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let (meeting, later) = with_a_meeting_on_two_days(&sim).await;
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);

    let whole = Lake::folder();
    import(&whole, &write(folder.path(), "a.jsonl", &metas(&sim))).await;
    Telelake::against(&sim, &whole, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert_eq!(tables(&lake).await, tables(&whole).await);

    let rows = lake.rows("lesson_attendance", &ATTENDANCE).await;
    let mut keys: Vec<_> = rows
        .iter()
        .map(|row| (&row["external_meeting_id"], &row["external_user_id"]))
        .collect();
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count, "a user of a meeting stands twice");
    let of_meeting: Vec<_> = rows
        .iter()
        .filter(|row| row["external_meeting_id"] == meeting)
        .collect();
    assert!(of_meeting.len() > 1);
    let first = sim.options().dates[0].to_string();
    for row in of_meeting {
        assert_eq!(row["date"], first);
        assert_eq!(
            row["attended"] == "true",
            row["call_ids"].contains(&later),
            "{row:?}"
        );
    }
    let before = lake.contents().await;
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert!(lake.contents().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_data_in_a_report_counts_until_the_lms_sends_its_own() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    let call = sim
        .school()
        .calls
        .iter()
        .find(|call| call.finished_at.is_some())
        .unwrap()
        .clone();
    let report = json!({"participants": [{
        "id": "p1", "externalUserId": "held", "externalMeetingId": "held-meeting",
        "sessions": [{"joinedAt": call.started_at, "leftAt": call.finished_at}],
        "meta": {"user_fullname": "Из отчёта", "user_role": "student", "house": {"house_id": "h"}},
    }]});
    sim.edit(|school| {
        school
            .call_mut(&call.id)
            .unwrap()
            .set_report(Report::bytes(report.to_string()));
    });
    let run = || async {
        Telelake::against(&sim, &lake, &backfill(&range, &[]))
            .env("TELELAKE_EXPORT__REPORTS", "[\"json\"]")
            .run()
            .await
            .expect(0)
    };
    run().await;
    let named = || async {
        let mut names = Vec::new();
        for table in ["participants", "lesson_attendance", "user_meta"] {
            let rows = lake.rows(table, &["external_user_id", "user_fullname"]).await;
            let row = rows.into_iter().find(|row| row["external_user_id"] == "held");
            names.push(row.map(|row| row["user_fullname"].clone()).unwrap_or_default());
        }
        names
    };
    assert_eq!(named().await, ["Из отчёта"; 3]);
    assert_eq!(lake.rows("hierarchy", &LEVELS).await.len(), 1);
    assert_eq!(run().await.count("writes"), 0);
    let sent = json!({"externalUserId": "held", "externalMeetingId": "held-meeting", "meta": {"user_fullname": "Из LMS"}});
    import(&lake, &write(folder.path(), "a.jsonl", &[sent])).await;
    assert_eq!(run().await.count("days_built"), 1);
    assert_eq!(named().await, ["Из LMS"; 3]);
}
