//! Content encodings that some proxies apply although the request asked for none. Pure; `sender` decompresses such
//! answers, `download` refuses them.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use crate::{Error, ErrorKind, Result};

/// The encoding of a body; `None` if it is plain. Several encodings are joined to one name.
pub(super) fn of(headers: &HeaderMap) -> Option<String> {
    let named = headers.get_all(CONTENT_ENCODING).iter();
    let names: Vec<_> = named
        .flat_map(|value| value.to_str().unwrap_or("unreadable").split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Decompresses a body to at most `most` bytes.
///
/// # Errors
/// `TooLarge`; `Connection` if the body was cut; `InvalidAnswer` if it is not in this encoding, or if the encoding is
/// unknown.
pub(super) fn decompress(about: &str, encoding: &str, body: &[u8], most: usize) -> Result<Vec<u8>> {
    let decompressed = match encoding {
        "gzip" | "x-gzip" => bounded(MultiGzDecoder::new(body), most),
        // Some servers omit the zlib header that the standard requires.
        "deflate" if has_zlib_header(body) => bounded(ZlibDecoder::new(body), most),
        "deflate" => bounded(DeflateDecoder::new(body), most),
        _ => return Err(unknown(about, encoding)),
    };
    match decompressed {
        Ok(bytes) if bytes.len() > most => {
            let message = format!("answered more than {most} bytes, compressed with {encoding}");
            Err(Error::new(ErrorKind::TooLarge, about, message))
        }
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Error::new(ErrorKind::Connection, about, "the answer was cut"))
        }
        Err(_) => {
            let message = format!("answered a body that is not {encoding}, although its header says so");
            Err(Error::new(ErrorKind::InvalidAnswer, about, message))
        }
    }
}

/// The error for an answer in an encoding that the program does not know.
pub(super) fn unknown(about: &str, encoding: &str) -> Error {
    let name: String = encoding.chars().take(40).collect();
    let message = format!("answered in the encoding `{name}`, although the request asked for none");
    Error::new(ErrorKind::InvalidAnswer, about, message)
        .hint("configure the proxy in between not to change the encoding")
}

/// Reads at most one byte more than allowed, so that the caller notices a larger body.
fn bounded(packed: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    packed.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// True if the bytes begin with a zlib header (RFC 1950).
fn has_zlib_header(body: &[u8]) -> bool {
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
        decompress("GET x", encoding, body, most).unwrap_err().kind()
    }

    #[test]
    fn the_encoding_is_read_from_the_header_and_identity_is_none() {
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
    fn a_body_that_can_not_be_decompressed_names_the_reason() {
        let packed = gzip(&[7; 1000]);
        assert_eq!(kind("gzip", &packed, 999), ErrorKind::TooLarge);
        assert_eq!(
            kind("gzip", &packed[..packed.len() - 12], 2000),
            ErrorKind::Connection
        );
        assert_eq!(kind("gzip", b"{\"items\":[]}", 2000), ErrorKind::InvalidAnswer);
        let error = decompress("GET x", "gzip, br", &packed, 2000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GET x: answered in the encoding `gzip, br`, although the request asked for none (configure the proxy in between not to change the encoding)"
        );
    }

    proptest! {
        #[test]
        fn decompression_reverses_compression(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            for (encoding, packed) in [
                ("gzip", gzip(&bytes)),
                ("x-gzip", gzip(&bytes)),
                ("deflate", zlib(&bytes)),
                ("deflate", deflate(&bytes)),
            ] {
                let decompressed = decompress("GET x", encoding, &packed, 3000);
                prop_assert_eq!(decompressed.unwrap(), bytes.clone());
            }
        }

        #[test]
        fn the_size_limit_holds_for_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for encoding in ["gzip", "deflate"] {
                if let Ok(decompressed) = decompress("GET x", encoding, &bytes, 100) {
                    prop_assert!(decompressed.len() <= 100);
                }
            }
        }
    }
}
