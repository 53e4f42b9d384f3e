//! The walk: lists spaces, rooms, and the calls and records of a range of dates, and turns them into the days to process.
//!
//! `scope` finds spaces and rooms, `ask` decides the requests, `queue` puts them in order, `window` sends them, `assign`
//! turns the answers into days, and `margin` drops the days that the job must not write. A day is handed on as soon as its
//! listing is complete. A listing is drained before any slow work begins, so a slow download never holds a page open.

pub(crate) mod ask;
pub(crate) mod assign;
pub(crate) mod found;
pub(crate) mod gone_rooms;
mod listed_day;
pub(crate) mod margin;
pub(crate) mod queue;
pub(crate) mod room_limits;
pub(crate) mod scope;
mod shared_lists;
#[cfg(test)]
pub(crate) mod tests;
mod window;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use futures_util::StreamExt;
use tokio::sync::mpsc::UnboundedSender;

use super::summary::{Problem, ProblemKind, Summary};
use super::{ExportContext, Phase};
use crate::api::{Listing, Room};
use crate::ids::{CallId, SpaceId};
use crate::lake::manifest::Manifest;
use crate::lake::{self, key};
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};
use ask::CallZone;
use found::{JobScope, ListingAnswer, ListingAsk, ListingKind, SpaceScope, ToDo};
use gone_rooms::GoneAnswers;
use window::{Event, WindowWalk, contradiction};

/// The walk of a job, window by window.
pub(crate) struct Walk<'a> {
    context: &'a Arc<ExportContext>,
    pub rules: &'a Arc<JobRules>,
    /// The spaces and rooms. The rooms are complete after the first window.
    pub scope: JobScope,
    /// The zone by whose dates the API lists calls, as long as no call contradicts it.
    zone: CallZone,
}

/// The end of the walk over a window.
pub(crate) struct WindowEnd {
    /// True if any space answered.
    pub reached: bool,
    /// True if the window was walked to its end, false if the run stopped before.
    pub is_whole: bool,
}

impl<'a> Walk<'a> {
    /// Lists the spaces.
    ///
    /// # Errors
    /// As [`scope::spaces`].
    pub async fn begin(
        context: &'a Arc<ExportContext>,
        rules: &'a Arc<JobRules>,
        summary: &mut Summary,
    ) -> Result<Self> {
        let scope = scope::spaces(context, rules, summary).await?;
        if scope.spaces.is_empty() {
            scope::conclude(context, rules, &scope, summary)?;
        }
        Ok(Self {
            scope,
            zone: rules.call_date,
            context,
            rules,
        })
    }

    /// Lists the calls and records of a window of dates and of the open days, and hands on each day as soon as its listing
    /// is complete. If the run stops, the days that are not complete are left as they were.
    ///
    /// # Errors
    /// `Unauthorized` if the API refuses the token; `Usage` if a room that the user typed does not exist; any error of the
    /// store.
    pub async fn window(
        &mut self,
        window: (NaiveDate, NaiveDate),
        open: &[OpenDay],
        todo: &UnboundedSender<ToDo>,
        summary: &mut Summary,
    ) -> Result<WindowEnd> {
        let (context, rules) = (self.context, self.rules);
        let mut walk = WindowWalk::new(context, rules, &self.scope, window, open, todo);
        for space in 0..self.scope.spaces.len() {
            walk.begin(&self.scope, space);
            if self.scope.spaces[space].is_known {
                walk.ask_rooms(&self.scope, space, 0, self.zone);
                walk.find_gone_days(&self.scope, space);
            } else {
                let list = context.client.rooms_by_page(&self.scope.spaces[space].id)?;
                walk.await_page(space, Box::new(list));
            }
        }
        loop {
            if context.run.cancel.is_cancelled() {
                return Ok(WindowEnd {
                    reached: walk.assigner.any_answer,
                    is_whole: false,
                });
            }
            walk.launch(&self.scope);
            match walk.events.next().await {
                Some(event) => self.take(event, &mut walk, summary)?,
                None => break,
            }
        }
        self.end(walk, window, open, summary).await
    }

    fn take(&mut self, event: Event, walk: &mut WindowWalk<'_>, summary: &mut Summary) -> Result<()> {
        match event {
            Event::Rooms {
                space,
                list,
                page: Ok(Some(rooms)),
            } => {
                walk.note_page();
                let first = self.scope.spaces[space].add_rooms(self.rules, rooms, summary);
                walk.ask_page(&self.scope, space, first, self.zone);
                walk.await_page(space, list);
            }
            Event::Rooms { space, list, page } => {
                let ended = page.map(|_| list.finish());
                self.end_rooms(space, ended, walk, summary)?;
            }
            Event::Gone { space, found } => {
                let of_space = &mut self.scope.spaces[space];
                match found {
                    Ok(gone) => of_space.gone = gone,
                    Err(error) => {
                        let message = format!("the rooms that the lake knows could not be read: {error}");
                        let problem = Problem::new(ProblemKind::CatalogFailed, message);
                        summary.fail(problem.space(&of_space.id));
                    }
                }
                walk.find_gone_days(&self.scope, space);
            }
            Event::GoneDays { space, days } => {
                walk.ask_gone(&self.scope, space, days?, self.zone);
                walk.hand_on_all(&self.scope);
            }
            Event::SharedList { space, date, found } => walk.take_shared(&self.scope, space, date, found),
            Event::SharedListKept => {}
            // Sent before the list of the space's rooms failed.
            Event::Answer(ask, _) if self.scope.spaces[ask.space].failed => walk.note_answered(&ask),
            Event::Answer(ask, answer) => {
                let contradicting = contradiction(self.zone, &ask, &answer);
                walk.take_answer(&self.scope, &ask, answer, summary)?;
                if let Some((call, asked, start)) = contradicting {
                    let message = format!(
                        "the API lists the call under {asked}, and it started on {start} by `api.call_date`: one date more \
                         on each side is asked for from here on"
                    );
                    let problem = Problem::new(ProblemKind::CallDateContradicted, message);
                    let space = &self.scope.spaces[ask.space].id;
                    summary.warn(problem.on(asked, space).room(&ask.room).call(&call));
                    walk.widen(&self.scope, self.zone.take());
                }
                walk.hand_on(&self.scope, ask.space, ask.what.dates());
            }
        }
        Ok(())
    }

    /// Takes the end of a room list.
    fn end_rooms(
        &mut self,
        space: usize,
        ended: Result<Listing<Room>>,
        walk: &mut WindowWalk<'_>,
        summary: &mut Summary,
    ) -> Result<()> {
        walk.note_page();
        let of_space = &mut self.scope.spaces[space];
        of_space.end_rooms(self.context, ended, summary)?;
        if of_space.failed {
            walk.drop_space(space);
            // The failure of the space says it all.
            let is_left = |problem: &Problem| {
                problem.kind != ProblemKind::ListingFailed || problem.space_id.as_ref() != Some(&of_space.id)
            };
            summary.failed.retain(is_left);
        } else {
            walk.find_gone(&self.scope, space);
        }
        if self.scope.spaces.iter().all(|space| space.is_known) {
            scope::conclude(self.context, self.rules, &self.scope, summary)?;
        }
        walk.ask_held(&self.scope, self.zone);
        walk.hand_on_all(&self.scope);
        Ok(())
    }

    /// Hands on what is left at the end of a window.
    async fn end(
        &mut self,
        mut walk: WindowWalk<'_>,
        window: (NaiveDate, NaiveDate),
        open: &[OpenDay],
        summary: &mut Summary,
    ) -> Result<WindowEnd> {
        let (context, rules, scope) = (self.context, self.rules, &self.scope);
        context.run.progress.enter(Phase::Days, 0);
        summary.counts.rooms_skipped = summary.counts.rooms_skipped.max(walk.skipped);
        // If no named room exists, nothing was reached. A room that needs no request, because it had no calls, is reached.
        let has_room = |space: &SpaceScope| !space.rooms.is_empty() || !space.gone.rooms.is_empty();
        // A named room may be in the spaces of another shard.
        let any_room = rules.job.rooms.is_empty() || scope.is_part() || scope.spaces.iter().any(has_room);
        let any_space = scope.spaces.iter().any(|space| !space.failed);
        let reached = walk.assigner.any_answer || (walk.asked == 0 && any_room && any_space);
        let known = calls_in_lake(context, scope, &walk.assigner.strays(scope)).await?;
        let gone = walk.assigner.gone.clone();
        let days = walk.take_rest(scope, &known, summary);
        let days = margin::drop_margin(context, rules, scope, days, window, open).await?;
        walk.gone_answers.extend(days.all().filter_map(GoneAnswers::of));
        walk.name_gone(scope, &gone, summary);
        for todo in days.stages() {
            walk.hand_over(todo);
        }
        Ok(WindowEnd {
            reached,
            is_whole: true,
        })
    }
}

async fn send(context: &ExportContext, zone: Tz, space: &SpaceId, ask: &ListingAsk) -> Result<ListingAnswer> {
    let client = &context.client;
    match ask.what {
        ListingKind::Calls { date } => {
            let listing = client.calls(space, &ask.room, date).await?;
            Ok(ListingAnswer::Calls { date, listing })
        }
        ListingKind::Records { from, to } => {
            let (start, end) = (lake::start_of(from, zone), lake::end_of(to, zone));
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
