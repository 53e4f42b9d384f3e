//! The missing things as CSV for a spreadsheet, a line each, with day, room and reason.

use axum::extract::{Query, State};
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::{Days, NaiveDate};
use serde::Deserialize;

use super::frame::trouble;
use super::known::look;
use super::view::space_of;
use super::{PageState, Parameters, visit};
use crate::serve::http::reply;
use crate::status::{Coverage, DateRange, DayStatus, NOT_BUILT};
use crate::{Error, ErrorKind, Result, dates};

/// The default number of dates: the window of the page.
const DATES: u64 = 35;
const HEADER: &str =
    "date,space_id,space_name,room_id,room_name,call_id,record_id,what,status,attempts,reason\r\n";

#[derive(Deserialize)]
pub struct MissingQuery {
    #[serde(default, deserialize_with = "dates::deserialize_option")]
    from: Option<NaiveDate>,
    #[serde(default, deserialize_with = "dates::deserialize_option")]
    to: Option<NaiveDate>,
}

/// `GET /missing.csv?from&to`
pub async fn get(
    State(state): State<PageState>,
    query: Parameters<MissingQuery>,
    headers: HeaderMap,
) -> Response {
    let visit = visit(&state, &headers);
    let made = match query {
        Ok(Query(range)) => lines(&state, &range, visit.today).await,
        Err(error) => Err(Error::new(ErrorKind::Usage, "from/to", error.body_text())),
    };
    match made {
        Ok(text) => {
            let mut answer = reply::with_type(StatusCode::OK, "text/csv; charset=utf-8", text);
            let name = HeaderValue::from_static("attachment; filename=\"missing.csv\"");
            answer.headers_mut().insert(CONTENT_DISPOSITION, name);
            answer
        }
        Err(error) => trouble(&visit, &error),
    }
}

async fn lines(state: &PageState, range: &MissingQuery, today: NaiveDate) -> Result<String> {
    let to = range.to.unwrap_or(today);
    let from = range.from.or_else(|| to.checked_sub_days(Days::new(DATES - 1)));
    let (lake, _) = look(state, Some(DateRange { from, to: Some(to) })).await?;
    // Without a byte order mark a spreadsheet assumes an old code page.
    let mut text = format!("\u{feff}{HEADER}");
    let days = lake.days.iter();
    for day in days.filter(|day| from.is_none_or(|from| day.date >= from) && day.date <= to) {
        add_day(&mut text, day, &state.coverage);
    }
    Ok(text)
}

/// The cells of a line after the date and the space.
#[derive(Default)]
struct MissingLine<'a> {
    room: &'a str,
    call: &'a str,
    record: &'a str,
    what: &'a str,
    status: &'a str,
    attempts: u32,
    reason: &'a str,
}

fn add_day(text: &mut String, day: &DayStatus, coverage: &Coverage) {
    for lack in &day.missing {
        let line = MissingLine {
            room: &lack.room_id,
            call: lack.call_id.as_deref().unwrap_or_default(),
            record: lack.record_id.as_deref().unwrap_or_default(),
            what: lack.what.as_str(),
            status: lack.state(),
            attempts: lack.attempts,
            reason: lack.reason.as_deref().unwrap_or_default(),
        };
        add(text, day, coverage, &line);
    }
    let failed = |what: &'static str, reason: &'static str| MissingLine {
        what,
        status: "failed",
        reason,
        ..MissingLine::default()
    };
    for room in &day.rooms_to_ask {
        let line = MissingLine {
            room,
            ..failed("listing", "the room could not be listed")
        };
        add(text, day, coverage, &line);
    }
    if day.is_damaged() {
        add(text, day, coverage, &failed("day", "its manifest can't be read"));
    } else if day.space_missed {
        let line = failed("listing", "the space's rooms could not all be listed");
        add(text, day, coverage, &line);
    }
    if !day.built && !day.is_damaged() {
        let line = MissingLine {
            status: "pending",
            ..failed("tables", NOT_BUILT)
        };
        add(text, day, coverage, &line);
    }
}

fn add(text: &mut String, day: &DayStatus, coverage: &Coverage, line: &MissingLine<'_>) {
    let (date, space) = (day.date.to_string(), space_of(day));
    let attempts = line.attempts.to_string();
    let room_name = coverage.room_name(space, line.room).unwrap_or_default();
    let cells = [
        date.as_str(),
        space,
        day.space_name.as_deref().unwrap_or_default(),
        line.room,
        &room_name,
        line.call,
        line.record,
        line.what,
        line.status,
        &attempts,
        line.reason,
    ];
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    text.push_str(&cells.join(","));
    text.push_str("\r\n");
}

/// The text of a cell, escaped so that no spreadsheet takes it for a formula, because names come from strangers.
fn cell(text: &str) -> String {
    let text = crate::sanitize::escaped(text);
    let is_formula = text
        .trim_start()
        .starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    let guard = if is_formula { "'" } else { "" };
    if guard.is_empty() && !text.contains([',', '"', ';', '\'', ' ']) {
        return text.into_owned();
    }
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_and_never_a_formula() {
        for (text, expected) in [
            ("plain-1", "plain-1"),
            ("", ""),
            ("=1+1", "\"'=1+1\""),
            (" =1", "\"' =1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("-2", "\"'-2\""),
            ("+7 900", "\"'+7 900\""),
            ("\t=1", "\\u{9}=1"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\nb", "a\\u{d}\\u{a}b"),
            ("Школа 2", "\"Школа 2\""),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }
}
