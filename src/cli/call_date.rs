//! The part of `check` that says by which zone the API dates its calls, as far as recent calls tell.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;

use super::sample::wanted_rooms;
use crate::Result;
use crate::api::Client;
use crate::config::Config;
use crate::lake;

/// The number of rooms whose calls are requested.
const ROOMS: usize = 10;

/// A call as the API listed it: the date that was asked for, and the start of the call.
type ListedCall = (NaiveDate, DateTime<Utc>);

/// The meaning of the listed calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The calls fit `api.call_date`, or it is not set. The text says which zones they speak for.
    Good(String),
    /// The calls contradict `api.call_date`.
    Contradicted(String),
}

/// Lists the latest calls of a few rooms by three dates each.
///
/// # Errors
/// Any error of the API.
pub(super) async fn listed_calls(client: &Client, config: &Config) -> Result<Vec<ListedCall>> {
    let mut listed = Vec::new();
    let rooms = wanted_rooms(client, config).await?;
    let recent = rooms
        .iter()
        .filter_map(|(space, room)| Some((space, room, room.last_call_at?)));
    for (space, room, last) in recent.take(ROOMS) {
        let date = lake::date_of(last, Tz::UTC);
        for asked in [date - Days::new(1), date, date + Days::new(1)] {
            let calls = client.calls(space, &room.id, asked).await?.items;
            listed.extend(calls.iter().filter_map(|call| Some((asked, call.started_at?))));
        }
    }
    Ok(listed)
}

/// Judges which of some zones the calls speak for.
pub(super) fn judge(listed: &[ListedCall], declared: Option<Tz>, configured: Tz) -> Verdict {
    let fits = |zone: Tz| {
        listed
            .iter()
            .all(|(asked, start)| lake::date_of(*start, zone) == *asked)
    };
    let count = listed.len();
    if let Some(zone) = declared {
        return match (count, fits(zone)) {
            (0, _) => Verdict::Good(format!(
                "{zone} is declared; no recent call was found to test it with"
            )),
            (_, true) => Verdict::Good(format!("{zone} is declared, and {count} recent calls fit it")),
            (_, false) => Verdict::Contradicted(format!(
                "{zone} is declared, and recent calls contradict it: set api.call_date to \"\"{}",
                one_of(&fitting(fits, configured))
            )),
        };
    }
    if count == 0 {
        return Verdict::Good("no recent call was found: leave api.call_date empty".into());
    }
    let fitting = fitting(fits, configured);
    Verdict::Good(match fitting.as_slice() {
        [] => {
            "the API lists calls under other dates than that of their start: leave api.call_date empty".into()
        }
        [zone] => format!("{count} recent calls speak for api.call_date = \"{zone}\", which saves requests"),
        zones => format!(
            "{count} recent calls fit {} alike, because none is near midnight: leave api.call_date empty",
            zones.join(" and ")
        ),
    })
}

/// The names of the zones that come into question and that the calls fit.
fn fitting(fits: impl Fn(Tz) -> bool, configured: Tz) -> Vec<&'static str> {
    let zones = [Tz::UTC, Tz::Europe__Moscow, configured];
    let names: BTreeSet<_> = zones
        .into_iter()
        .filter(|zone| fits(*zone))
        .map(|zone| zone.name())
        .collect();
    names.into_iter().collect()
}

fn one_of(zones: &[&str]) -> String {
    match zones {
        [zone] => format!(", or to \"{zone}\", which they fit"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::samples::{at, date};

    fn calls(listed: &[(&str, &str)]) -> Vec<ListedCall> {
        listed
            .iter()
            .map(|(asked, start)| (date(asked), at(start)))
            .collect()
    }

    fn text(listed: &[(&str, &str)], declared: Option<Tz>) -> String {
        match judge(&calls(listed), declared, Tz::UTC) {
            Verdict::Good(text) => text,
            Verdict::Contradicted(text) => format!("WARN {text}"),
        }
    }

    #[test]
    fn calls_near_midnight_tell_the_zone() {
        let noon = ("2026-11-20", "2026-11-20T12:00:00Z");
        let late = ("2026-11-20", "2026-11-20T22:00:00Z");
        let next = ("2026-11-21", "2026-11-20T22:00:00Z");
        for (listed, declared, part) in [
            (vec![], None, "no recent call"),
            (vec![noon], None, "Europe/Moscow and UTC alike"),
            (vec![noon, late], None, "speak for api.call_date = \"UTC\""),
            (
                vec![noon, next],
                None,
                "speak for api.call_date = \"Europe/Moscow\"",
            ),
            (
                vec![late, next],
                None,
                "under other dates than that of their start",
            ),
            (vec![], Some(Tz::UTC), "no recent call"),
            (vec![noon, late], Some(Tz::UTC), "2 recent calls fit it"),
            (
                vec![noon, next],
                Some(Tz::UTC),
                "WARN UTC is declared, and recent calls contradict it",
            ),
            (vec![noon, next], Some(Tz::UTC), "or to \"Europe/Moscow\""),
        ] {
            let text = text(&listed, declared);
            assert!(text.contains(part), "{text}");
        }
    }
}
