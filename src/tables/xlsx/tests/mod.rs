//! Workbooks of every kind: made, broken, hostile.

use std::io::{Cursor, Write as _};

use bytes::Bytes;
use proptest::prelude::*;
use rust_xlsxwriter::{ExcelDateTime, Format, Formula, Workbook as Writer, Worksheet};
use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

mod language;
mod odd;
mod privacy;
mod texts;

use super::*;
use crate::config::ReportFormat;
use crate::lake::manifest::{Manifest, Status};
use crate::tables::build_notes::{Observation, total};
use crate::tables::tests::{at, column, file, landing, manifest, mapping, print, report};
use crate::tables::{BuiltDay, Mapping, build_day, due_reports};

const PEOPLE: [&str; 8] = [
    "Имя",
    "Роль",
    "E-mail",
    "Телефон",
    "ID пользователя",
    "ID встречи",
    "Вход",
    "Выход",
];

/// A sheet's name and what fills it.
type Sheet<'s> = (&'s str, &'s dyn Fn(&mut Worksheet));

fn book<const N: usize>(sheets: [Sheet<'_>; N]) -> Vec<u8> {
    let mut book = Writer::new();
    for (name, fill) in sheets {
        let sheet = book.add_worksheet();
        fill(sheet.set_name(name).expect("name"));
    }
    book.save_to_buffer().expect("workbook")
}

fn header(sheet: &mut Worksheet, row: u32, headers: &[&str]) {
    for (column, header) in (0..).zip(headers) {
        sheet.write(row, column, *header).expect("header");
    }
}

fn date(sheet: &mut Worksheet, row: u32, column: u16, time: &str) {
    let at = ExcelDateTime::parse_from_str(&format!("2026-11-22 {time}")).expect("date");
    let format = Format::new().set_num_format("dd.mm.yyyy hh:mm:ss");
    sheet
        .write_datetime_with_format(row, column, &at, &format)
        .expect("date");
}

/// A call with a workbook and, or else without, its JSON.
fn day(json: bool) -> Manifest {
    let mut day = manifest();
    let reports = &mut day.calls.get_mut("c2").expect("call").reports;
    reports.insert(
        ReportFormat::Xlsx,
        landing(Status::Done, Some("raw/reports/c.xlsx"), None),
    );
    if !json {
        reports.insert(ReportFormat::Json, landing(Status::Failed, None, Some("html")));
    }
    day
}

fn build(json: Option<&serde_json::Value>, xlsx: &[u8]) -> BuiltDay {
    build_with(&mapping(), json, xlsx)
}

fn build_with(mapping: &Mapping, json: Option<&serde_json::Value>, xlsx: &[u8]) -> BuiltDay {
    let day = day(json.is_some());
    let due: Vec<_> = due_reports(&day)
        .into_iter()
        .map(|(call, format, _)| (call, format))
        .collect();
    let mut reports: Vec<crate::Result<(crate::ids::CallId, _, _)>> = Vec::new();
    if let Some(json) = json {
        reports.push(Ok((
            "c2".into(),
            ReportFormat::Json,
            Bytes::from(json.to_string()),
        )));
    }
    reports.push(Ok((
        "c2".into(),
        ReportFormat::Xlsx,
        Bytes::copy_from_slice(xlsx),
    )));
    let given = reports
        .iter()
        .flatten()
        .map(|(call, format, _)| (call.as_str(), *format));
    assert_eq!(given.collect::<Vec<_>>(), due);
    build_day(
        &day,
        mapping,
        "file:///lake/",
        at("23:00:00"),
        &crate::tables::lessons::LessonIndex::default(),
        reports,
    )
    .expect("a day")
}

/// A participant with two stays and one with a single stay, below titles and a merged cell; a chat; an unknown sheet.
fn usual() -> Vec<u8> {
    book([
        ("участники ", &|sheet| {
            let bold = Format::new().set_bold();
            sheet
                .merge_range(0, 0, 0, 5, "Отчёт: Алгебра", &bold)
                .expect("merged");
            sheet.write(1, 0, "Период: 22.11.2026").expect("title");
            let mut headers = PEOPLE.to_vec();
            headers.extend(["Устройство", "Балл", "Эфир"]);
            headers[0] = " И М Я ";
            header(sheet, 4, &headers);
            header(sheet, 5, &["Анна", "Модератор", "a@example.org", "", "17", "m1"]);
            sheet.write(5, 4, 17).expect("a number for an id");
            date(sheet, 5, 6, "10:00:00");
            date(sheet, 5, 7, "10:10:30");
            sheet.write(5, 8, "phone").expect("device");
            sheet
                .write_formula(5, 9, Formula::new("=1+1").set_result("2.5"))
                .expect("formula");
            let span = Format::new().set_num_format("[h]:mm:ss");
            sheet.write_with_format(5, 10, 1.5, &span).expect("span");
            header(sheet, 8, &["Анна", "", "", "+7900", "17"]);
            date(sheet, 8, 6, "10:05:00");
            date(sheet, 8, 7, "10:20:00");
            sheet
                .write_formula(8, 9, Formula::new("=1/0").set_result("#DIV/0!"))
                .expect("error");
            header(
                sheet,
                9,
                &["Гость", "Чужой", "", "", "", "", "2026-11-22 10:30", "вечером"],
            );
            header(sheet, 10, &["Гость", "", "", "", "", "", "2026-11-22 10:40"]);
        }),
        ("Чат", &|sheet| {
            header(sheet, 0, &["Время", "Имя", "Сообщение"]);
            header(sheet, 1, &["2026-11-22 10:01:00", "Анна", "привет"]);
            header(sheet, 2, &["2026-11-22 10:02:00", "Никто", "это кто?"]);
        }),
        ("Прочее", &|sheet| {
            sheet.write(2, 1, true).expect("truth");
            sheet.write(2, 27, 1.25).expect("number");
        }),
        ("Пусто", &|_| {}),
    ])
}

#[test]
fn a_workbook_alone_feeds_the_tables() {
    let built = build(None, &usual());
    let names = ["messages", "participants", "report_rows"];
    insta::assert_snapshot!(names.map(|name| print(file(&built, name))).join("\n"));
    insta::assert_debug_snapshot!("notes", built.notes);
}

#[test]
fn with_json_the_workbook_is_compared() {
    let built = build(Some(&report()), &usual());
    assert_eq!(file(&built, "participants").rows, 4, "as JSON says");
    assert_eq!(file(&built, "report_rows").rows, 7);
    // The JSON has Борис, who is not in the workbook; its two guests look like one there.
    assert_eq!(built.notes.differing_participants, [("c2".to_owned(), 3, 2)]);
    let same = json!({"participants": [{"name": "Анна", "externalUserId": 17}, {"id": "5", "name": "Гость"},
        {"id": "6", "name": "Гость"}, {"name": "Не пришёл", "sessions": []}]});
    assert_eq!(build(Some(&same), &usual()).notes.differing_participants, []);
    let other = json!({"participants": [{"id": "1", "name": "Анна", "sessions": [{"joinedAt": "2026-11-22 10:00"}]}]});
    let built = build(Some(&other), &usual());
    assert_eq!(built.notes.differing_participants, [("c2".to_owned(), 1, 2)]);
}

#[test]
fn unreadable_json_leaves_the_tables_to_the_workbook() {
    let reports = [
        Ok(("c2".into(), ReportFormat::Json, Bytes::from("<html>"))),
        Ok(("c2".into(), ReportFormat::Xlsx, usual().into())),
    ];
    let built = build_day(
        &day(true),
        &mapping(),
        "file:///lake/",
        at("23:00:00"),
        &crate::tables::lessons::LessonIndex::default(),
        reports,
    )
    .expect("a day");
    assert_eq!(built.notes.unreadable, ["c2"]);
    assert_eq!(file(&built, "participants").rows, 2);
}

#[test]
fn cells_merged_over_rows_apply_to_all_of_them() {
    let merged = book([("Participants", &|sheet| {
        header(sheet, 0, &["Name", "Email", "Joined", "Left"]);
        let plain = Format::new();
        sheet.merge_range(1, 0, 3, 0, "Ann", &plain).expect("merged");
        sheet
            .merge_range(1, 1, 3, 1, "a@example.org", &plain)
            .expect("merged");
        for (row, time) in [(1, "10:00:00"), (2, "10:20:00"), (3, "10:40:00")] {
            date(sheet, row, 2, time);
        }
        header(sheet, 4, &["Bob"]);
        date(sheet, 4, 2, "10:00:00");
    })]);
    let built = build(None, &merged);
    let participants = file(&built, "participants");
    assert_eq!(column(participants, "name"), ["Ann", "Bob"]);
    assert_eq!(column(participants, "sessions_count"), ["3", "1"]);
    assert_eq!(column(participants, "last_left_at"), ["2026-11-22T11:00:00Z"; 2]);
}

#[test]
fn sheets_without_a_known_header_feed_no_table_and_are_reported() {
    let strange = book([
        ("Участники", &|sheet| {
            header(sheet, 0, &["Кто", "Где", "Имя"])
        }),
        ("Чат", &|_| {}),
    ]);
    let built = build(None, &strange);
    assert_eq!(total(built.notes.observed.get(&Observation::HeadlessSheets)), 1);
    assert_eq!(
        column(file(&built, "report_rows"), "cells"),
        ["{A: Кто, B: Где, C: Имя}"]
    );
    assert!(!built.tables.iter().any(|table| table.table == "participants"));
}

#[test]
fn thousands_of_columns_and_rows_out_of_the_window_are_read() {
    let wide = book([("Участники", &|sheet| {
        for column in 0..9000 {
            sheet.write(60, column, format!("h{column}")).expect("cell");
            sheet.write(61, column, column).expect("cell");
        }
        header(sheet, 3, &PEOPLE);
        header(sheet, 1_048_575, &["Анна"]);
    })]);
    let built = build(None, &wide);
    assert_eq!(
        column(file(&built, "report_rows"), "row_number"),
        ["61", "62", "1048576"]
    );
    assert_eq!(
        inspect_workbook(&wide, &mapping()).map(|book| book.empty),
        Ok(false)
    );
}

#[test]
fn a_workbook_is_inspected() {
    let look = |bytes: &[u8]| inspect_workbook(bytes, &mapping()).map(|it| (it.empty, it.participants));
    let of = |empty, participants| Ok((empty, participants));
    assert_eq!(look(&usual()), of(false, Some(2)));
    assert_eq!(look(&book([("Sheet1", &|_| {})])), of(true, None));
    let nobody = book([("Участники", &|sheet| header(sheet, 2, &PEOPLE))]);
    assert_eq!(look(&nobody), of(false, Some(0)));
    assert_eq!(look(b""), Err(Refusal::NotAWorkbook));
    assert_eq!(look(b"<html>"), Err(Refusal::Html));
    assert_eq!(look(b"PK\x03\x04"), Err(Refusal::Damaged));
    let usual = usual();
    assert_eq!(look(&usual[..usual.len() / 2]), Err(Refusal::Damaged));
    assert_eq!(look(&archive(&[("a.txt", b"hello")])), Err(Refusal::NotAWorkbook));
}

/// An archive of parts, packed.
fn archive(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let packed = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in parts {
        archive.start_file(*name, packed).expect("part");
        archive.write_all(bytes).expect("bytes");
    }
    archive.finish().expect("archive").into_inner()
}

/// The usual workbook with one part put for another.
fn with_part(name: &str, bytes: &[u8]) -> Vec<u8> {
    with_part_of(&usual(), name, bytes)
}

fn with_part_of(book: &[u8], name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut from = ZipArchive::new(Cursor::new(book)).expect("archive");
    let mut parts = Vec::new();
    for at in 0..from.len() {
        let mut part = from.by_index(at).expect("part");
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut part, &mut text).expect("bytes");
        parts.push((part.name().expect("name").into_owned(), text));
    }
    parts.retain(|(of, _)| of != name);
    parts.push((name.to_owned(), bytes.to_vec()));
    let parts: Vec<_> = parts
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    archive(&parts)
}

const SHEET: &str = "xl/worksheets/sheet1.xml";

fn sheet_of(data: &str) -> Vec<u8> {
    with_part(
        SHEET,
        format!("<worksheet><sheetData>{data}</sheetData></worksheet>").as_bytes(),
    )
}

#[test]
fn bombs_and_lies_are_refused() {
    let look = |bytes: &[u8]| inspect_workbook(bytes, &mapping()).expect_err("a refusal");
    assert_eq!(
        look(&with_part("xl/zeros.bin", &vec![0; 20 << 20])),
        Refusal::TooLarge
    );
    assert_eq!(look(&with_part(SHEET, &vec![b' '; 8 << 20])), Refusal::TooMuch);
    // The same, with a header that says that there is next to nothing.
    let lie = |name: &str| {
        let mut liar = with_part(name, &vec![b' '; 20 << 20]);
        let size = (20_u32 << 20).to_le_bytes();
        for at in 0..liar.len() - 4 {
            if liar[at..at + 4] == size {
                liar[at..at + 4].copy_from_slice(&7_u32.to_le_bytes());
            }
        }
        liar
    };
    assert_eq!(look(&lie(SHEET)), Refusal::Damaged);
    // No more than seven bytes of it are unpacked, and nobody reads them.
    let unread = inspect_workbook(&lie("xl/spaces.bin"), &mapping());
    assert_eq!(unread, inspect_workbook(&usual(), &mapping()));
    let sheets = format!("<workbook>{}</workbook>", "<sheet name='a'/>".repeat(300));
    assert_eq!(
        look(&with_part("xl/workbook.xml", sheets.as_bytes())),
        Refusal::TooMuch
    );
    // A string of a mebibyte in very many cells.
    let string = format!("<sst><si><t>{}</t></si></sst>", "я".repeat(500_000));
    let cells = "<row><c t='s'><v>0</v></c></row>".repeat(1000);
    let row_bomb = format!("<worksheet><sheetData>{cells}</sheetData></worksheet>");
    let mut both = ZipWriter::new(Cursor::new(Vec::new()));
    let usual = with_part("xl/sharedStrings.xml", string.as_bytes());
    let mut from = ZipArchive::new(Cursor::new(&usual)).expect("archive");
    for at in 0..from.len() {
        let part = from.by_index_raw(at).expect("part");
        if part.name().expect("name") != SHEET {
            both.raw_copy_file(part).expect("copy");
        }
    }
    both.start_file(SHEET, SimpleFileOptions::default())
        .expect("part");
    both.write_all(row_bomb.as_bytes()).expect("bytes");
    let both = both.finish().expect("archive").into_inner();
    assert_eq!(look(&both), Refusal::TooMuch);
}

#[test]
fn a_sheet_that_no_program_writes_is_refused_or_read_without_its_bad_cells() {
    let look = |data: &str| inspect_workbook(&sheet_of(data), &mapping()).map(|book| book.empty);
    let row = |cell: &str| format!("<row r='1'>{cell}<c r='B1'><v>1</v></c></row>");
    // A cell's own fault costs that cell.
    for cell in [
        "<c r='A1' t='s'><v>999999</v></c>",
        "<c r='A1' t='e'><v>#SPILL!</v></c>",
        "<c r='A1' t='n'><v>many</v></c>",
        "<c r='A1' t='new'><v>1</v></c>",
    ] {
        let built = build(None, &sheet_of(&row(cell)));
        let cells = column(file(&built, "report_rows"), "cells");
        assert!(cells.contains(&"{B: 1}".to_owned()), "{cell} {cells:?}");
        assert_eq!(total(built.notes.bad.get("report_rows.cells")), 1, "{cell}");
    }
    for (data, why) in [
        (
            "<row r='2'><c r='A2'><v>1</v></c></row><row r='1'><c r='A1'><v>1</v></c></row>",
            Refusal::Damaged,
        ),
        ("<row r='1'><c r='XFE1'><v>1</v></c></row>", Refusal::TooMuch),
        ("<row r='1'><c r='A1048577'><v>1</v></c></row>", Refusal::TooMuch),
        ("<row r='1'><c r='A1'><v>1", Refusal::Damaged),
    ] {
        assert_eq!(look(data), Err(why), "{data}");
    }
    // Numbers too long for the parser's own arithmetic make it panic in a debug build.
    assert!(look("<row r='1'><c r='A99999999999999999999'><v>1</v></c></row>").is_err());
}

#[test]
fn both_of_excels_calendars_give_the_same_dates() {
    let sheet = |serial: f64| {
        let data = format!("<row r='1'><c r='A1' s='1'><v>{serial}</v></c></row>");
        format!("<worksheet><sheetData>{data}</sheetData></worksheet>")
    };
    let dates = |calendar: &str, serial: f64| {
        let book = format!(
            "<workbook><workbookPr {calendar}/><sheets><sheet name='S' r:id='r1'/></sheets></workbook>"
        );
        let parts: [(&str, &str); 5] = [
            (
                "_rels/.rels",
                "<Relationships><Relationship Type='x/relationships/officeDocument' Target='xl/workbook.xml'/></Relationships>",
            ),
            (
                "xl/_rels/workbook.xml.rels",
                "<Relationships><Relationship Id='r1' Type='x/worksheet' Target='worksheets/sheet1.xml'/></Relationships>",
            ),
            ("xl/workbook.xml", &book),
            (
                "xl/styles.xml",
                "<styleSheet><cellXfs><xf numFmtId='0'/><xf numFmtId='22' applyNumberFormat='1'/></cellXfs></styleSheet>",
            ),
            (SHEET, &sheet(serial)),
        ];
        let parts = parts.map(|(name, text)| (name, text.as_bytes()));
        column(file(&build(None, &archive(&parts)), "report_rows"), "cells")
    };
    assert_eq!(dates("", 46_348.437_5), ["{A: 2026-11-22T10:30:00Z}"]);
    assert_eq!(
        dates("date1904='1'", 46_348.437_5 - 1462.0),
        ["{A: 2026-11-22T10:30:00Z}"]
    );
    assert_eq!(dates("", 0.25), ["{A: 06:00:00}"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), zip in any::<bool>()) {
        if zip {
            bytes.splice(0..0, *b"PK\x03\x04");
        }
        let _ = inspect_workbook(&bytes, &mapping());
    }

    #[test]
    fn a_workbook_with_any_bytes_changed_or_cut_is_read_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        end in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = usual();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        let _ = inspect_workbook(&bytes, &mapping());
    }

    /// Behind the checksums: the parts themselves are anything.
    #[test]
    fn any_parts_are_read_or_refused(
        part in prop::sample::select(vec![
            SHEET, "xl/sharedStrings.xml", "xl/styles.xml", "xl/workbook.xml", "_rels/.rels", "xl/_rels/workbook.xml.rels",
        ]),
        tags in proptest::collection::vec(prop::sample::select(vec![
            "<worksheet>", "<sheetData>", "</sheetData>", "<row r='1'>", "<row>", "</row>", "<c r='A1'>", "<c r='ZZZZZZZZ1'>",
            "<c t='s'>", "<c t='e'>", "<c t='d' s='1'>", "<c s='999999'>", "</c>", "<v>", "</v>", "1", "-1e308", "99999999999999999999",
            "<is>", "<t>", "</t>", "</is>", "<f t='shared' si='99999999999'>", "</f>", "&amp;", "&#0;", "&x;", "<![CDATA[", "]]>",
            "<!--", "-->", "<sst count='5'>", "<si>", "</si>", "<cellXfs count='9'>", "<xf numFmtId='14'/>", "<mergeCells>",
            "<mergeCell ref='A1:B9'/>", "<mergeCell ref=':'/>", "<dimension ref='A1:XFD1048576'/>", "<sheet name='a' id='1'/>", "\u{0}", "я",
        ]), 0..30),
    ) {
        let _ = inspect_workbook(&with_part(part, tags.concat().as_bytes()), &mapping());
    }
}
