//! What an S3 server or the SDK says, as one of the store's few kinds of error. Pure.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use super::Target;
use crate::{Error, ErrorKind};

/// Where to look when credentials are missing.
const CREDENTIALS_HINT: &str =
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role is attached";
/// Longer explanations of a server are cut: they are for one line.
const LONGEST_MESSAGE: usize = 200;

/// The error of a request about `key`.
pub(super) fn of<E>(target: &Target, key: &str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            answered(target, key, status, answer.err().code(), answer.err().message())
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            answered(target, key, status, Some("an answer that is not S3's"), None)
        }
        _ => unanswered(target, error),
    }
}

/// Whether the request may have been carried out although no answer says so.
pub(super) fn may_have_been_applied<E>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => true,
        SdkError::ServiceError(answer) => answer.raw().status().as_u16() >= 500,
        SdkError::ResponseError(_) => true,
        _ => false,
    }
}

/// Whether a range was asked for that lies beyond the object's end.
pub(super) fn is_beyond_the_end<E>(error: &SdkError<E>) -> bool {
    error
        .raw_response()
        .is_some_and(|answer| answer.status().as_u16() == 416)
}

/// Whether the server says that it does not know conditional writes at all.
pub(super) fn is_unsupported<E>(error: &SdkError<E>) -> bool
where
    E: ProvideErrorMetadata,
{
    error
        .raw_response()
        .is_some_and(|answer| matches!(answer.status().as_u16(), 400 | 501))
        && matches!(
            error.code(),
            Some("NotImplemented" | "InvalidArgument" | "InvalidRequest")
        )
}

fn answered(target: &Target, key: &str, status: u16, code: Option<&str>, message: Option<&str>) -> Error {
    let said = said(status, code, message);
    let unavailable =
        |hint: String| Error::new(ErrorKind::StoreUnavailable, target.to_string(), &*said).hint(hint);
    match (status, code.unwrap_or_default()) {
        (_, "NoSuchBucket") => {
            unavailable("create the bucket, or correct store.url, store.s3.region or store.s3.endpoint_url".into())
        }
        (412, _) | (409, "ConditionalRequestConflict") => {
            Error::new(ErrorKind::Precondition, key, "another writer changed it meanwhile")
        }
        (_, "NoSuchUpload") => {
            Error::new(ErrorKind::Precondition, key, "the upload is gone: completed or aborted elsewhere")
        }
        (_, "NoSuchKey" | "NotFound") => Error::new(ErrorKind::StoreNotFound, key, "is not in the store"),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken") | (401, _) => {
            unavailable("the credentials are not the bucket's: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile".into())
        }
        (_, "RequestTimeTooSkewed") => unavailable("set this machine's clock right".into()),
        (403, _) => unavailable(
            "allow s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload, s3:ListMultipartUploadParts and s3:ListBucketMultipartUploads on it".into(),
        ),
        (301 | 307, _) | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            unavailable("set store.s3.region to the bucket's region".into())
        }
        (404, _) => Error::new(ErrorKind::StoreNotFound, key, "is not in the store"),
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
    // These have no types of their own. The chain of causes is searched; only the innermost one is shown.
    let chain = DisplayErrorContext(error).to_string();
    if chain.contains("Missing Region") || chain.contains("region was not set") {
        return unavailable("no region is configured").hint("set store.s3.region or AWS_REGION");
    }
    if chain.contains("UnknownIssuer") || chain.contains("invalid peer certificate") {
        return unavailable("the server's certificate is not trusted")
            .hint("name a file with the private CA's certificate in AWS_CA_BUNDLE");
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

/// An error and what caused it, the innermost last.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |cause| cause.source())
}

/// The innermost cause, which is the operating system's or the TLS library's own word.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    one_line(&causes(error).last().map(ToString::to_string).unwrap_or_default())
}

fn said(status: u16, code: Option<&str>, message: Option<&str>) -> String {
    match (code, message) {
        (Some(code), Some(message)) if !message.is_empty() => {
            format!("{status} {code}: {}", one_line(message))
        }
        (Some(code), _) => format!("{status} {}", one_line(code)),
        (None, _) => format!("{status}"),
    }
}

fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_the_kind_that_decides_what_happens_next() {
        let target = Target {
            bucket: "lake".into(),
            endpoint: Some("http://s3.example".into()),
        };
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
        ];
        for (status, code, kind) in cases {
            let error = answered(&target, "calls/x.parquet", status, code, None);
            assert_eq!(error.kind(), kind, "{status} {code:?}");
        }
        let error = answered(
            &target,
            "k",
            403,
            Some("AccessDenied"),
            Some("Access Denied.\nmore"),
        );
        assert!(
            error
                .to_string()
                .starts_with("bucket lake at http://s3.example: 403 AccessDenied: Access Denied. (allow"),
            "{error}"
        );
    }
}
