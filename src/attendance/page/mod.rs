//! The page: one HTML file that needs no other. Pure.
//!
//! First the answer, then the cuts. Every chart has a table with the same numbers. Style and script are in the file; the
//! content security policy names them by their digests and allows nothing else, so that the file requests nothing.

mod charts;
mod cut;
mod texts;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use self::charts::{bar, class, text, trend};

use self::texts as t;
use super::summary::AttendanceSummary;
use super::tally::Tally;
use crate::lang::{self, Lang, PageText};
use crate::sanitize::escaped_lines;

/// The trend of a period of fewer days is by day.
const DAYS_BY_DAY: i64 = 15;
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The language of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageLanguage {
    /// English.
    En,
    /// Russian.
    Ru,
}

/// The choices for a page.
#[derive(Debug, Clone)]
pub struct PageOptions {
    /// The language.
    pub language: PageLanguage,
    /// True if students appear by their names, else by their ids in the LMS.
    pub names: bool,
    /// The lake's URL.
    pub lake: String,
    /// The time that the page was made.
    pub now: DateTime<Utc>,
    /// The lake's time zone.
    pub zone: Tz,
}

impl PageOptions {
    fn lang(&self) -> Lang {
        match self.language {
            PageLanguage::En => lang::Lang::En,
            PageLanguage::Ru => lang::Lang::Ru,
        }
    }
}

/// The page as HTML.
pub fn page(summary: &AttendanceSummary, options: &PageOptions) -> String {
    let lang = options.lang();
    let say = |text: PageText| lang.say(text);
    let title = lang.fill(t::TITLE, &[&lang.dates(summary.from, summary.to)]);
    let cuts = cut::cuts(summary, lang, options.names);
    let markup = html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { (say(t::SKIP)) }
                main #main tabindex="-1" {
                    h1 { (title) }
                    (answer(summary, lang))
                    @if summary.total.expected > 0 {
                        section {
                            h2 { (say(t::CUTS)) }
                            nav #cuts aria-label=(say(t::CUTS)) {
                                @for cut in &cuts { a href={ "#" (cut.id) } { (cut.title) } }
                            }
                            p.quiet { @if !options.names { (say(t::NO_NAMES)) } }
                        }
                        @for cut in &cuts { (cut.draw(&summary.weeks, lang)) }
                    }
                }
                footer {
                    (lang.fill(t::FOOTER, &[
                        &env!("CARGO_PKG_VERSION"),
                        &lang.instant(options.now, options.zone),
                        &options.lake,
                    ]))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    // Escape control characters, because names come from strangers and could falsify the page.
    escaped_lines(&markup.into_string()).into_owned()
}

fn policy() -> String {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digest(SCRIPT)
    )
}

fn answer(summary: &AttendanceSummary, lang: Lang) -> Markup {
    let say = |text: PageText| lang.say(text);
    let total = summary.total;
    let number = |value: u64| lang.number(value);
    let is_short = (summary.to - summary.from).num_days() < DAYS_BY_DAY;
    let periods = if is_short { &summary.days } else { &summary.weeks };
    html! {
        section #answer data-lessons=(summary.lessons) data-expected=(total.expected) data-attended=(total.attended)
            data-unknown=(total.unknown) data-late=(total.late) data-guests=(summary.guests) {
            h2 { (say(t::ANSWER)) }
            @if total.expected == 0 {
                p.answer { (say(t::NOTHING)) }
                p { (say(t::NOTHING_HINT)) }
            } @else {
                p.answer {
                    @if total.share().is_some() {
                        b { (text(total)) }
                        (lang.fill(t::CAME, &[&number(total.attended), &number(total.known())])) ", "
                        (lang.count(t::LESSON_COUNT, summary.lessons)) "."
                    } @else { (say(t::NONE_KNOWN)) }
                }
                p { (lang.fill(t::ABSENT_AND_LATE, &[&number(total.absent()), &number(total.late)])) }
                @if total.unknown > 0 { p { (lang.fill(t::UNKNOWN_LEFT_OUT, &[&number(total.unknown)])) } }
            }
            @if summary.guests > 0 { p.quiet { (lang.fill(t::GUESTS, &[&number(summary.guests)])) } }
        }
        @if total.expected > 0 {
            section {
                h2 { (say(if is_short { t::DAYS } else { t::TREND })) }
                (trend(lang, periods))
                details { summary { (say(t::TABLE)) } (trend_table(periods, is_short, lang)) }
            }
            section.pair { (lessons_to_look_at(summary, lang)) (groups_to_look_at(summary, lang)) }
        }
    }
}

/// The numbers of the trend.
fn trend_table(periods: &BTreeMap<NaiveDate, Tally>, is_short: bool, lang: Lang) -> Markup {
    html! {
        table #trend {
            thead { tr {
                th scope="col" { (lang.say(if is_short { t::DATE } else { t::WEEK_FROM })) }
                @for head in [t::EXPECTED, t::ATTENDED, t::ABSENT, t::LATE, t::SHARE] { th scope="col" { (lang.say(head)) } }
            } }
            tbody {
                @for (week, tally) in periods {
                    tr data-key=(week) data-expected=(tally.expected) data-attended=(tally.attended) {
                        th scope="row" { (lang.date(*week)) }
                        (numbers(*tally, lang))
                        (share_cell(*tally, lang))
                    }
                }
            }
        }
    }
}

/// The cells of a tally but for the share.
fn numbers(tally: Tally, lang: Lang) -> Markup {
    let cells = [
        (t::EXPECTED, tally.expected),
        (t::ATTENDED, tally.attended),
        (t::ABSENT, tally.absent()),
        (t::LATE, tally.late),
    ];
    html! {
        @for (label, value) in cells { td data-label=(lang.say(label)) { (lang.number(value)) } }
    }
}

fn share_cell(tally: Tally, lang: Lang) -> Markup {
    html! {
        td.share data-label=(lang.say(t::SHARE)) { span { (bar(tally)) " " b class=(class(tally.share())) { (text(tally)) } } }
    }
}

fn lessons_to_look_at(summary: &AttendanceSummary, lang: Lang) -> Markup {
    let joined = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    html! {
        div {
            h2 { (lang.say(t::LOOK_LESSONS)) }
            @if summary.lowest.is_empty() { p { (lang.say(t::LOOK_NONE)) } } @else {
                table #lowest-lessons {
                    thead { tr {
                        th scope="col" { (lang.say(t::LESSON)) }
                        th.text scope="col" { (lang.say(t::TEACHERS)) }
                        th scope="col" { (lang.say(t::ABSENT)) }
                        th scope="col" { (lang.say(t::SHARE)) }
                    } }
                    tbody {
                        @for lesson in &summary.lowest {
                            tr data-key=(lesson.meeting) data-expected=(lesson.visits.expected) data-attended=(lesson.visits.attended) {
                                th scope="row" {
                                    span {
                                        (lesson.name.as_deref().unwrap_or(&lesson.meeting)) br;
                                        span.quiet { (lang.day_and_month(lesson.date)) " " (joined(&lesson.groups)) }
                                    }
                                }
                                td.text data-label=(lang.say(t::TEACHERS)) { (joined(&lesson.teachers)) }
                                td data-label=(lang.say(t::ABSENT)) { (lang.number(lesson.visits.absent())) }
                                (share_cell(lesson.visits, lang))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn groups_to_look_at(summary: &AttendanceSummary, lang: Lang) -> Markup {
    let groups = summary.lowest_groups();
    html! {
        div {
            h2 { (lang.say(t::LOOK_GROUPS)) }
            @if groups.is_empty() { p { (lang.say(t::LOOK_NONE)) } } @else {
                table #lowest-groups {
                    thead { tr {
                        th scope="col" { (lang.say(t::GROUPS)) }
                        th scope="col" { (lang.say(t::LESSONS)) }
                        th scope="col" { (lang.say(t::ABSENT)) }
                        th scope="col" { (lang.say(t::SHARE)) }
                    } }
                    tbody {
                        @for (key, row) in groups {
                            tr data-key=(key) {
                                th scope="row" { (row.title(key)) }
                                td data-label=(lang.say(t::LESSONS)) { (lang.number(row.lessons)) }
                                td data-label=(lang.say(t::ABSENT)) { (lang.number(row.total.absent())) }
                                (share_cell(row.total, lang))
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
