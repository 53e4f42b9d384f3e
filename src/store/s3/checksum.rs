//! Checksums that are sent with objects and parts, for buckets that demand one (object lock). Pure.
//!
//! They are sent as headers that are made here. The SDK would send its own as a trailer in an `aws-chunked` body, which
//! several S3 servers store with the object or refuse.

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::operation::upload_part::builders::UploadPartFluentBuilder;
use aws_sdk_s3::types::builders::CompletedPartBuilder;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::config::Checksum;

/// The checksum of some bytes, in the base64 of its header.
pub(super) fn of(kind: Checksum, bytes: &[u8]) -> Option<String> {
    let crc = |algorithm| crc_fast::checksum(algorithm, bytes).to_be_bytes();
    match kind {
        Checksum::None => None,
        Checksum::Md5 => Some(STANDARD.encode(Md5::digest(bytes))),
        // The lower half of 64 bits.
        Checksum::Crc32 => Some(STANDARD.encode(&crc(CrcAlgorithm::Crc32IsoHdlc)[4..])),
        Checksum::Crc64Nvme => Some(STANDARD.encode(crc(CrcAlgorithm::Crc64Nvme))),
        Checksum::Sha256 => Some(STANDARD.encode(Sha256::digest(bytes))),
    }
}

/// The checksum algorithm that the request to create an upload has to name. There is none for `Content-MD5`, because each
/// part is checked alone.
pub(super) fn of_upload(kind: Checksum) -> (Option<ChecksumAlgorithm>, Option<ChecksumType>) {
    match kind {
        Checksum::None | Checksum::Md5 => (None, None),
        Checksum::Crc32 => (Some(ChecksumAlgorithm::Crc32), Some(ChecksumType::Composite)),
        Checksum::Crc64Nvme => (Some(ChecksumAlgorithm::Crc64Nvme), Some(ChecksumType::FullObject)),
        Checksum::Sha256 => (Some(ChecksumAlgorithm::Sha256), Some(ChecksumType::Composite)),
    }
}

/// The checksum that a part must be completed with.
pub(super) fn of_part(kind: Checksum, bytes: &[u8]) -> Option<String> {
    of_upload(kind).0.and_then(|_| of(kind, bytes))
}

/// A put with the checksum of its body.
pub(super) fn on_put(
    request: PutObjectFluentBuilder,
    kind: Checksum,
    bytes: &[u8],
) -> PutObjectFluentBuilder {
    let value = of(kind, bytes);
    match kind {
        Checksum::None => request,
        Checksum::Md5 => request.set_content_md5(value),
        Checksum::Crc32 => request.set_checksum_crc32(value),
        Checksum::Crc64Nvme => request.set_checksum_crc64_nvme(value),
        Checksum::Sha256 => request.set_checksum_sha256(value),
    }
}

/// A part with the checksum of its body.
pub(super) fn on_part(
    request: UploadPartFluentBuilder,
    kind: Checksum,
    bytes: &[u8],
) -> UploadPartFluentBuilder {
    let value = of(kind, bytes);
    match kind {
        Checksum::None => request,
        Checksum::Md5 => request.set_content_md5(value),
        Checksum::Crc32 => request.set_checksum_crc32(value),
        Checksum::Crc64Nvme => request.set_checksum_crc64_nvme(value),
        Checksum::Sha256 => request.set_checksum_sha256(value),
    }
}

/// A part in the request that completes the upload, with the checksum that it was sent with.
pub(super) fn on_completed(
    part: CompletedPartBuilder,
    kind: Checksum,
    value: Option<String>,
) -> CompletedPartBuilder {
    match kind {
        Checksum::None | Checksum::Md5 => part,
        Checksum::Crc32 => part.set_checksum_crc32(value),
        Checksum::Crc64Nvme => part.set_checksum_crc64_nvme(value),
        Checksum::Sha256 => part.set_checksum_sha256(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_published_check_values() {
        // The check values of "123456789" in the CRC catalogue.
        let sums = [
            (Checksum::Crc32, "y/Q5Jg=="),
            (Checksum::Crc64Nvme, "rosUhgp5mIg="),
            (Checksum::Md5, "JfnnlDI7RTiF9RgfG2JNCw=="),
        ];
        for (kind, sum) in sums {
            assert_eq!(of(kind, b"123456789").as_deref(), Some(sum), "{kind:?}");
        }
        assert_eq!(of(Checksum::None, b"123456789"), None);
        let sha256 = of(Checksum::Sha256, b"").expect("one");
        assert_eq!(sha256, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn a_part_is_completed_with_a_checksum_only_if_the_upload_was_created_with_one() {
        assert_eq!(of_part(Checksum::Md5, b"x"), None);
        assert_eq!(
            of_part(Checksum::Crc32, b"123456789").as_deref(),
            Some("y/Q5Jg==")
        );
    }
}
