//! Removes old versions of objects in a bucket with versioning, where overwriting and deleting destroys nothing.

use super::{S3Store, error};
use crate::Result;

/// A version of an object, or a delete marker.
struct OldVersion {
    key: String,
    id: String,
}

/// Removes all versions below a prefix but the latest ones, and the markers of deleted objects. None if the server keeps
/// no versions.
pub(super) async fn remove(store: &S3Store, prefix: &str) -> Result<Option<u64>> {
    let Some(old) = old_versions(store, prefix).await? else {
        return Ok(None);
    };
    let mut removed = 0;
    for version in old {
        let request = store
            .client
            .delete_object()
            .bucket(&store.target.bucket)
            .key(&version.key)
            .version_id(&version.id);
        let done = store.patiently(|| request.clone().send()).await;
        done.map_err(|error| store.error(prefix, &error))?;
        removed += 1;
    }
    Ok(Some(removed))
}

async fn old_versions(store: &S3Store, prefix: &str) -> Result<Option<Vec<OldVersion>>> {
    let request = store.client.list_object_versions().bucket(&store.target.bucket);
    let request = request.prefix(store.object_key(prefix));
    let (mut old, mut key, mut id) = (Vec::new(), None, None);
    loop {
        let page = store
            .patiently(|| {
                let page = request.clone().set_key_marker(key.clone());
                page.set_version_id_marker(id.clone()).send()
            })
            .await;
        let page = match page {
            Err(error) if error::is_unsupported(&error) => return Ok(None),
            page => page.map_err(|error| store.error(prefix, &error))?,
        };
        for version in page.versions.unwrap_or_default() {
            if version.is_latest != Some(true)
                && let (Some(key), Some(id)) = (version.key, version.version_id)
            {
                old.push(OldVersion { key, id });
            }
        }
        for marker in page.delete_markers.unwrap_or_default() {
            if let (Some(key), Some(id)) = (marker.key, marker.version_id) {
                old.push(OldVersion { key, id });
            }
        }
        let is_more = page.is_truncated == Some(true);
        let next = (page.next_key_marker, page.next_version_id_marker);
        if !is_more || next.0.is_none() || next == (key.clone(), id.clone()) {
            return Ok(Some(old));
        }
        (key, id) = next;
    }
}
