//! The bucket that a store works in: its URL, its endpoint, and its name in errors. Pure.

use std::fmt;

use crate::{Error, ErrorKind, Result};

/// The bucket, as errors about it as a whole name it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) bucket: String,
    pub(super) endpoint: Option<String>,
    pub(super) path_style: bool,
}

impl Target {
    /// The host name under which the bucket is addressed, if the endpoint is not AWS's.
    pub(super) fn virtual_host(&self) -> Option<String> {
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

/// An endpoint in the form that errors may show.
pub(super) fn without_userinfo(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.find('/').unwrap_or(rest.len());
            let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host..])
        }
        None => url.into(),
    }
}

/// Splits a URL into bucket and prefix. The prefix is empty or ends with `/`.
///
/// # Errors
/// `Config` if the URL is wrong.
pub(super) fn parse_url(url: &str) -> Result<(String, String)> {
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
    fn a_url_is_a_bucket_and_a_prefix_with_any_number_of_slashes() {
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
