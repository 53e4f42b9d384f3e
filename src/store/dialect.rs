//! How a store answers: which conditions it honours, in which form, and what of uploads it lacks. Types; no I/O.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The form in which a server takes an ETag in `If-Match`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EtagForm {
    /// With its quotes, as HTTP has it.
    #[default]
    Quoted,
    /// Without: Ceph RGW 16.2 refuses a right ETag with quotes.
    Bare,
}

/// What a probe found of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// True if wrong conditions are refused and right ones taken. If not, no condition is sent at all.
    pub conditional_writes: bool,
    /// How an ETag is sent.
    pub etag_form: EtagForm,
    /// The operations that the server does not know.
    pub lacks: BTreeSet<Shortcoming>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            conditional_writes: true,
            etag_form: EtagForm::Quoted,
            lacks: BTreeSet::new(),
        }
    }
}

/// Where a store lies, in one spelling and without secrets: what a probe found holds for this address alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreAddress {
    /// The URL.
    pub url: String,
    /// The endpoint of an S3 server that is not AWS's; empty for all else.
    pub endpoint: String,
}

/// Something that a server does not know, and what it means for whoever runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortcoming {
    /// The server does not list uploads.
    UploadList,
    /// The server does not list the parts of an upload.
    PartList,
    /// The server takes no uploads in parts.
    Multipart,
}

impl Shortcoming {
    /// What it means, and the way out.
    pub fn message(self) -> &'static str {
        match self {
            Self::UploadList => {
                "the server does not list uploads (ListMultipartUploads): what a killed run left of one without a \
                 checkpoint can't be found and keeps its space; let a lifecycle rule of the bucket abort incomplete \
                 uploads after 7 days"
            }
            Self::PartList => {
                "the server does not list the parts of an upload (ListParts): a recording whose run was killed is \
                 copied anew from its first byte"
            }
            Self::Multipart => {
                "the server takes no uploads in parts (CreateMultipartUpload): a recording larger than \
                 store.s3.part_size can't be copied; raise it, or use another S3 server"
            }
        }
    }
}
