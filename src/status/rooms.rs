//! The names of rooms, collected from the manifests that were read.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::ids::{RoomId, SpaceId};
use crate::lake::manifest::Manifest;

/// A room that the lake has calls or recordings of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRoom {
    /// The space's id.
    pub space_id: SpaceId,
    /// The room's id.
    pub room_id: RoomId,
    /// The room's latest name.
    pub name: Option<String>,
}

/// The name of a room on a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DatedRoomName {
    pub space_id: SpaceId,
    pub room_id: RoomId,
    pub date: NaiveDate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The latest name of each room, with its date, by the ids of space and room.
#[derive(Default)]
pub(super) struct RoomNames(Mutex<NamesByRoom>);

/// The latest name of each room, and the date of the day that tells it.
type NamesByRoom = BTreeMap<(SpaceId, RoomId), (NaiveDate, Option<String>)>;

impl RoomNames {
    /// At most `most` rooms whose name or id contains a text, in upper or lower case, sorted by name.
    pub fn find(&self, text: &str, most: usize) -> Vec<KnownRoom> {
        let wanted = text.to_lowercase();
        let is_like = |name: &str| name.to_lowercase().contains(&wanted);
        let rooms = self.0.lock();
        let found = rooms
            .iter()
            .filter(|((_, id), (_, name))| is_like(id) || name.as_deref().is_some_and(is_like));
        let mut found: Vec<KnownRoom> = found
            .map(|((space_id, room_id), (_, name))| KnownRoom {
                space_id: space_id.clone(),
                room_id: room_id.clone(),
                name: name.clone(),
            })
            .collect();
        found.sort_by(|a, b| (&a.name, &a.room_id).cmp(&(&b.name, &b.room_id)));
        found.truncate(most);
        found
    }

    /// The latest name of a room.
    pub fn name(&self, space: &str, room: &str) -> Option<String> {
        let rooms = self.0.lock();
        rooms
            .get(&(space.into(), room.into()))
            .and_then(|(_, name)| name.clone())
    }

    /// Adds the rooms of a day. The name of the latest day wins.
    pub fn add_day(&self, manifest: &Manifest) {
        self.add(manifest.rooms.iter().map(|(id, room)| DatedRoomName {
            space_id: manifest.space_id.clone(),
            room_id: id.clone(),
            date: manifest.date,
            name: room.name.clone(),
        }));
    }

    /// Adds names. The latest one wins.
    pub fn add(&self, names: impl IntoIterator<Item = DatedRoomName>) {
        let mut rooms = self.0.lock();
        for found in names {
            let entry = rooms
                .entry((found.space_id, found.room_id))
                .or_insert((found.date, None));
            if found.date >= entry.0 || entry.1.is_none() {
                *entry = (found.date, found.name);
            }
        }
    }

    /// The rooms whose latest name is of a day of this year, by their ids.
    pub fn of_year(&self, year: i32) -> Vec<DatedRoomName> {
        let rooms = self.0.lock();
        let of_year = rooms.iter().filter(|(_, (date, _))| date.year() == year);
        of_year
            .map(|((space_id, room_id), (date, name))| DatedRoomName {
                space_id: space_id.clone(),
                room_id: room_id.clone(),
                date: *date,
                name: name.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::day_status::tests::landed;

    #[test]
    fn rooms_are_found_by_a_part_of_their_latest_name_or_id() {
        let names = RoomNames::default();
        let mut manifest = landed();
        names.add_day(&manifest);
        manifest.date = "2026-11-19".parse().expect("date");
        manifest.rooms.get_mut("r1").expect("room").name = Some("Older".into());
        names.add_day(&manifest);
        let found_names = |text: &str| -> Vec<_> {
            let found = names.find(text, 10).into_iter();
            found.map(|room| room.name.expect("a name")).collect()
        };
        assert_eq!(found_names("ROOM"), ["Room 7"]);
        assert_eq!(found_names("r1"), ["Room 7"]);
        assert!(found_names("older").is_empty());
        assert_eq!(names.name("s1", "r1").as_deref(), Some("Room 7"));
    }
}
