//! Workbooks as other programs than Excel write them, and files that are no workbooks.

use std::collections::BTreeMap;

use super::*;
use crate::tables::build_notes::About;

/// A workbook of hand-made parts: sheets by name, kind and XML. Style 1 is a date, style 2 a length of time.
fn parts(sheets: &[(&str, &str, &str)], calendar: &str) -> Vec<(String, Vec<u8>)> {
    let mut links = String::new();
    let mut named = String::new();
    let mut parts = Vec::new();
    for (at, (name, kind, xml)) in sheets.iter().enumerate() {
        links.push_str(&format!(
            "<Relationship Id='r{at}' Type='http://x/relationships/{kind}' Target='{kind}s/sheet{at}.xml'/>"
        ));
        named.push_str(&format!("<sheet name='{name}' sheetId='{at}' r:id='r{at}'/>"));
        parts.push((format!("xl/{kind}s/sheet{at}.xml"), xml.as_bytes().to_vec()));
    }
    let root = "<Relationships><Relationship Id='r' Type='http://x/relationships/officeDocument' Target='/xl/workbook.xml'/></Relationships>";
    let styles = "<styleSheet><cellXfs><xf numFmtId='0'/><xf numFmtId='22'/><xf numFmtId='46'/></cellXfs></styleSheet>";
    let book = format!("<workbook><workbookPr {calendar}/><sheets>{named}</sheets></workbook>");
    parts.extend(
        [
            ("_rels/.rels", root.to_owned()),
            ("xl/workbook.xml", book),
            (
                "xl/_rels/workbook.xml.rels",
                format!("<Relationships>{links}</Relationships>"),
            ),
            ("xl/styles.xml", styles.to_owned()),
        ]
        .map(|(name, xml)| (name.to_owned(), xml.into_bytes())),
    );
    parts
}

fn packed(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let parts: Vec<_> = parts
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    archive(&parts)
}

/// A cell: a text that begins with `<` is XML as it is, one that begins with `=` a number, with `@` a date.
fn cell(text: &str) -> String {
    match (text.chars().next(), text.get(1..)) {
        (None, _) => "<c/>".to_owned(),
        (Some('<'), _) => text.to_owned(),
        (Some('='), Some(number)) => format!("<c><v>{number}</v></c>"),
        (Some('@'), Some(day)) => format!("<c s='1'><v>{day}</v></c>"),
        _ => format!("<c t='inlineStr'><is><t>{text}</t></is></c>"),
    }
}

fn sheet(rows: &[&[&str]]) -> String {
    let rows: String = rows
        .iter()
        .map(|cells| {
            format!(
                "<row>{}</row>",
                cells.iter().map(|text| cell(text)).collect::<String>()
            )
        })
        .collect();
    format!("<worksheet><sheetData>{rows}</sheetData></worksheet>")
}

/// A workbook of one sheet of participants.
fn people(rows: &[&[&str]]) -> Vec<u8> {
    packed(&parts(&[("Участники", "worksheet", &sheet(rows))], ""))
}

/// Columns of the participants of a workbook, in the order of the first of them.
fn participants<const N: usize>(built: &BuiltDay, columns: [&str; N]) -> Vec<[String; N]> {
    let table = file(built, "participants");
    let columns = columns.map(|name| column(table, name));
    let mut rows: Vec<_> = (0..columns[0].len())
        .map(|row| columns.each_ref().map(|column| column[row].clone()))
        .collect();
    rows.sort();
    rows
}

/// The columns of participants with values that could not be read.
fn bad(built: &BuiltDay) -> Vec<&String> {
    let columns = built.notes.bad.keys();
    columns
        .filter(|column| column.starts_with("participants."))
        .collect()
}

fn refused(bytes: &[u8]) -> Refusal {
    inspect_workbook(bytes, &mapping()).expect_err("a refusal")
}

/// The tables of a workbook as text.
fn tables(bytes: &[u8]) -> String {
    let built = build(None, bytes);
    assert!(built.notes.refused_workbooks.is_empty(), "{:?}", built.notes);
    let names = ["messages", "participants", "report_rows"];
    names.map(|name| print(file(&built, name))).join("\n")
}

/// A part of the usual workbook.
fn part(name: &str) -> String {
    let usual = usual();
    let mut archive = ZipArchive::new(Cursor::new(&usual)).expect("archive");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut archive.by_name(name).expect("part"), &mut text).expect("text");
    text
}

#[test]
fn the_declared_size_of_a_sheet_does_not_matter() {
    let (whole, xml) = (tables(&usual()), part(SHEET));
    let start = xml.find("<dimension").expect("a dimension");
    let end = start + xml[start..].find("/>").expect("its end") + 2;
    for size in [
        "<dimension ref='A1'/>",
        "<dimension ref=''/>",
        "<dimension/>",
        "<dimension ref='A1:XFD1048576'/>",
        "<dimension ref='A1:ZZZZ99999999999'/>",
        "<dimension ref='a1:k11'/>",
        "<dimension ref='$A$1:$K$11'/>",
        "<dimension ref='K11:A1'/>",
        "<dimension ref='A:K'/>",
        "<dimension ref='#REF!'/>",
        "",
    ] {
        let xml = format!("{}{size}{}", &xml[..start], &xml[end..]);
        assert_eq!(tables(&with_part(SHEET, xml.as_bytes())), whole, "{size}");
    }
}

fn utf16(text: &str) -> Vec<u8> {
    let text = text.replace("UTF-8", "UTF-16");
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(u16::to_be_bytes).collect()
}

#[test]
fn utf_16_parts_are_read_and_unused_parts_may_have_any_encoding() {
    let whole = tables(&usual());
    for name in [
        SHEET,
        "xl/workbook.xml",
        "xl/sharedStrings.xml",
        "xl/styles.xml",
        "_rels/.rels",
    ] {
        assert_eq!(tables(&with_part(name, &utf16(&part(name)))), whole, "{name}");
    }
    let windows = b"<?xml version='1.0' encoding='windows-1251'?><a>\xc0\xed\xed\xe0</a>";
    for name in [
        "docProps/core.xml",
        "docProps/app.xml",
        "xl/theme/theme1.xml",
        "customXml/item1.xml",
        "xl/printerSettings/printerSettings1.xml",
    ] {
        for bytes in [
            utf16("<?xml version='1.0' encoding='UTF-16'?><a>я</a>"),
            windows.to_vec(),
            vec![0xff; 9],
        ] {
            assert_eq!(tables(&with_part(name, &bytes)), whole, "{name}");
        }
    }
    assert_eq!(
        refused(&with_part("xl/sharedStrings.xml", windows)),
        Refusal::Encoding
    );
}

#[test]
fn a_huge_declared_number_of_strings_is_ignored() {
    let strings = part("xl/sharedStrings.xml");
    let lie = strings.replace("uniqueCount=\"", "uniqueCount=\"99999999999");
    assert_ne!(strings, lie);
    assert_eq!(
        tables(&with_part("xl/sharedStrings.xml", lie.as_bytes())),
        tables(&usual())
    );
}

#[test]
fn sheets_of_macros_charts_and_dialogs_leave_the_others_to_be_read() {
    let good = sheet(&[&["Имя", "Вход"], &["Анна", "2026-11-22 10:00"]]);
    for kind in ["xlMacrosheet", "chartsheet", "dialogsheet", "xlIntlMacrosheet"] {
        let book = packed(&parts(
            &[
                ("Макрос", kind, "<any/>"),
                ("Участники", "worksheet", &good),
                ("Пусто", "worksheet", "<worksheet/>"),
            ],
            "",
        ));
        assert_eq!(participants(&build(None, &book), ["name"]), [["Анна"]], "{kind}");
    }
    // A module of macros of old.
    let mut module = parts(&[("Участники", "worksheet", &good)], "");
    for (name, bytes) in &mut module {
        if name == "xl/workbook.xml" {
            let book =
                String::from_utf8_lossy(bytes).replace("<sheets>", "<sheets><sheet name='Module1' r:id=''/>");
            *bytes = book.into_bytes();
        }
    }
    assert_eq!(participants(&build(None, &packed(&module)), ["name"]), [["Анна"]]);
    let lost = parts(&[("Участники", "worksheet", &good)], "").into_iter();
    let lost: Vec<_> = lost.filter(|(name, _)| !name.contains("worksheets")).collect();
    assert_eq!(refused(&packed(&lost)), Refusal::Damaged);
    let cut = [("Участники", "worksheet", "<worksheet><sheetViews>")];
    assert_eq!(refused(&packed(&parts(&cut, ""))), Refusal::Damaged);
}

#[test]
fn parts_are_found_however_their_paths_are_written() {
    let whole = tables(&usual());
    let links = part("xl/_rels/workbook.xml.rels");
    for (from, to) in [
        ("\"worksheets/", "\"/xl/worksheets/"),
        ("\"worksheets/", "\"xl/worksheets/"),
        ("\"worksheets/", "\"./Worksheets\\"),
    ] {
        assert!(links.contains(from));
        let links = links.replace(from, to);
        assert_eq!(
            tables(&with_part("xl/_rels/workbook.xml.rels", links.as_bytes())),
            whole,
            "{to}"
        );
    }
    assert_eq!(tables(&with_part("_rels/.rels", b"<Relationships/>")), whole);
}

#[test]
fn archives_of_other_kinds_are_refused_with_their_names() {
    let ods: &[u8] = b"application/vnd.oasis.opendocument.spreadsheet";
    assert_eq!(
        refused(&archive(&[("mimetype", ods), ("content.xml", b"<x/>")])),
        Refusal::Ods
    );
    let template = [ods, b"-template"].concat();
    assert_eq!(refused(&archive(&[("mimetype", &template)])), Refusal::Ods);
    let binary: [(&str, &[u8]); 2] = [
        ("_rels/.rels", b"<Relationships/>"),
        ("xl/workbook.bin", b"\0\x01"),
    ];
    assert_eq!(refused(&archive(&binary)), Refusal::Xlsb);
    let document: [(&str, &[u8]); 1] = [("word/document.xml", b"<w/>")];
    assert_eq!(refused(&archive(&document)), Refusal::NotAWorkbook);
    assert_eq!(refused(&archive(&[])), Refusal::NotAWorkbook);
    // The flag of an encrypted part, in its own header and in the archive's list.
    let mut locked = usual();
    for at in 0..locked.len() - 10 {
        match locked[at..at + 4] {
            [b'P', b'K', 3, 4] => locked[at + 6] |= 1,
            [b'P', b'K', 1, 2] => locked[at + 8] |= 1,
            _ => {}
        }
    }
    assert_eq!(refused(&locked), Refusal::Encrypted);
}

#[test]
fn rows_of_totals_are_not_people() {
    let head: &[&str] = &["№", "Имя", "E-mail", "ID пользователя", "Вход", "Выход"];
    let book = people(&[
        head,
        &[
            "=1",
            "Анна",
            "a@example.org",
            "17",
            "22.11.2026 10:00",
            "22.11.2026 10:30",
        ],
        &["=2", "Total", "", "", "22.11.2026 10:00", "22.11.2026 10:30"],
        &["=3", "Итоговый Пётр", "", "", "22.11.2026 10:00", ""],
        &["", "Итого", "", "=3", "=2", ""],
        &["", "ИТОГО:", "", "=25", "", ""],
        &["", "Всего участников: 25", "", "", "", ""],
        &["Grand total (25)", "", "", "", "", "=3"],
        &["", "total", "", "", "", ""],
        &["Отчёт сформирован автоматически", "", "", "", "", ""],
    ]);
    let built = build(None, &book);
    assert_eq!(
        participants(&built, ["name"]),
        [["Total"], ["Анна"], ["Итоговый Пётр"]]
    );
    assert_eq!(file(&built, "report_rows").rows, 9);
    // Nothing of a row of totals is a value that does not fit.
    assert!(bad(&built).is_empty(), "{:?}", built.notes.bad);
    let looked = inspect_workbook(&book, &mapping()).expect("a workbook");
    assert_eq!(looked.participants, Some(3));
}

#[test]
fn rows_merged_by_the_name_alone_are_reported() {
    let book = people(&[
        &["Имя", "E-mail", "Вход"],
        &["Иван", "", "22.11.2026 10:00"],
        &["Иван", "", "22.11.2026 10:20"],
        &["Иван", "i@example.org", "22.11.2026 10:00"],
        &["Иван", "i@example.org", "22.11.2026 10:20"],
        &["Иван", "", "22.11.2026 10:40"],
    ]);
    let built = build(None, &book);
    assert_eq!(
        participants(&built, ["name", "sessions_count"]),
        [["Иван", "2"], ["Иван", "3"]]
    );
    let of_call = BTreeMap::from([(About::Call("c2".into()), 2)]);
    assert_eq!(
        built.notes.observed.get(&Observation::MergedByName),
        Some(&of_call)
    );
    // With JSON in the tables no row of the workbook became anything.
    let built = build(Some(&report()), &book);
    assert_eq!(built.notes.observed.get(&Observation::MergedByName), None);
}

#[test]
fn a_sheet_without_stays_makes_nobody_absent() {
    let built = build(
        None,
        &people(&[&["Имя", "ID пользователя", "ID встречи"], &["Анна", "17", "m1"]]),
    );
    let row = participants(&built, ["name", "sessions", "duration_s", "first_joined_at"]);
    assert_eq!(row, [["Анна", "null", "null", "null"]]);
    assert!(bad(&built).is_empty(), "{:?}", built.notes.bad);
    let there = &built.presence.meetings["m1"].users["17"]["c2"];
    assert!(there.unknown && there.sessions.is_empty());
}

#[test]
fn a_stay_keeps_a_readable_start_and_without_one_the_person_was_there() {
    let start = "2026-11-22T10:00:00Z";
    let open = format!("[{{joined_at: {start}, left_at: null}}]");
    for (joined, left, sessions, bad) in [
        ("@46348.416666666664", "", open.as_str(), [0, 0]),
        ("22.11.2026 10:00", "-", &open, [0, 0]),
        ("22.11.2026 10:00", "—", &open, [0, 0]),
        ("22.11.2026 10:00", "@0", &open, [0, 0]),
        ("22.11.2026 10:00", "вечером", &open, [0, 1]),
        ("22.11.2026 10:00", "@2958465", &open, [0, 1]),
        ("22.11.2026 10:00", "22.11.2026 09:00", &open, [0, 1]),
        ("22.11.2026 10:00", "<c t='e'><v>#N/A</v></c>", &open, [0, 1]),
        ("", "", "null", [0, 0]),
        ("-", "@46348.5", "null", [1, 0]),
        ("вечером", "22.11.2026 11:00", "null", [1, 0]),
        ("=17", "вечером", "null", [1, 0]),
        ("<c t='e'><v>#REF!</v></c>", "", "null", [1, 0]),
        ("<c t='s'><v>9</v></c>", "", "null", [1, 0]),
    ] {
        let built = build(
            None,
            &people(&[&["Имя", "Вход", "Выход"], &["Анна", joined, left]]),
        );
        let row = participants(&built, ["name", "sessions"]);
        assert_eq!(row, [["Анна", sessions]], "{joined} {left}");
        let noted = ["participants.joined_at", "participants.left_at"];
        let noted = noted.map(|column| total(built.notes.bad.get(column)));
        assert_eq!(noted, bad, "{joined} {left}");
    }
}

#[test]
fn ids_keep_their_digits() {
    let built = build(
        None,
        &people(&[
            &["Имя", "ID пользователя", "Телефон"],
            &["А", "=12345678901234567", "=79001234567"],
            &["Б", "=12345678901234568", "=7.9001234567E+10"],
            &["В", "=1.2345678901234569E+16", ""],
            &["Г", "=100000000000000000001", ""],
            &["Д", "=100000000000000000002", ""],
            &["Е", "=1.0", ""],
        ]),
    );
    assert_eq!(
        participants(&built, ["name", "external_user_id", "phone"]),
        [
            ["А", "12345678901234567", "79001234567"],
            ["Б", "12345678901234568", "79001234567"],
            ["В", "12345678901234569", "null"],
            ["Г", "100000000000000000001", "null"],
            ["Д", "100000000000000000002", "null"],
            ["Е", "1", "null"],
        ]
    );
    let cells = column(file(&built, "report_rows"), "cells");
    assert_eq!(cells[2], "{Имя: В, ID пользователя: 12345678901234569}");
}

#[test]
fn both_calendars_count_days_with_and_without_a_format() {
    for (calendar, day) in [
        ("", "46348.4375"),
        ("date1904='1'", "44886.4375"),
        ("date1904='true'", "44886.4375"),
    ] {
        for cell in [format!("@{day}"), format!("={day}"), day.to_owned()] {
            let xml = sheet(&[&["Имя", "Вход"], &["Анна", &cell]]);
            let book = packed(&parts(&[("Участники", "worksheet", &xml)], calendar));
            let joined = participants(&build(None, &book), ["first_joined_at"]);
            assert_eq!(joined, [["2026-11-22T10:30:00Z"]], "{calendar} {cell}");
        }
    }
}

#[test]
fn a_failed_formula_is_no_name() {
    let error = "<c t='e'><f>NA()</f><v>#N/A</v></c>";
    let built = build(
        None,
        &people(&[
            &["Имя", "ID пользователя", "Вход"],
            &[error, "17", "22.11.2026 10:00"],
            &["<c t='str'><v>#N/A</v></c>", "18", "22.11.2026 10:00"],
            &["#N/A", "19", "22.11.2026 10:00"],
            &[error, error, ""],
        ]),
    );
    let rows = participants(&built, ["external_user_id", "name"]);
    assert_eq!(rows, [["17", "null"], ["18", "null"], ["19", "null"]]);
    assert_eq!(total(built.notes.bad.get("report_rows.cells")), 5);
}

#[test]
fn broken_characters_cost_themselves_alone() {
    let xml = sheet(&[
        &["Имя", "Вход"],
        &["урок _xD83D_ R&D", "22.11.2026 10:00"],
        &["Café", "22.11.2026 10:00"],
    ]);
    let mut parts = parts(&[("Участники", "worksheet", &xml)], "");
    let bytes = &mut parts[0].1;
    let at = bytes
        .windows(2)
        .rposition(|two| two == "é".as_bytes())
        .expect("é");
    bytes.splice(at..at + 2, [0xe9]);
    let built = build(None, &packed(&parts));
    assert_eq!(
        participants(&built, ["name"]),
        [["Caf\u{fffd}"], ["урок \u{fffd} R&D"]]
    );
    let mended = built.notes.observed.get(&Observation::MendedCharacters);
    assert_eq!(total(mended), 1);
}

/// Anything in the place of a cell.
fn any_cell() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[-—0 ]{0,2}",
        "\\PC{0,12}"
            .prop_map(|text| format!("<c t='str'><v><![CDATA[{}]]></v></c>", text.replace("]]>", ""))),
        any::<f64>().prop_map(|number| format!("={number}")),
        any::<f64>().prop_map(|number| format!("@{number}")),
        (-10_000_i64..200_000).prop_map(|day| format!("@{day}")),
        Just("<c t='e'><v>#N/A</v></c>".to_owned()),
        Just("<c t='b'><v>1</v></c>".to_owned()),
        Just("<c t='d'><v>2026-11-22T10:00:00</v></c>".to_owned()),
        Just("<c t='s'><v>5</v></c>".to_owned()),
        Just("<c t='odd'><v>5</v></c>".to_owned()),
        Just("<c><is><t>5</t></is><v>6</v><extLst><c/></extLst></c>".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Changes a cell of one row: the other rows stay the same, and everybody with a row was there.
    #[test]
    fn any_cell_leaves_the_other_rows_unchanged_and_nobody_absent(odd in any_cell(), column in 0_usize..6) {
        let head: &[&str] = &["Имя", "E-mail", "ID пользователя", "ID встречи", "Вход", "Выход"];
        let anna: &[&str] = &["Анна", "a@example.org", "17", "m1", "22.11.2026 10:00", "22.11.2026 10:30"];
        let mut ivan = ["Иван", "i@example.org", "18", "m1", "22.11.2026 10:00", "22.11.2026 10:30"];
        let columns = ["name", "email", "external_user_id", "sessions", "duration_s", "first_joined_at"];
        let of = |built: &BuiltDay, name: &str| {
            participants(built, columns).into_iter().filter(|row| row[0] == name).collect::<Vec<_>>()
        };
        let whole = of(&build(None, &people(&[head, anna, &ivan])), "Анна");
        ivan[column] = &odd;
        let built = build(None, &people(&[head, &ivan, anna]));
        prop_assert_eq!(of(&built, "Анна"), whole);
        let people = participants(&built, columns);
        prop_assert_eq!(people.len(), 2);
        prop_assert!(people.iter().all(|row| row[3] != "[]"), "{:?}", people);
        prop_assert!(people.iter().all(|row| row[5] == "null" || row[5].starts_with("19") || row[5].starts_with("20") || row[5].starts_with("21") || row[5].starts_with("2200")));
    }
}
