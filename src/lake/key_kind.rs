//! The kind of an object, by the form of its key alone. Pure.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use crate::lake::key;
use crate::lake::table::{TableScope, builtin};

/// The kind of an object. `space` is a segment of the key, not the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind<'k> {
    /// An object of a day: the file of a table, a report or a recording.
    OfDay { date: NaiveDate, space: &'k str },
    /// A file of a lesson data table; there is one for each date.
    MetaTable(NaiveDate),
    /// A file of the tables `rooms` or `spaces`.
    CatalogTable,
    /// Lesson data as received.
    RawMeta,
    /// A day's manifest.
    Manifest { date: NaiveDate, space: &'k str },
    /// The marker of an open day.
    Marker { date: NaiveDate, space: &'k str },
    /// Another object of the program's own.
    State,
    /// A data file, a commit or a checkpoint of a Delta table.
    Delta,
    /// An object that a check of the store writes and removes.
    Probe,
    /// An object in a folder of the lake whose key has none of the forms that belong there.
    Stray,
    /// An object outside the lake's folders.
    Unknown,
}

/// The program's own objects besides manifests and markers: all that may exist below `_telelake/`.
const STATE: [&str; 26] = [
    key::STORE_INFO,
    key::DELIVERIES,
    key::RUNS,
    key::RUN_LOGS,
    key::PAUSED,
    key::RETENTION,
    key::SPACES,
    key::ROOM_CATALOGS,
    key::GONE_ROOMS,
    key::LESSON_DAYS,
    key::META_INDEX,
    key::META_CHANGED,
    key::MEETING_DAYS,
    key::MEETING_MONTHS,
    key::META_FEEDS,
    key::SET_ASIDE,
    key::ATTEMPTS,
    key::ERASURES,
    key::INDEX,
    key::SHARDS,
    key::REQUESTS,
    // Unfinished uploads, leases, and the objects of the daemon.
    "_telelake/uploads/",
    "_telelake/leases/",
    "_telelake/events/",
    "_telelake/queue/",
    "_telelake/relay/",
];

impl<'k> KeyKind<'k> {
    /// The kind of a key; `tables` holds the names of all tables.
    pub fn of(key: &'k str, tables: &BTreeSet<String>) -> Self {
        if let Some(rest) = key.strip_prefix(key::DAYS) {
            return match dated(rest).and_then(|(date, name)| Some((date, name.strip_suffix(".json")?))) {
                Some((date, space)) if one(space) => Self::Manifest { date, space },
                _ => Self::Stray,
            };
        }
        if let Some(rest) = key.strip_prefix(key::OPEN_DAYS) {
            return match dated(rest) {
                Some((date, space)) if one(space) => Self::Marker { date, space },
                _ => Self::Stray,
            };
        }
        if key.starts_with(key::PROBE) {
            return Self::Probe;
        }
        // A lake that was copied from a folder store may contain them.
        if key == "_telelake/lock" || key.starts_with("_telelake/tmp/") {
            return Self::State;
        }
        if key.starts_with(key::STATE) {
            let known = STATE.iter().any(|known| match known.ends_with('/') {
                true => key.strip_prefix(known).is_some_and(plain),
                false => key == *known,
            });
            return if known { Self::State } else { Self::Stray };
        }
        let (top, rest) = key.split_once('/').unwrap_or((key, ""));
        match top {
            "raw" => Self::raw(rest),
            "delta" => Self::delta(rest),
            "media" => Self::recording(rest),
            _ if tables.contains(top) => Self::table(top, rest),
            _ => Self::Unknown,
        }
    }

    /// A file of a table; one that is not built in has a file for each day.
    fn table(table: &str, rest: &'k str) -> Self {
        let file = || {
            let (date, name) = dated(rest)?;
            Some((date, name.strip_suffix(".parquet")?))
        };
        let scope = builtin::get(table).map_or(TableScope::PerDay, |table| table.scope);
        match (scope, file()) {
            (TableScope::PerDay, Some((date, space))) if one(space) => Self::OfDay { date, space },
            (TableScope::PerDate, Some((date, name))) if name == table => Self::MetaTable(date),
            (TableScope::PerSpace | TableScope::Single, _) if one(rest) && rest.ends_with(".parquet") => {
                Self::CatalogTable
            }
            _ => Self::Stray,
        }
    }

    /// An object of a Delta table. The table may be one that the mapping no longer has.
    fn delta(rest: &'k str) -> Self {
        let is_number = |text: &str| text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_known = |name: &str| {
            if let Some(name) = name.strip_prefix("_delta_log/") {
                let number = name
                    .strip_suffix(".checkpoint.parquet")
                    .or(name.strip_suffix(".json"));
                return name == "_last_checkpoint" || number.is_some_and(is_number);
            }
            let file = dated(name).map_or(name, |(_, file)| file);
            one(file) && file.ends_with(".parquet")
        };
        match rest.split_once('/') {
            Some((table, name)) if plain(table) && is_known(name) => Self::Delta,
            _ => Self::Stray,
        }
    }

    fn raw(rest: &'k str) -> Self {
        if let Some(rest) = rest.strip_prefix("meta/") {
            return match dated(rest) {
                Some((_, name)) if one(name) && name.ends_with(".jsonl") => Self::RawMeta,
                _ => Self::Stray,
            };
        }
        let report = rest.strip_prefix("reports/").and_then(dated);
        match report.and_then(|(date, rest)| Some((date, rest.split_once('/')?))) {
            Some((date, (space, name)))
                if one(name) && (name.ends_with(".json") || name.ends_with(".xlsx")) =>
            {
                Self::OfDay { date, space }
            }
            _ => Self::Stray,
        }
    }

    fn recording(rest: &'k str) -> Self {
        match dated(rest).map(|(date, rest)| (date, rest.split('/').collect::<Vec<_>>())) {
            Some((date, parts)) if parts.len() == 3 && rest.ends_with(".mp4") => Self::OfDay {
                date,
                space: parts[0],
            },
            _ => Self::Stray,
        }
    }
}

/// Splits a `date=…/` segment from what follows it.
fn dated(rest: &str) -> Option<(NaiveDate, &str)> {
    let (date, rest) = rest.strip_prefix("date=")?.split_once('/')?;
    Some((date.parse().ok()?, rest))
}

/// True for exactly one segment.
fn one(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

/// True if the program may have given the name: names that begin with a dot come from file managers.
fn plain(rest: &str) -> bool {
    !rest.is_empty() && !rest.split('/').any(|part| part.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ReportFormat;

    fn place(key: &str) -> KeyKind<'_> {
        let tables = builtin::all().iter().map(|table| table.name.to_string());
        KeyKind::of(key, &tables.collect())
    }

    #[test]
    fn every_key_of_the_lake_has_its_kind() {
        let date: NaiveDate = "2026-11-22".parse().expect("a date");
        let (space, seg) = ("sp/ace", key::segment("sp/ace"));
        let of_day = KeyKind::OfDay { date, space: &seg };
        for key in [
            key::table("participants", date, &space.into()),
            key::table("recordings", date, &space.into()),
            key::table("coverage", date, &space.into()),
            key::report(date, &space.into(), &"call".into(), ReportFormat::Json),
            key::report(date, &space.into(), &"call".into(), ReportFormat::Xlsx),
            key::recording(
                date,
                &space.into(),
                &"room".into(),
                Some(&"call".into()),
                &"record".into(),
            ),
            key::recording(date, &space.into(), &"room".into(), None, &"record".into()),
        ] {
            assert_eq!(place(&key), of_day, "{key}");
        }
        let manifest = key::manifest(date, &space.into());
        assert_eq!(place(&manifest), KeyKind::Manifest { date, space: &seg });
        let marker = key::open_day(date, &space.into());
        assert_eq!(place(&marker), KeyKind::Marker { date, space: &seg });
        for key in [key::rooms(&space.into()), key::days(&space.into()), key::spaces()] {
            assert_eq!(place(&key), KeyKind::CatalogTable, "{key}");
        }
        let user_meta = key::date_table(builtin::user_meta::NAME, date);
        assert_eq!(place(&user_meta), KeyKind::MetaTable(date));
        assert_eq!(place(&key::raw_meta(date, "20261122T1-ab")), KeyKind::RawMeta);
        for key in [
            key::STORE_INFO.to_owned(),
            key::SPACES.to_owned(),
            key::META_FEEDS.to_owned(),
            key::RETENTION.to_owned(),
            key::room_catalog(&space.into()),
            key::gone_rooms(&space.into()),
            key::run("20261122T020000Z-1a2b3c"),
            key::lesson_day(date),
            key::meta_index("meeting"),
            key::meta_changed("import"),
            key::meeting_days(date),
            key::day_index(2026),
            key::id_index(date),
            key::table_index(2026),
            key::shard("backfill/1", 3),
            key::ended_shards("backfill/1"),
            key::shared_list("backfill/1", date, &space.into()),
            key::requests(date),
            key::set_aside("calls/date=2026-11-22/s.parquet", "20261122T020000Z"),
        ] {
            assert_eq!(place(&key), KeyKind::State, "{key}");
        }
    }

    #[test]
    fn keys_of_no_known_form_are_strays_and_keys_elsewhere_are_unknown() {
        for key in [
            "calls/date=2026-11-22/a/b.parquet",
            "calls/date=2026-11-22/a.csv",
            "calls/readme.txt",
            "user_meta/date=2026-11-22/other.parquet",
            "recordings/date=2026-11-22/s/r/c_r.mp4",
            "media/lesson.mp4",
            "media/date=2026-13-22/s/r/c_r.mp4",
            "media/date=2026-11-22/s/r/c_r.txt",
            "raw/notes.txt",
            "delta/calls/notes.txt",
            "delta/calls/_delta_log/1.json",
            "delta/calls/_delta_log/00000000000000000001.crc",
            "delta/calls/date=2026-11-22/a/b.parquet",
            "delta/x.parquet",
            "raw/reports/date=2026-11-22/s/c.html",
            "_telelake/days/date=2026-11-22/s.json.bak",
            "_telelake/runs/.DS_Store",
            "_telelake/something",
        ] {
            assert_eq!(place(key), KeyKind::Stray, "{key}");
        }
        for key in ["notes.txt", "other/calls/date=2026-11-22/s.parquet", "Calls/x"] {
            assert_eq!(place(key), KeyKind::Unknown, "{key}");
        }
        assert_eq!(place("_telelake/probe/0123"), KeyKind::Probe);
        for key in [
            "delta/calls/_delta_log/_last_checkpoint",
            "delta/calls/_delta_log/00000000000000000010.json",
            "delta/a_table_of_old/_delta_log/00000000000000000010.checkpoint.parquet",
            "delta/calls/date=2026-11-22/s-20261122T020000Z-01234567.parquet",
            "delta/rooms/s-20261122T020000Z-01234567.parquet",
        ] {
            assert_eq!(place(key), KeyKind::Delta, "{key}");
        }
    }
}
