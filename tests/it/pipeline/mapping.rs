//! Custom mappings, and tables that are built again from the landed reports.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::DateTime;
use serde_json::{Value, json};
use telelake::simulator::{Report, Simulator};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

/// A mapping for another shape: other names, participants under `data.users`, times in epoch milliseconds, votes two
/// levels deep, durations in milliseconds.
const OTHER: &str = r#"version = 1
[table.participants]
rows = "data.users[]"
[table.participants.columns]
participant_id = "uid"
name = "fio"
role = "kind"
email = "contact.mail"
phone = "contact.tel"
external_user_id = "lms.user"
external_meeting_id = "lms.lesson"
sessions = { from = "visits[]", fields = { joined_at = "in", left_at = "out" } }
camera_s = { from = "ms.camera", scale = 0.001 }
microphone_s = { from = "ms.microphone", scale = 0.001 }
screen_s = { from = "ms.screen", scale = 0.001 }
messages_count = "n.chat"
reactions_count = "n.smiles"
hand_raises_count = "n.hands"
[table.messages]
rows = "data.chat[]"
columns = { message_id = "key", participant_id = "who", text = "body", sent_at = "at" }
[table.reactions]
rows = "data.smiles[]"
columns = { participant_id = "who", type = "smile", sent_at = "at" }
[table.poll_votes]
rows = "data.quizzes[].answers[].voters[]"
columns = { poll_id = "^^.key", question = "^^.title", option_id = "^.key", option_text = "^.label", participant_id = "who", voted_at = "at" }
"#;

fn millis(value: &Value) -> Value {
    value.as_str().map_or(Value::Null, |text| {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .timestamp_millis()
            .into()
    })
}

fn each(list: &Value, of: impl Fn(&Value) -> Value) -> Value {
    list.as_array().unwrap().iter().map(of).collect()
}

/// A report of the default shape in that of [`OTHER`].
fn reshaped(report: &Value) -> Value {
    let ms = |value: &Value| value.as_f64().map(|seconds| seconds * 1000.0);
    json!({"data": {
        "users": each(&report["participants"], |p| json!({
            "uid": p["id"], "fio": p["name"], "kind": p["role"], "contact": {"mail": p["email"], "tel": p["phone"]},
            "lms": {"user": p["externalUserId"], "lesson": p["externalMeetingId"]},
            "visits": each(&p["sessions"], |s| json!({"in": millis(&s["joinedAt"]), "out": millis(&s["leftAt"])})),
            "ms": {"camera": ms(&p["cameraSeconds"]), "microphone": ms(&p["microphoneSeconds"]),
                   "screen": ms(&p["screenSeconds"])},
            "n": {"chat": p["messagesCount"], "smiles": p["reactionsCount"], "hands": p["handRaisesCount"]},
        })),
        "chat": each(&report["messages"], |m| json!({
            "key": m["id"], "who": m["participantId"], "body": m["text"], "at": millis(&m["sentAt"])})),
        "smiles": each(&report["reactions"], |r| json!({
            "who": r["participantId"], "smile": r["type"], "at": millis(&r["sentAt"])})),
        "quizzes": each(&report["polls"], |poll| json!({"key": poll["id"], "title": poll["question"],
            "answers": each(&poll["options"], |option| json!({"key": option["id"], "label": option["text"],
                "voters": poll["votes"].as_array().unwrap().iter()
                    .filter(|vote| vote["optionId"] == option["id"])
                    .map(|vote| json!({"who": vote["participantId"], "at": millis(&vote["votedAt"])}))
                    .collect::<Value>()}))})),
    }})
}

/// Gives every call its report from `lake` in the other shape.
async fn reshape(sim: &Simulator, lake: &Lake) {
    let mut reports = BTreeMap::new();
    for key in lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("raw/reports/") && key.ends_with(".json"))
    {
        let call = key
            .rsplit('/')
            .next()
            .unwrap()
            .trim_end_matches(".json")
            .to_owned();
        reports.insert(
            call,
            reshaped(&serde_json::from_slice(&lake.get(&key).await).unwrap()),
        );
    }
    assert!(!reports.is_empty());
    sim.edit(|school| {
        for call in &mut school.calls {
            if let Some(report) = reports.get(&call.id) {
                call.json = Report::bytes(report.to_string());
            }
        }
    });
}

async fn tables(lake: &Lake, tables: &[&str]) -> BTreeMap<String, Bytes> {
    let mut contents = lake.contents().await;
    contents.retain(|key, _| tables.iter().any(|table| key.starts_with(&format!("{table}/"))));
    contents
}

fn mapping_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// `rebuild` without a token and without an API.
async fn rebuild(sim: &Simulator, lake: &Lake, mapping: &str) -> Finished {
    let range = range(sim);
    let args: Vec<_> = ["--log-format", "json", "rebuild"]
        .into_iter()
        .chain(range.iter().map(String::as_str))
        .collect();
    Telelake::new(&args)
        .env("TELELAKE_API__BASE_URL", "http://127.0.0.1:1/v1")
        .env("TELELAKE_EXPORT__MAPPING", mapping)
        .lake(lake)
        .run()
        .await
}

const OF_REPORTS: [&str; 4] = ["participants", "messages", "reactions", "poll_votes"];

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_file_reads_another_shape_into_the_same_tables() {
    let lines = OTHER.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 30, "{lines} lines");
    let (sim, before, after) = (
        Simulator::start(small()).await.unwrap(),
        Lake::folder(),
        Lake::folder(),
    );
    let range = range(&sim);
    let args = backfill(&range, &["--only", "analytics"]);
    Telelake::against(&sim, &before, &args).run().await.expect(0);
    reshape(&sim, &before).await;
    let file = mapping_file(OTHER);
    let finished = Telelake::against(&sim, &after, &args)
        .env("TELELAKE_EXPORT__MAPPING", file.path().to_str().unwrap())
        .run()
        .await
        .expect(0);
    let expected = tables(&before, &OF_REPORTS).await;
    assert!(expected.len() > 4);
    assert_eq!(tables(&after, &OF_REPORTS).await, expected);
    assert!(
        !finished.stdout.contains("new field `data"),
        "{}",
        finished.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_writes_nothing_unless_the_mapping_changed() {
    let (sim, expected, lake) = (
        Simulator::start(small()).await.unwrap(),
        Lake::folder(),
        Lake::folder(),
    );
    let range = range(&sim);
    let args = backfill(&range, &[]);
    Telelake::against(&sim, &expected, &args).run().await.expect(0);
    reshape(&sim, &expected).await;
    Telelake::against(&sim, &lake, &args).run().await.expect(0);
    assert!(
        tables(&lake, &OF_REPORTS).await.is_empty(),
        "the shape is not known yet"
    );
    let check = Telelake::against(&sim, &lake, &["check"])
        .run()
        .await
        .expect(2)
        .stdout;
    assert!(
        check.contains("FAIL  mapping") && check.contains("in the lake") && check.contains("data (1)"),
        "{check}"
    );
    assert_eq!(done_and_complete(&lake).await, (false, false));
    let (contents, written) = (lake.contents().await, lake.written());
    let requests = sim.total_count();
    let same = rebuild(&sim, &lake, "").await.expect(0);
    assert_eq!(
        (same.count("writes"), same.count("days"), same.count("days_built")),
        (0, 3, 3)
    );
    assert_eq!(lake.contents().await, contents);
    assert_eq!(lake.written(), written);
    let own = format!(
        "{OTHER}[table.visits]\nrows = 'data.users[].visits[]'\n\
         columns.who = {{ from = '^.uid', type = 'string' }}\ncolumns.joined_at = {{ from = 'in', type = 'timestamp' }}\n"
    );
    let file = mapping_file(&own);
    let path = file.path().to_str().unwrap();
    rebuild(&sim, &lake, path).await.expect(0);
    assert_eq!(
        tables(&lake, &OF_REPORTS).await,
        tables(&expected, &OF_REPORTS).await
    );
    assert_eq!(tables(&lake, &["visits"]).await.len(), 3);
    assert_eq!(done_and_complete(&lake).await, (true, true));
    let again = rebuild(&sim, &lake, path).await.expect(0);
    assert_eq!(again.count("writes"), 0);
    assert_eq!(sim.total_count(), requests, "a rebuild asks nobody");
    // Without the table there are no files of it.
    let file = mapping_file(OTHER);
    rebuild(&sim, &lake, file.path().to_str().unwrap())
        .await
        .expect(0);
    assert!(tables(&lake, &["visits"]).await.is_empty());
    // A mapping that finds no participants makes the day incomplete again.
    let worse = rebuild(&sim, &lake, "").await.expect(0);
    assert_eq!(done_and_complete(&lake).await, (false, false));
    let pending = worse.summary()["pending"].clone();
    let pending = pending.as_array().unwrap();
    assert!(
        !pending.is_empty() && pending.iter().all(|it| it["call_id"].is_string()),
        "{pending:?}"
    );
}

/// True if all JSON reports are done and all days complete; false if none of them is.
async fn done_and_complete(lake: &Lake) -> (bool, bool) {
    let mut done = Vec::new();
    for day in lake.manifests().await {
        let calls = day["calls"].as_object().unwrap().values();
        done.extend(calls.map(|call| call["reports"]["json"]["status"] == "done"));
    }
    let coverage = lake.rows("coverage", &["complete", "calls"]).await;
    let with_calls = coverage.iter().filter(|row| row["calls"] != "0");
    let complete: Vec<_> = with_calls.map(|row| row["complete"] == "true").collect();
    assert!(done.iter().all(|it| *it == done[0]) && complete.iter().all(|it| *it == complete[0]));
    (done[0], complete[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_with_a_corrected_mapping_corrects_what_status_says_of_workbooks() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let range = range(&sim);
    let wrong = mapping_file(
        "version = 1\n[table.participants.xlsx]\nreplace = true\nsheets = 'Ученики'\ncolumns.name = 'Ученик'\n",
    );
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .env("TELELAKE_EXPORT__REPORTS", "xlsx")
        .env("TELELAKE_EXPORT__MAPPING", wrong.path().to_str().unwrap())
        .run()
        .await
        .expect(0);
    let told = async || {
        let args = ["status", "--json", "--from", &range[1], "--to", &range[3]];
        let status = Telelake::new(&args).lake(&lake).run().await.expect(0).stdout;
        let status: Value = serde_json::from_str(&status).unwrap();
        let days = status["days"].as_array().unwrap().clone();
        let count = |name: &str| days.iter().map(|day| day[name].as_u64().unwrap()).sum::<u64>();
        (count("reports_done"), count("reports_pending"))
    };
    let calls = sim.school().calls.len() as u64;
    let (done, pending) = told().await;
    assert!(done < pending && done + pending == calls, "{done} {pending}");
    let requests = sim.total_count();
    rebuild(&sim, &lake, "").await.expect(0);
    assert_eq!(told().await, (calls, 0));
    assert_eq!(sim.total_count(), requests, "a rebuild asks nobody");
    let coverage = lake.rows("coverage", &["complete", "reason"]).await;
    assert!(
        coverage.iter().all(|row| row["complete"] == "true"),
        "{coverage:?}"
    );
}
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_in_s3_writes_what_is_lost_and_nothing_else() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::s3().await);
    let range = range(&sim);
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let contents = lake.contents().await;
    assert_eq!(rebuild(&sim, &lake, "").await.expect(0).count("writes"), 0);
    let lost = contents.keys().find(|key| key.starts_with("messages/")).unwrap();
    lake.remove(lost).await;
    // Writes marker, claim, table and manifest, and removes the marker.
    assert_eq!(rebuild(&sim, &lake, "").await.expect(0).count("writes"), 5);
    assert!(lake.contents().await == contents);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_repairs_tables_and_names_missing_reports() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let range = range(&sim);
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let contents = lake.contents().await;
    let Lake::Folder(folder) = &lake else {
        panic!("a folder")
    };
    let key = |prefix: &str| {
        contents
            .keys()
            .find(|key| key.starts_with(prefix))
            .unwrap()
            .clone()
    };
    std::fs::remove_file(folder.path().join(key("participants/"))).unwrap();
    std::fs::write(folder.path().join(key("rooms/")), "damaged").unwrap();
    let mended = rebuild(&sim, &lake, "").await.expect(0);
    // Writes marker, claim, table and manifest, removes the marker, and writes the table of rooms.
    assert_eq!(mended.count("writes"), 6);
    assert_eq!(lake.contents().await, contents);
    std::fs::remove_file(folder.path().join(key("raw/reports/"))).unwrap();
    let partial = rebuild(&sim, &lake, "").await.expect(3).summary();
    assert_eq!(partial["failed"][0]["kind"], "report_lost");
    assert_eq!(partial["counts"]["days"], 3, "the day is built from what is left");
    // The next run requests the missing report.
    Telelake::against(&sim, &lake, &["run"]).run().await.expect(0);
    let mended: Vec<_> = lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("raw/reports/"))
        .collect();
    let before: Vec<_> = contents
        .keys()
        .filter(|key| key.starts_with("raw/reports/"))
        .cloned()
        .collect();
    assert_eq!(mended, before);
    rebuild(&sim, &Lake::folder(), "").await.expect(4);
    let wrong = mapping_file("version = 1\n[table.messages]\ncolumns.txt = 'a'\n");
    let wrong = rebuild(&sim, &lake, wrong.path().to_str().unwrap())
        .await
        .expect(2);
    assert!(
        wrong.stderr.contains("line 3: [table.messages] column `txt`"),
        "{}",
        wrong.stderr
    );
}
