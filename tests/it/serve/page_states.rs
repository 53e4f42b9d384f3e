//! What the page says of how things stand: causes, promises, age; and what can be had and asked for there.

use chrono::{Days, NaiveDate};
use reqwest::Method;
use serde_json::{Value, json};
use telelake::lake::date_of;
use telelake::simulator::{Endpoint, Failure, Matcher, Oddities, Options, Simulator, days};

use super::page::{backfill, calm_zone, plan, today};
use crate::export::small;
use crate::support::daemon::Daemon;
use crate::support::eventually::eventually_some;
use crate::support::lake::Lake;
use crate::support::program::Telelake;

/// Lessons on the three days up to yesterday, and nothing odd.
fn lessons() -> Options {
    Options {
        zone: calm_zone(),
        dates: days(today() - Days::new(3), 3),
        odd: Oddities::none(),
        ..small()
    }
}

/// A page's text as a person reads it: without tags, spaces made one.
fn text_of(html: &str) -> String {
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
fn section<'a>(html: &'a str, id: &str) -> &'a str {
    let begin = html
        .find(&format!("id=\"{id}\""))
        .unwrap_or_else(|| panic!("no #{id}: {html}"));
    let end = html[begin..]
        .find("</section>")
        .map_or(html.len(), |end| begin + end);
    &html[begin..end]
}

async fn page(daemon: &Daemon, path: &str) -> String {
    let (status, html) = daemon.get(path).await;
    assert_eq!(status, 200, "{path}: {html}");
    html
}

/// Waits until a page's text is as it should be.
async fn page_until(daemon: &Daemon, path: &str, is_there: impl Fn(&str) -> bool) -> String {
    eventually_some(path, async || {
        let html = page(daemon, path).await;
        is_there(&text_of(&html)).then_some(html)
    })
    .await
}

async fn send_form(daemon: &Daemon, path: &str, fields: &str) -> (u16, String, String) {
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
async fn a_day(lake: &Lake, date: NaiveDate) -> (String, Value) {
    let keys = lake.keys().await.into_keys();
    let mut keys = keys.filter(|key| key.starts_with(&format!("_telelake/days/date={date}/")));
    let key = keys.next().expect("a day of that date");
    let manifest = lake.json(&key).await;
    assert!(!manifest["calls"].as_object().unwrap().is_empty());
    (key, manifest)
}

async fn status(sim: &Simulator, lake: &Lake, args: &[&str]) -> String {
    let args: Vec<&str> = std::iter::once("status").chain(args.iter().copied()).collect();
    let command = Telelake::against(sim, lake, &args).env("TELELAKE_TIMEZONE", calm_zone().name());
    let done = command.run().await;
    assert_eq!(done.status, 0);
    done.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_was_never_built_is_complete_nowhere() {
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

    // A run was killed between the last landing and the build.
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
        verdict.contains("were not built") && verdict.contains("builds them"),
        "{verdict}"
    );
    let html = page(&daemon, &format!("/day?date={date}&space={space}")).await;
    let day = text_of(section(&html, "day"));
    assert!(
        day.contains("tables not built") && day.contains("not those of what has landed"),
        "{day}"
    );
    let day = daemon.json(&format!("/api/day?date={date}&space={space}")).await;
    assert_eq!(day["day"]["built"], false);
    assert_eq!(day["day"]["complete"], false);
    let csv = page(&daemon, "/missing.csv").await;
    assert!(csv.contains("its tables were not built"), "{csv}");

    // The button builds them, and all is well.
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
async fn a_refused_token_is_the_verdict_with_its_time_and_nothing_says_that_it_is_taken() {
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
    // It is looked at right after work in vain, not ten minutes later.
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
    // The time stays that of the first refusal, and passes with it.
    sim.faults().clear();
    page_until(&daemon, "/", |text| text.contains("API took the token at")).await;
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_refuses_is_counted_by_status_and_space() {
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
async fn a_run_is_promised_only_where_one_comes() {
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
    // The day of long ago lost its marker; the one before it was seen, and not listed, without one.
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
        text.contains("No run asks for it again by itself: load the day with the button"),
        "{text}"
    );
    assert!(!text.contains("asks again by itself."), "{text}");
    let text = asked(format!("/day?date={before}&space={space}")).await;
    assert!(
        text.contains("No run looks at it by itself: load the day with the button"),
        "{text}"
    );
    assert!(text.contains("Try this day again"), "{text}");
    let text = asked(format!("/day?date={}&space={space}", old - Days::new(5))).await;
    assert!(text.contains("No run looks at it by itself"), "{text}");
    // Yesterday's verdict names what is not ready, and the run that asks again.
    let verdict = text_of(section(&page(&daemon, "/").await, "verdict"));
    assert!(
        verdict.contains("not ready yet") && verdict.contains("02:00 asks again by itself"),
        "{verdict}"
    );
    // A paused queue promises nothing.
    send_form(&daemon, "/pause", "on=true").await;
    let verdict = text_of(section(&page(&daemon, "/").await, "verdict"));
    assert!(
        verdict.contains("The queue is paused: the next run comes when it is resumed"),
        "{verdict}"
    );
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_known_coverage_stays_while_the_store_is_out_of_reach() {
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
    // At once: what was known, and that it is old.
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
    // A day or two later it is back.
    std::fs::rename(&aside, folder.path()).unwrap();
    page_until(&daemon, "/", |text| text.contains("store in reach")).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_the_program_that_gave_it() {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_long_job_is_confirmed_and_jobs_are_cancelled_and_held_back_with_buttons() {
    let (sim, lake) = (Simulator::start(lessons()).await.unwrap(), Lake::folder());
    let daemon = plan(&sim, &lake).start().await;
    send_form(&daemon, "/pause", "on=true").await;
    let (from, to) = (today() - Days::new(500), today() - Days::new(1));
    let fields = format!("from={from}&to={to}&space=&only=recordings");
    let (status, _, html) = send_form(&daemon, "/backfill", &fields).await;
    assert_eq!(status, 409);
    let text = text_of(&html);
    assert!(
        text.contains("500") && text.contains("This is a long job"),
        "{text}"
    );
    assert!(html.contains("name=\"only\" value=\"recordings\""), "{html}");
    assert_eq!(daemon.json("/api/jobs").await["jobs"], json!([]));
    let (status, place, _) = send_form(&daemon, "/backfill", &format!("{fields}&confirm=true")).await;
    assert_eq!((status, place.as_str()), (303, "/?asked#work"));
    let (status, ..) = send_form(&daemon, "/backfill", "from=0026-11-20&to=2026-11-20").await;
    assert_eq!(status, 400, "the year 26");

    // What waits, since when, and who asked.
    let work = page(&daemon, "/now").await;
    let text = text_of(&work);
    assert!(text.contains("The queue is paused since"), "{text}");
    assert!(text.contains("from the page (127.0.0.1)"), "{text}");
    assert!(
        text.contains("Waits for its turn") && text.contains("Resume the queue"),
        "{text}"
    );
    assert!(!work.contains("data-busy"), "nothing moves while it is paused");
    let id = daemon.json("/api/jobs").await["jobs"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(work.contains(&format!("id=\"cancel-{id}\"")), "{work}");
    let (status, place, _) = send_form(&daemon, "/cancel", &format!("id={id}")).await;
    assert_eq!((status, place.as_str()), (303, "/#work"));
    assert_eq!(daemon.json("/api/jobs").await["jobs"], json!([]));
    let (status, ..) = send_form(&daemon, "/cancel", &format!("id={id}")).await;
    assert_eq!(status, 303, "one that is over is over");
    send_form(&daemon, "/pause", "on=false").await;
    assert!(!text_of(&page(&daemon, "/now").await).contains("is paused"));
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_a_call_and_a_name_are_found_and_what_landed_can_be_had() {
    let sim = Simulator::start(lessons()).await.unwrap();
    let lake = Lake::folder();
    let date = today() - Days::new(1);
    let space = sim.school().spaces[0].id.clone();
    sim.edit(|school| {
        for room in &mut school.rooms {
            if room.space_id == space {
                room.name = "=Алгебра 7".into();
            }
        }
    });
    backfill(&sim, &lake, date - Days::new(1)).await;
    backfill(&sim, &lake, date).await;
    let daemon = plan(&sim, &lake).start().await;
    let day = daemon.json(&format!("/api/day?date={date}&space={space}")).await;
    let rooms = day["rooms"].as_array().unwrap();
    let room = rooms
        .iter()
        .find(|room| !room["calls"].as_array().unwrap().is_empty())
        .unwrap();
    let (room_id, call) = (room["room_id"].as_str().unwrap(), &room["calls"][0]);
    let call_id = call["call_id"].as_str().unwrap();

    let html = page(&daemon, "/search?q=%D0%B0%D0%BB%D0%93%D0%95%D0%91").await;
    assert!(
        html.contains(&format!("/room?space={space}&amp;room={room_id}")),
        "{html}"
    );
    let html = page(&daemon, &format!("/search?q={call_id}")).await;
    assert!(
        html.contains(&format!("/day?date={date}&amp;space={space}")),
        "{html}"
    );
    let meeting = a_day(&lake, date).await.1["built"]["meetings"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .cloned();
    let html = page(&daemon, &format!("/search?q={}", meeting.unwrap())).await;
    assert!(text_of(&html).contains("Meeting:"), "{html}");
    assert!(text_of(&page(&daemon, "/search?q=nowhere").await).contains("Nothing was found"));
    let html = page(&daemon, &format!("/room?space={space}&room={room_id}")).await;
    assert!(
        html.contains(&format!("/day?date={date}&amp;space={space}")),
        "{html}"
    );
    assert!(text_of(&html).contains("=Алгебра 7"));

    // The bytes as they lie in the lake, and only what a manifest names.
    let path = format!("/file?date={date}&space={space}&call={call_id}&format=json");
    assert!(
        page(&daemon, &format!("/day?date={date}&space={space}"))
            .await
            .contains(&path.replace('&', "&amp;"))
    );
    let answer = daemon.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let attached = answer.headers()["content-disposition"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(attached, format!("attachment; filename=\"{call_id}.json\""));
    let key = call["reports"]["json"]["key"].as_str().unwrap();
    assert_eq!(answer.bytes().await.unwrap(), lake.get(key).await);
    let mut records = rooms.iter().flat_map(|room| room["records"].as_array().unwrap());
    let record = records.find(|record| record["file"]["key"].is_string()).unwrap();
    let path = format!(
        "/file?date={date}&space={space}&record={}",
        record["record_id"].as_str().unwrap()
    );
    let answer = daemon.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(
        answer.bytes().await.unwrap(),
        lake.get(record["file"]["key"].as_str().unwrap()).await
    );
    for path in [
        format!("/file?date={date}&space={space}&call=..%2F..%2Fstore&format=json"),
        format!("/file?date={date}&space={space}&record=x"),
    ] {
        assert_eq!(daemon.get(&path).await.0, 404, "{path}");
    }

    // One call again: its room's report alone is asked for.
    sim.clear_log();
    let fields = format!("date={date}&space={space}&room={room_id}&call={call_id}");
    send_form(&daemon, "/retry", &fields).await;
    daemon.ended("backfill", 0).await;
    assert!(sim.count(Endpoint::Report) > 0);
    assert_eq!(sim.count(Endpoint::Blob), 0, "no recording");
    let text = text_of(&page(&daemon, "/system").await);
    for part in ["Free in the folder", "Webhooks", "Nobody is told of runs"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_a_table_in_which_no_name_is_a_formula() {
    let sim = Simulator::start(lessons()).await.unwrap();
    let lake = Lake::folder();
    let date = today() - Days::new(1);
    sim.edit(|school| {
        let hostile = "=HYPERLINK(\"http://evil.example\")";
        school
            .spaces
            .iter_mut()
            .for_each(|space| space.name = hostile.into());
        school.rooms.iter_mut().for_each(|room| room.name = "+7".into());
    });
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Report), Failure::Status(404));
    backfill(&sim, &lake, date).await;
    let daemon = plan(&sim, &lake).start().await;
    let answer = daemon.request(Method::GET, "/missing.csv").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8");
    let text = answer.text().await.unwrap();
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().collect();
    assert!(
        lines[0].starts_with("date,space_id,space_name,room_id,room_name"),
        "{text}"
    );
    assert!(
        lines.len() > 1 && lines[1].starts_with(&date.to_string()),
        "{text}"
    );
    assert!(
        lines[1].contains("\"'=HYPERLINK(\"\"http://evil.example\"\")\""),
        "{text}"
    );
    assert!(
        lines[1].contains("\"'+7\"") && lines[1].contains(",pending,"),
        "{text}"
    );
    assert_eq!(daemon.get("/missing.csv?from=0026-01-01").await.0, 200);
    assert_eq!(daemon.get("/missing.csv?from=yesterday").await.0, 400);
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_in_a_bucket_is_had_by_a_link_that_expires() {
    let sim = Simulator::start(lessons()).await.unwrap();
    let lake = Lake::s3().await;
    let date = today() - Days::new(1);
    backfill(&sim, &lake, date).await;
    let daemon = plan(&sim, &lake).start().await;
    let (_, manifest) = a_day(&lake, date).await;
    let space = manifest["space_id"].as_str().unwrap();
    let records = manifest["records"].as_object().unwrap();
    let (record, entry) = records
        .iter()
        .find(|(_, record)| record["file"]["status"] == "done")
        .unwrap();
    let client = telelake::tls::http_client()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let path = format!("/file?date={date}&space={space}&record={record}");
    let answer = client.get(daemon.url(&path)).send().await.unwrap();
    assert_eq!(answer.status(), 303);
    let link = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(
        link.contains("X-Amz-Signature=") && link.contains("X-Amz-Expires=900"),
        "{link}"
    );
    let bytes = client.get(&link).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(
        bytes,
        lake.get(entry["file"]["landed"]["key"].as_str().unwrap()).await
    );
    assert!(!daemon.log().contains("X-Amz-Signature"), "a link opens a door");
    assert_eq!(daemon.stop().await, 0);
    lake.drop_whole().await;
}
