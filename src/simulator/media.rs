//! Recordings of any size in constant memory: a real H.264 video, then an MP4 `free` box. The content of the box is a
//! function of record and offset, so that a misplaced, doubled or foreign part changes the checksum. Pure; used by `blob`,
//! and by tests for the expected checksum.

use sha2::{Digest as _, Sha256};

/// A second of a test picture, 160×90, `moov` first.
pub(super) const VIDEO: &[u8] = include_bytes!("assets/lesson.mp4");

/// The size of a tile of the filling, which repeats the same eight bytes.
const TILE: usize = 1024;

/// The size of a playable recording for a requested size, in bytes.
pub(super) fn whole_size(asked: u64) -> u64 {
    let video = VIDEO.len() as u64;
    match asked.saturating_sub(video) {
        0 => video,
        // A box is no shorter than its header.
        padding => video + padding.max(8),
    }
}

/// The key from which a record's filling follows.
pub(super) fn key(record: &str) -> u64 {
    record.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Writes the bytes of a recording from `offset` on into `out`, which must end within `size`.
pub(super) fn read(key: u64, size: u64, offset: u64, out: &mut [u8]) {
    let header = header(size);
    let mut at = offset;
    let mut out = out;
    while !out.is_empty() {
        let video = VIDEO.len() as u64;
        let done = if at < video {
            copy(VIDEO, at, out)
        } else if at < video + header.len() as u64 {
            copy(&header, at - video, out)
        } else {
            copy(&tile(key, at / TILE as u64), at % TILE as u64, out)
        };
        at += done as u64;
        out = out.get_mut(done..).unwrap_or_default();
    }
}

/// Copies as much of `from[at..]` as fits, and returns the number of bytes.
fn copy(from: &[u8], at: u64, out: &mut [u8]) -> usize {
    let from = usize::try_from(at)
        .ok()
        .and_then(|at| from.get(at..))
        .unwrap_or_default();
    let length = from.len().min(out.len());
    if let (Some(out), Some(from)) = (out.get_mut(..length), from.get(..length)) {
        out.copy_from_slice(from);
    }
    length
}

/// The header of the `free` box; a long box needs the 64-bit form.
fn header(size: u64) -> Vec<u8> {
    let padding = size.saturating_sub(VIDEO.len() as u64);
    match u32::try_from(padding) {
        Ok(0) => Vec::new(),
        Ok(short) => [&short.to_be_bytes()[..], b"free"].concat(),
        Err(_) => [&1_u32.to_be_bytes()[..], b"free", &padding.to_be_bytes()].concat(),
    }
}

fn tile(key: u64, number: u64) -> [u8; TILE] {
    // splitmix64, so that neighbouring tiles differ in all bits.
    let mut word = key.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^= word >> 31;
    let mut tile = [0; TILE];
    let mut filled = 8;
    if let Some(head) = tile.first_chunk_mut() {
        *head = word.to_le_bytes();
    }
    // Doubling is fast even in an unoptimized build.
    while filled < TILE {
        tile.copy_within(..filled, filled);
        filled *= 2;
    }
    tile
}

/// The SHA-256 of a recording, in hex, in constant memory.
pub(super) fn sha256(key: u64, size: u64) -> String {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < size {
        let length = buffer.len().min(usize::try_from(size - at).unwrap_or(usize::MAX));
        let piece = buffer.get_mut(..length).unwrap_or_default();
        read(key, size, at, piece);
        hasher.update(piece);
        at += length as u64;
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types and sizes of the top-level boxes.
    fn boxes(size: u64) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < size {
            let mut head = [0; 16];
            let length = usize::try_from(size - at).unwrap_or(16).min(16);
            read(1, size, at, &mut head[..length]);
            let short = u32::from_be_bytes(head[..4].try_into().unwrap());
            let long = u64::from_be_bytes(head[8..].try_into().unwrap());
            let this = if short == 1 { long } else { u64::from(short) };
            found.push((String::from_utf8(head[4..8].to_vec()).unwrap(), this));
            assert!(this >= 8);
            at += this;
        }
        assert_eq!(at, size, "the boxes do not end with the file");
        found
    }

    #[test]
    fn a_recording_of_any_size_consists_of_whole_boxes() {
        for asked in [0, 3409, 3410, 4000, 1 << 20, 5 << 30] {
            let size = whole_size(asked);
            assert!(size >= asked);
            let boxes = boxes(size);
            assert_eq!(boxes[0].0, "ftyp");
            assert!(boxes.iter().any(|(kind, _)| kind == "moov"));
            let last = boxes.last().unwrap().0.as_str();
            assert_eq!(last == "free", asked > VIDEO.len() as u64);
        }
    }

    #[test]
    fn a_piece_equals_its_part_of_the_file_and_no_tile_repeats() {
        let size = 40_000;
        let mut whole = vec![0; 40_000];
        read(7, size, 0, &mut whole);
        for (start, end) in [(0, 10), (3400, 3500), (3409, 5000), (4095, 4097), (17, 39_999)] {
            let mut piece = vec![0; end - start];
            read(7, size, start as u64, &mut piece);
            assert_eq!(piece, whole[start..end]);
        }
        assert_eq!(sha256(7, size), hex::encode(Sha256::digest(&whole)));
        assert_ne!(sha256(7, size), sha256(8, size));
        let tiles: std::collections::HashSet<_> = whole[4096..].chunks_exact(8).step_by(128).collect();
        assert!(tiles.len() > 30);
    }
}
