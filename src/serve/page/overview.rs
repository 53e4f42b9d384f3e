//! The first page: the verdict of last night, the calendar, running and next work, charts, the join, runs. Pure.

use std::sync::Arc;

use chrono::{Datelike, Days, NaiveDate};
use maud::{Markup, html};

use super::ahead::{Comes, NextRun, asks, builds, looks};
use super::calendar::{badge, calendar, in_words, link, months};
use super::cause::{self, Group};
use super::frame::{Here, Visit, page};
use super::lang::PageText;
use super::texts as t;
use super::view::{CalendarRow, DayCompleteness, Sums, View};
use super::work::{WorkSection, again, asked, load, section};
use super::{PageMemory, charts, runs};
use crate::pipeline::{Outcome, Summary};
use crate::serve::health::{CheckResult, CheckState};
use crate::status::MarkedDays;

/// The most older days named in the verdict.
const OLDER: usize = 10;
/// The most causes named in the verdict after the first.
const CAUSES: usize = 4;
/// The most days named where the join is worst.
const WORST: usize = 5;
/// The most months in the charts.
const MONTHS: usize = 36;

/// The data of the first page.
pub struct Overview<'a> {
    pub view: View<'a>,
    /// The latest runs, newest first.
    pub runs: &'a [Arc<Summary>],
    pub work: WorkSection,
    /// The month asked for.
    pub month: Option<NaiveDate>,
    /// True if the reader has just requested work.
    pub asked: bool,
    /// The states of store and token at the last check.
    pub health: [Option<CheckResult>; 2],
    /// The open days, to which the next run comes back, and that run.
    pub marked: &'a MarkedDays,
    pub ahead: NextRun,
}

/// The first sentence of the verdict.
enum Headline<'a> {
    /// The store is out of reach since then.
    Store(CheckResult),
    /// The API refuses the token since then.
    Token(CheckResult),
    /// The API does not answer since then.
    Api(CheckResult),
    /// The main cause why the day is not whole.
    Cause(&'a Group<'a>),
    /// The state of the day.
    DayCompleteness,
}

impl Overview<'_> {
    /// Renders the page.
    pub fn render(&self, visit: &Visit, of: &PageMemory) -> Markup {
        let lang = visit.lang;
        let all_months = self.view.months();
        let content = html! {
            h1.hidden { (lang.say(t::COVERAGE)) }
            @if self.asked { (asked(visit)) }
            div.split {
                (self.verdict(visit))
                (section(visit, of, &self.work))
            }
            (calendar(visit, &self.view, self.month))
            (load(visit, &self.view))
            @if !all_months.is_empty() {
                (self.over_time(visit, &all_months))
                (self.join(visit))
                (months(visit, &all_months))
            }
            section #runs data-live aria-labelledby="runs-title" {
                div.bar { h2 #runs-title { (lang.say(t::RUNS)) } a href="/runs" { (lang.say(t::ALL_RUNS)) } }
                (runs::table(visit, self.runs))
            }
        };
        page(visit, Here::Coverage, lang.say(t::COVERAGE), &content)
    }

    fn dates(&self) -> Vec<NaiveDate> {
        self.month
            .map_or_else(|| self.view.latest(), |first| self.view.month(first))
    }

    /// The verdict of last night: the day is whole, or why it is not and what to do.
    fn verdict(&self, visit: &Visit) -> Markup {
        let lang = visit.lang;
        let dates = self.view.latest();
        let rows = self.view.rows(&dates);
        let yesterday = visit.today - Days::new(1);
        let at = dates.len() - 2;
        let state = match self.view.worst(&rows, at, yesterday) {
            // A lake with any day should have yesterday too.
            DayCompleteness::Nothing if !self.view.is_empty() => DayCompleteness::Unseen,
            state => state,
        };
        let groups = match state {
            DayCompleteness::Unseen => Vec::new(),
            _ => cause::groups(&self.view, yesterday, self.runs),
        };
        let headline = self.headline(state, &groups);
        let is_lost = matches!(
            headline,
            Headline::Store(_) | Headline::Token(_) | Headline::Api(_)
        );
        let shown = if is_lost { DayCompleteness::Failed } else { state };
        let rest = match headline {
            Headline::Cause(_) => &groups[1..],
            _ => &groups[..],
        };
        let sums = self.view.sums(&[yesterday]);
        html! {
            section #verdict.verdict.(shown.class()) data-live aria-labelledby="verdict-title" {
                p.kicker { (lang.fill(t::LAST_DAY, &[&lang.date(yesterday)])) }
                h2 #verdict-title {
                    @if shown != DayCompleteness::Nothing { span.sign aria-hidden="true" { (shown.sign()) } }
                    (in_a_line(visit, state, &headline))
                }
                (way_out(visit, &headline))
                @if !matches!(headline, Headline::DayCompleteness) { p { (lang.say(title_of(state))) } }
                @if !rest.is_empty() {
                    ul.plain { @for group in rest.iter().take(CAUSES) { li { (cause::told(visit, group)) } } }
                    @if rest.len() > CAUSES { p { a href=(link(yesterday, None)) { (lang.fill(t::AND_MORE, &[&(rest.len() - CAUSES)])) } } }
                }
                @if !self.view.is_empty() { p { (in_numbers(visit, &sums)) } }
                @if let Some((now, usual)) = self.view.drop_on(yesterday) {
                    p { b.warn { (lang.fill(t::DROP, &[&lang.number(now), &lang.number(usual)])) } }
                }
                (self.what_next(visit, state, yesterday))
                (bad_spaces(visit, &rows, at, yesterday))
                @match state {
                    DayCompleteness::Unseen => { (again(visit, yesterday, None, t::RETRY_YESTERDAY, true)) }
                    DayCompleteness::Failed | DayCompleteness::Unbuilt => { (again(visit, yesterday, None, t::RETRY_DATE, true)) }
                    DayCompleteness::Pending | DayCompleteness::Lost => { (again(visit, yesterday, None, t::RETRY_DATE, false)) }
                    _ => {}
                }
                @if !self.view.is_empty() { (self.older(visit, &rows, &dates[..at])) }
                (self.last_run(visit, &headline))
            }
        }
    }

    /// Names causes before symptoms: without the store or the token nothing else can work.
    fn headline<'b>(&self, state: DayCompleteness, groups: &'b [Group<'b>]) -> Headline<'b> {
        let [store, token] = self.health;
        let is = |seen: Option<CheckResult>, how: CheckState| seen.filter(|seen| seen.how == how);
        if let Some(seen) = is(store, CheckState::OutOfReach) {
            Headline::Store(seen)
        } else if let Some(seen) = is(token, CheckState::Refused) {
            Headline::Token(seen)
        } else if let Some(seen) = is(token, CheckState::NoAnswer).filter(|_| state.is_open()) {
            Headline::Api(seen)
        } else {
            groups.first().map_or(Headline::DayCompleteness, Headline::Cause)
        }
    }

    /// Sentences about what the next run will do for a day that is not whole.
    fn what_next(&self, visit: &Visit, state: DayCompleteness, date: NaiveDate) -> Markup {
        let lang = visit.lang;
        let days = self.view.on(date);
        let open = days.iter().filter(|day| DayCompleteness::of(day) == state);
        // Take the latest, so that the promise holds for every space.
        let comes = open
            .map(|day| self.ahead.comes(day, self.marked))
            .max()
            .unwrap_or(Comes::Nobody);
        let in_vain = self.runs.first().filter(|run| run.outcome == Outcome::Nothing);
        html! {
            @match state {
                DayCompleteness::Pending | DayCompleteness::Failed => { p { (asks(visit, comes)) } }
                DayCompleteness::Unbuilt => { p { (builds(visit, comes)) } }
                DayCompleteness::Unseen => {
                    @if let Some(error) = in_vain.and_then(|run| run.error.as_ref()) { p lang="en" { (error) } }
                    p { (looks(visit, self.ahead.lists(date))) }
                }
                DayCompleteness::Denied => { p { (lang.say(t::DENIED_HINT)) } }
                DayCompleteness::Lost => { p { (lang.say(t::LOST_HINT)) } }
                DayCompleteness::Nothing => { p { (lang.say(t::NO_DAYS_HINT)) } }
                DayCompleteness::Whole | DayCompleteness::Empty => {}
            }
        }
    }

    fn older(&self, visit: &Visit, rows: &[CalendarRow<'_>], dates: &[NaiveDate]) -> Markup {
        let lang = visit.lang;
        let mut open: Vec<_> = dates
            .iter()
            .enumerate()
            .map(|(at, date)| (*date, self.view.worst(rows, at, *date)))
            .filter(|(_, state)| state.is_open())
            .collect();
        open.reverse();
        html! {
            @if open.is_empty() {
                p { (lang.say(t::OLDER_WHOLE)) }
            } @else {
                p { (lang.say(t::OLDER_OPEN)) }
                ul.plain.inline {
                    @for (date, state) in open.iter().take(OLDER) {
                        li {
                            a href=(link(*date, None)) { (lang.day_and_month(*date)) } " "
                            span.badge.(state.class()) title=(lang.say(in_words(*state))) {
                                span aria-hidden="true" { (state.sign()) } span.hidden { (lang.say(in_words(*state))) }
                            }
                        }
                    }
                    @if open.len() > OLDER { li { (lang.fill(t::AND_MORE, &[&(open.len() - OLDER)])) } }
                }
            }
        }
    }

    fn last_run(&self, visit: &Visit, headline: &Headline<'_>) -> Markup {
        let lang = visit.lang;
        let [store, token] = self.health;
        let is = |seen: Option<CheckResult>, how: CheckState| seen.filter(|seen| seen.how == how);
        html! {
            p.last {
                (lang.say(t::LAST_RUN)) ": "
                @match self.runs.first() {
                    Some(run) => {
                        a href={ "/run?id=" (run.id) } { (visit.at(run.started_at)) } ", " (runs::outcome(visit, run.outcome))
                        @if let Some(error) = &run.error { " " span lang="en" { (error) } }
                    }
                    None => { (lang.say(t::NO_RUNS)) }
                }
            }
            p.last {
                @if is(store, CheckState::Good).is_some() { (lang.say(t::STORE_OK)) }
                @if let Some(seen) = is(token, CheckState::Good) { ", " (lang.fill(t::TOKEN_OK, &[&visit.time(seen.at)])) }
                @if let (Some(seen), false) = (is(token, CheckState::NoAnswer), matches!(headline, Headline::Api(_))) {
                    ", " b.warn { (lang.fill(t::API_LOST, &[&visit.time(seen.since)])) }
                }
            }
        }
    }

    fn over_time(&self, visit: &Visit, all_months: &[super::view::Month]) -> Markup {
        let lang = visit.lang;
        let dates = self.dates();
        let by_day: Vec<(NaiveDate, Sums)> = dates
            .iter()
            .map(|date| (*date, self.view.sums(&[*date])))
            .collect();
        let mut by_month: Vec<(NaiveDate, Sums)> = all_months
            .iter()
            .take(MONTHS)
            .map(|month| (month.first, month.sums.clone()))
            .collect();
        by_month.reverse();
        let window = dates
            .first()
            .zip(dates.last())
            .map(|(from, to)| lang.dates(*from, *to));
        html! {
            section #charts data-live aria-labelledby="charts-title" {
                h2 #charts-title { (lang.say(t::OVER_TIME)) }
                h3 { (lang.fill(t::BY_DAY, &[&window.unwrap_or_default()])) }
                (charts::all(visit, false, &by_day))
                @if let [(first, _), .., (last, _)] = &by_month[..] {
                    @let name = |date: &NaiveDate| format!("{} {}", lang.month(*date), date.year());
                    h3 { (lang.fill(t::BY_MONTH, &[&format!("{} – {}", name(first), name(last))])) }
                    (charts::all(visit, true, &by_month))
                }
            }
        }
    }

    /// The section on how well lesson data and reports match in the window.
    fn join(&self, visit: &Visit) -> Markup {
        let lang = visit.lang;
        let dates = self.dates();
        let sums = self.view.sums(&dates);
        html! {
            section #join data-live aria-labelledby="join-title" {
                h2 #join-title { (lang.say(t::JOIN)) }
                @if sums.quality.is_none() {
                    p { (lang.say(if sums.participants > 0 { t::JOIN_WELL } else { t::JOIN_NONE })) }
                } @else {
                    (quality_tiles(visit, &sums))
                    (self.worst_joins(visit, &dates))
                }
            }
        }
    }

    /// The days with the most participants without lesson data.
    fn worst_joins(&self, visit: &Visit, dates: &[NaiveDate]) -> Markup {
        let lang = visit.lang;
        let mut worst: Vec<(u64, NaiveDate)> = dates
            .iter()
            .map(|date| (self.view.sums(&[*date]).quality.participants_without_meta, *date))
            .filter(|(count, _)| *count > 0)
            .collect();
        worst.sort_by(|a, b| b.cmp(a));
        html! {
            @if !worst.is_empty() {
                p { (lang.say(t::WORST_DAYS)) }
                ul.plain.inline {
                    @for (count, date) in worst.iter().take(WORST) {
                        li { a href=(link(*date, None)) { (lang.day_and_month(*date)) } " " (lang.number(*count)) }
                    }
                }
            }
        }
    }
}

/// The counts of the join, each with an explanation; those that hint at an error are marked.
fn quality_tiles(visit: &Visit, sums: &Sums) -> Markup {
    let (lang, quality) = (visit.lang, &sums.quality);
    let tiles = [
        (
            t::WITHOUT_META,
            t::WITHOUT_META_HINT,
            quality.participants_without_meta,
            true,
        ),
        (
            t::DUPLICATES,
            t::DUPLICATES_HINT,
            quality.duplicate_external_ids,
            true,
        ),
        (
            t::UNKNOWN_ROLES,
            t::UNKNOWN_ROLES_HINT,
            quality.unknown_roles,
            true,
        ),
        (
            t::ABSENT,
            t::ABSENT_HINT,
            quality.meta_without_participants,
            false,
        ),
    ];
    html! {
        dl.tiles {
            @for (text, hint, count, bad) in tiles {
                div {
                    dt { (lang.say(text)) span.quiet { (lang.say(hint)) } }
                    dd class=[(bad && count > 0).then_some("warn")] { (lang.number(count)) }
                }
            }
            div { dt { (lang.say(t::PARTICIPANTS)) } dd { (lang.number(sums.participants)) } }
        }
    }
}

fn title_of(state: DayCompleteness) -> PageText {
    match state {
        DayCompleteness::Whole => t::ALL_WHOLE,
        DayCompleteness::Empty => t::ALL_EMPTY,
        DayCompleteness::Denied => t::ALL_DENIED,
        DayCompleteness::Lost => t::ALL_LOST,
        DayCompleteness::Pending => t::ALL_PENDING,
        DayCompleteness::Unbuilt => t::ALL_UNBUILT,
        DayCompleteness::Unseen => t::ALL_UNSEEN,
        DayCompleteness::Failed => t::ALL_FAILED,
        DayCompleteness::Nothing => t::NO_DAYS,
    }
}

fn in_a_line(visit: &Visit, state: DayCompleteness, headline: &Headline<'_>) -> Markup {
    let lang = visit.lang;
    html! {
        @match headline {
            Headline::Store(seen) => { (lang.fill(t::STORE_LOST, &[&visit.time(seen.since)])) }
            Headline::Token(seen) => { (lang.fill(t::TOKEN_REFUSED, &[&visit.time(seen.since)])) }
            Headline::Api(seen) => { (lang.fill(t::API_LOST, &[&visit.time(seen.since)])) }
            Headline::Cause(group) => { (cause::told(visit, group)) }
            Headline::DayCompleteness => { (lang.say(title_of(state))) }
        }
    }
}

/// A hint for the operator about a cause.
fn way_out(visit: &Visit, headline: &Headline<'_>) -> Markup {
    let lang = visit.lang;
    html! {
        @match headline {
            Headline::Store(_) => { p { (lang.fill(t::STORE_LOST_HINT, &[&visit.time(visit.as_of)])) } }
            Headline::Token(_) => { p { (lang.say(t::TOKEN_HINT_NEW)) } }
            Headline::Api(_) => { p { (lang.say(t::API_LOST_HINT)) } }
            _ => {}
        }
    }
}

/// The spaces that need attention on a date.
fn bad_spaces(visit: &Visit, rows: &[CalendarRow<'_>], at: usize, date: NaiveDate) -> Markup {
    let bad: Vec<_> = rows.iter().filter(|row| row.cells[at].state.is_open()).collect();
    html! {
        @if !bad.is_empty() {
            ul.plain {
                @for row in bad.iter().take(OLDER) {
                    li { a href=(link(date, Some(row.space))) { (row.name) } " " (badge(visit, row.cells[at].state)) }
                }
                @if bad.len() > OLDER { li { a href=(link(date, None)) { (visit.lang.fill(t::AND_MORE, &[&(bad.len() - OLDER)])) } } }
            }
        }
    }
}

/// A line with the numbers of some days.
pub fn in_numbers(visit: &Visit, sums: &Sums) -> Markup {
    let lang = visit.lang;
    html! {
        (lang.count(t::N_CALLS, sums.calls)) ", " (lang.count(t::N_PARTICIPANTS, sums.participants)) ", "
        (lang.count(t::N_REPORTS, sums.reports)) ", " (lang.count(t::N_RECORDINGS, sums.records))
        " (" (lang.bytes(sums.bytes)) ")"
        @if sums.missing > 0 { "; " b { (lang.count(t::N_MISSING, sums.missing)) } }
    }
}
