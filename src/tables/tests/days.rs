//! The table of days: from manifests to rows, and back from the file.

use super::super::PrivacyPolicy;
use super::*;
use crate::lake::manifest::{Built, LessonSpan, Quality, TableEntry};

/// A manifest whose tables were built.
fn built() -> Manifest {
    let mut day = manifest();
    day.listed = true;
    day.listed_at = Some(at("21:00:00"));
    let table = |rows| TableEntry {
        key: "k".into(),
        rows,
        bytes: 1,
        sha256: "s".into(),
    };
    day.built = Some(Built {
        fingerprint: "f".into(),
        built_at: at("22:00:00"),
        mapping: "m".into(),
        program: "0.1".into(),
        tables: [("calls", table(3)), ("participants", table(7))]
            .map(|(name, table)| (name.to_owned(), table))
            .into(),
        meetings: BTreeMap::new(),
        meta: String::new(),
        beside: String::new(),
        lessons: LessonSpan::default(),
        unreported: BTreeMap::new(),
        quality: Quality::default(),
    });
    day
}

fn with(manifests: &[Manifest]) -> SpaceDays {
    let mut days = SpaceDays::default();
    for manifest in manifests {
        let row = DayRow::of(manifest, "Europe/Moscow", &PrivacyPolicy::default()).expect("a row");
        days.set(manifest.date, Some(row));
    }
    days
}

fn text(days: &SpaceDays) -> String {
    print(
        &days
            .file(&"s1".into(), &PrivacyPolicy::default())
            .expect("a file")
            .expect("rows"),
    )
}

#[test]
fn a_manifest_becomes_a_row() {
    let empty = Manifest::new("2026-11-20".parse().expect("date"), "s1");
    insta::assert_snapshot!("days", text(&with(&[built(), empty])));
}

#[test]
fn a_row_takes_little_memory() {
    let row = DayRow::of(&built(), "Europe/Moscow", &PrivacyPolicy::default()).expect("a row");
    assert!(row.size() < 8 << 10, "{} bytes", row.size());
}

#[test]
fn a_file_reads_back_as_it_was_written_and_a_row_can_be_replaced() {
    let mut later = built();
    later.date = "2026-11-23".parse().expect("date");
    let days = with(&[later.clone(), built()]);
    let file = days
        .file(&"s1".into(), &PrivacyPolicy::default())
        .expect("a file")
        .expect("rows");
    assert_eq!((file.key.as_str(), file.rows), ("days/s1.parquet", 2));
    let mut read = SpaceDays::read(file.bytes.clone()).expect("the table");
    assert_eq!(read, days);
    // The bytes do not depend on the file that the rows were read from.
    assert_eq!(
        read.file(&"s1".into(), &PrivacyPolicy::default())
            .expect("a file"),
        Some(file)
    );
    later.space_name = Some("Другая".into());
    read.set(
        later.date,
        Some(DayRow::of(&later, "Europe/Moscow", &PrivacyPolicy::default()).expect("a row")),
    );
    assert_eq!(read, with(&[built(), later.clone()]));
    assert_ne!(read, days);
    assert_ne!(
        read.get(later.date).map(DayRow::digest),
        days.get(later.date).map(DayRow::digest)
    );
    assert_eq!(
        read.get(built().date).map(DayRow::digest),
        days.get(built().date).map(DayRow::digest)
    );
    read.set(later.date, None);
    read.set(built().date, None);
    assert_eq!(
        read.file(&"s1".into(), &PrivacyPolicy::default())
            .expect("no fault"),
        None
    );
}

#[test]
fn bytes_of_another_kind_are_damage() {
    let calls = build(&report());
    let calls = file(&calls, "calls").bytes.clone();
    for bytes in [Bytes::from("PAR1"), Bytes::new(), calls] {
        assert!(SpaceDays::read(bytes).is_err());
    }
}

#[test]
fn a_day_is_complete_only_if_nothing_is_missing_and_the_tables_are_built() {
    let mut day = built();
    day.calls.clear();
    day.records.clear();
    let is_complete = |day: &Manifest| {
        let text = text(&with(std::slice::from_ref(day)));
        assert_eq!(
            text.contains("complete: true"),
            !text.contains("reason:"),
            "{text}"
        );
        text.contains("complete: true")
    };
    assert!(is_complete(&day));
    let changes: [fn(&mut Manifest); 7] = [
        |day| day.listed = false,
        |day| day.missed.space = true,
        |day| day.missed.partial = true,
        |day| day.missed.rooms = ["r1".into()].into(),
        |day| day.missed.gone = ["r1".into()].into(),
        |day| day.building = Some("id".into()),
        |day| day.records = manifest().records,
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut changed = day.clone();
        change(&mut changed);
        assert!(!is_complete(&changed), "change {at}");
    }
}
