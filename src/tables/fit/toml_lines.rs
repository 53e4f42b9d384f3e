//! Lines of a mapping file, in the order in which they can be pasted. Pure.

use std::collections::BTreeSet;

use crate::tables::report::outside::OutsideCall;

/// Lines of TOML: settings of the whole file, then the tables.
#[derive(Debug, Default)]
pub(crate) struct TomlLines {
    zone: Option<String>,
    formats: BTreeSet<&'static str>,
    tables: Vec<TomlTable>,
}

/// A zone for each offset in hours that the users of the platform may have.
const ZONES: [(i64, &str); 11] = [
    (2, "Europe/Kaliningrad"),
    (3, "Europe/Moscow"),
    (4, "Europe/Samara"),
    (5, "Asia/Yekaterinburg"),
    (6, "Asia/Omsk"),
    (7, "Asia/Novosibirsk"),
    (8, "Asia/Irkutsk"),
    (9, "Asia/Yakutsk"),
    (10, "Asia/Vladivostok"),
    (11, "Asia/Magadan"),
    (12, "Asia/Kamchatka"),
];

#[derive(Debug, Default)]
struct TomlTable {
    name: String,
    own: Vec<String>,
    columns: Vec<(String, String)>,
    sheets: Vec<String>,
    sheets_because: String,
    sheet_columns: Vec<SheetColumnLine>,
}

/// The feed of a column in a workbook.
#[derive(Debug, Default)]
struct SheetColumnLine {
    column: String,
    /// Texts of its header in quotes, or one feed of another form.
    feeds: Vec<String>,
    because: String,
}

impl TomlLines {
    /// Lines with the zone in which stays would lie within their call, if they miss it.
    pub fn of_zone(outside: Option<&OutsideCall>) -> Self {
        let mut lines = Self::default();
        if let Some(zone) = outside.and_then(|outside| outside.zone) {
            lines.zone(zone);
        }
        lines
    }

    /// Sets the zone of times without one, by its offset from UTC in minutes.
    pub fn zone(&mut self, minutes: i64) {
        let name = ZONES
            .iter()
            .find(|(hours, _)| hours * 60 == minutes)
            .map(|(_, name)| (*name).to_owned());
        let name = name.or_else(|| (minutes % 60 == 0).then(|| format!("Etc/GMT{:+}", -minutes / 60)));
        let sign = if minutes < 0 { '-' } else { '+' };
        let offset = format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60);
        self.zone = name.map(|name| {
            with_comment(
                &format!("zone = {}", quoted(&name)),
                &format!("{offset}: with it the stays lie within the call"),
            )
        });
    }

    /// Adds a notation of time.
    pub fn format(&mut self, format: &'static str) {
        self.formats.insert(format);
    }

    /// Adds a line below the table's header.
    pub fn table_line(&mut self, table: &str, line: &str, because: &str) {
        self.table(table).own.push(with_comment(line, because));
    }

    /// Adds the feed of a column.
    pub fn column_line(&mut self, table: &str, column: &str, feed: &str, because: &str) {
        let line = with_comment(&format!("{column} = {feed}"), because);
        self.table(table).columns.push((column.to_owned(), line));
    }

    /// Adds a sheet of a table.
    pub fn sheet(&mut self, table: &str, name: &str, because: &str) {
        let table = self.table(table);
        table.sheets.push(quoted(name));
        if table.sheets_because.is_empty() {
            because.clone_into(&mut table.sheets_because);
        }
    }

    /// Adds the header of a column in a workbook.
    pub fn sheet_column(&mut self, table: &str, column: &str, header: &str, because: &str) {
        self.sheet_feed(table, column, &quoted(header), because);
    }

    /// Adds the feed of a column in a workbook. A column of several sheets has one line.
    pub fn sheet_feed(&mut self, table: &str, column: &str, feed: &str, because: &str) {
        let columns = &mut self.table(table).sheet_columns;
        match columns.iter_mut().find(|known| known.column == column) {
            Some(known) if !known.feeds.iter().any(|other| other == feed) => {
                // A table of keys can't stand in a list.
                if !feed.starts_with('{') && !known.feeds[0].starts_with('{') {
                    known.feeds.push(feed.to_owned());
                }
            }
            Some(_) => {}
            None => columns.push(SheetColumnLine {
                column: column.to_owned(),
                feeds: vec![feed.to_owned()],
                because: because.to_owned(),
            }),
        }
    }

    /// True if a column has a feed.
    pub fn has(&self, table: &str, column: &str) -> bool {
        let table = self.tables.iter().find(|known| known.name == table);
        table.is_some_and(|table| table.columns.iter().any(|(known, _)| known == column))
    }

    fn table(&mut self, name: &str) -> &mut TomlTable {
        let known = self.tables.iter().position(|table| table.name == name);
        let at = known.unwrap_or_else(|| {
            let name = name.to_owned();
            self.tables.push(TomlTable {
                name,
                ..TomlTable::default()
            });
            self.tables.len() - 1
        });
        &mut self.tables[at]
    }

    /// The lines; none if nothing was added.
    pub fn finish(self) -> Vec<String> {
        let mut lines: Vec<String> = self.zone.into_iter().collect();
        if !self.formats.is_empty() {
            let formats: Vec<_> = self.formats.iter().map(|format| quoted(format)).collect();
            lines.push(format!("formats = [{}]", formats.join(", ")));
        }
        for table in self.tables {
            let name = table.name;
            let mut section = |suffix: &str, body: Vec<String>| {
                if !body.is_empty() {
                    lines.push(format!("[table.{name}{suffix}]"));
                    lines.extend(body);
                }
            };
            section("", table.own);
            section(
                ".columns",
                table.columns.into_iter().map(|(_, line)| line).collect(),
            );
            let sheets = (!table.sheets.is_empty()).then(|| {
                with_comment(
                    &format!("sheets = {}", one_or_list(&table.sheets)),
                    &table.sheets_because,
                )
            });
            section(".xlsx", sheets.into_iter().collect());
            let columns = table.sheet_columns.iter().map(|line| {
                let feed = format!("{} = {}", line.column, one_or_list(&line.feeds));
                with_comment(&feed, &line.because)
            });
            section(".xlsx.columns", columns.collect());
        }
        lines
    }
}

/// A value, or a list of several.
fn one_or_list(values: &[String]) -> String {
    match values {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

fn with_comment(line: &str, because: &str) -> String {
    if because.is_empty() {
        line.to_owned()
    } else {
        format!("{line}  # {because}")
    }
}

/// A text in quotes, as TOML reads it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            character if character.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(character)))
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_toml_in_the_order_of_a_file() {
        let mut lines = TomlLines::default();
        lines.column_line("participants", "name", &quoted("a\"\\b"), "looks like a name");
        lines.table_line("participants", "rows = \"users[]\"", "");
        lines.format("%d/%m/%Y");
        lines.zone(180);
        for sheet in ["Лист1", "Лист2"] {
            lines.sheet("participants", sheet, "header in row 1");
            lines.sheet_column("participants", "role", "Роль", "");
        }
        lines.sheet_column("participants", "role", "Role", "");
        let text = lines.finish().join("\n");
        let value: toml::Table = toml::from_str(&text).expect("TOML");
        assert_eq!(value["formats"][0].as_str(), Some("%d/%m/%Y"));
        assert_eq!(value["zone"].as_str(), Some("Europe/Moscow"));
        let table = &value["table"]["participants"];
        assert_eq!(table["rows"].as_str(), Some("users[]"));
        assert_eq!(table["columns"]["name"].as_str(), Some("a\"\\b"));
        assert_eq!(table["xlsx"]["sheets"].as_array().map(Vec::len), Some(2));
        assert_eq!(table["xlsx"]["columns"]["role"].as_array().map(Vec::len), Some(2));
    }
}
