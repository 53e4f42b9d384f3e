//! The known key that is nearest to a wrong one. Pure.

use toml::{Table, Value};

/// All keys of a configuration, as dotted names.
pub(super) fn keys(template: &Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, value) in template {
        match value {
            Value::Table(section) if !section.is_empty() => {
                keys.extend(self::keys(section).into_iter().map(|key| format!("{name}.{key}")));
            }
            _ => keys.push(name.clone()),
        }
    }
    keys
}

/// The first key or section of a table that the template does not have, as a dotted name.
pub(super) fn unknown(table: &Table, template: &Table) -> Option<String> {
    table
        .iter()
        .find_map(|(name, value)| match (value, template.get(name)) {
            (_, None) => Some(name.clone()),
            // A table without keys accepts any key, such as `webhook.secrets`.
            (Value::Table(section), Some(Value::Table(known))) if !known.is_empty() => {
                unknown(section, known).map(|key| format!("{name}.{key}"))
            }
            _ => None,
        })
}

/// The name that is most similar to a wrong one.
pub(super) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = plain(wrong);
    let likeness = |name: &str| {
        let name = plain(name);
        // A known key in a wrong section, or without one, is a good match.
        let same_end =
            name.rsplit('_').next() == Some(wrong.as_str()) || name.ends_with(&format!("_{wrong}"));
        strsim::jaro_winkler(&wrong, &name).max(if same_end { 0.9 } else { 0.0 })
    };
    let by_likeness = names.into_iter().map(|name| (likeness(name), name));
    by_likeness
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, name)| name)
}

/// The words of a name in lower case, joined by underscores, whatever separated them.
fn plain(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("_").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_finds_the_nearest_known_one() {
        let names = [
            "timezone",
            "api.token",
            "api.token_file",
            "export.recordings",
            "export.lookback_days",
            "schedule.cron",
        ];
        for (wrong, right) in [
            ("EXPORT_RECORDINGS", "export.recordings"),
            ("api.tokn", "api.token"),
            ("lookback_days", "export.lookback_days"),
            ("time_zone", "timezone"),
            ("schedule.crom", "schedule.cron"),
            ("api.tokenfile", "api.token_file"),
        ] {
            assert_eq!(nearest(wrong, names), Some(right), "{wrong}");
        }
        assert_eq!(nearest("x", []), None);
    }
}
