//! A lesson about midnight: nobody is absent while a call of its room on the date before or after has no report.

use chrono::NaiveDate;
use telelake::simulator::{Report, Simulator};

use super::{import, write};
use crate::pipeline::backfill;
use crate::support::lake::Lake;
use crate::support::midnight::{Midnight, Side};
use crate::support::program::{Finished, Telelake};

const COLUMNS: [&str; 3] = ["external_user_id", "attended", "calls_without_report"];

async fn run(sim: &Simulator, lake: &Lake, from: NaiveDate, to: NaiveDate) -> Finished {
    let range = ["--from".into(), from.to_string(), "--to".into(), to.to_string()];
    let run = Telelake::against(sim, lake, &backfill(&range, &[])).run().await;
    run.expect(0)
}

/// The late user's and the absent user's `attended`, with the number of calls without a report. Their rows are on `date`.
async fn attended(lake: &Lake, lesson: &Midnight, date: NaiveDate) -> [String; 3] {
    let rows = lake.rows("lesson_attendance", &COLUMNS).await;
    let of = |user: &str| {
        let mut rows = rows.iter().filter(|row| row["external_user_id"] == user);
        let row = rows.next().unwrap_or_else(|| panic!("{user} has no row"));
        assert_eq!(rows.next(), None, "{user} has two rows");
        assert_eq!(row["date"], date.to_string());
        row.clone()
    };
    let (late, absent) = (of(&lesson.late), of("absent"));
    assert_eq!(late["calls_without_report"], absent["calls_without_report"]);
    [
        &late["attended"],
        &absent["attended"],
        &late["calls_without_report"],
    ]
    .map(String::clone)
}

/// The bytes of the attendance in a lake that one run over both days makes.
async fn at_once(lesson: &Midnight, file: &str) -> Vec<bytes::Bytes> {
    let lake = Lake::folder();
    import(&lake, file).await;
    let days = [lesson.lesson_day, lesson.other_day];
    run(&lesson.sim, &lake, days[0].min(days[1]), days[0].max(days[1])).await;
    attendance(&lake).await
}

async fn attendance(lake: &Lake) -> Vec<bytes::Bytes> {
    let contents = lake.contents().await.into_iter();
    let of_table = contents.filter(|(key, _)| key.starts_with("lesson_attendance/"));
    of_table.map(|(_, bytes)| bytes).collect()
}

/// Asserts who attended, whatever the order in which the days were built, and that `verify` builds the same tables.
async fn assert_attended(
    lake: &Lake,
    (lesson, date): (&Midnight, NaiveDate),
    file: &str,
    expected: [&str; 3],
) {
    assert_eq!(attended(lake, lesson, date).await, expected);
    assert!(
        attendance(lake).await == at_once(lesson, file).await,
        "{expected:?}"
    );
    let verify = Telelake::against(&lesson.sim, lake, &["verify", "--deep", "--rebuild"]);
    verify.run().await.expect(0);
}

async fn nobody_is_absent_beside_a_call_without_a_report(side: Side) {
    let lesson = Midnight::new(side).await;
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let file = write(folder.path(), "a.jsonl", &lesson.metas());
    import(&lake, &file).await;
    let day = lesson.lesson_day;
    run(&lesson.sim, &lake, day, day).await;
    let of_the_day_alone = attended(&lake, &lesson, day).await;
    assert_eq!(
        of_the_day_alone,
        ["false", "false", "0"],
        "the other call is not known yet"
    );
    // Only the other day is asked for from here on.
    let other = async || run(&lesson.sim, &lake, lesson.other_day, lesson.other_day).await;
    other().await;
    assert_attended(&lake, (&lesson, day), &file, ["", "", "1"]).await;
    lesson.report(Report::Denied);
    other().await;
    assert_attended(&lake, (&lesson, day), &file, ["", "", "1"]).await;
    lesson.report(Report::Whole);
    other().await;
    // The report shows that the lesson's first call was on the earlier date.
    let first = day.min(lesson.other_day);
    assert_attended(&lake, (&lesson, first), &file, ["true", "false", "0"]).await;
    assert_eq!(other().await.count("writes"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_absent_while_a_call_on_the_next_date_has_no_report() {
    nobody_is_absent_beside_a_call_without_a_report(Side::Next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_absent_while_a_call_from_the_date_before_has_no_report() {
    nobody_is_absent_beside_a_call_without_a_report(Side::Before).await;
}

/// The report shows that the call was held for something else, so that no participant of it is of the lesson.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_another_meeting_makes_nobody_unsure_once_its_report_is_there() {
    let lesson = Midnight::new(Side::Next).await;
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let file = write(folder.path(), "a.jsonl", &lesson.metas());
    lesson.sim.edit(|school| {
        let call = school.call_mut(&lesson.silent).unwrap();
        call.lesson.meeting_id = "another".into();
    });
    import(&lake, &file).await;
    run(&lesson.sim, &lake, lesson.lesson_day, lesson.other_day).await;
    assert_eq!(attended(&lake, &lesson, lesson.lesson_day).await, ["", "", "1"]);
    lesson.report(Report::Whole);
    run(&lesson.sim, &lake, lesson.other_day, lesson.other_day).await;
    let rows = lake.rows("lesson_attendance", &COLUMNS).await;
    let of_lesson: Vec<_> = rows
        .iter()
        .filter(|row| row["date"] == lesson.lesson_day.to_string())
        .filter(|row| [lesson.late.as_str(), "absent"].contains(&row["external_user_id"].as_str()))
        .map(|row| (row["attended"].as_str(), row["calls_without_report"].as_str()))
        .collect();
    assert_eq!(of_lesson, [("false", "0"), ("false", "0")]);
}
