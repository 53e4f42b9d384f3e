//! The API's answers from the school. Called by `routes` after the checks of token and limit.

use std::sync::Arc;

use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::log::Endpoint;
use super::options::{LinkForm, Window};
use super::request::ApiRequest;
use super::school::{Call, Record, Report, Room, School};
use super::state::Shared;
use super::{locked, objects, page, reply, report, select, webhooks, xlsx};

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// An answer or a refusal, which is boxed because a response is large.
type Answer = Result<Response, Box<Response>>;

/// Answers a request with a valid token.
pub(super) async fn answer(shared: &Arc<Shared>, endpoint: Endpoint, request: ApiRequest) -> Response {
    let reads = !matches!(endpoint, Endpoint::Webhook | Endpoint::Meta | Endpoint::Unknown);
    if reads && request.method != "GET" {
        return reply::refuse(405);
    }
    let answer = match endpoint {
        Endpoint::Spaces => Ok(spaces(shared, &request)),
        Endpoint::Rooms => rooms(shared, &request),
        Endpoint::Calls => calls(shared, &request),
        Endpoint::Report => report_of(shared, &request).await,
        Endpoint::Records => records(shared, &request),
        Endpoint::Link => link(shared, &request),
        Endpoint::Webhook => webhook(shared, &request),
        Endpoint::Meta => Ok(meta(shared, &request)),
        Endpoint::Blob | Endpoint::Unknown => Ok(reply::refuse(404)),
    };
    answer.unwrap_or_else(|refusal| *refusal)
}

fn refused(status: u16) -> Box<Response> {
    Box::new(reply::refuse(status))
}

/// The path's space, unless it is refused.
fn space_in<'a>(school: &School, parts: &[&'a str]) -> Result<&'a str, Box<Response>> {
    let id = parts.get(2).copied().unwrap_or_default();
    match school.space(id).map(|space| space.refuse) {
        Some(None) => Ok(id),
        Some(Some(status)) => Err(refused(status)),
        None => Err(refused(404)),
    }
}

/// A room of a space, unless it is refused.
fn room_in<'a>(school: &'a School, space: &str, room: Option<&str>) -> Result<&'a Room, Box<Response>> {
    let room = room
        .and_then(|id| school.room(id))
        .filter(|room| room.space_id == space);
    match room.map(|room| (room, room.refuse)) {
        Some((room, None)) => Ok(room),
        Some((_, Some(status))) => Err(refused(status)),
        None => Err(refused(404)),
    }
}

fn parameter<'a>(request: &'a ApiRequest, name: &str) -> Result<&'a str, Box<Response>> {
    request
        .query
        .get(name)
        .map(String::as_str)
        .ok_or_else(|| Box::new(reply::invalid(name)))
}

/// Answers with a page of a list, and makes only the objects of that page.
fn list<T>(
    shared: &Shared,
    request: &ApiRequest,
    all: &[T],
    counted: bool,
    object: impl Fn(&T) -> Value,
) -> Response {
    let page = all.get(window(shared, request, all.len())).unwrap_or_default();
    let items = page.iter().map(object).collect();
    reply::json(page::envelope(
        items,
        shared.options.paging.total,
        all.len(),
        counted,
    ))
}

/// The part of a list of `count` items that the request asks for.
fn window(shared: &Shared, request: &ApiRequest, count: usize) -> std::ops::Range<usize> {
    let number = |name: &str| request.query.get(name).and_then(|text| text.parse().ok());
    let offset = number("offset").unwrap_or(0);
    page::window(shared.options.paging, number("limit"), offset, count)
}

fn spaces(shared: &Shared, request: &ApiRequest) -> Response {
    let ragged = shared.options.ragged;
    list(shared, request, &shared.school().spaces, true, |space| {
        objects::space(space, ragged)
    })
}

fn rooms(shared: &Shared, request: &ApiRequest) -> Answer {
    let school = shared.school();
    let space = space_in(&school, &request.parts())?;
    let is_listed = |room: &&Room| !school.unlisted.contains(&room.id);
    let rooms: Vec<&Room> = school.rooms_of(space).filter(is_listed).collect();
    let ragged = shared.options.ragged;
    let object = |room: &&Room| objects::room(&school, room, ragged);
    let paging = shared.options.paging;
    if !matches!(paging.window, Window::CutThenFiltered(_)) {
        return Ok(list(shared, request, &rooms, true, object));
    }
    let rows: Vec<&Room> = school.rooms_of(space).collect();
    let page = rows.get(window(shared, request, rows.len())).unwrap_or_default();
    let items = page.iter().filter(|room| is_listed(room)).map(object).collect();
    Ok(reply::json(page::envelope(
        items,
        paging.total,
        rooms.len(),
        true,
    )))
}

fn calls(shared: &Shared, request: &ApiRequest) -> Answer {
    let school = shared.school();
    let space = space_in(&school, &request.parts())?;
    let room = room_in(&school, space, Some(parameter(request, "roomId")?))?;
    let date = parameter(request, "date")?;
    let zone = shared.options.zone;
    let day = select::day(date, zone).ok_or_else(|| Box::new(reply::invalid("date")))?;
    let reading = shared.options.date_reading;
    let on_day = |call: &&Call| select::is_in(reading, &day, call.started_at, call.finished_at);
    let calls: Vec<&Call> = school.calls_of(&room.id).filter(on_day).collect();
    let ragged = shared.options.ragged;
    Ok(list(shared, request, &calls, false, |call| {
        objects::call(call, room.kind, ragged)
    }))
}

async fn report_of(shared: &Arc<Shared>, request: &ApiRequest) -> Answer {
    let school = shared.school();
    let space = space_in(&school, &request.parts())?;
    let room = room_in(&school, space, Some(parameter(request, "roomId")?))?;
    let call = school.call(parameter(request, "callId")?);
    let format = request.query.get("format").map_or("json", String::as_str);
    let finished = call.filter(|call| call.room_id == room.id && call.finished_at.is_some());
    let Some(call) = finished else {
        return Err(refused(404));
    };
    let (kind, state) = match format {
        "json" => ("application/json; charset=utf-8", &call.json),
        "xlsx" => (XLSX, &call.xlsx),
        _ => return Err(Box::new(reply::invalid("format"))),
    };
    let people = match state {
        Report::Whole => call.participants.len(),
        Report::Without(count) => call.participants.len().saturating_sub(*count),
        Report::Missing => return Err(refused(404)),
        Report::Denied => return Err(refused(403)),
        Report::Status(status) => return Err(refused(*status)),
        Report::Bytes(bytes) => return Ok(reply::bytes(StatusCode::OK, kind, bytes.clone())),
    };
    if format == "json" {
        return Ok(reply::json(report::json(room, call, people)));
    }
    let (room, call) = (room.clone(), call.clone());
    let made = tokio::task::spawn_blocking(move || xlsx::workbook(&room, &call, people)).await;
    match made {
        Ok(Ok(workbook)) => Ok(reply::bytes(StatusCode::OK, kind, workbook)),
        _ => Err(refused(500)),
    }
}

fn records(shared: &Shared, request: &ApiRequest) -> Answer {
    let school = shared.school();
    let parts = request.parts();
    let room = room_in(&school, space_in(&school, &parts)?, parts.get(4).copied())?;
    let span =
        select::span(&request.query, shared.options.zone).map_err(|name| Box::new(reply::invalid(name)))?;
    let reading = shared.options.date_reading;
    let in_span = |record: &&Record| {
        let start = record.started_at.unwrap_or(record.created_at);
        select::is_in(reading, &span, start, record.finished_at)
    };
    let records: Vec<&Record> = school.records_of(&room.id).filter(in_span).collect();
    let ragged = shared.options.ragged;
    Ok(list(shared, request, &records, true, |record| {
        objects::record(record, ragged)
    }))
}

fn link(shared: &Shared, request: &ApiRequest) -> Answer {
    let school = shared.school();
    let parts = request.parts();
    let room = room_in(&school, space_in(&school, &parts)?, parts.get(4).copied())?;
    let record = parts
        .get(7)
        .and_then(|id| school.record(id))
        .filter(|record| record.room_id == room.id);
    let Some(record) = record.filter(|record| record.finished_at.is_some()) else {
        return Err(refused(404));
    };
    let url = format!(
        "http://{}/blob/{}.mp4",
        request.host().unwrap_or(&shared.authority),
        shared.make_link(&record.id)
    );
    let form = match (shared.options.link_form, school.record_position(&record.id) % 3) {
        (LinkForm::Cycle, 0) => LinkForm::Text,
        (LinkForm::Cycle, 1) => LinkForm::Json,
        (LinkForm::Cycle, _) => LinkForm::Redirect,
        (form, _) => form,
    };
    Ok(match form {
        LinkForm::Json => reply::json(Value::String(url)),
        LinkForm::Redirect => {
            let mut response = reply::empty(StatusCode::FOUND);
            if let Ok(url) = HeaderValue::from_str(&url) {
                response.headers_mut().insert(LOCATION, url);
            }
            response
        }
        LinkForm::Text | LinkForm::Cycle => reply::bytes(StatusCode::OK, "text/plain; charset=utf-8", url),
    })
}

fn webhook(shared: &Shared, request: &ApiRequest) -> Answer {
    let school = shared.school();
    let parts = request.parts();
    let space = space_in(&school, &parts)?;
    let mut webhooks = locked(&shared.webhooks);
    if parts.len() == 5 {
        if request.method != "PUT" {
            return Err(refused(405));
        }
        return Ok(webhooks::refresh(&mut webhooks, space));
    }
    Ok(webhooks::answer(
        &mut webhooks,
        &request.method,
        space,
        &request.body,
    ))
}

fn meta(shared: &Shared, request: &ApiRequest) -> Response {
    if request.method != "POST" {
        return reply::refuse(405);
    }
    let meta: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    for name in ["externalUserId", "externalMeetingId"] {
        if meta.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
            return reply::invalid(name);
        }
    }
    if !meta.get("meta").is_some_and(Value::is_object) {
        return reply::invalid("meta");
    }
    locked(&shared.metas).push(meta);
    reply::json_as(StatusCode::CREATED, json!({}))
}
