//! Makes text that comes from outside safe to show: unprintable characters are escaped, secrets and contacts masked. Pure;
//! used by errors, problems and printed tables.

use std::borrow::Cow;

/// True if a character can be shown. Control characters break a log's lines and steer terminals, and direction marks make
/// a text look like another one.
pub fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
}

/// The text with unprintable characters escaped as `\u{…}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    escaped_but(text, &[])
}

/// Text of several lines with unprintable characters escaped. Line ends and tabs stay.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    escaped_but(text, &['\n', '\t'])
}

/// The text with unprintable characters escaped, but for those in `kept`.
pub fn escaped_but<'t>(text: &'t str, kept: &[char]) -> Cow<'t, str> {
    let stays = |character: char| is_printable(character) || kept.contains(&character);
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if stays(character) {
            safe.push(character);
        } else {
            safe.extend(character.escape_unicode());
        }
    }
    Cow::Owned(safe)
}

/// JSON of the same meaning with unprintable characters escaped. Line ends between values stay.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let stays = |character: char| is_printable(character) || character == '\n';
    if json.chars().all(stays) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if stays(character) {
            safe.push(character);
        } else {
            // Such a character can only stand within a text, and none of them needs a pair of surrogates.
            safe.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    Cow::Owned(safe)
}

/// The number of digits from which on a word counts as a telephone number.
const PHONE: usize = 7;
/// The text that replaces a masked one.
pub const MASK: &str = "***";
/// Parts of a field's name that make its value secret.
const SECRET_NAMES: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "credential",
    "signature",
    "session",
    "пароль",
];
/// Names of headers whose whole value is secret, however many words it has.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
/// Authentication schemes, behind which a credential stands.
const SCHEMES: [&str; 5] = ["bearer", "basic", "digest", "negotiate", "apikey"];

/// Masks secrets and contacts in a text: tokens, passwords, cookies, queries of signed URLs, e-mail addresses and telephone
/// numbers. Words are separated by one space.
pub fn without_secrets(text: &str) -> String {
    let words = text.split_whitespace().map(without_query).collect();
    let words = without_fields(without_credentials(words));
    without_contacts(&words.join(" "))
}

/// Cuts a URL before its query, which may be a signature, and removes a password.
fn without_query(word: &str) -> String {
    let Some((start, rest)) = word.split_once("://") else {
        // Perhaps a path with a query. A word may also just end with a question mark.
        return match word.split_once('?') {
            Some((path, query)) if query.contains('=') => format!("{path}?{MASK}"),
            _ => word.to_owned(),
        };
    };
    let plain = rest.split(['?', '#']).next().unwrap_or_default();
    let host = plain.find('/').unwrap_or(plain.len());
    let from = plain[..host].rfind('@').map_or(0, |at| at + 1);
    let cut = if plain.len() < rest.len() { "?***" } else { "" };
    format!("{start}://{}{cut}", &plain[from..])
}

/// Masks the word behind the name of a scheme (`Bearer …`), and JSON web tokens anywhere.
fn without_credentials(words: Vec<String>) -> Vec<String> {
    let mut is_credential = false;
    let mask = |word: String| {
        let plain = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        let ends_scheme = SCHEMES.iter().any(|scheme| {
            let rest = plain.strip_suffix(scheme);
            rest.is_some_and(|rest| !rest.ends_with(char::is_alphanumeric))
        });
        let was = std::mem::replace(&mut is_credential, ends_scheme);
        if was && !ends_scheme {
            MASK.to_owned()
        } else {
            without_jwt(word)
        }
    };
    words.into_iter().map(mask).collect()
}

/// Masks a JSON web token in a word: parts of base64, of which the first one encodes a JSON object.
fn without_jwt(word: String) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_=.".contains(c);
    let Some(start) = word.find("eyJ") else {
        return word;
    };
    let rest = &word[start..];
    let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
    match rest[..end].contains('.') {
        true => format!("{}{MASK}{}", &word[..start], without_jwt(rest[end..].to_owned())),
        false => word,
    }
}

/// Masks the values of fields with a secret name: `password=…`, `"token": "…"`, `Cookie: …`.
fn without_fields(words: Vec<String>) -> Vec<String> {
    let mut safe = Vec::with_capacity(words.len());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(SecretField { name, value }) = SecretField::of(&word) else {
            safe.push(word);
            continue;
        };
        if SECRET_HEADERS.contains(&&*name) {
            safe.push(format!("{}{MASK}", &word[..word.len() - value.len()]));
            // The value of a header may have any number of words, so the rest of the text is masked.
            return safe;
        }
        if value.chars().any(char::is_alphanumeric) {
            let kept = &word[..word.len() - value.len()];
            let after = value.find(FIELD_ENDS).map_or("", |end| &value[end..]);
            let after = without_fields(vec![after.to_owned()]).concat();
            safe.push(format!("{kept}{MASK}{after}"));
        } else {
            safe.push(word.clone());
            safe.extend(words.next().map(|_| MASK.to_owned()));
        }
    }
    safe
}

/// The characters that end a field's value within a word.
const FIELD_ENDS: [char; 4] = ['&', ';', ',', '}'];

/// The first secret field in a word: its name in lower case, and the rest of the word.
struct SecretField<'w> {
    name: String,
    value: &'w str,
}

impl<'w> SecretField<'w> {
    fn of(word: &'w str) -> Option<Self> {
        let mut from = 0;
        while let Some(at) = word[from..].find(['=', ':']) {
            let (before, value) = (&word[from..from + at], &word[from + at + 1..]);
            let is_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
            let name = before.trim_end_matches(|c| !is_name(c));
            let name = name
                .rsplit(|c| !is_name(c))
                .next()
                .unwrap_or_default()
                .to_lowercase();
            let is_secret =
                SECRET_HEADERS.contains(&&*name) || SECRET_NAMES.iter().any(|secret| name.contains(secret));
            if is_secret {
                return Some(Self { name, value });
            }
            from += at + 1;
        }
        None
    }
}

/// Masks e-mail addresses and telephone numbers in a text. Words are separated by one space.
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
    fn characters_that_steer_a_terminal_or_reverse_a_text_are_escaped() {
        assert_eq!(escaped("Урок №1 — a_b"), "Урок №1 — a_b");
        assert_eq!(
            escaped("a\n\x1b[31m\u{202e}b\0\u{feff}"),
            "a\\u{a}\\u{1b}[31m\\u{202e}b\\u{0}\\u{feff}"
        );
    }

    #[test]
    fn email_addresses_and_telephone_numbers_are_masked_and_other_words_stay() {
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

    #[test]
    fn secrets_are_masked_and_other_words_stay() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        for (said, safe) in [
            (format!("token {jwt} is old"), "token *** is old"),
            (format!("[{jwt}]"), "[***]"),
            ("Authorization: Basic dXNlcjpwYXNz".into(), "Authorization:***"),
            ("sent Basic dXNlcjpwYXNz to us".into(), "sent Basic *** to us"),
            ("Cookie: sid=1; theme=dark".into(), "Cookie:***"),
            ("password=hunter2&page=3".into(), "password=***&page=3"),
            (
                r#"{"user":"x","password":"hunter2"}"#.into(),
                r#"{"user":"x","password":***}"#,
            ),
            ("пароль: hunter2 неверен".into(), "пароль: *** неверен"),
            (
                "https://u:p@host/a?X-Amz-Signature=1 is gone".into(),
                "https://host/a?*** is gone",
            ),
            ("/a/b?sig=1 is gone".into(), "/a/b?*** is gone"),
            ("is it there?".into(), "is it there?"),
            ("room: 17 of space: 3".into(), "room: 17 of space: 3"),
        ] {
            assert_eq!(without_secrets(&said), safe, "{said}");
        }
    }

    #[test]
    fn escaped_json_has_the_same_meaning() {
        let json = "{\"name\": \"a\u{202e}b\u{9b}\"}\n";
        let safe = escaped_json(json);
        assert_eq!(safe, "{\"name\": \"a\\u202eb\\u009b\"}\n");
        let [before, after]: [serde_json::Value; 2] =
            [json, &safe].map(|text| serde_json::from_str(text).expect("JSON"));
        assert_eq!(before, after);
    }

    proptest! {
        #[test]
        fn any_text_can_be_masked(text in ".*|([0-9+@. a-z()-]{0,3} ?)*") {
            let safe = without_contacts(&text);
            prop_assert_eq!(without_contacts(&safe), safe.clone());
            without_secrets(&text);
        }

        #[test]
        fn nothing_unprintable_is_left(text in ".*|\\PC*|[\u{0}-\u{9f}\u{2000}-\u{206f}]*") {
            prop_assert!(escaped(&text).chars().all(is_printable));
            prop_assert!(escaped_lines(&text).chars().all(|c| is_printable(c) || "\n\t".contains(c)));
        }
    }
}
