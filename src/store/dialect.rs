//! The dialect of a store's server: the conditions it honours and their form, and the operations it lacks. No I/O.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The form in which a server takes an ETag in `If-Match`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EtagForm {
    /// With its quotes, as HTTP demands.
    #[default]
    Quoted,
    /// Without quotes: Ceph RGW 16.2 refuses a right ETag that has them.
    Bare,
}

/// The result of a probe of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// True if the server refuses wrong conditions and accepts right ones. If not, no condition is sent at all.
    pub conditional_writes: bool,
    /// The form in which an ETag is sent.
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

/// The address of a store in its only spelling, without secrets. The result of a probe holds for this address alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreAddress {
    /// The URL.
    pub url: String,
    /// The endpoint of an S3 server that is not AWS's; otherwise empty.
    pub endpoint: String,
}

/// An operation that a server lacks, with the consequence for the operator.
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
    /// The consequence and the way out, for people.
    pub fn message(self) -> &'static str {
        match self {
            Self::UploadList => {
                "the server does not list uploads (ListMultipartUploads), so an upload that a killed run left without \
                 a checkpoint can't be found and keeps its space; let a lifecycle rule of the bucket abort incomplete \
                 uploads after 7 days"
            }
            Self::PartList => {
                "the server does not list the parts of an upload (ListParts), so a recording whose run was killed is \
                 copied again from its first byte"
            }
            Self::Multipart => {
                "the server takes no uploads in parts (CreateMultipartUpload), so a recording larger than \
                 store.s3.part_size can't be copied; raise it, or use another S3 server"
            }
        }
    }
}
