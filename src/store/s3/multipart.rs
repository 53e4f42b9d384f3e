//! The requests of a multipart upload, and what they answer. Used by `upload` and `resume`.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::{S3Store, connect};
use crate::store::checkpoint::Part;
use crate::{Error, ErrorKind, Result};

/// Completing joins the parts on the server, which takes minutes for the largest objects.
const COMPLETE_AS_BYTES: u64 = 32 * 1024 * 1024;
/// What an object says of the upload that made it (`x-amz-meta-…`): its checkpoint's id.
const MADE_BY: &str = "telelake-upload";

/// A multipart upload that a listing shows.
pub(super) struct Listed {
    /// Relative to the store.
    pub(super) key: String,
    pub(super) id: String,
}

/// The multipart uploads below `prefix` that were neither completed nor aborted.
pub(super) async fn list(store: &S3Store, prefix: &str) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    let (mut key_marker, mut id_marker) = (None, None);
    loop {
        let page = store
            .client
            .list_multipart_uploads()
            .bucket(&store.target.bucket)
            .prefix(store.object_key(prefix))
            .set_key_marker(key_marker.take())
            .set_upload_id_marker(id_marker.take())
            .send()
            .await
            .map_err(|error| store.error(prefix, &error))?;
        found.extend(page.uploads.unwrap_or_default().into_iter().filter_map(|upload| {
            Some(Listed {
                key: upload.key?.strip_prefix(&*store.prefix)?.to_owned(),
                id: upload.upload_id?,
            })
        }));
        if page.is_truncated != Some(true) || page.next_key_marker.is_none() {
            return Ok(found);
        }
        (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
    }
}

/// Starts an upload; its object will say that `made_by` made it.
pub(super) async fn create(
    store: &S3Store,
    key: &str,
    content_type: Option<String>,
    made_by: &str,
) -> Result<String> {
    let answer = store
        .client
        .create_multipart_upload()
        .bucket(&store.target.bucket)
        .key(store.object_key(key))
        .metadata(MADE_BY, made_by)
        .set_content_type(content_type)
        .set_storage_class(store.storage_class())
        .set_server_side_encryption(store.sse())
        .set_ssekms_key_id(store.kms_key_id())
        .send()
        .await
        .map_err(|error| store.error(key, &error))?;
    answer
        .upload_id
        .ok_or_else(|| Error::new(ErrorKind::Store, key, "the server gave no upload id"))
}

/// Stores a part; gives its ETag.
pub(super) async fn send(store: &S3Store, key: &str, id: &str, number: i32, bytes: Bytes) -> Result<String> {
    let config = connect::sized(bytes.len() as u64);
    let answer = store
        .client
        .upload_part()
        .bucket(&store.target.bucket)
        .key(store.object_key(key))
        .upload_id(id)
        .part_number(number)
        .body(ByteStream::from(bytes))
        .customize()
        .config_override(config)
        .send()
        .await
        .map_err(|error| store.error(key, &error))?;
    answer
        .e_tag
        .ok_or_else(|| Error::new(ErrorKind::Store, key, "the server gave a part no ETag"))
}

/// The parts that the server has, in order; none when it does not know the upload (any more).
pub(super) async fn parts(store: &S3Store, key: &str, id: &str) -> Result<Option<Vec<Part>>> {
    let mut pages = store
        .client
        .list_parts()
        .bucket(&store.target.bucket)
        .key(store.object_key(key))
        .upload_id(id)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(store.error(key, &error)),
        };
        found.extend(page.parts.unwrap_or_default().into_iter().filter_map(|part| {
            Some(Part {
                number: part.part_number?,
                etag: part.e_tag?,
                bytes: u64::try_from(part.size?).ok()?,
            })
        }));
    }
    found.sort_unstable_by_key(|part| part.number);
    Ok(Some(found))
}

/// Makes the object of its parts.
pub(super) async fn complete(store: &S3Store, key: &str, id: &str, parts: &[Part]) -> Result<()> {
    let parts = parts.iter().map(|part| {
        CompletedPart::builder()
            .e_tag(&part.etag)
            .part_number(part.number)
            .build()
    });
    let parts = CompletedMultipartUpload::builder()
        .set_parts(Some(parts.collect()))
        .build();
    store
        .client
        .complete_multipart_upload()
        .bucket(&store.target.bucket)
        .key(store.object_key(key))
        .upload_id(id)
        .multipart_upload(parts)
        .customize()
        .config_override(connect::sized(COMPLETE_AS_BYTES))
        .send()
        .await
        .map_err(|error| store.error(key, &error))?;
    Ok(())
}

/// Whether the object under `key` is of so many bytes and was made by this very upload.
pub(super) async fn is_made_by(store: &S3Store, key: &str, made_by: &str, bytes: u64) -> Result<bool> {
    let request = store.client.head_object().bucket(&store.target.bucket);
    match request.key(store.object_key(key)).send().await {
        Ok(found) => {
            let said = found.metadata.as_ref().and_then(|said| said.get(MADE_BY));
            let length = found.content_length.and_then(|length| u64::try_from(length).ok());
            Ok(said.is_some_and(|said| said == made_by) && length == Some(bytes))
        }
        Err(error) => match store.error(key, &error) {
            error if error.kind() == ErrorKind::StoreNotFound => Ok(false),
            error => Err(error),
        },
    }
}

pub(super) async fn abort(store: &S3Store, key: &str, id: &str) -> Result<()> {
    let request = store
        .client
        .abort_multipart_upload()
        .bucket(&store.target.bucket)
        .key(store.object_key(key))
        .upload_id(id);
    match request.send().await {
        // Gone already: completed, or aborted by another process.
        Err(error) if !is_gone(&error) => Err(store.error(key, &error)),
        _ => Ok(()),
    }
}

fn is_gone<E>(error: &aws_sdk_s3::error::SdkError<E>) -> bool {
    error
        .raw_response()
        .is_some_and(|answer| answer.status().as_u16() == 404)
}
