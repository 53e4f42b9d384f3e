//! The charts of the page as SVG. Pure. Only attributes of SVG are used, because the page's policy allows no inline style.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use maud::{Markup, html};

use super::texts as t;
use crate::attendance::Tally;
use crate::lang::Lang;

/// The size of the trend.
const WIDTH: usize = 720;
const HEIGHT: usize = 190;
/// The room for the labels at the left, and below.
const LEFT: usize = 52;
const BELOW: usize = 24;
/// The room for the values above.
const ABOVE: usize = 20;
/// The most labels that have room below the trend.
const MOST_LABELS: usize = 9;

/// The class of a share.
pub(super) fn class(share: Option<f64>) -> &'static str {
    match share {
        None => "none",
        Some(share) if share >= 0.9 => "high",
        Some(share) if share >= 0.75 => "middle",
        Some(_) => "low",
    }
}

/// The share of each day or week as columns.
pub(super) fn trend(lang: Lang, periods: &BTreeMap<NaiveDate, Tally>) -> Markup {
    let count = periods.len().max(1);
    let plot = HEIGHT - BELOW - ABOVE;
    let step = (WIDTH - LEFT) / count;
    let bar = (step * 7 / 10).clamp(1, 80);
    let label_each = count.div_ceil(MOST_LABELS);
    let said: Vec<String> = periods
        .iter()
        .map(|(week, tally)| format!("{} {}", lang.day_and_month(*week), text(*tally)))
        .collect();
    let y = |share: f64| ABOVE + plot - (share * plot as f64).round() as usize;
    html! {
        svg role="img" width=(WIDTH) height=(HEIGHT) viewBox={ "0 0 " (WIDTH) " " (HEIGHT) }
            aria-label=(lang.fill(t::TREND_CHART, &[&said.join("; ")])) {
            @for (line, label) in [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")] {
                line x1=(LEFT) x2=(WIDTH) y1=(y(line)) y2=(y(line)) {}
                text.left x=(LEFT - 6) y=(y(line) + 4) { (label) }
            }
            @for (at, (week, tally)) in periods.iter().enumerate() {
                @let middle = LEFT + at * step + step / 2;
                @let share = tally.share();
                @let top = y(share.unwrap_or(0.0));
                rect class=(class(share)) x=(middle - bar / 2) y=(top) width=(bar) height=(ABOVE + plot - top) rx="2" {
                    title { (lang.day_and_month(*week)) ": " (text(*tally)) }
                }
                @if at % label_each == 0 {
                    text.value x=(middle) y=(top - 6) { (text(*tally)) }
                    text x=(middle) y=(HEIGHT - 6) { (lang.day_and_month(*week)) }
                }
            }
        }
    }
}

/// A share as text.
pub(super) fn text(tally: Tally) -> String {
    tally
        .percent()
        .map_or_else(|| "–".into(), |percent| format!("{percent}\u{a0}%"))
}

/// A share as a horizontal bar; the number stands beside it.
pub(super) fn bar(tally: Tally) -> Markup {
    let share = tally.share();
    let width = share.map_or(0, |share| (share * 60.0).round() as usize);
    html! {
        svg aria-hidden="true" aria-label=(text(tally)) width="60" height="10" viewBox="0 0 60 10" {
            rect.rest width="60" height="10" rx="2" {}
            rect class=(class(share)) width=(width) height="10" rx="2" {}
        }
    }
}

/// The weeks of a row as small columns, one for each week of the period.
pub(super) fn small_trend(
    lang: Lang,
    all: &BTreeMap<NaiveDate, Tally>,
    own: &BTreeMap<NaiveDate, Tally>,
) -> Markup {
    let said: Vec<String> = own
        .iter()
        .map(|(week, tally)| format!("{} {}", lang.day_and_month(*week), text(*tally)))
        .collect();
    let step = (120 / all.len().max(1)).clamp(2, 14);
    let width = step * all.len().max(1);
    html! {
        svg role="img" aria-label=(said.join("; ")) width=(width) height="20" viewBox={ "0 0 " (width) " 20" } {
            @for (at, week) in all.keys().enumerate() {
                @if let Some(share) = own.get(week).map(|tally| tally.share()) {
                    @let height = share.map_or(2, |share| (share * 20.0).round().max(1.0) as usize);
                    rect class=(class(share)) x=(at * step) y=(20 - height) width=(step - 1) height=(height) {}
                }
            }
        }
    }
}
