//! Compares an object of a day with its manifest: is it there, of the same size, and, if bytes are read, unchanged?

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::finding::{Finding, FindingKind, Remedy};
use crate::config::ReportFormat;
use crate::pipeline::Piece;
use crate::ids::CallId;
use crate::lake::manifest::Manifest;
use crate::tables;
use crate::tables::{Footer, RowKey};
use crate::verify::session::{SeenFile, Verification, of_one_object, unreadable};
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
    pub what: What<'m>,
}

#[derive(Clone, Copy)]
pub(crate) enum What<'m> {
    Report { call: &'m CallId, format: ReportFormat },
    Recording { record: &'m str },
    Table { name: &'m str, rows: u64 },
}

/// The result of checking one object.
#[derive(Default)]
pub(crate) struct Held {
    pub finding: Option<Finding>,
    pub rows: Option<(String, SeenFile, Vec<RowKey>)>,
}

impl From<Finding> for Held {
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
            let what = What::Report {
                call,
                format: *format,
            };
            Some((landing.landed.as_ref()?, what))
        })
    });
    let records = manifest
        .records
        .iter()
        .filter_map(|(record, entry)| Some((entry.file.landed.as_ref()?, What::Recording { record })));
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
        what: What::Table {
            name,
            rows: entry.rows,
        },
    }));
    all
}

/// Compares one object with its manifest.
pub(crate) async fn hold(
    look: &Arc<Verification>,
    manifest: &Manifest,
    object: Expected<'_>,
) -> Result<Held> {
    look.unless_stopped()?;
    let outcome = match look.size(object.key, Some(object.bytes)).await {
        Ok(None) => return Ok(missing(manifest, &object).into()),
        Ok(Some(size)) if size != object.bytes => {
            let (expected, found) = (format!("{} bytes", object.bytes), format!("{size} bytes"));
            return Ok(changed(manifest, &object, &expected, &found).into());
        }
        Ok(Some(_)) => match object.what {
            What::Table { name, rows } => table_content(look, manifest, &object, name, rows).await,
            _ if look.options.deep => content(look, manifest, &object).await,
            _ => Ok(Held::default()),
        },
        Err(error) => Err(error),
    };
    match outcome {
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(missing(manifest, &object).into()),
        Err(error) => {
            let why = of_one_object(error)?;
            let finding = unreadable(object.key, &why).on(manifest.date, &manifest.space_id);
            Ok(of_thing(finding, manifest, &object).into())
        }
        held => held,
    }
}

/// Compares the bytes of a report or a recording with their digest, and checks the boxes of a recording.
async fn content(look: &Arc<Verification>, manifest: &Manifest, object: &Expected<'_>) -> Result<Held> {
    let digested = look.digest(object.key).await?;
    if digested.sha256 != object.sha256 {
        return Ok(other_bytes(manifest, object, &digested.sha256).into());
    }
    let is_recording = matches!(object.what, What::Recording { .. });
    Ok(match digested.boxes.flaw().filter(|_| is_recording) {
        None => Held::default(),
        Some(flaw) => changed(manifest, object, "a whole MP4", &flaw.to_string()).into(),
    })
}

/// Compares the rows of a table with the manifest, and its bytes if tables are read.
async fn table_content(
    look: &Arc<Verification>,
    manifest: &Manifest,
    object: &Expected<'_>,
    name: &str,
    rows: u64,
) -> Result<Held> {
    let mut held = Held::default();
    // The table of recordings is small, and has their addresses.
    let counted = if look.reads_tables() || name == RECORDINGS {
        let file = look.whole(object.key).await?;
        let found = hex::encode(Sha256::digest(&file));
        if look.reads_tables() && found != object.sha256 {
            return Ok(other_bytes(manifest, object, &found).into());
        }
        if look.options.deep {
            let keys = match keys_of(look, name, file.clone()).await? {
                Ok(keys) => keys,
                Err(why) => return Ok(changed(manifest, object, "Parquet", &why).into()),
            };
            let seen = SeenFile {
                key: object.key.to_owned(),
                date: Some(manifest.date),
                space: Some(manifest.space_id.clone()),
            };
            held.rows = Some((name.to_owned(), seen, keys));
        }
        if name == RECORDINGS {
            held.finding = elsewhere(look.run.store.url(), manifest, object.key, file.clone());
        }
        rows_of(&file)
    } else {
        rows_in_store(look, object.key, object.bytes).await?
    };
    Ok(match counted {
        Ok(counted) if counted == rows => held,
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
    look: &Arc<Verification>,
    table: &str,
    file: Bytes,
) -> Result<std::result::Result<Vec<RowKey>, String>> {
    let (look, table) = (Arc::clone(look), table.to_owned());
    tokio::task::spawn_blocking(move || {
        let table = look.run.mapping.tables().find(|it| it.name == table);
        table.map_or(Ok(Vec::new()), |table| tables::row_keys(table, file))
    })
    .await
    .map_err(|error| crate::Error::new(ErrorKind::Internal, "verify", error.to_string()))
}

fn rows_of(file: &Bytes) -> std::result::Result<u64, String> {
    match tables::footer(file, file.len() as u64)? {
        Footer::Rows(rows) => Ok(rows),
        Footer::Needs(_) => Err("its footer is longer than the file".into()),
    }
}

/// The number of rows of a table's file, from its last bytes; the inner error says why it is no Parquet.
pub(crate) async fn rows_in_store(
    look: &Verification,
    key: &str,
    size: u64,
) -> Result<std::result::Result<u64, String>> {
    let mut needed = TAIL;
    for _ in 0..2 {
        let offset = size.saturating_sub(needed as u64);
        let tail = look.run.store.get_range(key, offset, needed).await?;
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
        What::Report { .. } => FindingKind::ReportMissing,
        What::Recording { .. } => FindingKind::RecordingMissing,
        What::Table { .. } => FindingKind::TableMissing,
    };
    let finding = Finding::new(kind, object.key).on(manifest.date, &manifest.space_id);
    of_thing(finding, manifest, object).differs(format!("{} bytes", object.bytes), "nothing")
}

fn other_bytes(manifest: &Manifest, object: &Expected<'_>, found: &str) -> Finding {
    changed(manifest, object, &sha256(object.sha256), &sha256(found))
}

fn changed(manifest: &Manifest, object: &Expected<'_>, expected: &str, found: &str) -> Finding {
    let kind = match object.what {
        What::Report { .. } => FindingKind::ReportDamaged,
        What::Recording { .. } => FindingKind::RecordingDamaged,
        What::Table { .. } => FindingKind::TableDamaged,
    };
    let finding = Finding::new(kind, object.key).on(manifest.date, &manifest.space_id);
    of_thing(finding, manifest, object).differs(expected, found)
}

/// Adds the call or record that the object belongs to, and the remedy.
fn of_thing(finding: Finding, manifest: &Manifest, object: &Expected<'_>) -> Finding {
    match object.what {
        What::Report { call, format } => finding.call(call).remedy(Remedy::Land(Piece::Report(call.into(), format))),
        What::Recording { record } => {
            let call = manifest
                .records
                .get(record)
                .and_then(|entry| entry.call_id.as_ref());
            let finding = match call {
                Some(call) => finding.call(call),
                None => finding,
            };
            finding.record(record).remedy(Remedy::Land(Piece::Recording(record.into())))
        }
        What::Table { .. } => finding.remedy(Remedy::Build),
    }
}
