//! Tests of the queue, also across restarts.

use futures_util::FutureExt;

use super::*;
use crate::pipeline::Only;
use crate::store::folder::FolderStore;

struct Bench {
    _folder: tempfile::TempDir,
    store: FolderStore,
    queue: Queue,
    daemon: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        Self {
            _folder: folder,
            store,
            queue: Queue::default(),
            daemon: CancellationToken::new(),
        }
    }

    async fn push(&self, from: &str) -> JobId {
        let pushed = self.queue.push(&self.store, job(from), somebody()).await;
        pushed.expect("kept")
    }

    fn pop(&self) -> (Work, Stop) {
        self.queue.pop(&self.daemon).expect("work")
    }

    async fn restarted(&self) -> Queue {
        let queue = Queue::default();
        queue.load(&self.store, date("2026-11-23")).await.expect("loaded");
        queue
    }
}

fn date(text: &str) -> NaiveDate {
    text.parse().expect("date")
}

fn job(from: &str) -> JobRequest {
    JobRequest {
        spaces: vec!["s".into()],
        only: Some(Only::Analytics),
        ..JobRequest::dates(date(from), date(from))
    }
}

fn somebody() -> Caller {
    serde_json::from_str(r#"{"kind":"session","address":"10.0.0.7"}"#).expect("caller")
}

#[tokio::test]
async fn due_runs_merge_go_first_and_asked_jobs_outlive_a_restart() {
    let bench = Bench::new();
    bench.push("2026-11-01").await;
    bench.push("2026-11-02").await;
    let now = Utc::now();
    bench.queue.push_scheduled(now);
    bench.queue.push_scheduled(now + TimeDelta::hours(1));
    assert_eq!(bench.queue.waiting().len(), 3);
    let scheduled = Work::Scheduled { due: now };
    assert_eq!(bench.pop().0, scheduled);
    let in_hand = bench.queue.all().1.expect("seen until it is over");
    assert_eq!(in_hand.work, scheduled);
    bench.queue.over(&bench.store).await.expect("over");
    assert!(bench.queue.all().1.is_none());
    let restarted = bench.restarted().await;
    assert_eq!(restarted.waiting(), bench.queue.waiting());
    let Some((
        Work::Requested {
            job: first, asked_by, ..
        },
        _,
    )) = restarted.pop(&bench.daemon)
    else {
        panic!("no job")
    };
    assert_eq!((&first, asked_by), (&job("2026-11-01"), somebody()));
    assert_eq!(first.job(None).only, Some(Only::Analytics));
    restarted.over(&bench.store).await.expect("over");
    assert_eq!(bench.restarted().await.waiting().len(), 1);
}

#[tokio::test]
async fn looking_for_work_wakes_nobody_and_new_work_does() {
    let bench = Bench::new();
    let woken = || bench.queue.wake.notified().now_or_never().is_some();
    assert!(bench.queue.pop(&bench.daemon).is_none());
    assert!(!woken(), "an empty queue was looked at");
    bench.push("2026-11-01").await;
    assert!(woken(), "a job came");
    bench.pop();
    assert!(!woken(), "a job was taken");
    bench.queue.over(&bench.store).await.expect("over");
    assert!(!woken(), "a job was done");
    bench.queue.push_scheduled(Utc::now());
    assert!(woken(), "a run is due");
}

#[tokio::test]
async fn a_cancelled_job_neither_begins_nor_goes_on_nor_comes_back() {
    let bench = Bench::new();
    let (first, second) = (bench.push("2026-11-01").await, bench.push("2026-11-02").await);
    let (_, stop) = bench.pop();
    for id in [&first, &second] {
        let cancelled = bench.queue.cancel(&bench.store, id.as_str(), &somebody()).await;
        assert_eq!(cancelled.expect("cancelled").expect("work").id(), *id);
    }
    assert!(bench.queue.waiting().is_empty());
    assert!(stop.token().is_cancelled() && !bench.daemon.is_cancelled());
    assert_eq!(
        stop.reason(),
        Some(StopReason::Cancelled("session from 10.0.0.7".into()))
    );
    bench.queue.put_back(&bench.store, Some(date("2026-11-01"))).await;
    assert!(bench.queue.waiting().is_empty());
    assert!(bench.restarted().await.waiting().is_empty());
    let again = bench
        .queue
        .cancel(&bench.store, first.as_str(), &somebody())
        .await;
    assert_eq!(again.expect("read"), None);
}

#[tokio::test]
async fn a_scheduled_run_can_be_cancelled_too() {
    let bench = Bench::new();
    let due = "2026-11-23T02:00:00Z".parse().expect("instant");
    bench.queue.push_scheduled(due);
    let id = "scheduled-20261123T020000Z";
    let cancelled = bench.queue.cancel(&bench.store, id, &somebody()).await;
    assert_eq!(cancelled.expect("cancelled"), Some(Work::Scheduled { due }));
    assert!(bench.queue.waiting().is_empty());
}

#[tokio::test]
async fn a_job_makes_way_for_the_night_and_goes_on_behind_it_where_it_was() {
    let bench = Bench::new();
    bench.push("2026-11-01").await;
    bench.push("2026-11-02").await;
    let (_, stop) = bench.pop();
    bench.queue.push_scheduled(Utc::now());
    assert_eq!(stop.reason(), Some(StopReason::MadeWay));
    bench.queue.put_back(&bench.store, Some(date("2026-11-01"))).await;
    let (night, of_night) = bench.pop();
    assert!(night.is_scheduled());
    bench.queue.push_scheduled(Utc::now());
    assert_eq!(of_night.reason(), None, "a night makes way for none");
    bench.queue.over(&bench.store).await.expect("over");
    assert_eq!(
        bench.pop().0.id(),
        night_after(&bench),
        "the night that came due meanwhile"
    );
    bench.queue.over(&bench.store).await.expect("over");
    let restarted = bench.restarted().await;
    let (work, stop) = bench.pop();
    let Work::Requested { resume_at, job, .. } = &work else {
        panic!("{work:?}")
    };
    assert_eq!(*resume_at, Some(date("2026-11-01")));
    assert_eq!(job.from, date("2026-11-01"));
    assert_eq!(restarted.waiting()[0], work, "kept for a restart");
    // A schedule so dense that the job would never come to anything does not starve it.
    bench.queue.push_scheduled(Utc::now());
    assert_eq!(stop.reason(), None);
    bench.queue.make_way(Utc::now() + TURN);
    assert_eq!(stop.reason(), Some(StopReason::MadeWay));
}

fn night_after(bench: &Bench) -> JobId {
    bench.queue.all().1.expect("in hand").work.id()
}

#[tokio::test]
async fn while_paused_nothing_begins_also_after_a_restart() {
    let bench = Bench::new();
    bench.push("2026-11-01").await;
    let now = Utc::now();
    let paused = bench
        .queue
        .pause(&bench.store, &somebody(), now)
        .await
        .expect("paused");
    assert_eq!((paused.since, &paused.by), (now, &somebody()));
    let again = bench
        .queue
        .pause(&bench.store, &Caller::default(), Utc::now())
        .await;
    assert_eq!(again.expect("paused"), paused, "since the first time");
    bench.queue.push_scheduled(now);
    assert!(bench.queue.pop(&bench.daemon).is_none());
    let restarted = bench.restarted().await;
    assert_eq!(restarted.paused(), Some(paused.clone()));
    assert!(restarted.pop(&bench.daemon).is_none());
    restarted.wake.notified().now_or_never();
    assert_eq!(
        restarted.resume(&bench.store).await.expect("resumed"),
        Some(paused)
    );
    assert!(restarted.wake.notified().now_or_never().is_some());
    assert!(restarted.pop(&bench.daemon).is_some());
    assert_eq!(bench.restarted().await.paused(), None);
}

#[tokio::test]
async fn a_kept_job_that_breaks_the_rule_of_dates_is_dropped_and_holds_up_no_other() {
    let bench = Bench::new();
    for (id, from, to) in [
        ("1", "0026-11-20", "2026-11-20"),
        ("2", "2026-11-20", "2026-11-20"),
        ("3", "2026-11-20", "9999-01-01"),
    ] {
        let kept = format!(
            r#"{{"kind":"asked","id":"{id}","asked_at":"2026-11-20T10:00:00Z","job":{{"from":"{from}","to":"{to}"}}}}"#
        );
        let put = bench
            .store
            .put(&key::queued(id), kept.into(), Condition::Any)
            .await;
        put.expect("put");
    }
    let restarted = bench.restarted().await;
    let ids: Vec<_> = restarted
        .waiting()
        .iter()
        .map(|work| work.id().to_string())
        .collect();
    assert_eq!(ids, ["2"], "of an earlier version, and right");
    assert_eq!(bench.store.list(key::QUEUE).await.expect("list").len(), 1);
}
