//! Text of others, made safe to show: on one line, and as it is. Pure; errors, problems and printed tables use it.

use std::borrow::Cow;

/// Control characters break a log's lines and steer terminals; direction marks let a text show as another.
pub fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
}

/// The text with everything that is not printable escaped as `\u{…}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_printable(character) {
            safe.push(character);
        } else {
            safe.extend(character.escape_unicode());
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_steers_a_terminal_or_turns_a_text_around_is_shown_as_what_it_is() {
        assert_eq!(escaped("Урок №1 — a_b"), "Урок №1 — a_b");
        assert_eq!(
            escaped("a\n\x1b[31m\u{202e}b\0\u{feff}"),
            "a\\u{a}\\u{1b}[31m\\u{202e}b\\u{0}\\u{feff}"
        );
    }

    proptest! {
        #[test]
        fn nothing_unprintable_is_left(text in ".*|\\PC*|[\u{0}-\u{9f}\u{2000}-\u{206f}]*") {
            prop_assert!(escaped(&text).chars().all(is_printable));
        }
    }
}
