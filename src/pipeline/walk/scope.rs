//! Lists the spaces and rooms that a job works on.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::found::{GoneRooms, JobScope, SpaceScope};
use super::{note_listing, unreadable};
use crate::api::{Listing, Room, Space};
use crate::ids::SpaceId;
use crate::pipeline::ExportContext;
use crate::pipeline::rules::JobRules;
use crate::pipeline::summary::{Problem, ProblemKind, Summary};
use crate::{Error, ErrorKind, Result};

/// Lists spaces and rooms.
///
/// # Errors
/// `Usage` if a space or room that the user typed does not exist; any error of the API if the spaces cannot be listed;
/// `Unauthorized` if it refuses the token.
pub(crate) async fn scope(
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
    let rooms = stream::iter(selected)
        .map(|space| async move {
            let rooms = context.client.rooms(&space.id).await;
            let gone = match &rooms {
                Ok(listing) => GoneRooms::find(context, rules, &space.id, listing).await,
                Err(_) => Ok(GoneRooms::default()),
            };
            (space, rooms, gone)
        })
        .buffered(context.run.config.api.concurrency);
    let spaces = rooms.collect::<Vec<_>>().await;
    let mut scope = JobScope {
        spaces: Vec::new(),
        space_objects,
    };
    for (space, rooms, gone) in spaces {
        let mut space = space_scope(context, rules, space, rooms, summary)?;
        match gone {
            Ok(gone) => space.gone = gone,
            Err(error) => {
                let message = format!("the rooms that the lake knows could not be read: {error}");
                summary.fail(Problem::new(ProblemKind::CatalogFailed, message).space(&space.id));
            }
        }
        scope.spaces.push(space);
    }
    let rooms: usize = scope.spaces.iter().map(|space| space.rooms.len()).sum();
    summary.counts.spaces = scope.spaces.len() as u64;
    summary.counts.rooms = rooms as u64;
    context.room_limits.share_among(rooms);
    name_missing_rooms(rules, &scope, all_listed, summary)?;
    Ok(scope)
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

fn space_scope(
    context: &ExportContext,
    rules: &JobRules,
    space: Space,
    rooms: Result<Listing<Room>>,
    summary: &mut Summary,
) -> Result<SpaceScope> {
    let mut scope = SpaceScope {
        id: space.id,
        name: space.name,
        ..SpaceScope::default()
    };
    let listing = match rooms {
        Ok(listing) => listing,
        Err(error) => {
            context.note_fatal(&error);
            if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Interrupted) {
                return Err(error);
            }
            summary.fail(Problem::new(ProblemKind::SpaceFailed, error.to_string()).space(&scope.id));
            scope.failed = true;
            return Ok(scope);
        }
    };
    note_listing(summary, &listing, "rooms", |problem| problem.space(&scope.id));
    scope.partial = !listing.is_whole() || listing.other_ids > 0;
    scope.listed = Arc::new(listing.items.iter().map(|room| room.id.clone()).collect());
    for room in listing.items {
        let is_exported = rules.exports_room(&room.id);
        if is_exported {
            scope.objects.push((room.id.clone(), room.raw.clone()));
        }
        if !is_exported || !rules.job.takes_room(&room.id) {
            scope.excluded.insert(room.id);
            continue;
        }
        if let Some(problem) = unreadable("room", &room.unreadable) {
            summary.warn(problem.space(&scope.id).room(&room.id));
        }
        scope.rooms.push(room);
    }
    Ok(scope)
}

/// Reports the named rooms that no space has. If the user typed such a room, nothing is done; unless the room may be in
/// a list that was not received completely.
fn name_missing_rooms(
    rules: &JobRules,
    scope: &JobScope,
    all_listed: bool,
    summary: &mut Summary,
) -> Result<()> {
    let named = &rules.job.rooms;
    let all_listed = all_listed && scope.spaces.iter().all(|space| !space.failed && !space.partial);
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
