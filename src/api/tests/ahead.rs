//! Lists whose pages are asked for several at a time.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use proptest::prelude::*;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

use super::paging::{self, ListChange, ListRow, PagedServer, Pages, TotalField, ids, visible};
use super::{Reply, ScriptedServer, report};
use crate::ErrorKind;
use crate::api::ahead::PagesAhead;
use crate::api::paging::{Gap, LIMIT, Listing, ListingStep, Pager, Policy};
use crate::api::wire::{ListPage, Room, Space};
use crate::runlog::{Recording, RunLogs};

/// The most pages that are on their way at once.
const AT_ONCE: usize = 8;

type PageOnItsWay = Rc<RefCell<Option<ListPage>>>;

/// Requests of which the server answers any next, whatever the order in which they were sent.
struct Unanswered {
    requests: Vec<(u64, Weak<RefCell<Option<ListPage>>>)>,
    order: Vec<usize>,
    answered: usize,
}

impl Unanswered {
    fn answer_one(&mut self, server: &mut PagedServer) {
        let pick = self.order[self.answered % self.order.len()] % self.requests.len();
        self.answered += 1;
        let (offset, coming) = self.requests.remove(pick);
        let page = server.answer(usize::try_from(offset).unwrap(), LIMIT);
        if let Some(coming) = coming.upgrade() {
            *coming.borrow_mut() = Some(page);
        }
    }
}

/// Reads the whole list as `listing` does, while the server answers in this order. Returns it with the number of
/// requests.
fn list_ahead(server: &mut PagedServer, policy: Policy, order: &[usize]) -> (Listing<Space>, usize) {
    let mut pager = Pager::new(policy);
    let mut ahead = PagesAhead::<PageOnItsWay>::default();
    let mut unanswered = Unanswered {
        requests: Vec::new(),
        order: order.to_vec(),
        answered: 0,
    };
    let (mut items, mut longest) = (Vec::new(), 0);
    loop {
        ahead.plan(pager.next_offsets(AT_ONCE), |offset| {
            let coming = PageOnItsWay::default();
            unanswered.requests.push((offset, Rc::downgrade(&coming)));
            coming
        });
        while ahead.first().expect("a page is due").borrow().is_none() {
            unanswered.answer_one(server);
        }
        let page = ahead.take().expect("it came").take().expect("it is answered");
        let known = longest;
        longest = known.max(page.items.len());
        let step = pager.take(page, known);
        items.append(&mut pager.new_items());
        match step {
            ListingStep::Ask => assert!(server.requests < 20_000, "the listing never ends"),
            ListingStep::Done => break,
            ListingStep::Endless => panic!("the list has an end"),
        }
    }
    while !unanswered.requests.is_empty() {
        unanswered.answer_one(server);
    }
    let listing = Listing {
        items,
        ..pager.finish()
    };
    (listing, server.requests)
}

fn order() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..AT_ONCE, 1..20)
}

fn any_pages() -> impl Strategy<Value = Pages> {
    prop_oneof![
        paging::pages(),
        (1_usize..150).prop_map(Pages::SamePage),
        (1_usize..150).prop_map(Pages::CutThenFiltered),
    ]
}

/// Lists the rows in sequence, and several pages at a time. Both must give the same; returns the numbers of requests.
fn compared(server: &PagedServer, policy: Policy, order: &[usize]) -> Result<(usize, usize), TestCaseError> {
    let (expected, in_sequence) = paging::list(&mut server.clone(), policy, &mut 0);
    let (listing, at_once) = list_ahead(&mut server.clone(), policy, order);
    prop_assert_eq!(listing, expected);
    Ok((in_sequence, at_once))
}

proptest! {
    #[test]
    fn pages_asked_for_at_once_give_the_same_list_however_the_server_pages(
        pages in any_pages(),
        total in paging::total(),
        count in 0_usize..1500,
        hidden in prop::collection::vec(0_usize..1500, 0..30),
        proof in any::<bool>(),
        order in order(),
    ) {
        let mut server = PagedServer::new(pages, total, count);
        for row in hidden {
            if let Some(row) = server.rows.get_mut(row) {
                row.hidden = true;
            }
        }
        let policy = if proof { Policy::Proof } else { Policy::Short };
        let (in_sequence, at_once) = compared(&server, policy, &order)?;
        prop_assert!(at_once <= in_sequence + 3 * AT_ONCE, "{} requests, {} in sequence", at_once, in_sequence);
    }

    #[test]
    fn no_page_is_asked_for_in_vain_if_the_server_keeps_its_word(
        pages in prop_oneof![Just(Pages::Honoured), (1_usize..150).prop_map(Pages::Capped), Just(Pages::AllAtOnce)],
        total in prop_oneof![
            Just(TotalField::Right), Just(TotalField::LeftOut), Just(TotalField::Zero), Just(TotalField::OfThePage),
        ],
        count in 0_usize..1500,
        proof in any::<bool>(),
        order in order(),
    ) {
        let policy = if proof { Policy::Proof } else { Policy::Short };
        let (in_sequence, at_once) = compared(&PagedServer::new(pages, total, count), policy, &order)?;
        prop_assert_eq!(at_once, in_sequence);
    }

    #[test]
    fn rooms_that_come_and_go_between_pages_asked_for_at_once_hide_no_other_room(
        cap in 2_usize..150,
        total in prop_oneof![Just(TotalField::Right), Just(TotalField::LeftOut)],
        count in 0_usize..1500,
        deletes in any::<bool>(),
        changes in prop::collection::vec((2_usize..20, any::<usize>()), 0..40),
        order in order(),
    ) {
        let mut server = PagedServer::new(Pages::Capped(cap), total, count);
        let change = if deletes { ListChange::Delete } else { ListChange::Insert };
        server.changes = changes.into_iter().map(|(at, index)| (at, change(index))).collect();
        let (listing, _) = list_ahead(&mut server, Policy::Proof, &order);
        let seen = ids(&listing);
        let is_old = |id: &&str| !id.starts_with("new");
        let missed: Vec<_> = visible(&server)
            .into_iter()
            .filter(is_old)
            .filter(|id| seen.binary_search(id).is_err())
            .collect();
        prop_assert_eq!(missed, Vec::<&str>::new());
        prop_assert_eq!(listing.gap, None);
    }
}

#[test]
fn pages_asked_for_in_vain_again_and_again_end_the_asking_for_several() {
    let mut server = PagedServer::new(Pages::CutThenFiltered(100), TotalField::Right, 0);
    for number in 0..20_000 {
        let hidden = number % 250 == 220;
        let id = number.to_string();
        server.rows.push(ListRow { id, hidden });
    }
    let (expected, in_sequence) = paging::list(&mut server.clone(), Policy::Proof, &mut 0);
    let (listing, at_once) = list_ahead(&mut server, Policy::Proof, &[0]);
    assert_eq!(listing, expected);
    assert!(at_once - in_sequence <= 3 * AT_ONCE, "{at_once} {in_sequence}");
}

/// The offset that a request asks for.
fn offset(head: &str) -> usize {
    let (_, rest) = head.split_once("offset=").expect("a page is asked for");
    rest.split([' ', '&']).next().unwrap().parse().unwrap()
}

fn offsets(server: &ScriptedServer) -> Vec<usize> {
    server.heads().iter().map(|head| offset(head)).collect()
}

/// A page of a list of `count` rooms.
fn rooms_from(offset: usize, count: usize) -> Reply {
    let rooms: Vec<_> = (offset..count.min(offset + LIMIT))
        .map(|id| format!(r#"{{"id":"{id}"}}"#))
        .collect();
    Reply::ok(&format!(r#"{{"items":[{}],"total":{count}}}"#, rooms.join(",")))
}

/// Waits until the server got this many requests.
async fn until_requested(server: &ScriptedServer, count: usize) {
    let all = async {
        while server.heads().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .unwrap_or_else(|_| panic!("only {} requests came", server.heads().len()));
}

fn room_ids(rooms: &[Room]) -> Vec<usize> {
    rooms.iter().map(|room| room.id.parse().unwrap()).collect()
}

#[tokio::test]
async fn rooms_of_a_page_come_before_the_next_page_is_answered() {
    let server = ScriptedServer::start(|_, head| match offset(head) {
        0 => rooms_from(0, 300),
        _ => Reply::stalled(""),
    })
    .await;
    let mut pages = server.client().rooms_by_page(&"s1".into()).unwrap();
    let rooms = pages.next().await.unwrap().unwrap();
    assert_eq!(room_ids(&rooms), (0..100).collect::<Vec<_>>());
    // Nobody waits for the next page, but it is on its way, and so is the one after it.
    until_requested(&server, 3).await;
    let mut offsets = offsets(&server);
    offsets.sort_unstable();
    assert_eq!(offsets, [0, 99, 198]);
}

#[tokio::test]
async fn more_pages_are_requested_at_once_with_each_page_that_keeps_the_servers_word() {
    let server = ScriptedServer::start(|_, head| match offset(head) {
        at @ (0 | 99) => rooms_from(at, 10_000),
        _ => Reply::stalled(""),
    })
    .await;
    let mut pages = server.client().rooms_by_page(&"s1".into()).unwrap();
    pages.next().await.unwrap().unwrap();
    pages.next().await.unwrap().unwrap();
    until_requested(&server, 6).await;
    let mut offsets = offsets(&server);
    offsets.sort_unstable();
    assert_eq!(offsets, [0, 99, 198, 297, 396, 495]);
}

#[tokio::test]
async fn no_page_beyond_the_total_is_requested() {
    let server = ScriptedServer::start(|_, head| rooms_from(offset(head), 1000)).await;
    let listing = server.client().rooms(&"s1".into()).await.unwrap();
    assert_eq!(room_ids(&listing.items), (0..1000).collect::<Vec<_>>());
    assert_eq!((listing.total, listing.gap), (Some(1000), None));
    let mut offsets = offsets(&server);
    offsets.sort_unstable();
    // The overlap of one room makes it eleven pages.
    assert_eq!(offsets, (0..11).map(|page| page * 99).collect::<Vec<_>>());
}

#[tokio::test]
async fn at_most_half_of_the_concurrency_is_used_for_a_list() {
    let server =
        ScriptedServer::start(|_, head| rooms_from(offset(head), 2000).after(Duration::from_millis(20)))
            .await;
    let (client, _) = server.client_with(|config, _| config.concurrency = 6);
    let listing = client.rooms(&"s1".into()).await.unwrap();
    assert_eq!(listing.items.len(), 2000);
    assert!(server.most_at_once() <= 3, "{} at once", server.most_at_once());
}

#[tokio::test]
async fn a_list_that_is_dropped_gives_its_requests_up() {
    let server = ScriptedServer::start(|_, head| {
        if head.contains("/report") {
            Reply::ok("{}")
        } else if head.contains("offset=0 ") {
            rooms_from(0, 300)
        } else {
            Reply::stalled("")
        }
    })
    .await;
    let (client, _) = server.client_with(|config, _| config.concurrency = 1);
    let mut pages = client.rooms_by_page(&"s1".into()).unwrap();
    pages.next().await.unwrap().unwrap();
    until_requested(&server, 2).await;
    drop(pages);
    // The request of the second page held the only pass.
    let report = tokio::time::timeout(Duration::from_secs(20), report(&client)).await;
    assert_eq!(report.expect("the pass is free").unwrap(), "{}");
}

#[tokio::test]
async fn a_list_that_was_not_read_to_its_end_is_not_whole() {
    let server = ScriptedServer::start(|_, head| match offset(head) {
        0 => rooms_from(0, 300),
        _ => Reply::new("403 Forbidden", "", ""),
    })
    .await;
    let client = server.client();
    let mut pages = client.rooms_by_page(&"s1".into()).unwrap();
    assert_eq!(pages.next().await.unwrap().unwrap().len(), 100);
    assert_eq!(pages.next().await.unwrap_err().kind(), ErrorKind::Forbidden);
    assert_eq!(pages.next().await.unwrap(), None);
    assert!(!pages.finish().is_whole());

    let unread = client.rooms_by_page(&"s1".into()).unwrap().finish();
    assert_eq!(unread.gap, Some(Gap::NotReadToEnd));
}

#[tokio::test]
async fn a_page_that_is_asked_for_ahead_logs_into_the_log_of_its_run() {
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(RunLogs));
    let log = Recording::begin("lists a space");
    let server = ScriptedServer::start(|number, head| match (number, offset(head)) {
        (1, _) => Reply::new("429 Too Many Requests", "", ""),
        (_, at) => rooms_from(at, 300),
    })
    .await;
    let client = server.client();
    let run = tracing::info_span!("run", run = "lists a space");
    let listing = client.rooms(&"s1".into()).instrument(run).await.unwrap();
    assert_eq!(listing.items.len(), 300);
    let lines = log.log().lines;
    assert!(
        lines
            .iter()
            .any(|line| line.message.contains("refuses further requests")),
        "{lines:?}"
    );
}
