//! Writing whole objects, with and without conditions.

use aws_config::retry::RetryConfig;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::put_object::PutObjectError;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Duration;

use super::hold::Waiting;
use super::{S3Store, checksum, connect, error};
use crate::backoff::Backoff;
use crate::store::{Condition, EtagForm, Store, Version};
use crate::{Error, ErrorKind, Result};

/// The characters of a key that are encoded in a header.
const IN_HEADER: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// The pauses before a conditional write is sent again.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(300), Duration::from_secs(4));

impl S3Store {
    /// Sends a single put, with as many attempts as the caller leaves to the SDK.
    pub(super) async fn send_put(
        &self,
        key: &str,
        bytes: Bytes,
        condition: &Condition,
        attempts: u32,
    ) -> Result<Version, SdkError<PutObjectError>> {
        let config = connect::sized(bytes.len() as u64)
            .retry_config(RetryConfig::standard().with_max_attempts(attempts));
        let request = self
            .client
            .put_object()
            .bucket(&self.target.bucket)
            .key(self.object_key(key))
            .set_server_side_encryption(self.sse())
            .set_ssekms_key_id(self.kms_key_id());
        let request = checksum::on_put(request, self.settings.checksum, &bytes);
        let request = match condition {
            Condition::Any => request,
            Condition::Absent => request.if_none_match("*"),
            Condition::Unchanged(version) => match self.dialect.lock().etag_form {
                EtagForm::Quoted => request.if_match(&version.0),
                EtagForm::Bare => request.if_match(version.0.trim_matches('"')),
            },
        };
        let request = request.body(ByteStream::from(bytes));
        let answer = request.customize().config_override(config).send().await?;
        Ok(Version(answer.e_tag.unwrap_or_default()))
    }

    /// Lets the server copy an object.
    pub(super) async fn send_copy(&self, from: &str, to: &str) -> Result<()> {
        let source = format!("{}/{}", self.target.bucket, self.object_key(from));
        let request = self
            .client
            .copy_object()
            .bucket(&self.target.bucket)
            .key(self.object_key(to))
            .copy_source(utf8_percent_encode(&source, IN_HEADER).to_string())
            .set_server_side_encryption(self.sse())
            .set_ssekms_key_id(self.kms_key_id());
        let done = self.patiently(|| request.clone().send()).await;
        done.map(|_| ()).map_err(|error| self.error(from, &error))
    }

    /// Writes an object without a condition.
    pub(super) async fn put_always(&self, key: &str, bytes: Bytes) -> Result<Version> {
        let send = || self.send_put(key, bytes.clone(), &Condition::Any, connect::ATTEMPTS);
        let written = self.patiently(send).await;
        written.map_err(|error| self.error(key, &error))
    }

    /// Writes an object under a condition. Attempts are counted here and not by the SDK: if an answer was lost, the next
    /// attempt is refused because of our own first one, and only the object itself can tell that.
    pub(super) async fn put_conditionally(
        &self,
        key: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<Version> {
        let mut answer_lost = false;
        let mut waiting = Waiting::default();
        let mut attempt = 1;
        loop {
            let failure = match self.send_put(key, bytes.clone(), condition, 1).await {
                Ok(version) => {
                    self.hold.answered();
                    return Ok(version);
                }
                Err(failure) => failure,
            };
            if error::is_throttled(&failure) {
                // In S3 such a request is not carried out, but a proxy may answer so after the server carried it out.
                answer_lost = true;
                match self.hold.pause(&mut waiting).await {
                    true => continue,
                    false => return Err(self.error(key, &failure)),
                }
            }
            if failure.raw_response().is_some() {
                self.hold.answered();
            }
            if error::may_have_been_applied(&failure) && attempt < connect::ATTEMPTS {
                answer_lost = true;
                tokio::time::sleep(BACKOFF.pause(attempt)).await;
                attempt += 1;
                continue;
            }
            let error = self.error(key, &failure);
            return match (error.kind(), condition) {
                (ErrorKind::Precondition, _) if answer_lost => match self.get(key).await {
                    Ok(object) if object.bytes == bytes => Ok(object.version),
                    _ => Err(error),
                },
                // The server's answer to `If-Match` on an object that is gone.
                (ErrorKind::StoreNotFound, Condition::Unchanged(_)) => Err(Error::new(
                    ErrorKind::Precondition,
                    key,
                    "another writer removed it meanwhile",
                )),
                _ => Err(error),
            };
        }
    }
}
