//! The requests of a multipart upload. Used by `upload` and `resume`.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::{S3Store, checksum, connect, error};
use crate::config::Checksum;
use crate::store::checkpoint::Part;
use crate::store::{OptionalExt, Shortcoming};
use crate::{Error, ErrorKind, Result};

/// The bytes that the timeout of completing an upload counts with: joining the parts on the server takes minutes for the
/// largest objects.
const COMPLETE_AS_BYTES: u64 = 32 * 1024 * 1024;
/// The metadata field of an object (`x-amz-meta-…`) that names the upload that made it, by its checkpoint's id.
const MADE_BY: &str = "telelake-upload";

/// A multipart upload that a listing shows.
pub(super) struct Listed {
    /// The key, relative to the store.
    pub(super) key: String,
    pub(super) id: String,
}

/// The error of a step of an upload. If the server does not know the step, it takes no uploads in parts.
fn failed<E>(store: &S3Store, key: &str, failure: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let answered = store.error(key, failure);
    if answered.kind() == ErrorKind::Precondition || !error::is_unsupported(failure) {
        return answered;
    }
    store.record_shortcoming(Shortcoming::Multipart);
    let message = format!("can't be stored in parts: {}", answered.message());
    Error::new(ErrorKind::Unsupported, key, message).hint(
        "the server must know CreateMultipartUpload, UploadPart and CompleteMultipartUpload for recordings larger \
         than store.s3.part_size",
    )
}

/// The multipart uploads below `prefix` that were neither completed nor aborted; none if the server can't list them.
pub(super) async fn list(store: &S3Store, prefix: &str) -> Result<Vec<Listed>> {
    let request = store.client.list_multipart_uploads().bucket(&store.target.bucket);
    let request = request.prefix(store.object_key(prefix));
    let mut found = Vec::new();
    let (mut key_marker, mut id_marker) = (None, None);
    loop {
        let next = request.clone().set_key_marker(key_marker.take());
        let next = next.set_upload_id_marker(id_marker.take());
        let page = match store.patiently(|| next.clone().send()).await {
            Err(failure) if error::is_unsupported(&failure) => {
                store.record_shortcoming(Shortcoming::UploadList);
                return Ok(found);
            }
            page => page.map_err(|error| store.error(prefix, &error))?,
        };
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

/// Creates an upload whose parts carry a checksum. Its object will name `made_by` in its metadata.
pub(super) async fn create(
    store: &S3Store,
    key: &str,
    content_type: Option<String>,
    made_by: &str,
    sum: Checksum,
) -> Result<String> {
    let (algorithm, extent) = checksum::of_upload(sum);
    let request = store
        .client
        .create_multipart_upload()
        .bucket(&store.target.bucket)
        .key(store.object_key(key))
        .metadata(MADE_BY, made_by)
        .set_content_type(content_type)
        .set_checksum_algorithm(algorithm)
        .set_checksum_type(extent)
        .set_storage_class(store.storage_class())
        .set_server_side_encryption(store.sse())
        .set_ssekms_key_id(store.kms_key_id());
    let answer = store.patiently(|| request.clone().send()).await;
    let answer = answer.map_err(|error| failed(store, key, &error))?;
    answer.upload_id.filter(|id| !id.is_empty()).ok_or_else(|| {
        store.record_shortcoming(Shortcoming::Multipart);
        Error::new(
            ErrorKind::Unsupported,
            key,
            format!(
                "can't be stored in parts: {} gave CreateMultipartUpload no upload id",
                store.target
            ),
        )
    })
}

/// Sends a part.
pub(super) async fn send(
    store: &S3Store,
    key: &str,
    id: &str,
    number: i32,
    bytes: Bytes,
    sum: Checksum,
) -> Result<Part> {
    let send = || {
        let request = store
            .client
            .upload_part()
            .bucket(&store.target.bucket)
            .key(store.object_key(key))
            .upload_id(id)
            .part_number(number);
        let request = checksum::on_part(request, sum, &bytes).body(ByteStream::from(bytes.clone()));
        request
            .customize()
            .config_override(connect::sized(bytes.len() as u64))
            .send()
    };
    let answer = store.patiently(send).await;
    let answer = answer.map_err(|error| failed(store, key, &error))?;
    Ok(Part {
        number,
        etag: answer
            .e_tag
            .ok_or_else(|| Error::new(ErrorKind::Store, key, "the server gave a part no ETag"))?,
        bytes: bytes.len() as u64,
        checksum: checksum::of_part(sum, &bytes),
    })
}

/// The parts that the server has, in order; none if it does not know the upload (any more) or can't list its parts.
pub(super) async fn parts(store: &S3Store, key: &str, id: &str) -> Result<Option<Vec<Part>>> {
    let request = store.client.list_parts().bucket(&store.target.bucket);
    let request = request.key(store.object_key(key)).upload_id(id);
    let (mut found, mut marker) = (Vec::new(), None);
    loop {
        let next = request.clone().set_part_number_marker(marker.clone());
        let page = match store.patiently(|| next.clone().send()).await {
            Ok(page) => page,
            Err(failure) if error::is_unsupported(&failure) => {
                store.record_shortcoming(Shortcoming::PartList);
                return Ok(None);
            }
            Err(failure) if is_gone(&failure) => return Ok(None),
            Err(failure) => return Err(store.error(key, &failure)),
        };
        found.extend(page.parts.unwrap_or_default().into_iter().filter_map(|part| {
            Some(Part {
                number: part.part_number?,
                etag: part.e_tag?,
                bytes: u64::try_from(part.size?).ok()?,
                checksum: None,
            })
        }));
        if page.is_truncated != Some(true) || page.next_part_number_marker == marker {
            break;
        }
        marker = page.next_part_number_marker;
    }
    found.sort_unstable_by_key(|part| part.number);
    Ok(Some(found))
}

/// Completes an upload: makes the object of its parts.
pub(super) async fn complete(
    store: &S3Store,
    key: &str,
    id: &str,
    parts: &[Part],
    sum: Checksum,
) -> Result<()> {
    let parts = parts.iter().map(|part| {
        let named = CompletedPart::builder()
            .e_tag(&part.etag)
            .part_number(part.number);
        checksum::on_completed(named, sum, part.checksum.clone()).build()
    });
    let parts = CompletedMultipartUpload::builder()
        .set_parts(Some(parts.collect()))
        .build();
    let request = store
        .client
        .complete_multipart_upload()
        .bucket(&store.target.bucket)
        .key(store.object_key(key))
        .upload_id(id)
        .multipart_upload(parts);
    let send = || {
        let request = request.clone().customize();
        request.config_override(connect::sized(COMPLETE_AS_BYTES)).send()
    };
    let done = store.patiently(send).await;
    done.map_err(|error| failed(store, key, &error)).map(|_| ())
}

/// True if the object under `key` has so many bytes and was made by this very upload.
pub(super) async fn is_made_by(store: &S3Store, key: &str, made_by: &str, bytes: u64) -> Result<bool> {
    let request = store.client.head_object().bucket(&store.target.bucket);
    let request = request.key(store.object_key(key));
    let answer = store.patiently(|| request.clone().send()).await;
    let found = answer.map_err(|error| store.error(key, &error)).optional()?;
    Ok(found.is_some_and(|found| {
        let maker = found.metadata.as_ref().and_then(|fields| fields.get(MADE_BY));
        let length = found.content_length.and_then(|length| u64::try_from(length).ok());
        maker.is_some_and(|maker| maker == made_by) && length == Some(bytes)
    }))
}

pub(super) async fn abort(store: &S3Store, key: &str, id: &str) -> Result<()> {
    let request = store
        .client
        .abort_multipart_upload()
        .bucket(&store.target.bucket)
        .key(store.object_key(key))
        .upload_id(id);
    match store.patiently(|| request.clone().send()).await {
        // The upload is gone already: completed, or aborted by another process.
        Err(error) if !is_gone(&error) => Err(store.error(key, &error)),
        _ => Ok(()),
    }
}

fn is_gone<E>(error: &SdkError<E>) -> bool {
    error
        .raw_response()
        .is_some_and(|answer| answer.status().as_u16() == 404)
}
