//! The part of `check` that keeps the API's answers with all values masked, for support or as a fixture.

use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use serde_json::Value;

use super::CommandContext;
use super::check_report::CheckReport;
use super::sample::{self, SampleCall};
use crate::api::{AnswerAsItCame, Client, LinkKind, Question, Record};
use crate::config::{Config, ReportFormat};
use crate::ids::RecordId;
use crate::simulator::{RECORDING_INDEX, RECORDING_VERSION, RecordedAnswer, Recording};
use crate::tables::{Mapping, Masker, learn_workbook, masked_workbook};
use crate::{Error, ErrorKind, Result};

/// The time around a call in which its records are looked for.
const AROUND: TimeDelta = TimeDelta::days(1);
/// The file for people.
const README: &str = "README.txt";

/// The media types that are recorded as they are.
const MEDIA_TYPES: [&str; 12] = [
    "application/json",
    "application/problem+json",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.ms-excel",
    "application/zip",
    "application/octet-stream",
    "application/xml",
    "text/csv",
    "text/html",
    "text/json",
    "text/plain",
    "video/mp4",
];
/// Any other media type.
const OTHER_MEDIA: &str = "application/octet-stream";

/// Records the first answer of each endpoint in an empty folder.
pub(super) async fn record(
    context: &CommandContext,
    config: &Config,
    mapping: &Mapping,
    folder: &Path,
    report: &CheckReport,
) -> Result<()> {
    let outcome = async {
        let client = Client::new(&config.api, context.cancel.clone())?;
        let mut answers = ask(&client, config).await?;
        masked(&mut answers, mapping)
    };
    match outcome.await {
        Ok(files) => {
            write(folder, &files)?;
            let text = format!(
                "{} files in {}, with all values masked. Look at them before you send them",
                files.len() + 1,
                folder.display()
            );
            report.good("recording", &text)
        }
        Err(error) => report.bad("recording", &error.to_string()),
    }
}

fn about(folder: &Path) -> String {
    format!("--record {}", folder.display())
}

/// Refuses a folder that has something in it.
pub(super) fn require_empty(folder: &Path) -> Result<()> {
    let refuse =
        |why: String| Error::new(ErrorKind::Usage, about(folder), why).hint("name a new or an empty folder");
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(refuse("the folder is not empty".to_owned())),
            None => Ok(()),
        },
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(refuse(error.to_string())),
        _ => Ok(()),
    }
}

/// An answer, and the objects that its request was about.
struct Answer {
    recorded: RecordedAnswer,
    body: Bytes,
}

/// Asks each endpoint once, about a finished call that has a report.
async fn ask(client: &Client, config: &Config) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let spaces = client.as_it_came(Question::Spaces).await?;
    answers.push(answer("spaces", "GET /spaces", &spaces, None));
    let mut sample = None;
    for format in &config.export.reports {
        if sample.is_none() {
            sample = sample::call_with_report(client, config, *format, Utc::now()).await?;
        }
    }
    let Some(sample) = sample else {
        return Ok(answers);
    };
    let SampleCall {
        space,
        room,
        date,
        call,
        ..
    } = &sample;
    let rooms = client.as_it_came(Question::Rooms(space)).await?;
    let mut rooms = answer("rooms", "GET /spaces/{space}/rooms", &rooms, Some(&sample));
    rooms.body = with_item(&rooms.body, &room.id, &room.raw.value());
    answers.push(rooms);
    let calls = client.as_it_came(Question::Calls(space, &room.id, *date)).await?;
    let mut calls = answer(
        "calls",
        "GET /spaces/{space}/analytics/calls?roomId&date",
        &calls,
        Some(&sample),
    );
    calls.body = with_item(&calls.body, &call.id, &call.raw.value());
    answers.push(calls);
    for (endpoint, format) in [
        ("report_json", ReportFormat::Json),
        ("report_xlsx", ReportFormat::Xlsx),
    ] {
        let request = format!(
            "GET /spaces/{{space}}/analytics/report?roomId&callId&format={}",
            format.as_str()
        );
        let question = Question::Report(space, &room.id, &call.id, format);
        let mut report = or_refusal(client.as_it_came(question).await, endpoint, &request, &sample)?;
        report.recorded.call = Some(call.id.to_string());
        answers.push(report);
    }
    answers.extend(ask_records(client, &sample).await?);
    Ok(answers)
}

async fn ask_records(client: &Client, sample: &SampleCall) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let SampleCall {
        space, room, call, ..
    } = sample;
    let around = call.started_at.or(call.finished_at).unwrap_or_else(Utc::now);
    let question = Question::Records(space, &room.id, around - AROUND, around + AROUND);
    let request = "GET /spaces/{space}/rooms/{room}/records?dateFrom&dateTo";
    answers.push(or_refusal(
        client.as_it_came(question).await,
        "records",
        request,
        sample,
    )?);
    let listed = client
        .records(space, &room.id, around - AROUND, around + AROUND)
        .await;
    let finished = |record: &&Record| record.finished_at.is_some();
    let Some(id) = listed
        .ok()
        .and_then(|listed| listed.items.iter().find(finished).map(|record| record.id.clone()))
    else {
        return Ok(answers);
    };
    answers.push(ask_link(client, sample, &id).await?);
    Ok(answers)
}

/// Asks for a link, and keeps only the form in which it came.
async fn ask_link(client: &Client, sample: &SampleCall, record: &RecordId) -> Result<Answer> {
    let question = Question::Link(&sample.space, &sample.room.id, record);
    let request = "GET /spaces/{space}/rooms/{room}/records/download/{record}";
    let came = client.as_it_came(question).await;
    let form = came.as_ref().ok().map(|came| match came.link {
        LinkKind::Text => "text",
        LinkKind::Json => "json",
        LinkKind::Redirect => "redirect",
        LinkKind::Video => "video",
    });
    let mut link = or_refusal(came, "link", request, sample)?;
    link.body = Bytes::new();
    link.recorded.form = form.map(str::to_owned);
    link.recorded.record = Some(record.to_string());
    Ok(link)
}

fn answer(endpoint: &str, request: &str, came: &AnswerAsItCame, sample: Option<&SampleCall>) -> Answer {
    Answer {
        recorded: RecordedAnswer {
            endpoint: endpoint.to_owned(),
            request: request.to_owned(),
            space: sample.map(|sample| sample.space.to_string()),
            room: sample
                .filter(|_| endpoint != "rooms")
                .map(|sample| sample.room.id.to_string()),
            status: came.status,
            content_type: came.content_type.as_deref().map(media_type).map(str::to_owned),
            ..RecordedAnswer::default()
        },
        body: came.body.clone(),
    }
}

/// The media type that is recorded for that of an answer, which may hold anything.
fn media_type(content_type: &str) -> &'static str {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let is_it = |known: &&&str| known.eq_ignore_ascii_case(kind);
    MEDIA_TYPES.iter().find(is_it).copied().unwrap_or(OTHER_MEDIA)
}

/// An answer, or the status with which the API refused it. Other errors end the recording.
fn or_refusal(
    came: Result<AnswerAsItCame>,
    endpoint: &str,
    request: &str,
    sample: &SampleCall,
) -> Result<Answer> {
    let status = match &came {
        Ok(_) => 200,
        Err(error) => match error.kind() {
            ErrorKind::Forbidden => 403,
            ErrorKind::NotFound => 404,
            _ => return came.map(|came| answer(endpoint, request, &came, Some(sample))),
        },
    };
    let refused = AnswerAsItCame {
        status,
        content_type: None,
        link: LinkKind::Text,
        body: Bytes::new(),
    };
    Ok(answer(endpoint, request, &came.unwrap_or(refused), Some(sample)))
}

/// A page that has an item, also if the item was on another page.
fn with_item(page: &Bytes, id: &str, raw: &Value) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<Value>(page) else {
        return page.clone();
    };
    let items = match &mut value {
        Value::Array(items) => Some(items),
        value => value.get_mut("items").and_then(Value::as_array_mut),
    };
    match items {
        Some(items) if !items.iter().any(|item| item["id"] == id) => {
            items.push(raw.clone());
            value.to_string().into()
        }
        _ => page.clone(),
    }
}

/// Masks all answers, and gives the files of the folder. All values are learned first, so that no masked value is one of them.
fn masked(answers: &mut [Answer], mapping: &Mapping) -> Result<Vec<(String, Vec<u8>)>> {
    let failed = |why: String| Error::new(ErrorKind::Internal, "recording", why);
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| failed(error.to_string()))?;
    let mut masker = Masker::new(key, mapping);
    for answer in answers.iter() {
        // An answer that can't be read is not written, either.
        let _ = match answer.recorded.endpoint.as_str() {
            "report_xlsx" => learn_workbook(&answer.body, mapping, &mut masker).is_ok(),
            _ => masker.learn_json(&answer.body).is_ok(),
        };
    }
    let mut files = Vec::new();
    let mut recorded = Vec::new();
    for answer in answers {
        let mut entry = answer.recorded.clone();
        for id in [
            &mut entry.space,
            &mut entry.room,
            &mut entry.call,
            &mut entry.record,
        ]
        .into_iter()
        .flatten()
        {
            *id = masker.text(id);
        }
        if let Some(file) = body(answer, mapping, &mut masker) {
            entry.file = Some(file.0.clone());
            files.push(file);
        }
        recorded.push(entry);
    }
    let recording = Recording {
        version: RECORDING_VERSION,
        program: format!("telelake {}", env!("CARGO_PKG_VERSION")),
        about: format!("Answers of the API with all values masked; see {README}"),
        answers: recorded,
    };
    let index = serde_json::to_vec_pretty(&recording).map_err(|error| failed(error.to_string()))?;
    files.push((RECORDING_INDEX.to_owned(), index));
    Ok(files)
}

/// The file of an answer's masked body; none if it has no body, or one that can't be read.
fn body(answer: &Answer, mapping: &Mapping, masker: &mut Masker) -> Option<(String, Vec<u8>)> {
    if answer.body.trim_ascii().is_empty() {
        return None;
    }
    if answer.recorded.endpoint == "report_xlsx" {
        let book = masked_workbook(&answer.body, mapping, masker).ok()?;
        return Some(("report.xlsx".to_owned(), book));
    }
    let mut value = masker.json(&answer.body).ok()?;
    let items = value.get("items").and_then(Value::as_array).map(Vec::len);
    if let (Some(items), Some(total)) = (items, value.get_mut("total")) {
        // The simulator serves the recorded page as the whole list.
        *total = items.into();
    }
    let name = match answer.recorded.endpoint.as_str() {
        "report_json" => "report.json".to_owned(),
        endpoint => format!("{endpoint}.json"),
    };
    Some((name, serde_json::to_vec_pretty(&value).ok()?))
}

const ABOUT: &str = "\
Answers of the teleboss / livedigital API, recorded by `telelake check --record`.

recording.json lists the answers and the requests that they answer; each body is a file beside it.
Keys, types, lengths and notations are those of the API. All values are masked: letters and digits are others, the same value is
masked in the same way everywhere, and all instants are moved by the same time: days and seconds that were drawn for this recording.
Times of one recording are moved together, so that one who knows one of them, such as the start of a lesson, knows all. Numbers since
1970 are moved only in fields that are surely times; elsewhere they are masked like ids. true, false, null, 0, 1 and empty texts stay. The
token, the address of the API and the download link were never written. The key by which values are masked is not kept anywhere.

Names of fields stay unless they look like data. Names of sheets and headers of workbooks stay if the mapping names them or if all
their words are known to the program.
Look at the files before you send them: a program cannot know everything that must not leave your house.

`telelake simulate --recorded DIR` serves these answers.
";

/// Writes the files so that only the user can read them.
fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(ErrorKind::Usage, about(folder), error.to_string());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let readme = (README.to_owned(), ABOUT.as_bytes().to_vec());
    for (name, bytes) in files.iter().chain([&readme]) {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(folder.join(name)).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_that_is_not_known_is_not_recorded() {
        for (came, recorded) in [
            ("application/JSON; charset=utf-8; name=Ivan", "application/json"),
            ("application/x.Ivan-Petrov.secret; name=x", OTHER_MEDIA),
            ("", OTHER_MEDIA),
        ] {
            assert_eq!(media_type(came), recorded, "{came}");
        }
    }
}
