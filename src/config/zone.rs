//! The time zone of the configuration: an IANA name, and a suggestion if it is none. Pure.

use chrono_tz::{TZ_VARIANTS, Tz};
use serde::{Deserialize, Deserializer, de::Error as _};

/// The suggestion for a text that gives no hint.
const EXAMPLE: &str = "Europe/Moscow";
/// Abbreviations that are no IANA names, and a zone that uses them.
const ABBREVIATIONS: [(&str, &str); 17] = [
    ("MSK", "Europe/Moscow"),
    ("MSD", "Europe/Moscow"),
    ("SAMT", "Europe/Samara"),
    ("YEKT", "Asia/Yekaterinburg"),
    ("OMST", "Asia/Omsk"),
    ("NOVT", "Asia/Novosibirsk"),
    ("KRAT", "Asia/Krasnoyarsk"),
    ("IRKT", "Asia/Irkutsk"),
    ("YAKT", "Asia/Yakutsk"),
    ("VLAT", "Asia/Vladivostok"),
    ("MAGT", "Asia/Magadan"),
    ("SAKT", "Asia/Sakhalin"),
    ("PETT", "Asia/Kamchatka"),
    ("ALMT", "Asia/Almaty"),
    ("CEST", "Europe/Berlin"),
    ("EEST", "Europe/Helsinki"),
    ("BST", "Europe/London"),
];

/// Reads a zone. The error suggests one that may be meant.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    parse_zone(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// The zone of an IANA name; the error is only the reason, and suggests a zone that may be meant.
pub(crate) fn parse_zone(text: &str) -> Result<Tz, String> {
    text.trim().parse().map_err(|_| {
        format!(
            "`{text}` is no IANA time zone: write one such as `{}`",
            meant(text.trim())
        )
    })
}

/// The zone that a text probably means.
fn meant(text: &str) -> &'static str {
    let abbreviated = ABBREVIATIONS
        .iter()
        .find(|(short, _)| short.eq_ignore_ascii_case(text));
    let written = text.replace(' ', "_");
    // The name in another case, or only its city.
    let named = |zone: &&Tz| {
        let city = zone.name().rsplit('/').next().unwrap_or_default();
        zone.name().eq_ignore_ascii_case(&written) || city.eq_ignore_ascii_case(&written)
    };
    abbreviated.map_or_else(
        || TZ_VARIANTS.iter().find(named).map_or(EXAMPLE, |zone| zone.name()),
        |(_, zone)| zone,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_zone_gives_a_suggestion() {
        for (text, zone) in [
            ("MSK", "Europe/Moscow"),
            ("yekt", "Asia/Yekaterinburg"),
            ("Omsk", "Asia/Omsk"),
            ("europe/moscow", "Europe/Moscow"),
            ("new york", "America/New_York"),
            ("UTC+3", "Europe/Moscow"),
            ("", "Europe/Moscow"),
        ] {
            assert_eq!(meant(text), zone, "{text}");
        }
        for (_, zone) in ABBREVIATIONS {
            zone.parse::<Tz>().expect(zone);
        }
    }
}
