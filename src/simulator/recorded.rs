//! Recorded answers: the format of the folder that `check --record` writes. `replay` answers with them.
//!
//! The folder holds `recording.json`, which lists the answers, and a file for the body of each.

use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The file that lists the answers.
pub const INDEX: &str = "recording.json";
/// The version of the folder's format.
pub const VERSION: u32 = 1;

/// The files of a folder that hold bodies.
const BODIES: [&str; 6] = [
    "spaces.json",
    "rooms.json",
    "calls.json",
    "report.json",
    "report.xlsx",
    "records.json",
];
/// Most bytes of a file.
const MOST_BYTES: u64 = 64 << 20;

/// A recording: which answers there are, and what they answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Recording {
    /// The version of the folder's format.
    pub version: u32,
    /// The program that made it, with its version.
    pub program: String,
    /// A sentence for people.
    pub about: String,
    /// The answers, in the order of the requests.
    pub answers: Vec<RecordedAnswer>,
}

/// An answer. All ids are masked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct RecordedAnswer {
    /// The endpoint: `spaces`, `rooms`, `calls`, `report_json`, `report_xlsx`, `records` or `link`.
    pub endpoint: String,
    /// Method and path of the request.
    pub request: String,
    /// The space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// The call of a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The record of a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The file with the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The form of a link: `text`, `json`, `redirect` or `video`. The link itself is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
}

/// A recording with the bodies of its answers.
#[derive(Debug, Clone)]
pub struct RecordedAnswers {
    answers: Vec<(RecordedAnswer, Bytes)>,
}

impl RecordedAnswers {
    /// Reads a folder that `check --record` wrote.
    ///
    /// # Errors
    /// `Usage` if it is no recording of a known version, or if one of its files can't be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let about = |file: &str| format!("recording {}", folder.join(file).display());
        let refuse = |file: &str, why: String| {
            Error::new(ErrorKind::Usage, about(file), why)
                .hint("name a folder that `telelake check --record` wrote")
        };
        let read = |file: &str| read_file(&folder.join(file)).map_err(|why| refuse(file, why));
        let recording: Recording =
            serde_json::from_slice(&read(INDEX)?).map_err(|error| refuse(INDEX, error.to_string()))?;
        if recording.version != VERSION {
            return Err(refuse(
                INDEX,
                format!("version {} is not known, {VERSION} is", recording.version),
            ));
        }
        let answers = recording.answers.into_iter().map(|answer| {
            let body = match &answer.file {
                // Any other name may lead out of the recording.
                Some(file) if !BODIES.contains(&file.as_str()) => {
                    return Err(refuse(
                        file,
                        format!("is no file of a recording; those are {}", BODIES.join(", ")),
                    ));
                }
                Some(file) => read(file)?.into(),
                None => Bytes::new(),
            };
            Ok((answer, body))
        });
        Ok(Self {
            answers: answers.collect::<Result<_>>()?,
        })
    }

    /// The first answer of an endpoint of which a condition is true.
    pub(super) fn find(
        &self,
        endpoint: &str,
        is_of: impl Fn(&RecordedAnswer) -> bool,
    ) -> Option<&(RecordedAnswer, Bytes)> {
        self.answers
            .iter()
            .find(|(answer, _)| answer.endpoint == endpoint && is_of(answer))
    }
}

/// The bytes of a file of a recording, or the reason why it is not read. A recording may come from somebody else: its links and
/// pipes are not followed.
fn read_file(file: &Path) -> std::result::Result<Vec<u8>, String> {
    let about = std::fs::symlink_metadata(file).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("is no regular file, but a link, a folder or a device".to_owned());
    }
    let file = std::fs::File::open(file).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(format!("has more than {} MiB", MOST_BYTES >> 20)),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reason why a recording with a file of spaces is refused; none if it is read.
    fn refusal(folder: &Path, file: &str) -> Option<String> {
        let index = format!(
            r#"{{"version":1,"program":"x","about":"x","answers":[{{"endpoint":"spaces","request":"x","status":200,"file":"{file}"}}]}}"#
        );
        std::fs::write(folder.join(INDEX), index).expect("a file");
        RecordedAnswers::read(folder).err().map(|error| error.to_string())
    }

    #[test]
    fn only_regular_files_with_known_names_and_of_a_limited_size_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let spaces = folder.path().join("spaces.json");
        std::fs::write(folder.path().join("other.json"), "[]").expect("a file");
        for file in ["other.json", "../spaces.json", "recording.json"] {
            let why = refusal(folder.path(), file).expect(file);
            assert!(why.contains("no file of a recording"), "{why}");
        }
        std::fs::create_dir(&spaces).expect("a folder");
        let why = refusal(folder.path(), "spaces.json").expect("a folder");
        assert!(why.contains("no regular file"), "{why}");
        std::fs::remove_dir(&spaces).expect("gone");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("other.json"), &spaces).expect("a link");
            let why = refusal(folder.path(), "spaces.json").expect("a link");
            assert!(why.contains("no regular file"), "{why}");
            std::fs::remove_file(&spaces).expect("gone");
        }
        let large = std::fs::File::create(&spaces).expect("a file");
        large.set_len(MOST_BYTES + 1).expect("a size");
        let why = refusal(folder.path(), "spaces.json").expect("a large file");
        assert!(why.contains("more than 64 MiB"), "{why}");
        large.set_len(0).expect("a size");
        assert_eq!(refusal(folder.path(), "spaces.json"), None);
    }
}
