//! Recorded answers: the format of the folder that `check --record` writes. `replay` answers with them.
//!
//! The folder holds `recording.json`, which lists the answers, and a file for the body of each.

use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The file that lists the answers.
pub const INDEX: &str = "recording.json";
/// The version of the folder's format.
pub const VERSION: u32 = 1;

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
        let read =
            |file: &str| std::fs::read(folder.join(file)).map_err(|error| refuse(file, error.to_string()));
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
                // A name with a folder in it would lead out of the recording.
                Some(file) if file.contains(['/', '\\']) => {
                    return Err(refuse(file, "is no name of a file".to_owned()));
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
