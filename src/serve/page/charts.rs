//! Small bar charts as SVG. Pure.

use chrono::{Datelike, NaiveDate};
use maud::{Markup, html};

use super::frame::Visit;
use super::lang::{Lang, Text};
use super::texts as t;
use super::view::Sums;

const WIDTH: u64 = 280;
const HEIGHT: u64 = 64;

/// The title of a chart, the number it shows, and the format of that number.
type Chart = (Text, fn(&Sums) -> u64, fn(Lang, u64) -> String);

const LINES: [Chart; 4] = [
    (t::CALLS, |sums| sums.calls, Lang::number),
    (t::PARTICIPANTS, |sums| sums.participants, Lang::number),
    (t::HOURS, |sums| sums.recorded_s, Lang::hours),
    (t::BYTES, |sums| sums.bytes, Lang::bytes),
];

/// The lake's size by month.
pub fn sizes(visit: &Visit, series: &[(NaiveDate, Sums)]) -> Markup {
    let lines: [Chart; 1] = [(t::SIZE, |sums| sums.lake_bytes, Lang::bytes)];
    drawn(visit, true, series, &lines)
}

/// Calls, participants, hours and bytes by day or by month, the earliest left.
pub fn all(visit: &Visit, by_month: bool, series: &[(NaiveDate, Sums)]) -> Markup {
    drawn(visit, by_month, series, &LINES)
}

fn drawn(visit: &Visit, by_month: bool, series: &[(NaiveDate, Sums)], lines: &[Chart]) -> Markup {
    let lang = visit.lang;
    let name = |date: NaiveDate| {
        if by_month {
            format!("{} {}", lang.month(date), date.year())
        } else {
            lang.day_and_month(date)
        }
    };
    html! {
        div.charts {
            @for (title, pick, write) in lines.iter().copied() {
                @let values: Vec<u64> = series.iter().map(|(_, sums)| pick(sums)).collect();
                @let (sum, most) = (values.iter().sum::<u64>(), values.iter().copied().max().unwrap_or_default());
                figure {
                    figcaption {
                        b { (lang.say(title)) } " "
                        span.quiet { (lang.fill(t::IN_ALL, &[&write(lang, sum)])) }
                    }
                    svg role="img" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none"
                        aria-label=(lang.fill(t::CHART, &[&lang.say(title), &write(lang, sum), &write(lang, most)])) {
                        @for (at, value) in values.iter().enumerate() {
                            (bar(at as u64, values.len() as u64, *value, most, &format!("{}: {}", name(series[at].0), write(lang, *value))))
                        }
                    }
                    @if let (Some((first, _)), Some((last, _))) = (series.first(), series.last()) {
                        div.axis aria-hidden="true" {
                            span { (name(*first)) }
                            span { (lang.fill(t::AT_MOST, &[&write(lang, most)])) }
                            span { (name(*last)) }
                        }
                    }
                }
            }
        }
    }
}

fn bar(at: u64, of: u64, value: u64, most: u64, title: &str) -> Markup {
    let left = WIDTH * at / of;
    let width = (WIDTH * (at + 1) / of - left).saturating_sub(1).max(1);
    // Even a tiny value is visible.
    let height = if value == 0 {
        1
    } else {
        (value as u128 * HEIGHT as u128 / most.max(1) as u128).max(3) as u64
    };
    let class = if value == 0 { "none" } else { "some" };
    html! {
        rect class=(class) x=(left) y=(HEIGHT - height) width=(width) height=(height) { title { (title) } }
    }
}

/// The shares of a whole as a single bar.
pub fn shares(label: &str, parts: &[(&'static str, u64)]) -> Markup {
    let all: u64 = parts.iter().map(|(_, count)| count).sum();
    let mut left = 0;
    html! {
        svg.shares role="img" aria-label=(label) viewBox={ "0 0 " (WIDTH) " 12" } preserveAspectRatio="none" {
            @for (class, count) in parts {
                @let begin = WIDTH * left / all.max(1);
                @let end = WIDTH * (left + count) / all.max(1);
                @if end > begin { rect class=(class) x=(begin) y="0" width=(end - begin) height="12" {} }
                ({ left += count; "" })
            }
        }
    }
}
