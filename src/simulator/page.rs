//! The paging of lists, in every way that the guide leaves open. Pure; used by `answers`.

use serde_json::{Value, json};

use super::options::{ListTotal, Paging, Window};

/// The page size of a request without `limit`.
const DEFAULT_LIMIT: usize = 50;

/// The part of a list of `count` items on a page.
pub(super) fn window(
    paging: Paging,
    limit: Option<usize>,
    offset: usize,
    count: usize,
) -> std::ops::Range<usize> {
    let asked = limit.unwrap_or(DEFAULT_LIMIT);
    let (start, length) = match paging.window {
        Window::Honoured => (offset, asked),
        Window::Ignored => (0, count),
        Window::Capped(cap) | Window::CutThenFiltered(cap) => (offset, asked.min(cap)),
        Window::FirstAgain(cap) => (0, asked.min(cap)),
        Window::Overlapping(cap) => {
            let length = asked.min(cap).max(2);
            (offset - offset / length, length)
        }
    };
    let start = start.min(count);
    start..start.saturating_add(length).min(count)
}

/// The JSON of a list; only a `counted` list has a `total`.
pub(super) fn envelope(items: Vec<Value>, total: ListTotal, count: usize, counted: bool) -> Value {
    match total {
        ListTotal::True if counted => json!({"items": items, "total": count}),
        ListTotal::Zero if counted => json!({"items": items, "total": 0}),
        _ => json!({"items": items}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_paging_cuts_its_part_of_the_list() {
        let at = |window_, limit, offset| window(Paging::of(window_), limit, offset, 120);
        assert_eq!(at(Window::Honoured, None, 0), 0..50);
        assert_eq!(at(Window::Honoured, Some(100), 100), 100..120);
        assert_eq!(at(Window::Honoured, Some(100), 500), 120..120);
        assert_eq!(at(Window::Ignored, Some(10), 100), 0..120);
        assert_eq!(at(Window::Capped(7), Some(100), 5), 5..12);
        assert_eq!(at(Window::FirstAgain(30), Some(100), 60), 0..30);
        assert_eq!(at(Window::Overlapping(10), Some(100), 0), 0..10);
        assert_eq!(at(Window::Overlapping(10), Some(100), 10), 9..19);
        assert_eq!(at(Window::Overlapping(10), Some(100), 20), 18..28);
        assert_eq!(at(Window::Honoured, Some(usize::MAX), 1), 1..120);
    }
}
