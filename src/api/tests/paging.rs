//! Lists of servers that page in many different ways, and that change while they are read.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::api::envelope::More;
use crate::api::paging::{Gap, LIMIT, Listing, ListingStep, Pager, Policy};
use crate::api::wire::{ListPage, Space};

/// The way in which a server cuts its pages.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pages {
    Honoured,
    Capped(usize),
    AllAtOnce,
    /// Every offset gives the first page.
    SamePage(usize),
    /// `offset` is rounded down to whole pages.
    Numbered(usize),
    /// A page is cut first, and hidden rows are removed from it afterwards.
    CutThenFiltered(usize),
    /// The page length depends on the offset, from 1 to this.
    Uneven(usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum TotalField {
    Right,
    LeftOut,
    Zero,
    /// The number of items on the page.
    OfThePage,
    Large,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum ListChange {
    Delete(usize),
    Insert(usize),
}

#[derive(Debug, Clone)]
pub(super) struct ListRow {
    pub(super) id: String,
    pub(super) hidden: bool,
}

#[derive(Clone)]
pub(super) struct PagedServer {
    pages: Pages,
    total: TotalField,
    pub(super) rows: Vec<ListRow>,
    /// Changes, each with the number of the request before which it happens.
    pub(super) changes: Vec<(usize, ListChange)>,
    pub(super) requests: usize,
}

impl PagedServer {
    pub(super) fn new(pages: Pages, total: TotalField, count: usize) -> Self {
        let row = |number: usize| ListRow {
            id: number.to_string(),
            hidden: false,
        };
        Self {
            pages,
            total,
            rows: (0..count).map(row).collect(),
            changes: Vec::new(),
            requests: 0,
        }
    }

    fn change(&mut self) {
        let due = self.changes.iter().filter(|(at, _)| *at == self.requests);
        for (number, (_, change)) in due.enumerate() {
            match change {
                ListChange::Delete(index) if !self.rows.is_empty() => {
                    self.rows.remove(index % self.rows.len());
                }
                ListChange::Insert(index) => {
                    let row = ListRow {
                        id: format!("new {} {number}", self.requests),
                        hidden: false,
                    };
                    self.rows.insert(index % (self.rows.len() + 1), row);
                }
                ListChange::Delete(_) => {}
            }
        }
    }

    pub(super) fn answer(&mut self, offset: usize, limit: usize) -> ListPage {
        self.requests += 1;
        self.change();
        let (start, length) = match self.pages {
            Pages::Honoured => (offset, limit),
            Pages::Capped(cap) | Pages::CutThenFiltered(cap) => (offset, cap.min(limit)),
            Pages::AllAtOnce => (0, usize::MAX),
            Pages::SamePage(cap) => (0, cap.min(limit)),
            Pages::Numbered(cap) => (offset / cap.min(limit) * cap.min(limit), cap.min(limit)),
            Pages::Uneven(most) => (offset, (offset * 7919 + 13) % most + 1),
        };
        let page = self.rows.iter().skip(start).take(length);
        let items: Vec<Value> = page
            .filter(|row| !row.hidden)
            .map(|row| json!({"id": row.id}))
            .collect();
        let visible = self.rows.iter().filter(|row| !row.hidden).count() as u64;
        let total = match self.total {
            TotalField::Right => Some(visible),
            TotalField::LeftOut => None,
            TotalField::Zero => Some(0),
            TotalField::OfThePage => Some(items.len() as u64),
            TotalField::Large => Some(visible + 7),
        };
        ListPage {
            items,
            total,
            ..ListPage::default()
        }
    }
}

/// Reads the whole list. Returns it with the number of requests.
pub(super) fn list(server: &mut PagedServer, policy: Policy, longest: &mut usize) -> (Listing<Space>, usize) {
    let mut pager = Pager::new(policy);
    let before = server.requests;
    loop {
        let page = server.answer(usize::try_from(pager.offset()).unwrap(), LIMIT);
        let known = *longest;
        *longest = known.max(page.items.len());
        match pager.take(page, known) {
            ListingStep::Ask => assert!(server.requests - before < 20_000, "the listing never ends"),
            ListingStep::Done => return (pager.finish(), server.requests - before),
            ListingStep::Endless => panic!("the list has an end"),
        }
    }
}

fn read(server: &mut PagedServer) -> (Listing<Space>, usize) {
    list(server, Policy::Proof, &mut 0)
}

pub(super) fn total() -> impl Strategy<Value = TotalField> {
    prop_oneof![
        Just(TotalField::Right),
        Just(TotalField::LeftOut),
        Just(TotalField::Zero),
        Just(TotalField::OfThePage),
        Just(TotalField::Large),
    ]
}

pub(super) fn pages() -> impl Strategy<Value = Pages> {
    prop_oneof![
        Just(Pages::Honoured),
        (1_usize..150).prop_map(Pages::Capped),
        Just(Pages::AllAtOnce),
        (1_usize..150).prop_map(Pages::Numbered),
        (1_usize..90).prop_map(Pages::Uneven),
    ]
}

pub(super) fn changes(of: fn(usize) -> ListChange) -> impl Strategy<Value = Vec<(usize, ListChange)>> {
    let change = (2_usize..8, any::<usize>()).prop_map(move |(at, index)| (at, of(index)));
    prop::collection::vec(change, 0..40)
}

pub(super) fn ids(listing: &Listing<Space>) -> Vec<&str> {
    let mut ids: Vec<_> = listing.items.iter().map(|item| item.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

pub(super) fn visible(server: &PagedServer) -> Vec<&str> {
    let rows = server.rows.iter().filter(|row| !row.hidden);
    let mut ids: Vec<_> = rows.map(|row| row.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

proptest! {
    #[test]
    fn spaces_and_rooms_are_listed_once_however_the_server_pages(
        pages in pages(), total in total(), count in 0_usize..350,
    ) {
        let mut server = PagedServer::new(pages, total, count);
        let (listing, requests) = read(&mut server);
        prop_assert_eq!(ids(&listing), visible(&server));
        prop_assert!(requests <= 8 + 4 * count, "{} requests", requests);
        // A server without `total` that gives 100 items for every offset looks like one that has more.
        let ambiguous = count == LIMIT && matches!(pages, Pages::AllAtOnce);
        if matches!(total, TotalField::Large) && count > 0 {
            let (seen, total) = (count as u64, count as u64 + 7);
            prop_assert_eq!(listing.gap, Some(Gap::Counted { seen, total }));
        } else if !ambiguous {
            prop_assert_eq!(listing.gap, if count == 0 && matches!(total, TotalField::Large) {
                Some(Gap::Counted { seen: 0, total: 7 })
            } else {
                None
            });
        }
    }

    #[test]
    fn short_pages_in_the_middle_do_not_end_a_list_of_rooms(
        cap in 2_usize..120,
        total in prop_oneof![Just(TotalField::Right), Just(TotalField::LeftOut), Just(TotalField::Zero), Just(TotalField::OfThePage)],
        runs in prop::collection::vec((1_usize..60, 0_usize..120), 1..12),
    ) {
        let mut server = PagedServer::new(Pages::CutThenFiltered(cap), total, 0);
        for (shown, hidden) in runs {
            // A page whose rows are all hidden is empty, and an empty page ends a list.
            for number in 0..shown + hidden.min(cap.min(LIMIT) - 1) {
                let id = format!("{} {number}", server.rows.len());
                server.rows.push(ListRow { id, hidden: number >= shown });
            }
        }
        let (listing, _) = read(&mut server);
        prop_assert_eq!(ids(&listing), visible(&server));
        prop_assert_eq!(listing.gap, None);
    }

    #[test]
    fn rooms_deleted_while_listing_hide_no_other_room(
        cap in 2_usize..150,
        total in prop_oneof![Just(TotalField::Right), Just(TotalField::LeftOut)],
        count in 0_usize..350,
        changes in changes(ListChange::Delete),
    ) {
        let mut server = PagedServer::new(Pages::Capped(cap), total, count);
        server.changes = changes;
        let (listing, _) = read(&mut server);
        let seen = ids(&listing);
        let passed_over: Vec<_> = visible(&server).into_iter().filter(|id| seen.binary_search(id).is_err()).collect();
        prop_assert_eq!(passed_over, Vec::<&str>::new());
        prop_assert_eq!(listing.gap, None);
    }

    #[test]
    fn rooms_created_while_listing_hide_no_other_room(
        cap in 1_usize..150,
        total in prop_oneof![Just(TotalField::Right), Just(TotalField::LeftOut)],
        count in 0_usize..350,
        changes in changes(ListChange::Insert),
    ) {
        let mut server = PagedServer::new(Pages::Capped(cap), total, count);
        server.changes = changes;
        let (listing, _) = read(&mut server);
        let seen = ids(&listing);
        let old = (0..count).map(|number| number.to_string());
        let passed_over: Vec<_> = old.filter(|id| seen.binary_search(&id.as_str()).is_err()).collect();
        prop_assert_eq!(passed_over, Vec::<String>::new());
        prop_assert_eq!(listing.gap, None);
    }

    #[test]
    fn a_server_that_repeats_its_first_page_is_given_up_and_reported(
        cap in 1_usize..150, total in total(), count in 0_usize..300,
    ) {
        let mut server = PagedServer::new(Pages::SamePage(cap), total, count);
        let (listing, requests) = read(&mut server);
        let seen = count.min(cap).min(LIMIT) as u64;
        prop_assert_eq!(listing.items.len() as u64, seen);
        prop_assert!(requests <= 6, "{} requests", requests);
        match total {
            TotalField::Right if count as u64 > seen => {
                prop_assert_eq!(listing.gap, Some(Gap::Counted { seen, total: count as u64 }));
            }
            TotalField::Right | TotalField::OfThePage => prop_assert_eq!(listing.gap, None),
            TotalField::LeftOut | TotalField::Zero if seen == LIMIT as u64 => {
                prop_assert_eq!(listing.gap, Some(Gap::Repeated(seen)));
            }
            // A page shorter than `limit` looks as if the server gave everything at once.
            TotalField::LeftOut | TotalField::Zero => prop_assert_eq!(listing.gap, None),
            TotalField::Large => prop_assert!(listing.gap.is_some()),
        }
    }

    #[test]
    fn calls_and_records_are_listed_once_if_only_the_last_page_is_short(
        pages in prop_oneof![
            Just(Pages::Honoured), (1_usize..150).prop_map(Pages::Capped), Just(Pages::AllAtOnce),
        ],
        total in prop_oneof![Just(TotalField::Right), Just(TotalField::LeftOut), Just(TotalField::Zero)],
        counts in prop::collection::vec(0_usize..350, 1..6),
    ) {
        let mut longest = 0;
        for count in counts {
            let mut server = PagedServer::new(pages, total, count);
            let (listing, _) = list(&mut server, Policy::Short, &mut longest);
            prop_assert_eq!(ids(&listing), visible(&server));
            if count != LIMIT {
                prop_assert_eq!(listing.gap, None);
            }
        }
    }
}

#[test]
fn a_room_moved_by_a_deletion_between_two_pages_is_found() {
    // The reader has read a page of 100. The deletion moves item 100 to an offset that it has passed.
    let mut server = PagedServer::new(Pages::Honoured, TotalField::LeftOut, 120);
    server.changes = vec![(2, ListChange::Delete(0)), (2, ListChange::Delete(0))];
    let (listing, _) = read(&mut server);
    assert_eq!(listing.items.len(), 120);
    assert_eq!(listing.gap, None);
}

#[test]
fn a_total_reached_by_a_single_page_does_not_end_a_list_of_rooms() {
    let mut server = PagedServer::new(Pages::Capped(50), TotalField::OfThePage, 120);
    let (listing, _) = read(&mut server);
    assert_eq!((listing.items.len(), listing.gap), (120, None));
}

#[test]
fn a_list_costs_no_more_requests_than_its_proof() {
    let costs = |pages, total, policy, counts: [usize; 6]| {
        let mut longest = 0;
        counts.map(|count| list(&mut PagedServer::new(pages, total, count), policy, &mut longest).1)
    };
    let counts = [0, 1, 3, 100, 101, 120];
    let proof = Policy::Proof;
    assert_eq!(
        costs(Pages::Honoured, TotalField::Right, proof, counts),
        [1, 2, 2, 2, 2, 2]
    );
    assert_eq!(
        costs(Pages::Honoured, TotalField::LeftOut, proof, counts),
        [1, 2, 3, 3, 4, 4]
    );
    assert_eq!(
        costs(Pages::AllAtOnce, TotalField::Right, proof, counts),
        [1, 2, 2, 2, 2, 2]
    );
    assert_eq!(
        costs(Pages::AllAtOnce, TotalField::LeftOut, proof, counts),
        [1, 3, 3, 3, 2, 2]
    );
    let counts = [3, 2, 3, 9, 120, 50];
    let short = Policy::Short;
    assert_eq!(
        costs(Pages::Capped(50), TotalField::LeftOut, short, counts),
        [2, 1, 2, 2, 3, 2]
    );
    assert_eq!(
        costs(Pages::Capped(50), TotalField::Right, short, counts),
        [1, 1, 1, 1, 3, 2]
    );
}

/// The listing of these pages.
fn fed(policy: Policy, pages: Vec<ListPage>) -> Listing<Space> {
    let mut pager = Pager::new(policy);
    for page in pages {
        if pager.take(page, 0) != ListingStep::Ask {
            break;
        }
    }
    pager.finish()
}

fn page(ids: std::ops::Range<usize>, more: More) -> ListPage {
    ListPage {
        items: ids.map(|id| json!({"id": id})).collect(),
        more,
        ..ListPage::default()
    }
}

#[test]
fn a_promise_of_more_items_without_any_is_reported() {
    let next = || More::Yes("nextCursor".into());
    let told = |listing: Listing<Space>| listing.gap;
    for policy in [Policy::Proof, Policy::Short] {
        // A server that pages by cursors ignores the offset, or answers it with an empty page.
        let promised = Some(Gap::Promised("nextCursor".into()));
        let ignoring = (0..6).map(|_| page(0..50, next())).collect();
        assert_eq!(told(fed(policy, ignoring)), promised, "{policy:?}");
        let empty = |_| page(0..0, More::Unsaid);
        let first = std::iter::once(page(0..50, next()));
        // The first page is empty too when it is read again; that must be reported in any case.
        assert!(
            told(fed(policy, first.chain((0..40).map(empty)).collect())).is_some(),
            "{policy:?}"
        );
        // A server that honours the offset withdraws its promise.
        let honest = vec![
            page(0..100, next()),
            page(99..120, More::Unsaid),
            page(119..120, More::No),
        ];
        assert_eq!(told(fed(policy, honest)), None, "{policy:?}");
    }
    let several = |_| ListPage {
        pages: Some(3),
        ..page(0..50, More::Unsaid)
    };
    assert_eq!(
        told(fed(Policy::Proof, (0..4).map(several).collect())),
        Some(Gap::Promised("totalPages".into()))
    );
}

/// Feeds pages of `count` new items of `bytes` each until the listing ends. Returns its last step and the pages.
fn invent(count: usize, bytes: usize) -> (ListingStep, u32) {
    let mut pager = Pager::<Space>::new(Policy::Short);
    for number in 1.. {
        let items = (0..count).map(|item| json!({"id": format!("{number}/{item}")}));
        let page = ListPage {
            items: items.collect(),
            bytes: count * bytes,
            ..ListPage::default()
        };
        let step = pager.take(page, 0);
        if step != ListingStep::Ask {
            return (step, number);
        }
    }
    unreachable!("page numbers are finite");
}

#[test]
fn a_server_that_invents_items_without_end_is_given_up() {
    assert_eq!(invent(1, 100), (ListingStep::Endless, 10_000));
    assert_eq!(invent(1000, 100), (ListingStep::Endless, 201));
    assert_eq!(invent(100, 100_000), (ListingStep::Endless, 14));
}

#[test]
fn items_without_an_id_are_counted_once_and_reported() {
    for policy in [Policy::Proof, Policy::Short] {
        let page = || ListPage {
            items: vec![json!({"id": 1}), json!({"name": "a"}), json!(null)],
            total: Some(3),
            ..ListPage::default()
        };
        let listing = fed(policy, vec![page(), page()]);
        assert_eq!(
            (listing.items.len(), listing.unidentified, listing.gap.clone()),
            (1, 2, None)
        );
        assert!(!listing.is_whole());
    }
}
