//! Jobs that several processes do together: the union of their lakes equals that of one process.

mod program;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{Days, NaiveDate};
use futures_util::future::join_all;
use telelake::config::{Config, ReportFormat};
use telelake::ids::DayId;
use telelake::pipeline::{Command, Exporter, Job, JobShard, Rebuilder, RecordedBytes, Setting, Summary};
use telelake::shard::Shard;
use telelake::simulator::{Endpoint, Failure, Matcher, Options, Report, Simulator};
use telelake::store::{Condition, Store};
use telelake::verify::{Verified, Verifier, VerifyOptions};

use crate::reliability::moments::moments;
use crate::reliability::{assert_same, assert_sound, config, now, said};
use crate::support::faulty::{Fault, Faulty};
use crate::support::memory::Memory;

/// A school of several spaces, with lesson data in a feed.
struct School {
    sim: Simulator,
    feed: tempfile::TempDir,
    formats: Vec<ReportFormat>,
}

impl School {
    async fn start(options: Options) -> Self {
        let sim = Simulator::start(options).await.unwrap();
        let feed = tempfile::tempdir().unwrap();
        let metas = sim.school().metas();
        let lines: String = metas.iter().map(|meta| format!("{meta}\n")).collect();
        std::fs::write(feed.path().join("lessons.jsonl"), lines).unwrap();
        let formats = Config::default().export.reports;
        Self { sim, feed, formats }
    }

    /// Three spaces and eight dates, of which the second half has no margin to the present.
    async fn small() -> Self {
        Self::start(Options {
            spaces: 3,
            rooms: 3,
            dates: telelake::simulator::days("2025-02-25".parse().unwrap(), 8),
            calls_per_day: 1..=1,
            participants: 2..=4,
            recording_size: 4_000,
            recorded: 0.3,
            ..Options::default()
        })
        .await
    }

    fn config(&self) -> Config {
        let mut config = config(&self.sim);
        config.meta.feeds = vec![format!("file://{}", self.feed.path().display())];
        config.export.reports.clone_from(&self.formats);
        config
    }

    fn dates(&self) -> (NaiveDate, NaiveDate) {
        let dates = &self.sim.options().dates;
        (dates[0], dates[dates.len() - 1])
    }

    fn job(&self, command: Command, shard: Option<Shard>) -> Job {
        let (from, to) = self.dates();
        Job {
            shard: shard.map(JobShard::new),
            ..Job::over(command, from, to)
        }
    }

    /// A run of a shard, or of the whole job.
    async fn run(&self, store: impl Store + 'static, job: &Job) -> telelake::Result<Summary> {
        let mut config = self.config();
        if let Some(of_job) = &job.shard {
            config.api.divide(of_job.shard);
        }
        let exporter = Exporter::new(Setting::new(config, Arc::new(store), now()))?;
        Box::pin(exporter.run(job)).await
    }

    /// A backfill by one process.
    async fn alone(&self) -> (Memory, Summary) {
        let store = Memory::default();
        let summary = self.run(store.clone(), &self.job(Command::Backfill, None)).await;
        let summary = summary.unwrap();
        assert_eq!(summary.exit_status, 0, "{:?}", summary.failed);
        (store, summary)
    }

    /// A backfill by all shards at once.
    async fn together(&self, store: &Memory, count: u32) -> Vec<Summary> {
        let shards = shards(count).map(|shard| async move {
            let job = self.job(Command::Backfill, Some(shard));
            let summary = self.run(store.clone(), &job).await.unwrap();
            assert_eq!(summary.exit_status, 0, "{shard}: {:?}", summary.failed);
            summary
        });
        join_all(shards).await
    }
}

fn shards(count: u32) -> impl Iterator<Item = Shard> {
    (0..count).map(move |index| Shard::new(index, count).unwrap())
}

/// The lake without what runs and shards say of themselves.
fn lake(store: &Memory) -> BTreeMap<String, Bytes> {
    let mut contents = said(store);
    contents.retain(|key, _| !key.starts_with("_telelake/shards/") && !key.starts_with("_telelake/logs/"));
    contents
}

fn requests(summaries: &[Summary]) -> u64 {
    summaries.iter().map(|summary| summary.counts.requests).sum()
}

fn last(summaries: &[Summary]) -> usize {
    let is_last = |summary: &&Summary| summary.shard.as_ref().is_some_and(|shard| shard.last);
    summaries.iter().filter(is_last).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_shards_leave_the_lake_of_one_process() {
    let school = School::small().await;
    let (alone, _) = school.alone().await;
    for count in 1..=7 {
        let store = Memory::default();
        let summaries = school.together(&store, count).await;
        assert_same(&lake(&store), &lake(&alone), &format!("{count} shards"));
        assert_sound(&said(&store), &format!("{count} shards"));
        assert_eq!(
            last(&summaries),
            1,
            "one shard of {count} does what belongs to the lake"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_one_after_another_in_any_order_leave_the_lake_of_one_process() {
    let school = School::small().await;
    let (alone, _) = school.alone().await;
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let store = Memory::default();
        let mut summaries = Vec::new();
        for index in order {
            let job = school.job(Command::Backfill, Some(Shard::new(index, 4).unwrap()));
            summaries.push(school.run(store.clone(), &job).await.unwrap());
        }
        assert_same(&lake(&store), &lake(&alone), &format!("{order:?}"));
        assert_eq!(last(&summaries[..3]), 0, "{order:?}");
        assert_eq!(last(&summaries[3..]), 1, "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_shards_together_send_hardly_more_requests_than_one_process() {
    let mut school = School::start(Options {
        rooms: 5,
        dates: telelake::simulator::days("2025-02-05".parse().unwrap(), 28),
        recorded: 0.0,
        calls_per_day: 1..=1,
        participants: 1..=1,
        ..Options::default()
    })
    .await;
    school.formats = vec![ReportFormat::Json];
    school.sim.clear_log();
    let (_, alone) = school.alone().await;
    let lists = school.sim.count(Endpoint::Calls);
    for count in 1..=7 {
        school.sim.clear_log();
        let summaries = school.together(&Memory::default(), count).await;
        let more = school.sim.count(Endpoint::Calls) - lists;
        let ratio = requests(&summaries) as f64 / alone.counts.requests as f64;
        println!("{count} shards: {ratio:.3} times the requests, {more} of {lists} lists of calls twice");
        assert!(ratio <= 1.1, "{count} shards: {ratio}");
        assert!(
            more * 20 < lists,
            "the margin dates are asked for once: {more} more than {lists}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_dies_at_any_call_and_is_given_again_changes_nothing() {
    let school = School::start(Options {
        spaces: 2,
        rooms: 2,
        empty_rooms: 0.0,
        dates: telelake::simulator::days("2025-03-01".parse().unwrap(), 3),
        calls_per_day: 1..=1,
        participants: 2..=3,
        recording_size: 4_000,
        ..Options::default()
    })
    .await;
    let (alone, _) = school.alone().await;
    // A night, because a backfill leaves the marker of a day that was committed right before the death to the next night.
    let (from, to) = school.dates();
    let job = |index| Job {
        shard: Some(JobShard::new(Shard::new(index, 2).unwrap())),
        ..Job::nightly(from, to)
    };
    let counting = Faulty::counting(Memory::default());
    school.run(counting.clone(), &job(0)).await.unwrap();
    for moment in moments(&counting, (7, 30)) {
        for applied in [false, true] {
            let history = format!("dies at {moment:?}, applied: {applied}");
            let store = Memory::default();
            let dying = moment.strike(&store, Fault::Death { applied });
            let (first, second) = (job(0), job(1));
            let (_, other) = tokio::join!(school.run(dying, &first), school.run(store.clone(), &second));
            assert_eq!(other.unwrap().exit_status, 0, "{history}");
            let again = school.run(store.clone(), &job(0)).await.unwrap();
            assert_eq!(again.exit_status, 0, "{history}: {:?}", again.failed);
            assert!(again.shard.is_some_and(|shard| shard.last), "{history}");
            // A day that was taken over from the dead process is checked once more.
            school.run(store.clone(), &job(0)).await.unwrap();
            assert_same(&lake(&store), &lake(&alone), &history);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_runs_twice_at_once_doubles_nothing() {
    let school = School::small().await;
    let (alone, _) = school.alone().await;
    let store = Memory::default();
    let twice = [0, 1, 1, 2, 2, 0].map(|index| {
        let (store, school) = (store.clone(), &school);
        async move {
            let job = school.job(Command::Backfill, Some(Shard::new(index, 3).unwrap()));
            let summary = school.run(store, &job).await.unwrap();
            assert_eq!(summary.exit_status, 0, "{:?}", summary.failed);
        }
    });
    join_all(twice).await;
    assert_sound(&said(&store), "twice");
    // A night removes the markers of days that both took for the other's.
    let (from, to) = school.dates();
    school.run(store.clone(), &Job::nightly(from, to)).await.unwrap();
    assert_same(&lake(&store), &lake(&alone), "twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shard_leaves_that_never_comes_the_next_run_completes() {
    let school = School::small().await;
    let (alone, _) = school.alone().await;
    for absent in 0..3 {
        let store = Memory::default();
        for shard in shards(3).filter(|shard| shard.index != absent) {
            let job = school.job(Command::Backfill, Some(shard));
            let summary = school.run(store.clone(), &job).await.unwrap();
            assert!(!summary.ends_job());
        }
        let days = |store: &Memory| {
            let keys = lake(store).into_keys();
            keys.filter(|key| key.starts_with("_telelake/days/")).count()
        };
        assert!(
            days(&store) < days(&alone),
            "the days of shard {absent} are missing"
        );
        let job = school.job(Command::Backfill, None);
        school.run(store.clone(), &job).await.unwrap();
        assert_same(&lake(&store), &lake(&alone), &format!("without shard {absent}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_of_a_night_share_the_open_days_too() {
    let school = School::small().await;
    let (_, to) = school.dates();
    let night = |shard: Option<Shard>| Job {
        shard: shard.map(JobShard::new),
        ..Job::nightly(to - Days::new(1), to)
    };
    // Reports that are not there yet keep their days open.
    school.sim.edit(|school| {
        school
            .calls
            .iter_mut()
            .for_each(|call| call.set_report(Report::Missing))
    });
    let (one, _) = school.alone().await;
    let many = one.copy();
    let open = |store: &Memory| {
        let keys = lake(store).into_keys();
        keys.filter(|key| key.starts_with("_telelake/open/")).count()
    };
    assert!(open(&one) > 10, "{} days are open", open(&one));
    school.sim.edit(|school| {
        school
            .calls
            .iter_mut()
            .for_each(|call| call.set_report(Report::Whole))
    });
    school.run(one.clone(), &night(None)).await.unwrap();
    let runs = shards(4).map(|shard| {
        let (job, store, school) = (night(Some(shard)), many.clone(), &school);
        async move { school.run(store, &job).await.unwrap() }
    });
    let summaries = join_all(runs).await;
    assert_same(&lake(&many), &lake(&one), "a night by four shards");
    assert_eq!((last(&summaries), open(&many)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_by_shards_restores_what_one_rebuild_restores() {
    let school = School::small().await;
    let (alone, _) = school.alone().await;
    let damaged = alone.copy();
    for key in lake(&alone).into_keys().filter(|key| key.ends_with(".parquet")) {
        damaged.delete(&key).await.unwrap();
    }
    for count in [1, 3, 7] {
        let store = damaged.copy();
        let runs = shards(count).map(|shard| {
            let (job, store) = (school.job(Command::Rebuild, Some(shard)), store.clone());
            let setting = Setting::new(school.config(), Arc::new(store), now());
            async move {
                Box::pin(Rebuilder::new(setting).unwrap().run(&job))
                    .await
                    .unwrap()
            }
        });
        let summaries = join_all(runs).await;
        assert!(summaries.iter().all(|summary| summary.exit_status == 0));
        assert_eq!(last(&summaries), 1);
        let days: u64 = summaries.iter().map(|summary| summary.counts.days).sum();
        assert_eq!(days, 24, "each day once");
        assert_same(&lake(&store), &lake(&alone), &format!("{count} shards"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_verify_each_day_once_and_find_what_one_verification_finds() {
    let school = School::small().await;
    let (store, _) = school.alone().await;
    let keys: Vec<_> = lake(&store).into_keys().collect();
    let of = |prefix: &str| keys.iter().find(|key| key.starts_with(prefix)).unwrap().clone();
    store.delete(&of("participants/")).await.unwrap();
    store.delete(&of("rooms/")).await.unwrap();
    for stray in [
        "raw/notes.txt",
        "media/date=2025-02-27/stray.txt",
        "_telelake/something",
    ] {
        store.put(stray, "?".into(), Condition::Any).await.unwrap();
    }
    let verified = async |shard: Option<Shard>| {
        let setting = Setting::new(school.config(), Arc::new(store.clone()), now());
        let options = VerifyOptions {
            deep: true,
            shard,
            ..VerifyOptions::default()
        };
        Verifier::new(setting).verify(options).await.unwrap()
    };
    let named = |verified: &Verified| {
        let findings = verified.findings.iter();
        findings
            .map(|finding| format!("{:?} {}", finding.kind, finding.key))
            .collect::<Vec<_>>()
    };
    let whole = verified(None).await;
    assert!(whole.findings.len() >= 5, "{:?}", named(&whole));
    // With twenty shards of eight dates the first shard has none.
    for count in [1, 2, 5, 12, 20] {
        let (mut found, mut days) = (Vec::new(), 0);
        for shard in shards(count) {
            let part = verified(Some(shard)).await;
            found.extend(named(&part));
            days += part.counts.days;
        }
        let mut expected = named(&whole);
        found.sort();
        expected.sort();
        assert_eq!((found, days), (expected, whole.counts.days), "{count} shards");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_ends_the_run_and_the_next_date_goes_on() {
    let school = School::small().await;
    let (alone, whole) = school.alone().await;
    let store = Memory::default();
    let mut config = school.config();
    let budget = whole.counts.requests / 2;
    config.api.requests_per_day = budget;
    let run = async |config: &Config, shard: Option<Shard>| {
        let mut config = config.clone();
        if let Some(shard) = shard {
            config.api.divide(shard);
        }
        let exporter = Exporter::new(Setting::new(config, Arc::new(store.clone()), now())).unwrap();
        Box::pin(exporter.run(&school.job(Command::Backfill, shard)))
            .await
            .unwrap()
    };
    school.sim.clear_log();
    for _ in 0..2 {
        let runs = join_all(shards(2).map(|shard| run(&config, Some(shard)))).await;
        for summary in &runs {
            let cause = summary.cause.clone().unwrap_or_default();
            assert_eq!((summary.exit_status, summary.interrupted), (3, true), "{cause}");
            assert!(
                cause.contains("api.requests_per_day") && cause.contains("T00:00:00"),
                "{cause}"
            );
            assert!(!summary.ends_job());
        }
    }
    let sent = school.sim.total_count() - school.sim.count(Endpoint::Blob);
    // A stop may catch requests that were counted and not sent yet.
    let in_flight = Config::default().api.concurrency as u64;
    let within = budget - in_flight..=budget;
    assert!(
        within.contains(&(sent as u64)),
        "all runs of the date together: {sent} of {budget}"
    );
    // Another date, whose budget is large enough.
    forget_the_date(&store).await;
    config.api.requests_per_day = 2 * whole.counts.requests;
    let summary = run(&config, None).await;
    assert_eq!(
        (summary.exit_status, summary.cause),
        (0, None),
        "{:?}",
        summary.failed
    );
    let mut found = lake(&store);
    found.retain(|key, _| !key.starts_with("_telelake/requests/") && !key.starts_with("_telelake/open/"));
    assert_same(&found, &lake(&alone), "after the budget");
}

/// Forgets the requests of the date, as if the next one had come.
async fn forget_the_date(store: &Memory) {
    for key in store
        .contents()
        .into_keys()
        .filter(|key| key.starts_with("_telelake/requests/2"))
    {
        store.delete(&key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_goes_on_date_by_date_with_a_budget_that_is_far_too_small_for_all_of_it() {
    let mut school = School::start(Options {
        spaces: 1,
        rooms: 3,
        dates: telelake::simulator::days("2025-01-20".parse().unwrap(), 40),
        recorded: 0.0,
        calls_per_day: 1..=1,
        participants: 1..=1,
        ..Options::default()
    })
    .await;
    school.formats = vec![ReportFormat::Json];
    let (alone, whole) = school.alone().await;
    let store = Memory::default();
    let mut config = school.config();
    config.api.requests_per_day = whole.counts.requests / 4;
    let job = school.job(Command::Backfill, None);
    let mut statuses = Vec::new();
    while statuses.last() != Some(&0) && statuses.len() < 12 {
        forget_the_date(&store).await;
        let run = async || {
            let exporter =
                Exporter::new(Setting::new(config.clone(), Arc::new(store.clone()), now())).unwrap();
            Box::pin(exporter.run(&job)).await.unwrap().exit_status
        };
        statuses.push(run().await);
        if statuses.last() == Some(&3) {
            // A retry on the same date, which gets no answer at all, loses no progress.
            assert_eq!(run().await, 3);
        }
    }
    let (last, before) = statuses.split_last().unwrap();
    assert!(
        *last == 0 && before.len() > 2 && before.iter().all(|status| *status == 3),
        "{statuses:?}"
    );
    let mut found = lake(&store);
    found.retain(|key, _| !key.starts_with("_telelake/requests/") && !key.starts_with("_telelake/open/"));
    assert_same(&found, &lake(&alone), "date by date");
    let resumes = store.get("_telelake/requests/resume.json").await.unwrap();
    assert_eq!(
        &resumes.bytes[..],
        b"{}\n",
        "the next one begins at its first date"
    );
    config.api.requests_per_day = 5;
    forget_the_date(&store).await;
    let exporter = Exporter::new(Setting::new(config, Arc::new(store.clone()), now())).unwrap();
    let starved = Box::pin(exporter.run(&job)).await.unwrap();
    assert!(starved.cause.unwrap().contains("the lists alone take more"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_that_cannot_be_reached_fails_its_shard_and_does_not_hold_up_the_job() {
    let school = School::small().await;
    let denied = school.sim.school().spaces[0].id.clone();
    school.sim.faults().order(
        Matcher::endpoint(Endpoint::Rooms).containing(&denied),
        Failure::Status(403),
    );
    let store = Memory::default();
    let runs = shards(3).map(|shard| {
        let (job, store, school) = (school.job(Command::Backfill, Some(shard)), store.clone(), &school);
        async move { school.run(store, &job).await.unwrap() }
    });
    let summaries = join_all(runs).await;
    let mut statuses: Vec<_> = summaries.iter().map(|summary| summary.exit_status).collect();
    statuses.sort_unstable();
    assert_eq!((statuses, last(&summaries)), (vec![0, 0, 3], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_cut_the_days_in_other_places_fail_and_say_so() {
    let school = School::small().await;
    let store = Memory::default();
    let day = DayId::new(school.dates().0, school.sim.school().spaces[0].id.as_str());
    let mut summaries = Vec::new();
    for (index, recorded) in [(0, RecordedBytes::new()), (1, [(day, 1 << 30)].into())] {
        let mut job = school.job(Command::Run, Some(Shard::new(index, 2).unwrap()));
        job.shard.as_mut().unwrap().recorded = Arc::new(recorded);
        summaries.push(school.run(store.clone(), &job).await.unwrap());
    }
    let of_last: Vec<_> = summaries[1]
        .failed
        .iter()
        .map(|problem| problem.kind.as_str())
        .collect();
    assert_eq!((summaries[1].exit_status, of_last), (3, vec!["shards_differ"]));
    let jobs = telelake::pipeline::shared_jobs(&store, now(), 5).await.unwrap();
    assert_eq!((jobs.len(), jobs[0].differ, jobs[0].whole), (1, true, true));
    assert!(
        jobs[0].for_people().contains("give the job again"),
        "{}",
        jobs[0].for_people()
    );
}

/// The calls of the last date are listed by the first shard before they have settled.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_from_before_a_date_has_settled_is_not_used() {
    let school = School::start(Options {
        spaces: 1,
        rooms: 2,
        empty_rooms: 0.0,
        dates: telelake::simulator::days("2025-03-04".parse().unwrap(), 2),
        calls_per_day: 1..=1,
        ..Options::default()
    })
    .await;
    let store = Memory::default();
    let run = async |index: u32, at: &str| {
        let job = school.job(Command::Backfill, Some(Shard::new(index, 2).unwrap()));
        let setting = Setting::new(school.config(), Arc::new(store.clone()), at.parse().unwrap());
        let summary = Box::pin(Exporter::new(setting).unwrap().run(&job)).await.unwrap();
        assert_eq!(summary.exit_status, 0, "{:?}", summary.failed);
    };
    run(0, "2025-03-06T00:10:00Z").await;
    let calls: Vec<_> = school
        .sim
        .school()
        .calls
        .iter()
        .map(|call| call.id.clone())
        .collect();
    let late = calls.last().unwrap();
    school
        .sim
        .edit(|school| school.add_call_like(late, chrono::TimeDelta::minutes(1)))
        .unwrap();
    run(1, "2025-03-06T00:41:00Z").await;
    let known: usize = crate::reliability::manifests(&lake(&store))
        .iter()
        .map(|day| day.calls.len())
        .sum();
    assert_eq!(known, calls.len() + 1, "the call that came meanwhile");
}
