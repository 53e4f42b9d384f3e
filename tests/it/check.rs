//! `check` as a guide to a mapping, and its recording of masked answers.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use telelake::simulator::{Options, RecordedAnswers, Report, Simulator};

use crate::pipeline::small;
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// `check` without a configuration, a token or a store.
async fn offline(folder: &Path, args: &[&str]) -> Finished {
    let args: Vec<_> = ["check"].iter().chain(args).copied().collect();
    Telelake::new(&args).in_folder(folder).run().await
}

/// The lines that a person pastes into a mapping file: those behind `version`.
fn suggested(stdout: &str) -> String {
    let lines = stdout.lines().skip_while(|line| line.trim() != "version = 1");
    let lines: Vec<&str> = lines
        .take_while(|line| line.starts_with("        "))
        .map(str::trim)
        .collect();
    lines.join("\n")
}

/// A report in another shape, without any name that the built-in mapping knows.
fn foreign() -> Value {
    let person = |n: u32, name: &str| {
        json!({"profile": {"ids": {"uid": format!("u-{n}77"), "customerKey": format!("K-{n}")}, "fio": name, "contacts": {"mail": format!("pupil{n}@school.ru")}},
               "context": {"lessonId": "L-77"}, "visits": [{"in": format!("22.11.2026 10:0{n}"), "out": "22.11.2026 10:44"}],
               "activity": {"camera": {"ms": 1500}, "chat": n}})
    };
    json!({"data": {"stat": {"people": [person(1, "Иван Петров"), person(2, "Ольга Смирнова")]},
                    "talk": [{"uuid": "m-1", "author": {"uid": "u-177"}, "body": "Добрый день, коллеги", "ts": 1_795_341_600}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_is_written_with_a_file_and_the_suggestions_alone() {
    let folder = tempfile::tempdir().unwrap();
    let report = file(folder.path(), "report.json", &foreign().to_string());
    let first = offline(folder.path(), &["--report", &report])
        .await
        .expect(2)
        .stdout;
    assert!(first.contains("FAIL  mapping: built in; tested with"), "{first}");
    assert!(
        first.contains("data.stat.people[].visits[].in: 2 × \"99.99.9999 99:99\", looks like an instant"),
        "{first}"
    );
    for value in ["Иван", "Смирнова", "pupil1", "u-177", "коллеги", "22.11.2026"] {
        assert!(!first.contains(value), "{value}: {first}");
    }
    let mapping = file(folder.path(), "mapping.toml", &suggested(&first));
    let second = offline(folder.path(), &["--report", &report, "--mapping", &mapping])
        .await
        .expect(0)
        .stdout;
    assert!(
        second.contains("ok    participants: 2 rows at data.stat.people[]"),
        "{second}"
    );
    for column in [
        "participant_id",
        "name",
        "email",
        "external_user_id",
        "external_meeting_id",
        "sessions",
        "camera_s",
        "messages_count",
    ] {
        let bound = second
            .lines()
            .find(|line| line.trim().starts_with("bound: participant_id"))
            .unwrap_or_default();
        assert!(bound.contains(column), "{column}: {second}");
    }
    assert!(
        !second.contains("SESSIONS") && !second.contains("FAIL"),
        "{second}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_fails_and_what_is_doubtful_warns() {
    let folder = tempfile::tempdir().unwrap();
    let page = file(folder.path(), "page.json", "<html>");
    let gone = folder.path().join("gone.json").to_str().unwrap().to_owned();
    let both = offline(folder.path(), &["--report", &page, "--report", &gone])
        .await
        .expect(2)
        .stdout;
    assert_eq!(both.matches("FAIL  mapping").count(), 2, "{both}");
    let cut = file(folder.path(), "cut.xlsx", "PK\u{3}\u{4}nothing");
    let cut = offline(folder.path(), &["--report", &cut]).await.expect(2).stdout;
    assert!(
        cut.contains("FAIL  mapping") && cut.contains("can't be read"),
        "{cut}"
    );

    let person = |joined: &str| {
        json!({"id": "p-1", "name": "Иван", "externalUserId": "u", "externalMeetingId": "m",
        "sessions": [{"joinedAt": joined, "leftAt": null}], "cameraSeconds": "много"})
    };
    let odd = json!({"participants": [person("в десять утра"), person("2026-11-22T10:00:00Z"), person("в 11 утра")]});
    let odd = file(folder.path(), "odd.json", &odd.to_string());
    let odd = offline(folder.path(), &["--report", &odd]).await.expect(2).stdout;
    assert!(
        odd.contains("FAIL  participants.sessions: 2 of 3 values do not fit"),
        "{odd}"
    );
    assert!(
        odd.contains("for example participants[0].sessions[0].joinedAt"),
        "{odd}"
    );
    assert!(
        odd.contains("WARN  participants.camera_s: 3 of 3 values do not fit"),
        "{odd}"
    );
    assert!(
        odd.contains("3 × \"ббббб\" at participants[].cameraSeconds") && !odd.contains("много"),
        "{odd}"
    );

    let timeless =
        json!({"startedAt": "2026-11-22T10:00:00Z", "participants": [{"id": "p-1", "name": "Иван"}]});
    let timeless = file(folder.path(), "timeless.json", &timeless.to_string());
    let timeless = offline(folder.path(), &["--report", &timeless])
        .await
        .expect(0)
        .stdout;
    assert!(timeless.contains("WARN  SESSIONS: unbound"), "{timeless}");
    let wrong = file(
        folder.path(),
        "wrong.toml",
        "version = 1\n[table.nobody]\nrows = 'x[]'",
    );
    let wrong = offline(folder.path(), &["--report", &page, "--mapping", &wrong])
        .await
        .expect(2);
    assert!(wrong.stderr.contains("wrong.toml"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_report_of_each_format_is_tested() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let check = Telelake::against(&sim, &lake, &["check"])
        .run()
        .await
        .expect(0)
        .stdout;
    for line in [
        "ok    mapping: built in; tested with the JSON report of call",
        "ok    mapping: built in; tested with the XLSX report of call",
        "ok    sheet \"Участники\": feeds participants; its header is row 3; 8 of 8 columns are taken",
        "ok    sheet \"Чат\": feeds messages; its header is row 3",
        "Вход → joined_at",
    ] {
        assert!(check.contains(line), "{line}: {check}");
    }
    assert!(!check.contains("SESSIONS"), "{check}");
    // A workbook of other sheets and headers.
    let other = workbook(
        "Ученики урока",
        &["Ученик", "Почта", "Код ученика", "Пришел", "Ушел"],
    );
    let bytes = other.clone();
    sim.edit(move |school| {
        for call in &mut school.calls {
            call.xlsx = Report::bytes(bytes.clone());
        }
    });
    let check = Telelake::against(&sim, &lake, &["check"])
        .run()
        .await
        .expect(2)
        .stdout;
    assert!(
        check.contains("NOTE  sheet \"Ученики урока\": no table takes it; its header is likely row 2: Ученик, Почта, Код ученика, Пришел, Ушел"),
        "{check}"
    );
    assert!(
        !check.contains("Смирнова") && !check.contains("Отчёт"),
        "data stays unsaid: {check}"
    );
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("other.xlsx");
    std::fs::write(&report, other).unwrap();
    let mapping = file(folder.path(), "mapping.toml", &suggested(&check));
    let second = offline(
        folder.path(),
        &["--report", report.to_str().unwrap(), "--mapping", &mapping],
    )
    .await
    .expect(0)
    .stdout;
    assert!(
        second.contains(
            "ok    sheet \"Ученики урока\": feeds participants; its header is row 2; 5 of 5 columns are taken"
        ),
        "{second}"
    );
    assert!(!second.contains("SESSIONS"), "{second}");
}

/// A workbook of one sheet: a title, a header, and two people.
fn workbook(sheet: &str, headers: &[&str]) -> Vec<u8> {
    let mut book = rust_xlsxwriter::Workbook::new();
    let page = book.add_worksheet();
    page.set_name(sheet).unwrap();
    page.write_string(0, 0, "Отчёт по уроку Ольги Смирновой").unwrap();
    for (column, header) in (0..).zip(headers) {
        page.write_string(1, column, *header).unwrap();
    }
    for (row, name) in [(2, "Ольга Смирнова"), (3, "Иван Петров")] {
        let values = [
            name,
            &format!("pupil{row}@school.ru"),
            &format!("u-{row}"),
            "22.11.2026 10:01",
            "22.11.2026 10:44",
        ];
        for (column, value) in (0..).zip(values) {
            page.write_string(row, column, value).unwrap();
        }
    }
    book.save_to_buffer().unwrap()
}

fn collect(value: &Value, scalars: &mut BTreeSet<String>, keys: &mut BTreeSet<String>) {
    match value {
        Value::Array(elements) => elements
            .iter()
            .for_each(|element| collect(element, scalars, keys)),
        Value::Object(fields) => {
            for (name, field) in fields {
                keys.insert(name.clone());
                collect(field, scalars, keys);
            }
        }
        Value::String(text) => drop(scalars.insert(text.clone())),
        Value::Number(number) => drop(scalars.insert(number.to_string())),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The texts of all cells of a workbook.
fn cells(bytes: &[u8]) -> BTreeSet<String> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let mut found = BTreeSet::new();
    for at in 0..archive.len() {
        let mut text = String::new();
        archive.by_index(at).unwrap().read_to_string(&mut text).unwrap();
        let texts = text
            .split("<t ")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once('>')?.1.split_once("</t>")?.0.to_owned()));
        found.extend(texts);
    }
    found
}

/// All answers that a recording may be made of, as the API gives them.
async fn answers(sim: &Simulator) -> (Vec<Value>, BTreeSet<String>) {
    let client = telelake::tls::http_client()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let get = async |path: String| {
        let request = client
            .get(format!("{}{path}", sim.base_url()))
            .bearer_auth(sim.token());
        request.send().await.unwrap().bytes().await.unwrap()
    };
    let (mut values, mut texts) = (
        vec![serde_json::from_slice(&get("/spaces".into()).await).unwrap()],
        BTreeSet::new(),
    );
    let school = sim.school();
    for space in &school.spaces {
        values.push(
            serde_json::from_slice(&get(format!("/spaces/{}/rooms?limit=100", space.id)).await).unwrap(),
        );
    }
    for room in &school.rooms {
        let (space, room) = (&room.space_id, &room.id);
        values.extend(serde_json::from_slice(
            &get(format!(
                "/spaces/{space}/rooms/{room}/records?dateFrom=2000-01-01&dateTo=2100-01-01&limit=100"
            ))
            .await,
        ));
        for call in school.calls.iter().filter(|call| call.room_id == *room) {
            let date = call.started_at.format("%F");
            values.extend(serde_json::from_slice(
                &get(format!(
                    "/spaces/{space}/analytics/calls?roomId={room}&date={date}"
                ))
                .await,
            ));
            let report = |format: &str| {
                format!(
                    "/spaces/{space}/analytics/report?roomId={room}&callId={}&format={format}",
                    call.id
                )
            };
            values.extend(serde_json::from_slice(&get(report("json")).await));
            let book = get(report("xlsx")).await;
            if book.starts_with(b"PK") {
                texts.extend(cells(&book));
            }
        }
    }
    (values, texts)
}

const HEADERS: [&str; 10] = [
    "Имя",
    "Роль",
    "E-mail",
    "Телефон",
    "ID пользователя",
    "ID встречи",
    "Вход",
    "Выход",
    "Время",
    "Сообщение",
];

/// The lines of `check` about tables, columns and sheets.
fn fit_lines(stdout: &str) -> Vec<String> {
    let is_of_fit = |line: &&str| {
        let line = line.trim();
        [
            "bound:",
            "unbound:",
            "ok    participants",
            "ok    messages",
            "ok    polls",
            "ok    poll_votes",
            "ok    reactions",
            "ok    sheet",
            "FAIL",
            "NOTE  fields",
        ]
        .iter()
        .any(|start| line.starts_with(start))
    };
    stdout.lines().filter(is_of_fit).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_has_the_shape_of_the_answers_and_none_of_their_values() {
    let (sim, folder) = (
        Simulator::start(small()).await.unwrap(),
        tempfile::tempdir().unwrap(),
    );
    sim.edit(embed_lesson_data);
    let into = folder.path().join("recording");
    let args = ["check", "--record", into.to_str().unwrap()];
    let check = Telelake::against(&sim, &Lake::folder(), &args)
        .run()
        .await
        .expect(0)
        .stdout;
    assert!(check.contains("ok    recording:"), "{check}");
    let files = files(&into);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "README.txt",
            "calls.json",
            "recording.json",
            "records.json",
            "report.json",
            "report.xlsx",
            "rooms.json",
            "spaces.json"
        ]
    );
    assert_no_value(&sim, &files).await;

    // Served by the simulator, it fits the mapping as the original does.
    let recorded = Arc::new(RecordedAnswers::read(&into).unwrap());
    let replay = Simulator::start(Options {
        recorded_answers: Some(recorded),
        ..small()
    })
    .await
    .unwrap();
    let again = Telelake::against(&replay, &Lake::folder(), &["check"])
        .run()
        .await
        .expect(0)
        .stdout;
    assert_eq!(fit_lines(&again), fit_lines(&check), "{again}\n{check}");
    assert!(fit_lines(&again).len() > 8, "{again}");

    let again = Telelake::against(&sim, &Lake::folder(), &args)
        .run()
        .await
        .expect(2);
    assert!(again.stderr.contains("not empty"), "{again:?}");
}

/// Puts lesson data and fields that nobody knows into every report.
fn embed_lesson_data(school: &mut telelake::simulator::School) {
    for call in &mut school.calls {
        let joined = call.started_at.to_rfc3339();
        let people: Vec<Value> = (0..4)
            .map(|n| {
                json!({"id": format!("{}{n}", call.id), "name": "Мария Иванова", "role": "moderator", "externalUserId": format!("ученик-{n}"),
                       "externalMeetingId": "урок-2026-17", "sessions": [{"joinedAt": joined, "leftAt": null}], "device": "iPad Pro",
                       "meta": {"lessonName": "Дроби и проценты", "teacher": {"teacherName": "Анна Каренина", "rate": 4.75}}})
            })
            .collect();
        let byname = json!({"Мария": {"votes": 12345}, "Светлана Юрьевна": {"votes": 54321}});
        call.json = Report::bytes(json!({"callId": call.id, "roomName": "Секретная комната", "participants": people, "byName": byname, "messages": []}).to_string());
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        files.push((
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            std::fs::read(path).unwrap(),
        ));
    }
    files.sort();
    files
}

/// Asserts that no file has a value of the answers, and nothing of the API's address or token.
async fn assert_no_value(sim: &Simulator, files: &[(String, Vec<u8>)]) {
    let (values, texts) = answers(sim).await;
    let (mut scalars, mut keys) = (texts, BTreeSet::new());
    values
        .iter()
        .for_each(|value| collect(value, &mut scalars, &mut keys));
    keys.extend(
        HEADERS
            .iter()
            .chain(&["Участники", "Чат"])
            .map(|text| (*text).to_owned()),
    );
    scalars.extend(["Светлана Юрьевна", "Светлана", "Мария"].map(str::to_owned));
    scalars.extend([
        sim.token().to_owned(),
        sim.address().to_string(),
        "127.0.0.1".to_owned(),
    ]);
    scalars.retain(|text| {
        text.chars().count() >= 3
            && !HEADERS.contains(&text.as_str())
            && !matches!(text.as_str(), "true" | "false")
    });
    assert!(scalars.len() > 500, "{}", scalars.len());
    for (name, bytes) in files {
        let mut masked = BTreeSet::new();
        let text = match name.rsplit('.').next() {
            Some("xlsx") => {
                masked.extend(cells(bytes));
                unpacked(bytes)
            }
            Some("json") => {
                let value = serde_json::from_slice(bytes).unwrap();
                collect(&value, &mut masked, &mut BTreeSet::new());
                String::from_utf8(bytes.clone()).unwrap()
            }
            _ => String::from_utf8(bytes.clone()).unwrap(),
        };
        for value in &scalars {
            // A short one may stand within another value by chance, and a word of the API is also in its field names.
            let is_structure = keys.iter().any(|key| key.contains(value.as_str())) || name == "README.txt";
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let is_long = value.chars().count() >= if is_number { 10 } else { 6 } && !is_structure;
            assert!(!is_long || !text.contains(value.as_str()), "{value} in {name}");
            assert!(
                name == "recording.json" || !masked.contains(value),
                "{value} in {name}"
            );
        }
    }
}

/// The parts of a workbook, one behind the other.
fn unpacked(bytes: &[u8]) -> String {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let mut all = String::new();
    for at in 0..archive.len() {
        archive.by_index(at).unwrap().read_to_string(&mut all).unwrap();
    }
    all
}
