//! A real headless Chromium, driven over its DevTools protocol.

use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// The deadline of every wait.
const PATIENCE: Duration = Duration::from_secs(120);

/// The names of the browser on different systems; `make browser` installs it if it is missing.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

fn program() -> std::path::PathBuf {
    if let Some(named) = std::env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        return named.into();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|path| path.is_file())
        .expect("no Chromium: `make browser` installs it, or set CHROMIUM")
}

/// A browser with one tab; killed when dropped.
pub struct Browser {
    _process: Child,
    _profile: tempfile::TempDir,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    agent: String,
    last: u64,
    /// The number of pages loaded so far, and before the last action.
    loads: u64,
    loads_before: u64,
    /// The errors of pages: scripts, console and content security policy.
    pub complaints: Vec<String>,
}

impl Browser {
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new(program())
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--no-proxy-server",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(address) = line.strip_prefix("DevTools listening on ") {
                    return address.to_owned();
                }
            }
            panic!("the browser ended before it listened")
        };
        let address = tokio::time::timeout(PATIENCE, address).await.unwrap();
        // Later output must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        // Screenshots are large messages.
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let (socket, _) = connect_async_with_config(&address, Some(config), true)
            .await
            .unwrap();
        let mut browser = Self {
            _process: process,
            _profile: profile,
            socket,
            session: String::new(),
            agent: String::new(),
            last: 0,
            loads: 0,
            loads_before: 0,
            complaints: Vec::new(),
        };
        browser.open_tab().await;
        browser
    }

    async fn open_tab(&mut self) {
        let version = self.call("Browser.getVersion", json!({})).await;
        self.agent = version["userAgent"].as_str().unwrap().to_owned();
        let target = self
            .call("Target.createTarget", json!({"url": "about:blank"}))
            .await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", attach).await;
        self.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({})).await;
        }
    }

    /// Sends a command of the protocol and returns its result.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        let answer = self.until(|message| message["id"] == id).await;
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let text = Message::text(command.to_string());
        self.socket.send(text).await.unwrap();
        self.last
    }

    /// Reads until a message comes, and notes errors on the way.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let read = async {
            loop {
                let message = self.socket.next().await.expect("the browser is gone").unwrap();
                let Message::Text(text) = message else { continue };
                let message: Value = serde_json::from_str(&text).unwrap();
                self.loads += u64::from(message["method"] == "Page.loadEventFired");
                note(&mut self.complaints, &message);
                if wanted(&message) {
                    return message;
                }
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the browser does not answer")
    }

    /// Opens an address and waits until it is loaded.
    pub async fn go(&mut self, url: &str) {
        self.loads_before = self.loads;
        let went = self.call("Page.navigate", json!({"url": url})).await;
        assert!(went["errorText"].is_null(), "{url}: {went}");
        if !went["loaderId"].is_null() {
            self.loaded().await;
        }
    }

    /// Waits for the page that the last action opens.
    pub async fn loaded(&mut self) {
        self.loaded_times(1).await;
    }

    /// Waits for this many pages, if the page redirects.
    pub async fn loaded_times(&mut self, times: u64) {
        while self.loads < self.loads_before + times {
            self.until(|message| message["method"] == "Page.loadEventFired")
                .await;
        }
    }

    /// The value of an expression, or the result of a promise.
    pub async fn eval(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let result = self.call("Runtime.evaluate", params).await;
        assert!(result["exceptionDetails"].is_null(), "{script}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits in the page until an expression is true.
    pub async fn wait_for(&mut self, condition: &str) {
        self.eval(&format!(
            "new Promise(done => {{ const look = () => ({condition}) ? done() : setTimeout(look, 20); look(); }})"
        ))
        .await;
    }

    /// The visible text of an element, with single spaces.
    pub async fn text(&mut self, selector: &str) -> String {
        let script = format!("document.querySelector({selector:?})?.innerText ?? ''");
        let text = self.eval(&script).await;
        let text = text.as_str().unwrap().replace('\u{a0}', " ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Clicks with the mouse.
    pub async fn click(&mut self, selector: &str) {
        let script = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let at = self.eval(&script).await;
        self.loads_before = self.loads;
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", params).await;
        }
    }

    /// Presses a key such as `Tab`, `Enter`, `Space` or `ArrowUp`.
    pub async fn press(&mut self, key: &str) {
        let (text, code, number) = match key {
            "Tab" => ("", "Tab", 9),
            "Enter" => ("\r", "Enter", 13),
            "Space" => (" ", "Space", 32),
            "End" => ("", "End", 35),
            "Home" => ("", "Home", 36),
            "ArrowLeft" => ("", "ArrowLeft", 37),
            "ArrowUp" => ("", "ArrowUp", 38),
            "ArrowRight" => ("", "ArrowRight", 39),
            "ArrowDown" => ("", "ArrowDown", 40),
            other => panic!("no such key here: {other}"),
        };
        let name = if key == "Space" { " " } else { key };
        self.loads_before = self.loads;
        for kind in ["keyDown", "keyUp"] {
            let mut params =
                json!({"type": kind, "key": name, "code": code, "windowsVirtualKeyCode": number});
            if kind == "keyDown" && !text.is_empty() {
                params["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", params).await;
        }
    }

    /// Runs a script that makes the page load again, and waits for that.
    pub async fn load_by(&mut self, script: &str) {
        self.loads_before = self.loads;
        self.eval(script).await;
        self.loaded().await;
    }

    /// Types into the focused element.
    pub async fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Sets the reader's language.
    pub async fn language(&mut self, accepted: &str) {
        let params = json!({"userAgent": self.agent, "acceptLanguage": accepted});
        self.call("Emulation.setUserAgentOverride", params).await;
    }

    /// Sets the size of the window, and the dark or light scheme.
    pub async fn look(&mut self, width: u32, height: u32, dark: bool) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Saves the whole page as `target/screenshots/<name>.png`.
    pub async fn picture(&mut self, name: &str) {
        use base64::Engine;
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", params).await;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(picture["data"].as_str().unwrap())
            .unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }
}

fn note(complaints: &mut Vec<String>, message: &Value) {
    let params = &message["params"];
    match message["method"].as_str() {
        Some("Runtime.exceptionThrown") => {
            complaints.push(params["exceptionDetails"].to_string());
        }
        Some("Runtime.consoleAPICalled") if params["type"] == "error" || params["type"] == "warning" => {
            complaints.push(params["args"].to_string());
        }
        Some("Log.entryAdded")
            if params["entry"]["level"] == "error" || params["entry"]["level"] == "warning" =>
        {
            complaints.push(params["entry"].to_string());
        }
        _ => {}
    }
}
