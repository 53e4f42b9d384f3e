//! Reads the pause that a server asks for (`Retry-After`). Pure; `problem` puts it into the error.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

/// The longest pause that `Retry-After` can ask for, seconds: over a century.
const ENDLESS: f64 = 4e9;

/// Reads `Retry-After`: seconds or a date. A date is compared with the answer's own `Date` if there is one, because the
/// clocks of server and client differ.
pub(super) fn read(value: &str, date: Option<&str>, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let asked = if let Ok(seconds) = value.parse::<f64>() {
        if !seconds.is_finite() || seconds < 0.0 {
            return None;
        }
        Duration::from_secs_f64(seconds.min(ENDLESS))
    } else {
        let now = date.and_then(http_date).unwrap_or(now);
        // A date in the past asks for no pause.
        (http_date(value)? - now).to_std().unwrap_or_default()
    };
    Some(asked)
}

/// Parses an HTTP date in its three forms (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(date.to_utc());
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|naive| naive.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn retry_after_never_panics(value in ".*", date in proptest::option::of(".*")) {
            let _ = super::read(&value, date.as_deref(), DateTime::UNIX_EPOCH);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let read = |value| super::read(value, None, now).map(|pause| pause.as_millis());
        assert_eq!(
            (read("120"), read(" 0 "), read("1.5"), read("86400")),
            (Some(120_000), Some(0), Some(1500), Some(86_400_000))
        );
        for date in [
            "Sun, 06 Nov 1994 08:50:07 GMT",
            "Sunday, 06-Nov-94 08:50:07 GMT",
            "Sun Nov  6 08:50:07 1994",
        ] {
            assert_eq!(read(date), Some(30_000), "{date}");
        }
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(read("Mon, 07 Nov 1994 08:00:00 GMT"), Some(83_423_000));
        assert_eq!(read("1e99"), Some(4_000_000_000_000));
        for nonsense in ["", "soon", "-1", "NaN", "inf", "1e999"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_retry_date_is_compared_with_the_servers_clock() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let pause = super::read("Sun, 06 Nov 1994 08:49:47 GMT", date, Utc::now());
        assert_eq!(pause, Some(Duration::from_secs(10)));
    }
}
