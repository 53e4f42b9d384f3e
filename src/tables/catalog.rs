//! Builds the tables of rooms and spaces from the objects as last listed. Pure; called after a walk.

use std::collections::BTreeMap;

use super::build_notes::Notes;
use super::listed::listed_row;
use super::mapping::Mapping;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::SpaceId;
use crate::json::RawJson;
use crate::lake::key;
use crate::lake::table::Table;
use crate::lake::table::builtin::{rooms, spaces};
use crate::tables::parquet::row::cells;
use crate::tables::parquet::sink::{Sink, TableFile};
use crate::tables::report::node::Node;

/// The table of a space's rooms, from the rooms' objects by id; none without rooms.
///
/// # Errors
/// `Store` if an object can't be read as JSON.
pub fn build_rooms(
    space_id: &SpaceId,
    rooms: &BTreeMap<String, RawJson>,
    mapping: &Mapping,
) -> Result<Option<TableFile>> {
    build(
        rooms::table(),
        key::rooms(space_id),
        rooms,
        Some(space_id),
        mapping,
    )
}

/// The table of the spaces, from their objects by id; none without spaces.
///
/// # Errors
/// `Store` if an object can't be read as JSON.
pub fn build_spaces(spaces: &BTreeMap<String, RawJson>, mapping: &Mapping) -> Result<Option<TableFile>> {
    build(spaces::table(), key::spaces(), spaces, None, mapping)
}

fn build(
    table: &'static Table,
    key: String,
    objects: &BTreeMap<String, RawJson>,
    space_id: Option<&SpaceId>,
    mapping: &Mapping,
) -> Result<Option<TableFile>> {
    let mut sink = Sink::new(table, mapping.privacy());
    let mut notes = Notes::default();
    // The key's column comes first, and a map by id is sorted by it.
    for (id, object) in objects {
        let object: Node<'_> = serde_json::from_str(object.as_str()).map_err(|_| {
            let message = format!("the object {id} in the catalogue is damaged");
            Error::new(ErrorKind::Store, &key, message)
        })?;
        let mut template = cells(
            table,
            space_id.map(|space| (rooms::space_id, space.as_str().into())),
        );
        template[0] = id.as_str().into();
        let mut row = listed_row(mapping, table, &object, template, &mut notes);
        // The id under which it was listed, whatever the object says.
        row.cells[0] = id.as_str().into();
        sink.push(&mut row)?;
    }
    sink.finish(key)
}
