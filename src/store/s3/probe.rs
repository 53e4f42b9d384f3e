//! Probes of a server: a preflight that proves that it can be written and read, and a probe for its dialect. Both write a
//! few objects and remove them again.
//!
//! A server must refuse wrong conditions and accept right ones, but some servers accept all of them, and one refuses a
//! right ETag with quotes. The probe's upload has one small part; if a step fails here, it would fail in a night too.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use super::{S3Store, connect, error, multipart};
use crate::config::Checksum;
use crate::store::{Condition, Dialect, EtagForm, ListedObject, OptionalExt, Shortcoming, Store, Version};
use crate::{Error, ErrorKind, Result};

/// The folder of probe objects.
const PROBES: &str = "_telelake/probe/";
/// The age from which on a probe object was left behind by a killed process.
const LEFT_BEHIND: TimeDelta = TimeDelta::hours(1);
/// Attempts of the first request: few, so that a wrong endpoint is reported soon.
const FIRST_ATTEMPTS: u32 = 2;
const FIRST: &[u8] = b"first";
const SECOND: &[u8] = b"second";
const THIRD: &[u8] = b"third";

/// Proves that an object can be written, read, listed and removed. Removes the probe objects of killed processes.
///
/// # Errors
/// Any error of the store.
pub(super) async fn preflight(store: &S3Store) -> Result<()> {
    let (key, bytes) = (probe_key(), Bytes::from_static(b"telelake"));
    let put = || store.send_put(&key, bytes.clone(), &Condition::Any, FIRST_ATTEMPTS);
    let written = store.patiently(put).await;
    written.map_err(|failure| store.error(&key, &failure))?;
    let readable = read_back(store, &key, &bytes).await;
    let removed = store.delete(&key).await;
    readable.and(removed)
}

async fn read_back(store: &S3Store, key: &str, written: &Bytes) -> Result<()> {
    let (read, probes) = tokio::try_join!(store.get(key), store.list(PROBES))?;
    let is_read = read.bytes == *written;
    for left in left_behind(&probes, Utc::now()) {
        store.delete(&left.key).await?;
    }
    let fault = if !is_read {
        "GetObject gives other bytes than PutObject stored"
    } else if !probes.iter().any(|probe| probe.key == key) {
        "ListObjectsV2 does not list what PutObject stored"
    } else {
        return Ok(());
    };
    Err(
        Error::new(ErrorKind::StoreUnavailable, store.target.to_string(), fault).hint(
            "is store.s3.endpoint_url an S3 endpoint, and does nothing between change or cache answers?",
        ),
    )
}

/// The probe objects that are so old that no request of theirs can still be on its way.
fn left_behind(probes: &[ListedObject], now: DateTime<Utc>) -> impl Iterator<Item = &ListedObject> {
    let long_ago = now - LEFT_BEHIND;
    probes
        .iter()
        .filter(move |probe| probe.modified.is_some_and(|at| at < long_ago))
}

fn probe_key() -> String {
    format!("{PROBES}{:016x}", fastrand::u64(..))
}

/// Finds out the server's dialect.
///
/// # Errors
/// Any error of the store. A server that ignores or refuses conditions, or lacks an operation, is no error.
pub(super) async fn dialect(store: &S3Store) -> Result<Dialect> {
    // The probe uses a dialect of its own, so that the result of an earlier probe changes nothing.
    let store = S3Store {
        dialect: std::sync::Arc::default(),
        ..store.clone()
    };
    let [there, absent, upload] = [(); 3].map(|()| probe_key());
    let found = async {
        let form = conditions(&store, &there, &absent).await?;
        let lacks = uploads(&store, &upload).await?;
        Ok(Dialect {
            conditional_writes: form.is_some(),
            etag_form: form.unwrap_or_default(),
            lacks,
        })
    }
    .await;
    for key in [there, absent, upload] {
        store.delete(&key).await?;
    }
    found
}

/// The form of ETags in which the server accepts right conditions and refuses wrong ones, if there is one.
async fn conditions(store: &S3Store, there: &str, absent: &str) -> Result<Option<EtagForm>> {
    let first = store
        .put(there, Bytes::from_static(FIRST), Condition::Any)
        .await?;
    let honours_absence = attempt(store, there, SECOND, Condition::Absent).await?.is_none()
        && attempt(store, absent, SECOND, Condition::Absent).await?.is_some();
    if first.0.is_empty() || !honours_absence {
        return Ok(None);
    }
    for form in [EtagForm::Quoted, EtagForm::Bare] {
        store.dialect.lock().etag_form = form;
        let unchanged = Condition::Unchanged(first.clone());
        if attempt(store, there, SECOND, unchanged.clone()).await?.is_some() {
            // The object no longer has that version.
            let refused = attempt(store, there, THIRD, unchanged).await?.is_none();
            return Ok(refused.then_some(form));
        }
    }
    Ok(None)
}

/// The new version after a conditional put; none if the server refused the condition or knows no conditions.
async fn attempt(
    store: &S3Store,
    key: &str,
    bytes: &'static [u8],
    condition: Condition,
) -> Result<Option<Version>> {
    let bytes = Bytes::from_static(bytes);
    let send = || store.send_put(key, bytes.clone(), &condition, connect::ATTEMPTS);
    let failure = match store.patiently(send).await {
        Ok(version) => return Ok(Some(version)),
        Err(failure) => failure,
    };
    let refusal = store.error(key, &failure);
    match refusal.kind() {
        _ if error::is_unsupported(&failure) => Ok(None),
        // Perhaps refused because of an earlier attempt whose answer was lost.
        ErrorKind::Precondition => {
            let found = store.get(key).await.optional()?;
            let ours = found.filter(|found| found.bytes == bytes);
            Ok(ours.map(|ours| ours.version))
        }
        ErrorKind::StoreNotFound => Ok(None),
        _ => Err(refusal),
    }
}

/// The operations of uploads in parts that the server lacks.
async fn uploads(store: &S3Store, key: &str) -> Result<BTreeSet<Shortcoming>> {
    let id = match multipart::create(store, key, None, "probe", Checksum::None).await {
        Ok(id) => id,
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok([Shortcoming::Multipart].into()),
        Err(error) => return Err(error),
    };
    let mut lacks = BTreeSet::new();
    match upload(store, key, &id, &mut lacks).await {
        Ok(true) => {}
        Ok(false) => {
            lacks.insert(Shortcoming::Multipart);
        }
        Err(error) => {
            multipart::abort(store, key, &id).await.ok();
            if !matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Precondition) {
                return Err(error);
            }
            lacks.insert(Shortcoming::Multipart);
        }
    }
    Ok(lacks)
}

/// Takes an upload to its end. Returns true if its object has the bytes that were sent.
async fn upload(store: &S3Store, key: &str, id: &str, lacks: &mut BTreeSet<Shortcoming>) -> Result<bool> {
    let part = multipart::send(store, key, id, 1, Bytes::from_static(FIRST), Checksum::None).await?;
    match multipart::list(store, PROBES).await {
        Ok(found) if found.iter().any(|upload| upload.id == id && upload.key == key) => {}
        // If listing is not allowed, each run warns of it when it looks for orphaned uploads.
        Err(error) if error.kind() == ErrorKind::StoreUnavailable => {}
        Ok(_) => {
            lacks.insert(Shortcoming::UploadList);
        }
        Err(error) => return Err(error),
    }
    match multipart::parts(store, key, id).await {
        Ok(Some(found)) if found.len() == 1 && found[0].number == 1 && found[0].bytes == part.bytes => {}
        Err(error) if error.kind() == ErrorKind::StoreUnavailable => {}
        Ok(_) => {
            lacks.insert(Shortcoming::PartList);
        }
        Err(error) => return Err(error),
    }
    multipart::complete(store, key, id, &[part], Checksum::None).await?;
    Ok(store.get(key).await?.bytes == FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_probe_objects_of_killed_processes_are_left_behind() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::hours(5);
        let probe = |name: &str, minutes: Option<i64>| ListedObject {
            key: format!("{PROBES}{name}"),
            bytes: 8,
            modified: minutes.map(|minutes| now - TimeDelta::minutes(minutes)),
            etag: None,
        };
        let probes = [
            probe("live", Some(59)),
            probe("left", Some(61)),
            probe("undated", None),
        ];
        let left: Vec<_> = left_behind(&probes, now)
            .map(|probe| probe.key.as_str())
            .collect();
        assert_eq!(left, ["_telelake/probe/left"]);
    }
}
