//! A clean copy of a workbook. Calamine reads the copy, never the original file. Pure.
//!
//! The copy holds only the worksheets, the shared strings and the number formats, in UTF-8 and in the one form that
//! calamine reads without errors. It is deflated, so that it usually takes one to two times the memory of the file.

use std::fmt::Write as _;
use std::io::{BufWriter, Cursor, Write};

use quick_xml::escape::escape;
use quick_xml::events::Event;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::archive::Archive;
use super::budget::Budget;
use super::cells::Cells;
use super::package::Package;
use super::refusal::Refusal;
use super::rich_text::rich_text;
use super::xml_part::attribute;

/// Bytes that are deflated at once.
const CHUNK: usize = 64 << 10;
/// Most shared strings of a workbook. Calamine takes 24 bytes for each, also for an empty one.
const MOST_STRINGS: usize = 4_000_000;
/// Most cell formats of a workbook, and most bytes of a format's code: Excel's own limits.
const MOST_FORMATS: usize = 65_490;
const MOST_CODE: usize = 255;
/// The relation of the package to its workbook.
const ROOT: &str = r#"<Relationships><Relationship Id="r" Type="x/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#;

/// A clean copy.
pub(super) struct CleanCopy {
    /// A ZIP archive that calamine opens.
    pub bytes: Vec<u8>,
    /// The number of characters that could not be decoded.
    pub replaced: u64,
}

/// Copies the parts of a workbook that are read. Each sheet's name in the copy is its number.
pub(super) fn clean_copy(archive: &mut Archive<'_>, package: &Package) -> Result<CleanCopy, Refusal> {
    let mut copy = Copying {
        zip: ZipWriter::new(Cursor::new(Vec::new())),
        replaced: 0,
    };
    copy.write("_rels/.rels", ROOT)?;
    let (book, links) = workbook(package);
    copy.write("xl/workbook.xml", &book)?;
    copy.write("xl/_rels/workbook.xml.rels", &links)?;
    copy.write("xl/styles.xml", &styles(archive, &package.styles)?)?;
    let strings = copy.strings(archive, &package.strings)?;
    let mut budget = Budget::default();
    for sheet in &package.sheets {
        let part = archive.part(&sheet.path)?.ok_or(Refusal::Damaged)?;
        let mut cells = Cells::new(part, strings);
        let mut out = copy.part(&format!("xl/worksheets/{}.xml", sheet.number))?;
        cells.copy(&mut budget, &mut out)?;
        out.flush()?;
        drop(out);
        copy.replaced += cells.replaced();
    }
    let bytes = copy.zip.finish().map_err(|_| Refusal::TooLarge)?.into_inner();
    let replaced = copy.replaced;
    Ok(CleanCopy { bytes, replaced })
}

/// The workbook of the copy, and its relations.
fn workbook(package: &Package) -> (String, String) {
    let (mut sheets, mut links) = (String::new(), String::new());
    for number in package.sheets.iter().map(|sheet| sheet.number) {
        sheets += &format!(r#"<sheet name="{number}" r:id="r{number}"/>"#);
        links += &format!(
            r#"<Relationship Id="r{number}" Type="x/relationships/worksheet" Target="worksheets/{number}.xml"/>"#
        );
    }
    let calendar = u8::from(package.from_1904);
    (
        format!(r#"<workbook><workbookPr date1904="{calendar}"/><sheets>{sheets}</sheets></workbook>"#),
        format!("<Relationships>{links}</Relationships>"),
    )
}

/// The number formats, without fonts and colors.
fn styles(archive: &mut Archive<'_>, part: &str) -> Result<String, Refusal> {
    let (mut codes, mut formats, mut count) = (String::new(), String::new(), 0);
    // The same elements mean other things in other groups.
    let mut group = String::new();
    if let Some(mut styles) = archive.part(part)? {
        styles.each(&mut |name, element| {
            let id = || attribute(element, "numFmtId").unwrap_or_default();
            match (name, group.as_str()) {
                ("numFmts" | "cellXfs" | "cellStyleXfs" | "cellStyles" | "dxfs", _) => {
                    name.clone_into(&mut group);
                }
                ("numFmt", "numFmts") => {
                    let code = attribute(element, "formatCode").unwrap_or_default();
                    let code = escape(plain_code(&code));
                    let _ = write!(
                        codes,
                        r#"<numFmt numFmtId="{}" formatCode="{code}"/>"#,
                        escape(id())
                    );
                }
                ("xf", "cellXfs") if count < MOST_FORMATS => {
                    count += 1;
                    let _ = write!(formats, r#"<xf numFmtId="{}"/>"#, escape(id()));
                }
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(format!(
        "<styleSheet><numFmts>{codes}</numFmts><cellXfs>{formats}</cellXfs></styleSheet>"
    ))
}

/// A format's code with a limited length, because calamine keeps one for each cell format. `Standard` is another name
/// of `General`, whose letters calamine would take for those of a date.
fn plain_code(code: &str) -> &str {
    match code.trim().eq_ignore_ascii_case("standard") {
        true => "General",
        false => &code[..code.floor_char_boundary(MOST_CODE)],
    }
}

type Archived = ZipWriter<Cursor<Vec<u8>>>;

/// A copy while it is written.
struct Copying {
    zip: Archived,
    replaced: u64,
}

impl Copying {
    /// Begins a part.
    fn part(&mut self, name: &str) -> Result<BufWriter<&mut Archived>, Refusal> {
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .compression_level(Some(1));
        let begun = self.zip.start_file(name, options);
        begun.map_err(|_| Refusal::TooLarge)?;
        Ok(BufWriter::with_capacity(CHUNK, &mut self.zip))
    }

    fn write(&mut self, name: &str, xml: &str) -> Result<(), Refusal> {
        let mut out = self.part(name)?;
        out.write_all(xml.as_bytes())?;
        Ok(out.flush()?)
    }

    /// Copies the shared strings and counts them. The number that the part declares is left out, because calamine would
    /// reserve memory for it.
    fn strings(&mut self, archive: &mut Archive<'_>, path: &str) -> Result<usize, Refusal> {
        let Some(mut part) = archive.part(path)? else {
            return Ok(0);
        };
        let mut out = self.part("xl/sharedStrings.xml")?;
        let mut count = 0;
        out.write_all(b"<sst>")?;
        loop {
            match part.next()? {
                Event::Start(start) if start.local_name().as_ref() == "si" => {
                    let around = part.open() - 1;
                    write!(out, "<si>{}</si>", rich_text(&mut part, "si")?)?;
                    part.close(around);
                    count += 1;
                    if count > MOST_STRINGS {
                        return Err(Refusal::TooMuch);
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        out.write_all(b"</sst>")?;
        out.flush()?;
        drop(out);
        self.replaced += part.replaced();
        Ok(count)
    }
}
