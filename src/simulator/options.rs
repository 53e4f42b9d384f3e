//! The options of the simulated vendor: the size of the school, and the behaviour of lists, dates, links and limits. Pure;
//! set by tests, by `demo` and by [`super::SimulateArgs`].

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;

use super::media;
use super::recorded::RecordedAnswers;

/// The behaviour of the simulator. [`Options::default`] is a healthy school with the oddities of a realistic day, whose
/// export succeeds. The same options give the same bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on; port 0 takes a free port.
    pub listen: SocketAddr,
    /// The seed of the school.
    pub seed: u64,
    /// The only bearer token that is accepted.
    pub token: String,
    /// The number of spaces.
    pub spaces: u32,
    /// The number of rooms in each space, including breakout rooms.
    pub rooms: u32,
    /// The dates with calls, in `zone`.
    pub dates: Vec<NaiveDate>,
    /// The server's time zone: of `dates`, and of the day that the `date` of a request selects.
    pub zone: Tz,
    /// The meaning of `date`, `dateFrom` and `dateTo`.
    pub date_reading: DateReading,
    /// The paging of lists.
    pub paging: Paging,
    /// The form of a download link.
    pub link_form: LinkForm,
    /// The lifetime of a link; `None`: unlimited.
    pub link_lifetime: Option<Duration>,
    /// The number of `GET`s that a link allows; `None`: unlimited.
    pub link_uses: Option<u32>,
    /// The pause before every answer.
    pub latency: Duration,
    /// API requests in each `rate_window`, beyond which the answer is 429; `None`: no limit.
    pub rate_limit: Option<u32>,
    /// The window of the rate limit, after which the count starts again.
    pub rate_window: Duration,
    /// The `Retry-After` of a 429.
    pub retry_after: RetryAfter,
    /// The size of a whole recording in bytes, at least that of the video itself (about 3 KiB).
    pub recording_size: u64,
    /// The bytes a second that a download gives; `None`: as fast as it can.
    pub blob_speed: Option<u64>,
    /// The share of calls with a recording, 0 to 1.
    pub recorded: f64,
    /// The number of calls that a room with calls has on a date.
    pub calls_per_day: RangeInclusive<u32>,
    /// The number of participants of a call.
    pub participants: RangeInclusive<u32>,
    /// The share of rooms without calls on the dates, 0 to 1. Half of these rooms never had a call.
    pub empty_rooms: f64,
    /// The oddities of the school.
    pub odd: Oddities,
    /// True if objects have unknown fields, and lack optional fields now and then.
    pub ragged: bool,
    /// The share of requests that fail at first, 0 to 1: 500, an HTML 502, 429, a reset or a cut body. The same
    /// request fails at most three times.
    pub fault_rate: f64,
    /// Answers to give instead of those of the school.
    pub recorded_answers: Option<Arc<RecordedAnswers>>,
}

impl Options {
    /// The size of a whole recording: the size asked for, raised to that of a playable video.
    pub(super) fn whole_recording_size(&self) -> u64 {
        media::whole_size(self.recording_size)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            token: "simulator-token".into(),
            spaces: 2,
            rooms: 10,
            dates: days(NaiveDate::from_ymd_opt(2025, 3, 3).unwrap_or_default(), 3),
            zone: Tz::UTC,
            date_reading: DateReading::Start,
            paging: Paging::default(),
            link_form: LinkForm::Cycle,
            link_lifetime: Some(Duration::from_secs(24 * 3600)),
            link_uses: None,
            latency: Duration::ZERO,
            rate_limit: None,
            rate_window: Duration::from_secs(1),
            retry_after: RetryAfter::Seconds(1),
            recording_size: 1 << 20,
            blob_speed: None,
            recorded: 0.6,
            calls_per_day: 1..=2,
            participants: 3..=12,
            empty_rooms: 0.25,
            odd: Oddities::default(),
            ragged: true,
            fault_rate: 0.0,
            recorded_answers: None,
        }
    }
}

/// `count` dates, the first of which is `first`.
pub fn days(first: NaiveDate, count: u32) -> Vec<NaiveDate> {
    (0..u64::from(count))
        .filter_map(|day| first.checked_add_days(Days::new(day)))
        .collect()
}

/// The meanings of a date that the guide leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DateReading {
    /// Calls and records that started on the day
    Start,
    /// Calls and records that finished on the day
    Finish,
    /// Calls and records that overlap the day
    Overlap,
}

/// The paging of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paging {
    /// The items of a page.
    pub window: Window,
    /// The value of `total`. The list of calls never has one.
    pub total: ListTotal,
}

/// The items of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Window {
    /// `limit` items (default 50) from `offset` on.
    #[default]
    Honoured,
    /// All items, whatever the request says.
    Ignored,
    /// As requested, but at most this many.
    Capped(usize),
    /// At most this many of the first items, whatever the offset, so that a client that waits for an empty page never ends.
    FirstAgain(usize),
    /// As requested, but at most this many, and each page begins with the last item of the page before.
    Overlapping(usize),
    /// Like `Capped`, but unlisted rooms are removed after the page is cut, so that pages in the middle are short.
    CutThenFiltered(usize),
}

/// The `total` of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListTotal {
    /// The number of items of all pages.
    #[default]
    True,
    /// The field is missing.
    Missing,
    /// Always 0, as in the sample of the guide.
    Zero,
}

impl Paging {
    /// Pages with these items and a true total.
    pub fn of(window: Window) -> Self {
        Self {
            window,
            total: ListTotal::True,
        }
    }

    /// The same pages, with another total.
    #[must_use]
    pub fn total(mut self, total: ListTotal) -> Self {
        self.total = total;
        self
    }
}

/// The form of a download link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LinkForm {
    /// The URL as plain text
    Text,
    /// The URL as a JSON string
    Json,
    /// A redirect (302) to the URL
    Redirect,
    /// The three forms in turn, one for each record
    Cycle,
}

/// The `Retry-After` of a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// No header.
    Unsaid,
    /// This many seconds.
    Seconds(u32),
    /// An HTTP date this many seconds from now.
    Date(u32),
}

/// The oddities of the school. With those of [`Oddities::default`] an export still succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each oddity is on or off independently"
)]
pub struct Oddities {
    /// Every fifth room has a call over midnight on the first date.
    pub over_midnight: bool,
    /// A meeting sometimes goes on in the room's next call.
    pub several_calls: bool,
    /// Participants leave and come back, sometimes in two tabs at once; some sessions have no end.
    pub rejoins: bool,
    /// Every tenth room is a breakout room with calls inside those of the room before it.
    pub breakout_rooms: bool,
    /// Records that were stopped within three seconds: finished, with 0 bytes.
    pub aborted_records: bool,
    /// Records without a `callId`.
    pub stray_records: bool,
    /// A running call: `active`, without `finishedAt`.
    pub active_call: bool,
    /// Calls whose report is missing (404).
    pub missing_report: bool,
    /// Calls whose report the tariff does not include (403).
    pub denied_report: bool,
    /// Calls whose report is empty: no bytes, `{}` or no participants.
    pub empty_report: bool,
    /// Calls whose report is not in its format.
    pub broken_report: bool,
    /// Running records, without `finishedAt`.
    pub unfinished_record: bool,
    /// Records that failed.
    pub failed_record: bool,
    /// Records on the dates whose call is unknown.
    pub foreign_record: bool,
    /// Records whose `fileSize` is not their size.
    pub wrong_file_size: bool,
    /// Participants without an id.
    pub nameless: bool,
}

impl Default for Oddities {
    fn default() -> Self {
        Self {
            over_midnight: true,
            several_calls: true,
            rejoins: true,
            breakout_rooms: true,
            aborted_records: true,
            stray_records: true,
            ..Self::none()
        }
    }
}

impl Oddities {
    /// No oddities, as in the guide.
    pub const fn none() -> Self {
        Self::all_or_none(false)
    }

    /// All oddities.
    pub const fn all() -> Self {
        Self::all_or_none(true)
    }

    const fn all_or_none(on: bool) -> Self {
        Self {
            over_midnight: on,
            several_calls: on,
            rejoins: on,
            breakout_rooms: on,
            aborted_records: on,
            stray_records: on,
            active_call: on,
            missing_report: on,
            denied_report: on,
            empty_report: on,
            broken_report: on,
            unfinished_record: on,
            failed_record: on,
            foreign_record: on,
            wrong_file_size: on,
            nameless: on,
        }
    }
}
