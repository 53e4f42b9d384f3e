//! The spaces and rooms that a job works on.

use std::sync::Arc;

use super::found::{JobScope, SpaceScope};
use super::{note_listing, unreadable};
use crate::api::{Listing, Room, Space};
use crate::ids::{DayId, SpaceId};
use crate::pipeline::ExportContext;
use crate::pipeline::assignment::Assignment;
use crate::pipeline::job::JobShard;
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;
use crate::pipeline::summary::{Problem, ProblemKind, Summary};
use crate::{Error, ErrorKind, Result};

/// Lists the spaces. Their rooms are read by the first window of the walk.
///
/// # Errors
/// `Usage` if a space that the user typed does not exist; any error of the API.
pub(crate) async fn spaces(
    context: &Arc<ExportContext>,
    rules: &JobRules,
    summary: &mut Summary,
) -> Result<JobScope> {
    let listing = context.client.spaces().await?;
    note_listing(summary, &listing, "spaces", |problem| problem);
    for space in &listing.items {
        if let Some(problem) = unreadable("space", &space.unreadable) {
            summary.warn(problem.space(&space.id));
        }
    }
    let space_objects = listing
        .items
        .iter()
        .map(|space| (space.id.clone(), space.raw.clone()))
        .collect();
    let all_listed = listing.is_whole();
    let selected = select_spaces(rules, listing.items, all_listed, summary)?;
    let spaces = selected.into_iter().map(|space| SpaceScope {
        id: space.id,
        name: space.name,
        ..SpaceScope::default()
    });
    let spaces: Vec<_> = spaces.collect();
    let mut scope = JobScope {
        selected: spaces.iter().map(|space| space.id.clone()).collect(),
        assignment: None,
        spaces,
        space_objects,
        all_listed,
    };
    if let Some(of_job) = &rules.job.shard {
        if !all_listed {
            return Err(no_shards());
        }
        scope.limit_to_shard(rules, of_job);
    }
    Ok(scope)
}

/// The error of a shard whose days are not known.
fn no_shards() -> Error {
    let message = "the list of spaces has a gap, so that the days of a shard can't be told";
    Error::new(ErrorKind::InvalidAnswer, "--shard", message)
        .hint("try again, or name the spaces in `scope.spaces`; without --shard a run takes what it can list")
}

impl JobScope {
    /// Limits the scope to the days of a shard. Spaces without any are left out once the open days are known.
    fn limit_to_shard(&mut self, rules: &JobRules, of_job: &JobShard) {
        let dates = (rules.job.from, rules.job.to);
        let ids = self.selected.iter().cloned();
        let assignment = Assignment::new(of_job.shard.count, ids, dates, &of_job.recorded);
        for space in &mut self.spaces {
            space.limit_to(assignment.dates_of(of_job.shard, &space.id));
        }
        self.assignment = Some(assignment);
    }

    /// Leaves out the open days of other shards, and the spaces in which this shard has nothing to do.
    pub fn leave_out_others(&mut self, rules: &JobRules, open: &mut Vec<OpenDay>) {
        let (Some(assignment), Some(shard)) = (&self.assignment, rules.job.shard()) else {
            return;
        };
        open.retain(|day| assignment.is_of(shard, &DayId::new(day.date, day.space_id.clone())));
        let has_open = |space: &SpaceScope| open.iter().any(|day| day.space_id == space.id);
        self.spaces.retain(|space| space.has_dates() || has_open(space));
    }
}

/// Checks the scope when the room lists of all spaces were read.
///
/// # Errors
/// `Usage` if a room that the user typed does not exist.
pub(crate) fn conclude(
    context: &ExportContext,
    rules: &JobRules,
    scope: &JobScope,
    summary: &mut Summary,
) -> Result<()> {
    let rooms: usize = scope.spaces.iter().map(|space| space.rooms.len()).sum();
    summary.counts.spaces = scope.spaces.len() as u64;
    summary.counts.rooms = rooms as u64;
    context.room_limits.share_among(rooms);
    name_missing_rooms(rules, scope, summary)
}

/// Selects the spaces that a job works on. `all_listed` says that `all` are all spaces that the token sees.
pub(super) fn select_spaces(
    rules: &JobRules,
    all: Vec<Space>,
    all_listed: bool,
    summary: &mut Summary,
) -> Result<Vec<Space>> {
    let (configured, named) = (&rules.scope.spaces, &rules.job.spaces);
    let is_wanted = |id: &SpaceId| {
        (configured.is_empty() || configured.contains(id)) && (named.is_empty() || named.contains(id))
    };
    for id in if named.is_empty() { configured } else { named } {
        let is_visible = all.iter().any(|space| space.id == *id);
        if rules.job.is_typed() && !named.is_empty() && all_listed && !(is_visible && is_wanted(id)) {
            return Err(no_such_space(id, is_visible));
        }
        if !is_visible {
            let message = format!("space {id} is not among those that the token sees");
            summary.fail(Problem::new(ProblemKind::SpaceNotVisible, message).space(id));
        } else if !is_wanted(id) {
            let message = format!("space {id} is not in scope.spaces");
            summary.fail(Problem::new(ProblemKind::SpaceNotInScope, message).space(id));
        }
    }
    Ok(all.into_iter().filter(|space| is_wanted(&space.id)).collect())
}

/// The error for a space that the user typed and that the job cannot work on.
fn no_such_space(id: &SpaceId, is_visible: bool) -> Error {
    let message = if is_visible {
        "is not in scope.spaces"
    } else {
        "does not exist, or the token does not see it"
    };
    Error::new(ErrorKind::Usage, format!("--space {id}"), message)
        .hint("`telelake check` lists the spaces that the token sees")
}

impl SpaceScope {
    /// Adds a page of the room list. Returns the place of the first of its rooms in `rooms`.
    pub fn add_rooms(&mut self, rules: &JobRules, page: Vec<Room>, summary: &mut Summary) -> usize {
        let first = self.rooms.len();
        for room in page {
            let is_exported = rules.exports_room(&room.id);
            if is_exported && rules.job.takes_room(&room.id) {
                if let Some(problem) = unreadable("room", &room.unreadable) {
                    summary.warn(problem.space(&self.id).room(&room.id));
                }
                self.rooms.push(room);
                continue;
            }
            self.excluded.insert(room.id.clone());
            if is_exported {
                self.left_out.push(room);
            }
        }
        first
    }

    /// Notes the end of the room list.
    ///
    /// # Errors
    /// `Unauthorized` or `Interrupted`: then the whole run ends.
    pub fn end_rooms(
        &mut self,
        context: &ExportContext,
        ended: Result<Listing<Room>>,
        summary: &mut Summary,
    ) -> Result<()> {
        match ended {
            Ok(listing) => {
                note_listing(summary, &listing, "rooms", |problem| problem.space(&self.id));
                self.partial = !listing.is_whole() || listing.other_ids > 0;
                self.index();
            }
            Err(error) => {
                context.note_fatal(&error);
                if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Interrupted) {
                    return Err(error);
                }
                let problem = Problem::new(ProblemKind::SpaceFailed, error.to_string());
                summary.fail(problem.space(&self.id));
                let (id, name) = (std::mem::take(&mut self.id), self.name.take());
                *self = Self {
                    id,
                    name,
                    is_known: true,
                    failed: true,
                    ..Self::default()
                };
            }
        }
        Ok(())
    }
}

/// Reports the named rooms that no space has. If the user typed such a room, nothing is done; unless the room may be in
/// a list that was not received completely.
fn name_missing_rooms(rules: &JobRules, scope: &JobScope, summary: &mut Summary) -> Result<()> {
    let named = &rules.job.rooms;
    let all_listed = scope.all_listed && scope.spaces.iter().all(|space| !space.failed && !space.partial);
    if scope.is_part() {
        // The shards of the other spaces find their rooms.
        return Ok(());
    }
    for id in if named.is_empty() {
        &rules.scope.rooms
    } else {
        named
    } {
        let listed = |space: &SpaceScope| space.rooms.iter().any(|room| room.id == *id);
        let gone = |space: &SpaceScope| space.gone.rooms.iter().any(|gone| gone.room.id == *id);
        if scope.spaces.iter().any(|space| listed(space) || gone(space)) {
            continue;
        }
        if rules.job.is_typed() && !named.is_empty() && all_listed {
            let message = "is in none of the spaces in scope";
            return Err(
                Error::new(ErrorKind::Usage, format!("--room {id}"), message).hint(
                    "check the id, --space, and scope.rooms and scope.exclude_rooms of the configuration",
                ),
            );
        }
        let message = format!("room {id} is in none of the spaces in scope");
        summary.fail(Problem::new(ProblemKind::RoomNotFound, message).room(id));
    }
    Ok(())
}
