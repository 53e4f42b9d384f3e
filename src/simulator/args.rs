//! The options of the simulator on the command line. Used by the command `simulate`.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{Days, NaiveDate, Utc};
use chrono_tz::Tz;

use super::options::{DateReading, LinkForm, ListTotal, Options, Paging, RetryAfter, Window, days};

/// The behaviour of the simulated API.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulateArgs {
    /// The address to listen on; port 0 takes a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The seed of the school; the same seed gives the same school
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The number of spaces
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub spaces: u32,
    /// The number of rooms in each space
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub rooms: u32,
    /// The first date with calls; by default the last date is yesterday
    #[arg(long, value_name = "DATE")]
    pub from: Option<NaiveDate>,
    /// The number of dates with calls
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub days: u32,
    /// The time zone of the server
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub timezone: Tz,
    /// The pause before every answer, such as 20ms
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub latency: Duration,
    /// API requests per second, beyond which the answer is 429; 0 means no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub rate_limit: u32,
    /// API requests per minute, beyond which the answer is 429 without Retry-After; 0 means no limit
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "rate_limit")]
    pub limit_per_minute: u32,
    /// The window of --limit-per-minute, such as 5s for a test
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    pub limit_window: Duration,
    /// The size of a recording, such as 2GiB
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    pub recording_size: bytesize::ByteSize,
    /// The bearer token that the server accepts
    #[arg(long, default_value = "simulator-token")]
    pub token: String,
    /// The share of requests that fail at first, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub fault_rate: f64,
    /// The paging of lists
    #[arg(long, value_enum, default_value_t = PagingArg::Honoured)]
    pub paging: PagingArg,
    /// The meaning of the date of a request
    #[arg(long, value_enum, default_value_t = DateReading::Start)]
    pub date_reading: DateReading,
    /// The form of download links
    #[arg(long, value_enum, default_value_t = LinkForm::Cycle)]
    pub link_form: LinkForm,
}

/// The paging of lists, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PagingArg {
    /// `limit` and `offset` are honoured
    Honoured,
    /// Both are ignored; every page has all items
    Ignored,
    /// At most 10 items on a page
    Capped,
    /// Like honoured, without `total`
    NoTotal,
    /// Like honoured, with a `total` of 0
    ZeroTotal,
    /// Every page has the first 10 items
    Repeating,
}

impl PagingArg {
    fn paging(self) -> Paging {
        match self {
            Self::Honoured => Paging::default(),
            Self::Ignored => Paging::of(Window::Ignored),
            Self::Capped => Paging::of(Window::Capped(10)),
            Self::NoTotal => Paging::default().total(ListTotal::Missing),
            Self::ZeroTotal => Paging::default().total(ListTotal::Zero),
            Self::Repeating => Paging::of(Window::FirstAgain(10)),
        }
    }
}

impl SimulateArgs {
    /// The rate limit: the number of requests, its window, and the `Retry-After` of a refusal.
    fn limit(&self) -> (Option<u32>, Duration, RetryAfter) {
        let some = |limit: u32| (limit > 0).then_some(limit);
        match some(self.limit_per_minute) {
            Some(limit) => (Some(limit), self.limit_window, RetryAfter::Unsaid),
            None => (
                some(self.rate_limit),
                Duration::from_secs(1),
                RetryAfter::Seconds(1),
            ),
        }
    }

    /// The options. Without a first date, they depend on the clock.
    pub fn options(&self) -> Options {
        let today = Utc::now().with_timezone(&self.timezone).date_naive();
        let from = self.from.unwrap_or(today - Days::new(self.days.into()));
        let (rate_limit, rate_window, retry_after) = self.limit();
        Options {
            listen: self.listen,
            seed: self.seed,
            token: self.token.clone(),
            spaces: self.spaces,
            rooms: self.rooms,
            dates: days(from, self.days),
            zone: self.timezone,
            date_reading: self.date_reading,
            paging: self.paging.paging(),
            link_form: self.link_form,
            latency: self.latency,
            rate_limit,
            rate_window,
            retry_after,
            recording_size: self.recording_size.as_u64(),
            fault_rate: self.fault_rate,
            ..Options::default()
        }
    }
}
