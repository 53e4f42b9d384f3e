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

/// Digits from which on a word is taken for a telephone number.
const PHONE: usize = 7;
const MASK: &str = "***";

/// A text of others without the e-mail addresses and telephone numbers in it, words apart by one space.
pub fn without_contacts(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().map(masked_word).collect();
    // A number may be written in several words.
    let mut safe: Vec<&str> = Vec::new();
    let mut from = 0;
    while from < words.len() {
        let is_part = |word: &&&str| is_number_part(word);
        let run = words[from..].iter().take_while(is_part).count();
        let digits: usize = words[from..from + run].iter().map(|word| digits(word)).sum();
        if run > 0 && digits >= PHONE {
            safe.push(MASK);
            from += run;
        } else {
            safe.extend(&words[from..from + run.max(1)]);
            from += run.max(1);
        }
    }
    safe.join(" ")
}

fn digits(word: &str) -> usize {
    word.chars().filter(char::is_ascii_digit).count()
}

fn is_number_part(word: &str) -> bool {
    word.chars().any(|c| c.is_ascii_digit())
        && word
            .chars()
            .all(|c| c.is_ascii_digit() || "+-()[].,;:/\"'".contains(c))
}

fn masked_word(word: &str) -> &str {
    let is_address = word
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    if is_address { MASK } else { word }
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

    #[test]
    fn addresses_and_numbers_of_people_are_masked_and_other_words_stay() {
        assert_eq!(
            without_contacts("user <anna.p@mail.example> (+7 (999) 123-45-67) has no access, code 4010"),
            "user *** *** has no access, code 4010"
        );
        assert_eq!(
            without_contacts("call 89991234567; date 2025"),
            "call *** date 2025"
        );
        for plain in [
            "limit is 100",
            "room 60d55c0eb9ef88ab17b0aabb is not there",
            "a @ b",
            "502 Bad Gateway",
        ] {
            assert_eq!(without_contacts(plain), plain);
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_masked(text in ".*|([0-9+@. a-z()-]{0,3} ?)*") {
            let safe = without_contacts(&text);
            prop_assert_eq!(without_contacts(&safe), safe.clone());
        }

        #[test]
        fn nothing_unprintable_is_left(text in ".*|\\PC*|[\u{0}-\u{9f}\u{2000}-\u{206f}]*") {
            prop_assert!(escaped(&text).chars().all(is_printable));
        }
    }
}
