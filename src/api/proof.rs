//! Reads a list of spaces or rooms until its end is proved, although rooms come and go meanwhile. Pure; used by `paging`.
//!
//! - Proof is an empty page, pages in a row without a new item, or a `total` that more than one page reached.
//!   A `total` that a single page reached may be that page's own count.
//! - Each page begins with the last item of the page before. If that item is not there, then items before it were
//!   deleted, and what came after it may have moved past the reader: the reader goes back.
//! - If `total` changed and promises more than what came, the list is read again from its start.
//! - A server that filters a page after it cut it gives short pages, even pages of one known item, in the middle: so
//!   the first page without a new item is followed by others.

use super::paging::{LIMIT, Taken};

/// Pages in a row without a new item that prove the end, if every offset gives the same page.
const REPEATED_PAGES: u32 = 2;
/// The same for different pages. Those of a server that filters hold known items until the offset is past them.
const BARREN_PAGES: u32 = 200;
/// Empty pages after which a `total` that promises more is no longer believed.
const EMPTY_PAGES: u32 = 3;
/// How often the reader goes back in one listing, before it says that the list keeps changing.
const MOST_RETURNS: u32 = 20;
/// How often a list is read again because its `total` changed.
const MOST_PASSES: u32 = 5;

/// How far the end of a list is proved.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// Whether the page that was asked for has to show an item that was seen before.
    expects_known: bool,
    /// Whether this server can't be asked for a page that overlaps the one before.
    is_coarse: bool,
    /// Whether another offset gave another page.
    moved: bool,
    /// The length of the latest page that was not empty, and of the longest one.
    length: u64,
    longest: u64,
    /// Pages below this offset are read again: that they bring nothing new proves nothing.
    read_to: u64,
    total: Option<u64>,
    /// Whether `total` changed in this pass, and whether it ever did.
    total_changed: bool,
    unsteady: bool,
    pages: u32,
    barren: u32,
    empty: u32,
    returns: u32,
    /// Returns since a page showed what it had to.
    returns_in_a_row: u32,
    passes: u32,
    unsettled: bool,
}

impl Proof {
    /// Whether the list kept changing, so that items may have been passed over.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Looks at the page at `offset` before it is taken: where to read instead, if items moved past the reader.
    /// `overlaps` says whether the page shows an item that was seen before.
    pub(super) fn go_back(
        &mut self,
        overlaps: bool,
        offset: u64,
        length: u64,
        total: Option<u64>,
    ) -> Option<u64> {
        // A total that is the page's own length falls with it.
        let fell = self.note_total(total) && total != Some(length);
        self.pages += 1;
        if overlaps || offset == 0 || !(self.expects_known || fell) {
            self.returns_in_a_row = 0;
            return None;
        }
        if self.returns >= MOST_RETURNS {
            (self.unsettled, self.is_coarse) = (true, true);
            return None;
        }
        self.returns += 1;
        self.read_to = self.read_to.max(offset + length);
        self.barren = 0;
        self.expects_known = true;
        let back = self.length.max(1) << self.returns_in_a_row.min(16);
        self.returns_in_a_row += 1;
        Some(offset.saturating_sub(back))
    }

    /// Keeps the latest `total`; returns whether it fell, which means that items were deleted.
    fn note_total(&mut self, total: Option<u64>) -> bool {
        let before = std::mem::replace(&mut self.total, total);
        let changed = before.is_some() && before != total;
        self.total_changed |= changed;
        self.unsteady |= changed;
        before.zip(total).is_some_and(|(before, now)| now < before)
    }

    /// Takes the page at `offset`, after which there are `seen` items. Returns the next offset; `None` at the end.
    pub(super) fn take(&mut self, page: &Taken, offset: u64, seen: u64) -> Option<u64> {
        self.expects_known = false;
        let length = page.length as u64;
        let missing = self.total.is_some_and(|total| seen < total);
        if length == 0 {
            return self.end_at_empty(offset, missing);
        }
        self.is_coarse |= page.repeated;
        self.moved |= self.length > 0 && !page.repeated;
        self.length = length;
        self.longest = self.longest.max(length);
        let again = offset + length < self.read_to;
        if page.new > 0 {
            self.barren = 0;
        } else if !again {
            self.barren += 1;
        }
        if !again && self.is_proved(page, seen, missing) {
            return self.end(offset, missing);
        }
        // Where `total` says that this is all, the next page proves it best from behind the end.
        let goes_on = self.total != Some(seen) && (page.new > 0 || again);
        self.expects_known = goes_on && !self.is_coarse && length > 1;
        // A server that filters cuts at least as many items as its longest page has, so none lies between.
        let step = if self.barren > 1 { self.longest } else { length };
        Some(offset + step - u64::from(self.expects_known))
    }

    fn is_proved(&self, page: &Taken, seen: u64, missing: bool) -> bool {
        // Where items were deleted meanwhile, as many may have come as there are left, but others.
        let reached = self.pages > 1 && self.total == Some(seen) && !self.unsteady;
        // A page that is longer than asked for and comes again: the server gives all at once.
        let all_at_once = page.repeated && !self.moved && page.length > LIMIT;
        let enough = if self.moved { BARREN_PAGES } else { REPEATED_PAGES };
        reached || all_at_once || self.barren >= enough + u32::from(missing)
    }

    /// A server that filters pages, or counts wrong, may have more behind an empty page if its `total` says so.
    fn end_at_empty(&mut self, offset: u64, missing: bool) -> Option<u64> {
        self.moved |= self.length > 0;
        self.empty += 1;
        if missing && self.empty < EMPTY_PAGES {
            return Some(offset + LIMIT as u64);
        }
        self.end(offset, missing)
    }

    /// The end, unless the list changed so that it has to be read again.
    fn end(&mut self, offset: u64, missing: bool) -> Option<u64> {
        if !missing || !self.total_changed || self.passes >= MOST_PASSES {
            return None;
        }
        self.passes += 1;
        self.total_changed = false;
        (self.barren, self.empty) = (0, 0);
        self.read_to = self.read_to.max(offset);
        Some(0)
    }
}
