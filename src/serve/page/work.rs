//! What is in work and what comes next, and the form that asks for more. Pure but for [`Work::of`].

use chrono::{DateTime, NaiveDate, Utc};
use maud::{Markup, html};

use super::Page;
use super::frame::Visit;
use super::lang::Text;
use super::texts as t;
use super::view::View;
use crate::export::Phase;
use crate::metrics::METRICS;
use crate::serve::daemon::{AtWork, Daemon, Reach};
use crate::serve::queue::{self, Asked};
use crate::serve::schedule;

/// Due times shown.
const NEXT: usize = 3;

/// The daemon's work at a moment.
pub struct Work {
    running: Vec<AtWork>,
    in_hand: Option<queue::Work>,
    waiting: Vec<queue::Work>,
    due: Vec<DateTime<Utc>>,
    next_event: Option<DateTime<Utc>>,
    events: u64,
    meta: u64,
}

impl Work {
    pub fn of(daemon: &Daemon, now: DateTime<Utc>) -> Self {
        let config = &daemon.config;
        let count = |gauge: i64| u64::try_from(gauge).unwrap_or_default();
        // In this order: what ends meanwhile is seen twice rather than not at all.
        let (waiting, in_hand) = daemon.queue.all();
        let running = daemon.running();
        Self {
            in_hand: in_hand
                .map(|in_hand| in_hand.work)
                .filter(|_| running.iter().all(|one| one.command == "webhook")),
            running,
            waiting,
            due: schedule::next_runs(&config.schedule.cron, config.timezone, now, NEXT).unwrap_or_default(),
            next_event: daemon.events.next_due(),
            events: count(METRICS.events_waiting.get()),
            meta: count(METRICS.meta_waiting.get()),
        }
    }

    fn is_busy(&self) -> bool {
        !self.running.is_empty() || self.in_hand.is_some() || !self.waiting.is_empty()
    }
}

/// A command in words.
pub fn command(command: &str) -> Option<Text> {
    match command {
        "run" => Some(t::SCHEDULED_RUN),
        "backfill" => Some(t::BACKFILL),
        "webhook" => Some(t::WEBHOOK_LOOK),
        "rebuild" => Some(t::REBUILD),
        _ => None,
    }
}

/// The section, also by itself: the script asks for it again and again.
pub fn section(visit: &Visit, page: &Page, work: &Work) -> Markup {
    let lang = visit.lang;
    let busy = work.is_busy();
    html! {
        section #work aria-labelledby="work-title" data-busy=[busy.then_some("")] data-said=(said(visit, work)) {
            h2 #work-title { (lang.say(t::WORK)) }
            @if !busy { p { (lang.say(t::IDLE)) } }
            @for one in &work.running { (running(visit, page, one)) }
            @if let Some(one) = &work.in_hand { (waiting(visit, page, one, t::BEGINS)) }
            @for one in &work.waiting { (waiting(visit, page, one, t::WAITING)) }
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
        }
    }
}

/// What a screen reader says when it changes: no seconds and no bytes.
fn said(visit: &Visit, work: &Work) -> String {
    let lang = visit.lang;
    match work.running.first() {
        Some(one) => {
            let name = command(one.command).map_or(one.command, |text| lang.say(text));
            let days = [one.days.done, one.days.goal].map(|count| lang.number(count));
            lang.fill(t::SAID, &[&name, &lang.say(phase(one.phase)), &days[0], &days[1]])
        }
        None if work.is_busy() => lang.say(t::WAITING).to_owned(),
        None => lang.say(t::SAID_IDLE).to_owned(),
    }
}

fn phase(phase: Phase) -> Text {
    match phase {
        Phase::Start => t::PHASE_START,
        Phase::Walk => t::PHASE_WALK,
        Phase::Days => t::PHASE_DAYS,
    }
}

fn title(
    visit: &Visit,
    page: &Page,
    command: &str,
    from: NaiveDate,
    to: NaiveDate,
    spaces: &[String],
) -> Markup {
    let lang = visit.lang;
    html! {
        b { (self::command(command).map_or(command, |text| lang.say(text))) } " " (lang.dates(from, to)) ", "
        @match spaces {
            [] => { (lang.say(t::ALL_SPACES)) }
            [one] => { (page.name(one)) }
            more => { (lang.count(t::N_SPACES, more.len() as u64)) }
        }
    }
}

fn running(visit: &Visit, page: &Page, one: &AtWork) -> Markup {
    let lang = visit.lang;
    let since = one
        .since
        .with_timezone(&visit.zone)
        .format("%H:%M:%S")
        .to_string();
    html! {
        div.job {
            p {
                (title(visit, page, one.command, one.from, one.to, &one.spaces))
                @if one.rooms > 0 { ", " (lang.count(t::N_ROOMS, one.rooms as u64)) }
            }
            p.quiet { (lang.say(phase(one.phase))) ", " (lang.fill(t::SINCE, &[&since])) }
            (meter(visit, t::LISTINGS, &one.listings, false))
            (meter(visit, t::DAYS, &one.days, false))
            (meter(visit, t::REPORTS, &one.reports, false))
            (meter(visit, t::RECORDINGS, &one.recordings, false))
            (meter(visit, t::BYTES, &one.recorded_bytes, true))
        }
    }
}

fn meter(visit: &Visit, text: Text, reach: &Reach, bytes: bool) -> Markup {
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

fn waiting(visit: &Visit, page: &Page, one: &queue::Work, how: Text) -> Markup {
    let lang = visit.lang;
    html! {
        div.job {
            p {
                @match one {
                    queue::Work::Scheduled { due } => {
                        b { (lang.say(t::SCHEDULED_RUN)) } ", " (lang.fill(t::DUE, &[&visit.at(*due)]))
                    }
                    queue::Work::Asked { job: Asked { from, to, spaces, .. }, .. } => {
                        (title(visit, page, "backfill", *from, *to, spaces))
                    }
                }
                ": " span.quiet { (lang.say(how)) }
            }
        }
    }
}

/// The form that asks for a backfill.
pub fn load(visit: &Visit, view: &View<'_>) -> Markup {
    let say = |text| visit.lang.say(text);
    let yesterday = visit.today.pred_opt().unwrap_or(visit.today);
    html! {
        section #load aria-labelledby="load-title" {
            h2 #load-title { (say(t::LOAD)) }
            form.fields method="post" action="/backfill" data-once {
                div { label for="from" { (say(t::FROM)) }
                    input #from type="date" name="from" required max=(visit.today) value=(yesterday); }
                div { label for="to" { (say(t::TO)) }
                    input #to type="date" name="to" required max=(visit.today) value=(yesterday); }
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

/// The button that asks for one day again, of one space or of all.
pub fn again(visit: &Visit, date: NaiveDate, space: Option<&str>, text: Text, strong: bool) -> Markup {
    html! {
        form method="post" action="/retry" data-once {
            input type="hidden" name="date" value=(date);
            @if let Some(space) = space { input type="hidden" name="space" value=(space); }
            button #retry class=[strong.then_some("strong")] { (visit.lang.say(text)) }
        }
    }
}

/// What is said after something was asked for.
pub fn asked(visit: &Visit) -> Markup {
    html! { p.notice role="status" { (visit.lang.say(t::ASKED)) } }
}
