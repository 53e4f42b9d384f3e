//! The catalogues: the rooms and spaces as last seen, and the tables built from them. A room that the API no longer has
//! keeps its row because its calls are in the lake.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::Result;
use crate::ids::SpaceId;
use crate::json::RawJson;
use crate::lake::key;
use crate::pipeline::ExportContext;
use crate::pipeline::day::build::put_if_changed;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::summary::{Problem, ProblemKind, Summary};
use crate::pipeline::walk::found::JobScope;
use crate::shard::Shard;
use crate::store::json::get_json;
use crate::tables;
use crate::tables::TableFile;

/// Objects of the API by id, as they were last seen.
type Catalog = BTreeMap<String, RawJson>;

/// Brings the catalogues and their tables up to date. A shard does so for the spaces whose first date is its own, and the first
/// shard for the list of spaces. An error is a failure in the summary.
pub(crate) async fn update(
    context: &Arc<ExportContext>,
    scope: &JobScope,
    shard: Option<Shard>,
    summary: &mut Summary,
) {
    let keeps = |space: &SpaceId| match (&scope.assignment, shard) {
        (Some(assignment), Some(shard)) => assignment.keeps_catalog(shard, space),
        _ => true,
    };
    if shard.is_none_or(Shard::is_first)
        && let Err(error) = update_spaces(context, scope).await
    {
        summary.fail(Problem::new(
            ProblemKind::CatalogFailed,
            format!("the table of spaces: {error}"),
        ));
    }
    let listed = scope
        .spaces
        .iter()
        .filter(|space| !space.failed && space.is_known && keeps(&space.id));
    let updates = stream::iter(listed)
        .map(|space| async move {
            let rooms = space.rooms.iter().chain(&space.left_out);
            let seen: Vec<_> = rooms.map(|room| (room.id.as_str(), &room.raw)).collect();
            let updated = async {
                // Write this before the catalogue, because a lake with a catalogue alone is taken for one of an earlier version.
                if !space.partial {
                    space.gone.keep(context, space).await?;
                }
                update_rooms(context, &space.id, &seen).await
            };
            (&space.id, updated.await)
        })
        .buffer_unordered(4);
    let updates: Vec<_> = updates.collect().await;
    for (space, result) in updates {
        if let Err(error) = result {
            summary.fail(
                Problem::new(ProblemKind::CatalogFailed, format!("the table of rooms: {error}")).space(space),
            );
        }
    }
}

/// Builds the tables from the catalogues. An error is a failure in the summary.
pub(crate) async fn rebuild(run: &RunContext, summary: &mut Summary) {
    if let Err(error) = rebuild_all(run).await {
        summary.fail(Problem::new(
            ProblemKind::CatalogFailed,
            format!("the tables of rooms and spaces: {error}"),
        ));
    }
}

/// Builds the tables from the catalogues.
pub(crate) async fn rebuild_all(run: &RunContext) -> Result<()> {
    if let Some((catalog, _)) = get_json::<Catalog>(&*run.store, key::SPACES).await? {
        write(run, tables::build_spaces(&catalog, &run.mapping)?).await?;
    }
    for entry in run.store.list(key::ROOM_CATALOGS).await? {
        let name = entry.key.strip_prefix(key::ROOM_CATALOGS);
        let segment = name.and_then(|name| name.strip_suffix(".json"));
        // A segment that was cut does not give the space's id; its table is left as it is.
        let Some(space) = segment.and_then(key::unsegment) else {
            continue;
        };
        if let Some((catalog, _)) = get_json::<Catalog>(&*run.store, &entry.key).await? {
            write(run, tables::build_rooms(&space.into(), &catalog, &run.mapping)?).await?;
        }
    }
    Ok(())
}

async fn write(run: &RunContext, file: Option<TableFile>) -> Result<()> {
    match file {
        Some(file) => put_if_changed(run, &file.key, file.bytes).await,
        None => Ok(()),
    }
}

async fn update_spaces(context: &ExportContext, scope: &JobScope) -> Result<()> {
    let seen: Vec<_> = scope
        .space_objects
        .iter()
        .filter(|(id, _)| scope.selected.contains(id))
        .map(|(id, raw)| (id.as_str(), raw))
        .collect();
    let Some(catalog) = remember(context, key::SPACES, &seen).await? else {
        return Ok(());
    };
    write(
        &context.run,
        tables::build_spaces(&catalog, &context.run.mapping)?,
    )
    .await
}

async fn update_rooms(context: &ExportContext, space: &SpaceId, seen: &[(&str, &RawJson)]) -> Result<()> {
    let Some(catalog) = remember(context, &key::room_catalog(space), seen).await? else {
        return Ok(());
    };
    write(
        &context.run,
        tables::build_rooms(space, &catalog, &context.run.mapping)?,
    )
    .await
}

/// Merges the objects seen by this run into a catalogue and gives all of it; `None` if it is empty.
async fn remember(context: &ExportContext, key: &str, seen: &[(&str, &RawJson)]) -> Result<Option<Catalog>> {
    let merge = |catalog: &mut Catalog| {
        for (id, raw) in seen {
            if catalog.get(*id) != Some(*raw) {
                catalog.insert((*id).to_owned(), (*raw).clone());
            }
        }
    };
    let catalog = context.run.update(key, merge).await?;
    Ok((!catalog.is_empty()).then_some(catalog))
}
