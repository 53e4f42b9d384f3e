//! Lists of servers that page in every way that we could think of, and that change while they are read.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::envelope::More;
use super::paging::{Gap, LIMIT, Listing, Pager, Policy, Step};
use super::wire::{Page, Space};

/// How a server cuts its pages.
#[derive(Debug, Clone, Copy)]
enum Pages {
    Honoured,
    Capped(usize),
    AllAtOnce,
    /// The first page, whatever offset is asked for.
    SamePage(usize),
    /// `offset` is rounded down to whole pages.
    Numbered(usize),
    /// Rows are cut first, and then those that nobody may see are taken away.
    CutThenFiltered(usize),
    /// Lengths that follow from the offset, from 1 to this.
    Uneven(usize),
}

#[derive(Debug, Clone, Copy)]
enum Total {
    Right,
    LeftOut,
    Zero,
    /// The number of items on the page.
    OfThePage,
    Large,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Delete(usize),
    Insert(usize),
}

#[derive(Debug, Clone)]
struct Row {
    id: String,
    hidden: bool,
}

struct Server {
    pages: Pages,
    total: Total,
    rows: Vec<Row>,
    /// What happens before the request of this number.
    changes: Vec<(usize, Change)>,
    requests: usize,
}

impl Server {
    fn new(pages: Pages, total: Total, count: usize) -> Self {
        let row = |number: usize| Row {
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
                Change::Delete(index) if !self.rows.is_empty() => {
                    self.rows.remove(index % self.rows.len());
                }
                Change::Insert(index) => {
                    let row = Row {
                        id: format!("new {} {number}", self.requests),
                        hidden: false,
                    };
                    self.rows.insert(index % (self.rows.len() + 1), row);
                }
                Change::Delete(_) => {}
            }
        }
    }

    fn answer(&mut self, offset: usize, limit: usize) -> Page {
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
            Total::Right => Some(visible),
            Total::LeftOut => None,
            Total::Zero => Some(0),
            Total::OfThePage => Some(items.len() as u64),
            Total::Large => Some(visible + 7),
        };
        Page {
            items,
            total,
            ..Page::default()
        }
    }
}

/// Lists it all; gives the requests that it took too.
fn list(server: &mut Server, policy: Policy, longest: &mut usize) -> (Listing<Space>, usize) {
    let mut pager = Pager::new(policy);
    let before = server.requests;
    loop {
        let page = server.answer(usize::try_from(pager.offset()).unwrap(), LIMIT);
        let known = *longest;
        *longest = known.max(page.items.len());
        match pager.take(page, known) {
            Step::Ask => assert!(server.requests - before < 20_000, "it never ends"),
            Step::Done => return (pager.finish(), server.requests - before),
            Step::Endless => panic!("this list has an end"),
        }
    }
}

fn read(server: &mut Server) -> (Listing<Space>, usize) {
    list(server, Policy::Proof, &mut 0)
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

fn pages() -> impl Strategy<Value = Pages> {
    prop_oneof![
        Just(Pages::Honoured),
        (1_usize..150).prop_map(Pages::Capped),
        Just(Pages::AllAtOnce),
        (1_usize..150).prop_map(Pages::Numbered),
        (1_usize..90).prop_map(Pages::Uneven),
    ]
}

fn changes(of: fn(usize) -> Change) -> impl Strategy<Value = Vec<(usize, Change)>> {
    let change = (2_usize..8, any::<usize>()).prop_map(move |(at, index)| (at, of(index)));
    prop::collection::vec(change, 0..40)
}

fn ids(listing: &Listing<Space>) -> Vec<&str> {
    let mut ids: Vec<_> = listing.items.iter().map(|item| item.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

fn visible(server: &Server) -> Vec<&str> {
    let rows = server.rows.iter().filter(|row| !row.hidden);
    let mut ids: Vec<_> = rows.map(|row| row.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

proptest! {
    #[test]
    fn spaces_and_rooms_are_seen_once_whatever_the_server_makes_of_paging(
        pages in pages(), total in total(), count in 0_usize..350,
    ) {
        let mut server = Server::new(pages, total, count);
        let (listing, requests) = read(&mut server);
        prop_assert_eq!(ids(&listing), visible(&server));
        prop_assert!(requests <= 8 + 4 * count, "{} requests", requests);
        // A server that gives 100 for every offset, and does not count them, can't be told from one that has more.
        let ambiguous = count == LIMIT && matches!(pages, Pages::AllAtOnce);
        if matches!(total, Total::Large) && count > 0 {
            let (seen, total) = (count as u64, count as u64 + 7);
            prop_assert_eq!(listing.gap, Some(Gap::Counted { seen, total }));
        } else if !ambiguous {
            prop_assert_eq!(listing.gap, if count == 0 && matches!(total, Total::Large) {
                Some(Gap::Counted { seen: 0, total: 7 })
            } else {
                None
            });
        }
    }

    #[test]
    fn short_pages_in_the_middle_end_no_list_of_rooms(
        cap in 2_usize..120,
        total in prop_oneof![Just(Total::Right), Just(Total::LeftOut), Just(Total::Zero), Just(Total::OfThePage)],
        runs in prop::collection::vec((1_usize..60, 0_usize..120), 1..12),
    ) {
        let mut server = Server::new(Pages::CutThenFiltered(cap), total, 0);
        for (shown, hidden) in runs {
            // A cut that is hidden as a whole is an empty page, which ends a list.
            for number in 0..shown + hidden.min(cap.min(LIMIT) - 1) {
                let id = format!("{} {number}", server.rows.len());
                server.rows.push(Row { id, hidden: number >= shown });
            }
        }
        let (listing, _) = read(&mut server);
        prop_assert_eq!(ids(&listing), visible(&server));
        prop_assert_eq!(listing.gap, None);
    }

    #[test]
    fn rooms_that_are_deleted_meanwhile_hide_no_other(
        cap in 2_usize..150,
        total in prop_oneof![Just(Total::Right), Just(Total::LeftOut)],
        count in 0_usize..350,
        changes in changes(Change::Delete),
    ) {
        let mut server = Server::new(Pages::Capped(cap), total, count);
        server.changes = changes;
        let (listing, _) = read(&mut server);
        let seen = ids(&listing);
        let passed_over: Vec<_> = visible(&server).into_iter().filter(|id| seen.binary_search(id).is_err()).collect();
        prop_assert_eq!(passed_over, Vec::<&str>::new());
        prop_assert_eq!(listing.gap, None);
    }

    #[test]
    fn rooms_that_are_made_meanwhile_push_no_other_out(
        cap in 1_usize..150,
        total in prop_oneof![Just(Total::Right), Just(Total::LeftOut)],
        count in 0_usize..350,
        changes in changes(Change::Insert),
    ) {
        let mut server = Server::new(Pages::Capped(cap), total, count);
        server.changes = changes;
        let (listing, _) = read(&mut server);
        let seen = ids(&listing);
        let old = (0..count).map(|number| number.to_string());
        let passed_over: Vec<_> = old.filter(|id| seen.binary_search(&id.as_str()).is_err()).collect();
        prop_assert_eq!(passed_over, Vec::<String>::new());
        prop_assert_eq!(listing.gap, None);
    }

    #[test]
    fn a_server_that_repeats_its_first_page_is_left_and_told(
        cap in 1_usize..150, total in total(), count in 0_usize..300,
    ) {
        let mut server = Server::new(Pages::SamePage(cap), total, count);
        let (listing, requests) = read(&mut server);
        let seen = count.min(cap).min(LIMIT) as u64;
        prop_assert_eq!(listing.items.len() as u64, seen);
        prop_assert!(requests <= 6, "{} requests", requests);
        match total {
            Total::Right if count as u64 > seen => {
                prop_assert_eq!(listing.gap, Some(Gap::Counted { seen, total: count as u64 }));
            }
            Total::Right | Total::OfThePage => prop_assert_eq!(listing.gap, None),
            Total::LeftOut | Total::Zero if seen == LIMIT as u64 => {
                prop_assert_eq!(listing.gap, Some(Gap::Repeated(seen)));
            }
            // Fewer than asked for: the server gives all at once, as far as can be seen.
            Total::LeftOut | Total::Zero => prop_assert_eq!(listing.gap, None),
            Total::Large => prop_assert!(listing.gap.is_some()),
        }
    }

    #[test]
    fn calls_and_records_are_seen_once_by_a_server_whose_pages_are_as_long_as_they_can_be(
        pages in prop_oneof![
            Just(Pages::Honoured), (1_usize..150).prop_map(Pages::Capped), Just(Pages::AllAtOnce),
        ],
        total in prop_oneof![Just(Total::Right), Just(Total::LeftOut), Just(Total::Zero)],
        counts in prop::collection::vec(0_usize..350, 1..6),
    ) {
        let mut longest = 0;
        for count in counts {
            let mut server = Server::new(pages, total, count);
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
    // The page of 100, then the rest: the deletion moves number 100 to where the reader has been.
    let mut server = Server::new(Pages::Honoured, Total::LeftOut, 120);
    server.changes = vec![(2, Change::Delete(0)), (2, Change::Delete(0))];
    let (listing, _) = read(&mut server);
    assert_eq!(listing.items.len(), 120);
    assert_eq!(listing.gap, None);
}

#[test]
fn a_total_reached_by_one_page_is_no_proof_for_rooms() {
    let mut server = Server::new(Pages::Capped(50), Total::OfThePage, 120);
    let (listing, _) = read(&mut server);
    assert_eq!((listing.items.len(), listing.gap), (120, None));
}

#[test]
fn lists_cost_no_more_requests_than_their_proof() {
    let costs = |pages, total, policy, counts: [usize; 6]| {
        let mut longest = 0;
        counts.map(|count| list(&mut Server::new(pages, total, count), policy, &mut longest).1)
    };
    let counts = [0, 1, 3, 100, 101, 120];
    let proof = Policy::Proof;
    assert_eq!(
        costs(Pages::Honoured, Total::Right, proof, counts),
        [1, 2, 2, 2, 2, 2]
    );
    assert_eq!(
        costs(Pages::Honoured, Total::LeftOut, proof, counts),
        [1, 2, 3, 3, 4, 4]
    );
    assert_eq!(
        costs(Pages::AllAtOnce, Total::Right, proof, counts),
        [1, 2, 2, 2, 2, 2]
    );
    assert_eq!(
        costs(Pages::AllAtOnce, Total::LeftOut, proof, counts),
        [1, 3, 3, 3, 2, 2]
    );
    let counts = [3, 2, 3, 9, 120, 50];
    let short = Policy::Short;
    assert_eq!(
        costs(Pages::Capped(50), Total::LeftOut, short, counts),
        [2, 1, 2, 2, 3, 2]
    );
    assert_eq!(
        costs(Pages::Capped(50), Total::Right, short, counts),
        [1, 1, 1, 1, 3, 2]
    );
}

/// Feeds pages in turn and lists what came.
fn fed(policy: Policy, pages: Vec<Page>) -> Listing<Space> {
    let mut pager = Pager::new(policy);
    for page in pages {
        if pager.take(page, 0) != Step::Ask {
            break;
        }
    }
    pager.finish()
}

fn page(ids: std::ops::Range<usize>, more: More) -> Page {
    Page {
        items: ids.map(|id| json!({"id": id})).collect(),
        more,
        ..Page::default()
    }
}

#[test]
fn what_promises_more_and_gives_none_is_told() {
    let next = || More::Yes("nextCursor".into());
    let told = |listing: Listing<Space>| listing.gap;
    for policy in [Policy::Proof, Policy::Short] {
        // A server with cursors ignores the offset, or has nothing for one.
        let promised = Some(Gap::Promised("nextCursor".into()));
        let ignoring = (0..6).map(|_| page(0..50, next())).collect();
        assert_eq!(told(fed(policy, ignoring)), promised, "{policy:?}");
        let empty = |_| page(0..0, More::Unsaid);
        let first = std::iter::once(page(0..50, next()));
        // Here also the first page is empty when it is read again, and that is told in any case.
        assert!(
            told(fed(policy, first.chain((0..40).map(empty)).collect())).is_some(),
            "{policy:?}"
        );
        // One that honours the offset takes its promise back.
        let honest = vec![
            page(0..100, next()),
            page(99..120, More::Unsaid),
            page(119..120, More::No),
        ];
        assert_eq!(told(fed(policy, honest)), None, "{policy:?}");
    }
    let several = |_| Page {
        pages: Some(3),
        ..page(0..50, More::Unsaid)
    };
    assert_eq!(
        told(fed(Policy::Proof, (0..4).map(several).collect())),
        Some(Gap::Promised("totalPages".into()))
    );
}

/// Pages of `count` new items of `bytes` each, until the listing ends: how it does, and after how many.
fn invent(count: usize, bytes: usize) -> (Step, u32) {
    let mut pager = Pager::<Space>::new(Policy::Short);
    for number in 1.. {
        let items = (0..count).map(|item| json!({"id": format!("{number}/{item}")}));
        let page = Page {
            items: items.collect(),
            bytes: count * bytes,
            ..Page::default()
        };
        let step = pager.take(page, 0);
        if step != Step::Ask {
            return (step, number);
        }
    }
    unreachable!("the numbers of pages end");
}

#[test]
fn a_server_that_invents_items_without_end_is_left() {
    assert_eq!(invent(1, 100), (Step::Endless, 10_000));
    assert_eq!(invent(1000, 100), (Step::Endless, 201));
    assert_eq!(invent(100, 100_000), (Step::Endless, 14));
}

#[test]
fn items_without_an_id_are_counted_once_and_told() {
    for policy in [Policy::Proof, Policy::Short] {
        let page = || Page {
            items: vec![json!({"id": 1}), json!({"name": "a"}), json!(null)],
            total: Some(3),
            ..Page::default()
        };
        let listing = fed(policy, vec![page(), page()]);
        assert_eq!(
            (listing.items.len(), listing.unidentified, listing.gap.clone()),
            (1, 2, None)
        );
        assert!(!listing.is_whole());
    }
}
