//! The abilities of the mapping language in workbooks.

use super::*;
use crate::tables::read_text;

fn over(text: &str) -> Mapping {
    Mapping::over_builtin(&format!("version = 1\n{text}"), "mine.toml").expect(text)
}

fn refusal(xlsx: &str) -> String {
    Mapping::over_builtin(
        &format!("version = 1\n[table.participants.xlsx]\n{xlsx}"),
        "mine.toml",
    )
    .expect_err(xlsx)
    .to_string()
}

/// A sheet of texts, header first.
fn sheet(rows: &[&[&str]]) -> impl Fn(&mut Worksheet) + use<> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(ToString::to_string).collect())
        .collect();
    move |sheet: &mut Worksheet| {
        for (at, row) in (0..).zip(&rows) {
            for (column, text) in (0..).zip(row) {
                if !text.is_empty() {
                    sheet.write(at, column, text).expect("cell");
                }
            }
        }
    }
}

/// Some columns of the participants of a workbook, sorted.
fn people(mapping: &str, book: &[u8], columns: &[&str]) -> Vec<String> {
    let day = build_with(&over(mapping), None, book);
    let rows = read_text(file(&day, "participants").bytes.clone(), columns).expect("rows");
    let mut people: Vec<_> = rows.into_iter().map(|row| row.join(" | ")).collect();
    people.sort();
    people
}

const STAY: [&str; 3] = ["name", "first_joined_at", "duration_s"];

#[test]
fn sheets_are_found_by_a_pattern() {
    let rows = |name: &'static str| sheet(&[&["Name", "Joined"], &[name, "2026-11-22 10:00"]]);
    let book = book([
        ("Participants_1", &rows("Анна")),
        ("participants_22", &rows("Борис")),
        ("Summary", &rows("Итоги")),
        ("Old participants_1", &rows("Вера")),
    ]);
    let names = |sheets: &str| {
        people(
            &format!("[table.participants.xlsx]\nsheets = [{sheets}]"),
            &book,
            &["name"],
        )
    };
    assert_eq!(names("'participants_*'"), ["Анна", "Борис"]);
    assert_eq!(names("'participants_?'"), ["Анна"]);
    assert_eq!(names("'*participants_1'"), ["Анна", "Вера"]);
    assert_eq!(names("'*'").len(), 4);
}

#[test]
fn times_are_read_in_a_zone_and_by_formats() {
    let american = sheet(&[
        &["Name", "Joined", "Left"],
        &["Анна", "11/22/2026 01:00:00 PM", "11/22/2026 01:30:00 PM"],
        &["Борис"],
        &["Вера", "46348.541666666664", "2026-11-22T10:30:00Z"],
    ]);
    let book = book([("Participants", &|worksheet: &mut Worksheet| {
        american(worksheet);
        date(worksheet, 2, 1, "13:05:00");
        date(worksheet, 2, 2, "13:15:00");
    })]);
    let expected = [
        "Анна | 2026-11-22 10:00:00 | 1800.0",
        "Борис | 2026-11-22 10:05:00 | 600.0",
        "Вера | 2026-11-22 10:00:00 | 1800.0",
    ];
    let formats = "formats = ['%m/%d/%Y %I:%M:%S %p']\n";
    let zone = "zone = 'Europe/Moscow'\n";
    for place in ["", "[table.participants]\n", "[table.participants.xlsx]\n"] {
        assert_eq!(
            people(&format!("{place}{zone}{formats}"), &book, &STAY),
            expected,
            "{place}"
        );
    }
    let columns = "zone = 'Europe/Moscow', formats = ['%m/%d/%Y %I:%M:%S %p']";
    let mapping = format!(
        "[table.participants.xlsx]\ncolumns.joined_at = {{ {columns} }}\ncolumns.left_at = {{ {columns} }}"
    );
    assert_eq!(people(&mapping, &book, &STAY), expected);
    assert!(refusal("zone = 'Moscow'").contains("`zone`: `Moscow` is no IANA time zone"));
    assert_eq!(
        refusal("columns.joined_at = { formats = '%H' }"),
        "mine.toml: line 3: [table.participants] `xlsx`: column `joined_at` of `xlsx`: `formats`: `%H` does not state a whole date and time: it needs year, month and day, and `%p` beside `%I`"
    );
}

#[test]
fn a_length_gives_the_end_of_a_stay_and_numbers_have_a_scale() {
    let filled = sheet(&[
        &["Name", "Joined", "Duration (Minutes)", "Camera"],
        &["Анна", "2026-11-22 10:00", "", "1h 2m 3s"],
        &["Борис", "2026-11-22 10:00", "25 мин", "PT10S"],
        &["Вера", "", "", "x"],
    ]);
    let book = book([("Participants", &|worksheet: &mut Worksheet| {
        filled(worksheet);
        worksheet.write(1, 2, 30).expect("number");
        let clock = Format::new().set_num_format("[h]:mm:ss");
        let length = ExcelDateTime::parse_from_str("00:10:00").expect("time");
        worksheet
            .write_datetime_with_format(3, 2, &length, &clock)
            .expect("length");
    })]);
    let mapping = "[table.participants.xlsx]\ncolumns.duration_s = { from = 'Duration (Minutes)', scale = 60 }\ncolumns.camera_s = 'Camera'";
    let columns = ["name", "sessions_count", "last_left_at", "duration_s", "camera_s"];
    assert_eq!(
        people(mapping, &book, &columns),
        [
            "Анна | 1 | 2026-11-22 10:30:00 | 1800.0 | 3723.0",
            "Борис | 1 | 2026-11-22 10:25:00 | 1500.0 | 10.0",
            "Вера |  |  |  | ",
        ]
    );
}

#[test]
fn other_words_a_default_and_a_name_in_parts() {
    let book = book([(
        "Participants",
        &sheet(&[
            &["Фамилия", "Имя", "Is host", "Joined"],
            &["Иванова", "Анна", "Да", "2026-11-22 10:00"],
            &["", "Борис", "нет", "2026-11-22 10:00"],
            &["Грин", "", "", "2026-11-22 10:00"],
        ]),
    )]);
    let columns = "columns.name = { concat = ['Фамилия', 'Имя'] }\n\
        columns.role = { from = 'Is host', values = { 'да' = 'moderator', 'нет' = 'user' }, default = 'guest' }";
    assert_eq!(
        people(
            &format!("[table.participants.xlsx]\n{columns}"),
            &book,
            &["name", "role"]
        ),
        ["Борис | user", "Грин | guest", "Иванова Анна | moderator"]
    );
    assert!(refusal("columns.camera_s = { concat = ['a', 'b'] }").contains("only texts have `concat`"));
    assert!(
        refusal("columns.camera_s = { from = 'a', default = 'x' }").contains("does not fit the type double")
    );
    assert!(refusal("columns.screen_s = { scale = 60 }").contains("a header's text is missing"));
}

#[test]
fn rows_count_by_column_or_by_header() {
    let book = book([(
        "Participants",
        &sheet(&[
            &["Name", "Role", "Статус"],
            &["Анна", "Host", "Подключен"],
            &["Борис", "Attendee", "подключен"],
            &["Вера", "Attendee", "В ожидании"],
            &["Глеб", "Bot", ""],
            &["Итого", "", "Подключен"],
        ]),
    )]);
    let names =
        |rules: &str| people(&format!("[table.participants.xlsx]\n{rules}"), &book, &["name"]).join(" ");
    assert_eq!(names(""), "Анна Борис Вера Глеб");
    assert_eq!(names("where = { role = 'user' }"), "Борис Вера");
    assert_eq!(names("where = { role = ['Host', 'Bot'] }"), "Анна Глеб");
    assert_eq!(names("where = { 'Статус' = 'Подключен' }"), "Анна Борис");
    assert_eq!(names("where = { 'Статус' = '' }"), "Глеб");
    assert_eq!(
        names("skip = { role = 'bot', 'Статус' = 'в ожидании' }"),
        "Анна Борис"
    );
    assert_eq!(
        names("where = { role = 'user', 'Статус' = 'Подключен' }"),
        "Борис"
    );
    // Without the header no row could count: the sheet is reported, and nobody is lost in silence.
    let day = build_with(
        &over("[table.participants.xlsx]\nwhere = { 'Отдел' = 'x' }"),
        None,
        &book,
    );
    assert_eq!(total(day.notes.observed.get(&Observation::HeadlessSheets)), 1);
    assert_eq!(
        refusal("where = { phones = 'x' }"),
        "mine.toml: line 3: [table.participants] `xlsx`: `xlsx.where` of `phones`, which `xlsx` does not feed"
    );
}
