//! The section of running and next work, and the form of a backfill. Pure, apart from [`WorkSection::of`].

use chrono::{DateTime, NaiveDate, Utc};
use maud::{Markup, html};

use super::frame::Visit;
use super::lang::PageText;
use super::texts as t;
use super::view::View;
use super::{PageMemory, PageState, assets};
use crate::dates;
use crate::metrics::METRICS;
use crate::pipeline::{Command, Phase};
use crate::schedule;
use crate::serve::audit::{Caller, Credential};
use crate::serve::jobs::{self, JobList, JobState, ListedJob};
use crate::serve::running::{JobProgress, MeterProgress};

/// A longer job lists its dates one window after another, so its goals grow.
const WINDOW_DAYS: i64 = 31;
/// The due times shown.
const NEXT: usize = 3;

/// The daemon's work at the moment.
pub struct WorkSection {
    list: JobList,
    due: Vec<DateTime<Utc>>,
    next_event: Option<DateTime<Utc>>,
    events: u64,
    meta: u64,
}

impl WorkSection {
    pub fn of(state: &PageState, now: DateTime<Utc>) -> Self {
        let config = &state.config;
        let count = |gauge: i64| u64::try_from(gauge).unwrap_or_default();
        Self {
            list: jobs::list(&state.jobs),
            due: schedule::next_runs(&config.schedule.cron, config.timezone, now, NEXT).unwrap_or_default(),
            next_event: state.jobs.events.next_due(),
            events: count(METRICS.events_waiting.get()),
            meta: count(METRICS.meta_waiting.get()),
        }
    }

    /// True if a job runs or will start by itself.
    fn is_busy(&self) -> bool {
        let is_paused = self.list.paused.is_some();
        let mut jobs = self.list.jobs.iter();
        jobs.any(|job| !is_paused || job.state != JobState::Waiting)
    }
}

/// The name of a command for people.
pub fn command(name: &str) -> Option<PageText> {
    match Command::from_name(name)? {
        Command::Run => Some(t::SCHEDULED_RUN),
        Command::Backfill => Some(t::BACKFILL),
        Command::Webhook => Some(t::WEBHOOK_LOOK),
        Command::Rebuild => Some(t::REBUILD),
        Command::Repair
        | Command::Demo
        | Command::MetaImport
        | Command::Delta
        | Command::Retain
        | Command::Forget => None,
    }
}

/// The section of work, which the script also requests by itself.
pub fn section(visit: &Visit, page: &PageMemory, work: &WorkSection) -> Markup {
    let lang = visit.lang;
    let busy = work.is_busy();
    html! {
        section #work aria-labelledby="work-title" data-busy=[busy.then_some("")] data-said=(said(visit, work))
            data-version=(assets::PROGRAM.as_str()) {
            h2 #work-title { (lang.say(t::WORK)) }
            @match &work.list.paused {
                Some(paused) => {
                    p.paused { (lang.fill(t::PAUSED, &[&visit.time(paused.since), &by(visit, &paused.by)])) }
                    (pause(visit, false))
                }
                None => {}
            }
            @if work.list.jobs.is_empty() { p { (lang.say(t::IDLE)) } }
            @for one in &work.list.jobs { (job(visit, page, one)) }
            dl {
                dt { (lang.say(t::NEXT_RUNS)) }
                @for due in &work.due {
                    dd { (visit.at(*due)) " " span.quiet { "(" (lang.fill(t::IN_SPAN, &[&lang.span(*due - visit.now)])) ")" } }
                }
                @if work.due.is_empty() { dd { (lang.say(t::NO_SCHEDULE)) } }
                dt { (lang.say(t::EVENTS)) }
                dd {
                    @if work.events == 0 { (lang.say(t::NO_EVENTS)) } @else { (lang.count(t::N_EVENTS, work.events)) }
                    @if let Some(next) = work.next_event { ", " (lang.fill(t::NEXT_EVENT, &[&visit.at(next)])) }
                }
                dt { (lang.say(t::META)) }
                dd { @if work.meta == 0 { (lang.say(t::NO_META)) } @else { (lang.count(t::N_META, work.meta)) } }
            }
            @if work.list.paused.is_none() { (pause(visit, true)) }
        }
    }
}

/// The button that pauses the queue, or ends the pause.
fn pause(visit: &Visit, on: bool) -> Markup {
    let text = if on { t::PAUSE } else { t::RESUME };
    html! {
        form.pause method="post" action="/pause" data-once {
            input type="hidden" name="on" value=(on);
            button #pause class=(if on { "small" } else { "strong" }) { (visit.lang.say(text)) }
        }
    }
}

/// The text for screen readers, without seconds and bytes, so that it changes rarely.
fn said(visit: &Visit, work: &WorkSection) -> String {
    let lang = visit.lang;
    let at_work = work.list.jobs.iter().find_map(|job| job.progress.as_ref());
    match at_work {
        Some(one) => {
            let name = command(one.command.name()).map_or(one.command.name(), |text| lang.say(text));
            let days = [one.days.done, one.days.goal].map(|count| lang.number(count));
            lang.fill(t::SAID, &[&name, &lang.say(phase(one.phase)), &days[0], &days[1]])
        }
        None if work.is_busy() => lang.say(t::WAITING).to_owned(),
        None => lang.say(t::SAID_IDLE).to_owned(),
    }
}

fn phase(phase: Phase) -> PageText {
    match phase {
        Phase::Start => t::PHASE_START,
        Phase::Walk => t::PHASE_WALK,
        Phase::Days => t::PHASE_DAYS,
    }
}

/// A job: its scope, its progress, its requester, and the button that cancels it.
fn job(visit: &Visit, page: &PageMemory, one: &ListedJob) -> Markup {
    let lang = visit.lang;
    let name = command(one.kind.name()).map_or(one.kind.name(), |text| lang.say(text));
    let narrowed = [
        (t::N_ROOMS, one.rooms.len()),
        (t::N_CALLS, one.calls.len()),
        (t::N_RECORDINGS, one.records.len()),
    ];
    html! {
        div.job {
            p {
                b { (name) }
                @match (one.from, one.to) {
                    (Some(from), Some(to)) => { " " (lang.dates(from, to)) }
                    _ => { @if let Some(due) = one.asked_at { ", " (lang.fill(t::DUE, &[&visit.at(due)])) } }
                }
                ", "
                @match &one.spaces[..] {
                    [] => { (lang.say(t::ALL_SPACES)) }
                    [space] => { (page.name(space)) }
                    more => { (lang.count(t::N_SPACES, more.len() as u64)) }
                }
                @for (text, count) in narrowed { @if count > 0 { ", " (lang.count(text, count as u64)) } }
            }
            p.quiet {
                (lang.say(state(one)))
                @if let Some(position) = one.position.filter(|position| *position > 0) { " (" (lang.count(t::N_BEFORE, position as u64)) ")" }
                @if let Some(since) = one.since { ", " (lang.fill(t::SINCE, &[&clock(visit, since)])) }
                @if let Some(progress) = &one.progress { (pace(visit, progress)) }
            }
            @if let (Some(at), Command::Backfill) = (one.asked_at, one.kind) {
                p.quiet { (lang.fill(t::ASKED_BY, &[&visit.time(at), &by(visit, &one.asked_by)])) }
            }
            @if let Some(from) = one.resume_at { p.quiet { (lang.fill(t::GOES_ON, &[&lang.date(from)])) } }
            @if let Some(progress) = &one.progress {
                (meter(visit, t::LISTINGS, &progress.listings, false))
                (meter(visit, t::DAYS, &progress.days, false))
                (meter(visit, t::REPORTS, &progress.reports, false))
                (meter(visit, t::RECORDINGS, &progress.recordings, false))
                (meter(visit, t::BYTES, &progress.recorded_bytes, true))
            }
            @if let Some(id) = one.id.as_ref().filter(|_| one.state != JobState::Stopping) {
                form method="post" action="/cancel" data-once {
                    input type="hidden" name="id" value=(id);
                    button.small id={ "cancel-" (id) } aria-label=(lang.fill(t::CANCEL_OF, &[&name])) { (lang.say(t::CANCEL)) }
                }
            }
        }
    }
}

fn clock(visit: &Visit, at: DateTime<Utc>) -> String {
    at.with_timezone(&visit.zone).format("%H:%M:%S").to_string()
}

fn state(job: &ListedJob) -> PageText {
    match job.state {
        JobState::Waiting => t::WAITING,
        JobState::Starting => t::BEGINS,
        JobState::Stopping => t::STOPPING,
        JobState::Running => job
            .progress
            .as_ref()
            .map_or(t::BEGINS, |progress| phase(progress.phase)),
    }
}

/// The requester and the address.
fn by(visit: &Visit, caller: &Caller) -> String {
    let lang = visit.lang;
    let who = lang.say(match caller.kind {
        Credential::Session | Credential::Page => t::BY_PAGE,
        Credential::Token | Credential::Local => t::BY_API,
        Credential::Webhook => t::BY_WEBHOOK,
        Credential::Schedule => t::BY_SCHEDULE,
        Credential::Signal => t::BY_SIGNAL,
        Credential::Nothing | Credential::Unknown => t::BY_UNKNOWN,
    });
    match caller.address {
        Some(address) => format!("{who} ({address})"),
        None => who.to_owned(),
    }
}

/// The pace and the remaining time of the work.
fn pace(visit: &Visit, one: &JobProgress) -> Markup {
    let lang = visit.lang;
    // People need no fractions.
    let rounded = |pace: f64| pace.round().clamp(0.0, 1e15) as u64;
    let parts = [one.reports, one.recordings, one.recorded_bytes];
    let left = seconds_left(&parts)
        .filter(|_| one.phase == Phase::Days)
        .and_then(|left| i64::try_from(left).ok());
    html! {
        @if let Some(bytes) = one.recorded_bytes.per_second.filter(|pace| *pace >= 1.0) {
            ", " (lang.fill(t::BYTES_A_SECOND, &[&lang.bytes(rounded(bytes))]))
        }
        @if let Some(reports) = one.reports.per_second.filter(|pace| *pace > 0.0) {
            ", " (lang.fill(t::REPORTS_A_MINUTE, &[&lang.number(rounded(reports * 60.0).max(1))]))
        }
        @if let Some(left) = left.and_then(chrono::TimeDelta::try_seconds) {
            // The goals of a long job do not count its later dates yet.
            @let text = if (one.to - one.from).num_days() >= WINDOW_DAYS { t::LEFT_AT_LEAST } else { t::LEFT };
            ", " b { (lang.fill(text, &[&lang.span(left)])) }
        }
    }
}

/// The seconds until the slowest part is done; none if nothing is left or a part's time is unknown.
fn seconds_left(parts: &[MeterProgress]) -> Option<u64> {
    let unfinished = parts.iter().filter(|part| part.done < part.goal);
    unfinished
        .map(|part| part.eta_seconds)
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .max()
}

fn meter(visit: &Visit, text: PageText, reach: &MeterProgress, bytes: bool) -> Markup {
    let lang = visit.lang;
    let (name, goal) = (lang.say(text), reach.goal.max(reach.done));
    let write = |number| {
        if bytes {
            lang.bytes(number)
        } else {
            lang.number(number)
        }
    };
    html! {
        @if goal > 0 {
            div.meter {
                span { (name) }
                progress max=(goal) value=(reach.done) aria-label=(name) {}
                span { (lang.fill(t::OF, &[&write(reach.done), &write(goal)])) }
            }
        }
    }
}

/// The form that requests a backfill.
pub fn load(visit: &Visit, view: &View<'_>) -> Markup {
    let say = |text| visit.lang.say(text);
    let yesterday = visit.today.pred_opt().unwrap_or(visit.today);
    html! {
        section #load aria-labelledby="load-title" {
            h2 #load-title { (say(t::LOAD)) }
            form.fields method="post" action="/backfill" data-once {
                div { label for="from" { (say(t::FROM)) }
                    input #from type="date" name="from" required min=(dates::FIRST) max=(visit.today) value=(yesterday); }
                div { label for="to" { (say(t::TO)) }
                    input #to type="date" name="to" required min=(dates::FIRST) max=(visit.today) value=(yesterday); }
                div { label for="space" { (say(t::SPACE)) }
                    select #space name="space" {
                        option value="" { (say(t::ALL_SPACES)) }
                        @for (id, name) in view.spaces() { option value=(id) { (name) } }
                    } }
                div { label for="only" { (say(t::WHAT)) }
                    select #only name="only" {
                        option value="" { (say(t::EVERYTHING)) }
                        option value="analytics" { (say(t::ANALYTICS)) }
                        option value="recordings" { (say(t::RECORDINGS_ALONE)) }
                    } }
                div.check { input #force type="checkbox" name="force" value="true"; label for="force" { (say(t::FORCE)) } }
                div { button.strong #start { (say(t::START)) } }
            }
        }
    }
}

/// The button that retries a day, of a single space or of all.
pub fn again(visit: &Visit, date: NaiveDate, space: Option<&str>, text: PageText, strong: bool) -> Markup {
    html! {
        form method="post" action="/retry" data-once {
            input type="hidden" name="date" value=(date);
            @if let Some(space) = space { input type="hidden" name="space" value=(space); }
            button #retry class=[strong.then_some("strong")] { (visit.lang.say(text)) }
        }
    }
}

/// The notice after a request for work.
pub fn asked(visit: &Visit) -> Markup {
    html! { p.notice role="status" { (visit.lang.say(t::ASKED)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_slowest_part_and_unknown_until_all_have_begun() {
        let part = |done, goal, eta_seconds| MeterProgress {
            done,
            goal,
            per_second: None,
            eta_seconds,
        };
        assert_eq!(seconds_left(&[part(1, 9, Some(8)), part(5, 5, Some(0))]), Some(8));
        assert_eq!(seconds_left(&[part(0, 30, None), part(8, 8, Some(0))]), None);
        assert_eq!(seconds_left(&[part(8, 8, Some(0)), part(0, 0, None)]), None);
    }
}
