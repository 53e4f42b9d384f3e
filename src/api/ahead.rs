//! Keeps the pages of a list that are asked for before they are due. Pure; used by `listing`, which sends the requests.

use std::collections::VecDeque;

/// After pages were asked for in vain this often, a list is read one page after another.
const MOST_MISSES: u32 = 3;

/// The pages that are asked for and not taken yet, in the order of their offsets. `P` is a page on its way.
#[derive(Debug)]
pub(super) struct PagesAhead<P> {
    pages: VecDeque<(u64, P)>,
    misses: u32,
}

impl<P> Default for PagesAhead<P> {
    fn default() -> Self {
        Self {
            pages: VecDeque::new(),
            misses: 0,
        }
    }
}

impl<P> PagesAhead<P> {
    /// Asks for the pages at `offsets` that are not asked for yet. Pages at other offsets are dropped.
    pub(super) fn plan(&mut self, offsets: impl IntoIterator<Item = u64>, mut ask: impl FnMut(u64) -> P) {
        for (index, offset) in offsets.into_iter().enumerate() {
            if index > 0 && self.misses >= MOST_MISSES {
                break;
            }
            if self.pages.get(index).is_some_and(|(asked, _)| *asked != offset) {
                self.pages.truncate(index);
                self.misses += 1;
            }
            if index == self.pages.len() {
                self.pages.push_back((offset, ask(offset)));
            }
        }
    }

    /// The page that is due.
    pub(super) fn first(&mut self) -> Option<&mut P> {
        self.pages.front_mut().map(|(_, page)| page)
    }

    /// Takes the page that is due out of the queue.
    pub(super) fn take(&mut self) -> Option<P> {
        self.pages.pop_front().map(|(_, page)| page)
    }

    /// Drops all pages.
    pub(super) fn clear(&mut self) {
        self.pages.clear();
    }
}
