//! Answers that come packed, although they were asked for as they are: some proxies do that. Pure; `sender` unpacks
//! with it, `download` refuses.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use crate::{Error, ErrorKind, Result};

/// How a body is packed; none when it is as it was asked for. Several encodings, one over the other, are one name here.
pub(super) fn of(headers: &HeaderMap) -> Option<String> {
    let named = headers.get_all(CONTENT_ENCODING).iter();
    let names: Vec<_> = named
        .flat_map(|value| value.to_str().unwrap_or("unreadable").split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Unpacks a body of `most` bytes at most.
///
/// # Errors
/// `TooLarge`; `Connection` when it was cut; `InvalidAnswer` when it is not packed so, or in a way that is not known.
pub(super) fn unpack(about: &str, encoding: &str, body: &[u8], most: usize) -> Result<Vec<u8>> {
    let unpacked = match encoding {
        "gzip" | "x-gzip" => bounded(MultiGzDecoder::new(body), most),
        // Some servers leave out the frame that the standard demands.
        "deflate" if is_framed(body) => bounded(ZlibDecoder::new(body), most),
        "deflate" => bounded(DeflateDecoder::new(body), most),
        _ => return Err(unknown(about, encoding)),
    };
    match unpacked {
        Ok(bytes) if bytes.len() > most => {
            let message = format!("answered more than {most} bytes, packed as {encoding}");
            Err(Error::new(ErrorKind::TooLarge, about, message))
        }
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Error::new(ErrorKind::Connection, about, "the answer was cut"))
        }
        Err(_) => {
            let message = format!("answered something that is not packed as {encoding}, as it says");
            Err(Error::new(ErrorKind::InvalidAnswer, about, message))
        }
    }
}

/// The error of an answer in an encoding that was not asked for.
pub(super) fn unknown(about: &str, encoding: &str) -> Error {
    let name: String = encoding.chars().take(40).collect();
    let message = format!("answered in the encoding `{name}`, although it was asked for none");
    Error::new(ErrorKind::InvalidAnswer, about, message)
        .hint("let the proxy in between leave the content as it is")
}

/// Reads one byte more than there may be.
fn bounded(packed: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    packed.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the bytes begin with the header of zlib (RFC 1950).
fn is_framed(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..]
        if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn kind(encoding: &str, body: &[u8], most: usize) -> ErrorKind {
        unpack("GET x", encoding, body, most).unwrap_err().kind()
    }

    #[test]
    fn the_encoding_is_what_the_header_says_but_for_none() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            super::of(&headers)
        };
        assert_eq!([of(&[]), of(&[""]), of(&["Identity"])], [None, None, None]);
        assert_eq!(of(&["GZip"]).as_deref(), Some("gzip"));
        assert_eq!(of(&["deflate", "br, gzip"]).as_deref(), Some("deflate, br, gzip"));
    }

    #[test]
    fn what_can_not_be_unpacked_is_named() {
        let packed = gzip(&[7; 1000]);
        assert_eq!(kind("gzip", &packed, 999), ErrorKind::TooLarge);
        assert_eq!(
            kind("gzip", &packed[..packed.len() - 12], 2000),
            ErrorKind::Connection
        );
        assert_eq!(kind("gzip", b"{\"items\":[]}", 2000), ErrorKind::InvalidAnswer);
        let error = unpack("GET x", "gzip, br", &packed, 2000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GET x: answered in the encoding `gzip, br`, although it was asked for none (let the proxy in between leave the content as it is)"
        );
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            for (encoding, packed) in [
                ("gzip", gzip(&bytes)),
                ("x-gzip", gzip(&bytes)),
                ("deflate", zlib(&bytes)),
                ("deflate", deflate(&bytes)),
            ] {
                let unpacked = unpack("GET x", encoding, &packed, 3000);
                prop_assert_eq!(unpacked.unwrap(), bytes.clone());
            }
        }

        #[test]
        fn whatever_comes_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for encoding in ["gzip", "deflate"] {
                if let Ok(unpacked) = unpack("GET x", encoding, &bytes, 100) {
                    prop_assert!(unpacked.len() <= 100);
                }
            }
        }
    }
}
