//! The kind of a file by its first bytes, so that a file that is not an XLSX workbook is refused with its own name.
//! Pure.

use super::refusal::Refusal;

/// The signature of a ZIP archive's first record.
const ZIP: &[u8] = b"PK";
/// The signature of a compound file: Excel's format before 2007, and the envelope of an encrypted workbook.
const COMPOUND: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0];
/// Bytes at the start of a text that tell its kind.
const HEAD: usize = 4096;

/// Refuses files that are not ZIP archives.
pub(super) fn check(bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.starts_with(ZIP) {
        return Ok(());
    }
    if bytes.starts_with(COMPOUND) {
        return Err(compound(bytes));
    }
    Err(text(bytes).unwrap_or(Refusal::NotAWorkbook))
}

/// The kind of a compound file, by the names of its streams.
fn compound(bytes: &[u8]) -> Refusal {
    let has = |name: &str| {
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let found = |window: &[u8]| window.eq_ignore_ascii_case(&name);
        bytes.windows(name.len()).any(found)
    };
    if has("EncryptedPackage") {
        return Refusal::Encrypted;
    }
    // Excel 5 and 95 called the stream `Book`.
    match has("Workbook") || has("Book") {
        true => Refusal::Xls,
        false => Refusal::NotAWorkbook,
    }
}

/// The kind of a text; none for bytes that are not text.
fn text(bytes: &[u8]) -> Option<Refusal> {
    let head = &bytes[..bytes.len().min(HEAD)];
    let text = match head {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => utf16(head),
        _ => String::from_utf8_lossy(head).into_owned(),
    };
    let text = text.trim_start_matches('\u{feff}').trim_start().to_lowercase();
    if text.is_empty() || text.contains('\0') {
        return None;
    }
    let is_html = ["<!doctype html", "<html", "<body", "<table"]
        .iter()
        .any(|tag| text.contains(tag));
    Some(match text.chars().next() {
        Some('<') if is_html => Refusal::Html,
        Some('<') => Refusal::Xml,
        Some('{' | '[') => Refusal::Json,
        // In an old encoding most bytes are not UTF-8, but none is a control character.
        _ if text.chars().any(|c| c.is_control() && !c.is_whitespace()) => return None,
        _ => Refusal::Text,
    })
}

fn utf16(bytes: &[u8]) -> String {
    let big = bytes.starts_with(&[0xfe, 0xff]);
    let unit = |pair: &[u8]| match (big, pair) {
        (true, &[high, low]) | (false, &[low, high]) => u16::from_be_bytes([high, low]),
        _ => 0xfffd,
    };
    let units: Vec<u16> = bytes.chunks_exact(2).map(unit).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compound_of(stream: &str) -> Vec<u8> {
        let mut bytes = COMPOUND.to_vec();
        bytes.resize(1024, 0);
        bytes.extend(stream.encode_utf16().flat_map(u16::to_le_bytes));
        bytes.resize(2048, 0);
        bytes
    }

    #[test]
    fn a_file_of_another_kind_is_refused_with_its_name() {
        let utf16: Vec<u8> = "\u{feff}Имя\tВход\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let cp1251: &[u8] = &[0xc8, 0xec, 0xff, b';', 0xc2, 0xf5, 0xee, 0xe4, b'\r', b'\n'];
        for (bytes, refusal) in [
            (compound_of("EncryptedPackage"), Refusal::Encrypted),
            (compound_of("Workbook"), Refusal::Xls),
            (compound_of("WORKBOOK"), Refusal::Xls),
            (compound_of("Book"), Refusal::Xls),
            (compound_of("WordDocument"), Refusal::NotAWorkbook),
            (b"\xef\xbb\xbf<!DOCTYPE html><html>".to_vec(), Refusal::Html),
            (b"\n <table><tr><td>1".to_vec(), Refusal::Html),
            (
                b"<html xmlns:x='urn:schemas-microsoft-com:office:excel'>".to_vec(),
                Refusal::Html,
            ),
            (b"<?xml version='1.0'?><Workbook/>".to_vec(), Refusal::Xml),
            (br#"{"message": "not ready"}"#.to_vec(), Refusal::Json),
            ("\u{feff}Имя;Вход\nАнна;10:00".into(), Refusal::Text),
            (utf16, Refusal::Text),
            (cp1251.to_vec(), Refusal::Text),
            (Vec::new(), Refusal::NotAWorkbook),
            (b"\x89PNG\r\n\x1a\n\0\0".to_vec(), Refusal::NotAWorkbook),
        ] {
            assert_eq!(check(&bytes), Err(refusal), "{bytes:?}");
        }
        assert_eq!(check(b"PK\x03\x04"), Ok(()));
    }
}
