//! The bounds of a workbook's archive: held before the workbook is parsed, against what its parts really unpack to. Pure.
//!
//! What an archive declares of its parts may be a lie, so every part is unpacked once into nothing, through a counter.
//! That costs less than a tenth of the parsing that follows, and makes its memory and time bounded by these numbers.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::census::Census;
use super::refusal::Refusal;

/// Parts of a workbook.
const MOST_PARTS: usize = 4096;
/// Bytes of all parts together.
const MOST_BYTES: u64 = 512 << 20;
/// What a byte may unpack to where that is more than [`RATIO_FROM`]; real sheets reach about 50.
const MOST_RATIO: u64 = 400;
/// Below this, any ratio is harmless.
const RATIO_FROM: u64 = 16 << 20;
/// Worksheets of a workbook.
const MOST_SHEETS: u64 = 256;
/// Bytes that each read takes.
const CHUNK: usize = 64 << 10;

/// What one part may be: worksheets are streamed, the others are held in memory as a whole.
struct Bounds {
    bytes: u64,
    tags: u64,
}

impl Bounds {
    fn of(name: &str) -> Self {
        let name = name.replace('\\', "/").to_lowercase();
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", &name));
        let strings = file == "sharedstrings.xml";
        let of_the_book = ["styles.xml", "workbook.xml"].contains(&file);
        if strings {
            Self {
                bytes: 64 << 20,
                tags: 8_000_000,
            }
        } else if folder.ends_with("worksheets") && !of_the_book {
            Self {
                bytes: 256 << 20,
                tags: 60_000_000,
            }
        } else {
            Self {
                bytes: 16 << 20,
                tags: 400_000,
            }
        }
    }
}

/// Holds an archive against the bounds.
pub(super) fn check(bytes: &[u8]) -> Result<(), Refusal> {
    // Compound File Binary: what Excel wraps an encrypted workbook in, and its format before 2007.
    if bytes.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
        return Err(Refusal::Encrypted);
    }
    if !bytes.starts_with(b"PK") {
        return Err(Refusal::NotAWorkbook);
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(refusal)?;
    if archive.len() > MOST_PARTS {
        return Err(Refusal::TooLarge);
    }
    if archive
        .decompressed_size()
        .is_some_and(|declared| declared > u128::from(MOST_BYTES))
    {
        return Err(Refusal::TooLarge);
    }
    let (mut total, mut sheets) = (0_u64, 0_u64);
    let mut chunk = vec![0; CHUNK];
    for at in 0..archive.len() {
        let part = archive.by_index(at).map_err(refusal)?;
        let name = part.name().map_err(refusal)?.into_owned();
        let is_xml = is_xml(&name);
        let (packed, bounds) = (part.compressed_size(), Bounds::of(&name));
        let allowed = bounds
            .bytes
            .min(RATIO_FROM.max(packed.saturating_mul(MOST_RATIO)))
            .min(MOST_BYTES.saturating_sub(total));
        let mut census = Census::default();
        let mut unpacked = 0_u64;
        // One byte more than is allowed tells that there is more.
        let mut part = part.take(allowed + 1);
        loop {
            let read = part.read(&mut chunk).map_err(|_| Refusal::Damaged)?;
            if read == 0 {
                break;
            }
            unpacked += read as u64;
            if unpacked > allowed {
                return Err(Refusal::TooLarge);
            }
            if is_xml {
                census.add(&chunk[..read])?;
            }
        }
        total += unpacked;
        sheets += census.sheets;
        if census.tags > bounds.tags || sheets > MOST_SHEETS {
            return Err(Refusal::TooMuch);
        }
    }
    Ok(())
}

/// Other parts (pictures, printers' settings) may hold any bytes. A workbook that names one of them as its own finds at
/// most 16 MiB there.
fn is_xml(name: &str) -> bool {
    let name = name.to_lowercase();
    [".xml", ".rels"].iter().any(|end| name.ends_with(end))
}

fn refusal(error: ZipError) -> Refusal {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => Refusal::Encrypted,
        _ => Refusal::Damaged,
    }
}
