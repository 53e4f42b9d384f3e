//! The sections about webhooks and notifications: the last events, refusals and deliveries. Pure.

use maud::{Markup, html};

use super::PageMemory;
use super::frame::Visit;
use super::lang::Text;
use super::texts as t;
use super::view::natural;
use crate::notify::{Deliveries, Delivery};
use crate::serve::webhook::stats::{SpaceStats, Reason, WebhookReport};

/// The last event of each space, and its refusals.
pub fn webhooks(visit: &Visit, of: &PageMemory, report: &WebhookReport) -> Markup {
    let lang = visit.lang;
    let mut spaces: Vec<(String, &str, &SpaceStats)> = report
        .spaces
        .iter()
        .map(|(id, space)| (of.name(id), id.as_str(), space))
        .collect();
    // Spaces whose last webhook was refused come first.
    spaces.sort_by_cached_key(|(name, id, space)| (!is_refused(space), natural(name), (*id).to_owned()));
    let heads = [t::SPACE, t::LAST_WEBHOOK, t::TAKEN, t::REFUSED, t::LAST_REFUSAL];
    html! {
        section #webhooks data-live aria-labelledby="webhooks-title" {
            h2 #webhooks-title { (lang.say(t::EVENTS)) }
            p.quiet { (lang.fill(t::COUNTED_SINCE, &[&visit.at(report.since)])) }
            @if spaces.is_empty() && report.unattributed.refused == 0 {
                p { (lang.say(t::NO_WEBHOOKS)) }
            } @else {
                div.scroll tabindex="0" role="region" aria-label=(lang.say(t::EVENTS)) {
                    table.text.stacked {
                        thead { tr { @for text in heads { th scope="col" { (lang.say(text)) } } } }
                        tbody {
                            @for (name, id, space) in &spaces { (row(visit, name, id, space)) }
                            @if report.unattributed.refused > 0 { (row(visit, lang.say(t::NO_SPACE), "", &report.unattributed)) }
                        }
                    }
                }
            }
        }
    }
}

/// True if the last webhook of a space was refused.
fn is_refused(space: &SpaceStats) -> bool {
    let heard = space.last_event.as_ref().map(|event| event.at);
    space.last_refusal.as_ref().map(|refusal| refusal.at) > heard
}

fn row(visit: &Visit, name: &str, id: &str, space: &SpaceStats) -> Markup {
    let lang = visit.lang;
    html! {
        tr {
            th scope="row" title=(id) { (name) }
            td data-label=(lang.say(t::LAST_WEBHOOK)) {
                @match &space.last_event {
                    Some(event) => { code { (event.name) } ", " (visit.time(event.at)) }
                    None => { "–" }
                }
            }
            td data-label=(lang.say(t::TAKEN)) { (lang.number(space.accepted)) }
            td data-label=(lang.say(t::REFUSED)) {
                @if space.refused > 0 { b class=[is_refused(space).then_some("warn")] { (lang.number(space.refused)) } } @else { "0" }
            }
            td data-label=(lang.say(t::LAST_REFUSAL)) {
                @match &space.last_refusal {
                    Some(refusal) => {
                        (visit.time(refusal.at)) ": " (lang.say(why(refusal.why)))
                        @if let Some(from) = refusal.from { " (" (from) ")" }
                    }
                    None => { "–" }
                }
            }
        }
    }
}

fn why(reason: Reason) -> Text {
    match reason {
        Reason::Signature => t::W_SIGNATURE,
        Reason::SecretUnreadable => t::W_SECRET,
        Reason::TooLarge => t::W_TOO_LARGE,
        Reason::NotRead => t::W_NOT_READ,
        Reason::Malformed => t::W_MALFORMED,
        Reason::NotKept => t::W_NOT_KEPT,
    }
}

/// The last notifications, and the button that sends a test.
pub fn notifications(visit: &Visit, last: &Deliveries, is_idle: bool) -> Markup {
    let lang = visit.lang;
    html! {
        section #notifications data-live aria-labelledby="notifications-title" {
            h2 #notifications-title { (lang.say(t::NOTIFICATIONS)) }
            @if is_idle { p { (lang.say(t::NOBODY_TOLD)) } } @else {
                @if last.is_empty() { p { (lang.say(t::NOTHING_SENT)) } }
                @for (key, delivery) in last { (of_delivery(visit, key, delivery)) }
                form method="post" action="/notify-test" data-once {
                    button #notify-test { (lang.say(t::SEND_TEST)) }
                }
            }
        }
    }
}

fn of_delivery(visit: &Visit, key: &str, delivery: &Delivery) -> Markup {
    let lang = visit.lang;
    let text = if delivery.delivered {
        t::DELIVERED
    } else {
        t::NOT_DELIVERED
    };
    html! {
        p {
            code { (key) } ": "
            span class=[(!delivery.delivered).then_some("warn")] {
                (lang.fill(text, &[&delivery.host, &visit.at(delivery.at)]))
            }
            @if let Some(error) = &delivery.error { " " span lang="en" { (error) } }
            " " span.quiet { "(" (delivery.about) ")" }
        }
    }
}
