//! The cut-offs of retention: the first date of each kind of data that is still kept. Pure.
//!
//! A day is kept while its date plus the duration is not before today. Dates are those of the lake's time zone, and a
//! duration counts in whole days of 24 hours: the rest is dropped.

use std::time::Duration;

use chrono::{Days, NaiveDate};

use crate::config::{Config, RawKept};

/// A kind of data that has a retention of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DataKind {
    /// Raw reports and raw lesson data.
    Raw,
    /// Recordings.
    Recordings,
    /// Chat messages.
    Messages,
    /// Everything of a day.
    Tables,
}

impl DataKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Recordings, Self::Messages, Self::Tables];

    /// The key of `[retention]`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Recordings => "recordings",
            Self::Messages => "messages",
            Self::Tables => "tables",
        }
    }
}

/// The first date of each kind of data that is still kept; none: all dates are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CutOffs {
    raw: Option<NaiveDate>,
    recordings: Option<NaiveDate>,
    messages: Option<NaiveDate>,
    tables: Option<NaiveDate>,
    /// True if raw data is deleted as soon as the tables of its day are built and nothing of the day is pending.
    pub raw_goes_at_once: bool,
}

impl CutOffs {
    /// The cut-offs of a configuration. Raw reports hold the chat, so that they go with the messages. Everything goes with
    /// the tables.
    pub fn new(config: &Config, today: NaiveDate) -> Self {
        let first = |time: Option<Duration>| time.map(|time| first_kept(today, time));
        let retention = &config.retention;
        let of = |time: Option<crate::config::Duration>| first(time.map(|time| *time));
        let tables = of(retention.tables);
        let messages = of(retention.messages).max(tables);
        let private = match config.privacy.raw {
            RawKept::For(time) => first(Some(*time)),
            RawKept::Keep | RawKept::None => None,
        };
        Self {
            raw: of(retention.raw).max(private).max(messages),
            recordings: of(retention.recordings).max(tables),
            messages,
            tables,
            raw_goes_at_once: config.privacy.raw == RawKept::None,
        }
    }

    /// The first date of a kind that is still kept; none: all dates are kept.
    pub fn first_kept(&self, kind: DataKind) -> Option<NaiveDate> {
        match kind {
            DataKind::Raw => self.raw,
            DataKind::Recordings => self.recordings,
            DataKind::Messages => self.messages,
            DataKind::Tables => self.tables,
        }
    }

    /// True if the data of a date is no longer kept.
    pub fn is_over(&self, kind: DataKind, date: NaiveDate) -> bool {
        self.first_kept(kind).is_some_and(|first| date < first)
    }

    /// True if raw reports of a date are no longer kept once the day is built.
    pub fn raw_is_over(&self, date: NaiveDate) -> bool {
        self.raw_goes_at_once || self.is_over(DataKind::Raw, date)
    }

    /// True if everything is kept for ever.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The first date that is still kept today.
fn first_kept(today: NaiveDate, time: Duration) -> NaiveDate {
    let days = time.as_secs() / (24 * 3600);
    today.checked_sub_days(Days::new(days)).unwrap_or(NaiveDate::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    /// The cut-offs on 2026-11-28 of some keys.
    fn cutoffs(toml: &str) -> CutOffs {
        let config: Config = toml::from_str(toml).expect("a configuration");
        CutOffs::new(&config, date("2026-11-28"))
    }

    #[test]
    fn a_day_is_kept_while_its_date_plus_the_duration_is_not_before_today() {
        for (time, first) in [
            ("1d", "2026-11-27"),
            ("30d", "2026-10-29"),
            ("36h", "2026-11-27"),
            ("1y", "2025-11-28"),
        ] {
            let cutoffs = cutoffs(&format!("[retention]\nrecordings = \"{time}\""));
            let first = date(first);
            assert_eq!(cutoffs.first_kept(DataKind::Recordings), Some(first), "{time}");
            assert!(!cutoffs.is_over(DataKind::Recordings, first), "{time}");
            assert!(
                cutoffs.is_over(DataKind::Recordings, first - Days::new(1)),
                "{time}"
            );
            for other in [DataKind::Raw, DataKind::Messages, DataKind::Tables] {
                assert_eq!(cutoffs.first_kept(other), None, "{time}");
            }
        }
        assert!(cutoffs("").is_none());
    }

    #[test]
    fn a_duration_beyond_all_time_keeps_everything() {
        let cutoffs = cutoffs("[retention]\ntables = \"99999999y\"");
        assert!(!cutoffs.is_over(DataKind::Tables, NaiveDate::MIN));
    }

    #[test]
    fn raw_reports_go_with_the_shortest_of_all_that_they_hold() {
        let first = |toml: &str| {
            cutoffs(toml)
                .first_kept(DataKind::Raw)
                .map(|date| date.to_string())
        };
        let ten = Some("2026-11-18".to_owned());
        assert_eq!(first("[retention]\nraw = \"10d\"\nmessages = \"20d\""), ten);
        assert_eq!(first("[retention]\nraw = \"20d\"\nmessages = \"10d\""), ten);
        assert_eq!(first("[retention]\ntables = \"10d\""), ten);
        assert_eq!(first("[privacy]\nraw = \"10d\"\n[retention]\nraw = \"20d\""), ten);
        assert_eq!(first("[privacy]\nraw = \"20d\"\n[retention]\nraw = \"10d\""), ten);
        assert_eq!(first("[retention]\nrecordings = \"10d\""), None);
        let none = cutoffs("[privacy]\nraw = \"none\"");
        assert!(none.raw_is_over(date("2026-11-28")) && !none.is_none());
        assert!(!none.is_over(DataKind::Raw, date("2020-01-01")));
    }

    #[test]
    fn everything_goes_with_the_tables() {
        let cutoffs = cutoffs("[retention]\ntables = \"10d\"\nrecordings = \"20d\"\nmessages = \"30d\"");
        for kind in DataKind::ALL {
            assert_eq!(cutoffs.first_kept(kind), Some(date("2026-11-18")), "{kind:?}");
        }
    }
}
