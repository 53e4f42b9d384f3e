//! `telelake serve` as a process that a test starts, queries, stops or kills, and whose log lines it waits for.

use std::time::Duration;

use serde_json::Value;
use telelake::simulator::Simulator;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::watch;

use super::eventually::eventually;
use super::lake::Lake;
use super::program::{Telelake, kernel_says};

/// The deadline of every wait.
const PATIENCE: Duration = Duration::from_secs(120);

/// The command of a daemon before it is started.
pub struct Plan(Telelake);

impl Plan {
    /// A daemon on a free port of loopback, without a schedule, with one secret, whose calls settle at once.
    pub fn new(sim: &Simulator, lake: &Lake) -> Self {
        let command = Telelake::against(sim, lake, &["--log-format", "json", "serve"]);
        Self(command)
            .env("TELELAKE_SERVE__LISTEN", "127.0.0.1:0")
            .env("TELELAKE_SCHEDULE__CRON", "[]")
            .env("TELELAKE_SCOPE__SETTLE", "0s")
            .env("TELELAKE_WEBHOOK__SECRET", "s3cr3t-of-all")
    }

    /// A daemon on a free port of loopback, without a schedule; all other settings are in a file.
    pub fn configured(lake: &Lake, file: &std::path::Path) -> Self {
        let file = file.display().to_string();
        let command = Telelake::new(&["--config", &file, "--log-format", "json", "serve"]).lake(lake);
        Self(command)
            .env("TELELAKE_SERVE__LISTEN", "127.0.0.1:0")
            .env("TELELAKE_SCHEDULE__CRON", "[]")
    }

    pub fn env(self, name: &str, value: &str) -> Self {
        Self(self.0.env(name, value))
    }

    pub async fn start(self) -> Daemon {
        let mut child = self.0.start();
        let stderr = child.stderr.take().unwrap();
        let (sender, log) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|log| log.push(line));
            }
        });
        let mut daemon = Daemon {
            child,
            log,
            base: String::new(),
            http: telelake::tls::http_client()
                .no_proxy()
                .tls_certs_only([])
                .build()
                .unwrap(),
            token: None,
        };
        let line = daemon.logged(|line| line["message"] == "listening").await;
        daemon.base = format!("http://{}", line["address"].as_str().unwrap());
        daemon
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    log: watch::Receiver<Vec<String>>,
    pub base: String,
    pub http: reqwest::Client,
    pub token: Option<String>,
}

impl Daemon {
    /// Waits for a line of the log.
    pub async fn logged(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.nth_logged(wanted, 0).await
    }

    /// Waits for the end of a run of a command, the `nth` one from 0.
    pub async fn ended(&self, command: &str, nth: usize) -> Value {
        let wanted = |line: &Value| line["message"] == "the run ended" && line["command"] == command;
        self.nth_logged(wanted, nth).await
    }

    async fn nth_logged(&self, wanted: impl Fn(&Value) -> bool, nth: usize) -> Value {
        let find = |log: &Vec<String>| {
            log.iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter(&wanted)
                .nth(nth)
        };
        let mut log = self.log.clone();
        let found = tokio::time::timeout(PATIENCE, log.wait_for(|log| find(log).is_some())).await;
        match found {
            Ok(Ok(log)) => find(&log).unwrap(),
            _ => panic!("not in the log:\n{}", self.log()),
        }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.borrow().join("\n")
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.request(reqwest::Method::GET, path).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub async fn json(&self, path: &str) -> Value {
        let (status, text) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let answer = self
            .request(reqwest::Method::POST, path)
            .header("content-type", "application/json")
            .body(body.to_owned())
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A value of `/metrics` by its name with labels; 0 if it is missing.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        metric(&text, name)
    }

    /// Waits until a metric has a value, because a metric is set a little after its event is logged.
    pub async fn metric_becomes(&self, name: &str, value: f64) {
        eventually(&format!("{name} is {value}"), async || {
            self.metric(name).await == value
        })
        .await;
    }

    /// The peak memory so far, in bytes.
    pub async fn peak_memory(&self) -> u64 {
        kernel_says(self.child.id().unwrap(), "status", "VmHWM:")
            .await
            .unwrap()
            * 1024
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for a line of the audit log whose object contains `object`.
    pub async fn audited(&self, action: &str, object: &str) -> Value {
        self.logged(|line| {
            line["audit"] == true
                && line["action"] == action
                && line["object"].as_str().unwrap_or_default().contains(object)
        })
        .await
    }

    /// Sends SIGTERM and returns the exit status.
    pub async fn stop(mut self) -> i32 {
        self.signal("-TERM");
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        status.expect("it does not stop").unwrap().code().unwrap()
    }

    /// Sends SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A value in the text of `/metrics`; 0 if it is missing.
pub fn metric(text: &str, name: &str) -> f64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
        .unwrap_or(0.0)
}
