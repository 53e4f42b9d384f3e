//! The part of a summary about requests: their numbers, the API's rate limiter, and requests that were not sent.

use super::{Problem, ProblemKind, Summary};
use crate::api::{Client, Limited, Refused};

impl Summary {
    /// Takes over the client's counts. Requests that were not sent become one failure for each space and room.
    pub(crate) fn take_requests(&mut self, client: &Client) {
        let stats = client.stats();
        self.counts.requests = stats.requests;
        self.counts.retries = stats.retries;
        for refused in client.refused() {
            self.fail(not_sent(&refused));
        }
        if let Some(limited) = client.limited() {
            self.report_limit(&limited);
        }
    }

    /// Reports the refusals of the API's rate limiter, and the rate to configure.
    fn report_limit(&mut self, limited: &Limited) {
        if limited.refused > 0 {
            self.warn(Problem::new(
                ProblemKind::RateLimited,
                refused_as_too_many(limited),
            ));
        }
        if limited.unsent > 0 {
            let message = format!(
                "{} requests were not sent because the API refused all before them; the next run sends them",
                limited.unsent
            );
            self.fail(Problem::new(ProblemKind::RateLimited, message));
        }
    }
}

/// The message about a rate limiter, with the setting that avoids it.
fn refused_as_too_many(limited: &Limited) -> String {
    let refused = limited.refused;
    let times = if refused == 1 {
        "once"
    } else {
        &format!("{refused} times")
    };
    let told = format!("the API said {times} that there are too many requests, and all requests waited");
    match limited.rate.map(rounded) {
        Some(rate) => format!(
            "{told}; it answered about {rate} a second: set api.requests_per_second = {rate}, so that runs need not find the limit"
        ),
        None => format!("{told}; set api.requests_per_second to a rate that the API allows"),
    }
}

/// Rounds a rate down to a number that a person would write, but never to 0.
fn rounded(rate: f64) -> f64 {
    let unit = if rate < 10.0 { 100.0 } else { 1.0 };
    ((rate * unit).floor() / unit).max(0.01)
}

/// The failure for requests that were not sent.
fn not_sent(refused: &Refused) -> Problem {
    let (count, reason) = (refused.count, &refused.reason);
    let (kind, what) = match (&refused.room, refused.downloads) {
        (Some(_), _) => (ProblemKind::RoomSkipped, "requests of the room"),
        (None, false) => (ProblemKind::SpaceSkipped, "requests of the space"),
        (None, true) => (
            ProblemKind::DownloadsSkipped,
            "downloads of the space's recordings",
        ),
    };
    let message = format!(
        "{count} {what} were not sent because the ones before them had kept failing ({reason}); the next run sends them"
    );
    let problem = Problem::new(kind, message).space(&refused.space);
    match &refused.room {
        Some(room) => problem.room(room),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_rounded_down_and_is_never_zero() {
        for (rate, rounded_rate) in [(12.9, 12.0), (9.876, 9.87), (0.001, 0.01)] {
            assert!((rounded(rate) - rounded_rate).abs() < 1e-9, "{rate}");
        }
    }

    #[test]
    fn requests_that_were_not_sent_name_the_room_the_space_or_the_downloads() {
        let refused = |room: Option<&str>, downloads| {
            let refused = Refused {
                space: "s".into(),
                room: room.map(Into::into),
                downloads,
                count: 3,
                reason: "503".into(),
            };
            not_sent(&refused)
        };
        assert_eq!(refused(Some("r"), false).kind, ProblemKind::RoomSkipped);
        assert_eq!(refused(None, false).kind, ProblemKind::SpaceSkipped);
        assert_eq!(refused(None, true).kind, ProblemKind::DownloadsSkipped);
        let message = refused(Some("r"), false).one_line();
        assert!(message.starts_with("room r: 3 requests of the room"), "{message}");
    }
}
