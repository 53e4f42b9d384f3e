//! `[privacy]`: no personal data outside of what came from the platform, and the same joins.

mod compared;
mod keys;
mod night;

use std::collections::BTreeSet;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use chrono::TimeDelta;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use telelake::simulator::{Options, School, Simulator};

use crate::pipeline::lessons::{import, write};
use crate::pipeline::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

const KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

const OTHER_KEY: &str = "another key of the same length";

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
        std::fs::write(folder.path().join("other-key"), OTHER_KEY).unwrap();
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
        meta["families"] =
            json!({"curators": {"Ключева Эмма": {"id": "cur-4712", "rank": {"kind": "lead"}}}});
        meta["contract"] = json!({"signed_by": "Подписова Яна", "number": "17/2026"});
        meta["floor"] = json!("third floor");
    }
    payloads
}

/// The strings of the school's world that say something of people, and the key of their pseudonyms.
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
        "cur-4712",
        "Ключева Эмма",
        "Наставников Лев",
        "Ответова Ада",
        "+7 912 555-66-77",
        "Подписова Яна",
    ];
    strings.extend(of_lessons.map(str::to_owned));
    strings.insert(KEY.to_owned());
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
