//! What the simulated vendor is told to be: how large a school, how it pages, reads dates, hands out links and slows
//! down. Pure; filled in by tests, by `demo` and by [`super::SimulateArgs`].

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;

/// How the simulator behaves. [`Options::default`] is a healthy school with a realistic day's oddities, out of which
/// an export ends in success; the same options give the same bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Everything in the school follows from this.
    pub seed: u64,
    /// The only bearer token that is accepted.
    pub token: String,
    /// How many spaces.
    pub spaces: u32,
    /// How many rooms each space has, breakout rooms among them.
    pub rooms: u32,
    /// The dates with calls, in `zone`.
    pub dates: Vec<NaiveDate>,
    /// The server's zone: of `dates`, and of the day that a request's `date` selects.
    pub zone: Tz,
    /// How `date`, `dateFrom` and `dateTo` select.
    pub date_reading: DateReading,
    /// How lists are paged.
    pub paging: Paging,
    /// How a download link is handed over.
    pub link_form: LinkForm,
    /// How long a link is good for; none: for good.
    pub link_lifetime: Option<Duration>,
    /// How many `GET`s a link is good for; none: any number.
    pub link_uses: Option<u32>,
    /// The pause before every answer.
    pub latency: Duration,
    /// API requests in each `rate_window` beyond which the answer is 429; none: no limit.
    pub rate_limit: Option<u32>,
    /// The time in which requests are counted; then it is counted anew.
    pub rate_window: Duration,
    /// What a 429 says about when to come back.
    pub retry_after: RetryAfter,
    /// The size of a whole recording in bytes; never below that of the video itself (about 3 KiB).
    pub recording_size: u64,
    /// The share of calls with a recording, 0 to 1.
    pub recorded: f64,
    /// How many calls a room with calls has on a date.
    pub calls_per_day: RangeInclusive<u32>,
    /// How many people are in a call.
    pub participants: RangeInclusive<u32>,
    /// The share of rooms without calls on the dates, 0 to 1. Every other one of them never had one.
    pub empty_rooms: f64,
    /// Which oddities the school has.
    pub odd: Oddities,
    /// Whether unknown fields appear in objects, and optional ones are now and then missing or null.
    pub ragged: bool,
    /// The share of requests that fail at first, 0 to 1: 500, an HTML 502, 429, a reset or a cut body, but never
    /// one request more than three times.
    pub fault_rate: f64,
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
            recorded: 0.6,
            calls_per_day: 1..=2,
            participants: 3..=12,
            empty_rooms: 0.25,
            odd: Oddities::default(),
            ragged: true,
            fault_rate: 0.0,
        }
    }
}

/// `count` dates from `first` on.
pub fn days(first: NaiveDate, count: u32) -> Vec<NaiveDate> {
    (0..u64::from(count))
        .filter_map(|day| first.checked_add_days(Days::new(day)))
        .collect()
}

/// The readings of a date that the guide leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DateReading {
    /// What started on the day.
    Start,
    /// What finished on the day.
    Finish,
    /// What touched the day.
    Overlap,
}

/// How lists are paged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paging {
    /// Which items a page has.
    pub window: Window,
    /// What `total` says. The list of calls has none in any case.
    pub total: Total,
}

/// Which items a page has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Window {
    /// `limit` (50 when not asked) items from `offset` on.
    #[default]
    Honoured,
    /// All items, whatever is asked.
    Ignored,
    /// As asked, but never more than so many.
    Capped(usize),
    /// The first so many items at most, whatever offset is asked: a trap for whoever pages until a page is empty.
    FirstAgain(usize),
    /// As many as asked, but never more than so many, and each page begins with the last item of the one before.
    Overlapping(usize),
    /// As `Capped`, but unlisted rooms take their places in a page before they are left out, so that short pages stand in
    /// the middle.
    CutThenFiltered(usize),
}

/// What a list's `total` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Total {
    /// The number of items of all pages.
    #[default]
    True,
    /// It is not there.
    Missing,
    /// Always 0, as in the guide's sample.
    Zero,
}

impl Paging {
    /// Pages of this window with a true total.
    pub fn of(window: Window) -> Self {
        Self {
            window,
            total: Total::True,
        }
    }

    /// The same pages, with another total.
    #[must_use]
    pub fn total(mut self, total: Total) -> Self {
        self.total = total;
        self
    }
}

/// How a download link is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LinkForm {
    /// The URL as plain text.
    Text,
    /// The URL as a JSON string.
    Json,
    /// A redirect (302) to it.
    Redirect,
    /// Each record has one of the three, in turn.
    Cycle,
}

/// What a 429 says about when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// No such header.
    Unsaid,
    /// After so many seconds.
    Seconds(u32),
    /// At an HTTP date so many seconds from now.
    Date(u32),
}

/// Which oddities the school has. Those of [`Oddities::default`] still let an export end in success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Oddities {
    /// On the first date every fifth room has a call over midnight.
    pub over_midnight: bool,
    /// A meeting is now and then continued in the room's next call.
    pub several_calls: bool,
    /// People leave and come again, now and then in two tabs at once; some sessions have no end.
    pub rejoins: bool,
    /// Every tenth room is a breakout room, with calls inside those of the room before it.
    pub breakout_rooms: bool,
    /// Records stopped within three seconds: finished, but of 0 bytes.
    pub aborted_records: bool,
    /// Records without a `callId`.
    pub stray_records: bool,
    /// A call that still runs: `active`, without `finishedAt`.
    pub active_call: bool,
    /// Calls whose report is not there (404).
    pub missing_report: bool,
    /// Calls whose report the tariff does not include (403).
    pub denied_report: bool,
    /// Calls whose report is empty: no bytes, `{}` or no participants.
    pub empty_report: bool,
    /// Calls whose report is not what its format promises.
    pub broken_report: bool,
    /// Records that still run, without `finishedAt`.
    pub unfinished_record: bool,
    /// Records that failed.
    pub failed_record: bool,
    /// Records on the dates, of a call before them.
    pub foreign_record: bool,
    /// Records with another `fileSize` than their bytes.
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
    /// None of them: the school of the guide.
    pub const fn none() -> Self {
        Self::all_or_none(false)
    }

    /// All of them.
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
