//! The listings of calls that two shards need. Where the dates of a space are cut, both shards list the last date of the one
//! and the first date of the other. Whoever lists such a date first keeps the answers in the lake for a while, and the other
//! reads them there. A shard lists the dates of its first cut before all others, and those of its last cut after all others,
//! so that shards that run at the same time find them too. What is not found is asked for; no shard waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::found::{JobScope, ListingAnswer, ListingAsk, ListingKind};
use crate::api::{Call, Item, Listing};
use crate::ids::{RoomId, SpaceId};
use crate::json::RawJson;
use crate::lake::key;
use crate::pipeline::ExportContext;
use crate::pipeline::rules::JobRules;
use crate::store::Condition;
use crate::store::json::{get_json, to_json};

/// The longest time between the begins of two shards of which one may use the answers of the other: a date may get more calls.
const FRESH: TimeDelta = TimeDelta::hours(1);

/// The calls of a date by room, as they came.
pub(super) type RoomCalls = BTreeMap<RoomId, Vec<RawJson>>;

/// The answers of a date as the lake has them.
#[derive(Debug, Serialize, Deserialize)]
struct KeptList {
    /// The begin of the run that asked.
    at: DateTime<Utc>,
    rooms: RoomCalls,
}

/// The state of the answers of a date.
enum State {
    /// Nobody has asked yet.
    Unknown,
    /// The lake is being read; these requests wait.
    Reading(Vec<ListingAsk>),
    /// Another shard has asked.
    Found(RoomCalls),
    /// This shard asks.
    Asking(RoomCalls),
    /// The answers are in the lake.
    Kept,
}

/// The next step for a request for the calls of a room.
pub(super) enum Next {
    /// It is sent.
    Send(ListingAsk),
    /// The lake is read first; the request waits.
    Read,
    /// It waits for the lake.
    Wait,
    /// Another shard has the answer.
    Answered(ListingAsk, ListingAnswer),
}

/// The dates of a window at which the spaces are cut, by space and date.
#[derive(Default)]
pub(super) struct SharedLists {
    job: Option<String>,
    dates: BTreeMap<(usize, NaiveDate), State>,
}

/// The dates of the first cut of each space, and those of the last one.
pub(super) fn cuts(rules: &JobRules, scope: &JobScope) -> [Vec<(usize, NaiveDate)>; 2] {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for (space, of_space) in scope.spaces.iter().enumerate() {
        let Some((from, to)) = of_space.dates.filter(|_| of_space.has_dates()) else {
            continue;
        };
        if from > rules.job.from {
            first.extend([from - Days::new(1), from].map(|date| (space, date)));
        }
        if to < rules.job.to {
            last.extend([to, to + Days::new(1)].map(|date| (space, date)));
        }
    }
    [first, last]
}

impl SharedLists {
    /// The dates at the cuts of a job; none if the job has no shards.
    pub fn new(rules: &JobRules, cuts: &[Vec<(usize, NaiveDate)>; 2]) -> Self {
        let dates = cuts.iter().flatten().map(|place| (*place, State::Unknown));
        Self {
            job: rules.job.shared_id(),
            dates: dates.collect(),
        }
    }

    /// Decides what happens to a request.
    pub fn next(&mut self, ask: ListingAsk) -> Next {
        let ListingKind::Calls { date } = ask.what else {
            return Next::Send(ask);
        };
        match self.dates.get_mut(&(ask.space, date)) {
            Some(state @ State::Unknown) => {
                *state = State::Reading(vec![ask]);
                Next::Read
            }
            Some(State::Reading(waiting)) => {
                waiting.push(ask);
                Next::Wait
            }
            Some(State::Found(rooms)) => match rooms.remove(&ask.room).and_then(|calls| listing(&calls)) {
                Some(listing) => Next::Answered(ask, ListingAnswer::Calls { date, listing }),
                None => Next::Send(ask),
            },
            Some(State::Asking(_) | State::Kept) | None => Next::Send(ask),
        }
    }

    /// Takes what the lake has of a date. Returns the requests that have waited.
    pub fn take_read(&mut self, space: usize, date: NaiveDate, found: Option<RoomCalls>) -> Vec<ListingAsk> {
        let state = match found {
            Some(rooms) => State::Found(rooms),
            None => State::Asking(RoomCalls::new()),
        };
        match self.dates.insert((space, date), state) {
            Some(State::Reading(waiting)) => waiting,
            _ => Vec::new(),
        }
    }

    /// Notes an answer of the API. An answer with faults is not for others.
    pub fn note(&mut self, ask: &ListingAsk, answer: &ListingAnswer) {
        if let ListingAnswer::Calls { date, listing } = answer
            && let Some(State::Asking(rooms)) = self.dates.get_mut(&(ask.space, *date))
            && listing.is_whole()
            && listing.other_ids == 0
            && listing.repairs.is_none()
        {
            let calls = listing.items.iter().map(|call| call.raw.clone());
            rooms.insert(ask.room.clone(), calls.collect());
        }
    }

    /// The dates whose answers have all come and are not in the lake, as far as `is_answered` says so.
    pub fn take_answered(
        &mut self,
        is_answered: impl Fn(usize, NaiveDate) -> bool,
    ) -> Vec<(usize, NaiveDate, RoomCalls)> {
        let mut found = Vec::new();
        for ((space, date), state) in &mut self.dates {
            if let State::Asking(rooms) = state
                && is_answered(*space, *date)
            {
                found.push((*space, *date, std::mem::take(rooms)));
                *state = State::Kept;
            }
        }
        found
    }

    /// The key of a date's answers.
    pub fn key(&self, space: &SpaceId, date: NaiveDate) -> String {
        key::shared_list(self.job.as_deref().unwrap_or_default(), date, space)
    }
}

/// The calls of a room as another shard got them; `None` if they can't be read.
fn listing(calls: &[RawJson]) -> Option<Listing<Call>> {
    let items = calls.iter().map(|raw| Call::from_raw(raw.parse().ok()?));
    Some(Listing::whole(items.collect::<Option<_>>()?))
}

/// Reads the answers of a date, if another shard has asked a short time ago and after the date's last calls had settled. An error
/// counts as not found.
pub(super) async fn read(
    context: Arc<ExportContext>,
    rules: Arc<JobRules>,
    key: String,
    date: NaiveDate,
) -> Option<RoomCalls> {
    let kept = get_json::<KeptList>(&*context.run.store, &key).await;
    let (kept, _) = kept
        .inspect_err(|error| tracing::debug!(%error, "a list of another shard can't be read"))
        .ok()??;
    let is_fresh = (context.run.now - kept.at).abs() <= FRESH;
    (is_fresh && rules.is_settled_at(date, kept.at)).then_some(kept.rooms)
}

/// Keeps the answers of a date for the other shard. A failure costs it requests and nothing else.
pub(super) async fn keep(context: Arc<ExportContext>, key: String, rooms: RoomCalls) {
    let kept = async {
        let at = context.run.now;
        let bytes = to_json(&KeptList { at, rooms })?;
        context.run.store.put(&key, bytes, Condition::Any).await?;
        Ok::<_, crate::Error>(())
    };
    if let Err(error) = kept.await {
        tracing::debug!(%error, "a list could not be kept for the other shards");
    }
}

/// The ranks of dates in the queue: those of the first cut go before all others, those of the last cut after them.
pub(super) fn ranks(cuts: &[Vec<(usize, NaiveDate)>; 2]) -> HashMap<(usize, NaiveDate), i8> {
    let [first, last] = cuts;
    let last = last.iter().map(|place| (*place, 1));
    last.chain(first.iter().map(|place| (*place, -1))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pipeline::job::{Command, Job, JobShard};
    use crate::pipeline::samples::{date, rules_at};
    use crate::pipeline::walk::found::SpaceScope;
    use crate::shard::Shard;

    fn rules() -> JobRules {
        let shard = Shard::new(1, 3).map(JobShard::new).expect("a shard");
        rules_at(
            "2026-11-20T02:00:00Z",
            &Job {
                shard: Some(shard),
                ..Job::over(Command::Backfill, date("2026-11-01"), date("2026-11-09"))
            },
        )
    }

    /// A space whose middle dates are this shard's.
    fn scope() -> JobScope {
        let mut space = SpaceScope {
            id: "s".into(),
            ..SpaceScope::default()
        };
        space.limit_to(Some((date("2026-11-04"), date("2026-11-06"))));
        JobScope {
            spaces: vec![space],
            ..JobScope::default()
        }
    }

    fn ask(room: &str, day: &str) -> ListingAsk {
        ListingAsk {
            space: 0,
            room: room.into(),
            what: ListingKind::Calls { date: date(day) },
        }
    }

    fn call(id: &str) -> Call {
        Call::from_raw(json!({"id": id, "startedAt": "2026-11-04T10:00:00Z"})).expect("a call")
    }

    #[test]
    fn only_the_dates_at_the_cuts_are_shared() {
        let (rules, scope) = (rules(), scope());
        let [first, last] = cuts(&rules, &scope);
        let days =
            |cut: &[(usize, NaiveDate)]| cut.iter().map(|(_, date)| date.to_string()).collect::<Vec<_>>();
        assert_eq!(days(&first), ["2026-11-03", "2026-11-04"]);
        assert_eq!(days(&last), ["2026-11-06", "2026-11-07"]);
        let mut shared = SharedLists::new(&rules, &[first, last]);
        assert!(matches!(shared.next(ask("a", "2026-11-05")), Next::Send(_)));
        let records = ListingKind::Records {
            from: date("2026-11-03"),
            to: date("2026-11-07"),
        };
        let records = ListingAsk {
            what: records,
            ..ask("a", "2026-11-04")
        };
        assert!(matches!(shared.next(records), Next::Send(_)));
        let whole = rules_at(
            "2026-11-20T02:00:00Z",
            &Job::over(Command::Backfill, date("2026-11-01"), date("2026-11-09")),
        );
        let mut alone = scope;
        alone.spaces[0].dates = None;
        assert!(
            cuts(&whole, &alone).iter().all(Vec::is_empty),
            "a job without shards has no cuts"
        );
    }

    #[test]
    fn what_another_shard_has_listed_is_not_asked_for() {
        let (rules, scope) = (rules(), scope());
        let mut shared = SharedLists::new(&rules, &cuts(&rules, &scope));
        assert!(matches!(shared.next(ask("a", "2026-11-04")), Next::Read));
        assert!(matches!(shared.next(ask("b", "2026-11-04")), Next::Wait));
        let rooms = [(RoomId::from("a"), vec![call("c").raw])];
        let waiting = shared.take_read(0, date("2026-11-04"), Some(rooms.into()));
        assert_eq!(waiting.len(), 2);
        let mut next = waiting.into_iter().map(|ask| shared.next(ask));
        let Some(Next::Answered(of, ListingAnswer::Calls { listing, .. })) = next.next() else {
            panic!("the room that was listed is answered");
        };
        assert_eq!(
            (of.room.as_str(), listing.items, listing.gap),
            ("a", vec![call("c")], None)
        );
        assert!(
            matches!(next.next(), Some(Next::Send(_))),
            "a room that was not listed is asked"
        );
    }

    #[test]
    fn a_date_is_kept_once_with_the_answers_that_have_no_fault() {
        let (rules, scope) = (rules(), scope());
        let mut shared = SharedLists::new(&rules, &cuts(&rules, &scope));
        let day = date("2026-11-04");
        shared.next(ask("a", "2026-11-04"));
        shared.take_read(0, day, None);
        let answer = |listing| ListingAnswer::Calls { date: day, listing };
        shared.note(&ask("a", "2026-11-04"), &answer(Listing::whole(vec![call("c")])));
        let faulty = Listing {
            unidentified: 1,
            ..Listing::whole(vec![call("d")])
        };
        shared.note(&ask("b", "2026-11-04"), &answer(faulty));
        assert!(shared.take_answered(|_, _| false).is_empty());
        let kept = shared.take_answered(|space, date| (space, date) == (0, day));
        let [(0, kept_day, rooms)] = &kept[..] else {
            panic!("one date: {}", kept.len())
        };
        assert_eq!(
            (*kept_day, rooms.keys().map(RoomId::as_str).collect::<Vec<_>>()),
            (day, vec!["a"])
        );
        assert!(shared.take_answered(|_, _| true).is_empty(), "once");
        assert!(matches!(shared.next(ask("b", "2026-11-04")), Next::Send(_)));
    }
}
