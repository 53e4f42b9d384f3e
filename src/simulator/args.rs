//! The simulator's options on the command line. Used by the command `simulate`.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{Days, NaiveDate, Utc};
use chrono_tz::Tz;

use super::options::{DateReading, LinkForm, Options, Paging, RetryAfter, Total, Window, days};

/// What the simulated API is like.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulateArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The school follows from this number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many spaces
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub spaces: u32,
    /// How many rooms each space has
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub rooms: u32,
    /// The first date with calls; without it the last one is yesterday
    #[arg(long, value_name = "DATE")]
    pub from: Option<NaiveDate>,
    /// How many dates have calls
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub days: u32,
    /// The server's time zone
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub timezone: Tz,
    /// The pause before every answer, such as 20ms
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub latency: Duration,
    /// API requests a second, beyond which the answer is 429; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub rate_limit: u32,
    /// API requests a minute, beyond which the answer is 429 without Retry-After; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "rate_limit")]
    pub limit_per_minute: u32,
    /// The time in which --limit-per-minute counts, such as 5s for a test
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    pub limit_window: Duration,
    /// The size of a recording, such as 2GiB
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    pub recording_size: bytesize::ByteSize,
    /// The bearer token that is accepted
    #[arg(long, default_value = "simulator-token")]
    pub token: String,
    /// The share of requests that fail at first, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub fault_rate: f64,
    /// How lists are paged
    #[arg(long, value_enum, default_value_t = PagingArg::Honoured)]
    pub paging: PagingArg,
    /// What the date of a request selects by
    #[arg(long, value_enum, default_value_t = DateReading::Start)]
    pub date_reading: DateReading,
    /// How download links are handed over
    #[arg(long, value_enum, default_value_t = LinkForm::Cycle)]
    pub link_form: LinkForm,
}

/// How lists are paged, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PagingArg {
    /// `limit` and `offset` are honoured
    Honoured,
    /// Both are ignored: all items at once
    Ignored,
    /// Never more than 10 items a page
    Capped,
    /// As honoured, without `total`
    NoTotal,
    /// As honoured, with a `total` of 0
    ZeroTotal,
    /// The first 10 items again and again
    Repeating,
}

impl PagingArg {
    fn paging(self) -> Paging {
        match self {
            Self::Honoured => Paging::default(),
            Self::Ignored => Paging::of(Window::Ignored),
            Self::Capped => Paging::of(Window::Capped(10)),
            Self::NoTotal => Paging::default().total(Total::Missing),
            Self::ZeroTotal => Paging::default().total(Total::Zero),
            Self::Repeating => Paging::of(Window::FirstAgain(10)),
        }
    }
}

impl SimulateArgs {
    /// The limiter: how many requests, in which time, and what a refusal says.
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

    /// The options; asks the clock where no first date is given.
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
