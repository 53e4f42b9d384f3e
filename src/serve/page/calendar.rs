//! The calendar: days by space in a window, and months. Pure.

use chrono::{Datelike, Months, NaiveDate};
use maud::{Markup, html};

use super::frame::Visit;
use super::lang::PageText;
use super::texts as t;
use super::view::{CalendarRow, DayCompleteness, Month, View, missing};
use super::{charts, encoded};

/// Spaces without problems are folded if there are more spaces than `UNFOLDED` and at least `FOLDED` without problems.
const UNFOLDED: usize = 8;
const FOLDED: usize = 3;

const STATES: [DayCompleteness; 8] = [
    DayCompleteness::Whole,
    DayCompleteness::Empty,
    DayCompleteness::Pending,
    DayCompleteness::Unbuilt,
    DayCompleteness::Failed,
    DayCompleteness::Unseen,
    DayCompleteness::Lost,
    DayCompleteness::Denied,
];

/// The text of a state.
pub fn in_words(state: DayCompleteness) -> PageText {
    match state {
        DayCompleteness::Nothing => t::NOTHING,
        DayCompleteness::Empty => t::EMPTY,
        DayCompleteness::Whole => t::WHOLE,
        DayCompleteness::Denied => t::DENIED,
        DayCompleteness::Lost => t::LOST_DAY,
        DayCompleteness::Pending => t::PENDING,
        DayCompleteness::Unbuilt => t::UNBUILT,
        DayCompleteness::Unseen => t::UNSEEN,
        DayCompleteness::Failed => t::FAILED,
    }
}

/// The sign and the text of a state.
pub fn badge(visit: &Visit, state: DayCompleteness) -> Markup {
    html! {
        span.badge.(state.class()) { span aria-hidden="true" { (state.sign()) } " " (visit.lang.say(in_words(state))) }
    }
}

/// The URL of a day.
pub fn link(date: NaiveDate, space: Option<&str>) -> String {
    match space {
        Some(space) => format!("/day?date={date}&space={}", encoded(space)),
        None => format!("/day?date={date}"),
    }
}

/// The calendar of `month` if one was chosen, else of the latest weeks.
pub fn calendar(visit: &Visit, view: &View<'_>, month: Option<NaiveDate>) -> Markup {
    let lang = visit.lang;
    let dates = month.map_or_else(|| view.latest(), |first| view.month(first));
    let rows = view.rows(&dates);
    let title = month.map_or_else(
        || lang.say(t::LATEST).to_owned(),
        |first| format!("{} {}", lang.month(first), first.year()),
    );
    html! {
        section #calendar data-live aria-labelledby="calendar-title" {
            div.bar {
                h2 #calendar-title { (lang.say(t::CALENDAR)) ": " (title) }
                (turn(visit, month))
            }
            @if rows.is_empty() {
                p { (lang.say(t::NO_ROWS)) }
            } @else {
                @let open = rows.iter().filter(|row| row.is_open()).count();
                @let shown = if rows.len() > UNFOLDED && rows.len() - open >= FOLDED { open } else { rows.len() };
                table.days {
                    caption.hidden { (title) }
                    (dates_above(visit, &dates))
                    tbody {
                        @if rows.len() > 1 { (of_all(visit, view, &rows, &dates)) }
                        @for row in &rows[..shown] { (of_space(visit, row)) }
                    }
                }
                @if shown < rows.len() {
                    details #without-problems {
                        summary { (lang.count(t::N_WHOLE_SPACES, (rows.len() - shown) as u64)) }
                        table.days {
                            caption.hidden { (title) }
                            (dates_above(visit, &dates))
                            tbody { @for row in &rows[shown..] { (of_space(visit, row)) } }
                        }
                    }
                }
                @if let (Some(from), Some(to)) = (dates.first(), dates.last()) {
                    p { a href={ "/missing.csv?from=" (from) "&to=" (to) } download { (lang.say(t::MISSING_CSV)) } }
                }
                (legend(visit))
            }
        }
    }
}

fn turn(visit: &Visit, month: Option<NaiveDate>) -> Markup {
    let say = |text| visit.lang.say(text);
    let this_month = visit.today.with_day(1).unwrap_or(visit.today);
    let before = month.unwrap_or(this_month) - Months::new(u32::from(month.is_some()));
    let address = |month: NaiveDate| format!("/?month={}#calendar", month.format("%Y-%m"));
    html! {
        nav.turn aria-label=(say(t::CALENDAR)) {
            a #before href=(address(before)) rel="prev" { "← " (visit.lang.month(before)) " " (before.year()) }
            @if let Some(month) = month {
                @let after = month + Months::new(1);
                @if after <= this_month {
                    a #after href=(address(after)) rel="next" { (visit.lang.month(after)) " " (after.year()) " →" }
                }
                a #latest href="/#calendar" { (say(t::LATEST)) }
            }
        }
    }
}

fn dates_above(visit: &Visit, dates: &[NaiveDate]) -> Markup {
    let mut months: Vec<(NaiveDate, usize)> = Vec::new();
    for date in dates {
        match months.last_mut() {
            Some((month, days)) if month.month() == date.month() => *days += 1,
            _ => months.push((*date, 1)),
        }
    }
    html! {
        thead {
            tr {
                td {}
                @for (month, days) in months {
                    th scope="colgroup" colspan=(days) { (visit.lang.month(month)) }
                }
            }
            tr {
                th scope="col" { (visit.lang.say(t::SPACE)) }
                @for date in dates {
                    @let weekend = date.weekday().num_days_from_monday() >= 5;
                    th scope="col" class=[weekend.then_some("weekend")] aria-current=[(*date == visit.today).then_some("date")] {
                        (date.day()) small { (visit.lang.weekday(date.weekday())) }
                    }
                }
            }
        }
    }
}

fn of_all(visit: &Visit, view: &View<'_>, rows: &[CalendarRow<'_>], dates: &[NaiveDate]) -> Markup {
    let name = visit.lang.say(t::ALL_SPACES);
    html! {
        tr.all {
            th scope="row" { (name) }
            @for (at, date) in dates.iter().enumerate() {
                (cell(visit, name, *date, view.worst(rows, at, *date), None, None))
            }
        }
    }
}

fn of_space(visit: &Visit, row: &CalendarRow<'_>) -> Markup {
    html! {
        tr {
            th scope="row" title=(row.space) { (row.name) }
            @for one in &row.cells {
                @let lack = one.day.map_or(0, missing);
                (cell(visit, row.name, one.date, one.state, Some(row.space), Some(lack)))
            }
        }
    }
}

fn cell(
    visit: &Visit,
    name: &str,
    date: NaiveDate,
    state: DayCompleteness,
    space: Option<&str>,
    lack: Option<u64>,
) -> Markup {
    let lang = visit.lang;
    if state == DayCompleteness::Nothing {
        return html! { td { span.nothing { i { (date.day()) } } } };
    }
    let words = lang.say(in_words(state));
    let mut label = lang.fill(t::CELL, &[&name, &lang.day_and_month(date), &words]);
    if let Some(lack) = lack.filter(|lack| *lack > 0) {
        label = format!("{label}, {}", lang.count(t::N_MISSING, lack));
    }
    html! {
        td {
            a.(state.class()) href=(link(date, space)) aria-label=(label) title=[state.is_open().then_some(&label)] {
                i { (date.day()) } (state.sign())
            }
        }
    }
}

fn legend(visit: &Visit) -> Markup {
    html! {
        ul.legend aria-label=(visit.lang.say(t::LEGEND)) {
            @for state in STATES { li { (badge(visit, state)) } }
        }
    }
}

/// All months of the lake by year, with the latest year unfolded.
pub fn months(visit: &Visit, months: &[Month]) -> Markup {
    let lang = visit.lang;
    let latest = months.first().map(|month| month.first.year());
    let mut years: Vec<i32> = months.iter().map(|month| month.first.year()).collect();
    years.dedup();
    html! {
        section #months data-live aria-labelledby="months-title" {
            h2 #months-title { (lang.say(t::MONTHS)) }
            @for year in years {
                details open[Some(year) == latest] {
                    summary { (year) }
                    div.scroll tabindex="0" role="region" aria-label=(year) {
                        table.numbers.stacked {
                            thead { tr {
                                th scope="col" { (lang.say(t::MONTH)) }
                                th.wide scope="col" { (lang.say(t::DAYS_STAND)) }
                                @for text in [t::NOT_WHOLE, t::CALLS, t::PARTICIPANTS, t::RECORDINGS, t::HOURS, t::BYTES] {
                                    th.number scope="col" { (lang.say(text)) }
                                }
                            } }
                            tbody {
                                @for month in months.iter().filter(|month| month.first.year() == year) {
                                    (of_month(visit, month))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn of_month(visit: &Visit, month: &Month) -> Markup {
    let lang = visit.lang;
    let parts: Vec<_> = month
        .states
        .iter()
        .map(|(state, count)| (state.class(), *count))
        .collect();
    let told: Vec<String> = month
        .states
        .iter()
        .rev()
        .map(|(state, count)| format!("{}: {}", lang.say(in_words(*state)), lang.number(*count)))
        .collect();
    let open: u64 = month
        .states
        .iter()
        .filter(|(state, _)| state.is_open())
        .map(|(_, count)| count)
        .sum();
    let sums = &month.sums;
    html! {
        tr {
            th scope="row" {
                a href={ "/?month=" (month.first.format("%Y-%m").to_string()) "#calendar" } { (lang.month(month.first)) }
            }
            td.wide { (charts::shares(&told.join(", "), &parts)) }
            td.number data-label=(lang.say(t::NOT_WHOLE)) { @if open > 0 { b.warn { (lang.number(open)) } } @else { "0" } }
            @for (text, number) in [(t::CALLS, lang.number(sums.calls)), (t::PARTICIPANTS, lang.number(sums.participants)),
                (t::RECORDINGS, lang.number(sums.records)), (t::HOURS, lang.hours(sums.recorded_s)), (t::BYTES, lang.bytes(sums.bytes))] {
                td.number data-label=(lang.say(text)) { (number) }
            }
        }
    }
}
