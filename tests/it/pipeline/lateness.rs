//! Late data arrives by itself. Data that never comes is given up, named once, and requested again by a backfill.
//! The clock is simulated, so that nights pass without waiting.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use telelake::config::{Config, Duration, Secret};
use telelake::pipeline::{Command, Exporter, Job, Setting, Summary};
use telelake::simulator::{Endpoint, Report, Simulator};
use telelake::store;

use super::small;
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

const DAY: u64 = 24 * 3600;

fn config(sim: &Simulator, lake: &Lake) -> Config {
    let mut config = Config::default();
    config.api.base_url = sim.base_url();
    config.api.token = Secret::new(sim.token());
    config.api.retries = 0;
    config.store.url = lake.url();
    config.export.give_up = Duration::from_secs(3 * DAY);
    config
}

async fn export(config: Config, job: &Job, now: DateTime<Utc>) -> Summary {
    let store = store::open(&config.store).await.unwrap();
    let exporter = Exporter::new(Setting::new(config, store, now)).unwrap();
    exporter.run(job).await.unwrap()
}

fn job(command: Command, from: NaiveDate, to: NaiveDate) -> Job {
    Job {
        open_days: command == Command::Run,
        ..Job::over(command, from, to)
    }
}

/// The nightly run at 02:00 of a date: yesterday, and `lookback` days before it.
async fn night(sim: &Simulator, lake: &Lake, date: NaiveDate, lookback: u64) -> Summary {
    let yesterday = date - Days::new(1);
    let job = job(Command::Run, yesterday - Days::new(lookback), yesterday);
    let now = date.and_hms_opt(2, 0, 0).unwrap().and_utc();
    export(config(sim, lake), &job, now).await
}

/// The kinds of problems, without those that the ragged objects of the school cause.
fn kinds(problems: &[telelake::pipeline::Problem]) -> Vec<&str> {
    let kinds = problems.iter().map(|problem| problem.kind.as_str());
    kinds.filter(|kind| *kind != "new_field").collect()
}

async fn is_marked(lake: &Lake) -> bool {
    lake.keys()
        .await
        .keys()
        .any(|key| key.starts_with("_telelake/open/"))
}

/// A school of one day, and the day.
async fn school() -> (Simulator, NaiveDate) {
    let options = small();
    let date = options.dates[0];
    let sim = Simulator::start(telelake::simulator::Options {
        dates: vec![date],
        ..options
    })
    .await
    .unwrap();
    sim.edit(|school| school.records.retain(crate::support::truth::is_whole));
    (sim, date)
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_are_missing_or_empty_at_first_are_landed_later() {
    let (sim, date) = school().await;
    let lake = Lake::folder();
    sim.edit(|school| {
        school.calls[0].set_report(Report::Missing);
        school.calls[1].json = Report::EMPTY;
        school.calls[2].json = Report::bytes("{}");
    });
    let first = night(&sim, &lake, date + Days::new(1), 0).await;
    assert_eq!(
        (first.counts.reports.pending, first.exit_status),
        (4, 0),
        "{first:?}"
    );
    assert!(is_marked(&lake).await);
    // The second night finds one of them, and the third all, whatever its dates are.
    sim.edit(|school| school.calls[0].set_report(Report::Whole));
    let second = night(&sim, &lake, date + Days::new(2), 0).await;
    assert_eq!(
        (second.counts.reports_landed, second.counts.reports.pending),
        (2, 2)
    );
    sim.edit(|school| {
        school.calls[1].json = Report::Whole;
        school.calls[2].json = Report::Whole;
    });
    let third = night(&sim, &lake, date + Days::new(3), 0).await;
    assert_eq!(
        (third.counts.reports_landed, third.counts.reports.pending),
        (2, 0)
    );
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    assert!(!is_marked(&lake).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_calls_that_appear_later_are_found_by_the_lookback() {
    let (sim, date) = school().await;
    let lake = Lake::folder();
    let (calls, records) = sim.edit(|school| {
        let late = school.calls.split_off(school.calls.len() - 1);
        (late, std::mem::take(&mut school.records))
    });
    let first = night(&sim, &lake, date + Days::new(1), 3).await;
    assert_eq!((first.counts.records.done, first.exit_status), (0, 0));
    assert!(
        !is_marked(&lake).await,
        "nothing is missing as far as anybody knows"
    );
    sim.edit(|school| {
        school.calls.extend(calls);
        school.records.extend(records.clone());
    });
    let second = night(&sim, &lake, date + Days::new(2), 3).await;
    assert_eq!(second.counts.records_landed, records.len() as u64, "{second:?}");
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_midnight_is_landed_once_it_has_ended_and_settled() {
    let (sim, date) = school().await;
    let lake = Lake::folder();
    let midnight = (date + Days::new(1)).and_hms_opt(0, 0, 0).unwrap().and_utc();
    // It ends ten minutes before the run, so that the first night finds it and waits.
    sim.edit(|school| {
        let room = school.calls[0].room_id.clone();
        school.records.retain(|record| record.room_id != room);
        school
            .calls
            .retain(|call| call.room_id != room || call.started_at < midnight);
        let call = school
            .calls
            .iter_mut()
            .rfind(|call| call.room_id == room)
            .unwrap();
        call.started_at = midnight - TimeDelta::hours(1);
        call.finished_at = Some(midnight + TimeDelta::minutes(110));
    });
    let first = night(&sim, &lake, date + Days::new(1), 0).await;
    assert_eq!(kinds(&first.pending), ["call_pending"], "{first:?}");
    let second = night(&sim, &lake, date + Days::new(2), 0).await;
    assert_eq!(second.pending, []);
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    assert!(!is_marked(&lake).await);
}

/// Asserts that the tables name a record and two reports as lost, and nothing as failed.
async fn assert_lost_in_tables(lake: &Lake, record: &str) {
    let coverage = lake
        .rows(
            "coverage",
            &[
                "complete",
                "reason",
                "reports_failed",
                "records_failed",
                "reports_lost",
                "records_lost",
            ],
        )
        .await;
    let sum = |column: &str| {
        coverage
            .iter()
            .map(|row| row[column].parse::<u64>().unwrap())
            .sum::<u64>()
    };
    assert_eq!((sum("reports_failed"), sum("records_failed")), (0, 0));
    assert_eq!((sum("reports_lost"), sum("records_lost")), (2, 1));
    let incomplete: Vec<_> = coverage.iter().filter(|row| row["complete"] == "false").collect();
    assert!(
        !incomplete.is_empty() && incomplete.iter().all(|row| row["reason"].starts_with("lost: ")),
        "{coverage:?}"
    );
    let recordings = lake.rows("recordings", &["record_id", "status", "error"]).await;
    let lost = recordings.iter().find(|row| row["record_id"] == record).unwrap();
    assert!(
        lost["status"] == "lost" && lost["error"].starts_with("lost: "),
        "{lost:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_never_comes_is_named_as_lost_once_and_its_day_is_closed() {
    let (sim, date) = school().await;
    let lake = Lake::folder();
    let (call, record) = sim.edit(|school| {
        school.calls[0].set_report(Report::Missing);
        school.records[0].finished_at = None;
        (school.calls[0].id.clone(), school.records[0].id.clone())
    });
    for nights in 1..=3 {
        let waiting = night(&sim, &lake, date + Days::new(nights), 0).await;
        assert_eq!(kinds(&waiting.warnings), [""; 0], "{nights}: {waiting:?}");
        assert_eq!(waiting.counts.reports.pending + waiting.counts.records.pending, 3);
    }
    let end = night(&sim, &lake, date + Days::new(4), 0).await;
    assert_eq!(end.exit_status, 0);
    assert_eq!(
        (end.counts.reports.lost, end.counts.records.lost),
        (2, 1),
        "{end:?}"
    );
    assert_eq!(end.pending, []);
    let mut named = kinds(&end.warnings);
    named.sort_unstable();
    assert_eq!(
        named,
        [
            "record_lost_for_good",
            "report_lost_for_good",
            "report_lost_for_good"
        ]
    );
    assert!(!is_marked(&lake).await);

    // Later nights neither request nor name it, even if they list the day.
    let before = lake.manifests().await[0].clone();
    sim.clear_log();
    let later = night(&sim, &lake, date + Days::new(5), 4).await;
    assert_eq!(
        (later.counts.reports.lost, kinds(&later.warnings).len()),
        (2, 0),
        "{later:?}"
    );
    assert_eq!(sim.count(Endpoint::Report), 0);
    assert_eq!(lake.manifests().await[0], before);

    assert_lost_in_tables(&lake, &record).await;
    let date_text = date.to_string();
    let args = ["status", "--from", &date_text, "--to", &date_text];
    let status = Telelake::new(&args).lake(&lake).run().await.expect(0).stdout;
    assert!(
        status.contains("2 lost") && status.contains("1 lost") && status.contains(&call),
        "{status}"
    );
    assert!(status.contains("NOT COMPLETE"), "{status}");
    Telelake::new(&["verify", "--deep", "--rebuild"])
        .lake(&lake)
        .run()
        .await
        .expect(0);

    // A backfill of its date requests and names it again, and lands it if it exists by then.
    let now = (date + Days::new(9)).and_hms_opt(12, 0, 0).unwrap().and_utc();
    let again = export(config(&sim, &lake), &job(Command::Backfill, date, date), now).await;
    assert_eq!((again.counts.reports.lost, sim.count(Endpoint::Report)), (2, 2));
    assert_eq!(kinds(&again.warnings).len(), 3);
    assert!(!is_marked(&lake).await);
    sim.edit(|school| {
        school.calls[0].set_report(Report::Whole);
        let record = &mut school.records[0];
        record.finished_at = Some(record.started_at.unwrap() + TimeDelta::minutes(5));
    });
    let found = export(config(&sim, &lake), &job(Command::Backfill, date, date), now).await;
    assert_eq!(
        (found.counts.reports.lost, found.counts.reports_landed),
        (0, 2),
        "{found:?}"
    );
    assert_eq!(found.counts.records_landed, 1);
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_during_a_late_backfill_is_a_failure_not_a_loss() {
    let (sim, date) = school().await;
    let lake = Lake::folder();
    sim.edit(|school| school.calls[0].set_report(Report::Status(500)));
    let now = (date + Days::new(200)).and_hms_opt(12, 0, 0).unwrap().and_utc();
    let first = export(config(&sim, &lake), &job(Command::Backfill, date, date), now).await;
    assert_eq!(
        (first.exit_status, kinds(&first.failed)),
        (3, vec!["report_failed"; 2]),
        "{first:?}"
    );
    assert!(is_marked(&lake).await);
    // The nights retry it, and give up after three attempts.
    let second = night(&sim, &lake, date + Days::new(201), 0).await;
    assert_eq!(second.exit_status, 3);
    let third = night(&sim, &lake, date + Days::new(202), 0).await;
    assert_eq!(
        (third.exit_status, third.counts.reports.lost),
        (0, 2),
        "{third:?}"
    );
    assert!(!is_marked(&lake).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_a_call_that_never_ends_is_requested_at_last() {
    let (sim, date) = school().await;
    let lake = Lake::folder();
    sim.edit(|school| {
        school.calls[0].finished_at = None;
        let id = school.calls[0].id.clone();
        school
            .records
            .retain(|record| record.call_id.as_ref() != Some(&id));
    });
    let first = night(&sim, &lake, date + Days::new(1), 0).await;
    assert_eq!(kinds(&first.pending), ["call_pending"], "{first:?}");
    let end = night(&sim, &lake, date + Days::new(4), 0).await;
    assert_eq!(
        (end.counts.calls_pending, end.counts.reports.lost),
        (0, 2),
        "{end:?}"
    );
    assert!(!is_marked(&lake).await);
    // Once the call has ended, its reports are requested again when its day is listed.
    sim.edit(|school| {
        let call = &mut school.calls[0];
        call.finished_at = Some(call.started_at + TimeDelta::minutes(40));
    });
    let found = night(&sim, &lake, date + Days::new(5), 4).await;
    assert_eq!(
        (found.counts.reports_landed, found.counts.reports.lost),
        (2, 0),
        "{found:?}"
    );
}
