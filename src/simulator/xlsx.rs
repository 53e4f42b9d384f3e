//! The report of a call as a workbook: the sheets `Участники` and `Чат`, each below two title rows. Pure: the same call
//! gives the same bytes. `answers` calls it on a blocking thread.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use chrono::{DateTime, Utc};
use quick_xml::escape::escape;
use zip::write::SimpleFileOptions;
use zip::{ZipWriter, result::ZipResult};

use super::school::{Call, Room};

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
const CHAT: [&str; 3] = ["Время", "Имя", "Сообщение"];

const XML: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONSHIPS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const MIME: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";
/// Index of the bold format in [`styles`].
const BOLD: u8 = 1;
/// Index of the format of dates in [`styles`].
const DATE: u8 = 2;
/// Excel's serial number of 1970-01-01.
const UNIX_EPOCH: f64 = 25_569.0;

/// The report of the first `people` participants of a call.
pub(super) fn workbook(room: &Room, call: &Call, people: usize) -> ZipResult<Vec<u8>> {
    let mut texts = SharedStrings::default();
    let sheets = [
        ("Участники", people_sheet(&mut texts, room, call, people)),
        ("Чат", chat_sheet(&mut texts, room, call, people)),
    ];
    let mut parts = vec![
        ("[Content_Types].xml".to_owned(), content_types(sheets.len())),
        (
            "_rels/.rels".to_owned(),
            relationships(&[("officeDocument", "xl/workbook.xml")]),
        ),
        (
            "xl/workbook.xml".to_owned(),
            sheet_list(&sheets.each_ref().map(|(name, _)| *name)),
        ),
        (
            "xl/_rels/workbook.xml.rels".to_owned(),
            relationships(&[
                ("worksheet", "worksheets/sheet1.xml"),
                ("worksheet", "worksheets/sheet2.xml"),
                ("styles", "styles.xml"),
                ("sharedStrings", "sharedStrings.xml"),
            ]),
        ),
        ("xl/styles.xml".to_owned(), styles()),
    ];
    for (number, (_, sheet)) in (1..).zip(sheets) {
        parts.push((format!("xl/worksheets/sheet{number}.xml"), sheet.finish()));
    }
    parts.push(("xl/sharedStrings.xml".to_owned(), texts.finish()));

    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, part) in parts {
        // The default options hold a fixed time, so that the bytes don't depend on the clock.
        archive.start_file(name, SimpleFileOptions::default())?;
        archive.write_all(part.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

/// The sheet of participants: a row for each session, with times as Excel dates.
fn people_sheet(texts: &mut SharedStrings, room: &Room, call: &Call, people: usize) -> SheetWriter {
    let mut sheet = SheetWriter::below_titles(
        texts,
        &format!("Отчёт по участникам: {}", room.name),
        call,
        &PEOPLE,
    );
    for person in call.participants.iter().take(people) {
        let user = person.external_user_id.as_deref();
        let role = if person.moderator {
            "Модератор"
        } else {
            "Участник"
        };
        let values = [
            Some(person.name.as_str()),
            Some(role),
            person.email.as_deref(),
            person.phone.as_deref(),
            user,
            user.map(|_| call.lesson.meeting_id.as_str()),
        ];
        for session in &person.sessions {
            sheet.start_row();
            for value in values {
                sheet.text(value.map(|value| texts.index(value)), 0);
            }
            sheet.date(Some(session.joined_at));
            sheet.date(session.left_at);
        }
    }
    sheet
}

/// The sheet of the chat: a row for each message, with times as text.
fn chat_sheet(texts: &mut SharedStrings, room: &Room, call: &Call, people: usize) -> SheetWriter {
    let mut sheet = SheetWriter::below_titles(texts, &format!("Чат: {}", room.name), call, &CHAT);
    for message in call.messages.iter().filter(|message| message.from < people) {
        let name = call
            .participants
            .get(message.from)
            .map_or("", |person| &person.name);
        let sent_at = message.sent_at.format("%Y-%m-%d %H:%M:%S").to_string();
        sheet.start_row();
        for value in [&sent_at, name, &message.text] {
            sheet.text(Some(texts.index(value)), 0);
        }
    }
    sheet
}

/// The texts of all cells, each once.
#[derive(Default)]
struct SharedStrings {
    indexes: HashMap<String, usize>,
    items: String,
    uses: usize,
}

impl SharedStrings {
    /// The index of a text, which is added if it is new.
    fn index(&mut self, text: &str) -> usize {
        self.uses += 1;
        if let Some(index) = self.indexes.get(text) {
            return *index;
        }
        let index = self.indexes.len();
        self.indexes.insert(text.to_owned(), index);
        let item = format!(r#"<si><t xml:space="preserve">{}</t></si>"#, escape(text));
        self.items.push_str(&item);
        index
    }

    fn finish(self) -> String {
        let (uses, unique, items) = (self.uses, self.indexes.len(), self.items);
        format!(r#"{XML}<sst xmlns="{MAIN}" count="{uses}" uniqueCount="{unique}">{items}</sst>"#)
    }
}

/// A sheet that is written row by row.
#[derive(Default)]
struct SheetWriter {
    rows: String,
    row: u32,
    column: u8,
}

impl SheetWriter {
    /// A sheet with the title, the call's period and the header.
    fn below_titles(texts: &mut SharedStrings, title: &str, call: &Call, headers: &[&str]) -> Self {
        let end = call.finished_at.unwrap_or(call.started_at);
        let period = format!(
            "Период: {} – {} (UTC)",
            call.started_at.format("%d.%m.%Y %H:%M"),
            end.format("%d.%m.%Y %H:%M")
        );
        let mut sheet = Self::default();
        for line in [title, &period] {
            sheet.start_row();
            sheet.text(Some(texts.index(line)), 0);
        }
        sheet.start_row();
        for header in headers {
            sheet.text(Some(texts.index(header)), BOLD);
        }
        sheet
    }

    fn start_row(&mut self) {
        if self.row > 0 {
            self.rows.push_str("</row>");
        }
        self.row += 1;
        self.column = 0;
        let _ = write!(self.rows, r#"<row r="{}">"#, self.row);
    }

    /// The next cell: a shared text in a format, or nothing.
    fn text(&mut self, index: Option<usize>, format: u8) {
        let cell = self.next_cell();
        if let Some(index) = index {
            let _ = write!(
                self.rows,
                r#"<c r="{cell}" s="{format}" t="s"><v>{index}</v></c>"#
            );
        }
    }

    /// The next cell: a time as an Excel date, or nothing.
    fn date(&mut self, at: Option<DateTime<Utc>>) {
        let cell = self.next_cell();
        if let Some(at) = at {
            let serial = UNIX_EPOCH + at.timestamp() as f64 / 86_400.0;
            let _ = write!(self.rows, r#"<c r="{cell}" s="{DATE}"><v>{serial}</v></c>"#);
        }
    }

    fn next_cell(&mut self) -> String {
        let cell = format!("{}{}", char::from(b'A' + self.column), self.row);
        self.column += 1;
        cell
    }

    fn finish(self) -> String {
        let rows = self.rows;
        format!(r#"{XML}<worksheet xmlns="{MAIN}"><sheetData>{rows}</row></sheetData></worksheet>"#)
    }
}

fn content_types(sheets: usize) -> String {
    let mut overrides = format!(
        r#"<Override PartName="/xl/workbook.xml" ContentType="{MIME}.sheet.main+xml"/><Override PartName="/xl/styles.xml" ContentType="{MIME}.styles+xml"/><Override PartName="/xl/sharedStrings.xml" ContentType="{MIME}.sharedStrings+xml"/>"#
    );
    for number in 1..=sheets {
        let _ = write!(
            overrides,
            r#"<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{MIME}.worksheet+xml"/>"#
        );
    }
    format!(
        r#"{XML}<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>"#
    )
}

/// A relationship part: each target's id is `rId` and its number from 1.
fn relationships(targets: &[(&str, &str)]) -> String {
    let mut items = String::new();
    for (number, (kind, target)) in (1..).zip(targets) {
        let _ = write!(
            items,
            r#"<Relationship Id="rId{number}" Type="{RELATIONSHIPS}/{kind}" Target="{target}"/>"#
        );
    }
    format!(r#"{XML}<Relationships xmlns="{PACKAGE}/relationships">{items}</Relationships>"#)
}

fn sheet_list(names: &[&str]) -> String {
    let mut items = String::new();
    for (number, name) in (1..).zip(names) {
        let _ = write!(
            items,
            r#"<sheet name="{}" sheetId="{number}" r:id="rId{number}"/>"#,
            escape(*name)
        );
    }
    format!(r#"{XML}<workbook xmlns="{MAIN}" xmlns:r="{RELATIONSHIPS}"><sheets>{items}</sheets></workbook>"#)
}

/// Three cell formats: the default, [`BOLD`] and [`DATE`].
fn styles() -> String {
    format!(
        r#"{XML}<styleSheet xmlns="{MAIN}"><numFmts count="1"><numFmt numFmtId="164" formatCode="yyyy-mm-dd hh:mm:ss"/></numFmts><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/><xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/><xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs></styleSheet>"#
    )
}
