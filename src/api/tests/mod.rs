//! Tests of the client against a scripted server that sends raw bytes, so that answers can be cut, stalled or malformed.

mod ahead;
mod downloads;
mod limits;
mod links;
mod lists;
mod paging;
mod requests;
mod stops;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Client, Tuning};
use crate::config::{self, ReportFormat, Secret};

pub(super) const TOKEN: &str = "t0ken-s3cr3t";

/// The server's reply to a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Reply {
    bytes: Vec<u8>,
    /// True if the connection stays open and silent after the bytes.
    stall: bool,
    delay: Duration,
}

impl Reply {
    /// A reply with a head and a body of the announced length.
    pub(super) fn new(status: &str, headers: &str, body: &str) -> Self {
        let headers = format!("{headers}Content-Length: {}\r\n", body.len());
        Self::raw(&format!(
            "HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n{body}"
        ))
    }

    pub(super) fn ok(body: &str) -> Self {
        Self::new("200 OK", "", body)
    }

    /// These bytes, and then the end of the connection.
    pub(super) fn raw(bytes: &str) -> Self {
        Self {
            bytes: bytes.into(),
            ..Self::default()
        }
    }

    /// A reply with a binary body.
    pub(super) fn of_bytes(status: &str, headers: &str, body: &[u8]) -> Self {
        let mut reply = Self::raw(&format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        ));
        reply.bytes.extend_from_slice(body);
        reply
    }

    /// These bytes, and then silence.
    pub(super) fn stalled(bytes: &str) -> Self {
        Self {
            stall: true,
            ..Self::raw(bytes)
        }
    }

    pub(super) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// A server on loopback.
pub(super) struct ScriptedServer {
    pub(super) url: String,
    heads: Arc<Mutex<Vec<String>>>,
    most_at_once: Arc<AtomicUsize>,
    /// The number of requests in flight at the arrival of each request.
    at_once: Arc<Mutex<Vec<usize>>>,
}

impl ScriptedServer {
    /// Starts a server that answers the n-th request (from 0) with `script(n, head)`.
    pub(super) async fn start(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heads, most_at_once) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let server = Self {
            url,
            heads: heads.clone(),
            most_at_once: most_at_once.clone(),
            at_once: Arc::default(),
        };
        let at_once = server.at_once.clone();
        let (script, now) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (heads, most, script, now) =
                    (heads.clone(), most_at_once.clone(), script.clone(), now.clone());
                let at_once = at_once.clone();
                tokio::spawn(async move {
                    let head = read_head(&mut socket).await;
                    let index = {
                        let mut heads = heads.lock().unwrap();
                        heads.push(head.clone());
                        let here = now.fetch_add(1, Ordering::SeqCst) + 1;
                        at_once.lock().unwrap().push(here);
                        most.fetch_max(here, Ordering::SeqCst);
                        heads.len() - 1
                    };
                    let reply = script(index, &head);
                    tokio::time::sleep(reply.delay).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    let _ = socket.write_all(&reply.bytes).await;
                    if reply.stall {
                        std::future::pending::<()>().await;
                    }
                    let _ = socket.shutdown().await;
                });
            }
        });
        server
    }

    /// Starts a server that sends `replies` in turn, and then repeats the last.
    pub(super) async fn replies(replies: Vec<Reply>) -> Self {
        Self::start(move |index, _| replies[index.min(replies.len() - 1)].clone()).await
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }

    /// The most requests in flight from the n-th request (from 0) on.
    pub(super) fn most_at_once_from(&self, index: usize) -> usize {
        self.at_once.lock().unwrap()[index..]
            .iter()
            .copied()
            .max()
            .unwrap_or(0)
    }

    /// A client of this server with short pauses.
    pub(super) fn client(&self) -> Client {
        self.client_with(|_, _| {}).0
    }

    pub(super) fn client_with(
        &self,
        change: impl FnOnce(&mut config::Api, &mut Tuning),
    ) -> (Client, CancellationToken) {
        self.client_among(FakeNames(&[]), change)
    }

    /// A client that resolves the hosts of downloads with `names`.
    pub(super) fn client_among(
        &self,
        names: FakeNames,
        change: impl FnOnce(&mut config::Api, &mut Tuning),
    ) -> (Client, CancellationToken) {
        let mut config = config::Api {
            base_url: format!("{}/v1/", self.url),
            token: Secret::new(TOKEN),
            ..config::Api::default()
        };
        let mut tuning = Tuning {
            backoff: Duration::from_millis(1),
            first_hold: Duration::from_millis(1),
            ..Tuning::default()
        };
        change(&mut config, &mut tuning);
        let cancel = CancellationToken::new();
        let client = Client::resolving(&config, cancel.clone(), tuning, Arc::new(names)).unwrap();
        (client, cancel)
    }
}

/// A resolver that knows only these names and addresses.
#[derive(Clone, Copy)]
pub(super) struct FakeNames(pub(super) &'static [(&'static str, &'static str)]);

impl Resolve for FakeNames {
    fn resolve(&self, name: Name) -> Resolving {
        let found: Vec<SocketAddr> = self
            .0
            .iter()
            .filter(|(known, _)| *known == name.as_str())
            .map(|(_, address)| SocketAddr::new(address.parse().unwrap(), 0))
            .collect();
        Box::pin(async move {
            if found.is_empty() {
                return Err("no such name".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

pub(super) fn milliseconds(text: &str) -> config::Duration {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).unwrap()
}

/// The report of a call, as text.
pub(super) async fn report(client: &Client) -> crate::Result<String> {
    let bytes = client
        .report(&"s1".into(), &"r1".into(), &"c1".into(), ReportFormat::Json)
        .await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
