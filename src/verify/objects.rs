//! Compares an object of a day with its manifest: is it there, of the same size, and, if bytes are read, unchanged?

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::finding::{Finding, FindingKind, Remedy};
use crate::config::ReportFormat;
use crate::ids::CallId;
use crate::lake::manifest::Manifest;
use crate::pipeline::{DataKind, Piece};
use crate::tables;
use crate::tables::{Footer, RowKey};
use crate::task::isolated_blocking;
use crate::verify::session::{CheckedFile, Verification, object_error, unreadable};
use crate::{ErrorKind, Result};

/// The table that has the addresses of the recordings.
const RECORDINGS: &str = "recordings";
/// Bytes at the end of a file that contain the footer of all but the widest tables.
const TAIL: usize = 64 << 10;

/// An object that the manifest names.
pub(crate) struct Expected<'m> {
    pub key: &'m str,
    pub bytes: u64,
    pub sha256: &'m str,
    pub what: ObjectOf<'m>,
}

#[derive(Clone, Copy)]
pub(crate) enum ObjectOf<'m> {
    Report { call: &'m CallId, format: ReportFormat },
    Recording { record: &'m str },
    Table { name: &'m str, rows: u64 },
}

/// The result of checking one object.
#[derive(Default)]
pub(crate) struct ObjectCheck {
    pub finding: Option<Finding>,
    pub rows: Option<(String, CheckedFile, Vec<RowKey>)>,
}

impl From<Finding> for ObjectCheck {
    fn from(finding: Finding) -> Self {
        Self {
            finding: Some(finding),
            rows: None,
        }
    }
}

/// The objects that the manifest names.
pub(crate) fn expected(manifest: &Manifest) -> Vec<Expected<'_>> {
    let reports = manifest.calls.iter().flat_map(|(call, entry)| {
        entry.reports.iter().filter_map(move |(format, landing)| {
            let what = ObjectOf::Report {
                call,
                format: *format,
            };
            Some((landing.stored()?, what))
        })
    });
    let records = manifest
        .records
        .iter()
        .filter_map(|(record, entry)| Some((entry.file.stored()?, ObjectOf::Recording { record })));
    let mut all: Vec<_> = reports
        .chain(records)
        .map(|(landed, what)| Expected {
            key: &landed.key,
            bytes: landed.bytes,
            sha256: &landed.sha256,
            what,
        })
        .collect();
    let tables = manifest.built.iter().flat_map(|built| &built.tables);
    all.extend(tables.map(|(name, entry)| Expected {
        key: &entry.key,
        bytes: entry.bytes,
        sha256: &entry.sha256,
        what: ObjectOf::Table {
            name,
            rows: entry.rows,
        },
    }));
    all
}

/// Compares one object with its manifest.
pub(crate) async fn check_object(
    verification: &Arc<Verification>,
    manifest: &Manifest,
    object: Expected<'_>,
) -> Result<ObjectCheck> {
    verification.check_stopped()?;
    let outcome = match verification.size(object.key, Some(object.bytes)).await {
        // The store removed it by a rule of its own, after its retention.
        Ok(None) if has_expired(verification, manifest, &object) => return Ok(ObjectCheck::default()),
        Ok(None) => return Ok(missing(manifest, &object).into()),
        Ok(Some(size)) if size != object.bytes => {
            let (expected, found) = (format!("{} bytes", object.bytes), format!("{size} bytes"));
            return Ok(changed(manifest, &object, &expected, &found).into());
        }
        Ok(Some(_)) => match object.what {
            ObjectOf::Table { name, rows } => {
                table_content(verification, manifest, &object, name, rows).await
            }
            _ if verification.options.deep => content(verification, manifest, &object).await,
            _ => Ok(ObjectCheck::default()),
        },
        Err(error) => Err(error),
    };
    match outcome {
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(missing(manifest, &object).into()),
        Err(error) => {
            let why = object_error(error)?;
            let finding = unreadable(object.key, &why).on(manifest.date, &manifest.space_id);
            Ok(describe(finding, manifest, &object).into())
        }
        check => check,
    }
}

/// True if an object may be missing because its retention is over.
fn has_expired(verification: &Verification, manifest: &Manifest, object: &Expected<'_>) -> bool {
    let kind = match object.what {
        ObjectOf::Report { .. } => DataKind::Raw,
        ObjectOf::Recording { .. } => DataKind::Recordings,
        ObjectOf::Table { .. } => return false,
    };
    verification.run.cutoffs.is_over(kind, manifest.date)
}

/// Compares the bytes of a report or a recording with their digest, and checks the boxes of a recording.
async fn content(
    verification: &Arc<Verification>,
    manifest: &Manifest,
    object: &Expected<'_>,
) -> Result<ObjectCheck> {
    let digested = verification.digest(object.key).await?;
    if digested.sha256 != object.sha256 {
        return Ok(other_bytes(manifest, object, &digested.sha256).into());
    }
    let is_recording = matches!(object.what, ObjectOf::Recording { .. });
    Ok(match digested.boxes.flaw().filter(|_| is_recording) {
        None => ObjectCheck::default(),
        Some(flaw) => changed(manifest, object, "a whole MP4", &flaw.to_string()).into(),
    })
}

/// Compares the rows of a table with the manifest, and its bytes if tables are read.
async fn table_content(
    verification: &Arc<Verification>,
    manifest: &Manifest,
    object: &Expected<'_>,
    name: &str,
    rows: u64,
) -> Result<ObjectCheck> {
    let mut check = ObjectCheck::default();
    // The table of recordings is small, and has their addresses.
    let counted = if verification.reads_tables() || name == RECORDINGS {
        let file = verification.read_all(object.key).await?;
        let found = hex::encode(Sha256::digest(&file));
        if verification.reads_tables() && found != object.sha256 {
            return Ok(other_bytes(manifest, object, &found).into());
        }
        if verification.options.deep {
            let keys = match keys_of(verification, name, file.clone()).await? {
                Ok(keys) => keys,
                Err(why) => return Ok(changed(manifest, object, "Parquet", &why).into()),
            };
            let checked = CheckedFile {
                key: object.key.to_owned(),
                date: Some(manifest.date),
                space: Some(manifest.space_id.clone()),
            };
            check.rows = Some((name.to_owned(), checked, keys));
        }
        if name == RECORDINGS {
            check.finding = elsewhere(verification.run.store.url(), manifest, object.key, file.clone());
        }
        rows_of(&file)
    } else {
        rows_in_store(verification, object.key, object.bytes).await?
    };
    Ok(match counted {
        Ok(counted) if counted == rows => check,
        Ok(counted) => table(FindingKind::TableRowsDiffer, manifest, object.key)
            .differs(format!("{rows} rows"), format!("{counted} rows"))
            .into(),
        Err(why) => changed(manifest, object, "Parquet", &why).into(),
    })
}

/// The finding about recordings whose `uri` leads out of the lake because it was copied or moved.
fn elsewhere(lake: &str, manifest: &Manifest, key: &str, file: Bytes) -> Option<Finding> {
    // A file that is no Parquet is found by its footer.
    let rows = tables::read_text(file, &["uri"]).ok()?;
    let lake = format!("{}/", lake.trim_end_matches('/'));
    let uris: Vec<_> = rows.iter().flatten().filter(|uri| !uri.is_empty()).collect();
    let mut others = uris.iter().filter(|uri| !uri.starts_with(&lake)).peekable();
    let first = others.peek()?.to_string();
    let found = format!("{} of {} elsewhere, such as {first}", others.count(), uris.len());
    Some(table(FindingKind::UriElsewhere, manifest, key).differs(format!("every `uri` below {lake}"), found))
}

/// The keys of a file's rows; empty for a table of the school's own.
async fn keys_of(
    verification: &Arc<Verification>,
    table: &str,
    file: Bytes,
) -> Result<std::result::Result<Vec<RowKey>, String>> {
    let (verification, table) = (Arc::clone(verification), table.to_owned());
    isolated_blocking("verify", move || {
        let table = verification.run.mapping.tables().find(|it| it.name == table);
        Ok(table.map_or(Ok(Vec::new()), |table| tables::row_keys(table, file)))
    })
    .await
}

fn rows_of(file: &Bytes) -> std::result::Result<u64, String> {
    match tables::footer(file, file.len() as u64)? {
        Footer::Rows(rows) => Ok(rows),
        Footer::Needs(_) => Err("its footer is longer than the file".into()),
    }
}

/// The number of rows of a table's file, from its last bytes; the inner error says why it is no Parquet.
pub(crate) async fn rows_in_store(
    verification: &Verification,
    key: &str,
    size: u64,
) -> Result<std::result::Result<u64, String>> {
    let mut needed = TAIL;
    for _ in 0..2 {
        let offset = size.saturating_sub(needed as u64);
        let tail = verification.run.store.get_range(key, offset, needed).await?;
        match tables::footer(&tail, size) {
            Ok(Footer::Rows(rows)) => return Ok(Ok(rows)),
            Ok(Footer::Needs(more)) => needed = more,
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Err("its footer can't be read".into()))
}

/// A digest, shortened for a line of text.
pub(crate) fn sha256(digest: &str) -> String {
    format!("sha256 {}", &digest[..digest.len().min(16)])
}

pub(crate) fn table(kind: FindingKind, manifest: &Manifest, key: &str) -> Finding {
    Finding::new(kind, key)
        .on(manifest.date, &manifest.space_id)
        .remedy(Remedy::Build)
}

fn missing(manifest: &Manifest, object: &Expected<'_>) -> Finding {
    let kind = match object.what {
        ObjectOf::Report { .. } => FindingKind::ReportMissing,
        ObjectOf::Recording { .. } => FindingKind::RecordingMissing,
        ObjectOf::Table { .. } => FindingKind::TableMissing,
    };
    let finding = Finding::new(kind, object.key).on(manifest.date, &manifest.space_id);
    describe(finding, manifest, object).differs(format!("{} bytes", object.bytes), "nothing")
}

fn other_bytes(manifest: &Manifest, object: &Expected<'_>, found: &str) -> Finding {
    changed(manifest, object, &sha256(object.sha256), &sha256(found))
}

fn changed(manifest: &Manifest, object: &Expected<'_>, expected: &str, found: &str) -> Finding {
    let kind = match object.what {
        ObjectOf::Report { .. } => FindingKind::ReportDamaged,
        ObjectOf::Recording { .. } => FindingKind::RecordingDamaged,
        ObjectOf::Table { .. } => FindingKind::TableDamaged,
    };
    let finding = Finding::new(kind, object.key).on(manifest.date, &manifest.space_id);
    describe(finding, manifest, object).differs(expected, found)
}

/// Adds the call or record that the object belongs to, and the remedy.
fn describe(finding: Finding, manifest: &Manifest, object: &Expected<'_>) -> Finding {
    match object.what {
        ObjectOf::Report { call, format } => finding
            .call(call)
            .remedy(Remedy::Land(Piece::Report(call.into(), format))),
        ObjectOf::Recording { record } => {
            let call = manifest
                .records
                .get(record)
                .and_then(|entry| entry.call_id.as_ref());
            let finding = match call {
                Some(call) => finding.call(call),
                None => finding,
            };
            finding
                .record(record)
                .remedy(Remedy::Land(Piece::Recording(record.into())))
        }
        ObjectOf::Table { .. } => finding.remedy(Remedy::Build),
    }
}
