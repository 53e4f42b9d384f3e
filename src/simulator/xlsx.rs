//! A call's report as a workbook: the sheets `Участники` and `Чат`, each below two title rows. Pure, and always the
//! same bytes; used by `answers` on a blocking thread.

use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook, Worksheet, XlsxError};

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
/// The row of the header, below the titles.
const HEADER: u32 = 2;

/// The report of the call's first `people` participants.
pub(super) fn workbook(room: &Room, call: &Call, people: usize) -> Result<Vec<u8>, XlsxError> {
    let mut book = Workbook::new();
    // The clock would make every workbook another one.
    let made = ExcelDateTime::from_timestamp(call.started_at.timestamp())?;
    book.set_properties(&DocProperties::new().set_creation_datetime(&made));
    people_sheet(book.add_worksheet().set_name("Участники")?, room, call, people)?;
    chat_sheet(book.add_worksheet().set_name("Чат")?, room, call, people)?;
    book.save_to_buffer()
}

fn head(sheet: &mut Worksheet, title: &str, call: &Call, headers: &[&str]) -> Result<(), XlsxError> {
    let end = call.finished_at.unwrap_or(call.started_at);
    let period = format!(
        "Период: {} – {} (UTC)",
        call.started_at.format("%d.%m.%Y %H:%M"),
        end.format("%d.%m.%Y %H:%M")
    );
    sheet.write_string(0, 0, title)?;
    sheet.write_string(1, 0, period)?;
    for (column, header) in (0..).zip(headers) {
        sheet.write_string_with_format(HEADER, column, *header, &Format::new().set_bold())?;
    }
    Ok(())
}

/// One row a session; times are Excel dates.
fn people_sheet(sheet: &mut Worksheet, room: &Room, call: &Call, people: usize) -> Result<(), XlsxError> {
    head(
        sheet,
        &format!("Отчёт по участникам: {}", room.name),
        call,
        &PEOPLE,
    )?;
    let date = Format::new().set_num_format("yyyy-mm-dd hh:mm:ss");
    let mut row = HEADER;
    for person in call.participants.iter().take(people) {
        let user = person.external_user_id.as_deref();
        let texts = [
            Some(person.name.as_str()),
            Some(if person.moderator {
                "Модератор"
            } else {
                "Участник"
            }),
            person.email.as_deref(),
            person.phone.as_deref(),
            user,
            user.map(|_| call.lesson.meeting_id.as_str()),
        ];
        for session in &person.sessions {
            row += 1;
            for (column, text) in (0..).zip(texts) {
                if let Some(text) = text {
                    sheet.write_string(row, column, text)?;
                }
            }
            for (column, at) in [(6, Some(session.joined_at)), (7, session.left_at)] {
                if let Some(at) = at {
                    let at = ExcelDateTime::from_timestamp(at.timestamp())?;
                    sheet.write_datetime_with_format(row, column, &at, &date)?;
                }
            }
        }
    }
    Ok(())
}

/// One row a message; times are text.
fn chat_sheet(sheet: &mut Worksheet, room: &Room, call: &Call, people: usize) -> Result<(), XlsxError> {
    head(sheet, &format!("Чат: {}", room.name), call, &CHAT)?;
    let mut row = HEADER;
    for message in call.messages.iter().filter(|message| message.from < people) {
        row += 1;
        let name = call
            .participants
            .get(message.from)
            .map(|person| person.name.as_str());
        sheet.write_string(row, 0, message.sent_at.format("%Y-%m-%d %H:%M:%S").to_string())?;
        sheet.write_string(row, 1, name.unwrap_or_default())?;
        sheet.write_string(row, 2, &message.text)?;
    }
    Ok(())
}
