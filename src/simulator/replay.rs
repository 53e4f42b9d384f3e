//! Answers with a recording instead of the school. Called by `routes` after the checks of token and limit.

use std::sync::Arc;

use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::log::Endpoint;
use super::recorded::{RecordedAnswer, RecordedAnswers};
use super::reply;
use super::request::ApiRequest;
use super::state::Shared;

/// The answer to a request.
pub(super) fn answer(
    recorded: &RecordedAnswers,
    shared: &Arc<Shared>,
    endpoint: Endpoint,
    request: &ApiRequest,
) -> Response {
    let parts = request.parts();
    let space = parts.get(2).copied().unwrap_or_default();
    let query = |name: &str| request.query.get(name).map(String::as_str).unwrap_or_default();
    let is = |known: &Option<String>, id: &str| known.as_deref() == Some(id);
    let in_path = parts.get(4).copied().unwrap_or_default();
    let found = match endpoint {
        Endpoint::Spaces => recorded.find("spaces", |_| true),
        Endpoint::Rooms => recorded.find("rooms", |answer| is(&answer.space, space)),
        Endpoint::Calls => recorded.find("calls", |answer| is(&answer.room, query("roomId"))),
        Endpoint::Report => {
            let kind = if query("format") == "xlsx" {
                "report_xlsx"
            } else {
                "report_json"
            };
            recorded.find(kind, |answer| is(&answer.call, query("callId")))
        }
        Endpoint::Records => recorded.find("records", |answer| is(&answer.room, in_path)),
        Endpoint::Link => recorded.find("link", |answer| {
            is(&answer.record, parts.get(7).copied().unwrap_or_default())
        }),
        Endpoint::Webhook | Endpoint::Meta | Endpoint::Blob | Endpoint::Unknown => return reply::refuse(404),
    };
    let is_list = matches!(
        endpoint,
        Endpoint::Spaces | Endpoint::Rooms | Endpoint::Calls | Endpoint::Records
    );
    match found {
        Some((answer, _)) if answer.status >= 400 => reply::refuse(answer.status),
        Some((answer, _)) if endpoint == Endpoint::Link => link(shared, request, answer),
        // Each list was recorded as one page.
        Some(_) if is_list && query("offset").parse().is_ok_and(|offset: u64| offset > 0) => nothing(),
        Some((answer, body)) => reply::bytes(status(answer), media_type(answer), body.clone()),
        None if is_list => nothing(),
        None => reply::refuse(404),
    }
}

fn nothing() -> Response {
    reply::json(json!({"items": []}))
}

fn status(answer: &RecordedAnswer) -> StatusCode {
    StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK)
}

fn media_type(answer: &RecordedAnswer) -> &'static str {
    match answer.endpoint.as_str() {
        "report_xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        _ => "application/json; charset=utf-8",
    }
}

/// A link in the recorded form to some video of the school.
fn link(shared: &Arc<Shared>, request: &ApiRequest, answer: &RecordedAnswer) -> Response {
    let school = shared.school();
    let Some(record) = school.records.first() else {
        return reply::refuse(404);
    };
    let host = request.host().unwrap_or(&shared.authority);
    let url = format!("http://{host}/blob/{}.mp4", shared.make_link(&record.id));
    match answer.form.as_deref() {
        Some("json") => reply::json(Value::String(url)),
        Some("redirect") => {
            let mut response = reply::empty(StatusCode::FOUND);
            if let Ok(url) = HeaderValue::from_str(&url) {
                response.headers_mut().insert(LOCATION, url);
            }
            response
        }
        _ => reply::bytes(StatusCode::OK, "text/plain; charset=utf-8", url),
    }
}
