//! Decides whether a list was read to its end: a state machine that is fed with pages. Pure; `client` asks for the page
//! that it wants next.
//!
//! The guide does not say how lists are paged, and a server may cap `limit`, ignore `limit` and `offset`, filter a page
//! after it cut it, repeat pages, leave `total` out or give a wrong one. So no single sign ends a listing wrongly:
//! - [`Policy::Proof`] (spaces, rooms) ends on proof alone: see `proof`.
//! - [`Policy::Short`] (calls and records of one room) may also end with a page that is shorter than the longest page
//!   that this endpoint ever gave, because the server was able to give more. Most of these lists cost one request.
//! - What says that a list is longer than what came is told as a [`Gap`], never passed over.
//! - Every item is taken once, by its id.

use super::envelope::More;
use super::proof::Proof;
use super::seen::Seen;
use super::wire::{Item, Page};
use crate::json::Repairs;

/// Items asked for at once.
pub(super) const LIMIT: usize = 100;
/// A server that invents items without end is left after so many pages of one list, items, or bytes of them.
const MOST_PAGES: u32 = 10_000;
const MOST_ITEMS: usize = 200_000;
const MOST_BYTES: usize = 128 * 1024 * 1024;
/// Pages in a row without a new item, after which a server that promises more is no longer asked.
const MOST_BARREN_PAGES: u32 = 2;
/// From this length on, a `total` that equals the only page's length may be the page's own count.
const SUSPICIOUS_LENGTH: usize = 10;

/// A list, each item once, in the order in which the API gave them.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing<T> {
    /// The items.
    pub items: Vec<T>,
    /// The API's own count, where it gave one above 0.
    pub total: Option<u64>,
    /// Why the list is longer than what came; `None` for a list that was read to its end.
    pub gap: Option<Gap>,
    /// Items without an id, which can't be told apart and are left out. Equal ones count once.
    pub unidentified: u64,
    /// Items that have `_id` in the place of `id`. They are among the items.
    pub other_ids: u64,
    /// What of the answers had to be mended.
    pub repairs: Repairs,
}

impl<T> Listing<T> {
    /// Whether nothing of the list is missing.
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
    /// The last page has a field that promises more, such as `hasMore` or `nextPageToken`, and `offset` brings none.
    Promised(String),
    /// A page of as many items as were asked for came again: the server honours `limit` and ignores `offset`.
    Repeated(u64),
    /// The list kept changing while it was read, so that items may have moved past the reader.
    Unsettled,
}

impl Gap {
    /// What a person reads. `what` names the items, such as `rooms`.
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
        }
    }
}

/// What may end a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// Proof alone.
    Proof,
    /// Also a short page.
    Short,
}

/// What to do after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for the page at [`Pager::offset`].
    Ask,
    /// All is seen, or all that can be had.
    Done,
    /// The list has no end that a list of this API could have.
    Endless,
}

/// One page as both policies look at it.
pub(super) struct Taken {
    /// Its items.
    pub length: usize,
    /// Those of them that were not seen before.
    pub new: usize,
    /// Whether it is the page before it once more.
    pub repeated: bool,
}

/// One listing in progress.
#[derive(Debug)]
pub(super) struct Pager<T> {
    seen: Seen<T>,
    proof: Option<Proof>,
    total: Option<u64>,
    promise: Option<String>,
    /// The page before, to know it again, and whether it was a repetition itself.
    last: Vec<String>,
    repeated: bool,
    offset: u64,
    pages: u32,
    bytes: usize,
    barren: u32,
    repairs: Repairs,
}

impl<T: Item> Pager<T> {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            seen: Seen::default(),
            proof: (policy == Policy::Proof).then(Proof::default),
            total: None,
            promise: None,
            last: Vec::new(),
            repeated: false,
            offset: 0,
            pages: 0,
            bytes: 0,
            barren: 0,
            repairs: Repairs::default(),
        }
    }

    /// Where the next page starts.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes a page. `longest` is the length of the longest page that this endpoint gave before it.
    pub(super) fn take(&mut self, page: Page, longest: usize) -> Step {
        self.pages += 1;
        self.bytes = self.bytes.saturating_add(page.bytes);
        self.repairs.add(page.repairs);
        if self.bytes > MOST_BYTES || page.items.len() + self.seen.items.len() > MOST_ITEMS {
            return Step::Endless;
        }
        // The guide's own example says 0 beside items; at the start of an empty list 0 is true.
        let is_empty = page.items.is_empty() && self.offset == 0;
        self.total = match page.total {
            Some(0) if is_empty => None,
            total => total.filter(|total| *total > 0).or(self.total),
        };
        let keys: Vec<String> = page.items.iter().map(Seen::<T>::key).collect();
        let overlaps = keys.iter().any(|key| self.seen.has(key));
        if let Some(proof) = &mut self.proof
            && let Some(back) = proof.go_back(overlaps, self.offset, keys.len() as u64, self.total)
        {
            // The page is read again later, so that what is seen stays without gaps.
            self.last.clear();
            return self.ask(back);
        }
        let repeated = !keys.is_empty() && keys == self.last;
        let repeated_of_several = repeated && page.pages.is_some_and(|pages| pages > 1);
        self.note_promise(page.more, keys.is_empty(), repeated_of_several);
        let new = self.seen.take(page.items, &keys);
        let length = keys.len();
        (self.repeated, self.last) = (repeated, keys);
        let taken = Taken {
            length,
            new,
            repeated,
        };
        let (seen, missing) = (self.seen.count(), self.is_missing());
        let next = match &mut self.proof {
            Some(proof) => proof.take(&taken, self.offset, seen),
            None => self.take_short(&taken, longest, missing),
        };
        next.map_or(Step::Done, |offset| self.ask(offset))
    }

    fn ask(&mut self, offset: u64) -> Step {
        self.offset = offset;
        if self.pages >= MOST_PAGES {
            Step::Endless
        } else {
            Step::Ask
        }
    }

    /// Keeps what the latest page says of further ones. An empty page that says nothing leaves it as it is: a server
    /// that pages by a cursor has nothing for any `offset`.
    fn note_promise(&mut self, more: More, empty: bool, repeated_of_several: bool) {
        match more {
            More::Yes(field) => self.promise = Some(field),
            More::No => self.promise = None,
            More::Unsaid if repeated_of_several => self.promise = Some("totalPages".into()),
            More::Unsaid if !empty => self.promise = None,
            More::Unsaid => {}
        }
    }

    /// Whether the server says that there is more than what came.
    fn is_missing(&self) -> bool {
        self.promise.is_some() || self.total.is_some_and(|total| self.seen.count() < total)
    }

    /// The next offset of a small list; `None` at its end.
    fn take_short(&mut self, page: &Taken, longest: usize, missing: bool) -> Option<u64> {
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

    /// How much there was when it was left as [`Step::Endless`].
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
        // A longer page means that `limit` is ignored, a shorter one that there was no more to give.
        if self.repeated && self.last.len() == LIMIT && self.total != Some(seen) {
            return Some(Gap::Repeated(seen));
        }
        let unsettled = self.proof.as_ref().is_some_and(Proof::is_unsettled);
        (unsettled && self.total != Some(seen)).then_some(Gap::Unsettled)
    }

    /// The listing, once [`Step::Done`].
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
