//! The ids of a day as short hashes, by which a search finds the days that may have an id. Pure.

use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Serialize};

use crate::lake::manifest::Manifest;

/// Sorted hashes of a day's ids: rooms, calls, records and meetings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct DayIds(Box<[u32]>);

impl DayIds {
    /// The ids of a day.
    pub fn of(manifest: &Manifest) -> Self {
        let of_calls = manifest
            .calls
            .iter()
            .flat_map(|(id, call)| [id.as_str(), call.room_id.as_str()]);
        let of_records = manifest.records.iter().flat_map(|(id, record)| {
            let call = record.call_id.as_deref();
            [Some(id.as_str()), Some(record.room_id.as_str()), call]
                .into_iter()
                .flatten()
        });
        let built = manifest.built.iter();
        let meetings = built.flat_map(|built| built.meetings.keys().map(|id| id.as_str()));
        let ids = of_calls
            .chain(of_records)
            .chain(meetings)
            .chain(manifest.missed.rooms.iter().map(|id| id.as_str()));
        let mut hashes: Vec<u32> = ids.map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes.into())
    }

    /// True if the day may have an object with this id. Its manifest says whether it does.
    pub fn may_have(&self, id: &str) -> bool {
        self.0.binary_search(&hash(id)).is_ok()
    }
}

/// A short hash of an id, so that years of calls fit into memory. It is stored, so it must stay the same.
fn hash(id: &str) -> u32 {
    // A CRC of 32 bits fits.
    crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, id.as_bytes()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::day_status::tests::{built, landed};

    #[test]
    fn a_day_finds_its_ids() {
        let mut manifest = landed();
        manifest.built = Some(built());
        let ids = DayIds::of(&manifest);
        for id in ["r1", "c1", "m1"] {
            assert!(ids.may_have(id), "{id}");
        }
        assert!(!ids.may_have("c2") && !ids.may_have(""));
        // The index keeps the hashes, so that they must not change.
        assert_eq!(
            serde_json::to_string(&hash("123456789")).expect("JSON"),
            "3421780262"
        );
    }
}
