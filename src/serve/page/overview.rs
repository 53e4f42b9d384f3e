//! The first page: whether last night is whole, the calendar, what happens now and next, charts, join, runs. Pure.

use std::sync::Arc;

use chrono::{Datelike, Days, NaiveDate};
use maud::{Markup, html};

use super::calendar::{badge, calendar, in_words, link, months};
use super::frame::{Here, Visit, page};
use super::lang::Text;
use super::texts as t;
use super::view::{State, Sums, View};
use super::work::{Work, again, asked, load, section};
use super::{Page, charts, runs};
use crate::export::Summary;

/// Older days named in the verdict.
const OLDER: usize = 10;
/// Days named where the join is worst.
const WORST: usize = 5;
/// Months in the charts.
const MONTHS: usize = 36;

/// What the page is made of.
pub struct Overview<'a> {
    pub view: View<'a>,
    /// The latest runs, newest first.
    pub runs: &'a [Arc<Summary>],
    pub work: Work,
    /// The month asked for.
    pub month: Option<NaiveDate>,
    /// Whether something was just asked for.
    pub asked: bool,
    /// What `/readyz` says of store and token.
    pub health: [&'static str; 2],
}

impl Overview<'_> {
    /// The page.
    pub fn render(&self, visit: &Visit, of: &Page) -> Markup {
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

    /// Whether last night is whole, at one look; and what to do.
    fn verdict(&self, visit: &Visit) -> Markup {
        let lang = visit.lang;
        let dates = self.view.latest();
        let rows = self.view.rows(&dates);
        let yesterday = visit.today - Days::new(1);
        let at = dates.len() - 2;
        let state = match self.view.worst(&rows, at, yesterday) {
            // Whoever has a lake wants yesterday in it.
            State::Nothing if !self.view.is_empty() => State::Unseen,
            state => state,
        };
        let (title, hint) = verdict_of(state);
        let sums = self.view.sums(&[yesterday]);
        html! {
            section #verdict.verdict.(state.class()) data-live aria-labelledby="verdict-title" {
                p.kicker { (lang.fill(t::LAST_DAY, &[&lang.date(yesterday)])) }
                h2 #verdict-title {
                    @if state != State::Nothing { span.sign aria-hidden="true" { (state.sign()) } }
                    (lang.say(title))
                }
                @if !self.view.is_empty() { p { (in_numbers(visit, &sums)) } }
                @if let Some(hint) = hint { p { (lang.say(hint)) } }
                @let bad: Vec<_> = rows.iter().filter(|row| row.cells[at].state.is_open()).collect();
                @if !bad.is_empty() {
                    ul.plain {
                        @for row in bad.iter().take(OLDER) {
                            li { a href=(link(yesterday, Some(row.space))) { (row.name) } " " (badge(visit, row.cells[at].state)) }
                        }
                        @if bad.len() > OLDER { li { a href=(link(yesterday, None)) { (lang.fill(t::AND_MORE, &[&(bad.len() - OLDER)])) } } }
                    }
                }
                @match state {
                    State::Unseen => { (again(visit, yesterday, None, t::RETRY_YESTERDAY, true)) }
                    State::Failed => { (again(visit, yesterday, None, t::RETRY_DATE, true)) }
                    State::Pending | State::Lost => { (again(visit, yesterday, None, t::RETRY_DATE, false)) }
                    _ => {}
                }
                @if !self.view.is_empty() { (self.older(visit, &rows, &dates[..at])) }
                (self.last_run(visit))
            }
        }
    }

    fn older(&self, visit: &Visit, rows: &[super::view::Row<'_>], dates: &[NaiveDate]) -> Markup {
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

    fn last_run(&self, visit: &Visit) -> Markup {
        let lang = visit.lang;
        let [store, token] = self.health;
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
                @match store {
                    "ok" => { (lang.say(t::STORE_OK)) }
                    "out of reach" => { b.warn { (lang.say(t::STORE_LOST)) } }
                    _ => {}
                }
                @match token {
                    "ok" => { ", " (lang.say(t::TOKEN_OK)) }
                    "refused" => { ", " b.warn { (lang.say(t::TOKEN_REFUSED)) } }
                    "the API does not answer" => { ", " b.warn { (lang.say(t::API_LOST)) } }
                    _ => {}
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

    /// How well lesson data and reports fit together in the window.
    fn join(&self, visit: &Visit) -> Markup {
        let lang = visit.lang;
        let dates = self.dates();
        let sums = self.view.sums(&dates);
        let quality = &sums.quality;
        let mut worst: Vec<(u64, NaiveDate)> = dates
            .iter()
            .map(|date| (self.view.sums(&[*date]).quality.participants_without_meta, *date))
            .filter(|(count, _)| *count > 0)
            .collect();
        worst.sort_by(|a, b| b.cmp(a));
        let lines = [
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
            section #join data-live aria-labelledby="join-title" {
                h2 #join-title { (lang.say(t::JOIN)) }
                @if quality.is_none() {
                    p { (lang.say(if sums.participants > 0 { t::JOIN_WELL } else { t::JOIN_NONE })) }
                } @else {
                    dl.tiles {
                        @for (text, hint, count, bad) in lines {
                            div {
                                dt { (lang.say(text)) span.quiet { (lang.say(hint)) } }
                                dd class=[(bad && count > 0).then_some("warn")] { (lang.number(count)) }
                            }
                        }
                        div { dt { (lang.say(t::PARTICIPANTS)) } dd { (lang.number(sums.participants)) } }
                    }
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
    }
}

fn verdict_of(state: State) -> (Text, Option<Text>) {
    match state {
        State::Whole => (t::ALL_WHOLE, None),
        State::Empty => (t::ALL_EMPTY, None),
        State::Denied => (t::ALL_DENIED, Some(t::DENIED_HINT)),
        State::Lost => (t::ALL_LOST, Some(t::LOST_HINT)),
        State::Pending => (t::ALL_PENDING, Some(t::PENDING_HINT)),
        State::Unseen => (t::ALL_UNSEEN, Some(t::UNSEEN_HINT)),
        State::Failed => (t::ALL_FAILED, Some(t::FAILED_HINT)),
        State::Nothing => (t::NO_DAYS, Some(t::NO_DAYS_HINT)),
    }
}

/// What there is of some days, in a line.
pub fn in_numbers(visit: &Visit, sums: &Sums) -> Markup {
    let lang = visit.lang;
    html! {
        (lang.count(t::N_CALLS, sums.calls)) ", " (lang.count(t::N_PARTICIPANTS, sums.participants)) ", "
        (lang.count(t::N_REPORTS, sums.reports)) ", " (lang.count(t::N_RECORDINGS, sums.records))
        " (" (lang.bytes(sums.bytes)) ")"
        @if sums.missing > 0 { "; " b { (lang.count(t::N_MISSING, sums.missing)) } }
    }
}
