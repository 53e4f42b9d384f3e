//! The lake in an S3 bucket, by the AWS SDK. Tested with AWS's own rules and with servers that only resemble it.
//!
//! Requests take the form that works everywhere: no checksum algorithm, no trailers, bodies from memory. Credentials come
//! from the AWS chain, and a private CA from `AWS_CA_BUNDLE` (see `connect.rs`).

mod buffers;
mod checksum;
mod connect;
mod error;
mod hold;
mod multipart;
mod probe;
mod put;
mod resume;
mod target;
mod upload;
mod versions;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStreamError;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::buffers::Buffers;
pub use self::hold::Patience;
use self::hold::{Hold, Waiting};
use self::target::Target;
use super::keeper::CheckpointStore;
use super::{
    Condition, Dialect, ListedObject, OptionalExt, Resumed, Shortcoming, Store, StoreAddress, StoredObject,
    Unfinished, Upload, UploadLease, UploadOptions, Version,
};
use crate::config;
use crate::{Error, ErrorKind, Result};

/// Keys that are asked for if a single one is enough. Some may be markers of folders, which are no objects of the lake.
const FEW_KEYS: i32 = 10;
/// Part buffers in memory over all uploads, besides those that a single upload may have in flight.
const SPARE_PARTS: usize = 4;

/// A prefix of a bucket. Cheap to clone.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    url: Arc<str>,
    target: Arc<Target>,
    /// Empty, or ending with `/`.
    prefix: Arc<str>,
    settings: Arc<config::S3>,
    buffers: Arc<Buffers>,
    lease: UploadLease,
    dialect: Arc<Mutex<Dialect>>,
    hold: Arc<Hold>,
    /// The patience of a run with a server that asks to slow down.
    patience: Patience,
}

impl S3Store {
    /// Opens `s3://bucket/prefix` with the AWS chain. Sends no request to the bucket.
    ///
    /// # Errors
    /// `Config` if the URL or `AWS_CA_BUNDLE` is wrong.
    pub async fn open(url: &str, settings: &config::S3) -> Result<Self> {
        Self::with_sdk_config(url, settings, &connect::sdk_config(settings).await?)
    }

    /// Opens `s3://bucket/prefix` with an AWS configuration that the caller made. The region in `settings` is ignored.
    ///
    /// # Errors
    /// `Config` if the URL is wrong.
    pub fn with_sdk_config(url: &str, settings: &config::S3, sdk: &SdkConfig) -> Result<Self> {
        let (bucket, prefix) = target::parse_url(url)?;
        let endpoint = connect::endpoint(settings).or_else(|| sdk.endpoint_url().map(Into::into));
        let endpoint = endpoint.as_deref().map(target::without_userinfo);
        Ok(Self {
            client: connect::client(sdk, settings),
            url: url.into(),
            target: Arc::new(Target {
                bucket,
                endpoint,
                path_style: settings.path_style,
            }),
            prefix: prefix.into(),
            buffers: Buffers::new(settings.parts_in_flight + SPARE_PARTS, part_size(settings)),
            settings: Arc::new(settings.clone()),
            lease: UploadLease::default(),
            dialect: Arc::default(),
            hold: Arc::new(Hold::new(Patience::OF_A_REQUEST, CancellationToken::new())),
            patience: Patience::OF_A_RUN,
        })
    }

    /// Sets the times by which uploads of dead processes are told from those of living ones.
    #[must_use]
    pub fn with_lease(mut self, lease: UploadLease) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the patience of runs with a server that asks to slow down, see [`Store::patient`].
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Records an operation that the server lacks, and warns of it the first time.
    fn record_shortcoming(&self, what: Shortcoming) {
        if self.dialect.lock().lacks.insert(what) {
            tracing::warn!("{}", what.message());
        }
    }

    /// Sends a request, and sends it again while the server asks to slow down, see [`hold`].
    async fn patiently<T, E, F>(&self, send: impl Fn() -> F) -> Result<T, SdkError<E>>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let mut waiting = Waiting::default();
        loop {
            let done = send().await;
            let failure = done.as_ref().err();
            if failure.is_some_and(error::is_throttled) {
                if self.hold.pause(&mut waiting).await {
                    continue;
                }
            } else if failure.is_none_or(|failure| failure.raw_response().is_some()) {
                self.hold.answered();
            }
            return done;
        }
    }

    fn object_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn error<E>(&self, key: &str, error: &SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        error::of(&self.target, key, error)
    }

    fn part_size(&self) -> usize {
        part_size(&self.settings)
    }

    fn sse(&self) -> Option<ServerSideEncryption> {
        filled(&self.settings.sse).map(ServerSideEncryption::from)
    }

    fn kms_key_id(&self) -> Option<String> {
        filled(&self.settings.kms_key_id).map(Into::into)
    }

    fn storage_class(&self) -> Option<StorageClass> {
        filled(&self.settings.recordings_storage_class).map(StorageClass::from)
    }

    /// Reads an object or a range of it, of `most` bytes at most. Reads it again if its body is cut, because the SDK retries
    /// a request but not a body.
    async fn fetch(&self, key: &str, range: Option<&str>, most: u64) -> Result<StoredObject> {
        let mut attempt = 1;
        loop {
            match self.get_once(key, range, most).await? {
                Ok(object) => return Ok(object),
                Err(_) if attempt < connect::ATTEMPTS => attempt += 1,
                Err(error) => {
                    let message = format!("its content was cut on the way: {error}");
                    return Err(Error::new(ErrorKind::Store, key, message));
                }
            }
        }
    }

    /// Reads an object once. The inner error is one of its body.
    async fn get_once(
        &self,
        key: &str,
        range: Option<&str>,
        most: u64,
    ) -> Result<Result<StoredObject, ByteStreamError>> {
        let request = self.client.get_object().bucket(&self.target.bucket);
        let request = request.key(self.object_key(key)).set_range(range.map(Into::into));
        let answer = match self.patiently(|| request.clone().send()).await {
            Err(error) if range.is_some() && error::is_beyond_the_end(&error) => {
                return Ok(Ok(StoredObject {
                    bytes: Bytes::new(),
                    version: Version(String::new()),
                }));
            }
            answer => answer.map_err(|error| self.error(key, &error))?,
        };
        let bytes = answer
            .content_length
            .and_then(|length| u64::try_from(length).ok());
        if let Some(bytes) = bytes.filter(|bytes| *bytes > most) {
            return Err(super::too_large(key, bytes, most));
        }
        let version = Version(answer.e_tag.unwrap_or_default());
        Ok(answer.body.collect().await.map(|body| StoredObject {
            bytes: body.into_bytes(),
            version,
        }))
    }

    /// The objects whose keys start with a prefix, as the server lists them. With a limit for the keys on a page, only those
    /// of the first page that has any.
    async fn entries(&self, prefix: &str, keys_on_page: Option<i32>) -> Result<Vec<ListedObject>> {
        let request = self.client.list_objects_v2().bucket(&self.target.bucket);
        let request = request.prefix(self.object_key(prefix)).set_max_keys(keys_on_page);
        let (mut entries, mut token) = (Vec::new(), None);
        loop {
            let page = self
                .patiently(|| request.clone().set_continuation_token(token.clone()).send())
                .await
                .map_err(|error| self.error(prefix, &error))?;
            let objects = page.contents.unwrap_or_default().into_iter();
            entries.extend(objects.filter_map(|object| self.entry(object)));
            let next = page.next_continuation_token.filter(|next| !next.is_empty());
            let is_enough = keys_on_page.is_some() && !entries.is_empty();
            if is_enough || next.is_none() || next == token {
                return Ok(entries);
            }
            token = next;
        }
    }

    /// An object of a listing; none if it is not below the store's prefix.
    fn entry(&self, object: aws_sdk_s3::types::Object) -> Option<ListedObject> {
        let key = object.key?.strip_prefix(&*self.prefix)?.to_owned();
        let bytes = u64::try_from(object.size?).ok()?;
        let modified = object
            .last_modified
            .and_then(|at| chrono::DateTime::from_timestamp(at.secs(), at.subsec_nanos()));
        let etag = object.e_tag.map(|etag| etag.trim_matches('"').to_owned());
        // Consoles make an object with a final slash for each folder.
        (!key.ends_with('/')).then_some(ListedObject {
            key,
            bytes,
            modified,
            etag,
        })
    }
}

#[async_trait]
impl Store for S3Store {
    fn url(&self) -> &str {
        &self.url
    }

    async fn presign(&self, key: &str, expires: Duration) -> Result<Option<String>> {
        let failed = |error: &dyn fmt::Display| {
            Error::new(ErrorKind::Store, key, format!("no link can be signed: {error}"))
        };
        let config = PresigningConfig::expires_in(expires).map_err(|error| failed(&error))?;
        let request = self
            .client
            .get_object()
            .bucket(&self.target.bucket)
            .key(self.object_key(key))
            .response_content_disposition("attachment");
        let signed = request.presigned(config).await;
        let signed = signed.map_err(|error| self.error(key, &error))?;
        Ok(Some(signed.uri().to_owned()))
    }

    async fn preflight(&self) -> Result<()> {
        probe::preflight(self).await.map_err(|error| match error.kind() {
            ErrorKind::StoreUnavailable => error,
            _ => error
                .recast(ErrorKind::StoreUnavailable, self.target.to_string())
                .or_hint("the bucket must let objects be written, read, listed and deleted"),
        })
    }

    fn address(&self) -> StoreAddress {
        StoreAddress {
            url: format!("s3://{}/{}", self.target.bucket, self.prefix)
                .trim_end_matches('/')
                .into(),
            endpoint: self
                .target
                .endpoint
                .clone()
                .unwrap_or_default()
                .trim_end_matches('/')
                .into(),
        }
    }

    async fn probe(&self) -> Result<Dialect> {
        let found = probe::dialect(self).await?;
        *self.dialect.lock() = found.clone();
        Ok(found)
    }

    fn speak(&self, dialect: Dialect) {
        let mut known = self.dialect.lock();
        let lacks = std::mem::replace(&mut *known, dialect).lacks;
        known.lacks.extend(lacks);
    }

    fn shortcomings(&self) -> Vec<Shortcoming> {
        self.dialect.lock().lacks.iter().copied().collect()
    }

    fn patient(&self, stop: CancellationToken) -> Option<Arc<dyn Store>> {
        Some(Arc::new(Self {
            hold: Arc::new(Hold::new(self.patience, stop)),
            ..self.clone()
        }))
    }

    async fn get(&self, key: &str) -> Result<StoredObject> {
        self.fetch(key, None, u64::MAX).await
    }

    async fn get_within(&self, key: &str, most: u64) -> Result<StoredObject> {
        self.fetch(key, None, most).await
    }

    async fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes> {
        let Some(last) = (length as u64)
            .checked_sub(1)
            .and_then(|more| offset.checked_add(more))
        else {
            return Ok(Bytes::new());
        };
        let range = format!("bytes={offset}-{last}");
        self.fetch(key, Some(&range), u64::MAX)
            .await
            .map(|object| object.bytes)
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        let request = self
            .client
            .head_object()
            .bucket(&self.target.bucket)
            .key(self.object_key(key));
        let answer = self.patiently(|| request.clone().send()).await;
        let found = answer.map_err(|error| self.error(key, &error)).optional()?;
        let length = found.and_then(|found| found.content_length);
        Ok(length.and_then(|length| u64::try_from(length).ok()))
    }

    async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        let is_checked = condition != Condition::Any && self.dialect.lock().conditional_writes;
        match is_checked {
            true => self.put_conditionally(key, bytes, &condition).await,
            false => self.put_always(key, bytes).await,
        }
    }

    async fn copy(&self, from: &str, to: &str) -> Result<()> {
        match self.send_copy(from, to).await {
            // Some servers have no such request.
            Err(error) if error.kind() == ErrorKind::Store => {
                let bytes = match self.read(from).await {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        self.delete(to).await.ok();
                        return Err(error);
                    }
                };
                self.put_always(to, bytes).await.map(|_| ())
            }
            done => done,
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>> {
        let mut entries = self.entries(prefix, None).await?;
        // S3 lists in this order, but some other servers do not.
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    async fn has_any(&self, prefix: &str) -> Result<bool> {
        Ok(!self.entries(prefix, Some(FEW_KEYS)).await?.is_empty())
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let request = self
            .client
            .delete_object()
            .bucket(&self.target.bucket)
            .key(self.object_key(key));
        let done = self.patiently(|| request.clone().send()).await;
        done.map_err(|error| self.error(key, &error))
            .optional()
            .map(|_| ())
    }

    async fn remove_old_versions(&self, prefix: &str) -> Result<Option<u64>> {
        versions::remove(self, prefix).await
    }

    async fn upload(&self, key: &str, options: UploadOptions) -> Result<Box<dyn Upload>> {
        Ok(Box::new(upload::S3Upload::new(self.clone(), key, options)))
    }

    async fn resume(&self, key: &str) -> Result<Option<Resumed>> {
        resume::resume(self, key).await
    }

    async fn unfinished_uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        resume::unfinished(self, prefix).await
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        resume::abort(self, upload).await
    }
}

impl CheckpointStore for S3Store {
    /// If the server does not honour conditions, the version is compared before the write, which is the next best.
    async fn put_checkpoint(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        let compares = !self.dialect.lock().conditional_writes;
        if compares && let Condition::Unchanged(known) = &condition {
            let found = self.get(key).await.optional()?;
            if found.is_none_or(|found| found.version != *known) {
                let message = "another writer changed it meanwhile";
                return Err(Error::new(ErrorKind::Precondition, key, message));
            }
        }
        self.put(key, bytes, condition).await
    }
}

fn part_size(settings: &config::S3) -> usize {
    usize::try_from(settings.part_size.as_u64()).unwrap_or(usize::MAX)
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
