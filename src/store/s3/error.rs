//! Errors of an S3 server or of the SDK, mapped to the few kinds of errors of a store. Pure.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use super::Target;
use crate::tls::CertificateFault;
use crate::{Error, ErrorKind};

/// The hint if credentials are missing.
const CREDENTIALS_HINT: &str =
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role is attached";
/// The hint for a server whose answers are not S3's.
const NOT_S3_HINT: &str =
    "is store.s3.endpoint_url an S3 endpoint, and not a console, a proxy or another web server?";
/// The length at which a server's explanation is cut, in characters, so that it fits a line.
const LONGEST_MESSAGE: usize = 200;

/// The error of a request about `key`.
pub(super) fn of<E>(target: &Target, key: &str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error.raw_response() {
        Some(raw) => {
            let answer = Answer {
                operation: operation::<E>(),
                status: raw.status().as_u16(),
                code: error.code(),
                message: error.message(),
                body: raw.body().bytes().unwrap_or_default(),
            };
            answered(target, key, &answer)
        }
        None => unanswered(target, error),
    }
}

/// The name of the operation whose error type this is.
fn operation<E>() -> &'static str {
    let name = std::any::type_name::<E>().rsplit("::").next().unwrap_or_default();
    name.strip_suffix("Error").unwrap_or(name)
}

/// True if the request may have been carried out although no answer says so.
pub(super) fn may_have_been_applied<E>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => true,
        SdkError::ServiceError(answer) => answer.raw().status().as_u16() >= 500,
        SdkError::ResponseError(_) => true,
        _ => false,
    }
}

/// True if the requested range lies beyond the object's end.
pub(super) fn is_beyond_the_end<E>(error: &SdkError<E>) -> bool {
    status(error) == Some(416)
}

/// True if the server asks to slow down.
pub(super) fn is_throttled<E>(error: &SdkError<E>) -> bool {
    matches!(status(error), Some(429 | 503))
}

/// True if the server does not know an operation or a condition: it says so, or its answer is not S3's.
pub(super) fn is_unsupported<E>(error: &SdkError<E>) -> bool
where
    E: ProvideErrorMetadata,
{
    match (status(error), error.code()) {
        (Some(405 | 501), _) => true,
        (
            Some(400 | 404),
            Some("NotImplemented" | "InvalidArgument" | "InvalidRequest" | "MethodNotAllowed"),
        ) => true,
        (Some(400 | 404), None) => true,
        // An error with a status of success: the answer can't be parsed.
        (Some(200..300), _) => true,
        _ => false,
    }
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

/// An answer that is no success, or can't be parsed.
struct Answer<'a> {
    operation: &'a str,
    status: u16,
    code: Option<&'a str>,
    message: Option<&'a str>,
    body: &'a [u8],
}

impl Answer<'_> {
    /// The server's answer in a sentence.
    fn said(&self, target: &Target) -> String {
        let Self {
            operation, status, ..
        } = self;
        let code = self.code.map(one_line).unwrap_or_default();
        match self.message.map(one_line).unwrap_or_default() {
            _ if self.code.is_none() => {
                let what = self.content();
                format!("{target} answered {operation} with status {status} and {what}")
            }
            message if message.is_empty() => format!("{target} answered {operation} with {status} {code}"),
            message => format!("{target} answered {operation} with {status} {code}: {message}"),
        }
    }

    /// A description of a body that is not S3's.
    fn content(&self) -> &'static str {
        let head: Vec<u8> = self
            .body
            .trim_ascii_start()
            .iter()
            .take(14)
            .map(u8::to_ascii_lowercase)
            .collect();
        if head.is_empty() {
            "an empty answer"
        } else if head.starts_with(b"<!doctype html") || head.starts_with(b"<html") {
            "a web page (HTML)"
        } else {
            "an answer that is not S3's"
        }
    }
}

fn answered(target: &Target, key: &str, answer: &Answer<'_>) -> Error {
    let said = answer.said(target);
    // An error about the server already begins with its name, so its sentence does not repeat it.
    let unavailable = |hint: &str| {
        let said = said.strip_prefix(&format!("{target} ")).unwrap_or(&said);
        Error::new(ErrorKind::StoreUnavailable, target.to_string(), said).hint(hint)
    };
    match (answer.status, answer.code.unwrap_or_default()) {
        (_, "NoSuchBucket") => {
            unavailable("create the bucket, or correct store.url, store.s3.region or store.s3.endpoint_url")
        }
        (412, _) | (409, "ConditionalRequestConflict") => {
            Error::new(ErrorKind::Precondition, key, "another writer changed it meanwhile")
        }
        (_, "NoSuchUpload") => {
            Error::new(ErrorKind::Precondition, key, "the upload is gone: completed or aborted elsewhere")
        }
        (_, "NoSuchKey" | "NotFound") => Error::new(ErrorKind::StoreNotFound, key, "is not in the store"),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken") | (401, _) => {
            unavailable("the credentials are not the bucket's: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile")
        }
        (_, "RequestTimeTooSkewed") => unavailable("set this machine's clock right"),
        (403, _) => unavailable(
            "allow s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload, s3:ListMultipartUploadParts and s3:ListBucketMultipartUploads on it",
        ),
        (301 | 307, _) | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            unavailable("set store.s3.region to the bucket's region")
        }
        (404, _) => Error::new(ErrorKind::StoreNotFound, key, "is not in the store"),
        (429 | 503, _) => Error::new(ErrorKind::Store, key, said).hint(
            "the server asks to slow down and did not relent; lower store.s3.parts_in_flight and api.concurrency, or run at another hour",
        ),
        (_, "") => Error::new(ErrorKind::Store, key, said).hint(NOT_S3_HINT),
        (400, "MissingContentMD5" | "InvalidRequest") if said.to_ascii_lowercase().contains("md5") => {
            Error::new(ErrorKind::Store, key, said)
                .hint("the bucket demands a checksum with each object: set store.s3.checksum, if in doubt to \"md5\"")
        }
        _ => Error::new(ErrorKind::Store, key, said),
    }
}

fn unanswered<E>(target: &Target, error: &SdkError<E>) -> Error
where
    E: std::error::Error + 'static,
{
    let unavailable = |message: &str| Error::new(ErrorKind::StoreUnavailable, target.to_string(), message);
    match causes(error).find_map(|cause| cause.downcast_ref()) {
        Some(CredentialsError::CredentialsNotLoaded(_)) => {
            return unavailable("no AWS credentials were found").hint(CREDENTIALS_HINT);
        }
        Some(_) => {
            let message = format!("no AWS credentials could be loaded: {}", innermost(error));
            return unavailable(&message).hint(CREDENTIALS_HINT);
        }
        None => {}
    }
    if let Some(fault) = CertificateFault::find(error) {
        return unavailable(&fault.message()).hint(certificate_hint(target, &fault));
    }
    // These have no types of their own, so the chain of causes is searched. Only the innermost cause is shown.
    let chain = DisplayErrorContext(error).to_string();
    if chain.contains("Missing Region") || chain.contains("region was not set") {
        return unavailable("no region is configured").hint("set store.s3.region or AWS_REGION");
    }
    if chain.contains("dns error") {
        return unresolved(target, &innermost(error));
    }
    let timed_out = matches!(error, SdkError::TimeoutError(_))
        || matches!(error, SdkError::DispatchFailure(failure) if failure.is_timeout());
    let message = if timed_out {
        "no answer in time".into()
    } else {
        format!("can't be reached: {}", innermost(error))
    };
    unavailable(&message).hint("check store.s3.endpoint_url, the region and the network")
}

fn certificate_hint(target: &Target, fault: &CertificateFault) -> String {
    match (fault, target.virtual_host()) {
        (CertificateFault::OtherName { host, .. }, Some(own)) if *host == own => {
            format!("{PATH_STYLE_HINT}; else {}", fault.hint("AWS_CA_BUNDLE"))
        }
        _ => fault.hint("AWS_CA_BUNDLE"),
    }
}

/// The hint if the bucket is addressed as a host that the server does not know.
const PATH_STYLE_HINT: &str =
    "set store.s3.path_style = true: most servers other than AWS know no host names of buckets";

/// The error of a host name that can't be resolved.
fn unresolved(target: &Target, why: &str) -> Error {
    let about = |message: String| Error::new(ErrorKind::StoreUnavailable, target.to_string(), message);
    match target.virtual_host() {
        Some(host) => about(format!("the name {host} can't be resolved: {why}")).hint(format!(
            "{PATH_STYLE_HINT}; else check store.s3.endpoint_url and the name server"
        )),
        None => about(format!("the server's name can't be resolved: {why}"))
            .hint("check store.s3.endpoint_url, store.s3.region and the name server"),
    }
}

/// An error and its causes, the innermost last.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |cause| cause.source())
}

/// The innermost cause, in the words of the operating system or the TLS library.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    one_line(&causes(error).last().map(ToString::to_string).unwrap_or_default())
}

fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            bucket: "lake".into(),
            endpoint: Some("http://s3.example".into()),
            path_style: false,
        }
    }

    fn answer<'a>(
        status: u16,
        code: Option<&'a str>,
        message: Option<&'a str>,
        body: &'a [u8],
    ) -> Answer<'a> {
        Answer {
            operation: "PutObject",
            status,
            code,
            message,
            body,
        }
    }

    #[test]
    fn each_answer_has_the_error_kind_that_decides_what_happens_next() {
        let cases = [
            (404, Some("NoSuchBucket"), ErrorKind::StoreUnavailable),
            (404, Some("NoSuchKey"), ErrorKind::StoreNotFound),
            (404, None, ErrorKind::StoreNotFound),
            (404, Some("NoSuchUpload"), ErrorKind::Precondition),
            (412, Some("PreconditionFailed"), ErrorKind::Precondition),
            (409, Some("ConditionalRequestConflict"), ErrorKind::Precondition),
            (409, Some("OperationAborted"), ErrorKind::Store),
            (403, Some("AccessDenied"), ErrorKind::StoreUnavailable),
            (403, None, ErrorKind::StoreUnavailable),
            (301, Some("PermanentRedirect"), ErrorKind::StoreUnavailable),
            (503, Some("SlowDown"), ErrorKind::Store),
            (200, None, ErrorKind::Store),
        ];
        for (status, code, kind) in cases {
            let error = answered(&target(), "calls/x.parquet", &answer(status, code, None, b""));
            assert_eq!(error.kind(), kind, "{status} {code:?}");
        }
        let denied = answer(403, Some("AccessDenied"), Some("Access Denied.\nmore"), b"");
        let error = answered(&target(), "k", &denied).to_string();
        let start = "bucket lake at http://s3.example: answered PutObject with 403 AccessDenied: Access Denied. (allow";
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn the_error_of_an_answer_that_is_not_s3s_names_server_operation_status_and_way_out() {
        let cases: [(u16, &[u8], &str); 5] = [
            (
                200,
                b"\n <!DOCTYPE html><title>Sign in</title>",
                "status 200 and a web page (HTML)",
            ),
            (
                502,
                b"<html><body>Bad gateway",
                "status 502 and a web page (HTML)",
            ),
            (200, b"", "status 200 and an empty answer"),
            (501, b"", "status 501 and an empty answer"),
            (
                501,
                b"not implemented",
                "status 501 and an answer that is not S3's",
            ),
        ];
        for (status, body, expected) in cases {
            let error = answered(&target(), "k", &answer(status, None, None, body)).to_string();
            assert_eq!(
                error,
                format!(
                    "k: bucket lake at http://s3.example answered PutObject with {expected} ({NOT_S3_HINT})"
                )
            );
        }
        let error = answered(
            &target(),
            "k",
            &answer(501, Some("NotImplemented"), Some(""), b""),
        )
        .to_string();
        assert_eq!(
            error,
            "k: bucket lake at http://s3.example answered PutObject with 501 NotImplemented"
        );
    }

    #[test]
    fn the_error_of_a_bucket_that_demands_a_checksum_names_the_option() {
        let message =
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock";
        let error = answered(
            &target(),
            "k",
            &answer(400, Some("InvalidRequest"), Some(message), b""),
        );
        assert!(error.to_string().contains("store.s3.checksum"), "{error}");
    }

    #[test]
    fn the_operation_is_known_by_its_error_type() {
        assert_eq!(
            operation::<aws_sdk_s3::operation::list_parts::ListPartsError>(),
            "ListParts"
        );
    }

    #[test]
    fn an_unresolved_name_hints_at_the_path_style_if_the_bucket_is_a_host() {
        let error = unresolved(&target(), "Name or service not known").to_string();
        let start = "bucket lake at http://s3.example: the name lake.s3.example can't be resolved: Name or service \
                     not known (set store.s3.path_style = true";
        assert!(error.starts_with(start), "{error}");
        let error = unresolved(
            &Target {
                path_style: true,
                ..target()
            },
            "why",
        );
        assert!(!error.to_string().contains("path_style"), "{error}");
    }

    #[test]
    fn a_certificate_without_the_buckets_name_hints_at_the_path_style() {
        let fault = |host: &str| CertificateFault::OtherName {
            host: host.into(),
            names: vec!["s3.example".into()],
        };
        assert!(certificate_hint(&target(), &fault("lake.s3.example")).contains("path_style"));
        assert!(!certificate_hint(&target(), &fault("s3.example")).contains("path_style"));
    }
}
