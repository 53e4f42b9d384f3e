//! A workbook of the same shape with masked values: same sheets, headers, types of cells and merged regions. Pure.
//!
//! It is a new file, and nothing of the old one but these is in it: no titles of documents, authors, comments or styles.

use super::budget::Budget;
use super::cell_reference::letter;
use super::cell_value::CellValue;
use super::refusal::Refusal;
use super::row_reader::{Book, SheetRow};
use super::survey::{SheetSurvey, headed};
use super::workbook::HEADER_WITHIN;
use super::written::{self, WrittenCell, WrittenSheet, serial_day};
use crate::lenient::Scalar;
use crate::tables::mapping::Mapping;
use crate::tables::masked::Masker;

/// A sheet with all its rows.
struct WholeSheet {
    survey: SheetSurvey,
    rows: Vec<SheetRow>,
    merged: Vec<String>,
}

/// Lets a masker remember all values of a workbook.
///
/// # Errors
/// The reason why it can't be read.
pub fn learn_workbook(bytes: &[u8], mapping: &Mapping, masker: &mut Masker) -> Result<(), Refusal> {
    for sheet in sheets(bytes, mapping)? {
        for row in &sheet.rows {
            for (column, cell) in &row.cells {
                if header(&sheet.survey, row, *column).is_none() {
                    masker.learn(&cell.text());
                }
            }
        }
    }
    Ok(())
}

/// The masked form of a workbook.
///
/// # Errors
/// The reason why it can't be read.
pub fn masked_workbook(bytes: &[u8], mapping: &Mapping, masker: &mut Masker) -> Result<Vec<u8>, Refusal> {
    let mut parts = Vec::new();
    for sheet in sheets(bytes, mapping)? {
        let survey = &sheet.survey;
        let name = survey
            .told
            .clone()
            .unwrap_or_else(|| format!("Sheet {}", survey.number));
        parts.push(masked_sheet(name, &sheet, masker));
    }
    written::workbook(&parts, false).map_err(|_| Refusal::Unreadable)
}

fn sheets(bytes: &[u8], mapping: &Mapping) -> Result<Vec<WholeSheet>, Refusal> {
    let mut book = Book::open(bytes)?;
    let mut budget = Budget::default();
    let mut sheets = Vec::new();
    for (number, sheet) in (1..).zip(book.sheets()) {
        let mut rows = Vec::new();
        book.rows::<Refusal>(&sheet, &mut budget, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
        let regions = book.merged(&sheet)?;
        let place = |(row, column): (u32, u32)| format!("{}{}", letter(column), u64::from(row) + 1);
        sheets.push(WholeSheet {
            survey: headed(
                &sheet.name,
                number,
                &rows[..rows.len().min(HEADER_WITHIN)],
                mapping,
            ),
            merged: regions
                .iter()
                .map(|region| format!("{}:{}", place(region.start), place(region.end)))
                .collect(),
            rows,
        });
    }
    Ok(sheets)
}

/// The header's text that a cell is; none if it may be data.
fn header<'s>(survey: &'s SheetSurvey, row: &SheetRow, column: u32) -> Option<&'s str> {
    let of = survey
        .columns
        .get(&column)
        .filter(|_| survey.header == Some(row.index))?;
    of.header.as_deref()
}

/// The sheet with masked values.
fn masked_sheet(name: String, sheet: &WholeSheet, masker: &mut Masker) -> WrittenSheet {
    let rows = sheet.rows.iter().map(|row| {
        let cells = row.cells.iter().map(|(column, cell)| {
            let of = sheet.survey.columns.get(column);
            let feeds = of.and_then(|of| of.feeds.as_deref());
            let kept =
                header(&sheet.survey, row, *column).filter(|text| feeds.is_some() || !masker.is_data(text));
            let names = of.into_iter().flat_map(|of| [&of.feeds, &of.header]).flatten();
            let is_time = names.into_iter().any(|name| masker.is_time(name));
            let written = match kept {
                Some(text) => WrittenCell::Text(text.to_owned()),
                None => masked_cell(cell, is_time, masker),
            };
            (*column, written)
        });
        let wrong = row.wrong.iter().map(|column| (*column, WrittenCell::Error));
        (
            row.index,
            cells.collect::<Vec<_>>().into_iter().chain(wrong).collect(),
        )
    });
    WrittenSheet {
        name,
        rows: rows.collect(),
        merged: sheet.merged.clone(),
    }
}

/// A cell of the same type with a masked value. `is_time` says that its column is surely one of times.
fn masked_cell(cell: &CellValue, is_time: bool, masker: &mut Masker) -> WrittenCell {
    match cell {
        CellValue::Text(text) => WrittenCell::Text(masker.text_of_field(text, is_time)),
        CellValue::Number(number) => WrittenCell::Number(masker.cell_number(*number, is_time).to_string()),
        CellValue::Truth(truth) => WrittenCell::Truth(*truth),
        CellValue::Instant(at) => WrittenCell::Date(masker.serial(serial_day(*at))),
        CellValue::Span(_) => WrittenCell::Length(days_of(&masker.text(&cell.text()))),
    }
}

/// The days of a clock `H:MM:SS`.
fn days_of(clock: &str) -> f64 {
    let parts = clock
        .trim_start_matches('-')
        .split(':')
        .map(|part| crate::lenient::number(Scalar::Text(part)).unwrap_or(0.0));
    parts.fold(0.0, |sum, part| sum * 60.0 + part) / 86_400.0
}

#[cfg(test)]
mod tests {
    use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};

    use super::super::survey::survey;
    use super::*;

    /// People below a title, with cells of every type, and a sheet of texts alone.
    fn book() -> Vec<u8> {
        let mut book = Workbook::new();
        let (date, length) = (
            Format::new().set_num_format("dd.mm.yyyy hh:mm"),
            Format::new().set_num_format("[h]:mm:ss"),
        );
        let people = book.add_worksheet().set_name("Участники").expect("a name");
        people.write_string(0, 0, "Отчёт Марии Ивановой").expect("a cell");
        for (column, header) in (0..).zip(["Имя", "Вход", "Длительность", "Гость", "Балл", "Номер", "Доля"])
        {
            people.write_string(1, column, header).expect("a header");
        }
        people
            .merge_range(2, 0, 3, 0, "Ольга Смирнова", &Format::new())
            .expect("a region");
        for row in 2..5 {
            let at = ExcelDateTime::from_ymd(2026, 11, 22)
                .and_then(|day| day.and_hms(10, 5, 7))
                .expect("a date");
            people
                .write_datetime_with_format(row, 1, &at, &date)
                .expect("a date");
            people
                .write_number_with_format(row, 2, 0.03125, &length)
                .expect("a length");
            people.write_boolean(row, 3, row == 2).expect("a truth");
            people.write_number(row, 4, 4.75).expect("a number");
            people
                .write_number(row, 5, 1_234_567.0 + f64::from(row))
                .expect("a number");
            people
                .write_formula(
                    row,
                    6,
                    rust_xlsxwriter::Formula::new("=1/0").set_result("#DIV/0!"),
                )
                .expect("an error");
        }
        people.write_string(4, 0, "Иван Петров").expect("a cell");
        let notes = book.add_worksheet().set_name("Иван Петров").expect("a name");
        notes.write_string(0, 0, "Сергей").expect("a cell");
        notes.write_string(0, 1, "Опоздал").expect("a cell");
        book.save_to_buffer().expect("a workbook")
    }

    #[test]
    fn a_row_of_data_that_looks_like_a_header_is_masked_and_learned() {
        let mut book = Workbook::new();
        let sheet = book.add_worksheet().set_name("Марина, домашнее").expect("a name");
        for (row, texts) in [["Марина", "на домашнем"], ["Таня", "x"]].iter().enumerate()
        {
            for (column, text) in (0..).zip(texts) {
                sheet
                    .write_string(u32::try_from(row).expect("few"), column, *text)
                    .expect("a cell");
            }
        }
        sheet.write_number(1, 1, 17).expect("a cell");
        let bytes = book.save_to_buffer().expect("a workbook");
        let mapping = Mapping::builtin().expect("mapping");
        let mut masker = Masker::new([3; 32], &mapping);
        learn_workbook(&bytes, &mapping, &mut masker).expect("a workbook");
        assert!(masker.is_data("Марина") && masker.is_data("на домашнем"));
        let masked = masked_workbook(&bytes, &mapping, &mut masker).expect("a workbook");
        let sheets = sheets(&masked, &mapping).expect("sheets");
        assert_eq!(sheets[0].survey.name, "Sheet 1");
        let all = format!("{:?}", sheets[0].rows);
        assert!(!all.contains("Марина") && !all.contains("домашнем"), "{all}");
    }

    fn told(surveys: &[SheetSurvey]) -> Vec<String> {
        let columns = surveys.iter().flat_map(|sheet| {
            let head = format!(
                "{:?} {:?} {} {}",
                sheet.table, sheet.header, sheet.is_known, sheet.rows
            );
            let columns = sheet.columns.values().map(|column| {
                format!(
                    "{} {:?} {:?} {} {:?}",
                    column.letter, column.header, column.feeds, column.cells, column.sorts
                )
            });
            [head].into_iter().chain(columns).collect::<Vec<_>>()
        });
        columns.collect()
    }

    #[test]
    fn a_masked_workbook_has_the_sheets_headers_and_types_and_no_value() {
        let (bytes, mapping) = (book(), Mapping::builtin().expect("mapping"));
        let mut masker = Masker::new([3; 32], &mapping);
        learn_workbook(&bytes, &mapping, &mut masker).expect("a workbook");
        let masked = masked_workbook(&bytes, &mapping, &mut masker).expect("a workbook");
        let (before, after) = (
            survey(&bytes, &mapping).expect("sheets"),
            survey(&masked, &mapping).expect("sheets"),
        );
        let mut names: Vec<_> = after.iter().map(|sheet| sheet.name.as_str()).collect();
        names.sort_by_key(|name| *name != "Участники");
        assert!(names[0] == "Участники" && names[1] != "Иван Петров", "{names:?}");
        let of = |surveys: &[SheetSurvey], is_people: bool| {
            told(
                &surveys
                    .iter()
                    .filter(|sheet| (sheet.name == "Участники") == is_people)
                    .cloned()
                    .collect::<Vec<_>>(),
            )
        };
        for is_people in [true, false] {
            // A masked name may be no capitalized words: only the other sorts are compared.
            let plain = |lines: Vec<String>| {
                lines
                    .iter()
                    .map(|line| line.replace("Name", "Word").replace("Text", "Word"))
                    .collect::<Vec<_>>()
            };
            assert_eq!(plain(of(&after, is_people)), plain(of(&before, is_people)));
        }
        let sheets = sheets(&masked, &mapping).expect("sheets");
        let people = sheets
            .iter()
            .find(|sheet| sheet.survey.name == "Участники")
            .expect("people");
        assert_eq!(people.merged, ["A3:A4"]);
        assert_eq!(people.rows[2].wrong, [6]);
        let all = format!("{:?}", sheets.iter().map(|sheet| &sheet.rows).collect::<Vec<_>>());
        for value in [
            "Ольга",
            "Петров",
            "Отчёт",
            "Сергей",
            "Опоздал",
            "2026-11-22",
            "4.75",
            "1234569",
        ] {
            assert!(!all.contains(value), "{value}: {all}");
        }
        let instants = people.rows[2]
            .cells
            .iter()
            .filter(|(_, cell)| matches!(cell, CellValue::Instant(_)));
        assert_eq!(instants.count(), 1);
    }
}
