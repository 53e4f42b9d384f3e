//! Decides when a list is read to its end: a state machine that takes pages. Pure; `client` sends the request for the
//! next page.
//!
//! The vendor's guide does not say how lists are paged. A server may cap `limit`, ignore `limit` and `offset`, filter
//! a page after cutting it, repeat pages, omit `total` or give a wrong one. Therefore no single sign ends a listing:
//! - [`Policy::Proof`] (spaces, rooms) ends on proof alone: see `proof`.
//! - [`Policy::Short`] (calls and records of one room) may also end with a page that is shorter than the longest page
//!   that this endpoint ever gave, because the server was able to give more. Most of these lists cost one request.
//! - A sign that the list is longer than what came is always reported as a [`Gap`].
//! - Every item is taken once, by its id.

use super::envelope::More;
pub(super) use super::proof::LIMIT;
use super::proof::{PageSummary, Proof};
use super::seen_items::{ItemKey, SeenItems};
use super::wire::{Item, ListPage};
use crate::json::Repairs;

/// A list is given up after this many pages, items or bytes, because a faulty server may invent items without end.
const MOST_PAGES: u32 = 10_000;
const MOST_ITEMS: u64 = 200_000;
const MOST_BYTES: usize = 128 * 1024 * 1024;
/// After this many pages in a row without a new item, a server that promises more is no longer asked.
const MOST_BARREN_PAGES: u32 = 2;
/// From this length on, a `total` that equals the length of the only page may be the page's own count.
const SUSPICIOUS_LENGTH: usize = 10;

/// A list as it was read: each item once, in the API's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing<T> {
    /// The items.
    pub items: Vec<T>,
    /// The API's own count, if it gave one above 0.
    pub total: Option<u64>,
    /// The sign that the list is longer than what came; `None` if the list was read to its end.
    pub gap: Option<Gap>,
    /// The number of items without an id. They are left out, because they can't be told apart. Equal ones count once.
    pub unidentified: u64,
    /// The number of items that have `_id` instead of `id`. They are part of `items`.
    pub other_ids: u64,
    /// Faults in the answers' JSON that were repaired.
    pub repairs: Repairs,
}

impl<T> Listing<T> {
    /// A list of which nothing is missing.
    pub fn whole(items: Vec<T>) -> Self {
        Self {
            items,
            total: None,
            gap: None,
            unidentified: 0,
            other_ids: 0,
            repairs: Repairs::default(),
        }
    }
    /// True if no item of the list is missing.
    pub fn is_whole(&self) -> bool {
        self.gap.is_none() && self.unidentified == 0
    }
}

/// A sign that the API has more of a list than it gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// The API counts more items than it gave.
    Counted {
        /// Items that came.
        seen: u64,
        /// Items that the API counts.
        total: u64,
    },
    /// The last page has a field that promises more, such as `hasMore` or `nextPageToken`, but a higher `offset` brings
    /// none.
    Promised(String),
    /// A page of as many items as were asked for came again: the server honours `limit` and ignores `offset`.
    Repeated(u64),
    /// The list kept changing while it was read, so that items may have moved past the reader.
    Unsettled,
    /// The reader stopped before the end of the list.
    NotReadToEnd,
}

impl Gap {
    /// The gap as a sentence for people. `what` names the items, such as `rooms`.
    pub fn message(&self, what: &str) -> String {
        match self {
            Self::Counted { seen, total } => format!("the API lists {seen} {what} but counts {total}"),
            Self::Promised(field) => format!(
                "the API says by `{field}` that there are more {what}, but gives none for a higher `offset`: it pages \
                 in a way that telelake does not follow"
            ),
            Self::Repeated(length) => format!(
                "the API gives the same {length} {what} for every `offset`: there may be more of them"
            ),
            Self::Unsettled => format!("the list of {what} kept changing while it was read"),
            Self::NotReadToEnd => format!("the list of {what} was not read to its end"),
        }
    }
}

/// The evidence that may end a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// Only proof.
    Proof,
    /// Also a short page.
    Short,
}

/// The next step of a listing after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListingStep {
    /// Ask for the page at [`Pager::offset`].
    Ask,
    /// Everything is read, or everything that the server gives.
    Done,
    /// The list is longer than any real list of this API.
    Endless,
}

/// A listing in progress.
#[derive(Debug)]
pub(super) struct Pager<T> {
    seen: SeenItems<T>,
    proof: Option<Proof>,
    total: Option<u64>,
    promise: Option<String>,
    /// The keys of the page before, to recognise a repetition; and true if that page was a repetition itself.
    last: Vec<ItemKey>,
    repeated: bool,
    offset: u64,
    /// The distance from the page before to the next one; it means something only if `regular` is above 0.
    stride: u64,
    /// The number of pages in a row that were as long as the page before and had new items. The first page counts if it
    /// is as long as asked for.
    regular: u32,
    pages: u32,
    bytes: usize,
    barren: u32,
    repairs: Repairs,
}

impl<T: Item> Pager<T> {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            seen: SeenItems::default(),
            proof: (policy == Policy::Proof).then(Proof::default),
            total: None,
            promise: None,
            last: Vec::new(),
            repeated: false,
            offset: 0,
            stride: 0,
            regular: 0,
            pages: 0,
            bytes: 0,
            barren: 0,
            repairs: Repairs::default(),
        }
    }

    /// The offset of the next page.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The offset of the next page, and those of the pages after it, if `total` promises them and they are as long as
    /// the pages so far. The number of offsets doubles with each regular page, up to `most`, so that a wrong `total` or
    /// a server that ignores `offset` costs few requests in vain.
    pub(super) fn next_offsets(&self, most: usize) -> impl Iterator<Item = u64> + use<T> {
        let (next, stride) = (self.offset, self.stride);
        let overlap = (self.last.len() as u64).saturating_sub(stride);
        let end = self.total.unwrap_or(0);
        let most = most.clamp(1, 1 << self.regular.min(16)) as u64;
        let after = (1..most).map(move |page| next + page * stride);
        std::iter::once(next).chain(after.take_while(move |offset| offset + overlap < end))
    }

    /// Takes out the items that came since the last call.
    pub(super) fn new_items(&mut self) -> Vec<T> {
        std::mem::take(&mut self.seen.items)
    }

    /// Takes a page. `longest`: the length of the longest page that this endpoint gave so far.
    pub(super) fn take(&mut self, page: ListPage, longest: usize) -> ListingStep {
        self.pages += 1;
        self.bytes = self.bytes.saturating_add(page.bytes);
        self.repairs.add(page.repairs);
        if self.bytes > MOST_BYTES || self.seen.count() + page.items.len() as u64 > MOST_ITEMS {
            return ListingStep::Endless;
        }
        // The guide's own example has `total: 0` together with items. For an empty list 0 is true.
        let is_empty = page.items.is_empty() && self.offset == 0;
        self.total = match page.total {
            Some(0) if is_empty => None,
            total => total.filter(|total| *total > 0).or(self.total),
        };
        let keys: Vec<_> = page.items.iter().map(ItemKey::of).collect();
        let overlaps = keys.iter().any(|key| self.seen.has(key));
        if let Some(proof) = &mut self.proof
            && let Some(back) = proof.go_back(overlaps, self.offset, keys.len() as u64, self.total)
        {
            // The page is dropped and read again later, so that the items read so far have no gap.
            self.last.clear();
            self.regular = 0;
            return self.ask(back);
        }
        let repeated = !keys.is_empty() && keys == self.last;
        let repeated_of_several = repeated && page.pages.is_some_and(|pages| pages > 1);
        self.note_promise(page.more, keys.is_empty(), repeated_of_several);
        let new = self.seen.take(page.items, &keys);
        let length = keys.len();
        self.note_length(length, new);
        (self.repeated, self.last) = (repeated, keys);
        let taken = PageSummary {
            length,
            new,
            repeated,
        };
        let (seen, missing) = (self.seen.count(), self.is_missing());
        let next = match &mut self.proof {
            Some(proof) => proof.take(&taken, self.offset, seen),
            None => self.take_short(&taken, longest, missing),
        };
        let Some(next) = next else {
            return ListingStep::Done;
        };
        self.stride = next.saturating_sub(self.offset);
        self.ask(next)
    }

    fn note_length(&mut self, length: usize, new: usize) {
        let expected = if self.pages == 1 { LIMIT } else { self.last.len() };
        let is_regular = new > 0 && length == expected;
        self.regular = if is_regular { self.regular + 1 } else { 0 };
    }

    fn ask(&mut self, offset: u64) -> ListingStep {
        self.offset = offset;
        if self.pages >= MOST_PAGES {
            ListingStep::Endless
        } else {
            ListingStep::Ask
        }
    }

    /// Keeps the latest page's promise of further pages. An empty page without a promise changes nothing, because a
    /// server that pages by a cursor answers every `offset` with an empty page.
    fn note_promise(&mut self, more: More, empty: bool, repeated_of_several: bool) {
        match more {
            More::Yes(field) => self.promise = Some(field),
            More::No => self.promise = None,
            More::Unsaid if repeated_of_several => self.promise = Some("totalPages".into()),
            More::Unsaid if !empty => self.promise = None,
            More::Unsaid => {}
        }
    }

    /// True if the server says that there are more items than came.
    fn is_missing(&self) -> bool {
        self.promise.is_some() || self.total.is_some_and(|total| self.seen.count() < total)
    }

    /// The next offset of a list under [`Policy::Short`]; `None` at its end.
    fn take_short(&mut self, page: &PageSummary, longest: usize, missing: bool) -> Option<u64> {
        let length = page.length;
        let next = Some(self.offset + length as u64);
        if length == 0 {
            return None;
        }
        if page.new == 0 {
            self.barren += 1;
            return next.filter(|_| missing && self.barren < MOST_BARREN_PAGES);
        }
        self.barren = 0;
        let sure = self.pages > 1 || length < longest || length < SUSPICIOUS_LENGTH;
        if !missing && self.total == Some(self.seen.count()) && length < LIMIT && sure {
            return None;
        }
        next.filter(|_| missing || length >= longest)
    }

    /// The size of a list that was given up as [`ListingStep::Endless`], as a sentence.
    pub(super) fn amount(&self) -> String {
        format!(
            "the list has no end: {} pages and {} bytes so far",
            self.pages, self.bytes
        )
    }

    fn gap(&self) -> Option<Gap> {
        let seen = self.seen.count();
        if let Some(total) = self.total.filter(|total| *total > seen) {
            return Some(Gap::Counted { seen, total });
        }
        if let Some(field) = &self.promise {
            return Some(Gap::Promised(field.clone()));
        }
        // A longer page means that `limit` is ignored; a shorter one means that there was no more to give.
        if self.repeated && self.last.len() == LIMIT && self.total != Some(seen) {
            return Some(Gap::Repeated(seen));
        }
        let unsettled = self.proof.as_ref().is_some_and(Proof::is_unsettled);
        (unsettled && self.total != Some(seen)).then_some(Gap::Unsettled)
    }

    /// The finished listing, after [`ListingStep::Done`].
    pub(super) fn finish(self) -> Listing<T> {
        Listing {
            gap: self.gap(),
            total: self.total,
            unidentified: self.seen.unidentified(),
            other_ids: self.seen.other_ids(),
            repairs: self.repairs,
            items: self.seen.items,
        }
    }
}
