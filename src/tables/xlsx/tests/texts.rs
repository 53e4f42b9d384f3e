//! Texts and number formats, which calamine reads from the clean copy.

use super::*;

/// The `report_rows` of the first sheet of the usual workbook, with other number formats.
fn cells(styles: &str, row: &str) -> Vec<String> {
    let usual = with_part("xl/styles.xml", styles.as_bytes());
    let sheet = format!("<worksheet><sheetData><row r='1'>{row}</row></sheetData></worksheet>");
    let built = build(None, &with_part_of(&usual, SHEET, sheet.as_bytes()));
    column(file(&built, "report_rows"), "cells")
}

/// The cell A1 with a number of a format.
fn formatted(formats: &str, id: u32) -> String {
    let styles = format!(
        "<styleSheet><cellStyleXfs><xf numFmtId='22'/></cellStyleXfs>{formats}<dxfs><numFmt numFmtId='164' formatCode='0'/></dxfs><cellXfs><xf numFmtId='0'/><xf numFmtId='{id}'/></cellXfs></styleSheet>"
    );
    cells(&styles, "<c r='A1' s='1'><v>46348.5</v></c>").swap_remove(ROW)
}

/// The rows of other sheets come first.
const ROW: usize = 3;

#[test]
fn a_number_format_decides_the_meaning_of_a_number() {
    let code = |code: &str| {
        let code = quick_xml::escape::escape(code);
        formatted(
            &format!("<numFmts><numFmt numFmtId='164' formatCode='{code}'/></numFmts>"),
            164,
        )
    };
    let (number, date, span) = ("{A: 46348.5}", "{A: 2026-11-22T12:00:00Z}", "{A: 1112364:00:00}");
    for text in [
        "DD/MM/YY",
        "H:MM:SS;@",
        "m\"M\"d\"D\";@",
        "[$-419]dd.mm.yyyy\\ hh:mm",
        "[$-404]e\"\\xfc\"m\"\\xfc\"d\"\\xfc\"",
        "h:mm AM/PM",
        "[Red]yyyy",
    ] {
        assert_eq!(code(text), date, "{text}");
    }
    for text in [
        "[h]:mm:ss",
        "[ss]",
        "[s].000",
        "[Blue]\\+[h]:mm;[Red]\\-[h]:mm",
        "[>=100][Magenta][s].00",
    ] {
        assert_eq!(code(text), span, "{text}");
    }
    for text in [
        "General",
        "Standard",
        "0",
        "#,##0\\ [$\\u20bd-46D]",
        "\"Y: \"0.00\"m\";\"Y: <num>m\";@",
        "0_ ;[Red]\\-0\\ ",
        "\\Y000000",
        "#,##0.0####\" YMD\"",
        "0.00E+00",
        "_(* #,##0_)",
        "_d0",
        "@",
        "\"unclosed d",
        "[unclosed d",
    ] {
        assert_eq!(code(text), number, "{text}");
    }
    let ids = [0, 14, 22, 46, 49, 165].map(|id| formatted("", id));
    assert_eq!(ids, [number, date, date, span, number, number]);
}

#[test]
fn a_text_in_pieces_is_one_and_its_phonetics_are_none() {
    for (xml, text) in [
        ("<t> Анна </t>", "Анна"),
        ("<t xml:space='preserve'> Анна </t>", " Анна "),
        (
            "<r><rPr><b/></rPr><t>Ан</t></r><r><t xml:space='preserve'>на </t></r>",
            "Анна ",
        ),
        ("<t>課</t><rPh sb='0' eb='1'><t>か</t></rPh><phoneticPr/>", "課"),
        (
            "<x:t>&amp;<![CDATA[<]]>&nbsp;&#0; R&D</x:t>",
            "&<&nbsp;\u{fffd} R&D",
        ),
        ("<t>a_x000D_b&#13;c</t>", "a\rb\rc"),
        ("<t>_xD83D__xDCF7_ _xD83D_</t>", "📷 \u{fffd}"),
        ("<t>_x005F_x000D_ _x00+D_</t>", "_x000D_ _x00+D_"),
    ] {
        let row = format!("<c r='A1' t='inlineStr'><is>{xml}</is></c>");
        let read = cells("<styleSheet/>", &row).swap_remove(ROW);
        assert_eq!(read, format!("{{A: {text}}}"), "{xml}");
    }
    // A text that is too long to be a value leaves the others to be read.
    let half = "a".repeat(1 << 19);
    let row =
        format!("<c r='A1' t='inlineStr'><is><t>{half}<!-- -->{half}b</t></is></c><c r='B1'><v>1</v></c>");
    assert_eq!(cells("<styleSheet/>", &row)[ROW], "{B: 1}");
}
