//! Downloads of reports and recordings: by a presigned link if the store makes one, else through the state. Only files
//! that a manifest names can be downloaded.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::NaiveDate;
use futures_util::stream;
use serde::Deserialize;

use super::frame::{go_to, trouble};
use super::{PageState, Parameters, calendar, encoded, visit};
use crate::config::ReportFormat;
use crate::lake::key;
use crate::lake::manifest::{Landed, Manifest};
use crate::serve::http::reply;
use crate::store::Store;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};

/// The lifetime of a presigned link, which the browser follows at once.
const EXPIRES: Duration = Duration::from_secs(900);
/// The bytes of a piece of a file that goes through the state.
const PIECE: usize = 4 << 20;

/// The URL of a report.
pub fn report(manifest: &Manifest, call: &str, format: ReportFormat) -> String {
    format!(
        "{}&call={}&format={}",
        of_day(manifest),
        encoded(call),
        format.as_str()
    )
}

/// The URL of a recording.
pub fn recording(manifest: &Manifest, record: &str) -> String {
    format!("{}&record={}", of_day(manifest), encoded(record))
}

fn of_day(manifest: &Manifest) -> String {
    let day = calendar::link(manifest.date, Some(&manifest.space_id));
    day.replacen("/day?", "/file?", 1)
}

#[derive(Deserialize)]
pub struct FileQuery {
    date: NaiveDate,
    space: String,
    call: Option<String>,
    format: Option<ReportFormat>,
    record: Option<String>,
}

/// `GET /file?date&space&record`, or `&call&format`
pub async fn get(
    State(state): State<PageState>,
    query: Parameters<FileQuery>,
    headers: HeaderMap,
) -> Response {
    let given = match query {
        Ok(Query(wanted)) => answer(&state, &wanted).await,
        Err(error) => Err(Error::new(ErrorKind::Usage, "file", error.body_text())),
    };
    given.unwrap_or_else(|error| trouble(&visit(&state, &headers), &error))
}

async fn answer(state: &PageState, wanted: &FileQuery) -> Result<Response> {
    let absent = || Error::new(ErrorKind::NotFound, "file", "the lake has no such file");
    let key = key::manifest(wanted.date, &wanted.space.as_str().into());
    let (manifest, _) = get_json::<Manifest>(&*state.store, &key)
        .await?
        .ok_or_else(absent)?;
    let (landed, media_type) = find(&manifest, wanted).ok_or_else(absent)?;
    tracing::info!(key = landed.key, "a file is opened from the page");
    if let Some(url) = state.store.presign(&landed.key, EXPIRES).await? {
        return Ok(go_to(&url, None));
    }
    let bytes = state.store.size(&landed.key).await?.ok_or_else(absent)?;
    let body = Body::from_stream(pieces(Arc::clone(&state.store), landed.key.clone(), bytes));
    let mut answer = reply::with_type(StatusCode::OK, media_type, body);
    let name = landed.key.rsplit('/').next().unwrap_or("file");
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    // The segments of keys hold only characters that a header may hold.
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    Ok(answer)
}

fn find<'a>(manifest: &'a Manifest, wanted: &FileQuery) -> Option<(&'a Landed, &'static str)> {
    if let Some(record) = &wanted.record {
        let landed = manifest.records.get(record.as_str())?.file.stored()?;
        return Some((landed, "video/mp4"));
    }
    let format = wanted.format?;
    let call = manifest.calls.get(wanted.call.as_deref()?)?;
    let landed = call.reports.get(&format)?.stored()?;
    let media_type = match format {
        ReportFormat::Json => "application/json",
        ReportFormat::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    };
    Some((landed, media_type))
}

/// Reads an object piece by piece, because a recording may exceed the memory.
fn pieces(
    store: Arc<dyn Store>,
    key: String,
    bytes: u64,
) -> impl futures_util::Stream<Item = std::result::Result<bytes::Bytes, Error>> {
    stream::try_unfold(0, move |offset: u64| {
        let (store, key) = (Arc::clone(&store), key.clone());
        async move {
            if offset >= bytes {
                return Ok(None);
            }
            let length = usize::try_from(bytes - offset).unwrap_or(PIECE).min(PIECE);
            let piece = store.get_range(&key, offset, length).await?;
            if piece.is_empty() {
                return Err(Error::new(
                    ErrorKind::Store,
                    key,
                    "became shorter during the download",
                ));
            }
            let next = offset + piece.len() as u64;
            Ok(Some((piece, next)))
        }
    })
}
