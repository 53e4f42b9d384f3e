//! The promises of the simulator, tested over HTTP.

use std::time::Duration;

use chrono::TimeDelta;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use super::*;

mod lms;
mod school;

fn client() -> Client {
    crate::tls::http_client()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

async fn start(options: Options) -> (Simulator, Client) {
    (Simulator::start(options).await.unwrap(), client())
}

async fn get(sim: &Simulator, client: &Client, path: &str) -> reqwest::Result<Response> {
    let url = format!("{}{path}", sim.base_url());
    client.get(url).bearer_auth(sim.token()).send().await
}

async fn fetch(sim: &Simulator, client: &Client, path: &str) -> Value {
    let response = get(sim, client, path).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

fn ids(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

fn report_path(call: &Call, format: &str) -> String {
    let Call {
        id,
        space_id,
        room_id,
        ..
    } = call;
    format!("/spaces/{space_id}/analytics/report?roomId={room_id}&callId={id}&format={format}")
}

fn link_path(record: &Record) -> String {
    let Record {
        id,
        space_id,
        room_id,
        ..
    } = record;
    format!("/spaces/{space_id}/rooms/{room_id}/records/download/{id}")
}

/// The URL of a link in any form.
async fn link(sim: &Simulator, client: &Client, record: &Record) -> String {
    let response = get(sim, client, &link_path(record)).await.unwrap();
    if response.status() == StatusCode::FOUND {
        return response.headers()["location"].to_str().unwrap().to_owned();
    }
    response.text().await.unwrap().trim_matches('"').to_owned()
}

#[tokio::test]
async fn a_client_gets_from_a_space_to_a_recording() {
    let (sim, client) = start(Options::default()).await;
    let school = sim.school();
    let spaces = fetch(&sim, &client, "/spaces").await;
    assert_eq!(spaces["total"], 2);
    let space = &ids(&spaces)[0];
    let rooms = fetch(&sim, &client, &format!("/spaces/{space}/rooms")).await;
    assert_eq!(ids(&rooms).len(), 10);
    let record = school
        .records
        .iter()
        .find(|record| record.is_downloadable())
        .unwrap();
    let call = school.call(record.call_id.as_ref().unwrap()).unwrap();
    let (room, date) = (&call.room_id, call.started_at.to_rfc3339().replace('+', "%2B"));
    let calls = fetch(
        &sim,
        &client,
        &format!("/spaces/{space}/analytics/calls?roomId={room}&date={date}"),
    )
    .await;
    assert!(ids(&calls).contains(&call.id) && calls.get("total").is_none());

    let records = format!("/spaces/{space}/rooms/{room}/records");
    assert!(ids(&fetch(&sim, &client, &records).await).contains(&record.id));
    let none = fetch(&sim, &client, &format!("{records}?dateTo=2020-01-01")).await;
    assert_eq!(none, json!({"items": [], "total": 0}));

    for record in school
        .records
        .iter()
        .filter(|record| record.is_downloadable())
        .take(4)
    {
        let url = link(&sim, &client, record).await;
        let body = client.get(url).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(body.len() as u64, record.size);
        let sum = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&body));
        assert_eq!(Some(sum), sim.record_sha256(&record.id));
        assert_eq!(sim.bytes_served(&record.id), record.size);
    }
    assert_eq!(
        (
            sim.count(Endpoint::Spaces),
            sim.count(Endpoint::Blob),
            sim.leaked_tokens()
        ),
        (1, 4, 0)
    );
    let first = &sim.requests()[0];
    assert_eq!(
        (first.method.as_str(), first.path.as_str(), first.status),
        ("GET", "/v1/spaces", 200)
    );
    sim.clear_log();
    assert_eq!(sim.total_count(), 0);
    sim.stop().await;
}

#[tokio::test]
async fn reports_have_the_fields_of_the_guide() {
    let (sim, client) = start(Options::default()).await;
    let school = sim.school();
    let call = school
        .calls
        .iter()
        .find(|call| !call.polls.is_empty() && !call.messages.is_empty())
        .unwrap();
    let report = fetch(&sim, &client, &report_path(call, "json")).await;
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        keys(&report),
        "callId finishedAt messages participants polls reactions roomId roomName startedAt"
    );
    assert_eq!(
        keys(&report["participants"][0]),
        "cameraSeconds email externalMeetingId externalUserId handRaisesCount id messagesCount \
         microphoneSeconds name phone reactionsCount role screenSeconds sessions"
    );
    assert_eq!(keys(&report["messages"][0]), "id participantId sentAt text");
    assert_eq!(keys(&report["polls"][0]), "id options question votes");
    assert_eq!(
        report["participants"].as_array().unwrap().len(),
        call.participants.len()
    );

    let path = report_path(call, "xlsx");
    let first = get(&sim, &client, &path).await.unwrap().bytes().await.unwrap();
    assert!(first.starts_with(b"PK\x03\x04"));
    let room = school.room(&call.room_id).unwrap();
    let again = xlsx::workbook(room, call, call.participants.len()).unwrap();
    assert_eq!(first, again, "two builds of a workbook differ");

    let id = call.id.clone();
    for (state, status) in [
        (Report::Missing, 404),
        (Report::Denied, 403),
        (Report::Status(500), 500),
    ] {
        sim.edit(|school| school.call_mut(&id).unwrap().set_report(state));
        assert_eq!(get(&sim, &client, &path).await.unwrap().status(), status);
    }
    sim.edit(|school| school.call_mut(&id).unwrap().set_report(Report::EMPTY));
    let empty = fetch(&sim, &client, &report_path(call, "json")).await;
    assert_eq!(empty["participants"], json!([]));
    let added = sim
        .edit(|school| school.add_call_like(&id, TimeDelta::hours(1)))
        .unwrap();
    assert!(sim.school().call(&added).is_some());
}

#[tokio::test]
async fn refusals_have_the_json_of_the_api() {
    let (sim, client) = start(Options::default()).await;
    let school = sim.school();
    let (space, room) = (&school.spaces[0].id, &school.rooms[0].id);
    let url = format!("{}/spaces", sim.base_url());
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    assert_eq!(
        client.get(&url).bearer_auth("no").send().await.unwrap().status(),
        401
    );
    for (path, status) in [
        ("/nothing".to_owned(), 404),
        (format!("/spaces/{room}/rooms"), 404),
        (format!("/spaces/{space}/analytics/calls?roomId={room}"), 422),
        (
            format!("/spaces/{space}/analytics/calls?roomId={room}&date=soon"),
            422,
        ),
        (format!("/spaces/{space}/rooms/{room}/records?dateFrom=soon"), 422),
        (
            format!("/spaces/{}/rooms/{room}/records", school.spaces[1].id),
            404,
        ),
    ] {
        let response = get(&sim, &client, &path).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert!(body["message"].is_string() && body["code"].is_string());
    }
    sim.edit(|school| school.spaces[0].refuse = Some(403));
    assert_eq!(
        get(&sim, &client, &format!("/spaces/{space}/rooms"))
            .await
            .unwrap()
            .status(),
        403
    );
}

#[tokio::test]
async fn links_expire_serve_ranges_and_count_leaked_tokens() {
    let options = Options {
        link_uses: Some(2),
        ..Options::default()
    };
    let (sim, client) = start(options).await;
    let school = sim.school();
    let record = school
        .records
        .iter()
        .find(|record| record.is_downloadable())
        .unwrap();
    let url = link(&sim, &client, record).await;
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], record.size.to_string().as_str());
    let part = client
        .get(&url)
        .header("range", "bytes=3000-4999")
        .send()
        .await
        .unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(
        part.headers()["content-range"],
        format!("bytes 3000-4999/{}", record.size).as_str()
    );
    assert_eq!(part.headers()["etag"], head.headers()["etag"]);
    let mut expected = vec![0; 2000];
    media::read(media::key(&record.id), record.size, 3000, &mut expected);
    assert_eq!(part.bytes().await.unwrap(), expected);
    let beyond = client
        .get(&url)
        .header("range", "bytes=99999999-")
        .bearer_auth("t")
        .send()
        .await
        .unwrap();
    assert_eq!((beyond.status().as_u16(), sim.leaked_tokens()), (416, 1));
    let worn = client.get(&url).send().await.unwrap();
    assert_eq!(worn.status(), 403);
    assert!(worn.text().await.unwrap().contains("<Code>AccessDenied"));
    let again = link(&sim, &client, record).await;
    sim.expire_links();
    assert_eq!(client.get(again).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn each_ordered_fault_comes_once() {
    let (sim, client) = start(Options::default()).await;
    let order = |what| {
        sim.faults()
            .order(Matcher::endpoint(Endpoint::Spaces).first(1), what)
    };
    order(Failure::Reset);
    assert!(get(&sim, &client, "/spaces").await.is_err());
    order(Failure::CutBody(30));
    let mut cut = get(&sim, &client, "/spaces").await.unwrap();
    assert!(cut.headers().contains_key("content-length"));
    let mut got = 0;
    let ended = loop {
        match cut.chunk().await {
            Ok(Some(piece)) => got += piece.len(),
            other => break other,
        }
    };
    assert!(ended.is_err() && got == 30, "{got} bytes, then {ended:?}");
    order(Failure::NoLength);
    let unmeasured = get(&sim, &client, "/spaces").await.unwrap();
    assert!(!unmeasured.headers().contains_key("content-length"));
    assert!(serde_json::from_slice::<Value>(&unmeasured.bytes().await.unwrap()).is_ok());
    for (what, status) in [
        (Failure::BadGateway, 502),
        (Failure::TooMany(RetryAfter::Date(2)), 429),
        (Failure::Html, 200),
        (Failure::Status(503), 503),
    ] {
        order(what);
        let answer = get(&sim, &client, "/spaces").await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().contains_key("retry-after"), status == 429);
    }
    order(Failure::StallBody(10, Duration::from_millis(1)));
    assert_eq!(ids(&fetch(&sim, &client, "/spaces").await).len(), 2);
    assert_eq!(sim.faults().hits(), 8);
    assert_eq!(sim.requests()[0].status, 0);

    let record = sim
        .school()
        .records
        .iter()
        .find(|record| record.is_downloadable())
        .unwrap()
        .clone();
    let url = link(&sim, &client, &record).await;
    let blob = || Matcher::endpoint(Endpoint::Blob).containing(&record.id);
    sim.faults().order(blob().first(1), Failure::NoRange);
    let whole = client.get(&url).header("range", "bytes=5-").send().await.unwrap();
    assert_eq!(whole.status(), 200);
    sim.faults().order(blob().first(1), Failure::ExpireLink);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 403);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn pages_and_limits_follow_the_options_and_a_stop_frees_the_address() {
    let options = Options {
        paging: Paging::of(Window::Capped(4)).total(ListTotal::Zero),
        rate_limit: Some(3),
        retry_after: RetryAfter::Seconds(7),
        ..Options::default()
    };
    let (sim, client) = start(options).await;
    let space = sim.school().spaces[0].id.clone();
    let page = fetch(
        &sim,
        &client,
        &format!("/spaces/{space}/rooms?limit=100&offset=8"),
    )
    .await;
    assert_eq!((ids(&page).len(), &page["total"]), (2, &json!(0)));
    for _ in 0..2 {
        get(&sim, &client, "/spaces").await.unwrap();
    }
    let slow = get(&sim, &client, "/spaces").await.unwrap();
    assert_eq!(
        (slow.status().as_u16(), &slow.headers()["retry-after"]),
        (429, &"7".parse().unwrap())
    );

    sim.faults()
        .order(Matcher::any(), Failure::Stall(Duration::from_secs(3600)));
    let (url, address) = (format!("{}/spaces", sim.base_url()), sim.address());
    let waiting = tokio::spawn(async move { client.get(url).send().await.is_err() });
    let stopping = async {
        while sim.faults().hits() == 0 {
            tokio::task::yield_now().await;
        }
        sim.stop().await;
        waiting.await.unwrap()
    };
    let deadline = tokio::time::timeout(Duration::from_secs(60), stopping);
    assert!(deadline.await.expect("the stop waits for the stalled answer"));
    let next = Simulator::start(Options {
        listen: address,
        ..Options::default()
    });
    assert_eq!(
        next.await.unwrap().address(),
        address,
        "the address is still in use"
    );
}

#[tokio::test]
async fn webhooks_and_lesson_data_are_stored() {
    let (sim, client) = start(Options::default()).await;
    let space = sim.school().spaces[0].id.clone();
    let url = format!("{}/spaces/{space}/webhook", sim.base_url());
    let send = async |method: reqwest::Method, url: &str, body: Value| {
        let request = client
            .request(method, url)
            .bearer_auth(sim.token())
            .body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_slice::<Value>(&response.bytes().await.unwrap()).unwrap_or_default(),
        )
    };
    use reqwest::Method;
    assert_eq!(send(Method::GET, &url, Value::Null).await.0, 404);
    let (status, made) = send(Method::POST, &url, json!({"url": "http://127.0.0.1:1/hook"})).await;
    assert_eq!((status, &made["isActive"]), (201, &json!(true)));
    assert_eq!(made["secret"].as_str().unwrap().len(), 32);
    let off = json!({"url": "http://127.0.0.1:1/hook", "isActive": false});
    assert_eq!(send(Method::PUT, &url, off.clone()).await, (200, off.clone()));
    assert_eq!(send(Method::GET, &url, Value::Null).await, (200, off));
    let (_, fresh) = send(Method::PUT, &format!("{url}/refresh-secret"), Value::Null).await;
    assert_ne!(fresh["secret"], made["secret"]);
    assert_eq!(
        sim.webhook(&space).unwrap().secret,
        fresh["secret"].as_str().unwrap()
    );
    assert_eq!(send(Method::DELETE, &url, Value::Null).await.0, 204);
    assert!(sim.webhook(&space).is_none());

    let meta = sim.school().metas()[0].clone();
    let url = format!("{}/users/external-meta", sim.base_url());
    assert_eq!(send(Method::POST, &url, meta.clone()).await.0, 201);
    assert_eq!(send(Method::POST, &url, json!({"meta": {}})).await.0, 422);
    assert_eq!(sim.metas(), [meta]);
}
