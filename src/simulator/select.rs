//! The calls and records that the dates of a request select, under each meaning that the guide leaves open. Pure; used by `answers`.

use std::collections::HashMap;
use std::ops::Range;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;

use super::options::DateReading;

/// Instants from the start to the end, the end excluded.
pub(super) type Span = Range<DateTime<Utc>>;

/// The day of an instant or a date, in the server's zone.
pub(super) fn day(text: &str, zone: Tz) -> Option<Span> {
    let date = match DateTime::parse_from_rfc3339(text) {
        Ok(instant) => instant.with_timezone(&zone).date_naive(),
        Err(_) => text.parse().ok()?,
    };
    Some(midnight(date, zone)..midnight(date.checked_add_days(Days::new(1))?, zone))
}

/// The span from `dateFrom` to `dateTo`, either of which may be missing; a date means its midnight.
///
/// # Errors
/// The name of the parameter that cannot be read.
pub(super) fn span(query: &HashMap<String, String>, zone: Tz) -> Result<Span, &'static str> {
    let from = bound(query, "dateFrom", zone)?.unwrap_or(DateTime::<Utc>::MIN_UTC);
    let to = bound(query, "dateTo", zone)?;
    // The instant `dateTo` itself is included.
    Ok(from..to.map_or(DateTime::<Utc>::MAX_UTC, |to| to + TimeDelta::milliseconds(1)))
}

fn bound(
    query: &HashMap<String, String>,
    name: &'static str,
    zone: Tz,
) -> Result<Option<DateTime<Utc>>, &'static str> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    let instant = DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|instant| instant.to_utc());
    let date = || text.parse().ok().map(|date| midnight(date, zone));
    instant.or_else(date).map(Some).ok_or(name)
}

/// The first instant of a date; the hour after midnight if the clock skips midnight.
fn midnight(date: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let local = date.and_time(NaiveTime::MIN);
    let first = zone.from_local_datetime(&local).earliest();
    let first = first.or_else(|| {
        zone.from_local_datetime(&(local + TimeDelta::hours(1)))
            .earliest()
    });
    first.map_or_else(|| local.and_utc(), |first| first.to_utc())
}

/// True if a call or record from `start` to `finish` is selected. One that still runs has no finish.
pub(super) fn is_in(
    reading: DateReading,
    span: &Span,
    start: DateTime<Utc>,
    finish: Option<DateTime<Utc>>,
) -> bool {
    match reading {
        DateReading::Start => span.contains(&start),
        DateReading::Finish => span.contains(&finish.unwrap_or(start)),
        DateReading::Overlap => start < span.end && finish.is_none_or(|finish| finish >= span.start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_over_midnight_is_on_the_day_that_the_reading_says() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let (start, end) = (at("2025-03-03T23:30:00Z"), at("2025-03-04T00:30:00Z"));
        let found = |reading, date, zone| is_in(reading, &day(date, zone).unwrap(), start, Some(end));
        for (reading, third, fourth) in [
            (DateReading::Start, true, false),
            (DateReading::Finish, false, true),
            (DateReading::Overlap, true, true),
        ] {
            assert_eq!(found(reading, "2025-03-03", Tz::UTC), third);
            assert_eq!(found(reading, "2025-03-04T12:00:00Z", Tz::UTC), fourth);
        }
        assert!(found(DateReading::Start, "2025-03-04", Tz::Europe__Moscow));
        assert!(found(
            DateReading::Start,
            "2025-03-03T21:00:00Z",
            Tz::Europe__Moscow
        ));
        assert!(day("yesterday", Tz::UTC).is_none());
    }
}
