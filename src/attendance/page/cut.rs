//! The cuts of the page: a section with a table for each. Pure.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use maud::{Markup, html};

use super::charts::small_trend;
use super::texts as t;
use crate::attendance::cut::shown_id;
use crate::attendance::{AttendanceSummary, Cut, CutRow, Tally};
use crate::lang::{Lang, PageText};

/// The most rows of a table, so that the file stays fit for a mail.
const MOST_ROWS: usize = 1000;

/// A cut as the page shows it.
pub(super) struct CutTable<'s> {
    /// The id of its section.
    pub id: String,
    /// Its name in the switch.
    pub title: String,
    rows: Vec<(&'s str, &'s CutRow)>,
    left_out: usize,
    /// True if rows appear by their names, else by their keys.
    names: bool,
    /// True if the rows are teachers.
    has_held: bool,
}

impl<'s> CutTable<'s> {
    fn new(id: String, title: &str, cut: &'s Cut) -> Self {
        let mut rows = cut.worst_first();
        let left_out = rows.len().saturating_sub(MOST_ROWS);
        rows.truncate(MOST_ROWS);
        Self {
            id,
            title: title.into(),
            rows,
            left_out,
            names: true,
            has_held: false,
        }
    }

    /// The section.
    pub fn draw(&self, weeks: &BTreeMap<NaiveDate, Tally>, lang: Lang) -> Markup {
        let say = |text: PageText| lang.say(text);
        let heads = [
            (t::LESSONS, "lessons"),
            (t::EXPECTED, "expected"),
            (t::ATTENDED, "attended"),
            (t::ABSENT, "absent"),
            (t::LATE, "late"),
            (t::SHARE, "share"),
        ];
        html! {
            section id=(self.id) {
                h2 { (self.title) }
                (self.filters(lang))
                table {
                    thead { tr {
                        th scope="col" data-sort="name" { (self.title) }
                        @for (head, key) in heads { th scope="col" data-sort=(key) { (say(head)) } }
                        @if self.has_held { th scope="col" { (say(t::HELD)) } }
                        th.text scope="col" { (say(t::BY_WEEK)) }
                    } }
                    tbody { @for (key, row) in &self.rows { (self.row(key, row, weeks, lang)) } }
                }
                @if self.left_out > 0 {
                    p.quiet { (lang.fill(t::LEFT_OUT, &[&lang.number(self.left_out as u64)])) }
                }
            }
        }
    }

    /// The filters, which the script shows.
    fn filters(&self, lang: Lang) -> Markup {
        let say = |text: PageText| lang.say(text);
        html! {
            div.filters hidden {
                label { (say(t::FILTER)) " " input type="search" autocomplete="off"; }
                label {
                    (say(t::BELOW)) " "
                    select {
                        option value="9" { (say(t::ANY)) }
                        @for percent in [90, 75, 50] {
                            option value=(format!("0.{percent}")) { (percent) " %" }
                        }
                    }
                }
                span.quiet role="status" data-text=(say(t::SHOWN)) {}
            }
        }
    }

    fn row(&self, key: &str, row: &CutRow, weeks: &BTreeMap<NaiveDate, Tally>, lang: Lang) -> Markup {
        let title = if self.names { row.title(key) } else { shown_id(key) };
        let total = row.total;
        let share = total.share().map(|share| share.to_string()).unwrap_or_default();
        html! {
            tr data-key=(key) data-lessons=(row.lessons) data-expected=(total.expected) data-attended=(total.attended)
                data-absent=(total.absent()) data-unknown=(total.unknown) data-late=(total.late) data-share=(share) {
                th scope="row" { (title) }
                td data-label=(lang.say(t::LESSONS)) { (lang.number(row.lessons)) }
                (super::numbers(total, lang))
                (super::share_cell(total, lang))
                @if self.has_held {
                    td data-label=(lang.say(t::HELD)) { (lang.number(row.held.attended)) ", " (lang.number(row.held.late)) }
                }
                td.text.weeks data-label=(lang.say(t::BY_WEEK)) { (small_trend(lang, weeks, &row.weeks)) }
            }
        }
    }
}

/// All cuts that have rows.
pub(super) fn cuts(summary: &AttendanceSummary, lang: Lang, names: bool) -> Vec<CutTable<'_>> {
    let own = [
        ("course", t::COURSES, &summary.courses),
        ("group", t::GROUPS, &summary.groups),
        ("teacher", t::TEACHERS, &summary.teachers),
        ("student", t::STUDENTS, &summary.students),
    ];
    let own = own.into_iter().map(|(id, title, cut)| CutTable {
        names: names || id != "student",
        has_held: id == "teacher",
        ..CutTable::new(id.into(), lang.say(title), cut)
    });
    let levels = summary.levels.iter().enumerate();
    // The key of a level is a stranger's text, so that the id of its section is a number.
    let levels = levels.map(|(at, (level, cut))| CutTable::new(format!("level-{}", at + 1), level, cut));
    own.chain(levels).filter(|cut| !cut.rows.is_empty()).collect()
}
