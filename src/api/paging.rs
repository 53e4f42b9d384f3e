//! Whether a list has been seen whole: a state machine fed with pages. Pure; `client` asks for what it wants next.
//!
//! The guide does not say how lists are paged, so no single sign is trusted to *end* a listing wrongly:
//! - The server may honour `limit` and `offset`, cap `limit` at any size, or ignore both and give all at once. So a
//!   page shorter than `limit` proves nothing. A page shorter than the *longest page that this endpoint ever gave*
//!   does: the server was able to give more. The longest page is learned per endpoint and kept by the client, so most
//!   lists cost one request; only those as long as the record cost one more.
//! - `total` may be left out or 0 (as in the guide's own example). Where it is the very number of items seen, the list
//!   is whole, unless the page was as long as asked for: then `total` may be the page's own count. When it counts more
//!   than was seen, pages are asked for until one is empty or two in a row bring nothing new; the difference is then
//!   told as `incomplete`. When it counts less, it is not believed.
//! - Pages may repeat or overlap, since items come and go meanwhile. Every item is taken once, by its id, and a page
//!   without a new one ends the listing (unless `total` objects).
//! - `offset` advances by what a page held, not by `limit`.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::wire::{self, Item, Page};
use crate::json::Repairs;

/// Items asked for at once.
pub(super) const LIMIT: usize = 100;
/// A server that invents items for ever is left after so many pages of one list, items, or bytes of them.
const MOST_PAGES: u32 = 10_000;
const MOST_ITEMS: usize = 200_000;
const MOST_BYTES: usize = 128 * 1024 * 1024;
/// Pages in a row without a new item, after which a `total` that promises more is no longer believed.
const MOST_BARREN_PAGES: u32 = 2;

/// A list, each item once, in the order in which the API gave them.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing<T> {
    /// The items.
    pub items: Vec<T>,
    /// The API's own count, where it gave one above 0.
    pub total: Option<u64>,
    /// Items seen and items counted by the API, when it counts more than it gave.
    pub incomplete: Option<(u64, u64)>,
    /// Items without an id, which can't be told apart and are left out. Equal ones count once.
    pub unidentified: u64,
    /// What of the answers had to be mended.
    pub repairs: Repairs,
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

/// One listing in progress.
#[derive(Debug)]
pub(super) struct Pager<T> {
    items: Vec<T>,
    ids: HashSet<String>,
    unidentified: HashSet<u64>,
    total: Option<u64>,
    offset: u64,
    pages: u32,
    bytes: usize,
    barren: u32,
    repairs: Repairs,
}

impl<T: Item> Pager<T> {
    pub(super) fn new() -> Self {
        Self {
            items: Vec::new(),
            ids: HashSet::new(),
            unidentified: HashSet::new(),
            total: None,
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
        let (length, seen) = (page.items.len(), self.seen());
        self.pages += 1;
        self.bytes = self.bytes.saturating_add(page.bytes);
        self.repairs.add(page.repairs);
        if self.bytes > MOST_BYTES || length + self.items.len() > MOST_ITEMS {
            return Step::Endless;
        }
        self.offset += length as u64;
        self.total = page.total.filter(|total| *total > 0).or(self.total);
        for raw in page.items {
            self.take_item(raw);
        }
        if length == 0 {
            return Step::Done;
        }
        let missing = self.total.is_some_and(|total| self.seen() < total);
        if self.seen() == seen {
            self.barren += 1;
            return if missing && self.barren < MOST_BARREN_PAGES {
                self.ask()
            } else {
                Step::Done
            };
        }
        self.barren = 0;
        if self.total == Some(self.seen()) && length < LIMIT {
            return Step::Done;
        }
        if missing || length >= longest {
            self.ask()
        } else {
            Step::Done
        }
    }

    fn ask(&self) -> Step {
        if self.pages >= MOST_PAGES {
            Step::Endless
        } else {
            Step::Ask
        }
    }

    /// How much there was when it was left as [`Step::Endless`].
    pub(super) fn amount(&self) -> String {
        format!(
            "the list has no end: {} pages and {} bytes so far",
            self.pages, self.bytes
        )
    }

    fn take_item(&mut self, raw: serde_json::Value) {
        // Without an id, an item that a page repeats is known by its content alone.
        if wire::id(&raw).is_none() {
            let mut content = DefaultHasher::new();
            raw.to_string().hash(&mut content);
            self.unidentified.insert(content.finish());
        } else if let Some(item) = T::from_raw(raw)
            && self.ids.insert(item.id().to_owned())
        {
            self.items.push(item);
        }
    }

    /// Different items so far.
    fn seen(&self) -> u64 {
        (self.ids.len() + self.unidentified.len()) as u64
    }

    /// The listing, once [`Step::Done`].
    pub(super) fn finish(self) -> Listing<T> {
        let seen = self.seen();
        let counted = self.total.unwrap_or(0);
        Listing {
            incomplete: (counted > seen).then_some((seen, counted)),
            total: self.total,
            unidentified: self.unidentified.len() as u64,
            repairs: self.repairs,
            items: self.items,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::Space;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[derive(Debug, Clone, Copy)]
    enum Pages {
        Honoured,
        Capped(usize),
        AllAtOnce,
        /// The first page, whatever is asked for.
        SamePage(usize),
        /// New items push the others down between requests.
        Shifting {
            cap: usize,
            by: usize,
        },
    }

    #[derive(Debug, Clone, Copy)]
    enum Total {
        Right,
        LeftOut,
        Zero,
        /// The number of items on the page. Together with a cap of the server's own it can't be told from the right one.
        OfThePage,
        Large,
    }

    /// A server that behaves in one way to all requests.
    struct Server {
        pages: Pages,
        total: Total,
        requests: usize,
    }

    impl Server {
        fn answer(&mut self, count: usize, offset: usize, limit: usize) -> Page {
            let old = |index: usize| json!({"id": format!("{index}")});
            let (pushed, cap, offset) = match self.pages {
                Pages::Honoured => (0, limit, offset),
                Pages::Capped(cap) => (0, cap.min(limit), offset),
                Pages::AllAtOnce => (0, usize::MAX, 0),
                Pages::SamePage(cap) => (0, cap, 0),
                Pages::Shifting { cap, by } => (by * self.requests, cap, offset),
            };
            self.requests += 1;
            let new = (0..pushed).map(|index| json!({"id": format!("new {}", pushed - index)}));
            let items: Vec<Value> = new.chain((0..count).map(old)).skip(offset).take(cap).collect();
            let total = match self.total {
                Total::Right => Some((pushed + count) as u64),
                Total::LeftOut => None,
                Total::Zero => Some(0),
                Total::OfThePage if matches!(self.pages, Pages::Honoured | Pages::AllAtOnce) => {
                    Some(items.len() as u64)
                }
                Total::OfThePage => None,
                Total::Large => Some((pushed + count + 7) as u64),
            };
            Page {
                items,
                total,
                ..Page::default()
            }
        }
    }

    fn list(server: &mut Server, count: usize, longest: &mut usize) -> (Listing<Space>, usize) {
        let mut pager = Pager::new();
        let before = server.requests;
        loop {
            let page = server.answer(count, usize::try_from(pager.offset()).unwrap(), LIMIT);
            let known = *longest;
            *longest = known.max(page.items.len());
            if pager.take(page, known) == Step::Done {
                return (pager.finish(), server.requests - before);
            }
        }
    }

    fn total() -> impl Strategy<Value = Total> {
        prop_oneof![
            Just(Total::Right),
            Just(Total::LeftOut),
            Just(Total::Zero),
            Just(Total::OfThePage),
            Just(Total::Large),
        ]
    }

    fn original_ids(listing: &Listing<Space>) -> Vec<String> {
        listing
            .items
            .iter()
            .map(|item| item.id.clone())
            .filter(|id| !id.starts_with("new"))
            .collect()
    }

    fn numbers(count: usize) -> Vec<String> {
        (0..count).map(|index| index.to_string()).collect()
    }

    proptest! {
        #[test]
        fn every_item_is_seen_once_whatever_the_server_makes_of_paging(
            pages in prop_oneof![
                Just(Pages::Honoured),
                (1_usize..150).prop_map(Pages::Capped),
                Just(Pages::AllAtOnce),
                (2_usize..100).prop_flat_map(|cap| (1..cap).prop_map(move |by| Pages::Shifting { cap, by })),
            ],
            total in total(),
            counts in proptest::collection::vec(0_usize..350, 1..6),
        ) {
            let mut server = Server { pages, total, requests: 0 };
            let mut longest = 0;
            for count in counts {
                server.requests = 0;
                let (listing, requests) = list(&mut server, count, &mut longest);
                prop_assert_eq!(original_ids(&listing), numbers(count));
                prop_assert!(requests <= 3 + count, "{} requests", requests);
                if !matches!((pages, total), (Pages::Shifting { .. }, _) | (_, Total::Large)) {
                    prop_assert_eq!(listing.incomplete, None);
                }
            }
        }

        #[test]
        fn a_server_that_repeats_a_page_forever_ends_the_listing(
            cap in 1_usize..100, total in total(), counts in proptest::collection::vec(0_usize..300, 1..4),
        ) {
            let mut server = Server { pages: Pages::SamePage(cap), total, requests: 0 };
            let mut longest = 0;
            for count in counts {
                let (listing, requests) = list(&mut server, count, &mut longest);
                prop_assert_eq!(original_ids(&listing), numbers(count.min(cap)));
                prop_assert!(requests <= 3);
                if matches!(total, Total::Right) {
                    let short = (count > cap).then_some((cap as u64, count as u64));
                    prop_assert_eq!(listing.incomplete, short);
                }
            }
        }
    }

    #[test]
    fn once_the_servers_pages_are_known_a_short_list_costs_one_request() {
        let costs = |total, counts: [usize; 9]| {
            let mut server = Server {
                pages: Pages::Capped(50),
                total,
                requests: 0,
            };
            let mut longest = 0;
            counts.map(|count| list(&mut server, count, &mut longest).1)
        };
        let counts = [3, 2, 3, 5, 4, 120, 49, 50, 0];
        assert_eq!(costs(Total::LeftOut, counts), [2, 1, 2, 2, 1, 3, 1, 2, 1]);
        assert_eq!(costs(Total::Right, counts), [1, 1, 1, 1, 1, 3, 1, 1, 1]);
    }

    /// Pages of `count` new items of `bytes` each, until the listing ends: how it does, and after how many.
    fn invent(count: usize, bytes: usize) -> (Step, u32) {
        let mut pager = Pager::<Space>::new();
        for page in 1.. {
            let items = (0..count)
                .map(|item| json!({"id": format!("{page}/{item}")}))
                .collect();
            let page_ = Page {
                items,
                bytes: count * bytes,
                ..Page::default()
            };
            let step = pager.take(page_, 0);
            if step != Step::Ask {
                return (step, page);
            }
        }
        unreachable!("the numbers of pages end");
    }

    #[test]
    fn a_server_that_invents_items_for_ever_is_left() {
        assert_eq!(invent(1, 100), (Step::Endless, MOST_PAGES));
        assert_eq!(invent(1000, 100), (Step::Endless, 201));
        assert_eq!(invent(100, 100_000), (Step::Endless, 14));
    }

    #[test]
    fn items_without_an_id_are_counted_once_and_told() {
        let mut pager = Pager::<Space>::new();
        let page = || Page {
            items: vec![json!({"id": 1}), json!({"name": "a"}), json!(null)],
            total: Some(3),
            ..Page::default()
        };
        assert_eq!(pager.take(page(), 3), Step::Done);
        assert_eq!(pager.take(page(), 3), Step::Done);
        let listing = pager.finish();
        assert_eq!(
            (listing.items.len(), listing.unidentified, listing.incomplete),
            (1, 2, None)
        );
        assert_eq!(listing.total, Some(3));
    }
}
