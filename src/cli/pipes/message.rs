//! The messages of Dagster Pipes, and the way to Dagster that `DAGSTER_PIPES_MESSAGES` names. Each message is a line of JSON.

use std::io::Write;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::context::{decode, usage};
use crate::Result;

/// The variable that says where messages go.
pub(super) const MESSAGES: &str = "DAGSTER_PIPES_MESSAGES";
/// The version of the protocol, in each message.
const PROTOCOL: &str = "0.1";

/// The way of messages to Dagster.
#[derive(Debug)]
pub(super) enum Channel {
    /// Lines at the end of a file.
    File(PathBuf),
    /// Lines on stdout or stderr.
    Stream(Stream),
    /// Lines on stdout or stderr, all of them at the end.
    Buffered(Stream, Mutex<Vec<u8>>),
}

/// A stream of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Channel {
    /// Reads the way from the value of [`MESSAGES`].
    ///
    /// # Errors
    /// `Usage` if the value is not Dagster's, or the file that it names can't be written.
    pub fn read(value: Option<&str>) -> Result<Self> {
        let params = decode(MESSAGES, value)?;
        let stream = |name: &str| match params.get(name).and_then(Value::as_str) {
            Some("stdout") => Some(Stream::Stdout),
            Some("stderr") => Some(Stream::Stderr),
            _ => None,
        };
        if let Some(path) = params.get("path").and_then(Value::as_str) {
            append(Path::new(path), b"").map_err(|e| usage(MESSAGES, format!("{path}: {e}")))?;
            return Ok(Self::File(path.into()));
        }
        if let Some(stream) = stream("stdio") {
            return Ok(Self::Stream(stream));
        }
        if let Some(stream) = stream("buffered_stdio") {
            return Ok(Self::Buffered(stream, Mutex::default()));
        }
        let why = "names no `path`, and no stdout or stderr as `stdio`, so that Dagster reads messages in another way";
        Err(usage(MESSAGES, why.into()).hint(
            "use PipesTempFileMessageReader, PipesFileMessageReader, or a reader of the process's output",
        ))
    }

    /// Sends a message. A message that can't be sent does not fail the command, because the data is in the lake.
    pub fn send(&self, method: &str, params: &Value) {
        let message = json!({ "__dagster_pipes_version": PROTOCOL, "method": method, "params": params });
        // A line is written at once, because Dagster reads the file meanwhile.
        let line = format!("{message}\n").into_bytes();
        let sent = match self {
            Self::File(path) => append(path, &line),
            Self::Stream(stream) => stream.write(&line),
            Self::Buffered(_, buffer) => {
                buffer.lock().extend_from_slice(&line);
                Ok(())
            }
        };
        warn(method, sent);
    }

    /// Sends what waits for the end.
    pub fn flush(&self) {
        if let Self::Buffered(stream, buffer) = self {
            let lines = std::mem::take(&mut *buffer.lock());
            warn("buffered", stream.write(&lines));
        }
    }
}

fn warn(method: &str, sent: std::io::Result<()>) {
    if let Err(error) = sent {
        tracing::warn!(%error, "Dagster could not be sent the message {method}; the run goes on");
    }
}

fn append(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::options().append(true).create(true).open(path)?;
    file.write_all(bytes)
}

impl Stream {
    fn write(self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Stdout => std::io::stdout().write_all(bytes),
            Self::Stderr => std::io::stderr().write_all(bytes),
        }
    }
}

/// The metadata of a materialization or a check: values with Dagster's types.
#[derive(Debug, Default)]
pub(super) struct Metadata(Map<String, Value>);

impl Metadata {
    /// Adds a number.
    #[must_use]
    pub fn int(self, name: &str, number: u64) -> Self {
        self.value(name, "int", number.into())
    }

    /// Adds a text, if there is one.
    #[must_use]
    pub fn text(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.value(name, "text", text.into()),
            None => self,
        }
    }

    /// Adds the path or the URL of an object.
    #[must_use]
    pub fn path(self, name: &str, path: &str) -> Self {
        self.value(name, "path", path.into())
    }

    /// Adds a value as JSON.
    #[must_use]
    pub fn json(self, name: &str, value: Value) -> Self {
        self.value(name, "json", value)
    }

    fn value(mut self, name: &str, kind: &str, value: Value) -> Self {
        self.0
            .insert(name.to_owned(), json!({ "type": kind, "raw_value": value }));
        self
    }

    /// The metadata as a message has it.
    pub fn into_json(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::cli::pipes::context::tests::encode;

    #[test]
    fn messages_are_appended_to_the_file_line_by_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("messages");
        std::fs::write(&file, "before\n").expect("written");
        let params = json!({ "path": file.display().to_string(), "include_stdio_in_messages": false });
        let channel = Channel::read(Some(&encode(&params))).expect("a channel");
        channel.send("opened", &json!({ "extras": {} }));
        channel.send("log", &json!({ "message": "two\nlines", "level": "INFO" }));
        let text = std::fs::read_to_string(&file).expect("read");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "before"));
        let log: Value = serde_json::from_str(lines[2]).expect("JSON");
        assert_eq!(log["__dagster_pipes_version"], "0.1");
        assert_eq!(
            (&log["method"], &log["params"]["message"]),
            (&"log".into(), &"two\nlines".into())
        );
    }

    #[test]
    fn the_streams_are_named_and_anything_else_is_a_usage_error() {
        let read = |params: Value| Channel::read(Some(&encode(&params)));
        let named = |name: &str| read(json!({ "stdio": name })).expect(name);
        assert!(matches!(named("stdout"), Channel::Stream(Stream::Stdout)));
        assert!(matches!(named("stderr"), Channel::Stream(Stream::Stderr)));
        let buffered = read(json!({ "buffered_stdio": "stdout" })).expect("a channel");
        assert!(matches!(buffered, Channel::Buffered(Stream::Stdout, _)));
        for (params, expected) in [
            (json!({ "stdio": "stdin" }), "stdout or stderr"),
            (json!({ "bucket": "b" }), "no `path`"),
            (json!({ "path": "/nowhere/messages" }), "/nowhere/messages"),
        ] {
            let error = read(params).expect_err(expected);
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(
            Channel::read(None)
                .expect_err("no variable")
                .to_string()
                .contains("is not set")
        );
    }

    #[test]
    fn metadata_has_dagsters_types() {
        let metadata = Metadata::default()
            .int("calls", 3)
            .text("run_id", Some("r"))
            .text("reason", None);
        let metadata = metadata
            .path("summary", "s3://b/x.json")
            .json("rows", json!({ "calls": 3 }));
        assert_eq!(
            metadata.into_json(),
            json!({
                "calls": { "type": "int", "raw_value": 3 },
                "run_id": { "type": "text", "raw_value": "r" },
                "summary": { "type": "path", "raw_value": "s3://b/x.json" },
                "rows": { "type": "json", "raw_value": { "calls": 3 } },
            })
        );
    }
}
