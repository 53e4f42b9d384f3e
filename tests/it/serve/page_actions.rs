//! Actions on the page: jobs, searches and downloads.

use chrono::Days;
use reqwest::Method;
use serde_json::json;
use telelake::simulator::{Endpoint, Failure, Matcher, Simulator};

use super::page::{backfill, plan, today};
use super::page_states::{a_day, lessons, page, send_form, text_of};
use crate::support::lake::Lake;

#[tokio::test(flavor = "multi_thread")]
async fn buttons_confirm_a_long_job_cancel_jobs_and_pause_the_queue() {
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

    // The waiting jobs, their times, and who requested them.
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
async fn rooms_calls_and_names_are_found_and_landed_files_can_be_downloaded() {
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

    // The exact bytes of the lake, and only objects that a manifest names.
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

    // Retrying one call requests only its report.
    sim.clear_log();
    let fields = format!("date={date}&space={space}&room={room_id}&call={call_id}");
    send_form(&daemon, "/retry", &fields).await;
    daemon.ended("backfill", 0).await;
    assert!(sim.count(Endpoint::Report) > 0);
    assert_eq!(sim.count(Endpoint::Blob), 0, "no recording");
    let text = text_of(&page(&daemon, "/system").await);
    for part in ["Free in the folder", "Webhooks", "No notifications are sent"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_download_of_missing_objects_contains_no_formula() {
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
async fn a_recording_in_a_bucket_is_downloaded_by_an_expiring_link() {
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
