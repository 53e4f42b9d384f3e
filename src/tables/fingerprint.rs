//! The digest of all inputs of a day's tables. A day whose fingerprint is unchanged is not built again. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufWriter;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::mapping::Mapping;
use crate::config::ReportFormat;
use crate::ids::RoomId;
use crate::json::RawJson;
use crate::lake::manifest::{CallEntry, Landing, Manifest, RecordEntry, RoomEntry, Status};

/// The inputs of the tables. Attempts, times of landing and earlier builds are not among them.
#[derive(Serialize)]
struct Inputs<'m> {
    tables: &'m str,
    mapping: &'m str,
    date: chrono::NaiveDate,
    space: (&'m str, Option<&'m str>),
    rooms: &'m BTreeMap<RoomId, RoomEntry>,
    listed: bool,
    missed: &'m BTreeSet<RoomId>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    gone: &'m BTreeSet<RoomId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    privacy: Option<&'m str>,
    /// True if the tables leave the messages out, because their retention is over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_messages: bool,
    calls: BTreeMap<&'m str, CallInputs<'m>>,
    records: BTreeMap<&'m str, RecordInputs<'m>>,
}

#[derive(Serialize)]
struct CallInputs<'m> {
    room: &'m str,
    times: [Option<i64>; 2],
    object: &'m RawJson,
    pending: Option<&'m str>,
    reports: BTreeMap<ReportFormat, LandingInputs<'m>>,
}

#[derive(Serialize)]
struct RecordInputs<'m> {
    room: &'m str,
    call: Option<&'m str>,
    times: [Option<i64>; 2],
    object: &'m RawJson,
    file: LandingInputs<'m>,
}

#[derive(Serialize)]
struct LandingInputs<'m> {
    status: Status,
    reason: Option<&'m str>,
    landed: Option<(&'m str, u64, &'m str, bool)>,
}

/// The digest of all inputs of a day's tables, in hex: its landings, the mapping, the definitions of the
/// tables, and the treatment of personal data.
pub fn fingerprint(manifest: &Manifest, mapping: &Mapping) -> String {
    with_tables(manifest, mapping, mapping.tables_digest())
}

/// [`fingerprint`] with the digest of the given tables.
fn with_tables<'m>(manifest: &'m Manifest, mapping: &'m Mapping, tables: &'m str) -> String {
    let calls = manifest.calls.iter().map(|(id, call)| (id.as_str(), call.into()));
    let records = manifest
        .records
        .iter()
        .map(|(id, record)| (id.as_str(), record.into()));
    let inputs = Inputs {
        tables,
        mapping: mapping.digest(),
        date: manifest.date,
        space: (&manifest.space_id, manifest.space_name.as_deref()),
        rooms: &manifest.rooms,
        listed: manifest.listed,
        missed: &manifest.missed.rooms,
        gone: &manifest.missed.gone,
        privacy: mapping.privacy().digest(),
        no_messages: manifest.messages_deleted_at.is_some(),
        calls: calls.collect(),
        records: records.collect(),
    };
    // JSON is written in pieces of a few bytes, and a hash takes blocks.
    let mut hasher = BufWriter::with_capacity(BUFFER, Hashing(Sha256::new()));
    // Keys are text, and hashing accepts every byte, so this can't fail.
    let written = serde_json::to_writer(&mut hasher, &inputs);
    debug_assert!(written.is_ok());
    let hasher = hasher.into_inner().map(|hasher| hasher.0).unwrap_or_default();
    hex::encode(hasher.finalize())
}

/// Bytes that are hashed at once.
const BUFFER: usize = 16 << 10;

struct Hashing(Sha256);

impl std::io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'m> From<&'m CallEntry> for CallInputs<'m> {
    fn from(call: &'m CallEntry) -> Self {
        Self {
            room: &call.room_id,
            times: [call.started_at, call.finished_at].map(|at| at.map(|at| at.timestamp_micros())),
            object: &call.call,
            pending: call.pending.as_deref(),
            reports: call
                .reports
                .iter()
                .map(|(format, landing)| (*format, landing.into()))
                .collect(),
        }
    }
}

impl<'m> From<&'m RecordEntry> for RecordInputs<'m> {
    fn from(record: &'m RecordEntry) -> Self {
        Self {
            room: &record.room_id,
            call: record.call_id.as_deref(),
            times: [record.started_at, record.finished_at].map(|at| at.map(|at| at.timestamp_micros())),
            object: &record.record,
            file: (&record.file).into(),
        }
    }
}

impl<'m> From<&'m Landing> for LandingInputs<'m> {
    fn from(landing: &'m Landing) -> Self {
        let landed = landing.landed.as_ref();
        Self {
            status: landing.status,
            reason: landing.reason.as_deref(),
            landed: landed.map(|it| (it.key.as_str(), it.bytes, it.sha256.as_str(), it.usable)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::{self, Column, PersonalData, Table, Type};

    #[test]
    fn a_changed_definition_of_any_table_changes_the_fingerprint() {
        let manifest = Manifest::new("2026-11-22".parse().expect("date"), "s1");
        let own = "version = 1\n[table.visits]\nrows = 'visits[]'\ncolumns.who = { from = 'id', type = 'string' }\n";
        let mapping = Mapping::over_builtin(own, "mine.toml").expect("mapping");
        let tables: Vec<Table> = mapping.tables().cloned().collect();
        assert_eq!(tables.last().map(|table| table.name.as_ref()), Some("visits"));
        let of = |tables: &[Table]| with_tables(&manifest, &mapping, &table::digest(tables));
        let same = fingerprint(&manifest, &mapping);
        assert_eq!(of(&tables), same);
        type Change = fn(&mut Table);
        let changes: [Change; 7] = [
            // A computed column, which no mapping names.
            |table| {
                table.columns.push(Column {
                    name: "in_lesson_s".into(),
                    kind: Type::Double,
                    doc: "Seconds".into(),
                    key: false,
                    personal: PersonalData::No,
                });
            },
            |table| table.columns[0].kind = Type::Map,
            |table| table.columns[0].doc = "Something else".into(),
            |table| table.columns[0].key = !table.columns[0].key,
            |table| table.columns.swap(0, 1),
            |table| table.order.reverse(),
            |table| table.name = "other".into(),
        ];
        for (at, change) in changes.iter().enumerate() {
            for table in 0..tables.len() {
                let mut changed = tables.clone();
                // An order of one column is the same in reverse.
                if at == 5 && changed[table].order.len() < 2 {
                    continue;
                }
                change(&mut changed[table]);
                assert_ne!(of(&changed), same, "change {at} of {}", tables[table].name);
            }
        }
        assert_ne!(of(&tables[1..]), same);
    }
}
