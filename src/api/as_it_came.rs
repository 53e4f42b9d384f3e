//! Answers of the API as they came, for `check --record`. Not pure.

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use reqwest::header::{CONTENT_TYPE, LOCATION};

use super::answer::{header_text, is_video};
use super::client::Client;
use super::request::{self, Request};
use crate::Result;
use crate::config::ReportFormat;
use crate::ids::{CallId, RecordId, RoomId, SpaceId};

/// The items that a page of a list is asked for.
const PAGE: usize = 50;

/// A request whose answer is wanted as it came.
#[derive(Debug, Clone, Copy)]
pub enum Question<'q> {
    /// The first page of the spaces.
    Spaces,
    /// The first page of a space's rooms.
    Rooms(&'q SpaceId),
    /// The first page of a room's calls on a date.
    Calls(&'q SpaceId, &'q RoomId, NaiveDate),
    /// The report of a call.
    Report(&'q SpaceId, &'q RoomId, &'q CallId, ReportFormat),
    /// The first page of a room's records between two instants.
    Records(&'q SpaceId, &'q RoomId, DateTime<Utc>, DateTime<Utc>),
    /// The link to a record's video.
    Link(&'q SpaceId, &'q RoomId, &'q RecordId),
}

impl Question<'_> {
    fn request(&self) -> Result<Request> {
        Ok(match self {
            Self::Spaces => request::spaces()?.page(0, PAGE),
            Self::Rooms(space) => request::rooms(space)?.page(0, PAGE),
            Self::Calls(space, room, date) => request::calls(space, room, *date)?.page(0, PAGE),
            Self::Report(space, room, call, format) => request::report(space, room, call, *format)?,
            Self::Records(space, room, from, to) => request::records(space, room, *from, *to)?.page(0, PAGE),
            Self::Link(space, room, record) => request::download_link(space, room, record)?,
        })
    }
}

/// The way in which a link to a video comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// As plain text.
    Text,
    /// As JSON.
    Json,
    /// As a redirect.
    Redirect,
    /// The video came instead of a link.
    Video,
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct AnswerAsItCame {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: Option<String>,
    /// The form of the link, if the answer is one.
    pub link: LinkKind,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// Asks a question and gives its answer as it came. Redirects are not followed.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn as_it_came(&self, question: Question<'_>) -> Result<AnswerAsItCame> {
        let request = question.request()?;
        let most = self.sender.tuning().report_bytes;
        self.sender
            .ask(&request, most, |_, answer| {
                let link = if answer.status.is_redirection() && answer.headers.contains_key(LOCATION) {
                    LinkKind::Redirect
                } else if is_video(&answer.headers, &answer.body) {
                    LinkKind::Video
                } else if answer.body.trim_ascii_start().starts_with(b"\"")
                    || answer.body.trim_ascii_start().starts_with(b"{")
                {
                    LinkKind::Json
                } else {
                    LinkKind::Text
                };
                Ok(AnswerAsItCame {
                    status: answer.status.as_u16(),
                    content_type: header_text(&answer.headers, &CONTENT_TYPE).map(str::to_owned),
                    link,
                    body: answer.body,
                })
            })
            .await
    }
}
