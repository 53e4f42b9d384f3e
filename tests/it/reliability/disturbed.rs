//! Any single value of an answer, a report, a workbook or the lesson data is replaced by something else. The run still
//! ends normally, every row that does not depend on the value is unchanged, nobody who was present becomes absent, and an
//! unreadable value is named with its ids.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read as _, Write as _};

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Value, json};
use telelake::config::ReportFormat;
use telelake::lake::table::builtin;
use telelake::pipeline::{Problem, ProblemKind, Summary};
use telelake::simulator::{Endpoint, Failure, Matcher, Oddities, Options, Simulator};
use telelake::tables::read_text;
use telelake::{ErrorKind, ExitStatus};

use super::{config, now, run_at, soak, tiny};
use crate::support::memory::Memory;

/// The number of histories in the test suite; `make soak` tests each value with each replacement.
const HISTORIES: u64 = 150;

/// The replacement of a value: JSON text, well-formed or not; `None` removes the field.
const REPLACEMENTS: [Option<&[u8]>; 24] = [
    None,
    Some(b"null"),
    Some(b"\"\""),
    Some(b"\"-\""),
    Some(b"[]"),
    Some(b"{}"),
    Some(b"0"),
    Some(b"1.0"),
    Some(b"-7"),
    Some(b"true"),
    Some(b"false"),
    Some(b"\"soon\""),
    Some(b"{\"odd\":[1]}"),
    Some(b"[null,5,{}]"),
    Some(b"\"+262142-12-31 23:00\""),
    Some(b"\"0001-01-01T00:00:00Z\""),
    Some(b"\"9999-12-31T23:59:59Z\""),
    Some(b"253402300799"),
    Some(b"100000000000000000001"),
    Some(b"1e400"),
    Some(b"NaN"),
    Some(b"\"cut \\ud83d\""),
    Some(b"\"caf\xe9\""),
    Some(b"\"\\u0000\\u202e\""),
];

/// Replacements that are no instant, number or boolean.
const UNREADABLE: [&[u8]; 3] = [b"\"soon\"", b"{\"odd\":[1]}", b"[null,5,{}]"];
/// The fields of these types that decide about a call, record, room or stay.
const TYPED: [&str; 10] = [
    "lastCallAt",
    "startedAt",
    "finishedAt",
    "participantsCount",
    "totalParticipantsCount",
    "isBreakoutRoom",
    "fileSize",
    "joinedAt",
    "leftAt",
    "cameraSeconds",
];

fn options() -> Options {
    Options {
        spaces: 2,
        odd: Oddities {
            rejoins: true,
            several_calls: true,
            ..Oddities::none()
        },
        calls_per_day: 1..=2,
        ragged: false,
        ..tiny()
    }
}

/// The document that contains a value.
#[derive(Debug, Clone)]
enum Source {
    /// The answer to a request.
    Answer { endpoint: Endpoint, name: String },
    /// A line of the lesson data.
    Lessons(usize),
}

/// A value to be replaced.
#[derive(Debug, Clone)]
struct Place {
    source: Source,
    /// The JSON pointer of the value; in a workbook, the index of the text among all parts.
    pointer: String,
    /// The ids of the objects that the value describes.
    ids: BTreeSet<String>,
}

/// The result of a run: all rows of all tables, and its problems.
struct Made {
    /// Rows as `table column=value …`.
    rows: BTreeSet<String>,
    /// True for attendance, by meeting and user.
    attended: BTreeMap<(String, String), String>,
    exit: ExitStatus,
    problems: Vec<Problem>,
}

/// A school with its answers and the undisturbed lake of them.
struct World {
    sim: Simulator,
    formats: Vec<ReportFormat>,
    answers: Vec<(Endpoint, String, Bytes)>,
    lessons: Vec<Value>,
    undisturbed: Made,
}

impl World {
    async fn new(formats: Vec<ReportFormat>) -> Self {
        let sim = Simulator::start(options()).await.unwrap();
        let lessons = sim.school().metas();
        let lines: Vec<_> = lessons.iter().map(|line| line.to_string().into_bytes()).collect();
        let undisturbed = make(&sim, &formats, &lines).await;
        assert_eq!(undisturbed.exit, ExitStatus::Done);
        assert!(undisturbed.attended.values().any(|attended| attended == "true"));
        let names: BTreeMap<_, _> = sim
            .requests()
            .into_iter()
            .filter(|seen| !matches!(seen.endpoint, Endpoint::Link | Endpoint::Blob))
            // The room that answers first decides if a second page is requested.
            .filter(|seen| seen.endpoint == Endpoint::Report || seen.query.contains("offset=0"))
            .map(|seen| (format!("{}?{}", seen.path, seen.query), seen.endpoint))
            .collect();
        let (client, base) = (telelake::tls::http_client().build().unwrap(), sim.base_url());
        let host = base.strip_suffix("/v1").unwrap();
        let mut answers = Vec::new();
        for (name, endpoint) in names {
            let request = client.get(format!("{host}{name}")).bearer_auth(sim.token());
            let body = request.send().await.unwrap().bytes().await.unwrap();
            answers.push((endpoint, name, body));
        }
        Self {
            sim,
            formats,
            answers,
            lessons,
            undisturbed,
        }
    }

    /// Every value that can be replaced.
    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (endpoint, name, body) in &self.answers {
            let source = Source::Answer {
                endpoint: *endpoint,
                name: name.clone(),
            };
            let place = |pointer: String, ids: BTreeSet<String>| Place {
                source: source.clone(),
                pointer,
                ids,
            };
            let of_request = ids_in(name);
            if name.contains("format=xlsx") {
                let texts = 0..texts(body);
                places.extend(texts.map(|text| place(text.to_string(), of_request.clone())));
            } else if let Ok(answer) = serde_json::from_slice::<Value>(body) {
                let found = pointers(&answer).into_iter().filter(|pointer| {
                    // A list of spaces that cannot be read leaves nothing to do, which is another exit status.
                    *endpoint != Endpoint::Spaces || pointer.starts_with("/items/0/")
                });
                places.extend(found.map(|pointer| {
                    let ids = match pointer.strip_prefix("/items/") {
                        Some(rest) => {
                            let item = rest.split('/').next().unwrap_or_default();
                            let id = answer.pointer(&format!("/items/{item}/id"));
                            let id = id.and_then(Value::as_str).map(str::to_owned);
                            of_request.iter().cloned().chain(id).collect()
                        }
                        None => of_request.clone(),
                    };
                    place(pointer, ids)
                }));
            }
        }
        for (line, payload) in self.lessons.iter().enumerate() {
            let ids = ["externalUserId", "externalMeetingId"]
                .map(|name| payload[name].as_str().unwrap().to_owned());
            places.extend(pointers(payload).into_iter().map(|pointer| Place {
                source: Source::Lessons(line),
                pointer,
                ids: ids.iter().cloned().collect(),
            }));
        }
        places
    }

    async fn disturb(&self, place: &Place, replacement: Option<&[u8]>) -> Made {
        self.sim.faults().clear();
        let mut lines: Vec<_> = self
            .lessons
            .iter()
            .map(|line| line.to_string().into_bytes())
            .collect();
        match &place.source {
            Source::Lessons(line) => {
                lines[*line] = replaced(&self.lessons[*line], &place.pointer, replacement)
            }
            Source::Answer { endpoint, name } => {
                let (_, _, body) = self.answers.iter().find(|(_, of, _)| of == name).unwrap();
                let body = if name.contains("format=xlsx") {
                    retyped(
                        body,
                        place.pointer.parse().unwrap(),
                        replacement.unwrap_or_default(),
                    )
                } else {
                    replaced(
                        &serde_json::from_slice(body).unwrap(),
                        &place.pointer,
                        replacement,
                    )
                };
                let when = Matcher::endpoint(*endpoint).containing(name);
                self.sim.faults().order(when, Failure::Bytes(body));
            }
        }
        make(&self.sim, &self.formats, &lines).await
    }

    /// Lists the faults in the result of a disturbed run.
    fn faults_of(&self, place: &Place, replacement: Option<&[u8]>, made: &Made) -> Vec<String> {
        let mut faults = Vec::new();
        if !matches!(made.exit, ExitStatus::Done | ExitStatus::Partial) {
            faults.push(format!("exit status {:?}: {:?}", made.exit, made.problems));
        }
        let scope = self.scope(place);
        let others = |rows: &BTreeSet<String>| -> BTreeSet<String> {
            // A row of `days` is about all of a day, so every change concerns it.
            let is_other = |row: &&String| {
                !row.starts_with("days ") && !scope.iter().any(|id| row.contains(id.as_str()))
            };
            rows.iter().filter(is_other).cloned().collect()
        };
        let (expected, found) = (others(&self.undisturbed.rows), others(&made.rows));
        let missing = expected.difference(&found);
        faults.extend(missing.map(|row| format!("the row is missing or changed: {row}")));
        faults.extend(self.absent(place, replacement, made));
        let field = place.pointer.rsplit('/').next().unwrap_or_default();
        let unreadable =
            replacement.is_some_and(|value| UNREADABLE.contains(&value)) && TYPED.contains(&field);
        let named = made.problems.iter().any(|problem| {
            let ids = [
                problem.space_id.as_deref(),
                problem.room_id.as_deref(),
                problem.call_id.as_deref(),
                problem.record_id.as_deref(),
                problem.external_meeting_id.as_deref(),
            ];
            ids.into_iter().flatten().any(|id| scope.contains(id))
        });
        if unreadable && !named {
            faults.push(format!("the value is not named: {:?}", made.problems));
        }
        faults
    }

    /// Those who attended and are absent now.
    fn absent(&self, place: &Place, replacement: Option<&[u8]>, made: &Made) -> Vec<String> {
        // A person without ids counts as somebody else; a person who is not listed, or whose list is empty, was absent.
        let parts: Vec<_> = place.pointer.split('/').skip(1).collect();
        let says_so = match parts[..] {
            ["participants", _] => replacement.is_none(),
            // The id of another person, or no id.
            ["participants", _, "externalUserId" | "externalMeetingId"] => {
                !replacement.is_some_and(|value| UNREADABLE[1..].contains(&value))
            }
            ["participants"] | ["participants", _, "sessions"] => replacement == Some(b"[]"),
            ["participants", _, "sessions", _] => replacement.is_none(),
            ["externalUserId" | "externalMeetingId"] => true,
            _ => false,
        };
        if says_so || self.formats == [ReportFormat::Xlsx] || self.is_after_its_lesson(place) {
            return Vec::new();
        }
        let attended = self
            .undisturbed
            .attended
            .iter()
            .filter(|(_, attended)| *attended == "true");
        attended
            .filter(|(who, _)| {
                made.attended
                    .get(*who)
                    .is_some_and(|attended| attended == "false")
            })
            .map(|(who, _)| format!("{who:?} was there and is absent"))
            .collect()
    }

    /// True if the value belongs to a call that began after the planned end of its lesson, because only its report shows to
    /// which lesson it belongs.
    fn is_after_its_lesson(&self, place: &Place) -> bool {
        let school = self.sim.school();
        let mut calls = school.calls.iter().filter(|call| place.ids.contains(&call.id));
        let of_calls = matches!(
            place.source,
            Source::Answer {
                endpoint: Endpoint::Calls,
                ..
            }
        );
        of_calls && calls.any(|call| call.started_at >= call.lesson.scheduled_end)
    }

    /// The ids in rows about the value: of the value itself, of the calls of its room, and of their meetings.
    fn scope(&self, place: &Place) -> BTreeSet<String> {
        let school = self.sim.school();
        let mut scope = place.ids.clone();
        let is_space = |id: &String| school.spaces.iter().any(|space| space.id == *id);
        if matches!(
            place.source,
            Source::Answer {
                endpoint: Endpoint::Spaces,
                ..
            }
        ) {
            return scope;
        }
        // A list with a room that cannot be read leaves the days of its space open.
        let has_gap = |pointer: &str| pointer.matches('/').count() <= 2 || pointer.ends_with("/id");
        let of_rooms = matches!(
            place.source,
            Source::Answer {
                endpoint: Endpoint::Rooms,
                ..
            }
        );
        if of_rooms && has_gap(&place.pointer) {
            return scope;
        }
        if scope.iter().any(|id| school.room(id).is_some()) {
            scope.retain(|id| !is_space(id));
        }
        let calls = school
            .calls
            .iter()
            .filter(|call| place.ids.contains(&call.room_id));
        for call in calls {
            scope.extend([call.id.clone(), call.lesson.meeting_id.clone()]);
        }
        scope
    }
}

/// The ids of the school in a request.
fn ids_in(name: &str) -> BTreeSet<String> {
    name.split(|c: char| !c.is_ascii_hexdigit())
        .filter(|part| part.len() == 24)
        .map(str::to_owned)
        .collect()
}

async fn make(sim: &Simulator, formats: &[ReportFormat], lessons: &[Vec<u8>]) -> Made {
    let feed = tempfile::tempdir().unwrap();
    std::fs::write(feed.path().join("metas.jsonl"), lessons.join(&b'\n')).unwrap();
    let mut config = config(sim);
    config.export.reports = formats.to_vec();
    config.meta.feeds = vec![format!("file://{}", feed.path().display())];
    let store = Memory::default();
    let (exit, problems) = match run_at(sim, config, store.clone(), now()).await {
        Ok(summary) => (summary.status(), problems(summary)),
        Err(error) if error.kind() == ErrorKind::Interrupted => panic!("{error}"),
        Err(error) => (
            error.exit_status(),
            vec![Problem::new(
                ProblemKind::Other("error".into()),
                error.to_string(),
            )],
        ),
    };
    let (mut rows, mut attended) = (BTreeSet::new(), BTreeMap::new());
    for (key, bytes) in store
        .contents()
        .iter()
        .filter(|(key, _)| key.ends_with(".parquet"))
    {
        let table = key.split('/').next().unwrap();
        let columns: Vec<_> = builtin::get(table)
            .unwrap()
            .columns
            .iter()
            .map(|column| &*column.name)
            .collect();
        for row in read_text(bytes.clone(), &columns).unwrap() {
            let cells: BTreeMap<_, _> = columns.iter().copied().zip(row).collect();
            if table == "lesson_attendance" {
                let who = (
                    cells["external_meeting_id"].clone(),
                    cells["external_user_id"].clone(),
                );
                attended.insert(who, cells["attended"].clone());
            }
            rows.insert(format!("{table} {cells:?}"));
        }
    }
    Made {
        rows,
        attended,
        exit,
        problems,
    }
}

fn problems(summary: Summary) -> Vec<Problem> {
    [summary.failed, summary.pending, summary.warnings].concat()
}

/// The pointers of all values in a document, except the document itself.
fn pointers(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), document)];
    while let Some((pointer, value)) = open.pop() {
        match value {
            Value::Object(fields) => {
                open.extend(
                    fields
                        .iter()
                        .map(|(name, inner)| (format!("{pointer}/{name}"), inner)),
                );
            }
            Value::Array(elements) => {
                open.extend(
                    elements
                        .iter()
                        .enumerate()
                        .map(|(at, inner)| (format!("{pointer}/{at}"), inner)),
                );
            }
            _ => {}
        }
        if !pointer.is_empty() {
            found.push(pointer);
        }
    }
    found.sort();
    found
}

/// A document with another value at a pointer.
fn replaced(document: &Value, pointer: &str, replacement: Option<&[u8]>) -> Vec<u8> {
    const MARK: &str = "a value to be replaced";
    let mut document = document.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match (replacement, document.pointer_mut(parent).unwrap()) {
        (None, Value::Object(fields)) => drop(fields.remove(name)),
        (None, Value::Array(elements)) => drop(elements.remove(name.parse().unwrap())),
        _ => *document.pointer_mut(pointer).unwrap() = json!(MARK),
    }
    let text = document.to_string();
    match text.split_once(&format!("\"{MARK}\"")) {
        Some((before, after)) => [
            before.as_bytes(),
            replacement.unwrap_or_default(),
            after.as_bytes(),
        ]
        .concat(),
        None => text.into_bytes(),
    }
}

/// The parts of a workbook that hold its texts and numbers, and how a value begins and ends in each.
const PARTS: [(&str, &str, &str); 2] = [
    ("xl/worksheets/", "<v>", "</v>"),
    ("xl/sharedStrings.xml", "<t>", "</t>"),
];

fn texts(workbook: &[u8]) -> usize {
    let mut count = 0;
    rewritten(workbook, &mut |_| {
        count += 1;
        None
    });
    count
}

/// A workbook with another text instead of one of its values.
fn retyped(workbook: &[u8], text: usize, replacement: &[u8]) -> Vec<u8> {
    let mut at = 0;
    let replacement = String::from_utf8_lossy(replacement).replace(['"', '<', '>', '&', '\0'], "");
    rewritten(workbook, &mut |_| {
        at += 1;
        (at == text + 1).then(|| replacement.clone())
    })
}

fn rewritten(workbook: &[u8], change: &mut dyn FnMut(&str) -> Option<String>) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(workbook)).unwrap();
    let mut made = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).unwrap();
        let name = part.name().unwrap().into_owned();
        let mut content = Vec::new();
        part.read_to_end(&mut content).unwrap();
        if let Some((_, start, end)) = PARTS.iter().find(|(prefix, ..)| name.starts_with(prefix)) {
            let text = String::from_utf8(content).unwrap();
            let mut pieces = text.split(start);
            let mut changed = pieces.next().unwrap().to_owned();
            for piece in pieces {
                let (value, rest) = piece.split_once(end).unwrap();
                let value = change(value).unwrap_or_else(|| value.to_owned());
                changed.extend([start, value.as_str(), end, rest]);
            }
            content = changed.into_bytes();
        }
        made.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        made.write_all(&content).unwrap();
    }
    made.finish().unwrap().into_inner()
}

async fn disturb_all(formats: Vec<ReportFormat>, wanted: impl Fn(&Place) -> bool, share: u64) {
    let world = World::new(formats).await;
    let places: Vec<_> = world.places().into_iter().filter(wanted).collect();
    let mut histories: Vec<_> = places
        .iter()
        .flat_map(|place| REPLACEMENTS.map(|replacement| (place, replacement)))
        .collect();
    if soak().is_none() {
        Rng::with_seed(7).shuffle(&mut histories);
        // A value of each kind comes before a second one.
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let kind = |place: &Place| {
            let source = match &place.source {
                Source::Answer { endpoint, .. } => format!("{endpoint:?}"),
                Source::Lessons(_) => "lessons".to_owned(),
            };
            format!(
                "{source} {}",
                place.pointer.rsplit('/').next().unwrap_or_default()
            )
        };
        histories.sort_by_cached_key(|(place, _)| {
            let times = seen.entry(kind(place)).or_default();
            *times += 1;
            *times
        });
        histories.truncate(usize::try_from(HISTORIES * share / 100).unwrap());
    }
    let mut faults = Vec::new();
    for (place, replacement) in histories {
        let made = world.disturb(place, replacement).await;
        let shown = replacement.map(String::from_utf8_lossy);
        let found = world.faults_of(place, replacement, &made).into_iter().take(2);
        faults.extend(found.map(|fault| format!("{place:?} replaced by {shown:?}: {fault}")));
    }
    let count = faults.len();
    faults.truncate(20);
    assert!(faults.is_empty(), "{count} faults:\n{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_value_of_an_answer_or_report_may_be_anything() {
    let wanted = |place: &Place| match &place.source {
        Source::Answer { name, .. } => !name.contains("format=xlsx"),
        Source::Lessons(_) => true,
    };
    disturb_all(vec![ReportFormat::Json], wanted, 80).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_value_of_a_workbook_may_be_anything() {
    let wanted =
        |place: &Place| matches!(&place.source, Source::Answer { name, .. } if name.contains("format=xlsx"));
    disturb_all(vec![ReportFormat::Xlsx], wanted, 20).await;
}
