//! The page shows how things stand: causes, promises and ages.

use chrono::{Days, NaiveDate};
use reqwest::Method;
use serde_json::{Value, json};
use telelake::lake::date_of;
use telelake::simulator::{Endpoint, Failure, Matcher, Oddities, Options, Simulator, days};

use super::page::{backfill, calm_zone, plan, today};
use crate::pipeline::small;
use crate::support::daemon::Daemon;
use crate::support::eventually::eventually_some;
use crate::support::lake::Lake;
use crate::support::program::Telelake;

/// Lessons on the three days up to yesterday, and nothing odd.
pub(super) fn lessons() -> Options {
    Options {
        zone: calm_zone(),
        dates: days(today() - Days::new(3), 3),
        odd: Oddities::none(),
        ..small()
    }
}

/// The visible text of a page, without tags and with single spaces.
pub(super) fn text_of(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        rest = after.split_once('>').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    let text = text
        .replace('\u{a0}', " ")
        .replace("&#39;", "'")
        .replace("&quot;", "\"");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The part of a page with this id, up to the next section.
pub(super) fn section<'a>(html: &'a str, id: &str) -> &'a str {
    let begin = html
        .find(&format!("id=\"{id}\""))
        .unwrap_or_else(|| panic!("no #{id}: {html}"));
    let end = html[begin..]
        .find("</section>")
        .map_or(html.len(), |end| begin + end);
    &html[begin..end]
}

pub(super) async fn page(daemon: &Daemon, path: &str) -> String {
    let (status, html) = daemon.get(path).await;
    assert_eq!(status, 200, "{path}: {html}");
    html
}

/// Waits until the text of a page meets the condition.
pub(super) async fn page_until(daemon: &Daemon, path: &str, is_there: impl Fn(&str) -> bool) -> String {
    eventually_some(path, async || {
        let html = page(daemon, path).await;
        is_there(&text_of(&html)).then_some(html)
    })
    .await
}

pub(super) async fn send_form(daemon: &Daemon, path: &str, fields: &str) -> (u16, String, String) {
    let client = telelake::tls::http_client()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let answer = client
        .request(Method::POST, daemon.url(path))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", &daemon.base)
        .body(fields.to_owned())
        .send()
        .await
        .unwrap();
    let place = answer.headers().get("location");
    let place = place
        .map(|place| place.to_str().unwrap().to_owned())
        .unwrap_or_default();
    (answer.status().as_u16(), place, answer.text().await.unwrap())
}

/// The key of a day of the first space that has calls, and its manifest.
pub(super) async fn a_day(lake: &Lake, date: NaiveDate) -> (String, Value) {
    let keys = lake.keys().await.into_keys();
    let mut keys = keys.filter(|key| key.starts_with(&format!("_telelake/days/date={date}/")));
    let key = keys.next().expect("a day of that date");
    let manifest = lake.json(&key).await;
    assert!(!manifest["calls"].as_object().unwrap().is_empty());
    (key, manifest)
}

pub(super) async fn status(sim: &Simulator, lake: &Lake, args: &[&str]) -> String {
    let args: Vec<&str> = std::iter::once("status").chain(args.iter().copied()).collect();
    let command = Telelake::against(sim, lake, &args).env("TELELAKE_TIMEZONE", calm_zone().name());
    let done = command.run().await;
    assert_eq!(done.status, 0);
    done.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_was_never_built_is_never_shown_as_complete() {
    let sim = Simulator::start(lessons()).await.unwrap();
    let lake = Lake::folder();
    let date = today() - Days::new(1);
    backfill(&sim, &lake, date).await;
    let told: Value = serde_json::from_str(&status(&sim, &lake, &["--json"]).await).unwrap();
    let of_date = |told: &Value| {
        let days = told["days"].as_array().unwrap().clone();
        days.into_iter()
            .filter(|day| day["date"] == date.to_string())
            .collect::<Vec<_>>()
    };
    assert!(
        of_date(&told)
            .iter()
            .all(|day| day["complete"] == true && day["built"] == true),
        "{told}"
    );

    // As if a run was killed between the last landing and the build.
    let (key, mut manifest) = a_day(&lake, date).await;
    let space = manifest["space_id"].as_str().unwrap().to_owned();
    manifest["built"] = Value::Null;
    lake.put(&key, serde_json::to_vec(&manifest).unwrap()).await;
    lake.put(&format!("_telelake/open/date={date}/{space}"), "").await;

    let told: Value = serde_json::from_str(&status(&sim, &lake, &["--json"]).await).unwrap();
    let days = of_date(&told);
    let day = days.iter().find(|day| day["space_id"] == space).unwrap();
    assert_eq!((&day["built"], &day["complete"]), (&json!(false), &json!(false)));
    assert_eq!(day["reason"], "its tables were not built from what was landed");
    let text = status(&sim, &lake, &[]).await;
    assert!(
        text.contains("NOT BUILT") && text.contains("not built from what was landed"),
        "{text}"
    );
    assert!(text.contains("1 of them landed but not built"), "{text}");

    let daemon = plan(&sim, &lake).start().await;
    assert_eq!(
        daemon.metric("telelake_pending{what=\"build\",age=\"1d\"}").await,
        1.0
    );
    let html = page(&daemon, "/").await;
    let cell = format!("class=\"unbuilt\" href=\"/day?date={date}&amp;space={space}\"");
    assert!(html.contains(&cell), "{html}");
    let verdict = text_of(section(&html, "verdict"));
    assert!(
        verdict.contains("were not built") && verdict.contains("will build them"),
        "{verdict}"
    );
    let html = page(&daemon, &format!("/day?date={date}&space={space}")).await;
    let day = text_of(section(&html, "day"));
    assert!(
        day.contains("tables not built") && day.contains("were not built from the landed files"),
        "{day}"
    );
    let day = daemon.json(&format!("/api/day?date={date}&space={space}")).await;
    assert_eq!(day["day"]["built"], false);
    assert_eq!(day["day"]["complete"], false);
    let csv = page(&daemon, "/missing.csv").await;
    assert!(csv.contains("its tables were not built"), "{csv}");

    // The button builds them, and the day is complete.
    let (status, place, _) = send_form(&daemon, "/retry", &format!("date={date}&space={space}")).await;
    assert_eq!((status, place.contains("asked")), (303, true));
    daemon.ended("backfill", 0).await;
    page_until(&daemon, "/", |text| !text.contains("were not built")).await;
    daemon
        .metric_becomes("telelake_pending{what=\"build\",age=\"1d\"}", 0.0)
        .await;
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_shown_with_its_time() {
    let sim = Simulator::start(lessons()).await.unwrap();
    let lake = Lake::folder();
    let date = today() - Days::new(1);
    backfill(&sim, &lake, date).await;
    let daemon = plan(&sim, &lake).start().await;
    let html = page_until(&daemon, "/", |text| text.contains("API took the token at")).await;
    assert!(text_of(section(&html, "verdict")).contains("Yesterday is whole"));
    sim.faults().order(Matcher::any(), Failure::Status(401));
    send_form(&daemon, "/retry", &format!("date={date}")).await;
    daemon.ended("backfill", 0).await;
    // The token is checked right after the failed job, not ten minutes later.
    let html = page_until(&daemon, "/", |text| {
        text.contains("The API refuses the token since")
    })
    .await;
    let verdict = section(&html, "verdict");
    let title = text_of(section(&verdict.replace("</h2>", "</section>"), "verdict-title"));
    let (_, time) = title
        .split_once("The API refuses the token since ")
        .expect("the cause comes first");
    assert!(time.len() == 5 && time.contains(':'), "{time}");
    assert!(!html.contains("took the token"), "{verdict}");
    assert!(
        text_of(verdict).contains("Yesterday is whole"),
        "the day itself is told after it"
    );
    // The time is that of the first refusal, and disappears with it.
    sim.faults().clear();
    page_until(&daemon, "/", |text| text.contains("API took the token at")).await;
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_api_are_counted_by_status_and_space() {
    let options = Options {
        spaces: 2,
        ..lessons()
    };
    let sim = Simulator::start(options).await.unwrap();
    let lake = Lake::folder();
    let date = today() - Days::new(1);
    let space = sim.school().spaces[1].id.clone();
    sim.edit(|school| school.spaces[1].name = "Школа 2".into());
    let of_space = Matcher::endpoint(Endpoint::Report).containing(&space);
    sim.faults().order(of_space, Failure::Status(403));
    backfill(&sim, &lake, date).await;
    let daemon = plan(&sim, &lake).start().await;
    let day = daemon.json(&format!("/api/day?date={date}&space={space}")).await;
    let refused =
        day["day"]["reports_denied"].as_u64().unwrap() + day["day"]["reports_failed"].as_u64().unwrap();
    assert!(refused > 1, "{day}");
    let html = page(&daemon, "/").await;
    let title = section(&html, "verdict").replace("</h2>", "</section>");
    let title = text_of(section(&title, "verdict-title"));
    assert!(title.ends_with(&format!("{refused} × 403 in Школа 2")), "{title}");
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_run_is_promised_only_if_one_comes() {
    let old = today() - Days::new(10);
    let options = Options {
        dates: vec![old, today() - Days::new(1)],
        ..lessons()
    };
    let sim = Simulator::start(options).await.unwrap();
    let lake = Lake::folder();
    let calls = sim.school();
    let on = |date: NaiveDate| {
        let mut calls = calls.calls.iter();
        calls
            .find(|call| date_of(call.started_at, calm_zone()) == date)
            .unwrap()
            .clone()
    };
    for date in [old, today() - Days::new(1)] {
        let report = Matcher::endpoint(Endpoint::Report).containing(&on(date).id);
        sim.faults().order(report, Failure::Status(404));
        backfill(&sim, &lake, date).await;
    }
    // The old day lost its marker; the day before it was seen but not listed, and has no marker.
    let (key, mut manifest) = a_day(&lake, old).await;
    let space = manifest["space_id"].as_str().unwrap().to_owned();
    lake.remove(&format!("_telelake/open/date={old}/{space}")).await;
    let before = old - Days::new(1);
    manifest["date"] = json!(before.to_string());
    manifest["listed"] = json!(false);
    lake.put(
        &key.replace(&old.to_string(), &before.to_string()),
        serde_json::to_vec(&manifest).unwrap(),
    )
    .await;
    let daemon = plan(&sim, &lake).start().await;
    let asked = async |path: String| text_of(section(&page(&daemon, &path).await, "day"));
    let yesterday = today() - Days::new(1);
    let text = asked(format!("/day?date={yesterday}&space={space}")).await;
    assert!(text.contains(", 02:00 asks again by itself"), "{text}");
    let text = asked(format!("/day?date={old}&space={space}")).await;
    assert!(
        text.contains("No run will ask again by itself. Load the day with the button."),
        "{text}"
    );
    assert!(!text.contains("asks again by itself."), "{text}");
    let text = asked(format!("/day?date={before}&space={space}")).await;
    assert!(
        text.contains("No run will load it by itself. Load the day with the button."),
        "{text}"
    );
    assert!(text.contains("Try this day again"), "{text}");
    let text = asked(format!("/day?date={}&space={space}", old - Days::new(5))).await;
    assert!(text.contains("No run will load it by itself"), "{text}");
    // Yesterday's state names what is not ready, and the run that requests it again.
    let verdict = text_of(section(&page(&daemon, "/").await, "verdict"));
    assert!(
        verdict.contains("not ready yet") && verdict.contains("02:00 asks again by itself"),
        "{verdict}"
    );
    // A paused queue promises nothing.
    send_form(&daemon, "/pause", "on=true").await;
    let verdict = text_of(section(&page(&daemon, "/").await, "verdict"));
    assert!(
        verdict.contains("The queue is paused; the next run starts when it is resumed"),
        "{verdict}"
    );
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_known_coverage_stays_while_the_store_is_unreachable() {
    let sim = Simulator::start(lessons()).await.unwrap();
    let lake = Lake::folder();
    let date = today() - Days::new(1);
    backfill(&sim, &lake, date).await;
    let Lake::Folder(folder) = &lake else {
        panic!("a folder")
    };
    let daemon = plan(&sim, &lake).start().await;
    let space = a_day(&lake, date).await.1["space_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let cell = format!("class=\"whole\" href=\"/day?date={date}&amp;space={space}\"");
    let html = page_until(&daemon, "/", |text| text.contains("store in reach")).await;
    assert!(html.contains(&cell) && html.contains("id=\"asof\""));
    let aside = folder.path().with_extension("aside");
    std::fs::rename(folder.path(), &aside).unwrap();
    // At once the page shows the last known state, and that it is old.
    let html = page(&daemon, "/").await;
    assert!(html.contains(&cell), "{html}");
    let html = page_until(&daemon, "/", |text| {
        text.contains("The store is out of reach since")
    })
    .await;
    assert!(html.contains(&cell), "the coverage stays");
    let verdict = text_of(section(&html, "verdict"));
    assert!(verdict.contains("The coverage below is as of"), "{verdict}");
    assert!(!verdict.contains("store in reach"), "{verdict}");
    let html = page(&daemon, &format!("/day?date={date}&space={space}")).await;
    assert!(text_of(&html).contains("The store is out of reach: this is the day as of"));
    page(&daemon, "/runs").await;
    // Later the store is back.
    std::fs::rename(&aside, folder.path()).unwrap();
    page_until(&daemon, "/", |text| text.contains("store in reach")).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_the_version_of_the_program() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = plan(&sim, &lake).start().await;
    let version = |html: &str| {
        let (_, rest) = html.split_once("data-version=\"").expect("a version");
        rest.split_once('"').unwrap().0.to_owned()
    };
    let now = version(&page(&daemon, "/now").await);
    assert_eq!(now.len(), 16);
    for path in ["/", "/runs", "/system", "/search?q=x"] {
        let html = page(&daemon, path).await;
        assert_eq!(version(&html), now, "{path}");
        assert!(text_of(&html).contains("as of "), "{path}");
    }
    assert_eq!(daemon.stop().await, 0);
}
