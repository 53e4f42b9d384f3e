//! Cleaning of a token that people copied: byte order mark, quotes and `Bearer ` are removed. Pure.

/// An invisible character that editors put at the beginning of a file.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';
/// The quotes that may surround a token.
const QUOTES: [(char, char); 5] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('«', '»')];
/// The prefixes of a token that was copied from a header.
const PREFIXES: [&str; 2] = ["authorization:", "bearer"];

/// Removes everything around a token.
///
/// # Errors
/// The kind and position of a character that no token has, but never the token.
pub(super) fn clean(text: &str) -> Result<&str, String> {
    let text = text.trim_start_matches(BYTE_ORDER_MARK);
    let mut token = text;
    loop {
        let less = without_prefix(without_quotes(token.trim()));
        if less == token {
            break;
        }
        token = less;
    }
    let before = text.find(token).map_or(0, |at| text[..at].chars().count());
    match token.chars().enumerate().find(|(_, c)| !c.is_ascii_graphic()) {
        None => Ok(token),
        Some((at, wrong)) => Err(format!(
            "has {} as character {} of {}: it is no token",
            class(wrong),
            before + at + 1,
            text.chars().count()
        )),
    }
}

fn without_quotes(text: &str) -> &str {
    let pair = |(open, close): &(char, char)| text.strip_prefix(*open)?.strip_suffix(*close);
    QUOTES.iter().find_map(pair).unwrap_or(text)
}

fn without_prefix(text: &str) -> &str {
    let after = |prefix: &&str| {
        let (start, rest) = text.split_at_checked(prefix.len())?;
        let ends = prefix.ends_with(':') || rest.is_empty() || rest.starts_with(char::is_whitespace);
        (start.eq_ignore_ascii_case(prefix) && ends).then_some(rest)
    };
    PREFIXES.iter().find_map(after).unwrap_or(text)
}

fn class(wrong: char) -> &'static str {
    match wrong {
        '\n' | '\r' => "a line break",
        c if c.is_whitespace() => "white space",
        c if c.is_control() => "a control character",
        c if c.is_alphabetic() => "a letter that is not Latin",
        _ => "a character that is not ASCII",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_around_a_token_is_removed() {
        for text in [
            "t0k.en-_~+/=",
            "\u{feff}t0k.en-_~+/=\r\n",
            " \"t0k.en-_~+/=\"\n",
            "'t0k.en-_~+/='",
            "Bearer t0k.en-_~+/=",
            "\u{feff}\"bearer\tt0k.en-_~+/= \"\n\n",
            "Authorization: Bearer t0k.en-_~+/=",
            "“t0k.en-_~+/=”",
        ] {
            assert_eq!(clean(text), Ok("t0k.en-_~+/="), "{text:?}");
        }
        for text in ["", "\u{feff}\n", "\"\"", "Bearer ", "bearer"] {
            assert_eq!(clean(text), Ok(""), "{text:?}");
        }
        // A token that only begins like `Bearer`.
        assert_eq!(clean("BearerABC"), Ok("BearerABC"));
        assert_eq!(clean("\""), Ok("\""));
    }

    #[test]
    fn a_wrong_character_is_named_by_kind_and_position_and_the_token_is_not_shown() {
        for (text, class, place) in [
            ("first-part second-part", "white space", "character 11 of 22"),
            ("first-part\nsecond-part\n", "a line break", "character 11 of 23"),
            ("Bearer first-part\tx", "white space", "character 18 of 19"),
            ("first-part\u{7}", "a control character", "character 11 of 11"),
            ("first-partа", "a letter that is not Latin", "character 11 of 11"),
            ("first-part\u{2026}x", "not ASCII", "character 11 of 12"),
        ] {
            let error = clean(text).expect_err(text);
            assert!(error.contains(class) && error.contains(place), "{error}");
            assert!(!error.contains("first") && !error.contains("second"), "{error}");
        }
    }
}
