//! How a store answers: which conditions it honours, in which form, and what of uploads it lacks. Types; no I/O.

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

/// How a store takes conditions, as a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Whether wrong conditions are refused and right ones taken. If not, no condition is sent at all.
    pub conditional_writes: bool,
    /// How an ETag is sent.
    pub etag_form: EtagForm,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            conditional_writes: true,
            etag_form: EtagForm::Quoted,
        }
    }
}

impl Dialect {
    /// Of a store that ignores or refuses conditions.
    pub fn without_conditions() -> Self {
        Self {
            conditional_writes: false,
            ..Self::default()
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortcoming {
    /// The server does not list uploads.
    NoUploadList,
    /// The server does not list the parts of an upload.
    NoPartList,
    /// The server takes no uploads in parts.
    NoMultipart,
}

impl Shortcoming {
    /// The name for scripts.
    pub fn kind(self) -> &'static str {
        match self {
            Self::NoUploadList => "store_lists_no_uploads",
            Self::NoPartList => "store_lists_no_parts",
            Self::NoMultipart => "store_takes_no_multipart",
        }
    }

    /// What it means, and the way out.
    pub fn message(self) -> &'static str {
        match self {
            Self::NoUploadList => {
                "the server can't list uploads (ListMultipartUploads): one that was killed before its first checkpoint \
                 is not found and keeps its space; let a lifecycle rule of the bucket abort incomplete uploads after 7 \
                 days"
            }
            Self::NoPartList => {
                "the server can't list the parts of an upload (ListParts): a recording that was cut off is copied anew \
                 from its first byte"
            }
            Self::NoMultipart => {
                "the server takes no uploads in parts (CreateMultipartUpload): a recording larger than \
                 store.s3.part_size can't be copied; raise it, or use another S3 server"
            }
        }
    }
}
