//! Finding out how a server takes conditions and uploads in parts, by a few writes of probe objects.
//!
//! Wrong conditions must be refused and right ones taken: there are servers that take all, and one that refuses a right
//! ETag with quotes. The upload is of one small part; what of it fails, fails in a night too.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{PROBES, S3Store, connect, error, multipart, probe_key};
use crate::config::Checksum;
use crate::store::{Condition, Dialect, EtagForm, Shortcoming, Store, Version};
use crate::{ErrorKind, Result};

const FIRST: &[u8] = b"first";
const SECOND: &[u8] = b"second";
const THIRD: &[u8] = b"third";

/// What a server is found to be. Probe objects are removed again.
pub(super) async fn dialect(store: &S3Store) -> Result<Dialect> {
    // With a dialect of its own, so that what was known before changes nothing.
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

/// The form of ETags in which right conditions are taken and wrong ones refused; none where there is none.
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
        store.dialect().etag_form = form;
        let unchanged = Condition::Unchanged(first.clone());
        if attempt(store, there, SECOND, unchanged.clone()).await?.is_some() {
            // It is no longer of that version.
            let refused = attempt(store, there, THIRD, unchanged).await?.is_none();
            return Ok(refused.then_some(form));
        }
    }
    Ok(None)
}

/// The new version after a conditional put; none where the server refused the condition, or knows none.
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
    let told = store.error(key, &failure);
    match told.kind() {
        _ if error::is_unsupported(&failure) => Ok(None),
        // Perhaps refused because of an attempt of its own whose answer was lost.
        ErrorKind::Precondition => match store.get(key).await {
            Ok(found) if found.bytes == bytes => Ok(Some(found.version)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(None),
            Err(error) => Err(error),
        },
        ErrorKind::StoreNotFound => Ok(None),
        _ => Err(told),
    }
}

/// What a server lacks for uploads in parts.
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

/// Takes an upload to its end; whether its object is what was sent.
async fn upload(store: &S3Store, key: &str, id: &str, lacks: &mut BTreeSet<Shortcoming>) -> Result<bool> {
    let part = multipart::send(store, key, id, 1, Bytes::from_static(FIRST), Checksum::None).await?;
    match multipart::list(store, PROBES).await {
        Ok(found) if found.iter().any(|upload| upload.id == id && upload.key == key) => {}
        // Who may not list is told so by the sweep of each run.
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
