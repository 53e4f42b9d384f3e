//! `[privacy]`: no personal data outside of what came from the platform, and the same joins.

use std::collections::BTreeSet;
use std::path::PathBuf;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use chrono::TimeDelta;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use telelake::pseudonym::PseudonymKey;
use telelake::simulator::{Options, School, Simulator};

use crate::pipeline::lessons::{import, write};
use crate::pipeline::{backfill, range, small};
use crate::support::lake::{Lake, Row};
use crate::support::program::{Finished, Telelake};

const KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// A simulated school with lesson data that names people in many places, and the files of two keys.
struct Scene {
    sim: Simulator,
    folder: tempfile::TempDir,
    lessons: String,
}

impl Scene {
    async fn new() -> Self {
        let sim = Simulator::start(Options { rooms: 4, ..small() }).await.unwrap();
        sim.edit(repeat_a_lesson);
        let folder = tempfile::tempdir().unwrap();
        let lessons = write(folder.path(), "lessons.jsonl", &lesson_data(&sim.school()));
        std::fs::write(folder.path().join("key"), format!("{KEY}\n")).unwrap();
        std::fs::write(folder.path().join("other-key"), "another key of the same length").unwrap();
        Self { sim, folder, lessons }
    }

    fn key_file(&self) -> String {
        self.path("key")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, lake: &Lake, args: &[&str]) -> Telelake {
        Telelake::against(&self.sim, lake, args)
            .env("TELELAKE_EXPORT__REPORTS", "json,xlsx")
            .env("TELELAKE_DELTA__ENABLED", "true")
    }

    fn pseudonymous(&self, lake: &Lake, args: &[&str]) -> Telelake {
        self.command(lake, args)
            .env("TELELAKE_PRIVACY__PROFILE", "pseudonymous")
            .env("TELELAKE_PRIVACY__KEY_FILE", &self.key_file())
    }

    async fn plain_lake(&self) -> Lake {
        let (lake, range) = (Lake::folder(), range(&self.sim));
        import(&lake, &self.lessons).await;
        self.command(&lake, &backfill(&range, &[])).run().await.expect(0);
        lake
    }

    async fn pseudonymous_lake(&self) -> (Lake, Finished) {
        let (lake, range) = (Lake::folder(), range(&self.sim));
        let import = ["meta", "import", &self.lessons];
        self.pseudonymous(&lake, &import).run().await.expect(0);
        let run = self
            .pseudonymous(&lake, &backfill(&range, &[]))
            .run()
            .await
            .expect(0);
        (lake, run)
    }
}

/// A user who is in a lesson on its second date alone, and without lesson data.
const SECOND_DATE_ONLY: &str = "lms-second-date-only";

/// Holds the first lesson once more a day later, so that its attendance is made from the tables of two days.
fn repeat_a_lesson(school: &mut School) {
    let first = school
        .calls
        .iter()
        .find(|call| !call.is_breakout)
        .unwrap()
        .id
        .clone();
    let second = school.add_call_like(&first, TimeDelta::days(1)).unwrap();
    let call = school.call_mut(&second).unwrap();
    call.participants[1].external_user_id = Some(SECOND_DATE_ONLY.into());
}

/// The lesson data of the school, with people in levels, lists and attributes of the school's own.
fn lesson_data(school: &School) -> Vec<Value> {
    let mut payloads = school.lesson_data();
    payloads.retain(|payload| payload["externalUserId"] != SECOND_DATE_ONLY);
    for payload in &mut payloads {
        let user = payload["externalUserId"].as_str().unwrap().to_owned();
        let meta = &mut payload["meta"];
        let name = meta["user_fullname"].clone();
        meta["teacher"] = json!({"teacher_id": user, "teacher_name": "Куратова Зинаида", "email": "zinaida@school.example"});
        meta["curators"] =
            json!([{"id": "cur-4711", "name": "Наставников Лев", "room": {"room_name": "Наставников Лев"}}]);
        meta["responsible"] = json!("Ответова Ада");
        meta["comment"] = json!("звонить +7 912 555-66-77 или zinaida@school.example");
        meta["shown_as"] = name;
        meta["contract"] = json!({"signed_by": "Подписова Яна", "number": "17/2026"});
        meta["floor"] = json!("third floor");
    }
    payloads
}

/// The strings of the school's world that say something of people.
fn personal(school: &School) -> BTreeSet<String> {
    let people = school.calls.iter().flat_map(|call| &call.participants);
    let mut strings: BTreeSet<String> = people
        .flat_map(|person| {
            let known = [&person.id, &person.email, &person.phone, &person.external_user_id];
            let known = known.into_iter().flatten().cloned();
            known.chain([person.name.clone()]).collect::<Vec<_>>()
        })
        .collect();
    let of_lessons = [
        "Куратова Зинаида",
        "zinaida@school.example",
        "cur-4711",
        "Наставников Лев",
        "Ответова Ада",
        "+7 912 555-66-77",
        "Подписова Яна",
    ];
    strings.extend(of_lessons.map(str::to_owned));
    strings
}

/// Every text in an object: its bytes, and what they are packed or encoded from.
fn texts(key: &str, bytes: &Bytes) -> Vec<String> {
    let mut texts = vec![String::from_utf8_lossy(bytes).into_owned()];
    if bytes.starts_with(b"PAR1") {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
        texts.push(format!("{:?}", reader.metadata()));
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            for column in batch.columns() {
                let cells = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()).unwrap();
                texts.extend((0..batch.num_rows()).map(|row| cells.value(row).to_string()));
            }
        }
    }
    if key.ends_with(".zst") {
        let unpacked = zstd::decode_all(&**bytes).unwrap();
        texts.push(String::from_utf8_lossy(&unpacked).into_owned());
    }
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Ok(value) = serde_json::from_str::<Value>(line) {
            texts.push(value.to_string());
        }
    }
    texts
}

/// The personal strings that the lake has outside of what came from the platform and the LMS, each with its key.
async fn leaks(lake: &Lake, personal: &BTreeSet<String>) -> Vec<String> {
    let as_received = ["raw/", "media/", "_telelake/meta/shelves/", "_telelake/relay/"];
    let mut leaks = Vec::new();
    let mut looked_at = 0;
    for key in lake.keys().await.into_keys() {
        if as_received.iter().any(|prefix| key.starts_with(prefix)) {
            continue;
        }
        looked_at += 1;
        let texts = texts(&key, &lake.get(&key).await);
        let found = personal
            .iter()
            .filter(|string| key.contains(*string) || texts.iter().any(|text| text.contains(*string)));
        leaks.extend(found.map(|string| format!("{string} in {key}")));
    }
    assert!(looked_at > 20, "{looked_at} objects");
    leaks
}

/// Tables with columns to compare, each with what becomes of it: kept, pseudonym or null.
const COMPARED: [(&str, &[(&str, char)]); 8] = [
    (
        "participants",
        &[
            ("call_id", 'k'),
            ("participant_id", 'p'),
            ("external_user_id", 'p'),
            ("external_meeting_id", 'k'),
            ("name", 'n'),
            ("email", 'n'),
            ("phone", 'n'),
            ("user_fullname", 'n'),
            ("meta_matched", 'k'),
            ("student_group_name", 'k'),
            ("duration_s", 'k'),
            ("late_s", 'k'),
        ],
    ),
    (
        "messages",
        &[
            ("message_id", 'k'),
            ("participant_id", 'p'),
            ("external_user_id", 'p'),
            ("participant_name", 'n'),
            ("text", 'k'),
        ],
    ),
    (
        "reactions",
        &[
            ("call_id", 'k'),
            ("participant_id", 'p'),
            ("external_user_id", 'p'),
            ("type", 'k'),
        ],
    ),
    (
        "poll_votes",
        &[
            ("poll_id", 'k'),
            ("option_text", 'k'),
            ("participant_id", 'p'),
            ("external_user_id", 'p'),
        ],
    ),
    (
        "polls",
        &[
            ("poll_id", 'k'),
            ("question", 'k'),
            ("options", 'k'),
            ("votes_count", 'k'),
        ],
    ),
    (
        "lesson_attendance",
        &[
            ("external_meeting_id", 'k'),
            ("external_user_id", 'p'),
            ("user_fullname", 'n'),
            ("teacher_names", 'n'),
            ("attended", 'k'),
            ("call_ids", 'k'),
            ("duration_s", 'k'),
            ("in_lesson_s", 'k'),
        ],
    ),
    (
        "user_meta",
        &[
            ("external_meeting_id", 'k'),
            ("external_user_id", 'p'),
            ("user_fullname", 'n'),
            ("user_role", 'k'),
            ("meta", 'n'),
        ],
    ),
    (
        "hierarchy",
        &[
            ("external_meeting_id", 'k'),
            ("external_user_id", 'p'),
            ("path", 'k'),
            ("depth", 'k'),
        ],
    ),
];

/// The rows of a table, sorted, with the treatments of the columns applied if there is a key.
async fn rows(lake: &Lake, table: &str, columns: &[(&str, char)], key: Option<&PseudonymKey>) -> Vec<Row> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut rows = lake.rows(table, &names).await;
    for (row, key) in rows.iter_mut().flat_map(|row| key.map(|key| (row, key))) {
        for (name, treatment) in columns {
            let value = row.get_mut(*name).unwrap();
            match treatment {
                'n' => value.clear(),
                'p' if !value.is_empty() => *value = key.of(value),
                _ => {}
            }
        }
    }
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pseudonymous_night_leaves_no_personal_data_and_the_same_joins() {
    let scene = Scene::new().await;
    let plain = scene.plain_lake().await;
    let (lake, run) = scene.pseudonymous_lake().await;
    let personal = personal(&scene.sim.school());
    assert!(personal.len() > 50);
    // The search finds what is there.
    assert!(leaks(&plain, &personal).await.len() > personal.len());
    assert_eq!(leaks(&lake, &personal).await, Vec::<String>::new());
    for output in [&run.stdout, &run.stderr] {
        let told = personal.iter().find(|string| output.contains(*string));
        assert_eq!(told, None);
    }
    // The same rows with pseudonyms in the place of ids: so every join gives the same.
    let key = PseudonymKey::new(KEY.as_bytes());
    for (table, columns) in COMPARED {
        let expected = rows(&plain, table, columns, Some(&key)).await;
        assert!(!expected.is_empty(), "{table}");
        assert_eq!(rows(&lake, table, columns, None).await, expected, "{table}");
    }
    // A lesson of two dates has one row for each user, also for the one of whom only the other day's table knows.
    let attendance = lake
        .rows(
            "lesson_attendance",
            &["external_user_id", "external_meeting_id", "call_ids", "date"],
        )
        .await;
    let guest: Vec<&Row> = attendance
        .iter()
        .filter(|row| row["external_user_id"] == key.of(SECOND_DATE_ONLY))
        .collect();
    let meeting = &guest[0]["external_meeting_id"];
    let dates: BTreeSet<&str> = attendance
        .iter()
        .filter(|row| row["external_meeting_id"] == *meeting)
        .map(|row| row["date"].as_str())
        .collect();
    assert_eq!((guest.len(), dates.len()), (1, 1), "{guest:?}");
    let both = |row: &&Row| row["external_meeting_id"] == *meeting && row["call_ids"].contains(',');
    assert!(attendance.iter().filter(both).count() > 2);
    // Levels that are no people keep their entities, and a teacher's level joins with the teacher.
    let levels = lake
        .rows(
            "hierarchy",
            &[
                "level",
                "entity_id",
                "entity_name",
                "external_user_id",
                "attributes",
            ],
        )
        .await;
    let of = |level: &str| {
        levels
            .iter()
            .filter(move |row| row["level"] == level)
            .collect::<Vec<_>>()
    };
    assert!(
        of("branch")
            .iter()
            .all(|row| !row["entity_name"].is_empty() && row["entity_id"].starts_with("branch-"))
    );
    let teachers = of("teacher");
    assert!(
        !teachers.is_empty()
            && teachers
                .iter()
                .all(|row| row["entity_id"] == row["external_user_id"])
    );
    assert!(
        of("contract")
            .iter()
            .all(|row| row["attributes"] == "{number: 17/2026}"),
        "{:?}",
        of("contract").first()
    );
    let metas = lake.rows("user_meta", &["attributes"]).await;
    assert!(
        metas
            .iter()
            .all(|row| row["attributes"].contains("floor: third floor"))
    );
    // Cells of workbooks are treated as the columns that they feed.
    let cells = lake.rows("report_rows", &["cells"]).await;
    assert!(!cells.is_empty() && cells.iter().all(|row| row["cells"].contains(": ")));

    let verify = ["verify", "--deep", "--rebuild"];
    let verified = scene.pseudonymous(&lake, &verify).run().await.expect(0);
    assert!(!verified.stdout.contains("not compared"), "{}", verified.stdout);
    let range = range(&scene.sim);
    let again = scene
        .pseudonymous(&lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert_eq!(again.count("days_built"), 0);
    let checked = scene.pseudonymous(&lake, &["check"]).run().await;
    let line = "privacy: profile pseudonymous; the key is that of the lake";
    assert!(checked.stdout.contains(line), "{}", checked.stdout);
    assert!(!checked.stdout.contains(KEY));
    let schema = scene
        .pseudonymous(&lake, &["schema", "participants"])
        .run()
        .await
        .expect(0);
    assert!(
        schema.stdout.contains("Pseudonym, HMAC-SHA-256 of the value"),
        "{}",
        schema.stdout
    );
    assert!(
        schema.stdout.contains("Always null here ([privacy])"),
        "{}",
        schema.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_builds_days_and_lesson_tables_again() {
    let scene = Scene::new().await;
    let lake = scene.plain_lake().await;
    let (range, personal) = (range(&scene.sim), personal(&scene.sim.school()));
    // Delta files of before stay until they are vacuumed.
    lake_without_delta(&lake).await;
    let stale = scene
        .pseudonymous(&lake, &["verify", "--rebuild"])
        .run()
        .await
        .expect(0);
    assert!(stale.stdout.contains("[privacy]"), "{}", stale.stdout);
    let run = scene
        .pseudonymous(&lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert!(run.count("days_built") > 0);
    assert_eq!(leaks(&lake, &personal).await, Vec::<String>::new());
    let pseudonymous = tables_of(&lake).await;
    let (fresh, _) = scene.pseudonymous_lake().await;
    let fresh_tables = tables_of(&fresh).await;
    for (key, bytes) in &pseudonymous {
        // The times of build and receipt differ.
        let is_timeless = !["coverage/", "days/", "user_meta/", "recordings/"]
            .iter()
            .any(|it| key.starts_with(it));
        assert!(!is_timeless || Some(bytes) == fresh_tables.get(key), "{key}");
    }
    // Without `[privacy]` everything comes back.
    let rebuild = ["rebuild", &range[0], &range[1], &range[2], &range[3]];
    scene.command(&lake, &rebuild).run().await.expect(0);
    let names = lake.rows("participants", &["name"]).await;
    assert!(names.iter().all(|row| !row["name"].is_empty()));
    scene
        .command(&lake, &["verify", "--rebuild"])
        .run()
        .await
        .expect(0);
}

async fn lake_without_delta(lake: &Lake) {
    for key in lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("delta/"))
    {
        lake.remove(&key).await;
    }
}

async fn tables_of(lake: &Lake) -> std::collections::BTreeMap<String, Bytes> {
    let mut contents = lake.contents().await;
    contents.retain(|key, _| key.ends_with(".parquet") && !key.starts_with("delta/"));
    contents
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_key_is_refused_before_anything_is_written() {
    let scene = Scene::new().await;
    let (lake, _) = scene.pseudonymous_lake().await;
    let range = range(&scene.sim);
    let (before, written) = (lake.contents().await, lake.written());
    let rebuild = ["rebuild", &range[0], &range[1], &range[2], &range[3]];
    let backfill = backfill(&range, &[]);
    let import = ["meta", "import", &scene.lessons];
    let commands: [&[&str]; 7] = [
        &["run"],
        &backfill,
        &rebuild,
        &["verify", "--rebuild"],
        &["verify", "--repair"],
        &import,
        &["serve"],
    ];
    for (file, why) in [
        ("other-key", "another key than the one that made the pseudonyms"),
        ("nowhere", "there is no such file"),
        ("", "is empty"),
    ] {
        let path = match file {
            "" => String::new(),
            file => scene.path(file),
        };
        for args in &commands {
            let refused = scene
                .pseudonymous(&lake, args)
                .env("TELELAKE_PRIVACY__KEY_FILE", &path)
                .env("TELELAKE_SERVE__LISTEN", "127.0.0.1:0")
                .run()
                .await
                .expect(2);
            assert!(refused.stderr.contains(why), "{args:?}: {}", refused.stderr);
            assert!(
                refused.stderr.contains("privacy.key_file"),
                "{args:?}: {}",
                refused.stderr
            );
            assert!(refused.stderr.contains(&path), "{args:?}: {}", refused.stderr);
        }
        assert!(lake.contents().await == before, "{file}: something was written");
        assert_eq!(lake.written(), written, "{file}");
    }
    let checked = scene
        .pseudonymous(&lake, &["check"])
        .env("TELELAKE_PRIVACY__KEY_FILE", &scene.path("other-key"))
        .run()
        .await
        .expect(2);
    assert!(checked.stdout.contains("FAIL  privacy: "), "{}", checked.stdout);
    assert!(!checked.stdout.contains("another key of the same length"));
    // With the right key the lake is as before.
    let right = scene.pseudonymous(&lake, &backfill).run().await.expect(0);
    assert_eq!(right.count("days_built"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_of_columns_is_refused_with_the_nearest_name() {
    let lake = Lake::folder();
    for (columns, expected) in [
        (
            r#"{ "participant.email" = "null" }"#,
            "there is no table `participant`; the nearest is `participants`",
        ),
        (
            r#"{ "participants.e_mail" = "null" }"#,
            "does not have a column `e_mail`; the nearest is `email`",
        ),
        (
            r#"{ "*.participant_id" = "null" }"#,
            "participants.participant_id is of the key and can't be null",
        ),
        (
            r#"{ "participants.duration_s" = "hash" }"#,
            "participants.duration_s can't be hashed",
        ),
        (r#"{ "email" = "null" }"#, "is not table.column"),
        (
            r#"{ "participants.email" = "hash" }"#,
            "is empty, and [privacy] makes pseudonyms, first in participants.email",
        ),
    ] {
        let refused = Telelake::new(&["rebuild", "--from", "2026-01-01", "--to", "2026-01-02"])
            .lake(&lake)
            .env("TELELAKE_PRIVACY__COLUMNS", columns)
            .run()
            .await
            .expect(2);
        assert!(refused.stderr.contains(expected), "{columns}: {}", refused.stderr);
    }
    assert!(lake.keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_makes_a_key_once_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let args = ["demo", "--out", out.to_str().unwrap(), "--privacy"];
    let first = Telelake::new(&args).run().await.expect(0);
    let file = PathBuf::from(format!("{}.privacy-key", out.display()));
    assert!(
        first
            .stdout
            .contains(&format!("The key of the pseudonyms: {}", file.display()))
    );
    let key = std::fs::read_to_string(&file).unwrap();
    assert_eq!(key.trim().len(), 64);
    assert!(!first.stdout.contains(key.trim()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    Telelake::new(&args).run().await.expect(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key);
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    let lake = telelake::tables::read_text(
        std::fs::read(first_file(&out.join("lesson_attendance")))
            .unwrap()
            .into(),
        &["external_user_id", "user_fullname"],
    );
    let rows = lake.unwrap();
    assert!(rows.iter().all(|row| row[1].is_empty() && row[0].len() == 64));
    assert!(
        rows.iter()
            .any(|row| report.contains(&format!(">{}<", &row[0][..12]))),
        "a short pseudonym"
    );
}

fn first_file(folder: &std::path::Path) -> PathBuf {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    match entries[0].is_dir() {
        true => first_file(&entries[0]),
        false => entries[0].clone(),
    }
}
