//! Decides when a list of spaces or rooms is read to its end, although rooms come and go meanwhile. Pure; used by
//! `paging`.
//!
//! - The end is proved by an empty page, by several pages in a row without a new item, or by a `total` that more than
//!   one page reached. A `total` that a single page reached may be that page's own count.
//! - Each page overlaps the one before by one item. If that item is missing, earlier items were deleted and later ones
//!   may have moved past the reader, so the reader goes back.
//! - If `total` changed and is still above the number of items read, the list is read again from its start.
//! - Some servers cut a page first and filter it afterwards. Their pages may be short, or hold one known item only, in
//!   the middle of the list. Therefore the reader asks for more pages after the first page without a new item.

/// The `limit` of a page request.
pub(super) const LIMIT: usize = 100;
/// This many pages in a row without a new item prove the end if every offset gives the same page.
const REPEATED_PAGES: u32 = 2;
/// The same if the pages differ: a server that filters repeats known items until the offset has passed them.
const BARREN_PAGES: u32 = 200;
/// After this many empty pages, a `total` that promises more items is no longer believed.
const EMPTY_PAGES: u32 = 3;
/// The reader goes back at most this often in one listing; then it reports that the list keeps changing.
const MOST_RETURNS: u32 = 20;
/// A list is read again at most this often because its `total` changed.
const MOST_PASSES: u32 = 5;

/// The facts about a page that both policies need.
pub(super) struct PageSummary {
    /// The number of its items.
    pub length: usize,
    /// The number of items that were not seen before.
    pub new: usize,
    /// True if the page equals the one before.
    pub repeated: bool,
}

/// The evidence gathered so far that a list is at its end.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// True if the page asked for has to show an item that was seen before.
    expects_known: bool,
    /// True if this server can't give a page that overlaps the one before.
    is_coarse: bool,
    /// True if another offset gave another page.
    moved: bool,
    /// The length of the latest page that was not empty, and of the longest one.
    length: u64,
    longest: u64,
    /// Pages below this offset are read for the second time, so that "nothing new" proves nothing.
    read_to: u64,
    total: Option<u64>,
    /// `total` changed in this pass; and it changed in any pass.
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
    /// True if the list kept changing, so that the reader may have missed items.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Checks the page at `offset` before it is taken. Returns the offset to read instead if items moved past the reader.
    /// `overlaps`: the page shows an item that was seen before.
    pub(super) fn go_back(
        &mut self,
        overlaps: bool,
        offset: u64,
        length: u64,
        total: Option<u64>,
    ) -> Option<u64> {
        // A `total` that is only the page's own length falls with the page.
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

    /// Keeps the latest `total`. Returns true if it fell, which means that items were deleted.
    fn note_total(&mut self, total: Option<u64>) -> bool {
        let before = std::mem::replace(&mut self.total, total);
        let changed = before.is_some() && before != total;
        self.total_changed |= changed;
        self.unsteady |= changed;
        before.zip(total).is_some_and(|(before, now)| now < before)
    }

    /// Takes the page at `offset`; `seen` items are known after it. Returns the next offset, or `None` at the end.
    pub(super) fn take(&mut self, page: &PageSummary, offset: u64, seen: u64) -> Option<u64> {
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
        // If `total` says that this is all, a page from behind the end is the best proof.
        let goes_on = self.total != Some(seen) && (page.new > 0 || again);
        self.expects_known = goes_on && !self.is_coarse && length > 1;
        // A server that filters cuts at least as many items as its longest page has, so this step skips no item.
        let step = if self.barren > 1 { self.longest } else { length };
        Some(offset + step - u64::from(self.expects_known))
    }

    fn is_proved(&self, page: &PageSummary, seen: u64, missing: bool) -> bool {
        // If items were deleted meanwhile, the number of items read may equal the number left, but they are others.
        let reached = self.pages > 1 && self.total == Some(seen) && !self.unsteady;
        // A page that is longer than asked for and comes again means that the server gives everything at once.
        let all_at_once = page.repeated && !self.moved && page.length > LIMIT;
        let enough = if self.moved { BARREN_PAGES } else { REPEATED_PAGES };
        reached || all_at_once || self.barren >= enough + u32::from(missing)
    }

    /// Handles an empty page. If `total` promises more, a server that filters pages may have items behind it.
    fn end_at_empty(&mut self, offset: u64, missing: bool) -> Option<u64> {
        self.moved |= self.length > 0;
        self.empty += 1;
        if missing && self.empty < EMPTY_PAGES {
            return Some(offset + LIMIT as u64);
        }
        self.end(offset, missing)
    }

    /// Ends the listing, unless the list changed so much that it has to be read again.
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
