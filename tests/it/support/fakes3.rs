//! An S3 server in this process with selectable quirks, which remembers every request.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::SdkConfig;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use base64::Engine as _;
use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

/// The quirks of a server.
#[derive(Clone)]
pub struct Quirks {
    /// Refuses a right `If-Match` unless it comes without quotes, as Ceph RGW 16.2 does.
    pub bare_etags: bool,
    /// Ignores conditions.
    pub ignores_conditions: bool,
    /// Answers every conditional write with `NotImplemented`.
    pub refuses_conditions: bool,
    pub lists_uploads: bool,
    pub lists_parts: bool,
    pub multipart: bool,
    /// Answers the first part of an upload only when no other request has come for half a second, or very many have.
    pub first_part_hangs: bool,
    /// Refuses objects without `Content-MD5`, as buckets with object lock do.
    pub wants_checksums: bool,
    /// Answers every request with this status and body.
    pub nonsense: Option<(u16, &'static str)>,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            bare_etags: false,
            ignores_conditions: false,
            refuses_conditions: false,
            lists_uploads: true,
            lists_parts: true,
            multipart: true,
            first_part_hangs: false,
            wants_checksums: false,
            nonsense: None,
        }
    }
}

/// Requests after which a part that hangs is answered.
const MOST_ASKED: usize = 50;

/// A request that the server remembers.
#[derive(Debug, Clone)]
pub struct Asked {
    pub operation: &'static str,
    pub key: String,
    /// True if it had `If-Match` or `If-None-Match`.
    pub conditional: bool,
}

#[derive(Default)]
struct Content {
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<String, Upload>,
    asked: Vec<Asked>,
    next: usize,
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    etag: String,
    /// `x-amz-meta-…`
    meta: HashMap<String, String>,
}

struct Upload {
    key: String,
    meta: HashMap<String, String>,
    parts: BTreeMap<u32, Bytes>,
}

/// The server, with a single bucket `lake`.
#[derive(Clone)]
pub struct FakeS3 {
    pub endpoint: String,
    quirks: Quirks,
    content: Arc<Mutex<Content>>,
    /// The number of further requests that are asked to slow down.
    throttled: Arc<AtomicUsize>,
}

impl FakeS3 {
    pub async fn start(quirks: Quirks) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let fake = Self {
            endpoint: format!("http://{address}"),
            quirks,
            content: Arc::default(),
            throttled: Arc::default(),
        };
        let app = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    pub fn sdk_config(&self) -> SdkConfig {
        super::weed::sdk_config(&self.endpoint, "AKIAFAKE", "s3cr3t")
    }

    /// Answers the next `requests` with `503 SlowDown`.
    pub fn throttle(&self, requests: usize) {
        self.throttled.store(requests, Ordering::SeqCst);
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.content.lock().unwrap().asked.clone()
    }

    /// Waits until no request has come for half a second, or very many have.
    async fn silence(&self) {
        let mut seen = 0;
        while (seen + 1..MOST_ASKED).contains(&self.asked().len()) {
            seen = self.asked().len();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.content.lock().unwrap().asked.clear();
    }

    /// Uploads that were neither completed nor aborted.
    pub fn uploads(&self) -> usize {
        self.content.lock().unwrap().uploads.len()
    }
}

async fn answer(State(fake): State<FakeS3>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let query: HashMap<String, String> =
        serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).unwrap();
    let path = percent_decode_str(parts.uri.path())
        .decode_utf8()
        .unwrap()
        .into_owned();
    let key = path
        .trim_start_matches("/lake")
        .trim_start_matches('/')
        .to_owned();
    let operation = operation(&parts.method, &key, &query);
    let asked = Asked {
        operation,
        key: key.clone(),
        conditional: parts.headers.contains_key("if-match") || parts.headers.contains_key("if-none-match"),
    };
    fake.content.lock().unwrap().asked.push(asked);
    if let Some((status, body)) = fake.quirks.nonsense {
        return plain(status, body.into());
    }
    let one_less = |left: usize| left.checked_sub(1);
    if fake
        .throttled
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
        .is_ok()
    {
        return error(503, "SlowDown");
    }
    if fake.quirks.first_part_hangs && query.get("partNumber").is_some_and(|number| number == "1") {
        fake.silence().await;
        fake.content.lock().unwrap().asked.push(Asked {
            operation: "the first part is stored",
            key: key.clone(),
            conditional: false,
        });
    }
    match operation {
        "PutObject" => fake.put(&key, &parts.headers, body),
        "GetObject" | "HeadObject" => fake.get(&key, &parts.headers, operation == "HeadObject"),
        "DeleteObject" => {
            fake.content.lock().unwrap().objects.remove(&key);
            plain(204, Bytes::new())
        }
        "ListObjectsV2" => fake.list(&query),
        _ if !fake.quirks.multipart => error(501, "NotImplemented"),
        _ => fake.multipart(operation, &key, &query, &parts.headers, body),
    }
}

fn operation(method: &Method, key: &str, query: &HashMap<String, String>) -> &'static str {
    let has = |name: &str| query.contains_key(name);
    match (method.as_str(), has("uploads"), has("uploadId")) {
        ("POST", true, _) => "CreateMultipartUpload",
        ("POST", _, true) => "CompleteMultipartUpload",
        ("GET", true, _) => "ListMultipartUploads",
        ("GET", _, true) => "ListParts",
        ("PUT", _, true) => "UploadPart",
        ("DELETE", _, true) => "AbortMultipartUpload",
        ("PUT", ..) => "PutObject",
        ("HEAD", ..) => "HeadObject",
        ("DELETE", ..) => "DeleteObject",
        ("GET", ..) if key.is_empty() => "ListObjectsV2",
        _ => "GetObject",
    }
}

impl FakeS3 {
    fn put(&self, key: &str, headers: &HeaderMap, bytes: Bytes) -> Response<Body> {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        if self.quirks.wants_checksums && !is_sound(headers, &bytes) {
            return error(400, "InvalidRequest");
        }
        let mut content = self.content.lock().unwrap();
        let found = content.objects.get(key).map(|stored| stored.etag.clone());
        if !self.quirks.ignores_conditions {
            let (matches, absent) = (header("if-match"), header("if-none-match"));
            if self.quirks.refuses_conditions && (matches.is_some() || absent.is_some()) {
                return error(501, "NotImplemented");
            }
            let right = |given: &str| match &found {
                Some(etag) if self.quirks.bare_etags => given == etag.trim_matches('"'),
                Some(etag) => given == etag,
                None => false,
            };
            if (absent.is_some() && found.is_some()) || matches.is_some_and(|given| !right(given)) {
                return error(412, "PreconditionFailed");
            }
        }
        let stored = Stored {
            etag: etag(&bytes),
            meta: meta(headers),
            bytes,
        };
        let answer = tagged(&stored.etag);
        content.objects.insert(key.to_owned(), stored);
        answer
    }

    fn get(&self, key: &str, headers: &HeaderMap, head: bool) -> Response<Body> {
        let Some(stored) = self.content.lock().unwrap().objects.get(key).cloned() else {
            return if head {
                plain(404, Bytes::new())
            } else {
                error(404, "NoSuchKey")
            };
        };
        let range = headers
            .get("range")
            .map(|range| range.to_str().unwrap().trim_start_matches("bytes="));
        let (status, bytes) = match range.and_then(|range| range.split_once('-')) {
            Some((from, to)) => {
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                if from >= stored.bytes.len() {
                    return error(416, "InvalidRange");
                }
                (206, stored.bytes.slice(from..stored.bytes.len().min(to + 1)))
            }
            None => (200, stored.bytes.clone()),
        };
        let mut answer = Response::builder()
            .status(status)
            .header("etag", &stored.etag)
            .header("content-length", bytes.len());
        for (name, value) in &stored.meta {
            answer = answer.header(name, value);
        }
        let body = if head { Body::empty() } else { Body::from(bytes) };
        answer.body(body).unwrap()
    }

    /// A page of a listing. The continuation token is the last key of the page before.
    fn list(&self, query: &HashMap<String, String>) -> Response<Body> {
        let asked = |name: &str| query.get(name).map_or("", String::as_str);
        let (prefix, after) = (asked("prefix"), asked("continuation-token"));
        let most = asked("max-keys").parse().unwrap_or(1000);
        let content = self.content.lock().unwrap();
        let listed = content.objects.iter();
        let mut listed = listed.filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let page: Vec<_> = listed.by_ref().take(most).collect();
        let is_truncated = listed.next().is_some();
        let mut xml = format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>");
        if let Some((last, _)) = page.last().filter(|_| is_truncated) {
            let token = escaped(last);
            write!(xml, "<NextContinuationToken>{token}</NextContinuationToken>").unwrap();
        }
        for (key, stored) in page {
            let size = stored.bytes.len();
            write!(
                xml,
                "<Contents><Key>{}</Key><Size>{size}</Size><LastModified>2026-11-27T10:00:00Z</LastModified></Contents>",
                escaped(key)
            )
            .unwrap();
        }
        plain(200, (xml + "</ListBucketResult>").into())
    }

    fn multipart(
        &self,
        operation: &str,
        key: &str,
        query: &HashMap<String, String>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response<Body> {
        let mut content = self.content.lock().unwrap();
        let id = query.get("uploadId").cloned().unwrap_or_default();
        match operation {
            "CreateMultipartUpload" => {
                content.next += 1;
                let id = format!("upload-{}", content.next);
                let upload = Upload {
                    key: key.to_owned(),
                    meta: meta(headers),
                    parts: BTreeMap::new(),
                };
                content.uploads.insert(id.clone(), upload);
                let xml = format!(
                    "<InitiateMultipartUploadResult><Bucket>lake</Bucket><Key>{}</Key><UploadId>{id}</UploadId>\
                     </InitiateMultipartUploadResult>",
                    escaped(key)
                );
                plain(200, xml.into())
            }
            "ListMultipartUploads" if !self.quirks.lists_uploads => error(501, "NotImplemented"),
            "ListMultipartUploads" => {
                let prefix = query.get("prefix").cloned().unwrap_or_default();
                let mut xml = String::from("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>");
                for (id, upload) in content
                    .uploads
                    .iter()
                    .filter(|(_, upload)| upload.key.starts_with(&prefix))
                {
                    let key = escaped(&upload.key);
                    write!(xml, "<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>").unwrap();
                }
                plain(200, (xml + "</ListMultipartUploadsResult>").into())
            }
            // Some servers take it for a read of the object and answer so.
            "ListParts" if !self.quirks.lists_parts => error(405, "MethodNotAllowed"),
            "AbortMultipartUpload" => {
                content.uploads.remove(&id);
                plain(204, Bytes::new())
            }
            _ => match content.uploads.get_mut(&id) {
                None => error(404, "NoSuchUpload"),
                Some(upload) if operation == "UploadPart" => {
                    let tag = etag(&body);
                    upload.parts.insert(query["partNumber"].parse().unwrap(), body);
                    tagged(&tag)
                }
                Some(upload) if operation == "ListParts" => {
                    let mut xml = String::from("<ListPartsResult><IsTruncated>false</IsTruncated>");
                    for (number, bytes) in &upload.parts {
                        let (tag, size) = (etag(bytes).replace('"', "&quot;"), bytes.len());
                        write!(
                            xml,
                            "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag><Size>{size}</Size></Part>"
                        )
                        .unwrap();
                    }
                    plain(200, (xml + "</ListPartsResult>").into())
                }
                Some(_) => {
                    let upload = content.uploads.remove(&id).unwrap();
                    let bytes: Bytes = upload.parts.into_values().flatten().collect::<Vec<u8>>().into();
                    let stored = Stored {
                        etag: etag(&bytes),
                        meta: upload.meta,
                        bytes,
                    };
                    content.objects.insert(key.to_owned(), stored);
                    plain(
                        200,
                        "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>".into(),
                    )
                }
            },
        }
    }
}

/// True if a body comes with a right `Content-MD5`.
fn is_sound(headers: &HeaderMap, bytes: &[u8]) -> bool {
    let right = base64::engine::general_purpose::STANDARD.encode(Md5::digest(bytes));
    headers
        .get("content-md5")
        .is_some_and(|given| given.to_str().unwrap() == right)
}

fn etag(bytes: &[u8]) -> String {
    // Not MD5, which takes a second for a part in a debug build.
    format!("\"{}\"", hex::encode(&Sha256::digest(bytes)[..16]))
}

fn meta(headers: &HeaderMap) -> HashMap<String, String> {
    let names = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-amz-meta-"));
    names
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn tagged(etag: &str) -> Response<Body> {
    Response::builder()
        .header("etag", etag)
        .body(Body::empty())
        .unwrap()
}

fn error(status: u16, code: &str) -> Response<Body> {
    plain(
        status,
        format!("<Error><Code>{code}</Code><Message>as it was told; Content-MD5</Message></Error>").into(),
    )
}

fn plain(status: u16, body: Bytes) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .body(Body::from(body))
        .unwrap()
}
