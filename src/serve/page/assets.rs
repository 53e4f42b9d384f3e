//! Style, script and icon, from inside the program. They are open to all because they reveal nothing.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::serve::http::reply;

struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "page.css",
        media_type: "text/css; charset=utf-8",
        text: include_str!("assets/page.css"),
    },
    Asset {
        name: "page.js",
        media_type: "text/javascript; charset=utf-8",
        text: include_str!("assets/page.js"),
    },
    Asset {
        name: "icon.svg",
        media_type: "image/svg+xml",
        text: include_str!("assets/icon.svg"),
    },
];

/// The digest of all assets. It is part of their URLs, so that pages of a new program never use an old style.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    ASSETS.iter().for_each(|asset| digest.update(asset.text));
    hex::encode(&digest.finalize()[..8])
});

/// The version of this program, by which the script notices a new program and reloads the page. It includes the size and
/// time of the program's file.
pub static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    digest.update(VERSION.as_str());
    digest.update(env!("CARGO_PKG_VERSION"));
    let file = std::env::current_exe().and_then(std::fs::metadata);
    if let Ok(file) = file {
        digest.update(file.len().to_le_bytes());
        let modified = file.modified().ok();
        let at = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        digest.update(at.unwrap_or_default().as_nanos().to_le_bytes());
    }
    hex::encode(&digest.finalize()[..8])
});

/// `GET /assets/{name}`
pub async fn get(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return reply::error(StatusCode::NOT_FOUND, "there is nothing here");
    };
    let tag = format!("\"{}\"", *VERSION);
    let known = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known == tag.as_str());
    let mut answer = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        reply::with_type(StatusCode::OK, asset.media_type, asset.text)
    };
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    answer
}
