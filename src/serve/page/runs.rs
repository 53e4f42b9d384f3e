//! The pages of runs: all of them in a table, and the page of a single run. Pure.

use std::sync::Arc;

use maud::{Markup, html};

use super::calendar::link;
use super::frame::{Here, Visit, page};
use super::lang::PageText;
use super::texts as t;
use super::view::DayCompleteness;
use super::work::command;
use crate::lake::key;
use crate::pipeline::{Outcome, Problem, Summary};
use crate::runlog::RunLog;

/// The most lines shown of a run's log.
const LINES: usize = 300;
/// The most problems shown of each list.
const SHOWN: usize = 500;

/// The badge of an outcome.
pub fn outcome(visit: &Visit, outcome: Outcome) -> Markup {
    let (state, text) = match outcome {
        Outcome::Running => (DayCompleteness::Pending, t::O_RUNNING),
        Outcome::Killed => (DayCompleteness::Failed, t::O_KILLED),
        Outcome::Cancelled => (DayCompleteness::Lost, t::O_CANCELLED),
        Outcome::Done => (DayCompleteness::Whole, t::O_DONE),
        Outcome::Partial => (DayCompleteness::Pending, t::O_PARTIAL),
        Outcome::Nothing => (DayCompleteness::Failed, t::O_NOTHING),
    };
    html! {
        span.badge.(state.class()) { span aria-hidden="true" { (state.sign()) } " " (visit.lang.say(text)) }
    }
}

fn name<'a>(visit: &Visit, run: &'a Summary) -> &'a str {
    command(&run.command).map_or(&run.command, |text| visit.lang.say(text))
}

fn took(visit: &Visit, run: &Summary) -> String {
    run.finished_at
        .map_or_else(|| "–".into(), |end| visit.lang.span(end - run.started_at))
}

/// The page of all runs.
pub fn all(visit: &Visit, runs: &[Arc<Summary>]) -> Markup {
    let title = visit.lang.say(t::RUNS);
    let content = html! {
        h1 { (title) }
        section #all-runs data-live { (table(visit, runs)) }
    };
    page(visit, Here::Runs, title, &content)
}

/// A table of runs with their numbers and durations.
pub fn table(visit: &Visit, runs: &[Arc<Summary>]) -> Markup {
    let lang = visit.lang;
    let head = [
        (t::STARTED, false),
        (t::COMMAND, false),
        (t::OUTCOME, false),
        (t::DATES, false),
        (t::TOOK, true),
        (t::DAYS, true),
        (t::CALLS, true),
        (t::REPORTS, true),
        (t::RECORDINGS, true),
        (t::BYTES, true),
        (t::REQUESTS, true),
        (t::PROBLEMS, true),
    ];
    html! {
        @if runs.is_empty() {
            p { (lang.say(t::NO_RUNS)) }
        } @else {
            div.scroll tabindex="0" role="region" aria-label=(lang.say(t::RUNS)) {
                table.numbers.stacked.runs {
                    thead { tr { @for (text, number) in head {
                        th scope="col" class=[number.then_some("number")] { (lang.say(text)) }
                    } } }
                    tbody { @for run in runs { (row(visit, run)) } }
                }
            }
        }
    }
}

fn row(visit: &Visit, run: &Summary) -> Markup {
    let (lang, c) = (visit.lang, &run.counts);
    html! {
        tr {
            th scope="row" { a href={ "/run?id=" (run.id) } { (visit.at(run.started_at)) } }
            td { (name(visit, run)) }
            td { (outcome(visit, run.outcome)) }
            td data-label=(lang.say(t::DATES)) { (lang.dates(run.from, run.to)) }
            @for (text, number) in [(t::TOOK, took(visit, run)), (t::DAYS, lang.number(c.days)), (t::CALLS, lang.number(c.calls)),
                (t::REPORTS, lang.number(c.reports_landed)), (t::RECORDINGS, lang.number(c.records_landed)),
                (t::BYTES, lang.bytes(c.recorded_bytes)), (t::REQUESTS, lang.number(c.requests))] {
                td.number data-label=(lang.say(text)) { (number) }
            }
            td.number data-label=(lang.say(t::PROBLEMS)) {
                @if run.failed.is_empty() { "0" } @else { b.warn { (lang.number(run.failed.len() as u64)) } }
                " / " (lang.number(run.pending.len() as u64)) " / " (lang.number(run.warnings.len() as u64))
            }
        }
    }
}

/// The page of a run, with its log if it is kept.
pub fn one(visit: &Visit, run: &Summary, log: Option<&RunLog>) -> Markup {
    let (lang, c) = (visit.lang, &run.counts);
    let title = format!("{}, {}", name(visit, run), visit.at(run.started_at));
    let numbers: [(PageText, String); 14] = [
        (t::TOOK, took(visit, run)),
        (t::DAYS, lang.number(c.days)),
        (t::DAYS_BUILT, lang.number(c.days_built)),
        (t::CALLS, lang.number(c.calls)),
        (
            t::REPORTS,
            lang.fill(
                t::LANDED_OF,
                &[&lang.number(c.reports_landed), &lang.number(c.reports.done)],
            ),
        ),
        (
            t::RECORDINGS,
            lang.fill(
                t::LANDED_OF,
                &[&lang.number(c.records_landed), &lang.number(c.records.done)],
            ),
        ),
        (t::BYTES, lang.bytes(c.recorded_bytes)),
        (t::REQUESTS, lang.number(c.requests)),
        (t::RETRIES, lang.number(c.retries)),
        (t::ROOMS_SKIPPED, lang.number(c.rooms_skipped)),
        (t::WITHOUT_META, lang.number(c.quality.participants_without_meta)),
        (t::ABSENT, lang.number(c.quality.meta_without_participants)),
        (t::DUPLICATES, lang.number(c.quality.duplicate_external_ids)),
        (t::WRITES, lang.number(c.writes)),
    ];
    let content = html! {
        h1 { (title) }
        section #run data-live {
        p { (outcome(visit, run.outcome)) " " (lang.dates(run.from, run.to)) " " code { (run.id) } }
        @if let Some(error) = &run.error { p.verdict.failed lang="en" { (error) } }
        @if run.interrupted { p { (lang.say(t::INTERRUPTED)) } }
        h2 { (lang.say(t::NUMBERS)) }
        dl.tiles { @for (text, number) in numbers { div { dt { (lang.say(text)) } dd { (number) } } } }
        (problems(visit, run, t::RUN_FAILED, &run.failed))
        (problems(visit, run, t::RUN_PENDING, &run.pending))
        (problems(visit, run, t::RUN_WARNINGS, &run.warnings))
        @if let Some(log) = log { (lines(visit, log)) }
        }
    };
    page(visit, Here::Elsewhere, &title, &content)
}

/// The latest lines of a run's log, oldest first.
fn lines(visit: &Visit, log: &RunLog) -> Markup {
    let lang = visit.lang;
    let left_out = log.left_out + log.lines.len().saturating_sub(LINES) as u64;
    let from = log.lines.len().saturating_sub(LINES);
    html! {
        h2 { (lang.say(t::LOG)) }
        @if log.lines.is_empty() { p { (lang.say(t::NO_LINES)) } }
        @if left_out > 0 { p.quiet { (lang.count(t::LINES_LEFT_OUT, left_out)) } }
        ol.log lang="en" {
            @for line in log.lines.iter().skip(from) {
                li {
                    span.quiet { (line.at.with_timezone(&visit.zone).format("%H:%M:%S").to_string()) } " "
                    @if line.level != "INFO" { b.warn { (line.level) } " " }
                    (line.message)
                    @for (name, value) in &line.fields {
                        " " span.quiet { (name) "=" @match value.as_str() { Some(text) => { (text) } None => { (value) } } }
                    }
                }
            }
        }
    }
}

fn problems(visit: &Visit, run: &Summary, title: PageText, problems: &[Problem]) -> Markup {
    let lang = visit.lang;
    html! {
        @if !problems.is_empty() {
            h2 { (lang.say(title)) ": " (lang.number(problems.len() as u64)) }
            div.scroll tabindex="0" role="region" aria-label=(lang.say(title)) {
                table.text.stacked {
                    thead { tr { @for text in [t::KIND, t::WHERE, t::MESSAGE] { th scope="col" { (lang.say(text)) } } } }
                    tbody { @for problem in problems.iter().take(SHOWN) { (of_problem(visit, problem)) } }
                }
            }
            @if problems.len() > SHOWN {
                p.quiet { (lang.fill(t::SHOWN_OF, &[&SHOWN, &lang.number(problems.len() as u64), &key::run(&run.id)])) }
            }
        }
    }
}

fn of_problem(visit: &Visit, problem: &Problem) -> Markup {
    let lang = visit.lang;
    let ids = [
        (t::SPACE, problem.space_id.as_deref()),
        (t::ROOM, problem.room_id.as_deref()),
        (t::CALL, problem.call_id.as_deref()),
        (t::RECORD, problem.record_id.as_deref()),
    ];
    html! {
        tr {
            td { code { (problem.kind) } }
            td {
                @if let Some(date) = problem.date {
                    a href=(link(date, problem.space_id.as_deref())) { (lang.date(date)) } " "
                }
                @for (text, id) in ids {
                    @if let Some(id) = id { span.id { (lang.say(text)) " " code { (id) } } " " }
                }
            }
            td lang="en" { (problem.message) }
        }
    }
}
