//! A proxy before an S3 server that counts the requests by kind. It keeps the `Host`, so that signatures stay valid.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::TRANSFER_ENCODING;
use axum::http::{Method, Uri};
use axum::response::Response;
use tokio::net::TcpListener;

/// Requests by kind: the operation, and the part of the lake that it concerns.
type Counts = BTreeMap<String, u64>;

/// A running proxy; it stops when dropped.
pub struct Proxy {
    address: String,
    server: tokio::task::JoinHandle<()>,
    counts: Arc<Mutex<Counts>>,
}

struct Target {
    url: String,
    client: reqwest::Client,
    counts: Arc<Mutex<Counts>>,
}

impl Proxy {
    pub async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let counts = Arc::default();
        let target = Target {
            url: url.to_owned(),
            client: telelake::tls::http_client().no_proxy().build().unwrap(),
            counts: Arc::clone(&counts),
        };
        let router = Router::new().fallback(forward).with_state(Arc::new(target));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            server,
            counts,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn clear(&self) {
        self.counts.lock().unwrap().clear();
    }

    pub fn counts(&self) -> Counts {
        let mut counts = self.counts.lock().unwrap().clone();
        counts.insert("~ all".into(), counts.values().sum());
        counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn forward(State(target): State<Arc<Target>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    *target
        .counts
        .lock()
        .unwrap()
        .entry(kind(&head.method, &head.uri))
        .or_default() += 1;
    let url = format!("{}{}", target.url, head.uri.path_and_query().unwrap());
    let request = target.client.request(head.method, url).headers(head.headers);
    let answer = request.body(body).send().await.unwrap();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    response.headers_mut().remove(TRANSFER_ENCODING);
    *response.body_mut() = answer.bytes().await.unwrap().into();
    response
}

/// Names the kind of a request, such as `PUT raw` or `LIST _telelake/open`.
fn kind(method: &Method, uri: &Uri) -> String {
    let query = uri.query().unwrap_or_default();
    let parameter = |name: &str| {
        let mut pairs = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let lists = parameter("list-type").is_some();
    let operation = match (method.as_str(), lists) {
        ("GET", true) => "LIST",
        _ if parameter("uploads").is_some() || parameter("uploadId").is_some() => "MULTIPART",
        (method, _) => method,
    };
    let key = match parameter("prefix").filter(|_| lists) {
        Some(prefix) => prefix.replace("%2F", "/"),
        None => uri.path().splitn(3, '/').nth(2).unwrap_or_default().to_owned(),
    };
    let key = key.trim_start_matches("school/lake").trim_start_matches('/');
    let depth = if key.starts_with("_telelake/") { 2 } else { 1 };
    let part: Vec<_> = key.split('/').take(depth).collect();
    format!("{operation} {}", part.join("/"))
}
