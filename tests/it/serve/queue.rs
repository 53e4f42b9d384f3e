//! Jobs for an operator: requested by one rule, listed, confirmed, cancelled, paused, retried and audited.

use std::time::Duration;

use chrono::{Days, Utc};
use serde_json::{Value, json};
use telelake::simulator::{Endpoint, Failure, Matcher, Simulator};

use crate::pipeline::small;
use crate::support::daemon::{Daemon, Plan, metric};
use crate::support::eventually::{eventually, eventually_some};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

/// Polls a path until its answer meets the condition.
async fn until(daemon: &Daemon, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually_some(path, async || {
        let (_, text) = daemon.get(path).await;
        Some(serde_json::from_str(&text).unwrap()).filter(&wanted)
    })
    .await
}

async fn ask(daemon: &Daemon, path: &str, body: Value) -> (u16, Value) {
    let (status, text) = daemon.post(path, &body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn cancel(daemon: &Daemon, id: &str) -> (u16, Value) {
    let path = format!("/api/jobs/{id}");
    let answer = daemon
        .request(reqwest::Method::DELETE, &path)
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    (
        status,
        serde_json::from_str(&answer.text().await.unwrap()).unwrap(),
    )
}

/// A job over the whole school.
fn whole(sim: &Simulator) -> Value {
    let dates = &sim.options().dates;
    json!({"from": dates[0], "to": dates[dates.len() - 1]})
}

/// Stalls the first report for as long as the daemon lives.
fn stall(sim: &Simulator) {
    sim.faults().order(
        Matcher::endpoint(Endpoint::Report).first(1),
        Failure::Stall(Duration::from_secs(600)),
    );
}

/// Waits until the job in work has asked for reports.
async fn at_work(daemon: &Daemon) -> Value {
    let is_at_work = |jobs: &Value| jobs["jobs"][0]["progress"]["reports"]["goal"].as_u64() > Some(0);
    until(daemon, "/api/jobs", is_at_work).await
}

async fn runs(lake: &Lake) -> Vec<Value> {
    let mut runs = Vec::new();
    for key in lake.keys().await.into_keys() {
        if key.starts_with("_telelake/runs/") {
            runs.push(lake.json(&key).await);
        }
    }
    runs
}

async fn kept_jobs(lake: &Lake) -> usize {
    let keys = lake.keys().await;
    keys.keys()
        .filter(|key| key.starts_with("_telelake/queue/"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_daemon_makes_no_calls() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake).start().await;
    until(&daemon, "/readyz", |answer| answer["ready"] == true).await;
    let turns = async || {
        let (_, text) = daemon.get("/metrics").await;
        ["runs", "events", "imports", "passing"]
            .map(|name| metric(&text, &format!("telelake_loop_turns_total{{name=\"{name}\"}}")))
    };
    let before = turns().await;
    assert!(before.iter().all(|turns| *turns <= 3.0), "{before:?}");
    for _ in 0..50 {
        daemon.get("/api/jobs").await;
    }
    assert_eq!(turns().await, before);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_api_and_page_check_dates_by_the_same_rule() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake).start().await;
    until(&daemon, "/readyz", |answer| answer["ready"] == true).await;
    let asked = sim.total_count();
    let later = (Utc::now().date_naive() + Days::new(2)).to_string();
    let later = later.as_str();
    for (from, to, named) in [
        ("0026-11-20", "0026-11-20", "0026-11-20"),
        ("2014-12-31", "2025-03-03", "2014-12-31"),
        ("2025-03-03", later, later),
        ("2025-03-04", "2025-03-03", "2025-03-04 to 2025-03-03"),
    ] {
        let (status, answer) = ask(
            &daemon,
            "/api/backfill",
            json!({"from": from, "to": to, "confirm": true}),
        )
        .await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(named), "{answer}");
        let form = format!("from={from}&to={to}");
        let page = daemon
            .request(reqwest::Method::POST, "/backfill")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", &daemon.base)
            .body(form);
        let page = page.send().await.unwrap();
        assert!(page.status().is_client_error(), "{}", page.status());
        for command in ["backfill", "rebuild"] {
            let command = Telelake::against(&sim, &lake, &[command, "--from", from, "--to", to]);
            let said = command.run().await.expect(2).stderr;
            assert!(said.contains(named), "{said}");
        }
    }
    for date in ["0026-11-20", later] {
        let message = "from 2015-01-01 to";
        let (status, answer) = ask(&daemon, "/api/retry", json!({"date": date, "space": "s"})).await;
        assert!(
            status == 400 && answer["error"].as_str().unwrap().contains(message),
            "{answer}"
        );
        let run = Telelake::against(&sim, &lake, &["run", "--date", date]);
        assert!(run.run().await.expect(2).stderr.contains(message));
    }
    assert_eq!(sim.total_count(), asked, "the vendor was asked");
    assert_eq!(kept_jobs(&lake).await, 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_in_another_form_is_refused_and_reading_may_end_in_the_future() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake).start().await;
    until(&daemon, "/readyz", |answer| answer["ready"] == true).await;
    for form in ["2025-3-3", "25-03-03", "03.03.2025", "+2025-03-03"] {
        let (status, _) = ask(
            &daemon,
            "/api/backfill",
            json!({"from": form, "to": "2025-03-03"}),
        )
        .await;
        assert_eq!(status, 400, "{form}");
        let form = form.replace('+', "%2B");
        assert_eq!(
            daemon.get(&format!("/api/status?from={form}")).await.0,
            400,
            "{form}"
        );
    }
    assert_eq!(daemon.get("/api/status?from=2014-12-31").await.0, 400);
    assert_eq!(
        daemon.get("/api/status?to=2100-01-01").await.0,
        200,
        "a later end does no harm"
    );
    for command in ["status", "verify"] {
        let run = |from: &'static str, to: &'static str| {
            Telelake::against(&sim, &lake, &[command, "--from", from, "--to", to]).run()
        };
        assert!(
            run("0026-11-20", "2025-03-03")
                .await
                .expect(2)
                .stderr
                .contains("2015-01-01")
        );
        if command == "status" {
            run("2025-03-03", "2100-01-01").await.expect(0);
        }
    }
    assert_eq!(kept_jobs(&lake).await, 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_more_than_400_days_shows_its_plan_and_has_to_be_confirmed() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let long = ["backfill", "--from", "2024-02-01", "--to", "2025-03-07"];
    let refused = Telelake::against(&sim, &lake, &long).run().await.expect(2);
    for part in ["plan: 2024-02-01 to 2025-03-07, 401 days", "--yes"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert_eq!(sim.total_count(), 0);
    let yes = [&["--log-format", "json"], &long[..], &["--yes"]].concat();
    let confirmed = Telelake::against(&sim, &lake, &yes).run().await.expect(0);
    assert!(confirmed.stderr.contains("401 days") && confirmed.count("reports_landed") > 0);
    let daemon = Plan::new(&sim, &lake).start().await;
    daemon.post("/api/pause", "{}").await;
    let job = json!({"from": "2024-02-01", "to": "2025-03-07"});
    let (status, answer) = ask(&daemon, "/api/backfill", job.clone()).await;
    assert_eq!(status, 409, "{answer}");
    let plan = &answer["plan"];
    assert_eq!(
        (&plan["days"], &plan["spaces"]),
        (&json!(401), &json!([sim.school().spaces[0].id]))
    );
    assert!(
        plan["days_in_lake"].as_u64() > Some(0) && plan["rooms"] == json!(6),
        "{plan}"
    );
    assert_eq!(kept_jobs(&lake).await, 0);
    let mut confirmed = job;
    confirmed["confirm"] = json!("yes");
    assert_eq!(ask(&daemon, "/api/backfill", confirmed.clone()).await.0, 400);
    confirmed["confirm"] = json!(true);
    assert_eq!(ask(&daemon, "/api/backfill", confirmed).await.0, 202);
    assert_eq!(kept_jobs(&lake).await, 1);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_and_running_jobs_are_listed_and_cancelled() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    stall(&sim);
    let daemon = Plan::new(&sim, &lake).start().await;
    let (status, first) = ask(&daemon, "/api/backfill", whole(&sim)).await;
    assert_eq!(status, 202);
    let (date, space) = (sim.options().dates[0], sim.school().spaces[0].id.clone());
    let (_, second) = ask(&daemon, "/api/retry", json!({"date": date, "space": space})).await;
    let listed = at_work(&daemon).await;
    assert_eq!(listed["paused"], Value::Null);
    let [one, two] = &listed["jobs"].as_array().unwrap()[..] else {
        panic!("{listed}")
    };
    assert_eq!(
        (&one["id"], &one["kind"], &one["state"]),
        (&first["id"], &json!("backfill"), &json!("running"))
    );
    assert!(one["since"].is_string() && one["position"].is_null(), "{one}");
    let caller = json!({"kind": "local", "address": "127.0.0.1"});
    assert_eq!((&one["asked_by"], &one["from"]), (&caller, &json!(date)));
    let meter = &one["progress"]["reports"];
    assert!(
        meter.get("per_second").is_some() && meter.get("eta_seconds").is_some(),
        "{meter}"
    );
    assert_eq!(
        (&two["id"], &two["state"], &two["position"]),
        (&second["id"], &json!("waiting"), &json!(0))
    );
    assert_eq!(two["spaces"], json!([space]));
    assert!(two["asked_at"].is_string() && two["progress"].is_null(), "{two}");

    assert_eq!(cancel(&daemon, "no-such-job").await.0, 404);
    for id in [&second["id"], &first["id"]] {
        let (status, job) = cancel(&daemon, id.as_str().unwrap()).await;
        assert_eq!((status, &job["id"]), (202, id), "{job}");
    }
    daemon.ended("backfill", 0).await;
    until(&daemon, "/api/jobs", |jobs| jobs["jobs"] == json!([])).await;
    assert_eq!(cancel(&daemon, first["id"].as_str().unwrap()).await.0, 404);
    assert_eq!(kept_jobs(&lake).await, 0);
    let made = runs(&lake).await;
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(
        (&made[0]["outcome"], &made[0]["exit_status"]),
        (&json!("cancelled"), &json!(3))
    );
    assert_eq!(made[0]["cancelled_by"], "local from 127.0.0.1");
    for (action, count) in [("job_asked", 1), ("job_retried", 1), ("job_cancelled", 2)] {
        let lines: Vec<Value> = daemon
            .log()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let lines: Vec<_> = lines.iter().filter(|line| line["action"] == action).collect();
        assert_eq!(lines.len(), count, "{action}");
        for line in lines {
            assert_eq!(
                (&line["audit"], &line["by"], &line["address"]),
                (&json!(true), &json!("local"), &json!("127.0.0.1"))
            );
            assert_eq!(line["target"], "telelake::audit");
        }
    }
    // Nothing is lost, because a run over the same dates fetches the rest.
    sim.faults().clear();
    ask(&daemon, "/api/backfill", whole(&sim)).await;
    daemon.ended("backfill", 1).await;
    crate::support::truth::assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_while_the_queue_is_paused() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake).start().await;
    let (status, paused) = ask(&daemon, "/api/pause", json!({})).await;
    assert_eq!(status, 200, "{paused}");
    ask(&daemon, "/api/backfill", whole(&sim)).await;
    daemon.stop().await;
    let once =
        Telelake::against(&sim, &lake, &["serve", "--once"]).env("TELELAKE_SERVE__LISTEN", "127.0.0.1:0");
    let once = once.run().await.expect(3);
    assert!(once.stderr.contains("the queue is paused"), "{}", once.stderr);
    let lesson = super::hold_lesson(&sim);
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SCHEDULE__CRON", "* * * * * *")
        .start()
        .await;
    assert_eq!(
        super::send(&daemon, &lesson.record_finished, super::SECRET).await,
        200
    );
    let waiting = until(&daemon, "/api/jobs", |jobs| {
        jobs["jobs"].as_array().unwrap().len() == 2
    })
    .await;
    assert_eq!(waiting["paused"], paused["paused"]);
    assert_eq!(waiting["paused"]["by"]["kind"], "local");
    let kinds: Vec<_> = waiting["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["kind"])
        .collect();
    assert_eq!(kinds, ["run", "backfill"], "the night first");
    assert!(
        waiting["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|job| job["state"] == "waiting")
    );
    daemon.metric_becomes("telelake_paused", 1.0).await;
    until(&daemon, "/readyz", |answer| answer["ready"] == true).await;
    let listed = [Endpoint::Calls, Endpoint::Report, Endpoint::Link].map(|endpoint| sim.count(endpoint));
    assert_eq!(listed, [0; 3], "something began");
    assert_eq!(ask(&daemon, "/api/resume", json!({})).await.0, 200);
    daemon.ended("run", 0).await;
    daemon.ended("backfill", 0).await;
    daemon.ended("webhook", 0).await;
    assert_eq!(daemon.metric("telelake_paused").await, 0.0);
    assert_eq!(daemon.json("/api/jobs").await["paused"], Value::Null);
    daemon
        .logged(|line| line["action"] == "resumed" && line["audit"] == true)
        .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nightly_run_interrupts_a_job_which_then_goes_on() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    stall(&sim);
    // Due soon after the job starts, and not before.
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SCHEDULE__CRON", "*/10 * * * * *")
        .env("TELELAKE_SCHEDULE__CATCH_UP", "false")
        .start()
        .await;
    let (_, job) = ask(&daemon, "/api/backfill", whole(&sim)).await;
    daemon
        .logged(|line| line["job"] == job["id"] && line["message"].as_str().unwrap().contains("makes way"))
        .await;
    sim.faults().clear();
    daemon.ended("run", 0).await;
    // First interrupted, then complete.
    daemon.ended("backfill", 1).await;
    let ends: Vec<String> = daemon
        .log()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "the run ended")
        .map(|line| line["command"].as_str().unwrap().to_owned())
        .collect();
    let first = ends.iter().position(|command| command == "backfill").unwrap();
    let last = ends.iter().rposition(|command| command == "backfill").unwrap();
    assert!(ends[first + 1..last].contains(&"run".to_owned()), "{ends:?}");
    crate::support::truth::assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    let cut = runs(&lake)
        .await
        .into_iter()
        .find(|run| run["command"] == "backfill")
        .unwrap();
    assert_eq!(cut["outcome"], "partial");
    assert!(cut["cause"].as_str().unwrap().contains("made way"), "{cut}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_covers_only_its_room_call_or_record() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake).start().await;
    ask(&daemon, "/api/backfill", whole(&sim)).await;
    daemon.ended("backfill", 0).await;
    let school = sim.school();
    let record = school
        .records
        .iter()
        .find(|record| record.call_id.is_some() && record.file_size > Some(0))
        .unwrap();
    let call = school
        .calls
        .iter()
        .find(|call| Some(&call.id) == record.call_id.as_ref())
        .unwrap();
    let (date, space) = (call.started_at.date_naive(), call.space_id.clone());
    let retry = async |more: Value, nth: usize| {
        sim.clear_log();
        let mut body = json!({"date": date, "space": space});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let (status, answer) = ask(&daemon, "/api/retry", body).await;
        assert_eq!(status, 202, "{answer}");
        daemon.ended("backfill", nth).await;
        sim.requests()
    };
    let seen = retry(json!({"call": call.id}), 1).await;
    let reports: Vec<_> = seen
        .iter()
        .filter(|seen| seen.endpoint == Endpoint::Report)
        .collect();
    assert!(
        !reports.is_empty() && reports.iter().all(|seen| seen.query.contains(&call.id)),
        "{reports:?}"
    );
    assert!(seen.iter().all(|seen| seen.endpoint != Endpoint::Link));
    let of_room = |seen: &&telelake::simulator::AnsweredRequest| {
        !matches!(seen.endpoint, Endpoint::Calls) || seen.query.contains(&call.room_id)
    };
    assert!(seen.iter().all(|seen| of_room(&seen)), "another room was listed");

    let seen = retry(json!({"record": record.id}), 2).await;
    let links: Vec<_> = seen
        .iter()
        .filter(|seen| seen.endpoint == Endpoint::Link)
        .collect();
    assert!(
        !links.is_empty() && links.iter().all(|seen| seen.path.contains(&record.id)),
        "{links:?}"
    );
    assert!(seen.iter().all(|seen| seen.endpoint != Endpoint::Report));

    let seen = retry(json!({"room": call.room_id}), 3).await;
    assert!(seen.iter().all(|seen| of_room(&seen)), "another room was listed");
    assert!(
        seen.iter()
            .all(|seen| !matches!(seen.endpoint, Endpoint::Report | Endpoint::Link)),
        "all was there"
    );

    let of = |more: Value| {
        let mut body = json!({"date": date, "space": space});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        ask(&daemon, "/api/retry", body)
    };
    assert_eq!(of(json!({"call": "no-such-call"})).await.0, 404);
    assert_eq!(of(json!({"call": call.id, "room": "another"})).await.0, 404);
    assert_eq!(of(json!({"call": call.id, "record": record.id})).await.0, 400);
    assert_eq!(of(json!({"cal": call.id})).await.0, 400, "an unknown field");
    crate::support::truth::assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_shown_from_its_start_and_a_killed_run_is_marked() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    stall(&sim);
    let status = async || {
        let said = Telelake::new(&["status", "--json"])
            .lake(&lake)
            .run()
            .await
            .expect(0);
        said.summary()["runs"][0].clone()
    };
    let dates = crate::pipeline::range(&sim);
    let args = crate::pipeline::backfill(&dates, &[]);
    let mut child = Telelake::against(&sim, &lake, &args).start();
    eventually("the run is in the lake", async || !runs(&lake).await.is_empty()).await;
    let running = status().await;
    assert_eq!(
        (&running["outcome"], &running["command"]),
        (&json!("running"), &json!("backfill"))
    );
    assert_eq!(running["pid"], json!(child.id().unwrap()));
    assert!(
        !running["host"].as_str().unwrap().is_empty() && running["started_at"].is_string(),
        "{running}"
    );
    assert_eq!(running["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&running["from"], &running["finished_at"]),
        (&json!(dates[1]), &Value::Null)
    );
    child.kill().await.unwrap();
    let killed = status().await;
    assert_eq!(killed["outcome"], "killed");
    assert!(killed["cause"].as_str().unwrap().contains("is gone"), "{killed}");
    let text = Telelake::new(&["status"])
        .lake(&lake)
        .run()
        .await
        .expect(0)
        .stdout;
    assert!(
        text.contains("KILLED") && text.contains("its last heartbeat"),
        "{text}"
    );
    sim.faults().clear();
    let daemon = Plan::new(&sim, &lake).start().await;
    assert_eq!(daemon.json("/api/runs").await["runs"][0]["outcome"], "killed");
    for path in [
        "/runs".to_owned(),
        format!("/run?id={}", killed["id"].as_str().unwrap()),
    ] {
        let page = daemon
            .request(reqwest::Method::GET, &path)
            .header("accept-language", "en");
        let text = page.send().await.unwrap().text().await.unwrap();
        assert!(text.contains("broke off"), "{path}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_run_is_stored_and_served_by_its_id() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let room = sim.school().rooms[0].id.clone();
    sim.faults().order(
        Matcher::endpoint(Endpoint::Calls).containing(&room),
        Failure::Status(403),
    );
    let daemon = Plan::new(&sim, &lake).start().await;
    for nth in 0..2 {
        ask(&daemon, "/api/backfill", whole(&sim)).await;
        let ended = daemon.ended("backfill", nth).await;
        let run = ended["run"].as_str().unwrap();
        let log = daemon.json(&format!("/api/runs/{run}/log")).await;
        let lines = log["lines"].as_array().unwrap();
        assert!(
            lines.iter().any(|line| line["fields"]["room"] == json!(room)),
            "{log}"
        );
        assert!(lines.iter().all(|line| line["level"] != "DEBUG"), "{log}");
        assert_eq!(lake.json(&format!("_telelake/logs/{run}.json")).await, log);
        assert!(!log.to_string().contains(sim.token()));
    }
    assert_eq!(daemon.get("/api/runs/no-such-run/log").await.0, 404);
    daemon.stop().await;
    Telelake::new(&["verify"]).lake(&lake).run().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_budget_of_requests_is_spent_waits_for_the_next_date() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_API__REQUESTS_PER_DAY", "6")
        .start()
        .await;
    ask(&daemon, "/api/backfill", whole(&sim)).await;
    let ended = daemon.ended("backfill", 0).await;
    let sent = sim.total_count();
    let jobs = daemon.json("/api/jobs").await;
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "{jobs} {ended}");
    let queued = lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("_telelake/queue/"))
        .count();
    assert_eq!(
        (queued, sim.total_count()),
        (1, sent),
        "the job is kept, and nothing more is asked"
    );
    daemon.stop().await;
}
