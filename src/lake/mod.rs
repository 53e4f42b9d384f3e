//! The layout of the lake and its meaning: object keys, the day's manifest, the definitions of the tables. Pure; used by
//! all folders above.

pub mod erased;
pub mod key;
pub mod key_kind;
pub mod landing;
pub mod manifest;
pub mod sql;
pub mod table;
pub mod tally;
pub mod tally_json;
pub mod unknown;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

pub use crate::ids;

/// The version of the lake's layout. The program refuses a lake of a newer version.
pub const VERSION: u32 = 1;

/// The date of an instant in a zone: a call belongs to the date of its start. Instants of the lake's first and last year
/// that fall into another year in the zone belong to the first or last date.
pub fn date_of(instant: DateTime<Utc>, zone: Tz) -> NaiveDate {
    instant
        .with_timezone(&zone)
        .date_naive()
        .clamp(FIRST_DATE, LAST_DATE)
}

/// The first date that can have a day in the lake. Some readers can't compute with earlier ones.
const FIRST_DATE: NaiveDate = date(1970, 1, 1);
/// The last date that can have a day in the lake.
const LAST_DATE: NaiveDate = date(2200, 12, 31);

const fn date(year: i32, month: u32, day: u32) -> NaiveDate {
    match NaiveDate::from_ymd_opt(year, month, day) {
        Some(date) => date,
        None => NaiveDate::MIN,
    }
}

/// True if a date can have a day in the lake.
pub fn is_date(date: NaiveDate) -> bool {
    (FIRST_DATE..=LAST_DATE).contains(&date)
}

/// The first instant of a date in a zone. If midnight does not exist (a clock moved forward), it is the first instant
/// after; if midnight comes twice, it is the earlier one.
pub fn start_of(date: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = date.and_time(NaiveTime::MIN);
    (0..=24 * 4)
        .find_map(|quarter| {
            let local = midnight + chrono::TimeDelta::minutes(15 * quarter);
            zone.from_local_datetime(&local)
                .earliest()
                .map(|instant| instant.to_utc())
        })
        // A date that the zone skips (Samoa, 2011-12-30) has no instant, and begins where it ends.
        .unwrap_or_else(|| midnight.and_utc())
}

/// The first instant after a date in a zone.
pub fn end_of(date: NaiveDate, zone: Tz) -> DateTime<Utc> {
    start_of(date + Days::new(1), zone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clock_change_at_midnight_moves_the_edge_of_the_day() {
        let date = |text: &str| text.parse::<NaiveDate>().expect("date");
        let last = "2200-12-31T23:00:00Z".parse().expect("an instant");
        assert_eq!(date_of(last, Tz::Asia__Tokyo), date("2200-12-31"));
        assert_eq!(
            date_of(DateTime::UNIX_EPOCH, Tz::America__Havana),
            date("1970-01-01")
        );
        assert!(!is_date(date("0026-11-20")) && is_date(date("2026-11-20")));
        let start = |text: &str, zone| start_of(date(text), zone).to_rfc3339();
        // Beirut goes from 00:00 to 01:00 on this date: its midnight does not exist.
        assert_eq!(start("2022-03-27", Tz::Asia__Beirut), "2022-03-26T22:00:00+00:00");
        // Havana goes from 01:00 back to 00:00: its midnight comes twice.
        assert_eq!(
            start("2022-11-06", Tz::America__Havana),
            "2022-11-06T04:00:00+00:00"
        );
        assert_eq!(
            start("2026-11-23", Tz::Europe__Moscow),
            "2026-11-22T21:00:00+00:00"
        );
        let hours = |text: &str, zone| (end_of(date(text), zone) - start_of(date(text), zone)).num_hours();
        assert_eq!(hours("2026-03-29", Tz::Europe__Berlin), 23);
        assert_eq!(hours("2026-10-25", Tz::Europe__Berlin), 25);
    }

    proptest! {
        #[test]
        fn every_instant_lies_within_its_date(seconds in 86_400_i64..4_000_000_000, zone in 0..chrono_tz::TZ_VARIANTS.len()) {
            let zone = chrono_tz::TZ_VARIANTS[zone];
            let instant = DateTime::from_timestamp(seconds, 0).expect("in range");
            let date = date_of(instant, zone);
            prop_assert!(start_of(date, zone) <= instant && instant < end_of(date, zone), "{zone} {date} {instant}");
        }
    }
}
