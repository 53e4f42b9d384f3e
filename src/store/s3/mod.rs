//! The lake in an S3 bucket, by the AWS SDK. Tried with AWS's own rules and with servers that only resemble it.
//!
//! Requests take the form that works everywhere: no checksum algorithm named, no trailers, bodies from memory.
//! Credentials come from the AWS chain, a private CA from `AWS_CA_BUNDLE` (see [`connect`]).

mod buffers;
mod checksum;
mod connect;
mod error;
mod hold;
mod multipart;
mod probe;
mod resume;
mod upload;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::PutObjectError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, ByteStreamError};
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use self::buffers::Buffers;
pub use self::hold::Patience;
use self::hold::{Hold, Waiting};
use super::keeper::Notes;
use super::{
    Condition, Dialect, Entry, EtagForm, Lease, Object, Resumed, Shortcoming, Store, StoreAddress,
    Unfinished, Upload, UploadOptions, Version,
};
use crate::config;
use crate::{Error, ErrorKind, Result};

/// Part buffers in memory over all uploads, besides those that one upload may have in flight.
const SPARE_PARTS: usize = 4;
/// Where probe objects lie for a moment.
const PROBES: &str = "_telelake/probe/";
/// Older probes were left behind by processes that were killed.
const PROBE_LEFT: chrono::TimeDelta = chrono::TimeDelta::hours(1);
/// A wrong endpoint is to be told soon; one fault on the way is forgiven.
const PROBE_ATTEMPTS: u32 = 2;
/// The pause before a conditional write is sent again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

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
    lease: Lease,
    dialect: Arc<Mutex<Dialect>>,
    hold: Arc<Hold>,
    /// How long a run waits for a server that asks to slow down.
    patience: Patience,
}

/// What errors about the bucket as a whole are about.
#[derive(Debug)]
struct Target {
    bucket: String,
    endpoint: Option<String>,
    path_style: bool,
}

impl Target {
    /// The host that the bucket is asked for as, where the endpoint is not AWS's.
    fn virtual_host(&self) -> Option<String> {
        let endpoint = self.endpoint.as_deref().filter(|_| !self.path_style)?;
        let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
        let host = authority.split(['/', ':']).next().unwrap_or_default();
        Some(format!("{}.{host}", self.bucket))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "bucket {} at {endpoint}", self.bucket),
            None => write!(f, "bucket {}", self.bucket),
        }
    }
}

impl S3Store {
    /// Opens `s3://bucket/prefix` with the AWS chain. Sends no request to the bucket.
    ///
    /// # Errors
    /// `Config` when the URL or `AWS_CA_BUNDLE` is wrong.
    pub async fn open(url: &str, settings: &config::S3) -> Result<Self> {
        Self::with_sdk_config(url, settings, &connect::sdk_config(settings).await?)
    }

    /// Opens `s3://bucket/prefix` with an AWS configuration of the caller's making: what `settings` says of the
    /// region is not looked at.
    ///
    /// # Errors
    /// `Config` when the URL is wrong.
    pub fn with_sdk_config(url: &str, settings: &config::S3, sdk: &SdkConfig) -> Result<Self> {
        let (bucket, prefix) = parse_url(url)?;
        let endpoint = connect::endpoint(settings).or_else(|| sdk.endpoint_url().map(Into::into));
        let endpoint = endpoint.as_deref().map(without_userinfo);
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
            lease: Lease::default(),
            dialect: Arc::default(),
            hold: Arc::new(Hold::new(Patience::OF_A_REQUEST, CancellationToken::new())),
            patience: Patience::OF_A_RUN,
        })
    }

    /// The store with other times by which uploads of dead processes are told from those of living ones.
    #[must_use]
    pub fn with_lease(mut self, lease: Lease) -> Self {
        self.lease = lease;
        self
    }

    /// The store with another patience of runs with a server that asks to slow down: see [`Store::patient`].
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    fn dialect(&self) -> MutexGuard<'_, Dialect> {
        self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of something that the server does not know.
    fn lacks(&self, what: Shortcoming) {
        if self.dialect().lacks.insert(what) {
            tracing::warn!("{}", what.message());
        }
    }

    /// Sends a request, and again while the server asks to slow down: see [`hold`].
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

    /// Sends one put, with as many attempts as the caller leaves to the SDK.
    async fn send_put(
        &self,
        key: &str,
        bytes: Bytes,
        condition: &Condition,
        attempts: u32,
    ) -> Result<Version, SdkError<PutObjectError>> {
        let config = connect::sized(bytes.len() as u64)
            .retry_config(aws_config::retry::RetryConfig::standard().with_max_attempts(attempts));
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
            Condition::Unchanged(version) => match self.dialect().etag_form {
                EtagForm::Quoted => request.if_match(&version.0),
                EtagForm::Bare => request.if_match(version.0.trim_matches('"')),
            },
        };
        let request = request.body(ByteStream::from(bytes));
        let answer = request.customize().config_override(config).send().await?;
        Ok(Version(answer.e_tag.unwrap_or_default()))
    }

    /// Reads an object or a range of it, of `most` bytes at most; again where its body is cut: the SDK tries a request
    /// again, but not a body.
    async fn fetch(&self, key: &str, range: Option<&str>, most: u64) -> Result<Object> {
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

    /// Reads an object; the inner error is one of its body.
    async fn get_once(
        &self,
        key: &str,
        range: Option<&str>,
        most: u64,
    ) -> Result<Result<Object, ByteStreamError>> {
        let request = self.client.get_object().bucket(&self.target.bucket);
        let request = request.key(self.object_key(key)).set_range(range.map(Into::into));
        let answer = match self.patiently(|| request.clone().send()).await {
            Err(error) if range.is_some() && error::is_beyond_the_end(&error) => {
                return Ok(Ok(Object {
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
        Ok(answer.body.collect().await.map(|body| Object {
            bytes: body.into_bytes(),
            version,
        }))
    }

    /// A conditional put. Its attempts are counted here, not by the SDK: when an answer was lost, the next attempt is
    /// refused because of our own first one, and only the object itself can tell that.
    async fn put_conditionally(&self, key: &str, bytes: Bytes, condition: &Condition) -> Result<Version> {
        let mut answer_lost = false;
        let mut pause = FIRST_PAUSE;
        let mut waiting = Waiting::default();
        for attempt in 1.. {
            let failure = loop {
                match self.send_put(key, bytes.clone(), condition, 1).await {
                    Ok(version) => {
                        self.hold.answered();
                        return Ok(version);
                    }
                    // Not carried out, as S3 has it. What stands before a server may say the same of a request that was.
                    Err(failure) if error::is_throttled(&failure) => {
                        answer_lost = true;
                        if !self.hold.pause(&mut waiting).await {
                            return Err(self.error(key, &failure));
                        }
                    }
                    Err(failure) => break failure,
                }
            };
            if failure.raw_response().is_some() {
                self.hold.answered();
            }
            if error::may_have_been_applied(&failure) && attempt < connect::ATTEMPTS {
                answer_lost = true;
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause *= 2;
                continue;
            }
            let error = self.error(key, &failure);
            return match (error.kind(), condition) {
                (ErrorKind::Precondition, _) if answer_lost => match self.get(key).await {
                    Ok(object) if object.bytes == bytes => Ok(object.version),
                    _ => Err(error),
                },
                // `If-Match` on an object that is gone.
                (ErrorKind::StoreNotFound, Condition::Unchanged(_)) => Err(Error::new(
                    ErrorKind::Precondition,
                    key,
                    "another writer removed it meanwhile",
                )),
                _ => Err(error),
            };
        }
        Err(Error::new(ErrorKind::Internal, key, "no attempt was made"))
    }

    /// An object of a listing; none for one that is not below the store's prefix.
    fn entry(&self, object: aws_sdk_s3::types::Object) -> Option<Entry> {
        let key = object.key?.strip_prefix(&*self.prefix)?.to_owned();
        let bytes = u64::try_from(object.size?).ok()?;
        let modified = object
            .last_modified
            .and_then(|at| chrono::DateTime::from_timestamp(at.secs(), at.subsec_nanos()));
        // A key with a final slash is how consoles draw a folder.
        (!key.ends_with('/')).then_some(Entry { key, bytes, modified })
    }

    /// Whether what was just written can be found and read. What killed processes left of their probes is removed.
    async fn probe_reading(&self, key: &str, written: &Bytes) -> Result<()> {
        let found = self.get(key).await?.bytes == *written;
        let probes = self.list(PROBES).await?;
        for left in left_behind(&probes, chrono::Utc::now()) {
            self.delete(&left.key).await?;
        }
        if found && probes.iter().any(|probe| probe.key == key) {
            return Ok(());
        }
        let fault = if found {
            "ListObjectsV2 does not list what PutObject stored"
        } else {
            "GetObject gives other bytes than PutObject stored"
        };
        Err(
            Error::new(ErrorKind::StoreUnavailable, self.target.to_string(), fault).hint(
                "is store.s3.endpoint_url an S3 endpoint, and does nothing between change or cache answers?",
            ),
        )
    }
}

/// Probes that nobody waits for any more: no request of theirs can still be on its way.
fn left_behind(probes: &[Entry], now: chrono::DateTime<chrono::Utc>) -> impl Iterator<Item = &Entry> {
    let long_ago = now - PROBE_LEFT;
    probes
        .iter()
        .filter(move |probe| probe.modified.is_some_and(|at| at < long_ago))
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
        let (key, bytes) = (probe_key(), Bytes::from_static(b"telelake"));
        let put = || self.send_put(&key, bytes.clone(), &Condition::Any, PROBE_ATTEMPTS);
        let proven = match self.patiently(put).await {
            Ok(_) => {
                let readable = self.probe_reading(&key, &bytes).await;
                let removed = self.delete(&key).await;
                readable.and(removed)
            }
            Err(failure) => Err(self.error(&key, &failure)),
        };
        proven.map_err(|error| match error.kind() {
            ErrorKind::StoreUnavailable => error,
            _ => error
                .retold(ErrorKind::StoreUnavailable, self.target.to_string())
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
        *self.dialect() = found.clone();
        Ok(found)
    }

    fn speak(&self, dialect: Dialect) {
        let mut known = self.dialect();
        let lacks = std::mem::replace(&mut *known, dialect).lacks;
        known.lacks.extend(lacks);
    }

    fn shortcomings(&self) -> Vec<Shortcoming> {
        self.dialect().lacks.iter().copied().collect()
    }

    fn patient(&self, stop: CancellationToken) -> Option<Arc<dyn Store>> {
        Some(Arc::new(Self {
            hold: Arc::new(Hold::new(self.patience, stop)),
            ..self.clone()
        }))
    }

    async fn get(&self, key: &str) -> Result<Object> {
        self.fetch(key, None, u64::MAX).await
    }

    async fn get_within(&self, key: &str, most: u64) -> Result<Object> {
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
        match self.patiently(|| request.clone().send()).await {
            Ok(answer) => Ok(answer
                .content_length
                .and_then(|length| u64::try_from(length).ok())),
            Err(error) => match self.error(key, &error) {
                error if error.kind() == ErrorKind::StoreNotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        if condition != Condition::Any && self.dialect().conditional_writes {
            return self.put_conditionally(key, bytes, &condition).await;
        }
        self.patiently(|| self.send_put(key, bytes.clone(), &Condition::Any, connect::ATTEMPTS))
            .await
            .map_err(|error| self.error(key, &error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let request = self.client.list_objects_v2().bucket(&self.target.bucket);
        let request = request.prefix(self.object_key(prefix));
        let (mut entries, mut token) = (Vec::new(), None);
        loop {
            let page = self
                .patiently(|| request.clone().set_continuation_token(token.clone()).send())
                .await
                .map_err(|error| self.error(prefix, &error))?;
            let objects = page.contents.unwrap_or_default().into_iter();
            entries.extend(objects.filter_map(|object| self.entry(object)));
            let next = page.next_continuation_token.filter(|next| !next.is_empty());
            if next.is_none() || next == token {
                break;
            }
            token = next;
        }
        // S3 lists in this order; not everything that speaks S3 does.
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let request = self
            .client
            .delete_object()
            .bucket(&self.target.bucket)
            .key(self.object_key(key));
        let done = self.patiently(|| request.clone().send()).await;
        match done.map_err(|error| self.error(key, &error)) {
            Err(error) if error.kind() != ErrorKind::StoreNotFound => Err(error),
            _ => Ok(()),
        }
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

impl Notes for S3Store {
    async fn note(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        self.put(key, bytes, condition).await
    }
}

fn probe_key() -> String {
    format!("{PROBES}{:016x}", fastrand::u64(..))
}

fn part_size(settings: &config::S3) -> usize {
    usize::try_from(settings.part_size.as_u64()).unwrap_or(usize::MAX)
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// An endpoint as errors may show it.
fn without_userinfo(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.find('/').unwrap_or(rest.len());
            let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host..])
        }
        None => url.into(),
    }
}

/// Bucket and prefix; the prefix is empty or ends with `/`.
fn parse_url(url: &str) -> Result<(String, String)> {
    let bad =
        |why: &str| Error::new(ErrorKind::Config, "store.url", why).hint("s3://bucket or s3://bucket/prefix");
    let rest = url
        .strip_prefix("s3://")
        .ok_or_else(|| bad("does not start with s3://"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(bad("names no bucket"));
    }
    if bucket.contains('@') {
        return Err(bad(
            "holds credentials, which belong in the environment or a profile",
        ));
    }
    let segments: Vec<_> = prefix.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err(bad("has a prefix with `.` or `..`"));
    }
    let mut prefix = segments.join("/");
    if !prefix.is_empty() {
        prefix.push('/');
    }
    Ok((bucket.into(), prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_probes_that_nobody_waits_for_are_left_behind() {
        let now = chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::hours(5);
        let probe = |name: &str, minutes: Option<i64>| Entry {
            key: format!("{PROBES}{name}"),
            bytes: 8,
            modified: minutes.map(|minutes| now - chrono::TimeDelta::minutes(minutes)),
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

    #[test]
    fn a_url_is_a_bucket_and_a_prefix_with_whatever_slashes() {
        let cases = [
            ("s3://lake", "lake", ""),
            ("s3://lake/", "lake", ""),
            ("s3://lake/a/b", "lake", "a/b/"),
            ("s3://lake//a//б/", "lake", "a/б/"),
        ];
        for (url, bucket, prefix) in cases {
            assert_eq!(parse_url(url).expect(url), (bucket.into(), prefix.into()));
        }
        for url in [
            "s3://",
            "s3:///a",
            "s3://key:secret@lake/a",
            "s3://lake/../a",
            "http://lake",
        ] {
            let error = parse_url(url).expect_err(url);
            assert_eq!(
                (error.kind(), error.about()),
                (ErrorKind::Config, "store.url"),
                "{url}"
            );
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn an_endpoint_is_shown_without_credentials() {
        assert_eq!(
            without_userinfo("http://user:pass@s3.local:9000/x"),
            "http://s3.local:9000/x"
        );
        assert_eq!(without_userinfo("http://s3.local/a@b"), "http://s3.local/a@b");
    }
}
