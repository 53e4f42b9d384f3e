//! Reads a list page by page, while later pages are still coming. Not pure: it sends requests; `client` makes the lists.
//!
//! `paging` says which page is due, and which pages are certain to follow it. These are asked for at the same time, each
//! in a task of its own, so that they come while the caller works on the pages before them. They are taken in order, so
//! that `paging` sees the list as if it had been read one page after another.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::Instrument;

use super::ahead::PagesAhead;
use super::answer;
use super::paging::{Gap, LIMIT, Listing, ListingStep, Pager};
use super::request::{List, Request};
use super::send::Sender;
use super::wire::{Item, ListPage};
use crate::task::panicked;
use crate::{Error, ErrorKind, Result};

/// A list that is being read. Pages on their way are dropped with it.
#[derive(Debug)]
pub struct ListingPages<T> {
    source: PageSource,
    list: List,
    pager: Pager<T>,
    ahead: PagesAhead<PageTask>,
    reading: ReadingState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadingState {
    /// No page was taken yet.
    New,
    UnderWay,
    /// The list was read to its end.
    Ended,
    Failed,
}

/// The means to ask for a page.
#[derive(Debug, Clone)]
struct PageSource {
    sender: Arc<Sender>,
    request: Arc<Request>,
}

impl PageSource {
    async fn page(self, offset: u64) -> Result<ListPage> {
        let page = self.request.page(offset, LIMIT);
        let most = self.sender.tuning().list_bytes;
        self.sender.ask(&page, most, answer::page).await
    }
}

/// A page on its way. If it is dropped, its request is given up.
#[derive(Debug)]
struct PageTask(JoinHandle<Result<ListPage>>);

impl Drop for PageTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Item> ListingPages<T> {
    pub(super) fn new(sender: &Arc<Sender>, list: List, request: Request) -> Self {
        Self {
            source: PageSource {
                sender: Arc::clone(sender),
                request: Arc::new(request),
            },
            list,
            pager: Pager::new(list.policy()),
            ahead: PagesAhead::default(),
            reading: ReadingState::New,
        }
    }

    /// The items of the next page that no page before it had; never empty. `None` at the end of the list, and after an
    /// error.
    ///
    /// # Errors
    /// As [`Client::spaces`](super::Client::spaces).
    pub async fn next(&mut self) -> Result<Option<Vec<T>>> {
        while matches!(self.reading, ReadingState::New | ReadingState::UnderWay) {
            let page = self.page().await;
            let taken = page.and_then(|page| self.take(page));
            if taken.is_err() {
                self.reading = ReadingState::Failed;
                self.ahead.clear();
            }
            let items = taken?;
            if !items.is_empty() {
                return Ok(Some(items));
            }
        }
        Ok(None)
    }

    /// Everything that is known of the list, without the items that `next` gave.
    pub fn finish(self) -> Listing<T> {
        let ended = self.reading == ReadingState::Ended;
        let mut listing = self.pager.finish();
        if !ended {
            listing.gap.get_or_insert(Gap::NotReadToEnd);
        }
        listing
    }

    /// Reads the whole list.
    pub(super) async fn whole(mut self) -> Result<Listing<T>> {
        let mut all = Vec::new();
        while let Some(mut items) = self.next().await? {
            all.append(&mut items);
        }
        Ok(Listing {
            items: all,
            ..self.finish()
        })
    }

    /// The page that is due.
    async fn page(&mut self) -> Result<ListPage> {
        let Some(PageTask(coming)) = self.ahead.first() else {
            // Most lists have one page, which needs no task of its own.
            return self.source.clone().page(self.pager.offset()).await;
        };
        let page = coming.await;
        self.ahead.take();
        page.unwrap_or_else(|_| Err(panicked(self.source.request.about())))
    }

    /// Takes a page and asks for those that follow.
    fn take(&mut self, page: ListPage) -> Result<Vec<T>> {
        let longest = self.source.sender.learn(self.list, page.items.len());
        match self.pager.take(page, longest) {
            ListingStep::Ask => {
                self.reading = ReadingState::UnderWay;
                self.ask_ahead();
            }
            ListingStep::Done => {
                self.reading = ReadingState::Ended;
                self.ahead.clear();
            }
            ListingStep::Endless => {
                let about = self.source.request.about();
                return Err(Error::new(ErrorKind::TooLarge, about, self.pager.amount())
                    .hint("the API invents items, or does not page as it says"));
            }
        }
        Ok(self.pager.new_items())
    }

    fn ask_ahead(&mut self) {
        // The other half of the requests in flight stays for the items of the pages that came.
        let most = self.source.sender.concurrency() / 2;
        let source = &self.source;
        self.ahead.plan(self.pager.next_offsets(most), |offset| {
            let page = source.clone().page(offset).in_current_span();
            PageTask(tokio::spawn(page))
        });
    }
}
