//! A workbook's archive. Its limits are checked against the real size of the parts before anything is parsed. Pure.
//!
//! The sizes that an archive declares may be lies, so every part is unpacked once through a counter and thrown away.
//! That costs less than a tenth of the parsing, and limits its memory and time.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::file_kind;
use super::refusal::Refusal;
use super::xml_part::XmlPart;

/// Most parts of a workbook.
const MOST_PARTS: usize = 4096;
/// Most bytes of all parts together.
const MOST_BYTES: u64 = 512 << 20;
/// Most bytes that one packed byte may unpack to, in parts above [`RATIO_FROM`]; real sheets reach about 50.
const MOST_RATIO: u64 = 400;
/// Below this, any ratio is harmless.
const RATIO_FROM: u64 = 16 << 20;
/// Bytes of each read.
const CHUNK: usize = 64 << 10;
/// The compression method that an archive names for password-protected parts.
const AES: u16 = 99;
/// The start of the part `mimetype` of an OpenDocument file.
const OPEN_DOCUMENT: &[u8] = b"application/vnd.oasis.opendocument.spreadsheet";

/// Most bytes of one part: worksheets are streamed; the others are held in memory as a whole.
fn most_bytes_of(name: &str) -> u64 {
    let name = plain(name);
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", &name));
    let of_the_book = ["styles.xml", "workbook.xml"].contains(&file);
    match file {
        "sharedstrings.xml" => 64 << 20,
        _ if folder.ends_with("worksheets") && !of_the_book => 256 << 20,
        _ => 16 << 20,
    }
}

/// A part while it is read from an archive.
type ArchivePart<'a, 'b> = XmlPart<ZipFile<'a, Cursor<&'b [u8]>>>;

/// The size of a workbook's parts, as its archive declares it; 0 if that can't be read.
pub fn unpacked_bytes(bytes: &[u8]) -> u64 {
    let archive = ZipArchive::new(Cursor::new(bytes)).ok();
    let declared = archive.and_then(|archive| archive.decompressed_size());
    declared.map_or(0, |bytes| u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// An archive that is within the limits.
pub(super) struct Archive<'b> {
    archive: ZipArchive<Cursor<&'b [u8]>>,
    /// The index of each part, by its plain name.
    places: HashMap<String, usize>,
}

impl<'b> Archive<'b> {
    /// Opens an archive and checks its limits.
    pub fn open(bytes: &'b [u8]) -> Result<Self, Refusal> {
        file_kind::check(bytes)?;
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(refusal)?;
        if archive.len() > MOST_PARTS {
            return Err(Refusal::TooLarge);
        }
        let mut places = HashMap::new();
        for (place, name) in archive.file_names().enumerate() {
            places.insert(plain(&name.map_err(refusal)?), place);
        }
        let mut archive = Self { archive, places };
        archive.check_kind()?;
        archive.check_bounds()?;
        Ok(archive)
    }

    /// Opens a part, ignoring the case of its name; none if there is no such part.
    pub fn part(&mut self, name: &str) -> Result<Option<ArchivePart<'_, 'b>>, Refusal> {
        let Some(place) = self.places.get(&plain(name)) else {
            return Ok(None);
        };
        let packed = self.archive.by_index(*place).map_err(refusal)?;
        Ok(Some(XmlPart::new(packed)))
    }

    /// True if there is such a part.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(&plain(name))
    }

    /// Refuses archives of other kinds with their names.
    fn check_kind(&mut self) -> Result<(), Refusal> {
        let has = |end: &str| self.places.keys().any(|name| name.ends_with(end));
        if has("workbook.bin") && !has("workbook.xml") {
            return Err(Refusal::Xlsb);
        }
        let Some(place) = self.places.get("mimetype") else {
            return Ok(());
        };
        let mut kind = Vec::new();
        let part = self.archive.by_index(*place).map_err(refusal)?;
        let read = part.take(OPEN_DOCUMENT.len() as u64).read_to_end(&mut kind);
        match read.is_ok() && kind == OPEN_DOCUMENT {
            true => Err(Refusal::Ods),
            false => Ok(()),
        }
    }

    fn check_bounds(&mut self) -> Result<(), Refusal> {
        let declared = self.archive.decompressed_size();
        if declared.is_some_and(|declared| declared > u128::from(MOST_BYTES)) {
            return Err(Refusal::TooLarge);
        }
        let mut total = 0_u64;
        let mut chunk = vec![0; CHUNK];
        for place in 0..self.archive.len() {
            // A part that can't be unpacked is no fault unless it is read.
            let Ok(part) = self.archive.by_index(place) else {
                continue;
            };
            let allowed = most_bytes_of(&part.name().map_err(refusal)?)
                .min(RATIO_FROM.max(part.compressed_size().saturating_mul(MOST_RATIO)))
                .min(MOST_BYTES.saturating_sub(total));
            total += unpacked(part, allowed, &mut chunk)?;
        }
        Ok(())
    }
}

/// The number of bytes that a part unpacks to, as far as it can be unpacked.
fn unpacked(part: impl Read, allowed: u64, chunk: &mut [u8]) -> Result<u64, Refusal> {
    let mut unpacked = 0_u64;
    // Read up to one byte more than is allowed, to see whether there is more.
    let mut part = part.take(allowed + 1);
    loop {
        let read = part.read(chunk).unwrap_or(0);
        if read == 0 {
            return Ok(unpacked);
        }
        unpacked += read as u64;
        if unpacked > allowed {
            return Err(Refusal::TooLarge);
        }
    }
}

/// A part's name in the form that all programs agree on.
fn plain(name: &str) -> String {
    name.replace('\\', "/").trim_start_matches('/').to_lowercase()
}

fn refusal(error: ZipError) -> Refusal {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => Refusal::Encrypted,
        ZipError::CompressionMethodNotSupported(AES) => Refusal::Encrypted,
        ZipError::CompressionMethodNotSupported(_) => Refusal::Packing,
        _ => Refusal::Damaged,
    }
}
