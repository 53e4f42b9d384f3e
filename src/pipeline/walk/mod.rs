//! The walk: lists spaces, rooms, and the calls and records of a range of dates, and turns them into the days to process.
//!
//! A listing is drained before any slow work begins. `scope` finds the rooms, `ask` decides the requests, `assign` turns
//! the answers into days, and `margin` drops the days that the job must not write.

pub(crate) mod ask;
pub(crate) mod assign;
pub(crate) mod found;
pub(crate) mod gone_rooms;
pub(crate) mod margin;
pub(crate) mod room_limits;
pub(crate) mod scope;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use chrono::{Days, NaiveDate};
use futures_util::{Stream, StreamExt, stream};

use super::summary::{Problem, ProblemKind, Summary};
use super::{ExportContext, Phase};
use crate::api::Listing;
use crate::ids::CallId;
use crate::lake::manifest::Manifest;
use crate::lake::{self, key};
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};
use ask::RoomAsks;
use assign::DayAssigner;
use found::{JobScope, ListingAnswer, ListingAsk, ListingKind, SpaceScope, WindowDays};

/// Lists the calls and records of a window of dates and of the open days.
///
/// # Errors
/// `Unauthorized` if the API refuses the token; any error of the store.
pub(crate) async fn list(
    context: &Arc<ExportContext>,
    rules: &JobRules,
    scope: &JobScope,
    window: (NaiveDate, NaiveDate),
    open: &[OpenDay],
    summary: &mut Summary,
) -> Result<WindowDays> {
    let (mut asks, skipped) = ask::asks(rules, scope, window, open);
    let gone = gone_rooms::days_to_ask(context, rules, &scope.spaces, window, open).await?;
    asks.extend(ask::gone_asks(rules, &gone));
    summary.counts.rooms_skipped = summary.counts.rooms_skipped.max(skipped);
    let count: usize = asks.iter().map(|room| room.asks.len()).sum();
    context.run.progress.enter(Phase::Walk, count as u64);
    let mut assigner = DayAssigner::new(rules, scope, window, open, &gone);
    let nothing_to_ask = asks.is_empty();
    // Each room has its own stream, so that a slow room uses only its own turns and the others go on.
    let rooms = asks.into_iter().map(|room| ask_room(context, rules, scope, room));
    let mut answers = stream::iter(rooms).flatten_unordered(context.run.config.api.concurrency * 2);
    while let Some((ask, answer)) = answers.next().await {
        match answer {
            Ok(answer) => assigner.add(&ask, answer, summary),
            Err(error) if error.kind() == ErrorKind::Unauthorized => {
                context.note_fatal(&error);
                return Err(error);
            }
            Err(error) => assigner.miss(&ask, &error, summary),
        }
    }
    let known = calls_in_lake(context, scope, &assigner.strays()).await?;
    // If no named room exists, nothing was reached. A room that needs no request, because it had no calls, is reached.
    let has_room = |space: &SpaceScope| !space.rooms.is_empty() || !space.gone.rooms.is_empty();
    let any_room = rules.job.rooms.is_empty() || scope.spaces.iter().any(has_room);
    let any_space = scope.spaces.iter().any(|space| !space.failed);
    let reached = assigner.any_answer || (nothing_to_ask && any_room && any_space);
    let days = assigner.into_days(&known, summary);
    let days = margin::drop_margin(context, rules, days, window, open).await?;
    let all: Vec<_> = days.all().collect();
    gone_rooms::name(rules, &scope.spaces, &gone, &all, summary);
    drop(all);
    Ok(WindowDays { days, reached })
}

/// Sends the requests of a room and returns each with its answer.
fn ask_room<'a>(
    context: &'a Arc<ExportContext>,
    rules: &'a JobRules,
    scope: &'a JobScope,
    room: RoomAsks,
) -> impl Stream<Item = (ListingAsk, Result<ListingAnswer>)> + Unpin + 'a {
    let width = if room.is_gone {
        1
    } else {
        context.room_limits.width()
    };
    let refused = Arc::new([OnceLock::new(), OnceLock::new()]);
    let answers = stream::iter(room.asks).map(move |ask| {
        let refused = Arc::clone(&refused);
        async move {
            let kind = &refused[usize::from(matches!(ask.what, ListingKind::Records { .. }))];
            let answer = match kind.get().cloned() {
                Some(error) => Err(error),
                None => send(context, rules, scope, &ask).await,
            };
            if let Err(error) = &answer
                && room.is_gone
                && is_refusal(error)
            {
                let _ = kind.set(error.clone());
            }
            context.run.progress.listings.advance(1);
            (ask, answer)
        }
    });
    Box::pin(answers.buffer_unordered(width))
}

async fn send(
    context: &ExportContext,
    rules: &JobRules,
    scope: &JobScope,
    ask: &ListingAsk,
) -> Result<ListingAnswer> {
    let (client, space) = (&context.client, &scope.spaces[ask.space].id);
    match ask.what {
        ListingKind::Calls { date } => {
            let listing = client.calls(space, &ask.room, date).await?;
            Ok(ListingAnswer::Calls { date, listing })
        }
        ListingKind::Records { from, to } => {
            let (start, end) = (lake::start_of(from, rules.zone), lake::end_of(to, rules.zone));
            let listing = client.records(space, &ask.room, start, end).await?;
            Ok(ListingAnswer::Records { from, to, listing })
        }
    }
}

/// True if the API refuses to give an object. Any other error means that the request failed.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::Forbidden | ErrorKind::Rejected
    )
}

/// Days before a record's own date on which its call is looked for: a room may stay open that long.
const CALL_DAYS: u64 = 7;

/// The dates of calls that were not listed but that the lake knows, so that their records join them there.
async fn calls_in_lake(
    context: &ExportContext,
    scope: &JobScope,
    strays: &[(usize, CallId, NaiveDate)],
) -> Result<HashMap<(usize, CallId), NaiveDate>> {
    let days: BTreeSet<(usize, NaiveDate)> = strays
        .iter()
        .flat_map(|(space, _, date)| (0..=CALL_DAYS).map(|back| (*space, *date - Days::new(back))))
        .collect();
    let mut known = HashMap::new();
    for (space, date) in days {
        let key = key::manifest(date, &scope.spaces[space].id);
        let Some((manifest, _)) = get_json::<Manifest>(&*context.run.store, &key).await? else {
            continue;
        };
        let calls = strays
            .iter()
            .filter(|(of, call, _)| *of == space && manifest.calls.contains_key(call));
        known.extend(calls.map(|(_, call, _)| ((space, call.clone()), date)));
    }
    Ok(known)
}

/// Reports the faults of a listing: a gap, which later runs ask for again, and items that are not as they should be.
pub(crate) fn note_listing<T>(
    summary: &mut Summary,
    listing: &Listing<T>,
    what: &str,
    ids: impl Fn(Problem) -> Problem,
) {
    if let Some(gap) = &listing.gap {
        summary.fail(ids(Problem::new(
            ProblemKind::ListingIncomplete,
            gap.message(what),
        )));
    }
    if listing.unidentified > 0 {
        let message = format!(
            "{} of the {what} have no id and were left out",
            listing.unidentified
        );
        summary.fail(ids(Problem::new(ProblemKind::ItemsWithoutId, message)));
    }
    if listing.other_ids > 0 {
        let message = format!(
            "{} of the {what} have `_id` in the place of `id`: they are exported by it, and may be others than it says",
            listing.other_ids
        );
        summary.fail(ids(Problem::new(ProblemKind::ItemsWithOtherId, message)));
    }
    if !listing.repairs.is_none() {
        let message = format!("the list of {what} has faults: {}", listing.repairs);
        summary.warn(ids(Problem::new(ProblemKind::BadValue, message)));
    }
}

/// The problem of an object some of whose fields cannot be read, if there are any.
pub(crate) fn unreadable(what: &str, fields: &[&str]) -> Option<Problem> {
    let names: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
    let problem = || {
        let message = format!(
            "{} of the {what} can't be read and count as unknown",
            names.join(", ")
        );
        Problem::new(ProblemKind::BadValue, message).count(fields.len() as u64)
    };
    (!fields.is_empty()).then(problem)
}
